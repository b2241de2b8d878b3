"""The worker's process from within: what it tells of a job, and that a job ends at whichever stage it is no longer wanted."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from drawaudio_model.studio.project import empty_track
from drawaudio_model.studio.worker import STAGE_WORDS, Worker
from tests.studio_page import SECONDS, write_clip
from tests.tiny_pipeline import saved_pipeline

BOX = {"kind": "box", "cut": False, "points": [[0.1, 0.2], [0.6, 0.7]], "size": 0}


class Answers(io.StringIO):
    """What a worker tells; at a stage it is told that the job is no longer wanted."""

    def __init__(self, ends_at: str = "") -> None:
        super().__init__()
        self.ends_at = ends_at
        self.worker: Worker | None = None
        self.lines: list[dict[str, Any]] = []

    def write(self, text: str) -> int:
        self.lines.append(json.loads(text))
        if self.lines[-1].get("stage") == self.ends_at:
            assert self.worker is not None
            self.worker.cancelled.add(self.lines[-1]["job"])
        return len(text)

    @property
    def stages(self) -> list[str]:
        """In the order told, each once."""
        return list(dict.fromkeys(line["stage"] for line in self.lines if "stage" in line))


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Worker:
    """A worker whose model is loaded."""
    folder = tmp_path_factory.mktemp("home")
    saved_pipeline(folder / "model")
    write_clip(folder / "clip.mp4")
    worker = Worker(folder / "model", Answers())
    worker.pipeline("none")
    return worker


def told(worker: Worker, folder: Path, ends_at: str = "", **fields: Any) -> Answers:
    """What a worker tells of a track with a mask and a curve, two takes of it, in a new project."""
    track = empty_track("track1") | {"text": "a bell rings", "seed": 3, "count": 2, "curve": [[0.0, -20.0]]}
    track["mask"] = {"invert": False, "keyframes": [{"frame": 0, "shapes": [BOX]}]}
    order = {"job": f"{folder.name}-{ends_at}", "do": "generate", "track": track, "project": str(folder), "steps": 3}
    order |= {"video": str(worker.model.parent / "clip.mp4"), "seconds": float(SECONDS), "rate": 16000}
    order |= {"model_size": [160, 120], "model_frames": 4 * SECONDS} | fields
    worker.answers = answers = Answers(ends_at)
    answers.worker = worker
    assert worker._pipe is not None and worker._pipe.preparations is not None
    worker._pipe.preparations._kept.clear()  # each time as the first time
    worker.run(order)
    return answers


def test_every_stage_is_told_in_its_order_with_the_steps_of_all_takes(warm: Worker, tmp_path: Path) -> None:
    answers = told(warm, tmp_path)
    assert answers.lines[-1]["state"] == "done" and len(answers.lines[-1]["takes"]) == 2
    assert answers.stages == list(dict.fromkeys(STAGE_WORDS.values()))
    steps = [(line["step"], line["total"]) for line in answers.lines if "step" in line]
    assert steps[0] == (0, 6) and {total for _, total in steps} == {6}
    assert (3, 6) in steps  # where the second take begins


@pytest.mark.parametrize("stage", dict.fromkeys(STAGE_WORDS.values()))
def test_a_job_that_is_cancelled_at_a_stage_ends_there_and_leaves_nothing(
    warm: Worker, tmp_path: Path, stage: str
) -> None:
    answers = told(warm, tmp_path, ends_at=stage)
    assert answers.lines[-1]["state"] == "cancelled"
    assert answers.stages[-1] == stage
    assert not list(tmp_path.glob("takes/*"))


def test_a_section_is_cancelled_at_its_stages_too(warm: Worker, tmp_path: Path) -> None:
    (take, _) = told(warm, tmp_path).lines[-1]["takes"]
    kept = sorted((tmp_path / "takes").iterdir())
    for stage in ("looking at the picture", "sampling the section", "making the sound", "comparing"):
        section = {"do": "regenerate", "take": take, "section": [1.0, 2.0]}
        answers = told(warm, tmp_path, ends_at=stage, **section)
        assert (answers.lines[-1]["state"], answers.stages[-1]) == ("cancelled", stage)
    assert sorted((tmp_path / "takes").iterdir()) == kept
