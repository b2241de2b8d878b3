"""A media file opened: its container, the streams that FFmpeg would play, and what the header says of them."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, overload

import av
from av.stream import Disposition

from drawaudio_model.decoding.tracks import MediaError


@dataclass(frozen=True)
class MediaInfo:
    """What the header says, before decoding. Sizes are as stored: rotation and pixel shape are not applied."""

    container: str
    video_seconds: float
    """Presented length of the picture (edit lists applied); 0 without one."""
    audio_seconds: float
    """Presented length of the sound; 0 without one."""
    video_codec: str | None
    width: int | None
    height: int | None
    fps: float | None
    audio_codec: str | None
    sample_rate: int | None
    channels: int | None


@contextmanager
def open_container(source: Path | bytes) -> Iterator[av.container.InputContainer]:
    """The opened container; FFmpeg's errors on opening become MediaError."""
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise FileNotFoundError(f"media file {source} does not exist")
    try:
        # "file:" because a name like "12:30.mp4" would be read as a protocol.
        container = av.open(io.BytesIO(source) if isinstance(source, bytes) else f"file:{source}", "r")
    except (av.error.FFmpegError, UnicodeError) as error:
        if _lacks_moov_atom(source):
            raise MediaError(
                "truncated", "no moov atom: the file was never finished, record or load it again"
            ) from None
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError("undecodable", f"the container cannot be opened: {reason}") from error
    with container:
        yield container


def _lacks_moov_atom(source: Path | bytes) -> bool:
    """Whether this is an mp4 (it begins with an ftyp box) in whose chain of boxes none is named moov."""
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        length = file.seek(0, io.SEEK_END)
        position, first = 0, True
        while position + 8 <= length:
            file.seek(position)
            header = file.read(16)
            size, name = int.from_bytes(header[:4], "big"), header[4:8]
            if (first and name != b"ftyp") or name == b"moov":
                return False
            if size == 1:
                size = int.from_bytes(header[8:16], "big")
            if size < 8:
                break
            position, first = position + size, False
        return not first


@overload
def find_stream(container: av.container.InputContainer, kind: Literal["video"]) -> av.VideoStream | None: ...
@overload
def find_stream(container: av.container.InputContainer, kind: Literal["audio"]) -> av.AudioStream | None: ...
def find_stream(
    container: av.container.InputContainer, kind: Literal["video", "audio"]
) -> av.VideoStream | av.AudioStream | None:
    """The stream that FFmpeg would play, or None; cover pictures are no moving picture."""
    stream: Any = container.streams.best(kind)
    if stream is not None and stream.disposition & Disposition.attached_pic:
        others = [s for s in container.streams if s.type == kind and not s.disposition & Disposition.attached_pic]
        stream = others[0] if others else None
    return stream


@overload
def require_stream(container: av.container.InputContainer, kind: Literal["video"]) -> av.VideoStream: ...
@overload
def require_stream(container: av.container.InputContainer, kind: Literal["audio"]) -> av.AudioStream: ...
def require_stream(
    container: av.container.InputContainer, kind: Literal["video", "audio"]
) -> av.VideoStream | av.AudioStream:
    """The "video" or "audio" stream, with a decoder."""
    stream = find_stream(container, kind)
    if stream is None:
        if any(other.type == kind and other.codec_context is None for other in container.streams):
            raise MediaError("undecodable", f"there is no decoder for the {kind} stream")
        raise MediaError(f"no_{kind}_stream", f"the file has no {kind} stream")
    return stream


def media_info(container: av.container.InputContainer) -> MediaInfo:
    """What the header says; lengths that neither a stream nor the container states are 0."""
    video, audio = find_stream(container, "video"), find_stream(container, "audio")
    whole = container.duration / av.time_base if container.duration else 0.0

    def length(stream: av.stream.Stream | None) -> float:
        if stream is None:
            return 0.0
        return float(stream.duration * stream.time_base) if stream.duration and stream.time_base else whole

    return MediaInfo(
        container=container.format.name,
        video_seconds=length(video),
        audio_seconds=length(audio),
        video_codec=video.codec_context.name if video else None,
        width=video.codec_context.width if video else None,
        height=video.codec_context.height if video else None,
        fps=float(video.average_rate) if video and video.average_rate else None,
        audio_codec=audio.codec_context.name if audio else None,
        sample_rate=audio.codec_context.sample_rate if audio else None,
        channels=audio.codec_context.channels if audio else None,
    )


def measured_info(container: av.container.InputContainer, info: MediaInfo) -> MediaInfo:
    """The same with lengths read off the packets' times, by a pass over the file without decoding."""
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    streams = [stream for kind in ("video", "audio") if (stream := find_stream(container, kind)) is not None]
    with suppress(av.error.FFmpegError):  # A damaged file is as long as what can be read.
        for packet in container.demux(streams):
            if packet.pts is None or packet.is_discard:
                continue
            kind, time = packet.stream.type, float(packet.pts * packet.time_base)
            first[kind] = min(first.get(kind, time), time)
            last[kind] = max(last.get(kind, time), time + float((packet.duration or 0) * packet.time_base))
    lengths = {kind: last[kind] - first[kind] for kind in first}
    return replace(
        info,
        video_seconds=lengths.get("video", info.video_seconds),
        audio_seconds=lengths.get("audio", info.audio_seconds),
    )
