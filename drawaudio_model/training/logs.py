"""The log of a run, step by step, for the curves and for TensorBoard."""

import json
from pathlib import Path
from typing import TextIO

import numpy as np

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.training.sounds import write_sounds


class Logs:
    """Step-by-step logs: JSON lines without times, equal for equal runs, and TensorBoard. Without folder: none."""

    def __init__(self, folder: Path | None, step: int) -> None:
        self.folder, self.first_step = folder, step
        self._files: dict[str, TextIO] = {}

    def __enter__(self) -> "Logs":
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
