"""The result of a call of the pipeline."""

from dataclasses import dataclass, field

import numpy as np
from diffusers.utils import BaseOutput
from torch import Tensor

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.generation.windows import OVERLAP_SECONDS


@dataclass(frozen=True, eq=False)
class Take:
    """One sound and what it was decoded from: what a section can be made anew in (`DrawAudioPipeline.regenerate`)."""

    waveform: np.ndarray
    """(samples,) float32."""
    latents: Tensor | None = None
    """(C, N, K) of whole windows, N latent frames; None: the autoencoder makes them of the waveform."""
    overlap_seconds: int = OVERLAP_SECONDS
    """Of the windows that it was sampled in."""
    sample_rate: int = SAMPLE_RATE
    """Of the waveform, in Hz."""

    @property
    def seconds(self) -> float:
        """Length of the waveform."""
        return len(self.waveform) / self.sample_rate


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
        latents: (B, C, N, K) float32 what the rows were decoded from, on the CPU, of whole windows; None unless the call
            was to keep them.
        overlap_seconds: least seconds that two windows share.
        sample_rate: of the rows, in Hz: 16 kHz, or that of the sound in which a section was made anew.
    """

    audios: np.ndarray
    seeds: list[int]
    curve: np.ndarray | None = None
    notices: list[str] = field(default_factory=list)
    scores: np.ndarray | None = None
    curve_scores: np.ndarray | None = None
    clap_scores: np.ndarray | None = None
    peaks: list[float] = field(default_factory=list)
    latents: Tensor | None = None
    overlap_seconds: int = OVERLAP_SECONDS
    sample_rate: int = SAMPLE_RATE

    def take(self, row: int = 0) -> Take:
        """One row with its latents, where they were kept."""
        latents = None if self.latents is None else self.latents[row]
        return Take(self.audios[row], latents, self.overlap_seconds, self.sample_rate)
