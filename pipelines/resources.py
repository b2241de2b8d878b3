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
            dagster.Failure: when the process ends with an error.
        """
        command = [sys.executable, "-m", "drawaudio_model.cli", name, *map(str, arguments)]
        client = dg.PipesSubprocessClient()
        try:
            with _watching(context, watch):
                client.run(context=context, command=command, env=thread_environment() | {ENDS_WITH: str(os.getpid())})
        except dg.DagsterExecutionInterruptedError:
            raise
        except Exception as error:
            raise dg.Failure(
                f"drawaudio {name} failed: {error}; its own words stand above", allow_retries=False
            ) from error


def thread_environment() -> dict[str, str]:
    """The environment variables that give a process of drawaudio_model its threads.

    A number that the user set stays, and with it runs that are equal bit for bit. Else the process chooses by measuring:
    other work on the machine, such as another asset's, may make fewer threads the faster choice.
    """
    threads = {"OMP_NUM_THREADS": _THREADS or str(os.cpu_count() or 1)}
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
