"""The dataset builder and the runs of training and evaluation, as Dagster assets.

`dagster dev` and `dagster asset materialize -m pipelines` read `defs` from here.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster import Definitions

defs: "Definitions"
"""All assets, checks, resources and jobs."""


def __getattr__(name: str) -> "Definitions":
    """`defs`, built when asked for: the processes that render clips import this package and need no Dagster."""
    if name == "defs":
        from pipelines.definitions import defs

        return defs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "defs"])
