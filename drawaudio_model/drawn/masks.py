"""Masks as people draw them, made from a thing's boxes: blobs, strokes of a brush, polygons, half a thing.

A user draws by hand, but only boxes can be had for many clips. These masks stand for the drawings, in training and where
it is measured whether the thing under a mask sounds.

Shapes are made in box units: x and y run from -1 to 1 across the thing's box. So one shape follows the thing as its box
moves and grows, as a mask does that an editing program carries along.

Legend: V video frames, H/W pixels, P points of an outline or a stroke, S strokes.
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageDraw

MaskKind = Literal["tight", "loose", "ellipse", "blob", "polygon", "brush", "half", "drift", "held", "shaky"]
MASK_KINDS: tuple[MaskKind, ...] = get_args(MaskKind)

LARGEST_DRIFT = 1 / 3
"""Of the thing's size: how far a drifting mask strays."""
OUTLINE_POINTS = 40
SQUARE = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
"""Corners of the box in box units."""


def drawn_mask(
    rng: np.random.Generator,
    boxes: np.ndarray,
    height: int,
    width: int,
    kind: MaskKind | None = None,
    *,
    frames: slice = slice(None),
) -> np.ndarray:
    """(V, H, W) bool: a mask of the thing as someone may draw it; equal generators give equal masks.

    The kinds:

    - "tight": every pixel that the box touches.
    - "loose": a box whose sides lie 0.1 to 0.35 of the thing's size further out, each its own way.
    - "ellipse": around the box's middle, 0.9 to 1.3 times as wide and as high.
    - "blob": a smooth closed line, 0.85 to 1.15 times the box on average.
    - "polygon": 5 to 9 corners around the thing.
    - "brush": 3 to 5 strokes of a round brush that meet near the thing's middle.
    - "half": the left, right, upper or lower part of the box, 0.4 to 0.6 of it.
    - "drift": one of the closed shapes that strays from the thing, smoothly, 0.15 to `LARGEST_DRIFT` of its size by the end.
    - "held": one closed shape for all frames, around all of the thing's boxes or around that of the middle frame.
    - "shaky": the box's outline by an unsteady hand, drawn anew in every frame.

    Args:
        rng: source of all chance.
        boxes: (V, 4) corners x0, y0, x1, y1 in [0, 1] of one thing; a row of NaN where it is not in the picture. The mask is
            empty there, except a "held" one.
        height: of the mask in pixels.
        width: of the mask in pixels.
        kind: one of `MASK_KINDS`; None draws one.
        frames: the frames that are wanted of the clip's, which saves the others' work: V is their number then.

    Raises:
        ValueError: for boxes of another shape, boxes without a single frame, or an unknown kind.
    """
    boxes = np.asarray(boxes, dtype=float)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or np.isnan(boxes).any(axis=1).all():
        raise ValueError(
            f"boxes have shape {boxes.shape}, expected (frames, 4) with at least one frame that is not NaN"
        )
    if kind is not None and kind not in MASK_KINDS:
        raise ValueError(f"mask kind is {kind!r}, expected one of {', '.join(MASK_KINDS)}")
    kind = kind or MASK_KINDS[rng.integers(len(MASK_KINDS))]
    if kind == "tight":
        return box_mask(boxes[frames], height, width)
    if kind == "held":
        boxes = np.broadcast_to(_held_box(rng, boxes), boxes.shape)
        return np.repeat(_fill(_placed(_closed_shape(rng)[None], boxes[:1]), height, width), len(boxes[frames]), axis=0)
    if kind == "brush":
        strokes, thickness = _strokes(rng)
        across = thickness * np.nanmean((boxes[:, 2:] - boxes[:, :2]) * (width, height))  # a brush keeps its size
        return _brushed(_placed(strokes[None], boxes[frames]), across, height, width)
    return _fill(_placed(_outlines(rng, kind, len(boxes))[frames], boxes[frames]), height, width)


