"""The guided noise of one sampling step: branches, windows, and what is computed once for all steps.

While sampling, text, video and curve stay the same. Their embeddings, video tokens, the attention's keys and values of
both, and the curve's share of the latent are made once; a step evaluates the UNet on what is left.

Legend: B sets of instructions, G = branches x B rows (branch by branch), C latent channels, F latent frames of a window,
K latent mel bins, V video frames, P loudness points, D CAVP width.

Paper: Eq. (12); the interval is Kynkaanniemi et al. 2024 (arXiv 2404.07724).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, SchedulerMixin
from torch import Tensor

from drawaudio_model.clip_format import LOUDNESS_FPS, LOUDNESS_POINTS, VIDEO_FPS, VIDEO_FRAMES
from drawaudio_model.guidance import BRANCHES, Guidance, Visible, guided_noise
from drawaudio_model.layers.blocks import Instructions
from drawaudio_model.layers.cross_attention import FoldedSets
from drawaudio_model.loudness_control import LoudnessControl
from drawaudio_model.mask_attention import MaskAttention
from drawaudio_model.text import TextEmbeddings
from drawaudio_model.unet import DrawAudioUNet

FOLDED_WINDOWS = 8
"""The video's tokens of more windows are not folded: what it saves of time would cost more memory than their frames."""
MEMORY_OF_A_ROW = 2**29
"""Bytes that one row of the published UNet needs in a forward pass of 8 s, generously: decides "by memory"."""


@dataclass(frozen=True, eq=False)
class Conditions:
    """B sets of instructions as the model takes them; V and P cover whole windows."""

    text: TextEmbeddings
    negative: TextEmbeddings
    """What the unconditional branch reads: the embeddings of "" or of a negative prompt."""
    cavp: Tensor
    """(B, V, D) CAVP features of the frames."""
    cavp_masked: Tensor
    """(B, V, D) CAVP features of the masked frames; `cavp` itself where no mask was given."""
    loudness: Tensor
    """(B, P)."""
    has_video: Tensor
    """(B,) 1 where there is a video, 0 where it is the null video."""
    has_loudness: Tensor
    """(B,) 1 where there is a loudness signal, 0 where nothing is added to the latent."""


