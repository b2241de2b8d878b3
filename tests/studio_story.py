"""From an open video to a section made anew, as one does it on the studio's page: a test plays it, and the pictures of the
README and of docs/studio.md are taken from it.

    python -m tests.studio_story data/demo docs/pictures      after make demo; minutes, needs chromium
"""

import io
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from tests.studio_page import LANE, drag, place_in, track, wait

ANIMATION, PICTURE, LIGHT_PICTURE = "studio.webp", "studio.png", "studio_light.png"
WIDTH = 880
"""Of the animation, in pixels."""
BELL = ((0.53, 0.28), (0.98, 0.78))
RAIN = ((0.02, 0.22), (0.48, 0.82))
CURVE = ((0.06, 0.92), (0.2, 0.3), (0.3, 0.75), (0.45, 0.6), (0.62, 0.25), (0.7, 0.92))

Snap = Callable[[str, float], None]
"""Takes a picture with a name and how long it is shown, in seconds."""


def play(page: Any, snap: Snap, *, steps: int = 25) -> dict[str, Any]:
    """The story; returns the document at its end."""
    page.evaluate("(steps) => studio.store.change((document) => ({ ...document, steps }))", steps)
    snap("open", 1.5)
    for word in ("a ", "bell ", "rings"):
        page.locator("textarea").press_sequentially(word)
        snap("words", 0.35)
    page.evaluate("() => document.activeElement.blur()")
    box_of_the_bell(page, snap)
    curve_by_hand(page, snap)
    first = take_of(page, snap, "g", None)
    show(page, snap, 7)
    section(page, snap)
    take_of(page, snap, "Shift+G", first)
    snap("section", 1.6)
    show(page, snap, 5)
    second_track(page, snap)
    export(page, snap)
    return page.evaluate("() => studio.state.document")


def box_of_the_bell(page: Any, snap: Snap) -> None:
    page.keyboard.press("b")
    page.mouse.move(*place_in(page, "#overlay", *BELL[0]))
    page.mouse.down()
    for share in (0.4, 0.75, 1.0):
        page.mouse.move(
            *place_in(page, "#overlay", *(a + (b - a) * share for a, b in zip(*BELL, strict=True))), steps=3
        )
        snap("box", 0.2)
    page.mouse.up()
    snap("mask", 0.9)


def curve_by_hand(page: Any, snap: Snap) -> None:
    page.keyboard.press("d")
    page.mouse.move(*place_in(page, LANE, *CURVE[0]))
    page.mouse.down()
    for x, y in CURVE[1:]:
        page.mouse.move(*place_in(page, LANE, x, y), steps=14)
        page.evaluate("() => new Promise(requestAnimationFrame)")
        snap("curve", 0.25)
    page.mouse.up()
    page.keyboard.press("d")
    snap("drawn", 1.0)


def take_of(page: Any, snap: Snap, key: str, before: str | None, number: int = 0) -> str:
    """Makes a take of a track and waits for it, looking in between."""
    page.keyboard.press(key)
    shown: set[str] = set()

    def made() -> bool:
        words = page.inner_text("#job-words") if page.is_visible("#job") else ""
        stage = words[: max(len(words) - 4, 8)]
        if words and stage not in shown and len(shown) < 5:
            shown.add(stage)
            snap("making", 0.4)
        return track(page, number)["take"] not in (None, before)

    wait(made, 300)
    page.evaluate("() => new Promise((resolve) => setTimeout(resolve, 400))")  # waveform and log-mel arrive
    snap("take", 1.2)
    return track(page, number)["take"]


def show(page: Any, snap: Snap, pictures: int) -> None:
    """The playhead goes over the curve, as it does while one listens."""
    last = page.evaluate("() => studio.state.media.times.length - 1")
    for number in range(pictures):
        page.evaluate(f"() => studio.transport.seekFrame({round(last * (0.1 + 0.6 * number / pictures))})")
        wait(lambda: not page.evaluate("() => document.getElementById('video').seeking"), 10)
        snap("playing", 0.2)


def section(page: Any, snap: Snap) -> None:
    drag(page, "#ruler", (0.5, 0.5), (0.72, 0.5))
    snap("range", 1.0)
    page.fill("textarea", "a drum is struck")
    page.evaluate("() => document.activeElement.blur()")
    snap("other words", 0.8)


def second_track(page: Any, snap: Snap) -> None:
    """Rain beside it, as a draft, under a mask of its own; both are heard."""
    page.click("#add-track")
    snap("track", 0.8)
    page.locator("textarea").press_sequentially("rain falls")
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("b")
    drag(page, "#overlay", *RAIN)
    snap("rain", 0.9)
    page.keyboard.press("h")
    snap("low", 0.8)
    take_of(page, snap, "Shift+D", None, number=1)
    show(page, snap, 8)


def export(page: Any, snap: Snap) -> None:
    """The dialog; where it has written is on nobody else's machine, and no picture."""
    page.click("#export-open")
    snap("export", 4.0)
    page.click("#export-go")
    page.locator("#export-done li").first.wait_for(timeout=60_000)
    page.keyboard.press("Escape")


def animation(pictures: list[tuple[bytes, float]]) -> bytes:
    """The pictures one after the other, as WebP."""
    frames = []
    for content, _ in pictures:
        image = Image.open(io.BytesIO(content)).convert("RGB")
        frames.append(image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS))
    buffer = io.BytesIO()
    times = [round(seconds * 1000) for _, seconds in pictures]
    frames[0].save(
        buffer, "WEBP", save_all=True, append_images=frames[1:], duration=times, loop=0, quality=42, method=6
    )
    return buffer.getvalue()


class Pictures:
    """Takes pictures of a page."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.taken: list[tuple[bytes, float]] = []
        self.named: dict[str, bytes] = {}

    def __call__(self, name: str, seconds: float) -> None:
        """One picture."""
        content = self.page.screenshot()
        self.named[name] = content
        self.taken.append((content, seconds))


def main(arguments: list[str]) -> None:
    """The program: DEMO OUTPUT."""
    from playwright.sync_api import sync_playwright

    from drawaudio_model.studio.demo import demo_clip
    from tests.studio_page import CHROMIUM, open_page, studio

    demo, output = (Path(argument).resolve() for argument in arguments)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        shutil.copy(demo_clip(demo / "model"), folder / "clip.mp4")
        with studio(folder, "clip.mp4", "--model", demo / "model") as running:
            running.wait_for_media()
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark")
            page = open_page(context, running)
            pictures = Pictures(page)
            play(page, pictures)
            (output / PICTURE).write_bytes(pictures.named["section"])
            page.emulate_media(color_scheme="light")
            (output / LIGHT_PICTURE).write_bytes(page.screenshot())
            (output / ANIMATION).write_bytes(animation(pictures.taken))
            browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
