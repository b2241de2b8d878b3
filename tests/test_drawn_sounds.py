"""Training's drawn variants: the sound obeys its curve, at levels that no clip has, and a redrawn one is its clip."""

import numpy as np
import pytest

from drawaudio_model.drawn.sounds import LOUDEST, PEAK, draw_sound
from drawaudio_model.loudness import loudness_signal
from drawaudio_model.metrics import level_error_db, loudness_correlation

RNG = np.random.default_rng(5)
MATERIAL = 0.25 * RNG.standard_normal(160_000).clip(-3, 3).astype(np.float32)
STROKES = (RNG.standard_normal(160_000) * (np.arange(160_000) % 16_000 < 1_600) * 0.3).astype(np.float32)


def test_shaped_sounds_obey_curves_that_no_clip_has() -> None:
    sounds = [draw_sound(np.random.default_rng(seed), STROKES, MATERIAL) for seed in range(60)]
    shaped = [sound for sound in sounds if sound.kind == "shaped"]
    assert 12 < len(shaped) < 40
    errors = [level_error_db(sound.curve, loudness_signal(sound.waveform, seconds=8)) for sound in shaped]
    assert np.median(errors) < 1
    peaks = [sound.curve.max() for sound in shaped]
    assert min(peaks) < 0.06 and 0.25 < max(peaks) <= LOUDEST
    assert all(np.abs(sound.waveform).max() <= PEAK * 1.01 for sound in sounds)
    assert {sound.start_frame for sound in sounds} == set(range(9))


@pytest.mark.parametrize("kind, least", [("redrawn", 0.85), ("measured", 1 - 1e-6)])
def test_redrawn_and_measured_sounds_are_the_clips_own_at_other_levels(kind: str, least: float) -> None:
    levels = []
    for seed in range(60):
        sound = draw_sound(np.random.default_rng(seed), STROKES, MATERIAL)
        if sound.kind != kind:
            continue
        own = STROKES[sound.start_frame * 4_000 :][:128_000]
        # Normalising takes a mean away that is nearly zero.
        assert np.corrcoef(sound.waveform, own)[0, 1] > 0.999
        measured = loudness_signal(sound.waveform, seconds=8)
        assert loudness_correlation(measured, sound.curve).pearson > least
        levels.append(20 * np.log10(measured.max()))
    assert len(levels) > 8 and np.ptp(levels) > 8


def test_without_a_material_the_clips_own_sound_is_shaped_and_its_curve_read_off() -> None:
    for seed in range(20):
        sound = draw_sound(np.random.default_rng(seed), STROKES, None)
        measured = loudness_signal(sound.waveform, seconds=8)
        assert loudness_correlation(measured, sound.curve).pearson > 0.8
        assert measured[sound.curve == 0].max(initial=0) < 0.2 * measured.max()


def test_the_seed_decides_all_of_it() -> None:
    one, again = (draw_sound(np.random.default_rng(9), STROKES, MATERIAL) for _ in range(2))
    np.testing.assert_array_equal(one.waveform, again.waveform)
    np.testing.assert_array_equal(one.curve, again.curve)
