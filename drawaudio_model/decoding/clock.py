"""The clock of a file that was joined, or whose times lie: found by a pass over its packets, laid end to end.

A recording of several parts, or a broken header, gives packets whose times go back or leap ahead. Players lay such parts
end to end. A *piece* is a run of packets of one stream without such a break; pieces of picture and sound that lie on one
clock are moved together, so that they stay as far apart as they were. Times are whole ticks here until a piece is moved:
a false time of 6e14 s has no fraction left as a float.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import av
from av.format import Flags

from drawaudio_model.decoding.errors import MediaError, ReadAgain

BACK_SECONDS = Fraction(1, 2)
"""Times that go back by more than this are a break. What goes back by less is no new part of a recording: broken times of
B-frames, or fragments that overlap a little. Its packets stay where they are, and come in the order of decoding."""
JUMP_BACK_SECONDS = Fraction(1, 10)
"""The same in containers made for broadcast, whose packets are stored in the order of decoding; as FFmpeg has it."""
LEAP_SECONDS = 10
"""Times that leap ahead by more than this are a break in containers made for broadcast, whose clocks may jump by design."""
LONG_LEAP_SECONDS = 3600
"""The same in all other containers: in a recording of a screen one picture may well stand for minutes."""
LONGEST_PACKET_SECONDS = 3600
"""A packet that claims to last longer lasts one interval of its stream."""


class ClockBreaks(ReadAgain):
    """The times of this file break: it has to be read again with a laid-out clock."""


def may_jump(container: av.container.InputContainer) -> bool:
    """Whether clocks may jump by design in this container, as in those made for broadcast."""
    return bool(container.format.flags & Flags.ts_discont.value)  # type: ignore[operator]  # PyAV's types: the flag


def longest_leap(container: av.container.InputContainer) -> int:
    """Seconds that a clock may leap ahead in this container without a break."""
    return LEAP_SECONDS if may_jump(container) else LONG_LEAP_SECONDS


def is_flush(packet: av.Packet) -> bool:
    """Whether this is no packet of the file but the sign that a stream has ended."""
    return packet.pts is None and packet.dts is None and not packet.size


def is_false(packet: av.Packet, leap: int) -> bool:
    """Whether a packet claims to be shown at a time that cannot be: more than a `leap` (s) from when it is decoded.

    FFmpeg takes such a time from the next packet where a program stream was joined, and that one is of the next part.
    """
    if packet.pts is None or packet.dts is None:
        return False
    return abs(packet.pts - packet.dts) * packet.time_base > leap


def read_packets(
    container: av.container.InputContainer, streams: Iterable[av.stream.Stream] | None = None
) -> Iterable[av.Packet]:
    """Packets of the streams (None: of all) in file order, flushes among them.

    Raises:
        MediaError: truncated, when reading fails on the way.
    """
    packets = container.demux(list(container.streams if streams is None else streams))
    while True:
        try:
            packet = next(packets)
        except (StopIteration, IndexError):
            return  # IndexError: behind the last packet PyAV looks for a stream that first appeared in mid-file
        except MemoryError:
            raise  # Nothing says that the file ends here.
        except av.error.FFmpegError as error:
            raise MediaError("truncated", f"the file cannot be read to its end: {error.strerror}") from error
        yield packet


@dataclass
class Piece:
    """A run of packets of one stream whose times do not break."""

    first_packet: int
    """Its number among the packets of its stream."""
    order: int
    """Number of its first packet among those of the file."""
    last_order: int
    over_order: int
    """Of its last packet but one: the last is handed on when the next part has begun, as its end is known only then."""
    begin: Fraction
    """Seconds, on the file's clock."""
    end: Fraction
    moved: Fraction = Fraction(0)
    """Seconds that are added to the file's clock."""


