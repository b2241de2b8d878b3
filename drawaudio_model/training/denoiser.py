"""What learns, what it is shown and how wrong it is: the denoiser, its instructions, noise and loss.

Shapes: B batch, C latent channels, F latent frames, K latent mel bins, V video frames, D CAVP width, L text tokens, Dt
and Dg widths of T5 and GPT-2.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from torch import Tensor, nn

from drawaudio_model.clip_format import VIDEO_FPS
from drawaudio_model.config import TrainConfig
from drawaudio_model.dataset import TrainingBatch, TrainingShards
from drawaudio_model.loudness_control import LoudnessControl
from drawaudio_model.mask_attention import MaskAttention
from drawaudio_model.unet import ORIGINAL_HEADS, DrawAudioUNet

NOISE_SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.0015,
    "beta_end": 0.0195,
    "prediction_type": "epsilon",
    "clip_sample": False,
}
"""AudioLDM2's schedule, for training and for the pipeline's sampler; a run may set another `prediction_type`."""


@dataclass(frozen=True, eq=False)
class NullText:
    """Embeddings of the text "", which stand in for a withheld caption."""

    t5: Tensor
    """(L, Dt)."""
    gpt: Tensor
    """(8, Dg)."""


class Denoiser(nn.Module):
    """Everything that learns: the UNet, the mask attention in front of its video stacks, the loudness control.

    Args:
        unet: the denoiser itself.
        mask_attention: makes its video tokens.
        loudness_control: makes the loudness signal's share of the latent.
        loudness_branches: "all", or "video": then a sample without video is without loudness signal, too.
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

    def forward(self, noisy: Tensor, timesteps: Tensor, batch: TrainingBatch, null_text: NullText) -> Tensor:
        """(B, C, F, K) prediction for `noisy` at `timesteps` (B,), with the batch's withheld instructions."""
        gpt, t5, t5_mask = text_instruction(batch, null_text)
        cavp_masked = torch.where(batch.no_mask[:, None, None], batch.cavp, batch.cavp_masked)
        follows_clip = self.mask_attention.config.positions_follow == "clip"
        video = self.mask_attention(
            batch.cavp,
            cavp_masked,
            keep=(~batch.no_video).float(),
            start_frame=batch.start_seconds * VIDEO_FPS if follows_clip else None,
        )
        unheard = batch.no_loudness if self.loudness_branches == "all" else batch.no_loudness | batch.no_video
        signal = self.loudness_control(batch.loudness, keep=(~unheard).float())  # (B, 1 or C, F, 1)
        sees_video = ~batch.no_video if self.mask_attention.config.null_video == "skip" else None
        words = {"gpt": gpt, "t5": t5, "t5_mask": t5_mask}
        return self.unet(noisy + signal, timesteps, **words, video=video, sees_video=sees_video).sample


def text_instruction(batch: TrainingBatch, null_text: NullText) -> tuple[Tensor, Tensor, Tensor]:
    """GPT-2 tokens (B, 8, Dg), T5 states (B, L, Dt) and their mask (B, L), the null text's where text is withheld."""
    length = max(batch.t5.shape[1], len(null_text.t5))
    t5 = F.pad(batch.t5, (0, 0, 0, length - batch.t5.shape[1]))
    mask = F.pad(batch.t5_mask, (0, length - batch.t5_mask.shape[1]))
    null_t5 = F.pad(null_text.t5, (0, 0, 0, length - len(null_text.t5)))  # (L, Dt)
    null_mask = torch.arange(length, device=mask.device) < len(null_text.t5)  # (L,)
    absent = batch.no_text[:, None]
    return (
        torch.where(absent[..., None], null_text.gpt, batch.gpt),
        torch.where(absent[..., None], null_t5, t5),
        torch.where(absent, null_mask, mask),
    )


