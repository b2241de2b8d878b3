"""The studio's page for everyone: names, contrast, keys, sizes of screens, and what axe finds."""

import json
from pathlib import Path
from typing import Any

import pytest

from drawaudio_model.studio.project import DELIVERY
from tests.studio_page import BROWSER_TESTS, LANE, drag, place_in, saved, track, wait

pytest_plugins = ["tests.studio_browser"]
pytestmark = BROWSER_TESTS


def test_single_keys_can_be_turned_off(page: Any) -> None:
    page.keyboard.press("?")
    assert page.evaluate("() => document.getElementById('help').scrollTop") == 0  # it begins with its first line
    page.uncheck("#single-keys")
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    assert page.evaluate("() => studio.state.document.markers") == []
    page.click("#help-open")
    page.check("#single-keys")
    page.keyboard.press("Escape")


def test_space_plays_after_a_click_and_presses_a_button_that_was_reached_by_tab(page: Any) -> None:
    page.get_by_role("button", name="Mute", exact=True).click()
    assert track(page)["mute"]
    page.keyboard.press(" ")
    assert page.evaluate("() => studio.transport.playing()") and track(page)["mute"]
    press(page, " ", "Tab", "Shift+Tab", " ")
    assert not page.evaluate("() => studio.transport.playing()") and not track(page)["mute"]


def test_the_timeline_is_made_higher_by_mouse_and_by_keys_and_stays_so(page: Any) -> None:
    """At 1280 by 800 one high track is seen whole, three low ones, and six when the timeline is high."""
    try:
        page.evaluate("() => { for (let number = 0; number < 6; number += 1) studio.store.newTrack(); }")
        assert lanes_seen(page) >= 1
        page.keyboard.press("h")
        assert lanes_seen(page) >= 3
        before = page.locator("#timeline").bounding_box()["height"]
        drag(page, "#split", (0.5, 0.5), (0.5, -30))
        dragged = page.locator("#timeline").bounding_box()["height"]
        assert dragged > before + 100 and lanes_seen(page) >= 5
        page.locator("#split").focus()
        press(page, "ArrowUp", "ArrowUp")
        wanted = dragged + 48
        assert page.locator("#timeline").bounding_box()["height"] == pytest.approx(wanted, abs=1)
        assert int(page.get_attribute("#split", "aria-valuenow")) == pytest.approx(wanted, abs=1)
        saved(page)
        page.reload()
        wait(lambda: page.evaluate("() => window.studio?.state.media.state === 'ready'"), 20)
        assert page.locator("#timeline").bounding_box()["height"] == pytest.approx(wanted, abs=1)
        assert lanes_seen(page) >= 6
        for _ in range(40):
            page.locator("#split").press("ArrowUp")
        assert page.locator("#stage").bounding_box()["height"] > 100  # the picture stays
    finally:
        page.locator("#split").dblclick()
        page.evaluate("() => localStorage.removeItem('low')")


def lanes_seen(page: Any) -> int:
    """Tracks whose lanes are seen whole."""
    return page.evaluate("""() => {
      const place = document.getElementById('rows').getBoundingClientRect();
      return [...document.querySelectorAll('.track .lane')].filter((lane) => {
        const { top, bottom } = lane.getBoundingClientRect();
        return top >= place.top - 1 && bottom <= place.bottom + 1;
      }).length;
    }""")


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


def fill(page: Any) -> None:
    """Something of everything that the page can show without a take."""
    page.fill("textarea", "a bell rings")
    drag(page, "#overlay", (0.2, 0.2), (0.6, 0.7))
    page.evaluate("() => studio.transport.seekFrame(24)")
    page.keyboard.press("Shift+K")
    page.keyboard.press("Shift+L")
    for x, y in ((0.1, 0.8), (0.5, 0.2), (0.9, 0.7)):
        page.mouse.click(*place_in(page, LANE, x, y))
    drag(page, "#ruler", (0.3, 0.5), (0.6, 0.5))
    page.evaluate("() => document.activeElement.blur()")


