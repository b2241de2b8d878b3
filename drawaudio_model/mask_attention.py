"""The Mask-Attention Module: CAVP features of the frames and of the masked frames become the UNet's video tokens.

Legend: B batch, V video frames, D width of CAVP's features, C width of the video tokens.

Paper: Eqs. (7)-(8), Sec. "Mask-Attention Module (MAM)". Where the paper is silent, each choice is one argument; the
default is the paper's reading, or Diff-Foley's where the paper refers to it:

- "C = 768 as Diff-Foley" while CAVP gives 512: Linear(512, 768) plus 40 learned positions, shared by F_visual and
  F_mask, before Eq. (8). They start at random, or as Diff-Foley trained them (`load_diff_foley_projection`).
- The product in Eq. (8) is channel by channel, and the average runs over time: the shapes allow nothing else.
- "Bias omitted for simplicity" in Eq. (8): W has one (`bias`). With it the new parameters are the paper's 82 M. It may
  start above zero (`bias_start`), so that the masked frames count from the first step.
- No activation is stated for the weights GAP(F_mask) W (`gate`).
- The meaning of "no video" (`null_video`): zeros instead of CAVP's features, as Diff-Foley trains, or that the UNet's video
  stacks are skipped, which makes the branches of guidance without video the base model's own, and cheaper.
- A crop of 32 of the 40 frames: positions count from the crop or from the clip (`positions_follow`).
"""

import pickle
from pathlib import Path
from typing import Literal

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from drawaudio_model.clip_format import SOURCE_VIDEO_FRAMES

Gate = Literal["linear", "sigmoid"]
PositionsFollow = Literal["crop", "clip"]
NullVideo = Literal["zeros", "skip"]


