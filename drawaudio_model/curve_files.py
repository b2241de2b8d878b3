"""Curves as points in a .csv or .json file, and what points must be like.

A table has the columns `time_seconds` and `level` (linear RMS, 0 to 1) or `level_db` (decibels of full scale, at most 0;
-inf is silence). Decibels become levels point by point; the lines between points are straight in level. Two points at one
time are a jump: the first ends what was, the second begins what comes.

What could mean two things is refused with its line and the remedy: whole numbers that look like milliseconds, levels above
1 (per cent?) or below 0 (decibels?), decimal commas between commas. Between semicolons or tabs they are read.
"""

import csv
import json
import math
import re
import reprlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from drawaudio_model.text_files import read_json, read_table

CSV_COLUMNS = ("time_seconds", "level")
DECIBELS = "level_db"
LONGEST_SECONDS = 6 * 3600
"""Of a curve and of a sound: what lies beyond is a mistake, and would fill the memory."""
MILLISECONDS_FROM, MILLISECONDS_APART = 600, 10
"""Whole numbers that end later than this, and lie on average so far apart, are milliseconds rather than seconds."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_KEYS = "time_seconds (seconds from the start) and level (0 to 1, linear) or level_db (decibels, 0 and below)"


class _Point(NamedTuple):
    """One row of a file, as it is written."""

    place: str
    """"line 3", "point 2"."""
    time: Any
    level: Any


def write_points(path: Path, points: Sequence[tuple[float, float]]) -> None:
    """Writes a curve as CSV (columns time_seconds, level) or JSON (a list of objects with those keys), by suffix."""
    check_points(points)
    rows = [dict(zip(CSV_COLUMNS, (float(time), float(level)), strict=True)) for time, level in points]
    if _suffix(path) == ".json":
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_points(path: Path) -> list[tuple[float, float]]:
    """The (time in seconds, level) points of a curve file.

    Raises:
        ValueError: naming the file, the line (of a .json the point) and the remedy, when it is not such a curve.
    """
    rows, in_decibels = _json_points(path) if _suffix(path) == ".json" else _csv_points(path)
    points = []
    for row in rows:
        try:
            time, level = _number(row.time), _number(row.level, silence=in_decibels)
        except ValueError as error:
            raise ValueError(f"{path}, {row.place}: {error}") from None
        if in_decibels:
            if level > 0:
                raise ValueError(
                    f"{path}, {row.place}: level_db is {level:g}, expected at most 0 (full scale); a linear level from 0 to 1 "
                    "goes into a column `level`"
                )
            level = 10 ** (level / 20)
        points.append((time, level))
    _check_scale(path, rows, points)
    check_points(points, lambda number: f"{path}, {rows[number].place}: " if rows else f"{path}: ")
    return points


def _csv_points(path: Path) -> tuple[list[_Point], bool]:
    table = read_table(path, str(path), (*CSV_COLUMNS, DECIBELS))
    if all(_NUMBER.fullmatch(column.replace(",", ".")) for column in table.columns):
        raise ValueError(f"{path}, line 1: there is no header; put the line {','.join(CSV_COLUMNS)} before the numbers")
    level = _level_name(f"{path}, line 1: the columns are {', '.join(table.columns)}", table.columns)
    if table.faults:
        raise ValueError(f"{path}, {'; '.join(f'line {line}: {fault}' for line, fault in table.faults[:3])}")
    decimals = {mark for _, fields in table.rows for field in fields for mark in ",." if mark in field}
    rows = []
    for line, fields in table.rows:
        values = dict(zip(table.columns, (field.strip() for field in fields), strict=True))
        # Between semicolons a comma is a decimal point, unless points are there, too: then it may part thousands.
        if table.delimiter != "," and decimals == {","}:
            values = {name: value.replace(",", ".") for name, value in values.items()}
        rows.append(_Point(f"line {line}", values[CSV_COLUMNS[0]], values[level]))
    return rows, level == DECIBELS


def _json_points(path: Path) -> tuple[list[_Point], bool]:
    rows = read_json(path, str(path))
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds a {type(rows).__name__}, expected a list of points")
    points, levels = [], set()
    for number, row in enumerate(rows, start=1):
        place = f"point {number}"
        if isinstance(row, list) and len(row) == 2:
            levels.add(CSV_COLUMNS[1])
            points.append(_Point(place, *row))
            continue
        if not isinstance(row, dict):
            raise ValueError(f"{path}, {place} is {reprlib.repr(row)}, expected an object with {_KEYS}")
        level = _level_name(f"{path}, {place} has the keys {', '.join(row) or 'none'}", row)
        levels.add(level)
        points.append(_Point(place, row[CSV_COLUMNS[0]], row[level]))
    if len(levels) > 1:
        raise ValueError(f"{path} has points with level and points with level_db; write all of them in one unit")
    return points, levels == {DECIBELS}


def _level_name(subject: str, names: Sequence[str] | dict[str, Any]) -> str:
    """The level column among the names; `subject` begins the error's sentence."""
    levels = [name for name in (CSV_COLUMNS[1], DECIBELS) if name in names]
    if CSV_COLUMNS[0] not in names or len(levels) != 1:
        raise ValueError(f"{subject}; expected {', '.join(CSV_COLUMNS)}: name them {_KEYS}, not both, parted by commas")
    return levels[0]


