"""The order that a run gives to a video's process, and the outcome that the process leaves in its folder.

The run reads these files and never loads yt-dlp itself.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.sources.youtube.settings import DownloadSettings


@dataclass(frozen=True)
class VideoRequest:
    """A video to fetch, its clips, and the folder for them."""

    video: str
    """The site's id of the video."""
    starts: tuple[int, ...]
    """Seconds at which its clips begin."""
    folder: str
    settings: DownloadSettings = field(default_factory=DownloadSettings)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "VideoRequest":
        values = json.loads(text)
        settings = DownloadSettings(**values.pop("settings"))
        return cls(starts=tuple(values.pop("starts")), settings=settings, **values)


@dataclass(frozen=True)
class VideoOutcome:
    """The outcome of a video as a whole; its clips' facts lie beside it."""

    error: str = ""
    """Class of youtube_errors; "" when all that could be cut was cut."""
    message: str = ""
    retry_after_seconds: float | None = None
    """How long the server asks to be left alone."""


@dataclass(frozen=True)
class ClipOutcome:
    """The outcome of one clip."""

    error: str
    """Class of youtube_errors; "" for a good clip."""
    message: str
    format: str
    """yt-dlp's ids of the formats, `+s` when the site's video was fetched as sections."""
    yt_dlp: str
    facts: dict[str, Any]
    """as_columns of the probe; empty where nothing was cut."""


def is_fetched(folder: Path, starts: tuple[int, ...]) -> bool:
    """Whether the rest can be done without asking the site again."""
    return (folder / "source.mp4").exists() or all(
        (folder / f"clip-{start:06d}.json").exists() or (folder / f"section-{start:06d}.mp4").exists()
        for start in starts
    )


def read_clip(folder: Path, start: int) -> tuple[ClipOutcome, bytes] | None:
    """A clip's outcome and its media (b"" for a failed one), or None where it has not been decided."""
    path = folder / f"clip-{start:06d}.json"
    if not path.exists():
        return None
    outcome = ClipOutcome(**json.loads(path.read_text()))
    return outcome, b"" if outcome.error else path.with_suffix(".mp4").read_bytes()


def read_outcome(folder: Path) -> VideoOutcome | None:
    """The outcome of the video, or None where its process was killed before there was one."""
    path = folder / "outcome.json"
    return VideoOutcome(**json.loads(path.read_text())) if path.exists() else None
