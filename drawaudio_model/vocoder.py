"""A small neural vocoder: log-mel to waveform in a fraction of Griffin-Lim's time and nearer to the real sound.

A network at the mel's frame rate (ConvNeXt blocks, as in Vocos: Siuzdak, 2023) predicts the magnitudes of the linear
spectrogram, and sharpens what an autoencoder blurred. Their phases are not learnt, which for noise would take far more
training: each peak of the spectrum turns its neighbourhood with its own frequency (single pass spectrogram inversion,
Beauregard et al., 2015), and a few iterations of fast Griffin-Lim make frames agree.

Legend: B batch, T mel frames, M mel bins, K frequency bins of the STFT, D width of the network.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional
from transformers import SpeechT5HifiGan

from drawaudio_model.clip_format import HOP_LENGTH, MEL_BINS, SAMPLE_RATE, WINDOW_LENGTH
from drawaudio_model.griffin_lim import GriffinLimVocoder, density_interpolation, invert_mel
from drawaudio_model.mel import MEL_FLOOR, SILENCE, Vocoder, as_batch, check_vocoder, mel_filters
from drawaudio_model.model_folder import read_json

FREQUENCY_BINS = WINDOW_LENGTH // 2 + 1
_LEVEL_REACH = 24
"""Frames to each side over which the level is measured; the network sees the mel relative to it."""
_RANGE_NATS = 10.0
"""The network's input is cut this far (87 dB) below the level."""
_MEL_REACH_NATS = 3.0
_FINE_REACH_NATS = 6.0
"""The most that the network may move a mel bin (26 dB), and the curve inside it (52 dB): silence stays silent."""

_START_UPDATES = 6
_VALLEY_NATS = 5.0
"""Settings of `spread_over_bins`, which makes the network's start from the mel."""
_CORRECTION_NATS = 0.7
"""The most that one correction may move a mel bin (6 dB)."""


