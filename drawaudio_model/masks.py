"""Which part of the picture sounds: boxes or drawn regions as binary masks, and masks applied to frames.

Boxes are the record (small, independent of the picture's size); masks are rasterised from them when needed. True means
"this sounds". A frame without a box is empty while another frame has one: the object is not in the picture then. With
no box at all there is no instruction, and the mask is the whole frame.

Legend: V video frames, H/W pixels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .clip_format import SOURCE_VIDEO_FRAMES
from .shard import decode_boxes

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True, slots=True)
class Box:
    """One detected or drawn rectangle in one frame; corners as fractions of the picture's width and height."""

    frame: int
    phrase_index: int
    """Which noun phrase of the caption it shows."""
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
                "0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1, as shares of the picture; clip it to the picture"
            )


def boxes_to_json(boxes: Iterable[Box], *, frames: int = SOURCE_VIDEO_FRAMES) -> str:
    """JSON: one list per frame of rows [phrase_index, confidence, x0, y0, x1, y1], rounded to six decimals.

    The order inside a frame is that of the rows' values, so equal boxes give equal text.

    Raises:
        ValueError: when a box lies beyond the last frame.
    """
    rows: list[list[list[float]]] = [[] for _ in range(frames)]
    for box in boxes:
        _check_frame(box, frames)
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


def _box_from_row(frame: int, row: Sequence[float]) -> Box:
    if not isinstance(row, list) or len(row) != 6 or not all(isinstance(value, int | float) for value in row):
        raise ValueError(f"boxes JSON has {row!r} in frame {frame}, expected [phrase, confidence, x0, y0, x1, y1]")
    return Box(frame, int(row[0]), *(float(value) for value in row[1:]))


def select_boxes(
    boxes: Iterable[Box], *, phrase_indices: Collection[int] | None = None, min_confidence: float = 0.0
) -> list[Box]:
    """The boxes of some phrases (None: of all) with at least this confidence."""
    return [
        box
        for box in boxes
        if box.confidence >= min_confidence and (phrase_indices is None or box.phrase_index in phrase_indices)
    ]


def rasterize(
    boxes: Sequence[Box],
    height: int,
    width: int,
    *,
    frames: int = SOURCE_VIDEO_FRAMES,
    whole_frame_if_empty: bool = True,
) -> np.ndarray:
    """(V, H, W) bool: True in every pixel that a box of that frame touches (covering rule: a mask never cuts an object).

    Args:
        boxes: of one clip, in any order; several in a frame add up.
        height: of the mask in pixels.
        width: of the mask in pixels.
        frames: V.
        whole_frame_if_empty: what a clip without any box gets: all True (no instruction), or all False.

    Raises:
        ValueError: when a box lies beyond the last frame.
    """
    if not boxes and whole_frame_if_empty:
        return np.ones((frames, height, width), dtype=bool)
    mask = np.zeros((frames, height, width), dtype=bool)
    for box in boxes:
        _check_frame(box, frames)
        rows, columns = _covered(box.y0, box.y1, height), _covered(box.x0, box.x1, width)
        mask[box.frame, rows, columns] = True
    return mask


def _covered(low: float, high: float, size: int) -> slice:
    """The pixels that an interval of [0, 1] touches; a millionth of a pixel is rounding, not touching."""
    first = min(math.floor(low * size + 1e-6), size - 1)
    return slice(first, max(math.ceil(high * size - 1e-6), first + 1))


def _check_frame(box: Box, frames: int) -> None:
    if box.frame >= frames:
        raise ValueError(f"box lies in frame {box.frame}, the clip has frames 0 to {frames - 1}")


