"""Level of a sound where its curve is silent."""

import numpy as np
from scipy.ndimage import binary_erosion

from drawaudio_model.metrics.loudness_correlation import check_levels
from drawaudio_model.metrics.loudness_error_db import FLOOR_DB

FEWEST_POINTS = 3
"""Silent points a curve needs, and loud ones: fewer say nothing about silence."""
REACH_POINTS = 2
"""Points beside a loud one that are left out: the loudness signal itself reaches over them (windows of 64 ms, three taps),
so that even a sudden silence has a level there."""
_FARTHEST_DB = 80.0
"""Levels that lie farther apart count as this far."""


def silence_db(commanded: np.ndarray, measured: np.ndarray, *, floor_db: float = FLOOR_DB) -> float:
    """Mean power of the sound where the command is silent, in dB relative to its mean power elsewhere; lower is better.

    0 dB: as loud in the commanded silence as in the rest. A point is silent when its command, and that of REACH_POINTS on
    both sides, lies at least `-floor_db` below the curve's peak, for a measured curve is hardly ever exactly zero.

    Args:
        commanded: (P,) the curve the model was given, linear amplitude >= 0.
        measured: (P,) `loudness_signal` of the generated waveform.
        floor_db: level relative to the curve's peak that counts as silence, < 0.

    Returns:
        dB, from -80 to 80; 0 when the sound is silent throughout, for then the two do not differ. NaN when the curve has
        fewer than FEWEST_POINTS silent or loud points.

    Raises:
        ValueError: when the shapes differ, values are negative or not finite, or the floor is not below 0.
    """
    commanded, measured = check_levels(commanded, measured, floor_db)
    quiet = commanded <= commanded.max() * 10 ** (floor_db / 20)
    silent = binary_erosion(quiet, iterations=REACH_POINTS, border_value=True)
    if min(silent.sum(), (~quiet).sum()) < FEWEST_POINTS:
        return float("nan")
    powers = (np.square(measured[silent]).mean(), np.square(measured[~quiet]).mean())
    quiet_db, loud_db = (10 * np.log10(max(power, 1e-30)) for power in powers)
    return float(np.clip(quiet_db - loud_db, -_FARTHEST_DB, _FARTHEST_DB))
