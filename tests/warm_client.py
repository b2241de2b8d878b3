"""The `python` and the commands of `warm_python`: asks the warm Python for a copy that runs a program, and ends as it does.

Called as `warm_client.py <python> <folder> <name> <arguments>`. It imports little: each program of the tests waits for it.
"""

import contextlib
import json
import os
import signal
import socket
import struct
import sys
from types import FrameType

COMMANDS = {
    "python": [],
    "drawaudio": ["-m", "drawaudio_model.cli"],
    "dagster": ["-m", "dagster"],
}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that are handed on, unless whoever started this process has it ignore them."""


def main() -> None:
    python, folder, name, *words = sys.argv[1:]
    words = [*COMMANDS[name], *words]
    streams = inherited()
    ignored = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_IGN]
    request = {"words": words, "streams": streams, "ignored": ignored, "folder": os.getcwd()}
    request["environment"] = dict(os.environ)
    message = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(f"{folder}/socket")
        socket.send_fds(server, [struct.pack("!I", len(message))], streams)
        server.sendall(message)
        (process,) = struct.unpack("!i", received(server, 4))
        if not process:  # one that a copy cannot run
            os.execv(python, [python, *words])

        def hand_on(number: int, _frame: FrameType | None) -> None:
            os.kill(process, number)

        for number in SIGNALS:
            if number not in ignored:
                signal.signal(number, hand_on)
        (code,) = struct.unpack("!i", received(server, 4))
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def inherited() -> list[int]:
    """Descriptors that whoever started this process has left it: the streams, and what multiprocessing talks through."""
    found = []
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # the listing's own, which is closed by now
            if os.get_inheritable(descriptor):
                found.append(descriptor)
    return found


def received(server: socket.socket, size: int) -> bytes:
    """The next bytes that the server sends."""
    found = b""
    while len(found) < size:
        more = server.recv(size - len(found))
        if not more:
            sys.exit("the warm Python of the tests has ended")
        found += more
    return found


if __name__ == "__main__":
    main()
