"""Trains the denoiser on precomputed samples and leaves a DrawAudioPipeline folder.

    python -m drawaudio_model.train --shards data/demo/training_shards --backbones data/demo/backbones \
        --output data/demo/model --run demo

Runs as one process or several (`accelerate launch -m drawaudio_model.train ...`). What is learnt from in step s is a
function of (seed, s) alone, so a run that is killed and started again continues bit for bit (on a CPU, with a fixed number
of threads), and the number of processes and loader workers changes nothing but speed and the last bits. `--threads auto` gives
equal bits up for speed: two processes of half the threads share a CPU then (`--processes`), or with one process the threads
are chosen by measuring, and how gradients are summed depends on both.

Legend: B batch, C latent channels, F latent frames, K latent mel bins, V video frames, D CAVP width, L text tokens.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator

from drawaudio_model.adapters import PARTS, save_adapters
from drawaudio_model.atomic_files import replaced_folder
from drawaudio_model.command_line import run_program
from drawaudio_model.config import TrainConfig, changed, differences, named_run
from drawaudio_model.dataset import DrawnInstructions, TrainingShards
from drawaudio_model.model_folder import missing_vocoder, read_json
from drawaudio_model.pipeline import DrawAudioPipeline
from drawaudio_model.progress import Reporter
from drawaudio_model.second_process import process_count
from drawaudio_model.shard import count_clips, finished_shards
from drawaudio_model.thread_choice import threads_setting
from drawaudio_model.training.arguments import EXAMPLE, PURPOSE, add_arguments
from drawaudio_model.training.checkpoint import LOCK_FILE, newest_checkpoint, only_trainer, set_aside
from drawaudio_model.training.curves import plot_learning_curves, read_rows
from drawaudio_model.training.estimate import estimate
from drawaudio_model.training.loop import Training
from drawaudio_model.training.parts import build_denoiser, build_pipeline, check_backbones, load_null_text
from drawaudio_model.training.sounds import AudioSamples, first_samples
from drawaudio_model.training.together import train_together
from drawaudio_model.training_domain import TrainingDomain


def conflict(config: TrainConfig, shards: TrainingShards, folder: Path) -> str | None:
    """The reason why the checkpoints in `folder` belong to another run; None when this run may continue them."""
    checkpoint = newest_checkpoint(folder / "checkpoints", read_tensors=False)
    if checkpoint is None:
        return None
    reasons = differences(config, checkpoint.state.get("config", {}))
    if checkpoint.state.get("shards") != shards.fingerprint:
        reasons.append("the training shards are others")
    if checkpoint.step > config.steps:
        reasons.append(f"it has {checkpoint.step} steps, more than {config.steps}")
    return "; ".join(reasons) or None


def prepare_folder(config: TrainConfig, shards: TrainingShards, folder: Path, resume: str) -> bool:
    """Leaves in `folder` only what this run may continue; anything else is renamed, never deleted. Returns whether it was.

    Args:
        resume: "auto" continues the same run and starts anew otherwise, "must" insists, "never" starts anew.

    Raises:
        ValueError: when "must" finds no checkpoint or another run's.
    """
    reason = None if resume == "never" else conflict(config, shards, folder)
    if resume == "must":
        if newest_checkpoint(folder / "checkpoints", read_tensors=False) is None:
            raise ValueError(f"there is no checkpoint in {folder} to continue; leave out --resume must")
        if reason is not None:
            raise ValueError(f"the run in {folder} cannot be continued: {reason}; use --resume never to start anew")
    used = folder.exists() and any(path.name != LOCK_FILE for path in folder.iterdir())
    anew = used and (resume == "never" or reason is not None)
    if anew:
        set_aside(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return anew


def write_pipeline(pipeline: DrawAudioPipeline, output: Path) -> None:
    """Saves a pipeline folder as a whole: a folder that was there is replaced only when the new one is complete."""
    with replaced_folder(output) as folder:
        pipeline.save_pretrained(folder, safe_serialization=True)


def train(arguments: argparse.Namespace, config: TrainConfig) -> None:
    """Runs or continues the training that the command line asks for, and writes its pipeline folder."""
    threads = threads_setting(arguments.threads)
    accelerator = Accelerator(mixed_precision=config.precision, cpu=not torch.cuda.is_available())
    shards = TrainingShards(arguments.shards, limits=config.score_limits())
    check_backbones(config, arguments.backbones)
    shards.drawn = drawn_instructions(arguments, config)
    state = arguments.state or beside_model(arguments.output, "training")
    with ExitStack() as whole:
        if accelerator.is_main_process:
            whole.enter_context(only_trainer(state))
            if prepare_folder(config, shards, state, arguments.resume):
                whole.enter_context(only_trainer(state))
        accelerator.wait_for_everyone()
        report = whole.enter_context(
            Reporter("train model", total=config.steps, log=state / "log.jsonl", active=accelerator.is_main_process)
        )
        validation_folder = arguments.val_shards or arguments.shards
        validation = TrainingShards(validation_folder, "val") if count_clips(validation_folder, "val") else None
        report.note(f"{len(shards)} training and {len(validation or ())} validation samples, run {config.run}")
        if (without := missing_vocoder(arguments.backbones)) is not None:
            report.note(without)
        denoiser = build_denoiser(config, arguments.backbones, shards)
        domain = TrainingDomain.of_training(shards, arguments.backbones)
        samples = None
        if accelerator.is_main_process and validation is not None and config.audio_samples:
            clips = first_samples(validation_folder, "val", config.audio_samples)
            pipeline = build_pipeline(denoiser, arguments.backbones, config, domain).to(accelerator.device)
            samples = AudioSamples(pipeline, clips, steps=config.audio_sample_steps, seed=config.seed)
            denoiser.train()
        if shards.skipped:
            report.note(f"left out: {', '.join(f'{count} by {name}' for name, count in shards.skipped.items())}")
        training = Training(
            config,
            shards,
            validation,
            denoiser,
            load_null_text(arguments.backbones),
            read_json(arguments.backbones / "audio_autoencoder" / "config.json")["scaling_factor"],
            state,
            accelerator,
            report,
            samples,
            threads,
        )
        training.run()
        if accelerator.is_main_process:
            training.average.swap()
            pipeline = build_pipeline(training.denoiser.cpu(), arguments.backbones, config, domain)
            write_pipeline(pipeline, arguments.output)
            if config.unet_channels is None and config.trainable in PARTS:
                save_adapters(pipeline, beside_model(arguments.output, "adapters"), part=config.trainable)
            report.picture("learning_curves", plot_learning_curves(state))
            facts = summary(config, shards, state, arguments.output)
            report.finish(facts | {"processes": accelerator.num_processes})
    accelerator.end_training()


def drawn_instructions(arguments: argparse.Namespace, config: TrainConfig) -> DrawnInstructions | None:
    """The variants that `--drawn` names, or None for a run that takes no sample from them.

    Raises:
        ValueError: when the run takes samples from it and there are none.
    """
    if not config.drawn_share:
        return None
    folder = arguments.drawn or arguments.shards.with_name("drawn_instructions")
    return DrawnInstructions(folder, config.drawn_share)


def beside_model(output: Path, name: str) -> Path:
    """`name` beside a pipeline folder called model, `<folder>.<name>` beside any other: two models share no state."""
    return output.with_name(name if output.name == "model" else f"{output.name}.{name}")


def summary(config: TrainConfig, shards: TrainingShards, state: Path, output: Path) -> dict[str, object]:
    """The facts of a finished run for the page of its asset."""
    losses, checks = read_rows(state / "losses.jsonl"), read_rows(state / "validation.jsonl")
    tail = [row["loss"] for row in losses[-max(1, len(losses) // 20) :]]
    facts: dict[str, object] = {
        "folder": output,
        "run": config.run,
        "steps": config.steps,
        "samples_seen": config.steps * config.batch_size,
        "training_clips": len(shards),
        "loss_last_5_percent": sum(tail) / len(tail),
        "settings": json.loads(config.to_json()),
    }
    return facts | ({"validation_loss": checks[-1]["loss"]} if checks else {})


def run_settings(arguments: argparse.Namespace) -> TrainConfig:
    """The named run with the flags' values in place of its own."""
    config = named_run(arguments.run, arguments.dataset)
    chosen = {name: getattr(arguments, name) for name in ("steps", "batch_size", "micro_batch_size", "seed", "workers")}
    given = {name: value for name, value in chosen.items() if value is not None}
    if "batch_size" in given and "micro_batch_size" not in given:
        given["micro_batch_size"] = min(config.micro_batch_size, given["batch_size"])
    return changed(replace(config, **given), arguments.set)


