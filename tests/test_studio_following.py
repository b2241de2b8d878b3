"""A mask that follows lies where its thing is, also in a loose box, over a moving background and where the thing grows."""

import numpy as np
import pytest

from drawaudio_model.boxes import Box
from drawaudio_model.masks import rasterize
from drawaudio_model.studio.drawing import shapes_at
from drawaudio_model.studio.following import STEPS_A_FRAME, TOLERANCE, follow, keyframes_of

HEIGHT, WIDTH, FRAMES = 180, 240, 9


def texture(height: int, width: int, seed: int) -> np.ndarray:
    """(H, W, 3) uint8 of soft spots, which flow can hold on to."""
    import cv2

    noise = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 3)
    return ((soft - soft.min()) / (soft.max() - soft.min()) * 255).astype(np.uint8)


def scene(*, pan: float = 0.0, growth: float = 1.0) -> tuple[np.ndarray, list[tuple[float, float, float, float]]]:
    """Pictures of a textured square that goes to the right and down, and its box in each frame of the model."""
    import cv2

    count = (FRAMES - 1) * STEPS_A_FRAME + 1
    ground, thing = texture(HEIGHT, WIDTH * 2, 1), texture(40, 40, 2)
    pictures, boxes = [], []
    for number in range(count):
        shift = round(pan * number)
        picture = ground[:, shift : shift + WIDTH].copy()
        side = round(40 * growth ** (number / count))
        x, y = 40 + round(2.4 * number), 50 + number
        picture[y : y + side, x : x + side] = cv2.resize(thing, (side, side))
        pictures.append(picture)
        if number % STEPS_A_FRAME == 0:
            boxes.append((x / WIDTH, y / HEIGHT, (x + side) / WIDTH, (y + side) / HEIGHT))
    return np.stack(pictures), boxes


def overlap(points: list, truth: tuple[float, float, float, float]) -> float:
    """Intersection over union of two boxes, in pixels."""
    (x0, y0), (x1, y1) = points
    drawn, true = (rasterize([Box(0, 0, 1.0, *box)], HEIGHT, WIDTH, frames=1)[0] for box in ((x0, y0, x1, y1), truth))
    return float((drawn & true).sum() / (drawn | true).sum())


def box(x0: float, y0: float, x1: float, y1: float) -> dict:
    return {"kind": "box", "cut": False, "points": [[x0, y0], [x1, y1]], "size": 0}


@pytest.mark.parametrize(("pan", "growth"), [(0.0, 1.0), (1.5, 1.0), (0.0, 1.5)])
def test_a_box_follows_its_thing(pan: float, growth: float) -> None:
    pictures, truth = scene(pan=pan, growth=growth)
    found = follow([box(*truth[0])], pictures)
    assert len(found) == FRAMES
    overlaps = [overlap(shapes[0]["points"], true) for shapes, true in zip(found, truth, strict=True)]
    assert min(overlaps) > 0.7, overlaps
    # A box that stayed would be elsewhere.
    assert overlap(box(*truth[0])["points"], truth[-1]) < 0.05


def test_a_loose_box_moves_as_far_as_its_thing() -> None:
    pictures, truth = scene()
    x0, y0, x1, y1 = truth[0]
    found = follow([box(x0 - 0.1, y0 - 0.15, x1 + 0.1, y1 + 0.15)], pictures)
    ways = [
        found[-1][0]["points"][corner][axis] - found[0][0]["points"][corner][axis] for corner, axis in ((0, 0), (0, 1))
    ]
    assert ways == pytest.approx([truth[-1][0] - x0, truth[-1][1] - y0], abs=0.04)


@pytest.mark.parametrize(("noise", "width"), [(0, 0.06), (2, 0.06), (2, 0.1)])
def test_a_flat_thing_on_flat_ground_is_followed_where_flow_finds_half_of_its_way_or_nothing(
    noise: float, width: float
) -> None:
    pictures = np.full((8 * STEPS_A_FRAME + 1, 120, 160, 3), 60, np.uint8)
    for number, picture in enumerate(pictures):
        picture[60:, 4 * number : 4 * number + 8] = (200, 120, 40)
    grain = np.random.default_rng(0).normal(0, noise, pictures.shape)
    pictures = (pictures + grain).round().clip(0, 255).astype(np.uint8)
    found = follow([box(0.0, 0.55, width, 0.95)], pictures)
    lefts = [shapes[0]["points"][0][0] for shapes in found]
    assert lefts == pytest.approx([4 * STEPS_A_FRAME * number / 160 for number in range(9)], abs=0.03)