class MaskAttention(ModelMixin, ConfigMixin):
    """Video tokens tau = F_mask * (GAP(F_mask) W) + F_visual, each of the two Linear(CAVP) + position.

    Args:
        cavp_dim: width D of CAVP's features.
        width: width C of the video tokens, the UNet's `video_attention_dim`.
        positions: learned positions, the frames of a whole clip.
        bias: whether W has a bias.
        bias_start: added to that bias at the start. At 0 the weights GAP(F_mask) W start small and of random sign, so that
            the tokens are the whole frame's; at s the mask's features enter them s times.
        gate: "linear", GAP(F_mask) W as printed, or "sigmoid" of it.
        positions_follow: "crop", the first frame given is position 0; "clip", it is `start_frame`.
        feature_scale: factor on CAVP's features before the projection. Their L2 norm is 1, so their entries are about
            1 / sqrt(D); sqrt(D) gives entries of about 1, which a small model trained from scratch learns from faster.
        null_video: "zeros" before the projection, or "skip": the UNet's video stacks do not act on such samples. Recorded
            here for the trainer and the sampler.
        position_std: standard deviation of the positions at the start. Diff-Foley's is 1, which drowns features of
            norm 1; 0.02 is our choice.
    """

    @register_to_config
    def __init__(
        self,
        cavp_dim: int = 512,
        width: int = 768,
        positions: int = SOURCE_VIDEO_FRAMES,
        bias: bool = True,
        bias_start: float = 0.0,
        gate: Gate = "linear",
        positions_follow: PositionsFollow = "crop",
        feature_scale: float = 1.0,
        null_video: NullVideo = "zeros",
        position_std: float = 0.02,
    ) -> None:
        super().__init__()
        if gate not in ("linear", "sigmoid"):
            raise ValueError(f"gate is {gate!r}, expected 'linear' (the paper's) or 'sigmoid'")
        if null_video not in ("zeros", "skip"):
            raise ValueError(f"null_video is {null_video!r}, expected 'zeros' or 'skip'")
        if bias_start and not bias:
            raise ValueError(f"bias_start is {bias_start:g} without a bias; set bias=True, or bias_start=0")
        if positions_follow not in ("crop", "clip"):
            raise ValueError(f"positions_follow is {positions_follow!r}, expected 'crop' or 'clip'")
        self.projection = nn.Linear(cavp_dim, width)
        self.position = nn.Embedding(positions, width)
        nn.init.normal_(self.position.weight, std=position_std)
        self.attention = nn.Linear(width, width, bias=bias)
        if bias:
            with torch.no_grad():
                self.attention.bias.add_(bias_start)

    def forward(
        self,
        cavp: Tensor,
        cavp_masked: Tensor,
        *,
        keep: Tensor | None = None,
        start_frame: Tensor | int | None = None,
    ) -> Tensor:
        """The video tokens.

        No mask means the whole frame: give `cavp` as both. No video means zeros for both before the projection, in
        training and in guidance (`null_video` "zeros"); `keep` does that per sample.

        Args:
            cavp: CAVP features of the frames, (B, V, D), L2 norm 1.
            cavp_masked: CAVP features of the masked frames, (B, V, D).
            keep: 1 where a sample has its video, 0 where it is null, (B,); None keeps all.
            start_frame: number of the first frame within its clip, one or (B,); needed, and only allowed, when
                `positions_follow` is "clip".

        Returns:
            Video tokens, (B, V, C).

        Raises:
            ValueError: when a shape is wrong, the frames exceed the positions, or `start_frame` does not fit.
        """
        self._check_shapes(cavp, cavp_masked, keep)
        scale = self.config.feature_scale
        if keep is not None:
            scale = scale * keep.to(cavp.dtype).reshape(-1, 1, 1)  # (B, 1, 1)
        position = self.position(self._position_ids(cavp, start_frame))  # (B or 1, V, C)
        visual = self.projection(cavp * scale) + position  # (B, V, C)
        masked = self.projection(cavp_masked * scale) + position  # (B, V, C)
        weight = self.attention(masked.mean(dim=1, keepdim=True))  # (B, 1, C)
        if self.config.gate == "sigmoid":
            weight = torch.sigmoid(weight)
        return masked * weight + visual

    @torch.no_grad()
    def load_diff_foley_projection(self, path: Path | str) -> None:
        """Takes over the projection and the positions of Diff-Foley's diffusion checkpoint (`ldm_epoch240.ckpt`).

        Raises:
            ValueError: when the file is missing, is no file of plain tensors, or lacks them in this module's shapes.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"{path} does not exist; put Diff-Foley's ldm_epoch240.ckpt there, or start without it")
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        # What torch raises for a stranger's objects, for a file cut short and for an empty one.
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            reason = str(error).splitlines()[0] if str(error) else "it is empty"
            raise ValueError(f"{path} is no checkpoint of plain tensors: {reason}; download it again") from error
        state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
        for name, target in (
            ("embedder.0.weight", self.projection.weight),
            ("embedder.0.bias", self.projection.bias),
            ("pos_emb.weight", self.position.weight),
        ):
            value = state.get(f"cond_stage_model.{name}")
            # Diff-Foley's table may hold more positions than a clip has frames; the first ones are meant.
            fits = value is not None and value.shape[1:] == target.shape[1:] and len(value) >= len(target)
            if value is None or not fits or (name != "pos_emb.weight" and len(value) != len(target)):
                found = None if value is None else tuple(value.shape)
                raise ValueError(
                    f"{path} has cond_stage_model.{name} of shape {found}, expected {tuple(target.shape)}; use "
                    "Diff-Foley's checkpoint with a video_width of 768"
                )
            target.copy_(value[: len(target)])

    def _position_ids(self, cavp: Tensor, start_frame: Tensor | int | None) -> Tensor:
        """Rows of the position table, (B or 1, V)."""
        if (start_frame is None) == (self.config.positions_follow == "clip"):
            raise ValueError(
                f"start_frame is {start_frame!r} with positions_follow={self.config.positions_follow!r}; "
                "give it when positions follow the clip, and only then"
            )
        start = torch.as_tensor(0 if start_frame is None else start_frame)
        first, last = int(start.min()), int(start.max()) + cavp.shape[1] - 1
        if first < 0 or last >= self.config.positions:
            raise ValueError(
                f"frames {first} to {last} need positions, expected 0 to {self.config.positions - 1}; "
                "cut the video into windows"
            )
        frames = torch.arange(cavp.shape[1], device=cavp.device)
        return start.to(cavp.device).reshape(-1, 1) + frames

    def _check_shapes(self, cavp: Tensor, cavp_masked: Tensor, keep: Tensor | None) -> None:
        if cavp.ndim != 3 or cavp.shape[2] != self.config.cavp_dim:
            raise ValueError(f"cavp has shape {tuple(cavp.shape)}, expected (batch, frames, {self.config.cavp_dim})")
        if cavp_masked.shape != cavp.shape:
            raise ValueError(f"cavp_masked has shape {tuple(cavp_masked.shape)}, expected {tuple(cavp.shape)} as cavp")
        if keep is not None and keep.shape != cavp.shape[:1]:
            raise ValueError(f"keep has shape {tuple(keep.shape)}, expected ({cavp.shape[0]},), one per sample")
