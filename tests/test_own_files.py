"""Captions, phrases and masks that people have already, in files: what they do in the shards, and what is refused."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from drawaudio_model import mask_rle
from drawaudio_model.atomic_files import decode_array, encode_array
from drawaudio_model.boxes import boxes_from_json
from drawaudio_model.caption import Caption, read_caption
from drawaudio_model.clip_format import SOURCE_VIDEO_FRAMES
from drawaudio_model.clip_frames import frame_member
from drawaudio_model.media import encode_flac, encode_jpeg
from drawaudio_model.release.verify import verify_shards
from drawaudio_model.shard import ShardReader, ShardWriter, read_manifest
from drawaudio_model.training_sample import decode_sample, encode_sample
from pipelines.annotation.own_files import OwnAnnotations, OwnCaption
from pipelines.assets import captions, cavp_features, noun_phrases, object_masks, training_shards
from pipelines.clip_rows import ClipRow, write_clip_list
from pipelines.resources import DataRoot
from pipelines.shard_work import make_shard
from tests.test_media import encode
from tests.tiny_shards import tiny_sample

SHARD = "train-000000"
KEYS = ("bell_000000", "bell_000010", "dog_000000")
HEIGHT, WIDTH = 32, 48
PLUGIN = """
import numpy as np

from drawaudio_model.boxes import Box

ASKED = []


class Corner:
    identity = "corner"

    def detect(self, frames, phrases, *, confidence, batch_frames):
        ASKED.extend(phrases)
        return [[Box(frame, 0, 0.5, 0.0, 0.0, 0.5, 0.5) for frame in range(40)] for _ in phrases]


class Brightness:
    identity = "brightness"

    def encode(self, clips):
        return [clip.mean(axis=(2, 3, 4))[..., None].astype(np.float16) for clip in clips]
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with three white clips of two videos, a folder `own` for annotations, and a detector that says whom it saw."""
    (tmp_path / "own_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    for name, value in (("DETECTOR", "Corner"), ("VIDEO_ENCODER", "Brightness")):
        monkeypatch.setenv(f"DRAWAUDIO_{name}", f"own_plugin:{value}")
    (tmp_path / "own").mkdir()
    monkeypatch.setenv("DRAWAUDIO_ANNOTATIONS", str(tmp_path / "own"))
    root = tmp_path / "data"
    white = encode_jpeg(np.full((HEIGHT, WIDTH, 3), 200, np.uint8))
    sound = encode_flac(np.full(160_000, 0.1, np.float32))
    with ShardWriter(root / "clip_media", SHARD, inputs={}) as shard:
        for key in KEYS:
            frames = {frame_member(number): white for number in range(SOURCE_VIDEO_FRAMES)}
            shard.add(key, {"json": b"{}", "flac": sound, **frames})
        shard.commit()
    rows = [
        ClipRow(key, "list", key[:-7], int(key[-6:]), "", "train", f"a {key[:-7]} on the list", media="", shard=SHARD)
        for key in KEYS
    ]
    write_clip_list(root / "clip_list.parquet", rows)
    return root


def write(path: Path, rows: list[dict]) -> None:
    """Rows as the path's suffix says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        names = [*rows[0]]
        lines = [",".join(names), *(",".join(f'"{row.get(name, "")}"' for name in names) for row in rows)]
        path.write_text("\n".join(lines) + "\n")


def own(root: Path) -> Path:
    return root.parent / "own"


def make(root: Path, *names: str) -> None:
    recipes = {
        "captions": lambda: captions.recipe(root, None, OwnAnnotations(own(root))),
        "noun_phrases": lambda: noun_phrases.recipe(root),
        "object_masks": lambda: object_masks.recipe(DataRoot(path=str(root))),
        "cavp_features": lambda: cavp_features.recipe(DataRoot(path=str(root))),
    }
    for name in names:
        make_shard(root, SHARD, recipes[name]())


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_captions_of_files_go_first_and_say_where_they_are_from(root: Path, suffix: str) -> None:
    rows = [
        {"key": "bell", "caption": "a church bell, far away", "source": "me"},
        {"key": "bell_000010", "caption": "a small bell", "source": ""},
    ]
    write(own(root) / f"captions{suffix}", rows)
    make(root, "captions")
    reader = ShardReader(root / "captions", SHARD)
    assert [read_caption(reader, key) for key in KEYS] == [
        Caption("a church bell, far away", "me"),
        Caption("a small bell", "file"),
        Caption("a dog on the list", "list"),
    ]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_phrases_of_files_take_the_place_of_the_captions(root: Path, suffix: str) -> None:
    given = "church bell; tower" if suffix == ".csv" else ["church bell", "tower"]
    write(own(root) / f"phrases{suffix}", [{"key": "bell_000010", "phrases": given}])
    make(root, "captions", "noun_phrases")
    reader = ShardReader(root / "noun_phrases", SHARD)
    assert noun_phrases.read_phrases(reader, "bell_000010") == ["church bell", "tower"]
    assert noun_phrases.read_phrases(reader, "dog_000000")[0] == "dog"
    sources = [noun_phrases.phrases_source(reader, key) for key in KEYS]
    assert sources == ["caption", "file", "caption"]


