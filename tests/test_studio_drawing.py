"""What is drawn in the studio is what the pipeline gets, pixel for pixel and level for level."""

import math
from pathlib import Path

import numpy as np
import pytest

from drawaudio_model import loudness, masks
from drawaudio_model.curve_files import read_points, write_points
from drawaudio_model.generation.instructions import drawn_mask, read_loudness
from drawaudio_model.studio.drawing import (
    curve_levels,
    decibels_of,
    draw_regions,
    draw_shapes,
    shapes_at,
    write_mask_folder,
)

HEIGHT, WIDTH = 90, 160


def shape(kind: str, *points: tuple[float, float], size: float = 0.0, cut: bool = False) -> dict:
    return {"kind": kind, "cut": cut, "points": [list(point) for point in points], "size": size}


def test_a_box_is_the_box_of_the_rest_of_the_project() -> None:
    found = draw_shapes([shape("box", (0.71, 0.9), (0.305, 0.123))], HEIGHT, WIDTH)
    box = masks.Box(0, 0, 1.0, 0.305, 0.123, 0.71, 0.9)
    assert (found == masks.rasterize([box], HEIGHT, WIDTH, frames=1)[0]).all()


def test_a_lasso_covers_its_area() -> None:
    found = draw_shapes([shape("lasso", (0.1, 0.1), (0.9, 0.1), (0.1, 0.9))], HEIGHT, WIDTH)
    assert found.mean() == pytest.approx(0.32, abs=0.01)
    assert found[12, 20] and not found[75, 130]


def test_a_brush_is_as_thick_as_its_size_with_round_ends() -> None:
    found = draw_shapes([shape("brush", (0.25, 0.5), (0.75, 0.5), size=0.2)], HEIGHT, WIDTH)
    assert found[:, 80].sum() == pytest.approx(18, abs=1)
    assert found.sum() == pytest.approx(80 * 18 + math.pi * 81, rel=0.05)
    dot = draw_shapes([shape("brush", (0.5, 0.5), size=0.2)], HEIGHT, WIDTH)
    assert dot.sum() == pytest.approx(math.pi * 81, rel=0.1)


def test_shapes_add_and_cut_in_their_order() -> None:
    big, small = shape("box", (0, 0), (1, 1)), shape("box", (0.25, 0.25), (0.5, 0.5), cut=True)
    assert not draw_shapes([big, small], HEIGHT, WIDTH)[30, 60]
    assert draw_shapes([small, big], HEIGHT, WIDTH).all()


def test_a_keyframe_holds_until_the_next_and_the_first_backwards() -> None:
    left, right = shape("box", (0, 0), (0.5, 1)), shape("box", (0.5, 0), (1, 1))
    keyframes = [{"frame": 5, "shapes": [right]}, {"frame": 2, "shapes": [left]}, {"frame": 7, "shapes": []}]
    regions = draw_regions({"invert": False, "keyframes": keyframes}, 9, HEIGHT, WIDTH)
    shown = ["left" if region[0, 0] else "right" if region[0, -1] else "none" for region in regions]
    assert shown == ["left"] * 5 + ["right"] * 2 + ["none"] * 2


def test_a_linear_keyframe_moves_in_straight_lines_and_what_has_no_counterpart_holds() -> None:
    box, goal = shape("box", (0, 0), (0.2, 0.2)), shape("box", (0.4, 0.8), (0.8, 1))
    dot, other = shape("brush", (0.5, 0.5), size=0.1), shape("lasso", (0.1, 0.1), (0.2, 0.1), (0.1, 0.2))
    mask = {
        "invert": False,
        "keyframes": [{"frame": 2, "shapes": [box, dot], "linear": True}, {"frame": 6, "shapes": [goal, other]}],
    }
    found = [shapes_at(mask, frame) for frame in (0, 2, 3, 5, 6, 9)]
    assert [shapes[0]["points"][1] for shapes in found] == [
        [0.2, 0.2],
        [0.2, 0.2],
        [pytest.approx(0.35), pytest.approx(0.4)],
        [pytest.approx(0.65), pytest.approx(0.8)],
        [0.8, 1],
        [0.8, 1],
    ]
    assert [shapes[1] for shapes in found] == [dot, dot, dot, dot, other, other]
    held = {"invert": False, "keyframes": [keyframe | {"linear": False} for keyframe in mask["keyframes"]]}
    assert shapes_at(held, 5) == [box, dot]


