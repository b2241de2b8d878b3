"""Drawn masks: each kind lies where it says, on every frame in which the thing is, by its seed alone."""

import numpy as np
import pytest
from scipy import ndimage

from drawaudio_model.boxes import Box
from drawaudio_model.drawn.masks import LARGEST_DRIFT, MASK_KINDS, box_mask, coverage, drawn_mask
from drawaudio_model.masks import rasterize

FRAMES, SIDE, SEEDS = 40, 64, range(8)
STILL = np.tile([0.3, 0.25, 0.7, 0.6], (FRAMES, 1))
MOVING = STILL + np.linspace(-0.1, 0.1, FRAMES)[:, None] * (1, 0, 1, 0)

BOUNDS = {
    "tight": (1.0, 1.0),
    "loose": (0.3, 0.85),
    "ellipse": (0.5, 0.9),
    "blob": (0.45, 0.95),
    "polygon": (0.4, 0.95),
    "brush": (0.3, 0.95),
    "half": (0.35, 0.7),
    "drift": (0.2, 0.95),
    "held": (0.3, 0.95),
    "shaky": (0.6, 0.97),
}
"""Least and largest overlap, intersection over union, of a mask with a box that stands still."""


def masks(kind, boxes=STILL):
    return [drawn_mask(np.random.default_rng(seed), boxes, SIDE, SIDE, kind) for seed in SEEDS]


def overlap(mask, boxes=STILL):
    box = box_mask(boxes, SIDE, SIDE)
    return (mask & box).sum(axis=(1, 2)) / (mask | box).sum(axis=(1, 2))


def middles(mask):
    """(V, 2) x and y, shares of the picture, of the drawn pixels' middle."""
    return np.array([(np.argwhere(frame).mean(axis=0)[::-1] + 0.5) / SIDE for frame in mask])


def test_every_kind_has_its_bounds():
    assert set(BOUNDS) == set(MASK_KINDS)


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_a_mask_overlaps_the_box_as_its_kind_does(kind):
    least, largest = BOUNDS[kind]
    for mask in masks(kind):
        assert mask.shape == (FRAMES, SIDE, SIDE) and mask.dtype == bool
        assert least <= overlap(mask).min() and overlap(mask).max() <= largest


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_equal_seeds_give_equal_masks_and_others_do_not(kind):
    again = masks(kind)
    assert all(np.array_equal(mask, same) for mask, same in zip(masks(kind), again, strict=True))
    assert kind == "tight" or not np.array_equal(again[0], again[1])


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_some_frames_are_those_of_the_whole_clip(kind):
    wanted = slice(11, 15)
    growing = MOVING + np.linspace(0, 0.1, FRAMES)[:, None] * (0, -1, 0, 1)
    part = drawn_mask(np.random.default_rng(3), growing, SIDE, SIDE, kind, frames=wanted)
    np.testing.assert_array_equal(part, drawn_mask(np.random.default_rng(3), growing, SIDE, SIDE, kind)[wanted])


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_a_mask_is_where_the_thing_is_and_only_then(kind):
    boxes = MOVING.copy()
    boxes[5:9] = np.nan
    drawn = np.array([mask.any(axis=(1, 2)) for mask in masks(kind, boxes)])
    there = np.isfinite(boxes).all(axis=1)
    assert drawn[:, there].all()
    assert drawn.all() if kind == "held" else not drawn[:, ~there].any()


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_a_tiny_thing_at_the_edge_still_has_a_mask(kind):
    for corners in ((0.0, 0.0, 0.004, 0.004), (0.9999, 0.9999, 1.0, 1.0)):
        assert all(mask.any(axis=(1, 2)).all() for mask in masks(kind, np.tile(corners, (FRAMES, 1))))


@pytest.mark.parametrize("kind", [kind for kind in MASK_KINDS if kind not in ("held", "drift")])
def test_a_mask_goes_along_with_the_thing(kind):
    for mask in masks(kind, MOVING):
        gone = middles(mask)[-1] - middles(mask)[0]
        np.testing.assert_allclose(gone, (0.2, 0), atol=0.05 if kind == "shaky" else 0.02)


