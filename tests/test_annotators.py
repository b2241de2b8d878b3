"""Annotators of another package, named by the environment alone, and what they leave in the shards."""

import json
from pathlib import Path

import numpy as np
import pytest

from drawaudio_model.atomic_files import decode_array
from drawaudio_model.boxes import Box, boxes_from_json
from drawaudio_model.caption import Candidate, Caption, read_caption
from drawaudio_model.clip_format import SOURCE_VIDEO_FRAMES
from drawaudio_model.clip_frames import frame_member
from drawaudio_model.media import encode_flac, encode_jpeg
from drawaudio_model.shard import ShardReader, ShardWriter
from pipelines.annotation.annotators import NounPhraseChunker, pick_captioner, pick_phrase_finder
from pipelines.annotation.settings import AnnotationSettings
from pipelines.assets import captions, cavp_features, noun_phrases, object_masks
from pipelines.clip_rows import ClipRow, write_clip_list
from pipelines.resources import DataRoot
from pipelines.shard_work import make_shard

SHARD, KEY = "train-000000", "a_000000"
OUTSIDE = """
import numpy as np

from drawaudio_model.boxes import Box
from drawaudio_model.caption import Candidate


class Loud:
    identity = {"shouts": 1}

    def candidates(self, labels, waveforms, pictures):
        assert waveforms[0].shape == (160000,) and pictures[0].shape == (32, 48, 3)
        return [[Candidate("loud", label.upper(), 2.0), Candidate("quiet", label, 1.0)] for label in labels]


class Words:
    identity = "words 1"

    def phrases(self, captions):
        return [caption.lower().strip(".").split() for caption in captions]


class Corner:
    identity = "corner 1"

    def detect(self, frames, phrases, *, confidence, batch_frames):
        assert confidence == 0.25 and frames[0].shape == (40, 32, 48, 3)
        return [[Box(3, len(own) - 1, 0.5, 0.0, 0.0, 0.5, 0.5)] for own in phrases]


class Brightness:
    identity = ["brightness", 1]

    def encode(self, clips):
        return [clip.mean(axis=(2, 3, 4))[..., None].astype(np.float16) for clip in clips]
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with one decoded clip that has a label only, and the four annotators on the path."""
    (tmp_path / "outside_annotators.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    named = {"CAPTIONER": "Loud", "PHRASE_FINDER": "Words", "DETECTOR": "Corner", "VIDEO_ENCODER": "Brightness"}
    for setting, name in named.items():
        monkeypatch.setenv(f"DRAWAUDIO_{setting}", f"outside_annotators:{name}")
    monkeypatch.setenv("DRAWAUDIO_DETECTOR_CONFIDENCE", "0.25")
    root = tmp_path / "data"
    white = encode_jpeg(np.full((32, 48, 3), 200, np.uint8))
    sound = encode_flac(np.full(160_000, 0.1, np.float32))
    with ShardWriter(root / "clip_media", SHARD, inputs={}) as shard:
        frames = {frame_member(number): white for number in range(SOURCE_VIDEO_FRAMES)}
        shard.add(KEY, {"json": b"{}", "flac": sound, **frames})
        shard.commit()
    row = ClipRow(KEY, "letters", "a", 0, "dog barking", "train", None, media="", shard=SHARD)
    write_clip_list(root / "clip_list.parquet", [row])
    return root


def test_all_four_are_taken_and_their_output_lies_in_the_shards(root: Path) -> None:
    place = DataRoot(path=str(root))
    captioner = pick_captioner(AnnotationSettings.from_environment())
    for recipe in (
        captions.recipe(root, captioner),
        noun_phrases.recipe(root),
        object_masks.recipe(place),
        cavp_features.recipe(place),
    ):
        make_shard(root, SHARD, recipe)
    said = read_caption(ShardReader(root / "captions", SHARD), KEY)
    candidates = (Candidate("loud", "A DOG IS BARKING.", 2.0), Candidate("quiet", "A dog is barking.", 1.0))
    assert said == Caption("A DOG IS BARKING.", "loud", candidates)
    phrases = json.loads(ShardReader(root / "noun_phrases", SHARD).member(KEY, "json"))
    assert phrases == {"phrases": ["a", "dog", "is", "barking"]}
    boxes = boxes_from_json(ShardReader(root / "object_masks", SHARD).member(KEY, "boxes.json").decode())
    assert boxes == [Box(3, 3, 0.5, 0.0, 0.0, 0.5, 0.5)]
    reader = ShardReader(root / "cavp_features", SHARD)
    full, masked = (decode_array(reader.member(KEY, f"{name}.npy")) for name in ("cavp", "cavp_masked"))
    assert full.shape == masked.shape == (SOURCE_VIDEO_FRAMES, 1) and full.dtype == np.float16
    # The box is a quarter of the picture.
    assert full[3, 0] > 3 * masked[3, 0] > 0


def test_another_identity_makes_the_shards_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = AnnotationSettings.from_environment()
    make_shard(root, SHARD, captions.recipe(root, pick_captioner(settings)))
    before = make_shard(root, SHARD, noun_phrases.recipe(root)).inputs
    import outside_annotators

    monkeypatch.setattr(outside_annotators.Words, "identity", "words 2")
    assert make_shard(root, SHARD, noun_phrases.recipe(root)).inputs != before


def test_without_a_name_ours_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(pick_phrase_finder(AnnotationSettings()), NounPhraseChunker)


def test_a_name_that_leads_nowhere_stops_the_captions(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing weights of ours make labels captions; a captioner that somebody asked for is not left out in silence."""
    monkeypatch.setenv("DRAWAUDIO_CAPTIONER", "outside_annotators:Quiet")
    with pytest.raises(
        ValueError, match=r"DRAWAUDIO_CAPTIONER is 'outside_annotators:Quiet', which cannot be imported"
    ):
        captions.find_captioner(None)
