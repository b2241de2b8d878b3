"""The attempts at every clip, kept for ever, and the one row a clip that follows from them.

`attempts/<shard>.jsonl` is append-only: one line for each time that a clip was tried, written before the clip enters a
shard. `ledger/<shard>.parquet` is made from it: one row for every clip of the shard's list.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipelines.clip_rows import ClipRow
from pipelines.parquet_rows import write_rows
from pipelines.raw_ledger import clips_in, raw_ledger_path
from pipelines.sources.youtube.errors import CLASSES, Kind, worth_another_try
from pipelines.sources.youtube.settings import DownloadSettings

MEDIA_ACCESS = "media "
"""Beginning of the access of an attempt at DRAWAUDIO_MEDIA; the state of the media follows."""


@dataclass(frozen=True)
class Attempt:
    """One clip, tried once."""

    key: str
    round: int
    """Which filling of the shard it belongs to: 1 made its tar, later ones its overflow shards."""
    error: str
    """Class of youtube_errors; "" for a good clip."""
    message: str
    started: float
    """Seconds since 1970, as is `ended`."""
    ended: float
    access: str
    """As whom and from where (youtube_errors.access)."""
    yt_dlp: str = ""
    format: str = ""
    bytes: int = 0
    sha256: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    """The probe's columns."""
    media: str = ""
    """Where DRAWAUDIO_MEDIA has the clip, and how often; "" for an attempt at the site."""

    @property
    def of_media(self) -> bool:
        """Whether the clip was looked for in DRAWAUDIO_MEDIA, and the site not asked."""
        return self.access.startswith(MEDIA_ACCESS)

    @property
    def counts(self) -> bool:
        """Whether it costs the clip one of its attempts: what was the session's fault does not."""
        return not self.error or CLASSES[self.error].kind not in (Kind.SESSION, Kind.STOP)


