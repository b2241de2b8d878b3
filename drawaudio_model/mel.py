"""Waveform to log-mel and back, exactly AudioLDM2's front end, so that its autoencoder and vocoder can be used.

16 kHz; 432 samples of reflection on both sides, then an uncentred STFT (Hann 1024, hop 160), magnitudes, 64 Slaney
filters up to 8 kHz, ln(clamp(., 1e-5)). So 8 s are 800 frames, and frame t is centred on sample 160 t + 80.
Source: AudioLDM-training-finetuning, audioldm_train/utilities/data/dataset.py. Its `pad_spec` pads log-mels with 0,
which is loud; here padding is `SILENCE`.

Legend: B batch, T mel frames, M mel bins, K frequency bins of the STFT.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib import import_module
from typing import Protocol, TypeVar

import librosa
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from drawaudio_model.clip_format import HOP_LENGTH, MEL_BINS, MEL_MAX_HZ, MEL_MIN_HZ, SAMPLE_RATE, WINDOW_LENGTH
from drawaudio_model.waveform import PEAK as PEAK
from drawaudio_model.waveform import SILENT_PEAK as SILENT_PEAK

MEL_FLOOR = 1e-5
"""Smallest mel magnitude; quieter is the same as silence."""
SILENCE = math.log(MEL_FLOOR)
"""Value of the log-mel where nothing sounds (-11.51), and what padding must hold."""
EDGE_SAMPLES = (WINDOW_LENGTH - HOP_LENGTH) // 2
"""Reflected samples on each side."""


Waveform = TypeVar("Waveform", np.ndarray, Tensor)


def normalize_waveform(waveform: Waveform) -> Waveform:
    """The waveform without its mean, scaled to a peak of 0.5, over the last axis; silence comes back as zeros.

    Absolute loudness is lost here (AudioLDM2 does the same), so the loudness signal must be computed on the result.

    Args:
        waveform: (..., samples), any real dtype; the type and dtype come back for floats, float32 for integers.
    """
    as_tensor = torch.as_tensor(waveform)
    if not as_tensor.is_floating_point():
        as_tensor = as_tensor.float()
    if as_tensor.ndim == 0 or as_tensor.shape[-1] == 0:
        raise ValueError(f"waveform has shape {tuple(as_tensor.shape)}, expected (..., samples) with some samples")
    centred = as_tensor - as_tensor.mean(dim=-1, keepdim=True)
    peak = centred.abs().amax(dim=-1, keepdim=True)
    scaled = torch.where(peak < SILENT_PEAK, torch.zeros_like(centred), centred * (PEAK / peak.clamp_min(SILENT_PEAK)))
    return scaled.numpy() if isinstance(waveform, np.ndarray) else scaled


def log_mel(waveform: np.ndarray | Tensor) -> Tensor:
    """(..., T, M) float32 natural log of the mel magnitudes, at least `SILENCE`; T is samples // 160.

    Args:
        waveform: (..., samples) in [-1, 1] at 16 kHz, numpy or torch; a tensor's device is kept.

    Raises:
        ValueError: when the waveform is too short for the reflection at its ends.
    """
    samples = torch.as_tensor(waveform).float()
    if samples.ndim == 0 or samples.shape[-1] <= EDGE_SAMPLES:
        raise ValueError(
            f"waveform has shape {tuple(samples.shape)}, a log-mel needs (..., samples) with more than {EDGE_SAMPLES} "
            "samples; pad it with silence first"
        )
    leading = samples.shape[:-1]
    padded = functional.pad(samples.reshape(-1, 1, samples.shape[-1]), (EDGE_SAMPLES, EDGE_SAMPLES), mode="reflect")
    spectrum = torch.stft(
        padded.squeeze(1),
        n_fft=WINDOW_LENGTH,
        hop_length=HOP_LENGTH,
        window=torch.hann_window(WINDOW_LENGTH, device=samples.device),
        center=False,
        return_complex=True,
    ).abs()  # (B, K, T)
    mel = torch.as_tensor(mel_filters(), device=samples.device) @ spectrum  # (B, M, T)
    return mel.clamp_min(MEL_FLOOR).log().transpose(1, 2).reshape(*leading, -1, MEL_BINS)


def pad_log_mel(mel: Tensor, frames: int) -> Tensor:
    """The log-mel (..., T, M) followed by silence up to `frames` frames.

    Raises:
        ValueError: when it is already longer.
    """
    missing = frames - mel.shape[-2]
    if missing < 0:
        raise ValueError(f"log-mel has {mel.shape[-2]} frames, more than the {frames} to pad to; crop it first")
    return functional.pad(mel, (0, 0, 0, missing), value=SILENCE)


@lru_cache(maxsize=1)
def mel_filters() -> np.ndarray:
    """(M, K) float32 triangular filters with Slaney's scale and area normalisation (librosa's default)."""
    return librosa.filters.mel(sr=SAMPLE_RATE, n_fft=WINDOW_LENGTH, n_mels=MEL_BINS, fmin=MEL_MIN_HZ, fmax=MEL_MAX_HZ)


class Vocoder(Protocol):
    """Log-mel (B, T, M) to waveform (B, samples), such as `SpectralVocoder`, SpeechT5HifiGan or `GriffinLimVocoder`."""

    config: object

    def __call__(self, spectrogram: Tensor) -> Tensor:
        """(B, samples), at least T * 160 of them."""
        ...


def vocode(vocoder: Vocoder, mel: Tensor) -> Tensor:
    """(B, T * 160) float32 waveform of the log-mel (B, T, M), without a vocoder's surplus samples.

    SpeechT5HifiGan as published with AudioLDM2 emits 32 samples more than frames * hop; they are cut at the end.
    """
    check_vocoder(vocoder)
    waveform = vocoder(mel).float()
    wanted = mel.shape[-2] * HOP_LENGTH
    if waveform.shape[-1] < wanted:
        raise ValueError(
            f"vocoder returned {waveform.shape[-1]} samples for {mel.shape[-2]} mel frames, expected at least {wanted} "
            f"({HOP_LENGTH} a frame); use a vocoder with that hop"
        )
    return waveform[..., :wanted]


def check_vocoder(vocoder: Vocoder) -> None:
    """Compares the rate, the mel bins and the hop in a vocoder's config with the clip's geometry.

    Raises:
        ValueError: naming both values, when they differ.
    """
    for name, expected in (("sampling_rate", SAMPLE_RATE), ("model_in_dim", MEL_BINS)):
        found = getattr(vocoder.config, name, None)
        if found != expected:
            raise ValueError(
                f"vocoder has {name} {found}, expected {expected}; use the vocoder that belongs to this mel front end"
            )
    rates = getattr(vocoder.config, "upsample_rates", None)
    if rates is not None and math.prod(rates) != HOP_LENGTH:
        raise ValueError(
            f"vocoder makes {math.prod(rates)} samples a mel frame (upsample_rates {list(rates)}), expected {HOP_LENGTH}; "
            "use the vocoder that belongs to this mel front end"
        )


def as_batch(spectrogram: Tensor) -> Tensor:
    """(B, T, M) float32 of a vocoder's log-mels (B, T, M) or (T, M).

    Raises:
        ValueError: on another number of mel bins or axes, or values that are not finite.
    """
    if spectrogram.ndim not in (2, 3) or spectrogram.shape[-1] != MEL_BINS:
        raise ValueError(
            f"log-mel has shape {tuple(spectrogram.shape)}, expected (batch, frames, {MEL_BINS}) or (frames, {MEL_BINS})"
        )
    if not spectrogram.isfinite().all():
        raise ValueError("log-mel has values that are not finite; check what made it")
    return spectrogram.float().reshape(-1, *spectrogram.shape[-2:])


def __getattr__(name: str) -> object:
    """Names that lay in this file before: code outside, and saved models, may still ask for them here."""
    if name not in ("GriffinLimVocoder", "invert_mel", "density_interpolation"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # By its name when it is asked for: griffin_lim.py imports this module, and brings diffusers.
    return getattr(import_module("drawaudio_model.griffin_lim"), name)
