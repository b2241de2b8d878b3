"""`drawaudio curve` and `drawaudio mask`: what a person draws with, made from sounds and words.

Heavy libraries are imported inside the commands, so that `drawaudio --help` answers at once.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from drawaudio_model.command_line import add_command, check_folder_of
from drawaudio_model.commands.delivery import AUDIO_SUFFIXES, write_sound
from drawaudio_model.library_imports import libraries_imported

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from drawaudio_model.boxes import Box

DEFAULT_DETECTOR = Path("data/demo/backbones/object_detector")
"""Folder of the demo profile's detector, seen from the repository's root."""

CURVE_EXAMPLE = """example:
  drawaudio curve reference.wav -o curve.csv         measure a sound; edit the file; then
  drawaudio curve curve.csv -o heard.wav             listen to the curve as noise that follows it, and
  drawaudio generate ball.mp4 --text "a ball bounces" --loudness curve.csv -o out.mp4

  A curve is a .csv with the columns time_seconds and level, or a .json list of objects with those keys; IN and OUT may
  both be curves, then one becomes the other. Levels are linear RMS of a sound that peaks at 0.5; level_db instead of level
  holds them in decibels. Two points at one time are a jump."""
MASK_EXAMPLE = """example:
  drawaudio mask street.mp4 --text car -o car.json --preview car.jpg
  drawaudio generate street.mp4 --text "a car passes" --mask car.json -o out.mp4

  drawaudio mask --explain car.png                   what counts as drawn in a mask, and why; with VIDEO, on its frames"""


def add_commands(commands: "argparse._SubParsersAction") -> None:
    """`curve` and `mask`."""
    curve = add_command(commands, "curve", "turn a sound into a loudness curve, and back", CURVE_EXAMPLE, run_curve)
    curve.add_argument("source", type=Path, metavar="IN", help="audio or video file, or a .csv or .json curve")
    curve.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help=f".csv, .json, {', '.join(AUDIO_SUFFIXES)}"
    )
    curve.add_argument("--seconds", type=float, help="only this much from the start (default: all)")

    mask = add_command(commands, "mask", "find a thing in a video's frames", MASK_EXAMPLE, run_mask)
    mask.add_argument("video", type=Path, metavar="VIDEO", nargs="?", help="may be left out with --explain")
    mask.add_argument("--text", help="the thing: dog, red ball")
    mask.add_argument("-o", "--output", type=Path, help=".json of boxes for generate --mask")
    mask.add_argument("--explain", metavar="MASK", help="say what counts as drawn in a mask, and show it")
    mask.add_argument("--mask-invert", action="store_true", help="with --explain: what is not drawn")
    mask.add_argument("--preview", type=Path, help="picture of the frames with boxes or mask, .jpg or .png")
    mask.add_argument("--detector", type=Path, default=DEFAULT_DETECTOR, help="folder (default: %(default)s)")
    mask.add_argument("--confidence", type=float, default=0.25, help="boxes below are dropped (default: %(default)s)")
    mask.add_argument("--seconds", type=float, help="only this much from the start (default: all)")


def run_curve(options: argparse.Namespace) -> None:
    """`drawaudio curve`."""
    from drawaudio_model import loudness
    from drawaudio_model.clip_format import LOUDNESS_FPS
    from drawaudio_model.curve_files import LONGEST_SECONDS
    from drawaudio_model.generation.instructions import CURVE_SUFFIXES

    if not options.source.is_file():
        raise ValueError(f"{options.source} does not exist; give a sound or a curve")
    if options.seconds is not None and not (options.seconds > 0 and math.isfinite(options.seconds)):
        raise ValueError(f"seconds is {options.seconds}, expected a number of more than 0")
    if options.seconds is not None and options.seconds > LONGEST_SECONDS:
        raise ValueError(f"seconds is {options.seconds:g}, expected at most {LONGEST_SECONDS}")
    target = options.output.suffix.lower()
    if target not in (*CURVE_SUFFIXES, *AUDIO_SUFFIXES):
        known = ", ".join((*CURVE_SUFFIXES, *AUDIO_SUFFIXES))
        raise ValueError(f"output {options.output.name} ends in {target!r}, expected one of {known}")
    if options.source.suffix.lower() in CURVE_SUFFIXES:
        points = loudness.read_points(options.source)
        length = options.seconds or points[-1][0] + 0.5 / LOUDNESS_FPS
        signal = loudness.from_points(points, max(round(length * LOUDNESS_FPS), 1) / LOUDNESS_FPS)
        if options.seconds is not None:
            # Before its first point a curve is level.
            points = [point for point in points if point[0] <= options.seconds] or [(0.0, points[0][1])]
    else:
        signal = _measured(options.source, options.seconds)
        points = loudness.to_points(signal)
    check_folder_of(options.output)
    if target in CURVE_SUFFIXES:
        loudness.write_points(options.output, points)
    else:
        write_sound(options.output, loudness.noise_of_curve(signal))
    seconds = len(signal) / LOUDNESS_FPS
    print(f"{options.output}: {len(points)} points, {seconds:g} s, loudest {signal.max():.2f}")
    if not signal.any():
        print(f"notice: {options.source} is silent throughout, and so is the curve", file=sys.stderr)


def _measured(source: Path, seconds: float | None) -> "np.ndarray":
    """(points,) the loudness signal of a sound file."""
    import numpy as np

    from drawaudio_model import loudness, media
    from drawaudio_model.clip_format import LOUDNESS_FPS, SAMPLE_RATE
    from drawaudio_model.decoding.errors import named_file
    from drawaudio_model.waveform import normalized

    with named_file(str(source)):
        waveform = media.read_waveform(source, seconds=seconds)
    # Whole points: the last tenth of a second is filled up with silence.
    points = max(-(-len(waveform) * LOUDNESS_FPS // SAMPLE_RATE), 1)
    padded = np.pad(waveform, (0, points * SAMPLE_RATE // LOUDNESS_FPS - len(waveform)))
    return loudness.loudness_signal(normalized(padded), seconds=points / LOUDNESS_FPS)


def run_mask(options: argparse.Namespace) -> None:
    """`drawaudio mask`."""
    from drawaudio_model.boxes import boxes_to_json
    from drawaudio_model.generation.found_boxes import find_boxes
    from drawaudio_model.generation.instructions import read_video
    from drawaudio_model.masks import PREVIEW_SUFFIXES

    if options.explain is None and None in (options.video, options.text, options.output):
        raise ValueError(
            "a VIDEO, --text and -o are needed to find a thing, or --explain MASK to see how a mask is read"
        )
    if options.preview is not None and options.preview.suffix.lower() not in PREVIEW_SUFFIXES:
        known = ", ".join(PREVIEW_SUFFIXES)
        raise ValueError(f"preview {options.preview.name} ends in {options.preview.suffix!r}, expected one of {known}")
    if options.output is not None and options.output.suffix.lower() != ".json":
        raise ValueError(f"output {options.output.name} ends in {options.output.suffix!r}, expected .json")
    for place in (options.output, options.preview):
        if place is not None:
            check_folder_of(place)
    if options.explain is not None:
        explain_mask(options)
        return
    if options.mask_invert:
        raise ValueError("--mask-invert goes with --explain here, or with drawaudio generate")
    if not 0 <= options.confidence <= 1:
        raise ValueError(f"confidence is {options.confidence}, expected 0 to 1")
    picture = read_video(options.video, seconds=options.seconds)
    if not options.detector.is_dir():
        raise ValueError(
            f"detector folder {options.detector} does not exist; materialize object_detector or give another"
        )
    with libraries_imported():
        from drawaudio_model.detector import ObjectDetector

    detector = ObjectDetector.from_pretrained(options.detector)
    boxes = find_boxes(detector, picture.frames, options.text, confidence=options.confidence, progress=True)
    options.output.write_text(boxes_to_json(boxes, frames=len(picture.frames)) + "\n")
    if options.preview is not None:
        contact_sheet(picture.frames, boxes).save(options.preview)
    seen = {box.frame for box in boxes}
    print(f"{options.output}: {options.text!r} in {len(seen)} of {len(picture.frames)} frames")


def explain_mask(options: argparse.Namespace) -> None:
    """`drawaudio mask --explain`: what counts as drawn, in words, in letters and, where asked for, in a picture."""
    import numpy as np

    from drawaudio_model.generation.instructions import drawn_mask, read_video, shape_of_mask

    if options.text is not None or options.output is not None:
        raise ValueError("--explain reads a mask and writes no boxes; leave --text and -o out")
    frames = None
    if options.video is not None:
        frames = read_video(options.video, seconds=options.seconds).frames
        shape = frames.shape[:3]
    else:
        shape = shape_of_mask(options.explain)
    found = drawn_mask(options.explain, *shape, invert=options.mask_invert)
    count, height, width = shape
    shares = found.regions.mean(axis=(1, 2))
    spread = f"{shares.min():.1%}" if shares.min() == shares.max() else f"{shares.min():.1%} to {shares.max():.1%}"
    print(f"{options.explain}: {found.reading}{'; inverted' if options.mask_invert else ''}")
    print(f"{spread} of the picture sounds, in {count} frame{'s' * (count > 1)} of {width} x {height} pixels")
    for sentence in found.notices:
        print(f"notice: {sentence}")
    print(letters(found.regions[int(np.argmax(shares > 0))]))
    if options.preview is not None:
        if frames is None:
            frames = np.full((*shape, 3), 255, np.uint8)
        lit = np.where(found.regions[..., None], frames, frames // 4)
        contact_sheet(lit, []).save(options.preview)
        print(f"preview: {options.preview}")


def letters(region: "np.ndarray", columns: int = 48) -> str:
    """A region (H, W) as a few lines of text: # is what sounds."""
    from drawaudio_model.masks import resize_mask

    # A letter is about twice as high as wide.
    rows = min(max(round(columns * region.shape[0] / region.shape[1] / 2), 1), columns)
    return "\n".join("".join("#" if cell else "." for cell in row) for row in resize_mask(region, rows, columns))


def contact_sheet(frames: "np.ndarray", boxes: "Sequence[Box]", columns: int = 5, width: int = 240) -> "Image.Image":
    """One picture with every second frame (of V, H, W, 3) and its boxes."""
    from PIL import Image, ImageDraw

    pictures = []
    for number in range(0, len(frames), 2):
        picture = Image.fromarray(frames[number])
        picture = picture.resize((width, max(round(picture.height * width / picture.width), 1)))
        draw = ImageDraw.Draw(picture)
        for box in boxes:
            if box.frame == number:
                corners = (box.x0 * width, box.y0 * picture.height, box.x1 * width, box.y1 * picture.height)
                draw.rectangle(corners, outline=(255, 196, 0), width=3)
        pictures.append(picture)
    rows = -(-len(pictures) // columns)
    height = pictures[0].height
    sheet = Image.new("RGB", (min(columns, len(pictures)) * width, rows * height))
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % columns * width, number // columns * height))
    return sheet
