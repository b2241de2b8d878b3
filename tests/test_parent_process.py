"""What a process starts ends with it, also when it is killed."""

import subprocess
import sys

import psutil
import pytest

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
        parent.wait()
    try:
        child.wait(20)
    except psutil.TimeoutExpired:
        child.kill()
        raise
