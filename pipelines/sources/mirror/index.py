"""An index of the media that are there: every copy of every clip of a list, in the order in which they are tried."""

import fcntl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drawaudio_model.atomic_files import fingerprint
from pipelines.clip_rows import ClipRow
from pipelines.sources.mirror.listing import Listing, is_compressed, known_listing, list_part
from pipelines.sources.mirror.names import Form, ListedNames
from pipelines.sources.mirror.settings import MediaSettings, Part
from pipelines.sources.mirror.spool import Copy, Judge, Spool, refusal

REMEMBERED = ".media"
"""Folder of raw_clips with what is known of the media."""


class MediaIndex:
    """The media of DRAWAUDIO_MEDIA, as a list's shards see them.

    Args:
        root: the data root.
        settings: what the environment names.
        rows: the whole clip list.
        most_bytes: longer files are not taken.
    """

    def __init__(self, root: Path, settings: MediaSettings, rows: Mapping[str, ClipRow], most_bytes: int) -> None:
        self.settings, self.rows, self._most_bytes = settings, rows, most_bytes
        self.names = ListedNames(rows.values(), settings.map)
        self.parts = settings.parts()
        self.folder = root / "raw_clips" / REMEMBERED
        self.spool = Spool(self.folder, root / "raw_clips" / ".staging" / "media")
        self._compressed = {part.state for part in self.parts if part.is_tar and is_compressed(part)}
        self._in_place: dict[str, list[Copy]] | None = None
        self.state = fingerprint([part.state for part in self.parts], self.names.mark)[:12]
        """Changes when any of the media does."""

    def read(self, wanted: Callable[[], Mapping[str, ClipRow]], judge: Judge) -> None:
        """Read every tar that was not read yet; another process that asks for it meanwhile waits.

        Args:
            wanted: the clips that no shard has yet.
            judge: whether a file is good.
        """
        with self._alone():
            for part in self.parts:
                if part.state in self._compressed:
                    if not self.spool.is_read(part, self.names, (rows := wanted())):
                        self.spool.read(part, rows, self.names, judge, self._most_bytes)
                elif part.is_tar:
                    list_part(part, self.folder)

    def copies(self, shard: str) -> dict[str, list[Copy]]:
        """Key -> its copies, the clip itself before what it is cut from, then in the order of parts and members."""
        if self._in_place is None:
            self._in_place = {}
            for part in self.parts:
                if part.state not in self._compressed:
                    for copy in self._copies_of(part):
                        self._in_place.setdefault(self.rows[copy.key].shard, []).append(copy)
        order = {part.state: place for place, part in enumerate(self.parts)}
        copies = [*self._in_place.get(shard, ()), *self.spool.copies(shard)]
        copies.sort(key=lambda copy: (list(Form).index(copy.form), order.get(copy.part, len(order)), copy.number))
        found: dict[str, list[Copy]] = {}
        for copy in copies:
            found.setdefault(copy.key, []).append(copy)
        return found

    def troubles(self) -> list[str]:
        """One sentence for each part that could not be read wholly."""
        known = ((part, known_listing(part, self.folder)) for part in self.parts if part.is_tar)
        return [text for part, listing in known if listing and (text := listing.trouble(part))]

    def _copies_of(self, part: Part) -> Iterator[Copy]:
        """Copies in a part that is read where it lies."""
        for number, entry in enumerate(list_part(part, self.folder).entries):
            match = self.names.match(entry.name if part.is_tar else str(part.path))
            if match is None:
                continue
            place = f"{part.path.name}: {entry.name}" if part.is_tar else str(part.path)
            whole_file = entry.offset < 0 and match.form is not Form.CLIP
            fault = refusal(entry.refusal, 0 if whole_file else entry.size, self._most_bytes) or ("", "")
            file = (str(part.path), entry.offset, entry.size)
            for key, begins in match.begins.items():
                yield Copy(key, match.form, begins, place, part.state, number, *file, *fault)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@dataclass(frozen=True)
class Survey:
    """The clips of a list that the media hold, by names and sizes alone."""

    keys: frozenset[str]
    gigabytes: float
    """Of the files that would be taken."""
    read_gigabytes: float
    """Of all parts."""
    parts: int
    troubles: tuple[str, ...]


def survey(root: Path, settings: MediaSettings, rows: Mapping[str, ClipRow], most_bytes: int) -> Survey:
    """Count what is there; tars that are met for the first time are read for their names, and remembered."""
    index = MediaIndex(root, settings, rows, most_bytes)
    best: dict[str, tuple[int, tuple[str, int], int]] = {}
    listings: list[tuple[Part, Listing]] = [(part, list_part(part, index.folder)) for part in index.parts]
    for part, listing in listings:
        for number, entry in enumerate(listing.entries):
            match = index.names.match(entry.name if part.is_tar else str(part.path))
            if match is None or refusal(entry.refusal, entry.size if part.is_tar else 0, most_bytes):
                continue
            for key in match.begins:
                file = (list(Form).index(match.form), (part.state, number), entry.size)
                best[key] = min(best.get(key, file), file, key=lambda file: file[0])
    files = {place: size for _, place, size in best.values()}
    return Survey(
        frozenset(best),
        sum(files.values()) / 1e9,
        sum(part.bytes for part in index.parts) / 1e9,
        len(index.parts),
        tuple(text for part, listing in listings if part.is_tar and (text := listing.trouble(part))),
    )
