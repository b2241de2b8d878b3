"""Guided noise of a window: turns and batches, the interval, who hears the curve, half precision, compiling."""

from dataclasses import replace

import pytest
import torch

from drawaudio_model.clip_format import LOUDNESS_POINTS, VIDEO_FRAMES
from drawaudio_model.denoiser import Conditions
from drawaudio_model.generation.sampling import guided_step, prepare_windows
from drawaudio_model.guidance import Guidance, guided_noise
from drawaudio_model.pipeline import DrawAudioPipeline
from tests.tiny_pipeline import CAVP_WIDTH, tiny_pipeline


@pytest.fixture(scope="module")
def pipe() -> DrawAudioPipeline:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def conditions(pipe: DrawAudioPipeline) -> Conditions:
    torch.manual_seed(0)
    cavp, masked = torch.randn(2, 2, VIDEO_FRAMES, CAVP_WIDTH).unbind()
    return pipe.conditions(
        pipe.text(["a bell rings", "rain falls while a bird sings"]),
        pipe.text(["", ""]),
        cavp=cavp,
        cavp_masked=masked,
        loudness=torch.rand(2, LOUDNESS_POINTS),
    )


GUIDANCE = Guidance(2.0, 3.0)
LATENTS = torch.randn(2, 4, 100, 8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def guided(
    pipe: DrawAudioPipeline,
    conditions: Conditions,
    level: float = 0.5,
    guidance: Guidance = GUIDANCE,
    branches_together: bool = True,
) -> torch.Tensor:
    (window,) = prepare_windows(
        pipe.denoiser, conditions, starts=[0], guidance=guidance, branches_together=branches_together
    )
    return guided_step(pipe.denoiser, window, LATENTS, torch.tensor(500), level)


@torch.no_grad()
def plain(
    pipe: DrawAudioPipeline, conditions: Conditions, heard: tuple[bool, bool, bool] = (True, True, True)
) -> dict[str, torch.Tensor]:
    """The three branches of the paper, each evaluated from its tokens alone."""
    zeros = torch.zeros_like(conditions.cavp)
    null = pipe.mask_attention(zeros, zeros)
    video = pipe.mask_attention(conditions.cavp, conditions.cavp_masked)
    share = pipe.loudness_control(conditions.loudness)
    names, texts = ("uncond", "text", "text_video"), (conditions.null_text, conditions.text, conditions.text)
    rows = zip(names, texts, (null, null, video), heard, strict=True)
    return {
        name: pipe.unet(
            LATENTS + share * hears, 500, gpt=text.gpt, t5=text.t5, t5_mask=text.t5_mask, video=tokens
        ).sample
        for name, text, tokens, hears in rows
    }


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("loudness_branches", ["all", "video"])
def test_the_guided_noise_is_equation_12_of_the_branches_alone(pipe, conditions, together, loudness_branches):
    pipe.register_to_config(loudness_branches=loudness_branches)
    found = guided(pipe, conditions, branches_together=together)
    pipe.register_to_config(loudness_branches="all")
    heard = (True,) * 3 if loudness_branches == "all" else (False, False, True)
    expected = guided_noise(plain(pipe, conditions, heard), GUIDANCE)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("together", [True, False])
def test_a_null_video_may_mean_that_its_stacks_are_skipped(pipe, conditions, together):
    pipe.mask_attention.register_to_config(null_video="skip")
    found = guided(pipe, conditions, branches_together=together)
    pipe.mask_attention.register_to_config(null_video="zeros")
    both = plain(pipe, conditions)["text_video"]
    share = pipe.loudness_control(conditions.loudness)
    with torch.no_grad():
        base = {
            name: pipe.unet(LATENTS + share, 500, gpt=text.gpt, t5=text.t5, t5_mask=text.t5_mask).sample
            for name, text in (("uncond", conditions.null_text), ("text", conditions.text))
        }
    expected = guided_noise(base | {"text_video": both}, GUIDANCE)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_outside_the_interval_only_the_last_branch_is_evaluated(pipe, conditions):
    rows = []
    hook = pipe.unet.register_forward_hook(lambda _m, _i, output: rows.append(len(output.sample)))
    guidance = Guidance(2.0, 3.0, (0.2, 0.8))
    inside = guided(pipe, conditions, 0.8, guidance=guidance)
    outside = guided(pipe, conditions, 0.81, guidance=guidance)
    hook.remove()
    assert rows == [6, 2]
    torch.testing.assert_close(inside, guided(pipe, conditions))
    torch.testing.assert_close(outside, plain(pipe, conditions)["text_video"], atol=1e-5, rtol=1e-5)
    text_only = guided(pipe, conditions, 0.1, guidance=replace(guidance, video=0.0))
    torch.testing.assert_close(text_only, plain(pipe, conditions)["text"], atol=1e-5, rtol=1e-5)


def test_a_guidance_interval_saves_evaluations_of_the_pipeline(pipe):
    rows = []
    hook = pipe.unet.register_forward_hook(lambda _m, _i, output: rows.append(len(output.sample)))
    pipe(prompt="a bell rings", num_inference_steps=4, seed=1, guidance_interval=(0.0, 0.5))
    hook.remove()
    assert rows == [1, 1, 2, 2]


def test_nothing_of_the_instructions_is_computed_twice(pipe):
    """Keys and values of text and video, and the encoders, run once however many steps there are."""
    calls = {1: 0, 3: 0}
    for steps in calls:
        hooks = []

        def count(*_: object, steps: int = steps) -> None:
            calls[steps] += 1

        for part in (pipe.language_model, pipe.mask_attention, pipe.loudness_control):
            hooks.append(part.register_forward_hook(count))
        for layer in pipe.unet.modules():
            if getattr(layer, "is_cross_attention", False):
                hooks += [layer.to_k.register_forward_hook(count), layer.to_v.register_forward_hook(count)]
        pipe(prompt="a bell rings", loudness=[(0.0, 0.1)], num_inference_steps=steps, seed=1)
        for hook in hooks:
            hook.remove()
    assert calls[1] == calls[3] > 0


def test_half_precision_and_compiling_change_little(pipe, conditions):
    expected = guided(pipe, conditions)
    other = tiny_pipeline()
    other.unet.compile(backend="eager")
    torch.testing.assert_close(guided(other, conditions), expected, atol=1e-4, rtol=1e-4)
    half = tiny_pipeline().to(torch.bfloat16)
    sound = half(prompt="a bell rings", loudness=[(0.0, 0.1)], num_inference_steps=2, seed=1).audios
    assert sound.dtype.name == "float32" and abs(sound).max() > 1e-4
    rough = guided(half, half.conditions(
        half.text(["a bell rings", "rain falls while a bird sings"]),
        half.text(["", ""]),
        cavp=conditions.cavp,
        cavp_masked=conditions.cavp_masked,
        loudness=conditions.loudness,
    ))  # fmt: skip
    assert rough.dtype == torch.float32
    assert (rough - expected).square().mean() < 0.05 * expected.square().mean()
