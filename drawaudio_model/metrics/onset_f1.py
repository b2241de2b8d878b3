"""Do the sounds start when they should?"""

from collections.abc import Sequence
from typing import NamedTuple

import librosa
import numpy as np

from drawaudio_model.clip_format import HOP_LENGTH, SAMPLE_RATE

WINDOW_SECONDS = 0.1
"""A generated onset hits a real one within this time (CondFoleyGen; MMAudio's script uses 0.3 s, so its numbers differ)."""
PEAK_DELTA = 0.3
"""Least prominence of a peak of the normalised onset strength (CondFoleyGen, SyncFusion)."""
_APART_SECONDS = 0.05
"""Onsets nearer than this are one (CondFoleyGen's suppression window)."""


class OnsetScore(NamedTuple):
    """Precision, recall and F1 of the generated onsets, with the counts behind them."""

    f1: float
    precision: float
    recall: float
    hits: int
    reference_count: int
    generated_count: int


def onset_f1(
    reference: np.ndarray, generated: np.ndarray, *, window_seconds: float = WINDOW_SECONDS, delta: float = PEAK_DELTA
) -> OnsetScore:
    """Agreement of a generated waveform's onsets with the real one's, each matched to at most one other.

    All onsets of both count, unlike CondFoleyGen's script, which stops when the predictions run out.

    Args:
        reference: (samples,) real waveform at 16 kHz.
        generated: (samples,) generated waveform.
        window_seconds: largest distance of a hit.
        delta: see `onset_times`.

    Raises:
        ValueError: for waveforms that are not one axis of finite values.
    """
    return match_onsets(
        onset_times(reference, delta=delta), onset_times(generated, delta=delta), window_seconds=window_seconds
    )


def onset_times(waveform: np.ndarray, *, delta: float = PEAK_DELTA) -> np.ndarray:
    """Seconds at which a sound starts: peaks of librosa's spectral flux at 10 ms, at least 50 ms apart.

    Args:
        waveform: (samples,) at 16 kHz.
        delta: how far a peak must stand above its neighbourhood, in the strength normalised to [0, 1] over the clip.

    Raises:
        ValueError: for another shape or values that are not finite.
    """
    waveform = np.asarray(waveform, np.float32)
    if waveform.ndim != 1 or not len(waveform) or not np.isfinite(waveform).all():
        raise ValueError(f"waveform is {waveform.shape}, expected one axis of finite samples at {SAMPLE_RATE} Hz")
    return librosa.onset.onset_detect(
        y=waveform,
        sr=SAMPLE_RATE,
        hop_length=HOP_LENGTH,
        units="time",
        delta=delta,
        wait=round(_APART_SECONDS * SAMPLE_RATE / HOP_LENGTH),
    )


def match_onsets(
    reference: Sequence[float] | np.ndarray,
    generated: Sequence[float] | np.ndarray,
    *,
    window_seconds: float = WINDOW_SECONDS,
) -> OnsetScore:
    """Score of two lists of times with as many one-to-one matches within the window as there can be.

    Two empty lists score 1 (nothing to hit, nothing wrong); one empty list scores 0.
    """
    reference, generated = np.sort(np.asarray(reference, float)), np.sort(np.asarray(generated, float))
    hits = i = j = 0
    # On a line with one tolerance, matching the earliest pair that fits is optimal.
    while i < len(reference) and j < len(generated):
        difference = generated[j] - reference[i]
        if abs(difference) <= window_seconds + 1e-9:
            hits, i, j = hits + 1, i + 1, j + 1
        elif difference < 0:
            j += 1
        else:
            i += 1
    if not len(reference) and not len(generated):
        return OnsetScore(1.0, 1.0, 1.0, 0, 0, 0)
    precision = hits / len(generated) if len(generated) else 0.0
    recall = hits / len(reference) if len(reference) else 0.0
    f1 = 2 * hits / (len(reference) + len(generated))
    return OnsetScore(f1, precision, recall, hits, len(reference), len(generated))
