"""The loudness signal of tensors, on their device; loudness.py checks the arguments and says what they mean.

The data set's curves are made here: torch's square root and sums differ from numpy's in the last bit of some values.

Legend: B batch, T mel frames, P loudness points.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from drawaudio_model.clip_format import HOP_LENGTH, WINDOW_LENGTH


def loudness_signal(
    waveform: Tensor,
    pad: tuple[int, int],
    points: int,
    taps: np.ndarray,
    edges: Literal["renormalise", "zero", "replicate"],
) -> Tensor:
    """(..., P) float32 loudness signal of a waveform (..., samples); `pad` as in `rms`, `taps` and `edges` as in `smooth`."""
    frames = rms(waveform, pad)  # (..., T)
    pooled = functional.adaptive_avg_pool1d(frames.reshape(-1, 1, frames.shape[-1]), points)  # (B, 1, P)
    return smooth(pooled, taps, edges).reshape(*waveform.shape[:-1], points)


def rms(waveform: Tensor, pad: tuple[int, int]) -> Tensor:
    """(..., T) root mean square of each window; `pad` zeros stand before and after. Paper: Eq. (10)."""
    squares = functional.pad(waveform.float().square(), pad)
    mean = functional.avg_pool1d(squares.reshape(-1, 1, squares.shape[-1]), WINDOW_LENGTH, HOP_LENGTH)
    return mean.clamp_min(0).sqrt().reshape(*waveform.shape[:-1], -1)


def smooth(signal: Tensor, taps: np.ndarray, edges: Literal["renormalise", "zero", "replicate"]) -> Tensor:
    """The signal (B, 1, P) filtered by the taps, same length. Paper: Eq. (11)."""
    reach = len(taps) // 2
    kernel = torch.as_tensor(taps, device=signal.device).view(1, 1, -1)
    if edges == "replicate":
        return functional.conv1d(functional.pad(signal, (reach, reach), mode="replicate"), kernel)
    smoothed = functional.conv1d(signal, kernel, padding=reach)
    if edges == "zero":
        return smoothed
    return smoothed / functional.conv1d(torch.ones_like(signal[:1]), kernel, padding=reach)
