"""An estimate of a training run: steps, samples, disk and hours, from a few measured steps of this very run.

The steps are measured on real samples where there are shards, else on random ones of the published backbones' shapes; a
run that starts from AudioLDM2 takes its UNet's shapes where the folder is missing. Nothing is written.

Legend: B batch.
"""

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from torch import Tensor

from drawaudio_model.clip_format import CLIP_SECONDS, LOUDNESS_POINTS, MEL_BINS, MEL_FRAMES, VIDEO_FRAMES
from drawaudio_model.config import TrainConfig
from drawaudio_model.dataset import TrainingBatch, TrainingShards, training_batches
from drawaudio_model.denoiser import Denoiser
from drawaudio_model.text import TextConditions
from drawaudio_model.training.objective import NOISE_SCHEDULE, diffusion_noise, noise_loss
from drawaudio_model.training.optimizers import MOMENTS, make_optimizer
from drawaudio_model.training.parts import Shapes, build_denoiser

MEASURED_STEPS = 3
"""Timed steps, after one that is not timed; their median counts."""
CPU_MICRO_BATCH = 4
"""Samples of a measured step on a CPU, at most: more take long and say the same."""
PUBLISHED = {"channels": 8, "compression": 4, "cavp": 512, "t5": 1024, "gpt": 768, "tokens": 24}
"""Shapes of the published backbones' features; captions have about 24 T5 tokens."""


@dataclass(frozen=True)
class Estimate:
    """A run's needs."""

    run: str
    steps: int
    samples: int
    seconds_of_sound: int
    device: str
    processes: int
    measured_batch: int
    seconds_per_sample: float
    device_hours: float
    wall_hours: float
    weights: int
    learning_weights: int
    checkpoint_bytes: int
    disk_bytes: int
    on_real_samples: bool

    def lines(self) -> list[str]:
        """For people."""
        kind = "real samples" if self.on_real_samples else "random samples of the published shapes"
        return [
            f"run             {self.run}",
            f"steps           {self.steps:,}",
            f"samples         {self.samples:,} ({self.samples / self.steps:g} a step, "
            f"{self.seconds_of_sound / 3600:,.0f} hours of sound)",
            f"weights         {self.weights / 1e6:,.1f} M, of which {self.learning_weights / 1e6:,.1f} M learn",
            f"disk            {self.disk_bytes / 1e9:,.2f} GB ({self.checkpoint_bytes / 1e9:,.2f} GB a checkpoint)",
            f"measured        {self.seconds_per_sample:.4g} s a sample on {self.device}, {self.measured_batch} at once, {kind}",
            f"device hours    {self.device_hours:,.2f} in all",
            f"wall hours      {self.wall_hours:,.2f} on {self.processes} such device{'s' if self.processes > 1 else ''}",
        ]


def estimate(
    config: TrainConfig, shards: Path | None, backbones: Path | None, accelerator: Accelerator, *, devices: int
) -> Estimate:
    """Measures a few steps of the run and multiplies.

    Args:
        config: the run.
        shards: training shards, or None.
        backbones: folder that may hold AudioLDM2's `unet`, or None.
        accelerator: the device and precision.
        devices: how many such devices will train.
    """
    found = TrainingShards(shards) if shards is not None else None
    device = accelerator.device
    width = min(config.micro_batch_size, CPU_MICRO_BATCH) if device.type == "cpu" else config.micro_batch_size
    shapes: Shapes | TrainingShards = _published_shapes() if found is None else found
    denoiser = _denoiser(config, backbones, shapes).to(device)
    batches = _real_batches(config, found, width) if found else _random_batches(shapes, width)
    seconds = _measure(config, denoiser, batches, shapes, accelerator)
    learning = sum(value.numel() for value in denoiser.parameters() if value.requires_grad)
    weights = sum(value.numel() for value in denoiser.parameters())
    # float32: the weights, their average, the optimiser's moments.
    checkpoint = 4 * (weights + (1 + MOMENTS[config.optimizer]) * learning)
    samples = config.steps * config.batch_size
    return Estimate(
        run=config.run,
        steps=config.steps,
        samples=samples,
        seconds_of_sound=samples * CLIP_SECONDS,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        processes=devices,
        measured_batch=width,
        seconds_per_sample=seconds / width,
        device_hours=samples * seconds / width / 3600,
        wall_hours=samples * seconds / width / 3600 / devices,
        weights=weights,
        learning_weights=learning,
        checkpoint_bytes=checkpoint,
        # The newest ones, the one that is being written, and the model.
        disk_bytes=(config.keep_checkpoints + 1) * checkpoint + 4 * weights,
        on_real_samples=found is not None,
    )


