"""What the denoiser reads: the same of withheld instructions in training and sampling, and each once."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from drawaudio_model.clip_format import LOUDNESS_FPS, LOUDNESS_POINTS, VIDEO_FPS, VIDEO_FRAMES
from drawaudio_model.denoiser import Conditions, Denoiser
from drawaudio_model.guidance import BRANCHES, Visible
from drawaudio_model.pipeline import DrawAudioPipeline
from tests.test_sampling import LATENTS, conditions, guided, pipe
from tests.tiny_pipeline import tiny_pipeline

__all__ = ["conditions", "pipe"]
STEPS = torch.full((2,), 500)


@torch.no_grad()
@pytest.mark.parametrize("mode", ["per_channel", "concatenated"])
def test_a_branch_of_sampling_reads_what_training_shows_where_the_same_is_withheld(conditions, mode):
    """Each branch alone equals the pass of training over samples from which its instructions are withheld."""
    everyone, pipe = torch.ones(2, dtype=torch.bool), tiny_pipeline(mode=mode)
    for null_video, loudness_branches in product(("zeros", "skip"), ("all", "video")):
        pipe.mask_attention.register_to_config(null_video=null_video)
        denoiser = Denoiser(pipe.unet, pipe.mask_attention, pipe.loudness_control, loudness_branches)
        for text, video, loudness, mask in product((True, False), repeat=4):
            branch = Visible(text=text, video=video, loudness=loudness, mask=mask)
            prepared = denoiser.prepare(denoiser.inputs(conditions, [branch]), one_latent=True)
            (sampled,) = denoiser.predict(LATENTS, torch.tensor(500), prepared)
            withheld = Visible(*(everyone & seen for seen in (text, video, loudness, mask)))
            trained = denoiser(LATENTS, torch.full((2,), 500), replace(conditions, present=withheld))
            torch.testing.assert_close(sampled, trained, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_signal_that_goes_with_the_video_is_not_heard_by_a_sample_without(pipe, conditions):
    pipe.register_to_config(loudness_branches="video")
    blind = replace(conditions, present=replace(conditions.present, video=torch.tensor([True, False])))
    louder = replace(blind, loudness=1 - blind.loudness)
    moved = (guided(pipe, blind) - guided(pipe, louder)).abs().amax(dim=(1, 2, 3))
    pipe.register_to_config(loudness_branches="all")
    assert moved[0] > 1e-4 and moved[1] == 0


@torch.no_grad()
@pytest.mark.parametrize("withheld", ["text", "video", "loudness", "mask"])
def test_what_is_withheld_from_one_sample_is_not_read_and_the_other_keeps_its_own(
    pipe: DrawAudioPipeline, conditions: Conditions, withheld: str
) -> None:
    half = torch.tensor([False, True])
    shown = replace(conditions, present=replace(conditions.present, **{withheld: half}))
    changed = {
        "text": {"text": replace(conditions.text, gpt=conditions.text.gpt + 1)},
        "video": {"cavp": conditions.cavp + 1, "cavp_masked": conditions.cavp_masked + 1},
        "loudness": {"loudness": 1 - conditions.loudness},
        "mask": {"cavp_masked": conditions.cavp_masked + 1},
    }[withheld]
    moved = pipe.denoiser(LATENTS, STEPS, shown) - pipe.denoiser(LATENTS, STEPS, replace(shown, **changed))
    assert (moved.abs().amax(dim=(1, 2, 3)) > 1e-6).tolist() == half.tolist()


@torch.no_grad()
def test_a_concatenated_signal_stands_beside_the_latent_and_is_zero_where_it_is_withheld(conditions):
    denoiser = tiny_pipeline(mode="concatenated").denoiser
    read = []
    hook = denoiser.unet.register_forward_pre_hook(lambda _, arguments: read.append(arguments[0]))
    denoiser(
        LATENTS, STEPS, replace(conditions, present=replace(conditions.present, loudness=torch.tensor([True, False])))
    )
    branches = denoiser.inputs(conditions, [BRANCHES["no_loudness"]])
    denoiser.predict(LATENTS, torch.tensor(500), denoiser.prepare(branches, one_latent=True))
    hook.remove()
    trained, sampled = read
    signal = denoiser.loudness_control(conditions.loudness)[:1].expand(-1, -1, -1, 8)
    assert torch.equal(trained[:, :4], LATENTS) and torch.equal(sampled[:, :4], LATENTS)
    torch.testing.assert_close(trained[:1, 4:], signal)
    assert signal.abs().max() > 1e-3 and not trained[1, 4:].any() and not sampled[:, 4:].any()


@pytest.mark.parametrize("start, frame", [(0, 0), (1.75, 7), (torch.tensor([0.25, 2.0]).double(), [1, 8])])
def test_a_crop_may_begin_at_any_frame_of_the_picture(pipe, conditions, start, frame):
    pipe.mask_attention.register_to_config(positions_follow="clip")
    places = []
    hook = pipe.mask_attention.register_forward_pre_hook(
        lambda _, arguments, named: places.append(named["start_frame"]), with_kwargs=True
    )
    pipe.denoiser.inputs(replace(conditions, start_seconds=start))
    hook.remove()
    pipe.mask_attention.register_to_config(positions_follow="crop")
    assert places[0].tolist() == frame and not places[0].is_floating_point()


@torch.no_grad()
def test_one_null_text_stands_for_all_samples(pipe: DrawAudioPipeline, conditions: Conditions) -> None:
    one = replace(conditions, null_text=conditions.null_text.select([0]))
    (own,), (shared,) = (pipe.denoiser.inputs(given, [BRANCHES["uncond"]]) for given in (conditions, one))
    assert torch.equal(own.text.gpt, shared.text.gpt) and torch.equal(own.text.t5, shared.text.t5)


@torch.no_grad()
def test_each_network_reads_once_what_several_branches_see(pipe: DrawAudioPipeline, conditions: Conditions) -> None:
    calls = []
    parts = {"mask_attention": pipe.mask_attention, "loudness_control": pipe.loudness_control}
    hooks = [part.register_forward_hook(lambda *_, name=name: calls.append(name)) for name, part in parts.items()]
    read = dict(zip(BRANCHES, pipe.denoiser.inputs(conditions, list(BRANCHES.values())), strict=True))
    for hook in hooks:
        hook.remove()
    # Once with the video and once without.
    assert sorted(calls) == ["loudness_control", "mask_attention", "mask_attention"]
    assert {name for name, inputs in read.items() if inputs.signal is None} == {"no_loudness"}


def test_a_window_is_cut_from_every_condition_that_lasts(conditions: Conditions) -> None:
    long = replace(
        conditions,
        cavp=torch.arange(16.0 * VIDEO_FPS)[None, :, None],
        cavp_masked=-torch.arange(16.0 * VIDEO_FPS)[None, :, None],
        loudness=torch.arange(16.0 * LOUDNESS_FPS)[None],
    ).window(3)
    assert long.cavp.flatten().tolist() == list(range(3 * VIDEO_FPS, 3 * VIDEO_FPS + VIDEO_FRAMES))
    assert torch.equal(long.cavp_masked, -long.cavp)
    assert long.loudness.flatten().tolist() == list(range(3 * LOUDNESS_FPS, 3 * LOUDNESS_FPS + LOUDNESS_POINTS))


def test_its_weights_are_those_of_its_parts_under_their_names(pipe: DrawAudioPipeline) -> None:
    names = {
        f"{part}.{name}"
        for part in ("unet", "mask_attention", "loudness_control")
        for name in getattr(pipe, part).state_dict()
    }
    assert set(pipe.denoiser.state_dict()) == names
