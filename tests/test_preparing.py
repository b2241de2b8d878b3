"""Preparation apart from sampling: it is what a call does, is done once, and every stage tells how far it is."""

from pathlib import Path

import numpy as np
import pytest
import torch

from drawaudio_model.clip_format import VIDEO_FRAMES
from drawaudio_model.detector import ObjectDetector
from drawaudio_model.evaluation.listening_page import write_video
from drawaudio_model.generation.stages import STAGES, Progress, Stopped
from drawaudio_model.generation.takes import Sampling
from drawaudio_model.guidance import Guidance
from drawaudio_model.pipeline import DrawAudioPipeline
from tests.tiny_detector import tiny_detector
from tests.tiny_pipeline import tiny_pipeline

CURVE = [(0.0, 0.0), (3.0, 0.4), (8.0, 0.05)]
BOX = (0.1, 0.2, 0.7, 0.9)


@pytest.fixture(scope="module")
def pipe() -> DrawAudioPipeline:
    return tiny_pipeline()


def frames(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, 32, 40, 3), dtype=np.uint8)


def test_takes_and_other_curves_of_one_preparation_are_what_calls_give(pipe: DrawAudioPipeline) -> None:
    seen = []
    hook = pipe.cavp.video_encoder.register_forward_hook(lambda *_: seen.append("picture"))
    words = {"video": frames(VIDEO_FRAMES), "prompt": "a bell rings", "mask": BOX}
    prepared = pipe.prepare(**words, loudness=CURVE)
    count = len(seen)
    assert count == 2
    takes = pipe.generate(prepared, seeds=[3, 4], sampling=Sampling(2))
    louder = pipe.generate(
        prepared, loudness=[(0, 0.3)], seeds=[5], sampling=Sampling(2, Guidance(2.0, 1.0, loudness=1.0))
    )
    assert len(seen) == count
    hook.remove()
    called = pipe(**words, loudness=CURVE, seed=3, num_candidates=2, num_inference_steps=2)
    assert takes.audios.tobytes() == called.audios.tobytes() and takes.seeds == called.seeds
    assert np.array_equal(takes.scores, called.scores) and takes.peaks == called.peaks
    weights = {"guidance_text": 2.0, "guidance_video": 1.0, "guidance_loudness": 1.0}
    called = pipe(**words, loudness=[(0, 0.3)], seed=5, num_inference_steps=2, **weights)
    assert louder.audios.tobytes() == called.audios.tobytes()


def test_what_a_section_needs_is_what_the_whole_preparation_has_there(pipe: DrawAudioPipeline, tmp_path: Path) -> None:
    """Of a video file, with a mask for each of its frames."""
    video = frames(10 * 20)
    write_video(tmp_path / "long.mp4", video, 10, np.full(20 * 16000, 0.01, np.float32))
    masks = np.zeros((80, 32, 40), bool)
    masks[np.arange(80), :, np.arange(80) % 40] = True
    asked = {"video": tmp_path / "long.mp4", "prompt": "a bell rings", "mask": masks, "loudness": [(0, 0.2), (20, 0.1)]}
    whole, part = pipe.prepare(**asked), pipe.prepare(**asked, section=(13.0, 14.0))
    assert whole.window_starts == (0, 4, 8, 12) and part.window_starts == (8, 12) and part.span == (8, 20)
    expected = whole.of_windows((8, 12))
    assert part.seconds == whole.seconds and not part.complete and whole.complete
    assert np.array_equal(part.curve, whole.curve)
    # CAVP looks some frames back and ahead, which the first windows of a part do not have.
    near = (
        (part.cavp - expected.cavp).abs().amax(dim=(0, 2)),
        (part.cavp_masked - expected.cavp_masked).abs().amax(dim=(0, 2)),
    )
    assert max(float(difference[16:].max()) for difference in near) < 1e-5
    assert not torch.equal(expected.cavp, expected.cavp_masked)
    with pytest.raises(ValueError, match="were prepared for a section"):
        pipe.generate(part)


def reports(pipe: DrawAudioPipeline, **asked: object) -> list[Progress]:
    told: list[Progress] = []
    pipe(**asked, on_progress=told.append)
    return told


