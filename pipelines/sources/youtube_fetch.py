"""One video: asked for once, fetched into its own folder, cut into its clips.

Runs in a process of its own (youtube_processes.py), which may be killed at any moment. What is finished lies in the folder
under its final name, so that the next process takes it up: `source.mp4` (the whole video) or `section-<start>.mp4`, then
`clip-<start>.mp4` with its facts in `clip-<start>.json`, and `outcome.json` with what went wrong with the video as a whole.
All names in the folder are made of numbers: nothing that a server or a list says becomes part of a path, and nothing at
all reaches a shell.
"""

import fcntl
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from yt_dlp import YoutubeDL
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor
from yt_dlp.utils import YoutubeDLError, download_range_func
from yt_dlp.version import __version__ as YT_DLP_VERSION

from drawaudio_model.clip_format import SOURCE_SECONDS
from drawaudio_model.shard import write_atomically
from pipelines.sources.youtube_cut import NEARLY_LOSSLESS, cut, ffmpeg_binary
from pipelines.sources.youtube_errors import CLASSES, classify
from pipelines.sources.youtube_outcomes import ClipOutcome, VideoOutcome, VideoRequest
from pipelines.sources.youtube_probe import Fault, Probe, as_columns, clip_fault, missing_part, probe, source_fault
from pipelines.sources.youtube_settings import DownloadSettings

SECTION_MARGIN_SECONDS = 3
"""A section begins so much before its clip, which is then cut out of it: in MPEG-TS the sound that belongs to a segment's first
pictures lies in the segment before, and was seen to be missing for 0.8 s."""
ROUNDING_SECONDS = 1.0
"""The site's length of a video is a whole number of seconds."""


class _Refused(Exception):
    """The video cannot be had."""

    def __init__(self, fault: Fault, retry_after_seconds: float | None = None) -> None:
        super().__init__(fault.message)
        self.fault, self.retry_after_seconds = fault, retry_after_seconds


