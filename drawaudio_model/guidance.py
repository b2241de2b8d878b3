"""Classifier-free guidance by text, video and loudness.

One step evaluates the UNet on up to four branches, the rows of BRANCHES: `uncond` with the null text and the null video,
`text` with the text and the null video, `text_video` with both, and, where the loudness signal shall steer more strongly
than it was trained to, `no_loudness` with text and video and without the signal. The signal enters the latent before the
UNet, and in the paper all branches have it.

Paper: Eq. (12), Sec. "Text and Video Classifier-Free Guidance"; guidance by loudness is ours.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

TEXT_SCALE = 3.5
"""s_text: 3.5 in the paper's ablation (3.4 in its set-up section)."""
VIDEO_SCALE = 4.5
"""s_video of the paper."""
LOUDNESS_SCALE = 0.0
"""s_loudness of the paper, whose guidance leaves the loudness out."""
LOUDNESS_BRANCHES = ("all", "video")
"""Whether every branch may see the loudness signal, or only one that sees the video; see `Visible.limited`."""


@dataclass(frozen=True, eq=False)
class Visible:
    """The conditions that are visible: on one branch (bool each), or in each of B samples ((B,) bool each, or one for all).

    `denoiser.Denoiser` says what the UNet reads in place of the others.
    """

    text: "bool | Tensor"
    video: "bool | Tensor"
    loudness: "bool | Tensor"
    mask: "bool | Tensor" = True

    def on(self, branch: "Visible") -> "Visible":
        """The conditions that these samples see on a branch."""
        return Visible(
            text=self.text & branch.text,
            video=self.video & branch.video,
            loudness=self.loudness & branch.loudness,
            mask=self.mask & branch.mask,
        )

    def limited(self, loudness_branches: str) -> "Visible":
        """The same for a model with this setting: under "video", the loudness signal is hidden wherever the video is."""
        return self if loudness_branches == "all" else replace(self, loudness=self.loudness & self.video)


BRANCHES = {
    "uncond": Visible(text=False, video=False, loudness=True),
    "text": Visible(text=True, video=False, loudness=True),
    "text_video": Visible(text=True, video=True, loudness=True),
    "no_loudness": Visible(text=True, video=True, loudness=False),
}
"""The UNet evaluations of one step, in the order in which they are summed, and what each sees."""


@dataclass(frozen=True)
class Guidance:
    """Weights of text, video and loudness.

    Args:
        text: s_text of Eq. (12). None: the model's own, like the other two; `resolved` puts it there.
        video: s_video of Eq. (12).
        interval: share of the noise schedule in which the unconditional branches are evaluated, from 0 (clean) to 1
            (noise); outside, the prediction with all instructions is taken alone. The whole schedule is the paper's.
        loudness: s_loudness of `guided_noise`, for a model that was trained with signal dropout; 0 is the paper's.

    Raises:
        ValueError: when the interval is none, a weight is no finite number, or the loudness has a negative one.
    """

    text: float | None = TEXT_SCALE
    video: float | None = VIDEO_SCALE
    interval: tuple[float, float] = (0.0, 1.0)
    loudness: float | None = LOUDNESS_SCALE

    def __post_init__(self) -> None:
        if not (len(self.interval) == 2 and 0 <= self.interval[0] < self.interval[1] <= 1):
            raise ValueError(f"guidance_interval is {self.interval}, expected (from, to) with 0 <= from < to <= 1")
        for name, weight in (("text", self.text), ("video", self.video)):
            if weight is not None and not math.isfinite(weight):
                raise ValueError(f"guidance_{name} is {weight}, expected a number, such as 3.5")
        if self.loudness is not None and not 0 <= self.loudness < float("inf"):
            raise ValueError(f"guidance_loudness is {self.loudness}, expected 0 (as learnt) or more, such as 2")

    @classmethod
    def from_settings(cls, settings: Mapping[str, float]) -> "Guidance":
        """The weights among a pipeline's or a run's settings, over the whole schedule; see `settings`."""
        return cls(
            text=settings["guidance_text"],
            video=settings["guidance_video"],
            loudness=settings["guidance_loudness"],
        )

    def settings(self) -> dict[str, Any]:
        """The weights under the names that settings, saved models and reports have for them."""
        return {"guidance_text": self.text, "guidance_video": self.video, "guidance_loudness": self.loudness}

    def resolved(self, own: "Guidance", *, has_video: bool = True) -> "Guidance":
        """With the model's own weights in place of None.

        Without a video s_video is 0, and a model whose own s_text is 0 takes its own s_video for it: text and nothing is
        then all that steers.

        Args:
            own: the model's, with every weight.
            has_video: whether there is a video.
        """
        own_text, own_video = (own.text, own.video) if has_video else (own.text or own.video, 0.0)
        return replace(
            self,
            text=own_text if self.text is None else self.text,
            video=own_video if self.video is None else self.video,
            loudness=own.loudness if self.loudness is None else self.loudness,
        )

    @property
    def weights(self) -> dict[str, float]:
        """Branch -> its weight in Eq. (12), collected by prediction; the sum is 1. Only with every weight there."""
        text, video, loudness = self.text, self.video, self.loudness
        assert text is not None and video is not None and loudness is not None, "use `resolved` first"
        rest = 1.0 - text - video
        return {
            # 1 - 0.3 - 0.7 leaves 1e-17, which is no reason for an evaluation.
            "uncond": 0.0 if math.isclose(rest, 0.0, abs_tol=1e-9) else rest,
            "text": float(text),
            "text_video": float(video + loudness),
            "no_loudness": -float(loudness),
        }

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches that `guided_noise` reads, in order; one whose weight is 0 is not evaluated."""
        weights = self.weights
        return tuple(branch for branch in BRANCHES if weights[branch] != 0)


PAPER_GUIDANCE = Guidance()
"""The paper's weights."""
OWN_GUIDANCE = Guidance(text=None, video=None, loudness=None)
"""The model's own weights, whatever they are."""