def region() -> np.ndarray:
    """(H, W) a triangle, which is no box."""
    down, across = np.ogrid[:HEIGHT, :WIDTH]
    return (down > 4) & (across > 8) & (down + across < 34)


def rle(frame: np.ndarray) -> dict:
    return {"size": [HEIGHT, WIDTH], "counts": mask_rle.counts_text(mask_rle.run_lengths(frame))}


def write_mask(folder: Path, key: str, form: str) -> None:
    picture = Image.fromarray((region() * 255).astype(np.uint8))
    folder.mkdir(exist_ok=True)
    if form == "picture":
        picture.save(folder / f"{key}.png")
    elif form == "pictures":
        (folder / key).mkdir()
        for number in range(SOURCE_VIDEO_FRAMES):
            picture.save(folder / key / f"{number}.png")
    elif form == "video":
        encode(
            folder / f"{key}.mkv",
            container="matroska",
            video="ffv1",
            audio=None,
            pixels="bgr0",
            frames=40,
            fps=Fraction(4),
            size=(WIDTH, HEIGHT),
            picture=np.asarray(picture.convert("RGB")),
        )
    elif form == "array":
        np.save(folder / f"{key}.npy", np.repeat(region()[None], SOURCE_VIDEO_FRAMES, axis=0))
    else:
        frames = [region()] * SOURCE_VIDEO_FRAMES
        content = [rle(frame) for frame in frames] if form == "coco" else json.loads(mask_rle.encode(np.stack(frames)))
        (folder / f"{key}.rle.json").write_text(json.dumps(content))


