"""Shards of raw clips that are fetched from YouTube, or taken from media that are there: filled over several runs, and never
written again.

The first run of a shard tries every clip of its list. Once its tar is published, a later run tries only what failed for a
while (a network error, a refused session, an age limit now that cookies are there), and what it gets becomes an overflow
shard. A tar that was damaged or lost is no reason to fetch it again in silence: readers name it.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from drawaudio_model.shard import Rejection, ShardManifest, ShardReader, read_manifest
from pipelines.clip_rows import read_clip_list
from pipelines.partitions import base_shard, next_overflow, shard_family
from pipelines.raw_ledger import clips_in, raw_ledger_path
from pipelines.shard_work import Members, ShardRecipe, make_shards
from pipelines.sources.mirror.index import MediaIndex
from pipelines.sources.source import show_hours
from pipelines.sources.youtube.download import download
from pipelines.sources.youtube.held import HeldMedia, open_media, take_clips
from pipelines.sources.youtube.ledger import AttemptLog, FetchLedgerRow, open_keys, open_to_site, write_ledger
from pipelines.sources.youtube.settings import DownloadSettings


def fill_shards(context: dg.AssetExecutionContext, root: Path, settings: DownloadSettings) -> None:
    """Fetch what is missing in the partitions of this run, and write their ledgers, also when the run is stopped."""
    targets: set[str] = set()
    media = open_media(root, settings)

    def names(shard: str) -> list[str]:
        target = shard_to_fill(root, settings, shard, media)
        targets.update([target] if target else [])
        return _finished(root, shard) + ([target] if target else [])

    def finish(shard: str, manifest: ShardManifest) -> None:
        if shard in targets:
            close_round(root, shard, manifest)
            if media is not None:
                media.spool.clear(base_shard(shard))

    try:
        make_shards(context, root, recipe(root, settings, media), show_hours, finish, names)
    finally:
        for shard in context.partition_keys:
            rows = publish_ledger(root, shard)
            losses = Counter(row.reason for row in rows if row.status != "kept")
            metadata: dict[str, Any] = {
                "clips_by_status": dg.MetadataValue.json(dict(Counter(row.status for row in rows))),
                "losses_by_reason": dg.MetadataValue.json(dict(losses.most_common())),
                "ledger": dg.MetadataValue.path(raw_ledger_path(root, shard)),
            }
            if media is not None:
                metadata["taken_from_media"] = sum(row.status == "kept" and bool(row.media) for row in rows)
                metadata["media_not_read"] = dg.MetadataValue.json(media.troubles())
            context.add_asset_metadata(metadata, partition_key=shard)


def recipe(root: Path, settings: DownloadSettings, media: MediaIndex | None = None) -> ShardRecipe:
    """How a shard is filled: with what the media have of the clips that are open; the rest as the quota allows."""
    from pipelines.sources.youtube.cut import ENCODING

    def work(keys: list[str], _: dict[str, ShardReader]) -> Iterator[tuple[str, Members | Rejection]]:
        rows = read_clip_list(root)
        shard = rows[keys[0]].shard
        log, staging = AttemptLog(root, shard), _staging(root, shard)
        left = {key: rows[key] for key in keys}
        if media is not None:
            held = HeldMedia(media, shard)
            for key, outcome in take_clips(left, held, log, staging / "media", settings):
                del left[key]
                yield key, outcome
            left = {key: row for key, row in left.items() if open_to_site(key, log, settings)}
        if left:
            yield from download(left, log=log, staging=staging, settings=settings)

    return ShardRecipe(
        "raw_clips",
        (),
        work,
        settings={"encoding": ENCODING},
        keys=lambda shard: _open(root, base_shard(shard), settings, media),
        batched=False,
        # All of the shard at once: the quota orders the work.
        group=1_000_000,
        permanent=True,
    )


def shard_to_fill(root: Path, settings: DownloadSettings, shard: str, media: MediaIndex | None = None) -> str | None:
    """The shard that a partition's open clips go to: its own first, then an overflow shard; None without open clips."""
    finished = _finished(root, shard)
    if shard not in finished:
        return shard
    return next_overflow(finished) if _open(root, shard, settings, media) else None


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


def _open(root: Path, shard: str, settings: DownloadSettings, media: MediaIndex | None = None) -> list[str]:
    finished = _finished(root, shard)
    keys = sorted(read_clip_list(root, shard))
    held = HeldMedia(media, shard) if media is not None else None
    return open_keys(keys, AttemptLog(root, shard), clips_in(root, finished), settings, held)


def _finished(root: Path, shard: str) -> list[str]:
    """The partition's own shard and its overflow, those that are finished."""
    folder = root / "raw_clips"
    return [name for name in shard_family(folder, shard) if read_manifest(folder, name) is not None]