def guided_noise(predictions: "Mapping[str, Tensor]", guidance: Guidance) -> "Tensor":
    """The guided noise: eps(0,0) + s_text [eps(text,0) - eps(0,0)] + s_video [eps(text,video) - eps(0,0)].

    With s_loudness, another s_loudness [eps(text,video) - eps(text,video, no loudness)] on top, which is not the paper's.

    Both differences are taken from the unconditional prediction, as Eq. (12) is printed. The text therefore acts with a
    total weight of about s_text + s_video; weights 0 and 1 give the prediction with all instructions as it is.

    Args:
        predictions: branch -> its prediction, all of one shape; those of `guidance.branches` are needed.
        guidance: with every weight.

    Raises:
        ValueError: when a prediction with a weight is missing or has another shape.
    """
    weights, branches = guidance.weights, guidance.branches
    for branch in branches:
        if branch not in predictions:
            raise ValueError(
                f"guidance weight of branch {branch} is {weights[branch]}, expected its prediction and got none"
            )
        if predictions[branch].shape != predictions[branches[0]].shape:
            raise ValueError(
                f"prediction of branch {branch} has shape {tuple(predictions[branch].shape)}, "
                f"expected {tuple(predictions[branches[0]].shape)} as branch {branches[0]}"
            )
    first, *others = (weights[branch] * predictions[branch] for branch in branches)
    return sum(others, start=first)


def dual_guidance(
    eps_uncond: "Tensor | None",
    eps_text: "Tensor | None",
    eps_text_video: "Tensor | None",
    s_text: float,
    s_video: float,
) -> "Tensor":
    """Eq. (12) with its symbols as arguments; `guided_noise` with the paper's three branches.

    Args:
        eps_uncond: prediction without text and video, any shape; None where s_text + s_video is 1.
        eps_text: prediction with the text only, same shape; None where s_text is 0.
        eps_text_video: prediction with text and video, same shape; None where s_video is 0.
        s_text: weight of the text.
        s_video: weight of text and video together.

    Raises:
        ValueError: when a prediction with a weight is missing or has another shape.
    """
    named = {"uncond": eps_uncond, "text": eps_text, "text_video": eps_text_video}
    predictions = {branch: prediction for branch, prediction in named.items() if prediction is not None}
    return guided_noise(predictions, Guidance(s_text, s_video))