class SpectralVocoder(ModelMixin, ConfigMixin):
    """Log-mel (B, T, M) to waveform (B, T * 160); called as SpeechT5HifiGan is.

    The magnitudes start from those of the inverted mel filters, which a network corrects. The network sees the
    log-mel relative to its level in the neighbourhood and corrects by bounded amounts, so a mel that is 6 dB louder gives
    a waveform 6 dB louder whatever levels it was trained on. Nothing is random, and one clip does not depend on another.
    """

    @register_to_config
    def __init__(
        self,
        sampling_rate: int = SAMPLE_RATE,
        model_in_dim: int = MEL_BINS,
        width: int = 160,
        blocks: int = 5,
        iterations: int = 10,
        momentum: float = 0.99,
        corrections: int = 2,
    ) -> None:
        """An untrained vocoder for mel.py's mels; rate and bins are recorded for `check_vocoder`.

        Args:
            sampling_rate: samples a second.
            model_in_dim: mel bins.
            width: channels D of the network.
            blocks: ConvNeXt blocks; each sees 3 frames more to either side.
            iterations: of fast Griffin-Lim.
            momentum: of fast Griffin-Lim.
            corrections: how often the result's mel is then drawn to that of the predicted magnitudes. Each costs what an
                iteration does and takes a sixth off the mel's error, without making frames disagree more.
        """
        super().__init__()
        self.inlet = nn.Conv1d(MEL_BINS, width, 7, padding=3)
        self.layers = nn.ModuleList(ConvNextBlock(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.mel_head = nn.Linear(width, MEL_BINS)
        self.fine_head = nn.Linear(width, FREQUENCY_BINS)
        for head in (self.mel_head, self.fine_head):  # the start is the mel itself
            nn.init.zeros_(head.bias)
            head.weight.data *= 0.1
        check_vocoder(self)

    @torch.no_grad()
    def forward(self, spectrogram: Tensor) -> Tensor:
        """(B, T * 160) float32 waveform; a single log-mel (T, M) gives (T * 160,).

        Raises:
            ValueError: on another number of mel bins or axes, or values that are not finite.
        """
        clips = as_batch(spectrogram)
        # Clip by clip: the products of a batch are summed in another order than those of one clip.
        waveforms = [self._vocode_clip(mel[None]) for mel in clips]
        return torch.cat(waveforms).reshape(*spectrogram.shape[:-2], -1)

    def log_magnitudes(self, mel: Tensor) -> Tensor:
        """(B, K, T) natural log of the linear spectrogram's magnitudes that belong to log-mels (B, T, M)."""
        relative = (relative_mel(mel) / 4.0).to(self.inlet.weight.dtype)
        hidden = self.inlet(relative.transpose(1, 2))  # (B, D, T)
        for block in self.layers:
            hidden = block(hidden)
        hidden = self.norm(hidden.transpose(1, 2))  # (B, T, D)
        coarse = interpolate_bins(bounded(self.mel_head(hidden).float(), _MEL_REACH_NATS))  # (B, T, K)
        fine = bounded(self.fine_head(hidden).float(), _FINE_REACH_NATS)
        return spread_over_bins(mel) + (coarse + fine).transpose(1, 2)

    def _vocode_clip(self, mel: Tensor) -> Tensor:
        """(1, T * 160) waveform of one log-mel (1, T, M)."""
        magnitudes = self.log_magnitudes(mel).exp()
        # One frame more on each side: the STFT's windows then cover every sample that is wanted. The STFT cannot
        # reflect a sound shorter than half a window.
        magnitudes = functional.pad(magnitudes, (1, max(1, 4 - mel.shape[1])), mode="replicate")
        waveform = fast_griffin_lim(magnitudes, self.config.iterations, self.config.momentum)
        for _ in range(self.config.corrections):
            waveform = match_mel(waveform, magnitudes)
        first = HOP_LENGTH // 2  # frame t of the mel is centred on sample 160 t + 80
        return waveform[:, first : first + mel.shape[1] * HOP_LENGTH]


def load_vocoder(backbones: Path) -> Vocoder:
    """The vocoder in <backbones>/vocoder, of the class that its config names; Griffin-Lim where there is no such folder.

    Raises:
        ValueError: when the config names a class that is no vocoder of ours or AudioLDM2's.
    """
    folder = backbones / "vocoder"
    if not folder.exists():
        return GriffinLimVocoder()
    config = read_json(folder / "config.json")
    # diffusers writes the class under one name, transformers under the other.
    name = config.get("_class_name") or (config.get("architectures") or [SpeechT5HifiGan.__name__])[0]
    classes = {kind.__name__: kind for kind in (SpectralVocoder, GriffinLimVocoder, SpeechT5HifiGan)}
    if name not in classes:
        raise ValueError(f"{folder} holds a {name}, expected one of {', '.join(classes)}; materialize vocoder again")
    return classes[name].from_pretrained(folder).eval()


class ConvNextBlock(nn.Module):
    """Depthwise convolution over time and a two layer perceptron over channels, added to the input (B, D, T)."""

    def __init__(self, width: int, expansion: int = 3) -> None:
        """A block of D = `width` channels."""
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, D, T)."""
        inner = self.norm(self.depthwise(hidden).transpose(1, 2))  # (B, T, D)
        return hidden + self.down(functional.gelu(self.up(inner))).transpose(1, 2)


def relative_mel(mel: Tensor) -> Tensor:
    """(B, T, M) log-mel relative to the loudest frame nearby, smoothed over time; between -10 and about 0."""
    loudness = mel.logsumexp(dim=-1)[:, None]  # (B, 1, T)
    width = 2 * _LEVEL_REACH + 1
    loudest = functional.max_pool1d(loudness, width, stride=1, padding=_LEVEL_REACH)
    level = functional.avg_pool1d(loudest, width, stride=1, padding=_LEVEL_REACH, count_include_pad=False)
    return (mel - level[:, 0, :, None]).clamp(-_RANGE_NATS, _RANGE_NATS)


def bounded(values: Tensor, reach: float) -> Tensor:
    """The values themselves near 0, at most `reach` far from it."""
    return reach * torch.tanh(values / reach)


def mel_of(magnitudes: Tensor) -> Tensor:
    """(B, T, M) log-mel of STFT magnitudes (B, K, T)."""
    filters = torch.as_tensor(mel_filters(), device=magnitudes.device)
    return (filters @ magnitudes).clamp_min(MEL_FLOOR).log().transpose(1, 2)


@torch.no_grad()
def spread_over_bins(mel: Tensor) -> Tensor:
    """(B, K, T) log magnitudes with about the mel of log-mels (B, T, M), where the network starts from.

    Griffin-Lim's, with its deepest valleys filled: what is infinitely far down could not be corrected.
    """
    mel = mel.clamp_min(SILENCE)
    areas = torch.as_tensor(mel_filters(), device=mel.device).sum(dim=1)
    smooth = interpolate_bins(mel - areas.log()).transpose(1, 2)
    sharp = invert_mel(mel.exp().transpose(1, 2), updates=_START_UPDATES).clamp_min(1e-30).log()
    return sharp.maximum(smooth - _VALLEY_NATS)


def interpolate_bins(values: Tensor) -> Tensor:
    """(B, T, K) smooth curves over frequency through values (B, T, M) at the centres of the mel filters."""
    return values @ torch.as_tensor(density_interpolation(), device=values.device).T


def fast_griffin_lim(magnitudes: Tensor, iterations: int, momentum: float) -> Tensor:
    """(B, (T - 1) * 160) waveform from its centre of frame 0 to that of the last; magnitudes are (B, K, T).

    Source: Perraudin et al., 2013, with librosa's form of the momentum.
    """
    window = torch.hann_window(WINDOW_LENGTH, device=magnitudes.device)
    phases, previous = peak_phases(magnitudes), None
    for _ in range(iterations):
        waveform = torch.istft(magnitudes * phases, WINDOW_LENGTH, HOP_LENGTH, window=window)
        rebuilt = torch.stft(waveform, WINDOW_LENGTH, HOP_LENGTH, window=window, return_complex=True)
        ahead = rebuilt if previous is None else rebuilt - momentum / (1.0 + momentum) * previous
        phases, previous = ahead / ahead.abs().clamp_min(1e-12), rebuilt
    return torch.istft(magnitudes * phases, WINDOW_LENGTH, HOP_LENGTH, window=window)


def match_mel(waveform: Tensor, magnitudes: Tensor) -> Tensor:
    """The waveform (B, (T - 1) * 160), filtered so that its mel comes nearer to that of magnitudes (B, K, T)."""
    window = torch.hann_window(WINDOW_LENGTH, device=waveform.device)
    spectrum = torch.stft(waveform, WINDOW_LENGTH, HOP_LENGTH, window=window, return_complex=True)
    missing = (mel_of(magnitudes) - mel_of(spectrum.abs())).clamp(-_CORRECTION_NATS, _CORRECTION_NATS)
    gains = interpolate_bins(missing).exp().transpose(1, 2)  # (B, K, T)
    return torch.istft(spectrum * gains, WINDOW_LENGTH, HOP_LENGTH, window=window)


def peak_phases(magnitudes: Tensor) -> Tensor:
    """(B, K, T) complex numbers of length 1: every bin turns with the frequency of the peak nearest to it.

    The frequency of a peak is that of the parabola through its log magnitude and both neighbours'.
    """
    logs = functional.pad(magnitudes.clamp_min(1e-9).log(), (0, 0, 1, 1), value=math.log(1e-9))
    low, middle, high = logs[:, :-2], logs[:, 1:-1], logs[:, 2:]
    is_peak = (middle > low) & (middle >= high)
    offset = (0.5 * (low - high) / (low - 2.0 * middle + high).clamp(max=-1e-6)).clamp(-0.5, 0.5)
    bins = torch.arange(FREQUENCY_BINS, device=magnitudes.device)[:, None].expand_as(magnitudes)
    below = torch.where(is_peak, bins, -FREQUENCY_BINS).cummax(dim=1).values
    above = torch.where(is_peak, bins, 2 * FREQUENCY_BINS).flip(1).cummin(dim=1).values.flip(1)
    nearest = torch.where(bins - below <= above - bins, below, above).clamp(0, FREQUENCY_BINS - 1)
    frequency = (bins + torch.where(is_peak, offset, 0.0)).gather(1, nearest)
    turns = (frequency * (HOP_LENGTH / WINDOW_LENGTH)).double().cumsum(dim=-1) % 1.0
    return torch.polar(torch.ones_like(magnitudes), (2.0 * math.pi * turns).to(magnitudes.dtype))
