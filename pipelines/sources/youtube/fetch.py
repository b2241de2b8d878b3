"""One video: asked for once, fetched into its own folder, cut into its clips.

Runs in a process of its own (processes.py), which may be killed at any moment. What is finished lies in the folder
under its final name, so that the next process takes it up: `source.mp4` (the whole video) or `section-<start>.mp4`, each with a
JSON beside it, then `clip-<start>.mp4` with its facts in `clip-<start>.json`, and `outcome.json` with what went wrong with the
video as a whole. A section is cut before the next one is fetched, so that a later one that hangs costs nothing.
All names in the folder are made of numbers: nothing that a server or a list says becomes part of a path, and nothing at
all reaches a shell.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from drawaudio_model.atomic_files import write_atomically
from pipelines.sources.youtube import ytdlp
from pipelines.sources.youtube.cut import cut, ffmpeg_binary
from pipelines.sources.youtube.errors import CLASSES
from pipelines.sources.youtube.outcomes import ClipOutcome, VideoOutcome, VideoRequest
from pipelines.sources.youtube.probe import Fault, Probe, as_columns, clip_fault, missing_part, probe, source_fault
from pipelines.sources.youtube.settings import DownloadSettings
from pipelines.sources.youtube.ytdlp import ROUNDING_SECONDS, Fetched, Refused, section_start


def fetch_video(request: VideoRequest) -> None:
    """Fetch and cut; leaves outcome.json in the folder."""
    folder = Path(request.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        try:
            _fetch_clips(request, folder)
            outcome = VideoOutcome()
        except Refused as refused:
            outcome = VideoOutcome(refused.fault.error.name, refused.fault.message, refused.retry_after_seconds)
        write_atomically(folder / "outcome.json", json.dumps(asdict(outcome)).encode())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """A process of a run that was just killed may still be ending in the same folder."""
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_clips(request: VideoRequest, folder: Path) -> None:
    starts, settings = _undecided(request, folder), request.settings
    if not starts:
        return
    ffmpeg = ffmpeg_binary(settings)
    for start in starts:
        if _section(folder, start).exists():
            _cut_section(ffmpeg, folder, start, settings)
    starts, source = _undecided(request, folder), folder / "source.mp4"
    if starts and not source.exists():
        for start, fault in ytdlp.fetch(request.video, starts, folder, ffmpeg, settings):
            if fault is None:
                _cut_section(ffmpeg, folder, start, settings)
            else:
                _judge(_clip(folder, start), fault, "", torn_when_short=False)
    if source.exists():
        _cut_whole(ffmpeg, source, _undecided(request, folder), settings)


def _undecided(request: VideoRequest, folder: Path) -> list[int]:
    return [start for start in request.starts if not _clip(folder, start).with_suffix(".json").exists()]


def _clip(folder: Path, start: int) -> Path:
    return folder / f"clip-{start:06d}.mp4"


def _section(folder: Path, start: int) -> Path:
    return folder / f"section-{start:06d}.mp4"


def _cut_section(ffmpeg: str, folder: Path, start: int, settings: DownloadSettings) -> None:
    section, clip = _section(folder, start), _clip(folder, start)
    known = _what_came(section)
    fault = cut(ffmpeg, section, start - section_start(start), clip, settings.clip_limit_seconds)
    _judge(clip, fault, known.format, torn_when_short=missing_part(start, known.seconds) is None)


def _cut_whole(ffmpeg: str, source: Path, starts: list[int], settings: DownloadSettings) -> None:
    whole, known = _probe_whole(source), _what_came(source)
    for start in starts:
        clip = _clip(source.parent, start)
        fault = missing_part(start, whole.video_seconds)
        if fault is None:
            fault = cut(ffmpeg, source, start, clip, settings.clip_limit_seconds)
        long_enough = missing_part(start, known.seconds - ROUNDING_SECONDS) is None
        _judge(clip, fault, known.format, torn_when_short=long_enough)


def _what_came(file: Path) -> Fetched:
    known = json.loads(file.with_suffix(".json").read_text())
    return Fetched(known["seconds"], known["format"])


def _probe_whole(source: Path) -> Probe:
    facts = probe(source)
    fault = facts if isinstance(facts, Fault) else source_fault(facts)
    if fault is not None:
        # What came is useless, now and for the next attempt.
        source.unlink()
        raise Refused(fault)
    assert isinstance(facts, Probe)
    return facts


def _judge(clip: Path, fault: Fault | None, form: str, *, torn_when_short: bool) -> None:
    """Decide on a clip and write it down; after this it is never cut again.

    Args:
        torn_when_short: the site says that the video is long enough, so a short clip comes of a file that came in part.
    """
    facts = None if fault else probe(clip)
    if isinstance(facts, Fault):
        fault = facts
    elif facts is not None:
        fault = clip_fault(facts)
    if fault and torn_when_short and fault.error.name in ("short_clip", "empty_clip"):
        fault = Fault(CLASSES["truncated"], f"{fault.message}, and the video is long enough")
    if fault:
        clip.unlink(missing_ok=True)
    outcome = ClipOutcome(
        error=fault.error.name if fault else "",
        message=fault.message if fault else "",
        format=form,
        yt_dlp=ytdlp.VERSION,
        facts=as_columns(facts) if isinstance(facts, Probe) else {},
    )
    write_atomically(clip.with_suffix(".json"), json.dumps(asdict(outcome)).encode())