def apply_mask(frames: np.ndarray | Tensor, mask: np.ndarray | Tensor) -> np.ndarray | Tensor:
    """The frames with everything outside the mask black; same type, dtype and shape. Paper: M * x_v in Eq. (7).

    Args:
        frames: (..., V, H, W, 3) or (..., V, 3, H, W), uint8 or float, numpy or torch.
        mask: (..., V, H, W) bool of the same pictures; leading axes broadcast.

    Raises:
        ValueError: when frames and mask do not belong together.
    """
    height_width = tuple(mask.shape[-2:])
    if mask.ndim >= 3 and frames.ndim >= 4 and frames.shape[-4] == mask.shape[-3]:
        if frames.shape[-1] == 3 and tuple(frames.shape[-3:-1]) == height_width:
            return _multiply(frames, mask, channel_axis=-1)
        if frames.shape[-3] == 3 and tuple(frames.shape[-2:]) == height_width:
            return _multiply(frames, mask, channel_axis=-3)
    raise ValueError(
        f"frames have shape {tuple(frames.shape)} and the mask {tuple(mask.shape)}, expected (V, H, W, 3) or (V, 3, H, W) "
        "frames and a (V, H, W) mask; resize the mask first"
    )


def _multiply(frames: np.ndarray | Tensor, mask: np.ndarray | Tensor, *, channel_axis: int) -> np.ndarray | Tensor:
    if isinstance(frames, Tensor):
        keep = torch.as_tensor(mask, device=frames.device).bool().unsqueeze(channel_axis)
        return frames * keep.to(frames.dtype)
    return frames * np.expand_dims(np.asarray(mask, dtype=bool), channel_axis).astype(frames.dtype)


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mask (V, H, W) at another size: each new pixel takes the old pixel under its centre."""
    rows = ((np.arange(height) + 0.5) * mask.shape[-2] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * mask.shape[-1] / width).astype(int)
    return mask[..., rows[:, None], columns[None, :]]


def from_images(images: Sequence[np.ndarray], height: int, width: int, *, frames: int) -> np.ndarray:
    """(V, H, W) bool of drawn pictures: one for all frames, or one per frame.

    Drawn is what is opaque in a picture with transparency (alpha at least half), else what is bright (mean of the
    channels at least half).

    Args:
        images: each (h, w), (h, w, 3) or (h, w, 4), bool or uint8, any size.
        height: of the result.
        width: of the result.
        frames: V.

    Raises:
        ValueError: for another number of images than 1 or V, or another kind of array.
    """
    if len(images) not in (1, frames):
        raise ValueError(f"mask has {len(images)} pictures, expected 1 or one for each of the {frames} frames")
    regions = [resize_mask(_drawn(np.asarray(image)), height, width) for image in images]
    return np.repeat(np.stack(regions), frames // len(regions), axis=0)


def _drawn(image: np.ndarray) -> np.ndarray:
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise ValueError(f"mask picture has shape {image.shape}, expected (H, W), (H, W, 3) or (H, W, 4)")
    if image.dtype == bool:
        return image if image.ndim == 2 else image.any(axis=2)
    if image.dtype != np.uint8:
        raise ValueError(f"mask picture has the type {image.dtype}, expected bool or uint8")
    if image.ndim == 3 and image.shape[2] == 4:
        if image[..., 3].min() < 255:
            return image[..., 3] >= 128
        image = image[..., :3]
    return image >= 128 if image.ndim == 2 else image.mean(axis=2) >= 127.5


def read_mask(path: Path, height: int, width: int, *, frames: int) -> np.ndarray:
    """(V, H, W) bool from a picture, a folder of pictures (by name order), or a .json of boxes.

    Raises:
        ValueError: for another kind of file, or a number of pictures that does not fit.
    """
    if path.is_dir():
        pictures = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        if not pictures:
            raise ValueError(f"mask folder {path} has no picture ({', '.join(IMAGE_SUFFIXES)})")
        return from_images([_read_image(picture) for picture in pictures], height, width, frames=frames)
    if path.suffix.lower() == ".json":
        return rasterize(boxes_from_json(path.read_bytes(), frames=frames), height, width, frames=frames)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return from_images([_read_image(path)], height, width, frames=frames)
    raise ValueError(f"mask {path} is neither a picture ({', '.join(IMAGE_SUFFIXES)}), a folder of them, nor a .json")


def _read_image(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        has_alpha = "A" in image.getbands() or "transparency" in image.info
        return np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
