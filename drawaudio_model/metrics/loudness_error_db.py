"""Error of the loudness in decibels, apart from the overall level."""

import numpy as np

from drawaudio_model.metrics.loudness_correlation import check_levels

FLOOR_DB = -40.0
"""Below its own peak by this much a curve counts as silent. Our choice: quieter parts are masked for a listener, and
without a floor a few silent points at -100 dB would decide the error."""


def loudness_error_db(commanded: np.ndarray, measured: np.ndarray, *, floor_db: float = FLOOR_DB) -> float:
    """Mean absolute difference of two loudness curves in dB after the best constant shift.

    Each curve is taken in dB relative to its own peak and floored; then the median difference is removed (the shift that
    makes the mean absolute difference smallest), so that a sound that is right but quieter everywhere has error 0.
    All points count: sound where the command is silent is an error.

    Args:
        commanded: (P,) the curve the model was given, linear amplitude >= 0.
        measured: (P,) `loudness_signal` of the generated waveform.
        floor_db: level relative to the peak that counts as silence, < 0.

    Returns:
        dB, from 0 to about -floor_db; NaN when the command is silent throughout, -floor_db when only the sound is.

    Raises:
        ValueError: when the shapes differ, values are negative or not finite, or the floor is not below 0.
    """
    commanded, measured = check_levels(commanded, measured, floor_db)
    if not commanded.max() > 0:
        return float("nan")
    if not measured.max() > 0:
        return -floor_db
    difference = _relative_db(measured, floor_db) - _relative_db(commanded, floor_db)
    return float(np.abs(difference - np.median(difference)).mean())


def _relative_db(curve: np.ndarray, floor_db: float) -> np.ndarray:
    relative = np.maximum(curve / curve.max(), 10 ** (floor_db / 20))
    return 20 * np.log10(relative)