class AttemptLog:
    """The attempts of one shard's clips; every line is on the disk before `append` returns."""

    def __init__(self, root: Path, shard: str) -> None:
        self.path = Path(root) / "raw_clips" / "attempts" / f"{shard}.jsonl"
        self.attempts: dict[str, list[Attempt]] = {}
        self.round = 1
        """The round that is under way, or comes next."""
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for line in map(json.loads, whole.splitlines()):
            if "closed" in line:
                self.round = line["closed"] + 1
            else:
                self._remember(Attempt(**line))
        if len(whole) < len(content):
            # A kill tore the last line.
            os.truncate(self.path, len(whole))

    def append(self, attempt: Attempt) -> None:
        """Write one attempt down."""
        self._write(asdict(attempt))
        self._remember(attempt)

    def close_round(self) -> None:
        """Counts this round's attempts as published: from now on they decide what is tried again."""
        self._write({"closed": self.round})
        self.round += 1

    def of(self, key: str) -> list[Attempt]:
        """A clip's attempts, oldest first."""
        return self.attempts.get(key, [])

    def this_round(self, key: str) -> list[Attempt]:
        """A clip's attempts in the round that is under way."""
        return [attempt for attempt in self.of(key) if attempt.round == self.round]

    def _write(self, row: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(json.dumps(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _remember(self, attempt: Attempt) -> None:
        self.attempts.setdefault(attempt.key, []).append(attempt)


class Held(Protocol):
    """The media of DRAWAUDIO_MEDIA, as far as they decide which clips are tried."""

    @property
    def only(self) -> bool:
        """Whether nothing is asked of the site."""

    @property
    def access(self) -> str:
        """That of attempts at these media."""

    def has(self, key: str) -> bool:
        """Whether there is a file of the clip, good or not."""


def open_keys(
    keys: list[str],
    log: AttemptLog,
    published: Mapping[str, str],
    settings: DownloadSettings,
    held: Held | None = None,
) -> list[str]:
    """Clips that are to be tried: neither in a published tar nor given up.

    Attempts of the round under way do not decide yet, so that a killed run goes on with the same clips.

    Args:
        published: key -> shard of every clip in a finished tar.
        held: media in which clips are looked for first.
    """
    return [
        key
        for key in keys
        if key not in published and (_new_in_media(key, log, held) or open_to_site(key, log, settings, held))
    ]


def open_to_site(key: str, log: AttemptLog, settings: DownloadSettings, held: Held | None = None) -> bool:
    """Whether the attempts at a clip leave it to be asked of the site; of the media, where only they are asked."""
    tried = [attempt for attempt in log.of(key) if attempt.round < log.round]
    if held is None or not held.only:
        tried = [attempt for attempt in tried if not attempt.of_media]
    if not tried or not tried[-1].error:
        return True
    if held is not None and held.only:
        return False
    used = sum(attempt.counts for attempt in tried)
    return worth_another_try(tried[-1].error, used, tried[-1].access, settings)


def _new_in_media(key: str, log: AttemptLog, held: Held | None) -> bool:
    if held is None or not held.has(key):
        return False
    return not any(attempt.access == held.access and attempt.round < log.round for attempt in log.of(key))


@dataclass(frozen=True)
class FetchLedgerRow:
    """The outcome of one clip; the fields are the ledger's columns, those of RawLedgerRow among them."""

    key: str
    source: str
    source_id: str
    start_s: int
    status: str
    """kept, failed or pending: not tried, or only met by a refused session."""
    reason: str = ""
    """The error's class."""
    kind: str = ""
    message: str = ""
    attempts: int = 0
    session_errors: int = 0
    first_tried: float = 0.0
    """Seconds since 1970, as is `last_tried`."""
    last_tried: float = 0.0
    seconds: float = 0.0
    """How long the last attempt took, shared by the clips of one video."""
    access: str = ""
    yt_dlp: str = ""
    format: str = ""
    media: str = ""
    """Where DRAWAUDIO_MEDIA has the clip, how often, and what is wrong with it there; "" where it was not looked for."""
    shard: str = ""
    bytes: int = 0
    sha256: str = ""
    video_seconds: float = 0.0
    """This and what follows is the probe's (probe.as_columns)."""
    audio_seconds: float = 0.0
    audio_offset_seconds: float = 0.0
    frames: int = 0
    hidden_frames: int = 0
    declared_seconds: float = 0.0
    width: int = 0
    height: int = 0
    video_codec: str = ""
    audio_codec: str = ""


def ledger_row(key: str, clip: ClipRow, tried: list[Attempt], published: Mapping[str, str]) -> FetchLedgerRow:
    """A clip's row: what became of it, and why."""
    row: dict[str, Any] = {"key": key, "status": "pending", "shard": published.get(key, "")}
    row |= {name: getattr(clip, name) for name in ("source", "source_id", "start_s")}
    if tried:
        decided = next((attempt for attempt in reversed(tried) if not attempt.error), tried[-1])
        last = decided if key in published else tried[-1]
        row |= {
            "attempts": sum(attempt.counts for attempt in tried),
            "session_errors": sum(not attempt.counts for attempt in tried),
            "first_tried": tried[0].started,
            "last_tried": tried[-1].ended,
            "seconds": round(last.ended - last.started, 3),
            **{name: getattr(last, name) for name in ("message", "access", "yt_dlp", "format", "bytes", "sha256")},
            **last.facts,
        }
        looked = next((attempt for attempt in reversed(tried) if attempt.of_media), None)
        row["media"] = ": ".join(filter(None, (looked.media, looked.message))) if looked else ""
        if last.error:
            row |= {"reason": last.error, "kind": CLASSES[last.error].kind.value}
            row["status"] = "failed" if last.counts else "pending"
    if key in published:
        row["status"] = "kept"
    return FetchLedgerRow(**row)


def write_ledger(root: Path, shard: str, clips: Mapping[str, ClipRow], finished: list[str]) -> list[FetchLedgerRow]:
    """Write `raw_clips/ledger/<shard>.parquet`; returns its rows, one for every clip of the list, sorted by key.

    Args:
        clips: the shard's rows of the clip list.
        finished: the shard and its overflow shards, those of them that are finished.
    """
    log, published = AttemptLog(root, shard), clips_in(root, finished)
    rows = [ledger_row(key, clips[key], log.of(key), published) for key in sorted(clips)]
    write_rows(raw_ledger_path(root, shard), FetchLedgerRow, rows)
    return rows
