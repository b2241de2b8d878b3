"""From instructions to latents, and between latents and waveforms, by the parts of a pipeline.

Legend: B sets of conditions, C latent channels, F latent frames of one 8 s window, N of the whole sound, K latent mel bins,
V video frames, P loudness points, D CAVP width, T mel frames, M mel bins.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from drawaudio_model.clip_format import CLIP_SECONDS, HOP_LENGTH, LOUDNESS_FPS, MEL_FRAMES, SAMPLE_RATE, VIDEO_FPS
from drawaudio_model.defaults import SAMPLING_STEPS
from drawaudio_model.denoiser import Conditions
from drawaudio_model.generation import windows
from drawaudio_model.generation.sampling import (
    Given,
    denoise,
    guided_step,
    prepare_windows,
    sampling_solver,
    starting_noise,
)
from drawaudio_model.generation.stages import Teller
from drawaudio_model.guidance import Guidance, Visible
from drawaudio_model.mel import log_mel, vocode
from drawaudio_model.patch_autoencoder import compression
from drawaudio_model.text import TextEmbeddings


def conditions(
    pipe: DiffusionPipeline,
    text: TextEmbeddings,
    negative: TextEmbeddings,
    cavp: Tensor | None,
    cavp_masked: Tensor | None,
    loudness: Tensor | None,
    seconds: int,
) -> Conditions:
    """`DrawAudioPipeline.conditions`."""
    batch = len(text)
    frames = (batch, seconds * VIDEO_FPS, pipe.mask_attention.config.cavp_dim)
    points = (batch, seconds * LOUDNESS_FPS)
    for name, tensor, shape in (
        ("cavp", cavp, frames),
        ("cavp_masked", cavp_masked, frames),
        ("loudness", loudness, points),
    ):
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {shape} for {batch} x {seconds} s")

    def placed(tensor: Tensor) -> Tensor:
        return tensor.to(pipe._execution_device, pipe.unet.dtype)

    if loudness is not None and pipe.domain is not None:
        loudness = loudness.clamp(max=pipe.domain.config.loudest_level)
    visual = placed(torch.zeros(frames) if cavp is None else cavp)
    everyone = torch.ones(batch, dtype=torch.bool, device=pipe._execution_device)
    return Conditions(
        text=text,
        null_text=negative,
        cavp=visual,
        cavp_masked=visual if cavp_masked is None else placed(cavp_masked),
        loudness=placed(torch.zeros(points) if loudness is None else loudness),
        present=Visible(
            text=True,
            video=everyone & (cavp is not None),
            loudness=everyone & (loudness is not None),
            mask=cavp_masked is not None,
        ),
    )


def sample_latents(
    pipe: DiffusionPipeline,
    conditions: Conditions,
    guidance: Guidance,
    seeds: Sequence[int],
    steps: int,
    overlap_seconds: int,
    branches_together: bool | None,
    given: Given | None,
    callback_on_step_end: Callable[..., Any] | None,
    teller: Teller,
) -> Tensor:
    """`DrawAudioPipeline.sample_latents`."""
    batch = len(conditions.loudness)
    if len(seeds) != batch:
        raise ValueError(f"{len(seeds)} seeds for {batch} sets of instructions, expected one each")
    if steps < 1:
        raise ValueError(f"num_inference_steps is {steps}, expected at least 1, such as {SAMPLING_STEPS}")
    starts = windows.window_starts_seconds(
        conditions.loudness.shape[1] // LOUDNESS_FPS, pipe.latent_frames, overlap_seconds
    )
    denoiser = pipe.denoiser
    prepared = prepare_windows(
        denoiser, conditions, starts=starts, guidance=guidance, branches_together=branches_together
    )
    first_frames = _first_frames(pipe, starts)
    solver = sampling_solver(pipe.scheduler, steps, pipe._execution_device)
    shape = (pipe.vae.config.latent_channels, first_frames[-1] + pipe.latent_frames, pipe.latent_bins)
    noise = starting_noise(seeds, shape, pipe._execution_device)
    run = steps if given is None else given.steps(steps)
    parts = itertools.count()

    def predict(number: int, part: Tensor, timestep: Tensor) -> Tensor:
        teller.tell("sampling", next(parts), run * len(starts))
        level = float(timestep) / solver.config.num_train_timesteps
        return guided_step(denoiser, prepared[number], part, timestep, level)

    with pipe.progress_bar(total=run) as bar:

        def on_step(step: int, timestep: Tensor, latents: Tensor) -> Tensor:
            returned = None
            if callback_on_step_end is not None:
                returned = callback_on_step_end(pipe, step, int(timestep), {"latents": latents})
            bar.update()
            return returned.get("latents", latents) if isinstance(returned, dict) else latents

        return denoise(
            predict,
            noise,
            trained=pipe.scheduler,
            solver=solver,
            first_frames=first_frames,
            window_frames=pipe.latent_frames,
            given=given,
            on_step=on_step,
        )


def decode(pipe: DiffusionPipeline, latents: Tensor, overlap_seconds: int, teller: Teller) -> np.ndarray:
    """`DrawAudioPipeline.decode`."""
    seconds = latents.shape[2] * CLIP_SECONDS // pipe.latent_frames
    first_frames = _first_frames(pipe, windows.window_starts_seconds(seconds, pipe.latent_frames, overlap_seconds))

    def decoded(number: int, part: Tensor) -> Tensor:
        teller.tell("decoding", number, len(first_frames))
        return pipe.vae.decode(part / pipe.vae.config.scaling_factor).sample  # (B, 1, T, M)

    mel = windows.blended(latents.to(pipe.vae.dtype), first_frames, pipe.latent_frames, decoded)
    teller.tell("vocoder")
    return vocode(pipe.vocoder, mel[:, 0]).cpu().numpy()


def encode(pipe: DiffusionPipeline, waveforms: np.ndarray, overlap_seconds: int) -> Tensor:
    """`DrawAudioPipeline.encode`."""
    mel = log_mel(waveforms)  # (B, T, M)
    seconds = mel.shape[1] * HOP_LENGTH // SAMPLE_RATE
    first_frames = _first_frames(pipe, windows.window_starts_seconds(seconds, pipe.latent_frames, overlap_seconds))
    if mel.shape[1] != (first_frames[-1] + pipe.latent_frames) * compression(pipe.vae):
        raise ValueError(f"waveforms have {waveforms.shape[-1]} samples, expected whole windows; end them in silence")

    def encoded(number: int, _: Tensor) -> Tensor:
        first = first_frames[number] * compression(pipe.vae)
        window = mel[:, None, first : first + MEL_FRAMES].to(pipe._execution_device, pipe.vae.dtype)
        return pipe.vae.encode(window).latent_dist.mean.float() * pipe.vae.config.scaling_factor

    places = torch.empty(len(mel), 1, first_frames[-1] + pipe.latent_frames, 1)
    return windows.blended(places, first_frames, pipe.latent_frames, encoded)


def _first_frames(pipe: DiffusionPipeline, starts: Sequence[int]) -> list[int]:
    """First latent frames of windows that start at these seconds."""
    return [start * pipe.latent_frames // CLIP_SECONDS for start in starts]
