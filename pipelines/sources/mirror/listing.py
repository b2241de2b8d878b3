"""The entries of a part, read once and remembered for as long as the file stays as it is.

`<folder>/names/<state of the part>.json`: name, place and size of every entry. Members of a plain tar are read at their place
later; those of a compressed one can only be had in passing (spool.py).
"""

import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from drawaudio_model.atomic_files import write_atomically
from drawaudio_model.progress import Reporter
from pipelines.sources.mirror.settings import Part
from pipelines.sources.mirror.tars import Found, GzipStream, Member, PlainStream, members


@dataclass(frozen=True)
class Entry:
    """One file of a part, or what is in its place."""

    name: str
    offset: int
    """Of its first byte in the part; -1 where the part is the file."""
    size: int
    refusal: str = ""
    """Why it cannot be read, by its kind (a link, a device, ...); empty for a file that can."""


@dataclass(frozen=True)
class Listing:
    """The content of a part."""

    entries: tuple[Entry, ...]
    fault: str = ""
    """Why nothing was read behind the last entry."""
    lost_bytes: int = 0
    """Where headers should have been and none were."""

    def trouble(self, part: Part) -> str:
        """One sentence on what could not be read of the part; "" where all could."""
        name = part.path.name
        if self.fault:
            return f"{name}: {self.fault}" + (f", behind {self.entries[-1].name}" if self.entries else "")
        if self.lost_bytes:
            return f"{name}: {self.lost_bytes:,} bytes in it are no part of a tar"
        return "" if self.entries else f"{name}: it holds no file"


def is_compressed(part: Part) -> bool:
    """Whether a tar is a gzipped one, by its first bytes."""
    with part.path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def known_listing(part: Part, folder: Path) -> Listing | None:
    """The listing of a part that was read already."""
    if not part.is_tar:
        return Listing((Entry(part.path.name, -1, part.bytes),))
    path = folder / "names" / f"{part.state}.json"
    if not path.exists():
        return None
    fields = json.loads(zlib.decompress(path.read_bytes()))
    fields["entries"] = tuple(Entry(*entry) for entry in fields["entries"])
    return Listing(**fields)


def list_part(part: Part, folder: Path) -> Listing:
    """The listing of a part; a tar that is met for the first time is read to its end."""
    return known_listing(part, folder) or read_part(part, folder, lambda member: None)


def read_part(part: Part, folder: Path, visit: Callable[[Member], object]) -> Listing:
    """Read a tar from its beginning to its end, and remember what it holds.

    Args:
        visit: called with every entry in order, which may read its bytes.

    Raises:
        OSError: when the file cannot be opened.
    """
    found, entries = Found(), []
    with part.path.open("rb") as file, Reporter(f"reading {part.path.name}", None) as report:
        stream = GzipStream(file) if is_compressed(part) else PlainStream(file)
        for member in members(stream, found):
            visit(member)
            entries.append(Entry(member.name, member.offset, member.size, member.refusal))
            report.step()
    listing = Listing(tuple(entries), stream.fault, found.lost_bytes)
    fields = asdict(listing) | {"entries": [list(asdict(entry).values()) for entry in entries]}
    write_atomically(folder / "names" / f"{part.state}.json", zlib.compress(json.dumps(fields).encode()))
    return listing
