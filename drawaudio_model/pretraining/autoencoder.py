"""Trains the small audio autoencoder: log-mels to a latent grid and back.

The class is AudioLDM2's own (diffusers' AutoencoderKL with one channel) with four levels instead of three, so it halves
time and frequency three times: the denoiser sees 8 times fewer positions than at full size on each axis together.

Shapes: B batch, T mel frames, M mel bins, C latent channels, F x K latent grid.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from drawaudio_model.clip_format import MEL_BINS, MEL_FRAMES
from drawaudio_model.media import decode_flac
from drawaudio_model.mel import SILENCE, log_mel, normalize_waveform
from drawaudio_model.pretraining.loop import TrainClips, counted, draw_losses, fit


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes and run of the small autoencoder. Channels and steps were chosen by the error reached in equal CPU time."""

    block_out_channels: tuple[int, ...] = (8, 16, 32, 48)
    """Channels of each level; every level but the last halves both axes. Half of the cost is the first level's."""
    latent_channels: int = 8
    """AudioLDM2's number."""
    steps: int = 700
    batch_size: int = 4
    crop_frames: int = 128
    """Mel frames of a training crop (1.3 s); a multiple of the compression."""
    learning_rate: float = 2e-3
    kl_weight: float = 2e-3
    """Weight of the mean KL divergence per latent number, against the mean absolute error in nats."""
    level_weight: float = 1.0
    """Weight of the mean absolute error of a frame's level in nats. Most bins of most clips are near silence: without this
    term their error rules, and what is loud comes back several decibels too soft."""

    @staticmethod
    def demo() -> "AutoencoderConfig":
        """About 2 min on two idle cores."""
        return AutoencoderConfig()

    @staticmethod
    def control() -> "AutoencoderConfig":
        """About 4 min on two idle cores."""
        return AutoencoderConfig(steps=1600)

    @staticmethod
    def tiny() -> "AutoencoderConfig":
        """A few seconds; the sound stays rough."""
        return AutoencoderConfig(block_out_channels=(4, 8, 8, 16), latent_channels=4, steps=20, batch_size=2)


def read_log_mels(clips: TrainClips, keys: list[str]) -> torch.Tensor:
    """Log-mels of whole clips, (N, T, M) float32."""
    return torch.stack(
        [
            log_mel(normalize_waveform(decode_flac(clips.member("clip_media", key, "flac"))))
            for key in counted(keys, "read sounds")
        ]
    )


def build_autoencoder(config: AutoencoderConfig, mels: torch.Tensor) -> AutoencoderKL:
    """An untrained autoencoder whose first and last layers carry the mean and deviation of `mels`.

    It takes and gives raw log-mels as AudioLDM2's does. Because they lie far from zero (silence is -11.5), training
    would first have to find that offset; the two convolutions start with it.
    """
    levels = len(config.block_out_channels)
    model = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.block_out_channels,
        layers_per_block=1,
        latent_channels=config.latent_channels,
        norm_num_groups=4,
        sample_size=MEL_FRAMES,
    )
    mean, deviation = mels.mean(), mels.std().clamp(min=1e-3)
    with torch.no_grad():
        first, last = model.encoder.conv_in, model.decoder.conv_out
        first.weight /= deviation
        first.bias -= mean * first.weight.sum(dim=(1, 2, 3))
        last.weight *= deviation
        last.bias += mean
    return model


