"""A studio's project: whole or as it was before, by one studio and one tab at a time, and read only where it makes sense."""

import copy
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drawaudio_model.studio import project as projects
from drawaudio_model.studio.command import open_source
from drawaudio_model.studio.project import Conflict, Project, check_document, check_id, empty_track, read_document


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"not looked into here")
    return path


@pytest.fixture
def opened(tmp_path: Path, video: Path) -> Project:
    return Project.create(tmp_path / "clip.drawaudio", video)


def with_text(document: dict[str, Any], text: str) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    changed["tracks"][0]["text"] = text
    return changed


def test_a_project_comes_back_as_it_was_saved(opened: Project) -> None:
    changed = with_text(opened.document, "a béll rings")
    box = {"kind": "box", "cut": False, "points": [[0.1, 0.2], [0.5, 0.5]], "size": 0}
    changed["tracks"][0] |= {
        "curve": [[0, -60], [1.5, -12.5]],
        "mask": {"invert": True, "keyframes": [{"frame": 3, "shapes": [box]}]},
    }
    changed["markers"] = [{"frame": 7, "name": "door"}]
    assert opened.save(changed, 0) == 1
    opened.close()
    again = Project(opened.folder)
    assert again.document == changed | {"revision": 1}


def test_a_document_of_an_earlier_version_is_read_as_it_was(opened: Project) -> None:
    old = copy.deepcopy(opened.document)
    for name in ("section", "delivery"):
        del old[name]
    for name in ("strictness", "pan"):
        del old["tracks"][0][name]
    path = opened.folder / "project.json"
    path.write_text(json.dumps(old))
    assert read_document(path) == opened.document


def test_a_second_tab_cannot_overwrite_the_first(opened: Project) -> None:
    opened.save(with_text(opened.document, "first"), 0)
    with pytest.raises(Conflict, match="changed in another tab"):
        opened.save(with_text(opened.document, "second"), 0)
    assert json.loads((opened.folder / "project.json").read_bytes())["tracks"][0]["text"] == "first"


def test_a_second_studio_cannot_open_it(opened: Project) -> None:
    with pytest.raises(ValueError, match="open in another studio"):
        Project(opened.folder)
    opened.close()
    Project(opened.folder).close()


def test_ten_earlier_documents_are_kept(opened: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projects, "SECONDS_BETWEEN_BACKUPS", 0.0)
    for number in range(14):
        opened.save(with_text(opened.document, str(number)), number)
    kept = sorted((opened.folder / "backups").iterdir())
    assert [json.loads(path.read_bytes())["revision"] for path in kept] == [*range(4, 14)]


def test_backups_lie_a_minute_apart(opened: Project) -> None:
    for number in range(5):
        opened.save(with_text(opened.document, str(number)), number)
    assert len([*(opened.folder / "backups").iterdir()]) == 1


def test_a_damaged_document_is_a_sentence_that_names_the_backup(opened: Project) -> None:
    opened.save(with_text(opened.document, "one"), 0)
    opened.close()
    (opened.folder / "project.json").write_text("{")
    backup = opened.folder / "backups" / "project-00000000.json"
    with pytest.raises(ValueError, match=f"copy {backup} over it"):
        Project(opened.folder)
    shutil.copy(backup, opened.folder / "project.json")
    assert Project(opened.folder).document["revision"] == 0


def test_a_killed_save_leaves_the_old_document_or_the_new_one(opened: Project) -> None:
    """Fifty times a process that saves without pause is killed at a random moment."""
    source = random.Random(0)
    seen = set()
    for _ in range(50):
        before = json.loads((opened.folder / "project.json").read_bytes())
        opened.document = before
        begun, begins = os.pipe()
        child = os.fork()
        if child == 0:
            number = before["revision"]
            while True:
                opened.save(with_text(opened.document, f"text of {number} " * 100), number)
                number += 1
                os.write(begins, b"1")  # a copy of a large process needs longer for its first save than for the others
        os.read(begun, 1)
        time.sleep(source.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for end in (begun, begins):
            os.close(end)
        found = projects.read_document(opened.folder / "project.json")
        assert found["revision"] >= before["revision"]
        if found["revision"]:
            assert found["tracks"][0]["text"] == f"text of {found['revision'] - 1} " * 100
        seen.add(found["revision"])
    assert len(seen) > 10


def test_a_project_that_was_moved_with_its_video_is_whole(opened: Project, tmp_path: Path, video: Path) -> None:
    opened.close()
    (tmp_path / "elsewhere").mkdir()
    for path in (opened.folder, video):
        shutil.move(path, tmp_path / "elsewhere")
    moved = Project(tmp_path / "elsewhere" / "clip.drawaudio")
    assert moved.video == tmp_path / "elsewhere" / "clip.mp4" and moved.video_changed() is None


def test_a_video_that_is_gone_or_another_one_is_said(opened: Project, video: Path, tmp_path: Path) -> None:
    video.write_bytes(b"something else")
    assert "is not the file that this project was begun with" in opened.video_changed()
    video.rename(tmp_path / "renamed.mp4")
    with pytest.raises(ValueError, match="open the project with --video PATH"):
        _ = opened.video
    opened.close()
    again = open_source(opened.folder, tmp_path / "renamed.mp4")
    assert again.video == tmp_path / "renamed.mp4" and again.video_changed() is None


def test_a_video_opens_the_project_beside_it(opened: Project, video: Path, tmp_path: Path) -> None:
    opened.save(with_text(opened.document, "kept"), 0)
    opened.close()
    again = open_source(video, None)
    assert again.document["tracks"][0]["text"] == "kept"
    again.close()
    other = tmp_path / "clip.mkv"
    other.write_bytes(b"another video of that name")
    with pytest.raises(ValueError, match="belongs to the video"):
        open_source(other, None)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("none.mp4", "does not exist; give a video"),
        ("folder", "is a folder and no project"),
        ("none.drawaudio", "does not exist"),
        ("letter.mp4", "no project is made of .*letter.mp4: letter.mp4: the container cannot be opened"),
    ],
)
def test_what_is_neither_is_a_sentence(tmp_path: Path, source: str, sentence: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "letter.mp4").write_text("Dear Sir or Madam")
    with pytest.raises(ValueError, match=sentence):
        open_source(tmp_path / source, None)
    assert not [*tmp_path.glob("*.drawaudio")]


