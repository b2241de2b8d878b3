"""Trains the small vocoder: log-mels, true ones and those that the autoencoder rebuilt, to the real sound's spectrum.

What an autoencoder rebuilds is blurred, and the pipeline vocodes nothing else; so half of the examples are rebuilt mels
with the real sound's spectrum as target, and the vocoder learns to sharpen.

Legend: N clips, B batch, T mel frames, M mel bins, K frequency bins of the STFT.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from drawaudio_model.backbone_config import VocoderConfig
from drawaudio_model.clip_format import CLIP_SAMPLES, HOP_LENGTH, WINDOW_LENGTH
from drawaudio_model.griffin_lim import GriffinLimVocoder
from drawaudio_model.media import decode_flac
from drawaudio_model.mel import (
    EDGE_SAMPLES,
    SILENCE,
    Vocoder,
    log_mel,
    normalize_waveform,
)
from drawaudio_model.patch_autoencoder import PatchAutoencoder, load_autoencoder
from drawaudio_model.pretraining.autoencoder import reconstruct
from drawaudio_model.pretraining.loop import TrainClips, counted, draw_losses, fit
from drawaudio_model.pretraining.vocoder_comparison import MAGNITUDE_FLOOR, draw_mels, render, stft_magnitudes
from drawaudio_model.vocoder import SpectralVocoder, mel_of

GAIN_DB = (-20.0, 6.0)
"""Between these a training crop's gain moves: drawn curves ask for other levels than the clips' own."""

_QUIET_ENERGY = 1.0
"""Energy of a crop's spectrum (that of a tone at about -80 dB) below which relative errors count less and less."""


MATERIAL_EVERY = 3
"""Of every third clip the sound without a pause is learnt from, too: rebuilding each takes half a second."""


def train_vocoder(
    data: Path, output: Path, config: VocoderConfig, *, seed: int, seconds: float | None, device: torch.device
) -> dict[str, Any]:
    """Writes the vocoder's folder; returns what was measured.

    The folder holds config and weights (`SpectralVocoder.from_pretrained`), loss.png and mels.png. The mels to sharpen
    are rebuilt by <data>/backbones/audio_autoencoder; where there is none, only true mels are learnt from.
    """
    torch.manual_seed(seed)
    clips = TrainClips(data, ["clip_media"], optional=["raw_clips"])
    train_keys, held_out_keys = clips.split()
    chosen = np.unique(np.linspace(0, len(held_out_keys) - 1, config.compared_clips).astype(int))
    folder = data / "backbones" / "audio_autoencoder"
    autoencoder = load_autoencoder(folder) if folder.is_dir() else None
    materials = [torch.as_tensor(sound)[None] for key in train_keys[::MATERIAL_EVERY] for sound in clips.materials(key)]
    learnt = torch.cat([read_waveforms(clips, train_keys), *materials])
    examples = Examples(learnt, autoencoder)
    vocoder = SpectralVocoder(width=config.width, blocks=config.blocks).to(device)
    random = torch.Generator().manual_seed(seed)

    def loss_of_step(step: int) -> Tensor:
        mels, magnitudes = examples.draw(config.batch_size, config.crop_frames, random)
        return spectral_loss(vocoder.log_magnitudes(mels.to(device)), magnitudes.to(device))

    vocoder.train()
    run = fit(
        "vocoder",
        vocoder.parameters(),
        loss_of_step,
        steps=config.steps,
        learning_rate=config.learning_rate,
        seconds=seconds,
        log=output / "log.jsonl",
    )
    vocoder.eval().cpu().save_pretrained(output)
    draw_losses({"spectral loss": run.losses}, output / "loss.png")
    held_out = read_waveforms(clips, [held_out_keys[i] for i in chosen])[:, :CLIP_SAMPLES]
    figures = compare(vocoder, held_out, autoencoder, output / "mels.png")
    return {
        "steps": run.steps,
        "train_seconds": run.seconds,
        "loss_before": run.loss_before,
        "loss_after": run.loss_after,
        "parameters": sum(parameter.numel() for parameter in vocoder.parameters()),
        "compared_clips": len(held_out),
        **figures,
    }


def read_waveforms(clips: TrainClips, keys: list[str]) -> Tensor:
    """Normalised waveforms of whole clips, (N, samples) float32."""
    return torch.stack(
        [
            torch.as_tensor(normalize_waveform(decode_flac(clips.member("clip_media", key, "flac"))))
            for key in counted(keys, "read sounds")
        ]
    )


