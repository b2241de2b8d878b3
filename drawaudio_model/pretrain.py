"""Trains one of the demo's small backbones from finished shards and writes its folder.

    python -m drawaudio_model.pretrain audio_autoencoder --data data/demo --output data/demo/backbones/audio_autoencoder

The stopping rule is a number of steps, so that the result depends on the data, the seed and the number of threads (sums
are split among threads, and float addition depends on the order) and not on how busy the machine is. `--seconds` ends
a run earlier where time matters more, and with DRAWAUDIO_THREADS=auto the number of threads is chosen by measuring, so
that two runs differ in the last bits (thread_choice.py).
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from drawaudio_model.atomic_files import replaced_folder
from drawaudio_model.backbone_config import backbone_config
from drawaudio_model.command_line import run_program
from drawaudio_model.pretraining.arguments import ALIASES, BACKBONES, EXAMPLE, PURPOSE, add_arguments
from drawaudio_model.pretraining.loop import pick_device
from drawaudio_model.progress import Reporter
from drawaudio_model.thread_choice import threads_setting


@dataclass(frozen=True)
class Backbone:
    """The training of one backbone: function, step fields and pictures; its settings are those of `backbone_config`."""

    train: Callable[..., dict[str, Any]]
    step_fields: tuple[str, ...]
    """Fields of the configuration that count steps; `--steps` is shared out among them in their proportion. None where
    the backbone is computed at once."""
    pictures: tuple[str, ...]
    """PNG files in the folder that are worth showing."""


def load_backbone(name: str) -> Backbone:
    """The training of a backbone; its heavy imports happen here.

    Raises:
        ValueError: for a name that is none of BACKBONES.
    """
    if name == "audio_autoencoder":
        from drawaudio_model.pretraining.autoencoder import train_autoencoder

        return Backbone(train_autoencoder, (), ("reconstruction", "patterns"))
    if name == "text_encoders":
        from drawaudio_model.pretraining.text import train_text_encoders

        steps = ("clap_steps", "t5_steps", "gpt_steps")
        return Backbone(train_text_encoders, steps, ("similarity", "loss"))
    if name == "cavp_backbone":
        from drawaudio_model.pretraining.cavp import train_cavp

        return Backbone(train_cavp, ("first_steps", "steps"), ("similarity", "loss"))
    if name == "object_detector":
        from drawaudio_model.pretraining.detector import train_detector

        pictures = ("detections", "clip_loss", "loss")
        return Backbone(train_detector, ("clip_steps", "steps"), pictures)
    if name == "vocoder":
        from drawaudio_model.pretraining.vocoder import train_vocoder

        return Backbone(train_vocoder, ("steps",), ("mels", "loss"))
    raise ValueError(f"backbone is {name!r}, expected one of {', '.join(BACKBONES)}")


def share_steps(config: Any, fields: Sequence[str], steps: int) -> Any:
    """The configuration with `steps` optimiser steps in all, at least one in each stage.

    Raises:
        ValueError: when `steps` is below 1.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}, expected at least 1")
    if not fields:
        raise ValueError(f"steps is {steps}, but this backbone is computed at once; leave --steps out")
    total = sum(getattr(config, field) for field in fields)
    return replace(config, **{field: max(1, round(getattr(config, field) * steps / total)) for field in fields})


def pretrain(
    name: str,
    data: Path,
    output: Path,
    *,
    run: str = "demo",
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Trains a backbone and puts its folder in place of `output`, whole or not at all.

    Args:
        name: one of BACKBONES.
        data: root of the per-shard assets.
        output: folder to write; an older one is replaced at the end.
        run: one of RUNS.
        steps: optimiser steps of all stages together; None is the named run's.
        seconds: upper limit of the training's wall time; None is no limit.
        seed: of weights, batches and crops.

    Returns:
        What was measured; without the time, it is also in `output`/report.json.
    """
    backbone = load_backbone(name)
    config = backbone_config(name, run)
    if steps is not None:
        config = share_steps(config, backbone.step_fields, steps)
    settings = {
        "run": run,
        "seed": seed,
        "threads": threads_setting(),
        "steps": {field: getattr(config, field) for field in backbone.step_fields},
    }
    with Reporter(f"pretrain {name}", total=None) as report:
        with replaced_folder(output) as folder:
            steps = sum(getattr(config, field) for field in backbone.step_fields)
            report.note(f"reading the clips, then {steps} steps" if steps else "reading the clips")
            measured = backbone.train(data, folder, config, seed=seed, seconds=seconds, device=pick_device())
            record = {**settings, **measured}
            # No times in the file: equal runs leave equal folders.
            lasting = {key: value for key, value in record.items() if not key.endswith("_seconds")}
            (folder / "report.json").write_text(json.dumps(lasting, indent=1) + "\n")
        for picture in backbone.pictures:
            report.picture(picture, output / f"{picture}.png")
        report.finish({"folder": output, **record})
    return record


def run(options: argparse.Namespace) -> None:
    """Does what the parsed command line asks for.

    Raises:
        ValueError: when the input is wrong.
    """
    # Nothing here comes from a hub; without this, a missing file would become minutes of retries.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.use_deterministic_algorithms(True, warn_only=True)
    pretrain(
        ALIASES.get(options.backbone, options.backbone),
        options.data,
        options.output,
        run=options.run,
        steps=options.steps,
        seconds=options.seconds,
        seed=options.seed,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 2 with one sentence on bad input."""
    return run_program("pretrain", PURPOSE, EXAMPLE, add_arguments, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
