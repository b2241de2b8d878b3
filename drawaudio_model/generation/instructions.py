"""Videos, masks and curves, in any form that a person gives them in, as the arrays that the model takes.

Legend: V video frames at 4 fps, H/W pixels, P loudness points (10 a second).
"""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard, Union, overload

import numpy as np
from PIL import Image

from drawaudio_model import loudness as curves
from drawaudio_model import mask_rle, masks, media
from drawaudio_model.boxes import decode_boxes
from drawaudio_model.clip_format import LOUDNESS_FPS, SAMPLE_RATE, VIDEO_FPS
from drawaudio_model.decoding.errors import named_file
from drawaudio_model.guidance import Guidance
from drawaudio_model.mask_pictures import DAMAGES, begins_as_picture
from drawaudio_model.text_files import decode, parse_json

if TYPE_CHECKING:
    from torch import Tensor

Video = str | Path | np.ndarray
Corners = tuple[float, float, float, float]
# With `|` a name in quotes would have to be a type already.
Mask = Union[
    str, Path, Image.Image, np.ndarray, "Tensor", Corners, Sequence[masks.Box | Corners | Image.Image | np.ndarray]
]
Loudness = str | Path | np.ndarray | Sequence[tuple[float, float]] | Sequence[float]
Sound = str | Path | np.ndarray

CURVE_SUFFIXES = (".csv", ".json")
BOX_PICTURE = (360, 640)
"""Height and width in pixels of the picture on which boxes are explained where there is no video."""
SHORTEST_SECONDS = 0.01
"""Of a sound: one step of a log-mel."""


class Picture(NamedTuple):
    """A video as the model sees it."""

    frames: np.ndarray
    """(V, H, W, 3) uint8, frame i is the one shown at i / 4 s; V covers `seconds`, or the part that was asked for."""
    seconds: float
    """Length of the video."""


def read_video(
    video: Video,
    *,
    video_fps: float | None = None,
    seconds: float | None = None,
    part: tuple[int, int] | None = None,
) -> Picture:
    """The frames at 4 fps, the longer side of a file's at most 640 pixels as in the dataset.

    Args:
        video: a file of any container, size and frame rate, or (N, H, W, 3) uint8 RGB frames.
        video_fps: frame rate of an array, default 4; files carry timestamps.
        seconds: use only this much from the start; None: all.
        part: give back only the frames between these two seconds, of which the second may lie behind the end.

    Raises:
        ValueError: for anything else, a frame rate given for a file, or fewer seconds than asked for.
        media.MediaError: when a file has no readable picture.
    """
    length = video_seconds(video, video_fps=video_fps, seconds=seconds)
    first = 0 if part is None else part[0]
    end = length if part is None else min(part[1], length)
    if isinstance(video, np.ndarray):
        return Picture(_frames_of_array(video, VIDEO_FPS if video_fps is None else video_fps, first, end), length)
    with named_file(str(video)):
        return Picture(media.read_frames(Path(video), seconds=end - first, start_seconds=first), length)


def video_seconds(video: Video, *, video_fps: float | None = None, seconds: float | None = None) -> float:
    """The length of a video, or as much of it as is asked for; arguments and errors as `read_video`."""
    if isinstance(video, np.ndarray):
        return _shorter(_array_seconds(video, VIDEO_FPS if video_fps is None else video_fps), seconds)
    if not isinstance(video, str | Path):
        raise ValueError(f"video is a {type(video).__name__}, expected a media file or a numpy array of frames")
    if video_fps is not None:
        raise ValueError(f"video_fps is {video_fps} for the file {video}, which has times of its own; leave it out")
    path = Path(video)
    if not path.is_file():
        raise ValueError(f"video {path} does not exist; give a media file or an array of frames")
    with named_file(str(path)):
        check_is_video(path)
        info = media.probe(path)
    if info.video_codec is None:
        raise media.MediaError("no_video_stream", f"{path} has no video stream")
    if not info.video_seconds:
        raise media.MediaError(
            "undecodable",
            f"{path} has no times, as a raw stream; put it into a container: "
            f"ffmpeg -framerate 25 -i {path.name} -c copy {path.stem}.mp4",
        )
    return _shorter(info.video_seconds, seconds)


