"""`drawaudio batch`: a folder of videos and a table of instructions become a folder of sounds.

The model is loaded once. What is done is not done again: a row is recognised by its instructions, the settings and its files.

Heavy libraries are imported inside the command, so that `drawaudio --help` answers at once.
"""

import argparse
import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from drawaudio_model.command_line import add_command
from drawaudio_model.commands.delivery import AUDIO_SUFFIXES, VIDEO_SUFFIXES, Delivery
from drawaudio_model.commands.generate import (
    Request,
    Sampling,
    add_common,
    add_delivery,
    check_places,
    load_pipeline,
    make_sound,
    one_bar,
    print_notices,
)
from drawaudio_model.one_sentence import one_sentence

EXAMPLE = """example:
  drawaudio batch clips --table instructions.csv -o sounds

  instructions.csv has a header and the column file (a video in FOLDER); it may have text, negative_text, mask, mask_invert
  (true or false), loudness, start_from, strength, candidates, seed and output (the name of the sound). An empty field is an
  instruction that is left out. Masks, curves and sounds are files in FOLDER or beside the table, or what `drawaudio
  generate` takes.

  OUT/results.csv says of each row what became of it. A row that fails is reported and stops no other. Started again, the
  command makes what is missing or has changed."""
COLUMNS = ("file", *(field.name for field in fields(Request) if field.name != "video"), "output")
RESULTS = "results.csv"
RESULT_COLUMNS = ("line", "file", "output", "status", "seed", "curve_score", "clap_score", "notices", "reason", "mark")
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    line: int
    file: str
    output: str
    request: Request | None
    """None where the row cannot be read; `reason` says why."""
    reason: str = ""


def add_commands(commands: "argparse._SubParsersAction") -> None:
    """`batch`."""
    parser = add_command(commands, "batch", "make the sounds of a folder of videos", EXAMPLE, run_batch)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--table", type=Path, required=True, metavar="CSV", help="the instructions (see below)")
    parser.add_argument("--suffix", default=".wav", help="of the sounds whose row names none (default: %(default)s)")
    add_common(parser)
    add_delivery(parser)


def run_batch(options: argparse.Namespace) -> None:
    """`drawaudio batch`."""
    if not options.folder.is_dir():
        raise ValueError(f"folder {options.folder} does not exist; give the folder of the videos")
    if options.suffix not in AUDIO_SUFFIXES + VIDEO_SUFFIXES:
        raise ValueError(
            f"--suffix is {options.suffix!r}, expected one of {', '.join(AUDIO_SUFFIXES + VIDEO_SUFFIXES)}"
        )
    rows = read_rows(options.table, options.folder, suffix=options.suffix, seed=options.seed)
    if options.output.exists() and not options.output.is_dir():
        raise ValueError(f"output {options.output} is a file, expected a folder for the sounds")
    sampling = Sampling.of(options)
    options.output.mkdir(parents=True, exist_ok=True)
    # A refused row may have said nothing that could be checked before; all others have their files by now.
    marks = {row.line: _mark(row, sampling, options) for row in rows}
    earlier = _read_results(options.output / RESULTS)
    kept = {row.line: _kept(row, marks[row.line], earlier, options.output) for row in rows}
    results = {line: result for line, result in kept.items() if result is not None}
    missing = [row for row in rows if row.line not in results]
    pipe = load_pipeline(options) if any(row.request is not None for row in missing) else None
    if pipe is not None:
        from drawaudio_model.generation.preparations import Preparations

        pipe.preparations = Preparations()  # rows of one video often differ in their curves and seeds alone
    for row in missing:
        print(f"line {row.line}: {row.file}")
        results[row.line] = _made(row, marks[row.line], pipe, sampling, options)
        _write_results(options.output / RESULTS, rows, results)
    _write_results(options.output / RESULTS, rows, results)
    failed = [row for row in rows if results[row.line]["status"] != "done"]
    print(
        f"{options.output}: {len(rows) - len(failed)} of {len(rows)} sounds, {len(missing) - len(failed)} of them new"
    )
    if failed:
        raise ValueError(
            f"{len(failed)} of the {len(rows)} rows of {options.table} failed, the first is line {failed[0].line}: "
            f"{results[failed[0].line]['reason']}; see {options.output / RESULTS}"
        )


def read_rows(table: Path, folder: Path, *, suffix: str, seed: int | None) -> list[Row]:
    """The rows of a table; one that cannot be read says why.

    Args:
        table: the CSV.
        folder: of the videos.
        suffix: of a sound whose row names none.
        seed: of rows without one; None: 0.

    Raises:
        ValueError: when it is no such table, or two rows would write the same file.
    """
    from drawaudio_model.text_files import read_table

    if not table.is_file():
        raise ValueError(f"table {table} does not exist; give a .csv with a column `file`")
    found = read_table(table, f"table {table}", COLUMNS)
    unknown = [name for name in found.columns if name not in COLUMNS]
    if unknown or "file" not in found.columns:
        wrong = f"the column {unknown[0]!r}" if unknown else "no column `file`"
        raise ValueError(f"table {table} has {wrong}, expected `file` and any of {', '.join(COLUMNS[1:])}")
    rows = [Row(line, "", "", None, reason) for line, reason in found.faults]
    for line, values in found.rows:
        given = {name: value.strip() for name, value in zip(found.columns, values, strict=True)}
        # Numbered by lines, two rows of one video have each their own sound.
        output = given.get("output") or f"{line:04d}-{Path(given['file']).stem}{suffix}"
        try:
            request, reason = _request(given, folder, table.parent, 0 if seed is None else seed), ""
        except ValueError as error:
            request, reason = None, str(error)
        if Path(output).name != output or output == RESULTS:
            request, reason = None, f"output {output!r} is no name of a file in OUT; leave folders out"
        rows.append(Row(line, given["file"], output, request, reason))
    rows.sort(key=lambda row: row.line)
    if not rows:
        raise ValueError(f"table {table} has no rows below its header")
    places: dict[str, int] = {}
    for row in rows:
        if row.output and places.setdefault(row.output, row.line) != row.line:
            raise ValueError(
                f"lines {places[row.output]} and {row.line} of {table} both write {row.output}; name another"
            )
    return rows


