"""Masks from words: the boxes that a detector finds for the name of a thing.

Legend: V video frames at 4 fps, H/W pixels.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from drawaudio_model.boxes import Box

if TYPE_CHECKING:
    from drawaudio_model.detector import ObjectDetector

FRAMES_AT_ONCE = 40
"""Frames that the detector is given together; each is looked at alone."""


def detector_in(folder: Path | None, text: str) -> "ObjectDetector":
    """The detector of a folder, to look for `text`.

    Raises:
        ValueError: when there is no such folder.
    """
    from drawaudio_model.detector import ObjectDetector

    if folder is None or not folder.is_dir():
        where = "" if folder is None else f" and there is no folder {folder}"
        raise ValueError(
            f"mask {text!r} is no file, and to look for it as a thing the pipeline has no detector{where}; assign "
            "pipe.detector = ObjectDetector.from_pretrained(folder), or give boxes or a picture"
        )
    return ObjectDetector.from_pretrained(folder)


def find_boxes(
    detector: "ObjectDetector",
    frames: np.ndarray,
    text: str,
    *,
    confidence: float = 0.25,
    progress: bool = False,
    tell: Callable[[int], None] | None = None,
) -> list[Box]:
    """The boxes of a thing in the frames (V, H, W, 3), with a bar on a terminal where `progress` is asked for.

    `tell` is told how many frames are done.

    Raises:
        ValueError: when the detector does not know the thing, or finds it nowhere.
    """
    # One without a vocabulary knows everything.
    if detector.vocabulary is not None and not detector.knows(text):
        nearest = ", ".join(repr(phrase) for phrase in nearest_phrases(text, detector.vocabulary))
        raise ValueError(
            f"the detector does not know {text!r}; the nearest of the {len(detector.vocabulary)} things that it knows are "
            f"{nearest}; name one of them or draw a mask"
        )
    boxes = []
    for start in tqdm(
        range(0, len(frames), FRAMES_AT_ONCE), desc=text, leave=False, disable=None if progress else True
    ):
        part = detector.detect([frames[start : start + FRAMES_AT_ONCE]], [[text]], confidence=confidence)[0]
        boxes += [replace(box, frame=start + box.frame) for box in part]
        if tell is not None:
            tell(min(start + FRAMES_AT_ONCE, len(frames)))
    if not boxes:
        raise ValueError(
            f"no {text!r} was found in the {len(frames)} frames with confidence {confidence:g}; lower it or draw a mask"
        )
    return boxes


def nearest_phrases(text: str, vocabulary: Collection[str], *, count: int = 5) -> list[str]:
    """The `count` phrases of a vocabulary that are spelt most like a text, the nearest first.

    A phrase that shares words with the text comes before one that shares only letters.
    """
    words = set(text.lower().split())

    def likeness(phrase: str) -> float:
        own = set(phrase.lower().split())
        return 2 * len(own & words) / len(own | words) + SequenceMatcher(None, text.lower(), phrase.lower()).ratio()

    return sorted(vocabulary, key=lambda phrase: (-likeness(phrase), phrase))[:count]
