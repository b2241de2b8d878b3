"""What a person gives (a video, a mask, a curve, in any form) as the arrays that the model takes.

Legend: V video frames at 4 fps, H/W pixels, P loudness points (10 a second).
"""

import math
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import numpy as np
from PIL import Image
from tqdm import tqdm

from drawaudio_model import loudness as curves
from drawaudio_model import masks, media, mel
from drawaudio_model.clip_format import LOUDNESS_FPS, VIDEO_FPS
from drawaudio_model.guidance import Guidance

if TYPE_CHECKING:
    from drawaudio_model.detector import ObjectDetector

Video = str | Path | np.ndarray
Corners = tuple[float, float, float, float]
Mask = str | Path | Image.Image | np.ndarray | Corners | Sequence[masks.Box | Corners | Image.Image | np.ndarray]
Loudness = str | Path | np.ndarray | Sequence[tuple[float, float]] | Sequence[float]

CURVE_SUFFIXES = (".csv", ".json")
FRAMES_AT_ONCE = 40
"""Frames that the detector is given together; each is looked at alone."""


class Picture(NamedTuple):
    """A video as the model sees it."""

    frames: np.ndarray
    """(V, H, W, 3) uint8, frame i is the one shown at i / 4 s; V covers `seconds`."""
    seconds: float
    """Length of the video."""


def read_video(video: Video, *, video_fps: float | None = None, seconds: float | None = None) -> Picture:
    """The frames at 4 fps, the longer side of a file's at most 640 pixels as in the dataset.

    Args:
        video: a file of any container, size and frame rate, or (N, H, W, 3) uint8 RGB frames.
        video_fps: frame rate of an array, default 4; files carry timestamps.
        seconds: use only this much from the start; None: all.

    Raises:
        ValueError: for anything else, a frame rate given for a file, or fewer seconds than asked for.
        media.MediaError: when a file has no readable picture.
    """
    if isinstance(video, np.ndarray):
        return _frames_of_array(video, VIDEO_FPS if video_fps is None else video_fps, seconds)
    if not isinstance(video, str | Path):
        raise ValueError(f"video is a {type(video).__name__}, expected a media file or a numpy array of frames")
    if video_fps is not None:
        raise ValueError(f"video_fps is {video_fps} for the file {video}, which has times of its own; leave it out")
    path = Path(video)
    if not path.is_file():
        raise ValueError(f"video {path} does not exist; give a media file or an array of frames")
    info = media.probe(path)
    if info.video_codec is None:
        raise media.MediaError("no_video_stream", f"{path} has no video stream")
    length = _shorter(info.video_seconds, seconds)
    return Picture(media.read_frames(path, seconds=length), length)


def check_given(
    video: Video | None,
    prompt: str | None,
    mask: Mask | None,
    loudness: Loudness | None,
    *,
    video_fps: float | None,
    guidance: Guidance,
) -> None:
    """Raises ValueError for no instruction at all, or for a setting without what it is for."""
    if video is None and prompt is None and loudness is None:
        raise ValueError("there is no instruction; give a video, a prompt or a loudness curve")
    if mask is not None and video is None:
        raise ValueError("a mask was given without a video; give the video that it was drawn on")
    if video is None and not (video_fps is None and guidance.video is None):
        raise ValueError("video_fps or guidance_video was given without a video; leave it out, or give the video")
    if loudness is None and guidance.loudness is not None:
        raise ValueError("guidance_loudness was given without a loudness curve; leave it out, or give the curve")


def read_mask(mask: Mask, frames: int, height: int, width: int) -> np.ndarray:
    """(V, H, W) bool: which pixels of each frame sound.

    Args:
        mask: boxes on the frames at 4 fps; (x0, y0, x1, y1) in fractions of the picture, or a list of such, for all
            frames; a picture or array for all frames; a list or (V, h, w) array with one per frame; or the path of a
            picture, of a folder of pictures, or of a .json of boxes.
        frames: V.
        height: H.
        width: W.

    Raises:
        ValueError: for another kind of mask, or a number of pictures that does not fit.
    """
    if isinstance(mask, str | Path):
        if not os.path.exists(mask):
            raise ValueError(
                f"mask {mask} does not exist; give a picture, a folder of pictures, a .json of boxes, or boxes "
                "(`drawaudio mask` makes boxes from a text)"
            )
        return masks.read_mask(Path(mask), height, width, frames=frames)
    if isinstance(mask, Image.Image):
        mask = [np.asarray(mask)]
    elif isinstance(mask, np.ndarray):
        # Three axes may be (V, h, w) or one colour picture (h, w, 3 or 4).
        one = mask.ndim == 2 or (mask.ndim == 3 and mask.shape[-1] in (3, 4) and len(mask) != frames)
        mask = [mask] if one else list(mask)
    if not isinstance(mask, Sequence) or not len(mask):
        raise ValueError(
            f"mask is {mask!r}, expected boxes, a picture, a list of pictures or a path; None is the whole frame"
        )
    items: list[Any] = [mask] if _is_corners(mask) else list(mask)
    if all(_is_corners(item) for item in items):
        items = [masks.Box(frame, 0, 1.0, *map(float, item)) for frame in range(frames) for item in items]
    if all(isinstance(item, masks.Box) for item in items):
        return masks.rasterize(items, height, width, frames=frames)
    return masks.from_images([np.asarray(item) for item in items], height, width, frames=frames)


