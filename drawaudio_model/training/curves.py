"""Pictures of a training run from its step-by-step logs."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from drawaudio_model.atomic_files import write_atomically


def plot_learning_curves(folder: Path) -> Path:
    """Writes `<folder>/learning_curves.png`: training loss, validation loss per timestep band, gradient norm.

    Args:
        folder: holds losses.jsonl, lines of {"step", "loss", "gradient_norm", "learning_rate"}, and validation.jsonl,
            lines of {"step", "loss", "bands": {"0-199": loss, ...}}.
    """
    from matplotlib.figure import Figure

    rows, checks = read_rows(folder / "losses.jsonl"), read_rows(folder / "validation.jsonl")
    steps = np.array([row["step"] for row in rows])
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)

    loss = np.array([row["loss"] for row in rows])
    left.plot(steps, loss, color="0.75", linewidth=0.7, label="each step")
    left.plot(steps, running_mean(loss, max(1, len(loss) // 30)), color="C0", label="running mean")
    left.set(title="training loss (noise MSE)", xlabel="step", ylim=(0, None))
    left.legend()

    for band in checks[-1]["bands"] if checks else []:
        values = [check["bands"][band] for check in checks]
        middle.plot([check["step"] for check in checks], values, marker=".", label=f"t {band}")
    middle.set(title="validation loss by timestep, averaged weights", xlabel="step", ylim=(0, None))
    if checks:
        middle.legend()
    else:
        middle.text(0.5, 0.5, "no validation shards", ha="center", va="center", transform=middle.transAxes)

    right.plot(steps, [row["gradient_norm"] for row in rows], linewidth=0.7)
    right.set(title="gradient norm before clipping", xlabel="step", yscale="log")
    content = io.BytesIO()
    figure.savefig(content, dpi=90, format="png")
    write_atomically(folder / "learning_curves.png", content.getvalue())
    return folder / "learning_curves.png"


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """(n,) mean of each value and up to `width` - 1 before it."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - width)
    return (sums[ends] - sums[starts]) / (ends - starts)
