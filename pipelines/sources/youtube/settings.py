"""How politely, how fast and as whom clips are fetched from YouTube.

Every field can be set by an environment variable: DRAWAUDIO_YOUTUBE_ and the field's name in capitals
(DRAWAUDIO_YOUTUBE_COOKIES=~/cookies.txt). Quotas and throttling are measured facts of the site, seen in yt-dlp's wiki
and issues 17612 and 15036; they change with the site.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

PREFIX = "DRAWAUDIO_YOUTUBE_"

FORMAT = "bv*[vcodec^=avc1][height<=360]+ba[acodec^=mp4a]/b[vcodec^=avc1][height<=360]/b[ext=mp4][height<=360]"
"""H.264 and AAC only: a cut of VP9 costs ten times the CPU, and 360 lines are more than any network here looks at."""


@dataclass(frozen=True)
class DownloadSettings:
    """Everything that a person may want to change about the download."""

    cookies: str = ""
    """Netscape cookies file of a logged-in session; it is copied for each request and never written to. Empty: a guest."""
    guest_videos_per_hour: int = 250
    """The site stops guests at about 300 videos in an hour."""
    account_videos_per_hour: int = 1500
    """The site stops accounts at about 2000 videos in an hour; beyond it they may be banned."""
    burst_videos: int = 5
    """Videos that may start at once after a pause; counted within the hour's quota, never on top of it."""
    workers: int = 12
    """Videos under way at a time; the quota decides how many start."""
    sleep_seconds: float = 5.0
    sleep_most_seconds: float = 10.0
    """A random pause between these two comes before each download."""
    sleep_request_seconds: float = 0.75
    """Pause between the page requests of one video."""
    retries: int = 3
    """Times that a broken transfer is taken up again within one attempt."""
    extractor_retries: int = 2
    """Times that a video's page is asked again within one attempt."""
    retry_seconds: float = 2.0
    """Pause before the first retry; it doubles with each further one, up to a minute."""
    attempts: int = 5
    """Attempts that a clip gets over all runs; session errors (bot check, rate limit) cost none."""
    session_wait_seconds: float = 3600.0
    """Pause of all downloads of this machine after a session error, unless the site says how long (Retry-After)."""
    session_pauses: int = 3
    """Session errors in a row after which a run ends and asks for help instead of waiting once more."""
    failures_in_a_row: int = 20
    """Videos that fail one after another for reasons that should pass (network, disk, ffmpeg) after which a run ends: an
    outage must not use up the attempts of a whole list."""
    socket_timeout_seconds: float = 20.0
    clip_limit_seconds: float = 300.0
    """Wall clock that fetching and cutting may take for each clip of a video."""
    most_bytes: int = 600_000_000
    """Largest file that is fetched whole."""
    long_video_seconds: float = 720.0
    """Longer videos are fetched as sections over m3u8; sections of a plain file are throttled to 32 KiB/s."""
    proxy: str = ""
    """http://, https:// or socks5:// address of a proxy. Sections go through ffmpeg, which knows no SOCKS."""
    user_agent: str = ""
    """Empty: yt-dlp's own."""
    javascript_runtime: str = "deno"
    """Program that solves the site's challenges: deno (2.3 or later), node (22 or later) or bun, or `node:/path/to/node`."""
    ffmpeg: str = ""
    """Path of an ffmpeg binary. Empty: the one on PATH, else the one of the imageio-ffmpeg package."""
    url_template: str = "https://www.youtube.com/watch?v={id}"
    """Always a whole URL: hundreds of ids begin with "-" or "_" and would be read as options or searches."""
    extractors: str = "youtube"
    """yt-dlp's extractors that may answer, separated by commas."""
    format: str = FORMAT
    state: str = "~/.cache/drawaudio/youtube"
    """Folder of the quota and the pause. All processes of the machine must name the same one: the site counts addresses."""

    def __post_init__(self) -> None:
        if "{id}" not in self.url_template:
            raise ValueError(f"{PREFIX}URL_TEMPLATE is {self.url_template!r}, expected a URL with {{id}} in it")
        if not 0 < self.burst_videos < min(self.guest_videos_per_hour, self.account_videos_per_hour):
            raise ValueError(
                f"{PREFIX}BURST_VIDEOS is {self.burst_videos}, expected at least 1 and less than an hour's quota; lower it"
            )
        if self.sleep_most_seconds < self.sleep_seconds:
            raise ValueError(
                f"{PREFIX}SLEEP_MOST_SECONDS is {self.sleep_most_seconds:g}, expected at least "
                f"{PREFIX}SLEEP_SECONDS, {self.sleep_seconds:g}; raise it"
            )
        for name in (
            "workers",
            "attempts",
            "clip_limit_seconds",
            "most_bytes",
            "session_pauses",
            "failures_in_a_row",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{PREFIX}{name.upper()} is {getattr(self, name)}, expected more than 0")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """The settings with every DRAWAUDIO_YOUTUBE_* variable applied.

        Raises:
            ValueError: for a variable that names no setting, or a value that is no number where one is expected.
        """
        found = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in (os.environ if environment is None else environment).items()
            if name.startswith(PREFIX)
        }
        types = {field.name: type(field.default) for field in fields(cls)}
        unknown = sorted(set(found) - set(types))
        if unknown:
            raise ValueError(
                f"{PREFIX}{unknown[0].upper()} names no setting, expected one of "
                f"{', '.join(PREFIX + name.upper() for name in types)}; correct or unset it"
            )
        return cls(**{name: _parse(name, value, types[name]) for name, value in found.items()})

    @property
    def videos_per_hour(self) -> int:
        """The quota in force: an account's where there are cookies, else a guest's."""
        return self.account_videos_per_hour if self.cookies else self.guest_videos_per_hour

    @property
    def state_folder(self) -> Path:
        """Where the quota and the pause are kept for all processes of this machine."""
        return Path(self.state).expanduser()


def _parse(name: str, value: str, kind: type) -> Any:
    try:
        return kind(value)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise ValueError(f"{PREFIX}{name.upper()} is {value!r}, expected {expected}; correct or unset it") from None
