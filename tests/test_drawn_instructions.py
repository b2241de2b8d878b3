"""Variants drawn by hand: the loader takes them at their share, with the picture of their own second and with their curve."""

import json
from pathlib import Path

import numpy as np
import pytest

from drawaudio_model.atomic_files import encode_array
from drawaudio_model.boxes import Box, boxes_to_json
from drawaudio_model.caption import Caption
from drawaudio_model.clip_format import LOUDNESS_POINTS, VIDEO_FRAMES
from drawaudio_model.dataset import DrawnInstructions, NullRates, TrainingShards, training_batches, training_sample
from drawaudio_model.media import encode_flac
from drawaudio_model.scene_truth import TRUTH_MEMBER, SceneTruth, TrueObject
from drawaudio_model.shard import ShardReader, ShardWriter
from pipelines.assets.drawn_instructions import surest_boxes, things
from tests.counting_shards import write_shards

MARK = 700.0
"""Stands in every array of a variant, and in no array of a clip."""


def variant(number: int, start: dict[str, int]) -> dict[str, bytes]:
    """Members of one variant at the shapes of counting_sample's 8 s crop."""
    arrays = {
        "latent": np.full((4, 16, 2), MARK + number, np.float16),
        "loudness": np.full(LOUDNESS_POINTS, 0.5, np.float32),
        "cavp_masked": np.full((VIDEO_FRAMES, 6), MARK, np.float16),
        "t5": np.full((3, 8), MARK, np.float16),
        "gpt": np.full((8, 7), MARK, np.float16),
    }
    arrays["latent"][2:] = -30  # no deviation: the posterior's mean comes back
    facts = {f"{number}.json": json.dumps({**start, "words": "w", "curve": "shaped"}).encode()}
    return facts | {f"{number}.{name}.npy": encode_array(array) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips, of which all but one have two variants: one at frame 3, and one at 2 seconds, as it was once written."""
    root = tmp_path_factory.mktemp("drawn")
    folder = write_shards(root / "shards", [5, 2])
    keys = TrainingShards(folder).keys
    with ShardWriter(root / "drawn", "train-000000", inputs={}) as shard:
        for key in keys[1:]:
            shard.add(key, dict(sorted((variant(0, {"start_frame": 3}) | variant(1, {"start_seconds": 2})).items())))
        shard.commit()
    return root


def shards(root: Path, share: float) -> TrainingShards:
    return TrainingShards(root / "shards", drawn=DrawnInstructions(root / "drawn", share))


def test_a_variant_brings_its_words_mask_curve_and_sound_and_the_picture_of_its_moment(root: Path) -> None:
    seen = set()
    for batch in training_batches(shards(root, 1.0), batch_size=7, seed=0, steps=6, null_rates=NullRates(loudness=1.0)):
        for place, key in enumerate(batch.keys):
            if key == shards(root, 1.0).keys[0]:  # it has none, so the clip itself is taken
                assert batch.cavp_masked[place].max() < MARK and batch.no_loudness[place]
                continue
            start = float(batch.start_seconds[place])
            seen.add((start, float(batch.latent[place].mean())))
            assert batch.cavp[place, :, 0].tolist() == list(range(round(4 * start), round(4 * start) + 32))
            assert (batch.cavp_masked[place] == MARK).all() and (batch.gpt[place] == MARK).all()
            assert (batch.t5[place][batch.t5_mask[place]] == MARK).all() and (batch.loudness[place] == 0.5).all()
            # Without its curve nothing would say when it sounds.
            assert not batch.no_loudness[place]
    assert seen == {(0.75, MARK), (2, MARK + 1)}


def test_the_share_is_kept_and_the_other_samples_are_what_they_were(root: Path) -> None:
    plain, mixed = TrainingShards(root / "shards"), shards(root, 0.5)
    rates = NullRates(text=0.3, loudness=0.3)
    drawn = 0
    for epoch in range(40):
        for number in range(1, len(plain)):
            sample = training_sample(mixed, number, epoch, 3, rates)
            if sample["loudness"][0] == 0.5:
                drawn += 1
                continue
            usual = training_sample(plain, number, epoch, 3, rates)
            assert usual.keys() == sample.keys()
            for name, value in usual.items():
                np.testing.assert_array_equal(value, sample[name])
    assert 0.42 < drawn / (40 * (len(plain) - 1)) < 0.58


def test_a_run_with_other_variants_is_another_run(root: Path) -> None:
    fingerprints = {
        TrainingShards(root / "shards").fingerprint,
        shards(root, 0.5).fingerprint,
        shards(root, 0.4).fingerprint,
    }
    assert len(fingerprints) == 3


def test_missing_variants_and_impossible_shares_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished shard with variants in"):
        DrawnInstructions(tmp_path, 0.5)
    with pytest.raises(ValueError, match=r"drawn_share is 1\.5"):
        DrawnInstructions(root / "drawn", 1.5)


def test_curves_are_those_of_the_variants(root: Path) -> None:
    drawn = DrawnInstructions(root / "drawn", 0.5)
    curves = drawn.curves(TrainingShards(root / "shards").keys)
    assert len(curves) == 12 and all((curve == 0.5).all() for curve in curves)


def test_a_frame_without_a_box_has_the_surest_box_of_the_nearest_frame() -> None:
    boxes = [
        Box(3, 0, 0.4, 0.1, 0.1, 0.2, 0.2),
        Box(3, 0, 0.9, 0.5, 0.5, 0.7, 0.8),
        Box(30, 0, 0.5, 0.3, 0.3, 0.4, 0.4),
    ]
    found = surest_boxes(boxes)
    assert found.shape == (40, 4)
    np.testing.assert_allclose(found[0], [0.5, 0.5, 0.7, 0.8])
    np.testing.assert_allclose(found[39], [0.3, 0.3, 0.4, 0.4])
    np.testing.assert_allclose(found[16], [0.5, 0.5, 0.7, 0.8])
    assert surest_boxes([]) is None


def test_every_thing_whose_sound_is_known_is_asked_for_with_its_own_words_place_and_sound(tmp_path: Path) -> None:
    sounds = {
        name: np.full(160_000, level, np.float32) for name, level in (("own", 0.1), ("other", 0.2), ("long", 0.3))
    }
    other_boxes = ((0.5, 0.5, 0.9, 0.9),) * 40
    bell = TrueObject("bell", "bell", "red", True, 0, ((0, 0, 0.2, 0.2),) * 40, wordings=("ding",))
    dog = TrueObject("dog", "dog", "red", True, 1, other_boxes, wordings=("woof", "a bark"))
    car = TrueObject("car", "car", "red", False, None, other_boxes)
    truth = SceneTruth("clip", "bell", "a bell", target=0, objects=(bell, dog, car))
    detected = boxes_to_json([Box(3, 0, 0.9, 0.1, 0.1, 0.3, 0.3)])
    folders = {
        "clip_media": {"flac": encode_flac(sounds["own"])},
        "captions": {"json": Caption("a bell", "given").to_json()},
        "object_masks": {"boxes.json": detected.encode()},
        "raw_clips": {
            TRUTH_MEMBER: truth.to_json(),
            "stem0.flac": encode_flac(sounds["own"]),
            "stem1.flac": encode_flac(sounds["other"]),
            "material1.flac": encode_flac(sounds["long"]),
        },
    }
    upstream = {}
    for asset, members in folders.items():
        with ShardWriter(tmp_path / asset, "train-000000", inputs={}) as shard:
            shard.add("clip", members)
            shard.commit()
        upstream[asset] = ShardReader(tmp_path / asset, "train-000000")
    target, other = things("clip", upstream)
    assert (target.words, other.words) == (["a bell", "ding"], ["woof", "a bark"])
    np.testing.assert_allclose(target.boxes[0], [0.1, 0.1, 0.3, 0.3])
    np.testing.assert_allclose(other.boxes, other_boxes)
    levels = [np.abs(sound).max() for sound in (target.waveform, other.waveform, other.material)]
    np.testing.assert_allclose(levels, [0.1, 0.2, 0.3], atol=1e-3)
    assert target.material is None
    upstream["raw_clips"] = ShardReader(tmp_path / "captions", "train-000000")  # a source without truth
    assert [thing.words for thing in things("clip", upstream)] == [["a bell"]]
