"""Decibels by which a sound is too loud or too soft where the curve is not silent."""

import numpy as np

from drawaudio_model.metrics.loudness_correlation import check_levels

THRESHOLD_DB = -30.0
"""Level relative to the curve's peak from which a point counts; below, `silence_db` judges. Our choice."""


def level_error_db(commanded: np.ndarray, measured: np.ndarray, *, threshold_db: float = THRESHOLD_DB) -> float:
    """Mean absolute difference of two loudness curves in dB, over the points where the command asks for sound.

    Absolute: a sound that is right in shape and 10 dB too soft everywhere has an error of 10 dB. A measured level below the
    limit counts as the limit.

    Args:
        commanded: (P,) the curve the model was given, linear amplitude >= 0.
        measured: (P,) `loudness_signal` of the generated waveform, not normalised.
        threshold_db: level relative to the command's peak from which a point counts, < 0.

    Returns:
        dB, from 0; NaN when the command is silent throughout.

    Raises:
        ValueError: when the shapes differ, values are negative or not finite, or the limit is not below 0.
    """
    commanded, measured = check_levels(commanded, measured, threshold_db)
    if not commanded.max() > 0:
        return float("nan")
    limit = commanded.max() * 10 ** (threshold_db / 20)
    sounding = commanded >= limit
    levels = np.maximum(measured[sounding], limit)
    return float(np.abs(20 * np.log10(levels / commanded[sounding])).mean())
