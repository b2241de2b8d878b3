"""A studio as a person starts it, a browser with its page, and the hands that draw on it, for the tests of the studio."""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.evaluation.listening_page import write_video

ROOT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECONDS, FPS, HEIGHT, WIDTH = 3, 12, 120, 160
BROWSER_TESTS = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium; Debian: apt-get install chromium"),
]
SETTLED = "() => !document.getElementById('video').seeking && document.getElementById('video').readyState >= 2"
LANE = ".track .lane"


def write_clip(path: Path, *, seconds: int = SECONDS) -> Path:
    """A video whose frame n has n white bars of 4 pixels in binary, low bit left, over a moving grey; with a click a second."""
    frames = np.zeros((seconds * FPS, HEIGHT, WIDTH, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[:, :] = 60
        frame[60:, number % 40 * 4 : number % 40 * 4 + 8] = (200, 120, 40)
        for bit in range(8):
            frame[8:40, 8 + bit * 18 : 8 + bit * 18 + 14] = 255 if number >> bit & 1 else 0
    sound = np.zeros(seconds * SAMPLE_RATE, np.float32)
    sound[::SAMPLE_RATE] = 0.5
    write_video(path, frames, FPS, sound)
    return path


@dataclass
class Running:
    """A studio's process and where it is."""

    process: subprocess.Popen
    address: str

    @property
    def port(self) -> int:
        return int(re.search(r":(\d+)/", self.address)[1])

    @property
    def token(self) -> str:
        return self.address.split("token=")[1]

    def ask(
        self, method: str, path: str, body: bytes | dict | None = None, headers: dict[str, str | None] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """A request as the page makes it, but for the given headers; None leaves one out. Status, headers and body."""
        sent = {
            "Host": f"127.0.0.1:{self.port}",
            "Cookie": f"drawaudio_{self.port}={self.token}",
            "Sec-Fetch-Site": "same-origin",
        } | (headers or {})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        if content is not None and "Content-Length" not in sent:
            sent["Content-Length"] = str(len(content))
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(content)
        answer = connection.getresponse()
        read = answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, read

    def json(self, method: str, path: str, body: dict | None = None, **headers: str) -> Any:
        """The answer to a request that is to succeed."""
        status, _, content = self.ask(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        assert status < 300, (method, path, status, content)
        return json.loads(content) if content else None

    def wait_for_media(self, seconds: float = 60) -> dict[str, Any]:
        """What is known of the video, once it is prepared."""
        return wait(
            lambda: (state := self.json("GET", "/api/media"))["state"] in ("ready", "failed") and state, seconds
        )

    def wait_for_job(self, identity: str, seconds: float = 120) -> dict[str, Any]:
        """A job that has ended."""

        def ended() -> Any:
            jobs = {job["id"]: job for job in self.json("GET", "/api/project")["jobs"]}
            return jobs[identity]["state"] in ("done", "failed", "cancelled") and jobs[identity]

        return wait(ended, seconds)


def wait(found: Any, seconds: float) -> Any:
    """What `found` gives, as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"nothing within {seconds} s"
        time.sleep(0.05)
    return value


@contextmanager
def studio(folder: Path, *arguments: str | Path) -> Iterator[Running]:
    """`drawaudio studio --no-browser` with these arguments, typed in a folder."""
    command = [sys.executable, "-m", "drawaudio_model.cli", "studio", "--no-browser", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
    reader.start()
    address = None
    for line in process.stdout:
        if "http://" in line:
            address = line.strip()
            break
    assert address, "".join(errors)
    try:
        running = Running(process, address)
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


def _answers(running: Running) -> bool:
    try:
        return running.ask("GET", "/")[0] == 200
    except OSError:
        return False


def open_page(context: Any, running: Running) -> Any:
    opened = context.new_page()
    opened.said = []
    opened.set_default_timeout(20_000)
    opened.on("console", lambda message: opened.said.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: opened.said.append(str(error)))
    opened.goto(running.address)
    wait(lambda: opened.evaluate("() => window.studio?.state.media.state === 'ready'"), 30)
    wait(lambda: opened.evaluate(SETTLED), 20)
    return opened


def track(page: Any, number: int = 0) -> dict[str, Any]:
    return page.evaluate(f"() => studio.state.document.tracks[{number}]")


def place_in(page: Any, selector: str, x: float, y: float) -> tuple[float, float]:
    box = page.locator(selector).first.bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def drag(page: Any, selector: str, *points: tuple[float, float], steps: int = 4) -> None:
    """Draw with the mouse between points, shares of what the selector finds, once that has its place on the page."""
    seen: list[Any] = []

    def rests() -> bool:
        seen.append(page.locator(selector).first.bounding_box())
        return len(seen) > 1 and seen[-1] == seen[-2]

    wait(rests, 10)
    page.mouse.move(*place_in(page, selector, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*place_in(page, selector, *point), steps=steps)
    page.mouse.up()


def saved(page: Any) -> None:
    wait(lambda: page.inner_text("#saved") == "Saved", 10)
