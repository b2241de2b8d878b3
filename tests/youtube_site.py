"""A shard of clips of the loopback site, and runs that fetch it."""

from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq

from pipelines.clip_rows import ClipRow, write_clip_list
from pipelines.sources.youtube.settings import DownloadSettings
from pipelines.sources.youtube.shards import fill_shards
from tests.youtube_server import YouTubeServer

SHARD = "train-000000"


def video_id(behaviour: str, number: int = 0) -> str:
    """An id of 11 characters; some begin like an option, and two differ in case only."""
    return f"{'-_a-A'[number % 5]}{behaviour.replace('_', '')[:7]}{number:02d}".ljust(11, "-")


def clip_row(video: str, start: int) -> ClipRow:
    return ClipRow(
        key=f"{video}_{start:06d}",
        source="vggsound",
        source_id=video,
        start_s=start,
        label="dog barking",
        split="train",
        caption=None,
        media="",
        shard=SHARD,
    )


def write_list(root: Path, clips: list[tuple[str, int]]) -> None:
    """The clip list of (video, start)."""
    rows = [clip_row(video, start) for video, start in clips]
    write_clip_list(root / "clip_list.parquet", sorted(rows, key=lambda row: row.key))


def settings(server: YouTubeServer, state: Path, **more: Any) -> DownloadSettings:
    """No pauses, a quota that never waits, and the loopback site instead of the real one."""
    quick = {
        "url_template": server.url + "/watch?v={id}",
        "extractors": "loopback",
        "state": str(state),
        "guest_videos_per_hour": 1_000_000,
        "account_videos_per_hour": 1_000_000,
        "burst_videos": 1000,
        "workers": 4,
        "sleep_seconds": 0.0,
        "sleep_most_seconds": 0.0,
        "sleep_request_seconds": 0.0,
        "retries": 2,
        "retry_seconds": 0.01,
        "session_wait_seconds": 0.3,
        "failures_in_a_row": 100,
        "socket_timeout_seconds": 10.0,
        "clip_limit_seconds": 60.0,
        "javascript_runtime": "node",
    }
    return DownloadSettings(**quick | more)


def fill(root: Path, settings: DownloadSettings) -> dict[str, dict[str, Any]]:
    """One run over the shard, as the asset does it; returns the ledger by key."""

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition([SHARD]))
    def raw_clips(context: dg.AssetExecutionContext) -> None:
        fill_shards(context, root, settings)

    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([raw_clips], partition_key=SHARD, instance=instance)
    return read_ledger(root)


def read_ledger(root: Path) -> dict[str, dict[str, Any]]:
    rows = pq.read_table(root / "raw_clips" / "ledger" / f"{SHARD}.parquet").to_pylist()
    assert len({row["key"] for row in rows}) == len(rows)
    return {row["key"]: row for row in rows}
