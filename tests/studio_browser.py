"""Fixtures: a studio for all tests of a file, and its page in a real browser.

A file of tests names this module in `pytest_plugins`; one that sets `DETECTOR = False` has no detector beside the model.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.studio.project import empty_track
from tests.studio_page import CHROMIUM, Running, open_page, studio, wait, write_clip
from tests.tiny_detector import tiny_detector
from tests.tiny_pipeline import saved_pipeline


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_clip(folder / "clip.mp4")
    saved_pipeline(folder / "model")
    if getattr(request.module, "DETECTOR", True):
        tiny_detector(folder / "backbones" / "object_detector", vocabulary=["bell", "ball"])
    return folder


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Running]:
    with studio(home, "clip.mp4", "--model", "model") as found:
        found.wait_for_media()
        yield found


@pytest.fixture(scope="module")
def cold(home: Path) -> Iterator[Running]:
    """A studio whose worker is the process that it started, and no copy of a warm one."""
    write_clip(home / "cold.mp4")
    with studio(home, "cold.mp4", "--model", "model", warm=False) as found:
        found.wait_for_media()
        yield found


@pytest.fixture(scope="module")
def context(running: Running, home: Path) -> Iterator[Any]:
    """The browser; its microphone hears `mouth.wav`, again and again."""
    from playwright.sync_api import sync_playwright

    mouth = home / "mouth.wav"
    soundfile.write(mouth, mouth_sound(), SAMPLE_RATE, subtype="PCM_16")
    arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--use-fake-device-for-media-stream"]
    arguments += ["--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={mouth}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark")
        browser.close()


@pytest.fixture
def page(context: Any, running: Running, home: Path) -> Iterator[Any]:
    """A page with an empty project; what its console says ends the test."""

    def emptied() -> bool:
        # The page before this one may still be saving, and a job of a test that failed still going on.
        found = running.json("GET", "/api/project")
        document = found["document"]
        for job in found["jobs"]:
            if job["state"] in ("running", "waiting"):
                running.ask("DELETE", f"/api/jobs/{job['id']}")
        document |= {"tracks": [empty_track("track1")], "markers": [], "section": None, "steps": 2}
        return running.ask("PUT", "/api/project", document, {"If-Match": str(document["revision"])})[0] == 200

    wait(emptied, 10)
    for made in (home / "clip.drawaudio" / "takes").glob("*"):
        made.unlink()
    opened = open_page(context, running)
    yield opened
    opened.close()
    assert opened.said == []


def mouth_sound() -> np.ndarray:
    """(n,) half a second of a tone, then half a second of the same 20 dB softer."""
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    return np.sin(2 * np.pi * 440 * time) * np.where(time < 0.5, 0.5, 0.05)
