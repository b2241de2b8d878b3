"""A media file -> frames and waveform, decoded once; waveform (+ video) -> file.

Legend: V video frames, H/W pixels. Time zero of a file is the moment its first picture is shown: frames and sound are
both counted from there, after the container's edit lists. Sound from before that moment is cut off, sound that begins
later is preceded by silence. All decoding is PyAV's (it brings its own FFmpeg); one pass serves all clips of a file.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image

from drawaudio_model.atomic_files import replaced_file
from drawaudio_model.clip_format import SAMPLE_RATE, SOURCE_SECONDS, VIDEO_FPS
from drawaudio_model.decoding.container import MediaInfo as MediaInfo
from drawaudio_model.decoding.container import has_transparency as has_transparency
from drawaudio_model.decoding.container import is_still_picture as is_still_picture
from drawaudio_model.decoding.errors import REASONS as REASONS
from drawaudio_model.decoding.errors import MediaError as MediaError
from drawaudio_model.decoding.reading import (
    DecodedClip,
    DecodedMedia,
    check_usable,
    read_picture,
    read_sound,
    stream_clips,
)
from drawaudio_model.decoding.reading import FileFacts as FileFacts
from drawaudio_model.decoding.reading import fault_of as fault_of
from drawaudio_model.decoding.reading import probe as probe
from drawaudio_model.muxing.containers import LOST, MACHINE_ERRORS, check_container, lost_on_the_way
from drawaudio_model.muxing.copied_picture import CannotHold, write_video
from drawaudio_model.muxing.encoded_sound import LOSSY_FORMATS, TRACK_CODECS, write_lossy
from drawaudio_model.muxing.encoded_sound import is_lossy as is_lossy
from drawaudio_model.muxing.packet_times import picture_times

LONGEST_FLAC_SECONDS = 60
"""Of a shard's sound, which has 10 s: silence of days fits into a few kilobytes and would fill the memory."""
VIDEO_SUFFIXES = tuple(TRACK_CODECS)
"""Files that `mux` writes."""
AUDIO_SUFFIXES = (".wav", ".flac", *LOSSY_FORMATS)
"""Files that `write_audio` writes."""


def read_clips(
    source: Path | bytes,
    *,
    starts_seconds: Sequence[float] = (0.0,),
    seconds: float = SOURCE_SECONDS,
    fps: float = VIDEO_FPS,
    longer_side: int | None = 640,
    size: tuple[int, int] | None = None,
    threads: int = 1,
) -> DecodedMedia:
    """Clips of one file, frames and sound together, in one pass over the file.

    Args:
        source: path of a file, or its bytes.
        starts_seconds: where the clips start, counted from the first picture; at least one.
        seconds: length of every clip.
        fps: frames a second; frame i is the last one whose time is <= start + i / fps.
        longer_side: pixels; larger pictures are scaled down to it, smaller ones stay. None: never scale.
        size: (H, W) in pixels; scales to exactly this, not keeping the aspect ratio. Wins over longer_side.
        threads: decoding threads. 1 by default, because shards are decoded in parallel processes; 0 lets FFmpeg choose.

    Returns:
        DecodedMedia. Media shorter than a clip is padded (last frame held, silence) and flagged. Where several clips
        are requested, a silent or too short one is flagged, and only a file with no usable clip raises.

    Raises:
        MediaError: for everything else that is wrong with the file; see REASONS.
        ValueError: for arguments that make no sense.
        FileNotFoundError: when the path does not exist.
    """
    clips: dict[int, DecodedClip] = {}
    facts = stream_clips(
        source,
        starts_seconds,
        clips.__setitem__,
        seconds=seconds,
        fps=fps,
        longer_side=longer_side,
        size=size,
        threads=threads,
    )
    in_order = [clips[index] for index in range(len(starts_seconds))]
    check_usable(in_order)
    return DecodedMedia(**vars(facts), clips=in_order)


def read_frames(
    source: Path | bytes,
    *,
    seconds: float,
    start_seconds: float = 0.0,
    fps: float = VIDEO_FPS,
    longer_side: int | None = 640,
    size: tuple[int, int] | None = None,
    threads: int = 0,
    alpha: bool = False,
) -> np.ndarray:
    """(V, H, W, 3) uint8 RGB, V = ceil(seconds * fps): `seconds` of a picture that needs no sound; with `alpha` RGBA.

    They begin at `start_seconds`; all before is decoded, too, but not kept. Other arguments and errors as read_clips,
    the sound's left out. A shorter picture holds its last frame.
    """
    return read_picture(
        source,
        seconds=seconds,
        start_seconds=start_seconds,
        fps=fps,
        longer_side=longer_side,
        size=size,
        threads=threads,
        alpha=alpha,
    )


