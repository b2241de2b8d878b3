"""The evaluation report and the control benchmark of several trainings, which differ in their seed alone.

    python benchmarks/seeds.py --hardware "AMD EPYC with AVX-512, 2 cores"
    python benchmarks/seeds.py --data data/demo --seeds 0 1 2 --run demo

On the shards and backbones of a data root that `make demo` has filled. Below its `seeds/<seed>/` lie each training's model,
evaluation and benchmark; what is there already is kept, so that an interrupted run goes on. Writes results/metrics.json and
results/control.json: each figure of each seed (`values`) and their mean (`value`), and the goals, judged by the mean.

    python benchmarks/seeds.py --seeds 2 --keep --hardware "..."

measures a further training and keeps those of other seeds that stand in the results, if they were measured in the same way.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from drawaudio_model.model_folder import model_sha256

RESULTS = Path(__file__).parent / "results"
WORDINGS = Path(__file__).parents[1] / "pipelines" / "sources" / "demo" / "held_out_wordings.json"
EVALUATED_CLIPS = 24
"""Of the evaluation, as in the demo's own report."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/demo"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--run", default="demo", help="settings of the training")
    parser.add_argument("--hardware", required=True, help="in words, for the results")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--keep", action="store_true", help="the seeds that the results have already")
    options = parser.parse_args()
    data = options.data
    for seed in options.seeds:
        folder = data / "seeds" / str(seed)
        shards = ("--shards", data / "training_shards")
        model = ("--model", folder / "model")
        drawn = ("--drawn", data / "drawn_instructions")
        state = ("--output", folder / "model", "--state", folder / "training")
        backbones = ("--backbones", data / "backbones")
        run("train", *shards, *backbones, *drawn, *state, "--run", options.run, "--seed", seed)
        # The clips are the same whichever training is measured.
        limit = ("--limit", EVALUATED_CLIPS)
        run("evaluate", *model, *shards, "--media", data / "clip_media", "--output", folder / "evaluation", *limit)
        clips = ("--raw-clips", data / "raw_clips", "--media", data / "clip_media", "--wordings", WORDINGS)
        run("control", *model, *shards, *clips, "--output", folder / "control")
    folders = {seed: data / "seeds" / str(seed) for seed in options.seeds}
    about = {"date": time.strftime("%Y-%m-%d"), "hardware": options.hardware, "profile": data.name, "run": options.run}
    for name, place in (("metrics", "evaluation"), ("control", "control")):
        by_seed = {seed: json.loads((folder / place / f"{name}.json").read_text()) for seed, folder in folders.items()}
        path = options.output / f"{name}.json"
        marks = {seed: model_sha256(folder / "model") for seed, folder in folders.items()}
        if options.keep:
            earlier = json.loads(path.read_text())
            check_alike(earlier, merged([*by_seed.values()]), path)
            kept = [int(seed) for seed in earlier["seeds"]]
            by_seed = {seed: report_of(earlier, place) for place, seed in enumerate(kept)} | by_seed
            marks = {int(seed): mark for seed, mark in earlier["seeds"].items()} | marks
        reports = [by_seed[seed] for seed in sorted(by_seed)]
        seeds = {"seeds": {seed: marks[seed] for seed in sorted(by_seed)}}
        path.write_text(json.dumps({**about, **seeds, **merged(reports)}, indent=1) + "\n")
        for row in judged(reports):
            print(
                f"{'reached' if row['reached'] else 'MISSED ':7s} {row['value']:8.3f} {row['goal']:>8s}  {row['name']}"
            )


def run(task: str, *arguments: object) -> None:
    """One of the project's programs, as a person starts it."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-m", f"drawaudio_model.{task}", *map(str, arguments)], check=True, env=environment)


PER_SEED = ("limited_clips", "levels", "mask_swaps", "wall_seconds")
SHARED = ("split", "steps", "clips", "clips_with_two_things", "device", "torch")
SHARED += ("guidance_text", "guidance_video", "guidance_loudness")
"""Of a report: what all seeds have in common."""


def check_alike(earlier: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """Raises ValueError when earlier results cannot stand beside those of now."""
    for name in SHARED:
        if name != "torch" and earlier.get(name) != now.get(name):
            raise ValueError(
                f"{path} has {name} {earlier.get(name)!r}, now it is {now.get(name)!r}; measure all seeds again"
            )
    if [*earlier["rows"]] != [*now["rows"]]:
        raise ValueError(f"{path} has other rows than the reports have now; measure all seeds again")


def report_of(results: dict[str, Any], place: int) -> dict[str, Any]:
    """The report of one training, as `merged` took it in.

    Args:
        results: of several trainings.
        place: of the training among them.
    """
    report = {name: results[name] for name in SHARED if name in results}
    report |= {name: results[name][place] for name in PER_SEED if name in results}
    if "classifier" in results:
        report["classifier"] = {name: values[place] for name, values in results["classifier"].items()}
    if "goals" in results:
        report["goals"] = [goal | {"value": goal["values"][place]} for goal in results["goals"]]
    report["rows"] = {
        row: {
            "name": content["name"],
            "metrics": {
                metric: entry
                | {name: entry[f"{name}s"][place] for name in ("value", "worst_tenth") if f"{name}s" in entry}
                for metric, entry in content["metrics"].items()
            },
        }
        for row, content in results["rows"].items()
    }
    return report


def merged(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """What several reports have in common, and the mean of what they measured."""
    first = reports[0]
    found = {name: first[name] for name in SHARED if name in first}
    for name in PER_SEED:
        if name in first:
            found[name] = [report[name] for report in reports]
    if "classifier" in first:
        found["classifier"] = {
            name: [report["classifier"][name] for report in reports]
            for name in first["classifier"]
            if "accuracy" in name
        }
    if "goals" in first:
        found["goals"] = judged(reports)
    found["rows"] = {
        row: {
            "name": content["name"],
            "metrics": {
                metric: mean_of([report["rows"][row]["metrics"][metric] for report in reports])
                for metric in content["metrics"]
            },
        }
        for row, content in first["rows"].items()
    }
    return found


def judged(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The goals of several reports of the control benchmark, by the mean of their values."""
    rows = []
    for goals in zip(*(report.get("goals", []) for report in reports), strict=True):
        values = [goal["value"] for goal in goals]
        kind, limit = goals[0]["goal"].split()
        mean = float(np.mean(values))
        reached = mean >= float(limit) if kind == ">=" else mean <= float(limit)
        rows.append(
            {"name": goals[0]["name"], "value": mean, "values": values, "goal": goals[0]["goal"], "reached": reached}
        )
    return rows


def mean_of(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """A metric of several reports: its values, and their mean; None where a report has none."""
    found = {"name": metrics[0]["name"], "statistic": metrics[0].get("statistic"), "count": metrics[0].get("count")}
    for entry in ("value", "worst_tenth"):
        if entry in metrics[0]:
            values = [metric[entry] for metric in metrics]
            found[entry] = None if None in values else float(np.mean(values))
            found[f"{entry}s"] = values
    return {name: value for name, value in found.items() if value is not None or name == "value"}


if __name__ == "__main__":
    main()