def _set(*path: str | int, to: Any) -> Callable[[dict], None]:
    def change(document: dict) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


def shape(**fields: Any) -> dict[str, Any]:
    return {"kind": "lasso", "cut": False, "points": [[0, 0], [1, 0], [1, 1]], "size": 0} | fields


def mask(*shapes: dict[str, Any], frame: Any = 0) -> dict[str, Any]:
    return {"invert": False, "keyframes": [{"frame": frame, "shapes": [*shapes]}]}


WRONG = {
    "another format": (_set("format", to="drawaudio-project 9"), "expected 'drawaudio-project 1'"),
    "a field too many": (_set("color", to="red"), "the project has 'color'"),
    "steps of text": (_set("steps", to="25"), "steps is '25', expected a whole number"),
    "no steps": (_set("steps", to=0), "expected a whole number from 1"),
    "a gain that is no number": (_set("tracks", 0, "gain_db", to=float("nan")), "gain_db is 'nan'"),
    "a pan beyond the side": (_set("tracks", 0, "pan", to=1.01), "pan is '1.01', expected a number from -1 to 1"),
    "an export of 20 bits": (_set("delivery", "bits", to=20), "bits is '20', expected 16 or 24"),
    "an export of a telephone": (_set("delivery", "sample_rate", to=8000), "sample_rate is '8000', expected a whole"),
    "a timecode of numbers": (_set("delivery", "timecode", to=3600), "timecode is '3600', expected HH:MM:SS:FF"),
    "mute of 1": (_set("tracks", 0, "mute", to=1), "mute is '1', expected true or false"),
    "an id that is a path": (_set("tracks", 0, "take", to="../../x"), "expected 4 to 32 small letters"),
    "a seed of truth": (_set("tracks", 0, "seed", to=True), "seed is 'True'"),
    "a curve whose time falls": (_set("tracks", 0, "curve", to=[[1, -6], [0.5, -6]]), "curve's time is '0.5'"),
    "a curve above full scale": (_set("tracks", 0, "curve", to=[[1, 3]]), "level is '3'"),
    "an empty curve": (_set("tracks", 0, "curve", to=[]), "expected a list of 1"),
    "a point of three": (_set("tracks", 0, "curve", to=[[1, 2, 3]]), "expected a list of 2 to 2"),
    "a shape of another kind": (_set("tracks", 0, "mask", to=mask(shape(kind="star"))), "expected box, lasso or brush"),
    "a point outside": (_set("tracks", 0, "mask", to=mask(shape(points=[[0, 0], [1, 0], [1, 1.5]]))), "point is '1.5'"),
    "a lasso of two": (_set("tracks", 0, "mask", to=mask(shape(points=[[0, 0], [1, 1]]))), "expected a list of 3"),
    "a box of three": (_set("tracks", 0, "mask", to=mask(shape(kind="box"))), "expected 2 corners"),
    "a frame before all": (_set("tracks", 0, "mask", to=mask(frame=-1)), "frame is '-1'"),
    "a mask without keyframes": (
        _set("tracks", 0, "mask", to={"invert": False, "keyframes": []}),
        "expected a list of 1",
    ),
    "notes that are a list": (_set("tracks", 0, "notes", to=[]), "notes are no object"),
    "no tracks at all": (_set("tracks", to=None), "tracks: NoneType"),
    "two tracks of one id": (
        _set("tracks", to=[empty_track("same"), empty_track("same")]),
        "two tracks have the id same",
    ),
    "two keyframes of one frame": (
        _set("tracks", 0, "mask", to={"invert": False, "keyframes": [{"frame": 1, "shapes": []}] * 2}),
        "two keyframes are at one frame",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_document_that_cannot_be_is_refused_and_nothing_is_written(opened: Project, mistake: str) -> None:
    change, sentence = WRONG[mistake]
    document = copy.deepcopy(opened.document)
    change(document)
    before = (opened.folder / "project.json").read_bytes()
    with pytest.raises(ValueError, match=sentence):
        opened.save(document, 0)
    assert (opened.folder / "project.json").read_bytes() == before


def test_what_a_page_can_draw_is_let_through(opened: Project) -> None:
    document = copy.deepcopy(opened.document)
    shapes = [
        shape(),
        shape(kind="brush", points=[[0.5, 0.5]], size=0.1, cut=True),
        shape(kind="box", points=[[1, 1], [0, 0]]),
    ]
    document["tracks"][0]["mask"] = mask(*shapes)
    document["tracks"] = [document["tracks"][0], empty_track("track2")]
    check_document(document)
    document["tracks"] = []
    check_document(document)


@pytest.mark.parametrize("value", ["", "abc", "a" * 33, "ABCD", "ab/cd", "ab.cd", "..", 5, None])
def test_an_id_is_small_letters_and_digits(value: object) -> None:
    with pytest.raises(ValueError, match="expected 4 to 32 small letters and digits"):
        check_id(value, "take")
