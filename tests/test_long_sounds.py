"""Sounds of several windows: a steady one has no step where windows meet, curves and features go on across them."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from drawaudio_model.clip_format import CLIP_SECONDS, SAMPLE_RATE
from drawaudio_model.generation.windows import window_starts_seconds
from drawaudio_model.griffin_lim import GriffinLimVocoder
from drawaudio_model.pipeline import DrawAudioPipeline
from tests.tiny_pipeline import tiny_pipeline

SECONDS = 21
LEVELS = torch.tensor([1.5, -1.0, 0.5, 2.0])
"""Of the four latent channels of the steady sound."""


@pytest.fixture(scope="module")
def steady() -> DrawAudioPipeline:
    """A tiny pipeline whose denoiser has learnt one steady sound: latents around LEVELS, at every moment."""
    pipe = tiny_pipeline()
    torch.manual_seed(0)
    schedule = DDPMScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear")
    text = pipe.text(["a bell rings"])
    optimizer = torch.optim.Adam(pipe.unet.parameters(), lr=5e-3)
    for _ in range(120):
        clean = LEVELS[:, None, None] + 0.1 * torch.randn(8, 4, 16, 8)
        noise, timesteps = torch.randn_like(clean), torch.randint(1000, (8,))
        words = {name: getattr(text, name).repeat_interleave(8, 0) for name in ("gpt", "t5", "t5_mask")}
        video = torch.zeros(8, 32, 16)
        predicted = pipe.unet(schedule.add_noise(clean, noise, timesteps), timesteps, **words, video=video).sample
        loss = (predicted - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2
    pipe.vocoder = GriffinLimVocoder(iterations=4)
    return pipe


def steps_db(waveform: np.ndarray, moments: list[float], seconds: float = 0.5) -> list[float]:
    """Change of the RMS from just before to just after each moment, in decibels."""
    width = round(seconds * SAMPLE_RATE)

    def level(start: int) -> float:
        return 20 * np.log10(np.sqrt(np.mean(waveform[start : start + width].astype(np.float64) ** 2)))

    places = [round(moment * SAMPLE_RATE) for moment in moments]
    return [abs(level(place) - level(place - width)) for place in places]


def test_a_steady_sound_has_no_step_where_windows_meet(steady: DrawAudioPipeline) -> None:
    starts = window_starts_seconds(SECONDS, steady.latent_frames)
    assert len(starts) >= 4 and all(later - earlier <= 4 for earlier, later in pairwise(starts))
    seams = sorted({*starts[1:], *(start + CLIP_SECONDS for start in starts[:-1])})
    sound = steady(prompt="a bell rings", seconds=SECONDS, num_inference_steps=10, guidance_text=0.0, seed=2).audios[0]
    assert len(sound) == SECONDS * SAMPLE_RATE and np.abs(sound).max() > 1e-3
    assert max(steps_db(sound, seams)) < 1.0
    # The measure sees a step of 1.5 dB.
    louder = sound.copy()
    louder[seams[1] * SAMPLE_RATE :] *= 10 ** (1.5 / 20)
    assert max(steps_db(louder, seams)) > 1.0


def test_windows_without_overlap_are_worse(steady: DrawAudioPipeline) -> None:
    """What the overlap is for: each window's own edges are heard where nothing blends them."""
    settings = {"prompt": "a bell rings", "seconds": 16, "num_inference_steps": 10, "guidance_text": 0.0, "seed": 2}

    def roughness(overlap: int) -> float:
        found = []
        steady(
            **settings, overlap_seconds=overlap, callback_on_step_end=lambda *given: found.append(given[3]["latents"])
        )
        jumps = found[-1].diff(dim=2).square().mean(dim=(0, 1, 3))  # (N - 1,)
        return float(jumps[99] / jumps.median())  # between second 7.92 and 8

    assert roughness(4) < roughness(0)


def test_the_curve_goes_on_across_windows() -> None:
    """Each window reads its own part of the one curve, so neighbours agree on what they share."""
    pipe = tiny_pipeline()
    curve = torch.linspace(0, 1, 160)[None]
    conditions = pipe.conditions(pipe.text(["a"]), pipe.text([""]), loudness=curve, seconds=16)
    read = []
    hook = pipe.loudness_control.register_forward_hook(lambda _m, given, _o: read.append(given[0][0]))
    pipe.sample(conditions, seeds=[0], num_inference_steps=1)
    hook.remove()
    starts = window_starts_seconds(16, pipe.latent_frames)
    assert len(read) == len(starts)
    for start, part in zip(starts, read, strict=True):
        assert torch.equal(part, curve[0, 10 * start : 10 * start + 80])
