"""Inception score: is each sound clearly one thing, and are there many things?"""

from typing import NamedTuple

import numpy as np


class InceptionScore(NamedTuple):
    """Mean and standard deviation over the splits."""

    mean: float
    std: float


def inception_score(posteriors: np.ndarray, *, splits: int = 10) -> InceptionScore:
    """exp of the mean KL(p(class | sound) || p(class)), over `splits` consecutive parts of the sounds.

    Args:
        posteriors: (N, K) class probabilities of the generated sounds; rows sum to 1.
        splits: parts (audioldm_eval and av-benchmark: 10). The order of the sounds decides the parts: shuffle it once
            with a fixed seed when it is sorted by class.

    Returns:
        From 1 (all posteriors equal) to K; higher is better.

    Raises:
        ValueError: when there are fewer sounds than splits or rows are no probabilities.

    Source: Salimans et al. 2016, "Improved Techniques for Training GANs", Sec. 4.
    """
    posteriors = check_posteriors(posteriors, "posteriors")
    if not 1 <= splits <= len(posteriors):
        raise ValueError(
            f"{splits} splits of {len(posteriors)} sounds are impossible; use 1 to {len(posteriors)} splits"
        )
    scores = []
    for part in np.array_split(posteriors, splits):
        marginal = part.mean(axis=0, keepdims=True)
        # 0 log 0 is 0: a class nobody has adds nothing.
        ratio = np.divide(part, marginal, out=np.ones_like(part), where=part > 0)
        scores.append(np.exp((part * np.log(ratio)).sum(axis=1).mean()))
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def check_posteriors(posteriors: np.ndarray, name: str) -> np.ndarray:
    """(N, K) float64 class probabilities.

    Raises:
        ValueError: when the shape is another, or a row is negative or does not sum to 1.
    """
    posteriors = np.asarray(posteriors, np.float64)
    if posteriors.ndim != 2 or not len(posteriors):
        raise ValueError(f"{name} are {posteriors.shape}, expected (N, K): one row of class probabilities a sound")
    if (posteriors < 0).any() or not np.allclose(posteriors.sum(axis=1), 1, atol=1e-4):
        raise ValueError(f"{name} hold a row that is no probability distribution; apply softmax to the logits first")
    return posteriors
