"""The sound of the asked clips: frames of any rate and layout as mono, laid on the file's timeline.

The mono sum loses what left and right have with opposite signs. Where that is nearly all in a tenth of a clip, its loudest
channel is taken instead; which clips need that is known when they have been heard, so such files are read twice.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping

import av
import numpy as np
from av.audio.resampler import AudioResampler

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.decoding.errors import MediaError, ReadAgain

AUDIO_GAP_SECONDS = 0.04
"""Sound is contiguous unless its clock jumps by more than this: real files carry jitter of 12 ms without any gap, and
45 ms is where people begin to notice (ITU-R BT.1359)."""
HIGHEST_RATE = 6_000_000
"""Samples a second; the fastest that decoders give (DSD1024) are below, and a damaged header's would fill the memory."""
MARGIN_SECONDS = 1
"""Sound decoded around each clip, so that the resampling filter sees no edge; whole, so that all rates divide it."""
CANCELLED_SHARE = 0.01
"""A mix with less than this share (-20 dB) of the power that its channels would have if they were unrelated: they cancel."""
CANCELLED_TIME = 0.1
"""The same for a while: so much of the time in which a clip is heard; chance alone, as of two steady tones, takes half of it."""
POWER_SECONDS = 0.02
"""Length of the blocks in which the power of channels is summed."""
_HEARD_POWER = 1e-9
"""Mean square of a clip's channels below which nothing sounds that could cancel (-90 dB of full scale)."""
_BATCH_FRAMES = 64
"""Sound frames mixed at a time: one numpy call for each would cost more than decoding them."""
_SAMPLE_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
_DOWNMIX = {"FC": 0.7071, "BC": 0.7071, "LFE": 0.0, "LFE2": 0.0, "FL": 0.5, "FR": 0.5, "FLC": 0.5, "FRC": 0.5}
_DOWNMIX |= {"BL": 0.3536, "BR": 0.3536, "SL": 0.3536, "SR": 0.3536, "WL": 0.3536, "WR": 0.3536, "DL": 0.5, "DR": 0.5}
"""Channel -> share in the mono sum: the mono of ITU-R BS.775-3 times 0.7071. Normalised to a sum of 1, so that it never clips."""


class ChannelsCancel(ReadAgain):
    """The mix of some clips is to be replaced by their loudest channel: `channels`, by clip."""

    def __init__(self, channels: dict[int, int]) -> None:
        super().__init__(f"the channels of {len(channels)} clips cancel")
        self.channels = channels


