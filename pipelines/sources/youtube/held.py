"""Clips of the lists out of media that are there already: DRAWAUDIO_MEDIA.

A file of a clip's own is taken as it is, byte for byte; out of longer ones the clip is cut as a fetched one is. Of several copies
the first good one is taken, and the ledger says how many there are.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drawaudio_model.clip_format import SOURCE_SECONDS
from drawaudio_model.shard import Rejection, finished_shards
from pipelines.clip_rows import ClipRow, read_clip_list
from pipelines.raw_ledger import clips_in
from pipelines.raw_media import members_of_media
from pipelines.shard_work import Members
from pipelines.sources.mirror.index import MediaIndex
from pipelines.sources.mirror.names import Form
from pipelines.sources.mirror.settings import MediaSettings
from pipelines.sources.mirror.spool import Copy
from pipelines.sources.youtube.cut import cut, ffmpeg_binary
from pipelines.sources.youtube.errors import CLASSES
from pipelines.sources.youtube.ledger import MEDIA_ACCESS, Attempt, AttemptLog
from pipelines.sources.youtube.probe import (
    TOLERANCE_SECONDS,
    Fault,
    Probe,
    as_columns,
    clip_fault,
    missing_part,
    probe,
    source_fault,
)
from pipelines.sources.youtube.settings import DownloadSettings

_MENDED = ("hidden_frames", "long_clip")
"""Faults of a clip's own file that go away when ten seconds are cut out of it."""


@dataclass(frozen=True)
class Taken:
    """A clip out of the media."""

    content: bytes
    facts: Probe
    copy: Copy


class HeldMedia:
    """The copies of one shard's clips."""

    def __init__(self, index: MediaIndex, shard: str) -> None:
        self.only = index.settings.only
        self.access = f"{MEDIA_ACCESS}{index.state}"
        self.copies = index.copies(shard)
        self.troubles = index.troubles()
        self.parts = len(index.parts)

    def has(self, key: str) -> bool:
        """Whether there is a file of the clip, good or not."""
        return key in self.copies


def open_media(root: Path, settings: DownloadSettings) -> MediaIndex | None:
    """The media that DRAWAUDIO_MEDIA names, read as far as the list needs them; None where it is not set.

    Raises:
        ValueError: when they are not there.
    """
    named = MediaSettings.from_environment()
    if named is None:
        return None
    rows = read_clip_list(root)
    index = MediaIndex(root, named, rows, settings.most_bytes)

    def wanted() -> Mapping[str, ClipRow]:
        published = clips_in(root, finished_shards(root / "raw_clips"))
        return {key: row for key, row in rows.items() if key not in published}

    index.read(wanted, judge)
    return index


def judge(path: Path, form: Form, begins_s: float) -> tuple[str, str] | None:
    """The fault of a file that should hold a clip, by its packets: class and sentence; None where there is none."""
    fault = _fault(probe(path), form, begins_s)
    return (fault.error.name, fault.message) if fault else None


