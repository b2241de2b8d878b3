"""`drawaudio`: make a video sound, draw its curve and mask, look into a model or a dataset.

Bad input ends with exit code 2 and one sentence. Heavy libraries are imported by the commands that need them, so that
`drawaudio --help` answers at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

DEFAULT_MODEL = Path("data/demo/model")
"""Where the demo profile leaves its model, seen from the repository's root."""
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".ts")
AUDIO_SUFFIXES = (".wav", ".flac")

_GENERATE_EXAMPLE = """example:
  drawaudio generate ball.mp4 --text "a ball bounces" --mask 0.3,0.1,0.7,0.9 --loudness curve.csv --seed 7 -o out.mp4

  --mask      a picture (bright or opaque is what sounds), a folder of pictures (one per frame at 4 fps), a .json of
              boxes, one box x0,y0,x1,y1 in fractions of the picture, or the text of a thing that is then looked for
  --loudness  a .csv or .json curve (time_seconds, level), an audio file to follow, or points 0:0,1.5:0.3,2:0
  OUT         .wav or .flac, or a video (the picture is copied, not encoded again)"""
_CURVE_EXAMPLE = """example:
  drawaudio curve reference.wav -o curve.csv         measure a sound; edit the file; then
  drawaudio generate ball.mp4 --text "a ball bounces" --loudness curve.csv -o out.mp4"""
_MASK_EXAMPLE = """example:
  drawaudio mask street.mp4 --text car -o car.json --preview car.jpg
  drawaudio generate street.mp4 --text "a car passes" --mask car.json -o out.mp4"""
_INFO_EXAMPLE = """example:
  drawaudio info data/demo/model"""
_VERIFY_EXAMPLE = """example:
  drawaudio dataset verify data/demo/training_shards"""