def read_waveform(source: Path | bytes, *, seconds: float | None = None) -> np.ndarray:
    """(samples,) float32 mono at SAMPLE_RATE: the sound of any audio or video file.

    Sample 0 is the moment at which the first picture is shown, as in read_clips: sound from before it is cut off, silence
    precedes sound that begins later. Without a moving picture it is the sound's own first sample.

    Args:
        source: path of a file, or its bytes.
        seconds: exactly this much, silence after the sound's end; None: all of it.

    Raises:
        MediaError: no_audio_stream, undecodable, truncated, or too_short where the sound ends before the first picture.
            Silence is no error here.
        FileNotFoundError: when the path does not exist.
    """
    return read_sound(source, seconds=seconds)


def write_audio(path: Path, waveform: np.ndarray, *, floats: bool = False) -> None:
    """Writes (n,) float mono, or (n, 2) left and right, at SAMPLE_RATE, as the suffix says; whole or not at all.

    Args:
        path: .wav or .flac, which hold 16 bits, or .mp3, .ogg (Opus) or .m4a (AAC); of these the true peak should leave
            room, see `levels.full_scale.fit_full_scale`.
        waveform: samples in [-1, 1].
        floats: write a wav of 32-bit floats, which holds samples beyond full scale, too.

    Raises:
        ValueError: for another suffix, another shape, or samples that are not finite or do not fit 16 bits: nothing is
            clipped. `levels.full_scale.fit_full_scale` makes any sound fit.
        OSError: when the file cannot be written, for want of space or of a right.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    formats = {".wav": "WAV", ".flac": "FLAC"}
    if suffix not in AUDIO_SUFFIXES:
        raise ValueError(f"audio file {path.name} ends in {path.suffix!r}, expected one of {', '.join(AUDIO_SUFFIXES)}")
    if floats and suffix != ".wav":
        raise ValueError(f"audio file {path.name} is to hold floats, expected .wav")
    check_waveform(waveform, stereo=True)
    samples = np.asarray(waveform, np.float32) if floats else _to_int16(waveform, stereo=True)
    with replaced_file(path) as temporary:
        try:
            if suffix in LOSSY_FORMATS:
                write_lossy(temporary, suffix, samples)
            else:
                subtype = "FLOAT" if floats else "PCM_16"
                soundfile.write(temporary, samples, SAMPLE_RATE, format=formats[suffix], subtype=subtype)
        except av.error.FFmpegError as error:
            raise OSError(f"{path} cannot be written: {error.strerror}") from error
        except soundfile.LibsndfileError as error:
            raise OSError(f"{path} cannot be written: {error.error_string}") from error


def write_flac(path: Path, samples: np.ndarray, sample_rate: int, bits: int) -> None:
    """Writes (n,) or (n, 2) floats in [-1, 1] at a rate in Hz as .flac of 16 or 24 bits; whole or not at all.

    Raises:
        ValueError: for samples beyond full scale, or not finite.
        OSError: when the file cannot be written.
    """
    check_full_scale(samples, stereo=True)
    with replaced_file(path) as temporary:
        try:
            soundfile.write(temporary, samples, sample_rate, format="FLAC", subtype=f"PCM_{bits}")
        except soundfile.LibsndfileError as error:
            raise OSError(f"{path} cannot be written: {error.error_string}") from error


def encode_flac(waveform: np.ndarray) -> bytes:
    """(n,) float mono at SAMPLE_RATE as 16-bit FLAC.

    Raises:
        ValueError: for samples that are not finite or beyond full scale; see `levels.full_scale.fit_full_scale`.
    """
    buffer = io.BytesIO()
    soundfile.write(buffer, _to_int16(waveform), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_flac(data: bytes) -> np.ndarray:
    """(n,) float32 in [-1, 1), exactly the 16-bit values over 32768.

    Raises:
        ValueError: when this is no mono audio at SAMPLE_RATE, or lasts longer than LONGEST_FLAC_SECONDS.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.frames > LONGEST_FLAC_SECONDS * file.samplerate:
                raise ValueError(
                    f"a FLAC file of {len(data)} bytes says that it lasts {file.frames / file.samplerate:.0f} s, expected at "
                    f"most {LONGEST_FLAC_SECONDS}; do not use what holds it"
                )
            # What the header says of the length need not be true.
            samples, rate = file.read(LONGEST_FLAC_SECONDS * file.samplerate, dtype="int16"), file.samplerate
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{len(data)} bytes are no FLAC file: {error.error_string}") from error
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise ValueError(
            f"audio of shape {samples.shape} at {rate} Hz, expected mono at {SAMPLE_RATE} Hz; use read_clips for others"
        )
    return samples.astype(np.float32) / 32768