def train_autoencoder(
    data: Path, output: Path, config: AutoencoderConfig, *, seed: int, seconds: float | None, device: torch.device
) -> dict[str, Any]:
    """Writes the autoencoder's folder; returns what was measured.

    The folder holds config and weights (`AutoencoderKL.from_pretrained`), loss.png and reconstruction.png. The
    config's `scaling_factor` is 1 / standard deviation of the latents, as in AudioLDM2.
    """
    torch.manual_seed(seed)
    clips = TrainClips(data, ["clip_media"], optional=["raw_clips"])
    train_keys, held_out_keys = clips.split()
    mels, held_out = read_log_mels(clips, train_keys), read_log_mels(clips, held_out_keys)
    model = build_autoencoder(config, mels).to(device)
    mels = torch.cat([mels, *read_materials(clips, train_keys)])
    random = torch.Generator().manual_seed(seed)

    def loss_of_step(step: int) -> torch.Tensor:
        crops = random_crops(mels, config.batch_size, config.crop_frames, random)  # (B, 1, T, M)
        crops = at_other_levels(crops, random).to(device)
        posterior = model.encode(crops).latent_dist
        rebuilt = model.decode(posterior.sample()).sample
        error = ((rebuilt - crops).abs() * heard_weights(crops)).mean()
        level = functional.l1_loss(frame_levels(rebuilt), frame_levels(crops))
        return error + config.level_weight * level + config.kl_weight * kl_per_number(posterior)

    model.train()
    run = fit(
        "audio autoencoder",
        model.parameters(),
        loss_of_step,
        steps=config.steps,
        learning_rate=config.learning_rate,
        seconds=seconds,
        log=output / "log.jsonl",
    )
    model.eval()
    latents = _encode_means(model, mels[:32], device)
    model.register_to_config(scaling_factor=float(1.0 / latents.std()))
    model.cpu().save_pretrained(output)
    draw_losses({"absolute error + KL": run.losses}, output / "loss.png")
    rebuilt = reconstruct(model, held_out)
    draw_reconstructions(held_out, rebuilt, output / "reconstruction.png")
    return {
        "steps": run.steps,
        "train_seconds": run.seconds,
        "loss_before": run.loss_before,
        "loss_after": run.loss_after,
        "held_out_clips": len(held_out_keys),
        "held_out_error_nats": float((rebuilt - held_out).abs().mean()),
        "held_out_level_error_db": level_error_db(rebuilt, held_out),
        "scaling_factor": model.config.scaling_factor,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def random_crops(mels: torch.Tensor, batch_size: int, frames: int, random: torch.Generator) -> torch.Tensor:
    """Crops of random clips at random places: (B, 1, frames, M)."""
    chosen = torch.randint(len(mels), (batch_size,), generator=random).tolist()
    starts = torch.randint(mels.shape[1] - frames + 1, (batch_size,), generator=random).tolist()
    return torch.stack([mels[i, start : start + frames] for i, start in zip(chosen, starts, strict=True)])[:, None]


def read_materials(clips: TrainClips, keys: list[str]) -> list[torch.Tensor]:
    """Log-mels (1, T, M) of the clips' sounds without a pause, where their source has made any: what drawn curves shape."""
    own = [key for key in keys if clips.has("raw_clips", key, "material.flac")]
    return [log_mel(decode_flac(clips.member("raw_clips", key, "material.flac")))[None] for key in own]


LOUDER_NATS, SOFTER_NATS = 0.6, 3.5
"""A crop is turned up by at most 5 dB and down by at most 30: drawn curves ask for such levels."""


def at_other_levels(crops: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """The log-mels (B, 1, T, M) at other levels, half of them under straight lines that rise, fall and go to silence."""
    batch, _, frames, _ = crops.shape
    level = torch.rand(batch, 1, 1, 1, generator=random) * (LOUDER_NATS + SOFTER_NATS) - SOFTER_NATS
    nodes = -SOFTER_NATS * torch.rand(batch, 1, 5, generator=random)
    nodes = torch.where(torch.rand(nodes.shape, generator=random) < 0.2, SILENCE, nodes)
    lines = functional.interpolate(nodes, size=frames, mode="linear", align_corners=True)[..., None]  # (B, 1, T, 1)
    shaped = torch.rand(batch, 1, 1, 1, generator=random) < 0.5
    return (crops + torch.where(shaped, LOUDER_NATS + lines, level)).clamp_min(SILENCE)


def heard_weights(mels: torch.Tensor) -> torch.Tensor:
    """How much each bin of log-mels counts, same shape: from 0.5 where it is silent to 2 at full scale."""
    return 0.5 + 1.5 * ((mels - SILENCE) / -SILENCE).clamp(0, 1)


def frame_levels(mels: torch.Tensor) -> torch.Tensor:
    """(B, 1, T) natural log of each frame's amplitude in log-mels (B, 1, T, M)."""
    return 0.5 * torch.logsumexp(2 * mels, dim=-1)


def kl_per_number(posterior: Any) -> torch.Tensor:
    """KL divergence of the posterior from a unit Gaussian, in nats, averaged over all latent numbers."""
    return 0.5 * (posterior.mean.square() + posterior.var - 1.0 - posterior.logvar).mean()


@torch.no_grad()
def reconstruct(model: AutoencoderKL, mels: torch.Tensor) -> torch.Tensor:
    """Log-mels encoded to the posterior's mean and decoded again, clip by clip: (N, T, M)."""
    rebuilt = [model.decode(model.encode(mel[None, None]).latent_dist.mean).sample[0, 0] for mel in mels]
    return torch.stack(rebuilt)


def level_error_db(rebuilt: torch.Tensor, mels: torch.Tensor) -> float:
    """By how many decibels the rebuilt log-mels (N, T, M) are too loud in the mean, over the frames within 30 dB of each
    clip's loudest."""
    wanted, found = frame_levels(mels), frame_levels(rebuilt)  # (N, T)
    heard = wanted > wanted.amax(dim=1, keepdim=True) - 30 / NATS_DB
    return float((found - wanted)[heard].mean() * NATS_DB)


NATS_DB = 20 / np.log(10)
"""Decibels in a neper."""


@torch.no_grad()
def _encode_means(model: AutoencoderKL, mels: torch.Tensor, device: torch.device) -> torch.Tensor:
    return torch.cat([model.encode(mel[None, None].to(device)).latent_dist.mean for mel in mels])  # (N, C, F, K)


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
