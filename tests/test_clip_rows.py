"""Rows of the clip list and of the ledgers, and their files."""

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq

from drawaudio_model.shard import ShardWriter
from pipelines.clip_rows import ClipRow, clip_row, read_clip_list, write_clip_list
from pipelines.parquet_rows import write_rows
from pipelines.partitions import shard_of
from pipelines.profiles import PROFILES
from pipelines.raw_ledger import RawLedgerRow, raw_ledger_path, read_raw_ledger, write_raw_ledger
from pipelines.raw_media import MediaFacts, members_of_file, members_of_media
from pipelines.sources.youtube.ledger import FetchLedgerRow

ROWS = [
    ClipRow("a_000000", "folder", "a", 0, "", "train", "a bell", media="/clips/a.mp4", shard="train-000000"),
    ClipRow("b_000010", "vggsound", "b", 10, "dog barking", "val", None, media="", shard="val-000000"),
]


def test_the_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_clip_list(tmp_path / "clip_list.parquet", ROWS)
    assert list(read_clip_list(tmp_path).values()) == ROWS
    assert read_clip_list(tmp_path, "val-100000") == {"b_000010": ROWS[1]}
    schema = pq.read_schema(tmp_path / "clip_list.parquet")
    assert schema.names == "key source source_id start_s label split caption media shard".split()
    assert [str(kind) for kind in schema.types] == ["string"] * 3 + ["int64"] + ["string"] * 5


def test_an_empty_list_has_its_columns(tmp_path: Path) -> None:
    write_clip_list(tmp_path / "clip_list.parquet", [])
    assert read_clip_list(tmp_path) == {} and len(pq.read_schema(tmp_path / "clip_list.parquet").names) == 9


def test_a_row_is_the_clip_in_the_shard_of_its_video() -> None:
    profile = PROFILES["vggsound_caption"]
    row = clip_row(profile, ROWS[0], source="mine", media="m")
    shard = shard_of(profile, "train", "a")
    assert row == ClipRow("a_000000", "mine", "a", 0, "", "train", "a bell", media="m", shard=shard)


def test_every_sources_ledger_is_read_alike(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "raw_clips", "train-000000", inputs={}) as shard:
        shard.add("a_000000", members_of_media(b"media"))
        shard.reject("b_000000", "missing_file", "it is gone")
        shard.commit()
    write_raw_ledger(tmp_path, "train-000000")
    kept, failed = read_raw_ledger(tmp_path, "train-000000")
    assert (kept.key, kept.status, kept.bytes, len(kept.sha256)) == ("a_000000", "kept", 5, 64)
    assert failed == RawLedgerRow("b_000000", "failed", "missing_file", "it is gone", 0, "")
    fetched = FetchLedgerRow("c_000000", "vggsound", "c", 0, "failed", reason="private", message="Private", frames=3)
    write_rows(raw_ledger_path(tmp_path, "val-000000"), FetchLedgerRow, [fetched])
    assert read_raw_ledger(tmp_path, "val-000000") == [RawLedgerRow("c_000000", "failed", "private", "Private", 0, "")]
    assert read_raw_ledger(tmp_path, "test-000000") == []


def test_media_in_the_tar_and_beside_it_are_told_with_the_same_facts(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"media")
    held, referred = members_of_media(b"media"), members_of_file(tmp_path / "clip.mp4", 20)
    assert held["mp4"] == b"media" and "mp4" not in referred
    sha256 = hashlib.sha256(b"media").hexdigest()
    assert json.loads(held["json"]) == vars(MediaFacts("", 0, 5, sha256))
    assert json.loads(referred["json"]) == vars(MediaFacts(str(tmp_path / "clip.mp4"), 20, 5, sha256))