def faults(page: Any) -> list[str]:
    """What axe finds on the page as it is now: rule, weight and the first place."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response
    assert len(found["passes"]) > 15  # it has looked
    return [f"{one['id']} ({one['impact']}): {one['nodes'][0]['html'][:160]}" for one in found["violations"]]


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_axe_finds_nothing(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    assert faults(page) == []
    fill(page)
    for words in ("Change the curve", "Curve as numbers", "Mask as numbers"):
        page.click(f"summary:has-text('{words}')")
    assert faults(page) == []
    page.keyboard.press("?")
    assert faults(page) == []
    page.keyboard.press("Escape")
    page.click("#export-open")
    assert faults(page) == []
    page.click("#export-close")
    page.emulate_media(color_scheme="dark")


def test_axe_finds_a_button_without_a_name(page: Any) -> None:
    """That the test above can fail."""
    page.evaluate("() => document.getElementById('help-open').removeAttribute('aria-label')")
    page.evaluate("() => { document.getElementById('help-open').textContent = ''; }")
    page.evaluate("() => document.getElementById('help-open').removeAttribute('title')")
    assert any(fault.startswith("button-name (critical)") for fault in faults(page))


def test_the_tab_key_goes_from_left_to_right_and_from_top_to_bottom_within_each_part(page: Any) -> None:
    fill(page)
    order = page.evaluate("""() => [...document.querySelectorAll('button, input, textarea, canvas, summary, [tabindex]')]
      .filter((one) => one.tabIndex >= 0 && one.offsetParent !== null && !one.disabled)
      .map((one) => ['.bar', '#viewer', '#inspector', '#timeline'].find((part) => one.closest(part)))""")
    assert [part for part, before in zip(order, [None, *order], strict=False) if part != before] == [
        ".bar",
        "#viewer",
        "#inspector",
        "#timeline",
    ]
    assert page.evaluate("() => [...document.querySelectorAll('[tabindex]')].every((one) => one.tabIndex <= 0)")


def test_what_is_pressed_chosen_or_linear_is_told_by_more_than_colour(page: Any) -> None:
    fill(page)
    pressed = page.evaluate("""() => [...document.querySelectorAll('[data-tool]')]
      .map((one) => [one.getAttribute('aria-pressed'), getComputedStyle(one).fontWeight])""")
    assert {weight for state, weight in pressed if state == "true"} == {"600"}
    assert {weight for state, weight in pressed if state == "false"} == {"400"}
    forms = page.evaluate("""() => [...document.querySelectorAll('.keyframe')]
      .map((one) => [one.classList.contains('linear'), getComputedStyle(one).borderRadius])""")
    assert dict(forms) == {True: "50%", False: "2px"}


def test_nothing_moves_by_itself_for_who_wants_it_so(page: Any) -> None:
    page.evaluate("() => { document.getElementById('job').hidden = false; }")
    page.evaluate("() => document.getElementById('job-bar').removeAttribute('value')")
    looks = "() => getComputedStyle(document.getElementById('job-bar')).appearance"
    assert page.evaluate(looks) != "none"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(looks) == "none"  # a bar without an end does not run to and fro
    moving = """() => [...document.querySelectorAll('*')].filter((one) => {
      const style = getComputedStyle(one);
      return style.transitionDuration !== '0s' || style.animationName !== 'none' || style.scrollBehavior === 'smooth';
    }).length"""
    assert page.evaluate(moving) == 0 and page.evaluate("() => document.getAnimations().length") == 0
    page.emulate_media(reduced_motion="no-preference")


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
    fill(page)
    page.click("summary:has-text('Change the curve')")
    page.evaluate("""() => {
      document.getElementById('job').hidden = false;
      document.getElementById('job-words').textContent = 'sampling the section 812/1000, about 1554 s left';
      document.getElementById('meter-words').textContent = 'limited by 10.8 dB';
    }""")
    assert page.evaluate("() => document.querySelector('.bar').offsetHeight") < 50
    assert page.evaluate("() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [
        *size
    ]
    outside = page.evaluate("""() => ['.bar *', '.tools *', '.keyframes button', '#scale button', '#inspector *']
      .flatMap((parts) => [...document.querySelectorAll(parts)])
      .filter((one) => one.offsetParent !== null).filter((one) => {
        const box = one.getBoundingClientRect();
        return box.right > innerWidth + 1 || (box.bottom > innerHeight + 1 && !one.closest('#inspector')) || box.left < -1;
      }).map((one) => one.outerHTML.slice(0, 80))""")
    assert outside == []
    stage = page.locator("#stage").bounding_box()
    assert stage["width"] > 500 and stage["height"] > 200
    assert page.evaluate(CONTRAST) == []
    page.hover("[data-tool=box]")  # which is pressed
    assert page.evaluate(CONTRAST) == []
    picture = page.screenshot(path=tmp_path / f"{scheme}-{size[0]}.png")
    assert len(picture) > 20_000
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="dark")


def reach(page: Any, name: str, role: str = "") -> None:
    """The Tab key, until what has this name has the focus."""
    seen = []
    for _ in range(150):
        found = page.evaluate("""() => {
          const one = document.activeElement;
          const label = one.getAttribute('aria-label') || one.labels?.[0]?.textContent || one.textContent;
          return [label.trim().replace(/\\s+/g, ' '), one.getAttribute('role') || one.tagName.toLowerCase()];
        }""")
        if found[0].startswith(name) and role in ("", found[1]):
            return
        seen.append(found[0][:30])
        page.keyboard.press("Tab")
    raise AssertionError(f"{name} is not reached by the Tab key: {seen}")


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_a_whole_piece_of_work_is_done_by_keys_alone(page: Any, home: Path) -> None:
    """Words, mask with keyframes, curve, takes, a star, a section, a second track with gain and pan, undo, and the export."""
    reach(page, "What should sound")
    page.keyboard.type("a bell rings")
    reach(page, "Takes", "input")
    page.keyboard.type("2")
    page.keyboard.press("Enter")
    reach(page, "Picture; draw")
    press(page, "n", "Shift+ArrowRight", "Control+Shift+ArrowDown", "Shift+L")
    reach(page, "Loudness curve")
    press(page, "Home", "a", "End", "a", "Shift+ArrowDown", "Home")
    page.keyboard.press("g")
    wait(lambda: page.evaluate("() => studio.state.takes.size") == 2, 120)
    assert page.inner_text("#live") == "The takes are there"
    page.keyboard.press("2")
    first = track(page)["take"]
    reach(page, "Star take 2")
    page.keyboard.press("Enter")
    # The list was drawn again, and the focus is where it was.
    focused = "() => ['aria-label', 'aria-pressed'].map((name) => document.activeElement.getAttribute(name))"
    assert page.evaluate(focused) == ["Star take 2", "true"]
    press(page, "Home", "Shift+ArrowRight", "i", "Shift+ArrowRight", "o", "Shift+G")
    wait(lambda: track(page)["take"] != first, 120)
    reach(page, "+ Track")
    page.keyboard.press("Enter")
    reach(page, "What should sound")
    page.keyboard.type("rain falls")
    reach(page, "Picture; draw")
    press(page, "q", "n", "ArrowUp", "Shift+D")
    wait(lambda: track(page, 1)["take"], 120)
    reach(page, "Gain in decibels")
    press(page, "ArrowLeft", "ArrowLeft")
    reach(page, "Pan, left to right")
    press(page, "ArrowRight", "ArrowRight", "Control+z", "Control+Shift+z")
    saved(page)
    reach(page, "Export…")
    page.keyboard.press("Enter")
    reach(page, "Timecode of the first frame")
    page.keyboard.type("01:00:00:00")
    reach(page, "Export what is heard")
    page.keyboard.press("Enter")
    page.locator("#export-done li").first.wait_for(timeout=60_000)
    folder = Path(page.inner_text("#export-done .path"))
    page.keyboard.press("Escape")
    assert page.is_hidden("#export")
    document = json.loads((home / "clip.drawaudio" / "project.json").read_bytes())
    bell, rain = document["tracks"]
    assert bell["starred"] == [first] and bell["curve"][0][0] == 0 and len(bell["curve"]) == 2
    (box,) = bell["mask"]["keyframes"][0]["shapes"]
    assert box["points"] == [[0.4, 0.35], pytest.approx([0.7, 0.7])]
    assert bell["mask"]["keyframes"][0]["linear"] and rain["mask"]["keyframes"][0]["shapes"][0]["kind"] == "lasso"
    assert (bell["gain_db"], bell["pan"]) == (-1.0, 0.1) and document["delivery"]["timecode"] == "01:00:00:00"
    assert len([*(folder / "stems").iterdir()]) == 2 and (folder / "mix.wav").is_file()
    page.evaluate("(delivery) => studio.store.change((document) => ({ ...document, delivery }))", DELIVERY)
    saved(page)
