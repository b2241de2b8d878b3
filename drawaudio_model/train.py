"""Trains the denoiser on precomputed samples and leaves a DrawAudioPipeline folder.

    python -m drawaudio_model.train --shards data/demo/training_shards --backbones data/demo/backbones \
        --output data/demo/model --run demo

Runs as one process or several (`accelerate launch -m drawaudio_model.train ...`). What is learnt from in step s is a
function of (seed, s) alone, so a run that is killed and started again continues bit for bit (on a CPU, with a fixed number
of threads), and the number of processes and loader workers changes nothing but speed. `--threads auto` gives that up for
speed on a busy machine: how gradients are summed depends on the number of threads, which then changes on the way.

Shapes: B batch, C latent channels, F latent frames, K latent mel bins, V video frames, D CAVP width, L text tokens.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler
from torch import nn

from drawaudio_model.adapters import PARTS, save_adapters
from drawaudio_model.atomic_files import replaced_folder
from drawaudio_model.cavp import CAVP
from drawaudio_model.checkpoint import keep_lines, newest_checkpoint, save_checkpoint, set_aside
from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.config import RUN_NAMES, TrainConfig, changed, differences, named_run
from drawaudio_model.dataset import (
    DrawnInstructions,
    TrainingBatch,
    TrainingShards,
    fixed_batches,
    micro_batches_per_step,
    training_batches,
)
from drawaudio_model.denoiser import (
    NOISE_SCHEDULE,
    Denoiser,
    NullText,
    build_denoiser,
    diffusion_noise,
    min_snr_weights,
    noise_loss,
)
from drawaudio_model.generation.candidates import published_front_end
from drawaudio_model.learning_curves import plot_learning_curves, read_rows
from drawaudio_model.levels.full_scale import fit_sounds
from drawaudio_model.model_card import AUDIOLDM2, AUDIOLDM2_LICENCE
from drawaudio_model.pipeline import DrawAudioPipeline
from drawaudio_model.progress import Reporter
from drawaudio_model.shard import count_clips, finished_shards
from drawaudio_model.text import TextConditioner
from drawaudio_model.thread_choice import SETTING, ThreadChoice, chosen_threads, threads_setting
from drawaudio_model.train_estimate import estimate
from drawaudio_model.train_samples import AudioSamples, first_samples, write_sounds
from drawaudio_model.training_domain import TrainingDomain
from drawaudio_model.vocoder import load_vocoder


class MovingAverage:
    """Exponential moving average of the weights that learn; AudioLDM's warm-up min(decay, (1 + n) / (10 + n))."""

    def __init__(self, parameters: dict[str, nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = parameters, decay
        self.average = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After optimiser step `step` (the first is 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.average.values()), list(self.parameters.values()), 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges weights and average; a second call undoes it."""
        for name, parameter in self.parameters.items():
            parameter.data, self.average[name] = self.average[name], parameter.data


def learning_rate(config: TrainConfig, step: int) -> float:
    """Of optimiser step `step` (from 0): linear warm-up to the peak, then half a cosine to the final rate."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - 1 - config.warmup_steps)
    share = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * share


class Training:
    """A run's state and its loop.

    Args:
        config: settings.
        shards: training samples.
        validation: validation samples, or None to go without.
        denoiser: what learns.
        null_text: embeddings of "".
        scaling_factor: of the autoencoder's latents.
        folder: receives checkpoints, logs and TensorBoard files.
        accelerator: the processes and devices.
        report: where progress goes.
        samples: makes sounds at each validation, or None for none; its pipeline holds `denoiser`'s networks.
        threads: of a step on a CPU, or "auto"; None: as torch has them.
    """

    def __init__(
        self,
        config: TrainConfig,
        shards: TrainingShards,
        validation: TrainingShards | None,
        denoiser: Denoiser,
        null_text: NullText,
        scaling_factor: float,
        folder: Path,
        accelerator: Accelerator,
        report: Reporter,
        samples: AudioSamples | None = None,
        threads: int | Literal["auto"] | None = None,
    ) -> None:
        self.threads = torch.get_num_threads() if threads is None else threads
        self.config, self.shards, self.validation, self.samples = config, shards, validation, samples
        self.denoiser, self.scaling_factor, self.folder = denoiser, scaling_factor, folder
        self.accelerator, self.report = accelerator, report
        self.schedule = DDPMScheduler(**NOISE_SCHEDULE | {"prediction_type": config.prediction})
        self.width = min(config.micro_batch_size, max(1, config.batch_size // accelerator.num_processes))
        self.micro_batches = micro_batches_per_step(config.batch_size, self.width, accelerator.num_processes)
        denoiser.to(accelerator.device)
        self.null_text = NullText(null_text.t5.to(accelerator.device), null_text.gpt.to(accelerator.device))
        self.parameters = {name: value for name, value in denoiser.named_parameters() if value.requires_grad}
        self.average = MovingAverage(self.parameters, config.ema_decay)
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            weight_decay=config.weight_decay,
            # One pass over all weights: a tenth of a small step's time.
            fused=True,
        )
        self.model = accelerator.prepare(torch.compile(denoiser) if config.compile else denoiser)
        self.step = 0

    @property
    def identity(self) -> dict[str, object]:
        """What a checkpoint says of the run it belongs to; see `conflict`."""
        return {"config": json.loads(self.config.to_json()), "shards": self.shards.fingerprint}

    def run(self) -> None:
        """Trains from the newest checkpoint, or from the start, to the last step."""
        last = self.config.steps
        self._resume()
        self.report.skip(self.step)
        batches = training_batches(
            self.shards,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            first_step=self.step,
            steps=last - self.step,
            micro_batch_size=self.width,
            process_index=self.accelerator.process_index,
            process_count=self.accelerator.num_processes,
            workers=self.config.workers,
            null_rates=self.config.null_rates(),
            pin_memory=self.accelerator.device.type == "cuda",
        )
        with self._open_logs() as logs, self._choose_threads() as choice:
            while self.step < last:
                rate = learning_rate(self.config, self.step)
                used = {} if choice is None else {"threads": choice.threads}
                with nullcontext() if choice is None else choice.step():
                    loss, norm = self._optimise(batches, rate)
                self.step += 1
                logs.losses(self.step, loss, norm, rate, **used)
                self.report.step(loss=loss, gradient_norm=norm)
                if self.step % self.config.validate_every == 0 or self.step == last:
                    self._validate(logs)
                if self.step % self.config.checkpoint_every == 0 or self.step == last:
                    logs.flush()
                    self._save()

    def _choose_threads(self) -> AbstractContextManager[ThreadChoice | None]:
        accelerator = self.accelerator
        return chosen_threads(
            self.threads,
            device=accelerator.device,
            processes=accelerator.num_processes,
            tell=self.report.note,
        )

    def _optimise(self, batches: Iterator[TrainingBatch], rate: float) -> tuple[float, float]:
        """One optimiser step; returns the loss of all its samples and the gradient's norm before clipping."""
        accelerator, config = self.accelerator, self.config
        # Layers with a random state of their own, such as dropout, start each step from the same state, too.
        torch.manual_seed(int(np.random.SeedSequence([config.seed, self.step]).generate_state(1)[0]))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=accelerator.device)
        keys: list[str] = []
        for micro in range(self.micro_batches):
            batch = next(batches).to(accelerator.device)
            keys += batch.keys
            first = (micro * accelerator.num_processes + accelerator.process_index) * self.width
            places = range(first, first + self.width)
            timesteps, noise = diffusion_noise(config.seed, self.step, places, self.shards.latent_shape)
            timesteps, noise = timesteps.to(accelerator.device), noise.to(accelerator.device)
            is_last = micro == self.micro_batches - 1
            with nullcontext() if is_last else accelerator.no_sync(self.model):
                losses = noise_loss(
                    self.model, self.schedule, batch, self.null_text, timesteps, noise, self.scaling_factor
                )
                weights = min_snr_weights(self.schedule, timesteps, config.min_snr_gamma)
                loss = (losses * weights).mean() / self.micro_batches
                accelerator.backward(loss)
            total += loss.detach()
        norm = float(accelerator.clip_grad_norm_(self.parameters.values(), config.gradient_clip))
        value = float(accelerator.reduce(total, "mean"))
        if not (math.isfinite(value) and math.isfinite(norm)):
            self._stop(value, norm, keys)
        self.optimizer.step()
        self.average.update(self.step + 1)
        return value, norm

    def _stop(self, loss: float, norm: float, keys: list[str]) -> None:
        """Writes down what a broken step was made of, and raises; weights and checkpoints stay as they were."""
        path = self.folder / f"not_finite_{self.accelerator.process_index}.json"
        path.write_text(json.dumps({"step": self.step + 1, "loss": str(loss), "norm": str(norm), "keys": keys}))
        raise FloatingPointError(
            f"step {self.step + 1} has loss {loss} and gradient norm {norm}, expected numbers; its clips are listed in {path}, "
            "look at them or lower learning_rate"
        )

    @torch.no_grad()
    def _validate(self, logs: "_Logs") -> None:
        """MSE of the averaged weights per timestep band, and their sounds: same samples, same noise each time."""
        if self.validation is None or not self.accelerator.is_main_process:
            return
        config, device = self.config, self.accelerator.device
        self.report.note(f"validating after step {self.step}")
        edges = np.linspace(0, NOISE_SCHEDULE["num_train_timesteps"], config.validation_bands + 1).astype(int)
        sums = np.zeros(config.validation_bands)
        count = min(config.validation_samples, len(self.validation))
        self.average.swap()
        self.denoiser.eval()
        for first, batch in fixed_batches(self.validation, count, config.micro_batch_size, config.seed):
            places = range(first, first + len(batch.keys))
            for band, (low, high) in enumerate(pairwise(edges)):
                timesteps, noise = diffusion_noise(config.seed, band, places, self.shards.latent_shape)
                timesteps = low + timesteps * (high - low) // NOISE_SCHEDULE["num_train_timesteps"]
                moved = (batch.to(device), self.null_text, timesteps.to(device), noise.to(device))
                with self.accelerator.autocast():
                    losses = noise_loss(self.denoiser, self.schedule, *moved, self.scaling_factor)
                sums[band] += float(losses.sum())
        sounds = fit_sounds(self.samples.generate(), self.report.note) if self.samples is not None else {}
        self.denoiser.train()
        self.average.swap()
        names = [f"{low}-{high - 1}" for low, high in pairwise(edges)]
        logs.validation(self.step, dict(zip(names, (sums / count).tolist(), strict=True)))
        logs.sounds(self.step, sounds)
        plot_learning_curves(self.folder)

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            states = self.optimizer.state
            moments = {
                f"{kind}.{name}": states[parameter][kind]
                for name, parameter in self.parameters.items()
                for kind in states[parameter]
            }
            tensors = {"model": self.denoiser.state_dict(), "average": self.average.average, "optimizer": moments}
            folder = self.folder / "checkpoints"
            save_checkpoint(folder, self.step, tensors, self.identity, keep=self.config.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    @torch.no_grad()
    def _resume(self) -> None:
        checkpoint = newest_checkpoint(self.folder / "checkpoints")
        if checkpoint is None:
            return
        self.denoiser.load_state_dict(checkpoint.tensors["model"])
        for name, value in checkpoint.tensors["average"].items():
            self.average.average[name].copy_(value)
        for name, parameter in self.parameters.items():
            moments = checkpoint.tensors["optimizer"]
            # AdamW keeps its step counter on the CPU, the moments beside the weights.
            self.optimizer.state[parameter] = {
                "step": moments[f"step.{name}"],
                "exp_avg": moments[f"exp_avg.{name}"].to(parameter),
                "exp_avg_sq": moments[f"exp_avg_sq.{name}"].to(parameter),
            }
        self.step = checkpoint.step
        self.report.note(f"continues after step {self.step} of {self.config.steps}")

    def _open_logs(self) -> "_Logs":
        if self.accelerator.is_main_process:
            for name in ("losses.jsonl", "validation.jsonl"):
                keep_lines(self.folder / name, self.step)
        return _Logs(self.folder if self.accelerator.is_main_process else None, self.step)


class _Logs:
    """Step-by-step logs: JSON lines without times, equal for equal runs, and TensorBoard. Without folder: none."""

    def __init__(self, folder: Path | None, step: int) -> None:
        self.folder, self.first_step = folder, step
        self._files: dict[str, TextIO] = {}

    def __enter__(self) -> "_Logs":
        if self.folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._files = {name: (self.folder / f"{name}.jsonl").open("a") for name in ("losses", "validation")}
            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.first_step + 1)
        return self

    def losses(self, step: int, loss: float, gradient_norm: float, rate: float, **threads: int) -> None:
        """`threads`: how many the step took, where that was chosen by measuring."""
        self._write("losses", step, {"loss": loss, "gradient_norm": gradient_norm, "learning_rate": rate, **threads})

    def validation(self, step: int, bands: dict[str, float]) -> None:
        mean = sum(bands.values()) / len(bands)
        self._write("validation", step, {"loss": mean, "bands": bands})

    def sounds(self, step: int, sounds: dict[str, np.ndarray]) -> None:
        """Into `samples/` and TensorBoard, in [-1, 1]; the log lines of this step are on disk before."""
        self.flush()
        if self.folder is None:
            return
        write_sounds(self.folder / "samples", step, sounds)
        for key, waveform in sounds.items():
            self._board.add_audio(f"samples/{key}", waveform[None], step, SAMPLE_RATE)

    def _write(self, name: str, step: int, values: dict[str, object]) -> None:
        if self.folder is None:
            return
        self._files[name].write(json.dumps({"step": step, **values}) + "\n")
        for label, value in values.items():
            scalars = value.items() if isinstance(value, dict) else [("", value)]
            for part, scalar in scalars:
                self._board.add_scalar(f"{name}/{label} {part}".strip(), scalar, step)

    def flush(self) -> None:
        for file in self._files.values():
            file.flush()

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()
        if self.folder is not None:
            self._board.close()


def conflict(config: TrainConfig, shards: TrainingShards, folder: Path) -> str | None:
    """Why the checkpoints in `folder` belong to another run than this one; None when it may continue them."""
    checkpoint = newest_checkpoint(folder / "checkpoints", read_tensors=False)
    if checkpoint is None:
        return None
    reasons = differences(config, checkpoint.state["config"])
    if checkpoint.state["shards"] != shards.fingerprint:
        reasons.append("the training shards are others")
    if checkpoint.step > config.steps:
        reasons.append(f"it has {checkpoint.step} steps, more than {config.steps}")
    return "; ".join(reasons) or None


def prepare_folder(config: TrainConfig, shards: TrainingShards, folder: Path, resume: str) -> None:
    """Leaves in `folder` only what this run may continue; anything else is renamed, never deleted.

    Args:
        resume: "auto" continues the same run and starts anew otherwise, "must" insists, "never" starts anew.

    Raises:
        ValueError: when "must" finds no checkpoint or another run's.
    """
    reason = conflict(config, shards, folder)
    if resume == "must":
        if newest_checkpoint(folder / "checkpoints", read_tensors=False) is None:
            raise ValueError(f"there is no checkpoint in {folder} to continue; leave out --resume must")
        if reason is not None:
            raise ValueError(f"the run in {folder} cannot be continued: {reason}; use --resume never to start anew")
    if resume == "never" or reason is not None:
        set_aside(folder)
    folder.mkdir(parents=True, exist_ok=True)


def load_null_text(backbones: Path) -> NullText:
    """The embeddings of ""."""
    null = TextConditioner.from_pretrained(backbones / "text_encoders").null()
    length = int(null.t5_mask[0].sum())
    return NullText(t5=null.t5[0, :length].float().clone(), gpt=null.gpt[0].float().clone())


def build_pipeline(
    denoiser: Denoiser, backbones: Path, config: TrainConfig, domain: TrainingDomain | None = None
) -> DrawAudioPipeline:
    """The trained parts together with the frozen backbones, and `load_vocoder`'s vocoder."""
    schedule = NOISE_SCHEDULE | {"prediction_type": config.prediction}
    from_audioldm2 = config.unet_channels is None
    text = TextConditioner.from_pretrained(backbones / "text_encoders")
    return DrawAudioPipeline(
        vae=AutoencoderKL.from_pretrained(backbones / "audio_autoencoder"),
        text_encoder=text.text_encoder,
        tokenizer=text.tokenizer,
        text_encoder_2=text.text_encoder_2,
        tokenizer_2=text.tokenizer_2,
        projection_model=text.projection_model,
        language_model=text.language_model,
        unet=denoiser.unet.eval(),
        mask_attention=denoiser.mask_attention.eval(),
        loudness_control=denoiser.loudness_control.eval(),
        cavp=CAVP.from_pretrained(backbones / "cavp_backbone"),
        vocoder=load_vocoder(backbones),
        scheduler=DDIMScheduler(**schedule, set_alpha_to_one=False, steps_offset=1),
        feature_extractor=published_front_end(None) if from_audioldm2 else None,
        loudness_branches=denoiser.loudness_branches,
        guidance_text=config.guidance_text,
        guidance_video=config.guidance_video,
        guidance_loudness=config.guidance_loudness,
        level_matching_db=config.level_matching_db,
        domain=domain,
        base_model=AUDIOLDM2 if from_audioldm2 else None,
        licence=AUDIOLDM2_LICENCE if from_audioldm2 else None,
    )


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
    if accelerator.is_main_process:
        prepare_folder(config, shards, state, arguments.resume)
    accelerator.wait_for_everyone()
    with Reporter(
        "train model", total=config.steps, log=state / "log.jsonl", active=accelerator.is_main_process
    ) as report:
        validation_folder = arguments.val_shards or arguments.shards
        validation = TrainingShards(validation_folder, "val") if count_clips(validation_folder, "val") else None
        report.note(f"{len(shards)} training and {len(validation or ())} validation samples, run {config.run}")
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
            AutoencoderKL.load_config(arguments.backbones / "audio_autoencoder")["scaling_factor"],
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
            report.finish(summary(config, shards, state, arguments.output))
    accelerator.end_training()


def drawn_instructions(arguments: argparse.Namespace, config: TrainConfig) -> DrawnInstructions | None:
    """What `--drawn` names, or None for a run that takes no sample from it.

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


def check_backbones(config: TrainConfig, backbones: Path) -> None:
    """Raises ValueError before a long run when a folder that its end needs is missing."""
    names = ["audio_autoencoder", "text_encoders", "cavp_backbone"]
    if config.unet_channels is None:
        # Their UNet comes with the autoencoder; Griffin-Lim must not take their vocoder's place unnoticed.
        names += ["unet", "vocoder"]
    for name in names:
        if not (backbones / name).is_dir():
            raise ValueError(
                f"{backbones} has no folder {name}; materialize it: dagster asset materialize -m pipelines "
                f"--select {'audio_autoencoder' if name == 'unet' else name}"
            )


def summary(config: TrainConfig, shards: TrainingShards, state: Path, output: Path) -> dict[str, object]:
    """What the asset page shows of a finished run."""
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


_EXAMPLE = """example:
  drawaudio train --run demo --shards data/demo/training_shards --backbones data/demo/backbones --output data/demo/model
  drawaudio train --run demo --set loudness_mode=additive --shards ... --backbones ... --output data/demo/model_additive
  drawaudio train --run paper --dataset mixed --estimate --devices 4
  accelerate launch -m drawaudio_model.train --run paper ...       several processes or machines"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="drawaudio train",
        description=__doc__.split("\n")[0],
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    add("--run", choices=RUN_NAMES, required=True, help="named settings (config.py)")
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
        f"equal bit for bit (default: ${SETTING}, or a fixed number)",
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
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: with one sentence, 2 when the input is wrong and 1 when the loss is no number."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    missing = [name for name in ("shards", "backbones", "output") if getattr(arguments, name) is None]
    if missing and not arguments.estimate:
        parser.error(f"these arguments are required: {', '.join(f'--{name}' for name in missing)}")
    try:
        config = run_settings(arguments)
        if arguments.estimate:
            print_estimate(arguments, config)
        else:
            train(arguments, config)
    except (ValueError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2 if isinstance(error, ValueError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
