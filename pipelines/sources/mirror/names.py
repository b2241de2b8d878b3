"""Which clips of a list a media file holds, by its name.

    <id>_<start, 6 digits>.mp4      the clip itself
    <id>_<ms>_<ms>.mp4              the video from one millisecond to another
    <id>.mp4                        the whole video

and whatever a CSV says with the columns key,path, where a path counts from its end: `video/a.mp4` is any `.../video/a.mp4`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from drawaudio_model.atomic_files import file_sha256
from drawaudio_model.clip_format import SOURCE_SECONDS
from drawaudio_model.text_files import read_table
from pipelines.clip_rows import ClipRow
from pipelines.sources.folder import SUFFIXES

_ID = r"([A-Za-z0-9_-]{11})"
_CLIP = re.compile(rf"{_ID}_([0-9]{{6}})")
_PIECE = re.compile(rf"{_ID}_([0-9]{{1,9}})_([0-9]{{1,9}})")
_WHOLE = re.compile(_ID)


class Form(StrEnum):
    """The part of its video that a file holds; of several that hold a clip the one that stands first here is taken."""

    CLIP = "clip"
    """The clip alone: its bytes are taken as they are."""
    PIECE = "piece"
    """A part of the video, which the clip is cut from."""
    WHOLE = "whole"
    """The video, which the clip is cut from."""


@dataclass(frozen=True)
class Match:
    """A file that holds clips of the list."""

    form: Form
    begins: Mapping[str, float]
    """Key -> second of the file at which the clip begins."""


class ListedNames:
    """The clips of a list, found by the names of files.

    Raises:
        ValueError: for a map that is malformed.
    """

    def __init__(self, rows: Iterable[ClipRow], table: Path | None = None) -> None:
        self._starts: dict[str, dict[str, int]] = {}
        for row in rows:
            self._starts.setdefault(row.source_id, {})[row.key] = row.start_s
        keys = {key for starts in self._starts.values() for key in starts}
        self._mapped = _read_map(table, keys) if table else {}
        self.mark = f"-{file_sha256(table)[:8]}" if table else ""
        """Changes with the map."""

    def match(self, name: str) -> Match | None:
        """The clips that a file or member of this name holds."""
        path = PurePosixPath(name.replace("\\", "/"))
        for tail, key in self._mapped.get(path.name, ()):
            if path.parts[-len(tail) :] == tail:
                return Match(Form.CLIP, {key: 0.0})
        if path.suffix.lower() not in SUFFIXES:
            return None
        stem = path.stem
        if found := _CLIP.fullmatch(stem):
            return Match(Form.CLIP, {stem: 0.0}) if stem in self._starts.get(found[1], {}) else None
        if found := _PIECE.fullmatch(stem):
            return self._piece(found[1], int(found[2]) / 1000, int(found[3]) / 1000)
        if found := _WHOLE.fullmatch(stem):
            begins = {key: float(start) for key, start in self._starts.get(found[1], {}).items()}
            return Match(Form.WHOLE, begins) if begins else None
        return None

    def _piece(self, video: str, first: float, last: float) -> Match | None:
        begins = {
            key: start - first
            for key, start in self._starts.get(video, {}).items()
            if first <= start and start + SOURCE_SECONDS <= last
        }
        if not begins:
            return None
        is_clip = begins and last - first == SOURCE_SECONDS
        return Match(Form.CLIP if is_clip else Form.PIECE, begins)


def _read_map(path: Path, keys: set[str]) -> dict[str, list[tuple[tuple[str, ...], str]]]:
    """File name -> (last parts of the path, key); every malformed line is named in one error."""
    name = f"media map {path.name}"
    table = read_table(path, name, ("key", "path"))
    if set(table.columns) != {"key", "path"}:
        raise ValueError(f"{name}, line 1: columns are {','.join(table.columns)}, expected key,path")
    faults = dict(table.faults)
    found: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    known = 0
    for line, fields in table.rows:
        values = dict(zip(table.columns, (field.strip() for field in fields), strict=True))
        parts = tuple(part for part in PurePosixPath(values["path"].replace("\\", "/")).parts if part not in ("/", "."))
        if not values["key"] or not parts or ".." in parts:
            faults[line] = (
                f"{values['key']!r},{values['path']!r} is no key with the end of a path; correct or remove it"
            )
        elif values["key"] in keys:
            known += 1
            found.setdefault(parts[-1], []).append((parts, values["key"]))
    if faults:
        raise ValueError(f"{name}: {'; '.join(f'line {line}: {faults[line]}' for line in sorted(faults))}")
    if not known:
        raise ValueError(f"{name} has no key of the list; keys are <video id>_<start, 6 digits>")
    return found
