"""The demo world's canvas: shapes drawn several times too large, averaged down to the picture, and boxed as drawn.

Coordinates are picture pixels (floats, origin at the top left). Every shape is drawn SUPERSAMPLING times larger, so
edges come out anti-aliased and motion is smooth below one pixel. While a box is asked for, each shape is drawn a second
time into a mask; the box is the mask's extent, so it is as tight as the drawing itself.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from drawaudio_model.clip_format import FRAME_SIZE

Point = tuple[float, float]
Colour = tuple[int, int, int]

SUPERSAMPLING = 3
OUTLINE: Colour = (34, 32, 38)

COLOURS: dict[str, Colour] = {
    "red": (214, 48, 44),
    "orange": (240, 138, 36),
    "yellow": (244, 208, 52),
    "green": (56, 158, 72),
    "blue": (48, 96, 206),
    "purple": (132, 66, 178),
    "pink": (240, 128, 176),
    "white": (244, 244, 240),
    "black": (58, 58, 64),
    "brown": (134, 84, 48),
    "golden": (224, 176, 56),
    "silver": (186, 192, 202),
    "copper": (196, 108, 62),
    "grey": (136, 142, 152),
}


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (factor < 1) or mixed with white (factor > 1; 2 is white)."""
    if factor <= 1:
        red, green, blue = (round(channel * factor) for channel in colour)
    else:
        red, green, blue = (round(channel + (255 - channel) * (factor - 1)) for channel in colour)
    return red, green, blue


class Canvas:
    """One picture under construction: a background that is kept, and shapes on top of it.

    `clear` goes back to the background; `keep` makes what is drawn now the background (for props and resting objects).
    """

    def __init__(self, background: np.ndarray) -> None:
        """Start from a background, (FRAME_SIZE, FRAME_SIZE, 3) uint8."""
        side = FRAME_SIZE * SUPERSAMPLING
        large = background.repeat(SUPERSAMPLING, axis=0).repeat(SUPERSAMPLING, axis=1)
        self._background = Image.fromarray(np.ascontiguousarray(large))
        self._mask = Image.new("L", (side, side), 0)
        self._mask_draw = ImageDraw.Draw(self._mask)
        self._boxing = False
        self.clear()

    def clear(self) -> None:
        """Forget the shapes since the last `keep`."""
        self._picture = self._background.copy()
        self._draw = ImageDraw.Draw(self._picture)

    def keep(self) -> None:
        """Make the present picture the background that `clear` returns to."""
        self._background = self._picture.copy()

    def pixels(self) -> np.ndarray:
        """The picture, (FRAME_SIZE, FRAME_SIZE, 3) uint8."""
        return np.asarray(self._picture.reduce(SUPERSAMPLING))

    def begin_box(self) -> None:
        """Begin to measure the extent of the shapes that follow."""
        self._mask.paste(0, (0, 0, *self._mask.size))
        self._boxing = True

    def end_box(self) -> tuple[float, float, float, float]:
        """Extent x0, y0, x1, y1 in [0, 1] of everything drawn since `begin_box`, clipped to the picture."""
        self._boxing = False
        extent = self._mask.getbbox()
        assert extent is not None, "nothing was drawn inside the picture"
        x0, y0, x1, y1 = (value / (FRAME_SIZE * SUPERSAMPLING) for value in extent)
        return x0, y0, x1, y1

    def ellipse(self, centre: Point, radius_x: float, radius_y: float, fill: Colour, outline: float = 0.0) -> None:
        """A filled ellipse; `outline` is the width in pixels of a dark rim inside its edge."""
        if outline:
            self.ellipse(centre, radius_x, radius_y, OUTLINE)
            radius_x, radius_y = radius_x - outline, radius_y - outline
        x, y = centre
        large = [value * SUPERSAMPLING for value in (x - radius_x, y - radius_y, x + radius_x, y + radius_y)]
        corners = [large[0], large[1], max(large[0], large[2] - 1), max(large[1], large[3] - 1)]
        self._draw.ellipse(corners, fill=fill)
        if self._boxing:
            self._mask_draw.ellipse(corners, fill=255)

    def polygon(self, points: Sequence[Point], fill: Colour, outline: float = 0.0) -> None:
        """A filled polygon; `outline` is the width in pixels of a dark line along its edge."""
        large = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]
        self._draw.polygon(large, fill=fill)
        if self._boxing:
            self._mask_draw.polygon(large, fill=255)
        if outline:
            self.line([*points, points[0], points[1]], OUTLINE, outline)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, fill: Colour, outline: float = 0.0) -> None:
        """A filled rectangle."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill, outline)

    def line(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """A line through the points, `width` pixels wide, joined roundly."""
        large = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]
        thickness = max(1, round(width * SUPERSAMPLING))
        self._draw.line(large, fill=fill, width=thickness, joint="curve")
        if self._boxing:
            self._mask_draw.line(large, fill=255, width=thickness, joint="curve")


def backdrop(rng: np.random.Generator) -> np.ndarray:
    """A room or a sky: a pale or dim vertical gradient, a band of ground and a faint pattern, (H, W, 3) uint8."""
    hue, brightness = rng.uniform(0, 2 * np.pi), rng.uniform(140, 215)
    tint = 16 * np.cos(hue + np.array([0.0, 2.1, 4.2]))
    slope = np.linspace(rng.uniform(-14, 14), rng.uniform(-14, 14), FRAME_SIZE)
    picture = brightness + tint + slope[:, None, None] * np.ones((1, FRAME_SIZE, 1))
    x, y = np.meshgrid(np.arange(FRAME_SIZE), np.arange(FRAME_SIZE))
    period, angle = rng.uniform(18, 60), rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    stripes = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    picture += (rng.choice([0.0, 3.0, 6.0]) * np.sign(stripes))[:, :, None]
    horizon = int(FRAME_SIZE * rng.uniform(0.7, 0.95))
    picture[horizon:] = picture[horizon:] * rng.uniform(0.72, 0.9) + rng.uniform(-8, 8, 3)
    return np.clip(picture, 0, 255).astype(np.uint8)
