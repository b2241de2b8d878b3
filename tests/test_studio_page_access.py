"""The studio's page for everyone: names, contrast, keys, sizes of screens, and what axe finds."""

from pathlib import Path
from typing import Any

import pytest

from tests.studio_browser import BROWSER_TESTS, LANE, drag, place_in

pytest_plugins = ["tests.studio_browser"]
pytestmark = BROWSER_TESTS


def test_single_keys_can_be_turned_off(page: Any) -> None:
    page.keyboard.press("?")
    page.uncheck("#single-keys")
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    assert page.evaluate("() => studio.state.document.markers") == []
    page.click("#help-open")
    page.check("#single-keys")
    page.keyboard.press("Escape")


def test_everything_that_can_be_pressed_has_a_name_and_can_be_reached(page: Any) -> None:
    nameless = page.evaluate("""() => [...document.querySelectorAll('button, input, textarea, canvas[tabindex], progress')]
      .filter((one) => one.offsetParent !== null)
      .filter((one) => !(one.getAttribute('aria-label') || one.labels?.length || one.textContent.trim() || one.title))
      .map((one) => one.outerHTML.slice(0, 120))""")
    assert nameless == []
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "() => document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
            )
        )
    assert {"play", "timecode", "stage", "add-keyframe", "lane", "export-open", "TEXTAREA"} <= reached


CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => [r, g, b].map((v) => linear(v / 255))
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.9) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('button:enabled, label, output, summary, p, span, h1, li, td, th')]
    .filter((one) => one.offsetParent !== null && one.textContent.trim())
    .map((one) => {
      const [a, b] = [luminance(parse(getComputedStyle(one).color)), luminance(ground(one))];
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.textContent.trim().slice(0, 30)];
    }).filter(([ratio]) => ratio < 4.5);
}"""


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080)])
def test_nothing_is_cut_off_and_all_words_can_be_read(
    page: Any, scheme: str, size: tuple[int, int], tmp_path: Path
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.fill("textarea", "a bell rings")
    drag(page, "#overlay", (0.2, 0.2), (0.6, 0.7))
    for x, y in ((0.1, 0.8), (0.5, 0.2), (0.9, 0.7)):
        page.mouse.click(*place_in(page, LANE, x, y))
    assert page.evaluate("() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [
        *size
    ]
    outside = page.evaluate("""() => [...document.querySelectorAll('.bar *, .tools *, .keyframes button, #scale button')]
      .filter((one) => one.offsetParent !== null).filter((one) => {
        const box = one.getBoundingClientRect();
        return box.right > innerWidth + 1 || box.bottom > innerHeight + 1 || box.left < -1;
      }).map((one) => one.outerHTML.slice(0, 80))""")
    assert outside == []
    stage = page.locator("#stage").bounding_box()
    assert stage["width"] > 500 and stage["height"] > 200
    assert page.evaluate(CONTRAST) == []
    picture = page.screenshot(path=tmp_path / f"{scheme}-{size[0]}.png")
    assert len(picture) > 20_000
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="dark")
