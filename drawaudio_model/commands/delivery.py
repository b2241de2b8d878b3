"""The writing of a sound that a command made: its form, its file, and what is kept of it when that fails.

Heavy libraries are imported inside the functions, so that `drawaudio --help` answers at once.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".ts")
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".m4a")
"""As `media` has them, which takes a second to import."""


@dataclass(frozen=True)
class Delivery:
    """The form of a .wav or .flac."""

    sample_rate: int | None = None
    """In Hz; None: the model's 16 kHz."""
    bits: int = 16
    timecode: str | None = None
    """Of the first sample; a .wav only."""

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Delivery":
        """The delivery that the command line asks for, checked before a model is loaded.

        Raises:
            ValueError: when the output's format has no such form, or the timecode names no frame of the video.
        """
        delivery = cls(options.sample_rate, options.bits or 16, options.timecode)
        asked = [
            f"--{name.replace('_', '-')}"
            for name in ("sample_rate", "bits", "timecode")
            if getattr(options, name) is not None
        ]
        suffix = options.output.suffix.lower()
        holds = (".wav",) if delivery.timecode is not None else (".wav", ".flac")
        if asked and suffix not in holds:
            raise ValueError(f"{' and '.join(asked)} given for {options.output.name}, expected {' or '.join(holds)}")
        rate = delivery.sample_rate
        if rate is not None:
            from drawaudio_model.clip_format import SAMPLE_RATE

            if not SAMPLE_RATE <= rate <= 384_000:
                raise ValueError(f"--sample-rate is {rate}, expected {SAMPLE_RATE} to 384000 Hz, such as 48000")
        if delivery.timecode is not None:
            delivery.chunks(options.video)
        return delivery

    @property
    def notices(self) -> list[str]:
        """A sentence about the limits of a higher rate."""
        return [] if self.sample_rate is None or self.rate == PLAIN.rate else [CONTENT_NOTICE]

    @property
    def rate(self) -> int:
        """In Hz."""
        from drawaudio_model.clip_format import SAMPLE_RATE

        return self.sample_rate or SAMPLE_RATE

    def chunks(self, video: Path | None) -> dict[bytes, bytes]:
        """The chunks that give a .wav its place on the clock, at the video's frame rate."""
        if self.timecode is None:
            return {}
        from drawaudio_model.media import probe
        from drawaudio_model.muxing.timecode import exact_rate, parse_timecode
        from drawaudio_model.muxing.wave_file import clock_chunks

        fps = None if video is None else probe(video).fps
        if not fps:
            raise ValueError(f"--timecode was given, and {video} has no frame rate; leave it out")
        return clock_chunks(parse_timecode(self.timecode, exact_rate(fps)), self.rate, self.bits, "Draw an Audio")


PLAIN = Delivery()
CONTENT_NOTICE = "the sound ends at 8 kHz, as all that the model makes; a higher rate only fits it into a session"


def write_sound(output: Path, waveform: "np.ndarray", *, video: Path | None = None, delivery: Delivery = PLAIN) -> None:
    """Writes a sound, or the video with it; what exceeds full scale is limited, which is said in one line.

    Args:
        output: the suffix says the format.
        waveform: (n,), or (n, 2) left and right, at 16 kHz.
        video: whose picture goes into a video, and whose frame rate counts in a timecode.
        delivery: form of a .wav or .flac.

    Raises:
        ValueError: when it cannot be written so; the sound then lies beside `output` as .wav, which the message names.
    """
    import numpy as np

    from drawaudio_model import media
    from drawaudio_model.levels.full_scale import fit_full_scale
    from drawaudio_model.muxing.wave_file import resampled, write_wave

    # Between the samples of 16 kHz a higher rate has some more, which may lie beyond full scale.
    between = delivery.sample_rate is not None and np.abs(resampled(waveform, delivery.rate)).max() > 1
    sound = fit_full_scale(waveform, lossy=media.is_lossy(output) or between)
    with never_lost(output, waveform):
        if delivery != PLAIN and output.suffix.lower() == ".wav":
            samples = resampled(sound.waveform, delivery.rate)
            write_wave(output, samples, sample_rate=delivery.rate, bits=delivery.bits, chunks=delivery.chunks(video))
        elif delivery != PLAIN:
            media.write_flac(output, resampled(sound.waveform, delivery.rate), delivery.rate, delivery.bits)
        elif output.suffix.lower() in AUDIO_SUFFIXES:
            media.write_audio(output, sound.waveform)
        else:
            assert video is not None, f"{output} is to have a picture"
            media.mux(video, sound.waveform, output)
    if sound.limited:
        print(f"{output}: {sound.description}")


@contextmanager
def never_lost(output: Path, waveform: "np.ndarray", sample_rate: int | None = None) -> Iterator[None]:
    """Keeps a sound that is being written: minutes of sampling are in it.

    Args:
        output: of the writing.
        waveform: (n,), or (n, 2) left and right.
        sample_rate: in Hz; None: 16 kHz.

    Raises:
        ValueError: whatever went wrong, a programming error of ours included; it says where the sound is kept.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(f"{error}; {_rescued(output, waveform, sample_rate)}") from error


def _rescued(output: Path, waveform: "np.ndarray", sample_rate: int | None) -> str:
    """Writes a sound as .wav of floats, as it was made, beside an output that failed, else where there is room.

    A file that is there already is left alone.

    Returns:
        A clause that names the file, or says that there is none.
    """
    import soundfile

    from drawaudio_model.atomic_files import replaced_file
    from drawaudio_model.clip_format import SAMPLE_RATE

    for folder in dict.fromkeys((output.parent, Path.cwd(), Path(tempfile.gettempdir()))):
        # Too long a name may be what went wrong.
        names = (f"{output.stem[:100]}{number}.wav" for number in ("", *(f"-{count}" for count in range(2, 1000))))
        path = next((folder / name for name in names if not (folder / name).exists() and folder / name != output), None)
        if path is None:
            continue
        try:
            with replaced_file(path) as temporary:
                soundfile.write(temporary, waveform, sample_rate or SAMPLE_RATE, format="WAV", subtype="FLOAT")
        except (OSError, soundfile.LibsndfileError):
            continue
        return f"the sound itself is kept in {path}"
    return "the sound itself could not be kept in any folder either"
