"""Mixes: sums, gains, true peaks, the limiter, and track lists."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.signal

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.generation.mixing import CEILING_DB, Track, mix, read_tracks
from drawaudio_model.levels.limiter import limit, true_peak
from drawaudio_model.levels.mixdown import pan_gains
from drawaudio_model.loudness import loudness_signal

CEILING = 10 ** (CEILING_DB / 20)


def tone(hertz: float, peak: float, seconds: float = 2.0, phase: float = 0.0) -> np.ndarray:
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (peak * np.sin(2 * np.pi * hertz * time + phase)).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 20, 21, 16001])
def test_true_peaks_are_those_of_scipy_s_resampling(samples: int) -> None:
    waveform = np.random.default_rng(samples).normal(size=samples)
    expected = np.abs(scipy.signal.resample_poly(waveform, 4, 1)).max()
    assert true_peak(waveform) == pytest.approx(expected, rel=1e-12)


def test_a_true_peak_lies_between_the_samples() -> None:
    between = tone(SAMPLE_RATE / 4, 1.0, phase=np.pi / 4)  # every sample at 0.707
    assert np.abs(between).max() == pytest.approx(2**-0.5, abs=1e-3)
    assert true_peak(between[1000:-1000]) == pytest.approx(1.0, abs=0.05)


def test_a_sum_below_the_ceiling_is_left_alone() -> None:
    low, high = tone(200, 0.2), tone(900, 0.3, seconds=1.0)
    mixed = mix([low, high], [0.0, -6.0])
    expected = low.astype(np.float64)
    expected[: len(high)] += high * 10 ** (-6 / 20)
    assert mixed.waveform == pytest.approx(expected, abs=1e-6)
    assert mixed.reduction_db == 0 and mixed.waveform.dtype == np.float32
    assert 10 ** (mixed.peak_db / 20) == pytest.approx(np.abs(expected).max(), abs=0.01)


@pytest.mark.parametrize("gain_db", [1.0, 6.0, 20.0])
def test_no_mix_exceeds_the_ceiling_and_what_is_quiet_stays(gain_db: float) -> None:
    rng = np.random.default_rng(0)
    quiet = 0.05 * rng.standard_normal(2 * SAMPLE_RATE)
    quiet = quiet.astype(np.float32)
    burst = np.zeros_like(quiet)
    burst[SAMPLE_RATE : SAMPLE_RATE + 800] = rng.standard_normal(800)
    mixed = mix([quiet, burst], [0.0, gain_db])
    assert true_peak(mixed.waveform) <= CEILING * (1 + 1e-6)
    assert mixed.reduction_db == pytest.approx(mixed.peak_db - CEILING_DB, abs=0.5)
    far = slice(0, SAMPLE_RATE - 1000)
    assert mixed.waveform[far] == pytest.approx(quiet[far], rel=0.02, abs=1e-4)


def test_the_limiters_gain_has_no_step() -> None:
    loud = np.concatenate([tone(100, 0.5), tone(100, 2.0), tone(100, 0.5)])
    limited, smallest = limit(loud)
    heard = np.abs(loud) > 0.05
    gain = np.ones(len(loud))
    gain[heard] = limited[heard] / loud[heard]
    assert smallest == pytest.approx(CEILING / 2, rel=0.01)
    assert np.abs(np.diff(gain[heard])).max() < 0.06  # across the samples that were left out, too
    assert gain.min() >= smallest - 1e-6 and gain.max() <= 1 + 1e-6


def test_a_gain_of_minus_six_decibels_halves_the_loudness() -> None:
    one = tone(300, 0.4)
    loud, soft = (loudness_signal(mix([one], [gain]).waveform, seconds=2) for gain in (0.0, -6.0206))
    assert soft[3:-3] == pytest.approx(loud[3:-3] / 2, rel=1e-3)


@pytest.mark.parametrize(("pan", "left", "right"), [(-1, 2**0.5, 0), (0, 1, 1), (1, 0, 2**0.5)])
def test_a_pan_keeps_the_power_and_the_middle_is_left_alone(pan: float, left: float, right: float) -> None:
    assert pan_gains(pan) == pytest.approx((left, right), abs=1e-12)
    for between in np.linspace(-1, 1, 21):
        assert sum(gain**2 for gain in pan_gains(between)) == pytest.approx(2)
    lefts, rights = zip(*map(pan_gains, np.linspace(-1, 1, 21)), strict=True)
    assert (np.diff(lefts) < 0).all() and (np.diff(rights) > 0).all()


def test_a_mix_has_two_channels_where_something_stands_aside_and_one_else() -> None:
    low, high = tone(200, 0.2), tone(900, 0.3, seconds=1.0)
    mixed = mix([low, high], [0.0, -6.0], [0.0, -1.0])
    assert mixed.waveform.shape == (len(low), 2) and mixed.waveform.dtype == np.float32
    np.testing.assert_allclose(mixed.waveform[:, 1], low, atol=1e-6)
    expected = low.astype(np.float64)
    expected[: len(high)] += 2**0.5 * high * 10 ** (-6 / 20)
    np.testing.assert_allclose(mixed.waveform[:, 0], expected, atol=1e-6)
    plain, middle = mix([low, high], [0.0, -6.0]).waveform, mix([low, high], [0.0, -6.0], [0.0, 0.0]).waveform
    assert plain.ndim == 1 and (plain == middle).all()


def test_both_channels_are_turned_down_together() -> None:
    loud, soft = tone(100, 1.5), tone(300, 0.1)
    mixed = mix([loud, soft], [0.0, 0.0], [1.0, -1.0])
    assert true_peak(mixed.waveform) <= CEILING * (1 + 1e-6)
    assert mixed.peak_db == pytest.approx(20 * np.log10(1.5 * 2**0.5), abs=0.1)
    left, right = mixed.waveform.T.astype(np.float64)
    audible = (np.abs(soft) > 0.05) & (np.abs(loud) > 0.5)
    gains = left[audible] / soft[audible], right[audible] / loud[audible]
    np.testing.assert_allclose(*gains, rtol=1e-4)
    assert gains[0].min() < 0.6


def test_wrong_mixes_are_named() -> None:
    with pytest.raises(ValueError, match="0 stems, 0 gains"):
        mix([], [])
    with pytest.raises(ValueError, match="1 stems, 2 gains"):
        mix([tone(1, 1)], [0.0, 0.0])
    with pytest.raises(ValueError, match="2 pans"):
        mix([tone(1, 1)], [0.0], [0.0, 0.0])


def test_tracks_are_read_with_paths_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "curve.csv").write_text("time_seconds,level\n0,0.1\n")
    rows = [
        {"text": "A car, passing!", "mask": "car", "loudness": "curve.csv", "gain_db": -3, "pan": 0.5},
        {"mask": [0.1, 0.2, 0.3, 0.4], "loudness": [[0, 0.1], [2, 0.3]], "mute": True, "seed": 5},
        {"mask": [[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 1, 1]]},
    ]
    (tmp_path / "tracks.json").write_text(json.dumps(rows))
    car, muted, two = read_tracks(tmp_path / "tracks.json")
    assert car == Track("A car, passing!", mask="car", loudness=str(tmp_path / "curve.csv"), gain_db=-3, pan=0.5)
    assert car.name == "a-car-passing" and two.name == "track"
    assert muted.mask == (0.1, 0.2, 0.3, 0.4) and muted.loudness == [(0, 0.1), (2, 0.3)] and muted.mute
    assert two.mask == [(0.1, 0.2, 0.3, 0.4), (0.5, 0.5, 1, 1)]
    assert not {"gain_db", "pan", "mute"} & {*car.instructions()}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[", "is no JSON"),
        ("[]", "holds no list of tracks"),
        ('{"text": "a"}', "holds no list of tracks"),
        ('[{"words": "a"}]', "track 1 of .* has 'words', expected only text, negative_text"),
        ('[{"text": "a"}, {"text": 3}]', "track 2 of .*: text is 3, expected a text"),
        ('[{"gain_db": "loud"}]', "gain_db is 'loud', expected -120 to 120 decibels"),
        ('[{"pan": 1.1}]', "pan is 1.1, expected -1 .left. to 1 .right."),
        ('[{"pan": "left"}]', "pan is 'left'"),
        ('[{"mute": 1}]', "mute is 1, expected true or false"),
        ('[{"seed": 1.5}]', "seed is 1.5, expected a whole number"),
    ],
)
def test_wrong_tracks_are_named(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "tracks.json").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_tracks(tmp_path / "tracks.json")
    with pytest.raises(ValueError, match="does not exist"):
        read_tracks(tmp_path / "other.json")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tracks_take_what_the_command_line_takes(encoding: str, tmp_path: Path) -> None:
    rows = [
        {"text": "a bell rings", "mask": "0.5,0.3,1,0.75", "mask_invert": True, "loudness": "0:0,1.5:0.3,2:0"},
        {"mask": "a red bell", "loudness": "curve.csv"},
    ]
    (tmp_path / "curve.csv").write_text("")
    (tmp_path / "tracks.json").write_bytes(json.dumps(rows).encode(encoding))
    bell, other = read_tracks(tmp_path / "tracks.json")
    assert bell.mask == (0.5, 0.3, 1.0, 0.75) and bell.mask_invert
    assert bell.loudness == [(0.0, 0.0), (1.5, 0.3), (2.0, 0.0)]
    assert other.mask == "a red bell" and other.loudness == str(tmp_path / "curve.csv")
    assert bell.instructions() != Track(**{**bell.__dict__, "mask_invert": False}).instructions()
    assert "mask_invert" not in other.instructions()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[{"text": "a", "mask": "0.5,0.3,1"}]', "track 1 of .*3 numbers of 3 parts"),
        ('[{"text": "a", "mask": ""}]', "track 1 of .*: mask '' is empty; give a path, a box or the text of a thing"),
        ('[{"text": "a", "loudness": " "}]', "track 1 of .*: loudness ' ' is empty; give a curve"),
        ('[{"text": "a", "loudness": "0:x"}]', "track 1 of .*neither a file nor points"),
        ('[{"text": "a", "mask_invert": true}]', "mask_invert is true without a mask"),
        ('[{"text": "a", "mask_invert": 1}]', "mask_invert is 1, expected true or false"),
        ('[{"text": "a", "gain_db": true}]', "gain_db is True"),
        ('[{"text": "a", "gain_db": NaN}]', "gain_db is nan"),
        ('[{"text": "a", "seed": false}]', "seed is False"),
        ('[{"text": "a", "text": "b"}]', "an object has 'text' twice"),
        ("[" * 100_000, "lists within lists"),
    ],
)
def test_tracks_that_cannot_be_are_refused(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "tracks.json").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_tracks(tmp_path / "tracks.json")
