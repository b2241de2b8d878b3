"""The networks of a run: what learns, the frozen backbones that it reads, and the pipeline that it leaves."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDIMScheduler

from drawaudio_model.cavp import CAVP
from drawaudio_model.config import TrainConfig
from drawaudio_model.dataset import TrainingShards
from drawaudio_model.denoiser import Denoiser
from drawaudio_model.generation.candidates import published_front_end
from drawaudio_model.loudness_control import LoudnessControl, added_channels
from drawaudio_model.mask_attention import MaskAttention
from drawaudio_model.model_card import AUDIOLDM2, AUDIOLDM2_LICENCE
from drawaudio_model.patch_autoencoder import load_autoencoder
from drawaudio_model.pipeline import DrawAudioPipeline
from drawaudio_model.text import TextConditioner, TextConditions
from drawaudio_model.training.objective import NOISE_SCHEDULE
from drawaudio_model.training_domain import TrainingDomain
from drawaudio_model.unet import ORIGINAL_HEADS, DrawAudioUNet
from drawaudio_model.vocoder import load_vocoder


@dataclass(frozen=True)
class Shapes:
    """The shapes that `build_denoiser` reads off the shards, for use without shards."""

    latent_shape: tuple[int, int, int]
    widths: dict[str, int]


def check_backbones(config: TrainConfig, backbones: Path) -> None:
    """Raises ValueError before a long run when a folder that its end needs is missing."""
    names = ["audio_autoencoder", "text_encoders", "cavp_backbone"]
    if config.unet_channels is None:
        # Their UNet comes with the autoencoder; Griffin-Lim must not take their vocoder's place unnoticed.
        names += ["unet", "vocoder"]
    for name in names:
        if not (backbones / name).is_dir():
            raise ValueError(
                f"{backbones} has no folder {name}; materialize it: dagster asset materialize -m pipelines "
                f"--select {'audio_autoencoder' if name == 'unet' else name}"
            )


def load_null_text(backbones: Path) -> TextConditions:
    """The embeddings of one text, ""."""
    null = TextConditioner.from_pretrained(backbones / "text_encoders").null()
    length = int(null.t5_mask[0].sum())
    return TextConditions(
        t5=null.t5[:, :length].float().clone(), t5_mask=null.t5_mask[:, :length].clone(), gpt=null.gpt.float().clone()
    )


def build_denoiser(config: TrainConfig, backbones: Path, shards: TrainingShards | Shapes) -> Denoiser:
    """The networks that a run trains, seeded, with its trainable weights selected.

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
            in_channels=channels + added_channels(config.loudness_mode),
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


def build_pipeline(
    denoiser: Denoiser, backbones: Path, config: TrainConfig, domain: TrainingDomain | None = None
) -> DrawAudioPipeline:
    """The trained parts together with the frozen backbones, and `load_vocoder`'s vocoder."""
    schedule = NOISE_SCHEDULE | {"prediction_type": config.prediction}
    from_audioldm2 = config.unet_channels is None
    text = TextConditioner.from_pretrained(backbones / "text_encoders")
    return DrawAudioPipeline(
        vae=load_autoencoder(backbones / "audio_autoencoder"),
        **text.components(),
        unet=denoiser.unet.eval(),
        mask_attention=denoiser.mask_attention.eval(),
        loudness_control=denoiser.loudness_control.eval(),
        cavp=CAVP.from_pretrained(backbones / "cavp_backbone"),
        vocoder=load_vocoder(backbones),
        scheduler=DDIMScheduler(**schedule, set_alpha_to_one=False, steps_offset=1),
        feature_extractor=published_front_end(None) if from_audioldm2 else None,
        loudness_branches=denoiser.loudness_branches,
        **config.guidance().settings(),
        level_matching_db=config.level_matching_db,
        domain=domain,
        base_model=AUDIOLDM2 if from_audioldm2 else None,
        licence=AUDIOLDM2_LICENCE if from_audioldm2 else None,
    )
