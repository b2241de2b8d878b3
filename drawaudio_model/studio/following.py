"""Shapes of a mask that follow what they were drawn on: keyframes made by dense optical flow, to be edited like any others.

Each shape moves and grows as the pixels in it do that move otherwise than the rest of the picture: a loose box has more
background in it than thing. Pixels whose flow there and back does not return are left out. What is lost from picture to
picture adds up; so once a thing has moved away from its ground, it is looked for as it was drawn on (`studio/anchors.py`).

Legend: N pictures of the video, H/W their pixels, P pixels of one shape.
"""

from collections.abc import Callable, Sequence

import numpy as np

from drawaudio_model.clip_format import VIDEO_FPS
from drawaudio_model.studio.anchors import Anchor
from drawaudio_model.studio.document import Keyframe, Shape
from drawaudio_model.studio.drawing import draw_shapes

STEPS_A_FRAME = 3
"""Pictures that are looked at for each of the model's frames: flow is found over short ways only."""
PICTURES_A_SECOND = VIDEO_FPS * STEPS_A_FRAME
LONGER_SIDE = 320
"""Of these pictures, in pixels."""
MOST_SECONDS = 60.0
"""That one call follows, so that its pictures fit into memory."""
TOLERANCE = 0.006
"""Of the picture: a keyframe that lies this near to the line between its neighbours is left out."""
LEAST_PIXELS = 12
"""That have to move before a shape does."""
MOST_MATCHED = 150
"""Pixels of a shape that are compared."""
MOST_OF_REST = 3000
"""Pixels outside the shapes that are compared."""
UNLIKE = 40
"""Grey levels of 255; what differs more is something else."""
_MOST_GROWTH = 1.06
"""In one step."""
_REACH = 12
"""Pixels by which a thing is looked for in one step, besides where flow says that it goes."""

Shapes = list[Shape]


def follow(
    shapes: Sequence[Shape],
    pictures: np.ndarray,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> list[Shapes]:
    """The shapes in the first picture and in every STEPS_A_FRAME-th after it.

    Args:
        shapes: as they lie on the first picture.
        pictures: (N, H, W, 3) uint8, STEPS_A_FRAME times as many a second as the model sees.
        tell: called with the pictures that are done, and all; what it raises ends it.
    """
    import cv2

    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]  # not in its stubs
    # In full size and unsmoothed: at half size a step is found a twentieth too short, and a box falls behind.
    flow.setFinestScale(0)
    flow.setVariationalRefinementIterations(0)
    flow.setPatchStride(4)
    now = list(shapes)
    found = [_within_picture(now)]
    anchors = [
        Anchor(shape, draw_shapes([{**shape, "cut": False}], *pictures.shape[1:3]), pictures[0]) for shape in now
    ]
    for number in range(1, len(pictures)):
        tell(number, len(pictures))
        before, after = pictures[number - 1], pictures[number]
        if not np.array_equal(before, after):
            grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (before, after)]
            there, back = flow.calc(*grey, None), flow.calc(*grey[::-1], None)  # each (H, W, 2)
            now, rest = _moved(now, before, after, there, back)
            now = [anchor.held(shape, after, rest) for anchor, shape in zip(anchors, now, strict=True)]
        if number % STEPS_A_FRAME == 0:
            found.append(_within_picture(now))
    return found


def _moved(
    shapes: Shapes, before: np.ndarray, after: np.ndarray, there: np.ndarray, back: np.ndarray
) -> tuple[Shapes, np.ndarray]:
    """The shapes one picture later, and the way (2,) of the rest of the picture."""
    height, width = there.shape[:2]
    regions = [draw_shapes([{**shape, "cut": False}], height, width) for shape in _within_picture(shapes)]
    outside = ~np.any(regions, axis=0) if regions else np.ones((height, width), bool)
    rest = _way_of_rest(before, after, there, outside)
    pairs = zip(shapes, regions, strict=True)
    moved = [_moved_shape(shape, region, (before, after), there, back, rest) for shape, region in pairs]
    return moved, rest