def test_every_stage_is_told_and_counted(
    pipe: DrawAudioPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = ObjectDetector.from_pretrained(tiny_detector(tmp_path / "sure", vocabulary=["bell"]))
    monkeypatch.setattr(pipe, "detector", detector)
    asked = {"video": frames(48), "prompt": "a bell rings", "mask": "bell", "num_inference_steps": 2, "seed": 3}
    told = reports(pipe, **asked, num_candidates=2)
    order = list(dict.fromkeys(report.stage for report in told))
    assert order == list(STAGES)
    assert all(0 <= report.done <= report.total for report in told)
    for candidate in (1, 2):
        own = [report for report in told if report.candidate == candidate and report.stage == "sampling"]
        assert [(report.done, report.total, report.candidates) for report in own] == [(n, 4, 2) for n in range(4)]
    assert [report.done for report in told if report.stage == "picture"][-1] == 96  # 48 frames, twice


@pytest.mark.parametrize("stage", STAGES)
def test_a_call_is_stopped_at_any_stage(
    pipe: DrawAudioPipeline, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = ObjectDetector.from_pretrained(tiny_detector(tmp_path / "sure", vocabulary=["bell"]))
    monkeypatch.setattr(pipe, "detector", detector)
    asked = {"video": frames(32), "prompt": "a bell rings", "mask": "bell", "num_inference_steps": 2, "seed": 3}
    told: list[Progress] = []

    def stop(report: Progress) -> bool:
        told.append(report)
        return report.stage != stage

    with pytest.raises(Stopped, match=f"stopped in {stage}"):
        pipe(**asked, on_progress=stop)
    assert told[-1].stage == stage and [report.stage for report in told].count(stage) == 1

    class Enough(Exception):
        pass

    def enough(report: Progress) -> None:
        if report.stage == stage:
            raise Enough

    with pytest.raises(Enough):
        pipe(**asked, on_progress=enough)


def test_a_sound_to_begin_with_is_left_further_the_more_strength_there_is(
    pipe: DrawAudioPipeline, tmp_path: Path
) -> None:
    base = pipe(prompt="a bell rings", num_inference_steps=4, seed=1).audios[0]
    steps: list[int] = []

    def made(strength: float | None, **more: object) -> torch.Tensor:
        steps.clear()
        asked = {"prompt": "rain falls", "num_inference_steps": 4, "seed": 2, "keep_latents": True, **more}
        return pipe(
            **asked, start_from=base, strength=strength, callback_on_step_end=lambda *given: steps.append(given[1])
        ).latents[0]

    given = pipe.encode((base - base.mean())[None] * 0.5 / np.abs(base - base.mean()).max())[0]
    assert torch.allclose(made(0.0), given, atol=1e-5) and steps == []
    distances = [float((made(strength) - given).square().mean()) for strength in (0.25, 0.5, 1.0)]
    assert steps == [0, 1, 2, 3] and distances == sorted(distances) and distances[0] > 1e-4
    made(0.5)
    assert steps == [0, 1]
    free = pipe(prompt="rain falls", num_inference_steps=4, seed=2, keep_latents=True).latents[0]
    assert torch.equal(made(1.0), free) and torch.equal(made(None), made(0.6))


def test_settings_that_do_not_belong_together_are_named(pipe: DrawAudioPipeline) -> None:
    prepared = pipe.prepare(prompt="a bell rings")
    with pytest.raises(ValueError, match=r"strength is 0.5 without start_from"):
        pipe(prompt="a", strength=0.5)
    with pytest.raises(ValueError, match=r"strength is 1.5, expected 0"):
        pipe.generate(prepared, start_from=np.ones(100, np.float32), strength=1.5)
    with pytest.raises(ValueError, match="silent in its first 8 s"):
        pipe.generate(prepared, start_from=np.zeros(100, np.float32))
    with pytest.raises(ValueError, match=r"gone.wav does not exist"):
        pipe.generate(prepared, start_from="gone.wav")
    with pytest.raises(ValueError, match="seeds is empty"):
        pipe.generate(prepared, seeds=[])
    with pytest.raises(ValueError, match="guidance_video was given without a video"):
        pipe.generate(prepared, sampling=Sampling(guidance=Guidance(None, 2.0, loudness=None)))


def test_kept_latents_are_what_the_sounds_were_decoded_from(pipe: DrawAudioPipeline) -> None:
    asked = {"prompt": "a bell rings", "loudness": CURVE, "num_inference_steps": 2, "seed": 3, "num_candidates": 3}
    kept = pipe(**asked, keep_latents=True)
    assert pipe(**asked).latents is None and kept.latents.shape == (3, 4, 100, 8)
    for row in range(3):
        assert np.array_equal(pipe.decode(kept.latents[row : row + 1])[0], kept.audios[row])
