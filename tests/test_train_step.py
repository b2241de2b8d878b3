"""Each step of a run is computed again by hand, in plain torch: from the checkpoint before it to the checkpoint after it."""

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from drawaudio_model.config import TrainConfig
from drawaudio_model.dataset import NullRates, TrainingBatch, TrainingShards, fixed_batches, training_batches
from drawaudio_model.denoiser import Denoiser
from drawaudio_model.progress import Reporter
from drawaudio_model.text import TextConditions
from drawaudio_model.training.checkpoint import newest_checkpoint, save_checkpoint
from drawaudio_model.training.loop import Training
from drawaudio_model.training.objective import diffusion_noise, shown_conditions
from drawaudio_model.training.parts import build_denoiser
from tests.counting_shards import write_shards

SCALING = 0.02
"""Of the autoencoder: the counting latents reach 124."""
STEPS, BATCH, WIDTH, SEED = 4, 4, 2, 11
# Every setting is unlike its default and unlike what would do nothing.
COMMON = {
    "steps": STEPS,
    "batch_size": BATCH,
    "micro_batch_size": WIDTH,
    "seed": SEED,
    "learning_rate": 2e-3,
    "final_learning_rate": 2e-4,
    "warmup_steps": 2,
    "weight_decay": 0.3,
    "adam_beta1": 0.8,
    "adam_beta2": 0.95,
    "ema_decay": 0.2,
    "null_text_and_video_rate": 0.2,
    "null_text_rate": 0.4,
    "null_video_rate": 0.3,
    "null_mask_rate": 0.5,
    "null_loudness_rate": 0.4,
    "checkpoint_every": 1,
    "keep_checkpoints": STEPS,
    "validate_every": STEPS,
    "validation_samples": 3,
    "validation_bands": 3,
    "unet_channels": (8, 16),
    "video_width": 16,
    "loudness_widths": (8,),
}
CLIPPED = "noise, clipped"
RUNS = {
    CLIPPED: {"prediction": "epsilon", "min_snr_gamma": 2.0, "gradient_clip": 0.05},
    "velocity, not clipped": {"prediction": "v_prediction", "min_snr_gamma": 2.0, "gradient_clip": 1e6},
}


@dataclass(frozen=True, eq=False)
class Run:
    """A run of STEPS steps that kept all its checkpoints."""

    config: TrainConfig
    folder: Path
    shards: TrainingShards
    validation: TrainingShards
    start: dict[str, torch.Tensor]
    """Weights before the first step."""

    def state(self, step: int) -> dict[str, dict[str, torch.Tensor]]:
        """Weights, averaged weights and AdamW's moments after `step` steps."""
        if step == 0:
            moments = {f"{kind}.{name}": 0 * w for name, w in self.start.items() for kind in ("exp_avg", "exp_avg_sq")}
            return {"model": self.start, "average": self.start, "optimizer": moments}
        folder = self.folder / "checkpoints" / f"step-{step:08d}"
        return {name: load_file(folder / f"{name}.safetensors") for name in ("model", "average", "optimizer")}

    def rows(self, log: str) -> list[dict[str, object]]:
        """The lines of `losses` or `validation`."""
        return [json.loads(line) for line in (self.folder / f"{log}.jsonl").read_text().splitlines()]

    def denoiser(self, weights: dict[str, torch.Tensor]) -> Denoiser:
        """The networks with these weights."""
        denoiser = build_denoiser(self.config, Path("none is needed"), self.shards)
        denoiser.load_state_dict(weights)
        return denoiser


def null_text() -> TextConditions:
    generator = torch.Generator().manual_seed(5)
    t5, gpt = torch.randn(1, 1, 16, generator=generator), torch.randn(1, 8, 16, generator=generator)
    return TextConditions(t5=t5, t5_mask=torch.ones(1, 1, dtype=torch.bool), gpt=gpt)


