"""Which part of the picture sounds: boxes or drawn regions as binary masks, and masks applied to frames.

Boxes (boxes.py) are the record, small and independent of the picture's size; masks are rasterised from them when needed.
True means "this sounds". A frame without a box is empty while another frame has one: the object is not in the picture then. With
no box at all there is no instruction, and the mask is the whole frame.

Legend: V video frames, H/W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

# boxes_to_json and select_boxes lay in this file before; code outside may still import them from here.
from drawaudio_model.boxes import Box, boxes_from_json, check_frame
from drawaudio_model.boxes import boxes_to_json as boxes_to_json
from drawaudio_model.boxes import select_boxes as select_boxes
from drawaudio_model.clip_format import SOURCE_VIDEO_FRAMES

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


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
        check_frame(box, frames)
        rows, columns = _covered(box.y0, box.y1, height), _covered(box.x0, box.x1, width)
        mask[box.frame, rows, columns] = True
    return mask


def _covered(low: float, high: float, size: int) -> slice:
    """The pixels that an interval of [0, 1] touches; a millionth of a pixel is rounding, not touching."""
    first = min(math.floor(low * size + 1e-6), size - 1)
    return slice(first, max(math.ceil(high * size - 1e-6), first + 1))


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
        return image if image.ndim == 2 else np.asarray(image.any(axis=2))
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