def frames_in(seconds: float) -> int:
    """V: frames at 4 fps of so many seconds; the last may be shown for less than a quarter."""
    return math.ceil(round(seconds * VIDEO_FPS, 6))


def check_named(
    video: Path,
    *,
    seconds: float | None = None,
    mask: Any = None,
    mask_invert: bool = False,
    loudness: Any = None,
    start_from: Path | None = None,
    seed: int | None = None,
) -> None:
    """Raises, before a model is loaded, for what is wrong with typed instructions whatever the model is.

    Args:
        video: the file.
        seconds: as much of it as is asked for.
        mask: as the pipeline's; the text of a thing is left to the detector.
        mask_invert: take what is not drawn.
        loudness: as the pipeline's.
        start_from: the file of the sound to begin with.
        seed: of the sound.
    """
    check_seed(seed)
    mask, loudness = (
        parse(given) if isinstance(given, str) else given
        for parse, given in ((parse_mask, mask), (parse_loudness, loudness))
    )
    length = video_seconds(video, seconds=seconds)
    if isinstance(loudness, str | Path) and _read_points(Path(loudness)) is None:
        with named_file(str(loudness)):
            _check_heard(Path(loudness), media.read_waveform(Path(loudness), seconds=length), length)
    elif loudness is not None:
        read_loudness(loudness, length)
    if start_from is not None:
        _heard_start(start_from, math.ceil(length))
    if mask is not None and not is_text(mask):
        info = media.probe(video)
        height, width = info.height or BOX_PICTURE[0], info.width or BOX_PICTURE[1]
        # About as the picture is read: in full size, looking at it would take longer than that.
        scale = min(1.0, max(BOX_PICTURE) / max(height, width))
        drawn_mask(mask, frames_in(length), round(height * scale) or 1, round(width * scale) or 1, invert=mask_invert)


def check_is_video(path: Path) -> None:
    """Raises ValueError for a file that FFmpeg would take for a video of one frame, or for a list of other files.

    Also MediaError, where it cannot be opened.
    """
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith((b"ffconcat", b"#EXTM3U")):
        raise ValueError(
            f"video {path} is a list of other files; join them first: ffmpeg -i {path.name} -c copy joined.mp4"
        )
    kind: str | None = None
    pictures = 0
    # Motion JPEG begins as a JPEG does.
    if begins_as_picture(path) and path.suffix.lower() not in (".mjpeg", ".mjpg"):
        try:
            with Image.open(path) as image:
                kind, pictures = image.format, getattr(image, "n_frames", 1)
        except (ValueError, *DAMAGES):
            pass  # a damaged one: what else it is, media.py says
    if kind == "WEBP" and pictures > 1:
        raise ValueError(f"video {path} is an animated WebP, which FFmpeg cannot read; save it as GIF or MP4")
    if pictures == 1 or media.is_still_picture(path):
        # FFmpeg knows -loop for some pictures only, and tpad for all.
        loops = kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
        read, hold = ("-loop 1 ", "") if loops else ("", "-vf tpad=stop=-1:stop_mode=clone ")
        out = f"{path.stem}{'_video' * (path.suffix.lower() == '.mp4')}.mp4"
        raise ValueError(
            f"video {path} is a still picture; make a video of it: "
            f"ffmpeg {read}-i {path.name} {hold}-t 8 -r 25 -pix_fmt yuv420p {out}"
        )


