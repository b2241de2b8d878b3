"""A small folder of one's own: what is evaluated where no clip is a test clip, and what is said where none is learnt from."""

from pathlib import Path

import pytest

from drawaudio_model.shard import ShardWriter
from pipelines.assets.clip_list import list_clips
from pipelines.assets.evaluation import evaluated_split, fetches_weights
from pipelines.profiles import PROFILES
from pipelines.sources.registry import SOURCES


def write_shard(root: Path, name: str, clips: int) -> None:
    with ShardWriter(root / "training_shards", name, inputs={}) as shard:
        for number in range(clips):
            shard.add(f"clip{number}_000000", {"json": b"{}"})
        shard.commit()


def test_a_folder_without_test_clips_is_evaluated_on_what_it_has(tmp_path: Path) -> None:
    for name, clips in (("train-000000", 2), ("val-000000", 0), ("test-000000", 0)):
        write_shard(tmp_path, name, clips)
    assert evaluated_split(tmp_path, SOURCES["folder"].evaluated_splits) == "train"
    # What is missing of a rendered or fetched set is to be made, not replaced.
    assert evaluated_split(tmp_path, SOURCES["demo"].evaluated_splits) == "test"
    write_shard(tmp_path, "val-000001", 1)
    assert evaluated_split(tmp_path, SOURCES["folder"].evaluated_splits) == "val"
    write_shard(tmp_path, "test-000001", 1)
    assert evaluated_split(tmp_path, SOURCES["folder"].evaluated_splits) == "test"


def test_extractor_weights_are_fetched_where_the_backbones_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert fetches_weights("published") and not fetches_weights("trained")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not fetches_weights("published")


def test_a_folder_without_training_clips_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dog.mp4").write_bytes(b"no media at all")
    captions = tmp_path / "captions.csv"
    captions.write_text("file,caption,split\ndog.mp4,A dog barks.,test\n")
    monkeypatch.setenv("DRAWAUDIO_CLIPS", str(tmp_path))
    monkeypatch.setenv("DRAWAUDIO_CAPTIONS", str(captions))
    with pytest.raises(ValueError, match="none of the 1 clips of DRAWAUDIO_CLIPS is in the split train; add a column"):
        list_clips(PROFILES["folder"])
    captions.write_text("file,caption,split\ndog.mp4,A dog barks.,train\n")
    assert [row.split for row in list_clips(PROFILES["folder"])] == ["train"]
