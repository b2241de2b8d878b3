"""A training on a CPU by two processes, each with half of every batch.

They meet through a file and speak over the loopback interface only. To accelerate they look like what `accelerate launch` starts.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from drawaudio_model.second_process import second_process

PROCESSES = 2
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


def train_together(train: Callable[..., None], *arguments: Any) -> None:
    """`train(*arguments)` in this process and a second one, which share each batch.

    Raises:
        ChildProcessError: when the second process failed or was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        with second_process("training", _train_as_second, meeting, train, *arguments) as second:
            second.wait_for_start()
            with _member(0, meeting):
                train(*arguments)


def _train_as_second(meeting: Path, train: Callable[..., None], *arguments: Any) -> None:
    with _member(1, meeting):
        train(*arguments)


@contextmanager
def _member(rank: int, meeting: Path) -> Iterator[None]:
    """Inside, this process is the rank-th of PROCESSES, for torch and for accelerate."""
    variables: dict[str, object] = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": PROCESSES,
        "LOCAL_WORLD_SIZE": PROCESSES,
    }
    # accelerate would count the threads itself, and warn.
    variables |= {"GLOO_SOCKET_IFNAME": LOOPBACK, "OMP_NUM_THREADS": torch.get_num_threads()}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update({name: str(value) for name, value in variables.items()})
    try:
        torch.distributed.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=PROCESSES)
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
