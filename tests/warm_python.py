"""A Python that has loaded its libraries: programs of the tests begin as copies of it instead of importing for ten seconds.

    subprocess.run([warm_python(), "-m", "drawaudio_model.cli", "train", ...])

The copy is a process of its own with the environment, folder, streams and arguments that it was given. It imports the project's
own code anew, and runs it as `python -m`, `python -c` or a script would. What it does not show is what a program imports and how
long its start takes, nor what becomes of a process that is looked at by its number or killed: `test_start.py`,
`test_front_door.py` and the tests with signals start Pythons of their own. What a copy cannot be given (other options, other
settings of libraries, no number of threads) is run by the real Python.

As a program (`warm_python.py <folder> <process>`) it is that Python: it waits at `<folder>/socket` and ends with the process.
"""

import atexit
import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import types
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

FOLDER = "DRAWAUDIO_TESTS_WARM_PYTHON"
"""Environment variable: where the warm Python of this run of tests is reached."""
FIXED = ("MKL_NUM_THREADS", "HF_HUB_OFFLINE", "HF_HOME", "MPLBACKEND", "LD_PRELOAD")
"""Environment variables that libraries read as they are loaded."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
THREADS = "OMP_NUM_THREADS"
"""Another one, which may differ: torch takes a number of threads at any time."""
_CLIENT = Path(__file__).with_name("warm_client.py")
_OLD_STREAMS: list[TextIO] = []
"""Kept: they would close the new ones' descriptors as they go."""


def warm_python() -> str:
    """Path of a `python` whose programs begin with their libraries loaded. The first call waits until there is one."""
    return str(warm_commands() / "python")


def warm_commands() -> Path:
    """A folder with this `python`, `drawaudio` and `dagster`; that of the environment where there is no warm Python."""
    if sys.platform != "linux" or FOLDER not in os.environ:
        return Path(sys.executable).parent
    folder = Path(os.environ[FOLDER])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "bin").exists():
            _start(folder)
    return folder / "bin"


def _start(folder: Path) -> None:
    import tests.warm_client as client

    left = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONWARNINGS")}
    environment = left | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, __file__, str(folder), (folder / "owner").read_text()]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    while not (folder / "socket").exists():
        assert process.poll() is None, f"the warm Python ended with {process.returncode}"
        time.sleep(0.05)
    (folder / "making").mkdir()
    for name in client.COMMANDS:
        program = folder / "making" / name
        words = f"'{sys.executable}' -IS '{_CLIENT}' '{sys.executable}' '{folder}' {name}"
        program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        program.chmod(0o755)
    (folder / "making").rename(folder / "bin")


LIBRARIES = (
    *("accelerate", "av", "dagster", "diffusers.loaders.lora_base", "diffusers.models.transformers.transformer_2d"),
    *("librosa", "pyarrow.parquet", "scipy.signal", "scipy.stats", "spacy", "torch", "torchaudio", "torchvision"),
    "transformers",
)
"""What the project's programs import that is not the project's, and takes long."""


@dataclass(frozen=True)
class Program:
    """What a copy is to run."""

    words: list[str]
    streams: list[int]
    """Descriptors that it inherits."""
    ignored: list[int]
    """Signals that it is started to ignore; the warm Python itself may have been started so by pytest's processes."""
    folder: str
    environment: dict[str, str]

    def without_options(self) -> list[str]:
        """Its words from the first on that is none of the options which multiprocessing and the tests give."""
        words = [word for word in self.words[:3] if word not in ("-B", "-Wignore")] + self.words[3:]
        return words[2:] if words[:2] == ["-W", "ignore"] else words

    def can_be_run(self) -> bool:
        """Whether a copy of this process would do as a new one does."""
        fixed = all(self.environment.get(name) == os.environ.get(name) for name in FIXED)
        fixed = fixed and self.environment.get(THREADS, "").isdecimal() >= (THREADS in os.environ)
        words = self.without_options()
        plain = bool(words) and (words[0] in ("-m", "-c") or not words[0].startswith("-"))
        return fixed and plain and self.environment.get("PYTHONWARNINGS", "") in ("", "ignore")


