"""A server of ours as a person starts it, a program that asks it, and its end."""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tests.warm_python import warm_python

ROOT = Path(__file__).parent.parent


_WITH_PYTHON = """
import sys
sys.executable = sys.argv.pop(1)
from drawaudio_model.cli import main
sys.exit(main(sys.argv[1:]))
"""
Found = TypeVar("Found", bound="RunningProgram")


@dataclass
class RunningProgram:
    """A server's process, its address and its token."""

    process: subprocess.Popen
    address: str
    token: str

    @property
    def port(self) -> int:
        port = urlsplit(self.address).port
        assert port is not None, self.address
        return port

    def own_headers(self) -> dict[str, str | None]:
        """Those by which it is let in."""
        return {"Authorization": f"Bearer {self.token}"}

    def ask(
        self, method: str, path: str, body: bytes | dict | None = None, headers: dict[str, str | None] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """A request with its own headers, but for the given ones; None leaves one out. Status, headers and body."""
        sent = {"Host": f"127.0.0.1:{self.port}"} | self.own_headers() | (headers or {})
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        if content is not None and "Content-Length" not in sent:
            sent["Content-Length"] = str(len(content))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(content)
        answer = connection.getresponse()
        read = answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, read

    def json(self, method: str, path: str, body: bytes | dict | None = None, **headers: str) -> Any:
        """The answer to a request that is to succeed."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        status, _, content = self.ask(method, path, body, given)
        assert status < 300, (method, path, status, content)
        return json.loads(content) if content else None

    def answers(self, path: str) -> bool:
        """Whether it is there, and has something at the path."""
        try:
            return self.ask("GET", path)[0] == 200
        except OSError:
            return False


@contextmanager
def program(
    folder: Path,
    words: list[str],
    told: Callable[[subprocess.Popen], Found | None],
    page: str,
    variables: dict[str, str] | None = None,
    *,
    warm: bool = True,
) -> Iterator[Found]:
    """`drawaudio` with these words, typed in a folder, until the block ends; it must have raised nothing.

    Args:
        told: the server that its first lines tell of; None where they tell of none.
        page: what is there when it has started.
        variables: of the environment, beside this one's.
        warm: the processes that it starts begin with their libraries loaded (`tests/warm_python.py`).
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _WITH_PYTHON, warm_python() if warm else sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)} | (variables or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
    reader.start()
    try:
        running = told(process)
        assert running, "".join(errors)
        wait(lambda: running.answers(page), 20)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    reader.join(5)
    assert not [line for line in errors if "Traceback" in line], "".join(errors)


def wait(found: Any, seconds: float) -> Any:
    """What `found` gives, as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"nothing within {seconds} s"
        time.sleep(0.05)
    return value