@pytest.mark.parametrize("form", ["picture", "pictures", "video", "array", "coco", "rle"])
def test_masks_of_files_arrive_pixel_by_pixel_in_shards_and_features(root: Path, form: str) -> None:
    import own_plugin

    own_plugin.ASKED.clear()
    write_mask(own(root) / "masks", "bell_000010", form)
    make(root, "captions", "noun_phrases", "object_masks", "cavp_features")
    reader = ShardReader(root / "object_masks", SHARD)
    found = object_masks.read_region(reader, "bell_000010", HEIGHT, WIDTH)
    np.testing.assert_array_equal(found, np.repeat(region()[None], SOURCE_VIDEO_FRAMES, axis=0))
    first = boxes_from_json(reader.member("bell_000010", "boxes.json"))[0]
    corners = (first.x0 * WIDTH, first.y0 * HEIGHT, first.x1 * WIDTH, first.y1 * HEIGHT)
    assert (first.frame, first.phrase_index, first.confidence) == (0, 0, 1.0)
    assert corners == pytest.approx((9, 5, 29, 25), abs=1e-3)
    # The detector was asked for the others alone, and their regions stand beside their boxes.
    assert len(own_plugin.ASKED) == 2
    other = json.loads(reader.member("dog_000000", "masks.rle.json"))
    assert other["source"] == "detector"
    assert mask_rle.decode(other)[:, : HEIGHT // 2, : WIDTH // 2].all() and mask_rle.decode(other).mean() == 0.25
    features = ShardReader(root / "cavp_features", SHARD)
    bright = {key: decode_array(features.member(key, "cavp_masked.npy")).mean() / 200 for key in KEYS}
    assert bright["bell_000010"] == pytest.approx(region().mean(), rel=0.05)
    assert bright["dog_000000"] == pytest.approx(0.25, rel=0.05)


def test_a_mask_that_cannot_be_read_costs_its_clip_and_says_why(root: Path) -> None:
    folder = own(root) / "masks"
    write_mask(folder, "bell_000000", "picture")
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(folder / "bell_000010.png")
    (folder / "dog_000000.rle.json").write_text('{"size": [2, 3], "counts": [1]}')
    make(root, "captions", "noun_phrases", "object_masks")
    manifest = read_manifest(root / "object_masks", SHARD)
    assert manifest is not None and manifest.count == 1
    said = {row.key: (row.reason, row.message) for row in manifest.rejected}
    assert {reason for reason, _ in said.values()} == {"bad_mask"}
    assert "masks/bell_000010.png: " in said["bell_000010"][1] and "it is empty" in said["bell_000010"][1]
    assert "frame 0 has runs of 1 pixels" in said["dog_000000"][1]


def test_another_annotation_makes_its_shard_anew_and_none_leaves_shards_as_they_were(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("captions", "noun_phrases", "object_masks")

    def inputs() -> list[dict[str, str]]:
        make(root, *names)
        return [manifest.inputs for name in names if (manifest := read_manifest(root / name, SHARD))]

    write(own(root) / "captions.csv", [{"key": "dog", "caption": "a dog"}])
    write(own(root) / "phrases.csv", [{"key": "dog", "phrases": "dog"}])
    write_mask(own(root) / "masks", "dog_000000", "picture")
    before = inputs()
    assert inputs() == before
    write(own(root) / "captions.csv", [{"key": "dog", "caption": "a wolf"}])
    write(own(root) / "phrases.csv", [{"key": "dog", "phrases": "wolf"}])
    Image.fromarray((region()[::-1] * 255).astype(np.uint8)).save(own(root) / "masks" / "dog_000000.png")
    after = inputs()
    assert [old["settings"] != new["settings"] for old, new in zip(before, after, strict=True)] == [True] * 3
    # What is for no clip of the shard changes nothing.
    write(own(root) / "phrases.csv", [{"key": "dog", "phrases": "wolf"}, {"key": "cat", "phrases": "cat"}])
    assert inputs() == after


def test_a_sample_has_its_region_and_says_where_its_mask_and_phrases_are_from(root: Path) -> None:
    write(own(root) / "phrases.csv", [{"key": "bell", "phrases": "bell"}])
    write_mask(own(root) / "masks", "bell_000010", "coco")
    make(root, "captions", "noun_phrases", "object_masks", "cavp_features")
    arrays = {
        "loudness_curves": {"loudness": np.ones(100, np.float32)},
        "audio_latents": {"latent": np.ones((4, 10, 2), np.float16)},
        "text_embeddings": {
            "clap": np.ones(6, np.float16),
            "t5": np.ones((3, 5), np.float16),
            "gpt": np.ones((8, 5), np.float16),
        },
    }
    for asset, members in arrays.items():
        with ShardWriter(root / asset, SHARD, inputs={}) as shard:
            for key in KEYS:
                shard.add(key, {f"{name}.npy": encode_array(array) for name, array in members.items()})
            shard.commit()
    with ShardWriter(root / "clip_media", SHARD, inputs={"with": "facts"}) as shard:
        for key in KEYS:
            shard.add(key, {"json": b'{"flags": [], "scores": {"level": 0.5}}', "flac": encode_flac(np.zeros(160_000))})
        shard.commit()
    make_shard(root, SHARD, training_shards.recipe(root))
    reader = ShardReader(root / "training_shards", SHARD)
    samples = {key: decode_sample(key, members) for key, members in reader.items()}
    said = {key: (sample.facts["mask_source"], sample.facts["phrases_source"]) for key, sample in samples.items()}
    assert said == {
        "bell_000000": ("detector", "file"),
        "bell_000010": ("file", "file"),
        "dog_000000": ("detector", "caption"),
    }
    found = mask_rle.decode(json.loads(samples["bell_000010"].masks or b""))
    np.testing.assert_array_equal(found, np.repeat(region()[None], SOURCE_VIDEO_FRAMES, axis=0))
    assert [name for name in reader.members(KEYS[0]) if "rle" in name] == ["masks.rle.json"]


def test_samples_with_regions_are_verified_and_opened_by_the_usual_libraries(tmp_path: Path) -> None:
    import datasets
    import webdataset

    random = np.random.default_rng(0)
    whole = mask_rle.encode(np.repeat(region()[None], SOURCE_VIDEO_FRAMES, axis=0))
    for name, regions in (("whole", whole), ("short", mask_rle.encode(region()[None])), ("strange", b"{}")):
        with ShardWriter(tmp_path / name, SHARD, inputs={}) as shard:
            for number in range(3):
                sample = replace(tiny_sample(f"clip{number}_000000", "train", 0, random), masks=regions, flac=None)
                shard.add(sample.key, encode_sample(sample))
            shard.commit()
    assert verify_shards(tmp_path / "whole").damages == []
    for name, words in (("short", "has 1 frames, expected 40"), ("strange", "masks.rle.json does not decode")):
        damages = verify_shards(tmp_path / name).damages
        assert len(damages) == 3 and all(words in damage.message for damage in damages)
    tar = str(tmp_path / "whole" / f"{SHARD}.tar")
    rows = [*datasets.load_dataset("webdataset", data_files=tar, split="train", streaming=True)]
    assert len(rows) == 3
    np.testing.assert_array_equal(mask_rle.decode(rows[0]["masks.rle.json"])[0], region())
    (first, *_) = webdataset.WebDataset(tar, shardshuffle=False)
    assert first["masks.rle.json"] == whole


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("captions.csv", "key,caption\na,\n", r"captions.csv: line 2: the caption is '', expected a text"),
        ("captions.csv", "key,caption\na,x\na,y\n", "line 3: a stands in line 2 already; keep one of them"),
        ("captions.csv", "key,text\na,x\n", "line 2: it has no caption; the columns are key, caption and source"),
        ("captions.csv", "key,caption,score\na,x,1\n", "the column 'score' is not known"),
        ("captions.csv", "key,caption\na,x,y\n", "line 2: 3 fields, expected 2"),
        ("captions.csv", "key,caption\n,x\n", "line 2: the key is '', expected a clip's key"),
        ("captions.jsonl", '{"key": "a", "caption": "x"}\nnothing\n', "line 2: it is no JSON object such as"),
        ("captions.jsonl", '{"key": 5, "caption": "x"}\n', "line 1: the key is '5'"),
        ("captions.jsonl", '{"key": "a", "caption": 5}\n', "line 1: the caption is '5', expected a text"),
        ("captions.parquet", "PAR0", "captions.parquet is no parquet that can be read"),
        ("phrases.jsonl", '{"key": "a", "phrases": [1]}\n', r"line 1: the phrases are '\[1\]', expected texts"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(root: Path, name: str, content: str, words: str) -> None:
    (own(root) / name).write_text(content)
    found = OwnAnnotations(own(root))
    with pytest.raises(ValueError, match=words):
        _ = found.captions if name.startswith("captions") else found.phrases


def test_two_of_one_kind_an_empty_folder_and_none_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ValueError, match=r"holds neither captions nor phrases \(.csv, .jsonl, .parquet\) nor a folder masks"
    ):
        OwnAnnotations(own(root))
    with pytest.raises(ValueError, match="is nowhere, which is no folder"):
        OwnAnnotations(Path("nowhere"))
    for name in ("captions.csv", "captions.jsonl"):
        (own(root) / name).write_text("")
    with pytest.raises(ValueError, match=r"captions.csv and captions.jsonl; keep one of them"):
        OwnAnnotations(own(root))
    (own(root) / "captions.jsonl").unlink()
    for form in ("picture", "array"):
        write_mask(own(root) / "masks", "dog_000000", form)
    with pytest.raises(ValueError, match=r"the clip dog_000000 has two masks, dog_000000.npy and dog_000000.png"):
        _ = OwnAnnotations(own(root)).masks


def test_how_many_clips_have_something_is_told(root: Path) -> None:
    from pipelines.clip_rows import read_clip_list

    write(own(root) / "captions.csv", [{"key": "bell", "caption": "a bell"}, {"key": "owl", "caption": "an owl"}])
    write_mask(own(root) / "masks", "dog_000000", "picture")
    found = OwnAnnotations(own(root))
    assert found.captions["bell"] == OwnCaption("a bell", "file")
    assert found.coverage([*read_clip_list(root).values()]) == {
        "captions": "2 of 3 clips; of no clip of the list: 1, such as owl",
        "masks": "1 of 3 clips",
    }
