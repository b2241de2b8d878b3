"""Overflow shards: what came late goes through every asset with its own partition, and stands in one ledger."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from drawaudio_model.shard import ShardReader, ShardWriter, finished_shards
from pipelines.assets.training_shards import _keys_match, ledger_rows
from pipelines.parquet_rows import write_rows
from pipelines.partitions import base_shard, next_overflow, shard_family
from pipelines.raw_ledger import RawLedgerRow, raw_ledger_path
from pipelines.shard_work import ShardRecipe, make_shard, make_shards
from tests.youtube_site import SHARD, write_list

VIDEOS = ("aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc")


def write_shard(folder: Path, shard: str, keys: list[str], failed: dict[str, str]) -> None:
    with ShardWriter(folder, shard, inputs={"source": "test"}) as writer:
        for key in keys:
            writer.add(key, {"json": json.dumps({"key": key}).encode()})
        for key, reason in failed.items():
            writer.reject(key, reason, f"{key} failed")
        writer.commit()


def write_ledger(root: Path, shard: str, failed: dict[str, str]) -> None:
    rows = [RawLedgerRow(key, "failed", reason, "", 0, "") for key, reason in failed.items()]
    write_rows(raw_ledger_path(root, shard), RawLedgerRow, rows)


def test_a_clip_that_was_taken_back_since_fails_no_check(tmp_path: Path) -> None:
    keys = [f"{video}_000001" for video in VIDEOS]
    write_list(tmp_path, [(video, 1) for video in VIDEOS[1:]])
    write_shard(tmp_path / "training_shards", SHARD, keys, {})
    assert _keys_match(tmp_path, {SHARD: None}).passed
    write_list(tmp_path, [(video, 1) for video in (*VIDEOS[1:], "ddddddddddd")])
    found = _keys_match(tmp_path, {SHARD: None})
    assert not found.passed
    assert found.metadata["clips_without_a_row_or_a_sample"].data == {SHARD: ["ddddddddddd_000001"]}


def test_names() -> None:
    assert base_shard("train-100007") == base_shard("train-000007") == "train-000007"
    assert next_overflow(["test-000003"]) == "test-100003"
    assert next_overflow(["test-900003", "test-000003"]) == "test-1000003"
    assert base_shard("test-1000003") == "test-000003"


def test_late_clips_go_through_the_assets_and_into_one_ledger(tmp_path: Path) -> None:
    early, late, gone = (f"{video}_000001" for video in VIDEOS)
    write_list(tmp_path, [(video, 1) for video in VIDEOS])
    raw = tmp_path / "raw_clips"
    write_shard(raw, SHARD, [early], {late: "network", gone: "private"})
    worked: list[str] = []

    def work(keys: list[str], upstream: dict[str, ShardReader]) -> Iterator[tuple[str, dict[str, bytes]]]:
        for key in keys:
            worked.append(key)
            yield key, upstream["raw_clips"][key]

    recipe = ShardRecipe("training_shards", ("raw_clips",), work, batched=False)

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition([SHARD, "train-000001"]))
    def copied(context: dg.AssetExecutionContext) -> None:
        make_shards(context, tmp_path, recipe)

    def run() -> dict[str, object]:
        with dg.DagsterInstance.ephemeral() as instance:
            done = dg.materialize([copied], partition_key=SHARD, instance=instance)
            return dict(done.asset_materializations_for_node("copied")[0].metadata)

    assert run()["dagster/partition_row_count"].value == 1
    ends = {row.key: (row.status, row.reason) for row in ledger_rows(tmp_path, SHARD)}
    assert ends == {early: ("kept", ""), late: ("dropped", "network"), gone: ("dropped", "private")}
    first = (tmp_path / "training_shards" / f"{SHARD}.tar").stat().st_mtime_ns

    # A later round met another reason, which its ledger knows and the manifest of the first round does not.
    write_ledger(tmp_path, SHARD, {late: "removed", gone: "private"})
    ends = {row.key: row.reason for row in ledger_rows(tmp_path, SHARD)}
    assert ends == {early: "", late: "removed", gone: "private"}

    write_shard(raw, "train-100000", [late], {})
    assert shard_family(raw, SHARD) == [SHARD, "train-100000"]
    assert run()["dagster/partition_row_count"].value == 2
    assert worked == [early, late]
    assert finished_shards(tmp_path / "training_shards") == [SHARD, "train-100000"]
    assert (tmp_path / "training_shards" / f"{SHARD}.tar").stat().st_mtime_ns == first
    rows = [row for shard in (SHARD, "train-100000") for row in ledger_rows(tmp_path, shard)]
    assert {row.key: row.status for row in rows} == {early: "kept", late: "kept", gone: "dropped"}
    assert len(rows) == 3


def test_a_permanent_shard_that_was_damaged_is_told_of_and_a_lost_index_is_written_anew(tmp_path: Path) -> None:
    """Made again it may lack clips that are gone by now: only a person says so."""

    def work(keys: list[str], _: dict[str, ShardReader]) -> Iterator[tuple[str, dict[str, bytes]]]:
        for key in keys:
            yield key, {"json": b"{}", "mp4": bytes(3000)}

    recipe = ShardRecipe("raw_clips", (), work, keys=lambda _: ["a_000000"], permanent=True)
    made = make_shard(tmp_path, SHARD, recipe)
    index = tmp_path / "raw_clips" / "index" / f"{SHARD}.parquet"
    index.unlink()
    assert make_shard(tmp_path, SHARD, recipe) == made
    assert ShardReader(tmp_path / "raw_clips", SHARD).keys == ["a_000000"]
    tar = tmp_path / "raw_clips" / f"{SHARD}.tar"
    content = bytearray(tar.read_bytes())
    content[2000] ^= 1
    tar.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"has another sha256, its manifest says .* put it back from a copy, or delete"
    ):
        make_shard(tmp_path, SHARD, recipe)
    (tmp_path / "raw_clips" / "manifests" / f"{SHARD}.json").unlink()
    assert make_shard(tmp_path, SHARD, recipe) == made
