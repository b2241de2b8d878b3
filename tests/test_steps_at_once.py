"""Assets at the same time: each in a process of its own, as `make demo` asks for it; what fails, and what is killed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from pipelines.steps_at_once import SETTING, step_executor, steps_at_once
from tests.test_tiny_path import ROOT, environment

DAGSTER = Path(sys.executable).parent / "dagster"
WORLD = """
import os, time
from pathlib import Path
import dagster as dg
from pipelines.steps_at_once import step_executor

HERE = Path(os.environ["DRAWAUDIO_DATA"])

def meet(own, other):
    (HERE / own).write_text(str(os.getpid()))
    ends = time.monotonic() + 120
    while not (HERE / other).exists():
        assert time.monotonic() < ends, f"{own} waits for {other}"
        time.sleep(0.05)

@dg.asset
def first():
    meet("first", "second")
    if os.environ["FATE"] == "fail":
        raise dg.Failure("first has no clip", allow_retries=False)
    time.sleep(300 if os.environ["FATE"] == "wait" else 0)

@dg.asset
def second():
    meet("second", "first")
    time.sleep(300 if os.environ["FATE"] == "wait" else 0)

@dg.asset(deps=[second])
def after_second():
    (HERE / "after_second").touch()

@dg.asset(deps=[first])
def after_first():
    (HERE / "after_first").touch()

defs = dg.Definitions([first, second, after_first, after_second], executor=step_executor())
"""


def start(folder: Path, fate: str) -> subprocess.Popen:
    """A run of two assets that wait until both have begun, and of one after each."""
    (folder / "data").mkdir()
    (folder / "small_world.py").write_text(WORLD)
    path = f"{folder}{os.pathsep}{ROOT}"
    variables = environment(folder, FATE=fate, PYTHONPATH=path, PYTHONWARNINGS="ignore", **{SETTING: "2"})
    command = [str(DAGSTER), "asset", "materialize", "-m", "small_world", "--select", "*"]
    return subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("a single core computes one step at a time")
    monkeypatch.delenv(SETTING, raising=False)


def test_one_after_the_other_unless_asked_and_never_more_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert step_executor() is dg.in_process_executor
    for text, cores, expected in (("1", 2, 1), ("2", 2, 2), ("8", 3, 3), ("2", 1, 1)):
        monkeypatch.setenv(SETTING, text)
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        assert (step_executor() is dg.in_process_executor) == (expected == 1)
        assert steps_at_once() == expected
    for text in ("0", "two", "-1"):
        monkeypatch.setenv(SETTING, text)
        with pytest.raises(ValueError, match=f"{SETTING} is '{text}', expected a whole number of at least 1"):
            step_executor()


def test_what_does_not_wait_for_a_failed_asset_is_made_and_the_log_says_why_it_failed(tmp_path: Path) -> None:
    run = start(tmp_path, "fail")
    output, _ = run.communicate(timeout=300)
    assert run.returncode != 0
    assert (tmp_path / "data" / "after_second").exists() and not (tmp_path / "data" / "after_first").exists()
    assert "first has no clip" in output
    assert not re.search(r" - (DEBUG|WARNING) - ", output), output
    assert len({(tmp_path / "data" / name).read_text() for name in ("first", "second")}) == 2  # processes


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_no_step_outlives_its_run(tmp_path: Path, sent: signal.Signals) -> None:
    run = start(tmp_path, "wait")
    files = [tmp_path / "data" / name for name in ("first", "second")]
    while run.poll() is None and not all(file.exists() and file.read_text() for file in files):
        time.sleep(0.05)
    run.send_signal(sent)
    run.communicate(timeout=60)
    assert run.returncode != 0
    ends = time.monotonic() + 60
    for file in files:
        while Path(f"/proc/{file.read_text()}").exists() and time.monotonic() < ends:
            time.sleep(0.05)
        assert not Path(f"/proc/{file.read_text()}").exists(), file.name
