"""KL divergence between a classifier's probabilities for the real and for the generated sound of the same clip."""

import numpy as np

from drawaudio_model.metrics.inception_score import check_posteriors

_SMALLEST = 1e-6
"""A generated probability is taken as at least this (audioldm_eval's epsilon): one class heard in the real sound only
then costs at most ln 1e6 = 13.8 nats instead of infinity."""


def kl_divergence(reference: np.ndarray, generated: np.ndarray) -> float:
    """Mean over clips of KL(real || generated) in nats; lower is better, 0 for equal posteriors.

    Args:
        reference: (N, K) class probabilities of the real sounds (PaSST in the paper).
        generated: (N, K) class probabilities of the generated sounds, row i of the same clip.

    Raises:
        ValueError: when the shapes differ or rows are no probabilities.
    """
    reference = check_posteriors(reference, "reference posteriors")
    generated = check_posteriors(generated, "generated posteriors")
    if reference.shape != generated.shape:
        raise ValueError(
            f"reference posteriors are {reference.shape} and generated ones {generated.shape}; give one row per clip in both"
        )
    # 0 log 0 is 0: classes that are not in the real sound add nothing.
    log_reference = np.log(reference, out=np.zeros_like(reference), where=reference > 0)
    divergence = reference * (log_reference - np.log(np.maximum(generated, _SMALLEST)))
    return float(divergence.sum(axis=1).mean())
