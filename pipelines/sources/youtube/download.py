"""Clips of YouTube: one request a video, as many at a time as the machine's quota allows, every clip accounted for.

A generator that a shard is filled from (shards.py). What it yields it has written down before (ledger.py), and
what it has fetched stays on the disk until the shard has taken it: killed at any point, the next run fetches nothing
again.
"""

import hashlib
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drawaudio_model.shard import Rejection
from pipelines.clip_rows import ClipRow
from pipelines.raw_media import members_of_media
from pipelines.sources.youtube.errors import CLASSES, Kind, access
from pipelines.sources.youtube.ledger import Attempt, AttemptLog
from pipelines.sources.youtube.outcomes import (
    ClipOutcome,
    VideoOutcome,
    VideoRequest,
    is_fetched,
    read_clip,
    read_outcome,
)
from pipelines.sources.youtube.processes import Ended, VideoProcesses
from pipelines.sources.youtube.quota import Quota
from pipelines.sources.youtube.settings import DownloadSettings

Members = Mapping[str, bytes]

_LOOK_SECONDS = 2.0
"""Longest time without looking whether another process of the machine has paused all downloads."""

_LONGEST_PAUSE_SECONDS = 86400.0
"""A server's Retry-After is followed up to here: a mistaken one must not stop a machine for weeks."""


class DownloadsStopped(RuntimeError):
    """The site refuses this machine, or nothing works; going on would only make it worse."""


@dataclass
class _Video:
    """One video and the clips that are wanted of it."""

    number: int
    id: str
    keys: dict[str, int]
    """Key -> start, seconds."""
    folder: Path
    started: float = 0.0
    refusals: int = 0
    """Session errors that it met in this run."""
    extracted_again: bool = False


@dataclass
class _Refusals:
    """Session errors since the last answer that was none: of how many incidents, and which videos met them."""

    incidents: int = 0
    videos: set[str] = field(default_factory=set)
    latest: float = 0.0


def download(
    clips: Mapping[str, ClipRow], *, log: AttemptLog, staging: Path, settings: DownloadSettings
) -> Iterator[tuple[str, Members | Rejection]]:
    """The outcome of each clip, in the order in which they are done.

    Args:
        clips: key -> row of the clip list.
        log: where every attempt is written before it is yielded.
        staging: folder for what is under way; nothing is written outside it.

    Yields:
        The key with its members (json, mp4) or the reason why there are none. A clip is done with when the next one is
        asked for: its media are deleted then.

    Raises:
        DownloadsStopped: when the site refuses one video after another and pauses do not help, or everything fails.
        ValueError: when the cookies file is missing or open to other people of the machine.
    """
    check_cookies(settings)
    return _Downloader(clips, log, staging, settings).run()


def check_cookies(settings: DownloadSettings) -> None:
    """Raise ValueError unless the cookies file, where one is set, is its owner's alone: whoever reads it is logged in."""
    if not settings.cookies:
        return
    path = Path(settings.cookies).expanduser()
    if not path.is_file():
        raise ValueError(
            f"DRAWAUDIO_YOUTUBE_COOKIES is {path}, which is no file; export the cookies there, see docs/datasets.md"
        )
    if path.stat().st_mode & 0o077:
        raise ValueError(f"cookies file {path} can be read by others of this machine; run: chmod 600 {path}")