def _number(value: Any, *, silence: bool = False) -> float:
    """A number as a table has it.

    Raises:
        ValueError: for anything else; the message begins with the value.
    """
    if isinstance(value, bool):
        raise ValueError(f"{json.dumps(value)} is no number, expected numbers for {_KEYS}")
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    # Word processors write a minus as the sign of that name.
    text = value.strip().replace("\u2212", "-") if isinstance(value, str) else ""
    if silence and text.lower() in ("-inf", "-infinity"):
        return -math.inf
    if not _NUMBER.fullmatch(text):
        remedy = ""
        if "," in text:
            remedy = "; write decimals with a point, and no separators of thousands"
        elif text.endswith("%"):
            remedy = "; write 30 % as 0.3"
        elif ":" in text:
            remedy = "; write 1:30 as 90"
        elif text.lower().endswith(("db", "s")):
            remedy = "; write the number without its unit"
        raise ValueError(f"{reprlib.repr(value)} is no number, expected numbers for {_KEYS}{remedy}")
    return float(text)


def _check_scale(path: Path, rows: Sequence[_Point], points: Sequence[tuple[float, float]]) -> None:
    """Raises ValueError for whole numbers that look like milliseconds."""
    times = [time for time, _ in points]
    whole = all(re.fullmatch(r"[0-9]+", str(row.time).strip()) for row in rows)
    if len(times) > 1 and whole and max(times) >= MILLISECONDS_FROM:
        if (max(times) - min(times)) / (len(times) - 1) >= MILLISECONDS_APART:
            raise ValueError(
                f"{path}, {rows[-1].place}: the times reach {max(times):g} in whole numbers that lie far apart, which looks "
                "like milliseconds; divide them by 1000, or write seconds with a decimal point "
                f"({max(times):.1f})"
            )


def check_points(points: Sequence[tuple[float, float]], place: Callable[[int], str] = lambda number: "") -> None:
    """Raises ValueError when points are no curve: none, falling times, or a value out of range.

    Args:
        points: (time in seconds, level).
        place: what an error about a point begins with.
    """
    if not len(points):
        raise ValueError(f"{place(0)}loudness curve has no points, expected at least one (time, level)")
    times: list[float] = []
    for number, (time, level) in enumerate(points):
        before = times[-1] if times else -math.inf
        if not math.isfinite(time) or time < before:
            raise ValueError(
                f"{place(number)}loudness curve has the time {time} s after {before} s, expected rising times; sort it"
            )
        if times[-2:] == [time, time]:
            raise ValueError(
                f"{place(number)}loudness curve has three points at {time} s, expected rising times; two points at one time "
                "are a jump, keep the first and the last"
            )
        if time > LONGEST_SECONDS:
            raise ValueError(
                f"{place(number)}loudness curve has the time {time:g} s, expected seconds, at most {LONGEST_SECONDS}; divide "
                "milliseconds by 1000"
            )
        if not 0 <= level <= 1:
            remedy = "; a level below 0 looks like decibels: name it level_db" if level < 0 else ""
            if level > 1:
                remedy = "; divide per cent by 100, and decibels, which are 0 and below, name level_db"
            raise ValueError(
                f"{place(number)}loudness curve has the level {level} at {time} s, expected 0 to 1 (linear RMS){remedy}"
            )
        times.append(time)


def _suffix(path: Path) -> str:
    if path.suffix.lower() not in (".csv", ".json"):
        raise ValueError(f'loudness curve {path} ends in "{path.suffix}", expected .csv or .json')
    return path.suffix.lower()
