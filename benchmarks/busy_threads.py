"""A training step on two cores beside another process, with threads that wait briefly and with those that torch has by itself.

    python benchmarks/busy_threads.py

Convolutions of the demo UNet's finest level, forward and backward, in fresh processes in turns: alone, and while another process
computes on one of the cores. Writes results/busy_threads.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path

from drawaudio_model.thread_waiting import SPIN_VARIABLE, SPINS

CORES = 2
STEPS = 8
STEP = f"""
import statistics, time, torch
from torch import nn
torch.set_num_threads({CORES})
one = lambda: nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.GroupNorm(16, 64), nn.SiLU())
net, latents, seconds = nn.Sequential(*(one() for _ in range(10))), torch.randn(16, 64, 100, 8), []
for _ in range({STEPS} + 1):
    start = time.perf_counter()
    net(latents).square().mean().backward()
    seconds.append(time.perf_counter() - start)
print(statistics.median(seconds[1:]))
"""


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    if len(cores) < CORES:
        raise SystemExit(f"this machine lends {len(cores)} core, expected at least {CORES}")
    settings = {"torch's own": {}, "brief": {SPIN_VARIABLE: SPINS}}
    seconds = {f"{name}, {place}": [] for place in ("alone", "beside another") for name in settings}
    for _ in range(repeats):
        for place in ("alone", "beside another"):
            other = busy_process(cores[-1]) if place == "beside another" else None
            for name, variables in settings.items():
                seconds[f"{name}, {place}"].append(step_seconds(variables, cores))
            if other is not None:
                other.kill()
                other.wait()
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    result = {
        "date": date.today().isoformat(),
        "hardware": f"{platform.processor() or platform.machine()}, {len(cores)} of {os.cpu_count()} cores",
        "load_average": os.getloadavg()[0],
        "repeats": repeats,
        "seconds_a_step": {name: {"min": min(found), "median": medians[name]} for name, found in seconds.items()},
        "brief_to_own_alone": medians["brief, alone"] / medians["torch's own, alone"],
        "own_to_brief_beside_another": medians["torch's own, beside another"] / medians["brief, beside another"],
    }
    path = Path(__file__).parent / "results" / "busy_threads.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"alone, waiting briefly takes {result['brief_to_own_alone']:.2f} of torch's own time; beside another process torch's "
        f"own way takes {result['own_to_brief_beside_another']:.1f} times as long"
    )


def busy_process(core: int) -> subprocess.Popen:
    """A process that computes on one core without end."""
    pinned = f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    return subprocess.Popen([sys.executable, "-c", pinned])


def step_seconds(variables: dict[str, str], cores: list[int]) -> float:
    """Median seconds of a step in a fresh process with these environment variables."""
    clean = {name: value for name, value in os.environ.items() if name not in (SPIN_VARIABLE, "OMP_WAIT_POLICY")}
    ran = subprocess.run(
        [sys.executable, "-c", STEP],
        env=clean | variables | {"OMP_NUM_THREADS": str(len(cores))},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(ran.stdout)


if __name__ == "__main__":
    main()
