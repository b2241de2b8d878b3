"""Whether a container holds a picture unharmed, found by writing the first packets of it and reading them back.

What a container claims to take is not what comes back: MOV takes raw video that nobody decodes, transport streams take
anything as private data and lose rotation and pixel shape. So the pictures themselves are compared.
"""

import errno
import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.decoding.container import NAMES_ERRORS, open_container
from drawaudio_model.decoding.errors import only_media_errors
from drawaudio_model.muxing.copied_picture import UNSPECIFIED, CannotHold, write_video
from drawaudio_model.muxing.layered_head import upper_sets
from drawaudio_model.muxing.packet_times import PictureTimes, demuxed, head_of, picture_stream, picture_times

HEAD_PACKETS = 16
"""Shown packets that are tried: enough for any reordering to show, few enough to take no time."""
TIME_TOLERANCE_SECONDS = 2e-3
"""Containers count in milliseconds, or finer."""
_PREFERRED = (".mkv", ".mp4", ".mov", ".webm", ".ts")
"""Suffixes in the order in which they are recommended."""
MACHINE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.ENOMEM)
"""Errors whose reason is no container's: no room on the disk or in memory, or no right."""
_FRAME_SIDE_DATA = (
    SideDataType.STEREO3D,
    SideDataType.SPHERICAL,
    SideDataType.MASTERING_DISPLAY_METADATA,
    SideDataType.CONTENT_LIGHT_LEVEL,
    SideDataType.ICC_PROFILE,
)
_PACKET_SIDE_DATA = ("matroska_block_additional", "palette")
_LIMITED_RANGE = 1
"""The range of brightness where none is specified."""


@dataclass(frozen=True)
class PictureFacts:
    """The facts that must come back the same, beside the times; LOST describes each field."""

    codec: str
    packets: int
    alpha: tuple[bytes, ...]
    layers: tuple[bytes, ...]
    shape: tuple[int, int, float]
    rotation: tuple[float, ...]
    colour: tuple[int, ...]
    side_data: tuple[str, ...]
    pictures: tuple[str, ...]


LOST = {
    "codec": "the codec",
    "packets": "pictures",
    "times": "the times",
    "alpha": "the transparency",
    "layers": "the layers (a transparency, or a second view)",
    "shape": "the shape of the pixels",
    "rotation": "the rotation",
    "colour": "the colour space",
    "side_data": "the notes on brightness or on stereo",
    "pictures": "what the pictures show",
}
"""Field -> a description of the loss where it differs."""


def check_container(video: Path, out: Path) -> None:
    """Raises what `media.mux` would for these files, before there is a sound: only the head of a file is written, aside.

    Raises:
        MediaError: when `video` has no picture or cannot be read.
        ValueError: when the container cannot hold the picture; the message names a suffix that can.
    """
    video, out = Path(video), Path(out)
    times = picture_times(video, HEAD_PACKETS)
    with only_media_errors():
        facts = picture_facts(video, HEAD_PACKETS)
    suffix = out.suffix.lower()
    lost = _lost(video, suffix, times, facts)
    if lost is None:
        return
    others = [other for other in _PREFERRED if other != suffix and _lost(video, other, times, facts) is None]
    advice = (
        f"give the output the suffix {others[0]}"
        if others
        else f"no video file that is written here can; encode it first: "
        f"ffmpeg -i {video.name} -c:v libx264 -pix_fmt yuv420p {video.stem}.mp4"
    )
    if lost == "pictures" and any(packet.is_discard for packet in times.packets):
        what = "hide the pictures that this file's edit list cuts off"
    elif lost in ("codec", "packets", "pictures"):
        what = f"hold {facts.codec} video"
    else:
        what = f"keep {LOST[lost]} of this picture"
    raise ValueError(f"a {suffix} file cannot {what}; {advice}")


