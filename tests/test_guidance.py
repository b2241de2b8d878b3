"""Guidance against Eq. (12) written out, and with its term for the loudness; whose weights count."""

import pytest
import torch

from drawaudio_model.guidance import BRANCHES, OWN_GUIDANCE, Guidance, Visible, dual_guidance, guided_noise


def predictions() -> dict[str, torch.Tensor]:
    """Of the paper's three branches."""
    noise = torch.randn(3, 2, 8, 10, 4, generator=torch.Generator().manual_seed(0)).unbind(0)
    return dict(zip(("uncond", "text", "text_video"), noise, strict=True))


def test_equals_the_printed_equation():
    none, text, both = predictions().values()
    guided = guided_noise(predictions(), Guidance(3.5, 4.5))
    torch.testing.assert_close(guided, none + 3.5 * (text - none) + 4.5 * (both - none))
    # The same, collected by prediction: both differences start at the unconditional one.
    torch.testing.assert_close(guided, (1 - 3.5 - 4.5) * none + 3.5 * text + 4.5 * both, atol=1e-5, rtol=1e-5)


def test_takes_the_symbols_of_the_equation_too():
    none, text, both = predictions().values()
    expected = guided_noise(predictions(), Guidance(3.5, 4.5))
    assert torch.equal(dual_guidance(none, text, both, 3.5, 4.5), expected)
    assert torch.equal(dual_guidance(None, None, both, s_text=0, s_video=1), both)
    with pytest.raises(ValueError, match=r"branch text is 3\.5, expected its prediction and got none"):
        dual_guidance(none, None, both, s_text=3.5, s_video=4.5)


def test_is_not_the_chained_form_of_instruct_pix2pix():
    none, text, both = predictions().values()
    chained = none + 3.5 * (text - none) + 4.5 * (both - text)
    assert (guided_noise(predictions(), Guidance(3.5, 4.5)) - chained).abs().max() > 1


def test_special_weights():
    none, text, both = predictions().values()
    torch.testing.assert_close(guided_noise(predictions(), Guidance(0, 0)), none)
    torch.testing.assert_close(guided_noise(predictions(), Guidance(1, 0)), text)
    torch.testing.assert_close(guided_noise(predictions(), Guidance(0, 1)), both)


@pytest.mark.parametrize("scales, without", [
    ((3.5, 4.5), set()),
    ((3.5, 0), {"text_video"}),
    ((0, 4.5), {"text"}),
    ((0, 0), {"text", "text_video"}),
    ((0, 1), {"uncond", "text"}),
    ((-1.5, 2.5), {"uncond"}),
    ((0.3, 0.7), {"uncond"}),  # 1 - 0.3 - 0.7 is 5e-17
])  # fmt: skip
def test_branches_without_weight_need_no_evaluation(scales, without):
    full, guidance = predictions(), Guidance(*scales)
    needed = guidance.branches
    assert set(full) - set(needed) == without and "no_loudness" not in needed
    partial = {branch: full[branch] for branch in needed}
    torch.testing.assert_close(guided_noise(partial, guidance), guided_noise(full, guidance))


def seen(visible: Visible) -> tuple[bool, bool, bool]:
    return visible.text, visible.video, visible.loudness


def test_each_branch_says_what_it_sees():
    assert {name: seen(visible) for name, visible in BRANCHES.items()} == {
        "uncond": (False, False, True),
        "text": (True, False, True),
        "text_video": (True, True, True),
        "no_loudness": (True, True, False),
    }


def test_the_signal_may_go_with_the_video_on_branches_and_in_samples_alike():
    limited = {name: visible.limited("video") for name, visible in BRANCHES.items()}
    assert {name: visible.loudness for name, visible in limited.items() if visible.loudness} == {"text_video": True}
    assert [seen(visible)[:2] for visible in limited.values()] == [seen(visible)[:2] for visible in BRANCHES.values()]
    samples = Visible(
        torch.tensor([False] * 4), torch.tensor([True, True, False, False]), torch.tensor([True, False] * 2)
    )
    assert samples.limited("video").loudness.tolist() == [True, False, False, False]
    assert samples.limited("all").loudness.tolist() == [True, False, True, False]


