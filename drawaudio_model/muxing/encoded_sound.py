"""A waveform as packets of a sound track, and as a file of its own in a lossy codec.

Legend: n samples, at SAMPLE_RATE; (n,) is mono, (n, 2) are left and right.
"""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler

from drawaudio_model.clip_format import SAMPLE_RATE

LOSSY_FORMATS = {".mp3": ("mp3", "libmp3lame"), ".ogg": ("ogg", "libopus"), ".m4a": ("ipod", "aac")}
"""Suffix of a sound file -> its container and its codec."""
TRACK_CODECS = {
    ".mp4": "aac",
    ".mov": "aac",
    ".m4v": "aac",
    ".ts": "aac",
    ".webm": "libopus",
    ".mkv": "flac",
}
"""Suffix of a video file -> the codec of its sound track."""
_LOSSLESS_CODECS = ("flac",)
_BIT_RATE = 96_000
"""Of the lossy codecs, for each channel: for 16 kHz more than any of them needs to be transparent."""


def is_lossy(out: Path) -> bool:
    """Whether the sound in a file of this suffix is encoded by a codec that changes its samples."""
    suffix = Path(out).suffix.lower()
    return suffix in LOSSY_FORMATS or TRACK_CODECS.get(suffix, "flac") not in _LOSSLESS_CODECS


def add_sound(sink: av.container.OutputContainer, codec: str, channels: int = 1) -> av.AudioStream:
    """A new track in `sink`, of one channel or two."""
    stream = sink.add_stream(codec, rate=SAMPLE_RATE, layout="mono" if channels == 1 else "stereo")
    assert isinstance(stream, av.AudioStream), f"{codec} is a codec of sound"
    if codec not in _LOSSLESS_CODECS:
        stream.bit_rate = channels * _BIT_RATE
    return stream


def encoded(stream: av.AudioStream, samples: np.ndarray, first_pts: int = 0) -> Iterator[av.Packet]:
    """Packets of the whole sound int16, in order; the first sample is heard at `first_pts` samples."""
    layout = "mono" if samples.ndim == 1 else "stereo"
    resampler = AudioResampler(
        format=stream.codec_context.format.name,
        layout=layout,
        rate=SAMPLE_RATE,
        frame_size=stream.codec_context.frame_size or 1024,
    )
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout=layout)  # left, right, left, ...
    frame.sample_rate, frame.pts = SAMPLE_RATE, first_pts
    for given in (frame, None):
        for piece in resampler.resample(given):
            yield from stream.encode(piece)
    yield from stream.encode(None)


def write_lossy(path: Path, suffix: str, samples: np.ndarray) -> None:
    """Writes int16 to `path` in the format of the suffix, one of LOSSY_FORMATS."""
    container, codec = LOSSY_FORMATS[suffix]
    with av.open(f"file:{path}", "w", format=container) as sink:
        for packet in encoded(add_sound(sink, codec, samples.ndim), samples):
            sink.mux_one(packet)
