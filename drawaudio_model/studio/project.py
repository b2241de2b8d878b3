"""A project on the disk: a folder with one document, the takes that were made for it, and what can be made again.

    clip.drawaudio/
      project.json   the document: the video's place, tracks, masks, curves, markers; written whole or not at all
      backups/       ten earlier documents, a minute or more apart
      takes/         <id>.wav (floats), .json (with which words, mask, curve and seed it was made), .take, .png, .peaks
      masks/         <id>/ pictures of a mask, as the model got it
      exports/       what was exported
      sounds/        a sound that becomes a curve, until it was listened to
      media/         a video that was dropped on the page
      cache/         what is shown of the video; may be deleted

The page writes the document and the server the takes: what is generated while someone draws overwrites nothing.
"""

import fcntl
import json
import math
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO, cast

from drawaudio_model.atomic_files import file_sha256, write_atomically
from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.studio.document import DeliveryForm, Document, Take, Track, Video

FORMAT = "drawaudio-project 1"
SUFFIX = ".drawaudio"
MOST_BACKUPS = 10
SECONDS_BETWEEN_BACKUPS = 60.0
MOST_TRACKS = 64
MOST_POINTS = 20_000
"""Of one curve, and of all shapes of one mask."""
MOST_TEXT = 2000
"""Letters of a text."""
LOWEST_DB, HIGHEST_DB = -60.0, 0.0
"""Of a curve's points."""
MOST_GAIN_DB = 60.0
MOST_STRICTNESS = 10.0
"""Of the curve: a guidance weight; beyond it sounds fall apart."""
DELIVERY: DeliveryForm = {"sample_rate": 48_000, "bits": 24, "timecode": None}
"""The form of an export where nobody says: what a session of film sound has, from midnight on."""
MOST_RATE = 384_000
"""Of an export, in Hz."""
_FIELDS = {"format", "revision", "video", "steps", "original", "markers", "section", "delivery", "tracks"}
_ID = re.compile(r"[a-z0-9]{4,32}")


class Conflict(Exception):
    """The document on the disk is not the one that was changed: another tab has saved meanwhile."""