def coverage(mask: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N,) float: share of the mask's pixels that lie on each thing's box; the largest is the thing under most of it.

    Args:
        mask: (V, H, W) bool.
        boxes: (N, V, 4) corners in [0, 1] of N things; NaN where one is not in the picture.
    """
    drawn = max(int(mask.sum()), 1)
    return np.array([(mask & box_mask(own, *mask.shape[1:])).sum() / drawn for own in boxes])


def box_mask(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """(V, H, W) bool: every pixel that the frame's box (V, 4) touches; empty where it is NaN.

    At least one pixel of a box is drawn, however small it is.
    """
    x0, y0, x1, y1 = (np.asarray(boxes, dtype=float) * (width, height, width, height)).T[..., None]
    columns, rows = np.arange(width), np.arange(height)
    # A millionth of a pixel is rounding, not touching.
    wide = (columns >= np.minimum(np.floor(x0 + 1e-6), width - 1)) & (columns < np.maximum(x1 - 1e-6, np.floor(x0) + 1))
    high = (rows >= np.minimum(np.floor(y0 + 1e-6), height - 1)) & (rows < np.maximum(y1 - 1e-6, np.floor(y0) + 1))
    return high[:, :, None] & wide[:, None, :]


def _outlines(rng: np.random.Generator, kind: MaskKind, count: int) -> np.ndarray:
    """(V, P, 2) closed lines in box units for `count` frames."""
    if kind == "drift":
        return _closed_shape(rng)[None] + _drift(rng, count)[:, None]
    if kind == "shaky":
        corners = _along_the_box(OUTLINE_POINTS // 2)
        return corners + rng.uniform(-0.2, 0.25, (count, len(corners), 1)) * corners
    shapes = {"loose": _loose_box, "ellipse": _ellipse, "blob": _blob, "polygon": _polygon, "half": _half}
    return np.repeat(shapes[kind](rng)[None], count, axis=0)


def _closed_shape(rng: np.random.Generator) -> np.ndarray:
    """(P, 2): a box, an ellipse, a blob or a polygon."""
    return (_loose_box, _ellipse, _blob, _polygon)[rng.integers(4)](rng)


def _loose_box(rng: np.random.Generator) -> np.ndarray:
    left, top, right, bottom = 1 + 2 * rng.uniform(0.1, 0.35, 4)  # the box is two units wide
    return SQUARE * np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def _ellipse(rng: np.random.Generator) -> np.ndarray:
    return _around(_angles()) * rng.uniform(0.9, 1.3, 2) + rng.uniform(-0.1, 0.1, 2)


def _blob(rng: np.random.Generator) -> np.ndarray:
    angles, radius = _angles(), np.full(OUTLINE_POINTS, rng.uniform(0.85, 1.15))
    for waves in (2, 3, 4, 5):
        radius += rng.uniform(0, 0.3) / waves * np.cos(waves * angles + rng.uniform(0, 2 * np.pi))
    return _around(angles) * radius[:, None]


def _polygon(rng: np.random.Generator) -> np.ndarray:
    corners = int(rng.integers(5, 10))
    angles = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners + rng.uniform(0, 2 * np.pi)
    return _around(angles) * rng.uniform(0.85, 1.35, (corners, 1))


def _half(rng: np.random.Generator) -> np.ndarray:
    axis, side, share = int(rng.integers(2)), rng.choice([-1, 1]), rng.uniform(0.4, 0.6)
    corners = SQUARE.copy()
    corners[corners[:, axis] * side < 0, axis] = side * (1 - 2 * share)
    return corners


def _drift(rng: np.random.Generator, count: int) -> np.ndarray:
    """(V, 2) offsets in box units: from none to the farthest at the end, on a slightly bent path."""
    reach, direction = 2 * rng.uniform(0.15, LARGEST_DRIFT), rng.uniform(0, 2 * np.pi)
    time = np.linspace(0, 1, count)
    turn = direction + rng.uniform(-0.8, 0.8) * (1 - time)
    return reach * time[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)


def _strokes(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """(S, P, 2) lines in box units, each from one side of the thing by its middle to the other, and the brush's share of the
    thing's mean side."""
    count = int(rng.integers(3, 6))
    angles = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) * np.pi / count + rng.uniform(0, np.pi)
    reach = rng.uniform(0.5, 0.95, (2, count, 1))
    middles = rng.uniform(-0.1, 0.1, (count, 2))
    return np.stack([_around(angles) * reach[0], middles, -_around(angles) * reach[1]], axis=1), rng.uniform(0.3, 0.5)


def _held_box(rng: np.random.Generator, boxes: np.ndarray) -> np.ndarray:
    """(4,): the box around all boxes, or that of the middle frame in which the thing is."""
    there = boxes[~np.isnan(boxes).any(axis=1)]
    if rng.random() < 0.5:
        return there[len(there) // 2]
    return np.concatenate([there[:, :2].min(axis=0), there[:, 2:].max(axis=0)])


def _angles() -> np.ndarray:
    return np.arange(OUTLINE_POINTS) * 2 * np.pi / OUTLINE_POINTS


def _around(angles: np.ndarray) -> np.ndarray:
    """(P, 2) points of the unit circle."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _along_the_box(points: int) -> np.ndarray:
    """(P, 2) points spread over the outline of the box."""
    round_trip = np.concatenate([SQUARE, SQUARE[:1]])
    places = np.linspace(0, 4, points, endpoint=False)
    return np.stack([np.interp(places, range(5), round_trip[:, axis]) for axis in (0, 1)], axis=1)


def _placed(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The points (V, ..., 2) in box units as shares of the picture, on each frame's box (V, 4)."""
    shape = (len(boxes), *(1,) * (points.ndim - 2), 2)
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    return middle.reshape(shape) + points * half.reshape(shape)


def _fill(outlines: np.ndarray, height: int, width: int) -> np.ndarray:
    """(V, H, W) bool: the insides of closed lines (V, P, 2), shares of the picture; Pillow draws at least a pixel of each."""

    def draw(pencil: ImageDraw.ImageDraw, points: np.ndarray) -> None:
        pencil.polygon(points.ravel().tolist(), fill=1)

    return _pictures(outlines * (width, height), draw, height, width)


def _brushed(strokes: np.ndarray, across: float, height: int, width: int) -> np.ndarray:
    """(V, H, W) bool: strokes (V, S, P, 2), shares of the picture, by a round brush `across` pixels wide."""

    def draw(pencil: ImageDraw.ImageDraw, lines: np.ndarray) -> None:
        for line in lines:
            pencil.line(line.ravel().tolist(), fill=1, width=max(1, round(across)))
            for point in line.tolist():
                pencil.circle(point, across / 2, fill=1)  # round ends and joints

    return _pictures(strokes * (width, height), draw, height, width)


def _pictures(
    points: np.ndarray, draw: Callable[[ImageDraw.ImageDraw, np.ndarray], None], height: int, width: int
) -> np.ndarray:
    """(V, H, W) bool of what `draw` makes of each frame's points (V, ..., P, 2) in pixels; empty where they are NaN."""
    mask = np.zeros((len(points), height, width), dtype=bool)
    for frame, own in enumerate(points - 0.5):  # Pillow's whole numbers are the pixels' middles
        if np.isnan(own).any():
            continue
        if frame and np.array_equal(points[frame], points[frame - 1]):
            mask[frame] = mask[frame - 1]  # most things stand still most of the time
            continue
        picture = Image.new("L", (width, height))
        draw(ImageDraw.Draw(picture), own)
        mask[frame] = np.asarray(picture)
    return mask