def diffusion_noise(seed: int, step: int, places: range, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Timesteps (B,) and noise (B, C, F, K) of the samples at `places` of an optimiser step's batch.

    Each sample has a generator of its own, so that micro-batches and processes may split a step in any way.
    """
    timesteps, noise = [], []
    for place in places:
        state = np.random.SeedSequence([seed, step, place]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(state))
        timesteps.append(torch.randint(NOISE_SCHEDULE["num_train_timesteps"], (1,), generator=generator))
        noise.append(torch.randn(shape, generator=generator))
    return torch.cat(timesteps), torch.stack(noise)


def noise_loss(
    denoiser: nn.Module,
    schedule: DDPMScheduler,
    batch: TrainingBatch,
    null_text: NullText,
    timesteps: Tensor,
    noise: Tensor,
    scaling_factor: float,
) -> Tensor:
    """(B,) mean squared error of the predicted noise, or velocity where the schedule says so, one value per sample."""
    latent = batch.latent * scaling_factor
    noisy = schedule.add_noise(latent, noise, timesteps)
    predicted = denoiser(noisy, timesteps, batch, null_text)
    by_velocity = schedule.config.prediction_type == "v_prediction"
    wanted = schedule.get_velocity(latent, noise, timesteps) if by_velocity else noise
    return (predicted.float() - wanted).square().mean(dim=(1, 2, 3))


def min_snr_weights(schedule: DDPMScheduler, timesteps: Tensor, gamma: float | None) -> Tensor:
    """(B,) weights of the MSE (Hang et al. 2023, Sec. 3.4); ones when gamma is None.

    min(SNR, gamma) / SNR for predicted noise, min(SNR, gamma) / (SNR + 1) for predicted velocity.
    """
    if gamma is None:
        return torch.ones(timesteps.shape, device=timesteps.device)
    kept = schedule.alphas_cumprod.to(timesteps.device)[timesteps]
    ratio = kept / (1 - kept)
    by_velocity = schedule.config.prediction_type == "v_prediction"
    return ratio.clamp(max=gamma) / (ratio + 1 if by_velocity else ratio)


def build_denoiser(config: TrainConfig, backbones: Path, shards: TrainingShards) -> Denoiser:
    """The networks of a run, seeded, with what shall learn selected.

    Raises:
        ValueError: when a run that starts from AudioLDM2 finds no `unet` folder among the backbones.
    """
    channels, frames, _ = shards.latent_shape
    widths = shards.widths
    torch.manual_seed(config.seed)
    if config.unet_channels is None:
        unet = DrawAudioUNet.from_audioldm2(
            backbones / "unet",
            video_attention_dim=config.video_width,
            attention_head_dim=ORIGINAL_HEADS if config.base_heads == "original" else None,
        )
    else:
        plain, deeper = config.unet_plain_levels, len(config.unet_channels) - config.unet_plain_levels
        unet = DrawAudioUNet(
            sample_size=frames,
            in_channels=channels,
            out_channels=channels,
            down_block_types=("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",) * deeper,
            up_block_types=("CrossAttnUpBlock2D",) * deeper + ("UpBlock2D",) * plain,
            block_out_channels=config.unet_channels,
            layers_per_block=config.unet_layers_per_block,
            norm_num_groups=min(32, config.unet_channels[0] // 4),
            cross_attention_dim=(None, widths["gpt"], widths["t5"]),
            attention_head_dim=config.unet_heads,
            video_attention_dim=config.video_width,
        )
    mask_attention = MaskAttention(
        cavp_dim=widths["cavp"],
        width=config.video_width,
        bias=config.mask_bias,
        bias_start=config.mask_bias_start,
        gate=config.mask_gate,
        positions_follow=config.positions_follow,
        feature_scale=math.sqrt(widths["cavp"]) if config.unit_cavp else 1.0,
        null_video=config.null_video,
    )
    if config.video_projection == "diff_foley":
        mask_attention.load_diff_foley_projection(backbones / "diff_foley" / "ldm_epoch240.ckpt")
    for part in (mask_attention.projection, mask_attention.position):
        part.requires_grad_(config.video_projection_learns)
    control = LoudnessControl(
        latent_frames=frames,
        latent_channels=channels,
        mode=config.loudness_mode,
        hidden_widths=config.loudness_widths,
        signal_scale=config.loudness_scale,
        zero_start=config.loudness_zero_start,
    )
    unet.select_trainable(config.trainable)
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    return Denoiser(unet, mask_attention, control, config.loudness_branches).train()