class _Downloader:
    def __init__(
        self, clips: Mapping[str, ClipRow], log: AttemptLog, staging: Path, settings: DownloadSettings
    ) -> None:
        self.log, self.settings = log, settings
        self.queue = deque(_videos(clips, staging))
        self.running: dict[int, _Video] = {}
        self.refusals = _Refusals()
        self.failures = 0
        """Videos in a row that failed for reasons that should pass."""
        self.quota = Quota(settings.state_folder, per_hour=settings.videos_per_hour, burst=settings.burst_videos)
        self.announced = ""

    def run(self) -> Iterator[tuple[str, Members | Rejection]]:
        yield from self._known_failures()
        if not self.queue:
            return
        with VideoProcesses() as processes:
            while self.queue or self.running:
                wait = self._start(processes)
                for ended in processes.wait(wait):
                    yield from self._settle(self.running.pop(ended.number), ended)

    def _known_failures(self) -> Iterator[tuple[str, Rejection]]:
        """Clips that failed in this round already, in a run that was killed before the shard knew."""
        for video in list(self.queue):
            for key in list(video.keys):
                tried = [attempt for attempt in self.log.this_round(key) if not attempt.of_media]
                video.refusals = max(video.refusals, sum(not attempt.counts for attempt in tried))
                if tried and tried[-1].error and tried[-1].counts and tried[-1].error != "http_403":
                    del video.keys[key]
                    yield key, Rejection(key, tried[-1].error, tried[-1].message)
            if not video.keys:
                self.queue.remove(video)
                shutil.rmtree(video.folder, ignore_errors=True)

    def _start(self, processes: VideoProcesses) -> float:
        """Start as many videos as there are places and tokens for; returns the seconds to wait at most."""
        while self.queue and len(self.running) < self.settings.workers:
            video = self.queue[0]
            if not is_fetched(video.folder, tuple(video.keys.values())):
                wait = self.quota.try_take()
                if wait > 0:
                    self._announce_pause()
                    return min(wait, _LOOK_SECONDS)
            self.queue.popleft()
            (video.folder / "outcome.json").unlink(missing_ok=True)
            video.started = time.time()
            starts = tuple(sorted(set(video.keys.values())))
            request = VideoRequest(video.id, starts, str(video.folder), self.settings)
            processes.start(video.number, request.to_json(), self.settings.clip_limit_seconds * len(starts))
            self.running[video.number] = video
        return _LOOK_SECONDS

    def _settle(self, video: _Video, ended: Ended) -> Iterator[tuple[str, Members | Rejection]]:
        """Yield what a video's process has left."""
        outcome = _outcome(video, ended, self.settings)
        found = {key: read_clip(video.folder, start) for key, start in video.keys.items()}
        refused = bool(outcome.error) and CLASSES[outcome.error].kind in (Kind.SESSION, Kind.STOP)
        ends = [clip[0] if clip else outcome for clip in found.values()]
        stop = self._note_refusal(video, outcome) if refused else self._note_answer(ends)
        again = refused and video.refusals < self.settings.session_pauses
        for key, done in found.items():
            self._append(video, key, outcome, done)
            expired = (done[0] if done else outcome).error == "http_403" and not video.extracted_again
            if expired or (done is None and again):
                (video.folder / f"clip-{video.keys[key]:06d}.json").unlink(missing_ok=True)
                continue
            del video.keys[key]
            yield key, _end_of(key, outcome, done)
        if video.keys:
            video.extracted_again |= any(end.error == "http_403" for end in ends)
            self.queue.append(video)
        else:
            shutil.rmtree(video.folder, ignore_errors=True)
        if stop is not None:
            raise stop

    def _append(self, video: _Video, key: str, outcome: VideoOutcome, done: tuple[ClipOutcome, bytes] | None) -> None:
        """Write an attempt down."""
        clip, media = done or (None, b"")
        decided = clip or outcome
        tried = self.log.this_round(key)
        if clip and tried and tried[-1].error == clip.error == "":
            return  # Written down by a run that was killed before the shard had the clip.
        self.log.append(
            Attempt(
                key=key,
                round=self.log.round,
                error=decided.error,
                message=decided.message,
                started=video.started,
                ended=time.time(),
                access=access(self.settings),
                yt_dlp=clip.yt_dlp if clip else _yt_dlp_version(),
                format=clip.format if clip else "",
                bytes=len(media),
                sha256=hashlib.sha256(media).hexdigest() if media else "",
                facts=clip.facts if clip else {},
            )
        )

    def _note_answer(self, ends: list[ClipOutcome | VideoOutcome]) -> DownloadsStopped | None:
        """The site has answered; returns what ends the run when nothing but passing failures come.

        Args:
            ends: what became of the video's clips; a cut that fails is a failure as much as a transfer.
        """
        self.refusals = _Refusals()
        failed = all(end.error and CLASSES[end.error].kind is Kind.RETRY for end in ends)
        self.failures = self.failures + 1 if failed else 0
        if self.failures < self.settings.failures_in_a_row:
            return None
        return DownloadsStopped(
            f"{self.failures} videos in a row failed, the last one with {ends[-1].error}: {ends[-1].message}; look at the "
            "network, the disk and ffmpeg, then start the run again"
        )

    def _note_refusal(self, video: _Video, outcome: VideoOutcome) -> DownloadsStopped | None:
        """Pause the whole machine; returns what ends the run when pauses do not help."""
        error = CLASSES[outcome.error]
        if error.kind is Kind.SESSION:
            seconds = min(outcome.retry_after_seconds or self.settings.session_wait_seconds, _LONGEST_PAUSE_SECONDS)
            self.quota.pause(seconds, f"{error.name}: {outcome.message}")
        # Videos that were under way when the first one was refused are part of the same incident.
        if video.started < self.refusals.latest:
            return None
        video.refusals += 1
        self.refusals.incidents += 1
        self.refusals.latest = time.time()
        self.refusals.videos.add(video.id)
        # One video alone may be refused for ever: it is set aside for a later run, and is no reason to stop the others.
        if self.refusals.incidents < self.settings.session_pauses or len(self.refusals.videos) < 2:
            return None
        return DownloadsStopped(
            f"{self.refusals.incidents} times in a row {error.meaning} ({error.name}): {outcome.message}; what was "
            f"fetched is kept, {_advice(error.name)}, then start the run again"
        )

    def _announce_pause(self) -> None:
        """Say once for each pause why nothing happens."""
        from tqdm import tqdm

        seconds, reason = self.quota.paused()
        if seconds and reason != self.announced:
            tqdm.write(f"downloads pause for {seconds / 60:.0f} min ({reason})", file=sys.stderr)
        self.announced = reason if seconds else ""


