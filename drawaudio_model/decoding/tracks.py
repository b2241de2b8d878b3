"""What becomes of a file's decoded frames: the pictures and the sound of the asked clips, on one timeline.

Legend: V video frames, H/W pixels. Both tracks are fed frame by frame while a file is decoded (media.py) and keep only
what the clips need. Time zero of the clips is the moment the first picture is shown.
"""

from collections.abc import Iterable
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import Interpolation, VideoReformatter

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.decoding.skipping import CannotSkip, FrameSkipping, can_skip

REASONS = {
    "no_video_stream": "there is no moving picture (a cover picture does not count)",
    "no_audio_stream": "there is no sound track",
    "silent": f"no sample of the asked clips is above the loudness of {1e-4:g} (-80 dB of full scale)",
    "truncated": "the file ends before the length that it declares, or an mp4 has no moov atom",
    "undecodable": "no container, no decoder, or more damage than MAX_CORRUPT_SHARE",
    "too_short": "picture or sound of every asked clip is shorter than MIN_SECONDS",
}
"""Every value of MediaError.reason, with its meaning."""

AUDIO_GAP_SECONDS = 0.04
"""Sound is contiguous unless its clock jumps by more than this: real files carry jitter of 12 ms without any gap, and
45 ms is where people begin to notice (ITU-R BT.1359)."""
CLOCK_TOLERANCE_SECONDS = 1e-3
"""Matroska rounds times to 1 ms: a frame counts as shown this much (at most one tick of the file's clock) early."""

MARGIN_SECONDS = 1
"""Sound decoded around each clip, so that the resampling filter sees no edge; whole, so that all rates divide it."""
_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""AREA: every source pixel counts once, so nothing aliases when 720 lines become 224, and it is no dearer than bilinear.
The other two: without them swscale rounds down, and an even grey comes out 2 of 255 too dark; they cost 0.3 to 0.7 ms for
each of the 40 frames in 300 that are kept."""
_BATCH_FRAMES = 64
"""Sound frames mixed at a time: one numpy call for each would cost more than decoding them."""
_SAMPLE_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
_DOWNMIX = {"FC": 0.7071, "BC": 0.7071, "LFE": 0.0, "LFE2": 0.0, "FL": 0.5, "FR": 0.5, "FLC": 0.5, "FRC": 0.5}
_DOWNMIX |= {"BL": 0.3536, "BR": 0.3536, "SL": 0.3536, "SR": 0.3536, "WL": 0.3536, "WR": 0.3536, "DL": 0.5, "DR": 0.5}
"""Channel -> share in the mono sum: the mono of ITU-R BS.775-3 times 0.7071. Normalised to a sum of 1, so that it never clips."""


class MediaError(ValueError):
    """A file that cannot become a clip; `reason` is one of REASONS."""

    def __init__(self, reason: str, message: str) -> None:
        assert reason in REASONS, reason
        super().__init__(f"{message} ({reason})")
        self.reason = reason


class PictureTrack:
    """Picks, from frames in presentation order, the one shown at each asked moment; converts no other.

    With `skipping`, frames that are not looked at may stay undecoded; then everything but the corrupt ones is as without,
    or CannotSkip is raised (skipping.py).
    """

    def __init__(
        self,
        stream: av.VideoStream,
        times: list[np.ndarray],
        longer_side: int | None,
        size: tuple[int, int] | None,
        skipping: bool,
    ) -> None:
        self.count = self.corrupt = 0
        self.zero: float | None = None
        self.end = 0.0
        self.clips: list[np.ndarray] = []
        self._stream, self._longer_side, self._size = stream, longer_side, size
        self._lengths = [len(clip) for clip in times]
        self._targets = sorted((t, clip, i) for clip, clip_times in enumerate(times) for i, t in enumerate(clip_times))
        self._next = 0
        self._held: av.VideoFrame | None = None
        self._held_rgb: np.ndarray | None = None
        self._reformatter = VideoReformatter()
        self._clock = _FrameClock(stream)
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
        self._show_until(time - self.zero - self._clock.tolerance)
        self._held, self._held_rgb = frame, None

    def finish(self) -> None:
        if self._held is not None:
            self._show_until(np.inf)
        self._held = None
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
            if self._held_rgb is None:
                assert self._held is not None, "no moment lies before the first picture"
                self._held_rgb = self._convert(self._held)
            self.clips[clip][i] = self._held_rgb
            self._next += 1

    def _lay_out(self, frame: av.VideoFrame) -> None:
        """Fixes the size of all frames by the first one: pixel shape, rotation, scale."""
        self._transpose, self._flip_x, self._flip_y = _orientation(frame)
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
        self.clips = [np.empty((length, self._height, self._width, 3), np.uint8) for length in self._lengths]

    def _convert(self, frame: av.VideoFrame) -> np.ndarray:
        """(H, W, 3) RGB, scaled in the decoder's own colour format first, then turned upright."""
        width, height = (self._height, self._width) if self._transpose else (self._width, self._height)
        scaled = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=_SCALING, threads=1
        )
        picture = scaled.to_ndarray()
        if self._transpose:
            picture = picture.transpose(1, 0, 2)
        return picture[:: -1 if self._flip_y else 1, :: -1 if self._flip_x else 1]