class Project:
    """An open project; no other studio can open it meanwhile.

    Args:
        folder: the project's folder, which has a document.
        alone: False only reads it, beside the studio that has it open.

    Raises:
        ValueError: for a folder without a document that can be read, or one that another studio has open.
    """

    def __init__(self, folder: Path, *, alone: bool = True) -> None:
        self.folder = folder.resolve()
        self._lock = _locked(folder) if alone else None
        try:
            self.document = read_document(folder / "project.json")
        except ValueError:
            self.close()
            raise

    @classmethod
    def create(cls, folder: Path, video: Path) -> "Project":
        """A new project of a video, with one empty track.

        Raises:
            ValueError: when the folder is there already.
        """
        if folder.exists():
            raise ValueError(f"{folder} is there already; open it, or give another name")
        document: Document = {
            "format": FORMAT,
            "revision": 0,
            "video": {
                "path": os.path.relpath(video.resolve(), folder.resolve()),
                "absolute": str(video.resolve()),
                "bytes": video.stat().st_size,
                "sha256": file_sha256(video),
            },
            "steps": 25,
            "original": {"gain_db": 0.0, "mute": True},
            "markers": [],
            "section": None,
            "delivery": {**DELIVERY},
            "tracks": [empty_track("track1")],
        }
        check_document(document)
        write_atomically(folder / "project.json", _encoded(document))
        return cls(folder)

    @property
    def video(self) -> Path:
        """Where the video is: beside the project as it was, or where it lay at first.

        Raises:
            ValueError: when it is at neither place.
        """
        named = self.document["video"]
        places = [(self.folder / named["path"]).resolve(), Path(named["absolute"])]
        for place in places:
            if place.is_file():
                return place
        raise ValueError(
            f"the video of {self.folder} is not at {places[0]}; put it back there, or open the project with --video PATH"
        )

    def video_changed(self) -> str | None:
        """A sentence when the video is no longer the one that the project was begun with; else None."""
        named, video = self.document["video"], self.video
        if video.stat().st_size == named["bytes"] and file_sha256(video) == named["sha256"]:
            return None
        return f"{video.name} is not the file that this project was begun with: look at masks and curves again"

    def move_video(self, video: Path) -> None:
        """The project's video from now on; its masks and curves stay as they are."""
        named: Video = {
            "path": os.path.relpath(video.resolve(), self.folder.resolve()),
            "absolute": str(video.resolve()),
            "bytes": video.stat().st_size,
            "sha256": file_sha256(video),
        }
        self.save(self.document | {"video": named}, self.document["revision"])

    def save(self, document: Mapping[str, object], revision: int) -> int:
        """Writes a changed document; returns its revision.

        Args:
            document: all of it.
            revision: of the document that was changed.

        Raises:
            Conflict: when another was written since then.
            ValueError: naming the field, for a document that cannot be.
        """
        if revision != self.document["revision"]:
            raise Conflict(
                "this project was changed in another tab since this one loaded it; reload this tab to go on with that"
            )
        new = check_document({**document, "revision": revision + 1})
        self._back_up()
        write_atomically(self.folder / "project.json", _encoded(new))
        self.document = new
        return revision + 1

    def takes(self) -> list[Take]:
        """The facts of every take, in the order in which they were made."""
        found = [json.loads(path.read_bytes()) for path in (self.folder / "takes").glob("*.json")]
        return sorted(found, key=lambda take: (take["made"], take["place"]))

    def take(self, identity: str) -> Take:
        """One take.

        Raises:
            ValueError: when there is none of this name.
        """
        path = self.folder / "takes" / f"{check_id(identity, 'take')}.json"
        if not path.is_file():
            raise ValueError(f"there is no take {identity}; reload the page")
        return json.loads(path.read_bytes())

    def take_file(self, identity: str, suffix: str) -> Path:
        """The file of a take that ends in this suffix; it exists."""
        self.take(identity)
        return self.folder / "takes" / f"{identity}{suffix}"

    def close(self) -> None:
        """Lets another studio open it."""
        if self._lock is not None:
            self._lock.close()

    def _back_up(self) -> None:
        folder = self.folder / "backups"
        old = sorted(folder.glob("project-*.json"))
        if old and time.time() - old[-1].stat().st_mtime < SECONDS_BETWEEN_BACKUPS:
            return
        name = f"project-{self.document['revision']:08d}.json"
        write_atomically(folder / name, _encoded(self.document))
        for surplus in old[: max(len(old) + 1 - MOST_BACKUPS, 0)]:
            surplus.unlink()


def _locked(folder: Path) -> TextIO:
    if not folder.is_dir():
        raise ValueError(f"project {folder} does not exist; give a folder that ends in {SUFFIX}, or a video")
    file = (folder / ".open").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ValueError(f"{folder} is open in another studio; close that one first") from None
    return file


def read_document(path: Path) -> Document:
    """A project's document.

    Raises:
        ValueError: in one sentence that names the newest backup, when it is missing or damaged.
    """
    backups = sorted((path.parent / "backups").glob("project-*.json"))
    remedy = f"copy {backups[-1]} over it" if backups else "there is no backup of it"
    if not path.is_file():
        raise ValueError(f"{path.parent} has no project.json; {remedy}")
    try:
        return check_document(with_later_fields(json.loads(path.read_bytes())))
    except ValueError as error:
        raise ValueError(f"{path} is no project that can be read ({error}); {remedy}") from error


def _encoded(document: Document) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def empty_track(identity: str) -> Track:
    """A track on which nothing was drawn."""
    return {
        "id": identity,
        "text": "",
        "negative_text": "",
        "mask": None,
        "curve": None,
        "strictness": None,
        "seed": None,
        "count": 1,
        "gain_db": 0.0,
        "pan": 0.0,
        "mute": False,
        "solo": False,
        "take": None,
        "starred": [],
        "notes": {},
    }


def with_later_fields(document: Any) -> Any:
    """A document of before there were sections, strictness, pans and forms of an export, with each as it was then."""
    if not isinstance(document, dict) or not isinstance(document.get("tracks"), list):
        return document
    tracks = [
        {name: empty_track("none")[name] for name in ("strictness", "pan")} | track
        if isinstance(track, dict)
        else track
        for track in document["tracks"]
    ]
    return {"section": None, "delivery": {**DELIVERY}} | document | {"tracks": tracks}


