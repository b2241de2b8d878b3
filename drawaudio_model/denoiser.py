"""The denoiser: UNet, mask attention and loudness control together, one object in training and in sampling.

Here and nowhere else stands what the UNet reads in place of a withheld instruction:

- text: the null text, which is that of "" or a negative prompt;
- video: zeros in place of CAVP's features, or no action of the video stacks (MaskAttention's `null_video`);
- mask: the whole frames in place of the masked ones;
- loudness: nothing is added to the latent, and the channels beside it are zero; with `loudness_branches` "video", wherever the
  video is withheld, too.

Training reads conditions and predicts in one pass (`forward`). In sampling the conditions stay the same over all steps, so
that the work is in two parts: `prepare`, whose result is kept, and `predict`, once a step.

Legend: B sets of conditions, G = branches x B rows (branch by branch), C latent channels, E channels of the loudness signal, F
latent frames, K latent mel bins, V video frames, P loudness points, D CAVP width, L text tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from drawaudio_model.clip_format import LOUDNESS_FPS, LOUDNESS_POINTS, VIDEO_FPS, VIDEO_FRAMES
from drawaudio_model.guidance import Visible
from drawaudio_model.layers.blocks import AttentionContext
from drawaudio_model.layers.cross_attention import FoldedSets
from drawaudio_model.loudness_control import LoudnessControl
from drawaudio_model.mask_attention import MaskAttention
from drawaudio_model.text import TextConditions
from drawaudio_model.unet import DrawAudioUNet

EVERYTHING = Visible(text=True, video=True, loudness=True)
"""The branch on which no instruction is withheld; in training there is no other."""


@dataclass(frozen=True, eq=False)
class Conditions:
    """B sets of conditions; V and P cover one window, or the whole windows of a longer sound."""

    text: TextConditions
    null_text: TextConditions
    """Embeddings that take the text's place where it is withheld, of "" or of a negative prompt; B rows, or one for all."""
    cavp: Tensor
    """(B, V, D) CAVP features of the frames."""
    cavp_masked: Tensor
    """(B, V, D) CAVP features of the masked frames."""
    loudness: Tensor
    """(B, P) loudness signal."""
    present: Visible
    """The conditions that each sample has: (B,) bool each, or one bool for all. Missing ones are not read."""
    start_seconds: Tensor | float = 0
    """Seconds of the clip at which V and P begin, (B,) or one for all."""

    def with_loudness(self) -> Tensor:
        """(B,) bool: which samples have a loudness signal."""
        return _of_each(self.present.loudness, self.loudness)

    def without_loudness(self) -> "Conditions":
        """The same without loudness signal in any sample."""
        return replace(self, loudness=torch.zeros_like(self.loudness), present=replace(self.present, loudness=False))

    def window(self, start: int) -> "Conditions":
        """Those of the 8 s window that begins at second `start` of a sound.

        It is a clip of its own: in a long sound, positions that follow the clip would run out.
        """
        frames = slice(start * VIDEO_FPS, start * VIDEO_FPS + VIDEO_FRAMES)
        points = slice(start * LOUDNESS_FPS, start * LOUDNESS_FPS + LOUDNESS_POINTS)
        return replace(
            self,
            cavp=self.cavp[:, frames],
            cavp_masked=self.cavp_masked[:, frames],
            loudness=self.loudness[:, points],
        )


@dataclass(frozen=True, eq=False)
class UNetInputs:
    """The UNet's inputs on one branch, beside latent and timestep."""

    text: TextConditions
    """Of B texts."""
    video: Tensor
    """(B, V, width) tokens of mask attention."""
    sees_video: Tensor | None
    """(B,) bool: samples that the video stacks act on; None: all."""
    signal: Tensor | None
    """(B, 1, C or E, F, 1) the loudness signal as loudness control gives it; None: withheld."""


@dataclass(frozen=True, eq=False)
class PreparedInputs:
    """The UNet's inputs on branches that are evaluated together, computed once for all steps."""

    context: AttentionContext
    """Prepared tokens of its attention layers, in G rows."""
    signals: tuple[Tensor | None, ...]
    """Of each branch; one where all have the same: the UNet repeats their one latent where they part."""


