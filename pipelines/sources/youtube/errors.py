"""Every way in which a clip can fail, and what follows from it.

Messages are those of yt-dlp (2025 to 2026) and, through it, of the site; both change. A message that no rule knows is
`unknown`, which is tried again and shows up in the ledger with its own words.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pipelines.sources.youtube.settings import DownloadSettings


class Kind(StrEnum):
    """Whether, and after what, a clip with this error is asked for again."""

    PERMANENT = "permanent"
    """Never asked again."""
    ACCOUNT = "account"
    """Asked again once cookies of an account are there."""
    REGION = "region"
    """Asked again once the machine speaks from elsewhere (another proxy)."""
    RETRY = "retry"
    """Asked again in a later run, while attempts are left."""
    SESSION = "session"
    """Nothing is wrong with the clip: the site is tired of this machine. All downloads pause; costs no attempt."""
    STOP = "stop"
    """Nothing is wrong with the clip: yt-dlp no longer understands the site. Several in a row end the run."""
    MEDIA = "media"
    """Of DRAWAUDIO_MEDIA: looked at again once the media have changed, or asked of the site where it may be."""


@dataclass(frozen=True)
class ErrorClass:
    """One row of the table of failures."""

    name: str
    kind: Kind
    meaning: str


_TABLE = (
    ("private", Kind.PERMANENT, "the uploader made the video private"),
    ("removed", Kind.PERMANENT, "the video or its account is gone"),
    ("drm", Kind.PERMANENT, "the video is encrypted"),
    ("paid", Kind.PERMANENT, "the video is for members or payment only"),
    ("empty_clip", Kind.PERMANENT, "the video ends before the clip begins"),
    ("short_clip", Kind.PERMANENT, "the video ends before the clip does"),
    ("no_audio", Kind.PERMANENT, "the video has no sound"),
    ("no_video", Kind.PERMANENT, "there is no moving picture"),
    ("av_offset", Kind.PERMANENT, "sound and picture of the clip begin too far apart"),
    ("too_large", Kind.PERMANENT, "the file is larger than the setting most_bytes"),
    ("age", Kind.ACCOUNT, "the site shows the video to accounts of age only"),
    ("login", Kind.ACCOUNT, "the site shows the video to accounts only"),
    ("copyright_geo", Kind.REGION, "the video is blocked in this country"),
    ("bot_check", Kind.SESSION, "the site takes this machine for a bot"),
    ("rate_limited", Kind.SESSION, "the site has seen too many videos asked for"),
    ("http_429", Kind.SESSION, "too many requests"),
    ("extractor_broken", Kind.STOP, "yt-dlp or its JavaScript runtime cannot read the site; update them"),
    ("http_403", Kind.RETRY, "the media's address was refused; it is extracted again once in the same run"),
    ("http_404", Kind.RETRY, "the media's address does not exist (any longer)"),
    ("http_5xx", Kind.RETRY, "the server failed"),
    ("http_error", Kind.RETRY, "another HTTP status"),
    ("network", Kind.RETRY, "the connection failed, or ended early"),
    ("time_limit", Kind.RETRY, "the clip took longer than the setting clip_limit_seconds"),
    ("not_media", Kind.RETRY, "the server sent something that is no video"),
    ("truncated", Kind.RETRY, "the file ends before the length that it declares"),
    ("hidden_frames", Kind.RETRY, "the clip carries frames from before its start, hidden by an edit list"),
    ("long_clip", Kind.RETRY, "the cut is longer than a clip"),
    ("ffmpeg", Kind.RETRY, "ffmpeg ended with an error"),
    (
        "unexplained",
        Kind.RETRY,
        "the site refuses without a reason; seen for videos that are there (yt-dlp 13583, 17497)",
    ),
    ("format", Kind.RETRY, "the video is not offered in any format of the setting format"),
    ("live", Kind.RETRY, "the video is still being broadcast, or has not begun"),
    ("unsafe_name", Kind.PERMANENT, "the server asked for a file outside the staging folder"),
    ("not_in_media", Kind.MEDIA, "DRAWAUDIO_MEDIA has no file of the clip, and DRAWAUDIO_MEDIA_ONLY is set"),
    (
        "no_file",
        Kind.MEDIA,
        "DRAWAUDIO_MEDIA has a link, a device or a sparse file of the clip's name, or lost the file",
    ),
    ("crashed", Kind.RETRY, "the process that fetched the video died"),
    ("unknown", Kind.RETRY, "a message that this table does not know"),
)
CLASSES = {name: ErrorClass(name, kind, meaning) for name, kind, meaning in _TABLE}
"""Every class by its name."""

_RULES = (
    # The order matters: a refusal for a while often begins with the words of a refusal for ever.
    ("rate_limited", ("rate-limited by youtube", "content isn't available, try again later")),
    ("bot_check", ("not a bot", "captcha challenge", "unusual traffic")),
    ("age", ("sign in to confirm your age", "age-restricted", "inappropriate for some users")),
    (
        "copyright_geo",
        (
            "blocked it in your country",
            "not made this video available in your country",
            "not available in your country",
            "not available from your location",
            "geo restriction",
            "georestricted",
        ),
    ),
    ("private", ("private video", "this video is private")),
    ("paid", ("members-only", "members only", "requires payment", "available to this channel's members")),
    ("drm", ("drm protected",)),
    (
        "live",
        ("live event will begin", "premieres in", "premiere will begin", "live event has ended", "is being broadcast"),
    ),
    (
        "extractor_broken",
        (
            "unable to extract",
            "precondition check failed",
            "signature extraction failed",
            "challenge solving failed",
            "no supported javascript runtime",
            "failed to extract any player response",
            "failed to parse json",
            "the page needs to be reloaded",
            "the following content is not available on this app",
        ),
    ),
    ("unexplained", ("this content isn't available", "playback on other websites has been disabled")),
    (
        "removed",
        (
            "has been removed",
            "been terminated",
            "no longer available",
            "video unavailable",
            "this video is unavailable",
            "video is not available",
            "does not exist",
            "removed by the uploader",
            "recording is not available",
        ),
    ),
    ("login", ("please sign in", "sign in to", "login required", "only available for registered users")),
    ("format", ("requested format is not available", "no video formats found", "only images are available")),
    ("too_large", ("larger than max-filesize",)),
    ("unsafe_name", ("is not allowed as a file extension", "unusual and will be skipped", "unsafeextension")),
    ("ffmpeg", ("ffmpeg exited with code", "postprocessing:", "conversion failed")),
    (
        "network",
        (
            "timed out",
            "failed to resolve",
            "connection reset",
            "connection aborted",
            "connection refused",
            "remote end closed",
            "bytes read",
            "incompleteread",
            "incomplete read",
            "content too short",
            "did not get any data blocks",
            "unable to connect",
            "network is unreachable",
            "transporterror",
            "ssl",
            "giving up after",
        ),
    ),
)
_BREAKING_WARNINGS = ("no supported javascript runtime", "challenge solving failed", "signature extraction failed")


def classify(message: str, *, status: int | None = None, cause: str = "", warnings: Iterable[str] = ()) -> ErrorClass:
    """The class of a failure.

    Args:
        message: yt-dlp's words.
        status: HTTP status of the answer that caused it, where one did.
        cause: name of the exception's type.
        warnings: what yt-dlp said before; a missing JavaScript runtime shows up as a missing format.
    """
    text = _plain(f"{message} {cause}")
    by_words = next((name for name, needles in _RULES if any(needle in text for needle in needles)), None)
    if by_words in ("rate_limited", "bot_check"):
        return CLASSES[by_words]
    # After the last retry yt-dlp keeps the status in its words only.
    stated = re.search(r"http error (\d{3})", text)
    if status is None and stated:
        status = int(stated[1])
    if status is not None:
        return CLASSES[_by_status(status)]
    if by_words in (None, "format", "removed") and any(
        needle in _plain(warning) for warning in warnings for needle in _BREAKING_WARNINGS
    ):
        return CLASSES["extractor_broken"]
    return CLASSES[by_words or "unknown"]


def access(settings: DownloadSettings) -> str:
    """As whom and from where the site is asked: what must change before an age or country error is worth another try."""
    who = "account" if settings.cookies else "guest"
    # The proxy's address may hold a password.
    where = f" via {hashlib.sha256(settings.proxy.encode()).hexdigest()[:8]}" if settings.proxy else ""
    return who + where


def worth_another_try(name: str, attempts: int, access_then: str, settings: DownloadSettings) -> bool:
    """Whether a clip that failed with this class is asked for again in a later run."""
    kind = CLASSES[name].kind
    if kind is Kind.RETRY:
        return attempts < settings.attempts
    if kind is Kind.ACCOUNT:
        return bool(settings.cookies) and not access_then.startswith("account")
    if kind is Kind.REGION:
        return access(settings).partition(" via ")[2] != access_then.partition(" via ")[2]
    return kind in (Kind.SESSION, Kind.STOP)


def _by_status(status: int) -> str:
    if status in (403, 404, 429):
        return f"http_{status}"
    if status == 410:
        return "http_404"
    return "http_5xx" if 500 <= status < 600 else "http_error"


def _plain(text: str) -> str:
    """Lower case, with the typewriter's apostrophe."""
    return text.replace("\u2019", "'").lower()
