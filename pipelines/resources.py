"""Where data lies, and how a training process is started."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

# Taken at import: ultralytics sets OMP_NUM_THREADS=1 for the process that loads it, and a trainer must not inherit that.
_THREADS = os.environ.get("OMP_NUM_THREADS")


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
    """Starts a module of drawaudio_model as a process of its own and streams its metrics back (Dagster Pipes)."""

    def run(self, context: dg.AssetExecutionContext, module: str, arguments: Sequence[object]) -> None:
        """Run `python -m drawaudio_model.<module> <arguments>` to its end.

        Raises:
            dagster.Failure: when the process ends with an error.
        """
        command = [sys.executable, "-m", f"drawaudio_model.{module}", *map(str, arguments)]
        threads = _THREADS or str(os.cpu_count() or 1)
        client = dg.PipesSubprocessClient()
        try:
            client.run(context=context, command=command, env={"OMP_NUM_THREADS": threads})
        except dg.DagsterExecutionInterruptedError:
            raise
        except Exception as error:
            raise dg.Failure(
                f"{' '.join(command[2:4])} failed: {error}; its own words stand above", allow_retries=False
            ) from error
