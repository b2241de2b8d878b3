"""A process that is a copy does what a new one does: its words, variables, folder, streams and its end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.preloaded import preloaded

SAYS = """
import os, sys
print(sys.argv[1:], __name__, os.getcwd(), os.environ["SAID"], "OTHER" in os.environ, sys.stdin.read(), "torch" in sys.modules)
print("wrong", file=sys.stderr)
sys.exit(3)
"""


@pytest.fixture(autouse=True)
def copies() -> None:
    if not preloaded():
        pytest.skip("there is a GPU, which no copy of a process can use")


def start(code: str, *words: str, **streams: int) -> subprocess.Popen[str]:
    variables = {"PATH": os.environ["PATH"], "SAID": "so"} | preloaded()
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], env=variables, text=True, stdout=subprocess.PIPE, **streams
    )


def test_words_variables_folder_streams_and_code_are_its_own(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SAYS, "a", "b c"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "SAID": "so"} | preloaded(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.communicate("asked") == (f"['a', 'b c'] __main__ {tmp_path} so False asked True\n", "wrong\n")
    assert process.returncode == 3


def test_the_command_and_its_module_answer_alike() -> None:
    for command in ([Path(sys.executable).with_name("drawaudio")], [sys.executable, "-m", "drawaudio_model.cli"]):
        told = [
            subprocess.run([*command, "info", "gone"], env=variables, capture_output=True, text=True, check=False)
            for variables in (os.environ | preloaded(), {**os.environ, "PYTHONPATH": preloaded()["PYTHONPATH"]})
        ]
        assert told[0].returncode == told[1].returncode == 2
        assert told[0].stderr == told[1].stderr and told[0].stderr.startswith("drawaudio: ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_reaches_it_and_is_its_end(number: signal.Signals) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    process = start(code)
    copy = int(process.stdout.readline())
    assert copy != process.pid
    process.send_signal(number)
    assert process.wait(20) == (-number if number != signal.SIGINT else 130)
    ends = time.monotonic() + 10
    while Path(f"/proc/{copy}").exists() and time.monotonic() < ends:
        time.sleep(0.02)
    assert not Path(f"/proc/{copy}").exists()


def test_an_error_is_a_traceback_and_code_1() -> None:
    process = start("raise ValueError('so it is')", stderr=subprocess.STDOUT)
    told, _ = process.communicate()
    assert process.returncode == 1 and told.startswith("Traceback") and told.endswith("ValueError: so it is\n")
