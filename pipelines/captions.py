"""One caption a clip, and where it came from."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from drawaudio_model.shard import Rejection, ShardReader, fingerprint
from pipelines.clip_list import read_clip_list
from pipelines.clip_media import clip_media
from pipelines.partitions import SHARD_BACKFILL, shards
from pipelines.resources import DataRoot
from pipelines.shard_work import Members, ShardRecipe, make_shards


@dg.asset(
    deps=[clip_media],
    partitions_def=shards,
    backfill_policy=SHARD_BACKFILL,
    group_name="text",
    kinds={"webdataset"},
)
def captions(context: dg.AssetExecutionContext, data_root: DataRoot) -> None:
    """One tar a shard: `json` with the caption and its source ("demo" or "folder": it came with the clip)."""
    root = Path(data_root.path)
    make_shards(context, root, recipe(root), show)


def recipe(root: Path) -> ShardRecipe:
    """Captions of the clip list; a clip without one is rejected."""
    rows = read_clip_list(root)
    texts = {key: row["caption"] for key, row in rows.items()}

    def work(keys: list[str], upstream: dict[str, ShardReader]) -> Iterator[tuple[str, Members | Rejection]]:
        for key in keys:
            if not (texts.get(key) or "").strip():
                yield (
                    key,
                    Rejection(key, "no_caption", f"{key} has no caption; add a row for its file to the captions CSV"),
                )
                continue
            facts = {"caption": texts[key].strip(), "caption_source": rows[key]["source"]}
            yield key, {"json": json.dumps(facts).encode()}

    return ShardRecipe("captions", ("clip_media",), work, settings={"captions": fingerprint(texts)}, batched=False)


def read_caption(reader: ShardReader, key: str) -> dict[str, str]:
    """{"caption", "caption_source"} of a clip."""
    return json.loads(reader.member(key, "json"))


def show(reader: ShardReader) -> dict[str, Any]:
    """The first captions."""
    from pipelines.pictures import table

    rows = [{"key": key, **read_caption(reader, key)} for key in reader.keys[:8]]
    return {"first_rows": dg.MetadataValue.md(table(rows))}
