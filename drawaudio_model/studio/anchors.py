"""The looks of the thing that a followed shape was drawn on, and the search for it in later pictures.

Legend: H/W pixels of the picture, h/w of the shape's outer box.
"""

import numpy as np

from drawaudio_model.studio.document import Shape

APART = 6.0
"""Pixels; once a shape has gone so far from where its ground now lies, thing and ground in it are told apart."""
UNLIKE = 24
"""Grey levels of 255; what differs more is something else."""
LEAST_SHARE = 0.12
"""Of a shape's pixels that have to be thing; where fewer are, nothing has moved, and the shape goes with the rest."""
ALIKE = 0.6
"""Correlation from which on a place is where the thing is."""
SCALES = (0.94, 1.0, 1.06)
"""At which a thing is looked for, times its size so far."""
REACH, MOST_REACH = 10, 60
"""Pixels around the expected place that are searched: at first, and after having been lost for long."""
LEAST_SIDE = 6
"""Of the shape's outer box, in pixels; a smaller one is left to the flow."""


class Anchor:
    """The appearance of one shape in the first picture.

    Args:
        shape: as it was drawn.
        region: (H, W) bool of it.
        picture: (H, W, 3) uint8, the first.
    """

    def __init__(self, shape: Shape, region: np.ndarray, picture: np.ndarray) -> None:
        rows, columns = np.nonzero(region)
        self.usable = len(rows) > 0
        if not self.usable:
            return
        self.top, self.left = rows.min(), columns.min()
        inside = slice(self.top, rows.max() + 1), slice(self.left, columns.max() + 1)
        self.looks, self.own = picture[inside], region[inside].astype(np.float32)  # (h, w, 3), (h, w)
        self.usable = min(self.own.shape) >= LEAST_SIDE
        self.first = np.asarray(shape["points"], np.float64)
        self.size = float(shape["size"])
        self.rest, self.lost, self.apart = np.zeros(2), 0, False
        self.scale = 1.0

    def held(self, shape: Shape, picture: np.ndarray, rest: np.ndarray) -> Shape:
        """The shape as flow has moved it into a picture, corrected where what it was drawn on is found there.

        Args:
            shape: moved.
            picture: (H, W, 3) uint8.
            rest: (2,) pixels by which the rest of the picture went since the picture before.
        """
        if not self.usable:
            return shape
        self.rest = self.rest + rest
        height, width = picture.shape[:2]
        points = np.asarray(shape["points"], np.float64)
        way = (_middle(points) - _middle(self.first)) * (width, height)
        if not self.apart and np.abs(way - self.rest).max() < APART:
            # Less than a pixel cannot be judged, and a slow thing's pixels add up.
            judged = np.abs(np.round(way) - np.round(self.rest)).max() >= 1
            drifted = judged and self._told_apart(picture, way)[1] < LEAST_SHARE / 3
            drifted = drifted and self._off(picture, self.rest) <= self._off(picture, way)
            return self._placed(shape, self.rest, 1.0, width, height) if drifted else shape
        if not self.apart:
            thing, explained = self._told_apart(picture, way)
            if explained < LEAST_SHARE:
                # It looks as if it were where it was: the shape has drifted, the thing has not moved.
                return self._placed(shape, self.rest, 1.0, width, height)
            self.apart, self.own = True, thing
        found = self._found(picture, way)
        if found is None:
            self.lost += 1
            return shape
        self.lost = 0
        way, self.scale = found
        return self._placed(shape, way, self.scale, width, height)

    def _placed(self, shape: Shape, way: np.ndarray, scale: float, width: int, height: int) -> Shape:
        middle = _middle(self.first)
        points = middle + (self.first - middle) * scale + way / (width, height)
        return {**shape, "points": points.tolist(), "size": min(self.size * scale, 1.0)}

    def _told_apart(self, picture: np.ndarray, way: np.ndarray) -> tuple[np.ndarray, float]:
        """(h, w) float32, 1 where a pixel of the shape is thing: where it does not look as if it had stayed; and the share of
        pixels that are seen again after the way and not where they were, which is small where a thing only changes its looks."""
        stayed, gone = self._unlike(picture, self.rest), self._unlike(picture, way)
        explained = self.own * ((stayed > UNLIKE) & (gone < 0.5 * stayed))
        thing = self.own * ((stayed > UNLIKE) | (gone < stayed)).astype(np.float32)
        return thing, float(explained.sum() / max(self.own.sum(), 1.0))

    def _off(self, picture: np.ndarray, way: np.ndarray) -> float:
        """By how much the picture differs from the shape's looks after a way (2,), over the shape."""
        return float((self._unlike(picture, way).clip(max=3 * UNLIKE) * self.own).sum())

    def _unlike(self, picture: np.ndarray, way: np.ndarray) -> np.ndarray:
        """(h, w) by how much the picture differs from the shape's looks where those would lie after a way (2,)."""
        rows, columns = np.indices(self.own.shape)
        rows = np.clip(np.round(rows + self.top + way[1]).astype(int), 0, picture.shape[0] - 1)
        columns = np.clip(np.round(columns + self.left + way[0]).astype(int), 0, picture.shape[1] - 1)
        return np.abs(picture[rows, columns].astype(np.int16) - self.looks).max(axis=-1)

    def _found(self, picture: np.ndarray, way: np.ndarray) -> tuple[np.ndarray, float] | None:
        """The way (2,) in pixels to where the thing is, and its size against the first; None where it is not to be seen."""
        import cv2

        reach = min(REACH + 4 * self.lost, MOST_REACH)
        height, width = self.own.shape
        best, found = ALIKE, None
        margin = MOST_REACH + max(height, width)
        padded = cv2.copyMakeBorder(picture, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
        for scale in (self.scale * step for step in SCALES):
            size = max(round(width * scale), 2), max(round(height * scale), 2)
            looks, own = cv2.resize(self.looks, size), cv2.resize(self.own, size)
            # Where its upper left corner is expected, in the padded picture.
            corner = np.array([self.left + (width - size[0]) / 2, self.top + (height - size[1]) / 2]) + way + margin
            x, y = np.round(corner).astype(int) - reach
            x, y = max(x, 0), max(y, 0)
            area = padded[y : y + size[1] + 2 * reach, x : x + size[0] + 2 * reach]
            if area.shape[0] < size[1] or area.shape[1] < size[0] or own.max() <= 0:
                continue
            weights = np.repeat(own[:, :, None], 3, axis=2)
            alike = cv2.matchTemplate(
                area.astype(np.float32), looks.astype(np.float32), cv2.TM_CCOEFF_NORMED, mask=weights
            )
            alike = np.where(np.isfinite(alike) & (alike <= 1.001), alike, -1.0)
            rows, columns = np.indices(alike.shape)
            away = np.hypot(rows + y - corner[1], columns + x - corner[0])
            alike = alike - 0.002 * away - (0.01 if scale != self.scale else 0.0)
            row, column = np.unravel_index(int(alike.argmax()), alike.shape)
            if alike[row, column] > best:
                best = float(alike[row, column])
                found = way + (np.array([column + x, row + y]) - corner), scale
        return found


def _middle(points: np.ndarray) -> np.ndarray:
    return (points.min(axis=0) + points.max(axis=0)) / 2