def swinging(ways: np.ndarray, *, flickers: bool = False) -> tuple[np.ndarray, list[tuple[float, float, float, float]]]:
    """Noisy pictures of a shaded disc which lies `ways` pixels further right in each, and its box in each frame of the model."""
    import cv2

    rng = np.random.default_rng(0)
    pictures, boxes = [], []
    for number, way in enumerate(ways):
        picture = np.full((HEIGHT, WIDTH, 3), (70, 90, 80), np.uint8)
        middle = (round(110 + way), 90)
        bright = 1.0 - 0.5 * (number // 2 % 2) if flickers else 1.0
        cv2.circle(picture, middle, 22, [int(bright * value) for value in (200, 120, 40)], -1)
        cv2.circle(picture, (middle[0] - 8, middle[1] - 8), 6, (240, 220, 190), -1)
        pictures.append((picture + rng.normal(0, 3, picture.shape)).clip(0, 255).astype(np.uint8))
        if number % STEPS_A_FRAME == 0:
            boxes.append(tuple(np.array([middle[0] - 23, 67, middle[0] + 23, 113]) / (WIDTH, HEIGHT, WIDTH, HEIGHT)))
    return np.stack(pictures), boxes


def test_a_box_has_not_drifted_from_a_thing_that_swings_for_long() -> None:
    pictures, truth = swinging(40 * np.sin(np.arange(6 * 12 + 1) / 7))
    found = follow([box(*truth[0])], pictures)
    overlaps = [overlap(shapes[0]["points"], true) for shapes, true in zip(found, truth, strict=True)]
    assert np.mean(overlaps) > 0.9 and overlaps[-1] > 0.8, overlaps


def test_a_box_stays_on_a_thing_that_changes_its_looks_and_not_its_place() -> None:
    pictures, truth = swinging(np.zeros(6 * 12 + 1), flickers=True)
    found = follow([box(*truth[0])], pictures)
    assert min(overlap(shapes[0]["points"], truth[0]) for shapes in found) > 0.7


def test_what_is_drawn_beside_a_moving_thing_stays() -> None:
    pictures, _ = scene()
    found = follow([box(0.02, 0.02, 0.12, 0.15)], pictures)
    assert np.abs(np.array(found[-1][0]["points"]) - found[0][0]["points"]).max() < 1e-3
    assert keyframes_of(found, 3) == [{"frame": 3, "shapes": [box(0.02, 0.02, 0.12, 0.15)], "linear": False}]


def test_a_brush_stroke_keeps_its_form() -> None:
    pictures, truth = scene()
    x0, y0, x1, y1 = truth[0]
    stroke = {"kind": "brush", "cut": False, "points": [[x0 + 0.05, y0 + 0.1], [x1 - 0.05, y1 - 0.1]], "size": 0.1}
    found = follow([stroke], pictures)
    first, last = (np.array(shapes[0]["points"]) for shapes in (found[0], found[-1]))
    assert last[1] - last[0] == pytest.approx(first[1] - first[0], abs=0.03)
    assert last[0] - first[0] == pytest.approx([truth[-1][0] - x0, truth[-1][1] - y0], abs=0.04)


def test_a_thing_that_leaves_the_picture_leaves_a_mask_that_can_be_drawn() -> None:
    pictures, _ = scene()
    found = follow([box(0.15, 0.25, 0.35, 0.5)], pictures[:, :, :120])
    values = [value for shapes in found for point in shapes[0]["points"] for value in point]
    assert all(0 <= value <= 1 for value in values)


def test_keyframes_are_few_and_lie_near_everything_that_was_found() -> None:
    way = [
        [box(0.1 + 0.02 * n, 0.1 + 0.01 * max(n - 6, 0), 0.3 + 0.02 * n, 0.3 + 0.01 * max(n - 6, 0))] for n in range(13)
    ]
    keyframes = keyframes_of(way, 2)
    assert [keyframe["frame"] for keyframe in keyframes] == [2, 8, 14]
    assert [keyframe["linear"] for keyframe in keyframes] == [True, True, False]
    for number, shapes in enumerate(way):
        (drawn,) = shapes_at({"keyframes": keyframes}, 2 + number)
        assert np.abs(np.array(drawn["points"]) - shapes[0]["points"]).max() <= TOLERANCE


def test_it_is_told_how_far_it_is_and_ends_where_that_raises() -> None:
    pictures, truth = scene()
    told = []

    def tell(done: int, total: int) -> None:
        told.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow([box(*truth[0])], pictures, tell)
    assert told == [(1, len(pictures)), (2, len(pictures)), (3, len(pictures))]
