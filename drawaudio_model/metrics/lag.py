"""By how much a curve comes late."""

import numpy as np

from drawaudio_model.clip_format import LOUDNESS_FPS
from drawaudio_model.metrics.loudness_correlation import CONSTANT, check_curves


def lag_seconds(
    commanded: np.ndarray, measured: np.ndarray, *, rate_hz: float = LOUDNESS_FPS, max_lag_seconds: float = 1.0
) -> float:
    """The shift at which the two curves correlate best; positive when the measured one comes late.

    At each shift the Pearson correlation of the overlapping parts is taken; of equal ones the smallest shift wins.

    Args:
        commanded: (P,) curve of the instructions.
        measured: (P,) curve of the sound.
        rate_hz: points a second; the lag's resolution is one point.
        max_lag_seconds: the largest shift tried, either way.

    Returns:
        Seconds; NaN when the commanded curve is constant, for then no shift is better than another. Where only the
        measured one is, what was commanded never comes: max_lag_seconds.

    Raises:
        ValueError: when the curves' shapes differ or they are shorter than twice the largest shift.
    """
    commanded, measured = check_curves(commanded, measured)
    reach = round(max_lag_seconds * rate_hz)
    if len(commanded) < 2 * reach:
        raise ValueError(
            f"curves have {len(commanded)} points, expected at least {2 * reach} for a lag of up to {max_lag_seconds} s; "
            "lower max_lag_seconds"
        )
    if commanded.std() < CONSTANT:
        return float("nan")
    best, best_shift = -np.inf, reach
    for shift in sorted(range(-reach, reach + 1), key=abs):
        early = commanded[max(-shift, 0) : len(commanded) - max(shift, 0)]
        late = measured[max(shift, 0) : len(measured) - max(-shift, 0)]
        if early.std() < CONSTANT or late.std() < CONSTANT:
            continue
        correlation = np.corrcoef(early, late)[0, 1]
        if correlation > best + 1e-9:
            best, best_shift = correlation, shift
    return best_shift / rate_hz
