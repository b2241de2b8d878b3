"""Training shards open with the loaders people use, and hold what was written."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drawaudio_model.boxes import decode_boxes
from drawaudio_model.clip_format import SOURCE_SAMPLES, SOURCE_VIDEO_FRAMES
from drawaudio_model.media import decode_flac
from drawaudio_model.shard import ShardReader, ShardWriter
from drawaudio_model.training_sample import SAMPLE_MEMBERS, decode_facts, decode_sample, encode_sample
from tests.tiny_shards import tiny_sample

TRAIN = ["train-000000", "train-000001"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards; the first five clips of the first have neither phrase nor box, the second mixes them.

    `datasets` looks at five rows before it says what type a column has.
    """
    path = tmp_path_factory.mktemp("training_shards")
    random = np.random.default_rng(0)
    for shard, full in ((TRAIN[0], (5, 6)), (TRAIN[1], (1, 2))):
        with ShardWriter(path, shard, inputs={}) as writer:
            for i in range(max(full) + 1):
                sample = tiny_sample(f"{shard}_{i:06d}", "train", i, random)
                if i not in full:
                    sample = replace(
                        sample, facts=sample.facts | {"noun_phrases": []}, boxes=[[]] * SOURCE_VIDEO_FRAMES
                    )
                writer.add(sample.key, encode_sample(sample))
            writer.commit()
    return path


@pytest.fixture(scope="module")
def samples(folder: Path) -> dict:
    """Every training sample by key, as our own reader gives it."""
    found = {}
    for name in TRAIN:
        reader = ShardReader(folder, name)
        found |= {key: decode_sample(key, members) for key, members in reader.items()}
        reader.close()
    assert len(found) == 10
    return found


def urls(folder: Path) -> list[str]:
    return [str(folder / f"{name}.tar") for name in TRAIN]


def test_webdataset_reads_every_member(folder: Path, samples: dict) -> None:
    import webdataset

    rows = list(webdataset.WebDataset(urls(folder), shardshuffle=False).decode())
    assert [row["__key__"] for row in rows] == list(samples)
    for row in rows:
        sample = samples[row["__key__"]]
        assert [name for name in row if not name.startswith("__")] == list(SAMPLE_MEMBERS)
        for name in ("cavp", "cavp_masked", "loudness", "latent", "clap", "t5", "gpt"):
            np.testing.assert_array_equal(row[f"{name}.npy"], getattr(sample, name))
            assert row[f"{name}.npy"].dtype == getattr(sample, name).dtype
        assert decode_facts(json.dumps(row["json"]).encode()) == sample.facts
        assert row["txt"] == sample.facts["caption"]
        assert decode_boxes(json.dumps(row["boxes.json"])) == sample.boxes
        assert row["flac"] == sample.flac


def test_webloader_with_two_workers_gives_every_clip_once(folder: Path, samples: dict) -> None:
    import webdataset

    dataset = webdataset.WebDataset(urls(folder), shardshuffle=False).decode().to_tuple("__key__", "cavp.npy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # forking beside the threads of other tests
        rows = list(webdataset.WebLoader(dataset, batch_size=None, num_workers=2))
    assert sorted(key for key, _ in rows) == sorted(samples)
    for key, cavp in rows:
        np.testing.assert_array_equal(cavp, samples[key].cavp)


@pytest.mark.parametrize(("streaming", "mixed_first"), [(True, False), (False, False), (False, True)])
def test_datasets_reads_every_member(
    folder: Path, samples: dict, streaming: bool, mixed_first: bool, tmp_path: Path
) -> None:
    import datasets

    files = urls(folder)[::-1] if mixed_first else urls(folder)
    found = datasets.load_dataset(
        "webdataset", data_files={"train": files}, split="train", streaming=streaming, cache_dir=str(tmp_path)
    )
    # Decoding sound inside `datasets` needs FFmpeg's libraries, which are not everywhere.
    rows = list(found.cast_column("flac", datasets.Audio(decode=False)))
    assert sorted(row["__key__"] for row in rows) == sorted(samples)
    for row in rows:
        sample = samples[row["__key__"]]
        assert set(row) == {"__key__", "__url__", *SAMPLE_MEMBERS}
        for name in ("cavp", "loudness", "latent", "clap", "t5"):
            np.testing.assert_array_equal(
                np.array(row[f"{name}.npy"], getattr(sample, name).dtype), getattr(sample, name)
            )
        assert row["json"]["caption"] == row["txt"] == sample.facts["caption"]
        assert decode_facts(json.dumps(row["json"]).encode()) == sample.facts
        assert decode_boxes(json.dumps(row["boxes.json"])) == sample.boxes
        assert decode_flac(row["flac"]["bytes"]).shape == (SOURCE_SAMPLES,)
