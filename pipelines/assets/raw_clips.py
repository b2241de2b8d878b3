"""Media of every clip that could be had, and a ledger row for every clip."""

from pathlib import Path

import dagster as dg

from pipelines.assets.clip_list import clip_list
from pipelines.partitions import SHARD_BACKFILL, shards
from pipelines.profiles import current_profile
from pipelines.resources import DataRoot
from pipelines.sources.registry import current_source


@dg.asset(
    deps=[clip_list],
    partitions_def=shards,
    backfill_policy=SHARD_BACKFILL,
    group_name="dataset",
    kinds={"webdataset"},
    pool=current_source().download_pool,
)
def raw_clips(context: dg.AssetExecutionContext, data_root: DataRoot) -> None:
    """One tar a shard: media of 10 s as `mp4` (or a reference to the user's own file) and its facts as `json`.

    The demo world adds its ground truth: `truth.json` (objects, boxes, onsets), and as `flac` the sound of each thing that moves
    (`stem<i>`) and the same without a pause (`material<i>`).
    Beside it `ledger/<shard>.parquet` holds one row for every clip of the list, kept or not.
    """
    current_source().fill_shards(context, Path(data_root.path), current_profile())
