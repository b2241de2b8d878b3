"""Shards of raw clips that are fetched from YouTube: filled over several runs, and never written again.

The first run of a shard tries every clip of its list. Once its tar is published, a later run tries only what failed for a
while (a network error, a refused session, an age limit now that cookies are there), and what it gets becomes an overflow
shard. A tar that was damaged or lost is no reason to fetch it again in silence: readers name it.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from drawaudio_model.shard import Rejection, ShardManifest, ShardReader, read_manifest
from pipelines.clip_rows import read_clip_list
from pipelines.partitions import base_shard, next_overflow, shard_family
from pipelines.raw_ledger import clips_in, raw_ledger_path
from pipelines.shard_work import Members, ShardRecipe, make_shards
from pipelines.sources.source import show_hours
from pipelines.sources.youtube.download import download
from pipelines.sources.youtube.ledger import AttemptLog, FetchLedgerRow, open_keys, write_ledger
from pipelines.sources.youtube.settings import DownloadSettings


def fill_shards(context: dg.AssetExecutionContext, root: Path, settings: DownloadSettings) -> None:
    """Fetch what is missing in the partitions of this run, and write their ledgers, also when the run is stopped."""
    targets: set[str] = set()

    def names(shard: str) -> list[str]:
        target = shard_to_fill(root, settings, shard)
        targets.update([target] if target else [])
        return _finished(root, shard) + ([target] if target else [])

    def finish(shard: str, manifest: ShardManifest) -> None:
        if shard in targets:
            close_round(root, shard, manifest)

    try:
        make_shards(context, root, recipe(root, settings), show_hours, finish, names)
    finally:
        for shard in context.partition_keys:
            rows = publish_ledger(root, shard)
            losses = Counter(row.reason for row in rows if row.status != "kept")
            metadata = {
                "clips_by_status": dg.MetadataValue.json(dict(Counter(row.status for row in rows))),
                "losses_by_reason": dg.MetadataValue.json(dict(losses.most_common())),
                "ledger": dg.MetadataValue.path(raw_ledger_path(root, shard)),
            }
            context.add_asset_metadata(metadata, partition_key=shard)


def recipe(root: Path, settings: DownloadSettings) -> ShardRecipe:
    """How a shard is filled: the clips that are still open, as many at a time as the quota allows."""
    from pipelines.sources.youtube.cut import ENCODING

    def work(keys: list[str], _: dict[str, ShardReader]) -> Iterator[tuple[str, Members | Rejection]]:
        rows = read_clip_list(root)
        shard = rows[keys[0]].shard
        return download(
            {key: rows[key] for key in keys},
            log=AttemptLog(root, shard),
            staging=_staging(root, shard),
            settings=settings,
        )

    return ShardRecipe(
        "raw_clips",
        (),
        work,
        settings={"encoding": ENCODING},
        keys=lambda shard: _open(root, base_shard(shard), settings),
        batched=False,
        # All of the shard at once: the quota orders the work.
        group=1_000_000,
        permanent=True,
    )


def shard_to_fill(root: Path, settings: DownloadSettings, shard: str) -> str | None:
    """The shard that a partition's open clips go to: its own first, then an overflow shard; None without open clips."""
    finished = _finished(root, shard)
    if shard not in finished:
        return shard
    return next_overflow(finished) if _open(root, shard, settings) else None


def close_round(root: Path, shard: str, manifest: ShardManifest) -> None:
    """A shard is filled: what failed counts from now on, and an overflow shard that got no clip is no shard."""
    if manifest.count == 0 and shard != base_shard(shard):
        folder = root / "raw_clips"
        for name in (f"manifests/{shard}.json", f"index/{shard}.parquet", f"{shard}.tar"):
            (folder / name).unlink()
    # Media of clips that the shard has taken, where a run was killed before it could delete them; an old fault among them
    # would be taken for the next round's.
    shutil.rmtree(_staging(root, base_shard(shard)), ignore_errors=True)
    AttemptLog(root, base_shard(shard)).close_round()


def publish_ledger(root: Path, shard: str) -> list[FetchLedgerRow]:
    """Write the ledger of a partition; returns its rows."""
    return write_ledger(root, shard, read_clip_list(root, shard), _finished(root, shard))


def _staging(root: Path, shard: str) -> Path:
    """Where a partition's downloads lie until its shard has taken them."""
    return root / "raw_clips" / ".staging" / "youtube" / shard


def _open(root: Path, shard: str, settings: DownloadSettings) -> list[str]:
    finished = _finished(root, shard)
    keys = sorted(read_clip_list(root, shard))
    return open_keys(keys, AttemptLog(root, shard), clips_in(root, finished), settings)


def _finished(root: Path, shard: str) -> list[str]:
    """The partition's own shard and its overflow, those that are finished."""
    folder = root / "raw_clips"
    return [name for name in shard_family(folder, shard) if read_manifest(folder, name) is not None]
