"""The orchestrator's settings: what a killed process leaves behind must not stop the next one."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HOME = Path(__file__).parent.parent / "dagster_home"

RUN = """
import os, signal, sys
import dagster as dg

@dg.asset(pool="youtube")
def clips() -> None:
    if sys.argv[1] == "die":
        os.kill(os.getpid(), signal.SIGKILL)

with dg.DagsterInstance.get() as instance:
    dg.materialize([clips], instance=instance)
"""


def test_a_killed_download_does_not_block_the_next_one(tmp_path: Path) -> None:
    shutil.copy(HOME / "dagster.yaml", tmp_path)

    def run(what: str) -> int:
        command = [sys.executable, "-c", RUN, what]
        environment = os.environ | {"DAGSTER_HOME": str(tmp_path)}
        return subprocess.run(command, env=environment, capture_output=True, timeout=180, check=False).returncode

    assert run("die") == -signal.SIGKILL
    assert run("live") == 0


@pytest.mark.parametrize("name", ["dagster.yaml", "dagster.ray.yaml"])
def test_pools_count_runs_on_one_machine_and_on_many(name: str) -> None:
    assert yaml.safe_load((HOME / name).read_text())["concurrency"]["pools"]["granularity"] == "run"