def check_id(value: object, what: str) -> str:
    """An id, which is never part of a path that could lead elsewhere.

    Raises:
        ValueError: for anything else.
    """
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError(f"{what} is {str(value)[:60]!r}, expected 4 to 32 small letters and digits")
    return value


def check_document(document: object) -> Document:
    """The document; raises ValueError, naming the field and its value, for one that no page of this version writes."""
    found = _object(document, "the project", _FIELDS)
    if found["format"] != FORMAT:
        raise ValueError(f"its format is {str(found['format'])[:60]!r}, expected {FORMAT!r}")
    _whole(found["revision"], "revision", 0, 2**53)
    _whole(found["steps"], "steps", 1, 1000)
    video = _object(found["video"], "video", {"path", "absolute", "bytes", "sha256"})
    for name in ("path", "absolute", "sha256"):
        _text(video[name], f"video's {name}", 4096)
    _whole(video["bytes"], "video's bytes", 0, 2**53)
    original = _object(found["original"], "original", {"gain_db", "mute"})
    _number(original["gain_db"], "original's gain_db", -MOST_GAIN_DB, MOST_GAIN_DB)
    _flag(original["mute"], "original's mute")
    for marker in _list(found["markers"], "markers", 1000):
        row = _object(marker, "a marker", {"frame", "name"})
        _whole(row["frame"], "a marker's frame", 0, 2**31)
        _text(row["name"], "a marker's name", 200)
    if found["section"] is not None:
        check_section(found["section"])
    check_delivery(found["delivery"])
    tracks = _list(found["tracks"], "tracks", MOST_TRACKS)
    for track in tracks:
        _check_track(track)
    names = [track["id"] for track in tracks]
    if len({*names}) != len(names):
        raise ValueError(f"two tracks have the id {max(names, key=names.count)}, expected one each")
    return cast(Document, found)


def _check_track(track: object) -> None:
    row = _object(track, "a track", set(empty_track("none")))
    name = f"track {check_id(row['id'], 'a track id')}"
    for field in ("text", "negative_text"):
        _text(row[field], f"{name}: {field}", MOST_TEXT)
    check_instructions(row, name)
    _whole(row["count"], f"{name}: count", 1, 16)
    _number(row["gain_db"], f"{name}: gain_db", -MOST_GAIN_DB, MOST_GAIN_DB)
    _number(row["pan"], f"{name}: pan", -1.0, 1.0)
    for field in ("mute", "solo"):
        _flag(row[field], f"{name}: {field}")
    if row["take"] is not None:
        check_id(row["take"], f"{name}: take")
    for star in _list(row["starred"], f"{name}: starred", 1000):
        check_id(star, f"{name}: a starred take")
    if not isinstance(row["notes"], dict) or len(row["notes"]) > 1000:
        raise ValueError(f"{name}: notes are no object of at most 1000 texts")
    for identity, note in row["notes"].items():
        check_id(identity, f"{name}: a take with a note")
        _text(note, f"{name}: note", MOST_TEXT)


def check_instructions(row: Mapping[str, Any], name: str) -> None:
    """Raises ValueError for a mask, a curve or a seed that cannot be drawn."""
    if row["seed"] is not None:
        _whole(row["seed"], f"{name}: seed", 0, 2**53 - 1)
    if row["strictness"] is not None:
        _number(row["strictness"], f"{name}: strictness", 0.0, MOST_STRICTNESS)
    if row["mask"] is not None:
        check_mask(row["mask"], name)
    if row["curve"] is None:
        return
    before = 0.0
    for point in _list(row["curve"], f"{name}: curve", MOST_POINTS, least=1):
        time_seconds, level = _pair(point, f"{name}: a curve's point")
        _number(time_seconds, f"{name}: a curve's time", before, 6 * 3600)
        _number(level, f"{name}: a curve's level", LOWEST_DB, HIGHEST_DB)
        before = time_seconds


