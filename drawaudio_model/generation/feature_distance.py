"""The distance of a clip from the training clips, which tells whether a model can know what the clip shows.

A clip is one vector, the mean of its features. The training clips are a normal distribution of such vectors, and a clip's
distance is Mahalanobis' from its mean. Directions in which the training clips hardly differ would dominate the distance,
so the covariance is mixed with a multiple of the unit matrix. A clip looks nearer to a distribution that was fitted to it
than a new one does: the threshold comes from distances of clips that the fit left out.

CAVP's features alone do not tell: a CAVP of one small world sorts whatever it sees into the few kinds that it knows. On the
demo world's features, 1 of 14 real clips lay beyond the threshold; by `picture_statistics`, all 14, and none of the world's
56 other clips.

Legend: N clips, V video frames, D feature width, K statistics, H/W pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SHRINKAGE = 0.1
"""Share of the unit matrix in the covariance."""
LEFT_OUT_PARTS = 10
"""The clips are left out in so many turns."""
QUANTILE = 0.99
MARGIN = 1.2
"""Times that quantile: the farthest of a few hundred clips of the same world is still inside."""
STATISTICS_SIDE = 64
"""Pixels of a side of the frames that the statistics are of, so that they do not depend on the video's size."""
STILL = 0.02
"""A pixel that changes by less than this, of full brightness, from one frame to the next stands still."""


@dataclass(frozen=True)
class FeatureDistance:
    """A normal distribution of clips' mean features, as tensors that can be stored, and where it ends."""

    mean: Tensor
    """(D,) float64."""
    precision: Tensor
    """(D, D) float64: the inverse of the shrunk covariance, in units of the features themselves."""
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
                f"features have shape {tuple(features.shape)}, expected (frames, {len(self.mean)}); use those that the "
                "distance was fitted with"
            )
        off = features.mean(dim=0) - self.mean
        return float((off @ self.precision @ off).clamp(min=0).sqrt())

    def is_foreign(self, features: np.ndarray | Tensor) -> bool:
        """Whether a clip with these features (V, D) shows what the training clips do not."""
        return self.distance(features) > self.threshold


def fit_distance(features: np.ndarray | Tensor) -> FeatureDistance:
    """The distribution of the training clips' features (N, D), one vector a clip, with its threshold.

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


def picture_statistics(frames: np.ndarray) -> np.ndarray:
    """(K,) float64 statistics of a clip's frames (V, H, W, 3) uint8 RGB, V at least 2, which separate drawings from photographs.

    Mean and deviation of the brightness, mean difference of neighbouring pixels and of successive frames, share of pixels
    that stand still from frame to frame, and mean saturation; of frames squeezed to `STATISTICS_SIDE`, in [0, 1].

    Raises:
        ValueError: for another shape, or a single frame.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) < 2:
        raise ValueError(
            f"frames have shape {frames.shape} and type {frames.dtype}, expected (frames, height, width, 3) uint8 with at "
            "least 2 frames"
        )
    side = (STATISTICS_SIDE, STATISTICS_SIDE)
    small = [np.asarray(Image.fromarray(frame).resize(side, Image.Resampling.BILINEAR)) for frame in frames]
    pixels = np.stack(small) / 255  # (V, S, S, 3)
    changes = np.abs(np.diff(pixels, axis=0))
    return np.array(
        [
            pixels.mean(),
            pixels.std(),
            np.abs(np.diff(pixels, axis=2)).mean(),
            changes.mean(),
            (changes.max(axis=-1) < STILL).mean(),
            (pixels.max(axis=-1) - pixels.min(axis=-1)).mean(),
        ]
    )


def _normal(clips: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and precision (D, D) of clips (N, D).

    Features of unlike spread count alike: the covariance is shrunk in units of each feature's deviation.
    """
    deviation = clips.std(dim=0).clamp(min=1e-9)
    correlation = torch.atleast_2d(torch.cov((clips / deviation).T))
    shrunk = (1 - SHRINKAGE) * correlation + SHRINKAGE * torch.eye(len(deviation), dtype=torch.float64)
    return clips.mean(dim=0), torch.linalg.inv(shrunk) / deviation / deviation[:, None]
