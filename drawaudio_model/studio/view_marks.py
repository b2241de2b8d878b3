"""Whether the views of a video are there (`media_view` makes them): asked by the server, which loads no decoder for it."""

import json
from pathlib import Path
from typing import Any

VERSION = 2
"""Of what lies in the folder: another version is made again."""


def file_mark(video: Path) -> list[Any]:
    """A mark that changes when the file does."""
    state = video.stat()
    return [VERSION, str(video), state.st_size, state.st_mtime_ns]


def is_made(video: Path, folder: Path) -> bool:
    """Whether the folder holds the views of this very file."""
    try:
        return json.loads((folder / "media.json").read_bytes())["mark"] == file_mark(video)
    except (OSError, ValueError, KeyError):
        return False