def _lost(video: Path, suffix: str, times: PictureTimes, facts: PictureFacts) -> str | None:
    """The first of LOST that does not come back from a file of this suffix; None where all does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"head{suffix}"
        try:
            written = write_video(path, video, times, np.zeros(SAMPLE_RATE, np.int16))
            back = picture_facts(path, None)
            lost = lost_on_the_way(path, written)
        except (CannotHold, ValueError, av.error.FFmpegError) as error:
            if getattr(error, "errno", None) in MACHINE_ERRORS:
                why = getattr(error, "strerror", error)
                raise OSError(f"{suffix} cannot be tried in {tempfile.gettempdir()}: {why}") from error
            return "codec"
    if lost is not None:
        return lost
    if len(back.pictures) != len(facts.pictures):
        return "pictures"
    facts = replace(facts, packets=back.packets)
    return next((f.name for f in fields(facts) if getattr(facts, f.name) != getattr(back, f.name)), None)


def picture_facts(video: Path, limit: int | None) -> PictureFacts:
    """Facts of the packets up to the `limit`-th shown (None: of all)."""
    with open_container(video) as container:
        stream = picture_stream(container, video)
        context = stream.codec_context
        context.thread_count = 1
        alpha: list[bytes] = []
        frames: list[av.VideoFrame] = []
        count, first_packet = 0, b""
        for packet in head_of(demuxed(container, stream), limit):
            if packet.size:
                first_packet = first_packet or bytes(packet)
                count += 1
                alpha += [bytes(data) for data in packet.iter_sidedata() if data.data_type in _PACKET_SIDE_DATA]
                frames += _decoded(stream, packet)
        frames += _decoded(stream, None)
        first = frames[0] if frames else None
        entries: Iterable[Any] = () if first is None else first.side_data  # PyAV's types know it as a dict
        data: dict[SideDataType, bytes] = {entry.type: bytes(entry) for entry in entries}
        return PictureFacts(
            codec=context.codec.canonical_name,
            packets=count,
            alpha=(
                *(
                    text.encode(errors=NAMES_ERRORS)
                    for name, text in stream.metadata.items()
                    if name.lower() == "alpha_mode"
                ),
                *alpha,
            ),
            layers=upper_sets(context.extradata, first_packet) if context.name == "hevc" else (),
            shape=(context.width, context.height, round(float(stream.sample_aspect_ratio or 1), 3)),
            rotation=_rotation(data.get(SideDataType.DISPLAYMATRIX)),
            colour=() if first is None else _colour(first),
            side_data=tuple(sorted(kind.name for kind in data if kind in _FRAME_SIDE_DATA)),
            pictures=tuple(frame_hash(frame) for frame in frames),
        )


def lost_on_the_way(out: Path, written: PictureTimes) -> str | None:
    """Which of "packets" and "times" of LOST a new file does not have as they were written, by a pass without decoding."""
    with open_container(out) as container:
        stream = picture_stream(container, out)
        stored = [(packet.pts, packet.is_discard) for packet in demuxed(container, stream) if packet.size]
        assert stream.time_base is not None, "FFmpeg gives every stream of a file one"
        tick = stream.time_base
    if len(stored) != len(written.packets):
        return "packets"
    distances = [
        float(pts * tick - packet.pts * written.tick)
        for (pts, is_discard), packet in zip(stored, written.packets, strict=True)
        if pts is not None and not is_discard and not packet.is_discard
    ]
    return "times" if distances and max(distances) - min(distances) > TIME_TOLERANCE_SECONDS else None


def frame_hash(frame: av.VideoFrame) -> str:
    """sha256 (hex) of what a frame shows: its format, its size and the bytes of its planes, without their padding."""
    digest = hashlib.sha256(f"{frame.format.name} {frame.width}x{frame.height}".encode())
    try:
        array = frame.to_ndarray()
    except (ValueError, AssertionError):  # PyAV has no array of this format, or none of it with an odd height
        array = frame.reformat(format="rgba64le").to_ndarray()
    for part in array if isinstance(array, tuple) else (array,):  # a palette comes beside its picture
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def _decoded(stream: av.VideoStream, packet: av.Packet | None) -> list[av.VideoFrame]:
    try:
        return list(stream.decode(packet))
    except MemoryError:
        raise
    except av.error.FFmpegError:
        return []


def _rotation(matrix: bytes | None) -> tuple[float, ...]:
    """The four numbers that turn and scale, of a display matrix; none where they change nothing."""
    if matrix is None:
        return ()
    turned = np.round(np.frombuffer(matrix, np.int32)[[0, 1, 3, 4]] / 65536, 3) + 0.0
    return () if turned.tolist() == [1, 0, 0, 1] else tuple(turned.tolist())


def _colour(frame: av.VideoFrame) -> tuple[int, ...]:
    """Range, matrix, primaries and transfer."""
    return (
        int(frame.color_range) or _LIMITED_RANGE,
        *(int(value) or UNSPECIFIED for value in (frame.colorspace, frame.color_primaries, frame.color_trc)),
    )
