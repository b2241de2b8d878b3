"""The loop of optimiser steps: averaged weights, learning rate, checkpoints, validation.

Legend: B batch, C latent channels, F latent frames, K latent mel bins, V video frames, D CAVP width, L text tokens.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from diffusers import DDPMScheduler
from torch import nn

from drawaudio_model.atomic_files import fingerprint
from drawaudio_model.config import TrainConfig
from drawaudio_model.dataset import (
    TrainingBatch,
    TrainingShards,
    fixed_batches,
    split_step,
    training_batches,
)
from drawaudio_model.denoiser import Denoiser
from drawaudio_model.levels.full_scale import fit_sounds
from drawaudio_model.progress import Reporter
from drawaudio_model.text import TextConditions
from drawaudio_model.thread_choice import ThreadChoice, chosen_threads
from drawaudio_model.training.checkpoint import keep_lines, newest_checkpoint, save_checkpoint
from drawaudio_model.training.curves import plot_learning_curves
from drawaudio_model.training.logs import Logs
from drawaudio_model.training.objective import NOISE_SCHEDULE, diffusion_noise, min_snr_weights, noise_loss
from drawaudio_model.training.optimizers import make_optimizer
from drawaudio_model.training.sounds import AudioSamples


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

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Inside, the networks have the average's weights."""
        self.swap()
        try:
            yield
        finally:
            self.swap()


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
        null_text: TextConditions,
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
        self.width, self.micro_batches = split_step(
            config.batch_size, config.micro_batch_size, accelerator.num_processes
        )
        denoiser.to(accelerator.device)
        self.null_text = null_text.to(accelerator.device)
        self.parameters = {name: value for name, value in denoiser.named_parameters() if value.requires_grad}
        self.average = MovingAverage(self.parameters, config.ema_decay)
        self.optimizer = make_optimizer(config, self.parameters.values())
        self.model = accelerator.prepare(torch.compile(denoiser) if config.compile else denoiser)
        self.step = 0

    @property
    def identity(self) -> dict[str, object]:
        """The facts in a checkpoint that say which run it belongs to; see `train.conflict`."""
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
                loss = self._share(losses * weights, first)
                accelerator.backward(loss)
            total += loss.detach()
        norm = float(accelerator.clip_grad_norm_(self.parameters.values(), config.gradient_clip))
        value = float(accelerator.reduce(total, "mean"))
        if not (math.isfinite(value) and math.isfinite(norm)):
            self._stop(value, norm, keys)
        self.optimizer.step()
        self.average.update(self.step + 1)
        return value, norm

    def _share(self, losses: torch.Tensor, first: int) -> torch.Tensor:
        """The share of a micro-batch in this process's loss; the mean over the processes is that of the step's samples.

        Args:
            losses: (B,) of the samples.
            first: place of the first one in the step; places behind its end hold samples that were counted already.
        """
        batch, processes = self.config.batch_size, self.accelerator.num_processes
        if self.width * self.micro_batches * processes == batch:
            return losses.mean() / self.micro_batches
        counted = torch.arange(first, first + len(losses), device=losses.device) < batch
        return torch.where(counted, losses, 0.0).sum() * processes / batch

    def _stop(self, loss: float, norm: float, keys: list[str]) -> None:
        """Writes down what a broken step was made of, and raises; weights and checkpoints stay as they were."""
        path = self.folder / f"not_finite_{self.accelerator.process_index}.json"
        path.write_text(json.dumps({"step": self.step + 1, "loss": str(loss), "norm": str(norm), "keys": keys}))
        raise FloatingPointError(
            f"step {self.step + 1} has loss {loss} and gradient norm {norm}, expected numbers; its clips are listed in {path}, "
            "look at them or lower learning_rate"
        )

    @torch.no_grad()
    def _validate(self, logs: Logs) -> None:
        """MSE of the averaged weights per timestep band, and their sounds: same samples, same noise each time."""
        if self.validation is None or not self.accelerator.is_main_process:
            return
        config, device = self.config, self.accelerator.device
        self.report.note(f"validating after step {self.step}")
        edges = np.linspace(0, NOISE_SCHEDULE["num_train_timesteps"], config.validation_bands + 1).astype(int)
        sums = np.zeros(config.validation_bands)
        count = min(config.validation_samples, len(self.validation))
        with self.average.in_use():
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
        """Takes the newest checkpoint that is whole.

        Raises:
            ValueError: when another process has found another one: each would go on from weights of its own.
        """
        checkpoint = newest_checkpoint(self.folder / "checkpoints", tell=self.report.note)
        own = (0, "") if checkpoint is None else (checkpoint.step, fingerprint(checkpoint.state))
        found: list[tuple[int, str]] = gather_object([own])
        for number, other in enumerate(found):
            if other != found[0]:
                steps = f"the checkpoint of step {other[0]}, process 0 that of step {found[0][0]}"
                raise ValueError(
                    f"process {number} finds {steps if other[0] != found[0][0] else 'the checkpoint of another run'} in "
                    f"{self.folder}; let --state name a folder that all machines share, or copy it to each of them"
                )
        if checkpoint is None:
            return
        try:
            self._load(checkpoint.tensors)
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"the checkpoint of step {checkpoint.step} in {self.folder} does not fit the run's networks ({error}); start "
                "anew with --resume never"
            ) from error
        self.step = checkpoint.step
        self.report.note(f"continues after step {self.step} of {self.config.steps}")

    def _load(self, tensors: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        self.denoiser.load_state_dict(tensors["model"])
        for name, value in tensors["average"].items():
            self.average.average[name].copy_(value)
        for kept, value in tensors["optimizer"].items():
            kind, _, name = kept.partition(".")
            # AdamW keeps its step counter on the CPU, the moments beside the weights.
            placed = value if kind == "step" else value.to(self.parameters[name])
            self.optimizer.state[self.parameters[name]][kind] = placed

    def _open_logs(self) -> Logs:
        if self.accelerator.is_main_process:
            for name in ("losses.jsonl", "validation.jsonl"):
                keep_lines(self.folder / name, self.step)
        return Logs(self.folder if self.accelerator.is_main_process else None, self.step)