def _videos(clips: Mapping[str, ClipRow], staging: Path) -> list[_Video]:
    """The clips by video, in the order of the keys."""
    by_video: dict[str, dict[str, int]] = {}
    for key in sorted(clips):
        by_video.setdefault(clips[key].source_id, {})[key] = clips[key].start_s
    return [
        # Two ids may differ in case alone, and a folder's name must hold nothing that comes from a list.
        _Video(number, name, keys, staging / hashlib.sha256(name.encode()).hexdigest()[:24])
        for number, (name, keys) in enumerate(by_video.items())
    ]


def _end_of(key: str, outcome: VideoOutcome, done: tuple[ClipOutcome, bytes] | None) -> Members | Rejection:
    """The members that the shard takes of a clip."""
    clip, media = done or (None, b"")
    decided = clip or outcome
    if decided.error:
        return Rejection(key, decided.error, decided.message)
    return members_of_media(media)


def _outcome(video: _Video, ended: Ended, settings: DownloadSettings) -> VideoOutcome:
    """The outcome that the process left, or that of a process that was killed."""
    if ended.timed_out:
        limit = settings.clip_limit_seconds
        message = f"fetching and cutting took longer than {limit:g} s a clip"
        return VideoOutcome("time_limit", message)
    outcome = read_outcome(video.folder)
    decided = all(read_clip(video.folder, start) is not None for start in video.keys.values())
    if outcome is not None and (outcome.error or decided):
        return outcome
    log = video.folder / "log.txt"
    words = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return VideoOutcome("crashed", f"status {ended.status}: {words[-1] if words else 'it said nothing'}")


def _advice(name: str) -> str:
    return {
        "bot_check": "wait some hours, or hand over cookies of an account (see docs/datasets.md)",
        "extractor_broken": "update yt-dlp and its JavaScript runtime",
    }.get(name, "wait some hours or lower the quota")


def _yt_dlp_version() -> str:
    from importlib.metadata import version

    return version("yt-dlp")
