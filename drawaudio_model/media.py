"""A media file -> frames and waveform, decoded once; waveform (+ video) -> file.

Legend: V video frames, H/W pixels. Time zero of a file is the moment its first picture is shown: frames and sound are
both counted from there, after the container's edit lists. Sound from before that moment is cut off, sound that begins
later is preceded by silence. All decoding is PyAV's (it brings its own FFmpeg); one pass serves all clips of a file.
"""

import io
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
import soundfile
from av.audio.resampler import AudioResampler
from PIL import Image

from drawaudio_model.atomic_files import replaced_file
from drawaudio_model.clip_format import SAMPLE_RATE, SOURCE_SECONDS, VIDEO_FPS
from drawaudio_model.decoding.container import MediaInfo as MediaInfo
from drawaudio_model.decoding.container import find_stream, open_container
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
        are asked, a silent or too short one is flagged, and only a file with no usable clip raises.

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
    fps: float = VIDEO_FPS,
    longer_side: int | None = 640,
    size: tuple[int, int] | None = None,
    threads: int = 0,
) -> np.ndarray:
    """(V, H, W, 3) uint8 RGB, V = ceil(seconds * fps): the first `seconds` of a picture that needs no sound.

    Arguments and errors as read_clips, the sound's left out. A shorter picture holds its last frame.
    """
    return read_picture(source, seconds=seconds, fps=fps, longer_side=longer_side, size=size, threads=threads)


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
    """Writes (n,) float mono at SAMPLE_RATE as 16-bit wav or flac, by the suffix; whole or not at all.

    Args:
        path: .wav or .flac.
        waveform: samples in [-1, 1].
        floats: write a wav of 32-bit floats, which holds samples beyond full scale, too.

    Raises:
        ValueError: for another suffix, another shape, or samples that are not finite or do not fit 16 bits: nothing is
            clipped. `levels.full_scale.fit_full_scale` makes any sound fit.
    """
    path = Path(path)
    formats = {".wav": "WAV", ".flac": "FLAC"}
    if path.suffix.lower() not in formats:
        raise ValueError(f"audio file {path.name} ends in {path.suffix!r}, expected .wav or .flac")
    if floats and path.suffix.lower() != ".wav":
        raise ValueError(f"audio file {path.name} is to hold floats, expected .wav")
    check_waveform(waveform)
    samples = np.asarray(waveform, np.float32) if floats else _to_int16(waveform)
    with replaced_file(path) as temporary:
        soundfile.write(
            temporary,
            samples,
            SAMPLE_RATE,
            format=formats[path.suffix.lower()],
            subtype="FLOAT" if floats else "PCM_16",
        )


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
        ValueError: when this is no mono audio at SAMPLE_RATE.
    """
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="int16")
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
        waveform: (n,) float mono at SAMPLE_RATE, in [-1, 1]; of a lossy track the true peak should leave room, see
            `levels.full_scale.fit_full_scale`.
        out: the suffix picks the container and with it the sound's codec: AAC (mp4, mov, m4v, ts), Opus (webm),
            FLAC (mkv). Written whole or not at all.

    Raises:
        MediaError: when `video` has no picture or cannot be read.
        ValueError: for an unknown suffix, a container that cannot hold the picture's codec, or samples beyond full scale.
    """
    out = Path(out)
    codec = _MUX_CODECS.get(out.suffix.lower())
    if codec is None:
        raise ValueError(f"output {out.name} ends in {out.suffix!r}, expected one of {', '.join(_MUX_CODECS)}")
    samples = _to_int16(waveform)
    with open_container(video) as source, replaced_file(out) as temporary:
        _mux_into(temporary, source, _picture_of(source, video), samples, codec)


def _picture_of(source: av.container.InputContainer, video: Path) -> av.VideoStream:
    stream = find_stream(source, "video")
    if stream is None:
        raise MediaError("no_video_stream", f"{video} has no video stream")
    return stream


def check_container(video: Path, out: Path) -> None:
    """Raises what `mux` would for these files, before there is a sound: only the head of a file is written, aside."""
    with open_container(video) as source, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"head{out.suffix}"
        with av.open(f"file:{path}", "w") as sink:
            _add_streams(sink, path, _picture_of(source, video), _MUX_CODECS[out.suffix.lower()])
            sink.start_encoding()


