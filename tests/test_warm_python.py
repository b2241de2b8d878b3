"""The copies of the warm Python are what a new Python would be, but for their start."""

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.warm_python import LIBRARIES, warm_commands, warm_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="hands descriptors from process to process")


def told(*words: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([warm_python(), *words], capture_output=True, text=True, timeout=60, check=False, **more)


def test_the_libraries_are_there_and_our_own_code_is_read_anew() -> None:
    done = told("-c", "import sys; print(*sys.modules)")
    modules = done.stdout.split()
    assert {*LIBRARIES} <= {*modules}
    assert not [name for name in modules if name.split(".")[0] in ("drawaudio_model", "pipelines", "tests")]


def test_arguments_folder_environment_input_and_output_are_the_programs(tmp_path: Path) -> None:
    code = "import os, sys; print(sys.argv[1:], os.getcwd(), os.environ['GIVEN'], sys.stdin.read()); sys.exit('no')"
    done = told("-c", code, "a b", "é", cwd=tmp_path, env={**os.environ, "GIVEN": "ü"}, input="in")
    assert done.stdout == f"['a b', 'é'] {tmp_path} ü in\n"
    assert (done.stderr, done.returncode) == ("no\n", 1)


def test_a_module_a_script_and_the_place_of_modules(tmp_path: Path) -> None:
    (tmp_path / "near.py").write_text("import sys\nif __name__ == '__main__': print('run', sys.argv[0])\n")
    (tmp_path / "script.py").write_text("import near\nprint(__name__, near.__file__)\n")
    assert told("-m", "near", cwd=tmp_path).stdout == f"run {tmp_path / 'near.py'}\n"
    assert told(str(tmp_path / "script.py"), cwd="/").stdout == f"__main__ {tmp_path / 'near.py'}\n"
    elsewhere = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert told("-c", "import near; print(near.__name__)", cwd="/", env=elsewhere).stdout == "near\n"


def test_an_error_is_a_traceback_and_code_1() -> None:
    done = told("-c", "raise ValueError('x')")
    assert done.returncode == 1 and done.stderr.rstrip().endswith("ValueError: x")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_who_is_killed_and_who_kills(number: signal.Signals) -> None:
    """A copy's end by a signal is its program's, and a program's end is its copy's."""
    restored = "" if number == signal.SIGKILL else f"signal.signal({number}, signal.SIG_DFL); "
    assert told("-c", f"import os, signal; {restored}os.kill(os.getpid(), {number})").returncode == -number

    def as_a_shell_does() -> None:
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)  # pytest's processes ignore some

    waiting = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with subprocess.Popen(
        [warm_python(), "-c", waiting], stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=as_a_shell_does
    ) as process:
        copy = int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(20) == -number
    ends = time.monotonic() + 20
    while Path(f"/proc/{copy}").exists():
        assert time.monotonic() < ends, "the copy lives on"
        time.sleep(0.05)


def test_a_program_that_is_started_to_ignore_a_signal_ignores_it() -> None:
    code = "import signal; print(signal.getsignal(signal.SIGTERM) == signal.SIG_IGN)"
    for handler in (signal.SIG_IGN, signal.SIG_DFL):
        done = told("-c", code, preexec_fn=lambda handler=handler: signal.signal(signal.SIGTERM, handler))
        assert done.stdout == f"{handler == signal.SIG_IGN}\n"


def test_who_is_killed_while_it_asks_costs_nobody_else_a_thing() -> None:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(f"{warm_commands().parent}/socket")
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(f"{warm_commands().parent}/socket")
        asking.sendall(struct.pack("!I", 100) + b"half")
    for pause in (0, 0.01, 0.02, 0.04, 0.06, 0.08):
        with subprocess.Popen([warm_python(), "-c", "import time; time.sleep(60)"]) as process:
            time.sleep(pause)
            process.kill()
    assert told("-c", "print(1)").stdout == "1\n"


def test_its_own_programs_and_second_processes_are_warm_too(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing, subprocess, sys\n"
        "def loaded(name): return name in sys.modules\n"
        "if __name__ == '__main__':\n"
        "    for kind in ('spawn', 'forkserver'):\n"
        "        with multiprocessing.get_context(kind).Pool(1) as pool:\n"
        "            print(pool.map(loaded, ['transformers']))\n"
        "    subprocess.run([sys.executable, '-c', 'import sys; print(\"transformers\" in sys.modules)'])\n"
    )
    done = told(str(program))
    assert (done.stdout, done.stderr) == ("[True]\n[True]\nTrue\n", "")


def test_what_a_copy_cannot_be_given_the_real_python_runs() -> None:
    code = "import sys; print(sys.flags.optimize, 'torch' in sys.modules)"
    assert told("-O", "-c", code).stdout == "1 False\n"
    offline = {**os.environ, "HF_HUB_OFFLINE": "0"}
    assert told("-c", code, env=offline).stdout == "0 False\n"
    threads = {**os.environ, "OMP_NUM_THREADS": "2"}
    assert told("-c", "import torch; print(torch.get_num_threads())", env=threads).stdout == "2\n"


def test_the_commands_are_there() -> None:
    assert {path.name for path in warm_commands().iterdir()} == {"python", "drawaudio", "dagster"}
    done = subprocess.run([warm_commands() / "drawaudio", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("drawaudio ")
