"""Classifier-free guidance: how strongly text, video and loudness steer the sampling.

One step evaluates the UNet up to three times: `uncond` with the null text and the null video, `text` with the text and
the null video, `text_video` with both. The loudness signal enters the latent before the UNet and is the same in all.
Where it shall steer more strongly than it was trained to, a fourth evaluation, `no_loudness`, has text and video but not
the signal.

Paper: Eq. (12), Sec. "Text and Video Classifier-Free Guidance"; guidance by loudness is ours.
"""

import math

from torch import Tensor

TEXT_SCALE = 3.5
"""s_text: 3.5 in the paper's ablation (3.4 in its set-up section)."""
VIDEO_SCALE = 4.5
"""s_video of the paper."""
LOUDNESS_SCALE = 0.0
"""s_loudness of the paper, whose guidance leaves the loudness out."""

BRANCHES = ("uncond", "text", "text_video", "no_loudness")
"""The UNet evaluations of one step, in the order of `dual_guidance`'s arguments."""
BRANCH_INSTRUCTIONS = {
    "uncond": (False, False),
    "text": (True, False),
    "text_video": (True, True),
    "no_loudness": (True, True),
}
"""For each branch: whether it sees the text, whether it sees the video; what it does not see is the null condition."""


def dual_guidance(
    eps_uncond: Tensor | None,
    eps_text: Tensor | None,
    eps_text_video: Tensor | None,
    s_text: float,
    s_video: float,
    *,
    eps_no_loudness: Tensor | None = None,
    s_loudness: float = LOUDNESS_SCALE,
) -> Tensor:
    """The guided noise: eps(0,0) + s_text [eps(text,0) - eps(0,0)] + s_video [eps(text,video) - eps(0,0)].

    With s_loudness, another s_loudness [eps(text,video) - eps(text,video, no loudness)] on top, which is not the paper's.

    Both differences are taken from the unconditional prediction, as Eq. (12) is printed. The text therefore acts with a
    total weight of about s_text + s_video; weights 0 and 1 give the prediction with all instructions as it is.

    Args:
        eps_uncond: prediction without text and video, any shape; None where s_text + s_video is 1.
        eps_text: prediction with the text only, same shape; None where s_text is 0.
        eps_text_video: prediction with text and video, same shape; None where s_video + s_loudness is 0.
        s_text: weight of the text.
        s_video: weight of text and video together.
        eps_no_loudness: prediction with text and video without the loudness signal; None where s_loudness is 0.
        s_loudness: weight of the loudness signal.

    Raises:
        ValueError: when a prediction with a weight is missing or has another shape.
    """
    weights = _weights(s_text, s_video, s_loudness)
    given = dict(zip(BRANCHES, (eps_uncond, eps_text, eps_text_video, eps_no_loudness), strict=True))
    used = {name: given[name] for name, weight in weights.items() if weight != 0}
    first = next(iter(used))
    for name, prediction in used.items():
        if prediction is None:
            raise ValueError(
                f"guidance weight of branch {name} is {weights[name]}, expected its prediction and got None"
            )
        if used[first] is not None and prediction.shape != used[first].shape:
            raise ValueError(
                f"prediction of branch {name} has shape {tuple(prediction.shape)}, "
                f"expected {tuple(used[first].shape)} as branch {first}"
            )
    return sum(weights[name] * prediction for name, prediction in used.items())


def needed_branches(s_text: float, s_video: float, s_loudness: float = LOUDNESS_SCALE) -> tuple[str, ...]:
    """The branches that `dual_guidance` reads at these weights, in order; one whose total weight is 0 is not evaluated."""
    weights = _weights(s_text, s_video, s_loudness)
    return tuple(branch for branch in BRANCHES if weights[branch] != 0)


def _weights(s_text: float, s_video: float, s_loudness: float) -> dict[str, float]:
    """Eq. (12) collected by prediction; the sum is 1."""
    rest = 1.0 - s_text - s_video
    return {
        # 1 - 0.3 - 0.7 leaves 1e-17, which is no reason for an evaluation.
        "uncond": 0.0 if math.isclose(rest, 0.0, abs_tol=1e-9) else rest,
        "text": float(s_text),
        "text_video": float(s_video + s_loudness),
        "no_loudness": -float(s_loudness),
    }
