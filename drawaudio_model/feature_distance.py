"""How far a clip's picture lies from the clips that a model learnt from: whether the model can know what it shows.

A clip is one vector, the mean of its frames' CAVP features. The clips of training are a normal distribution of such
vectors, and a clip's distance is Mahalanobis' from its mean. Few clips say little about D x D covariances, so the
covariance is shrunk to a multiple of the unit matrix by as much as Ledoit and Wolf find best (Journal of Multivariate
Analysis 88, 2004). A training clip would look nearer than any new one, since the distribution was fitted to it: the
threshold comes from distances of clips that the fit left out.

Legend: N clips, V video frames, D feature width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor

LEFT_OUT_PARTS = 10
"""The clips are left out in so many turns."""
QUANTILE = 0.99
MARGIN = 1.25
"""Times the quantile of the distances left out: the largest distance of a few hundred clips is still inside."""


@dataclass(frozen=True)
class FeatureDistance:
    """A normal distribution of clips' mean features, as tensors that can be stored, and where it ends."""

    mean: Tensor
    """(D,) float64."""
    precision: Tensor
    """(D, D) float64: the inverse of the shrunk covariance."""
    threshold: float
    """The distance beyond which a clip is foreign."""

    def distance(self, features: np.ndarray | Tensor) -> float:
        """Mahalanobis distance of a clip's features (V, D), at least 0.

        Raises:
            ValueError: when the features have another width.
        """
        features = torch.as_tensor(features).detach().cpu().double()
        if features.ndim != 2 or features.shape[1] != len(self.mean) or not len(features):
            raise ValueError(
                f"features have shape {tuple(features.shape)}, expected (frames, {len(self.mean)}); use those of the CAVP "
                "that the distance was fitted with"
            )
        off = features.mean(dim=0) - self.mean
        return float((off @ self.precision @ off).clamp(min=0).sqrt())

    def is_foreign(self, features: np.ndarray | Tensor) -> bool:
        """Whether a clip with these features (V, D) shows what the training clips do not."""
        return self.distance(features) > self.threshold


def fit_distance(features: np.ndarray | Tensor) -> FeatureDistance:
    """The distribution of the training clips' mean features (N, D), with its threshold.

    Raises:
        ValueError: for another shape, or fewer clips than parts to leave out.
    """
    clips = torch.as_tensor(features).detach().cpu().double()
    if clips.ndim != 2 or len(clips) < LEFT_OUT_PARTS:
        raise ValueError(
            f"features have shape {tuple(clips.shape)}, expected (clips, width) with at least {LEFT_OUT_PARTS} clips"
        )
    left_out = []
    for part in range(LEFT_OUT_PARTS):
        own = torch.arange(len(clips)) % LEFT_OUT_PARTS == part
        fitted = FeatureDistance(*_normal(clips[~own]), threshold=float("inf"))
        left_out += [fitted.distance(clip[None]) for clip in clips[own]]
    return FeatureDistance(*_normal(clips), threshold=MARGIN * float(np.quantile(left_out, QUANTILE)))


def _normal(clips: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and precision (D, D) of clips (N, D)."""
    fitted = LedoitWolf().fit(clips.numpy())
    return torch.from_numpy(fitted.location_), torch.from_numpy(fitted.precision_)
