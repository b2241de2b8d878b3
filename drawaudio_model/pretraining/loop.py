"""Parts that the small backbones' trainings share: the clips, the optimiser loop, the pictures of a loss.

Legend: N clips, V video frames, H/W pixels.
"""

import io
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from drawaudio_model.caption import Caption, read_caption
from drawaudio_model.clip_frames import frame_members
from drawaudio_model.media import decode_flac
from drawaudio_model.muon import Muon
from drawaudio_model.progress import Reporter
from drawaudio_model.scene_truth import SceneTruth, read_truth
from drawaudio_model.shard import ShardReader, finished_shards
from drawaudio_model.thread_choice import chosen_threads, threads_setting

HELD_OUT_SHARE = 0.1
"""Share of the training split's clips that no step sees; the figures in the reports are measured on them."""


class TrainClips:
    """The clips of the training split that all of the given per-shard assets hold.

    Args:
        root: data root; `<root>/<asset>/<shard>.tar` are the shards.
        assets: asset names; the keys are those that stand in every one of them.
        optional: assets that may lack a clip, or be absent altogether; ask `has` first.

    Raises:
        ValueError: when no clip is left.
    """

    def __init__(self, root: Path, assets: Sequence[str], *, optional: Sequence[str] = ()) -> None:
        self._readers: dict[tuple[str, str], ShardReader] = {}
        """(asset, key) -> the shard that holds the clip."""
        common: set[str] | None = None
        for asset in (*assets, *optional):
            keys = set()
            for shard in finished_shards(Path(root) / asset, split="train"):
                reader = ShardReader(Path(root) / asset, shard)
                keys.update(reader.keys)
                self._readers.update({(asset, key): reader for key in reader.keys})
            if asset in assets:
                common = keys if common is None else common & keys
        self.keys = sorted(common or ())
        if not self.keys:
            raise ValueError(
                f"no training clip stands in all of {', '.join(assets)} under {root}; materialize these assets for the "
                "train partitions first"
            )
        self._decoders = ThreadPoolExecutor(os.cpu_count())  # Pillow decodes and resizes without the interpreter's lock

    def split(self) -> tuple[list[str], list[str]]:
        """(keys to train on, keys held out): every tenth clip is held out, at least one, unless there is only one."""
        every = round(1 / HELD_OUT_SHARE)
        held_out = self.keys[every - 1 :: every] or self.keys[1:][-1:]
        return [key for key in self.keys if key not in set(held_out)], held_out or self.keys

    def has(self, asset: str, key: str, extension: str) -> bool:
        """Whether an optional asset holds the clip with this member."""
        return (asset, key) in self._readers and extension in self._readers[asset, key].members(key)

    def member(self, asset: str, key: str, extension: str) -> bytes:
        """One member's bytes."""
        return self._readers[asset, key].member(key, extension)

    def json(self, asset: str, key: str, extension: str = "json") -> Any:
        """One JSON member, parsed."""
        return json.loads(self.member(asset, key, extension))

    def caption(self, key: str) -> Caption:
        """The caption of the clip."""
        return read_caption(self._readers["captions", key], key)

    def truth(self, key: str) -> SceneTruth | None:
        """The truth of the clip; None where its source has none, or raw_clips was not opened."""
        reader = self._readers.get(("raw_clips", key))
        return None if reader is None else read_truth(reader, key)

    def materials(self, key: str) -> list[np.ndarray]:
        """(samples,) float32 of the clip's things sounding without a pause, which curves drawn by hand shape; none where the
        clip's source makes none."""
        reader = self._readers.get(("raw_clips", key))
        if reader is None:
            return []
        names = [name for name in reader.members(key) if name.startswith("material")]
        return [decode_flac(reader.member(key, name)) for name in sorted(names)]

    def frames(self, key: str, size: int, *, step: int = 1) -> np.ndarray:
        """Every step-th frame of the clip, (V, size, size, 3) uint8 RGB, squeezed to a square as CAVP and detector see it."""
        reader = self._readers["clip_media", key]
        contents = [reader.member(key, name) for name in frame_members(reader, key)[::step]]
        return np.stack(list(self._decoders.map(partial(read_jpeg, size=size), contents)))


