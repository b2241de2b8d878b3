"""Figures, rows and goals as metrics.json, clips.json and control.json hold them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NotRequired, TypedDict

import numpy as np

from drawaudio_model import metrics


class Figure(TypedDict):
    """A metric's statistic over clips. What is undefined is NaN here and null in the file."""

    name: str
    """Of the metric, for people."""
    value: float
    count: int
    """Of the clips, or features, behind it."""
    statistic: NotRequired[str]
    """mean or median; not there for a distance between distributions."""
    low: NotRequired[float]
    high: NotRequired[float]
    """Ends of the interval of 95 %."""
    worst_tenth: NotRequired[float]
    """The bound of the worst tenth of the clips."""


class ReportRow(TypedDict):
    """One way of making the sounds, measured."""

    name: str
    metrics: dict[str, Figure]


@dataclass(frozen=True)
class JudgedClip:
    """One sound of a row, measured; clips.json has its fields beside its figures."""

    figures: dict[str, float]
    """Metric -> value; NaN where it is undefined."""
    peak: float
    predicted_kind: str
    """The classifier's verdict."""
    unanimous: bool
    """Whether the classifier's networks agree."""
    expected: str | None
    """The thing that should sound; None where the row asks for none that there is."""

    def record(self) -> dict[str, float | str | bool]:
        """As clips.json holds it."""
        return self.figures | {field.name: getattr(self, field.name) for field in fields(self)[1:]}


class Change(TypedDict):
    """The mean difference of paired clips with its interval."""

    value: float
    low: float
    high: float
    count: int


class Side(Change):
    """A row of a comparison: the instruction's own metric with its interval."""

    row: str


class Comparison(TypedDict("Comparison", {"with": Side})):
    """Two rows that differ in one instruction, by that instruction's own metric."""

    instruction: str
    metric: str
    without: Side
    mean_change: Change
    improves: bool
    """Whether the intervals of the two rows lie apart, the better one where it should."""


class Goal(TypedDict):
    """A figure that was set as a goal."""

    name: str
    value: float
    goal: str
    """Such as ">= 0.95"."""
    reached: bool
    """False where the value is undefined."""


def figure(name: str, values: Sequence[float], *, mean: bool, seed: int) -> Figure:
    """A metric over clips, with its interval; undefined values (NaN) are left out.

    Args:
        name: of the metric, for people.
        values: one a clip.
        mean: whether it is their mean or their median.
        seed: of the interval's resampling.
    """
    if mean:
        statistic, interval = "mean", metrics.mean_interval(values, seed=seed)
    else:
        statistic, interval = "median", metrics.bootstrap_interval(values, statistic=np.median, seed=seed)
    found = Figure(name=name, statistic=statistic, value=interval.value, count=interval.count)
    return found | {"low": interval.low, "high": interval.high}