MASKS = {
    "on its way": [
        {"frame": 1, "shapes": [shape("box", (0, 0), (0.3, 0.3))], "linear": True},
        {"frame": 4, "shapes": [shape("box", (0.6, 0.5), (1, 1))]},
    ],
    "held": [{"frame": 0, "shapes": [shape("lasso", (0.1, 0.1), (0.8, 0.2), (0.4, 0.9))]}],
    "moving": [{"frame": n, "shapes": [shape("brush", (0.1 + n / 10, 0.5), size=0.1)]} for n in range(4)],
    "everything": [{"frame": 0, "shapes": [shape("box", (0, 0), (1, 1))]}],
    "nothing, then everything": [{"frame": 0, "shapes": []}, {"frame": 3, "shapes": [shape("box", (0, 0), (1, 1))]}],
    "one pixel": [{"frame": 0, "shapes": [shape("box", (0.501, 0.501), (0.502, 0.502))]}],
    "nearly everything": [
        {"frame": 0, "shapes": [shape("box", (0, 0), (1, 1)), shape("box", (0.4, 0.4), (0.6, 0.6), cut=True)]}
    ],
}


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("drawn", MASKS)
def test_the_folder_of_a_mask_is_read_as_what_was_drawn(tmp_path: Path, drawn: str, invert: bool) -> None:
    mask = {"invert": invert, "keyframes": MASKS[drawn]}
    regions = np.stack(draw_regions(mask, 6, HEIGHT, WIDTH))
    folder = write_mask_folder(tmp_path, mask, 6, HEIGHT, WIDTH)
    if drawn == "everything" and invert:
        with pytest.raises(ValueError, match="leaves nothing to sound"):
            drawn_mask(folder, 6, HEIGHT, WIDTH, invert=True)
        return
    found = drawn_mask(folder, 6, HEIGHT, WIDTH, invert=invert).regions
    assert (found == (~regions if invert else regions)).all()
    # It is found again, and another mask has another folder.
    assert write_mask_folder(tmp_path, mask, 6, HEIGHT, WIDTH) == folder
    assert write_mask_folder(tmp_path, mask, 7, HEIGHT, WIDTH) != folder


def test_a_curve_is_straight_in_decibels_and_silent_at_its_lowest_line() -> None:
    levels = curve_levels([[0.0, -60.0], [1.0, -20.0]], 2.0)
    assert [time for time, _ in levels] == pytest.approx([0.05 + number / 10 for number in range(20)])
    decibels = [20 * math.log10(level) for _, level in levels[:10]]
    assert decibels == pytest.approx([-58 + 4 * number for number in range(10)])
    assert [level for _, level in levels[10:]] == pytest.approx([0.1] * 10)
    assert curve_levels([[0.0, -60.0]], 1.0) == [(pytest.approx(0.05 + n / 10), 0.0) for n in range(10)]


@pytest.mark.parametrize("seconds", [2.0, 2.37, 0.5])
def test_a_curve_reaches_the_model_as_it_is_drawn_also_by_way_of_a_file(tmp_path: Path, seconds: float) -> None:
    points = curve_levels([[0.0, -40.0], [0.33, -6.0], [1.9, -60.0]], seconds)
    given = read_loudness(points, seconds)
    assert given == pytest.approx([level for _, level in points])
    write_points(tmp_path / "curve.csv", points)
    assert (read_loudness(tmp_path / "curve.csv", seconds) == given).all()
    assert read_points(tmp_path / "curve.csv") == points
    assert len(given) == len(loudness.point_times(math.ceil(seconds * 10) / 10))


def test_levels_come_back_as_the_curve_that_gives_them() -> None:
    levels = np.array([0.0, 0.5, 0.01, 1.0], np.float32)
    points = decibels_of(levels)
    assert [level for _, level in points] == pytest.approx([-60, -6.02, -40, 0], abs=0.01)
    assert [level for _, level in curve_levels(points, 0.4)] == pytest.approx(levels.tolist(), rel=1e-3)
