"""Shards are whole or absent, and the same input gives the same bytes."""

import json
import os
import signal
import subprocess
import sys
import tarfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from drawaudio_model.atomic_files import file_sha256
from drawaudio_model.boxes import decode_boxes
from drawaudio_model.shard import ShardReader, ShardWriter, finished_shards, read_manifest, restore_index
from drawaudio_model.training_sample import SAMPLE_MEMBERS, TrainingSample, decode_sample, encode_sample


def clips(count: int = 6) -> dict[str, dict[str, bytes]]:
    rng = np.random.default_rng(0)
    return {f"clip{i:03d}_000000": {"json": b"{}", "a.npy": rng.bytes(700 + 300 * i)} for i in range(count)}


def write(folder: Path, content: dict[str, dict[str, bytes]], order: list[str] | None = None) -> str:
    with ShardWriter(folder, "train-000000", inputs={"clips": "1"}) as shard:
        for key in order or sorted(content):
            shard.add(key, content[key])
        return shard.commit({"note": "x"}).sha256


def training_sample(key: str = "a_000000", *, flac: bytes | None = b"fLaC") -> TrainingSample:
    rng = np.random.default_rng(1)
    half = lambda *shape: rng.standard_normal(shape).astype(np.float16)  # noqa: E731
    return TrainingSample(
        key=key,
        facts={"caption": "a dog barks", "split": "train", "noun_phrases": ["dog"], "scores": {"padded": 0.0}},
        flac=flac,
        boxes=[[[0, 0.5, 0.0, 0.1, 0.5, 0.6]], *([] for _ in range(39))],
        cavp=half(40, 12),
        cavp_masked=half(40, 12),
        loudness=rng.random(100).astype(np.float32),
        latent=half(16, 125, 8),
        clap=half(8),
        t5=half(5, 6),
        gpt=half(8, 7),
    )


def test_what_is_written_is_read_back_by_key_and_by_tarfile(tmp_path: Path) -> None:
    content = clips()
    sha256 = write(tmp_path, content)
    reader = ShardReader(tmp_path, "train-000000")
    assert reader.keys == sorted(content)
    assert {key: dict(members) for key, members in reader.items()} == content
    assert file_sha256(tmp_path / "train-000000.tar") == sha256 == reader.manifest.sha256
    with tarfile.open(tmp_path / "train-000000.tar") as archive:
        names = archive.getnames()
        assert {member.mtime for member in archive} == {0}
    assert names == [f"{key}.{extension}" for key in sorted(content) for extension in content[key]]


def test_the_order_of_work_does_not_change_the_bytes(tmp_path: Path) -> None:
    content = clips()
    assert write(tmp_path / "a", content) == write(tmp_path / "b", content, order=sorted(content, reverse=True))
    first, second = ((tmp_path / name / "index" / "train-000000.parquet").read_bytes() for name in "ab")
    assert first == second


def test_a_shard_without_manifest_does_not_exist(tmp_path: Path) -> None:
    write(tmp_path, clips())
    (tmp_path / "manifests" / "train-000000.json").unlink()
    assert finished_shards(tmp_path) == []
    with pytest.raises(ValueError, match="is not finished"):
        ShardReader(tmp_path, "train-000000")


def test_a_cut_tar_is_refused(tmp_path: Path) -> None:
    write(tmp_path, clips())
    tar = tmp_path / "train-000000.tar"
    os.truncate(tar, tar.stat().st_size - 512)
    with pytest.raises(ValueError, match="its manifest says"):
        ShardReader(tmp_path, "train-000000")


def test_equal_inputs_are_not_made_again_and_changed_inputs_are(tmp_path: Path) -> None:
    write(tmp_path, clips())
    with ShardWriter(tmp_path, "train-000000", inputs={"clips": "1"}) as shard:
        assert shard.committed is not None
    with ShardWriter(tmp_path, "train-000000", inputs={"clips": "2"}) as shard:
        assert shard.committed is None
        assert shard.done == set()


