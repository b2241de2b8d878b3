"""The command line of `drawaudio pretrain`; no library is loaded for it."""

import argparse
from pathlib import Path

RUNS = ("demo", "control", "small", "tiny")
BACKBONES = ("audio_autoencoder", "text_encoders", "cavp_backbone", "object_detector", "vocoder")
ALIASES = {"cavp": "cavp_backbone"}

PURPOSE = "train one of the demo's small backbones from finished shards"
EXAMPLE = """example:
  drawaudio pretrain audio_autoencoder --data data/demo --output data/demo/backbones/audio_autoencoder

  The folder replaces an older one when it is complete."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `drawaudio pretrain`."""
    add = parser.add_argument
    add("backbone", choices=(*BACKBONES, *ALIASES))
    add("--data", type=Path, required=True, help="data root with the shards of the train partitions")
    add("--output", type=Path, required=True, help="folder to write")
    add("--run", choices=RUNS, default="demo", help="sizes and steps (default: %(default)s)")
    add("--steps", type=int, help="optimiser steps of all stages together (default: the run's)")
    add("--seconds", type=float, help="stop training after this wall time (default: no limit)")
    add("--seed", type=int, default=0)
