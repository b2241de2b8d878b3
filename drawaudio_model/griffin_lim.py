"""Log-mel to waveform without learned weights: the mel filters inverted, and phases that fit (Griffin-Lim).

Legend: B batch, T mel frames, M mel bins, K frequency bins of the STFT.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import librosa
import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from scipy.interpolate import CubicSpline
from torch import Tensor

from drawaudio_model.clip_format import HOP_LENGTH, MEL_BINS, SAMPLE_RATE, WINDOW_LENGTH
from drawaudio_model.mel import EDGE_SAMPLES, MEL_FLOOR, as_batch, check_vocoder, log_mel, mel_filters


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
        """A vocoder for mel.py's mels; rate and bins are recorded for `check_vocoder`.

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