def fetch_video(request: VideoRequest) -> None:
    """Fetch and cut; leaves outcome.json in the folder."""
    folder = Path(request.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        try:
            _fetch_clips(request, folder)
            outcome = VideoOutcome()
        except _Refused as refused:
            outcome = VideoOutcome(refused.fault.error.name, refused.fault.message, refused.retry_after_seconds)
        write_atomically(folder / "outcome.json", json.dumps(asdict(outcome)).encode())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """A process of a run that was just killed may still be ending in the same folder."""
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_clips(request: VideoRequest, folder: Path) -> None:
    open_starts = [start for start in request.starts if not (folder / f"clip-{start:06d}.json").exists()]
    if not open_starts:
        return
    ffmpeg = ffmpeg_binary(request.settings)
    described = folder / "source.json"
    if not described.exists():
        source = _download(request, open_starts, folder, ffmpeg)
        write_atomically(described, json.dumps(source).encode())
    source = json.loads(described.read_text())
    whole = None if source["sections"] else folder / "source.mp4"
    facts = _probe_whole(whole) if whole else None
    for start in open_starts:
        clip = folder / f"clip-{start:06d}.mp4"
        seconds, slack = (facts.video_seconds, 0.0) if facts else (source["seconds"], ROUNDING_SECONDS)
        place = whole or folder / f"section-{_section_start(start):06d}.mp4"
        offset = 0 if whole else _section_start(start)
        fault = missing_part(start, seconds, slack)
        if fault is None:
            fault = cut(ffmpeg, place, start - offset, clip, request.settings.clip_limit_seconds)
        _judge(clip, fault, source["format"])


def _probe_whole(source: Path) -> Probe:
    facts = probe(source)
    fault = facts if isinstance(facts, Fault) else source_fault(facts)
    if fault is not None:
        # What came is useless, now and for the next attempt.
        source.unlink()
        source.with_name("source.json").unlink()
        raise _Refused(fault)
    return facts


def _judge(clip: Path, fault: Fault | None, form: str) -> None:
    """Decide on a clip and write it down; after this it is never cut again."""
    facts = None if fault else probe(clip)
    if isinstance(facts, Fault):
        fault = facts
    elif facts is not None:
        fault = clip_fault(facts)
    if fault:
        clip.unlink(missing_ok=True)
    outcome = ClipOutcome(
        error=fault.error.name if fault else "",
        message=fault.message if fault else "",
        format=form,
        yt_dlp=YT_DLP_VERSION,
        facts=as_columns(facts) if isinstance(facts, Probe) else {},
    )
    write_atomically(clip.with_suffix(".json"), json.dumps(asdict(outcome)).encode())


def _download(request: VideoRequest, starts: list[int], folder: Path, ffmpeg: str) -> dict[str, Any]:
    """Fetch the video (or its sections) to its final name; returns what source.json says.

    Raises:
        _Refused: with the class of the failure.
    """
    settings, work = request.settings, folder / "download"
    work.mkdir(exist_ok=True)
    log = _Log()
    options = _options(settings, work, ffmpeg, log)
    # The section downloader does not look at the option ffmpeg_location; yt-dlp's own command tells it in this way.
    FFmpegPostProcessor._ffmpeg_location.set(ffmpeg)
    try:
        with YoutubeDL(options) as asker:
            info = asker.extract_info(settings.url_template.format(id=request.video), download=False, process=False)
            _check_plain_video(info)
            seconds = float(info.get("duration") or 0)
            wanted = [start for start in starts if not seconds or not missing_part(start, seconds, ROUNDING_SECONDS)]
            sections = seconds > settings.long_video_seconds and _has_m3u8(info)
            if not wanted:
                return {"sections": True, "seconds": seconds, "format": ""}
            if not sections:
                fetched = asker.process_ie_result(info, download=True)
        if sections:
            with YoutubeDL(options | _section_options(work, wanted)) as asker:
                fetched = asker.process_ie_result(info, download=True)
    except YoutubeDLError as error:
        raise _refusal(error, log, settings) from error
    files = _downloaded_files(fetched, work, log)
    if sections:
        for start in wanted:
            name = f"section-{_section_start(start):06d}.mp4"
            os.replace(_only(work / name, files), folder / name)
    else:
        os.replace(_only(None, files), folder / "source.mp4")
    shutil.rmtree(work)
    form = str(fetched.get("format_id") or "")
    return {"sections": sections, "seconds": seconds, "format": f"{form}+s" if sections else form}


def _options(settings: DownloadSettings, work: Path, ffmpeg: str, log: "_Log") -> dict[str, Any]:
    """yt-dlp's options for a whole video, by its native downloader."""

    def pause(n: int) -> float:
        return min(60.0, settings.retry_seconds * 2.0**n)

    def check_size(status: Mapping[str, Any]) -> None:
        if (status.get("downloaded_bytes") or 0) > settings.most_bytes:
            raise _Refused(Fault(CLASSES["too_large"], f"more than {settings.most_bytes} bytes came"))

    runtime, _, path = settings.javascript_runtime.partition(":")
    return {
        "format": settings.format,
        "merge_output_format": "mp4",
        "outtmpl": {"default": str(work / "media.mp4")},
        "cachedir": str(settings.state_folder / "yt-dlp"),
        "logger": log,
        "noprogress": True,
        "noplaylist": True,
        "fixup": "never",
        "updatetime": False,
        "ffmpeg_location": ffmpeg,
        "retries": settings.retries,
        "fragment_retries": settings.retries,
        "extractor_retries": settings.extractor_retries,
        "retry_sleep_functions": {"http": pause, "fragment": pause, "extractor": pause},
        "sleep_interval": settings.sleep_seconds,
        "max_sleep_interval": settings.sleep_most_seconds,
        "sleep_interval_requests": settings.sleep_request_seconds,
        "socket_timeout": settings.socket_timeout_seconds,
        "max_filesize": settings.most_bytes,
        "progress_hooks": [check_size],
        # A copy in memory: yt-dlp writes the file back when it ends, and many processes would tear it.
        "cookiefile": _cookies(settings),
        # Asking again with an invented address is a second request, and seldom helps.
        "geo_bypass": False,
        "proxy": settings.proxy or None,
        "http_headers": {"User-Agent": settings.user_agent} if settings.user_agent else {},
        "js_runtimes": {runtime: {"path": path} if path else {}},
        "allowed_extractors": settings.extractors.split(","),
    }


def _section_options(work: Path, starts: list[int]) -> dict[str, Any]:
    """What changes for sections over m3u8, encoded anew so that they begin where they should."""
    ends = [(_section_start(start), start + SOURCE_SECONDS + 1) for start in starts]
    return {
        "format_sort": ["proto:m3u8"],
        "outtmpl": {"default": str(work / "section-%(section_start)06d.mp4")},
        "download_ranges": download_range_func(None, ends),
        "force_keyframes_at_cuts": True,
        "external_downloader_args": {"ffmpeg_o": list(NEARLY_LOSSLESS)},
    }


def _section_start(start: int) -> int:
    return max(0, start - SECTION_MARGIN_SECONDS)


def _cookies(settings: DownloadSettings) -> io.StringIO | None:
    return io.StringIO(Path(settings.cookies).expanduser().read_text()) if settings.cookies else None


def _check_plain_video(info: Mapping[str, Any]) -> None:
    if info.get("_type", "video") != "video":
        raise _Refused(Fault(CLASSES["format"], f"the address leads to a {info['_type']}, expected one video"))
    if info.get("live_status") in ("is_live", "is_upcoming") or info.get("is_live"):
        raise _Refused(Fault(CLASSES["live"], "the video is being broadcast, or has not begun"))


def _has_m3u8(info: Mapping[str, Any]) -> bool:
    return any(str(form.get("protocol", "")).startswith("m3u8") for form in info.get("formats") or ())


def _downloaded_files(fetched: Mapping[str, Any], work: Path, log: "_Log") -> list[Path]:
    """What yt-dlp says it wrote, all of it inside the folder."""
    files = [Path(row["filepath"]) for row in fetched.get("requested_downloads") or () if row.get("filepath")]
    outside = [file for file in files if not file.resolve().is_relative_to(work.resolve())]
    if outside:
        raise _Refused(Fault(CLASSES["unsafe_name"], f"the file was to be written to {outside[0]}"))
    there = [file for file in files if file.is_file()]
    if not there:
        raise _Refused(Fault(classify(log.last), f"nothing was written: {log.last}"))
    return there


def _only(expected: Path | None, files: list[Path]) -> Path:
    found = [file for file in files if expected in (None, file)]
    if len(found) != 1:
        raise _Refused(Fault(CLASSES["unknown"], f"{len(found)} files came, expected one"))
    return found[0]


def _refusal(error: YoutubeDLError, log: "_Log", settings: DownloadSettings) -> _Refused:
    """The class of yt-dlp's error, from its words and from the exception at its bottom."""
    bottom = _bottom(error)
    status = bottom.status if isinstance(bottom, HTTPError) else None
    message = str(error).replace("\r", "").removeprefix("ERROR: ")
    if settings.proxy:
        # Its address may hold a password, and messages stay in the ledger.
        message = message.replace(settings.proxy, "<proxy>")
    fault = Fault(classify(message, status=status, cause=type(bottom).__name__, warnings=log.warnings), message)
    after = bottom.response.headers.get("Retry-After", "") if isinstance(bottom, HTTPError) else ""
    return _Refused(fault, float(after) if after.isdigit() else None)


def _bottom(error: BaseException) -> BaseException:
    """The exception that started it: an HTTP answer or a broken connection, where there was one."""
    seen: list[BaseException] = []
    while error not in seen:
        seen.append(error)
        inner = (getattr(error, "exc_info", None) or (None, None))[1] or getattr(error, "cause", None)
        error = inner if isinstance(inner, BaseException) else error
    return next((found for found in seen if isinstance(found, HTTPError)), seen[-1])


class _Log:
    """yt-dlp's words, the last of each kind kept."""

    def __init__(self) -> None:
        self.last = ""
        self.warnings: list[str] = []

    def debug(self, text: str) -> None:
        self.last = text.strip() or self.last

    def info(self, text: str) -> None:
        self.debug(text)

    def warning(self, text: str) -> None:
        self.warnings.append(text)

    def error(self, text: str) -> None:
        self.debug(text)
