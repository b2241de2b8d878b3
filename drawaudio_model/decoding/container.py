"""A media file opened: its container, the streams that FFmpeg would play, and what the header says of them."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import av

from drawaudio_model.decoding.clock import read_packets
from drawaudio_model.decoding.errors import MediaError, only_media_errors
from drawaudio_model.decoding.lengths import ends_early, is_cover, stated_seconds

LATE_STREAM_FORMATS = {"mpegts", "mpeg", "flv"}
"""Containers whose streams may first appear, or begin, in mid-file; FFmpeg looks for them in the first 5 s only."""
MOST_PROBED_BYTES = 200_000_000
"""So much of a file is searched for a stream that its beginning lacks."""
_THOROUGH = {
    "probesize": str(MOST_PROBED_BYTES),
    "analyzeduration": str(2**31 - 1),  # microseconds
    "scan_all_pmts": "1",  # a transport stream may announce streams again and again
}
"""FFmpeg's options to search so."""
_PHOTO_FORMATS = ("_pipe", "tty", "fits")
"""How FFmpeg's names of formats end that hold one picture; those of a length are of its own making."""
_PHOTO_BRANDS = ("avif", "heic", "heix", "mif1")
NAMES_ERRORS = "surrogateescape"
"""Names in a file that are no UTF-8 are no fault of it: their bytes are kept, and written so again."""
_LISTS = re.compile(
    rb"(\xef\xbb\xbf)?\s*"
    rb"(ffconcat|#EXTM3U|\[playlist\]|v=0\s|[a-z]{3,5}://|(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(MPD|smil|asx)\b)",
    re.IGNORECASE | re.DOTALL,
)
"""How files begin that only name other files, or a stream on a network (SDP begins with v=0)."""
_LIST_FORMATS = {"concat", "hls", "dash", "imf", "sdp", "sap"}
_LIST_TEXT = "the file only names other files, or a stream on a network; give those files instead"


@dataclass(frozen=True)
class MediaInfo:
    """Facts of a file. Sizes are as stored: rotation and pixel shape are not applied."""

    container: str
    video_seconds: float
    """Presented length of the picture (edit lists applied); 0 without one."""
    audio_seconds: float
    """Presented length of the sound; 0 without one."""
    video_codec: str | None
    """UNKNOWN_CODEC where there is a picture and no decoder for it."""
    width: int | None
    height: int | None
    fps: float | None
    audio_codec: str | None
    sample_rate: int | None
    channels: int | None
    flags: tuple[str, ...] = ()
    """Of FILE_FLAGS, those that are known without decoding."""


UNKNOWN_CODEC = "unknown"


@contextmanager
def open_container(source: Path | bytes) -> Iterator[av.container.InputContainer]:
    """The opened container; whatever goes wrong on opening becomes MediaError.

    Raises:
        FileNotFoundError: when the path does not exist.
        MediaError: see REASONS.
    """
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise FileNotFoundError(f"media file {source} does not exist")
    with only_media_errors():
        container = _open(source)
        if container.format.name in LATE_STREAM_FORMATS and not _has_both_described(container):
            container.close()
            container = _open(source, _THOROUGH)
    with container:
        yield container


def _open(source: Path | bytes, options: dict[str, str] | None = None) -> av.container.InputContainer:
    if _LISTS.match(_head(source)):
        raise MediaError("undecodable", _LIST_TEXT)
    # A file that names others all the same must not open them: FFmpeg would wait for a network, or read what nobody gave.
    allowed = {"protocol_whitelist": "none" if isinstance(source, bytes) else "file"}
    try:
        # "file:" because a name like "12:30.mp4" would be read as a protocol.
        name = io.BytesIO(source) if isinstance(source, bytes) else f"file:{source}"
        container = av.open(name, "r", options=allowed | (options or {}), metadata_errors=NAMES_ERRORS)
    except MemoryError:
        raise
    except (av.error.FFmpegError, UnicodeError) as error:
        if _lacks_moov_atom(source):
            raise MediaError(
                "truncated", "no moov atom: the file was never finished, record or load it again"
            ) from None
        if ends_early(source) and not _head(source).startswith(b"fLaC"):
            raise MediaError("truncated", "the file ends inside its own structure; record or load it again") from None
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError("undecodable", f"the container cannot be opened: {reason}") from error
    if container.format.name in _LIST_FORMATS:
        container.close()
        raise MediaError("undecodable", _LIST_TEXT)
    return container


def _has_both_described(container: av.container.InputContainer) -> bool:
    """Whether a picture and a sound were found; one that is only announced has no size, or no rate, as yet."""
    video, audio = find_stream(container, "video"), find_stream(container, "audio")
    if video is None or audio is None:
        return False
    picture, sound = video.codec_context, audio.codec_context
    return (picture is None or picture.width > 0) and (sound is None or sound.sample_rate > 0)


