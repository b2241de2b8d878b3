"""The loudness signal that a designer would have drawn for a clip."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from drawaudio_model.atomic_files import decode_array, encode_array
from drawaudio_model.clip_format import SOURCE_SECONDS
from drawaudio_model.shard import ShardReader
from pipelines.assets.clip_media import clip_media, read_waveform
from pipelines.partitions import SHARD_BACKFILL, shards
from pipelines.resources import DataRoot
from pipelines.shard_work import Members, ShardRecipe, make_shards


@dg.asset(
    deps=[clip_media],
    partitions_def=shards,
    backfill_policy=SHARD_BACKFILL,
    group_name="features",
    kinds={"numpy"},
)
def loudness_curves(context: dg.AssetExecutionContext, data_root: DataRoot) -> None:
    """One tar a shard: `loudness.npy`, float32 (100,), Eq. 10-11 on exactly the waveform that enters the mel."""
    make_shards(context, Path(data_root.path), recipe(), show)


def recipe() -> ShardRecipe:
    """Loudness of the normalised waveform."""
    return ShardRecipe("loudness_curves", ("clip_media",), _work, batched=False)


def show(reader: ShardReader) -> dict[str, Any]:
    """The first clips' curves in one picture."""
    from pipelines import pictures

    curves = {key: decode_array(reader.member(key, "loudness.npy")) for key in reader.keys}
    drawn = dict(list(curves.items())[:6])
    return {
        "curves": dg.MetadataValue.md(pictures.picture(pictures.curves(drawn))),
        "mean_level": round(float(np.mean(list(curves.values()))), 5),
    }


def _work(keys: list[str], upstream: dict[str, ShardReader]) -> Iterator[tuple[str, Members]]:
    import torch

    from drawaudio_model.loudness import loudness_signal
    from drawaudio_model.mel import normalize_waveform

    for key in keys:
        waveform = torch.from_numpy(normalize_waveform(read_waveform(upstream["clip_media"], key)))
        curve = loudness_signal(waveform, seconds=SOURCE_SECONDS).numpy()
        yield key, {"loudness.npy": encode_array(curve)}