_MUX_CODECS = {
    ".mp4": "aac",
    ".mov": "aac",
    ".m4v": "aac",
    ".ts": "aac",
    ".webm": "libopus",
    ".mkv": "flac",
}

LOSSLESS_CODECS = ("flac",)


def is_lossy(out: Path) -> bool:
    """Whether the sound in a file of this suffix is encoded by a codec that changes its samples."""
    return _MUX_CODECS.get(Path(out).suffix.lower(), "flac") not in LOSSLESS_CODECS


_REORDERED_PACKETS = 600
"""Packets looked at for the first picture: 20 s of hidden ones at 30 fps, more than any keyframe distance in use."""


def _mux_into(
    path: Path, source: av.container.InputContainer, stream: av.VideoStream, samples: np.ndarray, codec: str
) -> None:
    with av.open(f"file:{path}", "w") as sink:
        picture, sound = _add_streams(sink, path, stream, codec)
        packets = (packet for packet in source.demux(stream) if packet.dts is not None)
        # The sound starts with the first picture shown: not always the clock's zero, nor the first packet stored.
        head = list(islice(packets, _REORDERED_PACKETS))
        shown = [packet.pts for packet in head if packet.pts is not None and not packet.is_discard]
        start_seconds = float(min(shown, default=0) * stream.time_base)
        waiting = _encoded_audio(sound, samples, round(start_seconds * SAMPLE_RATE))
        audio_packet = next(waiting, None)
        for packet in chain(head, packets):
            # Sound and picture are interleaved by time, as players that cannot seek want it.
            while (
                audio_packet is not None and audio_packet.dts * audio_packet.time_base <= packet.dts * stream.time_base
            ):
                sink.mux_one(audio_packet)
                audio_packet = next(waiting, None)
            packet.stream = picture
            sink.mux_one(packet)
        while audio_packet is not None:
            sink.mux_one(audio_packet)
            audio_packet = next(waiting, None)


def _add_streams(
    sink: av.container.OutputContainer, path: Path, stream: av.VideoStream, codec: str
) -> tuple[av.VideoStream, av.AudioStream]:
    try:
        picture = sink.add_stream_from_template(stream, opaque=True)
    except ValueError as error:
        name = stream.codec_context.name
        raise ValueError(f"a {path.suffix} file cannot hold {name} video; give the output the suffix .mkv") from error
    sound = sink.add_stream(codec, rate=SAMPLE_RATE, layout="mono")
    if codec in ("aac", "libopus"):
        sound.bit_rate = 96_000
    return picture, sound


def _encoded_audio(stream: av.AudioStream, samples: np.ndarray, first_pts: int) -> Iterator[av.Packet]:
    """Packets of the whole sound, in order; the first sample is shown at `first_pts` samples."""
    resampler = AudioResampler(
        format=stream.codec_context.format.name,
        layout="mono",
        rate=SAMPLE_RATE,
        frame_size=stream.codec_context.frame_size or 1024,
    )
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE, first_pts
    for given in (frame, None):
        for piece in resampler.resample(given):
            yield from stream.encode(piece)
    yield from stream.encode(None)


def check_waveform(waveform: np.ndarray) -> None:
    """Raises ValueError unless this is (n,) finite floats, at least one."""
    waveform = np.asarray(waveform)
    if waveform.ndim != 1 or not len(waveform) or waveform.dtype.kind != "f" or not np.isfinite(waveform).all():
        raise ValueError(
            f"waveform of shape {waveform.shape} and type {waveform.dtype}, expected (samples,) finite floats in [-1, 1]"
        )


def _to_int16(waveform: np.ndarray) -> np.ndarray:
    """(n,) int16, rounded; 1, which has no value of its own, becomes the largest one."""
    check_waveform(waveform)
    peak = float(np.abs(waveform).max())
    if peak > 1:
        raise ValueError(
            f"waveform peaks at {peak:.4g} of full scale, expected at most 1; limit it first (levels.full_scale.fit_full_scale)"
        )
    return np.minimum(np.round(np.asarray(waveform, np.float64) * 32768), 32767).astype(np.int16)
