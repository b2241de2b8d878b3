"""Drawings of the studio in the form that the model takes: shapes as the pictures of a mask, decibels as a loudness curve.

A mask is kept as shapes in fractions of the picture, so that undoing a stroke costs a stroke and not a picture, and is
turned into pictures for a generation. They lie in a folder that `drawaudio generate --mask` reads, and the studio gives
the pipeline this very folder.

Legend: V video frames at 4 fps, H/W pixels of the picture that the model sees.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from drawaudio_model.atomic_files import fingerprint, replaced_folder
from drawaudio_model.boxes import covered_pixels
from drawaudio_model.clip_format import LOUDNESS_FPS
from drawaudio_model.studio.document import Mask, Shape

SILENCE_DB = -60.0
"""The lowest line of a curve; what lies there is silence."""


def draw_regions(mask: Mask, frames: int, height: int, width: int) -> list[np.ndarray]:
    """The (H, W) bool region of each of V frames: what was drawn, before it is inverted.

    Frames between which nothing moves share one array.

    Args:
        mask: as `project.check_document` lets it through.
        frames: V.
        height: H.
        width: W.
    """
    regions: list[np.ndarray] = []
    before: list[Shape] | None = None
    for frame in range(frames):
        shapes = shapes_at(mask, frame)
        regions.append(regions[-1] if shapes == before else draw_shapes(shapes, height, width))
        before = shapes
    return regions


def shapes_at(mask: Mask, frame: int) -> list[Shape]:
    """The shapes of one frame of a mask.

    A keyframe holds until the next one; the first holds backwards, too. Where it is linear, its shapes move in straight
    lines to those of the next: the first to the first and so on, each where both are of one kind with as many points.
    Others hold.
    """
    keyframes = sorted(mask["keyframes"], key=lambda keyframe: keyframe["frame"])
    place = max(sum(keyframe["frame"] <= frame for keyframe in keyframes) - 1, 0)
    here = keyframes[place]
    if not here.get("linear", False) or place + 1 == len(keyframes) or frame <= here["frame"]:
        return list(here["shapes"])
    after = keyframes[place + 1]
    share = (frame - here["frame"]) / (after["frame"] - here["frame"])
    pairs = zip(here["shapes"], after["shapes"], strict=False)
    moved = [_between(shape, goal, share) for shape, goal in pairs]
    return moved + list(here["shapes"][len(moved) :])


def _between(shape: Shape, goal: Shape, share: float) -> Shape:
    """A shape that has gone this share of its way to another; one that cannot become the other stays."""
    if any(shape[name] != goal[name] for name in ("kind", "cut")) or len(shape["points"]) != len(goal["points"]):
        return shape
    points = [
        [value + (end - value) * share for value, end in zip(point, other, strict=True)]
        for point, other in zip(shape["points"], goal["points"], strict=True)
    ]
    return {**shape, "points": points, "size": shape["size"] + (goal["size"] - shape["size"]) * share}


def draw_shapes(shapes: Sequence[Shape], height: int, width: int) -> np.ndarray:
    """(H, W) bool of shapes, one after the other: each adds what it covers, or cuts it out."""
    region = np.zeros((height, width), bool)
    for shape in shapes:
        region[_covered_by(shape, height, width)] = not shape["cut"]
    return region


def _covered_by(shape: Shape, height: int, width: int) -> np.ndarray:
    """(H, W) bool of one shape; a box has every pixel that it touches, as boxes have them everywhere."""
    if shape["kind"] == "box":
        covered = np.zeros((height, width), bool)
        (x0, y0), (x1, y1) = shape["points"]
        rows = covered_pixels(min(y0, y1), max(y0, y1), height)
        covered[rows, covered_pixels(min(x0, x1), max(x0, x1), width)] = True
        return covered
    picture = Image.new("L", (width, height))
    draw = ImageDraw.Draw(picture)
    places = [(x * width, y * height) for x, y in shape["points"]]
    if shape["kind"] == "lasso":
        draw.polygon(places, fill=255)
    else:
        radius = shape["size"] * height / 2
        if len(places) > 1:
            draw.line(places, fill=255, width=max(round(2 * radius), 1), joint="curve")
        for x, y in places:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(picture) > 0


def write_mask_folder(parent: Path, mask: Mask, frames: int, height: int, width: int) -> Path:
    """The folder of a mask's pictures, named after what is drawn in it; made where it is not there yet.

    It holds a picture for each frame, or one alone where nothing changes, white on black.
    """
    name = fingerprint(mask["keyframes"], frames, height, width)[:16]
    folder = parent / name
    if folder.is_dir():
        return folder
    regions = draw_regions(mask, frames, height, width)
    changes = any(region is not regions[0] for region in regions)
    with replaced_folder(folder) as partial:
        for number, region in enumerate(regions if changes else regions[:1], start=1):
            (partial / f"{number:05d}.png").write_bytes(png(region))
    return folder


def png(region: np.ndarray) -> bytes:
    """A region (H, W) bool as a picture, white on black."""
    buffer = io.BytesIO()
    Image.fromarray(region.astype(np.uint8) * 255).save(buffer, "PNG")
    return buffer.getvalue()


def curve_levels(curve: Sequence[Sequence[float]], seconds: float) -> list[tuple[float, float]]:
    """The (time, level) points that the model receives of a curve in decibels: ten a second, and nothing between them.

    Between its points a curve is straight in decibels, as it is drawn; its lowest line is silence.

    Args:
        curve: (time in seconds, decibels) points, times rising; two at one time are a jump to the second.
        seconds: length of the sound.
    """
    times = (np.arange(math.ceil(round(seconds * LOUDNESS_FPS, 6))) + 0.5) / LOUDNESS_FPS
    decibels = np.interp(times, [point[0] for point in curve], [point[1] for point in curve])
    levels = np.where(decibels <= SILENCE_DB, 0.0, 10 ** (decibels / 20))
    return list(zip(times.tolist(), levels.tolist(), strict=True))


def decibels_of(levels: np.ndarray) -> list[tuple[float, float]]:
    """The (time, decibels) points, as a curve has them, of levels that stand ten a second."""
    decibels = 20 * np.log10(np.maximum(levels.astype(np.float64), 10 ** (SILENCE_DB / 20)))
    times = (np.arange(len(levels)) + 0.5) / LOUDNESS_FPS
    return list(zip(times.tolist(), np.round(decibels.clip(max=0.0), 2).tolist(), strict=True))
