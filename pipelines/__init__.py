"""The dataset builder and the runs of training and evaluation, as Dagster assets.

`dagster dev` and `dagster asset materialize -m pipelines` read `defs` from here.
"""

from pipelines.definitions import defs

__all__ = ["defs"]
