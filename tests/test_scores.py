"""Scores of a clip, and the limits that a training run sets on them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drawaudio_model.clip_format import SAMPLE_RATE, SOURCE_SAMPLES, SOURCE_VIDEO_FRAMES
from drawaudio_model.config import TrainConfig
from drawaudio_model.dataset import ScoreLimits, TrainingShards
from drawaudio_model.media import decode_flac, encode_flac
from drawaudio_model.shard import ShardWriter
from drawaudio_model.training_sample import encode_sample
from pipelines.clip_scores import clip_scores, sound_hash
from tests.tiny_shards import tiny_sample

RNG = np.random.default_rng(0)
NOISE = (0.1 * RNG.standard_normal(SOURCE_SAMPLES)).astype(np.float32)
STILL = np.broadcast_to(RNG.integers(0, 255, (64, 80, 3), np.uint8), (SOURCE_VIDEO_FRAMES, 64, 80, 3))


def test_a_still_picture_has_no_motion_and_a_cut_is_one_cut():
    assert clip_scores(STILL, NOISE)["motion"] == 0 and clip_scores(STILL, NOISE)["shot_cuts"] == 0
    cut = STILL.copy()
    cut[:13], cut[13:30], cut[30:] = 20, 230, 90
    assert clip_scores(cut, NOISE)["shot_cuts"] == 2
    assert clip_scores(cut, NOISE)["motion"] > 0


def test_a_moving_thing_and_a_shaking_camera_are_no_cuts():
    moving = np.full((SOURCE_VIDEO_FRAMES, 64, 80, 3), 120, np.uint8)
    for i, frame in enumerate(moving):
        frame[20:40, i : i + 20] = 255
    assert clip_scores(moving, NOISE)["shot_cuts"] == 0 < clip_scores(moving, NOISE)["motion"]
    shaking = RNG.integers(0, 255, (SOURCE_VIDEO_FRAMES, 64, 80, 3), np.uint8)
    assert clip_scores(shaking, NOISE)["shot_cuts"] == 0


def test_silence_and_clipping_are_shares():
    wave = NOISE.copy()
    wave[: SOURCE_SAMPLES // 4] = 0
    wave[-SOURCE_SAMPLES // 10 :] = 1
    scores = clip_scores(STILL, wave)
    assert scores["silent_share"] == pytest.approx(0.25, abs=0.01)
    assert scores["clipped_share"] == pytest.approx(0.1, abs=1e-4)
    assert scores["peak"] == 1


def test_the_same_sound_has_the_same_hash_at_any_level():
    time = np.arange(SOURCE_SAMPLES) / SAMPLE_RATE
    chirp = (np.sin(2 * np.pi * (200 + 300 * time) * time) * np.exp(-0.2 * time)).astype(np.float32)
    sounds = [NOISE, 0.5 * chirp + 0.3 * NOISE, NOISE[::-1].copy()]
    hashes = [sound_hash(sound) for sound in sounds]
    assert len(set(hashes)) == 3
    for sound, digest in zip(sounds, hashes, strict=True):
        assert sound_hash(0.25 * sound) == digest
        assert sound_hash(decode_flac(encode_flac(np.clip(sound, -1, 0.9999)))) == digest


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Six clips, of which each but the first two is beyond one limit."""
    good = {"silent_share": 0.1, "clipped_share": 0.0, "motion": 0.05, "shot_cuts": 0, "sound_hash": "aa"}
    scores = [
        good,
        good | {"sound_hash": "bb"},
        good | {"sound_hash": "cc", "silent_share": 0.9},
        good | {"sound_hash": "dd", "clipped_share": 0.2},
        good | {"sound_hash": "ee", "motion": 0.0},
        good | {"sound_hash": "aa", "shot_cuts": 0},
    ]
    with ShardWriter(tmp_path, "train-000000", inputs={}) as writer:
        for number, own in enumerate(scores):
            sample = tiny_sample(f"clip{number}_000000", "train", number, np.random.default_rng(number))
            writer.add(sample.key, encode_sample(replace(sample, facts=sample.facts | {"scores": own})))
        writer.commit()
    return tmp_path


def test_the_paper_filters_nothing(shards):
    config = TrainConfig.paper()
    assert not config.score_limits().any
    found = TrainingShards(shards, limits=config.score_limits())
    assert len(found) == 6 and not found.skipped
    assert found.fingerprint == TrainingShards(shards).fingerprint


def test_limits_of_the_run_leave_clips_out_and_say_why(shards):
    config = replace(
        TrainConfig.tiny(),
        most_silent_share=0.5,
        most_clipped_share=0.1,
        least_motion=0.01,
        most_shot_cuts=2,
        once_per_sound=True,
    )
    found = TrainingShards(shards, limits=config.score_limits())
    assert found.keys == ["clip0_000000", "clip1_000000"]
    assert found.skipped == {"silent_share": 1, "clipped_share": 1, "motion": 1, "sound_hash": 1}
    assert found.fingerprint != TrainingShards(shards).fingerprint


def test_a_limit_on_a_score_that_was_not_measured_is_an_error(tmp_path):
    from tests.tiny_shards import write_tiny_shards

    write_tiny_shards(tmp_path)
    with pytest.raises(ValueError, match="has no score 'shot_cuts', which the run limits"):
        TrainingShards(tmp_path, limits=ScoreLimits(most_shot_cuts=1))
