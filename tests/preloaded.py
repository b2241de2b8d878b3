"""Processes of a test that need not import torch, diffusers, dagster and the rest for seconds: they are copies of one that has.

For tests that start many commands and ask what these do, not how they start: that is tested in test_start, test_wheel and
test_cli, whose processes are new ones. Whatever runs is the same code, with its own words, variables, folder and streams; a
signal reaches it, and it ends with whoever started it. Not used where there is a GPU, which no copy of a process can use.
"""

import atexit
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parent.parent
HOOK = Path(__file__).parent / "preloading"
LIBRARIES = (
    *("torch", "torchvision", "transformers", "diffusers", "accelerate", "librosa", "matplotlib.figure", "open_clip"),
    *("spacy", "pyarrow.parquet", "torch.utils.tensorboard", "dagster", "dagster._cli", "dagster_pipes", "yaml"),
)
"""What the commands import, beside what these modules do."""
MODULES = (
    *("pipeline", "train", "evaluate", "control", "pretrain", "detector", "training.loop", "evaluation.listening_page"),
    *("pretraining.autoencoder", "pretraining.cavp", "pretraining.detector", "pretraining.text", "pretraining.vocoder"),
)
"""Of drawaudio_model. The pipelines are none of them: they read the environment as they are imported."""

_LEASE = b"\0" * 8
"""Sent by a worker of pytest in the place of a length."""
_LEASES: list[socket.socket] = []


@cache
def preloaded() -> dict[str, str]:
    """Variables that make copies of the Python processes that are started with them; none where there is a GPU.

    All workers of a run of pytest share the process that is copied. It lives as long as one of them.
    """
    if any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")):
        return {}
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder = Path(tempfile.gettempdir()) / f"drawaudio-tests-{run}"
    # Kept open until this process ends.
    lease = socket.socket(socket.AF_UNIX)
    while (lock := _lock(folder)) is None:
        pass
    with lock:
        if not (folder / "socket").exists():
            _start(folder)
        lease.connect(str(folder / "socket"))
        lease.sendall(_LEASE)
    assert lease.recv(1), "the process to be copied has ended"
    _LEASES.append(lease)
    path = os.pathsep.join(map(str, (HOOK, ROOT)))
    return {"DRAWAUDIO_TESTS_PRELOADED": str(folder / "socket"), "PYTHONPATH": path}


def _lock(folder: Path) -> IO[str] | None:
    """Nobody else is in the folder until this is closed; None where it goes just now, with the process that it belonged to."""
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        lock = (folder / "lock").open("w")
    except FileNotFoundError:
        return None
    fcntl.flock(lock, fcntl.LOCK_EX)
    if (folder / "lock").exists():
        return lock
    lock.close()
    return None


def _start(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen(64)
        number = listener.fileno()
        subprocess.Popen(
            [sys.executable, "-m", "tests.preloaded", str(folder), str(number)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            pass_fds=[number],
            start_new_session=True,
        )


def serve(folder: Path, listener: socket.socket) -> None:
    """Import everything, then make a copy for each process that asks, as long as a worker of pytest is there."""
    import gc
    from importlib import import_module

    gc.disable()
    for name in (*LIBRARIES, *(f"drawaudio_model.{name}" for name in MODULES)):
        import_module(name)
    import_module("drawaudio_model.detector").import_world_model()
    gc.freeze()
    gc.enable()
    leases: list[socket.socket] = []
    while True:
        ready, _, _ = select.select([listener, *leases], [], [])
        for lease in set(leases) & {*ready}:
            lease.close()
            leases.remove(lease)
        if listener in ready:
            client, _ = listener.accept()
            size, streams, _, _ = socket.recv_fds(client, len(_LEASE), 64)
            if size == _LEASE:
                client.sendall(b"+")
                leases.append(client)
            else:
                if size and os.fork() == 0:
                    for other in (listener, *leases):
                        other.close()
                    _keep(client, int.from_bytes(size, "big"), streams)
                for stream in streams:
                    os.close(stream)
                client.close()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not leases:
            lock = _lock(folder)
            assert lock
            with lock:
                if not select.select([listener], [], [], 0)[0]:
                    shutil.rmtree(folder)
                    return


def _keep(client: socket.socket, size: int, streams: list[int]) -> None:
    """Runs a copy, tells its client how it ends, and ends it with its client."""
    content = b""
    while len(content) < size:
        content += client.recv(1 << 20)
    asked = json.loads(content)
    copy = os.fork()
    if copy == 0:
        client.close()
        _take_over(dict(zip(asked["streams"], streams, strict=True)))
        _run(asked)
    for stream in streams:
        os.close(stream)
    client.sendall(copy.to_bytes(8, "big"))
    handle = os.pidfd_open(copy)
    ended, _, _ = select.select([handle, client], [], [])
    if handle not in ended:
        os.kill(copy, signal.SIGKILL)
    _, status = os.waitpid(copy, 0)
    if handle in ended:
        client.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, "big", signed=True))
    os._exit(0)


def _take_over(streams: dict[int, int]) -> None:
    """Gives each received stream the number that it has in the process that asked."""
    apart = {target: fcntl.fcntl(stream, fcntl.F_DUPFD, 1024) for target, stream in streams.items()}
    for stream in streams.values():
        os.close(stream)
    for target, stream in apart.items():
        os.dup2(stream, target)
        os.close(stream)


def _run(asked: dict[str, Any]) -> None:
    """The command, in the process that is the copy."""
    import runpy
    import threading
    import traceback
    import warnings

    import torch

    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["variables"])
    if os.environ.get("PYTHONWARNINGS"):
        warnings.simplefilter(os.environ["PYTHONWARNINGS"])
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    kind, *words = asked["words"]
    status = 1
    try:
        if kind in ("-m", "-c"):
            sys.path[0] = asked["folder"] if kind == "-m" else ""
            sys.argv = [kind, *words[1:]]
            if kind == "-m":
                runpy.run_module(words[0], run_name="__main__", alter_sys=True)
            else:
                main = type(sys)("__main__")
                sys.modules["__main__"] = main
                exec(compile(words[0], "<string>", "exec"), main.__dict__)
        else:
            sys.argv = [kind, *words]
            runpy.run_path(kind, run_name="__main__")
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
