"""A part of a sound made anew: which windows it needs, and how its samples take their place in the rest.

Samples outside a section stay as they are, to the bit. The vocoder, which finds phases of its own each time, gives other
samples even for the same latents: so only those inside are taken from it, and near each end of the section, inside it, one
sound fades into the other, where the two are most alike.

Legend: n samples of the whole sound, m of the windows that a section touches, N latent frames of the whole sound, T mel frames.
"""

import math
from dataclasses import dataclass

import numpy as np
import soxr
import torch
from torch import Tensor

from drawaudio_model.clip_format import CLIP_SECONDS, HOP_LENGTH, SAMPLE_RATE
from drawaudio_model.generation import windows
from drawaudio_model.generation.output import Take
from drawaudio_model.mel import log_mel

FADE_SECONDS = 0.2
"""Of each fade between the kept and the new sound; of a short section a fifth of it at most."""
PLACE_SECONDS = 0.3
"""From a section's end to its fade, at most; of a short section an eighth of it."""
PLACE_COST = 2.0
"""By how much the log-mels must be nearer to each other, in the mean, for each second that a fade lies farther inside."""
EASED_SECONDS = 0.32
"""Beside a section's ends, inside it: the latents there are let go from what was there one after the other."""
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

    def kept(self, first: int, last: int) -> Tensor:
        """(last - first,) float32 of latent frames: the share of the steps during which each is what it was before.

        1 outside the section, and 0 in the middle of it; near its ends it falls, so that what is made begins like what it
        takes the place of (as Levin and Fried's differential diffusion has it for pictures).
        """
        begin, end = self.frames
        eased = min(round(EASED_SECONDS * self.latent_frames / CLIP_SECONDS), (end - begin) // 2)
        fall = 1 - (torch.arange(eased) + 1) / (eased + 1)
        kept = torch.ones(last - first)
        kept[begin - first : end - first] = 0.0
        if begin > 0:
            kept[begin - first : begin - first + eased] = fall
        if self.end_seconds < self.seconds - 1e-6:
            kept[end - first - eased : end - first] = fall.flip(0)
        return kept

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
    before = excerpt(take, (span_start, span_start + len(made) // SAMPLE_RATE))
    later, sooner = _fade_places(before, made, span_start, section)
    if rate != SAMPLE_RATE:
        made = soxr.resample(made, SAMPLE_RATE, rate, quality="VHQ")
    new = made[start - span_start * rate : end - span_start * rate].astype(np.float64)
    old = whole[start:end].astype(np.float64)
    fade = min(round(FADE_SECONDS * rate), (end - start) // 5)
    rising = (0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)) if fade else np.zeros(0)
    if start > 0:
        place = min(round(later * rate), (end - start) // 8)
        new[:place] = old[:place]
        inside = slice(place, place + fade)
        new[inside] = _faded(old[inside], new[inside], rising)
    if end < len(whole):
        place = end - start - min(round(sooner * rate), (end - start) // 8)
        new[place:] = old[place:]
        inside = slice(place - fade, place)
        new[inside] = _faded(old[inside], new[inside], rising[::-1])
    out = whole.copy()
    out[start:end] = new.astype(whole.dtype)
    return out


def _fade_places(before: np.ndarray, made: np.ndarray, span_start: int, section: Section) -> tuple[float, float]:
    """Seconds from the section's start to its first fade, and from its end back to its last: where the sounds are alike.

    Args:
        before: (m,) the sound as it was, at 16 kHz.
        made: (m,) the new one.
        span_start: second at which both begin.
        section: where in the sound.
    """
    rate = SAMPLE_RATE // HOP_LENGTH
    length = min(len(before), len(made)) // HOP_LENGTH * HOP_LENGTH
    levels = [log_mel(sound[:length].astype(np.float32)).numpy() for sound in (before, made)]  # (T, M)
    apart = np.abs(levels[0] - levels[1]).mean(axis=1)  # (T,)
    first = round((section.start_seconds - span_start) * rate)
    last = min(round((section.end_seconds - span_start) * rate), len(apart))
    fade = max(min(round(FADE_SECONDS * rate), (last - first) // 5), 1)
    most = min(round(PLACE_SECONDS * rate), (last - first) // 8)
    found = []
    for side in (apart[first:last], apart[first:last][::-1]):
        costs = [side[place : place + fade].mean() + PLACE_COST * place / rate for place in range(most + 1)]
        found.append(int(np.argmin(costs)) / rate if len(side) >= fade + most else 0.0)
    return found[0], found[1]


def _faded(old: np.ndarray, new: np.ndarray, share: np.ndarray) -> np.ndarray:
    """One sound into another (each (f,)) as the new one's share goes from 0 to 1.

    Shares that sum to 1 would dip where the two are unlike, as sounds of other phases are, and shares whose squares do
    would swell where they are alike: the sum is scaled by what their likeness leaves, as far as that stays within full scale.
    """
    power = math.sqrt(float((old**2).sum() * (new**2).sum()))
    likeness = min(max(float((old * new).sum()) / power, 0.0), 1.0) if power > 0 else 1.0
    mixed = old * (1 - share) + new * share
    rise = 1 / np.sqrt((1 - share) ** 2 + share**2 + 2 * likeness * share * (1 - share)) - 1
    # Of two sounds within full scale the plain sum is, too; where the loudest peaks of both meet, less can be made up for.
    room = np.maximum(1.0 - np.abs(mixed), 0.0)
    over = np.abs(mixed) * rise > room
    part = float((room[over] / (np.abs(mixed) * rise)[over]).min()) if over.any() else 1.0
    return mixed * (1 + part * rise)
