"""The pictures of the asked clips: which decoded frame is seen at which moment, upright and at the asked size.

Legend: V video frames, H/W pixels. Fed frame by frame while a file is decoded (reading.py); keeps only what the clips
need. Time zero of the clips is the moment the first picture is shown.
"""

from collections.abc import Iterable
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import Interpolation, VideoReformatter

from drawaudio_model.decoding.clock import LONGEST_PACKET_SECONDS, picture_interval
from drawaudio_model.decoding.errors import MediaError as MediaError
from drawaudio_model.decoding.skipping import CannotSkip, FrameSkipping, can_skip

CLOCK_TOLERANCE_SECONDS = 1e-3
"""Matroska rounds times to 1 ms: a frame counts as shown this much (at most one tick of the file's clock) early."""

_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""AREA: every source pixel counts once, so nothing aliases when 720 lines become 224, and it is no dearer than bilinear.
The other two: without them swscale rounds down, and an even grey comes out 2 of 255 too dark; they cost 0.3 to 0.7 ms for
each of the 40 frames in 300 that are kept."""


class PictureTrack:
    """Picks, from frames in presentation order, the one shown at each asked moment; converts no other.

    With `skipping`, frames that are not looked at may stay undecoded; then everything but the corrupt ones is as without,
    or CannotSkip is raised (skipping.py). With `alpha`, a fourth channel says how opaque a pixel is.
    """

    def __init__(
        self,
        stream: av.VideoStream,
        times: list[np.ndarray],
        longer_side: int | None,
        size: tuple[int, int] | None,
        skipping: bool,
        alpha: bool = False,
    ) -> None:
        self.count = self.corrupt = 0
        self.zero: float | None = None
        self.end = 0.0
        self._clips: dict[int, np.ndarray] = {}
        self._filled = [0] * len(times)
        """Frames of each clip that have been seen."""
        self._taken: set[int] = set()
        self._now = 0.0
        """Seconds after the first picture that all frames so far are shown before, or at."""
        self._stream, self._longer_side, self._size = stream, longer_side, size
        self._format, self._channels = ("rgba", 4) if alpha else ("rgb24", 3)
        self._lengths = [len(clip) for clip in times]
        self._targets = sorted((t, clip, i) for clip, clip_times in enumerate(times) for i, t in enumerate(clip_times))
        self._next = 0
        self._held: av.VideoFrame | None = None
        self._held_rgb: np.ndarray | None = None
        self._reformatter = VideoReformatter()
        self._clock = FrameClock(stream)
        self._skipping: FrameSkipping | None = None
        if skipping and can_skip(stream):
            moments = [moment for moment, _, _ in self._targets]
            self._skipping = FrameSkipping(stream, moments, self._clock.ticks, self._clock.tolerance)

    def due(self, packet: av.Packet) -> Iterable[av.Packet]:
        """The packets to decode after this one was read, each before the next is asked for."""
        return (packet,) if self._skipping is None else self._skipping.due(packet)

    def add(self, frame: av.VideoFrame) -> None:
        if self._skipping is not None:
            self._skipping.check(frame)
        self.count += 1
        self.corrupt += frame.is_corrupt
        time, duration = self._clock.time(frame)
        if self.zero is None:
            self.zero = time
            self._lay_out(frame)
        self.end = max(self.end, time + duration)
        self._now = time - self.zero
        self._show_until(self._now - self._clock.tolerance)
        self._held, self._held_rgb = frame, None

    def repeat(self, packet: av.Packet) -> None:
        """An empty packet: the picture before it goes on."""
        time = packet.pts if packet.pts is not None else packet.dts
        if self.zero is not None and time is not None:
            self.end = max(self.end, time * self._clock.ticks + self._clock.duration(packet.duration))

    def passed(self, seconds: float) -> bool:
        """Whether all frames up to this moment have been seen."""
        return self._held is not None and self._now - self._clock.tolerance >= seconds

    def take(self, index: int) -> np.ndarray:
        """(V, H, W, 3) uint8 frames of a clip; the last one is held where the picture has ended. To be asked for once."""
        self._taken.add(index)
        frames = self._clips.pop(index, None)
        if frames is None:
            frames = self._empty(index)
        if self._filled[index] < len(frames):
            frames[self._filled[index] :] = self._last_rgb()
        return frames

    def finish(self) -> None:
        if self._skipping is not None:
            if self.corrupt:
                raise CannotSkip(f"{self.corrupt} packets cannot be decoded")
            for time, duration in self._skipping.left_out():
                self.count += 1
                self.end = max(self.end, time * self._clock.ticks + self._clock.duration(duration))

    def _show_until(self, time: float) -> None:
        """The held frame is what is seen at every asked moment before `time`."""
        while self._next < len(self._targets) and self._targets[self._next][0] < time:
            _, clip, i = self._targets[self._next]
            self._next += 1
            if clip in self._taken:
                continue
            if clip not in self._clips:
                self._clips[clip] = self._empty(clip)
            self._clips[clip][i] = self._last_rgb()
            self._filled[clip] = i + 1

    def _last_rgb(self) -> np.ndarray:
        """(H, W, 3) the held frame."""
        if self._held_rgb is None:
            assert self._held is not None, "a clip is asked for before the first picture"
            self._held_rgb = self._convert(self._held)
        return self._held_rgb

    def _empty(self, index: int) -> np.ndarray:
        return np.empty((self._lengths[index], self._height, self._width, self._channels), np.uint8)

    def _lay_out(self, frame: av.VideoFrame) -> None:
        """Fixes the size of all frames by the first one: pixel shape, rotation, scale."""
        self._transpose, self._flip_x, self._flip_y = orientation(frame)
        ratio = self._stream.sample_aspect_ratio or self._stream.codec_context.sample_aspect_ratio or 1
        width, height = frame.width * float(ratio), float(frame.height)
        if self._transpose:
            width, height = height, width
        if self._size is not None:
            height, width = self._size
        elif self._longer_side is not None:
            scale = min(1.0, self._longer_side / max(width, height))
            width, height = width * scale, height * scale
        self._height, self._width = max(1, round(height)), max(1, round(width))

    def _convert(self, frame: av.VideoFrame) -> np.ndarray:
        """(H, W, 3) RGB, scaled in the decoder's own colour format first, then turned upright."""
        width, height = (self._height, self._width) if self._transpose else (self._width, self._height)
        scaled = self._reformatter.reformat(
            frame, width=width, height=height, format=self._format, interpolation=_SCALING, threads=1
        )
        picture = scaled.to_ndarray()
        if self._transpose:
            picture = picture.transpose(1, 0, 2)
        return picture[:: -1 if self._flip_y else 1, :: -1 if self._flip_x else 1]