_PUBLISH_EXAMPLE = """example:
  drawaudio dataset publish data/demo/training_shards data/published
  drawaudio dataset publish data/demo/training_shards hf://datasets/me/demo     after `hf auth login`

  What is there already is not written or sent again: interrupted, it continues."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["train"]:
        # The trainer reads its own arguments, and is the same program under `accelerate launch`.
        from drawaudio_model.train import main as train

        return train(given[1:])
    options = build_parser().parse_args(given)
    try:
        options.run(options)
    except (ValueError, FileNotFoundError) as error:
        print(f"drawaudio: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    parser = argparse.ArgumentParser(
        prog="drawaudio", description="Sound for silent video, steered by text, mask and curve."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    generate = _command(commands, "generate", "make the sound of a video", _GENERATE_EXAMPLE, run_generate)
    generate.add_argument("video", type=Path, metavar="VIDEO")
    generate.add_argument("--text", help="what should sound")
    generate.add_argument("--negative-text", help="what should not sound")
    generate.add_argument("--mask", help="which part of the picture sounds (see below)")
    generate.add_argument("--loudness", help="when and how loud (see below)")
    generate.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    generate.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="model folder (default: %(default)s)")
    generate.add_argument("--detector", type=Path, help="folder for --mask TEXT (default: backbones beside the model)")
    generate.add_argument("--seconds", type=float, help="only this much from the start (default: the whole video)")
    generate.add_argument("--steps", type=int, default=25, help="sampling steps (default: %(default)s)")
    generate.add_argument("--guidance-text", type=float, default=3.5, help="default: %(default)s")
    generate.add_argument("--guidance-video", type=float, default=4.5, help="default: %(default)s")
    generate.add_argument("--seed", type=int, help="the same seed gives the same sound (default: a random one)")
    generate.add_argument("--candidates", type=int, default=1, help="make several, keep the one nearest to the curve")
    generate.add_argument("--device", help="cuda, cpu, ... (default: a GPU where there is one)")

    curve = _command(commands, "curve", "write the loudness curve of a sound", _CURVE_EXAMPLE, run_curve)
    curve.add_argument("audio", type=Path, metavar="AUDIO", help="audio or video file")
    curve.add_argument("-o", "--output", type=Path, required=True, help=".csv or .json")
    curve.add_argument("--seconds", type=float, help="only this much from the start (default: all)")

    mask = _command(commands, "mask", "find a thing in a video's frames", _MASK_EXAMPLE, run_mask)
    mask.add_argument("video", type=Path, metavar="VIDEO")
    mask.add_argument("--text", required=True, help="the thing: dog, red ball")
    mask.add_argument("-o", "--output", type=Path, required=True, help=".json of boxes for generate --mask")
    mask.add_argument("--preview", type=Path, help="picture of the frames with their boxes, .jpg or .png")
    mask.add_argument("--detector", type=Path, default=DEFAULT_MODEL.parent / "backbones" / "object_detector")
    mask.add_argument("--confidence", type=float, default=0.25, help="boxes below are dropped (default: %(default)s)")
    mask.add_argument("--seconds", type=float, help="only this much from the start (default: all)")

    info = _command(commands, "info", "say what a model folder holds", _INFO_EXAMPLE, run_info)
    info.add_argument("model", type=Path, metavar="MODEL")

    commands.add_parser("train", help="train the denoiser on a folder of shards", add_help=False)

    dataset = commands.add_parser("dataset", help="look after a dataset").add_subparsers(
        required=True, metavar="COMMAND"
    )
    verify = _command(
        dataset, "verify", "check every shard of a folder against its manifest", _VERIFY_EXAMPLE, run_verify
    )
    verify.add_argument("folder", type=Path, metavar="DIR")
    share = _command(
        dataset, "publish", "copy a dataset without its sound to a folder or the hub", _PUBLISH_EXAMPLE, run_publish
    )
    share.add_argument("folder", type=Path, metavar="DIR", help="training shards, or a dataset's folder")
    share.add_argument("destination", metavar="DEST", help="a folder, or hf://datasets/<owner>/<name>")
    return parser


def run_generate(options: argparse.Namespace) -> None:
    """`drawaudio generate`."""
    suffix = options.output.suffix.lower()
    if suffix not in AUDIO_SUFFIXES + VIDEO_SUFFIXES:
        known = ", ".join(AUDIO_SUFFIXES + VIDEO_SUFFIXES)
        raise ValueError(f"output {options.output.name} ends in {suffix!r}, expected one of {known}")
    if not options.video.is_file():
        raise ValueError(f"video {options.video} does not exist")
    if not options.output.resolve().parent.is_dir():
        raise ValueError(f"the folder of {options.output} does not exist; make it first")
    import torch

    from drawaudio_model import media
    from drawaudio_model.model_folder import check_model_folder
    from drawaudio_model.pipeline import DrawAudioPipeline

    check_model_folder(options.model)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    pipe = DrawAudioPipeline.from_pretrained(options.model).to(device)
    pipe.set_progress_bar_config(desc="generate", dynamic_ncols=True)
    result = pipe(
        options.video,
        options.text,
        negative_prompt=options.negative_text,
        mask=parse_mask(options),
        loudness=parse_loudness(options.loudness),
        seconds=options.seconds,
        num_inference_steps=options.steps,
        guidance_text=options.guidance_text,
        guidance_video=options.guidance_video,
        seed=options.seed,
        num_candidates=options.candidates,
    )
    waveform = result.audios[0]
    if suffix in AUDIO_SUFFIXES:
        media.write_audio(options.output, waveform)
    else:
        media.mux(options.video, waveform, options.output)
    score = "" if result.scores is None else f", follows the curve with correlation {result.scores[0]:.2f}"
    print(f"{options.output}: seed {result.seeds[0]}{score}")


def run_curve(options: argparse.Namespace) -> None:
    """`drawaudio curve`."""
    import numpy as np

    from drawaudio_model import loudness, media, mel
    from drawaudio_model.clip_format import LOUDNESS_FPS, SAMPLE_RATE

    if not options.audio.is_file():
        raise ValueError(f"audio {options.audio} does not exist")
    waveform = media.read_waveform(options.audio, seconds=options.seconds)
    # Whole points: the last tenth of a second is filled up with silence.
    points = max(-(-len(waveform) * LOUDNESS_FPS // SAMPLE_RATE), 1)
    padded = np.pad(waveform, (0, points * SAMPLE_RATE // LOUDNESS_FPS - len(waveform)))
    signal = loudness.loudness_signal(mel.normalize_waveform(padded), seconds=points / LOUDNESS_FPS)
    loudness.write_points(options.output, loudness.to_points(signal))
    print(f"{options.output}: {points} points, {points / LOUDNESS_FPS:g} s, loudest {signal.max():.2f}")


def run_mask(options: argparse.Namespace) -> None:
    """`drawaudio mask`."""
    from drawaudio_model.instructions import read_video
    from drawaudio_model.masks import boxes_to_json

    picture = read_video(options.video, seconds=options.seconds)
    boxes = find_boxes(options.detector, picture.frames, options.text, options.confidence)
    seen = {box.frame for box in boxes}
    if not boxes:
        raise ValueError(f"no {options.text!r} was found in {options.video}; lower --confidence, or draw a mask")
    options.output.write_text(boxes_to_json(boxes, frames=len(picture.frames)) + "\n")
    if options.preview is not None:
        contact_sheet(picture.frames, boxes).save(options.preview)
    print(f"{options.output}: {options.text!r} in {len(seen)} of {len(picture.frames)} frames")


def run_info(options: argparse.Namespace) -> None:
    """`drawaudio info`."""
    from drawaudio_model.model_folder import check_model_folder, model_sha256, read_components, weight_shapes

    check_model_folder(options.model)
    print(f"{options.model}  sha256 {model_sha256(options.model)}")
    for name, (library, class_name) in sorted(read_components(options.model).items()):
        shapes = [s for file in (options.model / name).glob("*.safetensors") for s in weight_shapes(file).values()]
        weights = f"{sum(_product(shape) for shape in shapes):>13,} weights" if shapes else ""
        print(f"  {name:18} {class_name:32} {weights or library}")


def run_verify(options: argparse.Namespace) -> None:
    """`drawaudio dataset verify`."""
    from drawaudio_model.verify import verify_shards

    found = verify_shards(options.folder)
    for damage in found.damages:
        print(damage, file=sys.stderr)
    if found.damages:
        raise ValueError(f"{options.folder}: {len(found.damages)} damages in {found.shards} shards, each named above")
    print(f"{options.folder}: {found.shards} shards, {found.clips} clips, all as their manifests say")


def run_publish(options: argparse.Namespace) -> None:
    """`drawaudio dataset publish`."""
    from drawaudio_model.publish import publish

    done = publish(options.folder, options.destination)
    card = "" if done.has_card else "; without a card, materialize dataset_card first and publish again"
    print(f"{done.place}: {done.shards} shards, {done.clips} clips, {done.megabytes:.1f} MB without sound{card}")


def parse_mask(options: argparse.Namespace) -> object:
    """What `--mask` says, as the pipeline takes it: a path, or boxes."""
    text = options.mask
    if text is None or Path(text).exists():
        return text
    from drawaudio_model.instructions import read_video
    from drawaudio_model.masks import Box

    frames = read_video(options.video, seconds=options.seconds).frames
    corners = text.split(",")
    if len(corners) == 4:
        try:
            x0, y0, x1, y1 = (float(corner) for corner in corners)
        except ValueError:
            raise ValueError(
                f"mask {text!r} is no box; expected x0,y0,x1,y1 as fractions such as 0.3,0.1,0.7,0.9"
            ) from None
        return [Box(frame, 0, 1.0, x0, y0, x1, y1) for frame in range(len(frames))]
    if Path(text).suffix:
        raise ValueError(f"mask {text} does not exist; give a picture, a folder, a .json of boxes, a box or a text")
    folder = options.detector or options.model.parent / "backbones" / "object_detector"
    boxes = find_boxes(folder, frames, text, confidence=0.25)
    if not boxes:
        raise ValueError(f"no {text!r} was found in {options.video}; draw a mask, or see `drawaudio mask --help`")
    return boxes


def find_boxes(folder: Path, frames: object, text: str, confidence: float) -> list:
    """Boxes of one phrase in the frames (V, H, W, 3).

    Raises:
        ValueError: when the detector is missing or does not know the phrase.
    """
    from drawaudio_model.detector import ObjectDetector

    if not folder.is_dir():
        raise ValueError(f"detector folder {folder} does not exist; materialize object_detector or give --detector")
    detector = ObjectDetector.from_pretrained(folder)
    if not detector.knows(text):
        raise ValueError(f"the detector does not know {text!r}, only: {', '.join(sorted(detector.vocabulary))}")
    return detector.detect([frames], [[text]], confidence=confidence)[0]


def contact_sheet(frames: object, boxes: list, columns: int = 5, width: int = 240) -> object:
    """One picture with every second frame and its boxes."""
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


def parse_loudness(text: str | None) -> object:
    """What `--loudness` says, as the pipeline takes it: a path, or (time, level) points."""
    if text is None or Path(text).exists() or ":" not in text:
        return text
    try:
        return [tuple(float(part) for part in point.split(":")) for point in text.split(",")]
    except ValueError:
        raise ValueError(f"loudness {text!r} is neither a file nor points such as 0:0,1.5:0.3,2:0") from None


def _command(
    commands: "argparse._SubParsersAction", name: str, purpose: str, example: str, run: object
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=purpose,
        description=purpose[0].upper() + purpose[1:] + ".",
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


if __name__ == "__main__":
    sys.exit(main())
