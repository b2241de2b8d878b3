"""A studio as a person starts it, a browser with its page, and the hands that draw on it, for the tests of the studio."""

import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.evaluation.listening_page import write_video
from tests.running_program import RunningProgram, program
from tests.running_program import wait as wait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECONDS, FPS, HEIGHT, WIDTH = 3, 12, 120, 160
BROWSER_TESTS = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium; Debian: apt-get install chromium"),
]
SETTLED = "() => !document.getElementById('video').seeking && document.getElementById('video').readyState >= 2"
LANE = ".track .lane"
NUMBER_SHOWN = """() => {
  const video = document.getElementById('video');
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [160, 120];
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0, 160, 120);
  let number = 0;
  for (let bit = 0; bit < 8; bit += 1) number |= (context.getImageData(15 + 18 * bit, 24, 1, 1).data[0] > 128) << bit;
  return number;
}"""
"""The number of the frame that the page shows, as `write_clip` draws it."""


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


class Running(RunningProgram):
    """A studio, asked as its page asks it."""

    def own_headers(self) -> dict[str, str | None]:
        return {"Cookie": f"drawaudio_{self.port}={self.token}", "Sec-Fetch-Site": "same-origin"}

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


def studio(folder: Path, *arguments: str | Path, warm: bool = True) -> AbstractContextManager[Running]:
    """`drawaudio studio --no-browser` with these arguments, typed in a folder; `warm` as `program` has it."""
    return program(folder, ["studio", "--no-browser", *map(str, arguments)], told, "/", warm=warm)


def told(process: subprocess.Popen) -> Running | None:
    """The studio whose address the process prints; None where it ends without."""
    address = next((line.strip() for line in process.stdout if "http://" in line), None)
    return None if address is None else Running(process, address, address.split("token=")[1])


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


def refusals(page: Any) -> int:
    """How often the server refused what a test did wrong, of which the browser's console speaks; they are expected."""
    refused = [words for words in page.said if "status of 400" in words]
    page.said[:] = [words for words in page.said if words not in refused]
    return len(refused)


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