@dataclass(frozen=True, eq=False)
class Instructions:
    """All that a person gives for one sound; `DrawAudioPipeline.__call__` describes each.

    Raises:
        ValueError: for no instruction at all, or for a setting without what it is for.
    """

    video: Video | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    mask: Mask | None = None
    mask_invert: bool = False
    loudness: Loudness | None = None
    seconds: float | None = None
    video_fps: float | None = None

    def __post_init__(self) -> None:
        for name, text in (("prompt", self.prompt), ("negative_prompt", self.negative_prompt)):
            # A tokenizer would take two texts for one pair of sentences.
            if text is not None and not isinstance(text, str):
                raise ValueError(f"{name} is {text!r}, expected one text; make one call for each text")
        if self.video is None and self.prompt is None and self.loudness is None:
            raise ValueError("there is no instruction; give a video, a prompt or a loudness curve")
        if self.mask is not None and self.video is None:
            raise ValueError("a mask was given without a video; give the video that it was drawn on")
        if self.mask_invert and self.mask is None:
            raise ValueError("mask_invert was given without a mask; give the mask that is to be inverted")
        if self.video is None and self.video_fps is not None:
            raise ValueError("video_fps was given without a video; leave it out, or give the video")


def check_weights(has_video: bool, has_loudness: bool, guidance: Guidance) -> None:
    """Raises ValueError for a weight of an instruction that is not there."""
    if not has_video and guidance.video is not None:
        raise ValueError("guidance_video was given without a video; leave it out, or give the video")
    if not has_loudness and guidance.loudness is not None:
        raise ValueError("guidance_loudness was given without a loudness curve; leave it out, or give the curve")


def read_mask(mask: Mask, frames: int, height: int, width: int, *, invert: bool = False) -> np.ndarray:
    """(V, H, W) bool: which pixels of each frame sound; see `drawn_mask`."""
    return drawn_mask(mask, frames, height, width, invert=invert).regions


def drawn_mask(mask: Mask, frames: int, height: int, width: int, *, invert: bool = False) -> masks.DrawnMask:
    """A mask that a person gave: which pixels of each frame sound, and what to say of it.

    Args:
        mask: boxes on the frames at 4 fps; (x0, y0, x1, y1) in fractions of the picture, or a list of such, for all
            frames; a picture or array for all frames; a list or (V, h, w) array with one per frame; or the path of a
            picture, of a folder of pictures, of a video that is the mask, of a .npy, or of a .json of boxes. A text of
            four numbers is a box. What counts as drawn in a picture says mask_pictures.py.
        frames: V.
        height: H.
        width: W.
        invert: take what is not drawn.

    Raises:
        ValueError: for another kind of mask, a number of pictures that does not fit, or a mask that is empty.
    """
    given = parse_mask(mask) if isinstance(mask, str) else mask
    name = f"mask {given}" if isinstance(given, str | Path) else "the mask"
    try:
        found = _drawn(given, frames, height, width)
    except media.MediaError:
        raise
    except ValueError as error:
        if not isinstance(given, str | Path) or str(given) in str(error):
            raise
        raise ValueError(f"{name}: {error}") from error
    regions, notices = found.regions, list(found.notices)
    if invert:
        regions, notices = ~regions, [sentence for sentence in notices if "invert the mask" not in sentence]
    found = masks.DrawnMask(regions, found.reading, notices)
    masks.check_drawn(found, name, inverted=invert)
    if regions.all():
        notices.append(f"{name} is the whole picture, as if there were none ({found.reading})")
    return found


def shape_of_mask(given: str) -> tuple[int, int, int]:
    """(V, H, W) of a mask alone, as its own file has them; of boxes, those of a small picture.

    Raises:
        ValueError: for a mask that is no file and no box.
    """
    if not isinstance(parse_mask(given), str):
        return 1, *BOX_PICTURE
    path = Path(given)
    if not os.path.exists(path):
        raise ValueError(
            f"mask {given} does not exist; give a picture, a folder of pictures, a video, a .npy or a .json"
        )
    if path.suffix.lower() == ".json":
        text = decode(path.read_bytes(), f"mask {path}", "JSON")
        if mask_rle.is_rle(content := parse_json(text, f"mask {path}")):
            try:
                return mask_rle.shape(content)
            except ValueError as error:
                raise ValueError(f"mask {path}: {error}") from None
        return len(decode_boxes(text)), *BOX_PICTURE
    is_video = path.suffix.lower() in masks.VIDEO_SUFFIXES
    pictures = mask_of_video(path) if is_video else masks.open_pictures(path)
    return len(pictures), *pictures[0].values.shape[:2]