class WindowDenoiser:
    """The guided noise in one 8 s window of B sets of instructions; made once a sampling.

    Args:
        unet: the denoiser.
        mask_attention: CAVP features to video tokens.
        loudness_control: loudness signal to its share of the latent.
        conditions: the instructions of the whole sound.
        start: of the window, in seconds.
        guidance: weights and interval.
        loudness_branches: "all" or "video": which branches see the loudness signal.
        branches_together: all branches of one latent in one forward pass (faster), or one after another (a third of the
            memory).
        known: what the windows of one sound share of their prepared instructions; each adds its own.
        folds_video: see `DrawAudioUNet.prepare`.
    """

    def __init__(
        self,
        unet: DrawAudioUNet,
        mask_attention: MaskAttention,
        loudness_control: LoudnessControl,
        conditions: Conditions,
        *,
        start: int,
        guidance: Guidance,
        loudness_branches: str = "all",
        branches_together: bool = True,
        known: FoldedSets | None = None,
        folds_video: bool = True,
    ) -> None:
        self.known, self.folds_video = known, folds_video
        visible = Visible(text=True, video=conditions.has_video > 0, loudness=conditions.has_loudness > 0)
        if not visible.limited(loudness_branches).loudness.any():
            # The branch without the signal is then the one with it.
            guidance = replace(guidance, loudness=0.0)
        self.unet, self.guidance, self.branches = unet, guidance, guidance.branches
        self.visible = {branch: BRANCHES[branch].limited(loudness_branches) for branch in self.branches}
        frames = slice(start * VIDEO_FPS, start * VIDEO_FPS + VIDEO_FRAMES)
        points = slice(start * LOUDNESS_FPS, start * LOUDNESS_FPS + LOUDNESS_POINTS)
        # Positions that follow the clip would run out in a long video: each window is a clip of its own.
        start_frame = 0 if mask_attention.config.positions_follow == "clip" else None
        features = conditions.cavp[:, frames], conditions.cavp_masked[:, frames]
        keep = conditions.has_video
        given = mask_attention(*features, keep=keep, start_frame=start_frame)  # (B, V, width)
        null = mask_attention(*features, keep=torch.zeros_like(keep), start_frame=start_frame)
        share = loudness_control(conditions.loudness[:, points], keep=conditions.has_loudness)  # (B, 1 | C, F, 1)
        skips = mask_attention.config.null_video == "skip"
        self.signal: dict[str, Tensor] = {}
        rows: dict[str, tuple[TextEmbeddings, Tensor, Tensor]] = {}
        for branch in self.branches:
            sees = self.visible[branch]
            text, tokens = conditions.text if sees.text else conditions.negative, given if sees.video else null
            acts = (keep > 0) & sees.video if skips else torch.ones_like(keep, dtype=torch.bool)  # (B,)
            rows[branch] = (text, tokens, acts)
            self.signal[branch] = share if sees.loudness else torch.zeros_like(share)
        self.one_latent = loudness_branches == "all"
        if not branches_together:
            groups = [(branch,) for branch in self.branches]
        elif self.one_latent:
            # What sees another signal starts from another latent, and would cost the others what they share.
            alike = [[name for name in self.branches if self.visible[name].loudness == sees] for sees in (True, False)]
            groups = [group for group in alike if group]
        else:
            groups = [self.branches]
        self.groups = [(group, self._prepared([rows[branch] for branch in group])) for group in groups]
        fullest = [branch for branch in self.branches if BRANCHES[branch].loudness][-1]
        self.last = fullest, self._prepared([rows[fullest]])

    def __call__(self, latents: Tensor, timestep: Tensor, level: float) -> Tensor:
        """(B, C, F, K) noise of Eq. (12) in the window's latents (B, C, F, K), in the latents' type.

        Args:
            latents: noisy latents.
            timestep: diffusion step of training.
            level: the step's place in the noise schedule, 0 to 1.
        """
        low, high = self.guidance.interval
        if not low <= level <= high:
            branch, instructions = self.last
            return self._predict((branch,), instructions, latents, timestep)[branch]
        found: dict[str, Tensor] = {}
        for group, instructions in self.groups:
            found |= self._predict(group, instructions, latents, timestep)
        return guided_noise(found, self.guidance)

    def _prepared(self, rows: Sequence[tuple[TextEmbeddings, Tensor, Tensor]]) -> Instructions:
        """Of texts, video tokens, and which rows the video stacks act on."""
        text = TextEmbeddings.collate([words for words, _, _ in rows])
        video = torch.cat([tokens for _, tokens, _ in rows])
        acts = torch.cat([acts for _, _, acts in rows])
        text = text.to(video.device, video.dtype)
        sees = None if acts.all() else acts
        return self.unet.prepare(
            gpt=text.gpt,
            t5=text.t5,
            t5_mask=text.t5_mask,
            video=video,
            sees_video=sees,
            known=self.known,
            folds_video=self.folds_video,
        )

    def _predict(
        self, group: Sequence[str], instructions: Instructions, latents: Tensor, timestep: Tensor
    ) -> dict[str, Tensor]:
        """Branch -> its predicted noise."""
        # Branches that hear the same start from the same latents: the UNet repeats them where they part.
        heard = group[:1] if self.one_latent else group
        noisy = torch.cat([latents + self.signal[branch] for branch in heard]).to(self.unet.dtype)
        noise = self.unet(noisy, timestep, instructions=instructions).sample.to(latents.dtype)
        return dict(zip(group, noise.chunk(len(group)), strict=True))


def window_denoisers(
    unet: DrawAudioUNet,
    mask_attention: MaskAttention,
    loudness_control: LoudnessControl,
    conditions: Conditions,
    *,
    starts: Sequence[int],
    **settings: Any,
) -> list[WindowDenoiser]:
    """One WindowDenoiser for each window of a sound, with what they share of their prepared instructions.

    Args:
        unet: the denoiser.
        mask_attention: CAVP features to video tokens.
        loudness_control: loudness signal to its share of the latent.
        conditions: the instructions of the whole sound.
        starts: of the windows, in seconds.
        **settings: the other arguments of WindowDenoiser.
    """
    settings |= {"known": {}, "folds_video": len(starts) <= FOLDED_WINDOWS}
    parts = (unet, mask_attention, loudness_control, conditions)
    return [WindowDenoiser(*parts, start=start, **settings) for start in starts]


def room_for_all_branches(device: torch.device, rows: int) -> bool:
    """Whether `rows` rows of the UNet fit a GPU's free memory together; on a CPU always."""
    if device.type != "cuda":
        return True
    return torch.cuda.mem_get_info(device)[0] > rows * MEMORY_OF_A_ROW


def sampling_solver(trained: SchedulerMixin, steps: int, device: torch.device) -> DPMSolverMultistepScheduler:
    """DPM-Solver++ on the schedule of training.

    Every setting is handed over: diffusers would leave out those that the DDIM scheduler took by default, and so sample
    otherwise before a pipeline was saved than after.
    """
    settings = {name: value for name, value in trained.config.items() if not name.startswith("_")}
    solver = DPMSolverMultistepScheduler.from_config(settings)
    solver.set_timesteps(steps, device=device)
    return solver


def starting_noise(seeds: Sequence[int], shape: tuple[int, int, int], device: torch.device) -> Tensor:
    """(B, C, N, K) standard normal noise, one seed a row; made on the CPU, so that it does not depend on the device."""
    rows = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows).to(device)
