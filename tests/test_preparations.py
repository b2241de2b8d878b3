"""Preparations are found again, only by what they were made of, and give the sounds that they gave."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.evaluation.listening_page import write_video
from drawaudio_model.generation.preparations import Preparations
from drawaudio_model.pipeline import DrawAudioPipeline
from tests.tiny_pipeline import tiny_pipeline

CURVE = [(0.0, 0.1), (1.0, 0.3)]


@pytest.fixture(scope="module")
def pipe() -> DrawAudioPipeline:
    return tiny_pipeline()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    frames = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), dtype=np.uint8)
    write_video(tmp_path / "clip.mp4", frames, 12, np.full(SAMPLE_RATE, 0.01, np.float32))
    return tmp_path / "clip.mp4"


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    write_mask(tmp_path / "mask.png", 8)
    return tmp_path / "mask.png"


def write_mask(path: Path, left: int) -> None:
    picture = Image.new("L", (64, 48))
    picture.paste(255, (left, 8, 40, 40))
    picture.save(path)


def test_another_curve_and_seed_are_sampled_from_the_same_preparation(
    pipe: DrawAudioPipeline, video: Path, mask: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"prompt": "a bell rings", "mask": str(mask), "num_inference_steps": 2}
    each = [{"loudness": CURVE, "seed": 1}, {"loudness": None, "seed": 2}, {"loudness": [(0, 0.2)], "seed": 1}]
    alone = [pipe(video, **asked, **more) for more in each]
    encoded: list[int] = []
    hook = pipe.text_encoder_2.register_forward_hook(lambda *_: encoded.append(1))
    monkeypatch.setattr(pipe, "preparations", Preparations())
    try:
        shared = [pipe(video, **asked, **more) for more in each]
    finally:
        hook.remove()
    assert len(encoded) == 1
    for before, after in zip(alone, shared, strict=True):
        assert before.audios.tobytes() == after.audios.tobytes() and before.notices == after.notices


def test_whatever_else_changes_is_prepared_anew(
    pipe: DrawAudioPipeline, video: Path, mask: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Preparations()
    monkeypatch.setattr(pipe, "preparations", kept)
    asked = {"video": video, "prompt": "a bell rings", "mask": str(mask)}
    first = pipe.prepare(**asked)
    assert pipe.prepare(**asked).text is first.text
    others = [
        asked | {"prompt": "rain falls"},
        asked | {"negative_prompt": "rain"},
        asked | {"mask_invert": True},
        asked | {"mask": None},
        asked | {"mask": (0.1, 0.1, 0.5, 0.5)},
        asked | {"seconds": 0.5},
        asked | {"section": (0.2, 0.6)},
    ]
    assert all(pipe.prepare(**other).text is not first.text for other in others)
    # The same names, but other files.
    write_mask(mask, 20)
    os.utime(mask, ns=(1, 1))
    changed = pipe.prepare(**asked)
    assert changed.text is not first.text and not np.array_equal(changed.cavp_masked, first.cavp_masked)


def test_what_lies_in_memory_has_no_name_and_is_not_kept(
    pipe: DrawAudioPipeline, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe, "preparations", Preparations())
    frames = np.zeros((4, 48, 64, 3), np.uint8)
    for asked in ({"video": frames}, {"video": video, "mask": np.ones((48, 64), bool)}):
        assert pipe.prepare(**asked, prompt="a bell").text is not pipe.prepare(**asked, prompt="a bell").text


def test_the_one_that_was_not_asked_for_longest_goes() -> None:
    kept, made = Preparations(most=2), []

    def of(name: str) -> object:
        return kept.of(lambda: made.append(name) or name, prompt=name)

    assert [of(name) for name in ("a", "b", "a", "c", "a", "b")] == ["a", "b", "a", "c", "a", "b"]
    assert made == ["a", "b", "c", "b"]
