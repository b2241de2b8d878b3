"""Annotations that people have already: captions, phrases and masks from files, by the clip's key.

A folder (DRAWAUDIO_ANNOTATIONS) holds any of these, each for as many clips as it likes; the others are annotated as ever:

    captions.csv, .jsonl or .parquet    columns key, caption and, if you like, source
    phrases.csv, .jsonl or .parquet     columns key, phrases: a text with ; between them, or a list
    masks/<key>.*                       a mask for the 10 s, in any form that `drawaudio generate --mask` takes

In the tables `key` is a clip's key, or the id of a video, of which all clips have it then; a mask is that of one clip.
"""

import json
import unicodedata
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from drawaudio_model.atomic_files import file_sha256, fingerprint
from drawaudio_model.text_files import decode, read_table
from pipelines.clip_rows import ClipRow

SUFFIXES = (".csv", ".jsonl", ".parquet")
FROM_FILE = "file"
"""Source of an annotation whose file names none."""


@dataclass(frozen=True)
class OwnCaption:
    """A caption that came in a file."""

    text: str
    source: str


class OwnAnnotations:
    """The annotations of a folder.

    Args:
        folder: as the module says.

    Raises:
        ValueError: when there is no such folder, or nothing in it that is an annotation.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ValueError(f"DRAWAUDIO_ANNOTATIONS is {folder}, which is no folder; give the folder of annotations")
        self.folder = folder
        self._captions, self._phrases = (_table_in(folder, name) for name in ("captions", "phrases"))
        self.has_masks = (folder / "masks").is_dir()
        if self._captions is None and self._phrases is None and not self.has_masks:
            raise ValueError(
                f"DRAWAUDIO_ANNOTATIONS is {folder}, which holds neither captions nor phrases "
                f"({', '.join(SUFFIXES)}) nor a folder masks; see docs/datasets.md"
            )

    @property
    def has_phrases(self) -> bool:
        """Whether there is a table of phrases."""
        return self._phrases is not None

    @cached_property
    def captions(self) -> dict[str, OwnCaption]:
        """Caption by key or video.

        Raises:
            ValueError: naming the file, and each line that is wrong.
        """
        rows = {} if self._captions is None else _rows(self._captions, ("key", "caption"), ("source",), _one_text)
        return {key: OwnCaption(row["caption"], row.get("source") or FROM_FILE) for key, row in rows.items()}

    @cached_property
    def phrases(self) -> dict[str, list[str]]:
        """Phrases by key or video; an empty list names nothing.

        Raises:
            ValueError: naming the file, and each line that is wrong.
        """
        rows = {} if self._phrases is None else _rows(self._phrases, ("key", "phrases"), (), _phrases)
        return {key: row["phrases"] for key, row in rows.items()}

    @cached_property
    def masks(self) -> dict[str, Path]:
        """File or folder of the mask by key.

        Raises:
            ValueError: when a clip has two.
        """
        found: dict[str, Path] = {}
        paths = sorted((self.folder / "masks").iterdir()) if self.has_masks else []
        for path in (path for path in paths if path.name[0] != "."):
            key = path.name if path.is_dir() else path.name.partition(".")[0]
            if key in found:
                raise ValueError(f"the clip {key} has two masks, {found[key].name} and {path.name}; keep one of them")
            found[key] = path
        return found

    def caption_of(self, row: ClipRow) -> OwnCaption | None:
        """The caption of a clip, else that of its video."""
        return self.captions.get(row.key) or self.captions.get(row.source_id)

    def phrases_of(self, row: ClipRow) -> list[str] | None:
        """The phrases of a clip, else those of its video."""
        return self.phrases.get(row.key, self.phrases.get(row.source_id))

    def mask_of(self, row: ClipRow) -> Path | None:
        """The file or folder of a clip's mask; a video's would be of another time."""
        return self.masks.get(row.key)

    def mark(self, find: Callable[[ClipRow], OwnCaption | list[str] | Path | None], rows: Iterable[ClipRow]) -> str:
        """Fingerprint of what one of the three functions above finds for some clips."""
        found = {row.key: own for row in rows if (own := find(row)) is not None}
        return fingerprint(
            {key: _mark_of_file(own) if isinstance(own, Path) else str(own) for key, own in found.items()}
        )

    def coverage(self, rows: Collection[ClipRow]) -> dict[str, str]:
        """How many clips each kind has something for, and how much of it is for none of them; in words, by kind."""
        words = {}
        keys = {row.key for row in rows}
        videos = keys | {row.source_id for row in rows}
        kinds: list[tuple[str, Collection[str], Callable[[ClipRow], object], set[str]]] = [
            ("captions", self.captions, self.caption_of, videos),
            ("phrases", self.phrases, self.phrases_of, videos),
            ("masks", self.masks, self.mask_of, keys),
        ]
        for kind, given, find, names in kinds:
            if given:
                strange = sorted({*given} - names)
                other = f"; of no clip of the list: {len(strange)}, such as {strange[0]}" if strange else ""
                words[kind] = f"{sum(find(row) is not None for row in rows)} of {len(rows)} clips{other}"
        return words


def _mark_of_file(path: Path) -> str:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return fingerprint([(file.name, file_sha256(file)) for file in files if file.is_file()])


def _table_in(folder: Path, name: str) -> Path | None:
    found = [path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        raise ValueError(f"{folder} holds {found[0].name} and {found[1].name}; keep one of them")
    return found[0] if found else None


def _rows(path: Path, needed: tuple[str, ...], more: tuple[str, ...], read: Any) -> dict[str, dict[str, Any]]:
    """Key -> its row; every line that is wrong is named in one error."""
    rows: dict[str, dict[str, Any]] = {}
    lines: dict[str, str] = {}
    faults: list[str] = []
    for place, given in _records(path, needed + more, faults):
        strange = sorted({*given} - {*needed, *more})
        lacking = [name for name in needed if given.get(name) is None]
        key = given.get("key")
        if lacking or strange:
            fault = f"it has no {lacking[0]}" if lacking else f"the column {strange[0]!r} is not known"
            faults.append(
                f"{place}: {fault}; the columns are {', '.join(needed)}" + (f" and {', '.join(more)}" * bool(more))
            )
        elif not isinstance(key, str) or not key.strip():
            faults.append(f"{place}: the key is {str(key)[:40]!r}, expected a clip's key or a video's id")
        elif (key := unicodedata.normalize("NFC", key.strip())) in rows:
            faults.append(f"{place}: {key} stands in {lines[key]} already; keep one of them")
        else:
            try:
                rows[key] = {name: read(name, value) for name, value in given.items()}
                lines[key] = place
            except ValueError as error:
                faults.append(f"{place}: {error}")
        if len(faults) > 20:
            faults.append("and perhaps more")
            break
    if faults:
        raise ValueError(f"{path.name}: {'; '.join(faults)}")
    return rows


def _records(path: Path, columns: tuple[str, ...], faults: list[str]) -> Iterable[tuple[str, dict[str, Any]]]:
    """(place, column -> value) of each row of a table."""
    if path.suffix == ".parquet":
        import pyarrow.parquet

        try:
            table = pyarrow.parquet.read_table(path)
        except (OSError, ValueError) as error:  # pyarrow's own are of these kinds
            raise ValueError(f"{path.name} is no parquet that can be read: {error}") from error
        for number, row in enumerate(table.to_pylist(), 1):
            yield f"row {number}", row
    elif path.suffix == ".jsonl":
        for number, line in enumerate(decode(path.read_bytes(), path.name, "JSONL").splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                row = error
            if isinstance(row, dict):
                yield f"line {number}", row
            else:
                faults.append(f'line {number}: it is no JSON object such as {{"key": ..., "{columns[1]}": ...}}')
    else:
        found = read_table(path, path.name, columns)
        faults += [f"line {line}: {fault}" for line, fault in found.faults]
        for place, fields in found.rows:
            yield f"line {place}", dict(zip(found.columns, (field.strip() for field in fields), strict=True))


def _one_text(name: str, value: Any) -> str | None:
    if name == "source" and value in (None, ""):
        return None
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"the {name} is {str(value)[:40]!r}, expected a text; take the row out if there is none")
    return " ".join(value.split())


def _phrases(name: str, value: Any) -> str | list[str]:
    if name == "key":
        return value
    parts = value.split(";") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"the phrases are {str(value)[:40]!r}, expected texts with ; between them, or a list")
    return [" ".join(part.split()) for part in parts if part.strip()]
