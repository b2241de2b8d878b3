"""The sum of several sounds below a true peak: what `drawaudio mix` writes, and what the studio plays and exports.

A mix has one channel until a sound in it is panned; then it has two, and what stands in the middle is in both as loud as it
was in the one.

Legend: n samples, at 16 kHz; (n,) is one channel, (n, 2) are left and right.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from drawaudio_model.levels.limiter import CEILING_DB, decibels, limit, true_peak


class Mix(NamedTuple):
    """A mix and what was done to it."""

    waveform: np.ndarray
    """(n,) or (n, 2) float32."""
    peak_db: float
    """True peak of the plain sum, in dB of full scale."""
    reduction_db: float
    """Decibels by which the limiter turned down the loudest part; 0 where nothing was limited."""


def mix(
    stems: Sequence[np.ndarray],
    gains_db: Sequence[float],
    pans: Sequence[float] | None = None,
    *,
    ceiling_db: float = CEILING_DB,
) -> Mix:
    """The sum of the stems with their gains and places, limited to a true peak; shorter stems end in silence.

    Args:
        stems: (n,) each.
        gains_db: decibels, one for each.
        pans: -1 left to 1 right, one for each; None: all stand in the middle. Where one does not, the mix has two channels.
        ceiling_db: true peak of the mix, in dB of full scale.

    Raises:
        ValueError: when there is no stem, or not one gain and place each.
    """
    pans = [0.0] * len(stems) if pans is None else pans
    if not stems or not len(stems) == len(gains_db) == len(pans):
        raise ValueError(
            f"{len(stems)} stems, {len(gains_db)} gains and {len(pans)} pans, expected one each for at least one stem"
        )
    stereo = any(pans)
    longest = max(len(stem) for stem in stems)
    total = np.zeros((longest, 2) if stereo else longest, np.float64)
    for stem, gain, pan in zip(stems, gains_db, pans, strict=True):
        total[: len(stem)] += placed(stem, gain, pan if stereo else None)
    peak = true_peak(total)
    limited, gain = limit(total, ceiling_db=ceiling_db)
    return Mix(limited.astype(np.float32), decibels(peak), -decibels(gain))


def placed(stem: np.ndarray, gain_db: float, pan: float | None) -> np.ndarray:
    """A stem (n,) as it stands in a mix: (n, 2) float64, or (n,) where the mix has one channel (`pan` None)."""
    gained = stem.astype(np.float64) * 10 ** (gain_db / 20)
    return gained if pan is None else gained[:, None] * pan_gains(pan)


def pan_gains(pan: float) -> tuple[float, float]:
    """The factors of a sound on the left and on the right, for a place from -1 (left alone) to 1 (right alone).

    Equal power, as Web Audio's StereoPanner has it, times the square root of two: in the middle both are 1, so that a mix
    which gets its second channel is no softer than it was, and the power is everywhere that of the middle.
    """
    angle = (pan + 1) * math.pi / 4
    return math.sqrt(2) * math.cos(angle), math.sqrt(2) * math.sin(angle)