@dataclass
class PacketTimes:
    """The times in the packets of one stream, in file order; ticks of the stream's clock."""

    tick: Fraction
    interval: int
    """Ticks of a packet that does not state how long it lasts."""
    leap: int = LONG_LEAP_SECONDS
    """Seconds that a clock may leap ahead in this container."""
    decoded: list[int | None] = field(default_factory=list)
    """When it is decoded; None where that is not known, as of the first packets of a Matroska file with B-frames."""
    shown: list[int | None] = field(default_factory=list)
    """When it is shown, or where only that is stated when it is decoded, else the end of the packet before; None for
    packets that an edit list hides."""
    durations: list[int] = field(default_factory=list)
    orders: list[int] = field(default_factory=list)
    """Number of each packet in the file."""
    false_times: int = 0
    """Packets that claim to be shown more than `leap` from when they are decoded."""
    first_key: int | None = None
    """Number of the first packet that needs no other one; None without any."""
    _following: int = 0

    def add(self, packet: av.Packet, order: int) -> None:
        duration = packet.duration or 0
        if not 0 < duration * self.tick < LONGEST_PACKET_SECONDS:
            duration = self.interval
        false = is_false(packet, self.leap)
        self.false_times += false
        shown = packet.dts if packet.pts is None or false else packet.pts
        if shown is None:
            shown = self._following
        self._following = shown + duration
        if self.first_key is None and packet.is_keyframe:
            self.first_key = len(self.decoded)
        self.decoded.append(packet.dts)
        self.shown.append(None if packet.is_discard else shown)
        self.durations.append(duration)
        self.orders.append(order)

    def pieces(self, leap: int) -> list[Piece]:
        """The runs without a break; none where no packet states when it is decoded."""
        limits = _limits(self.tick, leap)
        runs: list[tuple[int, int, int]] = []
        """Number of the first packet, begin and end in ticks; packets without a time before the first one belong to it."""
        last = 0
        for number, (time, duration) in enumerate(zip(self.decoded, self.durations, strict=True)):
            if time is None:
                continue
            if not runs or is_break(time - last, time - runs[-1][2], limits):
                runs.append((number if runs else 0, time, time + duration))
            else:
                first, begin, end = runs[-1]
                runs[-1] = first, min(begin, time), max(end, time + duration)
            last = time
        untils = [*(first for first, _, _ in runs), len(self.decoded)][1:]
        return [
            Piece(
                first,
                self.orders[first],
                self.orders[until - 1],
                self.orders[max(until - 2, first)],
                begin * self.tick,
                end * self.tick,
            )
            for (first, begin, end), until in zip(runs, untils, strict=True)
        ]

    @property
    def begins_in_mid_group(self) -> bool:
        """Whether packets are shown before the first one that needs no other: a decoder may leave those out."""
        if self.first_key is None or self.first_key:
            return True
        key, first = self.shown[0], min((time for time in self.shown if time is not None), default=None)
        return key is not None and first is not None and first < key

    def shown_span(self, moves: "Moves | None" = None) -> tuple[float, float] | None:
        """(first, last) second at which a packet is shown, with the clock laid out; None where none is."""
        steps = moves or [(0, 0)]
        span: tuple[int, int] | None = None
        for (first, ticks), until in zip(steps, [*(step[0] for step in steps[1:]), len(self.shown)], strict=True):
            for time, duration in zip(self.shown[first:until], self.durations[first:until], strict=True):
                if time is not None:
                    begin, end = time + ticks, time + ticks + duration
                    span = (begin, end) if span is None else (min(span[0], begin), max(span[1], end))
        return None if span is None else (float(span[0] * self.tick), float(span[1] * self.tick))


Moves = list[tuple[int, int]]
"""(number of a stream's packet, ticks to add to its times and those of all that follow it), ascending, from packet 0 on."""


def is_break(since_begin: int, since_end: int, limits: tuple[int, int]) -> bool:
    """Whether a packet breaks the clock, by the ticks since the last one began, and since the latest end so far."""
    return since_begin < -limits[0] or since_end > limits[1]


