"""A pipeline whose every sound is known: as loud as the curve it was given, and of noise that all it was told decides.

So a report over its sounds can be computed without it, figure by figure, and an instruction, a setting or a seed that
does not reach the model, or reaches it changed, makes another sound.
"""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor, nn

from drawaudio_model.clip_format import HOP_LENGTH, LOUDNESS_POINTS, MEL_BINS, MEL_FRAMES, SAMPLE_RATE
from drawaudio_model.denoiser import Conditions
from drawaudio_model.guidance import Guidance
from drawaudio_model.pipeline import STEPS, DrawAudioPipeline
from tests.tiny_pipeline import tiny_pipeline

COMPRESSION = 8
LATENT_FRAMES = MEL_FRAMES // COMPRESSION
"""Of 8 s: 80 ms each."""
TOLD_BINS = MEL_BINS // COMPRESSION - 1
"""Latent bins behind the first, which holds the level."""
SCALING_FACTOR = 0.25
UNCOMMANDED_LEVEL = 0.05
"""Of a sound without a curve."""
OWN_GUIDANCE = {"guidance_text": 1.25, "guidance_video": 1.75, "guidance_loudness": 0.5}


def told_bytes(**told: object) -> np.ndarray:
    """(TOLD_BINS,) numbers from 0 to 255 that stand for everything told; arrays count with type, shape and content."""
    digest = sha256()
    for name, value in sorted(told.items()):
        if isinstance(value, np.ndarray):
            # Rounded: what a text encoder gives in a batch of another size differs in the last bits.
            value = (np.round(value.astype(np.float64), 3) + 0.0).tolist()
        digest.update(f"{name}={value};".encode())
    return np.frombuffer(digest.digest()[:TOLD_BINS], np.uint8).astype(int)


def level_latent(levels: np.ndarray, told: np.ndarray) -> np.ndarray:
    """(4, F, K) unscaled latent of a sound with these levels (F,)."""
    latent = np.zeros((4, len(levels), 1 + TOLD_BINS), np.float32)
    latent[0, :, 0] = np.log(np.maximum(levels, 1e-3))
    latent[0, :, 1:] = told
    return latent


def curve_levels(curve: np.ndarray) -> np.ndarray:
    """(F,) levels of a loudness signal (P,) at the latent's frames; quiet while it rises, so that its peaks are onsets."""
    times = (np.arange(LATENT_FRAMES + 1) + 0.5) / LATENT_FRAMES
    levels = np.interp(times, (np.arange(LOUDNESS_POINTS) + 0.5) / LOUDNESS_POINTS, curve)
    return np.where(levels[1:] > 1.02 * levels[:-1], 0.1, 1.0) * levels[:-1]


def noise_sound(frame_levels: np.ndarray, told: np.ndarray) -> np.ndarray:
    """(T * 160,) float32 noise of these RMS levels (T,)."""
    noise = np.random.default_rng(told.tolist()).uniform(-(3**0.5), 3**0.5, len(frame_levels) * HOP_LENGTH)
    return (noise * np.repeat(frame_levels, HOP_LENGTH)).astype(np.float32)


def latent_sound(latent: np.ndarray) -> np.ndarray:
    """The sound (128000,) of an unscaled latent (4, F, K)."""
    told = np.round(latent[0, 0, 1:].astype(np.float64)).astype(int)
    return noise_sound(np.repeat(np.exp(latent[0, :, 0].astype(np.float32)), COMPRESSION), told)


class LevelAutoencoder(ModelMixin, ConfigMixin):
    """Latents (B, 4, F, K) to log-mels (B, 1, T, M): the first channel, each value over 8 x 8 places; and back, their mean."""

    @register_to_config
    def __init__(
        self,
        in_channels: int = 1,
        latent_channels: int = 4,
        block_out_channels: tuple[int, ...] = (1, 1, 1, 1),
        scaling_factor: float = SCALING_FACTOR,
    ) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def encode(self, mel: Tensor) -> AutoencoderKLOutput:
        mean = nn.functional.avg_pool2d(mel, COMPRESSION)  # (B, 1, F, K)
        moments = torch.cat([mean, torch.zeros_like(mean).repeat(1, 7, 1, 1)], dim=1)
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(moments))

    def decode(self, latents: Tensor) -> DecoderOutput:
        mel = latents[:, :1].repeat_interleave(COMPRESSION, dim=2).repeat_interleave(COMPRESSION, dim=3)
        return DecoderOutput(sample=mel + self.nothing)


class NoiseVocoder(ModelMixin, ConfigMixin):
    """Log-mels (B, T, M) to noise (B, T * 160): the first bin is its level, the first frame's others its seed."""

    @register_to_config
    def __init__(self, sampling_rate: int = SAMPLE_RATE, model_in_dim: int = MEL_BINS) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, spectrogram: Tensor) -> Tensor:
        sounds = []
        for mel in spectrogram.detach().cpu().numpy():
            told = np.abs(np.round(mel[0, COMPRESSION::COMPRESSION].astype(np.float64))).astype(int)
            sounds.append(noise_sound(np.exp(mel[:, 0]), told))
        return torch.from_numpy(np.stack(sounds))


class OraclePipeline(DrawAudioPipeline):
    """The pipeline with known sounds: `sample_latents` writes down what it is told instead of denoising."""

    def sample_latents(
        self,
        conditions: Conditions,
        guidance: Guidance,
        *,
        seeds: Sequence[int],
        num_inference_steps: int = STEPS,
        callback_on_step_end: object = None,
    ) -> Tensor:
        """(B, 4, F, K) latents; there are no steps to tell anybody of."""
        latents = []
        for row, seed in enumerate(seeds):
            heard = bool(conditions.with_loudness()[row])
            told = told_bytes(
                seed=seed,
                steps=num_inference_steps,
                text=conditions.text.gpt[row].numpy(),
                words=conditions.text.t5[row][conditions.text.t5_mask[row].bool()].numpy(),
                cavp=conditions.cavp[row].numpy(),
                cavp_masked=conditions.cavp_masked[row].numpy(),
                video=bool(conditions.present.video[row]),
                **{name: float(value) for name, value in guidance.settings().items()},
            )
            levels = np.full(LATENT_FRAMES, UNCOMMANDED_LEVEL)
            if heard:
                levels = curve_levels(conditions.loudness[row].numpy())
            latents.append(level_latent(levels, told))
        return torch.from_numpy(np.stack(latents)) * SCALING_FACTOR


def oracle_pipeline() -> OraclePipeline:
    """The oracle with the tiny pipeline's encoders."""
    parts = tiny_pipeline().components | {"vae": LevelAutoencoder(), "vocoder": NoiseVocoder()}
    return OraclePipeline(**parts, **OWN_GUIDANCE)
