"""The published models' classes and sizes with random weights: what the benchmarks at full size run.

`cvssp/audioldm2` (UNet, autoencoder, vocoder, CLAP, FLAN-T5-large's encoder, GPT-2, projection) and Diff-Foley's CAVP.
Tokenizers are trained on a few captions: their vocabulary is smaller, the number of tokens of a caption much the same.
"""

import os
import platform
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AudioLDM2ProjectionModel,
    AudioLDM2UNet2DConditionModel,
    AutoencoderKL,
    DPMSolverMultistepScheduler,
)
from transformers import (
    ClapConfig,
    ClapModel,
    GPT2Config,
    GPT2LMHeadModel,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    T5Config,
    T5EncoderModel,
)

from drawaudio_model.text import TextConditioner, train_tokenizers
from drawaudio_model.unet import DrawAudioUNet

CAPTION = "a dog barks while a car passes by on a wet street and somebody shouts from a window"
CAPTIONS = [CAPTION, "a bell rings", "rain falls on a tin roof", "a man speaks while birds sing and a train passes"]
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.0015,
    "beta_end": 0.0195,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "steps_offset": 1,
}


def text_parts() -> dict[str, Any]:
    """CLAP, FLAN-T5-large's encoder, GPT-2 (with its head, as diffusers' pipeline needs it), projection, tokenizers."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, tokenizer_2 = train_tokenizers(CAPTIONS, folder, max_tokens=512)
    t5 = T5Config(
        vocab_size=32_128,
        d_model=1024,
        d_kv=64,
        d_ff=2816,
        num_layers=24,
        num_heads=16,
        feed_forward_proj="gated-gelu",
    )
    parts = {
        "text_encoder": ClapModel(ClapConfig()),
        "tokenizer": tokenizer,
        "text_encoder_2": T5EncoderModel(t5),
        "tokenizer_2": tokenizer_2,
        "projection_model": AudioLDM2ProjectionModel(512, 1024, 768),
        "language_model": GPT2LMHeadModel(GPT2Config(max_new_tokens=8)),
    }
    return {name: part.eval() if isinstance(part, torch.nn.Module) else part for name, part in parts.items()}


def conditioner(parts: dict[str, Any]) -> TextConditioner:
    """Our text encoders from the same parts."""
    return TextConditioner(**(parts | {"language_model": parts["language_model"].transformer}))


def autoencoder() -> AutoencoderKL:
    """55.4 M weights."""
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(128, 256, 512),
        layers_per_block=2,
        latent_channels=8,
        sample_size=1024,
        scaling_factor=0.4110932946205139,
    ).eval()


def vocoder() -> SpeechT5HifiGan:
    """55.3 M weights."""
    return SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=64,
            sampling_rate=16_000,
            upsample_initial_channel=1024,
            upsample_rates=[5, 4, 2, 2, 2],
            upsample_kernel_sizes=[16, 16, 8, 4, 4],
            resblock_kernel_sizes=[3, 7, 11],
            resblock_dilation_sizes=[[1, 3, 5]] * 3,
            normalize_before=False,
        )
    ).eval()


def base_unet() -> AudioLDM2UNet2DConditionModel:
    """346.9 M weights: AudioLDM2's own."""
    return AudioLDM2UNet2DConditionModel(
        sample_size=256,
        in_channels=8,
        out_channels=8,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3 + ("UpBlock2D",),
        block_out_channels=(128, 256, 384, 640),
        attention_head_dim=8,
        cross_attention_dim=[[None, 768, 1024]] * 4,
    ).eval()


def our_unet() -> DrawAudioUNet:
    """428.4 M weights; the video stacks are not at their zero start, as after training."""
    unet = DrawAudioUNet().eval()
    for block in unet.attending_blocks():
        for stack in block.video_attentions:
            torch.nn.init.normal_(stack.proj_out.weight, std=0.02)
    return unet


def solver() -> DPMSolverMultistepScheduler:
    """DPM-Solver++ on AudioLDM2's schedule."""
    return DPMSolverMultistepScheduler(**SCHEDULE)


def surroundings(*names: str) -> dict[str, Any]:
    """Hardware, versions and load, for a result file."""
    hardware: dict[str, Any] = {"processor": processor_name(), "cores": os.cpu_count()}
    hardware["threads"] = torch.get_num_threads()
    if torch.cuda.is_available():
        hardware["gpu"] = torch.cuda.get_device_name()
    return {
        "hardware": hardware,
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", *names)}
        | {"python": platform.python_version()},
        "load_average_at_end": os.getloadavg()[0],
        "date": date.today().isoformat(),
    }


def processor_name() -> str:
    """As /proc/cpuinfo has it, where there is one."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
