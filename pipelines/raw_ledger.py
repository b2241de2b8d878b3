"""The ledger of raw_clips: what became of the media of every clip of the list.

`raw_clips/ledger/<shard>.parquet`. A source that knows more of its clips writes more columns; these all have.
"""

from dataclasses import dataclass
from pathlib import Path

from drawaudio_model.shard import ShardReader, read_index, read_manifest, restore_index
from pipelines.parquet_rows import read_rows, write_rows
from pipelines.raw_media import read_media_facts


@dataclass(frozen=True)
class RawLedgerRow:
    """The outcome of one clip."""

    key: str
    status: str
    """kept or failed; of a source that tries again also pending."""
    reason: str
    """Class of the fault; "" for a clip that was kept."""
    message: str
    bytes: int
    sha256: str


def raw_ledger_path(root: Path, shard: str) -> Path:
    """File of a partition's ledger."""
    return Path(root) / "raw_clips" / "ledger" / f"{shard}.parquet"


def write_raw_ledger(root: Path, shard: str) -> None:
    """Write the ledger of a finished shard: what it kept, and what it rejected."""
    reader = ShardReader(root / "raw_clips", shard)
    kept = {key: read_media_facts(reader, key) for key in reader.keys}
    rows = [RawLedgerRow(key, "kept", "", "", facts.bytes, facts.sha256) for key, facts in kept.items()]
    rows += [RawLedgerRow(row.key, "failed", row.reason, row.message, 0, "") for row in reader.manifest.rejected]
    reader.close()
    write_rows(raw_ledger_path(root, shard), RawLedgerRow, rows)


def read_raw_ledger(root: Path, shard: str) -> list[RawLedgerRow]:
    """The rows of a partition's ledger, whichever source wrote it; none where it was not written."""
    path = raw_ledger_path(root, shard)
    return read_rows(path, RawLedgerRow) if path.exists() else []


def clips_in(root: Path, shards: list[str]) -> dict[str, str]:
    """Key -> shard of every clip in these finished tars of raw_clips, by their index."""
    found: dict[str, str] = {}
    folder = Path(root) / "raw_clips"
    for shard in shards:
        if (manifest := read_manifest(folder, shard)) is not None:
            index = read_index(folder, restore_index(folder, manifest))
            found |= dict.fromkeys(index["key"].to_pylist(), shard)
    return found
