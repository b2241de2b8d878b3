"""A whole DrawAudioPipeline of a few thousand random weights: real classes, real tokenizers, no training."""

import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler

from drawaudio_model.cavp import CAVP
from drawaudio_model.clip_format import MEL_FRAMES
from drawaudio_model.griffin_lim import GriffinLimVocoder
from drawaudio_model.loudness_control import LoudnessControl, added_channels
from drawaudio_model.mask_attention import MaskAttention
from drawaudio_model.pipeline import DrawAudioPipeline
from drawaudio_model.text import build_text_conditioner, train_tokenizers
from drawaudio_model.unet import DrawAudioUNet
from tests.tiny_cavp import awake

CAPTIONS = ["a bell rings", "a ball bounces on the floor", "rain falls while a bird sings", "a drum is struck"]
T5, GPT, CAVP_WIDTH, VIDEO = 24, 20, 12, 16


def text_parts() -> dict[str, object]:
    """The six text components of AudioLDM2, tiny, with tokenizers trained on CAPTIONS."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizers = train_tokenizers(CAPTIONS, folder, max_tokens=24)
        text = build_text_conditioner(*tokenizers, clap_dim=16, t5_dim=T5, gpt_dim=GPT, layers=1, heads=2)
    return text.components()


def tiny_pipeline(*, seed: int = 0, mode: str = "per_channel") -> DrawAudioPipeline:
    """Random weights; the parts that start at zero are shaken so that every instruction changes the sound."""
    torch.manual_seed(seed)
    channels = (4, 4, 8, 8)
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        scaling_factor=0.7,
    )
    with torch.no_grad():
        vae.decoder.conv_out.bias -= 4.0
    unet = DrawAudioUNet(
        in_channels=4 + added_channels(mode),
        out_channels=4,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=(None, GPT, T5),
        video_attention_dim=VIDEO,
    )
    control = LoudnessControl(latent_frames=MEL_FRAMES // 8, latent_channels=4, mode=mode, hidden_widths=(8,))
    pipe = DrawAudioPipeline(
        vae=vae,
        **text_parts(),
        unet=unet,
        mask_attention=MaskAttention(cavp_dim=CAVP_WIDTH, width=VIDEO, feature_scale=3.0),
        loudness_control=control,
        cavp=awake(CAVP(video_width=2, video_blocks=(1, 1, 1, 1), audio_width=2, embed_dim=CAVP_WIDTH, image_size=32)),
        vocoder=GriffinLimVocoder(iterations=1),
        scheduler=DDIMScheduler(
            beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False
        ),
    )
    with torch.no_grad():
        for module in (unet, control):
            for weight in module.parameters():
                if not weight.any():
                    weight.normal_(std=0.2)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def saved_pipeline(folder: Path) -> Path:
    """The tiny pipeline as a model folder."""
    tiny_pipeline().save_pretrained(folder)
    return folder
