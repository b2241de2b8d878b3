"""Frechet distance between two sets of features, each taken as a Gaussian (FD, FAD and FID differ in the extractor only)."""

import numpy as np


def frechet_distance(reference: np.ndarray, generated: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), with unbiased covariances.

    With A the centred features over sqrt(N - 1), so that S1 = A'A, and B likewise, the eigenvalues of S1 S2 are the
    squared singular values of A B'. The trace of the root is therefore the nuclear norm of A B': no matrix root of a
    singular product is taken, and the value stays right with fewer samples than features.

    Args:
        reference: (N, D) features of real sounds, N >= 2.
        generated: (K, D) features of generated sounds by the same extractor, K >= 2.

    Returns:
        >= 0; 0 for equal sets. It is biased upwards for few samples: compare values of equal counts only.

    Raises:
        ValueError: for other shapes or values that are not finite.
    """
    reference, generated = (np.asarray(features, np.float64) for features in (reference, generated))
    for name, features in (("reference", reference), ("generated", generated)):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(
                f"{name} features are {features.shape}, expected (N, D) with at least 2 samples; add clips"
            )
        if not np.isfinite(features).all():
            raise ValueError(f"{name} features hold values that are not finite; check the extractor's input")
    if reference.shape[1] != generated.shape[1]:
        raise ValueError(
            f"reference features have {reference.shape[1]} columns and generated ones {generated.shape[1]}; "
            "use the same extractor for both"
        )
    root_reference, root_generated = _root(reference), _root(generated)
    cross = np.linalg.norm(root_reference @ root_generated.T, ord="nuc")
    spread = (root_reference**2).sum() + (root_generated**2).sum()
    distance = ((reference.mean(axis=0) - generated.mean(axis=0)) ** 2).sum() + spread - 2 * cross
    # Rounding may leave equal sets at -1e-13.
    return float(max(distance, 0.0))


def _root(features: np.ndarray) -> np.ndarray:
    """(min(N, D), D) matrix R with R'R = the covariance of the features; QR keeps it small when N > D."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r")) if len(centred) > centred.shape[1] else centred
