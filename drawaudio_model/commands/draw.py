"""`drawaudio curve` and `drawaudio mask`: what a person draws with, made from sounds and words.

Heavy libraries are imported inside the commands, so that `drawaudio --help` answers at once.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from drawaudio_model.command_line import add_command
from drawaudio_model.commands.generate import AUDIO_SUFFIXES, write_sound

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from drawaudio_model.boxes import Box

DEFAULT_DETECTOR = Path("data/demo/backbones/object_detector")
"""Where the demo profile leaves its detector, seen from the repository's root."""

CURVE_EXAMPLE = """example:
  drawaudio curve reference.wav -o curve.csv         measure a sound; edit the file; then
  drawaudio curve curve.csv -o heard.wav             listen to the curve as noise that follows it, and
  drawaudio generate ball.mp4 --text "a ball bounces" --loudness curve.csv -o out.mp4

  A curve is a .csv with the columns time_seconds and level, or a .json list of objects with those keys; IN and OUT may
  both be curves, then one becomes the other. Levels are linear RMS of a sound that peaks at 0.5."""
MASK_EXAMPLE = """example:
  drawaudio mask street.mp4 --text car -o car.json --preview car.jpg
  drawaudio generate street.mp4 --text "a car passes" --mask car.json -o out.mp4"""


def add_commands(commands: "argparse._SubParsersAction") -> None:
    """`curve` and `mask`."""
    curve = add_command(commands, "curve", "turn a sound into a loudness curve, and back", CURVE_EXAMPLE, run_curve)
    curve.add_argument("source", type=Path, metavar="IN", help="audio or video file, or a .csv or .json curve")
    curve.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help=f".csv, .json, {', '.join(AUDIO_SUFFIXES)}"
    )
    curve.add_argument("--seconds", type=float, help="only this much from the start (default: all)")

    mask = add_command(commands, "mask", "find a thing in a video's frames", MASK_EXAMPLE, run_mask)
    mask.add_argument("video", type=Path, metavar="VIDEO")
    mask.add_argument("--text", required=True, help="the thing: dog, red ball")
    mask.add_argument("-o", "--output", type=Path, required=True, help=".json of boxes for generate --mask")
    mask.add_argument("--preview", type=Path, help="picture of the frames with their boxes, .jpg or .png")
    mask.add_argument("--detector", type=Path, default=DEFAULT_DETECTOR, help="folder (default: %(default)s)")
    mask.add_argument("--confidence", type=float, default=0.25, help="boxes below are dropped (default: %(default)s)")
    mask.add_argument("--seconds", type=float, help="only this much from the start (default: all)")


def run_curve(options: argparse.Namespace) -> None:
    """`drawaudio curve`."""
    from drawaudio_model import loudness
    from drawaudio_model.clip_format import LOUDNESS_FPS
    from drawaudio_model.generation.instructions import CURVE_SUFFIXES

    if not options.source.is_file():
        raise ValueError(f"{options.source} does not exist; give a sound or a curve")
    if options.seconds is not None and not (options.seconds > 0 and math.isfinite(options.seconds)):
        raise ValueError(f"seconds is {options.seconds}, expected a number of more than 0")
    target = options.output.suffix.lower()
    if target not in (*CURVE_SUFFIXES, *AUDIO_SUFFIXES):
        known = ", ".join((*CURVE_SUFFIXES, *AUDIO_SUFFIXES))
        raise ValueError(f"output {options.output.name} ends in {target!r}, expected one of {known}")
    if options.source.suffix.lower() in CURVE_SUFFIXES:
        points = loudness.read_points(options.source)
        length = options.seconds or points[-1][0] + 0.5 / LOUDNESS_FPS
        signal = loudness.from_points(points, max(round(length * LOUDNESS_FPS), 1) / LOUDNESS_FPS)
        if options.seconds is not None:
            points = [point for point in points if point[0] <= options.seconds]
    else:
        signal = _measured(options.source, options.seconds)
        points = loudness.to_points(signal)
    if target in CURVE_SUFFIXES:
        loudness.write_points(options.output, points)
    else:
        write_sound(options.output, loudness.noise_of_curve(signal))
    seconds = len(signal) / LOUDNESS_FPS
    print(f"{options.output}: {len(points)} points, {seconds:g} s, loudest {signal.max():.2f}")


def _measured(source: Path, seconds: float | None) -> "np.ndarray":
    """(points,) the loudness signal of a sound file."""
    import numpy as np

    from drawaudio_model import loudness, media, mel
    from drawaudio_model.clip_format import LOUDNESS_FPS, SAMPLE_RATE

    waveform = media.read_waveform(source, seconds=seconds)
    # Whole points: the last tenth of a second is filled up with silence.
    points = max(-(-len(waveform) * LOUDNESS_FPS // SAMPLE_RATE), 1)
    padded = np.pad(waveform, (0, points * SAMPLE_RATE // LOUDNESS_FPS - len(waveform)))
    return loudness.loudness_signal(mel.normalize_waveform(padded), seconds=points / LOUDNESS_FPS)


def run_mask(options: argparse.Namespace) -> None:
    """`drawaudio mask`."""
    from drawaudio_model.boxes import boxes_to_json
    from drawaudio_model.generation.instructions import find_boxes, read_video
    from drawaudio_model.masks import IMAGE_SUFFIXES

    if options.output.suffix.lower() != ".json":
        raise ValueError(f"output {options.output.name} ends in {options.output.suffix!r}, expected .json")
    if options.preview is not None and options.preview.suffix.lower() not in IMAGE_SUFFIXES:
        known = ", ".join(IMAGE_SUFFIXES)
        raise ValueError(f"preview {options.preview.name} ends in {options.preview.suffix!r}, expected one of {known}")
    for place in (options.output, options.preview):
        if place is not None and not place.resolve().parent.is_dir():
            raise ValueError(f"the folder of {place} does not exist; make it first")
    if not 0 <= options.confidence <= 1:
        raise ValueError(f"confidence is {options.confidence}, expected 0 to 1")
    picture = read_video(options.video, seconds=options.seconds)
    if not options.detector.is_dir():
        raise ValueError(
            f"detector folder {options.detector} does not exist; materialize object_detector or give another"
        )
    from drawaudio_model.detector import ObjectDetector

    detector = ObjectDetector.from_pretrained(options.detector)
    boxes = find_boxes(detector, picture.frames, options.text, confidence=options.confidence, progress=True)
    options.output.write_text(boxes_to_json(boxes, frames=len(picture.frames)) + "\n")
    if options.preview is not None:
        contact_sheet(picture.frames, boxes).save(options.preview)
    seen = {box.frame for box in boxes}
    print(f"{options.output}: {options.text!r} in {len(seen)} of {len(picture.frames)} frames")


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