class SoundTrack:
    """Mono sound at the file's own rate around each clip, laid on the file's timeline.

    Args:
        starts_seconds: of the clips, after time zero.
        seconds: length of every clip.
        channels: clip -> the channel to take instead of the mix of all.
    """

    def __init__(self, starts_seconds: list[float], seconds: float, channels: Mapping[int, int] | None = None) -> None:
        self.samples = self.corrupt = self.count = 0
        self.rate = 0
        self.zero: float | None = None
        """Time zero of the clips on the file's clock; set by who knows it, sound that is decoded before waits."""
        self.start: float | None = None
        self.end = -np.inf
        self.changed_rate = False
        self.cancelled: dict[int, int] = {}
        """Clip -> loudest channel, of the clips taken so far whose mix cancelled."""
        self._starts, self._seconds = starts_seconds, seconds
        self._channels = dict(channels or {})
        self._by_start = sorted(range(len(starts_seconds)), key=lambda index: starts_seconds[index])
        self._sorted_starts = sorted(starts_seconds)
        self._windows: dict[int, np.ndarray] = {}
        self._covered: dict[int, list[tuple[int, int]]] = {}
        self._powers: dict[int, dict[tuple[float, ...], np.ndarray]] = {}
        """Clip -> channel weights -> sums over blocks, see `_mono`."""
        self._taken: set[int] = set()
        self._batch: list[av.AudioFrame] = []
        self._batch_position = 0
        self._batch_kind: tuple[str, str] | None = None
        """Sample format and layout that all frames of the batch have."""
        self._waiting: list[tuple[int, np.ndarray, dict[int, np.ndarray], tuple[float, ...], np.ndarray]] = []
        """Position, mix, asked channels, weights and powers of the batches that wait for time zero."""
        self._position = 0
        self._weights: dict[str, np.ndarray] = {}
        self._converter: AudioResampler | None = None
        self._converted_kind: tuple[str, str, int] | None = None

    def due(self, packet: av.Packet) -> Iterable[av.Packet]:
        """The packet itself: sound is decoded as it comes."""
        return (packet,)

    def add(self, frame: av.AudioFrame) -> None:
        if not self.rate:
            if frame.sample_rate > HIGHEST_RATE:
                raise MediaError("undecodable", f"the sound claims {frame.sample_rate} samples a second")
            self.rate = frame.sample_rate
            self.start = frame.time or 0.0
            self._position = round(self.start * self.rate)
        self.count += 1
        kind = frame.format.name, frame.layout.name, frame.sample_rate
        if self._converter is not None and kind != self._converted_kind:
            self._end_conversion()
        if frame.time is not None:
            stated = round(frame.time * self.rate)
            if abs(stated - self._position) > AUDIO_GAP_SECONDS * self.rate:
                self._end_conversion()
                self._mix_batch()
                self._position = stated
        if frame.sample_rate == self.rate:
            self._append(frame)
            return
        self.changed_rate = True
        if self._converter is None:
            self._converter = AudioResampler(format=kind[0], layout=kind[1], rate=self.rate)
            self._converted_kind = kind
        frame.pts = None
        for piece in self._converter.resample(frame):
            self._append(piece)

    def _append(self, frame: av.AudioFrame) -> None:
        self.samples += frame.samples
        kind = frame.format.name, frame.layout.name
        if self._batch and (len(self._batch) == _BATCH_FRAMES or kind != self._batch_kind):
            self._mix_batch()
        if not self._batch:
            self._batch_position, self._batch_kind = self._position, kind
        self._batch.append(frame)
        self._position += frame.samples
        self.end = max(self.end, self._position / self.rate)

    def _end_conversion(self) -> None:
        """The samples that the converter of another sample rate still holds."""
        if self._converter is not None:
            for piece in self._converter.resample(None):
                self._append(piece)
        self._converter = None

    def finish(self) -> None:
        """After the last frame, and after `zero` was set."""
        self._end_conversion()
        self._mix_batch()

    def passed(self, index: int) -> bool:
        """Whether all sound of a clip has been placed, as far as it comes in order."""
        if self.zero is None or not self.rate:
            return False
        placed = self._batch_position if self._batch else self._position
        return placed / self.rate > self.zero + self._starts[index] + self._seconds + MARGIN_SECONDS

    def _mix_batch(self) -> None:
        """The batch as mono, into the windows as soon as time zero is known."""
        if self._batch:
            self._waiting.append((self._batch_position, *self._mono(self._batch)))
            self._batch = []
        if self.zero is not None:
            self._place(self.zero)

    def _mono(
        self, frames: list[av.AudioFrame]
    ) -> tuple[np.ndarray, dict[int, np.ndarray], tuple[float, ...], np.ndarray]:
        """Mix, asked channels, weights and powers of frames of one sample format and layout.

        The mix and the channels are (n,) float32 in [-1, 1]; the powers are (channels + 4, blocks of POWER_SECONDS): mean
        squares of each channel and of the mix, whether the block cancels, whether it is heard, and 1.
        """
        layout, form = frames[0].layout, frames[0].format
        count = layout.nb_channels
        dtype = np.dtype(_SAMPLE_TYPES[form.packed.name])
        per_plane = 1 if form.is_planar else count
        # The planes are padded behind their samples.
        pieces = [f.planes for f in frames]
        planes = [
            np.concatenate(
                [
                    np.frombuffer(p[i], dtype, f.samples * per_plane)  # type: ignore[call-overload]  # a plane is a buffer
                    for f, p in zip(frames, pieces, strict=True)
                ]
            )
            for i in range(count if form.is_planar else 1)
        ]
        parts = planes if form.is_planar else list(planes[0].reshape(-1, count).T)
        weights = self._weights.get(layout.name)
        if weights is None:
            weights = self._weights.setdefault(layout.name, _downmix_weights(layout))
        scale = 1.0 if dtype.kind == "f" else 1 / (128.0 if dtype == np.uint8 else np.iinfo(dtype).max + 1.0)
        zero = np.float32(128 if dtype == np.uint8 else 0)
        mono = np.zeros(len(parts[0]), np.float32)
        block = max(round(POWER_SECONDS * self.rate), 1)
        places = np.arange(0, len(mono), block)
        sizes = np.diff(places, append=len(mono))
        powers = np.ones((count + 4, len(places)))
        powers[:-1] = 0
        chosen: dict[int, np.ndarray] = {}
        asked = {*self._channels.values()}
        for number, (weight, part) in enumerate(zip(weights, parts, strict=True)):
            samples = part.astype(np.float32, copy=False) - zero
            if weight:
                mono += np.float32(weight * scale) * samples
            if number in asked:
                chosen[number] = np.float32(scale) * samples
            if count > 1:
                powers[number] = np.add.reduceat(samples * samples, places) * scale**2 / sizes
        if count > 1:
            powers[-4] = np.add.reduceat(mono * mono, places) / sizes
            unrelated = np.square(weights) @ powers[:-4]
            powers[-2] = unrelated > _HEARD_POWER
            powers[-3] = (powers[-4] < CANCELLED_SHARE * unrelated) & (unrelated > _HEARD_POWER)
        return mono, chosen, tuple(float(weight) for weight in weights), powers

    def _place(self, zero: float) -> None:
        """Copies what waits into the windows of those clips that it belongs to; `zero` is that of the clips."""
        length = round((self._seconds + 2 * MARGIN_SECONDS) * self.rate)
        for position, mono, chosen, weights, powers in self._waiting:
            begin = position / self.rate - zero
            reach = self._seconds + MARGIN_SECONDS + 1 / self.rate
            first = bisect_left(self._sorted_starts, begin - reach)
            until = bisect_right(self._sorted_starts, begin + len(mono) / self.rate + MARGIN_SECONDS + 1 / self.rate)
            for index in self._by_start[first:until]:
                if index in self._taken:
                    continue
                left = position - round((zero + self._starts[index] - MARGIN_SECONDS) * self.rate)
                low, high = max(0, left), min(length, left + len(mono))
                if low >= high:
                    continue
                window = self._windows.get(index)
                if window is None:
                    window = self._windows.setdefault(index, np.zeros(length, np.float32))
                source = chosen.get(self._channels.get(index, -1), mono)
                window[low:high] = source[low - left : high - left]
                _extend(self._covered.setdefault(index, []), low, high)
                sums = self._powers.setdefault(index, {})
                # The blocks that begin in the clip itself, without its margins.
                block = max(round(POWER_SECONDS * self.rate), 1)
                begins = left + block * np.arange(powers.shape[1])
                inside = (begins >= MARGIN_SECONDS * self.rate) & (begins < length - MARGIN_SECONDS * self.rate)
                sums[weights] = sums.get(weights, 0) + powers[:, inside].sum(axis=1)
        self._waiting = []

    def take(self, index: int) -> tuple[np.ndarray, float]:
        """((seconds * SAMPLE_RATE,) float32, seconds of it that the file holds); to be asked for once."""
        self._taken.add(index)
        window = self._windows.pop(index, None)
        wanted = round(self._seconds * SAMPLE_RATE)
        if window is None:
            return np.zeros(wanted, np.float32), 0.0
        channel = _loudest_of_cancelling(self._powers.pop(index))
        if channel is not None:
            self.cancelled[index] = channel
        margin, length = MARGIN_SECONDS * self.rate, round(self._seconds * self.rate)
        covered = self._covered.pop(index)
        held = sum(max(0, min(last, margin + length) - max(first, margin)) for first, last in covered)
        waveform = _resample(window, self.rate)[MARGIN_SECONDS * SAMPLE_RATE :][:wanted]
        assert len(waveform) == wanted, (len(waveform), wanted)
        return np.ascontiguousarray(waveform), held / self.rate


def _loudest_of_cancelling(powers: Mapping[tuple[float, ...], np.ndarray]) -> int | None:
    """The loudest channel, where the mix of a clip lacks nearly all that its channels have, on the whole or for a while.

    That is so where they cancel, and where only the bass effects channel sounds, which no mix has.
    """
    unrelated = sum(float(np.square(weights) @ sums[:-4]) for weights, sums in powers.items())
    mixed, lost, mixable, samples = (sum(sums[place] for sums in powers.values()) for place in (-4, -3, -2, -1))
    heard = sum(float(sums[:-4].sum()) for sums in powers.values())
    is_mixed = unrelated > _HEARD_POWER * samples
    holds = mixed >= CANCELLED_SHARE * unrelated and lost <= CANCELLED_TIME * mixable
    if heard <= _HEARD_POWER * samples or (is_mixed and holds):
        return None
    loudest = max(powers.values(), key=lambda sums: sums[:-4].sum())
    return int(np.argmax(loudest[:-4]))


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
