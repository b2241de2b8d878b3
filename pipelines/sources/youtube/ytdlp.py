"""yt-dlp's part: one video, whole by the native downloader or as sections over m3u8 by ffmpeg, and why it could not be had.

Everything that yt-dlp is told and everything that it says passes here.
"""

import io
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from yt_dlp import YoutubeDL
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor
from yt_dlp.utils import YoutubeDLError, download_range_func
from yt_dlp.version import __version__ as VERSION

from drawaudio_model.atomic_files import put_in_place, write_atomically
from drawaudio_model.clip_format import SOURCE_SECONDS
from pipelines.sources.youtube.cut import NEARLY_LOSSLESS
from pipelines.sources.youtube.errors import CLASSES, Kind, classify
from pipelines.sources.youtube.probe import Fault, missing_part
from pipelines.sources.youtube.settings import DownloadSettings

__all__ = ["ROUNDING_SECONDS", "VERSION", "Fetched", "Refused", "fetch", "section_start"]

SECTION_MARGIN_SECONDS = 3
"""A section begins so much before its clip, which is then cut out of it: in MPEG-TS the sound that belongs to a segment's first
pictures lies in the segment before, and was seen to be missing for 0.8 s."""
ROUNDING_SECONDS = 1.0
"""The site's length of a video is a whole number of seconds."""

_LEFT_OUT = re.compile(
    r"failed to open segment|failed too many times|ends prematurely|http error \d|connection (reset|timed out)"
    r"|input/output error|operation timed out|error in the pull function",
    re.IGNORECASE,
)
"""ffmpeg's words when it goes on without a segment: it closes the gap with what comes later, and ends with status 0."""


class Refused(Exception):
    """The video cannot be had."""

    def __init__(self, fault: Fault, retry_after_seconds: float | None = None) -> None:
        super().__init__(fault.message)
        self.fault, self.retry_after_seconds = fault, retry_after_seconds


class _Overdue(Exception):
    """A section has taken as long as a clip may."""


@dataclass(frozen=True)
class Fetched:
    """The facts of a downloaded file; they stand beside it as JSON, and are there before it."""

    seconds: float
    """The video's length as the site says it; 0: it says nothing."""
    format: str
    """yt-dlp's ids of the formats, `+s` for a section."""


def fetch(
    video: str, starts: list[int], folder: Path, ffmpeg: str, settings: DownloadSettings
) -> Iterator[tuple[int, Fault | None]]:
    """Ask for a video once and fetch what its clips need; files get their names in the folder when they are whole.

    Yields:
        The start of a clip, and None when its section lies there as `section-<start>.mp4`, or why it cannot be had. The next
        section is fetched when the next one is asked for. Nothing of a video that came whole, as `source.mp4`.

    Raises:
        Refused: with the class of the failure.
    """
    work, log = folder / "download", _Log()
    work.mkdir(exist_ok=True)
    options = _options(settings, work, ffmpeg, log)
    # The section downloader does not look at the option ffmpeg_location; yt-dlp's own command tells it in this way.
    FFmpegPostProcessor._ffmpeg_location.set(ffmpeg)
    try:
        with YoutubeDL(options) as asker:
            info = asker.extract_info(settings.url_template.format(id=video), download=False, process=False)
            _check_plain_video(info)
            seconds = float(info.get("duration") or 0)
            missing = {start: missing_part(start, seconds, ROUNDING_SECONDS) if seconds else None for start in starts}
            in_sections = seconds > settings.long_video_seconds and _has_m3u8(info)
            if not in_sections and not all(missing.values()):
                done = asker.process_ie_result(info, download=True)
                _keep(
                    _written(done, work, log), folder / "source.mp4", Fetched(seconds, str(done.get("format_id") or ""))
                )
                missing = {}
    except YoutubeDLError as error:
        raise _refusal(error, log, settings) from error
    for start, fault in missing.items():
        yield start, fault or _fetch_section(info, start, folder, options, settings, log)
    shutil.rmtree(work)


def section_start(start: int) -> int:
    """Where the section of a clip begins."""
    return max(0, start - SECTION_MARGIN_SECONDS)


def _fetch_section(
    info: Mapping[str, Any],
    start: int,
    folder: Path,
    options: Mapping[str, Any],
    settings: DownloadSettings,
    log: "_Log",
) -> Fault | None:
    """Fetch one section; returns why it cannot be had, or None when it is there."""
    work = folder / "download"
    words = work / "ffmpeg.txt"
    copied = dict(info) | {"formats": [dict(row) for row in info["formats"]]}
    try:
        with (
            _limited(settings.clip_limit_seconds),
            _words_of_ffmpeg(words),
            YoutubeDL({**options, **_section_options(work, start, settings)}) as asker,
        ):
            done = asker.process_ie_result(copied, download=True)
        fault = _left_out(words)
        if fault is None:
            fetched = Fetched(float(info["duration"]), f"{done.get('format_id') or ''}+s")
            _keep(_written(done, work, log), folder / f"section-{start:06d}.mp4", fetched)
            return None
    except YoutubeDLError as error:
        fault = _left_out(words) or _refusal(error, log, settings).fault
    except _Overdue:
        fault = Fault(CLASSES["time_limit"], f"fetching the section took longer than {settings.clip_limit_seconds:g} s")
    if fault.error.kind in (Kind.SESSION, Kind.STOP):
        raise Refused(fault)
    shutil.rmtree(work)
    work.mkdir()
    return fault


