"""Where data lies, and how a training process is started."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import dagster as dg

from drawaudio_model.parent_process import ENDS_WITH

# Taken at import: ultralytics sets OMP_NUM_THREADS=1 for the process that loads it, and a trainer must not inherit that.
_THREADS = os.environ.get("OMP_NUM_THREADS")
_SECONDS_BETWEEN_LOOKS = 2.0
_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
PROCESSES = "DRAWAUDIO_TRAIN_PROCESSES"
"""Environment variable: the processes of a training that Dagster starts."""


class DataRoot(dg.ConfigurableResource):
    """The folder that holds everything a profile makes."""

    path: str

    def folder(self, name: str) -> Path:
        """`<root>/<name>`."""
        return Path(self.path) / name

    def backbone(self, name: str) -> Path:
        """Folder of a backbone."""
        return Path(self.path) / "backbones" / name


class Trainer(dg.ConfigurableResource):
    """Starts a command of `drawaudio` as a process of its own and streams its metrics back (Dagster Pipes)."""

    processes: str = "1"
    """That share each batch of a training on this machine: a number, or "gpus" for one on each GPU. Several are started by
    torchrun."""

    def run(
        self,
        context: dg.AssetExecutionContext,
        name: str,
        arguments: Sequence[object],
        watch: Callable[[], Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Run `drawaudio <command> <arguments>` to its end.

        Args:
            context: of the asset.
            name: of the command.
            arguments: of its command line.
            watch: asked every few seconds while the process runs; metadata that it returns is shown on the asset's page at
                once, as an observation.

        Raises:
            dagster.Failure: when the process ends with an error, or `processes` is no number of them.
        """
        processes = _processes(self.processes) if name == "train" else "1"
        command = [sys.executable, *_launcher(processes, name), *map(str, arguments)]
        environment = thread_environment(processes) | {ENDS_WITH: str(os.getpid())}
        client = dg.PipesSubprocessClient()
        try:
            with _watching(context, watch):
                client.run(context=context, command=command, env=environment)
        except dg.DagsterExecutionInterruptedError:
            raise
        except Exception as error:
            raise dg.Failure(
                f"drawaudio {name} failed: {error}; its own words stand above", allow_retries=False
            ) from error


def _processes(text: str) -> str:
    """The setting, checked.

    Raises:
        dagster.Failure: when it is neither a number nor "gpus".
    """
    if text != "gpus" and not (text.isdecimal() and int(text) >= 1):
        raise dg.Failure(
            f"{PROCESSES} is {text!r}, expected a number of processes such as 4, or gpus for one on each GPU; set it so",
            allow_retries=False,
        )
    return text


def _launcher(processes: str, name: str) -> list[str]:
    """Arguments of Python that start a command in one process or several: as docs/training.md has it for people."""
    if processes == "1":
        return ["-m", "drawaudio_model.cli", name]
    count = "gpu" if processes == "gpus" else processes
    launch = ["--standalone", "--local-addr", "127.0.0.1", "--max-restarts", "0", "--nproc-per-node", count]
    return ["-m", "torch.distributed.run", *launch, "-m", f"drawaudio_model.{name}"]


def thread_environment(processes: str = "1") -> dict[str, str]:
    """The environment variables that give each process of drawaudio_model its threads, and show several to one another.

    A number that the user set stays, and with it runs that are equal bit for bit. Else the process chooses by measuring:
    other work on the machine, such as another asset's, may make fewer threads the faster choice.

    Args:
        processes: that are started together, of `Trainer`.
    """
    cores = os.cpu_count() or 1
    own = max(1, cores // int(processes)) if processes.isdecimal() else 1  # GPUs compute, a thread feeds each
    threads = {"OMP_NUM_THREADS": _THREADS or str(own)}
    if processes != "1":
        # All of them are on this machine, and nobody else shall meet them.
        threads["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME") or _LOOPBACK
    if _THREADS is None:
        threads["DRAWAUDIO_THREADS"] = os.environ.get("DRAWAUDIO_THREADS", "auto")
    return threads


@contextmanager
def _watching(
    context: dg.AssetExecutionContext, watch: Callable[[], Mapping[str, Any] | None] | None
) -> Iterator[None]:
    """Reports what `watch` finds while the block runs, and once more at its end.

    The events are written past the run: a run's own are kept back until its asset is done.
    """
    ended = Event()

    if watch is None:
        yield
        return

    def look() -> None:
        metadata = watch()
        if metadata:
            context.instance.report_runless_asset_event(dg.AssetObservation(context.asset_key, metadata=metadata))

    def keep_looking() -> None:
        while not ended.wait(_SECONDS_BETWEEN_LOOKS):
            look()

    thread = Thread(target=keep_looking, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    look()
