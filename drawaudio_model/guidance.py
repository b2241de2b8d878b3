"""Dual classifier-free guidance: how strongly text and video steer the sampling.

One step evaluates the UNet up to three times: `uncond` with the null text and the null video, `text` with the text and
the null video, `text_video` with both. The loudness signal enters the latent before the UNet and is the same in all.

Paper: Eq. (12), Sec. "Text and Video Classifier-Free Guidance".
"""

from torch import Tensor

TEXT_SCALE = 3.5
"""s_text: 3.5 in the paper's ablation (3.4 in its set-up section)."""
VIDEO_SCALE = 4.5
"""s_video of the paper."""

BRANCHES = ("uncond", "text", "text_video")
"""The UNet evaluations of one step, in the order of `dual_guidance`'s arguments."""
BRANCH_INSTRUCTIONS = {"uncond": (False, False), "text": (True, False), "text_video": (True, True)}
"""For each branch: whether it sees the text, whether it sees the video; what it does not see is the null condition."""


def dual_guidance(
    eps_uncond: Tensor | None, eps_text: Tensor | None, eps_text_video: Tensor | None, s_text: float, s_video: float
) -> Tensor:
    """The guided noise: eps(0,0) + s_text [eps(text,0) - eps(0,0)] + s_video [eps(text,video) - eps(0,0)].

    Both differences are taken from the unconditional prediction, as Eq. (12) is printed. The text therefore acts with a
    total weight of about s_text + s_video; weights 0 and 1 give the prediction with all instructions as it is.

    Args:
        eps_uncond: prediction without text and video, any shape; None where s_text + s_video is 1.
        eps_text: prediction with the text only, same shape; None where s_text is 0.
        eps_text_video: prediction with text and video, same shape; None where s_video is 0.
        s_text: weight of the text.
        s_video: weight of text and video together.

    Raises:
        ValueError: when a prediction with a weight is missing or has another shape.
    """
    weights = _weights(s_text, s_video)
    given = dict(zip(BRANCHES, (eps_uncond, eps_text, eps_text_video), strict=True))
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


def needed_branches(s_text: float, s_video: float) -> tuple[str, ...]:
    """The branches that `dual_guidance` reads at these weights, in order; one whose total weight is 0 is not evaluated."""
    weights = _weights(s_text, s_video)
    return tuple(branch for branch in BRANCHES if weights[branch] != 0)


def _weights(s_text: float, s_video: float) -> dict[str, float]:
    """Eq. (12) collected by prediction; the sum is 1."""
    return {"uncond": 1.0 - s_text - s_video, "text": float(s_text), "text_video": float(s_video)}
