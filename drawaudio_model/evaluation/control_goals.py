"""The goals of the control benchmark, and whether each instruction improves its own metric."""

from collections.abc import Mapping

import numpy as np

from drawaudio_model import metrics
from drawaudio_model.evaluation.report import Change, Comparison, Goal, ReportRow, Side

CLASSIFIER_ACCURACY = 0.95
"""Least accuracy of the classifier on held-out sounds; below it its verdicts are worth nothing."""

PAIRS = (
    ("text", "right_kind_of_two", (("none", "text"), ("signal", "text_signal"))),
    ("mask", "right_kind_of_two", (("none", "mask"), ("signal", "mask_signal"))),
    (
        "signal",
        "loudness_pearson",
        (("none", "signal"), ("text", "text_signal"), ("mask", "mask_signal"), ("text_mask", "all")),
    ),
)
"""An instruction, its own metric, and the rows without and with it. Text and mask both say which of two things sounds, so
one is judged in the other's absence."""


def comparisons(clips: Mapping[str, Mapping[str, Mapping[str, float]]], seed: int) -> list[Comparison]:
    """For each pair of rows: both values with their intervals, the paired difference's, and whether the first two overlap.

    Args:
        clips: row -> key -> metric -> value.
        seed: of the bootstrap.
    """
    found: list[Comparison] = []
    for instruction, metric, pairs in PAIRS:
        for without, given in pairs:
            before, after = ({key: clip[metric] for key, clip in clips[row].items()} for row in (without, given))
            shared = [key for key in before if key in after]
            sides = [_interval(metric, [values[key] for key in shared], seed) for values in (before, after)]
            change = metrics.bootstrap_interval([after[key] - before[key] for key in shared], seed=seed)
            found.append(
                {
                    "instruction": instruction,
                    "metric": metric,
                    "without": _side(without, sides[0]),
                    "with": _side(given, sides[1]),
                    "mean_change": Change(value=change.value, low=change.low, high=change.high, count=change.count),
                    "improves": bool(sides[1].low > sides[0].high),
                }
            )
    return found


def mask_swaps(clips: Mapping[str, Mapping[str, Mapping[str, float]]], seed: int) -> metrics.Interval:
    """Share of scenes in which the true box of the one thing makes it sound *and* that of the other makes the other sound.

    Args:
        clips: row -> key -> metric -> value.
        seed: of the bootstrap.
    """
    own, other = (
        {key: clip["right_kind_of_two"] for key, clip in clips[row].items()} for row in ("true_mask", "other_mask")
    )
    return metrics.mean_interval([own[key] * other[key] for key in own if key in other], seed=seed)


def _interval(metric: str, values: list[float], seed: int) -> metrics.Interval:
    if metric == "loudness_pearson":
        return metrics.bootstrap_interval(values, statistic=np.median, seed=seed)
    return metrics.mean_interval(values, seed=seed)


def _side(row: str, interval: metrics.Interval) -> Side:
    return Side(row=row, value=interval.value, low=interval.low, high=interval.high, count=interval.count)


def goals(
    rows: Mapping[str, ReportRow], swaps: float, accuracies: Mapping[str, float], compared: list[Comparison]
) -> list[Goal]:
    """The figures that were set as goals.

    Args:
        rows: name -> row of the report.
        swaps: value of `mask_swaps`.
        accuracies: of the classifier on "held_out_stems" and "decoded_sounds".
        compared: see `comparisons`.
    """

    def value(row: str, metric: str) -> float:
        return rows[row]["metrics"][metric]["value"]

    def best(metric: str, *names: str) -> float:
        return float(np.max([value(name, metric) for name in names]))

    onsets = value("all", "onset_f1")
    checked = [
        _at_least("classifier: accuracy on held-out stems", accuracies["held_out_stems"], CLASSIFIER_ACCURACY),
        _at_least("classifier: accuracy on decoded sounds", accuracies["decoded_sounds"], CLASSIFIER_ACCURACY),
        _at_least("loudness correlation, all instructions", value("all", "loudness_pearson"), 0.95),
        _at_least("loudness correlation, another clip's curve", value("shuffled_signal", "loudness_pearson"), 0.85),
        _at_most("loudness error (dB), all instructions", value("all", "loudness_error_db"), 2.0),
        _at_most("level error (dB), all instructions", value("all", "level_error_db"), 1.5),
        _at_least("all instructions: the right thing at its level and onsets", value("all", "right_at_once"), 0.80),
        _at_least(
            "the same, more than noise, the thing's spectrum or bursts under the curve",
            value("all", "right_at_once") - best("right_at_once", "noise", "noun", "bursts"),
            0.5,
        ),
        _at_least("onset F1, all instructions", onsets, 0.85),
        _at_least("onset F1 gained by the signal", onsets - value("text_mask", "onset_f1"), 0.2),
        _at_least("mask obedience, two things, no text", value("mask", "right_kind_of_two"), 0.95),
        _at_least("swapped mask swaps the sound, no text (both right in a scene)", swaps, 0.75),
        _at_least("mask of the other thing makes it sound, no text", value("other_mask", "right_kind_of_two"), 0.95),
        _at_least("text obedience, two things, no mask", value("text", "right_kind_of_two"), 0.95),
        _at_least("held-out wording alone", value("held_out_text", "right_kind"), 0.95),
        _at_least("held-out wording with the true box", value("held_out_text_box", "right_kind"), 0.95),
        _at_least("held-out wording with the detector's box", value("held_out_text_mask", "right_kind"), 0.95),
        _at_least("held-out wording with a drawn curve", value("held_out_text_drawn_signal", "right_kind"), 0.95),
        _at_least("mask drawn by hand, two things, no text", value("drawn_mask", "right_kind_of_two"), 0.90),
        _at_least("drawn curve: correlation", value("drawn_signal", "loudness_pearson"), 0.90),
        _at_least(
            "drawn curve: correlation, worst tenth",
            rows["drawn_signal"]["metrics"]["loudness_pearson"]["worst_tenth"],
            0.75,
        ),
        _at_most("drawn curve: level-free error (dB)", value("drawn_signal", "loudness_error_db"), 3.0),
        _at_most("drawn curve: level error (dB)", value("drawn_signal", "level_error_db"), 2.0),
        _at_most("drawn curve: level where zero is drawn (dB)", value("drawn_signal", "silence_db"), -30.0),
        _at_least("all drawn: the right thing at the drawn level", value("all_drawn", "right_in_all"), 0.80),
        _at_least(
            "the same, more than noise, the thing's spectrum or bursts under the drawn curve",
            value("all_drawn", "right_in_all") - best("right_in_all", "noise_drawn", "noun_drawn", "bursts_drawn"),
            0.5,
        ),
    ]
    for instruction in dict.fromkeys(row["instruction"] for row in compared):
        mine = [row for row in compared if row["instruction"] == instruction]
        share = float(np.mean([row["improves"] for row in mine]))
        checked.append(_at_least(f"{instruction} improves its own metric (share of row pairs)", share, 1.0))
    return checked


def _at_least(name: str, value: float, limit: float) -> Goal:
    return {"name": name, "value": value, "goal": f">= {limit:g}", "reached": bool(value >= limit)}


def _at_most(name: str, value: float, limit: float) -> Goal:
    return {"name": name, "value": value, "goal": f"<= {limit:g}", "reached": bool(value <= limit)}
