"""Masks of the part of the picture that sounds: boxes or drawn regions as binary masks, and masks applied to frames.

Boxes (boxes.py) are the record, small and independent of the picture's size; masks are rasterised from them when needed.
True means "this sounds". A frame without a box is empty while another frame has one: the object is not in the picture then. With
no box at all there is no instruction, and the mask is the whole frame; a mask that a person gives must have something in it.

What counts as drawn in a picture is said in mask_pictures.py.

Legend: V video frames, H/W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

# boxes_to_json and select_boxes lay in this file before; code outside may still import them from here.
from drawaudio_model import mask_rle
from drawaudio_model.boxes import Box, boxes_from_json, check_frame, covered_pixels, decode_boxes
from drawaudio_model.boxes import boxes_to_json as boxes_to_json
from drawaudio_model.boxes import select_boxes as select_boxes
from drawaudio_model.clip_format import SOURCE_VIDEO_FRAMES
from drawaudio_model.mask_pictures import DAMAGES, MaskPicture, drawn, open_picture, picture_of
from drawaudio_model.text_files import decode, parse_json

if TYPE_CHECKING:
    from torch import Tensor

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
PREVIEW_SUFFIXES = IMAGE_SUFFIXES[:5]
"""Of pictures that are written: those that any browser shows."""
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
"""Of videos that may be a mask."""
ASPECT_TOLERANCE = 0.02
"""Difference of a mask's and a video's width to height that rounding may leave."""


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
        rows, columns = covered_pixels(box.y0, box.y1, height), covered_pixels(box.x0, box.x1, width)
        mask[box.frame, rows, columns] = True
    return mask


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
    if isinstance(frames, np.ndarray):
        return frames * np.expand_dims(np.asarray(mask, dtype=bool), channel_axis).astype(frames.dtype)
    import torch

    keep = torch.as_tensor(mask, device=frames.device).bool().unsqueeze(channel_axis)
    return frames * keep.to(frames.dtype)


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mask (V, H, W) at another size: each new pixel takes the old pixel under its centre."""
    rows = ((np.arange(height) + 0.5) * mask.shape[-2] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * mask.shape[-1] / width).astype(int)
    return mask[..., rows[:, None], columns[None, :]]


class DrawnMask(NamedTuple):
    """A mask, and what its reader decided."""

    regions: np.ndarray
    """(V, H, W) bool."""
    reading: str
    """The rule by which something counts as drawn in it, in a clause."""
    notices: list[str]
    """Sentences about decisions that could be meant otherwise."""


def from_pictures(pictures: Sequence[MaskPicture], height: int, width: int, *, frames: int) -> DrawnMask:
    """The mask drawn in pictures, one for all frames or one for each frame; see mask_pictures.py for the rule.

    One picture more or fewer than frames is what an export at 4 fps may give: the last one is held, or left out.

    Args:
        pictures: of any size.
        height: of the result.
        width: of the result.
        frames: V.

    Raises:
        ValueError: for another number of pictures.
    """
    check_count(len(pictures), frames, "pictures", "ffmpeg -i mask.mp4 -vf fps=4 mask/%04d.png")
    found = drawn(pictures[:frames], height, width)
    regions = np.stack(found.regions)
    notices = [*found.notices, *_stretched({picture.values.shape[:2] for picture in pictures}, height, width)]
    return DrawnMask(hold_to(regions, frames), found.reading, notices)


def _from_runs(regions: np.ndarray, height: int, width: int, *, frames: int) -> DrawnMask:
    """The mask of COCO's run lengths, which say themselves what is drawn."""
    check_count(len(regions), frames, "masks", "one object a frame, at 4 frames a second")
    found = resize_mask(hold_to(regions, frames), height, width)
    return DrawnMask(found, "every second run is drawn", _stretched({regions.shape[1:]}, height, width))


def _stretched(sizes: set[tuple[int, ...]], height: int, width: int) -> list[str]:
    """The notice for masks of another shape (h, w) than the picture's."""
    h, w = next(iter(sizes))
    if all(abs(w * height - h * width) <= ASPECT_TOLERANCE * h * width for h, w in sizes):
        return []
    return [f"the mask has {w} x {h} pixels and the video {width} x {height}: it was stretched to the picture"]


def hold_to(regions: np.ndarray, frames: int) -> np.ndarray:
    """(V, H, W) from a region for all frames, or one for nearly all of them, of which the last is held."""
    return np.concatenate([regions, np.repeat(regions[-1:], max(frames - len(regions), 0), axis=0)])[:frames]


def check_count(count: int, frames: int, things: str, export: str) -> None:
    """Raises ValueError for another number of pictures than 1 or one for each frame, give or take one."""
    if count != 1 and abs(count - frames) > 1:
        raise ValueError(
            f"mask has {count} {things}, expected 1 or one for each of the {frames} frames of the video (4 a second); "
            f"export it with {frames}: {export}"
        )