def test_the_loudness_steers_by_what_it_changes():
    none, text, both = predictions().values()
    unsteered = torch.randn(both.shape, generator=torch.Generator().manual_seed(1))
    guided = guided_noise(predictions() | {"no_loudness": unsteered}, Guidance(3.5, 4.5, loudness=0.75))
    expected = none + 3.5 * (text - none) + 4.5 * (both - none) + 0.75 * (both - unsteered)
    torch.testing.assert_close(guided, expected, atol=1e-5, rtol=1e-5)
    assert Guidance(0, 1, loudness=0.75).branches == ("text_video", "no_loudness")
    # Without a video the full prediction is needed for the loudness alone.
    assert Guidance(1, 0, loudness=0.75).branches == ("text", "text_video", "no_loudness")
    with pytest.raises(ValueError, match=r"weight of branch no_loudness is -0\.75, expected its prediction"):
        guided_noise(predictions(), Guidance(3.5, 4.5, loudness=0.75))


def test_missing_or_misshaped_predictions_are_named():
    found = predictions()
    with pytest.raises(ValueError, match=r"weight of branch text is 3\.5, expected its prediction and got none"):
        guided_noise({"uncond": found["uncond"], "text_video": found["text_video"]}, Guidance(3.5, 4.5))
    with pytest.raises(
        ValueError, match=r"branch text_video has shape \(1, 8, 10, 4\), expected \(2, 8, 10, 4\) as branch uncond"
    ):
        guided_noise(found | {"text_video": found["text_video"][:1]}, Guidance(3.5, 4.5))


def test_the_papers_weights_over_the_whole_schedule_are_the_default():
    assert Guidance() == Guidance(text=3.5, video=4.5, interval=(0.0, 1.0), loudness=0.0)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"guidance_loudness is {wrong}, expected 0"):
            Guidance(loudness=wrong)
    for wrong in ((0.5, 0.5), (-0.1, 1.0), (0.0, 1.1)):
        with pytest.raises(ValueError, match="guidance_interval"):
            Guidance(interval=wrong)


def test_a_weight_that_nobody_gives_is_the_models_own():
    own = Guidance(1.25, 1.75, loudness=0.5)
    assert OWN_GUIDANCE.resolved(own) == own
    for name, value in (("text", 0.0), ("video", 0.0), ("loudness", 0.0)):
        asked = Guidance(**{"text": None, "video": None, "loudness": None} | {name: value}, interval=(0.1, 0.2))
        weights = {"text": 1.25, "video": 1.75, "loudness": 0.5} | {name: value}
        assert asked.resolved(own) == Guidance(**weights, interval=(0.1, 0.2))


def test_without_a_video_the_text_steers_alone():
    assert OWN_GUIDANCE.resolved(Guidance(1.25, 1.75, loudness=0.5), has_video=False) == Guidance(
        1.25, 0.0, loudness=0.5
    )
    assert OWN_GUIDANCE.resolved(Guidance(0.0, 1.75), has_video=False) == Guidance(1.75, 0.0)
    asked = Guidance(text=0.5, video=None, loudness=None)
    assert asked.resolved(Guidance(0.0, 1.75), has_video=False) == Guidance(0.5, 0.0)


def test_the_names_in_settings_lead_back_to_the_same_weights():
    own = Guidance(1.25, 1.75, loudness=0.5)
    assert own.settings() == {"guidance_text": 1.25, "guidance_video": 1.75, "guidance_loudness": 0.5}
    assert Guidance.from_settings(own.settings() | {"another": 1}) == own


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["text", "video", "loudness"])
def test_a_weight_that_is_no_number_is_refused(name: str, weight: float) -> None:
    with pytest.raises(ValueError, match=f"guidance_{name} is {weight}, expected"):
        Guidance(**{name: weight})