def _way_of_rest(before: np.ndarray, after: np.ndarray, there: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """The way (2,) of the pixels outside (H, W) all shapes: flow's median, or none where that makes them no more alike.

    Noise and a light that comes and goes give the flow of a camera at rest a way, which would add up.
    """
    rows, columns = np.nonzero(outside)
    if not len(rows):
        return np.zeros(2)
    way = np.median(there[outside], axis=0).astype(np.float64)
    places = np.stack([columns, rows], axis=1)[:: -(-len(rows) // MOST_OF_REST)].astype(np.float64)
    first = _seen(before, places[None])
    still, moved = (float(np.abs(_seen(after, places[None] + step) - first).mean()) for step in (np.zeros(2), way))
    return way if moved < 0.8 * still else np.zeros(2)


def _moved_shape(
    shape: Shape,
    region: np.ndarray,
    pictures: tuple[np.ndarray, np.ndarray],
    there: np.ndarray,
    back: np.ndarray,
    rest: np.ndarray,
) -> Shape:
    height, width = region.shape
    rows, columns = np.nonzero(region)
    places = np.stack([columns, rows], axis=1).astype(np.float64)  # (P, 2)
    ways = there[rows, columns].astype(np.float64)  # (P, 2)
    ends = np.round(places + ways).astype(int)
    inside = (ends >= 0).all(axis=1) & (ends[:, 0] < width) & (ends[:, 1] < height)
    returned = np.full(len(places), np.inf)
    returned[inside] = np.linalg.norm(ways[inside] + back[ends[inside, 1], ends[inside, 0]], axis=1)
    sure = returned < 0.5 + 0.1 * np.linalg.norm(ways, axis=1)
    places, ways = places[sure], ways[sure]
    way, growth = rest, 1.0
    if len(places) >= LEAST_PIXELS:
        apart = np.linalg.norm(ways - rest, axis=1)
        # What moves most sets the measure; the noise of still pixels is below half a pixel.
        moving = apart > max(0.5, 0.5 * float(np.quantile(apart, 0.98)))
        if moving.sum() >= LEAST_PIXELS:
            places, ways = places[moving], ways[moving]
        way, growth = np.median(ways, axis=0), _growth(places, ways)
    matched = _matched(*pictures, np.stack([columns, rows], axis=1), way, rest)
    if matched is not None:
        growth = growth if np.abs(matched - way).max() < 1.5 else 1.0
        way = matched
    elif np.abs(way - rest).max() > 1:
        way, growth = rest, 1.0
    corners = np.asarray(shape["points"]) * (width, height)
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    points = (middle + (corners - middle) * growth + way) / (width, height)
    return {**shape, "points": points.tolist(), "size": min(shape["size"] * growth, 1.0)}


def _matched(
    before: np.ndarray, after: np.ndarray, places: np.ndarray, way: np.ndarray, rest: np.ndarray
) -> np.ndarray | None:
    """The way (2,) on which a shape's pixels (P, 2) look most alike; None if that is the way of the rest of the picture.

    Flow takes a flat thing's patch and the ground around it for one, finds half of its way, and loses it in a codec's noise.
    A pixel that goes with the rest of the picture says nothing against a way, so that the ground in a loose box does not
    hold the thing; of several ways that explain all that has changed, the one in which most pixels agree is taken, and of
    those the one that is nearest to what flow says.
    """
    height, width = before.shape[:2]
    some = places[:: -(-len(places) // MOST_MATCHED)]

    def unlike(places: np.ndarray, ways: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """(O, P) how much pixels of the first picture differ from where they go in the second; half of it beyond its edges."""
        ends = places + ways[:, None]  # (O, P, 2)
        inside = (ends > -0.5).all(axis=-1) & (ends[..., 0] < width - 0.5) & (ends[..., 1] < height - 0.5)
        return np.where(
            inside, np.abs(_seen(second, ends) - _seen(first, places)).max(axis=-1).clip(max=UNLIKE), UNLIKE / 2
        )

    stays = unlike(some[None], rest[None], before, after)

    def costs(offsets: np.ndarray) -> np.ndarray:
        """(O,) of ways (O, 2): what neither they nor the rest's way explain, where the shape was and where it comes to lie."""
        gone = unlike(some[None], offsets, before, after)
        arrived = some + offsets[:, None]
        come = unlike(arrived, -offsets, after, before)
        there = unlike(arrived, np.broadcast_to(-rest, offsets.shape), after, before)
        seen = np.minimum(gone, stays).mean(axis=1) + np.minimum(come, there).mean(axis=1)
        return seen + 0.1 * gone.mean(axis=1) + 0.02 * np.abs(offsets - way).sum(axis=1)

    # Whole pixels: what is left over is made good by the looks of what was drawn on (`anchors`).
    ways = np.unique(np.concatenate([_around(_REACH) + np.round(rest), _around(2) + np.round(way)]), axis=0)
    found = costs(ways)
    if found.min() > 0.8 * float(costs(rest[None])[0]) - 1:
        return None
    return ways[found.argmin()]


def _around(reach: int) -> np.ndarray:
    """(O, 2) ways of up to `reach` whole pixels."""
    steps = np.arange(-reach, reach + 1.0)
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


def _seen(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(O, P, 3) colours between the pixels of a picture, at places (O, P, 2) across and down."""
    import cv2

    across, down = np.ascontiguousarray(places.transpose(2, 0, 1), np.float32)
    return cv2.remap(picture, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)


def _growth(places: np.ndarray, ways: np.ndarray) -> float:
    """By how much the distances between pixels (P, 2) grow as they go their ways (P, 2)."""
    order = np.random.default_rng(0).permutation(len(places))
    gaps, new = places - places[order], places + ways - (places + ways)[order]
    lengths = np.linalg.norm(gaps, axis=1)
    far = lengths > 8
    if far.sum() < LEAST_PIXELS:
        return 1.0
    growth = float(np.median(np.linalg.norm(new[far], axis=1) / lengths[far]))
    return 1.0 if abs(growth - 1) < 0.004 else min(max(growth, 1 / _MOST_GROWTH), _MOST_GROWTH)


def _within_picture(shapes: Shapes) -> Shapes:
    """The shapes that can be drawn; one that has left the picture may come back as large as it was."""
    return [
        {**shape, "points": [[min(max(value, 0.0), 1.0) for value in point] for point in shape["points"]]}
        for shape in shapes
    ]


def keyframes_of(found: Sequence[Shapes], first: int) -> list[Keyframe]:
    """Keyframes, linear but for the last, of shapes in every frame of the model; as few as follow them closely.

    Args:
        found: shapes of frames that follow each other, as many and of the same kinds in each.
        first: number of the first of these frames.
    """
    ways = np.array([[value for shape in shapes for point in shape["points"] for value in point] for shapes in found])
    kept = {0, len(found) - 1}
    ahead = [(0, len(found) - 1)]
    while ahead:
        start, end = ahead.pop()
        share = ((np.arange(start, end + 1) - start) / max(end - start, 1))[:, None]
        off = np.abs(ways[start : end + 1] - ways[start] - share * (ways[end] - ways[start]))
        worst = int(off.max(axis=1, initial=0.0).argmax())
        if off.max(initial=0.0) > TOLERANCE:
            kept.add(start + worst)
            ahead += [(start, start + worst), (start + worst, end)]
    order = sorted(kept)
    if len(order) == 2 and np.abs(ways[0] - ways[-1]).max(initial=0.0) <= TOLERANCE:
        order = [0]  # it stays where it is
    return [{"frame": first + place, "shapes": _rounded(found[place]), "linear": place != order[-1]} for place in order]


def _rounded(shapes: Shapes) -> Shapes:
    return [
        {**shape, "points": [[round(value, 4) for value in point] for point in shape["points"]]} for shape in shapes
    ]
