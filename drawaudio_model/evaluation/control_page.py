"""The control benchmark's page: goals, the table of rows, a picture of the intervals, and clips to listen to."""

import base64
import html
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from drawaudio_model.clip_format import LOUDNESS_POINTS
from drawaudio_model.evaluation import listening_page
from drawaudio_model.evaluation.control_rows import Row, Scene
from drawaudio_model.evaluation.listening_page import PageClip, figure_text
from drawaudio_model.evaluation.report import Goal, JudgedClip, ReportRow
from drawaudio_model.progress import Reporter

HEARD_ROWS = ("all", "shuffled_signal", "inverted_signal", "other_mask", "other_text", "none")
"""Rows of which every clip on the page has a sound, where it has one; the first is charted."""
PICTURED = {
    "loudness_pearson": 0.90,
    "loudness_error_db": 3.0,
    "onset_f1": 0.75,
    "right_kind_of_two": 0.80,
}
"""Metrics of the picture, with the line that is drawn."""


class RowSounds(Protocol):
    """A row's sounds and figures (control.Table)."""

    @property
    def row(self) -> Row: ...
    @property
    def title(self) -> str: ...
    @property
    def sounds(self) -> dict[str, np.ndarray]: ...
    @property
    def clips(self) -> dict[str, JudgedClip]: ...


def write(
    output: Path,
    result: Mapping[str, Any],
    tables: Mapping[str, RowSounds],
    scenes: Mapping[str, Scene],
    real: Mapping[str, np.ndarray],
    media: Path,
    *,
    clips: int,
    report: Reporter | None = None,
) -> Path:
    """Writes `output/index.html` and `output/page/`; returns the path of the first."""
    # Scenes with two things first: only they have rows about the other one.
    order = sorted(scenes, key=lambda key: (scenes[key].other_kind is None, key))[:clips]
    shown = [_page_clip(scenes[key], tables, real[key]) for key in order]
    above = f"{goals_table(result['goals'])}{rows_table(result['rows'])}{_image(interval_picture(result['rows']))}"
    return listening_page.write_page(
        output,
        title="Draw an Audio: does each instruction steer?",
        result=result,
        clips=shown,
        media=media,
        above=above,
        report=report,
    )


def _page_clip(scene: Scene, tables: Mapping[str, RowSounds], real: np.ndarray) -> PageClip:
    sounds = {}
    for name in HEARD_ROWS:
        table = tables[name]
        if scene.key in table.sounds:
            sounds[f"{table.title}: classified as {table.clips[scene.key].predicted_kind}"] = table.sounds[scene.key]
    judged = tables["all"].clips[scene.key]
    things = scene.kind if scene.other_kind is None else f"{scene.kind}; moves too: {scene.other_kind}"
    return PageClip(
        key=scene.key,
        caption=f"{scene.sample.facts['caption']} ({things})",
        boxes=scene.sample.boxes,
        commanded=scene.sample.loudness[:LOUDNESS_POINTS],
        real=real,
        sounds=sounds,
        figures=judged.figures | {"peak": judged.peak},
    )


def goals_table(goals: list[Goal]) -> str:
    """HTML of the goals: reached or missed."""
    lines = [
        f"<tr><td>{html.escape(goal['name'])}</td><td>{figure_text(goal['value'])}</td><td>{html.escape(goal['goal'])}</td>"
        f"<td>{'reached' if goal['reached'] else '<b>missed</b>'}</td></tr>"
        for goal in goals
    ]
    head = "<tr><th>goal</th><th>value</th><th>asked</th><th></th></tr>"
    return f"<table><thead>{head}</thead><tbody>{''.join(lines)}</tbody></table>"


def rows_table(rows: Mapping[str, ReportRow]) -> str:
    """HTML of the figures: a line a row of instructions, a column a metric, interval and count below the value."""
    first = next(iter(rows.values()))["metrics"]
    head = "".join(
        f"<th>{html.escape(entry['name'])}<small>{entry['statistic']}</small></th>" for entry in first.values()
    )
    lines = []
    for row in rows.values():
        cells = "".join(
            f"<td>{figure_text(entry['value'])}<small>{figure_text(entry['low'])} to {figure_text(entry['high'])}, "
            f"n = {entry['count']}</small></td>"
            for entry in row["metrics"].values()
        )
        lines.append(f"<tr><th>{html.escape(row['name'])}</th>{cells}</tr>")
    return f"<table><thead><tr><th>given</th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def interval_picture(rows: Mapping[str, ReportRow]) -> bytes:
    """PNG: for each pictured metric, every row's value with its interval, and the goal as a line."""
    from matplotlib.figure import Figure

    names = list(rows)
    figure = Figure(figsize=(15, 0.32 * len(names) + 1.4), layout="constrained")
    axes = figure.subplots(1, len(PICTURED), sharey=True)
    for axis, (metric, goal) in zip(axes, PICTURED.items(), strict=True):
        for place, name in enumerate(names):
            entry = rows[name]["metrics"][metric]
            if entry["count"]:
                axis.plot([entry["low"], entry["high"]], [place, place], color="C0", linewidth=2)
                axis.plot(entry["value"], place, "o", color="C0", markersize=5)
        axis.axvline(goal, color="C1", linestyle="--", linewidth=1)
        axis.set_title(next(iter(rows.values()))["metrics"][metric]["name"], fontsize=10)
        axis.grid(axis="y", color="0.93")
    axes[0].set_yticks(range(len(names)), [rows[name]["name"] for name in names], fontsize=8)
    axes[0].invert_yaxis()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=85, format="png")
    return buffer.getvalue()


def _image(png: bytes) -> str:
    return f'<img style="max-width:100%" alt="intervals" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