def _limits(tick: Fraction, leap: int) -> tuple[int, int]:
    """(seconds back, seconds ahead) in ticks."""
    return round((JUMP_BACK_SECONDS if leap == LEAP_SECONDS else BACK_SECONDS) / tick), round(leap / tick)


def _tick(stream: av.stream.Stream) -> Fraction:
    """Seconds of one step of a stream's clock."""
    return stream.time_base or Fraction(1, 1000)


def picture_interval(stream: av.VideoStream) -> Fraction:
    """Seconds from a picture to the next, as its header states the rate; as FFmpeg's 1 / 25 where it states none, or nonsense."""
    rate = stream.average_rate or stream.guessed_rate
    seconds = 1 / Fraction(rate) if rate else Fraction(0)
    return seconds if 0 < seconds < LONGEST_PACKET_SECONDS else Fraction(1, 25)


def packet_times(stream: av.stream.Stream, leap: int) -> PacketTimes:
    """An empty table for a stream's packets, in a container whose clocks may leap so many seconds ahead."""
    tick = _tick(stream)
    seconds = picture_interval(stream) if isinstance(stream, av.VideoStream) else Fraction(0)
    return PacketTimes(tick, round(seconds / tick), leap)


def scan(container: av.container.InputContainer) -> dict[int, PacketTimes]:
    """Times of all packets of a file by stream, as far as it can be read; nothing is decoded."""
    tables = {stream.index: packet_times(stream, longest_leap(container)) for stream in container.streams}
    try:
        for order, packet in enumerate(read_packets(container)):
            if not is_flush(packet):
                tables[packet.stream_index].add(packet, order)
    except MediaError:
        pass  # A damaged file is as long as what can be read.
    return tables


def lay_out(tables: Mapping[int, PacketTimes], streams: Iterable[int], leap: int) -> dict[int, Moves]:
    """The moves that keep the times of the streams (picture, sound) unbroken; empty where nothing has to move."""
    pieces = {index: found for index in streams if (found := tables[index].pieces(leap))}
    left, right = [*pieces.values(), [], []][:2]
    _move(left, right, leap)
    if not any(piece.moved for found in pieces.values() for piece in found):
        return {}
    return {
        index: [(piece.first_packet, round(piece.moved / tables[index].tick)) for piece in found]
        for index, found in pieces.items()
    }


def _move(left: list[Piece], right: list[Piece], leap: int) -> None:
    """Sets `moved` of the pieces of two streams: those on one clock together, and each behind the one before it."""
    streams, ahead = (left, right), [0, 0]
    together: list[Piece | None] = [None, None]
    """The last pieces that were moved as one, by stream."""
    while ahead[0] < len(left) or ahead[1] < len(right):
        now = [stream[place] if place < len(stream) else None for stream, place in zip(streams, ahead, strict=True)]
        one, other = now
        if not (one and other and _belong(one, other, streams, ahead, leap)):
            later = 0 if one is None or (other is not None and other.order < one.order) else 1
            now[later] = None
        last = [stream[place - 1] if place else None for stream, place in zip(streams, ahead, strict=True)]
        for number, piece in enumerate(now):
            ahead[number] += piece is not None
        alone = 0 if now[1] is None else 1 if now[0] is None else None
        single = None if alone is None else now[alone]
        before = None if alone is None else together[alone]
        if alone is not None and single and before and _continues(single, before, together[1 - alone], leap):
            single.moved = before.moved
            together[alone] = single
            continue
        gaps = [
            ended.end + ended.moved - piece.begin for piece, ended in zip(now, last, strict=True) if piece and ended
        ]
        if gaps:
            moved = max(gaps)
        elif alone is None or single is None or (len(streams[alone]) == 1 and not streams[1 - alone]):
            moved = Fraction(0)
        else:
            # A stream whose clock is not the other one's: it begins where the other one is at that place of the file.
            moved = _reached(streams[1 - alone], single.order, leap) - single.begin
        for piece in now:
            if piece is not None:
                piece.moved = moved
        together = now


