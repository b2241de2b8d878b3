"""Time until `drawaudio` answers: the help of every command, beside a Python that does nothing.

    python benchmarks/help.py

Each command's `--help` is timed in fresh processes, in turns with `python -c pass`, the least that any command takes. The goals
are 0.3 s for `drawaudio --help` and 0.5 s for the help of a command, by the median. Writes results/help.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from drawaudio_model.cli import build_parser

ROOT = Path(__file__).parent.parent
GOAL_SECONDS, COMMAND_GOAL_SECONDS = 0.3, 0.5
NOTHING = "python -c pass"


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    commands = {NOTHING: [sys.executable, "-c", "pass"]}
    for words in ((), *command_words(build_parser())):
        commands[" ".join(("drawaudio", *words))] = [sys.executable, "-m", "drawaudio_model.cli", *words, "--help"]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            seconds[name].append(timed(command))
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    goals = {name: GOAL_SECONDS if name == "drawaudio" else COMMAND_GOAL_SECONDS for name in medians if name != NOTHING}
    result = {
        "date": date.today().isoformat(),
        "hardware": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load_average": os.getloadavg()[0],
        "versions": {"python": platform.python_version()},
        "repeats": repeats,
        "seconds": {name: {"min": min(found), "median": medians[name]} for name, found in seconds.items()},
        "ratio_to_nothing": {name: medians[name] / medians[NOTHING] for name in goals},
        "goal_seconds": {"drawaudio": GOAL_SECONDS, "each command": COMMAND_GOAL_SECONDS},
        "goal_reached": {name: medians[name] <= goal for name, goal in goals.items()},
    }
    path = Path(__file__).parent / "results" / "help.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{NOTHING:26} {medians[NOTHING]:.2f} s")
    for name, goal in goals.items():
        print(f"{name + ' --help':26} {medians[name]:.2f} s (goal {goal} s)")


def command_words(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of all commands, of those that only group others, too."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    inner = [(name, command) for group in groups for name, command in group.choices.items()]
    return [found for name, command in inner for found in [(*words, name), *command_words(command, (*words, name))]]


def timed(command: list[str]) -> float:
    """Seconds that a command takes in a fresh process."""
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
