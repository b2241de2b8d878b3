"""The objective of a training: the denoiser's conditions, the noise, and the loss.

Legend: B batch, C latent channels, F latent frames, K latent mel bins.
"""

from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from drawaudio_model.dataset import TrainingBatch
from drawaudio_model.denoiser import Conditions
from drawaudio_model.guidance import Visible
from drawaudio_model.text import TextConditions

NOISE_SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.0015,
    "beta_end": 0.0195,
    "prediction_type": "epsilon",
    "clip_sample": False,
}
"""AudioLDM2's schedule, for training and for the pipeline's sampler; a run may set another `prediction_type`."""


def shown_conditions(batch: TrainingBatch, null_text: TextConditions) -> Conditions:
    """The conditions of a batch, without those that are withheld from a sample."""
    return Conditions(
        text=TextConditions(t5=batch.t5, t5_mask=batch.t5_mask, gpt=batch.gpt),
        null_text=null_text,
        cavp=batch.cavp,
        cavp_masked=batch.cavp_masked,
        loudness=batch.loudness,
        present=Visible(text=~batch.no_text, video=~batch.no_video, loudness=~batch.no_loudness, mask=~batch.no_mask),
        start_seconds=batch.start_seconds,
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
    null_text: TextConditions,
    timesteps: Tensor,
    noise: Tensor,
    scaling_factor: float,
) -> Tensor:
    """(B,) mean squared error of the predicted noise, or velocity where the schedule says so, one value per sample."""
    latent = batch.latent * scaling_factor
    noisy = schedule.add_noise(latent, noise, timesteps)
    predicted = denoiser(noisy, timesteps, shown_conditions(batch, null_text))
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
