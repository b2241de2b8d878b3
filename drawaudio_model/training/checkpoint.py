"""Training state on disk: folders that are either whole or not there.

`<folder>/step-00001000/` holds one safetensors file per group of tensors and `state.json`. It is written under another
name, synced and renamed, so a process killed at any point leaves the previous checkpoint as the newest.
"""

import fcntl
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from drawaudio_model.atomic_files import file_sha256, replaced_folder, write_atomically

LOCK_FILE = "lock"
"""In a state folder: held by the training that writes it."""
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
        files = {path.name: file_sha256(path) for path in sorted(partial.glob("*.safetensors"))}
        text = json.dumps({"step": step, "files": files, **state}, indent=1, sort_keys=True)
        (partial / "state.json").write_text(text + "\n")
    # One of more steps is damaged, or this run would have begun behind it: it counts for none of those that stay.
    for old in [number for number in _steps(folder) if number <= step][:-keep]:
        shutil.rmtree(folder / f"step-{old:08d}")
    return final


def newest_checkpoint(
    folder: Path, *, read_tensors: bool = True, tell: Callable[[str], object] | None = None
) -> Checkpoint | None:
    """The checkpoint with the most steps that is whole, or None where there is none.

    Args:
        folder: holds all checkpoints of a run.
        read_tensors: False leaves them out, unread.
        tell: gets a sentence for each newer one that is damaged.

    Raises:
        ValueError: when there are checkpoints and all are damaged.
    """
    faults = []
    for step in reversed(_steps(folder)):
        try:
            return _read_checkpoint(folder / f"step-{step:08d}", step, read_tensors=read_tensors)
        except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
            faults.append(f"checkpoint {folder / f'step-{step:08d}'} is damaged ({error})")
            if tell is not None:
                tell(f"{faults[-1]}; an older one is looked for")
    if faults:
        raise ValueError(f"{faults[0]}, and there is no older one that is whole; start anew with --resume never")
    return None


def _read_checkpoint(path: Path, step: int, *, read_tensors: bool) -> Checkpoint:
    state = json.loads((path / "state.json").read_text())
    if state.pop("step") != step:
        raise ValueError("its state.json is of another step")
    files = state.pop("files", None)  # older checkpoints have none
    tensors = {}
    if read_tensors:
        found = [path / name for name in files] if files is not None else sorted(path.glob("*.safetensors"))
        for file in found:
            if files is not None and file_sha256(file) != files[file.name]:
                raise ValueError(f"{file.name} has another sha256 than its state.json says")
            tensors[file.stem] = load_file(file)
    return Checkpoint(step=step, state=state, tensors=tensors)


@contextmanager
def only_trainer(folder: Path) -> Iterator[None]:
    """Keeps other trainings away from a state folder: two would overwrite each other's checkpoints and logs.

    Raises:
        ValueError: when another one is at it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(
                f"a training is writing {folder} already ({file.read().strip() or 'another process'}); wait for it, stop it, "
                "or give another --state"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} of {socket.gethostname()}\n")
        file.flush()
        yield


def keep_lines(path: Path, last_step: int) -> None:
    """Drops the lines of a step-by-step JSON-lines log that come after `last_step`, and from one on that is no such line."""
    if not path.exists():
        return
    kept: list[str] = []
    for line in path.read_text(errors="replace").split("\n")[:-1]:  # what a kill tore has no newline behind it
        try:
            step = json.loads(line)["step"]
            if step <= last_step:
                kept.append(line)
        except (ValueError, TypeError, KeyError):
            break
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