def _head(source: Path | bytes) -> bytes:
    """The first 1024 bytes."""
    if isinstance(source, bytes):
        return source[:1024]
    try:
        with open(source, "rb") as file:
            return file.read(1024)
    except OSError:
        return b""


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
    """The stream of the kind that a player shows, or None.

    Cover pictures are no moving picture, nor are single pictures beside a moving one. A stream without a decoder is
    taken only where there is no other.
    """
    best = container.streams.best(kind)
    found = container.streams.video if kind == "video" else container.streams.audio
    streams: list[av.VideoStream | av.AudioStream] = [stream for stream in found if not is_cover(stream)]
    if kind == "video" and len(streams) > 1:
        streams = [stream for stream in streams if not _is_still(stream)] or streams
    streams = [stream for stream in streams if stream.codec_context is not None] or streams
    return next((stream for stream in streams if stream is best), streams[0] if streams else None)


STILL_SECONDS = 0.2
"""A video stream beside another one that states to be no longer than this is a thumbnail that nobody marked as one."""


def is_still_picture(source: Path | bytes) -> bool:
    """Whether all that can be seen of a file is one picture, a photo or a page, shown for no time to speak of.

    Raises:
        FileNotFoundError: when the path does not exist.
        MediaError: when the file cannot be opened, or not read to its second picture.
    """
    with only_media_errors(), open_container(source) as container:
        video = find_stream(container, "video")
        if video is None:
            return False
        seconds: list[float] = []
        for packet in read_packets(container, [video]):
            if packet.size:
                seconds.append(float((packet.duration or 0) * packet.time_base))
            if len(seconds) > 1:
                return False
        brand = container.metadata.get("major_brand", "")
        is_photo = container.format.name.endswith(_PHOTO_FORMATS) or brand in _PHOTO_BRANDS
        return len(seconds) == 1 and (is_photo or seconds[0] <= STILL_SECONDS)


def has_transparency(source: Path | bytes) -> bool:
    """Whether the picture of a file has an opacity that can be read.

    Raises:
        MediaError: when the file cannot be opened, or has an opacity beside its picture, as VP8 and VP9 do, which FFmpeg's own
            decoders leave out.
    """
    with only_media_errors(), open_container(source) as container:
        video = require_stream(container, "video")
        if any(name.lower() == "alpha_mode" and text == "1" for name, text in video.metadata.items()):
            raise MediaError("undecodable", "its transparency cannot be read; export it white on black")
        form = video.codec_context.format
        return form is not None and any(component.is_alpha for component in form.components)


def _is_still(stream: av.stream.Stream) -> bool:
    """Whether a stream says of itself that it is a single picture."""
    stated = stated_seconds(stream)
    stated = _tagged_seconds(stream) if stated is None else stated
    return stream.frames == 1 or (stated is not None and stated <= STILL_SECONDS)


def _tagged_seconds(stream: av.stream.Stream) -> float | None:
    """Matroska's length of a stream, from its tag DURATION (hh:mm:ss.nnn); None without one."""
    text = stream.metadata.get("DURATION", "")
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text.strip())
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else None


@overload
def require_stream(container: av.container.InputContainer, kind: Literal["video"]) -> av.VideoStream: ...
@overload
def require_stream(container: av.container.InputContainer, kind: Literal["audio"]) -> av.AudioStream: ...
def require_stream(
    container: av.container.InputContainer, kind: Literal["video", "audio"]
) -> av.VideoStream | av.AudioStream:
    """The "video" or "audio" stream, with a decoder."""
    stream = find_stream(container, "video") if kind == "video" else find_stream(container, "audio")
    if stream is None:
        raise MediaError(f"no_{kind}_stream", f"the file has no {kind} stream")
    if stream.codec_context is None:
        raise MediaError("undecodable", f"there is no decoder for the {kind} stream")
    return stream


def media_info(
    container: av.container.InputContainer, video_seconds: float, audio_seconds: float, flags: tuple[str, ...] = ()
) -> MediaInfo:
    """The streams as the header describes them, with the lengths that their packets bear out."""
    video, audio = find_stream(container, "video"), find_stream(container, "audio")
    picture, sound = video and video.codec_context, audio and audio.codec_context
    rate = video.average_rate if video and picture else None
    return MediaInfo(
        container=container.format.name,
        video_seconds=video_seconds,
        audio_seconds=audio_seconds,
        video_codec=None if video is None else picture.name if picture else UNKNOWN_CODEC,
        width=picture.width if picture else None,
        height=picture.height if picture else None,
        fps=float(rate) if rate else None,
        audio_codec=None if audio is None else sound.name if sound else UNKNOWN_CODEC,
        sample_rate=sound.sample_rate if sound else None,
        channels=sound.channels if sound else None,
        flags=flags,
    )
