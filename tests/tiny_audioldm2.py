"""AudioLDM2's checkpoint as diffusers publishes it, in its classes and layout, a few thousand random weights."""

from pathlib import Path

import torch
from diffusers import AudioLDM2Pipeline, AudioLDM2UNet2DConditionModel, AutoencoderKL, DDIMScheduler
from transformers import ClapFeatureExtractor, SpeechT5HifiGan, SpeechT5HifiGanConfig

from tests.tiny_pipeline import GPT, T5, text_parts


def tiny_audioldm2(folder: Path, *, seed: int = 0) -> Path:
    """Writes the folder; the published autoencoder's compression (4), scaling factor and vocoder's hop (160)."""
    torch.manual_seed(seed)
    unet = AudioLDM2UNet2DConditionModel(
        sample_size=64,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=[[None, GPT, T5]] * 2,
    )
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(4, 4, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        scaling_factor=0.4110932946205139,
    )
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=64,
            sampling_rate=16_000,
            upsample_initial_channel=32,
            upsample_rates=[5, 4, 2, 2, 2],
            upsample_kernel_sizes=[16, 16, 8, 4, 4],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1]],
            normalize_before=False,
        )
    )
    with torch.no_grad():
        for weight in vocoder.parameters():
            if weight.ndim > 1:  # as they start, its sounds peak at 6e-10: any tolerance would let everything pass
                weight.mul_(20)
    scheduler = DDIMScheduler(
        beta_start=0.0015,
        beta_end=0.0195,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    extractor = ClapFeatureExtractor(
        sampling_rate=48_000, feature_size=64, truncation="rand_trunc", padding="repeatpad", max_length_s=10
    )
    AudioLDM2Pipeline(
        vae=vae, **text_parts(), feature_extractor=extractor, unet=unet, scheduler=scheduler, vocoder=vocoder
    ).save_pretrained(folder)
    return folder
