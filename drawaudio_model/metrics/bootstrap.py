"""An interval for the mean or median of per-clip values, by resampling the clips."""

from collections.abc import Callable, Sequence
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
