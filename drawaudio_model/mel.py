"""Waveform to log-mel and back, exactly AudioLDM2's front end, so that its autoencoder and vocoder can be used.

16 kHz; 432 samples of reflection on both sides, then an uncentred STFT (Hann 1024, hop 160), magnitudes, 64 Slaney
filters up to 8 kHz, ln(clamp(., 1e-5)). So 8 s are 800 frames, and frame t is centred on sample 160 t + 80.
Source: AudioLDM-training-finetuning, audioldm_train/utilities/data/dataset.py. Its `pad_spec` pads log-mels with 0,
which is loud; here padding is `SILENCE`.

Legend: B batch, T mel frames, M mel bins, K frequency bins of the STFT.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Protocol, TypeVar

import librosa
import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from scipy.interpolate import CubicSpline
from torch import Tensor
from torch.nn import functional

from drawaudio_model.clip_format import HOP_LENGTH, MEL_BINS, MEL_MAX_HZ, MEL_MIN_HZ, SAMPLE_RATE, WINDOW_LENGTH

MEL_FLOOR = 1e-5
"""Smallest mel magnitude; quieter is the same as silence."""
SILENCE = math.log(MEL_FLOOR)
"""Value of the log-mel where nothing sounds (-11.51), and what padding must hold."""
PEAK = 0.5
"""Peak of a normalised waveform."""
SILENT_PEAK = 1e-6
"""A waveform whose peak stays below this (-120 dB, under the step of 16 bit audio) is silence."""
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


class GriffinLimVocoder(ModelMixin, ConfigMixin):
    """Log-mel (B, T, M) to waveform (B, T * 160) without learned weights; called as SpeechT5HifiGan is.

    The mel magnitudes are spread over the STFT's bins (non-negative least squares by multiplicative updates), librosa's
    fast Griffin-Lim finds phases that fit, and one gain a clip gives the result the mel energy of the input.
    Deterministic in `seed`, and one clip does not depend on another. Its only state is the filter bank that it inverts,
    which also keeps the saved folder an ordinary one.
    """

    @register_to_config
    def __init__(
        self,
        sampling_rate: int = SAMPLE_RATE,
        model_in_dim: int = MEL_BINS,
        iterations: int = 32,
        momentum: float = 0.99,
        sharpness: float = 5.0,
        seed: int = 0,
    ) -> None:
        """A vocoder for this module's mels; rate and bins are recorded for `check_vocoder`.

        Args:
            sampling_rate: samples a second.
            model_in_dim: mel bins.
            iterations: of Griffin-Lim.
            momentum: of Griffin-Lim.
            sharpness: how strongly the energy of a mel bin is drawn to the spectrum's peak inside it. A mel does not
                tell a tone from noise as wide as its filter; 1 treats all as noise and plays tones up to 5 dB too soft,
                5 keeps tones within 2 dB and leaves noise as it is (measured on sines and noise).
            seed: of the first phases.
        """
        super().__init__()
        self.register_buffer("mel_filters", torch.as_tensor(mel_filters()))
        check_vocoder(self)

    @torch.no_grad()
    def forward(self, spectrogram: Tensor) -> Tensor:
        """(B, T * 160) float32 waveform; a single log-mel (T, M) gives (T * 160,).

        Raises:
            ValueError: on another number of mel bins or axes, or values that are not finite.
        """
        clips = as_batch(spectrogram)
        # librosa's Griffin-Lim takes one core; clips do not depend on each other.
        with ThreadPoolExecutor(max(1, min(len(clips), torch.get_num_threads()))) as pool:
            waveforms = torch.stack(list(pool.map(self._vocode_clip, clips)))
        return waveforms.reshape(*spectrogram.shape[:-2], -1)

    def _vocode_clip(self, mel: Tensor) -> Tensor:
        """(T * 160,) waveform of one log-mel (T, M)."""
        magnitudes = invert_mel(mel.exp().T, sharpness=self.config.sharpness)
        waveform = torch.from_numpy(self._griffin_lim(magnitudes.cpu().numpy())).to(mel.device)
        energy = log_mel(waveform).exp().square().sum()
        return waveform * (mel.exp().square().sum() / energy).sqrt()

    def _griffin_lim(self, magnitudes: np.ndarray) -> np.ndarray:
        """(T * 160,) float32 waveform whose uncentred STFT has about these magnitudes (K, T)."""
        waveform = librosa.griffinlim(
            magnitudes,
            n_iter=self.config.iterations,
            hop_length=HOP_LENGTH,
            n_fft=WINDOW_LENGTH,
            center=False,
            momentum=self.config.momentum,
            random_state=self.config.seed,
        )
        return waveform[EDGE_SAMPLES : EDGE_SAMPLES + magnitudes.shape[-1] * HOP_LENGTH].astype(np.float32)


def invert_mel(mel: Tensor, *, sharpness: float = 5.0, updates: int = 12) -> Tensor:
    """(..., K, T) magnitudes >= 0 whose mel is close to the mel magnitudes (..., M, T).

    Starts from the mel's density, drawn as a smooth curve over frequency and sharpened, and applies Lee and Seung's
    multiplicative updates, which keep the shape of the start where the filters leave it open.
    """
    filters = torch.as_tensor(mel_filters(), device=mel.device)
    density = (mel.clamp_min(MEL_FLOOR) / filters.sum(dim=1, keepdim=True)).log()
    curve = torch.as_tensor(density_interpolation(), device=mel.device) @ density * sharpness
    magnitudes = (curve - curve.amax(dim=-2, keepdim=True)).clamp_min(-60.0).exp()  # float32 holds the products below
    target = filters.T @ mel
    for _ in range(updates):
        magnitudes = magnitudes * (target / (filters.T @ (filters @ magnitudes)).clamp_min(1e-30))
    return magnitudes


@lru_cache(maxsize=1)
def density_interpolation() -> np.ndarray:
    """(K, M) float32: the cubic spline through values at the filters' centres, evaluated at the STFT's bins."""
    filters = mel_filters()
    bins = np.arange(filters.shape[1])
    centres = filters @ bins / filters.sum(axis=1)
    spline = CubicSpline(centres, np.eye(MEL_BINS), axis=0)
    return spline(bins.clip(centres[0], centres[-1])).astype(np.float32)
