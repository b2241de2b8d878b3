"""Computes the small audio autoencoder (patch_autoencoder.py) from the train split's sounds.

Legend: T mel frames, M mel bins.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from drawaudio_model.backbone_config import AutoencoderConfig
from drawaudio_model.clip_format import MEL_BINS
from drawaudio_model.media import decode_flac
from drawaudio_model.mel import log_mel, normalize_waveform
from drawaudio_model.patch_autoencoder import PatchAutoencoder, fit_patches
from drawaudio_model.pretraining.loop import TrainClips, counted


def read_log_mels(clips: TrainClips, keys: list[str]) -> torch.Tensor:
    """Log-mels of whole clips, (N, T, M) float32."""
    return torch.stack(
        [
            log_mel(normalize_waveform(decode_flac(clips.member("clip_media", key, "flac"))))
            for key in counted(keys, "read sounds")
        ]
    )


def train_autoencoder(
    data: Path, output: Path, config: AutoencoderConfig, *, seed: int, seconds: float | None, device: torch.device
) -> dict[str, Any]:
    """Writes the autoencoder's folder (`patch_autoencoder.load_autoencoder`); returns what was measured.

    It learns from the clips and from their things' sounds without a pause, which drawn curves shape. The folder also holds
    reconstruction.png and patterns.png: the directions that are kept. Nothing is drawn by chance, and no time limit or
    device is needed; `seed`, `seconds` and `device` are those of every backbone.
    """
    clips = TrainClips(data, ["clip_media"], optional=["raw_clips"])
    train_keys, held_out_keys = clips.split()
    mels, held_out = read_log_mels(clips, train_keys), read_log_mels(clips, held_out_keys)
    materials = [log_mel(sound) for key in train_keys for sound in clips.materials(key)]
    started = time.monotonic()
    model = fit_patches(
        [*mels, *materials], patch=config.patch, latent_channels=config.latent_channels, knee=config.knee
    )
    model.save_pretrained(output)
    rebuilt = reconstruct(model, held_out)
    draw_reconstructions(held_out, rebuilt, output / "reconstruction.png")
    draw_patterns(model, output / "patterns.png")
    return {
        "train_seconds": time.monotonic() - started,
        "held_out_clips": len(held_out_keys),
        "held_out_error_nats": float((rebuilt - held_out).abs().mean()),
        "held_out_level_error_db": level_error_db(rebuilt, held_out),
        "scaling_factor": model.config.scaling_factor,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def frame_levels(mels: torch.Tensor) -> torch.Tensor:
    """(N, T) natural log of each frame's amplitude in log-mels (N, T, M)."""
    return 0.5 * torch.logsumexp(2 * mels, dim=-1)


@torch.no_grad()
def reconstruct(model: PatchAutoencoder | AutoencoderKL, mels: torch.Tensor) -> torch.Tensor:
    """Log-mels encoded to the posterior's mean and decoded again, clip by clip: (N, T, M)."""
    rebuilt = [model.decode(model.encode(mel[None, None]).latent_dist.mean).sample[0, 0] for mel in mels]
    return torch.stack(rebuilt)


def level_error_db(rebuilt: torch.Tensor, mels: torch.Tensor) -> float:
    """Decibels by which the rebuilt log-mels (N, T, M) are too loud in the mean, over the frames within 30 dB of each clip's
    loudest."""
    wanted, measured = frame_levels(mels), frame_levels(rebuilt)  # (N, T)
    audible = wanted > wanted.amax(dim=1, keepdim=True) - 30 / NATS_DB
    return float((measured - wanted)[audible].mean() * NATS_DB)


NATS_DB = 20 / np.log(10)
"""Decibels in a neper."""


def draw_reconstructions(mels: torch.Tensor, rebuilt: torch.Tensor, path: Path, *, clips: int = 3) -> None:
    """Log-mels above what came out of the autoencoder, time to the right, as PNG."""
    from matplotlib.figure import Figure

    count = min(clips, len(mels))
    chosen = np.linspace(0, len(mels) - 1, count).astype(int)
    figure = Figure(figsize=(4.2 * count, 4.2), layout="constrained")
    axes = figure.subplots(2, count, squeeze=False)
    for column, clip in enumerate(chosen):
        low, high = float(mels[clip].min()), float(mels[clip].max())
        for row, mel in enumerate((mels[clip], rebuilt[clip])):
            axes[row, column].imshow(mel.T, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high)
            axes[row, column].set_yticks([0, MEL_BINS - 1])
        error = float((rebuilt[clip] - mels[clip]).abs().mean())
        axes[0, column].set_title("log-mel (nats)")
        axes[1, column].set_title(f"rebuilt, mean error {error:.2f} nats")
        axes[1, column].set_xlabel("mel frame")
    figure.savefig(path, dpi=100)


def draw_patterns(model: PatchAutoencoder, path: Path) -> None:
    """The patch that each latent channel adds, time to the right, the most important first, as PNG."""
    from matplotlib.figure import Figure

    basis = model.basis.detach().reshape(-1, model.config.patch, model.config.patch)
    columns = min(8, len(basis))
    figure = Figure(figsize=(1.2 * columns, 1.3 * -(-len(basis) // columns)), layout="constrained")
    for place, (pattern, spread) in enumerate(zip(basis, model.spread.detach(), strict=True)):
        axes = figure.add_subplot(-(-len(basis) // columns), columns, place + 1)
        axes.imshow(pattern.T, origin="lower", cmap="RdBu", vmin=-0.5, vmax=0.5)
        axes.set_title(f"{float(spread) ** 2:.1f}", fontsize=8)
        axes.set_axis_off()
    figure.savefig(path, dpi=100)
