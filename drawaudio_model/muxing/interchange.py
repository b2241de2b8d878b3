"""A cut list of a picture and its sounds, as editing programs read it: OpenTimelineIO, CMX3600 EDL, and markers as a table.

All of it begins at one moment: the first frame of the picture and the first sample of every sound.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from urllib.parse import quote

from drawaudio_model.muxing.timecode import Timecode

EDL_SOUNDS = 4
"""A CMX3600 list has so many channels of sound."""
_CHANNELS = ("A", "A2", "NONE", "NONE")
"""In an event's line; channels 3 and 4 are named in a line below it."""


@dataclass(frozen=True)
class Sound:
    """A file of a sound."""

    name: str
    path: str
    """Seen from the list's folder, with slashes."""
    samples: int
    sample_rate: int
    """In Hz."""


@dataclass(frozen=True)
class Marker:
    """A named frame, counted from the first."""

    frame: int
    name: str


@dataclass(frozen=True)
class CutList:
    """A picture with the sounds that were made for it."""

    name: str
    picture: str
    """The video's path seen from the list's folder, with slashes."""
    frames: int
    start: Timecode
    """Of the first frame, with the frame rate."""
    sounds: Sequence[Sound]
    markers: Sequence[Marker] = ()


def otio(cuts: CutList) -> str:
    """An .otio file: a track for the picture and one for each sound, markers on the whole."""
    rate = cuts.start.rate
    tracks = [_track("picture", "Video", _clip(cuts.name, cuts.picture, Fraction(cuts.frames), rate, Fraction(0)))]
    for sound in cuts.sounds:
        # In frames, and whole samples of them: a sound may end between two frames.
        length = Fraction(sound.samples, sound.sample_rate) * rate
        start = Fraction(cuts.start.samples(sound.sample_rate), sound.sample_rate) * rate
        tracks.append(_track(sound.name, "Audio", _clip(sound.name, sound.path, length, rate, start)))
    stack = _item("Stack.1", "tracks") | {
        "children": tracks,
        "markers": [
            _schema("Marker.2", name=marker.name, color="GREEN", comment="", metadata={})
            | {"marked_range": _span(Fraction(marker.frame), Fraction(0), rate)}
            for marker in cuts.markers
        ],
    }
    timeline = _schema("Timeline.1", name=cuts.name, metadata={"drawaudio": {"drop_frame": cuts.start.drop}})
    timeline |= {"global_start_time": _time(Fraction(cuts.start.frame), rate), "tracks": stack}
    return json.dumps(timeline, indent=1, ensure_ascii=False) + "\n"


def _track(name: str, kind: str, clip: dict[str, Any]) -> dict[str, Any]:
    return _item("Track.1", name) | {"kind": kind, "children": [clip]}


def _clip(name: str, path: str, length: Fraction, rate: Fraction, start: Fraction) -> dict[str, Any]:
    span = _span(start, length, rate)
    reference = _schema("ExternalReference.1", name="", metadata={}, target_url=quote(path), available_range=span)
    reference |= {"available_image_bounds": None}
    media = {"media_references": {"DEFAULT_MEDIA": reference}, "active_media_reference_key": "DEFAULT_MEDIA"}
    return _item("Clip.2", name) | {"source_range": span} | media


def _item(kind: str, name: str) -> dict[str, Any]:
    return _schema(kind, name=name, metadata={}, source_range=None, effects=[], markers=[], enabled=True)


def _schema(kind: str, **fields: Any) -> dict[str, Any]:
    return {"OTIO_SCHEMA": kind} | fields


def _time(frames: Fraction, rate: Fraction) -> dict[str, Any]:
    return _schema("RationalTime.1", rate=float(rate), value=float(frames))


def _span(start: Fraction, length: Fraction, rate: Fraction) -> dict[str, Any]:
    return _schema("TimeRange.1", start_time=_time(start, rate), duration=_time(length, rate))


def edl(cuts: CutList) -> str:
    """A CMX3600 list: the picture, and the first EDL_SOUNDS sounds on a channel each; the others are named in comments."""
    lines = [f"TITLE: {_plain(cuts.name)[:70]}", f"FCM: {'DROP FRAME' if cuts.start.drop else 'NON-DROP FRAME'}", ""]
    zero = Timecode(0, cuts.start.rate, cuts.start.drop)
    rows = [("V", cuts.frames, zero, cuts.name, cuts.picture)]
    for channel, sound in zip(_CHANNELS, cuts.sounds, strict=False):
        # An event has whole frames: one that has begun counts.
        length = -(-Fraction(sound.samples, sound.sample_rate) * cuts.start.rate // 1)
        rows.append((channel, int(length), cuts.start, sound.name, sound.path))
    for number, (channel, length, source, name, path) in enumerate(rows, start=1):
        times = [source, source.plus(length), cuts.start, cuts.start.plus(length)]
        lines.append(f"{number:03d}  AX       {channel:<5} C        {' '.join(time.label for time in times)}")
        if channel == "NONE":
            lines.append(f"AUD  {'3' if number == 4 else '     4'}")
        lines += [f"* FROM CLIP NAME: {_plain(name)}", f"* SOURCE FILE: {_plain(path)}"]
        for marker in cuts.markers if channel == "V" else ():
            # Readers know no semicolon here; the line FCM says how labels are counted.
            label = cuts.start.plus(marker.frame).label.replace(";", ":")
            lines.append(f"* LOC: {label} GREEN   {_plain(marker.name)}")
    lines += [
        f"* NOT IN THIS LIST, WHICH HAS FOUR CHANNELS: {_plain(sound.path)}" for sound in cuts.sounds[EDL_SOUNDS:]
    ]
    return "\r\n".join(lines) + "\r\n"


def _plain(text: str) -> str:
    """One line of ASCII, which is all that such a list may hold."""
    return " ".join(text.encode("ascii", "replace").decode().split())


def markers_table(cuts: CutList) -> str:
    """A .csv of the markers: frame from the first, timecode, seconds from the first frame, name."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("frame", "timecode", "seconds", "name"))
    for marker in cuts.markers:
        seconds = float(marker.frame / cuts.start.rate)
        writer.writerow((marker.frame, cuts.start.plus(marker.frame).label, f"{seconds:.6f}", marker.name))
    return text.getvalue()