def check_delivery(delivery: object) -> None:
    """Raises ValueError, naming the field, for a form that no export has."""
    found = _object(delivery, "delivery", {*DELIVERY})
    _whole(found["sample_rate"], "sample_rate", SAMPLE_RATE, MOST_RATE)
    if _whole(found["bits"], "bits", 16, 24) not in (16, 24):
        raise ValueError(f"bits is {str(found['bits'])[:40]!r}, expected 16 or 24")
    timecode = found["timecode"]
    if timecode is not None and not (isinstance(timecode, str) and len(timecode) <= 11):
        raise ValueError(f"timecode is {str(timecode)[:40]!r}, expected HH:MM:SS:FF")


def check_section(section: object) -> tuple[float, float]:
    """The start and the end of a range in seconds; raises ValueError for anything else."""
    start, end = _pair(section, "the section")
    _number(start, "the section's start", 0.0, 6 * 3600)
    _number(end, "the section's end", 0.0, 6 * 3600)
    if not start < end:
        raise ValueError(f"the section goes from {start:g} to {end:g} s, expected a start before its end")
    return start, end


def check_mask(mask: object, name: str) -> None:
    """Raises ValueError for a mask that cannot be drawn."""
    found = _object(mask, f"{name}: mask", {"invert", "keyframes"})
    _flag(found["invert"], f"{name}: mask's invert")
    points = 0
    frames = []
    for keyframe in _list(found["keyframes"], f"{name}: keyframes", 10_000, least=1):
        row = _object(keyframe, f"{name}: a keyframe", {"frame", "shapes"}, {"linear"})
        _flag(row.get("linear", False), f"{name}: a keyframe's linear")
        frames.append(_whole(row["frame"], f"{name}: a keyframe's frame", 0, 2**31))
        for shape in _list(row["shapes"], f"{name}: shapes", 1000):
            points += _check_shape(shape, f"{name}: a shape")
    if len({*frames}) != len(frames):
        raise ValueError(f"{name}: two keyframes are at one frame, expected one each")
    if points > MOST_POINTS:
        raise ValueError(f"{name}: the mask has {points} points, expected at most {MOST_POINTS}; draw it simpler")


def _check_shape(shape: object, name: str) -> int:
    """The number of its points."""
    row = _object(shape, name, {"kind", "cut", "points", "size"})
    least = {"box": 2, "lasso": 3, "brush": 1}.get(row["kind"])
    if least is None:
        raise ValueError(f"{name} has the kind {str(row['kind'])[:60]!r}, expected box, lasso or brush")
    _flag(row["cut"], f"{name}'s cut")
    _number(row["size"], f"{name}'s size", 0.0, 1.0)
    points = _list(row["points"], f"{name}'s points", MOST_POINTS, least=least)
    if row["kind"] == "box" and len(points) != 2:
        raise ValueError(f"{name}: a box has {len(points)} points, expected 2 corners")
    for point in points:
        for value in _pair(point, f"{name}'s point"):
            _number(value, f"{name}'s point", 0.0, 1.0)
    return len(points)


def _object(
    value: object, name: str, fields: set[str], optional: frozenset[str] | set[str] = frozenset()
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {type(value).__name__}, expected an object")
    wrong = sorted(fields ^ (value.keys() - optional))
    if wrong:
        raise ValueError(
            f"{name} {'lacks' if wrong[0] in fields else 'has'} {wrong[0][:60]!r}, expected {sorted(fields)}"
        )
    return value


def _list(value: object, name: str, most: int, *, least: int = 0) -> list[Any]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        length = len(value) if isinstance(value, list) else type(value).__name__
        raise ValueError(f"{name}: {length}, expected a list of {least} to {most}")
    return value


def _pair(value: object, name: str) -> tuple[Any, Any]:
    first, second = _list(value, name, 2, least=2)
    return first, second


def _text(value: object, name: str, most: int) -> None:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"{name} is {str(value)[:60]!r}, expected a text of at most {most} letters")


def _flag(value: object, name: str) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {str(value)[:60]!r}, expected true or false")


def _whole(value: object, name: str, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} is {str(value)[:60]!r}, expected a whole number from {least} to {most}")
    return value


def _number(value: object, name: str, least: float, most: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not least <= value <= most:  # type: ignore[operator]  # is_number says that it compares
        raise ValueError(f"{name} is {str(value)[:60]!r}, expected a number from {least:g} to {most:g}")
