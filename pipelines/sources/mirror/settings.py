"""Which media are there: DRAWAUDIO_MEDIA, DRAWAUDIO_MEDIA_MAP and DRAWAUDIO_MEDIA_ONLY -> folders' files and tars, in order."""

import glob
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from drawaudio_model.atomic_files import fingerprint
from pipelines.sources.folder import SUFFIXES

TARS = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Part:
    """One file that holds media: a tar of many, or a media file itself."""

    path: Path
    is_tar: bool
    bytes: int
    changed_ns: int
    """Time of its last change."""

    @property
    def state(self) -> str:
        """Changes when the file does."""
        return fingerprint(str(self.path), self.bytes, self.changed_ns)[:16]


@dataclass(frozen=True)
class MediaSettings:
    """Settings of the environment about media that are there already."""

    entries: tuple[str, ...]
    """Folders, files and globs."""
    map: Path | None = None
    """A CSV with the columns key,path."""
    only: bool = False
    """Clips that the media lack are not fetched."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self | None:
        """The settings, or None where DRAWAUDIO_MEDIA is not set.

        Raises:
            ValueError: for a value that cannot be meant.
        """
        found = os.environ if environment is None else environment
        media, table, only = (found.get(f"DRAWAUDIO_MEDIA{name}", "") for name in ("", "_MAP", "_ONLY"))
        if only not in ("", "0", "1"):
            raise ValueError(f"DRAWAUDIO_MEDIA_ONLY is {only!r}, expected 1 or 0; correct or unset it")
        if not media:
            if table or only == "1":
                raise ValueError(
                    f"DRAWAUDIO_MEDIA_{'MAP' if table else 'ONLY'} is set and DRAWAUDIO_MEDIA is not; set it to the folder or "
                    "tars that hold your media"
                )
            return None
        if address := re.search(r"\w+://\S*", media):
            raise ValueError(
                f"DRAWAUDIO_MEDIA names {address[0]}, expected folders, tars or globs of this machine; fetch it first (of the "
                "Hub: `hf download --repo-type dataset <name> --local-dir <folder>`), then name the folder"
            )
        if table and not Path(table).expanduser().is_file():
            raise ValueError(f"DRAWAUDIO_MEDIA_MAP is {table}, which is no file; write a CSV with the columns key,path")
        entries = tuple(entry for entry in media.split(os.pathsep) if entry)
        return cls(entries, Path(table).expanduser() if table else None, only == "1")

    def parts(self) -> list[Part]:
        """Every file that may hold media, in the order in which they count: that of the entries, then by name.

        Raises:
            ValueError: for an entry that is not there or holds nothing.
        """
        found: dict[Path, Part] = {}
        for entry in self.entries:
            parts = list(_parts_of(entry))
            if not parts:
                raise ValueError(
                    f"DRAWAUDIO_MEDIA is {entry}, where there is no media file and no tar; correct the path or wait for its disk"
                )
            for part in parts:
                found.setdefault(part.path, part)
        return list(found.values())


def _parts_of(entry: str) -> Iterator[Part]:
    place = Path(entry).expanduser()
    if not place.exists() and glob.has_magic(entry):
        for name in sorted(glob.glob(str(place), recursive=True), key=_natural):
            if Path(name).is_dir():
                yield from _parts_in(Path(name))
            elif Path(name).is_file() and _kind(name) is not None:
                yield _part(Path(name))
    elif place.is_dir():
        yield from _parts_in(place)
    elif place.is_file():
        if _kind(place.name) is None:
            raise ValueError(
                f"DRAWAUDIO_MEDIA is {entry}, expected a folder, a tar ({', '.join(TARS)}) or a media file; name one of these"
            )
        yield _part(place)
    else:
        raise ValueError(f"DRAWAUDIO_MEDIA is {entry}, which does not exist; correct the path")


def _parts_in(folder: Path) -> Iterator[Part]:
    """Files below a folder. Links in it are not followed: who made the folder may be another than who reads it."""
    found = []
    for above, _, names in os.walk(folder):
        for name in names:
            path = Path(above, name)
            if _kind(name) is not None and not name.startswith(".") and not path.is_symlink() and path.is_file():
                found.append(path)
    for path in sorted(found, key=lambda path: _natural(str(path))):
        yield _part(path)


def _part(path: Path) -> Part:
    state = path.stat()
    return Part(path.absolute(), _kind(path.name) == "tar", state.st_size, state.st_mtime_ns)


def _kind(name: str) -> str | None:
    if name.lower().endswith(TARS):
        return "tar"
    return "media" if Path(name).suffix.lower() in SUFFIXES else None


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers in order: part 2 before part 10."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", name)]