def _near(left: Piece, right: Piece, leap: int) -> bool:
    return left.begin <= right.end + leap and right.begin <= left.end + leap


def _belong(left: Piece, right: Piece, streams: tuple[list[Piece], list[Piece]], ahead: list[int], leap: int) -> bool:
    """Whether two pieces lie on one clock: near in time, and neither over in the file before the other one begins."""
    if not _near(left, right, leap):
        return False
    for piece, other, number in ((left, right, 0), (right, left, 1)):
        following = streams[number][ahead[number] + 1 :][:1]
        if not following or following[0].begin >= piece.end:
            continue  # The same clock, after a hole.
        if piece.over_order < other.order and _near(following[0], other, leap):
            return False
    return True


def _continues(piece: Piece, before: Piece, beside: Piece | None, leap: int) -> bool:
    """Whether a piece goes on, after a hole, on the clock that the piece before it shares with the other stream's."""
    return beside is not None and before.end <= piece.begin + BACK_SECONDS and _near(piece, beside, leap)


def _reached(stream: list[Piece], order: int, leap: int) -> Fraction:
    """The laid-out second that a stream has reached at a place of the file.

    Its first one in files that are not stored in the order of time: all that can go on for an hour without a break.
    """
    before = [piece for piece in stream if piece.order < order] if leap == LEAP_SECONDS else []
    if not before:
        return stream[0].begin + stream[0].moved if stream else Fraction(0)
    piece = before[-1]
    share = Fraction(min(order, piece.last_order) - piece.order, max(piece.last_order - piece.order, 1))
    return piece.begin + piece.moved + share * (piece.end - piece.begin)


class Clock:
    """Watches the times of the streams that are decoded, or moves them as laid out.

    Args:
        streams: those that are decoded.
        leap: seconds that a clock may leap ahead.
        moves: what `lay_out` said; None: breaks are looked for, and raise ClockBreaks.
    """

    def __init__(self, streams: Iterable[av.stream.Stream], leap: int, moves: dict[int, Moves] | None) -> None:
        streams = list(streams)
        self._leap, self._moves = leap, moves
        self._counts = {stream.index: 0 for stream in streams}
        self._limits = {stream.index: _limits(_tick(stream), leap) for stream in streams}
        self._steps = {index: list(steps) for index, steps in (moves or {}).items()}
        self._ticks: dict[int, int] = {}
        self._begin: dict[int, Fraction] = {}
        self._last: dict[int, tuple[int, int]] = {}

    def see(self, packet: av.Packet) -> None:
        """Take the next packet of a stream; its times are moved in place.

        Raises:
            ClockBreaks: when its times do not follow those before, unless moves were given.
        """
        index, number = packet.stream_index, self._counts[packet.stream_index]
        self._counts[index] = number + 1
        if self._moves is None:
            self._watch(index, packet)
            return
        steps = self._steps.get(index, [])
        while steps and steps[0][0] <= number:
            self._ticks[index] = steps.pop(0)[1]
        if is_false(packet, self._leap):
            packet.pts = None  # A decoder puts the picture behind those before it.
        if ticks := self._ticks.get(index):
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks

    def _watch(self, index: int, packet: av.Packet) -> None:
        time = packet.dts
        if is_false(packet, self._leap):
            raise ClockBreaks(f"a packet decoded at {time} is shown at {packet.pts} ticks")
        if time is None:
            return
        end = time + max(packet.duration or 0, 0)
        if index not in self._last:
            self._begin[index] = time * packet.time_base
            apart = max(self._begin.values()) - min(self._begin.values())
            if apart > self._leap:
                raise ClockBreaks(f"the streams begin {float(apart)} s apart")
            self._last[index] = time, end
            return
        last, last_end = self._last[index]
        if is_break(time - last, time - last_end, self._limits[index]):
            raise ClockBreaks(f"the clock goes from {last} to {time} ticks")
        self._last[index] = time, max(end, last_end)