@overload
def parse_mask(text: str) -> str | Corners: ...
@overload
def parse_mask(text: None) -> None: ...
def parse_mask(text: str | None) -> str | Corners | None:
    """A text that a person typed as a mask: four numbers are a box, anything else is a path or the name of a thing.

    Raises:
        ValueError: for an empty text, other numbers than four, or four parts that are not all numbers.
    """
    if text is not None and not text.strip():
        raise ValueError(f"mask {text!r} is empty; give a path, a box or the text of a thing, or leave it out")
    if text is None or os.path.exists(text):
        return text
    parts = [part.strip() for part in re.split(r"[,;]", text)]
    numbers = [part for part in parts if _is_number(part)]
    if len(numbers) == len(parts) == 4:
        left, top, right, bottom = map(float, parts)
        return left, top, right, bottom
    if len(parts) == 4 or (numbers and len(parts) > 1):
        raise ValueError(
            f"mask {text!r} is no box: it has {len(numbers)} numbers of {len(parts)} parts, expected x0,y0,x1,y1 as "
            "fractions such as 0.3,0.1,0.7,0.9"
        )
    return text


@overload
def parse_loudness(text: str) -> str | list[tuple[float, float]]: ...
@overload
def parse_loudness(text: None) -> None: ...
def parse_loudness(text: str | None) -> str | list[tuple[float, float]] | None:
    """A text that a person typed as a curve: points such as 0:0,1.5:0.3, or a path.

    Raises:
        ValueError: for an empty text, or one with colons that is neither.
    """
    if text is not None and not text.strip():
        raise ValueError(f"loudness {text!r} is empty; give a curve, a sound or points, or leave it out")
    if text is None or os.path.exists(text) or ":" not in text:
        return text
    points = [point.split(":") for point in text.split(",")]
    if not all(len(point) == 2 and all(map(_is_number, point)) for point in points):
        raise ValueError(
            f"loudness {text!r} is neither a file nor points such as 0:0,1.5:0.3,2:0 (seconds:level, decimals with a point)"
        )
    return [(float(time), float(level)) for time, level in points]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _drawn(mask: Mask, frames: int, height: int, width: int) -> masks.DrawnMask:
    if isinstance(mask, str | Path):
        return _drawn_in_file(Path(mask), frames, height, width)
    detach = getattr(mask, "detach", None)
    if detach is not None:  # a tensor; torch is not imported to ask for its type
        mask = detach().cpu().numpy()
    if isinstance(mask, Image.Image):
        mask = [mask]
    if isinstance(mask, np.ndarray):
        pictures = masks.array_pictures(mask, width)
        return masks.from_pictures(pictures, height, width, frames=frames)
    if not isinstance(mask, Sequence) or not len(mask):
        raise ValueError(
            f"mask is {mask!r}, expected boxes, a picture, a list of pictures or a path; None is the whole frame"
        )
    if all(isinstance(value, int | float) for value in mask) and len(mask) != 4:
        raise ValueError(
            f"mask {list(mask)} is no box: it has {len(mask)} numbers, expected x0, y0, x1, y1 as fractions"
        )
    items: list[Any] = [mask] if _is_corners(mask) else list(mask)
    if all(_is_corners(item) for item in items):
        items = [masks.Box(frame, 0, 1.0, *map(float, item)) for frame in range(frames) for item in items]
    if all(isinstance(item, masks.Box) for item in items):
        return masks.DrawnMask(masks.rasterize(items, height, width, frames=frames), "what lies in a box is drawn", [])
    pictures = [masks.picture_of(item if isinstance(item, Image.Image) else np.asarray(item)) for item in items]
    return masks.from_pictures(pictures, height, width, frames=frames)