def _is_corners(item: object) -> bool:
    return isinstance(item, tuple | list) and len(item) == 4 and all(isinstance(value, int | float) for value in item)


def is_text(mask: Mask | None) -> TypeGuard[str]:
    """Whether a mask is the text of a thing: a string that is no path of anything and has no suffix of a mask's file."""
    # os.path.exists, unlike Path.exists, takes a text that is too long for a name as one of no file.
    if not isinstance(mask, str) or not mask.strip() or os.path.exists(mask):
        return False
    return Path(mask).suffix.lower() not in (*masks.IMAGE_SUFFIXES, *CURVE_SUFFIXES)


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
    detector: "ObjectDetector", frames: np.ndarray, text: str, *, confidence: float = 0.25, progress: bool = False
) -> list[masks.Box]:
    """The boxes of a thing in the frames (V, H, W, 3), with a bar on a terminal where `progress` is asked for.

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


def read_loudness(loudness: Loudness, seconds: float) -> np.ndarray:
    """(P,) float32 loudness signal, P = ceil(10 * seconds).

    Args:
        loudness: points (time in seconds, level); one level per tenth of a second; a .csv or .json curve; or an audio
            (or video) file whose loudness is to be followed, silent after its end.
        seconds: length of the sound.

    Raises:
        ValueError: for another kind or length, or levels outside 0 to 1.
    """
    points = math.ceil(round(seconds * LOUDNESS_FPS, 6))
    whole = points / LOUDNESS_FPS
    if isinstance(loudness, str | Path):
        path = Path(loudness)
        if not os.path.isfile(path):
            raise ValueError(f"loudness {path} does not exist; give a .csv or .json curve or an audio file")
        if path.suffix.lower() in CURVE_SUFFIXES:
            return curves.from_points(curves.read_points(path), whole)
        return curve_of_audio(path, whole)
    try:
        values = np.asarray(loudness, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"loudness {_FORMS}; give numbers ({error})") from error
    if values.ndim == 1 and len(values):
        if len(values) != points:
            raise ValueError(
                f"loudness has {len(values)} levels, expected {points} ({whole} s at {LOUDNESS_FPS} a second); "
                "give (time, level) points to have it interpolated"
            )
        values = np.stack([curves.point_times(whole), values], axis=1)
    if values.ndim != 2 or values.shape[1] != 2:
        raise ValueError(f"loudness {_FORMS}; it has the shape {values.shape}")
    return curves.from_points(values.tolist(), whole)


_FORMS = "is neither (time in seconds, level) points nor one level for every tenth of a second"


def check_seed(seed: object) -> None:
    """Raises ValueError for a seed that torch's generator does not take, or takes as another one."""
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise ValueError(f"seed is {seed!r}, expected a whole number from 0 to 2**63 - 1")


def curve_of_audio(path: Path, seconds: float) -> np.ndarray:
    """(10 * seconds,) float32 loudness signal of a sound file's first `seconds`, normalised as in training."""
    waveform = mel.normalize_waveform(media.read_waveform(path, seconds=seconds))
    return curves.loudness_signal(waveform, seconds=seconds)


def hold_last(array: np.ndarray, length: int) -> np.ndarray:
    """The array with its last row repeated up to `length` rows: what the model sees behind the end of an instruction."""
    return np.concatenate([array, np.repeat(array[-1:], max(length - len(array), 0), axis=0)])[:length]


def _frames_of_array(video: np.ndarray, video_fps: float, seconds: float | None) -> Picture:
    if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != np.uint8 or not len(video):
        raise ValueError(f"video array is {video.dtype} {video.shape}, expected uint8 (frames, height, width, 3), RGB")
    if not (math.isfinite(video_fps) and video_fps > 0):
        raise ValueError(f"video_fps is {video_fps}, expected the array's frames a second, more than 0")
    length = _shorter(len(video) / video_fps, seconds)
    count = math.ceil(round(length * VIDEO_FPS, 6))
    # The frame shown at i / 4 s; the small number keeps 0.75 s x 4 fps from falling into the frame before.
    shown = np.floor(np.arange(count) / VIDEO_FPS * video_fps + 1e-6).astype(int).clip(max=len(video) - 1)
    return Picture(video[shown], length)


def _shorter(length: float, seconds: float | None) -> float:
    if seconds is None:
        return length
    if not 0 < seconds <= length + 1e-6:
        raise ValueError(f"seconds is {seconds}, expected more than 0 and at most the video's {length:.2f} s")
    return seconds