class _FrameClock:
    """Presentation times in seconds that never run backwards."""

    def __init__(self, stream: av.VideoStream) -> None:
        rate = stream.average_rate or stream.guessed_rate
        self._interval = 1 / float(rate) if rate else 1 / 25
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
        return stated * self.ticks if stated else self._interval


def _orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
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


class SoundTrack:
    """Mono sound at the file's own rate around each clip, laid on the file's timeline."""

    def __init__(self, starts_seconds: list[float], seconds: float) -> None:
        self.samples = self.corrupt = self.count = 0
        self.rate = 0
        self.zero: float | None = None
        """Time zero of the clips on the file's clock; set by who knows it, sound that is decoded before waits."""
        self.start: float | None = None
        self.end = 0.0
        self._starts, self._seconds = starts_seconds, seconds
        self._windows: list[np.ndarray] = []
        self._covered: list[list[tuple[int, int]]] = [[] for _ in starts_seconds]
        self._batch: list[av.AudioFrame] = []
        self._batch_position = 0
        self._batch_kind: tuple[str, str] | None = None
        """Sample format and layout that all frames of the batch have."""
        self._waiting: list[tuple[int, np.ndarray]] = []
        self._position = 0
        self._weights: dict[str, np.ndarray] = {}

    def due(self, packet: av.Packet) -> Iterable[av.Packet]:
        """The packet itself: sound is decoded as it comes."""
        return (packet,)

    def add(self, frame: av.AudioFrame) -> None:
        if not self.rate:
            self.rate = frame.sample_rate
            self.start = frame.time or 0.0
            self._position = round(self.start * self.rate)
        if frame.sample_rate != self.rate:
            raise MediaError("undecodable", f"the sound changes from {self.rate} to {frame.sample_rate} Hz on its way")
        self.count += 1
        self.samples += frame.samples
        if frame.time is not None:
            stated = round(frame.time * self.rate)
            if abs(stated - self._position) > AUDIO_GAP_SECONDS * self.rate:
                self._mix_batch()
                self._position = stated
        kind = frame.format.name, frame.layout.name
        if self._batch and (len(self._batch) == _BATCH_FRAMES or kind != self._batch_kind):
            self._mix_batch()
        if not self._batch:
            self._batch_position, self._batch_kind = self._position, kind
        self._batch.append(frame)
        self._position += frame.samples
        self.end = self._position / self.rate

    def finish(self) -> None:
        """After the last frame, and after `zero` was set."""
        self._mix_batch()

    def _mix_batch(self) -> None:
        """The batch as mono, into the windows as soon as time zero is known."""
        if self._batch:
            self._waiting.append((self._batch_position, self._mono(self._batch)))
            self._batch = []
        if self.zero is not None:
            self._place()

    def _mono(self, frames: list[av.AudioFrame]) -> np.ndarray:
        """(n,) float32 in [-1, 1] from frames of one sample format and layout."""
        layout, form = frames[0].layout, frames[0].format
        channels = layout.nb_channels
        dtype = np.dtype(_SAMPLE_TYPES[form.packed.name])
        per_plane = 1 if form.is_planar else channels
        # The planes are padded behind their samples.
        pieces: list[Any] = [f.planes for f in frames]  # buffers, which PyAV's types do not say
        planes = [
            np.concatenate(
                [np.frombuffer(p[i], dtype, f.samples * per_plane) for f, p in zip(frames, pieces, strict=True)]
            )
            for i in range(channels if form.is_planar else 1)
        ]
        parts = planes if form.is_planar else list(planes[0].reshape(-1, channels).T)
        weights = self._weights.get(layout.name)
        if weights is None:
            weights = self._weights.setdefault(layout.name, _downmix_weights(layout))
        scale = 1.0 if dtype.kind == "f" else 1 / (128.0 if dtype == np.uint8 else np.iinfo(dtype).max + 1.0)
        zero = np.float32(128 if dtype == np.uint8 else 0)
        mono = np.zeros(len(parts[0]), np.float32)
        for weight, part in zip(weights, parts, strict=True):
            if weight:
                mono += np.float32(weight * scale) * (part.astype(np.float32, copy=False) - zero)
        return mono

    def _place(self) -> None:
        """Copies what waits into the clips' windows."""
        if not self._windows:
            length = round((self._seconds + 2 * MARGIN_SECONDS) * self.rate)
            self._windows = [np.zeros(length, np.float32) for _ in self._starts]
        zero = self.zero
        assert zero is not None, "whoever knows it has set it"
        for position, mono in self._waiting:
            for index, (start, window) in enumerate(zip(self._starts, self._windows, strict=True)):
                left = position - round((zero + start - MARGIN_SECONDS) * self.rate)
                first, last = max(0, left), min(len(window), left + len(mono))
                if first < last:
                    window[first:last] = mono[first - left : last - left]
                    _extend(self._covered[index], first, last)
        self._waiting = []

    def clip(self, index: int) -> tuple[np.ndarray, float]:
        """((seconds * SAMPLE_RATE,) float32, seconds of it that the file holds)."""
        if not self._windows:
            self._place()
        margin, length = MARGIN_SECONDS * self.rate, round(self._seconds * self.rate)
        held = sum(max(0, min(last, margin + length) - max(first, margin)) for first, last in self._covered[index])
        wanted = round(self._seconds * SAMPLE_RATE)
        waveform = _resample(self._windows[index], self.rate)
        waveform = waveform[MARGIN_SECONDS * SAMPLE_RATE :][:wanted]
        assert len(waveform) == wanted, (len(waveform), wanted)
        return np.ascontiguousarray(waveform), held / self.rate


