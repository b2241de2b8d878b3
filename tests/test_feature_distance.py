"""The distance is Mahalanobis' as numpy has it; clips of the same world are inside, others are not."""

import numpy as np
import pytest
import torch
from PIL import Image

from drawaudio_model.generation.feature_distance import SHRINKAGE, fit_distance, picture_statistics

SPREAD = np.array([1.0, 5.0, 0.1, 2.0])
CENTRE = np.array([3.0, -2.0, 0.5, 0.0])


def world(clips, seed=0):
    """Clips whose first two features go together."""
    drawn = np.random.default_rng(seed).normal(size=(clips, 4))
    drawn[:, 1] = 0.8 * drawn[:, 0] + 0.6 * drawn[:, 1]
    return CENTRE + SPREAD * drawn


def test_the_distance_is_the_written_out_formula():
    clips = world(200)
    fitted = fit_distance(clips)
    covariance, deviation = np.cov(clips.T), clips.std(axis=0, ddof=1)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(deviation**2)
    clip = world(7, seed=1)
    off = clip.mean(axis=0) - clips.mean(axis=0)
    assert fitted.distance(clip) == pytest.approx(np.sqrt(off @ np.linalg.solve(shrunk, off)))
    assert fitted.distance(torch.from_numpy(clip)) == pytest.approx(fitted.distance(clip))
    assert fitted.distance(clips.mean(axis=0)[None]) == pytest.approx(0, abs=1e-9)


def test_new_clips_of_the_world_are_inside_and_a_foreign_cluster_is_not():
    fitted = fit_distance(world(200))
    assert not any(fitted.is_foreign(clip[None]) for clip in world(100, seed=1))
    assert all(fitted.is_foreign(clip[None]) for clip in world(100, seed=2) + 8 * SPREAD * (0, 0, 1, 0))
    # Each feature as usual, but not together.
    assert fitted.is_foreign((CENTRE + SPREAD * (2, -2, 0, 0))[None])


def test_units_of_the_features_do_not_matter():
    scale = np.array([1e3, 1e-2, 1.0, 50.0])
    plain, scaled = fit_distance(world(50)), fit_distance(world(50) * scale)
    assert scaled.threshold == pytest.approx(plain.threshold)
    clip = world(3, seed=1)
    assert scaled.distance(clip * scale) == pytest.approx(plain.distance(clip))


def test_a_feature_that_never_varied_makes_no_number_infinite():
    clips = world(50)
    clips[:, 3] = 1
    fitted = fit_distance(clips)
    assert np.isfinite(fitted.threshold) and torch.isfinite(fitted.precision).all()
    assert not fitted.is_foreign(clips[:1])


def test_statistics_are_those_of_a_picture_that_can_be_worked_out():
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    frames[:, :, ::2] = 255  # columns, each unlike its neighbours
    frames[1, :16] = (255, 0, 0)
    mean, deviation, edges, changes, still, saturation = picture_statistics(frames)
    red = 0.25 / 2  # share of all pixels
    assert mean == pytest.approx((1 - red) / 2 + red / 3)
    assert deviation == pytest.approx(np.sqrt(mean * (1 - mean)))
    assert edges == pytest.approx(1 - red) and saturation == pytest.approx(red)
    assert still == pytest.approx(0.75) and changes == pytest.approx(0.25 / 2)


def test_statistics_hardly_depend_on_the_size_of_the_video():
    rough = [Image.fromarray(frame) for frame in np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)]
    small, wide = (np.stack([np.asarray(frame.resize(size)) for frame in rough]) for size in ((64, 64), (320, 240)))
    np.testing.assert_allclose(picture_statistics(wide), picture_statistics(small), atol=0.02)


@pytest.mark.parametrize("shape", [(9, 4), (20,)])
def test_too_few_clips_are_refused(shape):
    with pytest.raises(ValueError, match="expected \\(clips, width\\) with at least 10 clips"):
        fit_distance(np.zeros(shape))


def test_features_and_frames_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape \(5, 3\), expected \(frames, 4\)"):
        fit_distance(world(20)).distance(np.zeros((5, 3)))
    with pytest.raises(ValueError, match="at least 2 frames"):
        picture_statistics(np.zeros((1, 8, 8, 3), np.uint8))