class Examples:
    """Random crops of clips with a gain that moves: log-mels and the real sound's magnitudes."""

    def __init__(self, waveforms: Tensor, autoencoder: PatchAutoencoder | AutoencoderKL | None) -> None:
        """Examples of waveforms (N, samples); the autoencoder rebuilds their mels once."""
        edges = (EDGE_SAMPLES, EDGE_SAMPLES)
        self._padded = functional.pad(waveforms[:, None], edges, mode="reflect")[:, 0]
        self._rebuilt = None if autoencoder is None else reconstruct(autoencoder, log_mel(waveforms))  # (N, T, M)

    def draw(self, batch_size: int, frames: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Log-mels (B, frames, M), the second half of them rebuilt, and STFT magnitudes (B, K, frames)."""
        total = (self._padded.shape[1] - WINDOW_LENGTH) // HOP_LENGTH + 1
        clips = torch.randint(len(self._padded), (batch_size,), generator=random)
        starts = torch.randint(total - frames + 1, (batch_size,), generator=random)
        length = (frames - 1) * HOP_LENGTH + WINDOW_LENGTH
        crops = torch.stack([self._padded[i, s * HOP_LENGTH :][:length] for i, s in zip(clips, starts, strict=True)])
        gains = random_gains(batch_size, length, random)
        magnitudes = stft_magnitudes(crops * gains, WINDOW_LENGTH, HOP_LENGTH, center=False)
        mels = mel_of(magnitudes)
        if self._rebuilt is not None:
            half = batch_size // 2
            rebuilt = torch.stack([self._rebuilt[i, s : s + frames] for i, s in zip(clips, starts, strict=True)])[half:]
            centres = WINDOW_LENGTH // 2 + HOP_LENGTH * torch.arange(frames)
            mels[half:] = (rebuilt + gains[half:, centres, None].log()).clamp_min(SILENCE)
        return mels, magnitudes


def random_gains(count: int, samples: int, random: torch.Generator) -> Tensor:
    """(count, samples) factors: constant for a half, for the others a curve in decibels through random points."""
    low, high = GAIN_DB
    points = low + (high - low) * torch.rand(count, 8, generator=random)
    points[::2] = points[::2, :1]
    curves = functional.interpolate(points[:, None], samples, mode="linear", align_corners=True)[:, 0]
    return 10.0 ** (curves / 20.0)


def spectral_loss(log_magnitudes: Tensor, magnitudes: Tensor) -> Tensor:
    """Distance of predicted log magnitudes (B, K, T) from magnitudes of the same shape; a scalar.

    Mean absolute log difference of bins and of the mel, spectral convergence, and the difference of the levels.
    """
    predicted = log_magnitudes.exp()
    floor = torch.full_like(predicted, MAGNITUDE_FLOOR)
    bins = (predicted.maximum(floor).log() - magnitudes.maximum(floor).log()).abs().mean()
    mels = (mel_of(predicted) - mel_of(magnitudes)).abs().mean()
    energy, wanted = (x.square().sum(dim=(1, 2)) + _QUIET_ENERGY for x in (predicted, magnitudes))
    difference = (predicted - magnitudes).square().sum(dim=(1, 2))
    convergence = (difference / wanted + 1e-8).sqrt().mean()
    level = (energy.log() - wanted.log()).abs().mean()
    return bins + mels + convergence + 0.2 * level


def compare(
    vocoder: Vocoder,
    waveforms: Tensor,
    autoencoder: PatchAutoencoder | AutoencoderKL | None,
    picture: Path | None = None,
) -> dict[str, float]:
    """Figures of the vocoder and of Griffin-Lim on the same clips: `<method>_<mel>_<figure>`, see `Rendering`.

    Args:
        vocoder: the one to compare.
        waveforms: real sounds (N, samples).
        autoencoder: rebuilds their mels; None compares on true mels only.
        picture: PNG of the first clip's mels to draw.
    """
    mels = {"true": log_mel(waveforms)}
    if autoencoder is not None:
        mels["rebuilt"] = reconstruct(autoencoder, mels["true"])
    rows = {"real sound": mels["true"][0]}
    figures: dict[str, Any] = {}
    for kind, mel in mels.items():
        rows |= {"rebuilt by the autoencoder": mel[0]} if kind == "rebuilt" else {}
        for name, method in (("vocoder", vocoder), ("griffin_lim", GriffinLimVocoder())):
            rendering = render(method, mel, waveforms)
            figures |= {f"{name}_{kind}_{figure}": value for figure, value in rendering.figures.items()}
            rows[f"{name.replace('_', '-')} from the {kind} mel"] = log_mel(rendering.waveforms[0])
    if picture is not None:
        draw_mels(rows, picture)
    return figures
