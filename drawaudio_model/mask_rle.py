"""Masks as COCO writes them: the lengths of runs, column by column, in a short text (RLE).

`counts` are the lengths of the runs of a picture that is read down its columns, left to right; the first run is of what is
not drawn. COCO's tools write them as numbers or as a text of five bits a letter, each number as its difference from the one
but one before it.

Legend: V frames, H/W pixels.

Source: github.com/cocodataset/cocoapi, common/maskApi.c (rleToString, rleFrString).
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np


def encode(regions: np.ndarray) -> bytes:
    """JSON of masks (V, H, W) bool: `size` [H, W], and `counts`, a text for each frame."""
    counts = [counts_text(run_lengths(region)) for region in regions]
    return json.dumps({"size": [int(side) for side in regions.shape[1:]], "counts": counts}).encode()


def is_rle(content: object) -> bool:
    """Whether what a .json holds is one of these: an object with `counts`, or a list of such objects, one a frame."""
    row = content[0] if isinstance(content, list) and content else content
    return isinstance(row, dict) and "counts" in row


def decode(content: Any) -> np.ndarray:
    """The masks (V, H, W) bool of what `encode` wrote, of one COCO object, or of a list of them.

    Args:
        content: the JSON, read.

    Raises:
        ValueError: naming the frame, when its runs do not fill the picture, or the pictures differ in size.
    """
    if isinstance(content, dict) and isinstance(content.get("counts"), list):
        texts = content["counts"]
        if texts and all(isinstance(text, str) for text in texts):
            content = [{"size": content.get("size"), "counts": text} for text in texts]
    rows = content if isinstance(content, list) else [content]
    regions = [_region(row, f"frame {number}") for number, row in enumerate(rows)]
    sizes = {region.shape for region in regions}
    if len(sizes) != 1:
        raise ValueError(f"the frames have the sizes {sorted(sizes)}, expected one")
    return np.stack(regions)


def shape(content: Any) -> tuple[int, int, int]:
    """(V, H, W) of what `decode` takes; raises as it does."""
    frames, height, width = decode(content).shape
    return frames, height, width


def run_lengths(region: np.ndarray) -> list[int]:
    """Lengths of the runs of a mask (H, W) bool, down its columns; the first is of False, and may be 0."""
    flat = region.T.reshape(-1)
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def counts_text(lengths: Sequence[int]) -> str:
    """COCO's text of run lengths."""
    letters = []
    for place, length in enumerate(lengths):
        rest = length - (lengths[place - 2] if place > 2 else 0)
        while True:
            bits, rest = rest & 31, rest >> 5
            # Its fifth bit is the sign of what follows.
            is_last = rest == (-1 if bits & 16 else 0)
            letters.append(chr(48 + (bits if is_last else bits | 32)))
            if is_last:
                break
    return "".join(letters)


def lengths_of(text: str) -> list[int]:
    """The run lengths of COCO's text.

    Raises:
        ValueError: for letters that it does not have, or a text that ends within a number.
    """
    lengths: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"the counts have the letter {letter!r}, which is none of COCO's")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the counts end within a number")
    return lengths


def _region(row: Any, name: str) -> np.ndarray:
    size, counts = (row.get("size"), row.get("counts")) if isinstance(row, dict) else (None, None)
    is_size = isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and 0 < side for side in size)
    if not isinstance(size, list) or not is_size or size[0] * size[1] > 2**27:
        raise ValueError(f"{name} has the size {str(size)[:40]}, expected [height, width] in pixels")
    if not isinstance(counts, str | list):
        raise ValueError(f"{name} has the counts {str(counts)[:40]}, expected COCO's text or a list of run lengths")
    try:
        lengths = lengths_of(counts) if isinstance(counts, str) else counts
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if not all(isinstance(length, int) and not isinstance(length, bool) and length >= 0 for length in lengths):
        raise ValueError(f"{name} has a run length that is no whole number from 0")
    height, width = size
    if sum(lengths) != height * width:
        raise ValueError(f"{name} has runs of {sum(lengths)} pixels, expected {height} x {width} = {height * width}")
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return flat.reshape(width, height).T
