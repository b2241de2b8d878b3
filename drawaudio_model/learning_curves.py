"""Pictures of a training run from its step-by-step logs."""

import json
from pathlib import Path

import numpy as np


def plot_learning_curves(losses: Path, validation: Path, picture: Path) -> None:
    """Writes a PNG: training loss and its running mean, validation loss per timestep band, gradient norm.

    Args:
        losses: JSON lines {"step", "loss", "gradient_norm", "learning_rate"}.
        validation: JSON lines {"step", "loss", "bands": {"0-199": loss, ...}}; may be absent.
        picture: file to write.
    """
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in losses.read_text().splitlines()]
    checks = [json.loads(line) for line in validation.read_text().splitlines()] if validation.exists() else []
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
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=90)


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """(n,) mean of each value and up to `width` - 1 before it."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - width)
    return (sums[ends] - sums[starts]) / (ends - starts)
