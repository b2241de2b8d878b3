"""What a process starts ends with it, also when it is killed."""

import os
import subprocess
import sys

import dagster as dg
import psutil
import pytest

from drawaudio_model.parent_process import ENDS_WITH
from pipelines.resources import Trainer
from tests.readme_commands import ROOT

STARTS = {
    "a pool's process": (
        "from concurrent.futures import ProcessPoolExecutor\n"
        "    from drawaudio_model.parent_process import end_with_parent\n"
        "    pool = ProcessPoolExecutor(1, mp_context=get_context('spawn'), initializer=end_with_parent)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
    ),
    "a second process": (
        "from drawaudio_model.second_process import SecondProcess\n"
        "    second = SecondProcess('rest', 1, time.sleep, 600)\n"
        "    second.wait_for_start()\n"
        "    print(second.process.pid, flush=True)\n"
    ),
    "a command": (
        "import subprocess, sys\n"
        "    from drawaudio_model.parent_process import ENDS_WITH\n"
        "    words = 'import time; from drawaudio_model.parent_process import end_with_starter as e; e(); time.sleep(600)'\n"
        "    env = os.environ | {ENDS_WITH: str(os.getpid())}\n"
        "    print(subprocess.Popen([sys.executable, '-c', words], env=env).pid, flush=True)\n"
    ),
    "a command behind a launcher": (
        "import subprocess, sys\n"
        "    from drawaudio_model.parent_process import ENDS_WITH\n"
        "    words = 'import os, time; from drawaudio_model.parent_process import end_with_starter as e; e(); '\n"
        "    words += 'print(os.getpid(), flush=True); time.sleep(600)'\n"
        "    subprocess.Popen([sys.executable, '-c', words], env=os.environ | {ENDS_WITH: str(os.getppid())})\n"
    ),
}


@pytest.mark.parametrize("start", STARTS)
def test_it_ends_when_its_parent_is_killed(start, tmp_path):
    program = tmp_path / "parent.py"
    program.write_text(
        "import os, time\nfrom multiprocessing import get_context\n\n"
        f"if __name__ == '__main__':\n    {STARTS[start]}    time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, str(program)], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )
    try:
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
    finally:
        parent.kill()
    try:
        # The parent is not waited for before: until then it still has its number.
        child.wait(20)
    except psutil.TimeoutExpired:
        child.kill()
        raise
    finally:
        parent.wait()


COMMANDS = {
    "drawaudio": "from drawaudio_model import cli; cli.run_info = lambda _: time.sleep(600); cli.main(['info', 'model'])",
    "a module": (
        "from drawaudio_model.command_line import run_program\n"
        "run_program('rest', 'rest', '', lambda _: None, lambda _: time.sleep(600), [])"
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_ends_with_its_starter(command):
    """Also where the starter is not its parent, and is gone before it looks."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    started = subprocess.Popen(
        [sys.executable, "-c", f"import time\n{COMMANDS[command]}"],
        env=os.environ | {"PYTHONPATH": str(ROOT), ENDS_WITH: str(gone.pid)},
    )
    try:
        assert started.wait(30) == 1
    finally:
        started.kill()


def test_the_orchestrator_tells_a_training_with_whom_to_end(monkeypatch):
    seen = {}
    monkeypatch.setattr(dg.PipesSubprocessClient, "run", lambda self, **given: seen.update(given))
    Trainer().run(dg.build_asset_context(), "train", ["--run", "tiny"])
    assert seen["env"][ENDS_WITH] == str(os.getpid())