def _published_shapes() -> Shapes:
    frames, bins = MEL_FRAMES // PUBLISHED["compression"], MEL_BINS // PUBLISHED["compression"]
    return Shapes((PUBLISHED["channels"], frames, bins), {name: PUBLISHED[name] for name in ("cavp", "t5", "gpt")})


def _denoiser(config: TrainConfig, backbones: Path | None, shapes: Shapes | TrainingShards) -> Denoiser:
    if config.unet_channels is None and (backbones is None or not (backbones / "unet").is_dir()):
        # AudioLDM2's sizes with random weights: a step takes as long.
        config = replace(config, unet_channels=(128, 256, 384, 640))
    return build_denoiser(config, backbones or Path(), shapes)


def _real_batches(config: TrainConfig, shards: TrainingShards, width: int) -> Iterator[TrainingBatch]:
    return training_batches(shards, batch_size=width, seed=config.seed, null_rates=config.null_rates())


def _random_batches(shapes: Shapes | TrainingShards, width: int) -> Iterator[TrainingBatch]:
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(width, *shape, generator=generator)

    never = torch.zeros(width, dtype=torch.bool)
    tokens, widths = PUBLISHED["tokens"], shapes.widths
    while True:
        yield TrainingBatch(
            keys=["random"] * width,
            start_seconds=torch.zeros(width, dtype=torch.int64),
            latent=noise(*shapes.latent_shape),
            cavp=noise(VIDEO_FRAMES, widths["cavp"]),
            cavp_masked=noise(VIDEO_FRAMES, widths["cavp"]),
            loudness=noise(LOUDNESS_POINTS).abs(),
            t5=noise(tokens, widths["t5"]),
            t5_mask=torch.ones(width, tokens, dtype=torch.bool),
            gpt=noise(8, widths["gpt"]),
            no_text=never,
            no_video=never,
            no_mask=never,
            no_loudness=never,
        )


def _measure(
    config: TrainConfig,
    denoiser: Denoiser,
    batches: Iterator[TrainingBatch],
    shapes: Shapes | TrainingShards,
    accelerator: Accelerator,
) -> float:
    """Median seconds of forward, backward and optimiser step of one micro-batch."""
    device, widths = accelerator.device, shapes.widths
    null_text = TextConditions(
        t5=torch.zeros(1, 1, widths["t5"]),
        t5_mask=torch.ones(1, 1, dtype=torch.bool),
        gpt=torch.zeros(1, 8, widths["gpt"]),
    ).to(device)
    learning = [value for value in denoiser.parameters() if value.requires_grad]
    optimizer = make_optimizer(replace(config, learning_rate=0.0), learning)
    schedule = DDPMScheduler(**NOISE_SCHEDULE | {"prediction_type": config.prediction})
    model = accelerator.prepare(torch.compile(denoiser) if config.compile else denoiser)
    times = []
    for step, batch in enumerate(islice(batches, MEASURED_STEPS + 1)):
        began = time.perf_counter()
        timesteps, noise = diffusion_noise(0, step, range(len(batch.keys)), shapes.latent_shape)
        moved = (batch.to(device), null_text, timesteps.to(device), noise.to(device))
        loss = noise_loss(model, schedule, *moved, 1.0).mean()
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        # Reading the value waits for the device.
        loss.item()
        times.append(time.perf_counter() - began)
    return sorted(times[1:])[MEASURED_STEPS // 2]