class Denoiser(nn.Module):
    """The networks that learn, and what they read.

    Args:
        unet: predicts noise or velocity.
        mask_attention: CAVP features to video tokens.
        loudness_control: loudness signal to its share of the UNet's input.
        loudness_branches: "all", or "video": then there is no loudness signal where there is no video.
    """

    def __init__(
        self,
        unet: DrawAudioUNet,
        mask_attention: MaskAttention,
        loudness_control: LoudnessControl,
        loudness_branches: str = "all",
    ) -> None:
        super().__init__()
        self.unet, self.mask_attention, self.loudness_control = unet, mask_attention, loudness_control
        self.loudness_branches = loudness_branches

    def forward(self, noisy: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """(B, C, F, K) prediction for latents `noisy` (B, C, F, K) at `timesteps` (B,)."""
        (inputs,) = self.inputs(conditions)
        return self.unet(
            self._with_signal(noisy, inputs.signal),
            timesteps,
            gpt=inputs.text.gpt,
            t5=inputs.text.t5,
            t5_mask=inputs.text.t5_mask,
            video=inputs.video,
            sees_video=inputs.sees_video,
        ).sample

    def visible(self, conditions: Conditions) -> Visible:
        """The conditions that each of B samples can see on a branch that withholds nothing."""
        return conditions.present.limited(self.loudness_branches)

    def inputs(self, conditions: Conditions, branches: Sequence[Visible] = (EVERYTHING,)) -> list[UNetInputs]:
        """The UNet's inputs on each branch; those that several branches share are computed once."""
        present = self.visible(conditions)
        signal: Tensor | None = None
        videos: dict[tuple[bool, bool], tuple[Tensor, Tensor | None]] = {}
        inputs = []
        for branch in (branch.limited(self.loudness_branches) for branch in branches):
            seen = bool(branch.video), bool(branch.mask)
            if seen not in videos:
                videos[seen] = self._video(conditions, present.on(branch))
            if branch.loudness and signal is None:
                signal = self.loudness_control(
                    conditions.loudness, keep=_of_each(present.loudness, conditions.loudness)
                )
            text = conditions.text.where(present.on(branch).text, conditions.null_text)
            inputs.append(UNetInputs(text, *videos[seen], signal if branch.loudness else None))
        return inputs

    def prepare(
        self,
        branches: Sequence[UNetInputs],
        *,
        one_latent: bool,
        folded: FoldedSets | None = None,
        folds_video: bool = True,
    ) -> PreparedInputs:
        """All that stays the same over the steps of a sampling: the layers' keys and values of text and video.

        Args:
            branches: the UNet's inputs on each of the branches that `predict` will evaluate together.
            one_latent: whether all of them have the same loudness signal.
            folded: `cache` of `DrawAudioUNet.prepare`, which the windows of a sound share.
            folds_video: see `DrawAudioUNet.prepare`.
        """
        video = torch.cat([one.video for one in branches])
        text = TextConditions.collate([one.text for one in branches]).to(video.device, video.dtype)
        acts = [
            torch.ones(len(one.video), dtype=torch.bool, device=video.device)
            if one.sees_video is None
            else one.sees_video
            for one in branches
        ]
        sees_video = torch.cat(acts)
        context = self.unet.prepare(
            gpt=text.gpt,
            t5=text.t5,
            t5_mask=text.t5_mask,
            video=video,
            sees_video=None if sees_video.all() else sees_video,
            cache=folded,
            folds_video=folds_video,
        )
        signals = tuple(one.signal for one in branches)
        return PreparedInputs(context, signals[:1] if one_latent else signals)

    def predict(self, latents: Tensor, timestep: Tensor, prepared: PreparedInputs) -> Sequence[Tensor]:
        """(B, C, F, K) prediction of each prepared branch for latents (B, C, F, K), in the latents' type."""
        noisy = torch.cat([self._with_signal(latents, signal) for signal in prepared.signals]).to(self.unet.dtype)
        predicted = self.unet(noisy, timestep, context=prepared.context).sample.to(latents.dtype)
        return predicted.split(len(latents))

    def _with_signal(self, latents: Tensor, signal: Tensor | None) -> Tensor:
        """The UNet's input: latents (B, C, F, K) and the loudness signal's share, added to them or as E channels beside them."""
        added = self.loudness_control.added_channels
        if not added:
            return latents if signal is None else latents + signal
        if signal is None:
            signal = latents.new_zeros(len(latents), added, latents.shape[2], 1)
        return torch.cat([latents, signal.to(latents.dtype).expand(-1, -1, -1, latents.shape[3])], dim=1)

    def _video(self, conditions: Conditions, visible: Visible) -> tuple[Tensor, Tensor | None]:
        """Video tokens (B, V, width), and the samples that the video stacks act on, (B,) bool, or None for all."""
        config = self.mask_attention.config
        masked = _where(visible.mask, conditions.cavp_masked, conditions.cavp)
        sees_video = _of_each(visible.video, conditions.cavp)
        tokens = self.mask_attention(
            conditions.cavp,
            masked,
            keep=sees_video,
            start_frame=_frame(conditions.start_seconds) if config.positions_follow == "clip" else None,
        )
        return tokens, sees_video if config.null_video == "skip" else None


def _frame(start_seconds: Tensor | float) -> Tensor:
    """The video frame that a crop begins with, one or (B,)."""
    return (torch.as_tensor(start_seconds) * VIDEO_FPS).round().long()


def _of_each(visible: bool | Tensor, values: Tensor) -> Tensor:
    """(B,) bool: whether each of the B samples of `values` is visible."""
    if isinstance(visible, Tensor):
        return visible
    return torch.full((len(values),), visible, device=values.device)


def _where(visible: bool | Tensor, features: Tensor, null: Tensor) -> Tensor:
    """`features` (B, V, D) of the samples in which they are visible, `null` (B, V, D) of the others."""
    if isinstance(visible, bool):
        return features if visible else null
    return torch.where(visible[:, None, None], features, null)
