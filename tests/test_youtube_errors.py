"""The table of failures over messages as yt-dlp prints them."""

import pytest

from pipelines.sources.youtube.errors import CLASSES, Kind, access, classify, worth_another_try
from pipelines.sources.youtube.settings import DownloadSettings

HINT = (
    "Use --cookies-from-browser or --cookies for the authentication. "
    "See  https://github.com/yt-dlp/yt-dlp/wiki/FAQ#how-do-i-pass-cookies-to-yt-dlp  for how to manually pass cookies."
)
# Recorded in issue threads of yt-dlp and of the datasets' users, and in yt-dlp's own source; ids replaced.
RECORDED = [
    ("private", "[youtube] ---g-f_I2yQ: Private video. Sign in if you've been granted access to this video. " + HINT),
    ("private", "[youtube] abc: This video is private"),
    ("removed", "[youtube] abc: Video unavailable"),
    ("removed", "[youtube] abc: Video unavailable. This video has been removed by the uploader"),
    (
        "removed",
        "[youtube] abc: Video unavailable. This video is no longer available because the YouTube account associated with "
        "this video has been terminated.",
    ),
    ("removed", "[youtube] abc: This video has been removed for violating YouTube's Terms of Service"),
    ("removed", "[youtube] abc: Video unavailable. This video is no longer available due to a copyright claim by Sony"),
    ("removed", "[youtube] abc: This live stream recording is not available."),
    (
        "copyright_geo",
        "[youtube] abc: Video unavailable. This video contains content from UMG, who has blocked it in your country on "
        "copyright grounds",
    ),
    (
        "copyright_geo",
        "[youtube] abc: The uploader has not made this video available in your country\nThis video is available in "
        "Germany.\nYou might want to use a VPN or a proxy server (with --proxy) to workaround.",
    ),
    ("age", "[youtube] abc: Sign in to confirm your age. This video may be inappropriate for some users. " + HINT),
    ("age", "[youtube] abc: This video is age-restricted and only available on YouTube"),
    ("bot_check", "[youtube] abc: Sign in to confirm you\u2019re not a bot. " + HINT),
    ("bot_check", "[youtube] abc: Sign in to confirm you're not a bot. " + HINT),
    ("bot_check", "[youtube] abc: Video unavailable. YouTube is requiring a captcha challenge before playback"),
    (
        "rate_limited",
        "[youtube] abc: Video unavailable. This content isn't available, try again later. The current session has been "
        "rate-limited by YouTube for up to an hour. It is recommended to use `-t sleep` to add a delay between video requests",
    ),
    (
        "rate_limited",
        "[youtube] abc: Video unavailable. This content isn\u2019t available, try again later. Your account has been "
        "rate-limited by YouTube for up to an hour.",
    ),
    (
        "http_429",
        "[youtube] abc: Unable to download API page: HTTP Error 429: Too Many Requests (caused by <HTTPError 429>)",
    ),
    ("http_403", "unable to download video data: HTTP Error 403: Forbidden"),
    ("http_404", "unable to download video data: HTTP Error 404: Not Found"),
    ("http_5xx", "[download] Got error: HTTP Error 503: Service Unavailable. Giving up after 3 retries"),
    (
        "http_error",
        "[youtube] abc: Unable to download webpage: HTTP Error 400: Bad Request (caused by <HTTPError 400>)",
    ),
    ("format", "[youtube] abc: Requested format is not available. Use --list-formats for a list of available formats"),
    ("ffmpeg", "ffmpeg exited with code 8"),
    ("ffmpeg", "Postprocessing: Conversion failed!"),
    (
        "network",
        "[youtube] abc: Unable to download webpage: The read operation timed out (caused by TransportError(...))",
    ),
    (
        "network",
        "[youtube] abc: Unable to download API page: Failed to resolve 'www.youtube.com' ([Errno -2] Name or ...)",
    ),
    (
        "network",
        "unable to download video data: ('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))",
    ),
    ("network", "[download] Got error: 262144 bytes read, 5242880 more expected. Giving up after 3 retries"),
    ("network", "content too short (expected 1048576 bytes and served 65536)"),
    ("network", "Did not get any data blocks"),
    ("live", "[youtube] abc: This live event will begin in 3 hours."),
    ("live", "[youtube] abc: Premieres in 29 minutes"),
    ("paid", "[youtube] abc: Join this channel to get access to members-only content like this video"),
    ("paid", "[youtube] abc: This video requires payment to watch"),
    ("drm", "[youtube] abc: This video is DRM protected"),
    ("login", "[youtube] abc: Please sign in. " + HINT),
    ("extractor_broken", "[youtube] abc: Unable to extract initial player response; please report this issue"),
    ("extractor_broken", "[youtube] abc: Precondition check failed."),
    ("extractor_broken", "[youtube] abc: Failed to extract any player response; please report this issue on GitHub"),
    ("extractor_broken", "[youtube] abc: The page needs to be reloaded."),
    ("too_large", "[download] File is larger than max-filesize (700000000 bytes > 600000000 bytes). Aborting."),
    ("unsafe_name", "The extracted extension ('../x') is unusual and will be skipped for safety reasons"),
    (
        "network",
        "[youtube] abc: Unable to download webpage: [SSL: UNSAFE_LEGACY_RENEGOTIATION_DISABLED] unsafe legacy renegotiation "
        "disabled (_ssl.c:1000)",
    ),
    ("unknown", "[youtube] abc: Something that nobody has seen yet"),
]
WARNINGS = (
    "[youtube] No supported JavaScript runtime could be found. Only deno is enabled by default; to use another runtime add "
    "--js-runtimes RUNTIME[:PATH] to your command/config.",
    "[youtube] abc: n challenge solving failed: Some formats may be missing. Ensure you have a supported JavaScript runtime and "
    "challenge solver script distribution installed. Review any warnings presented before this message.",
)


