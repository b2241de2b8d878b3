"""Which pictures of a file need not be decoded: those that are never looked at and that no other one is predicted from.

At 4 fps one frame in six is looked at. Of the others, FFmpeg's decoders can leave out those to which no other refers
(`skip_frame`): B-frames, about half of a usual H.264 file. What nobody looks at is known from the packets' times, a few
packets ahead; what nobody refers to the decoder reads in the bitstream. All other frames come out the same to the bit,
and frames that were left out count as presented, as they would have been.

Frames are left out only

- of mp4, mov, Matroska and WebM, which store the time of every frame; AVI has none, MPEG and Ogg not for every one;
- of MPEG-1, -2, -4, H.264, and H.265 with one temporal layer (with more, a frame that its own layer does not need may be
  one that a higher layer needs). VP8, VP9, AV1 carry statistics from every frame to the next, so none can be spared;
- that are stored behind a frame shown later, as B-frames are: times that do not show the reordering are not to be relied
  on. Frames shown before the first stored one are decoded; what they refer to may have been cut off.

CannotSkip, after which the file has to be read again in full, says that a file is not as its packets have it: a time is
missing or there twice, a frame comes at a time that no packet has, or none comes, or in another order; more frames are
reordered than the decoder is ready for (it drops such); a frame is damaged; a frame is interlaced (it is scaled by fields,
and H.264 decoders take that property over from the frame before). Damage in nothing but left-out frames stays unseen.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator

import av

from drawaudio_model.decoding.errors import ReadAgain

LOOK_AHEAD = 32
"""Packets read before a picture is decided on: no standard here lets more than 16 frames overtake another."""

_CONTAINERS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
_DECODERS = {"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"}


class CannotSkip(ReadAgain):
    """The frames of this file do not come as its packets announce them."""


def can_skip(stream: av.VideoStream) -> bool:
    """Whether container and codec are among those of which frames may be left out."""
    decoder = stream.codec_context
    if stream.container.format.name not in _CONTAINERS or decoder.name not in _DECODERS:
        return False
    return decoder.name != "hevc" or _temporal_layers(decoder.extradata) == 1


def _temporal_layers(header: bytes | None) -> int | None:
    """Number of temporal layers in an H.265 stream's hvcC header (ISO/IEC 14496-15, 8.3.3.1.2); None if it is no such."""
    return header[21] >> 3 & 7 if header and len(header) > 22 and header[0] == 1 else None


class FrameSkipping:
    """Holds the packets of one picture stream back until it is known whether their frames are looked at.

    Args:
        stream: the picture; its decoder is told, packet by packet, whether it may leave out the frame.
        moments: seconds after the first picture that are looked at, ascending.
        ticks: seconds of one step of the stream's clock.
        tolerance: seconds by which a frame may be late and is still seen.
    """

    def __init__(self, stream: av.VideoStream, moments: list[float], ticks: float, tolerance: float) -> None:
        self._decoder = stream.codec_context
        self._moments, self._ticks, self._tolerance = moments, ticks, tolerance
        self._waiting: deque[tuple[av.Packet, bool]] = deque()
        self._first: int | None = None
        """Time of the first stored packet."""
        self._shown: list[int] = []
        """Times of all packets so far whose frames are presented, ascending."""
        self._relied_on: int | None = None
        """Decisions were taken as if no further packet had a time up to this one."""
        self._due: dict[int, tuple[bool, int]] = {}
        """Time -> (may be left out, duration) of the frames that the decoder has been given and has not shown."""
        self._last: int | None = None

    def due(self, packet: av.Packet) -> Iterator[av.Packet]:
        """The packets whose turn it is after this one; each must be decoded before the next is asked for."""
        flush = packet.pts is None and packet.dts is None and not packet.size
        if not flush:
            self._admit(packet)
        while len(self._waiting) > (0 if flush else LOOK_AHEAD):
            yield self._release()
        if flush:
            self._decoder.skip_frame = "DEFAULT"
            yield packet

    def check(self, frame: av.VideoFrame) -> None:
        """Raises CannotSkip unless this frame is as its packet announced it."""
        if frame.pts not in self._due or (self._last is not None and frame.pts <= self._last):
            raise CannotSkip(f"a frame comes at {frame.pts}, after one at {self._last}")
        if frame.is_corrupt or frame.interlaced_frame:
            raise CannotSkip(f"the frame at {frame.pts} is damaged or interlaced")
        self._last = frame.pts
        del self._due[frame.pts]

    def left_out(self) -> list[tuple[int, int]]:
        """(time, duration) of all presented frames that were not decoded; to be asked for at the end."""
        for time, (may_lack, _) in self._due.items():
            if not may_lack:
                raise CannotSkip(f"the frame at {time} does not come")
        return [(time, duration) for time, (_, duration) in self._due.items()]

    def _admit(self, packet: av.Packet) -> None:
        time = packet.pts
        if time is None:
            raise CannotSkip("a packet has no time")
        if self._first is None:
            self._first = time
        place = bisect_left(self._shown, time)
        overtaken = len(self._shown) - place
        if not packet.is_discard:
            if place < len(self._shown) and self._shown[place] == time:
                raise CannotSkip(f"two packets are shown at {time}")
            if self._relied_on is not None and time <= self._relied_on:
                raise CannotSkip(f"the packet at {time} comes more than {LOOK_AHEAD} packets late")
            if overtaken > self._decoder.reorder_depth:
                raise CannotSkip(f"{overtaken} frames overtake the one at {time}, more than the decoder expects")
            self._shown.insert(place, time)
        self._waiting.append((packet, overtaken > 0 and time > self._first))

    def _release(self) -> av.Packet:
        packet, is_b_frame = self._waiting.popleft()
        assert packet.pts is not None, "_admit takes no packet without a time"
        may_lack = is_b_frame and not packet.is_corrupt and (packet.is_discard or not self._is_seen(packet.pts))
        if not packet.is_discard:
            self._due[packet.pts] = may_lack, packet.duration or 0
        self._decoder.skip_frame = "NONREF" if may_lack else "DEFAULT"
        return packet

    def _is_seen(self, time: int) -> bool:
        """Whether the frame shown from `time` to the next one's is the first, the last, or there at an asked moment."""
        following = bisect_right(self._shown, time)
        if following in (1, len(self._shown)):
            return True
        until = self._shown[following]
        self._relied_on = until if self._relied_on is None else max(self._relied_on, until)
        return bisect_left(self._moments, self._seconds(time)) < bisect_left(self._moments, self._seconds(until))

    def _seconds(self, time: int) -> float:
        """Seconds after the first picture from which a frame is seen; rounded as PictureTrack.add rounds."""
        return time * self._ticks - self._shown[0] * self._ticks - self._tolerance
