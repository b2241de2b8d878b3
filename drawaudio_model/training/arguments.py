"""The command line of `drawaudio train`; no library is loaded for it."""

import argparse
from pathlib import Path

from drawaudio_model.defaults import RUN_NAMES, THREADS_VARIABLE

PURPOSE = "train the denoiser on a folder of shards"
EXAMPLE = """example:
  drawaudio train --run demo --shards data/demo/training_shards --backbones data/demo/backbones --output data/demo/model
  drawaudio train --run demo --set loudness_mode=additive --shards ... --backbones ... --output data/demo/model_additive
  drawaudio train --run paper --dataset mixed --estimate --devices 4
  accelerate launch -m drawaudio_model.train --run paper ...       several processes or machines
  torchrun --nproc-per-node 8 -m drawaudio_model.train --named-run paper ...   likewise

  A DrawAudioPipeline folder is left. A run that is killed and started again continues bit for bit."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `drawaudio train`."""
    add = parser.add_argument
    add("--shards", type=Path, help="folder of training shards; its train-* are learnt from")
    add("--val-shards", type=Path, help="folder whose val-* shards validate (default: --shards)")
    add(
        "--drawn",
        type=Path,
        help="folder of variants drawn by hand (default: drawn_instructions beside --shards, if used)",
    )
    add("--backbones", type=Path, help="folder of audio_autoencoder, text_encoders, cavp_backbone, vocoder")
    add("--output", type=Path, help="DrawAudioPipeline folder to write")
    add(
        "--state",
        type=Path,
        help="folder of checkpoints and logs (default: beside --output: training, or NAME.training)",
    )
    add(
        *("--run", "--named-run"),
        choices=RUN_NAMES,
        required=True,
        help="named settings (config.py); torchrun takes --run for one of its own options, so write --named-run behind it",
    )
    add("--dataset", default="vggsound_caption", help="audiocaps, vggsound_caption or mixed: steps of paper, improved")
    add("--steps", type=int, help="optimiser steps instead of the run's")
    add("--batch-size", type=int, help="samples of one optimiser step over all processes")
    add("--micro-batch-size", type=int, help="samples of one forward pass in one process")
    add("--seed", type=int, help="of everything that is random")
    add("--workers", type=int, help="loader processes; changes no result")
    add(
        "--threads",
        metavar="auto|N",
        help="of a step on a CPU: auto measures what is faster, and again when steps slow down, but then no two runs are "
        f"equal bit for bit (default: ${THREADS_VARIABLE}, or a fixed number)",
    )
    add(
        "--processes",
        choices=("auto", "1", "2"),
        default="auto",
        help="that share each batch on a CPU: auto takes two where --threads is auto and there are two cores",
    )
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="any setting of config.py, VALUE as JSON")
    add("--estimate", action="store_true", help="only print steps, samples, disk and hours, from a short measured run")
    add("--devices", type=int, default=1, help="devices like this one that will train, for --estimate")
    add(
        "--resume",
        choices=("auto", "must", "never"),
        default="auto",
        help="auto continues the same run and starts another anew; the old state folder is renamed, not deleted",
    )
