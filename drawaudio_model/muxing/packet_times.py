"""When each stored picture of a file is decoded and shown, as a new file has to say it: complete, in order, from 0 on.

What files say of it is not always so. Matroska leaves out the first decoding times; AVI and ASF know no time of
presentation, so what FFmpeg derives for reordered pictures is wrong; transport streams begin anywhere, and joined ones
jump. Here every packet gets both times: a clock that was set anew goes on where it stopped, missing times are found by
decoding, and the earliest picture is moved to 0. Times that were right stay as they were, but for that shift.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av

from drawaudio_model.decoding.clock import may_jump
from drawaudio_model.decoding.container import find_stream, open_container
from drawaudio_model.decoding.tracks import MediaError

JUMP_SECONDS = 10
"""A transport stream's clock that leaps further ahead was set anew; as in FFmpeg (`-dts_delta_threshold`)."""
LOST_SECONDS = 30 * 3600
"""In all other files, which may well show one picture for minutes, a leap is an error from here; as in FFmpeg."""
BACK_SECONDS = Fraction(1, 10)
"""A clock that runs back further was set anew; less, except at a key frame, is an inaccuracy; as in FFmpeg."""
LARGEST_DELAY_SECONDS = 60
"""A picture shown this long after it was decoded has a damaged time: it would have overtaken all others."""
_WITHOUT_PRESENTATION = {"avi", "asf"}
"""Formats whose packets have one time, the decoder's."""
_REORDERED_PACKETS = 32
"""No standard lets more than 16 pictures overtake another."""


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
        """What the file's clock says here."""
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


def demuxed(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """The packets of the picture; empty ones, which repeat the picture before them, only where they have a time.

    Raises:
        MediaError: truncated, when reading fails on the way.
    """
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, IndexError):
            return  # an IndexError: behind the last packet PyAV looks for a stream that first appeared in mid-file
        except av.error.FFmpegError as error:
            raise MediaError("truncated", f"the file cannot be read to its end: {error.strerror}") from error
        if packet.size or packet.dts is not None:
            yield packet


def head_of(packets: Iterator[av.Packet], limit: int | None) -> Iterator[av.Packet]:
    """The packets up to the `limit`-th that can be decoded and is shown, or all (None)."""
    shown, begun = 0, False
    for packet in packets:
        if shown == limit:
            return
        begun = begun or packet.is_keyframe
        shown += begun and not packet.is_discard
        yield packet


def picture_times(video: Path, limit: int | None = None) -> PictureTimes:
    """The times of all packets that are not empty, or of the first ones (`head_of`).

    Raises:
        MediaError: no_video_stream; truncated, when reading fails on the way; undecodable, for a picture that is empty or
            has no times at all, as in raw H.264.
    """
    with open_container(video) as container:
        stream = picture_stream(container, video)
        tick, format_name = stream.time_base, container.format.name
        assert tick is not None, "FFmpeg gives every stream of a file one"
        leap = JUMP_SECONDS if may_jump(container) else LOST_SECONDS
        reorders = bool(stream.codec_context.has_b_frames)
        rate = stream.average_rate or stream.guessed_rate or 25
        stored = _stored(head_of(demuxed(container, stream), limit))
    if not stored:
        raise MediaError("undecodable", f"the picture of {video} is empty")
    if all(packet.clock is None for packet in stored):
        raise MediaError(
            "undecodable",
            f"{video} is a bare {format_name} stream that does not say when its pictures are shown; give it times first, "
            f"with its true frame rate: ffmpeg -framerate 30 -i {video.name} -c copy {Path(video).stem}.mp4",
        )
    interval = max(round(1 / (rate * tick)), 1)
    stored = _laid_end_to_end(_without_damaged(stored, tick), interval, tick, leap)
    stated = [packet.pts for packet in stored if packet.pts is not None]
    is_complete = len(stated) == len(stored)
    if format_name in _WITHOUT_PRESENTATION and reorders and all(a < b for a, b in pairwise(stated)):
        is_complete = False
    if not is_complete:
        stored = _in_shown_order(stored, list(_shown(video, limit)), interval)
    packets = _with_decoding_times(stored, interval)
    zero = min((p.pts for p in packets if not p.is_discard), default=min(p.pts for p in packets))
    packets = [replace(p, pts=p.pts - zero, dts=p.dts - zero, duration=p.duration or interval) for p in packets]
    first = next(_shown(video, limit), None)
    return PictureTimes(packets, tick, 0.0 if first is None else float(packets[first].pts * tick))


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


def _laid_end_to_end(packets: list[StoredTime], interval: int, tick: Fraction, leap: int) -> list[StoredTime]:
    """With one clock: where it was set anew, the next picture follows upon the last one shown before."""
    starts: list[int] = [0]
    last: int | None = None
    for index, packet in enumerate(packets):
        clock = packet.clock
        if clock is None:
            continue
        if last is not None:
            step = (clock - last) * tick
            anew = packet.is_key and packet.dts is not None and step <= 0
            if anew or step < -BACK_SECONDS or step > leap:
                starts.append(index)
        # Times of presentation, which stand in for the first decoding times, run back and forth.
        last = clock if packet.dts is not None or last is None else max(last, clock)
        if packet.dts is None:
            last = None
    laid: list[StoredTime] = []
    end: int | None = None
    for first, behind in zip(starts, [*starts[1:], len(packets)], strict=True):
        piece = packets[first:behind]
        shown = [time for p in piece if (time := p.clock if p.pts is None else p.pts) is not None]
        shift = 0 if end is None or not shown else end - min(shown[:_REORDERED_PACKETS])
        laid += [_shifted(packet, shift) for packet in piece]
        if shown:
            end = shift + max(shown) + (piece[-1].duration or interval)
    return laid


def _shifted(packet: StoredTime, ticks: int) -> StoredTime:
    pts, dts = (None if time is None else time + ticks for time in (packet.pts, packet.dts))
    return replace(packet, pts=pts, dts=dts)


def _shown(video: Path, limit: int | None) -> Iterator[int]:
    """Numbers of the packets in the order in which their pictures are shown, found by decoding."""
    with open_container(video) as container:
        stream = picture_stream(container, video)
        stream.codec_context.copy_opaque = True
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
