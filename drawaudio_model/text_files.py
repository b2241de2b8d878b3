"""Text files as people's programs write them: any Unicode with its mark, tables with commas, semicolons or tabs.

What is not clear is refused with the line and the remedy; nothing here guesses what a value means.
"""

import codecs
import csv
import io
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

_MARKS = (  # the longer ones first: UTF-32's begins as UTF-16's does
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode(data: bytes, name: str, kind: str = "text") -> str:
    """The text of a file's bytes: UTF-8, or what its byte order mark says; the mark is no part of it.

    Args:
        data: the file.
        name: of the file, for errors.
        kind: what it should be, for errors: "CSV", "JSON".

    Raises:
        ValueError: naming the line of the first byte that cannot be.
    """
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{name} is no {kind} in UTF-8: line {line} has the byte 0x{data[error.start]:02x}; save it as UTF-8"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ValueError(f"{name} is no {kind} in UTF-8: line {line} has a byte 0, as UTF-16 does; save it as UTF-8")
    return text


def read_json(path: Path, name: str) -> Any:
    """The content of a .json file, which errors call `name`.

    Raises:
        ValueError: when it is no JSON, or an object in it has a name twice.
    """
    return parse_json(decode(path.read_bytes(), name, "JSON"), name)


def parse_json(text: str, name: str) -> Any:
    """The content of a text of JSON, as `read_json`."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except ValueError as error:  # also for a number of thousands of digits
        raise ValueError(f"{name} is no JSON: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{name} is no JSON that can be read: lists within lists without end") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    double = next((name for name in names if names.count(name) > 1), None) if len({*names}) < len(names) else None
    if double is not None:
        raise ValueError(f"an object has {double!r} twice; keep one")
    return dict(pairs)


class Table(NamedTuple):
    """A CSV, field by field."""

    columns: list[str]
    """Names of its header, in small letters and without spaces around them."""
    rows: list[tuple[int, list[str]]]
    """Line (from 1) and fields of each row that is not empty; as many fields as columns."""
    faults: list[tuple[int, str]]
    """Line of each row with another number of fields, and a sentence."""
    delimiter: str


def read_table(path: Path, name: str, columns: Collection[str]) -> Table:
    """A CSV with a header, separated by commas, or by semicolons or tabs where its header says so.

    What spreadsheets add and nobody wrote is left out: a first line such as `sep=;`, and columns without a name or content.

    Args:
        path: the file.
        name: what errors call it.
        columns: the names that its header may have: what separates some of them is what separates the fields.

    Raises:
        ValueError: naming the line, when it is no CSV, has no header, or has a column twice.
    """
    text = decode(path.read_bytes(), name, "CSV")
    lines = re.split(r"[\r\n]+", text.lstrip(), maxsplit=2)
    told = _SEPARATOR.fullmatch(lines[0])
    delimiter = told[1] if told else _delimiter(lines[0], columns)
    # Not str.splitlines: that also ends a line at marks which may stand inside a text.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records, line = [], 1
    try:
        for fields in reader:
            records.append((line, fields))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f'{name} is no CSV in UTF-8: line {line}: {error}; write a quote inside a quoted field twice ("")'
        ) from error
    records = [(line, fields) for line, fields in records if any(field.strip() for field in fields)][bool(told) :]
    if not records:
        raise ValueError(f"{name} is empty, expected a header with the columns {','.join(columns)}")
    first, width = [field.strip().lower() for field in records[0][1]], len(records[0][1])
    whole = [(line, fields) for line, fields in records[1:] if len(fields) == width]
    kept = [place for place, column in enumerate(first) if column or any(fields[place].strip() for _, fields in whole)]
    header = [first[place] for place in kept]
    double = next((column for column in header if header.count(column) > 1), None)
    if double is not None:
        raise ValueError(
            f"{name}, line {records[0][0]}: the header has the column {double!r} twice; keep one of them, or name the other"
        )
    decimals = ", and write decimals with a point" if delimiter == "," else ""
    rows = [(line, [fields[place] for place in kept]) for line, fields in whole]
    faults = [
        (line, f"{len(fields)} fields, expected {width}; put a text with {_NAMES[delimiter]} in quotes{decimals}")
        for line, fields in records[1:]
        if len(fields) != width
    ]
    return Table(header, rows, faults, delimiter)


_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SEPARATOR = re.compile(r'"?sep=([,;\t])"?', re.IGNORECASE)
"""The line that tells Excel what separates the fields."""


def _delimiter(header: str, columns: Collection[str]) -> str:
    def known(delimiter: str) -> int:
        return sum(field.strip().strip('"').lower() in columns for field in header.split(delimiter))

    return max(_NAMES, key=known)
