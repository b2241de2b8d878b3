"""One video: asked for once, fetched into its own folder, cut into its clips.

Runs in a process of its own (youtube_processes.py), which may be killed at any moment. What is finished lies in the folder
under its final name, so that the next process takes it up: `source.mp4` (the whole video) or `section-<start>.mp4`, then
`clip-<start>.mp4` with its facts in `clip-<start>.json`, and `outcome.json` with what went wrong with the video as a whole.
All names in the folder are made of numbers: nothing that a server or a list says becomes part of a path, and nothing at
all reaches a shell.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from drawaudio_model.shard import write_atomically
from pipelines.sources import youtube_ytdlp
from pipelines.sources.youtube_cut import cut, ffmpeg_binary
from pipelines.sources.youtube_errors import CLASSES
from pipelines.sources.youtube_outcomes import ClipOutcome, VideoOutcome, VideoRequest
from pipelines.sources.youtube_probe import Fault, Probe, as_columns, clip_fault, missing_part, probe, source_fault
from pipelines.sources.youtube_ytdlp import ROUNDING_SECONDS, Fetched, Refused, section_start


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
    starts = [start for start in request.starts if not (folder / f"clip-{start:06d}.json").exists()]
    if not starts:
        return
    ffmpeg = ffmpeg_binary(request.settings)
    described = folder / "source.json"
    if not described.exists():
        source = youtube_ytdlp.fetch(request.video, starts, folder, ffmpeg, request.settings)
        write_atomically(described, _to_json(source))
    source = _from_json(described.read_text())
    whole = None if source.sections else _probe_whole(folder / "source.mp4")
    for start in starts:
        clip = folder / f"clip-{start:06d}.mp4"
        if whole is not None:
            place, offset, seconds, slack = folder / "source.mp4", 0, whole.video_seconds, 0.0
        else:
            offset, seconds, slack = section_start(start), source.seconds, ROUNDING_SECONDS
            place = folder / f"section-{start:06d}.mp4"
        fault = source.faults.get(start) or missing_part(start, seconds, slack)
        if fault is None:
            fault = cut(ffmpeg, place, start - offset, clip, request.settings.clip_limit_seconds)
        _judge(clip, fault, source.format, torn_when_short=source.sections and missing_part(start, seconds) is None)


def _to_json(source: Fetched) -> bytes:
    faults = {start: (fault.error.name, fault.message) for start, fault in source.faults.items()}
    return json.dumps(asdict(source) | {"faults": faults}).encode()


def _from_json(text: str) -> Fetched:
    values = json.loads(text)
    faults = {int(start): Fault(CLASSES[name], message) for start, (name, message) in values.pop("faults").items()}
    return Fetched(**values, faults=faults)


def _probe_whole(source: Path) -> Probe:
    facts = probe(source)
    fault = facts if isinstance(facts, Fault) else source_fault(facts)
    if fault is not None:
        # What came is useless, now and for the next attempt.
        source.unlink()
        source.with_name("source.json").unlink()
        raise Refused(fault)
    return facts


def _judge(clip: Path, fault: Fault | None, form: str, *, torn_when_short: bool) -> None:
    """Decide on a clip and write it down; after this it is never cut again.

    Args:
        torn_when_short: the video is long enough, so a short clip is a section that came in part.
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
        yt_dlp=youtube_ytdlp.VERSION,
        facts=as_columns(facts) if isinstance(facts, Probe) else {},
    )
    write_atomically(clip.with_suffix(".json"), json.dumps(asdict(outcome)).encode())
