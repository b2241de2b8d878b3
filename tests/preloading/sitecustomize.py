"""Lets Python processes of a test begin as copies of one that has imported the libraries (tests/preloaded.py).

Python imports this file as it starts, where its folder is on PYTHONPATH. A process of a kind that the server knows hands its
words, its variables and its streams over, and lives on only to end as the copy does.
"""

import os
import sys


def _asked() -> list[str] | None:
    """The command line, where it is one that a copy can run; None for everything else."""
    words = sys.orig_argv[1:]
    while words and words[0].startswith("-W"):
        words = words[1:]
    kind = words[0] if len(words) > 1 else ""
    if kind == "-m" and words[1].partition(".")[0] in ("drawaudio_model", "pipelines"):
        return words
    if kind == "-c" and not words[1].startswith("from multiprocessing.resource_tracker"):
        return words
    return words if os.path.basename(kind) in ("drawaudio", "dagster") else None


def _run_as_copy(place: str, words: list[str]) -> None:
    import json
    import signal
    import socket

    with socket.socket(socket.AF_UNIX) as server:
        server.connect(place)
        # A process of multiprocessing is told the numbers of its pipes on its command line.
        streams = [int(name) for name in os.listdir("/proc/self/fd") if int(name) != server.fileno()]
        streams = [number for number in streams if number < 3 or os.path.exists(f"/proc/self/fd/{number}")]
        asked = {"words": words, "folder": os.getcwd(), "variables": dict(os.environ), "streams": streams}
        content = json.dumps(asked).encode()
        socket.send_fds(server, [len(content).to_bytes(8, "big")], streams)
        server.sendall(content)
        copy = int.from_bytes(server.recv(8), "big")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: os.kill(copy, number))
        status = int.from_bytes(server.recv(8), "big", signed=True)
    if status < 0:
        if status != -signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if (_place := os.environ.get("DRAWAUDIO_TESTS_PRELOADED")) and (_words := _asked()):
    _run_as_copy(_place, _words)