class FrameClock:
    """Presentation times in seconds that never run backwards."""

    def __init__(self, stream: av.VideoStream) -> None:
        self._interval = float(picture_interval(stream))
        assert stream.time_base is not None, "FFmpeg gives every stream of a file one"
        self.ticks = float(stream.time_base)
        self.tolerance = min(self.ticks, CLOCK_TOLERANCE_SECONDS)
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._bad_pts = self._bad_dts = 0
        self._last: float | None = None
        self._last_duration = 0.0

    def time(self, frame: av.VideoFrame) -> tuple[float, float]:
        """Time and duration of the next frame.

        AVI stores no presentation times, and what FFmpeg derives for its B-frames runs backwards. As FFmpeg's own
        `best_effort_timestamp` (which PyAV does not show), trust whichever of pts and dts has gone wrong less often.
        """
        pts, dts = frame.pts, frame.dts
        if pts is not None:
            self._bad_pts += self._last_pts is not None and pts <= self._last_pts
            self._last_pts = pts
        if dts is not None:
            self._bad_dts += self._last_dts is not None and dts <= self._last_dts
            self._last_dts = dts
        value = pts if pts is not None and (self._bad_pts <= self._bad_dts or dts is None) else dts
        if value is not None:
            time = value * self.ticks
        else:
            time = 0.0 if self._last is None else self._last + self._last_duration
        if self._last is not None:
            time = max(time, self._last)
        self._last_duration = self.duration(frame.duration)
        self._last = time
        return time, self._last_duration

    def duration(self, stated: int | None) -> float:
        """Seconds of a frame, from what its packet states in ticks."""
        seconds = stated * self.ticks if stated else 0.0
        return seconds if 0 < seconds < LONGEST_PACKET_SECONDS else self._interval


def orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """(transpose, flip_x, flip_y) that turn the stored picture upright, from its display matrix.

    The matrix is 3 x 3 int32; x' = a x + c y, y' = b x + d y. Angles between right ones go to the nearest.
    """
    try:
        side_data: Any = frame.side_data  # PyAV's types know it by another name
        matrix = np.frombuffer(bytes(side_data[SideDataType.DISPLAYMATRIX]), np.int32).astype(np.int64)
    except KeyError:
        return False, False, False
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, bool(a < 0), bool(d < 0)
    return True, bool(c < 0), bool(b < 0)
