"""CPU time from a command's start to its answer, beside `import torch` in the same run.

    python benchmarks/start.py

Each command runs in fresh processes, in turns with `python -c "import torch"`, on the demo's files (`make demo`); counted is
the CPU time of the process, which a busy machine does not change. What needs no network is to answer within 1.0 s, and the
pipeline to be imported within 4 s. Writes results/start.json.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.evaluation.listening_page import write_video

ROOT = Path(__file__).parent.parent
TORCH = "import torch"
GOAL_SECONDS, PIPELINE_GOAL_SECONDS = 1.0, 4.0
PIPELINE = "import drawaudio_model.pipeline"
COMMANDS = {
    "curve scene.mp4 -o curve.csv": 0,
    "curve curve.csv -o heard.wav": 0,
    "info {demo}/model": 0,
    "dataset verify {demo}/training_shards": 0,
    "mask scene.mp4 --explain 0.2,0.1,0.8,0.9 --preview seen.png": 0,
    "generate scene.mp4 --model none -o out.wav": 2,
    "generate scene.mp4 --model {demo}/model --loudness gone.csv -o out.wav": 2,
}
"""Words after `drawaudio`, and the exit code that is to come."""
FIRST_STEP = "generate scene.mp4 --model {demo}/model --steps 1 --seed 1 --device cpu -o out.wav"
IMPORTS = (
    PIPELINE,
    "import drawaudio_model.mel",
    "import pipelines.assets.loudness_curves",
    "import drawaudio_model.loudness, drawaudio_model.mel, drawaudio_model.shard",
)
"""The last is what a step of Dagster imports to measure curves."""


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--demo", type=Path, default=ROOT / "data" / "demo", help="the demo's data")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        frames = np.random.default_rng(0).integers(0, 255, (40, 180, 320, 3), dtype=np.uint8)
        write_video(Path(folder) / "scene.mp4", frames, 4, np.full(10 * SAMPLE_RATE, 0.01, np.float32))
        seconds: dict[str, list[float]] = {}
        for _ in range(options.repeats):
            for statement in (TORCH, *IMPORTS):
                seconds.setdefault(statement, []).append(cpu_seconds(["-c", statement], folder))
            for words, code in (COMMANDS | {FIRST_STEP: 0}).items():
                filled = words.format(demo=options.demo.resolve()).split()
                took = cpu_seconds(["-m", "drawaudio_model.cli", *filled], folder, code)
                seconds.setdefault(f"drawaudio {words.format(demo='demo')}", []).append(took)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    goals = dict.fromkeys((f"drawaudio {words.format(demo='demo')}" for words in COMMANDS), GOAL_SECONDS)
    goals[PIPELINE] = PIPELINE_GOAL_SECONDS
    result = {
        "date": date.today().isoformat(),
        "hardware": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load_average": os.getloadavg()[0],
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "diffusers", "transformers")},
        "repeats": options.repeats,
        "cpu_seconds": {name: {"min": min(found), "median": medians[name]} for name, found in seconds.items()},
        "ratio_to_torch": {name: median / medians[TORCH] for name, median in medians.items()},
        "goal_cpu_seconds": goals,
        "goal_reached": {name: medians[name] <= goal for name, goal in goals.items()},
    }
    path = Path(__file__).parent / "results" / "start.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    for name, median in medians.items():
        goal = f" (goal {goals[name]:g} s)" if name in goals else ""
        print(f"{median:6.2f} s  {median / medians[TORCH]:5.2f} x torch  {name}{goal}")


def cpu_seconds(arguments: list[str], folder: str, code: int = 0) -> float:
    """User and system time of a Python process, which is to end with this exit code."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != code:
        raise SystemExit(f"{' '.join(arguments)} failed: {done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
