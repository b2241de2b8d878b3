"""The distance of a vocoder's sound from the real one, and its time, beside Griffin-Lim's.

Legend: B clips, T mel frames, M mel bins, K frequency bins of an STFT.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from drawaudio_model.clip_format import CLIP_SECONDS, MEL_BINS, SAMPLE_RATE
from drawaudio_model.mel import Vocoder, log_mel, vocode

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
"""Windows and hops, in samples, of the multi-resolution STFT distance."""
MAGNITUDE_FLOOR = 1e-3
"""Smallest STFT magnitude that counts in a distance: about the rounding noise of 16 bit audio."""


@dataclass(frozen=True)
class Rendering:
    """Sounds that a vocoder made of some clips' log-mels, and how they compare with the real ones."""

    waveforms: Tensor
    """(B, samples)."""
    figures: dict[str, float]
    """`mel_error_nats` (mean absolute), `stft_log_distance` (mean absolute log magnitude, nats) and `stft_convergence`
    (relative error of magnitudes), each a mean over three resolutions; `level_error_db` (mean, signed) and
    `level_spread_db` (mean absolute); `seconds` for 8 s of sound."""


def render(vocoder: Vocoder, mels: Tensor, real: Tensor) -> Rendering:
    """A vocoder's waveforms for log-mels (B, T, M), compared with the real waveforms (B, samples)."""
    start = time.perf_counter()
    waveforms = vocode(vocoder, mels)
    seconds = time.perf_counter() - start
    seconds_of_sound = real.numel() / SAMPLE_RATE
    return Rendering(
        waveforms, {**sound_distances(waveforms, real), "seconds": seconds / seconds_of_sound * CLIP_SECONDS}
    )


def sound_distances(waveforms: Tensor, real: Tensor) -> dict[str, float]:
    """The figures of `Rendering` but for the time, of waveforms (B, samples) against the real ones."""
    log_distances, convergences = zip(
        *(stft_distance(waveforms, real, window, hop) for window, hop in RESOLUTIONS), strict=True
    )
    levels = level_db(waveforms) - level_db(real)
    return {
        "mel_error_nats": float((log_mel(waveforms) - log_mel(real)).abs().mean()),
        "stft_log_distance": sum(log_distances) / len(RESOLUTIONS),
        "stft_convergence": sum(convergences) / len(RESOLUTIONS),
        "level_error_db": float(levels.mean()),
        "level_spread_db": float(levels.abs().mean()),
    }


def stft_distance(waveforms: Tensor, real: Tensor, window: int, hop: int) -> tuple[float, float]:
    """Mean absolute log difference (nats) and spectral convergence, a mean over clips, at one resolution."""
    found, wanted = (stft_magnitudes(sounds, window, hop) for sounds in (waveforms, real))
    log_distance = (found.clamp_min(MAGNITUDE_FLOOR).log() - wanted.clamp_min(MAGNITUDE_FLOOR).log()).abs().mean()
    norm = wanted.square().sum(dim=(1, 2)).sqrt().clamp_min(MAGNITUDE_FLOOR)
    convergence = (found - wanted).square().sum(dim=(1, 2)).sqrt() / norm
    return float(log_distance), float(convergence.mean())


def stft_magnitudes(waveforms: Tensor, window: int, hop: int, *, center: bool = True) -> Tensor:
    """(B, K, T) magnitudes of waveforms (B, samples) under a Hann window."""
    hann = torch.hann_window(window, device=waveforms.device)
    return torch.stft(waveforms, window, hop, window=hann, center=center, return_complex=True).abs()


def level_db(waveforms: Tensor) -> Tensor:
    """(B,) power of waveforms (B, samples) in dB; silence is -120."""
    return 10.0 * waveforms.square().mean(dim=-1).clamp_min(1e-12).log10()


def draw_mels(rows: Mapping[str, Tensor], path: Path) -> None:
    """Log-mels (T, M) of one clip below each other, time to the right, in one range of colours, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 1.7 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    low, high = (float(edge(next(iter(rows.values())))) for edge in (torch.min, torch.max))
    for axis, (name, mel) in zip(axes, rows.items(), strict=True):
        axis.imshow(mel.T.numpy(), origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high)
        axis.set_yticks([0, MEL_BINS - 1])
        axis.set_title(name, fontsize=9)
    axes[-1].set_xlabel("mel frame")
    figure.savefig(path, dpi=100)