def _keep(file: Path, final: Path, fetched: Fetched) -> None:
    """Give a whole file its name; what is known of it is written before, so that a killed process needs not ask again."""
    write_atomically(final.with_suffix(".json"), json.dumps(asdict(fetched)).encode())
    put_in_place(file, final)


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise _Overdue in the block after so long, so that one section that hangs costs no other its turn."""

    def stop(number: int, frame: object) -> None:
        raise _Overdue

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _words_of_ffmpeg(path: Path) -> Iterator[None]:
    """Send what programs write to stderr to a file."""
    sys.stderr.flush()
    before = os.dup(2)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)


def _left_out(words: Path) -> Fault | None:
    """The fault where ffmpeg left out a part of a section, or None."""
    lines = words.read_text(errors="replace").splitlines() if words.exists() else []
    lost = [line.strip() for line in lines if _LEFT_OUT.search(line)]
    if not lost:
        return None
    found = classify(lost[0])
    error = CLASSES["network"] if found.name == "unknown" else found
    return Fault(error, f"parts of the section are missing: {_without_addresses(lost[0])}")


def _options(settings: DownloadSettings, work: Path, ffmpeg: str, log: "_Log") -> dict[str, Any]:
    """Options for a whole video, by the native downloader."""

    def pause(n: int) -> float:
        return min(60.0, settings.retry_seconds * 2.0**n)

    def check_size(status: Mapping[str, Any]) -> None:
        if (status.get("downloaded_bytes") or 0) > settings.most_bytes:
            raise Refused(Fault(CLASSES["too_large"], f"more than {settings.most_bytes} bytes came"))

    runtime, _, path = settings.javascript_runtime.partition(":")
    return {
        "format": settings.format,
        "merge_output_format": "mp4",
        "outtmpl": {"default": str(work / "media.mp4")},
        "cachedir": str(settings.state_folder / "yt-dlp"),
        "logger": log,
        "noprogress": True,
        "noplaylist": True,
        # Segments of MPEG-TS become an mp4: in a bare MPEG-TS ffmpeg does not find the place to cut at.
        "fixup": "detect_or_warn",
        "updatetime": False,
        "ffmpeg_location": ffmpeg,
        "retries": settings.retries,
        "fragment_retries": settings.retries,
        "extractor_retries": settings.extractor_retries,
        # A video with holes is no video.
        "skip_unavailable_fragments": False,
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


def _section_options(work: Path, start: int, settings: DownloadSettings) -> dict[str, Any]:
    """yt-dlp's options for a section over m3u8, encoded anew so that it begins where it should."""
    ends = [(section_start(start), start + SOURCE_SECONDS + 1)]
    return {
        # Each YoutubeDL reads its copy to the end.
        "cookiefile": _cookies(settings),
        "format_sort": ["proto:m3u8"],
        "outtmpl": {"default": str(work / "section.mp4")},
        "download_ranges": download_range_func(None, ends),
        "force_keyframes_at_cuts": True,
        "external_downloader_args": {"ffmpeg_o": list(NEARLY_LOSSLESS)},
    }


def _cookies(settings: DownloadSettings) -> io.StringIO | None:
    if not settings.cookies:
        return None
    return io.StringIO(Path(settings.cookies).expanduser().read_text(encoding="utf-8-sig"))


def _check_plain_video(info: Mapping[str, Any]) -> None:
    if info.get("_type", "video") != "video":
        raise Refused(Fault(CLASSES["format"], f"the address leads to a {info['_type']}, expected one video"))
    if info.get("live_status") in ("is_live", "is_upcoming") or info.get("is_live"):
        raise Refused(Fault(CLASSES["live"], "the video is being broadcast, or has not begun"))


def _has_m3u8(info: Mapping[str, Any]) -> bool:
    return any(str(form.get("protocol", "")).startswith("m3u8") for form in info.get("formats") or ())


def _written(done: Mapping[str, Any], work: Path, log: "_Log") -> Path:
    """The one file that yt-dlp says it wrote, inside the folder."""
    files = [Path(row["filepath"]) for row in done.get("requested_downloads") or () if row.get("filepath")]
    outside = [file for file in files if not file.resolve().is_relative_to(work.resolve())]
    if outside:
        raise Refused(Fault(CLASSES["unsafe_name"], f"the file was to be written to {outside[0]}"))
    there = [file for file in files if file.is_file()]
    if len(there) != 1:
        raise Refused(Fault(classify(log.last), f"{len(there)} files were written: {log.last}"))
    return there[0]


def _refusal(raised: YoutubeDLError, log: "_Log", settings: DownloadSettings) -> Refused:
    """The class of yt-dlp's error, from its words and from the exception at its bottom."""
    bottom = _bottom(raised)
    status = bottom.status if isinstance(bottom, HTTPError) else None
    message = str(raised).replace("\r", "").removeprefix("ERROR: ")
    if settings.proxy:
        # Its address may hold a password, and messages stay in the ledger.
        message = message.replace(settings.proxy, "<proxy>")
    found = classify(message, status=status, cause=type(bottom).__name__, warnings=log.warnings)
    after = bottom.response.headers.get("Retry-After", "") if isinstance(bottom, HTTPError) else ""
    return Refused(Fault(found, _without_addresses(message)), float(after) if after.isdigit() else None)


def _without_addresses(message: str) -> str:
    """Media's addresses hold that of this machine, and messages are published with the losses."""
    return re.sub(r"\w+://[^\s'\"]+", "<address>", message)


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
