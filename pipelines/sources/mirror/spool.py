"""Clips out of compressed tars, sorted by shard in one pass.

A tar.gz can only be read from its beginning. So each one is read once, for all shards together: members that the list wants go
to a folder for each shard, and are deleted when the shard has them. At most this takes the disk that raw_clips will take, and
gives it back as the shards fill. Every member that was taken is a line of `<folder>/taken/<shard>.jsonl`; a pass that was killed
begins the tar again that it was in, and copies nothing twice. Of several copies of a clip the first good one is kept.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drawaudio_model.atomic_files import write_atomically
from pipelines.clip_rows import ClipRow
from pipelines.sources.mirror.listing import read_part
from pipelines.sources.mirror.names import Form, ListedNames
from pipelines.sources.mirror.settings import Part
from pipelines.sources.mirror.tars import Member

FURTHER_COPY = "further_copy"
Judge = Callable[[Path, Form, float], tuple[str, str] | None]
"""(file, its form, second at which the clip begins) -> class of its fault and a sentence, or None for a good one."""


@dataclass(frozen=True)
class Copy:
    """One file that holds a clip, or should."""

    key: str
    form: Form
    begins_s: float
    """Second of the file at which the clip begins."""
    place: str
    """<part>: <member>, for people."""
    part: str
    """State of the part."""
    number: int
    """Of the entry in its part."""
    path: str
    """File that has the bytes; "" where they were not kept."""
    offset: int
    """Of the first byte in it; -1: it is the whole file."""
    size: int
    reason: str = ""
    """Class of its fault, FURTHER_COPY, or ""."""
    message: str = ""


class Spool:
    """Members of compressed tars, by shard.

    Args:
        folder: for what is remembered.
        staging: for the clips' bytes.
    """

    def __init__(self, folder: Path, staging: Path) -> None:
        self.folder, self.staging = folder, staging

    def copies(self, shard: str) -> list[Copy]:
        """The copies of a shard's clips that were met, each as the last word on its member has it."""
        rows = read_lines(self.folder / "taken" / f"{shard}.jsonl")
        copies = (Copy(**row | {"form": Form(row["form"])}) for row in rows)
        return list({(copy.part, copy.number, copy.key): copy for copy in copies}.values())

    def is_read(self, part: Part, names: ListedNames, keys: Iterable[str]) -> bool:
        """Whether a part was read to its end when all of these keys were wanted, with the same map."""
        path = self._record(part, names)
        return path.exists() and not set(keys) - set(json.loads(path.read_text()))

    def read(self, part: Part, rows: Mapping[str, ClipRow], names: ListedNames, judge: Judge, most_bytes: int) -> None:
        """Read a part to its end; members that hold clips of the list are sorted into their shards' folders.

        Args:
            rows: the clips that are still wanted.
            most_bytes: longer members are not taken.
        """
        known = {
            (copy.part, copy.number, copy.key): copy
            for shard in {row.shard for row in rows.values()}
            for copy in self.copies(shard)
            if not copy.path or _size(copy.path) == copy.size
        }
        good: dict[str, list[int]] = {}
        for copy in known.values():
            if not copy.reason:
                good.setdefault(copy.key, []).append(_rank(copy.form))

        def visit(member: Member) -> None:
            match = names.match(member.name)
            begins = {key: begin for key, begin in match.begins.items() if key in rows} if match else {}
            begins = {key: begin for key, begin in begins.items() if (part.state, member.number, key) not in known}
            if match is None or not begins:
                return
            for copy in self._take(part, member, match.form, begins, rows, good, judge, most_bytes):
                append_line(self.folder / "taken" / f"{rows[copy.key].shard}.jsonl", asdict(copy))
                if not copy.reason:
                    good.setdefault(copy.key, []).append(_rank(copy.form))

        read_part(part, self.folder, visit)
        os.sync()  # What the record promises must be on the disk before it.
        write_atomically(self._record(part, names), json.dumps(sorted(rows)).encode())

    def _record(self, part: Part, names: ListedNames) -> Path:
        return self.folder / "read" / f"{part.state}{names.mark}.json"

    def _take(
        self,
        part: Part,
        member: Member,
        form: Form,
        begins: Mapping[str, float],
        rows: Mapping[str, ClipRow],
        good: Mapping[str, list[int]],
        judge: Judge,
        most_bytes: int,
    ) -> list[Copy]:
        def copy(key: str, path: str = "", reason: str = "", message: str = "") -> Copy:
            place = f"{part.path.name}: {member.name}"
            facts = (part.state, member.number, path, -1, member.size)
            return Copy(key, form, begins[key], place, *facts, reason=reason, message=message)

        fault = refusal(member.refusal, member.size, most_bytes)
        if fault:
            return [copy(key, "", *fault) for key in begins]
        wanted = [key for key in begins if min(good.get(key, [len(Form)])) > _rank(form)]
        copies = [copy(key, "", FURTHER_COPY) for key in begins if key not in wanted]
        if not wanted:
            return copies
        shard = rows[wanted[0]].shard  # All clips of a video share one.
        path = self.staging / shard / f"{part.state}-{member.number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with path.open("wb") as file:
            for piece in member.pieces():
                written += file.write(piece)
        if written < member.size:
            path.unlink()
            message = f"the part ends after {written:,} of its {member.size:,} bytes"
            return [*copies, *(copy(key, "", "truncated", message) for key in wanted)]
        judged = {key: judge(path, form, begins[key]) for key in wanted}
        if all(judged.values()):
            path.unlink()
        return [*copies, *(copy(key, *("", *fault) if fault else (str(path),)) for key, fault in judged.items())]

    def clear(self, shard: str) -> None:
        """Delete the bytes of a shard that has them."""
        shutil.rmtree(self.staging / shard, ignore_errors=True)
        if self.staging.is_dir() and not any(path.is_dir() for path in self.staging.iterdir()):
            shutil.rmtree(self.staging)


def refusal(kind: str, size: int, most_bytes: int) -> tuple[str, str] | None:
    """Why an entry is not read: class and sentence; None for a file of a possible size."""
    if kind and kind[0].isdigit():
        return "truncated", f"its header promises {kind}"
    if kind:
        return "no_file", f"it is {kind}, which is not followed"
    if size > most_bytes:
        return "too_large", f"it has {size:,} bytes, at most {most_bytes:,} are taken"
    return None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines; a last line that a kill has torn is cut off."""
    content = path.read_bytes() if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row to a file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(json.dumps(row).encode() + b"\n")


def _rank(form: Form) -> int:
    return list(Form).index(form)


def _size(path: str) -> int:
    return os.stat(path).st_size if os.path.exists(path) else -1