def test_rejected_clips_are_listed_with_their_reason(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "test-000000", inputs={}) as shard:
        shard.add("b_000000", {"json": b"{}"})
        shard.reject("a_000000", "silent", "a_000000 is silent.")
        shard.commit()
    manifest = read_manifest(tmp_path, "test-000000")
    assert manifest is not None
    assert manifest.count == 1
    assert [(row.key, row.reason) for row in manifest.rejected] == [("a_000000", "silent")]
    assert finished_shards(tmp_path, split="test") == ["test-000000"]


KILLED = """
import os, signal, sys
from dataclasses import asdict, replace
from pathlib import Path
from drawaudio_model import shard as module
sys.path.insert(0, sys.argv[3])
from test_shard import clips
step, point = 0, int(sys.argv[2])
def dying(original):
    def call(*arguments):
        global step
        step += 1
        if step == point:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)
    return call
# Every sync and every rename is a place where the machine may stop.
os.fsync, os.replace = dying(os.fsync), dying(os.replace)
with module.ShardWriter(Path(sys.argv[1]), "train-000000", inputs={"clips": "1"}) as shard:
    if shard.committed is None:
        for key, members in clips().items():
            if key not in shard.done:
                shard.add(key, members)
        shard.commit({"note": "x"})
"""


def test_killed_at_any_point_the_next_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    undisturbed = write(tmp_path / "undisturbed", clips())
    folder = tmp_path / "killed"
    deaths = 0
    # Each round dies a little later than the one before it got, on top of what that one left behind.
    for point in (1, 2, 4, 5, 7, 9, 3, 2, 1, 8, 6, 5, 4, 3, 2, 1, 1000):
        arguments = [sys.executable, "-c", KILLED, str(folder), str(point), str(Path(__file__).parent)]
        deaths += subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    assert deaths >= 8
    assert ShardReader(folder, "train-000000").manifest.sha256 == undisturbed


def test_a_torn_journal_line_loses_only_its_clip(tmp_path: Path) -> None:
    content = clips(3)
    shard = ShardWriter(tmp_path, "train-000000", inputs={"clips": "1"})
    with shard:
        for key in sorted(content):
            shard.add(key, content[key])
        journal = shard.staging / "journal.jsonl"
        os.truncate(journal, journal.stat().st_size - 5)
    with ShardWriter(tmp_path, "train-000000", inputs={"clips": "1"}) as shard:
        assert shard.done == set(sorted(content)[:2])
        shard.add(max(content), content[max(content)])
        shard.commit({"note": "x"})
    assert dict(ShardReader(tmp_path, "train-000000").items()) == content


