"""When each stored picture of a file is decoded and shown, as a new file has to say it: complete, in order, from 0 on.

What files say of it is not always so. Matroska leaves out the first decoding times; AVI and ASF know no time of
presentation, so what FFmpeg derives for reordered pictures is wrong; transport streams begin anywhere, and joined ones
jump. Here every packet gets both times: a clock that was set anew goes on where it stopped, missing times are found by
decoding, and the earliest picture is moved to 0. Times that were right stay as they were, but for that shift.
"""

import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext

from drawaudio_model.decoding.clock import (
    Clock,
    Moves,
    is_flush,
    lay_out,
    longest_leap,
    packet_times,
    picture_interval,
    read_packets,
    scan,
)
from drawaudio_model.decoding.container import find_stream, open_container
from drawaudio_model.decoding.errors import MediaError, only_media_errors

LARGEST_DELAY_SECONDS = 60
"""A picture shown this long after it was decoded has a damaged time: it would have overtaken all others."""
_WITHOUT_PRESENTATION = {"avi", "asf"}
"""Formats whose packets have one time, the decoder's."""
_REORDERED_PACKETS = 32
"""No standard lets more than 16 pictures overtake another."""
_UNPACKING = "mpeg4_unpack_bframes"
"""FFmpeg's filter that parts packed pictures."""
_PACKED = re.compile(rb"(\x00\x00\x01\xb2DivX\d+(?:b|Build)\d+)p")
"""How an MPEG-4 stream says in its head that its B-frames are packed."""


@dataclass(frozen=True)
class StoredTime:
    """One packet of the picture as its file has it, in ticks of its stream; times that it does not state are None."""

    pts: int | None
    dts: int | None
    duration: int
    is_key: bool
    is_discard: bool
    """Decoded but not shown: an edit list cuts it off."""

    @property
    def clock(self) -> int | None:
        """The packet's time on the file's clock."""
        return self.pts if self.dts is None else self.dts


@dataclass(frozen=True)
class PacketTime:
    """One packet of the picture as the new file has it, in ticks of its stream."""

    pts: int
    dts: int
    duration: int
    is_discard: bool


@dataclass(frozen=True)
class PictureTimes:
    """All packets of a picture in stored order, with both times."""

    packets: list[PacketTime]
    tick: Fraction
    """Seconds."""
    first_shown_seconds: float
    """When the first picture is seen: after 0 where a file begins with pictures that cannot be decoded yet."""
    zero_seconds: Fraction
    """The time of 0 on the file's own clock."""

    @property
    def end_seconds(self) -> float | None:
        """When the last picture stops to be seen, where an edit list cuts off what is stored behind it; else None."""
        shown = [packet.pts + packet.duration for packet in self.packets if not packet.is_discard]
        if not shown or max(packet.pts for packet in self.packets) < max(shown):
            return None
        return float(max(shown) * self.tick)

    def without_cut_off_end(self) -> "PictureTimes":
        """Without the packets behind the last one that is shown: nothing shown needs them."""
        last = max((n for n, packet in enumerate(self.packets) if not packet.is_discard), default=len(self.packets) - 1)
        return replace(self, packets=self.packets[: last + 1])


def is_packed(stream: av.VideoStream) -> bool:
    """Whether packets of the picture hold two pictures, as those of DivX do in AVI."""
    context = stream.codec_context
    return context.name == "mpeg4" and _PACKED.search(context.extradata or b"") is not None


def unpacked_head(stream: av.VideoStream) -> bytes | None:
    """The head of the picture's codec without the mark that its B-frames are packed."""
    head = stream.codec_context.extradata
    return head and _PACKED.sub(rb"\1\0", head)


def demuxed(
    container: av.container.InputContainer, stream: av.VideoStream, clock: Clock | None = None
) -> Iterator[av.Packet]:
    """The packets of the picture, one picture in each; empty ones repeat the picture before them.

    Args:
        container: from its beginning.
        stream: of the picture.
        clock: lays out the times of the file.

    Raises:
        MediaError: truncated, when reading fails on the way.
    """
    unpack = BitStreamFilterContext(_UNPACKING, stream) if is_packed(stream) else None
    for packet in read_packets(container, [stream]):
        if is_flush(packet):
            continue
        if clock is not None:
            clock.see(packet)
        if unpack is None or not packet.size:
            yield packet
            continue
        for picture in unpack.filter(packet):
            picture.stream = stream
            yield picture


