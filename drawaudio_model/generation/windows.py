"""Long sounds from 8 s windows that overlap: where the windows lie and how they blend.

The model knows sounds of one length. A longer one is a long latent of which every window of the model's length is
denoised on its own; where windows overlap, the predictions are averaged with weights that fade from one to the next
(MultiDiffusion, Bar-Tal et al. 2023, in time). All windows share the noise, the curve and the video features, so the
sound goes on across the seams.

Legend: B batch, C channels, F latent frames of one window, N latent frames of the whole sound, K latent mel bins.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from drawaudio_model.clip_format import CLIP_SECONDS
from drawaudio_model.curve_files import LONGEST_SECONDS

OVERLAP_SECONDS = 4
"""Seconds shared by two neighbouring windows: half a window, so that each moment but the ends is denoised twice."""


def grid_seconds(latent_frames: int) -> int:
    """The smallest whole seconds that are a whole number of latent frames; windows start at its multiples.

    The video and loudness grids meet every second (clip_format), so there no grid is shifted against another.

    Args:
        latent_frames: F, of CLIP_SECONDS.
    """
    return CLIP_SECONDS // math.gcd(CLIP_SECONDS, latent_frames)


def window_starts_seconds(
    seconds: float, latent_frames: int, overlap_seconds: int = OVERLAP_SECONDS
) -> tuple[int, ...]:
    """Whole seconds at which windows start so that they cover `seconds`; (0,) for anything up to one window.

    Args:
        seconds: length of the sound.
        latent_frames: F, of one window.
        overlap_seconds: least seconds that two neighbours share.

    Raises:
        ValueError: when the overlap leaves no multiple of the grid to step by, or the length is not positive or too long.
    """
    grid = grid_seconds(latent_frames)
    if not isinstance(overlap_seconds, int):
        raise ValueError(f"windows overlap by {overlap_seconds!r} s, expected whole seconds")
    step = (CLIP_SECONDS - overlap_seconds) // grid * grid
    if overlap_seconds < 0 or step <= 0:
        raise ValueError(
            f"windows overlap by {overlap_seconds} s, expected 0 to {CLIP_SECONDS - grid} s (windows last {CLIP_SECONDS} s "
            f"and start at multiples of {grid} s)"
        )
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"the sound is to last {seconds} s, expected more than 0")
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"the sound is to last {seconds:g} s, expected at most {LONGEST_SECONDS}; make it in parts")
    last = max(math.ceil((seconds - CLIP_SECONDS) / grid) * grid, 0)
    return (*range(0, last, step), last)


def touching(starts: Sequence[int], latent_frames: int, first: int, end: int) -> tuple[int, ...]:
    """Those of the windows that start at `starts` (seconds) which hold any of the latent frames `first` to `end` - 1."""
    frames = {start: start * latent_frames // CLIP_SECONDS for start in starts}
    return tuple(start for start in starts if frames[start] < end and frames[start] + latent_frames > first)


def blended(whole: Tensor, starts: Sequence[int], length: int, make: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Windows of a long tensor, each put through `make`, averaged where they overlap.

    Args:
        whole: (B, C, N, K).
        starts: first frames of the windows, rising, the first 0 and the last N - length.
        length: frames of a window.
        make: (number of the window, (B, C, length, K)) -> (B, C', length', K'); length' = `length` times a whole number
            that is the same for all windows (1 for a denoiser, the compression for a decoder).

    Returns:
        (B, C', N', K') in float32 or the dtype that `make` returns; one window comes back as it is.
    """
    if len(starts) == 1:
        return make(0, whole)
    total: Tensor | None = None
    weights: Tensor | None = None
    for number, start in enumerate(starts):
        part = make(number, whole[:, :, start : start + length])
        factor = part.shape[2] // length
        if total is None or weights is None:
            total = part.new_zeros(*part.shape[:2], whole.shape[2] * factor, part.shape[3])
            weights = part.new_zeros(total.shape[2])
        fade = fade_weights(starts, number, length, factor).to(part)
        where = slice(start * factor, start * factor + part.shape[2])
        total[:, :, where] += part * fade[:, None]
        weights[where] += fade
    assert total is not None and weights is not None, "there is a window"
    return total / weights[:, None]


def fade_weights(starts: Sequence[int], number: int, length: int, factor: int = 1) -> Tensor:
    """(length * factor,) weights of one window: 1 inside, straight ramps over what it shares with its neighbours.

    With neighbours that overlap a window only on one side each, the weights of all windows sum to 1 everywhere.
    """
    weights = torch.ones(length * factor)
    if number > 0:
        shared = (starts[number - 1] + length - starts[number]) * factor
        weights[:shared] *= _ramp(shared)
    if number < len(starts) - 1:
        shared = (starts[number] + length - starts[number + 1]) * factor
        weights[length * factor - shared :] *= _ramp(shared).flip(0)
    return weights


def _ramp(size: int) -> Tensor:
    return (torch.arange(size) + 0.5) / max(size, 1)