@pytest.mark.parametrize(("name", "message"), RECORDED)
def test_a_recorded_message_has_its_class(name: str, message: str) -> None:
    assert classify(f"ERROR: {message}").name == name


def test_the_status_of_the_answer_wins_over_general_words() -> None:
    assert classify("unable to download video data", status=403).name == "http_403"
    assert classify("Unable to download API page", status=429).name == "http_429"
    assert classify("Unable to download API page", status=410).name == "http_404"
    assert classify("Sign in to confirm you\u2019re not a bot", status=403).name == "bot_check"


@pytest.mark.parametrize("warning", WARNINGS)
def test_a_missing_javascript_runtime_is_not_the_clips_fault(warning: str) -> None:
    message = "[youtube] abc: Requested format is not available. Use --list-formats for a list of available formats"
    assert classify(message, warnings=[warning]).kind is Kind.STOP
    assert classify(message, warnings=["[youtube] something else"]).kind is Kind.RETRY
    # A video that is private stays private, whatever else was said.
    assert classify("[youtube] abc: Private video", warnings=[warning]).kind is Kind.PERMANENT


def test_exceptions_without_words_are_told_by_their_type() -> None:
    assert classify("", cause="TransportError").name == "network"
    assert classify("", cause="GeoRestrictedError").name == "copyright_geo"


def test_kinds_are_distinct_in_what_follows() -> None:
    guest = DownloadSettings(attempts=3)
    account, abroad = DownloadSettings(cookies="cookies.txt"), DownloadSettings(proxy="http://user:word@host:1")
    again = {name: worth_another_try(name, 1, access(guest), guest) for name in CLASSES}
    expected = {Kind.RETRY: True, Kind.SESSION: True, Kind.STOP: True}
    assert again == {name: expected.get(row.kind, False) for name, row in CLASSES.items()}
    assert not worth_another_try("network", 3, access(guest), guest)
    assert worth_another_try("bot_check", 99, access(guest), guest)
    assert worth_another_try("age", 1, access(guest), account)
    assert not worth_another_try("age", 1, access(account), account)
    assert worth_another_try("copyright_geo", 1, access(guest), abroad)
    assert not worth_another_try("copyright_geo", 1, access(abroad), abroad)
    assert not worth_another_try("private", 1, access(guest), abroad)
    assert "word" not in access(abroad)
