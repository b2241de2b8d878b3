"""The last decibels: a sound comes to its curve, within its limits, and one that is there already stays."""

import numpy as np
import pytest

from drawaudio_model.levels.matching import CEILING, FLOOR_DB, fit_level, follow_curve, match_levels, shortfall_notice
from drawaudio_model.loudness import loudness_signal
from drawaudio_model.metrics import level_error_db, loudness_correlation, silence_db

NOISE = 0.1 * np.random.default_rng(0).standard_normal(128_000).astype(np.float32)


def ramps() -> np.ndarray:
    """(80,) two triangles with silence between them."""
    times = (np.arange(80) + 0.5) / 10
    return np.interp(times, [0.5, 2, 3.5, 4.5, 6, 7.5], [0, 0.2, 0, 0, 0.05, 0]).astype(np.float32)


def test_noise_at_one_level_comes_to_the_drawn_curve() -> None:
    curve = ramps()
    before = loudness_signal(NOISE, seconds=8)
    assert level_error_db(curve, before) > 6
    measured = loudness_signal(match_levels(NOISE, curve).waveform, seconds=8)
    assert level_error_db(curve, measured) < 0.5
    assert loudness_correlation(curve, measured).pearson > 0.99
    assert silence_db(curve, measured) < -50


def test_a_sound_at_its_own_curve_stays_as_it_is() -> None:
    sound = NOISE * np.interp(np.arange(128_000), [0, 64_000, 128_000], [0.2, 1, 0.4]).astype(np.float32)
    matched = match_levels(sound, loudness_signal(sound, seconds=8))
    np.testing.assert_allclose(matched.waveform, sound, atol=1e-5)
    assert np.abs(matched.gain_db).max() < 0.01


def test_it_turns_up_by_its_limit_and_no_more() -> None:
    quiet = 0.001 * NOISE
    matched = match_levels(quiet, np.full(80, 0.2, np.float32), max_boost_db=10)
    np.testing.assert_allclose(matched.gain_db, 10)
    np.testing.assert_allclose(matched.waveform, quiet * 10**0.5, rtol=1e-4)


def test_nothing_is_turned_up_beyond_full_scale() -> None:
    clicks = np.zeros(128_000, np.float32)
    clicks[8_000::8_000] = 0.5
    matched = match_levels(clicks, np.full(80, 0.3, np.float32), max_boost_db=40)
    assert 0.9 * CEILING < np.abs(matched.waveform).max() <= CEILING * 1.001
    free = match_levels(clicks, np.full(80, 0.3, np.float32), max_boost_db=40, ceiling=None)
    assert np.abs(free.waveform).max() > 2


def test_a_limiter_makes_a_spiked_sound_louder_than_its_peaks_allow_and_holds_the_ceiling() -> None:
    spiked = (0.5 * NOISE).astype(np.float32)
    spiked[2_000::4_000] = 0.8
    curve = np.full(80, 0.15, np.float32)
    held, driven = match_levels(spiked, curve), match_levels(spiked, curve, drive_db=12)
    errors = [level_error_db(curve, loudness_signal(found.waveform, seconds=8)) for found in (held, driven)]
    assert errors[0] > 6 and errors[1] < 2
    assert np.abs(driven.waveform).max() <= CEILING * 1.001
    little = match_levels(spiked, curve, drive_db=3)
    assert held.gain_db.max() < little.gain_db.max() <= held.gain_db.max() + 3.01


def test_a_sound_that_follows_its_curve_and_one_without_a_curve_stay_below_the_ceiling() -> None:
    from drawaudio_model.levels.limiter import CEILING_DB, decibels, true_peak

    spiked = NOISE.copy()
    spiked[::4_000] = 5.0
    for found in (follow_curve(spiked, ramps(), max_boost_db=15), fit_level(spiked, 0.01, 0.5)):
        assert decibels(true_peak(found)) <= CEILING_DB + 0.01 and found.dtype == np.float32
    measured = loudness_signal(follow_curve(NOISE, ramps(), max_boost_db=15), seconds=8)
    assert level_error_db(ramps(), measured) < 0.5


def test_a_curve_of_zero_is_silence_and_a_short_sound_keeps_its_length() -> None:
    matched = match_levels(NOISE[:100_000], np.zeros(80, np.float32))
    assert matched.waveform.shape == (100_000,) and matched.waveform.dtype == np.float32
    assert (matched.gain_db == FLOOR_DB).all() and np.abs(matched.waveform).max() < 1e-4


def test_a_curve_shorter_than_the_sound_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a point for every 1600"):
        match_levels(NOISE, np.ones(79, np.float32))


@pytest.mark.parametrize(("factor", "expected"), [(0.01, 0.05), (1.0, 0.1), (9.0, 0.15)])
def test_a_level_outside_the_range_comes_to_the_nearer_bound(factor: float, expected: float) -> None:
    found = fit_level(factor * NOISE, 0.05, 0.15)
    assert np.sqrt(np.square(found).mean()) == pytest.approx(expected, rel=0.01)
    if factor == 1:
        np.testing.assert_array_equal(found, NOISE)


def test_silence_stays_silence() -> None:
    assert not fit_level(np.zeros(1000, np.float32), 0.05, 0.3).any()


def test_a_sound_far_below_the_loudest_part_of_its_curve_is_named() -> None:
    curve = ramps()
    assert shortfall_notice(match_levels(NOISE, curve).waveform, curve) is None
    quiet = match_levels(0.05 * NOISE, curve, max_boost_db=6).waveform
    assert "the sound stays 23 dB below the curve" in str(shortfall_notice(quiet, curve))
    assert shortfall_notice(NOISE, np.zeros(80, np.float32)) is None