def take_clips(
    clips: Mapping[str, ClipRow], held: HeldMedia, log: AttemptLog, staging: Path, settings: DownloadSettings
) -> Iterator[tuple[str, Members | Rejection]]:
    """The clips that the media have; the others are yielded only where nothing else is asked, with the reason.

    Args:
        clips: key -> row of the clip list.
        held: of their shard.
        log: where every look at a clip that is there is written before it is yielded.
        staging: folder for what is under way.
    """
    # What a killed run has found useless is not looked at again; what it took and lost is.
    tried = {key: [attempt for attempt in log.this_round(key) if attempt.access == held.access] for key in clips}
    ahead = [key for key in sorted(clips) if held.has(key) and not (tried[key] and tried[key][-1].error)]
    ffmpeg = ffmpeg_binary(settings)
    size = 2 * (os.cpu_count() or 1)

    def take(key: str) -> tuple[Taken | Fault, float]:
        started = time.time()
        return _first_good(held.copies[key], staging / key, ffmpeg, settings), started

    with ThreadPoolExecutor(size // 2) as pool:
        for first in range(0, len(ahead), size):  # a few at a time: their bytes are in memory
            keys = ahead[first : first + size]
            for key, (found, started) in zip(keys, pool.map(take, keys), strict=True):
                attempt = _attempt(key, found, started, held, log.round)
                if not (tried[key] and attempt.error == ""):
                    log.append(attempt)
                if isinstance(found, Taken):
                    yield key, members_of_media(found.content)
    if not held.only:
        return
    for key in sorted(clips):
        last = next((attempt for attempt in reversed(log.this_round(key)) if attempt.of_media), None)
        if last is None:
            fault = Fault(CLASSES["not_in_media"], _absence(held))
            last = _attempt(key, fault, time.time(), held, log.round)
            log.append(last)
        if last.error:
            yield key, Rejection(key, last.error, last.message)


def _first_good(copies: list[Copy], folder: Path, ffmpeg: str, settings: DownloadSettings) -> Taken | Fault:
    """The clip out of the first of its copies that is good, or the first one's fault."""
    first: Fault | None = None
    for copy in copies:
        if copy.reason not in CLASSES and copy.reason:
            continue  # A further copy of one that was good.
        found = Fault(CLASSES[copy.reason], copy.message) if copy.reason else _take(copy, folder, ffmpeg, settings)
        if isinstance(found, Taken):
            return found
        first = first or found
    return first or Fault(CLASSES["no_file"], "its copy was deleted before the clip was taken")


def _take(copy: Copy, folder: Path, ffmpeg: str, settings: DownloadSettings) -> Taken | Fault:
    try:
        with _file_of(copy, folder) as path:
            facts = probe(path)
            fault = _fault(facts, copy.form, copy.begins_s)
            if fault is not None or isinstance(facts, Fault):
                return fault or Fault(CLASSES["not_media"], "it is no media file")
            if copy.form is Form.CLIP and clip_fault(facts) is None:
                return Taken(path.read_bytes(), facts, copy)
            out = folder / "clip.mp4"
            fault = cut(ffmpeg, path, copy.begins_s, out, settings.clip_limit_seconds)
            made = fault or probe(out)
            fault = made if isinstance(made, Fault) else clip_fault(made)
            if fault is not None or isinstance(made, Fault):
                return fault or Fault(CLASSES["ffmpeg"], "the cut left nothing")
            return Taken(out.read_bytes(), made, copy)
    except OSError as error:
        return Fault(CLASSES["no_file"], f"it cannot be read: {error.strerror or error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _file_of(copy: Copy, folder: Path) -> Iterator[Path]:
    """A file with the copy's bytes: where it lies, or for a member of a tar one for the time of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    if copy.offset < 0:
        yield Path(copy.path)
        return
    path = folder / "member"
    with open(copy.path, "rb") as part, path.open("wb") as file:
        part.seek(copy.offset)
        left = copy.size
        while left > 0 and (piece := part.read(min(left, 1 << 20))):
            left -= file.write(piece)
    yield path


def _fault(facts: Probe | Fault, form: Form, begins_s: float) -> Fault | None:
    """The fault of a file that should hold a clip, which nothing mends, or None."""
    if isinstance(facts, Fault):
        return facts
    fault = source_fault(facts)
    if fault is None and form is not Form.CLIP:
        return missing_part(begins_s, facts.video_seconds)
    fault = fault or clip_fault(facts)
    whole = min(facts.video_seconds, facts.audio_seconds) >= SOURCE_SECONDS - TOLERANCE_SECONDS
    return None if fault and fault.error.name in _MENDED and whole else fault


def _attempt(key: str, found: Taken | Fault, started: float, held: HeldMedia, number: int) -> Attempt:
    copies = held.copies.get(key, [])
    good = isinstance(found, Taken)
    place = found.copy.place if isinstance(found, Taken) else copies[0].place if copies else ""
    others = f"; {len(copies) - 1} further {'copy' if len(copies) == 2 else 'copies'}" if len(copies) > 1 else ""
    content = found.content if isinstance(found, Taken) else b""
    return Attempt(
        key=key,
        round=number,
        error="" if isinstance(found, Taken) else found.error.name,
        message="" if isinstance(found, Taken) else found.message,
        started=started,
        ended=time.time(),
        access=held.access,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest() if good else "",
        facts=as_columns(found.facts) if isinstance(found, Taken) else {},
        media=place + others,
    )


def _absence(held: HeldMedia) -> str:
    """Why a clip is not there, with the parts that could not be read: it may have been in one of them."""
    text = f"none of the {held.parts:,} files of DRAWAUDIO_MEDIA has it"
    return f"{text}; not all could be read: {'; '.join(held.troubles)}" if held.troubles else text