def _request(given: Mapping[str, str], folder: Path, beside: Path, seed: int) -> Request:
    """The request that the fields of a row make.

    Raises:
        ValueError: naming the field that cannot be read.
    """

    def placed(name: str) -> str | None:
        value = given.get(name) or None
        found = (str(place / value) for place in (folder, beside) if value and os.path.exists(place / value))
        return next(found, value)

    invert = given.get("mask_invert", "").lower()
    if invert not in _TRUTHS:
        raise ValueError(f"mask_invert is {invert!r}, expected true or false")
    if not given["file"]:
        raise ValueError("the row names no file")
    start = placed("start_from")
    return Request(
        video=folder / given["file"],
        text=given.get("text") or None,
        negative_text=given.get("negative_text") or None,
        mask=placed("mask"),
        mask_invert=_TRUTHS[invert],
        loudness=placed("loudness"),
        start_from=None if start is None else Path(start),
        strength=_number(given, "strength", float),
        candidates=_number(given, "candidates", int) or 1,
        seed=seed if (own := _number(given, "seed", int)) is None else own,
    )


def _number(given: Mapping[str, str], name: str, kind: type) -> Any:
    text = given.get(name)
    if not text:
        return None
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}, expected a {'whole ' if kind is int else ''}number") from None


def _mark(row: Row, sampling: Sampling, options: argparse.Namespace) -> str:
    """A fingerprint of all that decides the row's sound; "" where nothing can be made of it."""
    from drawaudio_model.atomic_files import file_mark, fingerprint
    from drawaudio_model.generation.instructions import is_text
    from drawaudio_model.model_folder import detector_beside

    asked = row.request
    if asked is None:
        return ""
    places: list[Any] = [asked.video, options.model, options.adapters, options.cavp]
    places += [asked.mask, asked.loudness, asked.start_from]
    if is_text(asked.mask):
        places.append(options.detector or detector_beside(options.model))
    delivery = options.sample_rate, options.bits, options.timecode, options.bf16
    request = {name: str(value) for name, value in asdict(asked).items()}
    what = [request, sampling.arguments(), delivery, [file_mark(place) for place in places]]
    return fingerprint(json.dumps(what, sort_keys=True))[:16]


def _kept(row: Row, mark: str, earlier: Sequence[Mapping[str, str]], folder: Path) -> dict[str, Any] | None:
    """The row of results of a sound that is there and was made of the same; None: it has to be made."""
    for result in earlier:
        if mark and result["mark"] == mark and result["status"] == "done" and result["output"] == row.output:
            return {**result, "line": row.line} if (folder / row.output).is_file() else None
    return None


def _made(row: Row, mark: str, pipe: Any, sampling: Sampling, options: argparse.Namespace) -> dict[str, Any]:
    """The row of results of a sound that is made now, or of what went wrong with it."""
    result = dict.fromkeys(RESULT_COLUMNS, "") | {
        "line": row.line,
        "file": row.file,
        "output": row.output,
        "mark": mark,
    }
    if row.request is None:
        return result | {"status": "failed", "reason": row.reason}
    own = argparse.Namespace(**vars(options))
    own.video, own.output = row.request.video, options.output / row.output
    try:
        check_places(own)
        delivery = Delivery.of(own)
        if row.request.loudness is None and sampling.guidance.loudness is not None:
            sampling = sampling.without_loudness()
        with one_bar(pipe, options.steps * row.request.candidates) as step:
            found = make_sound(pipe, own, row.request, sampling, delivery, step)
    except Exception as error:  # whatever it is, the other rows have nothing to do with it
        reason = one_sentence(error)
        print_notices([f"line {row.line} failed: {reason}"])
        return result | {"status": "failed", "reason": reason}
    notices = [*found.notices, *delivery.notices]
    print_notices(notices)
    scores = {
        name: "" if scores is None else f"{scores[0]:.4f}"
        for name, scores in (("curve_score", found.curve_scores), ("clap_score", found.clap_scores))
    }
    return result | scores | {"status": "done", "seed": found.seeds[0], "notices": " | ".join(notices)}


def _read_results(path: Path) -> list[dict[str, str]]:
    """The results of a run before; none where there was none, or of another kind."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        return list(reader) if tuple(reader.fieldnames or ()) == RESULT_COLUMNS else []


def _write_results(path: Path, rows: Sequence[Row], results: Mapping[int, Mapping[str, Any]]) -> None:
    """All results that there are, in the table's order; whole, whenever the command is stopped."""
    from drawaudio_model.atomic_files import write_atomically

    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, RESULT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(results[row.line] for row in rows if row.line in results)
    write_atomically(path, text.getvalue().encode())