def _drawn_in_file(path: Path, frames: int, height: int, width: int) -> masks.DrawnMask:
    if not os.path.exists(path):
        raise ValueError(
            f"mask {path} does not exist; give a picture, a folder of pictures, a .json of boxes, or boxes "
            "(`drawaudio mask` makes boxes from a text)"
        )
    if path.suffix.lower() in masks.VIDEO_SUFFIXES:
        return masks.from_pictures(mask_of_video(path), height, width, frames=frames)
    return masks.read_drawn(path, height, width, frames=frames)


def mask_of_video(path: Path) -> list[masks.MaskPicture]:
    """The pictures of a video that is a mask, at 4 fps."""
    seconds = video_seconds(path)
    with named_file(str(path)):
        return masks.video_pictures(path, seconds)


def _is_corners(item: object) -> bool:
    return isinstance(item, tuple | list) and len(item) == 4 and all(isinstance(value, int | float) for value in item)


def is_text(mask: Mask | None) -> TypeGuard[str]:
    """Whether a mask is the text of a thing: a string that is no box, no path of anything and has no suffix of a mask's file."""
    # os.path.exists, unlike Path.exists, takes a text that is too long for a name as one of no file.
    if not isinstance(mask, str) or not mask.strip() or os.path.exists(mask):
        return False
    suffixes = (*masks.IMAGE_SUFFIXES, *CURVE_SUFFIXES, *masks.VIDEO_SUFFIXES, ".npy")
    return isinstance(parse_mask(mask), str) and Path(mask).suffix.lower() not in suffixes


def read_loudness(loudness: Loudness, seconds: float) -> np.ndarray:
    """(P,) float32 loudness signal, P = ceil(10 * seconds).

    Args:
        loudness: points (time in seconds, level), also as a text such as 0:0,1.5:0.3; one level per tenth of a second; a
            .csv or .json curve; or an audio (or video) file whose loudness is to be followed, silent after its end.
        seconds: length of the sound.

    Raises:
        ValueError: for another kind or length, levels outside 0 to 1, times in milliseconds, or a sound that is silent.
    """
    if isinstance(loudness, str):
        loudness = parse_loudness(loudness)
    points = math.ceil(round(seconds * LOUDNESS_FPS, 6))
    whole = points / LOUDNESS_FPS
    if isinstance(loudness, str | Path):
        path = Path(loudness)
        drawn = _read_points(path)
        if drawn is not None:
            return _curve_of_points(drawn, whole, f"loudness {path}")
        signal = curve_of_audio(path, whole)
        _check_heard(path, signal, whole)
        return signal
    try:
        values = np.asarray(loudness)
        if values.dtype == bool:
            raise ValueError("there are booleans")
        values = values.astype(np.float64)
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
    return _curve_of_points(values.tolist(), whole, "the loudness curve")


def _check_heard(path: Path, sound: np.ndarray, seconds: float) -> None:
    """Raises ValueError for a sound, or its loudness, that is nothing but silence."""
    if not sound.any():
        raise ValueError(
            f"loudness {path} is silent in its first {seconds:g} s; give a sound that can be heard, or a curve"
        )


def _read_points(path: Path) -> list[tuple[float, float]] | None:
    """The points of a curve's file, None for a sound's."""
    if not os.path.isfile(path):
        raise ValueError(f"loudness {path} does not exist; give a .csv or .json curve or an audio file")
    return curves.read_points(path) if path.suffix.lower() in CURVE_SUFFIXES else None


def _curve_of_points(points: Sequence[tuple[float, float]], seconds: float, name: str) -> np.ndarray:
    """(P,) loudness signal of points, unless they were written for a clip a thousand times as long.

    That they are milliseconds is sure of a curve of which one point lies in the sound, and the last a hundred sounds away; of
    whole numbers ten are enough.
    """
    signal = curves.from_points(points, seconds)
    inside = sum(time < seconds for time, _ in points)
    lengths = 10 if all(float(time).is_integer() for time, _ in points) else 100
    if len(points) > 1 and inside <= 1 and points[-1][0] >= lengths * seconds:
        raise ValueError(
            f"{name} reaches {points[-1][0]:g} s and the sound {seconds:g} s, which looks like milliseconds; divide the times "
            "by 1000, or end the curve near the end of the sound"
        )
    return signal


