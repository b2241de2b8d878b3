"""The clip list as it lies on the disk: one row a clip, written by `clip_list` and read by all assets."""

from pathlib import Path
from typing import Any

from pipelines.parquet_rows import write_rows
from pipelines.partitions import base_shard

COLUMNS = ("key", "source", "source_id", "start_s", "label", "split", "caption", "media", "shard")


def write_clip_list(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows as parquet, whole or not at all."""
    write_rows(path, rows, {name: "int64" if name == "start_s" else "string" for name in COLUMNS})


def read_clip_list(root: Path, shard: str | None = None) -> dict[str, dict[str, Any]]:
    """Rows by key, of one shard (or the one that an overflow shard belongs to) or of all.

    Raises:
        ValueError: when the list was not made.
    """
    import pyarrow.parquet as pq

    path = Path(root) / "clip_list.parquet"
    if not path.exists():
        raise ValueError(f"{path} does not exist; materialize clip_list first")
    rows = pq.read_table(path, filters=[("shard", "=", base_shard(shard))] if shard else None).to_pylist()
    return {row["key"]: row for row in rows}
