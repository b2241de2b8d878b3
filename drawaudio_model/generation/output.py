"""The result of a call of the pipeline."""

from dataclasses import dataclass, field

import numpy as np
from diffusers.utils import BaseOutput


@dataclass
class DrawAudioOutput(BaseOutput):
    """Generated sounds.

    Attributes:
        audios: (B, samples) float32 at 16 kHz, one row per candidate, the best first.
        seeds: the seed that gives each row.
        curve: (P,) the loudness signal of the instructions, as far as the model can follow it, or None.
        notices: sentences about instructions that go beyond the model's training; empty without any.
        scores: (B,) what the rows are ranked by: the mean of the two below, of those that are known; None without.
        curve_scores: (B,) how well each row follows the curve (Pearson correlation), or None without a curve.
        clap_scores: (B,) how well each row fits the text (cosine of CLAP's embeddings), or None without a text or for a
            single candidate.
        peaks: largest magnitude of each row, as the vocoder made it: of 1 and less fits a file, more is beyond full scale
            and was not limited here.
    """

    audios: np.ndarray
    seeds: list[int]
    curve: np.ndarray | None = None
    notices: list[str] = field(default_factory=list)
    scores: np.ndarray | None = None
    curve_scores: np.ndarray | None = None
    clap_scores: np.ndarray | None = None
    peaks: list[float] = field(default_factory=list)
