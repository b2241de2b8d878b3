"""Correlation of the measured and the commanded loudness over time."""

from typing import NamedTuple

import numpy as np
from scipy import stats

CONSTANT = 1e-9
"""A curve with a smaller standard deviation does not move."""


class LoudnessCorrelation(NamedTuple):
    """Pearson: proportional; Spearman: same order. Both from -1 to 1, NaN when the commanded curve is constant."""

    pearson: float
    spearman: float


def loudness_correlation(commanded: np.ndarray, measured: np.ndarray) -> LoudnessCorrelation:
    """Pearson and Spearman correlation of the commanded loudness signal and that of the generated sound.

    Args:
        commanded: (P,) the curve the model was given, P >= 2.
        measured: (P,) `loudness_signal` of the generated waveform.

    Returns:
        NaN in both when the commanded curve is constant, for it asks for nothing that could be followed. 0 when only the
        measured one is: silence follows no curve, and left out it would make a model that falls silent look better.

    Raises:
        ValueError: when the shapes differ or values are not finite.
    """
    commanded, measured = check_curves(commanded, measured)
    if commanded.std() < CONSTANT:
        return LoudnessCorrelation(float("nan"), float("nan"))
    if measured.std() < CONSTANT:
        return LoudnessCorrelation(0.0, 0.0)
    pearson = np.corrcoef(commanded, measured)[0, 1]
    spearman = np.corrcoef(stats.rankdata(commanded), stats.rankdata(measured))[0, 1]
    return LoudnessCorrelation(float(pearson), float(spearman))


def check_curves(commanded: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both curves as float64 of one shape (P,).

    Raises:
        ValueError: when the shapes differ, P < 2 or values are not finite.
    """
    commanded, measured = np.asarray(commanded, np.float64), np.asarray(measured, np.float64)
    if commanded.ndim != 1 or len(commanded) < 2 or commanded.shape != measured.shape:
        raise ValueError(
            f"commanded curve is {commanded.shape} and measured curve {measured.shape}, expected one axis of equal length "
            "(at least 2 points); measure over the same seconds"
        )
    if not (np.isfinite(commanded).all() and np.isfinite(measured).all()):
        raise ValueError("a loudness curve holds values that are not finite; check the waveform it was measured on")
    return commanded, measured


def check_levels(commanded: np.ndarray, measured: np.ndarray, floor_db: float) -> tuple[np.ndarray, np.ndarray]:
    """Both curves as from `check_curves`, for a metric that takes them in decibels down to a floor.

    Raises:
        ValueError: as `check_curves`; when values are negative, or the floor is not below 0.
    """
    commanded, measured = check_curves(commanded, measured)
    if commanded.min() < 0 or measured.min() < 0:
        raise ValueError("a loudness curve holds negative values; expected linear amplitudes of 0 or more")
    if floor_db >= 0:
        raise ValueError(f"floor_db is {floor_db}, expected a level below the peak such as -40")
    return commanded, measured