def _extend(intervals: list[tuple[int, int]], first: int, last: int) -> None:
    """Adds [first, last) to intervals; pieces that touch or overlap the newest one become one."""
    if intervals and intervals[-1][0] <= first <= intervals[-1][1]:
        intervals[-1] = (intervals[-1][0], max(last, intervals[-1][1]))
    else:
        intervals.append((first, last))


def _downmix_weights(layout: av.AudioLayout) -> np.ndarray:
    """(channels,) float32, sum 1. Where the file does not name its channels, the usual order for their number is meant."""
    usual = {5: "5.0", 6: "5.1", 8: "7.1"}
    names = [channel.name for channel in layout.channels]
    if set(names) == {"NONE"} and len(names) in usual:
        names = [channel.name for channel in av.AudioLayout(usual[len(names)]).channels]
    weights = np.array([_DOWNMIX.get(name, 0.0) for name in names], np.float64)
    if not weights.sum():
        weights = np.ones(len(names))
    return (weights / weights.sum()).astype(np.float32)


def _resample(waveform: np.ndarray, rate: int) -> np.ndarray:
    """(n,) float32 at `rate` -> at SAMPLE_RATE, by swresample; aligned in time, sample 0 on sample 0."""
    if rate == SAMPLE_RATE:
        return waveform
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform[None]), format="flt", layout="mono")
    frame.sample_rate = rate
    resampler = AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    pieces = [piece.to_ndarray()[0] for given in (frame, None) for piece in resampler.resample(given)]
    return np.concatenate(pieces)
