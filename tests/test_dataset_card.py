"""The dataset's card folder: read by the programs it is written for."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from drawaudio_model.release import card as cards
from drawaudio_model.release.ledger_row import LedgerRow
from pipelines import pictures
from pipelines.sources import folder as folder_source
from pipelines.sources import rendered
from tests.tiny_shards import COUNTS, write_tiny_shards

LEDGER = [
    LedgerRow("a_000000", "demo", "a", "dropped", stage="raw_clips", reason="silent", message="no sound"),
    LedgerRow("b_000000", "demo", "b", "dropped", stage="raw_clips", reason="silent", message="no sound"),
    LedgerRow("c_000000", "demo", "c", "kept", stage="training_shards", reason="", message=""),
]


def write(base: Path, about: cards.About = rendered.ABOUT) -> cards.CardStatistics:
    """A card over tiny shards, in a folder laid out like the repository."""
    folder, shards = base / "cards", base / "data" / "training_shards"
    manifests = write_tiny_shards(shards)
    shown = {"Loudness": pictures.curves({"clip": [0.1] * 100})}
    return cards.write_card(folder, "tiny", shards, manifests, about, ledger=LEDGER, pictures=shown)


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> cards.CardStatistics:
    return write(tmp_path_factory.mktemp("card"))


def test_totals_are_those_of_the_manifests(card: cards.CardStatistics) -> None:
    assert card.clips == sum(COUNTS.values())
    assert card.clips_per_split == {"train": 8, "val": 0, "test": 2}
    assert card.hours == pytest.approx(100 / 3600)
    assert card.dropped_per_reason == {"raw_clips: silent": 2}


def test_front_matter_is_yaml_whose_paths_exist(card: cards.CardStatistics) -> None:
    _, head, body = (card.folder / "README.md").read_text().split("---\n", 2)
    facts = yaml.safe_load(head)
    assert facts["license"] == "cc0-1.0"
    assert facts["size_categories"] == ["n<1K"]
    (default,) = facts["configs"]
    assert [row["split"] for row in default["data_files"]] == ["train", "test"]
    assert [len(list(card.folder.glob(row["path"]))) for row in default["data_files"]] == [2, 1]
    assert "$" not in body
    assert "| raw_clips: silent | 2 |" in body
    assert "2 of 12 clips (16.7%) did not make it." in body
    assert "float16 (40, 6)" in body


def test_datasets_opens_the_folder_and_the_index(card: cards.CardStatistics, tmp_path: Path) -> None:
    import datasets

    found = datasets.load_dataset(str(card.folder), split="test", streaming=True)
    assert [row["txt"] for row in found.cast_column("flac", datasets.Audio(decode=False))] == [
        "a red ball bounces – take 0",
        "a bird sings – take 1",
    ]
    files = str(card.folder / "index" / "clips.parquet")
    index = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert len(index) == card.clips


def test_huggingface_hub_reads_the_card(card: cards.CardStatistics) -> None:
    from huggingface_hub import DatasetCard

    facts = DatasetCard.load(card.folder / "README.md").data
    assert facts.license == "cc0-1.0"
    assert facts.tags[:2] == ["webdataset", "croissant"]


def test_index_has_every_clip_and_every_loss(card: cards.CardStatistics) -> None:
    clips = pq.read_table(card.folder / "index" / "clips.parquet").to_pylist()
    assert len({clip["key"] for clip in clips}) == card.clips
    assert clips[0] | {"key": "", "shard": ""} == {
        "key": "",
        "shard": "",
        "split": "train",
        "source": "demo",
        "source_id": "clip00",
        "start_s": 0,
        "label": "ball",
        "caption": "a red ball bounces – take 0",
        "caption_source": "rendered",
        "noun_phrases": ["red ball"],
    }
    dropped = pq.read_table(card.folder / "index" / "dropped.parquet").to_pylist()
    assert [row["key"] for row in dropped] == ["a_000000", "b_000000"]


def test_shard_list_and_checksums_describe_the_tars(card: cards.CardStatistics) -> None:
    shards = json.loads((card.folder / "shards.json").read_text())
    assert shards["__kind__"] == "wids-shard-index-v1"
    assert [row["url"] for row in shards["shardlist"]] == [f"data/{name}.tar" for name in sorted(COUNTS)]
    for row in shards["shardlist"]:
        content = (card.folder / row["url"]).read_bytes()
        assert row["md5sum"] == hashlib.md5(content).hexdigest()
        assert (row["filesize"], row["nsamples"]) == (len(content), COUNTS[Path(row["url"]).stem])
    for line in (card.folder / "SHA256SUMS").read_text().splitlines():
        digest, path = line.split()
        assert digest == hashlib.sha256((card.folder / path).read_bytes()).hexdigest()


@pytest.mark.parametrize("about", [rendered.ABOUT, folder_source.ABOUT])
def test_croissant_validates_and_its_records_are_the_clips(about: cards.About, tmp_path: Path) -> None:
    folder = write(tmp_path, replace(about, published="2026-11-22")).folder
    program = f"""
import json, mlcroissant
dataset = mlcroissant.Dataset({str(folder / "croissant.json")!r})
assert not list(dataset.metadata.issues.errors), dataset.metadata.issues.report()
clips = [row["clips/caption"].decode() for row in dataset.records("clips")]
captions = [row["captions/caption"].decode() for row in dataset.records("captions")]
print(json.dumps([clips, captions, dataset.metadata.to_json()["conformsTo"]]))
"""
    # The unpacked tars go to a cache that is chosen when mlcroissant is imported.
    environment = os.environ | {"CROISSANT_CACHE": str(tmp_path / "cache")}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr
    clips, captions, conforms = json.loads(result.stdout.splitlines()[-1])
    assert len(clips) == sum(COUNTS.values())
    assert sorted(clips) == sorted(captions)
    assert conforms == "http://mlcommons.org/croissant/1.0"


def test_the_same_shards_give_the_same_card(card: cards.CardStatistics, tmp_path: Path) -> None:
    again = write(tmp_path).folder
    files = [path.relative_to(again) for path in sorted(again.rglob("*")) if path.is_file()]
    assert len(files) == 10
    for path in files:
        assert (again / path).read_bytes() == (card.folder / path).read_bytes(), path


def test_a_second_card_replaces_the_first(tmp_path: Path) -> None:
    write(tmp_path)
    other = replace(folder_source.ABOUT, pretty_name="Another name")
    assert "pretty_name: Another name" in (write(tmp_path, other).folder / "README.md").read_text()


def test_nothing_to_describe_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no clip in the 0 shards"):
        cards.write_card(tmp_path, "none", tmp_path, [], rendered.ABOUT)
    manifests = write_tiny_shards(tmp_path / "shards")
    with pytest.raises(ValueError, match=r"other\.md does not exist"):
        cards.write_card(
            tmp_path, "none", tmp_path / "shards", manifests, rendered.ABOUT, template=tmp_path / "other.md"
        )