def head_of(packets: Iterator[av.Packet], limit: int | None) -> Iterator[av.Packet]:
    """The packets up to the `limit`-th that can be decoded and is shown, or all (None)."""
    shown, begun = 0, False
    for packet in packets:
        if shown == limit:
            return
        begun = begun or packet.is_keyframe
        shown += begun and not packet.is_discard
        yield packet


@only_media_errors()
def picture_times(video: Path, limit: int | None = None) -> PictureTimes:
    """The times of all packets that are not empty, or of the first ones (`head_of`).

    Raises:
        MediaError: no_video_stream; truncated, when reading fails on the way; undecodable, for a picture that is empty or
            has no times at all, as in raw H.264; no_memory.
    """
    with open_container(video) as container:
        stream = picture_stream(container, video)
        tick, format_name = stream.time_base, container.format.name
        assert tick is not None, "FFmpeg gives every stream of a file one"
        reorders, packed = bool(stream.codec_context.has_b_frames), is_packed(stream)
        interval = max(round(picture_interval(stream) / tick), 1)
        clock = Clock([stream], longest_leap(container), _moves(video, limit))
        stored = _stored(head_of(demuxed(container, stream, clock), limit))
    if not stored:
        raise MediaError("undecodable", f"the picture of {video} is empty")
    if all(packet.clock is None for packet in stored):
        raise MediaError(
            "undecodable",
            f"{video} is a bare {format_name} stream that does not say when its pictures are shown; give it times first, "
            f"with its true frame rate: ffmpeg -framerate 30 -i {video.name} -c copy {Path(video).stem}.mp4",
        )
    stored = _without_damaged(stored, tick)
    stated = [packet.pts for packet in stored if packet.pts is not None]
    is_complete = len(stated) == len(stored) and not packed and not _overlap(stored)
    if format_name in _WITHOUT_PRESENTATION and reorders and all(a < b for a, b in pairwise(stated)):
        is_complete = False
    if not is_complete:
        stored = _in_shown_order(stored, list(_shown(video, limit)), interval)
    packets = _with_decoding_times(stored, interval)
    zero = min((p.pts for p in packets if not p.is_discard), default=min(p.pts for p in packets))
    packets = [replace(p, pts=p.pts - zero, dts=p.dts - zero, duration=p.duration or interval) for p in packets]
    first = next(_shown(video, limit), None)
    return PictureTimes(packets, tick, 0.0 if first is None else float(packets[first].pts * tick), zero * tick)


def picture_stream(container: av.container.InputContainer, video: Path) -> av.VideoStream:
    """The picture that is copied: the one that is read.

    Raises:
        MediaError: no_video_stream, or undecodable without a decoder for it.
    """
    stream = find_stream(container, "video")
    if stream is not None and stream.codec_context is not None:
        return stream
    if any(other.type == "video" and other.codec_context is None for other in container.streams):
        raise MediaError("undecodable", f"there is no decoder for the picture of {video}")
    raise MediaError("no_video_stream", f"{video} has no video stream")


def _stored(packets: Iterator[av.Packet]) -> list[StoredTime]:
    """As the file has them; a picture that empty packets repeat lasts until the end of the last of these."""
    stored: list[StoredTime] = []
    for packet in packets:
        if packet.size:
            stored.append(
                StoredTime(packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe, packet.is_discard)
            )
        elif stored and packet.dts is not None and (begin := stored[-1].clock) is not None:
            stored[-1] = replace(stored[-1], duration=packet.dts + (packet.duration or 0) - begin)
    return stored


def _without_damaged(packets: list[StoredTime], tick: Fraction) -> list[StoredTime]:
    """Without times of presentation that no reordering explains."""
    steps = [b.dts - a.dts for a, b in pairwise(packets) if a.dts is not None and b.dts is not None]
    usual = statistics.median(steps) if steps else 0
    largest = max(LARGEST_DELAY_SECONDS / tick, _REORDERED_PACKETS * usual)
    return [
        replace(p, pts=None) if p.pts is not None and p.dts is not None and abs(p.pts - p.dts) > largest else p
        for p in packets
    ]