def from_images(images: Sequence[np.ndarray | Image.Image], height: int, width: int, *, frames: int) -> np.ndarray:
    """(V, H, W) bool of drawn pictures, as `from_pictures`.

    Args:
        images: as `mask_pictures.picture_of` takes them.
        height: of the result.
        width: of the result.
        frames: V.

    Raises:
        ValueError: for another number of images than 1 or about V, or another kind of image.
    """
    return from_pictures([picture_of(image) for image in images], height, width, frames=frames).regions


def read_mask(path: Path, height: int, width: int, *, frames: int) -> np.ndarray:
    """(V, H, W) bool of a mask's file, as `read_drawn`."""
    return read_drawn(path, height, width, frames=frames).regions


def read_drawn(path: Path, height: int, width: int, *, frames: int) -> DrawnMask:
    """A mask from a picture, a folder of pictures (in the order of the numbers in their names), a .npy, or a .json of boxes
    or of COCO's run lengths.

    Raises:
        ValueError: for another kind of file, or a number of pictures that does not fit.
    """
    if path.suffix.lower() == ".json" and not path.is_dir():
        text = decode(path.read_bytes(), f"mask {path}", "JSON")
        if mask_rle.is_rle(content := parse_json(text, f"mask {path}")):
            try:
                return _from_runs(mask_rle.decode(content), height, width, frames=frames)
            except ValueError as error:
                raise ValueError(f"mask {path}: {error}") from None
        count = len(decode_boxes(text))
        check_count(count, frames, "frames of boxes", "drawaudio mask VIDEO --text THING -o mask.json")
        boxes = boxes_from_json(text, frames=None)
        regions = rasterize(boxes, height, width, frames=count, whole_frame_if_empty=False)
        return DrawnMask(hold_to(regions, frames), "what lies in a box is drawn", [])
    return from_pictures(open_pictures(path, width), height, width, frames=frames)


def check_drawn(found: DrawnMask, name: str, *, inverted: bool = False) -> None:
    """Raises ValueError for a mask that leaves nothing to sound.

    Args:
        found: the mask.
        name: of it, for the sentence.
        inverted: whether `found` is what its file leaves out.
    """
    if found.regions.any():
        return
    was = "inverted, it is empty: all of it was drawn" if inverted else "it is empty"
    raise ValueError(
        f"{name} leaves nothing to sound: {was} ({found.reading}); draw in white or in any colour on black, or leave "
        "the mask out for the whole picture (`drawaudio mask --explain` shows how a mask is read)"
    )


def video_pictures(path: Path, seconds: float) -> list[MaskPicture]:
    """The pictures of a video that is a mask, at 4 fps, for so many seconds; a shorter one holds its last.

    Raises:
        MediaError: when it cannot be decoded.
    """
    from drawaudio_model import media

    frames = media.read_frames(path, seconds=seconds, alpha=media.has_transparency(path))
    return [replace(picture_of(frame), lossy=True) for frame in frames]


def open_pictures(path: Path, width: int | None = None) -> list[MaskPicture]:
    """The pictures of a picture's file, of a folder or of a .npy.

    Args:
        path: the file or folder.
        width: of the video in pixels, which tells (V, h, w) from (h, w, 3); None: unknown.

    Raises:
        ValueError: for another kind of file, or a folder without a picture.
    """
    if path.is_dir():
        # What begins with a dot is a system's own, such as "._0001.png" beside "0001.png".
        names = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "."]
        if not names:
            raise ValueError(f"mask folder {path} has no picture ({', '.join(IMAGE_SUFFIXES)})")
        return [open_picture(picture) for picture in sorted(names, key=_natural)]
    if path.suffix.lower() == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except (ValueError, *DAMAGES) as error:
            raise ValueError(f"mask {path} holds no array that can be read: {error}") from error
        return array_pictures(array, width)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return [open_picture(path)]
    raise ValueError(
        f"mask {path} is neither a picture ({', '.join(IMAGE_SUFFIXES)}), a folder of them, a video, a .npy, nor a .json of "
        "boxes"
    )


def array_pictures(array: np.ndarray, width: int | None = None) -> list[MaskPicture]:
    """The pictures of an array: (h, w), one colour picture (h, w, 1 to 4), or a stack of either; also (n, 1, h, w).

    Three axes whose last has 3 or 4 are one picture, unless the video is so narrow itself.
    """
    if array.ndim == 4 and array.shape[1] == 1 and array.shape[-1] > 4:  # as networks give masks: one channel each
        array = array[:, 0]
    one = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 2, 3, 4) and array.shape[-1] != width)
    return [picture_of(picture) for picture in ([array] if one else array)] if array.ndim >= 2 else [picture_of(array)]


def _natural(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    """Orders frame_2 before frame_10; names that are equal but for zeros in front by themselves."""
    parts = re.split(r"([0-9]+)", path.name.lower())
    return [(1, int(part)) if part.isdigit() else (0, part) for part in parts if part], path.name