def encode_jpeg(frame: np.ndarray, quality: int = 90) -> bytes:
    """(H, W, 3) uint8 RGB as JPEG."""
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"frame of shape {frame.shape} and type {frame.dtype}, expected (H, W, 3) uint8 RGB")
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def decode_jpeg(data: bytes) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def mux(video: Path, waveform: np.ndarray, out: Path) -> None:
    """Writes the picture of `video`, copied without re-encoding, with a new sound track that starts with it.

    Args:
        video: any file with a picture; its own sound is left out.
        waveform: (n,) float mono, or (n, 2) left and right, at SAMPLE_RATE, in [-1, 1]; of a lossy track the true peak should
            leave room, see `levels.full_scale.fit_full_scale`.
        out: the suffix picks the container and with it the sound's codec: AAC (mp4, mov, m4v, ts), Opus (webm),
            FLAC (mkv). Written whole or not at all. The picture begins at 0.

    Raises:
        MediaError: when `video` has no picture or cannot be read.
        ValueError: for an unknown suffix, a container that cannot hold the picture unharmed, or samples beyond full scale.
        OSError: when the file cannot be written, for want of space or of a right.
    """
    video, out = Path(video), Path(out)
    if out.suffix.lower() not in TRACK_CODECS:
        raise ValueError(f"output {out.name} ends in {out.suffix!r}, expected one of {', '.join(TRACK_CODECS)}")
    samples = _to_int16(waveform, stereo=True)
    check_container(video, out)
    times = picture_times(video)
    with replaced_file(out) as temporary:
        try:
            written = write_video(temporary, video, times, samples)
            lost = lost_on_the_way(temporary, written)
        except (CannotHold, av.error.FFmpegError) as error:
            reason = getattr(error, "strerror", error)
            if getattr(error, "errno", None) in MACHINE_ERRORS:
                raise OSError(f"{out} cannot be written: {reason}") from error
            raise ValueError(f"{out} cannot be written: {reason}; choose another suffix, such as .mkv") from error
        if lost is not None:
            raise ValueError(f"{out} cannot keep {LOST[lost]} of {video}; choose another suffix, such as .mp4")


def check_waveform(waveform: np.ndarray, *, stereo: bool = False) -> None:
    """Raises ValueError unless this is (n,) finite floats, at least one; or, with `stereo`, (n, 2)."""
    waveform = np.asarray(waveform)
    fits = waveform.ndim == 1 or (stereo and waveform.shape[1:] == (2,))
    if not fits or not len(waveform) or waveform.dtype.kind != "f" or not np.isfinite(waveform).all():
        raise ValueError(
            f"waveform of shape {waveform.shape} and type {waveform.dtype}, expected (samples,) finite floats in [-1, 1]"
        )


def _to_int16(waveform: np.ndarray, *, stereo: bool = False) -> np.ndarray:
    """int16 of the same shape, rounded; 1, which has no value of its own, becomes the largest one."""
    check_full_scale(waveform, stereo=stereo)
    return np.minimum(np.round(np.asarray(waveform, np.float64) * 32768), 32767).astype(np.int16)


def check_full_scale(waveform: np.ndarray, *, stereo: bool = False) -> None:
    """Raises ValueError unless this is (n,) finite floats in [-1, 1]; or, with `stereo`, (n, 2)."""
    check_waveform(waveform, stereo=stereo)
    peak = float(np.abs(waveform).max())
    if peak > 1:
        raise ValueError(
            f"waveform peaks at {peak:.4g} of full scale, expected at most 1; limit it first (levels.full_scale.fit_full_scale)"
        )