def _moves(video: Path, limit: int | None) -> dict[int, Moves]:
    """How the clock is laid out: as for reading, picture and sound together; that of a head (`head_of`) by its pictures alone."""
    with open_container(video) as container:
        stream, leap = picture_stream(container, video), longest_leap(container)
        if limit is None:
            sound = find_stream(container, "audio")
            indices = [stream.index] if sound is None else [stream.index, sound.index]
            return lay_out(scan(container), indices, leap)
        table = packet_times(stream, leap)
        packets = (packet for packet in read_packets(container, [stream]) if not is_flush(packet))
        for order, packet in enumerate(head_of(packets, limit)):
            table.add(packet, order)
        return lay_out({stream.index: table}, [stream.index], leap)


def _overlap(packets: list[StoredTime]) -> bool:
    """Whether a group of pictures begins before the one that is stored before it has ended: their times are mixed then.

    Both times of its first picture say so. The decoding time alone is often one that FFmpeg derived, wrongly where a file
    begins in mid-group.
    """
    latest: int | None = None
    for before, after in pairwise(packets):
        if before.pts is not None:
            latest = before.pts if latest is None else max(latest, before.pts)
        if not after.is_key or before.dts is None or after.dts is None or after.dts > before.dts:
            continue
        if after.pts is None or latest is None or after.pts <= latest:
            return True
    return False


def _shown(video: Path, limit: int | None) -> Iterator[int]:
    """Numbers of the packets in the order in which their pictures are shown, found by decoding."""
    with open_container(video) as container:
        stream = picture_stream(container, video)
        stream.codec_context.copy_opaque = True
        # What is opaque is a Python object. A decoder's thread that lets go of one needs the interpreter, which may be waiting
        # for that thread to end: both would wait for ever.
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "SLICE"
        number = 0
        for packet in head_of(demuxed(container, stream), limit):
            if packet.size:
                packet.opaque = number
                number += 1
                yield from _decoded_numbers(stream, packet)
        yield from _decoded_numbers(stream, None)


def _decoded_numbers(stream: av.VideoStream, packet: av.Packet | None) -> Iterator[int]:
    try:
        for frame in stream.decode(packet):
            if isinstance(frame.opaque, int):
                yield frame.opaque
    except MemoryError:
        raise
    except av.error.FFmpegError:
        return  # A damaged packet is copied as it is.


def _in_shown_order(packets: list[StoredTime], shown: list[int], interval: int) -> list[StoredTime]:
    """With the time of presentation of each: the n-th picture shown gets the n-th of the clock's times.

    A packet that shows nothing keeps the place at which it is stored; a packet that has no time follows the one before.
    """
    clocks: list[int] = []
    for packet in packets:
        follows = clocks[-1] + interval if clocks else 0
        clocks.append(follows if packet.clock is None else packet.clock)
    seen = set(shown)
    free = sorted(clocks[index] for index in seen)
    for index in range(1, len(free)):  # of parts that overlap, two pictures may have one time
        free[index] = max(free[index], free[index - 1] + 1)
    pts = dict(enumerate(clocks)) | dict(zip(dict.fromkeys(shown), free, strict=True))
    return [replace(packet, pts=pts[index], dts=None) for index, packet in enumerate(packets)]


def _with_decoding_times(packets: list[StoredTime], interval: int) -> list[PacketTime]:
    """With decoding times that grow and are never after the time of presentation, which all packets have.

    Where a file's own are not so, or not there, they are those of presentation, in order, as many packets late as the
    reordering needs.
    """
    pts = [packet.pts for packet in packets if packet.pts is not None]
    dts = [packet.dts for packet in packets if packet.dts is not None]
    grows = len(dts) == len(packets) and all(first < second for first, second in pairwise(dts))
    if not grows or any(decoded > shown for decoded, shown in zip(dts, pts, strict=True)):
        dts = _late_enough(pts, interval)
    return [
        PacketTime(shown, decoded, packet.duration, packet.is_discard)
        for packet, shown, decoded in zip(packets, pts, dts, strict=True)
    ]


def _late_enough(pts: list[int], interval: int) -> list[int]:
    """Decoding times for these times of presentation, in the order in which they are stored."""
    ordered = sorted(pts)
    for index in range(1, len(ordered)):  # two packets of one time: the fields of an interlaced picture
        ordered[index] = max(ordered[index], ordered[index - 1] + 1)
    late = 0
    for index, shown in enumerate(pts):
        while index >= late and ordered[index - late] > shown:
            late += 1
    return [*(ordered[0] - number * interval for number in range(late, 0, -1)), *ordered][: len(pts)]