def awake(denoiser: Denoiser) -> Denoiser:
    """The networks with layers that start at zero shaken, so that every instruction counts from the first step."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in denoiser.parameters():
            if not weight.any():
                weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return denoiser


def training(config: TrainConfig, data: Path, folder: Path, report: Reporter) -> Training:
    shards, validation = TrainingShards(data), TrainingShards(data, "val")
    denoiser = awake(build_denoiser(config, Path("none is needed"), shards))
    accelerator = Accelerator(cpu=True)
    return Training(config, shards, validation, denoiser, null_text(), SCALING, folder, accelerator, report)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    widths = {
        "latent": (4, 20, 8),
        "cavp": 16,
        "clap": 16,
        "t5": 16,
        "gpt": 16,
        "deviation": 4.0,
        "cavp_scale": 1 / 512,
    }
    write_shards(folder, [4, 3], **widths)
    return write_shards(folder, [3], "val", first=7, **widths)


@pytest.fixture(scope="module", params=RUNS)
def run(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = replace(TrainConfig.tiny(), **COMMON, **RUNS[request.param])
    folder = tmp_path_factory.mktemp("run")
    with Reporter("train", STEPS) as report:
        trained = training(config, data, folder, report)
        start = {name: value.detach().clone() for name, value in trained.denoiser.state_dict().items()}
        trained.run()
    return Run(config, folder, trained.shards, trained.validation, start)


def batches(run: Run) -> Iterator[TrainingBatch]:
    """The samples of every step, together, their instructions withheld at the rates of COMMON."""
    rates = NullRates(text_and_video=0.2, text=0.4, video=0.3, mask=0.5, loudness=0.4)
    return training_batches(run.shards, batch_size=BATCH, seed=SEED, steps=STEPS, null_rates=rates)


def part(batch: TrainingBatch, rows: slice) -> TrainingBatch:
    return TrainingBatch(**{name: value[rows] for name, value in vars(batch).items()})


def errors(run: Run, denoiser: Denoiser, batch: TrainingBatch, timesteps: torch.Tensor, noise: torch.Tensor) -> tuple:
    """(B,) mean squared errors, and the signal-to-noise ratios at their timesteps."""
    betas = np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2
    kept = torch.from_numpy(np.cumprod(1 - betas)).float()[timesteps]
    a, s = (value.sqrt()[:, None, None, None] for value in (kept, 1 - kept))
    latent = SCALING * batch.latent
    predicted = denoiser(a * latent + s * noise, timesteps, shown_conditions(batch, null_text()))
    wanted = noise if run.config.prediction == "epsilon" else a * noise - s * latent
    return (predicted - wanted).square().mean(dim=(1, 2, 3)), kept / (1 - kept)


def gradients(run: Run, step: int, batch: TrainingBatch) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss of optimiser step `step` (from 0) and its gradients, before clipping: the mean over all samples of the step."""
    denoiser = run.denoiser(run.state(step)["model"])
    timesteps, noise = diffusion_noise(SEED, step, range(BATCH), run.shards.latent_shape)
    total = 0.0
    # In the micro-batches of the run: so a gradient that is rounding alone is the same rounding.
    for first in range(0, BATCH, WIDTH):
        rows = slice(first, first + WIDTH)
        found, ratio = errors(run, denoiser, part(batch, rows), timesteps[rows], noise[rows])
        clamped = ratio.clamp(max=2.0)
        weights = clamped / (ratio if run.config.prediction == "epsilon" else ratio + 1)
        loss = (weights * found).sum() / BATCH
        loss.backward()
        total += loss.item()
    return total, {name: weight.grad for name, weight in denoiser.named_parameters()}