def test_a_held_mask_never_moves():
    assert all((mask == mask[0]).all() for mask in masks("held", MOVING))


def test_a_drifting_mask_strays_by_no_more_than_it_may_and_starts_on_the_thing():
    size = STILL[0, 2:] - STILL[0, :2]
    for mask in masks("drift"):
        strayed = np.linalg.norm((middles(mask) - middles(mask)[0]) / size, axis=1)
        assert 0.1 < strayed[-1] < LARGEST_DRIFT + 0.05 and strayed.argmax() > 0.8 * FRAMES
        assert np.diff(strayed).max() < 0.1  # no jumps


def test_strokes_of_a_brush_hang_together_and_leave_something_out():
    for mask in masks("brush"):
        assert ndimage.label(mask[0])[1] == 1
        assert not mask[0][box_mask(STILL, SIDE, SIDE)[0]].all()


def test_an_unsteady_hand_draws_every_frame_anew_and_a_steady_one_does_not():
    assert all(len(np.unique(mask, axis=0)) > FRAMES / 2 for mask in masks("shaky"))
    assert all(len(np.unique(mask, axis=0)) == 1 for kind in ("blob", "brush", "half") for mask in masks(kind))


def test_half_a_thing_is_part_of_it_one_way_and_all_of_it_the_other():
    size = (STILL[0, 2:] - STILL[0, :2]) * SIDE
    ways = set()
    for seed in range(24):
        mask = drawn_mask(np.random.default_rng(seed), STILL, SIDE, SIDE, "half", frames=slice(1))
        drawn = np.array([mask[0].any(axis=0).sum(), mask[0].any(axis=1).sum()])
        cut = int((drawn / size).argmin())
        assert abs(drawn[1 - cut] - size[1 - cut]) <= 2 and 0.3 < drawn[cut] / size[cut] < 0.7
        ways.add((cut, bool(middles(mask)[0][cut] > STILL[0, [cut, cut + 2]].mean())))
    assert len(ways) == 4  # left, right, upper and lower parts


def test_a_tight_mask_is_that_of_the_detectors_boxes():
    boxes = [Box(frame, 0, 1.0, *corners) for frame, corners in enumerate(MOVING.clip(0, 1))]
    for size in ((64, 64), (45, 80)):
        np.testing.assert_array_equal(box_mask(MOVING.clip(0, 1), *size), rasterize(boxes, *size))


def test_any_kind_is_drawn_unless_one_is_asked_for():
    drawn = [drawn_mask(np.random.default_rng(seed), STILL, SIDE, SIDE) for seed in range(60)]
    assert len({mask.tobytes() for mask in drawn}) > 50
    assert any(np.array_equal(mask, box_mask(STILL, SIDE, SIDE)) for mask in drawn)


def test_coverage_is_the_share_of_the_mask_on_each_thing():
    mask = np.zeros((2, 10, 10), dtype=bool)
    mask[:, 2:6, 0:8] = True  # 32 pixels a frame
    left, right = np.tile([0, 0, 0.6, 1], (2, 1)), np.tile([0.6, 0, 1, 0.4], (2, 1))
    away = np.full((2, 4), np.nan)
    np.testing.assert_allclose(coverage(mask, np.stack([left, right, away])), [24 / 32, 4 / 32, 0])
    np.testing.assert_allclose(coverage(np.zeros_like(mask), left[None]), [0])


@pytest.mark.parametrize(
    ("boxes", "kind", "message"),
    [
        (np.zeros((4, 3)), "blob", r"shape \(4, 3\), expected \(frames, 4\)"),
        (np.full((4, 4), np.nan), "blob", "at least one frame that is not NaN"),
        (STILL, "star", "mask kind is 'star', expected one of tight, loose"),
    ],
)
def test_what_cannot_be_drawn_is_said(boxes, kind, message):
    with pytest.raises(ValueError, match=message):
        drawn_mask(np.random.default_rng(0), boxes, SIDE, SIDE, kind)
