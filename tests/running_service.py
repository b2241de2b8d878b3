"""`drawaudio serve` as a person starts it, and a program that asks it."""

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.studio_page import ROOT, wait


@dataclass
class RunningService:
    """A service's process, its address and its token."""

    process: subprocess.Popen
    address: str
    token: str

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def ask(
        self, method: str, path: str, body: bytes | dict | None = None, headers: dict[str, str | None] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """A request with the token, but for the given headers; None leaves one out. Status, headers and body."""
        sent = {"Host": f"127.0.0.1:{self.port}", "Authorization": f"Bearer {self.token}"} | (headers or {})
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

    def json(self, method: str, path: str, body: bytes | dict | None = None) -> Any:
        """The answer to a request that is to succeed."""
        status, _, content = self.ask(method, path, body)
        assert status < 300, (method, path, status, content)
        return json.loads(content) if content else None

    def refused(self, method: str, path: str, body: bytes | dict | None = None, status: int = 400) -> str:
        """The sentence of a request that is to fail."""
        found, _, content = self.ask(method, path, body)
        assert found == status, (method, path, found, content)
        return json.loads(content)["error"]

    def upload(self, path: Path) -> str:
        return self.json("PUT", f"/api/files?name={path.name}", path.read_bytes())["id"]

    def finished(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The job of these instructions, when it has ended."""
        job = self.json("POST", "/api/jobs", asked)
        return self.json("GET", f"/api/jobs/{job['id']}?wait=60")


@contextmanager
def service(folder: Path, *arguments: str | Path, token: str | None = None) -> Iterator[RunningService]:
    """`drawaudio serve` with these arguments, typed in a folder."""
    command = [sys.executable, "-m", "drawaudio_model.cli", "serve", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | ({} if token is None else {"DRAWAUDIO_TOKEN": token})
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
    reader.start()
    told = [process.stdout.readline().strip() for _ in range(4)]
    assert told[1].startswith("http://127.0.0.1:"), "".join(errors)
    running = RunningService(process, told[1], token or told[3])
    try:
        wait(lambda: _answers(running), 20)
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


def _answers(running: RunningService) -> bool:
    try:
        return running.ask("GET", "/api/state")[0] == 200
    except OSError:
        return False
