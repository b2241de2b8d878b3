"""Guidance against Eq. (12) written out, and with its term for the loudness."""

import pytest
import torch

from drawaudio_model.guidance import BRANCH_INSTRUCTIONS, BRANCHES, dual_guidance, needed_branches


def predictions():
    return torch.randn(3, 2, 8, 10, 4, generator=torch.Generator().manual_seed(0)).unbind(0)


def test_equals_the_printed_equation():
    none, text, both = predictions()
    guided = dual_guidance(none, text, both, 3.5, 4.5)
    torch.testing.assert_close(guided, none + 3.5 * (text - none) + 4.5 * (both - none))
    # The same, collected by prediction: both differences start at the unconditional one.
    torch.testing.assert_close(guided, (1 - 3.5 - 4.5) * none + 3.5 * text + 4.5 * both, atol=1e-5, rtol=1e-5)


def test_is_not_the_chained_form_of_instruct_pix2pix():
    none, text, both = predictions()
    chained = none + 3.5 * (text - none) + 4.5 * (both - text)
    assert (dual_guidance(none, text, both, 3.5, 4.5) - chained).abs().max() > 1


def test_special_weights():
    none, text, both = predictions()
    torch.testing.assert_close(dual_guidance(none, text, both, 0, 0), none)
    torch.testing.assert_close(dual_guidance(none, text, both, 1, 0), text)
    torch.testing.assert_close(dual_guidance(none, text, both, 0, 1), both)


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
    full = dict(zip(BRANCHES, predictions(), strict=False))
    needed = needed_branches(*scales)
    assert set(full) - set(needed) == without and "no_loudness" not in needed
    partial = [full[branch] if branch in needed else None for branch in full]
    torch.testing.assert_close(dual_guidance(*partial, *scales), dual_guidance(*full.values(), *scales))


def test_each_branch_says_what_it_sees():
    assert [BRANCH_INSTRUCTIONS[branch] for branch in BRANCHES] == [
        (False, False),
        (True, False),
        (True, True),
        (True, True),
    ]


def test_the_loudness_steers_by_what_it_changes():
    none, text, both = predictions()
    unsteered = torch.randn(both.shape, generator=torch.Generator().manual_seed(1))
    guided = dual_guidance(none, text, both, 3.5, 4.5, eps_no_loudness=unsteered, s_loudness=0.75)
    expected = none + 3.5 * (text - none) + 4.5 * (both - none) + 0.75 * (both - unsteered)
    torch.testing.assert_close(guided, expected, atol=1e-5, rtol=1e-5)
    assert needed_branches(0, 1, 0.75) == ("text_video", "no_loudness")
    # Without a video the full prediction is needed for the loudness alone.
    assert needed_branches(1, 0, 0.75) == ("text", "text_video", "no_loudness")
    with pytest.raises(ValueError, match=r"weight of branch no_loudness is -0\.75, expected its prediction"):
        dual_guidance(none, text, both, 3.5, 4.5, s_loudness=0.75)


def test_missing_or_misshaped_predictions_are_named():
    none, text, both = predictions()
    with pytest.raises(ValueError, match=r"weight of branch text is 3\.5, expected its prediction and got None"):
        dual_guidance(none, None, both, 3.5, 4.5)
    with pytest.raises(
        ValueError, match=r"branch text_video has shape \(1, 8, 10, 4\), expected \(2, 8, 10, 4\) as branch uncond"
    ):
        dual_guidance(none, text, both[:1], 3.5, 4.5)
