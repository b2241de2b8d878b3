"""The Time-Loudness Module: a loudness signal becomes an offset of the noisy latent, or channels beside it.

Legend: B batch, P loudness points, F latent frames, C latent channels, E channels of the signal, W hidden width.

Paper: Sec. "Time-Loudness Module (TLM)": trainable MLP layers 80 -> w, tau of shape 1 x w x 1, z = z + tau. Where the
paper is silent, each choice is one argument:

- The MLP's size (`hidden_widths`): two hidden layers of 256, our choice.
- The last layer starts at zero (`zero_start`), so that the untrained model is the base model; our choice.
- The signal enters in linear amplitude (`signal_scale`), as Eqs. (10)-(11) give it. Log-mels are logarithmic, so
  "decibel" is easier to learn from; not the paper's.
- `mode="per_channel"` is not the paper's either: one curve for all channels cannot fit a
  latent whose channels differ. It lets each channel read the MLP's curve and the drawn curve, resampled in time, through
  a short convolution whose last layer starts at zero.
- `mode="concatenated"`, not the paper's: E channels of the signal's own stand beside the latent's, as in an inpainting
  UNet. Added to a noisy latent, a curve is read through that noise; beside it, it is clean at every step. It wants a UNet
  that begins with so many channels, so not AudioLDM2's. On the demo's val clips, after as many steps of training, onset F1
  is 0.74 instead of 0.62.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from drawaudio_model.clip_format import LOUDNESS_POINTS

Mode = Literal["additive", "per_channel", "concatenated"]
SignalScale = Literal["linear", "decibel"]

FLOOR_DB = -60.0
"""Level in dB that "decibel" maps to -1; quieter is as quiet. 0 dB (amplitude 1) maps to +1."""
SIGNAL_CHANNELS = 16
"""Channels E of mode "concatenated". Our choice: as many as the small autoencoder's latents have."""


def added_channels(mode: Mode, signal_channels: int = SIGNAL_CHANNELS) -> int:
    """Channels that a UNet reads beside the latent's: E in mode "concatenated", else none."""
    return signal_channels if mode == "concatenated" else 0


class LoudnessControl(ModelMixin, ConfigMixin):
    """Offset of the latent from a loudness signal, or channels beside it.

    Args:
        loudness_points: points P of the signal.
        latent_frames: frames F of the latent: 200 for 8 s with AudioLDM2's autoencoder.
        latent_channels: channels C of the latent, used in mode "per_channel".
        mode: "additive", the paper's, "per_channel" or "concatenated".
        hidden_widths: widths of the MLP's hidden layers.
        signal_scale: "linear" amplitude, the paper's, or "decibel" mapped to [-1, 1].
        zero_start: whether the last layer starts at zero.
        channel_width: hidden width W of modes "per_channel" and "concatenated".
        signal_channels: channels E of mode "concatenated".
    """

    @register_to_config
    def __init__(
        self,
        loudness_points: int = LOUDNESS_POINTS,
        latent_frames: int = 200,
        latent_channels: int = 8,
        mode: Mode = "additive",
        hidden_widths: Sequence[int] = (256, 256),
        signal_scale: SignalScale = "linear",
        zero_start: bool = True,
        channel_width: int = 32,
        signal_channels: int = SIGNAL_CHANNELS,
    ) -> None:
        super().__init__()
        if mode not in ("additive", "per_channel", "concatenated"):
            raise ValueError(f"mode is {mode!r}, expected 'additive' (the paper's), 'per_channel' or 'concatenated'")
        if signal_scale not in ("linear", "decibel"):
            raise ValueError(f"signal_scale is {signal_scale!r}, expected 'linear' (the paper's) or 'decibel'")
        widths = (loudness_points, *hidden_widths, latent_frames)
        self.mlp = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.spread: nn.Conv1d | None = None
        self.project: nn.Conv1d | None = None
        if mode == "per_channel":
            self.spread = nn.Conv1d(2, channel_width, kernel_size=5, padding=2)
            self.project = nn.Conv1d(channel_width, latent_channels, kernel_size=1)
        if mode == "concatenated":
            self.spread = nn.Conv1d(2, channel_width, kernel_size=9, padding=4)
            self.project = nn.Conv1d(channel_width, signal_channels, kernel_size=5, padding=2)
        if zero_start:
            last = self.mlp[-1] if self.project is None else self.project
            for weight in last.parameters():
                nn.init.zeros_(weight)

    @property
    def added_channels(self) -> int:
        """Channels that the UNet reads beside the latent's: E in mode "concatenated", else none."""
        return added_channels(self.config.mode, self.config.signal_channels)

    def forward(self, signal: Tensor, *, keep: Tensor | None = None) -> Tensor:
        """The offset to add to the noisy latent, or the channels to put beside it.

        Args:
            signal: loudness signal, (B, P), linear amplitude in [0, 1].
            keep: 1 where a sample has its signal, 0 where it is null and all values are zero, (B,); None keeps all.

        Returns:
            (B, 1, F, 1) in mode "additive", (B, C, F, 1) in "per_channel", (B, E, F, 1) in "concatenated".

        Raises:
            ValueError: when a shape is wrong.
        """
        points = self.config.loudness_points
        if signal.ndim != 2 or signal.shape[1] != points:
            raise ValueError(
                f"loudness signal has shape {tuple(signal.shape)}, expected (batch, {points}); resample or cut the curve"
            )
        if keep is not None and keep.shape != signal.shape[:1]:
            raise ValueError(f"keep has shape {tuple(keep.shape)}, expected ({signal.shape[0]},), one per sample")

        if self.config.signal_scale == "decibel":
            level = 20 * torch.log10(signal.clamp(min=10 ** (FLOOR_DB / 20)))
            signal = 1 - 2 * level / FLOOR_DB
        hidden = signal  # (B, P)
        for layer in self.mlp[:-1]:
            hidden = functional.silu(layer(hidden))
        offset = self.mlp[-1](hidden)[:, None]  # (B, 1, F)
        if self.spread is not None and self.project is not None:
            drawn = functional.interpolate(
                signal[:, None], size=self.config.latent_frames, mode="linear", align_corners=False
            )
            offset = self.project(functional.silu(self.spread(torch.cat([offset, drawn], dim=1))))  # (B, C, F)
        if keep is not None:
            offset = offset * keep.to(offset.dtype)[:, None, None]
        return offset[..., None]
