"""Boxes: rectangles that a detector found or a hand drew, and the JSON that keeps them, a line or a list for each frame.

They are the record of which part of the picture sounds; masks.py makes masks of them. Nothing here loads torch.
"""

import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from drawaudio_model.clip_format import SOURCE_VIDEO_FRAMES


@dataclass(frozen=True, slots=True)
class Box:
    """One detected or drawn rectangle in one frame; corners as fractions of the picture's width and height."""

    frame: int
    phrase_index: int
    """Number of the caption's noun phrase that it shows."""
    confidence: float
    """The detector's, 0 to 1; 1 for a drawn box."""
    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        """Raises ValueError for a frame, a confidence or corners that cannot be."""
        if self.frame < 0 or self.phrase_index < 0 or not 0 <= self.confidence <= 1:
            raise ValueError(f"{self} has a negative frame or phrase, or a confidence outside 0 to 1")
        if not (0 <= self.x0 < self.x1 <= 1 and 0 <= self.y0 < self.y1 <= 1):
            raise ValueError(
                f"box {self.x0:g},{self.y0:g},{self.x1:g},{self.y1:g} of frame {self.frame} has corners outside "
                "0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1, as shares of the picture; divide pixels by its size, and "
                "clip the box to it"
            )


def boxes_to_json(boxes: Iterable[Box], *, frames: int = SOURCE_VIDEO_FRAMES) -> str:
    """JSON: one list per frame of rows [phrase_index, confidence, x0, y0, x1, y1], rounded to six decimals.

    The order inside a frame is that of the rows' values, so equal boxes give equal text.

    Raises:
        ValueError: when a box lies beyond the last frame.
    """
    rows: list[list[list[float]]] = [[] for _ in range(frames)]
    for box in boxes:
        check_frame(box, frames)
        values = (box.confidence, box.x0, box.y0, box.x1, box.y1)
        rows[box.frame].append([box.phrase_index, *(round(float(value), 6) for value in values)])
    return json.dumps([sorted(frame) for frame in rows], separators=(",", ":"))


def boxes_from_json(text: str | bytes, *, frames: int | None = SOURCE_VIDEO_FRAMES) -> list[Box]:
    """The boxes that `boxes_to_json` wrote, or a training sample's `boxes.json`.

    Args:
        text: the JSON.
        frames: number of frames it must have; None accepts any.

    Raises:
        ValueError: when it is no such record.
    """
    rows = decode_boxes(text)
    if frames is not None and len(rows) != frames:
        raise ValueError(f"boxes JSON has {len(rows)} frames, expected {frames}")
    return [_box_from_row(frame, row) for frame, frame_rows in enumerate(rows) for row in frame_rows]


def decode_boxes(text: str | bytes) -> list[list[list[float]]]:
    """Rows of a sample's boxes per frame; a frame is a text with a line for each box or, as masks.py writes it, a list.

    Raises:
        ValueError: when it is neither.
    """
    try:
        frames = json.loads(text)
    except ValueError as error:
        raise ValueError(f"boxes are no JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("boxes are no JSON that can be read: lists within lists without end") from error
    if not isinstance(frames, list) or not all(isinstance(frame, list | str) for frame in frames):
        raise ValueError("boxes JSON is no list of frames, each with rows of phrase, confidence, x0, y0, x1, y1")
    return [[_box_row(line) for line in rows.splitlines()] if isinstance(rows, str) else rows for rows in frames]


def select_boxes(
    boxes: Iterable[Box], *, phrase_indices: Collection[int] | None = None, min_confidence: float = 0.0
) -> list[Box]:
    """The boxes of some phrases (None: of all) with at least this confidence."""
    return [
        box
        for box in boxes
        if box.confidence >= min_confidence and (phrase_indices is None or box.phrase_index in phrase_indices)
    ]


def _box_from_row(frame: int, row: Sequence[float]) -> Box:
    numbers = isinstance(row, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) for value in row
    )
    if not numbers or len(row) != 6:
        raise ValueError(f"boxes JSON has {row!r} in frame {frame}, expected [phrase, confidence, x0, y0, x1, y1]")
    return Box(frame, int(row[0]), *(float(value) for value in row[1:]))


def _box_row(line: str) -> list[float]:
    phrase, *numbers = line.split(" ")
    try:
        return [int(phrase), *map(float, numbers)]
    except ValueError:
        raise ValueError(f"boxes JSON has the line {line!r}, expected numbers: phrase confidence x0 y0 x1 y1") from None


def check_frame(box: Box, frames: int) -> None:
    """Raises ValueError when a box lies beyond the clip's last frame."""
    if box.frame >= frames:
        raise ValueError(f"box lies in frame {box.frame}, the clip has frames 0 to {frames - 1}")


def covered_pixels(low: float, high: float, size: int) -> slice:
    """The pixels of a row of `size` that an interval of [0, 1] touches; a millionth of a pixel is rounding, not touching."""
    first = min(math.floor(low * size + 1e-6), size - 1)
    return slice(first, max(math.ceil(high * size - 1e-6), first + 1))
