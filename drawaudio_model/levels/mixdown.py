"""The sum of several sounds below a true peak: what `drawaudio mix` writes, and what the studio plays and exports.

Legend: n samples, at 16 kHz.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from drawaudio_model.levels.limiter import CEILING_DB, decibels, limit, true_peak


class Mix(NamedTuple):
    """A mix and what was done to it."""

    waveform: np.ndarray
    """(n,) float32."""
    peak_db: float
    """True peak of the plain sum, in dB of full scale."""
    reduction_db: float
    """Decibels by which the limiter turned down the loudest part; 0 where nothing was limited."""


def mix(stems: Sequence[np.ndarray], gains_db: Sequence[float], *, ceiling_db: float = CEILING_DB) -> Mix:
    """The sum of the stems (n,) with their gains, limited to a true peak; shorter stems end in silence.

    Raises:
        ValueError: when there is no stem, or not one gain each.
    """
    if not stems or len(stems) != len(gains_db):
        raise ValueError(
            f"{len(stems)} stems and {len(gains_db)} gains, expected one gain for each of at least one stem"
        )
    total = np.zeros(max(len(stem) for stem in stems), np.float64)
    for stem, gain in zip(stems, gains_db, strict=True):
        total[: len(stem)] += stem.astype(np.float64) * 10 ** (gain / 20)
    peak = true_peak(total)
    limited, gain = limit(total, ceiling_db=ceiling_db)
    return Mix(limited.astype(np.float32), decibels(peak), -decibels(gain))