def serve(folder: Path, owner: int) -> tuple[Program, str]:
    """Make copies until the owner ends; returns in each copy, with what it is to run and the `python` of its own programs."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/binding")
    listener.listen(64)
    os.rename(f"{folder}/binding", f"{folder}/socket")
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    copies: dict[int, tuple[int, socket.socket]] = {}  # by their descriptor
    asked: dict[socket.socket, int] = {}
    while True:
        for key, _ in selector.select(timeout=2.0):
            if key.fileobj is listener:
                asking, _ = listener.accept()
                found = _request(asking)
                if found is None:
                    asking.close()
                    continue
                program, streams = found
                process = os.fork() if program.can_be_run() else None
                if process == 0:
                    selector.close()
                    for left in (listener, asking, *asked):
                        left.close()
                    for descriptor in copies:
                        os.close(descriptor)
                    _place(streams, program.streams)
                    return program, str(folder / "bin" / "python")
                for stream in streams:
                    os.close(stream)
                with suppress(OSError):  # killed meanwhile, which is seen below
                    asking.sendall(struct.pack("!i", process or 0))
                if process is None:
                    asking.close()
                    continue
                descriptor = os.pidfd_open(process)
                copies[descriptor], asked[asking] = (process, asking), process
                selector.register(descriptor, selectors.EVENT_READ)
                selector.register(asking, selectors.EVENT_READ)
            elif isinstance(key.fileobj, socket.socket):
                # It says nothing more until it has its answer: it was killed, and so is its copy.
                selector.unregister(key.fileobj)
                if key.fileobj in asked:
                    os.kill(asked[key.fileobj], signal.SIGKILL)
            else:
                process, asking = copies.pop(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
                selector.unregister(key.fd)
                os.close(key.fd)
                del asked[asking]
                with suppress(OSError):  # killed meanwhile
                    asking.sendall(struct.pack("!i", code))
                    asking.shutdown(socket.SHUT_WR)
        try:
            os.kill(owner, 0)
        except ProcessLookupError:
            sys.exit()


def _place(streams: list[int], places: list[int]) -> None:
    """Gives the streams the numbers that the program expects them at."""
    above = max(*streams, *places) + 1
    moved = [fcntl.fcntl(stream, fcntl.F_DUPFD, above) for stream in streams]
    for stream in streams:
        os.close(stream)
    for stream, place in zip(moved, places, strict=True):
        os.dup2(stream, place)
        os.close(stream)


def _request(asking: socket.socket) -> tuple[Program, list[int]] | None:
    """What is asked for and the streams that come with it; None of one who was killed while it asked."""
    streams: list[int] = []
    try:
        head, streams, _, _ = socket.recv_fds(asking, 4, 250)
        (size,) = struct.unpack("!I", head)
        message = b""
        while len(message) < size:
            more = asking.recv(size - len(message))
            if not more:
                raise ConnectionError
            message += more
    except (OSError, struct.error):
        for stream in streams:
            os.close(stream)
        return None
    return Program(**json.loads(message)), list(streams)


def become(program: Program, python: str, path: list[str]) -> None:
    """Gives this process what a new one would have: streams, folder, environment, arguments, places of modules."""
    for number in SIGNALS:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in program.ignored else usual)
    buffering = 1 if os.isatty(1) else -1
    _OLD_STREAMS.extend((sys.stdin, sys.stdout, sys.stderr))
    sys.stdin = sys.__stdin__ = open(0, closefd=False)
    sys.stdout = sys.__stdout__ = open(1, "w", buffering, "utf-8", closefd=False)
    sys.stderr = sys.__stderr__ = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)
    if program.environment.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True, line_buffering=True)
    if program.environment.get("PYTHONWARNINGS") or program.words != program.without_options():
        warnings.simplefilter("ignore")
    if program.environment.get(THREADS) != os.environ.get(THREADS):
        import torch

        torch.set_num_threads(int(program.environment[THREADS]))
    os.chdir(program.folder)
    os.environ.clear()
    os.environ.update(program.environment)
    sys.executable = python
    multiprocessing.set_executable(python)
    places = [place for place in program.environment.get("PYTHONPATH", "").split(os.pathsep) if place]
    sys.path[:] = [program.folder, *places, *path]


def run(program: Program) -> None:
    """As `python <words>`."""
    import numpy as np

    np.random.seed()  # a new process draws its own
    first, *others = words = program.without_options()
    if first == "-m":
        sys.argv = others
        runpy.run_module(others[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *others[1:]]
        module = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(others[0], "<string>", "exec"), module.__dict__)
    else:
        sys.path[0] = str(Path(first).resolve().parent)
        sys.argv = words
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    known_places = sys.path[1:]
    gc.disable()
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()
    gc.enable()
    asked_for, own_python = serve(Path(sys.argv[1]), int(sys.argv[2]))
    become(asked_for, own_python, known_places)
    # Python's own end would take every loaded module apart, for half a second.
    try:
        run(asked_for)
        ends_with = 0
    except SystemExit as ended:
        ends_with = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if ends_with and not isinstance(ended.code, int):
            print(ended.code, file=sys.stderr)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        traceback.print_exc()
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        ends_with = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(ValueError, OSError):  # closed by the program, or by its reader
            stream.flush()
    os._exit(ends_with)
