"""What the pipeline makes of latents and instructions, to the size of what it makes: scaling, held ends, the solver's steps."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from drawaudio_model.clip_format import CLIP_SECONDS, SAMPLE_RATE, VIDEO_FPS, VIDEO_FRAMES
from drawaudio_model.generation.sampling import sampling_solver, starting_noise
from drawaudio_model.generation.windows import window_starts_seconds
from drawaudio_model.mel import log_mel
from drawaudio_model.pipeline import DrawAudioPipeline
from drawaudio_model.training.objective import NOISE_SCHEDULE
from tests.oracle import SCALING_FACTOR, latent_sound, level_latent, oracle_pipeline, told_bytes
from tests.tiny_pipeline import CAVP_WIDTH, tiny_pipeline


@pytest.fixture(scope="module")
def pipe() -> DrawAudioPipeline:
    return tiny_pipeline()


class _EnoughError(Exception):
    """Ends a call after its last sampling step: nothing behind it is asked about."""


def latents(pipe: DrawAudioPipeline, **instructions: object) -> np.ndarray:
    """(C, N, K) after the only step."""
    seen = []

    def watch(_pipe: object, _step: int, _timestep: int, values: dict[str, torch.Tensor]) -> None:
        seen.append(values["latents"][0].numpy())
        raise _EnoughError

    with pytest.raises(_EnoughError):
        pipe(**instructions, num_inference_steps=1, seed=3, callback_on_step_end=watch)
    return seen[0]


def test_a_latent_is_decoded_as_the_autoencoder_had_it_before_scaling() -> None:
    oracle = oracle_pipeline()
    levels = np.linspace(0.02, 0.3, 100)
    made = [level_latent(way, told_bytes(number=number)) for number, way in enumerate((levels, levels[::-1]))]
    found = oracle.decode(SCALING_FACTOR * torch.from_numpy(np.stack(made)))
    for sound, latent in zip(found, made, strict=True):
        np.testing.assert_allclose(sound, latent_sound(latent), atol=1e-5)
    # Windows that overlap agree, so a long sound is that of its levels all along.
    levels = np.linspace(0.02, 0.3, 200)
    latent = level_latent(levels, told_bytes(number=3))
    long = oracle.decode(SCALING_FACTOR * torch.from_numpy(latent)[None])[0]
    assert len(long) == 2 * CLIP_SECONDS * SAMPLE_RATE
    np.testing.assert_allclose(long, latent_sound(latent), atol=1e-4)


def test_a_sound_is_encoded_to_the_size_that_the_denoiser_was_taught(pipe: DrawAudioPipeline) -> None:
    rng = np.random.default_rng(0)
    sounds = (0.1 * rng.standard_normal((2, CLIP_SECONDS * SAMPLE_RATE))).astype(np.float32)
    found = pipe.encode(sounds)
    with torch.no_grad():
        mean = pipe.vae.encode(log_mel(sounds)[:, None]).latent_dist.mean
    assert pipe.vae.config.scaling_factor == 0.7
    size = float(mean.abs().max())
    assert size > 0.01
    torch.testing.assert_close(found, 0.7 * mean, rtol=0, atol=1e-4 * size)


def test_behind_its_end_a_curve_is_held(pipe: DrawAudioPipeline) -> None:
    """A sound of 5 s is the beginning of a window of 8 s, and so are its instructions."""
    short = latents(pipe, prompt="a bell rings", loudness=[(0.0, 0.02), (4.9, 0.4)], seconds=5)
    held = latents(pipe, prompt="a bell rings", loudness=[(0.0, 0.02), (4.9, 0.4)], seconds=8)
    ended = latents(pipe, prompt="a bell rings", loudness=[(0.0, 0.02), (4.9, 0.4), (4.96, 0.0)], seconds=8)
    np.testing.assert_array_equal(short, held)
    assert np.abs(ended - held).max() > 1e-2 * np.abs(held).max()


def test_behind_its_end_a_picture_and_its_mask_are_held(pipe: DrawAudioPipeline) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (20, 32, 40, 3), dtype=np.uint8)
    mask = rng.random((20, 4, 5)) < 0.5
    longer = [np.concatenate([given, given[-1:].repeat(VIDEO_FRAMES - 20, 0)]) for given in (frames, mask)]
    short, held = latents(pipe, video=frames, mask=mask), latents(pipe, video=longer[0], mask=longer[1])
    np.testing.assert_array_equal(short, held)
    elsewhere = latents(pipe, video=longer[0], mask=~longer[1])
    longer[0][20:] = 0
    ended = latents(pipe, video=longer[0], mask=longer[1])
    for other in (elsewhere, ended):
        assert np.abs(other - held).max() > 1e-3 * np.abs(held).max()


def test_each_window_of_a_long_video_sees_its_own_frames(pipe: DrawAudioPipeline) -> None:
    seconds = 2 * CLIP_SECONDS
    cavp, masked = torch.randn(
        2, 1, seconds * VIDEO_FPS, CAVP_WIDTH, generator=torch.Generator().manual_seed(0)
    ).unbind()
    texts = pipe.text(["a bell rings"]), pipe.text([""])
    conditions = pipe.conditions(*texts, cavp=cavp, cavp_masked=masked, seconds=seconds)
    seen = []
    hook = pipe.mask_attention.register_forward_hook(lambda _module, given, _tokens: seen.append(given[:2]))
    pipe.sample(conditions, seeds=[0], num_inference_steps=1)
    hook.remove()
    for start in window_starts_seconds(seconds, pipe.latent_frames):
        own = slice(start * VIDEO_FPS, start * VIDEO_FPS + VIDEO_FRAMES)
        wanted = cavp[:, own], masked[:, own]
        assert any(all(map(torch.equal, given, wanted)) for given in seen), start


def test_sounds_that_are_sampled_together_have_the_noise_of_their_own_seeds() -> None:
    together = starting_noise([3, 8], (4, 10, 8), torch.device("cpu"))
    for seed, row in zip((3, 8), together, strict=True):
        assert torch.equal(row, torch.randn((4, 10, 8), generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_solver_is_dpm_solver_plus_plus_of_second_order(prediction: str) -> None:
    """Lu et al. 2022, Algorithm 2 (2M), its last step of first order, on the betas of training."""
    steps = 6
    trained = DDIMScheduler(**NOISE_SCHEDULE | {"prediction_type": prediction}, set_alpha_to_one=False, steps_offset=1)
    solver = sampling_solver(trained, steps, torch.device("cpu"))
    kept = np.cumprod(1 - np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2)
    times = [1000 // (steps + 1) * (steps - number) + 1 for number in range(steps)]
    assert solver.timesteps.tolist() == times
    alphas = [*np.sqrt(kept[times]), 1.0]
    sigmas = [*np.sqrt(1 - kept[times]), 0.0]

    def network(noisy: torch.Tensor, time: int) -> torch.Tensor:
        return torch.tanh(1.5 * noisy + 0.7) * (0.5 + time / 1000)

    found = torch.linspace(-2, 2, 9).reshape(1, 1, 3, 3)
    by_hand, before = found.double(), None
    for number, time in enumerate(times):
        found = solver.step(network(found, time), time, found).prev_sample
        alpha, sigma, alpha_to, sigma_to = (
            *(v[number] for v in (alphas, sigmas)),
            alphas[number + 1],
            sigmas[number + 1],
        )
        answer = network(by_hand, time)
        noise_form = (by_hand - sigma * answer) / alpha
        clean = noise_form if prediction == "epsilon" else alpha * by_hand - sigma * answer
        if number == steps - 1:
            by_hand = clean
            break
        step = np.log(alpha_to / sigma_to) - np.log(alpha / sigma)
        extrapolated = clean
        if before is not None:
            share = before[1] / step
            extrapolated = clean + (clean - before[0]) / (2 * share)
        by_hand = sigma_to / sigma * by_hand - alpha_to * np.expm1(-step) * extrapolated
        before = clean, step
        torch.testing.assert_close(found.double(), by_hand, rtol=1e-3, atol=1e-3 * float(by_hand.abs().max()))
    torch.testing.assert_close(found.double(), by_hand, rtol=1e-3, atol=1e-3 * float(by_hand.abs().max()))
