"""Curves drawn by hand: each shape is what its name says, levels and times are those of a curve, a seed decides all."""

import numpy as np
import pytest

from drawaudio_model.drawn.curves import QUIETEST, SHAPES, draw_curve, draw_signal, redraw_curve, simplify
from drawaudio_model.loudness import from_points, point_times


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_a_curve_that_can_be_read_back(shape: str) -> None:
    peaks = []
    for seed in range(40):
        points = draw_curve(np.random.default_rng(seed), 8.0, loudest=0.4, shape=shape)
        times, levels = np.array(points).T
        assert (np.diff(times) > 0).all() and times[0] >= 0 and times[-1] <= 8.5
        assert levels.min() >= 0 and QUIETEST * 0.999 <= levels.max() <= 0.4
        assert from_points(points, 8.0).shape == (80,)
        peaks.append(levels.max())
    # Equally likely in decibels: the middle one lies near the geometric mean.
    assert 0.07 < np.median(peaks) < 0.17


def test_the_seed_decides_the_curve_and_another_gives_another() -> None:
    first, again, other = (draw_signal(np.random.default_rng(seed), 8, loudest=0.3) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def silence_between(signal: np.ndarray) -> int:
    """Stretches of sound that silence parts."""
    sounding = np.concatenate([[False], signal > 0, [False]])
    return int((np.diff(sounding.astype(int)) == 1).sum())


def test_pulses_are_short_and_apart_and_a_ramp_goes_one_way() -> None:
    for seed in range(20):
        pulses = draw_signal(np.random.default_rng(seed), 8, loudest=0.3, shape="pulses")
        assert silence_between(pulses) >= 2 and (pulses > 0).mean() < 0.7
        ramp = draw_signal(np.random.default_rng(seed), 8, loudest=0.3, shape="ramp")
        inside = ramp[ramp > 0][1:-1]
        assert (np.diff(inside) >= -1e-7).all() or (np.diff(inside) <= 1e-7).all()


def test_steps_jump_and_freehand_trembles() -> None:
    steps = np.array(draw_curve(np.random.default_rng(3), 8.0, loudest=0.3, shape="steps"))
    jumps = np.diff(steps[:, 0]) < 0.021
    assert jumps.sum() >= 2
    assert len(draw_curve(np.random.default_rng(3), 8.0, loudest=0.3, shape="freehand")) == 240


def test_a_simplified_curve_keeps_within_its_tolerance_with_few_points() -> None:
    times = point_times(8)
    levels = np.abs(np.sin(times)) * np.exp(-times / 5)
    kept = simplify(times, levels, 0.03)
    assert np.abs(np.interp(times, times[kept], levels[kept]) - levels).max() <= 0.03
    assert 4 < len(kept) < 40


def test_a_redrawn_curve_is_near_the_measured_one_and_not_the_same() -> None:
    measured = np.abs(np.sin(point_times(8))) * 0.2 * (1 + 0.1 * np.random.default_rng(0).normal(size=80))
    distances = []
    for seed in range(40):
        drawn = from_points(redraw_curve(np.random.default_rng(seed), measured), 8)
        assert np.corrcoef(drawn, measured)[0, 1] > 0.9
        distances.append(np.abs(drawn - measured).mean() / 0.2)
    assert max(distances) < 0.12 and np.mean(np.array(distances) > 0.005) > 0.6


def test_silence_is_redrawn_as_silence() -> None:
    assert not from_points(redraw_curve(np.random.default_rng(0), np.zeros(80)), 8).any()


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a level from 0"):
        draw_curve(np.random.default_rng(0), 8.0, loudest=1.5)
    with pytest.raises(ValueError, match="shape is 'wave', expected one of lines"):
        draw_curve(np.random.default_rng(0), 8.0, loudest=0.3, shape="wave")
