"""The story of docs/studio.md from its beginning to its end, on the tiny model, with the pictures that are taken of it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from tests.studio_page import BROWSER_TESTS
from tests.studio_story import WIDTH, Pictures, animation, play

pytest_plugins = ["tests.studio_browser"]
pytestmark = BROWSER_TESTS
PICTURES = Path(__file__).parent.parent / "docs" / "pictures"


def test_a_sound_is_drawn_made_and_made_anew_in_a_section_and_shown_in_pictures(page: Any, home: Path) -> None:
    pictures = Pictures(page)
    document = play(page, pictures, steps=2)
    row, rain = document["tracks"]
    assert rain["text"] == "rain falls" and rain["take"] and len(rain["mask"]["keyframes"]) == 1
    assert row["text"] == "a drum is struck" and len(row["mask"]["keyframes"]) == 1 and len(row["curve"]) >= 6
    start, end = document["section"]
    takes = home / "clip.drawaudio" / "takes"
    (before,) = (path for path in takes.glob("*.wav") if path.stem not in (row["take"], rain["take"]))
    old, new = (soundfile.read(path, dtype="float32")[0] for path in (before, takes / f"{row['take']}.wav"))
    changed = np.nonzero(old != new)[0] / 16000
    assert start <= changed.min() and changed.max() < end and len(changed) > 0.5 * (end - start) * 16000
    moving = Image.open(io.BytesIO(animation(pictures.taken)))
    assert moving.is_animated and moving.width == WIDTH and 20 <= moving.n_frames <= len(pictures.taken)
    assert {
        "open",
        "box",
        "mask",
        "curve",
        "take",
        "range",
        "section",
        "playing",
        "rain",
        "export",
    } <= pictures.named.keys()


def test_the_pictures_of_the_documentation_are_there_and_small() -> None:
    moving = PICTURES / "studio.webp"
    assert moving.stat().st_size < 500_000
    image = Image.open(moving)
    seconds = 0.0
    for number in range(image.n_frames):
        image.seek(number)
        image.load()  # its duration is known then
        seconds += image.info["duration"] / 1000
    assert 25 <= seconds <= 40
    for name in ("studio.png", "studio_light.png"):
        assert Image.open(PICTURES / name).size == (1280, 800)
        assert (PICTURES / name).stat().st_size < 300_000
