"""The ranking of generated sounds by how well they follow the curve (correlation) and the text (CLAP).

Legend: N candidates, P loudness points, D width of CLAP.
"""

from pathlib import Path
from typing import NamedTuple

import librosa
import numpy as np
import torch
from torch import Tensor
from transformers import ClapFeatureExtractor, ClapModel

from drawaudio_model.clip_format import CLIP_SAMPLES, LOUDNESS_FPS, SAMPLE_RATE
from drawaudio_model.loudness import loudness_signal
from drawaudio_model.mel import log_mel, normalize_waveform
from drawaudio_model.metrics.loudness_correlation import loudness_correlation
from drawaudio_model.text import pooled_embedding


def published_front_end(folder: Path | None) -> ClapFeatureExtractor:
    """The front end of AudioLDM2's CLAP: the folder's where there is one, else that of the checkpoint it came from
    (laion/clap-htsat-unfused), which is the class's own but for one setting."""
    if folder is not None and folder.is_dir():
        return ClapFeatureExtractor.from_pretrained(folder)
    return ClapFeatureExtractor(truncation="rand_trunc")


class Ranking(NamedTuple):
    """Candidates from best to worst; scores are in that order."""

    order: np.ndarray
    """(N,) index of each candidate among those given."""
    scores: np.ndarray | None
    """(N,) mean of the scores below, of those that there are; None where there is neither."""
    curve: np.ndarray | None
    """(N,) Pearson correlation of the commanded and the measured curve, -1 to 1; NaN where one is constant."""
    clap: np.ndarray | None
    """(N,) cosine of CLAP's embeddings of the sound and of the text, -1 to 1."""


def rank(curve_scores: np.ndarray | None, clap_scores: np.ndarray | None, count: int) -> Ranking:
    """Ranks `count` candidates by the mean of the scores that there are; ties keep their order."""
    measured = [scores for scores in (curve_scores, clap_scores) if scores is not None]
    if not measured:
        return Ranking(np.arange(count), None, None, None)
    stacked = np.stack(measured)  # (1 or 2, N)
    defined = np.isfinite(stacked)
    total = np.where(defined, stacked, 0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
    total[~defined.any(axis=0)] = np.nan
    order = np.argsort(-total, kind="stable")
    in_order = [None if scores is None else scores[order] for scores in (curve_scores, clap_scores)]
    return Ranking(order, total[order], *in_order)


def curve_score(waveform: np.ndarray, curve: np.ndarray) -> float:
    """Pearson correlation of a curve (P,) with that of a sound, whose last tenth of a second is filled up with silence.

    NaN where one of them is constant, as every curve of a single point is.
    """
    if len(curve) < 2:
        return float("nan")
    whole = librosa.util.fix_length(waveform, size=len(curve) * SAMPLE_RATE // LOUDNESS_FPS)
    return loudness_correlation(curve, loudness_signal(whole, seconds=len(curve) / LOUDNESS_FPS)).pearson


@torch.no_grad()
def clap_score(
    clap: ClapModel, feature_extractor: ClapFeatureExtractor | None, waveform: np.ndarray, text: Tensor
) -> float:
    """Cosine of CLAP's embeddings of a sound (16 kHz, any length) and of a text (D,), averaged over its 8 s pieces.

    Args:
        clap: both branches.
        feature_extractor: the front end of a published CLAP; None for one that reads this project's own log-mels.
        waveform: (samples,).
        text: CLAP's embedding of the text, L2 norm 1.
    """
    count = max(round(len(waveform) / CLIP_SAMPLES), 1)
    starts = np.linspace(0, max(len(waveform) - CLIP_SAMPLES, 0), count).astype(int)
    pieces = [waveform[start : start + CLIP_SAMPLES] for start in starts]
    if feature_extractor is None:
        # Such a CLAP has seen whole clips only; a shorter one ended in silence there, too.
        whole = np.stack([librosa.util.fix_length(piece, size=CLIP_SAMPLES) for piece in pieces])
        inputs = {"input_features": log_mel(normalize_waveform(whole))[:, None]}
    else:
        rate = feature_extractor.sampling_rate
        resampled = [librosa.resample(piece, orig_sr=SAMPLE_RATE, target_sr=rate) for piece in pieces]
        inputs = dict(feature_extractor(resampled, sampling_rate=rate, return_tensors="pt"))
    placed = {
        name: value.to(clap.device, clap.dtype if value.is_floating_point() else None) for name, value in inputs.items()
    }
    embedded = pooled_embedding(clap.get_audio_features(**placed)).float()  # (pieces, D), L2 norm 1
    return float((embedded @ text.to(embedded)).mean())
