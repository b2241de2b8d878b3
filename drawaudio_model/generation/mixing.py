"""Several sounds of one video: tracks with instructions of their own, their stems, and the mix below a true peak.

The paper makes mixed sound so: "generate each track with its own caption, mask and curve, then add". What it does not
say is what happens to peaks: here the sum goes through a limiter that looks ahead, to -1 dBTP (levels/mixdown.py).
"""

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from drawaudio_model.generation.instructions import check_seed, parse_loudness, parse_mask
from drawaudio_model.levels.limiter import CEILING_DB as CEILING_DB
from drawaudio_model.levels.mixdown import Mix as Mix
from drawaudio_model.levels.mixdown import mix as mix
from drawaudio_model.text_files import read_json

MAX_GAIN_DB = 120
"""Of a track, up or down: more than lies between the faintest step of 16 bits and full scale."""


@dataclass(frozen=True)
class Track:
    """One sound of a mix; every instruction may be left out, but not all."""

    text: str | None = None
    negative_text: str | None = None
    mask: Any = None
    """As the pipeline's, as far as JSON can say it: path, text of a thing, "x0,y0,x1,y1", (x0, y0, x1, y1), or a list of
    such."""
    mask_invert: bool = False
    loudness: Any = None
    """As the pipeline's, as far as JSON can say it: path, "0:0,1.5:0.3", or (time, level) points."""
    gain_db: float = 0.0
    pan: float = 0.0
    """From -1, left alone, to 1, right alone."""
    mute: bool = False
    seed: int | None = None
    """None: the mix's seed and the track's number decide."""

    def __post_init__(self) -> None:
        numeric = isinstance(self.gain_db, int | float) and not isinstance(self.gain_db, bool)
        if not numeric or not abs(self.gain_db) <= MAX_GAIN_DB:
            raise ValueError(f"gain_db is {self.gain_db!r}, expected -{MAX_GAIN_DB} to {MAX_GAIN_DB} decibels")
        numeric = isinstance(self.pan, int | float) and not isinstance(self.pan, bool)
        if not numeric or not abs(self.pan) <= 1:
            raise ValueError(f"pan is {self.pan!r}, expected -1 (left) to 1 (right)")
        for name in ("mute", "mask_invert"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected true or false")
        if self.mask_invert and self.mask is None:
            raise ValueError("mask_invert is true without a mask; give the mask that is to be inverted")
        check_seed(self.seed)
        for name in ("text", "negative_text"):
            if not isinstance(getattr(self, name), str | None):
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected a text")

    @property
    def name(self) -> str:
        """The words of its text as part of a file's name."""
        words = "".join(letter if letter.isalnum() else " " for letter in self.text or "track")
        return "-".join(words.lower().split())[:40] or "track"

    def instructions(self) -> dict[str, Any]:
        """The fields that determine its stem: all but gain, pan and mute."""
        # A field that was added later is left out at its default, so that stems made before are found again.
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in ("gain_db", "pan", "mute") and (value or name != "mask_invert")
        }


def read_tracks(path: Path) -> list[Track]:
    """The tracks of a .json file: a list of objects with Track's fields; paths in it are relative to the file's folder.

    Raises:
        ValueError: naming the file and the track, when it is no such list.
    """
    if not path.is_file():
        raise ValueError(f"tracks {path} does not exist; give a .json list of tracks")
    rows = read_json(path, f"tracks {path}")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"tracks {path} holds no list of tracks, expected [{{'text': ...}}, ...]")
    names = [field.name for field in fields(Track)]
    tracks = []
    for number, row in enumerate(rows, start=1):
        unknown = sorted(set(row) - set(names))
        if unknown:
            raise ValueError(f"track {number} of {path} has {unknown[0]!r}, expected only {', '.join(names)}")
        placed = {name: _from_json(row.get(name), path.parent) for name in ("mask", "loudness")}
        try:
            # Texts that can be nothing are refused here, before a model is loaded.
            for name, parse in (("mask", parse_mask), ("loudness", parse_loudness)):
                placed[name] = parse(placed[name]) if isinstance(placed[name], str) else placed[name]
            tracks.append(Track(**(row | placed)))
        except ValueError as error:
            raise ValueError(f"track {number} of {path}: {error}") from error
    return tracks


def _from_json(value: Any, folder: Path) -> Any:
    """Lists as tuples inside, as the pipeline takes boxes and points; a path that exists beside the file as that path."""
    if isinstance(value, str):
        return str(folder / value) if value.strip() and os.path.exists(folder / value) else value
    if isinstance(value, list) and value and all(isinstance(item, list) for item in value):
        return [tuple(item) for item in value]
    return tuple(value) if isinstance(value, list) else value
