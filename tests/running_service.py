"""`drawaudio serve` as a person starts it, and a program that asks it."""

import json
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.running_program import RunningProgram, program


class RunningService(RunningProgram):
    """A service."""

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


def service(folder: Path, *arguments: str | Path, token: str | None = None) -> AbstractContextManager[RunningService]:
    """`drawaudio serve` with these arguments, typed in a folder."""

    def told(process: subprocess.Popen) -> RunningService | None:
        lines = [process.stdout.readline().strip() for _ in range(4)]
        if not lines[1].startswith("http://127.0.0.1:"):
            return None
        return RunningService(process, lines[1], token or lines[3])

    variables = {} if token is None else {"DRAWAUDIO_TOKEN": token}
    return program(folder, ["serve", *map(str, arguments)], told, "/api/state", variables)
