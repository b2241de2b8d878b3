"""Shards that strangers made: names in them become files' names, and must lead nowhere."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from drawaudio_model.atomic_files import file_sha256
from drawaudio_model.dataset import TrainingShards
from drawaudio_model.release.verify import verify_shards
from drawaudio_model.scene_truth import SceneTruth, TrueObject, read_truth
from drawaudio_model.shard import ShardReader, ShardWriter, read_manifest
from pipelines.clip_rows import ClipRow, read_clip_list, write_clip_list
from pipelines.raw_ledger import clips_in
from tests.test_shard import clips, write


def forge(folder: Path, column: str, old: str, new: str) -> None:
    """A shard as a stranger may publish it: tar, index and manifest agree, and a name leads out of the folder."""
    path = folder / "index" / "train-000000.parquet"
    table = pq.read_table(path)
    names = [new if name == old else name for name in table[column].to_pylist()]
    table = table.set_column(table.column_names.index(column), column, pa.array(names))
    pq.write_table(table, path)
    manifest = folder / "manifests" / "train-000000.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"index_sha256": file_sha256(path)}))


@pytest.mark.parametrize(
    ("column", "old", "name"),
    [("key", "clip000_000000", "../../outside"), ("key", "clip000_000000", "/etc/x"), ("member", "a.npy", "../x")],
)
def test_a_name_that_leads_out_of_the_folder_is_refused_by_every_reader(
    tmp_path: Path, column: str, old: str, name: str
) -> None:
    write(tmp_path, clips())
    forge(tmp_path, column, old, name)
    for read in (ShardReader, lambda folder, _: TrainingShards(folder)):
        with pytest.raises(ValueError, match=r"may hold letters|no lower-case extension"):
            read(tmp_path, "train-000000")
    (damage,) = verify_shards(tmp_path).damages
    assert name in damage.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"shard": "../../train-000000"},
            r"says that it is of shard '\.\./\.\./train-000000', expected 'train-000000'",
        ),
        ({"rejected": [{"key": "../x", "reason": "r", "message": "m"}]}, r"key '\.\./x' in .* may hold letters"),
    ],
)
def test_a_manifest_that_names_other_files_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    write(tmp_path, clips())
    path = tmp_path / "manifests" / "train-000000.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=said):
        read_manifest(tmp_path, "train-000000")
    assert len(verify_shards(tmp_path).damages) == 1


def test_a_raw_clip_whose_key_leads_out_of_the_folder_is_not_listed(tmp_path: Path) -> None:
    write(tmp_path / "raw_clips", clips())
    assert set(clips_in(tmp_path, ["train-000000"])) == set(clips())
    forge(tmp_path / "raw_clips", "key", "clip000_000000", "../../outside")
    with pytest.raises(ValueError, match="may hold letters"):
        clips_in(tmp_path, ["train-000000"])


def test_a_clip_list_whose_key_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    row = ClipRow("../x_000000", "folder", "x", 0, "", "train", None, "", "train-000000")
    write_clip_list(tmp_path / "clip_list.parquet", [row])
    with pytest.raises(ValueError, match=r"key '\.\./x_000000' in .*clip_list\.parquet may hold letters"):
        read_clip_list(tmp_path)


def test_a_truth_that_says_it_is_of_another_clip_is_refused(tmp_path: Path) -> None:
    """Pages and sounds of the control benchmark are named after it."""
    thing = TrueObject("bell", "bell", "red", True, 0, ())
    with ShardWriter(tmp_path, "test-000000", inputs={}) as shard:
        for key, said in (("a_000000", "a_000000"), ("b_000000", "../b_000000")):
            shard.add(key, {"truth.json": SceneTruth(said, "bell", "a bell", 0, (thing,)).to_json()})
        shard.commit()
    reader = ShardReader(tmp_path, "test-000000")
    assert read_truth(reader, "a_000000") is not None
    with pytest.raises(ValueError, match=r"of clip b_000000 says that it is of '\.\./b_000000'"):
        read_truth(reader, "b_000000")