def test_two_writers_of_one_shard_are_refused(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train-000000", inputs={}):
        with pytest.raises(ValueError, match="another process"):
            ShardWriter(tmp_path, "train-000000", inputs={}).__enter__()


@pytest.mark.parametrize(
    ("key", "members"), [("a.b", {"json": b""}), ("", {"json": b""}), ("a", {".json": b""}), ("a", {"JSON": b""})]
)
def test_names_that_webdataset_would_split_wrongly_are_refused(
    tmp_path: Path, key: str, members: dict[str, bytes]
) -> None:
    with ShardWriter(tmp_path, "train-000000", inputs={}) as shard:
        with pytest.raises(ValueError, match=r"may hold letters|no lower-case extension"):
            shard.add(key, members)


def test_a_training_sample_survives_the_round_trip() -> None:
    sample = training_sample()
    members = encode_sample(sample)
    assert tuple(members) == SAMPLE_MEMBERS
    again = decode_sample(sample.key, members)
    assert again.facts["caption"] == "a dog barks"
    assert again.boxes == sample.boxes
    for name in ("cavp", "cavp_masked", "loudness", "latent", "clap", "t5", "gpt"):
        np.testing.assert_array_equal(getattr(again, name), getattr(sample, name))
    assert again.facts["noun_phrases"] == sample.facts["noun_phrases"]
    assert "flac" not in encode_sample(training_sample(flac=None))


def test_a_list_that_may_be_empty_is_written_as_text_and_older_lists_are_read() -> None:
    sample = training_sample()
    rows = [[0, 0.5, 0.1, 0.2, 0.3, 0.4], [1, 1.0, 0.0, 0.0, 1.0, 1e-06]]
    for phrases, boxes in (([], [[]] * 40), (["a dog", "a car"], [rows, *[[]] * 39])):
        new = TrainingSample(**{**vars(sample), "facts": {**sample.facts, "noun_phrases": phrases}, "boxes": boxes})
        members = encode_sample(new)
        assert isinstance(json.loads(members["json"])["noun_phrases"], str)
        assert {type(frame) for frame in json.loads(members["boxes.json"])} == {str}
        older = {**json.loads(members["json"]), "noun_phrases": phrases}
        as_lists = {"json": json.dumps(older).encode(), "boxes.json": json.dumps(boxes).encode()}
        for found in (members, {**members, **as_lists}):
            again = decode_sample(new.key, found)
            assert (again.facts["noun_phrases"], again.boxes) == (phrases, boxes)
    with pytest.raises(ValueError, match=r"facts of a_000000 hold a list in \['flags'\]"):
        encode_sample(TrainingSample(**{**vars(sample), "facts": {**sample.facts, "flags": []}}))
    with pytest.raises(ValueError, match=r"boxes JSON has the line '0 much', expected numbers"):
        decode_boxes('["0 much"]')


def test_a_sample_of_the_wrong_shape_is_refused() -> None:
    members = encode_sample(training_sample())
    with pytest.raises(ValueError, match=r"lacks \['gpt.npy'\]"):
        decode_sample("a_000000", {name: value for name, value in members.items() if name != "gpt.npy"})
    broken = TrainingSample(**{**training_sample().__dict__, "loudness": np.zeros(80, np.float32)})
    with pytest.raises(ValueError, match="loudness of a_000000 is float32"):
        encode_sample(broken)


def test_a_line_torn_by_a_kill_costs_no_other_clip_in_the_next_kill(tmp_path: Path) -> None:
    content = clips(3)
    first, second, third = sorted(content)
    inputs = {"clips": "1"}
    with ShardWriter(tmp_path, "train-000000", inputs=inputs) as shard:
        shard.add(first, content[first])
        shard.add(second, content[second])
        journal = shard.staging / "journal.jsonl"
        os.truncate(journal, journal.stat().st_size - 5)
    with ShardWriter(tmp_path, "train-000000", inputs=inputs) as shard:
        shard.add(third, content[third])
    with ShardWriter(tmp_path, "train-000000", inputs=inputs) as shard:
        assert shard.done == {first, third}
        shard.add(second, content[second])
        shard.commit()
    assert dict(ShardReader(tmp_path, "train-000000").items()) == content


def test_samples_that_a_power_cut_shortened_are_worked_on_again(tmp_path: Path) -> None:
    """What is missing must not be filled with zeros: they would be committed as the clip's bytes."""
    content = clips(3)
    inputs = {"clips": "1"}
    with ShardWriter(tmp_path, "train-000000", inputs=inputs) as shard:
        for key in sorted(content):
            shard.add(key, content[key])
        samples = shard.staging / "samples.bin"
        os.truncate(samples, samples.stat().st_size - 1)
    with ShardWriter(tmp_path, "train-000000", inputs=inputs) as shard:
        assert shard.done == set(sorted(content)[:2])
        shard.add(max(content), content[max(content)])
        shard.commit()
    assert dict(ShardReader(tmp_path, "train-000000").items()) == content
    with ShardWriter(tmp_path, "train-000001", inputs=inputs) as shard:
        shard.add(min(content), content[min(content)])
        (shard.staging / "samples.bin").unlink()
    with ShardWriter(tmp_path, "train-000001", inputs=inputs) as shard:
        assert shard.done == set()


def test_staged_bytes_that_changed_are_given_up_and_never_committed(tmp_path: Path) -> None:
    content = clips(2)
    with ShardWriter(tmp_path, "train-000000", inputs={}) as shard:
        for key in content:
            shard.add(key, content[key])
        samples = shard.staging / "samples.bin"
        samples.write_bytes(b"\x00" * samples.stat().st_size)
        with pytest.raises(ValueError, match=r"not what was written there; the staged clips .* run it again"):
            shard.commit()
    with ShardWriter(tmp_path, "train-000000", inputs={}) as shard:
        assert shard.committed is None and shard.done == set()


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[min(2000, len(content) // 2)] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a flipped bit": lambda folder: flip_a_bit(folder / "train-000000.tar"),
    "a lost tar": lambda folder: (folder / "train-000000.tar").unlink(),
    "a lost index": lambda folder: (folder / "index" / "train-000000.parquet").unlink(),
    "a damaged index": lambda folder: flip_a_bit(folder / "index" / "train-000000.parquet"),
    "a torn manifest": lambda folder: os.truncate(folder / "manifests" / "train-000000.json", 40),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_made_again_from_equal_inputs(tmp_path: Path, damage: str) -> None:
    sha256 = write(tmp_path, clips())
    DAMAGES[damage](tmp_path)
    with ShardWriter(tmp_path, "train-000000", inputs={"clips": "1"}) as shard:
        assert shard.committed is None
    assert write(tmp_path, clips()) == sha256
    assert dict(ShardReader(tmp_path, "train-000000").items()) == clips()


def test_what_is_damaged_is_not_handed_on(tmp_path: Path) -> None:
    """The next asset in the row reads this one's shards."""
    write(tmp_path, clips())
    flip_a_bit(tmp_path / "train-000000.tar")
    reader = ShardReader(tmp_path, "train-000000")
    with pytest.raises(ValueError, match=r"clip000_000000\.a\.npy in .* is damaged: its checksum .* materialize"):
        dict(reader.items())
    (tmp_path / "index" / "train-000000.parquet").unlink()
    with pytest.raises(ValueError, match=r"index/train-000000\.parquet is missing or is not what its manifest says"):
        ShardReader(tmp_path, "train-000000")


def test_an_index_is_written_anew_from_a_whole_tar_only(tmp_path: Path) -> None:
    write(tmp_path, clips())
    index = tmp_path / "index" / "train-000000.parquet"
    before = index.read_bytes()
    index.unlink()
    manifest = read_manifest(tmp_path, "train-000000")
    assert manifest is not None
    assert restore_index(tmp_path, manifest) == manifest and index.read_bytes() == before
    # Another pyarrow wrote other bytes: the manifest goes along with those of this one.
    older = replace(manifest, index_sha256="0" * 64)
    (tmp_path / "manifests" / "train-000000.json").write_text(json.dumps(asdict(older)))
    assert restore_index(tmp_path, older) == manifest == read_manifest(tmp_path, "train-000000")
    assert dict(ShardReader(tmp_path, "train-000000").items()) == clips()
    index.unlink()
    flip_a_bit(tmp_path / "train-000000.tar")
    with pytest.raises(ValueError, match="put both back from a copy"):
        restore_index(tmp_path, manifest)


def test_a_journal_that_names_other_files_is_given_up(tmp_path: Path) -> None:
    content = clips(2)
    with ShardWriter(tmp_path, "train-000000", inputs={}) as shard:
        for key in content:
            shard.add(key, content[key])
        journal = shard.staging / "journal.jsonl"
        journal.write_text(journal.read_text().replace("clip001_000000", "../clip001"))
    with ShardWriter(tmp_path, "train-000000", inputs={}) as shard:
        assert shard.done == {"clip000_000000"}