def near(found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    """Their difference is a thousandth of what is expected: rounding, and far less than any setting changes."""
    assert float((found - expected).norm()) <= 1e-3 * float(expected.norm()), what


def rate(step: int) -> float:
    """Two steps of warm-up, then half a cosine from 2e-3 to 2e-4 over the two that are left."""
    return [1e-3, 2e-3, 2e-3, 2e-4][step]


def test_every_step_is_adamw_on_the_weighted_clipped_mean_with_decay_schedule_and_average(run: Run) -> None:
    norms = []
    for step, batch in enumerate(batches(run)):
        before, after, row = run.state(step), run.state(step + 1), run.rows("losses")[step]
        loss, found = gradients(run, step, batch)
        norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in found.values()))
        norms.append(norm)
        assert row["loss"] == pytest.approx(loss, rel=1e-5) and row["gradient_norm"] == pytest.approx(norm, rel=1e-4)
        assert row["learning_rate"] == pytest.approx(rate(step))
        clip = min(1.0, run.config.gradient_clip / norm)
        keep = min(0.2, (2 + step) / (11 + step))
        for name, gradient in found.items():
            gradient = clip * gradient
            mean = 0.8 * before["optimizer"][f"exp_avg.{name}"] + 0.2 * gradient
            square = 0.95 * before["optimizer"][f"exp_avg_sq.{name}"] + 0.05 * gradient.square()
            kept = [after["optimizer"][f"{moment}.{name}"] for moment in ("exp_avg", "exp_avg_sq")]
            near(kept[0], mean, f"gradient's mean of {name} at step {step}")
            near(kept[1], square, f"gradient's square of {name} at step {step}")
            # Of the run's own moments, which are right: a gradient that is rounding alone has another sign on another machine,
            # and the first step of Adam is as long as any other's.
            direction = (kept[0] / (1 - 0.8 ** (step + 1))) / ((kept[1] / (1 - 0.95 ** (step + 1))).sqrt() + 1e-8)
            weight = before["model"][name] * (1 - 0.3 * rate(step)) - rate(step) * direction
            moved = after["model"][name] - before["model"][name]
            near(moved, weight - before["model"][name], f"change of {name} at step {step}")
            averaged = keep * before["average"][name] + (1 - keep) * after["model"][name]
            near(
                after["average"][name] - before["average"][name],
                averaged - before["average"][name],
                f"average of {name} at step {step}",
            )
    # What the runs are there for: clipping acts in the one and not in the other.
    assert (min(norms) > 2 * run.config.gradient_clip) == (run.config.gradient_clip == 0.05)


def test_a_step_withholds_some_instructions_and_not_all(run: Run) -> None:
    """Otherwise the steps above would pin no rate."""
    seen = list(batches(run))
    for name in ("no_text", "no_video", "no_mask", "no_loudness"):
        share = torch.cat([getattr(batch, name) for batch in seen]).float().mean()
        assert 0.1 < share < 0.9, name


@torch.no_grad()
def test_validation_is_the_averaged_weights_plain_error_per_band_with_all_instructions(run: Run) -> None:
    (row,) = run.rows("validation")
    assert row["step"] == STEPS
    (_, batch), edges = next(fixed_batches(run.validation, 3, 3, SEED)), [0, 333, 666, 1000]
    assert not (batch.no_text | batch.no_video | batch.no_mask | batch.no_loudness).any()
    found = {}
    for kind in ("average", "model"):
        denoiser, values = run.denoiser(run.state(STEPS)[kind]).eval(), []
        for band, (low, high) in enumerate(pairwise(edges)):
            timesteps, noise = diffusion_noise(SEED, band, range(3), run.shards.latent_shape)
            values.append(errors(run, denoiser, batch, low + timesteps * (high - low) // 1000, noise)[0].mean())
        found[kind] = torch.stack(values).numpy()
    assert list(row["bands"].values()) == pytest.approx(found["average"], rel=1e-5)
    assert row["loss"] == pytest.approx(found["average"].mean(), rel=1e-5)
    # The weights themselves, not averaged, have another error.
    assert np.abs(found["model"] / found["average"] - 1).max() > 1e-3


@pytest.mark.parametrize("run", [CLIPPED], indirect=True)
def test_a_stopped_run_continues_to_the_same_state(run: Run, data: Path, tmp_path: Path) -> None:
    for step in (1, 2):
        name = f"step-{step:08d}"
        shutil.copytree(run.folder / "checkpoints" / name, tmp_path / "checkpoints" / name)
    for log in ("losses", "validation"):
        shutil.copy(run.folder / f"{log}.jsonl", tmp_path)
    with Reporter("train", STEPS) as report:
        training(run.config, data, tmp_path, report).run()
    for log in ("losses", "validation"):
        assert (tmp_path / f"{log}.jsonl").read_bytes() == (run.folder / f"{log}.jsonl").read_bytes()
    last = Path("checkpoints") / f"step-{STEPS:08d}"
    for name in ("model", "average", "optimizer"):
        file = last / f"{name}.safetensors"
        assert (tmp_path / file).read_bytes() == (run.folder / file).read_bytes()


def test_the_newest_checkpoints_stay(tmp_path: Path) -> None:
    for step in (1, 2, 5, 9):
        save_checkpoint(tmp_path, step, {"model": {"weight": torch.full((2,), float(step))}}, {}, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000005", "step-00000009"]
    assert newest_checkpoint(tmp_path).tensors["model"]["weight"].tolist() == [9.0, 9.0]
