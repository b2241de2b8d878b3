"""An interval for the mean or median of per-clip values, by resampling the clips."""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A statistic with its percentile interval and the number of clips behind it."""

    value: float
    low: float
    high: float
    count: int  # type: ignore[assignment]  # reports have this name; tuple.count, which it hides, nobody calls


def bootstrap_interval(
    values: Sequence[float] | np.ndarray,
    *,
    statistic: Callable[..., np.ndarray] = np.mean,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """`statistic` of the values with its percentile bootstrap interval; values that are NaN (undefined) are left out.

    Args:
        values: one value per clip.
        statistic: np.mean or np.median (anything that takes `axis`).
        level: share of the resampled statistics inside the interval.
        resamples: how often the clips are drawn with replacement.
        seed: of the draws; the same seed gives the same interval.

    Returns:
        All NaN with count 0 when no value is defined.

    Raises:
        ValueError: when level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a share between 0 and 1 such as 0.95")
    defined = np.asarray(values, dtype=np.float64)
    defined = defined[np.isfinite(defined)]
    if defined.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    draws = np.random.default_rng(seed).integers(0, defined.size, (resamples, defined.size))
    low, high = np.quantile(statistic(defined[draws], axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(defined, axis=0)), float(low), float(high), int(defined.size))


def mean_interval(values: Sequence[float] | np.ndarray, *, level: float = 0.95, seed: int = 0) -> Interval:
    """The mean of values from 0 to 1 with its interval; values that are NaN (undefined) are left out.

    Where all are 0 or 1 the mean is a share, and the interval Wilson's: resampled, clips that are all right are all right each
    time, and the interval of 5 of 5 would be as narrow as that of 500 of 500.

    Args:
        values: one value per clip.
        level: that the interval has.
        seed: of the bootstrap, which other values get.
    """
    found = bootstrap_interval(values, level=level, seed=seed)
    defined = np.asarray(values, dtype=np.float64)
    defined = defined[np.isfinite(defined)]
    if found.count == 0 or not np.isin(defined, (0.0, 1.0)).all():
        return found
    z, share, count = NormalDist().inv_cdf((1 + level) / 2), found.value, found.count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / (1 + z**2 / count)
    # At 0 and 1 rounding would leave the share beside its own interval.
    return Interval(share, min(middle - half, share), max(middle + half, share), count)


def bootstrap_statistic(
    statistic: Callable[[np.ndarray], float], count: int, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Interval:
    """A statistic of whole clips, such as a Frechet distance, with its bootstrap interval.

    The percentiles are shifted so that the median of the draws lies on the value. Drawn with repetitions, a set has fewer
    different clips, and a statistic that depends on their number (a Frechet distance rises, an inception score falls)
    would have an interval beside its own value.

    Args:
        statistic: of the clips at some places, (n,) int64 with repetitions.
        count: clips.
        level: share of the resampled statistics inside the interval.
        resamples: how often the clips are drawn with replacement.
        seed: of the draws.

    Raises:
        ValueError: when level is not between 0 and 1, or there is no clip.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a share between 0 and 1 such as 0.95")
    if count < 1:
        raise ValueError("there is no clip to draw from; measure at least one")
    rng = np.random.default_rng(seed)
    drawn = [statistic(rng.integers(0, count, count)) for _ in range(resamples)]
    value = float(statistic(np.arange(count)))
    low, middle, high = np.quantile(drawn, [(1 - level) / 2, 0.5, (1 + level) / 2])
    return Interval(value, float(value + low - middle), float(value + high - middle), count)
