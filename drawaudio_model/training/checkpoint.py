"""Training state on disk: folders that are either whole or not there.

`<folder>/step-00001000/` holds one safetensors file per group of tensors and `state.json`. It is written under another
name, synced and renamed, so a process killed at any point leaves the previous checkpoint as the newest.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from drawaudio_model.atomic_files import replaced_folder, write_atomically

_NAME = re.compile(r"step-(\d{8})")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a run after `step` optimiser steps."""

    step: int
    state: dict[str, Any]
    """JSON-able facts of the run."""
    tensors: dict[str, dict[str, torch.Tensor]]
    """Group -> name -> tensor, on the CPU."""


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, torch.Tensor]], state: Mapping[str, Any], *, keep: int
) -> Path:
    """Writes a checkpoint, then removes all but the `keep` newest; returns its folder.

    Args:
        folder: holds all checkpoints of a run; is made.
        step: optimiser steps done.
        tensors: group -> name -> tensor, such as {"model": state_dict}; one file each.
        state: JSON-able facts of the run.
        keep: checkpoints that stay, at least 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step:08d}"
    with replaced_folder(final) as partial:
        for group, values in tensors.items():
            own = {name: value.detach().cpu().contiguous() for name, value in values.items()}
            save_file(own, partial / f"{group}.safetensors")
        (partial / "state.json").write_text(json.dumps({"step": step, **state}, indent=1, sort_keys=True) + "\n")
    for old in _steps(folder)[:-keep]:
        shutil.rmtree(folder / f"step-{old:08d}")
    return final


def newest_checkpoint(folder: Path, *, read_tensors: bool = True) -> Checkpoint | None:
    """The checkpoint with the most steps, or None where there is none; `read_tensors` False leaves them out."""
    steps = _steps(folder)
    if not steps:
        return None
    path = folder / f"step-{steps[-1]:08d}"
    state = json.loads((path / "state.json").read_text())
    files = sorted(path.glob("*.safetensors")) if read_tensors else []
    return Checkpoint(step=state.pop("step"), state=state, tensors={file.stem: load_file(file) for file in files})


def keep_lines(path: Path, last_step: int) -> None:
    """Drops the lines of a step-by-step JSON-lines log that come after `last_step`, and a line torn by a kill."""
    if not path.exists():
        return
    complete = path.read_text().split("\n")[:-1]
    kept = [line for line in complete if json.loads(line)["step"] <= last_step]
    write_atomically(path, "".join(f"{line}\n" for line in kept).encode())


def set_aside(folder: Path) -> Path | None:
    """Renames `folder` to `folder.1`, `folder.2`, ... (the first free one); None where there was nothing."""
    if not folder.exists():
        return None
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    os.rename(folder, aside)
    return aside


def _steps(folder: Path) -> list[int]:
    names = (_NAME.fullmatch(path.name) for path in folder.glob("step-*"))
    return sorted(int(name[1]) for name in names if name)
