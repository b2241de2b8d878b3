"""The sounds beside a model's that only seem to obey: each has of the clip what it is said to have, and no more."""

from pathlib import Path

import numpy as np
import pytest

from drawaudio_model.clip_format import CLIP_SECONDS, SAMPLE_RATE, SOURCE_SAMPLES
from drawaudio_model.evaluation.unsteered_sounds import (
    bursts_of_curve,
    curve_onsets,
    is_on_time,
    mean_spectrum,
    noun_spectra,
    nouns_of,
    obeys,
)
from drawaudio_model.loudness import loudness_signal, noise_of_curve
from drawaudio_model.media import encode_flac
from drawaudio_model.metrics import level_error_db, loudness_correlation, match_onsets, onset_times
from drawaudio_model.shard import EXCLUDE_FILE, ShardWriter
from drawaudio_model.training_sample import TrainingSample, encode_sample
from tests.test_evaluate import sample

HITS = (0.6, 1.7, 2.35, 4.0, 5.25, 7.1)


def struck(seconds: tuple[float, ...] = HITS, *, decay: int = 800) -> np.ndarray:
    """Bursts of noise that die away, to a third within `decay` samples."""
    waveform, rng = np.zeros(CLIP_SECONDS * SAMPLE_RATE), np.random.default_rng(0)
    for number, second in enumerate(seconds):
        start = round(second * SAMPLE_RATE)
        length = min(5 * decay, len(waveform) - start)
        burst = 0.1 * (1 + number % 3) * np.exp(-np.arange(length) / decay) * rng.standard_normal(length)
        waveform[start : start + length] += burst
    return waveform.astype(np.float32)


def tone(hertz: float, level: float = 0.3, samples: int = SOURCE_SAMPLES) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(samples) / SAMPLE_RATE)).astype(np.float32)


def loudest_hertz(spectrum: np.ndarray) -> float:
    return float(spectrum.argmax()) / (len(spectrum) - 1) * SAMPLE_RATE / 2


def test_the_rises_of_a_loudness_signal_are_where_its_sound_begins() -> None:
    found = curve_onsets(loudness_signal(struck(), seconds=CLIP_SECONDS))
    assert len(found) == len(HITS) and np.abs(found - HITS).max() < 0.1
    assert len(curve_onsets(np.zeros(80))) == 0
    assert curve_onsets(np.full(80, 0.2)).tolist() == [pytest.approx(0.15)], "it begins with the clip"
    assert len(curve_onsets(np.linspace(0, 0.3, 80))) == 0, "what swells has no onset"


def test_bursts_have_the_onsets_and_the_level_of_their_curve_and_not_its_shape() -> None:
    curve = loudness_signal(struck(), seconds=CLIP_SECONDS)
    bursts = bursts_of_curve(curve)
    assert match_onsets(HITS, onset_times(bursts)).f1 == 1
    assert np.sqrt(np.square(bursts).mean()) == pytest.approx(np.sqrt(np.square(curve).mean()), rel=1e-5)
    lasting = np.concatenate([np.zeros(20), np.full(60, 0.2)])
    assert loudness_correlation(lasting, loudness_signal(bursts_of_curve(lasting), seconds=8)).pearson < 0.5
    assert not bursts_of_curve(np.zeros(80)).any()


def test_noise_of_a_spectrum_has_that_spectrum_and_its_curves_level() -> None:
    spectrum = mean_spectrum([tone(500), tone(3000)])
    curve = np.concatenate([np.full(40, 0.05), np.full(40, 0.3)])
    noise = noise_of_curve(curve, spectrum=spectrum)
    found = mean_spectrum([noise])
    white = mean_spectrum([noise_of_curve(curve)])
    assert np.corrcoef(found, spectrum)[0, 1] > 0.9 > 0.3 > np.corrcoef(white, spectrum)[0, 1]
    measured = loudness_signal(noise, seconds=CLIP_SECONDS)
    assert level_error_db(curve, measured) < 2 and loudness_correlation(curve, measured).pearson > 0.9
    np.testing.assert_array_equal(
        noise_of_curve(curve, spectrum=np.ones(3)), noise_of_curve(curve, spectrum=np.full(2, 2.0))
    )


def test_a_mean_spectrum_counts_each_sound_as_one_whatever_its_level() -> None:
    both = mean_spectrum([tone(500, level=0.9), tone(3000, level=0.001)])
    places = [round(hertz / 8000 * 512) for hertz in (500, 3000)]
    assert both[places[0]] == pytest.approx(both[places[1]], rel=0.01) and both.sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="no sound to take a spectrum of"):
        mean_spectrum([np.zeros(16000, np.float32)])


def named(key: str, nouns: list[str], waveform: np.ndarray | None) -> TrainingSample:
    kept = sample(0)
    facts = {**kept.facts, "noun_phrases": nouns, "label": "drum"}
    flac = None if waveform is None else encode_flac(waveform)
    return TrainingSample(**{**vars(kept), "key": key, "facts": facts, "flac": flac})


def test_a_clip_has_the_spectrum_of_its_own_nouns_training_sounds(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train-000000", inputs={}) as shard:
        rows = [("a", ["a red bell"], 500), ("b", ["Bell"], 500), ("c", ["two horns"], 3000), ("d", ["a bell"], 7000)]
        for name, nouns, hertz in rows:
            shard.add(f"{name}_000000", encode_sample(named(f"{name}_000000", nouns, tone(hertz))))
        shard.commit()
    with ShardWriter(tmp_path, "test-000000", inputs={}) as shard:  # no training sound
        shard.add("t_000000", encode_sample(named("t_000000", ["a bell"], tone(6000))))
        shard.commit()
    (tmp_path / EXCLUDE_FILE).write_text("d_000000\n")
    asked = {"one": ["the loud bell"], "two": ["horns"], "both": ["bell", "horns"], "none": ["a whale"]}
    found = noun_spectra(tmp_path, [named(key, nouns, None) for key, nouns in asked.items()])
    assert loudest_hertz(found["one"]) == pytest.approx(500, abs=16)
    assert loudest_hertz(found["two"]) == pytest.approx(3000, abs=16)
    for hertz in (6000, 7000):  # of the test split's clip, and of one that was taken back
        assert found["one"][round(hertz / 8000 * 512)] < 1e-3 * found["one"].max()
    np.testing.assert_allclose(found["both"], (found["one"] + found["two"]) / 2)
    np.testing.assert_allclose(found["none"], found["both"])
    assert noun_spectra(tmp_path, [named("none", ["a whale"], None)]) == {}
    assert nouns_of({"noun_phrases": [], "label": "Church Bell"}) == ["church bell"]


def test_right_at_once_is_right_in_each() -> None:
    assert obeys(0.75, 3.0) and not obeys(0.74, 3.0) and not obeys(0.75, 3.01) and not obeys(float("nan"), 0.0)
    assert is_on_time(0.5) and not is_on_time(0.49) and not is_on_time(float("nan"))
