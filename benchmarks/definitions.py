"""Time to load the definitions, for which every `dagster` command waits.

    python benchmarks/definitions.py

`from pipelines import defs` is timed in fresh processes, in turns with `import dagster` alone, its baseline; the goal is at most
2.5 s without torch being imported. Writes results/definitions.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
GOAL_SECONDS = 2.5
STATEMENTS = {"pipelines": "from pipelines import defs", "dagster": "import dagster"}
TIMED = "import sys, time; start = time.perf_counter(); {0}; print(time.perf_counter() - start, 'torch' in sys.modules)"


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    seconds: dict[str, list[float]] = {"pipelines": [], "dagster": []}
    for _ in range(repeats):
        for module, found in seconds.items():
            took, has_torch = timed_import(module)
            found.append(took)
            if has_torch:
                raise SystemExit(f"import {module} imports torch; import it inside the functions that need it")
    medians = {module: statistics.median(found) for module, found in seconds.items()}
    result = {
        "date": date.today().isoformat(),
        "hardware": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load_average": os.getloadavg()[0],
        "versions": {"python": platform.python_version(), "dagster": version("dagster")},
        "repeats": repeats,
        "seconds": {module: {"min": min(found), "median": medians[module]} for module, found in seconds.items()},
        "ratio_to_dagster": medians["pipelines"] / medians["dagster"],
        "goal_seconds": GOAL_SECONDS,
        "goal_reached": medians["pipelines"] <= GOAL_SECONDS,
        "imports_torch": False,
    }
    path = Path(__file__).parent / "results" / "definitions.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"the definitions: {medians['pipelines']:.2f} s (goal {GOAL_SECONDS} s), import dagster: {medians['dagster']:.2f} s"
    )


def timed_import(module: str) -> tuple[float, bool]:
    """Seconds that loading a module takes in a fresh process, and whether it imported torch."""
    command = [sys.executable, "-c", TIMED.format(STATEMENTS[module])]
    words = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return float(words[0]), words[1] == "True"


if __name__ == "__main__":
    main()
