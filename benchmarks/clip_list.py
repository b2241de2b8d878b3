"""Time and memory that the list of VGGSound takes: 199,176 rows on one core.

    python benchmarks/clip_list.py [--lists ../shared/realdata/csv]

The list is made up to VGGSound's size from the tables in `--lists` where they lie there (103,081 real rows, 309 real labels) and
from invented ids. Reading, checking, sharding and writing it is timed in fresh processes that may use one core, in turns with its
baseline, `csv.reader` over the same file into a list. The definitions are timed with the profile's 200 partitions. Goals: 20 s
and 1 GiB for the list, 3 s for the definitions. Writes results/clip_list.json.
"""

import argparse
import csv
import gzip
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROWS = 199_176
GOAL_SECONDS, GOAL_BYTES, GOAL_DEFINITIONS_SECONDS = 20.0, 2**30, 3.0
TIMED = """
import os, resource, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
start = time.perf_counter()
%s
print(count, time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
STATEMENTS = {
    "clip_list": """
from pathlib import Path
from pipelines import clip_rows, profiles
from pipelines.assets import clip_list
rows = clip_list.list_clips(profiles.PROFILES["vggsound_caption"])
clip_rows.write_clip_list(Path(sys.argv[2]), rows)
count = len(rows)""",
    "csv.reader": """
import csv
with open(sys.argv[1], newline="") as file:
    count = len(list(csv.reader(file)))""",
    "definitions": """
from pipelines import defs
from pipelines.partitions import shards
count = len(shards.get_partition_keys())""",
    "import dagster": """
import dagster
count = 0""",
}


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lists", type=Path, default=ROOT.parent / "shared" / "realdata" / "csv")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lists" / "vggsound" / "vggsound.csv"
        real = write_list(path, options.lists)
        found = {name: [] for name in STATEMENTS}
        for _ in range(options.repeats):
            for name, statement in STATEMENTS.items():
                found[name].append(timed(statement, path, Path(folder) / "clip_list.parquet"))
    seconds = {name: statistics.median(row[1] for row in rows) for name, rows in found.items()}
    memory = {name: max(row[2] for row in rows) for name, rows in found.items()}
    result = {
        "date": date.today().isoformat(),
        "hardware": f"{platform.processor() or platform.machine()}, one of {os.cpu_count()} cores",
        "load_average": os.getloadavg()[0],
        "versions": {"python": platform.python_version(), "dagster": version("dagster")},
        "repeats": options.repeats,
        "rows": {"real": real, "invented": ROWS - real, "listed_clips": found["clip_list"][0][0]},
        "partitions": found["definitions"][0][0],
        "seconds": seconds,
        "peak_megabytes": {name: value / 1e6 for name, value in memory.items()},
        "ratio_to_csv_reader": seconds["clip_list"] / seconds["csv.reader"],
        "goals_reached": {
            "clip_list_20_s": seconds["clip_list"] <= GOAL_SECONDS,
            "clip_list_1_gib": memory["clip_list"] <= GOAL_BYTES,
            "definitions_3_s": seconds["definitions"] <= GOAL_DEFINITIONS_SECONDS,
        },
    }
    results = Path(__file__).parent / "results" / "clip_list.json"
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"{ROWS:,} rows ({real:,} real): {seconds['clip_list']:.1f} s (goal {GOAL_SECONDS:g}), peak "
        f"{memory['clip_list'] / 2**20:.0f} MiB (goal 1024); csv.reader alone {seconds['csv.reader']:.2f} s; definitions with "
        f"{result['partitions']} partitions {seconds['definitions']:.2f} s (goal {GOAL_DEFINITIONS_SECONDS:g}), import dagster "
        f"alone {seconds['import dagster']:.2f} s"
    )


def write_list(path: Path, lists: Path) -> int:
    """Write VGGSound's 4-column list in its full size; returns how many of its rows are real."""
    rows: list[list[str]] = []
    labels = ["people marching", "engine accelerating, revving, vroom"]
    if (lists / "vggsound_partial_rebuilt.csv.gz").exists():
        with gzip.open(lists / "vggsound_partial_rebuilt.csv.gz", "rt", newline="") as file:
            rows = list(csv.reader(file))
        labels = sorted({row[2] for row in rows})
    real = len(rows)
    for number in range(ROWS - real):
        video = hashlib.sha256(f"invented {number}".encode()).hexdigest()[:11]
        rows.append([video, str(number % 500), labels[number % len(labels)], "train"])
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return real


def timed(statement: str, path: Path, output: Path) -> tuple[int, float, int]:
    """(what it counted, seconds, peak resident bytes) of a statement in a fresh process on one core."""
    environment = os.environ | {
        "DRAWAUDIO_PROFILE": "vggsound_caption",
        "DRAWAUDIO_LISTS": str(path.parent.parent),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", TIMED % statement, str(path), str(output)]
    words = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    return int(words[0]), float(words[1]), int(words[2])


if __name__ == "__main__":
    main()
