"""The check of the detector's boxes against the rendered world's truth."""

import json
from pathlib import Path

import pytest

from drawaudio_model.boxes import Box, boxes_to_json
from drawaudio_model.scene_truth import TRUTH_MEMBER, SceneTruth, TrueObject
from drawaudio_model.shard import ShardWriter
from pipelines.annotation.phrases import noun_phrases
from pipelines.assets.object_masks import mean_truth_iou
from pipelines.profiles import PROFILES
from pipelines.sources.demo.world import list_clips

TRUE = [0.1, 0.1, 0.5, 0.5]
HALF = [0.1, 0.1, 0.5, 0.3]
"""Half of it: IoU 0.5."""
ELSEWHERE = [0.6, 0.6, 0.9, 0.9]
FRAMES = 4


def overlap(root: Path, phrases: list[str], boxes: list[Box]) -> float:
    """`mean_truth_iou` of one clip whose target is a red bell."""
    ball = TrueObject("ball", "ball", "", active=False, stem=None, boxes=(tuple(ELSEWHERE),) * FRAMES)
    bell = TrueObject("bell", "red bell", "red", active=True, stem=0, boxes=(tuple(TRUE),) * FRAMES)
    truth = SceneTruth("clip_000000", "bell", "a red bell rings", target=1, objects=(ball, bell))
    members = {
        "raw_clips": {TRUTH_MEMBER: truth.to_json()},
        "noun_phrases": {"json": json.dumps({"phrases": phrases}).encode()},
        "object_masks": {"boxes.json": boxes_to_json(boxes).encode()},
    }
    for asset, content in members.items():
        with ShardWriter(root / asset, "test-000000", inputs={}) as shard:
            shard.add("clip_000000", content)
            shard.commit()
    (score,) = mean_truth_iou(root, "test-000000")
    return score


def every_frame(phrase: int, confidence: float, corners: list[float]) -> list[Box]:
    return [Box(frame, phrase, confidence, *corners) for frame in range(FRAMES)]


def test_the_surest_box_of_the_things_own_phrase_is_judged(tmp_path: Path) -> None:
    right, wrong = every_frame(1, 0.4, TRUE), every_frame(1, 0.8, ELSEWHERE)
    assert overlap(tmp_path / "right", ["tin roof", "red bell"], right) == pytest.approx(1)
    # A picture filled with boxes has the right one among them; only the surest becomes the answer.
    assert overlap(tmp_path / "filled", ["tin roof", "red bell"], right + wrong) == 0
    sure = every_frame(1, 0.9, HALF)
    assert overlap(tmp_path / "half", ["tin roof", "red bell"], right + wrong + sure) == pytest.approx(0.5)


def test_boxes_of_other_phrases_and_frames_without_a_box_do_not_count(tmp_path: Path) -> None:
    other = every_frame(0, 0.9, TRUE)
    assert overlap(tmp_path / "other", ["tin roof", "red bell"], other) == 0
    assert overlap(tmp_path / "some", ["tin roof", "bell"], every_frame(1, 0.9, TRUE)[:1]) == pytest.approx(0.25)
    assert overlap(tmp_path / "unnamed", ["tin roof"], other) == 0


def test_the_phrases_of_the_demos_test_captions_name_their_things() -> None:
    profile = PROFILES["demo"]
    train, val, test = profile.clips
    clips = [clip for clip in list_clips(train=train, val=val, test=test, seed=profile.seed) if clip.split == "test"]
    for clip, phrases in zip(clips, noun_phrases([clip.caption for clip in clips]), strict=True):
        noun = clip.objects[0].phrase.split()[-1]
        assert noun in {phrase.split()[-1] for phrase in phrases}, (clip.caption, phrases)
