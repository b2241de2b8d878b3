"""A part of a sound made anew: which windows it needs, and how its samples take their place in the rest.

Samples outside a section stay as they are, to the bit. The vocoder, which finds phases of its own each time, gives other
samples even for the same latents: so only those inside are taken from it, and at each end of the section, inside it, one
sound fades into the other.

Legend: n samples of the whole sound, m of the windows that a section touches, N latent frames of the whole sound.
"""

import math
from dataclasses import dataclass

import numpy as np
import soxr

from drawaudio_model.clip_format import CLIP_SECONDS, SAMPLE_RATE
from drawaudio_model.generation import windows
from drawaudio_model.generation.output import Take
from drawaudio_model.levels.limiter import limit

FADE_SECONDS = 0.1
"""Of each fade between the kept and the new sound."""
LEVEL_SECONDS = 0.5
"""Beside a section, over which the levels of the kept sound and of its decoded latents are compared."""
LARGEST_GAIN_DB = 12.0
"""More is no difference of level, but of what sounds."""
_AUDIBLE = 1e-4
"""RMS below which there is no level to compare."""


@dataclass(frozen=True)
class Section:
    """A part of a sound, in seconds and in latent frames."""

    start_seconds: float
    end_seconds: float
    seconds: float
    """Length of the whole sound."""
    latent_frames: int
    """F, of one window."""

    def __post_init__(self) -> None:
        if not 0 <= self.start_seconds < self.end_seconds <= self.seconds + 1e-6:
            raise ValueError(
                f"the section goes from {self.start_seconds:g} to {self.end_seconds:g} s, expected a start before its end, "
                f"both within the {self.seconds:.2f} s of the sound"
            )

    @property
    def frames(self) -> tuple[int, int]:
        """First latent frame that the section reaches into, and the first after it."""
        rate = self.latent_frames / CLIP_SECONDS
        return math.floor(round(self.start_seconds * rate, 6)), math.ceil(round(self.end_seconds * rate, 6))

    def window_starts(self, overlap_seconds: int) -> tuple[int, ...]:
        """Starts in seconds of the windows that hold any of its frames: all that has to be sampled."""
        every = windows.window_starts_seconds(self.seconds, self.latent_frames, overlap_seconds)
        return windows.touching(every, self.latent_frames, *self.frames)


def excerpt(take: Take, span: tuple[int, int]) -> np.ndarray:
    """(m,) at 16 kHz of a sound between two seconds, silence after its end; nothing else of it is resampled."""
    rate, (first, last) = take.sample_rate, span
    beyond = rate if rate != SAMPLE_RATE else 0  # a second on each side, so that the filter sees no edge
    start = max(first * rate - beyond, 0)
    part = take.waveform[start : last * rate + beyond].astype(np.float32)
    if rate != SAMPLE_RATE:
        part = soxr.resample(part, rate, SAMPLE_RATE, quality="VHQ")
        part = part[(first * rate - start) * SAMPLE_RATE // rate :]
    length = (last - first) * SAMPLE_RATE
    return np.pad(part[:length], (0, max(length - len(part), 0)))


def level_of_neighbours(made: np.ndarray, kept: np.ndarray, start: int, end: int) -> np.ndarray:
    """The new sound (m,) at the level of the kept one (m,): as much louder as that is beside the section.

    Beside the section, both come from the same latents, and differ by whatever was done to the kept one since. The gain
    goes from that on the left to that on the right in a straight line of decibels.

    Args:
        made: decoded, all of it.
        kept: the sound before, in the same place.
        start: first sample of the section.
        end: the first after it.
    """
    reach = round(LEVEL_SECONDS * SAMPLE_RATE)
    sides = [
        _gain_db(made[side], kept[side]) for side in (slice(max(start - reach, 0), start), slice(end, end + reach))
    ]
    measured = [gain for gain in sides if gain is not None]
    if not measured:
        return made
    left, right = (measured[0] if gain is None else gain for gain in sides)
    gain_db = np.interp(np.arange(len(made)), (start, end), (left, right))
    return (made * 10 ** (gain_db / 20)).astype(np.float32)


def _gain_db(made: np.ndarray, kept: np.ndarray) -> float | None:
    """From one sound's RMS to the other's; None where either is silent."""
    levels = [
        math.sqrt(float(np.square(sound, dtype=np.float64).mean())) if len(sound) else 0.0 for sound in (made, kept)
    ]
    if min(levels) < _AUDIBLE:
        return None
    return min(max(20 * math.log10(levels[1] / levels[0]), -LARGEST_GAIN_DB), LARGEST_GAIN_DB)


def pasted(take: Take, made: np.ndarray, span_start: int, section: Section) -> np.ndarray:
    """(n,) the take's samples with those of `section` from `made` (m,), which begins at second `span_start`.

    Of the take's own type and rate. Samples outside the section are the take's, to the bit.
    """
    rate, whole = take.sample_rate, take.waveform
    start = round(section.start_seconds * rate)
    end = min(round(section.end_seconds * rate), len(whole))
    if rate != SAMPLE_RATE:
        made = soxr.resample(made, SAMPLE_RATE, rate, quality="VHQ")
    new = made[start - span_start * rate : end - span_start * rate].astype(np.float64)
    old = whole[start:end].astype(np.float64)
    fade = min(round(FADE_SECONDS * rate), (end - start) // 2)
    rising = (0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)) if fade else np.zeros(0)
    if start > 0:
        new[:fade] = _faded(old[:fade], new[:fade], rising)
    if end < len(whole):
        new[end - start - fade :] = _faded(old[end - start - fade :], new[end - start - fade :], rising[::-1])
    if len(new) and np.abs(new).max() > 1.0:  # where the fade swells
        new = limit(new)[0]
    out = whole.copy()
    out[start:end] = new.astype(whole.dtype)
    return out


def _faded(old: np.ndarray, new: np.ndarray, share: np.ndarray) -> np.ndarray:
    """One sound into another (each (f,)) as the new one's share goes from 0 to 1.

    Shares that sum to 1 would dip where the two are unlike, as sounds of other phases are, and shares whose squares do
    would swell where they are alike: the sum is scaled by what their likeness leaves.
    """
    power = math.sqrt(float((old**2).sum() * (new**2).sum()))
    likeness = min(max(float((old * new).sum()) / power, 0.0), 1.0) if power > 0 else 1.0
    return (old * (1 - share) + new * share) / np.sqrt((1 - share) ** 2 + share**2 + 2 * likeness * share * (1 - share))
