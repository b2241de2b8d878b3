"""The command lines of `drawaudio evaluate` and `drawaudio control`; no library is loaded for them."""

import argparse
from pathlib import Path

from drawaudio_model.command_line import count
from drawaudio_model.defaults import SAMPLING_STEPS, THREADS_VARIABLE, WEIGHTS_FOLDER
from drawaudio_model.evaluation.paper_tables import PAPER

EVALUATE_PURPOSE = "generate a split of the training shards, measure it, and write a page to listen to"
EVALUATE_EXAMPLE = """example:
  drawaudio evaluate --model data/demo/model --shards data/demo/training_shards --media data/demo/clip_media --output eval

  In the output folder: metrics.json (every figure with its count and interval), clips.json (the figures of each clip),
  index.html with page/ (a folder that can be copied anywhere) and clips/ (what was generated, kept for the next run).
  The paper's metrics (FD, IS, KL, FAD, CS-AV) and the CLAP score are measured where their extractors' weights lie, and
  named as missing where not."""
CONTROL_PURPOSE = "measure whether each instruction steers the sound, on the demo world's test split"
CONTROL_EXAMPLE = """example:
  drawaudio control --model data/demo/model --shards data/demo/training_shards --raw-clips data/demo/raw_clips \\
      --media data/demo/clip_media --wordings pipelines/sources/demo/held_out_wordings.json --output data/demo/control

  In the output folder: control.json (every figure with count, interval and seed), clips.json (the figures of each clip),
  index.html with page/, and clips/<row>/ (what was generated, kept for the next run)."""


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `drawaudio evaluate`."""
    add = parser.add_argument
    add("--model", type=Path, required=True, help="folder of a DrawAudioPipeline")
    add("--shards", type=Path, required=True, help="folder of training shards (with sound)")
    add("--split", default="test", help="train, val or test (default: %(default)s)")
    add("--output", type=Path, required=True, help="folder for figures, sounds and page")
    add("--media", type=Path, help="shards with the pictures for the page: clip_media or raw_clips")
    add("--limit", type=count, help="at most this many clips, drawn with the seed")
    add("--seed", type=int, default=0, help="of the noise and of --limit's draw")
    add("--batch", type=count, default=8, help="clips sampled together (default: %(default)s)")
    add("--steps", type=count, default=SAMPLING_STEPS, help="sampling steps (default: %(default)s)")
    add("--guidance-text", type=float, help="s_text of Eq. (12) (default: the model's)")
    add("--guidance-video", type=float, help="s_video of Eq. (12) (default: the model's)")
    add("--guidance-loudness", type=float, help="s_loudness (default: the model's)")
    add("--page-clips", type=int, default=40, help="clips on the page (default: %(default)s)")
    add("--dataset", choices=sorted(PAPER), help="test set of the paper whose table is ours to fill")
    add(
        "--weights",
        type=Path,
        default=WEIGHTS_FOLDER,
        help="folder of extractor weights for the paper's metrics; what is missing is named (default: %(default)s)",
    )
    add("--fetch-weights", action="store_true", help="download missing weights where they are published")
    add(
        "--part",
        default="1/1",
        metavar="I/N",
        help="only generate the I-th of N parts; run once more without it to measure",
    )
    add(
        "--processes",
        choices=("auto", "1", "2"),
        default="auto",
        help=f"that generate on a CPU: auto takes two where ${THREADS_VARIABLE} is auto and there are two cores",
    )
    add("--device", help="cuda, cpu, ...; default: a GPU where there is one")


def add_control_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `drawaudio control`; those without a default here have that of control.Settings."""
    add = parser.add_argument
    add("--model", type=Path, required=True, help="folder of a DrawAudioPipeline")
    add("--beside", action="append", default=[], metavar="NAME=FOLDER", help="another model, measured on a few rows")
    add("--shards", type=Path, required=True, help="folder of training shards (with sound)")
    add("--raw-clips", type=Path, required=True, help="the demo world's clips, with truth and stems")
    add("--media", type=Path, required=True, help="clip_media: their pictures")
    add("--wordings", type=Path, required=True, help=".json of kind -> wordings that no clip has")
    add("--output", type=Path, required=True, help="folder for figures, sounds and page")
    add("--repetitions", type=count, help="of rows with drawn instructions, each with others")
    add("--split", help="train, val or test (default: test)")
    add("--limit", type=count, help="at most this many clips, drawn with the seed")
    add("--seed", type=int, help="of the noise, the shuffled curves, the classifier, the intervals")
    add("--batch", type=count, help="clips sampled together")
    add("--steps", type=count, help="sampling steps")
    add("--guidance-text", type=float, help="s_text of Eq. (12) (default: the model's)")
    add("--guidance-video", type=float, help="s_video of Eq. (12) (default: the model's)")
    add("--guidance-loudness", type=float, help="s_loudness (default: the model's)")
    add("--classifier-steps", type=count, help="training steps of the classifier")
    add("--page-clips", type=int, help="clips on the page")
    add("--device", help="cuda, cpu, ...; default: a GPU where there is one")