def counted(keys: Sequence[str], task: str) -> Iterator[str]:
    """The keys, one by one, with a bar: reading a whole corpus takes longer than anyone watches an idle screen."""
    with Reporter(task, total=len(keys)) as report:
        for key in keys:
            yield key
            report.step()


def read_jpeg(content: bytes, size: int) -> np.ndarray:
    """A JPEG as (size, size, 3) uint8 RGB; the decoder itself halves large pictures first, which is much faster."""
    with Image.open(io.BytesIO(content)) as picture:
        picture.draft("RGB", (size, size))
        return np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


@dataclass(frozen=True)
class Fit:
    """The result of an optimiser loop."""

    steps: int
    losses: list[float]
    """Loss of every step."""
    seconds: float

    @property
    def loss_before(self) -> float:
        """Mean loss of the first twentieth of the steps."""
        return float(np.mean(self.losses[: max(1, len(self.losses) // 20)]))

    @property
    def loss_after(self) -> float:
        """Mean loss of the last twentieth of the steps."""
        return float(np.mean(self.losses[-max(1, len(self.losses) // 20) :]))


def fit(
    task: str,
    parameters: Iterable[torch.nn.Parameter],
    loss_of_step: Callable[[int], torch.Tensor],
    *,
    steps: int,
    learning_rate: float,
    log: Path,
    seconds: float | None = None,
    weight_decay: float = 0.01,
    max_gradient_norm: float = 1.0,
    optimizer: Literal["adamw", "muon"] = "adamw",
) -> Fit:
    """AdamW or Muon with a linear warm-up over a twentieth of the steps and a cosine fall to zero.

    With as many threads as `thread_choice.threads_setting` says.

    Args:
        task: name in the progress bar and in the log.
        loss_of_step: step number -> scalar loss; all its randomness must come from the step number or a seeded generator.
        steps: optimiser steps.
        learning_rate: peak of the schedule.
        log: JSON-lines file.
        seconds: stop after this wall time although steps are left; the learning rate falls with the time then. The
            result depends on the machine's speed in that case, without it only on the seed and the number of threads.
        weight_decay: on tensors of two and more axes only.
        max_gradient_norm: gradients are scaled down to this length.
        optimizer: "muon" for weight matrices (muon.py) and AdamW for the rest, or AdamW for all.

    Raises:
        ValueError: when a loss is not finite.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    stepper = _stepper(trained, optimizer, learning_rate, weight_decay)
    losses: list[float] = []
    start = time.monotonic()
    device = trained[0].device
    with (
        Reporter(task, total=steps, log=log) as report,
        chosen_threads(threads_setting(), device=device, tell=report.note) as choice,
    ):
        for step in range(steps):
            elapsed = time.monotonic() - start
            if seconds is not None and elapsed >= seconds:
                break
            done = max(step / steps, elapsed / seconds if seconds is not None else 0.0)
            for group in stepper.param_groups:
                group["lr"] = learning_rate * min((step + 1) / max(1, steps // 20), 1.0) * _cosine(done)
            with nullcontext() if choice is None else choice.step():
                loss = loss_of_step(step)
                if not torch.isfinite(loss):
                    raise ValueError(
                        f"{task}: the loss of step {step} is {loss.item()}, expected a number; lower the learning rate"
                    )
                stepper.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, max_gradient_norm)
                stepper.step()
                losses.append(loss.item())
            report.step(loss=losses[-1])
    return Fit(len(losses), losses, time.monotonic() - start)


def _stepper(
    trained: list[torch.nn.Parameter], optimizer: str, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """The optimiser; norms and biases do not decay."""
    betas = (0.9, 0.98)
    if optimizer == "muon":
        muon = Muon(trained, lr=learning_rate, weight_decay=weight_decay, betas=betas)
        for group in muon.param_groups[1:]:
            group["weight_decay"] = 0.0
        return muon
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas)


def _cosine(done: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))


def draw_losses(losses: Mapping[str, Sequence[float]], path: Path) -> None:
    """One curve per name, smoothed over a fiftieth of the steps, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for name, values in losses.items():
        width = max(1, len(values) // 50)
        axes.plot(np.convolve(values, np.full(width, 1 / width), mode="valid"), label=name)
    axes.set(xlabel="step", ylabel="loss")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def pick_device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