def print_estimate(arguments: argparse.Namespace, config: TrainConfig) -> None:
    """`--estimate`: what the run will take, and nothing else."""
    folder = arguments.shards
    has_shards = folder is not None and bool(finished_shards(folder, split="train"))
    accelerator = Accelerator(mixed_precision=config.precision, cpu=not torch.cuda.is_available())
    found = estimate(
        config, folder if has_shards else None, arguments.backbones, accelerator, devices=arguments.devices
    )
    sys.stdout.write("\n".join(found.lines()) + "\n")


def run(arguments: argparse.Namespace) -> None:
    """Does what the parsed command line asks for: trains, or says what a training will take.

    Raises:
        ValueError: when the input is wrong.
        FloatingPointError: when the loss is no number.
        ChildProcessError: when the second of two processes failed.
    """
    missing = [name for name in ("shards", "backbones", "output") if getattr(arguments, name) is None]
    if missing and not arguments.estimate:
        raise ValueError(f"these arguments are required: {', '.join(f'--{name}' for name in missing)}")
    config = run_settings(arguments)
    if arguments.estimate:
        print_estimate(arguments, config)
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.batch_size > 1 and process_count(arguments.processes, threads_setting(arguments.threads), device) > 1:
        train_together(train, arguments, config)
    else:
        train(arguments, config)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: with one sentence, 2 when the input is wrong and 1 when the loss is no number."""
    return run_program("train", PURPOSE, EXAMPLE, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