_FORMS = "is neither (time in seconds, level) points nor one level for every tenth of a second"


def check_seed(seed: object) -> None:
    """Raises ValueError for a seed that torch's generator does not take, or takes as another one; None is a random one."""
    if seed is None:
        return
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise ValueError(f"seed is {seed!r}, expected a whole number from 0 to 2**63 - 1")


def curve_of_audio(path: Path, seconds: float) -> np.ndarray:
    """(10 * seconds,) float32 loudness signal of a sound file's first `seconds`, normalised as in training."""
    import torch

    from drawaudio_model.mel import normalize_waveform

    # A tensor, as the training's curves were measured.
    with named_file(str(path)):
        sound = media.read_waveform(path, seconds=seconds)
    waveform = torch.from_numpy(normalize_waveform(sound))
    return curves.loudness_signal(waveform, seconds=seconds).numpy()


def read_start(sound: Sound, seconds: int) -> np.ndarray:
    """(n,) float32 of a sound to begin with: its first `seconds`, silence after its end, normalised as in training.

    Args:
        sound: an audio (or video) file, or (n,) floats at 16 kHz.
        seconds: length of what comes back.

    Raises:
        ValueError: for another array, or a sound that is silent.
    """
    from drawaudio_model.mel import normalize_waveform

    return normalize_waveform(_heard_start(sound, seconds))


def _heard_start(sound: Sound, seconds: int) -> np.ndarray:
    """(n,) float32 of a sound to begin with, as it is; raises as `read_start`."""
    if isinstance(sound, str | Path):
        if not os.path.isfile(sound):
            raise ValueError(f"start_from {sound} does not exist; give an audio file")
        with named_file(str(sound)):
            name, waveform = f"start_from {sound}", media.read_waveform(Path(sound), seconds=seconds)
    else:
        media.check_waveform(sound)
        name, length = "the sound to start from", seconds * SAMPLE_RATE
        waveform = np.pad(sound[:length].astype(np.float32), (0, max(length - len(sound), 0)))
    if not waveform.any():
        raise ValueError(f"{name} is silent in its first {seconds} s; give a sound that can be heard, or leave it out")
    return waveform


def hold_last(array: np.ndarray, length: int) -> np.ndarray:
    """The array with its last row repeated up to `length` rows: what the model sees behind the end of an instruction."""
    return np.concatenate([array, np.repeat(array[-1:], max(length - len(array), 0), axis=0)])[:length]


def _array_seconds(video: np.ndarray, video_fps: float) -> float:
    if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != np.uint8 or not len(video):
        raise ValueError(f"video array is {video.dtype} {video.shape}, expected uint8 (frames, height, width, 3), RGB")
    if not (math.isfinite(video_fps) and video_fps > 0):
        raise ValueError(f"video_fps is {video_fps}, expected the array's frames a second, more than 0")
    return len(video) / video_fps


def _frames_of_array(video: np.ndarray, video_fps: float, first: int, end: float) -> np.ndarray:
    """(V, H, W, 3): the frames shown every quarter between two seconds."""
    count = frames_in(end)
    # The frame shown at i / 4 s; the small number keeps 0.75 s x 4 fps from falling into the frame before.
    shown = np.floor(np.arange(count) / VIDEO_FPS * video_fps + 1e-6).astype(int).clip(max=len(video) - 1)
    return video[shown[first * VIDEO_FPS :]]


def _shorter(length: float, seconds: float | None) -> float:
    if seconds is None:
        return length
    if not min(SHORTEST_SECONDS, length) <= seconds <= length + 1e-6:
        least = "more than 0" if seconds <= 0 else f"at least {SHORTEST_SECONDS}"
        raise ValueError(f"seconds is {seconds}, expected {least} and at most the video's {length:.2f} s")
    return seconds
