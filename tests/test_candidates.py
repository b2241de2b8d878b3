"""Ranking of candidates: the mean of what is known, CLAP's cosine, undefined scores."""

from pathlib import Path

import numpy as np
import pytest
import torch

from drawaudio_model.clip_format import CLIP_SAMPLES, SAMPLE_RATE
from drawaudio_model.generation.candidates import clap_score, curve_score, published_front_end, rank
from drawaudio_model.loudness import loudness_signal
from drawaudio_model.mel import log_mel, normalize_waveform
from tests.tiny_pipeline import text_parts


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * SAMPLE_RATE)).astype(np.float32)


def test_rank_takes_the_mean_of_what_is_known() -> None:
    curve, clap = np.array([0.2, 0.9, 0.4]), np.array([0.8, 0.3, 0.5])
    both = rank(curve, clap, 3)
    assert both.order.tolist() == [1, 0, 2] and both.scores == pytest.approx([0.6, 0.5, 0.45])
    assert both.curve == pytest.approx([0.9, 0.2, 0.4]) and both.clap == pytest.approx([0.3, 0.8, 0.5])
    assert rank(curve, None, 3).order.tolist() == [1, 2, 0]
    assert rank(None, clap, 3).order.tolist() == [0, 2, 1]
    none = rank(None, None, 3)
    assert none.order.tolist() == [0, 1, 2] and none.scores is None


def test_an_undefined_score_counts_for_nothing() -> None:
    ranked = rank(np.array([np.nan, 0.1]), np.array([0.3, 0.9]), 2)
    assert ranked.order.tolist() == [1, 0] and ranked.scores == pytest.approx([0.5, 0.3])
    constant = rank(np.full(2, np.nan), None, 2)
    assert constant.order.tolist() == [0, 1] and np.isnan(constant.scores).all()


def test_a_sound_of_a_tenth_of_a_second_has_no_correlation() -> None:
    """Its curve is one point; the sound is made, and kept."""
    assert np.isnan(curve_score(noise(0.1), np.array([0.3], np.float32)))
    assert np.isfinite(curve_score(noise(0.2), np.array([0.3, 0.1], np.float32)))


def test_the_sound_that_follows_the_curve_scores_best() -> None:
    rise = np.linspace(0, 1, CLIP_SAMPLES, dtype=np.float32)
    curve = loudness_signal(noise(8) * rise, seconds=8)
    assert curve_score(noise(8, seed=1) * rise, curve) > 0.95
    assert curve_score(noise(8, seed=1) * rise[::-1], curve) < -0.9
    assert curve_score(noise(8, seed=1) * rise, curve[:53]) > 0.9


def test_clap_scores_are_the_cosine_of_its_two_branches() -> None:
    torch.manual_seed(0)
    clap = text_parts()["text_encoder"].eval()
    text = torch.nn.functional.normalize(torch.randn(clap.config.projection_dim), dim=0)
    sound = noise(8)
    with torch.no_grad():
        heard = clap.get_audio_features(input_features=log_mel(normalize_waveform(sound))[None, None]).pooler_output
    expected = float(heard[0] @ text)
    assert clap_score(clap, None, sound, text) == pytest.approx(expected, abs=1e-5)
    # A longer sound is the mean of its pieces.
    other = noise(8, seed=1)
    pieces = [clap_score(clap, None, piece, text) for piece in (sound, other)]
    assert clap_score(clap, None, np.concatenate([sound, other]), text) == pytest.approx(np.mean(pieces), abs=1e-5)


def test_a_published_clap_hears_through_its_own_front_end(tmp_path: Path) -> None:
    torch.manual_seed(0)
    clap = text_parts()["text_encoder"].eval()
    text = torch.nn.functional.normalize(torch.randn(clap.config.projection_dim), dim=0)
    extractor = published_front_end(tmp_path / "none")
    assert (extractor.sampling_rate, extractor.truncation, extractor.padding) == (48_000, "rand_trunc", "repeatpad")
    extractor.save_pretrained(tmp_path)
    assert published_front_end(tmp_path).to_dict() == extractor.to_dict()
    first, second = (clap_score(clap, extractor, noise(seconds), text) for seconds in (8, 2))
    assert -1 <= first <= 1 and -1 <= second <= 1
    assert clap_score(clap, extractor, noise(8), text) == first
    assert first != pytest.approx(clap_score(clap, None, noise(8), text), abs=1e-6)
