"""Curves drawn on the studio's page: by hand, by key, while it plays, from sounds."""

import base64
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from drawaudio_model.studio.drawing import curve_levels
from tests.studio_page import BROWSER_TESTS, FPS, LANE, SECONDS, drag, place_in, track, wait

pytest_plugins = ["tests.studio_browser"]
pytestmark = BROWSER_TESTS


def test_clicks_add_points_a_drag_moves_one_and_delete_takes_it_away(page: Any) -> None:
    for x, y in ((0.1, 0.8), (0.5, 0.2), (0.9, 0.7)):
        page.mouse.click(*place_in(page, LANE, x, y))
    curve = track(page)["curve"]
    assert len(curve) == 3 and curve[0][1] < curve[2][1] < curve[1][1]
    # Times snap to frames.
    assert all(time * FPS == pytest.approx(round(time * FPS), abs=0.01) for time, _ in curve)
    drag(page, LANE, (0.5, 0.2), (0.6, 0.5))
    moved = track(page)["curve"][1]
    assert moved[0] == pytest.approx(1.8, abs=0.06) and moved[1] == pytest.approx(-30, abs=2)
    page.keyboard.press("Delete")
    assert len(track(page)["curve"]) == 2
    page.keyboard.press("Control+z")
    assert track(page)["curve"][1] == moved


def test_a_curve_is_drawn_by_keys_alone(page: Any) -> None:
    page.focus(LANE)
    page.keyboard.press("a")
    page.evaluate("() => studio.transport.seekFrame(24)")
    page.keyboard.press("a")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("ArrowLeft")
    assert track(page)["curve"] == [[0, -24], [pytest.approx(23 / 12, abs=1e-3), -18.5]]
    page.keyboard.press("Control+ArrowLeft")
    page.keyboard.press("ArrowDown")
    assert track(page)["curve"][0] == [0, -24.5]
    page.keyboard.press("Enter")
    wait(
        lambda: (
            page.evaluate("() => document.activeElement.getAttribute('aria-label')") == "Level of point 1 in decibels"
        ),
        5,
    )
    page.keyboard.type("-33,5")
    page.keyboard.press("Enter")
    assert track(page)["curve"][0] == [0, -33.5]


def test_freehand_is_simplified_within_half_a_decibel(page: Any) -> None:
    page.keyboard.press("d")
    page.mouse.move(*place_in(page, LANE, 0.1, 0.8))
    page.mouse.down()
    for number in range(1, 61):
        x = 0.1 + 0.8 * number / 60
        page.mouse.move(*place_in(page, LANE, x, 0.8 - 0.6 * (1 - abs(2 * number / 60 - 1)) ** 2))
    page.mouse.up()
    curve = track(page)["curve"]
    assert 4 < len(curve) < 40
    lane = page.locator(LANE).first.bounding_box()
    for number in range(1, 60):
        x = 0.1 + 0.8 * number / 60
        y = (0.8 - 0.6 * (1 - abs(2 * number / 60 - 1)) ** 2) * lane["height"]
        drawn = -(y - 6) / (lane["height"] - 12) * 60
        time = x * SECONDS
        kept = page.evaluate(
            "async ([curve, time]) => (await import('/page/curve.js')).levelAt(curve, time)", [curve, time]
        )
        assert kept == pytest.approx(drawn, abs=0.5 + 0.7)  # and a pixel of the mouse
    page.keyboard.press("d")


def test_a_level_is_ridden_with_the_mouse_while_the_video_plays(page: Any) -> None:
    page.mouse.move(*place_in(page, LANE, 0.5, 0.3))
    page.keyboard.press(" ")
    wait(lambda: page.evaluate("() => studio.transport.frame()") > 2, 10)
    page.keyboard.down("r")
    wait(lambda: page.evaluate("() => studio.transport.frame()") > 10, 10)
    page.mouse.move(*place_in(page, LANE, 0.5, 0.8))
    wait(lambda: page.evaluate("() => studio.transport.frame()") > 18, 10)
    page.keyboard.up("r")
    page.keyboard.press("k")
    curve = track(page)["curve"]
    assert len(curve) < 12 and curve[0][0] < 1 < curve[-1][0] < SECONDS
    lane = page.locator(LANE).first.bounding_box()["height"]
    levels = [-60 * (share * lane - 6) / (lane - 12) for share in (0.3, 0.8)]
    assert [curve[0][1], curve[-1][1]] == pytest.approx(levels, abs=1)


def test_simplifying_keeps_within_half_a_decibel_of_every_point(page: Any) -> None:
    worst = page.evaluate("""async () => {
      const { simplified, levelAt } = await import('/page/curve.js');
      const points = Array.from({ length: 500 }, (_, n) => [n / 100, -30 + 20 * Math.sin(n / 25) + 3 * Math.sin(n / 3)]);
      const kept = simplified(points);
      return [kept.length, Math.max(...points.map(([t, l]) => Math.abs(levelAt(kept, t) - l)))];
    }""")
    assert worst[0] < 400 and worst[1] <= 0.5


def test_the_steps_on_the_lane_are_the_levels_that_the_model_gets(page: Any) -> None:
    curve = [[0.0, -60.0], [0.7, -9.5], [0.7, -40.0], [2.2, -12.25], [2.9, -60.0]]
    shown = page.evaluate("async (curve) => (await import('/page/curve.js')).modelLevels(curve, 2.97)", curve)
    given = [level for _, level in curve_levels(curve, 2.97)]
    assert [0 if level <= -60 else 10 ** (level / 20) for level in shown] == pytest.approx(given, rel=1e-9)


CURVE = [[0.5, -40], [1, -20], [1.5, -10], [2.5, -30]]


def given_curve(page: Any, curve: list = CURVE, section: list | None = None) -> None:
    page.evaluate("(curve) => studio.store.changeTrack('track1', { curve })", curve)
    page.evaluate("(section) => studio.store.change((document) => ({ ...document, section }))", section)
    page.focus(LANE)


def level_at(page: Any, *times: float) -> list[float]:
    program = "async (times) => { const { levelAt } = await import('/page/curve.js');"
    program += " return times.map((time) => levelAt(studio.state.document.tracks[0].curve, time)); }"
    return page.evaluate(program, list(times))


MARKED = """async (mark) => {
  const canvases = [...document.querySelectorAll('.track .lane'), ...document.querySelectorAll('#ruler, .film .lane')];
  const frame = () => new Promise(requestAnimationFrame);
  for (let count = 0; count < 3; count += 1) await frame();
  return canvases.map((canvas) => {
    const context = canvas.getContext('2d');
    if (mark) {
      context.fillStyle = 'rgb(1, 254, 3)';
      context.fillRect(0, 0, 4, 4);
    }
    return [...context.getImageData(1, 1, 1, 1).data].join() === '1,254,3,255';
  });
}"""


def test_what_has_not_changed_is_not_drawn_again(page: Any) -> None:
    """A spot is put on every canvas: it is gone where the canvas was drawn since."""
    page.evaluate("() => studio.store.newTrack()")
    page.evaluate("() => studio.store.choose('track1')")
    given_curve(page, [[0, -30], [1, -30], [3, -20]])

    def drawn(change: str) -> list[bool]:
        assert all(page.evaluate(MARKED, True))
        page.evaluate(f"() => {{ {change} }}")
        return [not there for there in page.evaluate(MARKED, False)]

    one, two, ruler, film = range(4)
    curve = "studio.store.changeTrack('track1', { curve: [[0, -30], [1, -10], [3, -20]] })"
    assert [number for number, new in enumerate(drawn(curve)) if new] == [one]
    for change, expected in (
        ("studio.store.changeTrack('track2', { gain_db: -6 })", [two]),
        ("studio.store.change((document) => ({ ...document, section: [1, 2] }))", [one, ruler]),
        ("studio.store.change((document) => ({ ...document, markers: [{ frame: 5, name: '' }] }))", [ruler]),
        ("studio.store.choose('track2')", [one, two]),
        ("studio.timeline.zoom(0.5)", [one, two, ruler, film]),
    ):
        assert [number for number, new in enumerate(drawn(change)) if new] == expected, change
    assert not any(drawn(""))
    width = page.evaluate("() => document.querySelector('.track .lane').width")
    assert all(page.evaluate(MARKED, True))
    page.set_viewport_size({"width": 1180, "height": 800})
    wait(lambda: page.evaluate("() => document.querySelector('.track .lane').width") == width - 100, 5)
    page.set_viewport_size({"width": 1280, "height": 800})
    wait(lambda: page.evaluate("() => document.querySelector('.track .lane').width") == width, 5)
    assert not any(page.evaluate(MARKED, False))


def test_a_curve_is_raised_scaled_moved_and_stretched_as_a_whole(page: Any) -> None:
    given_curve(page)
    page.keyboard.press("Control+ArrowUp")
    assert [level for _, level in track(page)["curve"]] == [-39.5, -19.5, -9.5, -29.5]
    page.keyboard.press("Control+ArrowDown")
    page.keyboard.press("Control+Shift+ArrowUp")
    assert [level for _, level in track(page)["curve"]] == pytest.approx([-41.5, -20.5, -10, -31])
    page.keyboard.press("Control+Shift+ArrowDown")
    page.keyboard.press("Alt+ArrowRight")
    assert [time for time, _ in track(page)["curve"]] == pytest.approx([0.5833, 1.0833, 1.5833, 2.5833], abs=1e-3)
    page.keyboard.press("Alt+ArrowLeft")
    page.keyboard.press("Control+Shift+ArrowRight")
    assert [time for time, _ in track(page)["curve"]] == pytest.approx([0.5, 1.025, 1.55, 2.6], abs=1e-3)
    page.click("summary:has-text('Change the curve')")
    page.get_by_role("button", name="+1 dB").click()
    assert track(page)["curve"][2][1] == pytest.approx(-9, abs=0.01)
    while page.is_enabled("#undo"):
        page.click("#undo")
    assert track(page)["curve"] is None


def test_of_a_curve_with_a_section_only_the_section_changes_and_goes_along(page: Any) -> None:
    given_curve(page, section=[1, 2])
    outside = [0.5, 0.75, 0.99, 2.01, 2.25, 2.5]
    before, inside = level_at(page, *outside), level_at(page, 1.2, 1.5, 1.8)
    for _ in range(4):
        page.keyboard.press("Control+ArrowUp")
    assert level_at(page, *outside) == pytest.approx(before, abs=0.3)
    assert level_at(page, 1.2, 1.5, 1.8) == pytest.approx([level + 2 for level in inside], abs=0.1)
    page.keyboard.press("Alt+ArrowRight")
    assert page.evaluate("() => studio.state.document.section") == pytest.approx([13 / 12, 25 / 12], abs=1e-3)
    assert level_at(page, 1.5 + 1 / 12) == pytest.approx([-8], abs=0.1)
    assert level_at(page, 0.5, 0.75, 2.5) == pytest.approx([before[0], before[1], before[-1]], abs=0.01)


def test_silence_stays_silent_and_nothing_leaves_the_scale(page: Any) -> None:
    given_curve(page, [[0, -60], [1, -60], [1, -1], [2, -50]])
    for _ in range(5):
        page.keyboard.press("Control+ArrowUp")
    assert [level for _, level in track(page)["curve"]] == [-60, -60, 0, -47.5]


def test_a_curve_is_copied_and_pasted_at_the_playhead_also_from_a_table(page: Any) -> None:
    given_curve(page, section=[1, 1.5])
    page.keyboard.press("Control+c")
    page.evaluate("() => studio.transport.seekFrame(24)")
    page.keyboard.press("Control+v")
    assert level_at(page, 2.0, 2.25, 2.49) == pytest.approx([-20, -15, -10.2], abs=0.1)
    assert level_at(page, 0.5, 1, 1.5, 1.9) == pytest.approx([-40, -20, -10, -18], abs=0.01)
    page.keyboard.press("Control+z")
    assert track(page)["curve"] == CURVE
    table = """() => {
      const data = new DataTransfer();
      data.setData('text/plain', 'time_seconds\\tlevel_db\\n0\\t-6\\n0.25\\t-12\\n');
      document.activeElement.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
    }"""
    page.evaluate(table)
    assert level_at(page, 2.0, 2.2499) == pytest.approx([-6, -12], abs=0.01)


def test_points_snap_to_the_ends_of_the_section(page: Any) -> None:
    given_curve(page, section=[1.03, 2.07])
    page.mouse.click(*place_in(page, LANE, 1.035 / 3, 0.3))
    assert 1.03 in [time for time, _ in track(page)["curve"]]


def test_points_snap_to_markers_unless_alt_is_held(page: Any) -> None:
    page.evaluate("() => studio.store.change((d) => ({ ...d, markers: [{ frame: 13, name: '' }] }))")
    lane = page.locator(LANE).bounding_box()
    wanted = 13 / FPS
    x = (lane["x"] + (wanted / SECONDS) * lane["width"] + 7) // 1
    page.mouse.click(x, lane["y"] + 40)
    assert track(page)["curve"][0][0] == pytest.approx(wanted, abs=1e-3)
    page.keyboard.down("Alt")
    page.mouse.click(x + 150, lane["y"] + 40)
    page.keyboard.up("Alt")
    free = (x + 150 - lane["x"]) / lane["width"] * SECONDS
    assert track(page)["curve"][1][0] == pytest.approx(free, abs=1e-3) and free * FPS % 1 > 0.02


def test_a_line_is_dragged_with_both_its_ends(page: Any) -> None:
    given_curve(page, [[0.5, -40], [1, -40], [2, -20], [2.5, -20]])
    lane = page.locator(LANE).bounding_box()
    y = 6 + 30 / 60 * (lane["height"] - 12)  # the middle of the line from 1 to 2 s
    page.keyboard.down("Control")
    page.mouse.move(lane["x"] + lane["width"] / 2, lane["y"] + y)
    page.mouse.down()
    page.mouse.move(lane["x"] + lane["width"] / 2, lane["y"] + y - (lane["height"] - 12) / 6, steps=5)
    page.mouse.up()
    page.keyboard.up("Control")
    assert [time for time, _ in track(page)["curve"]] == [0.5, 1, 2, 2.5]
    assert [level for _, level in track(page)["curve"]] == pytest.approx([-40, -30, -10, -20], abs=0.3)
    page.keyboard.press("Control+z")
    assert [level for _, level in track(page)["curve"]] == [-40, -40, -20, -20]


def test_escape_leaves_a_point_and_then_the_job(page: Any) -> None:
    given_curve(page)
    page.keyboard.press("Control+ArrowRight")
    page.evaluate("() => studio.store.change((document) => ({ ...document, steps: 1000 }))")
    page.evaluate("() => studio.store.changeTrack('track1', { text: 'a bell rings' })")
    page.get_by_role("button", name="Generate").click()
    wait(lambda: "sampling" in page.inner_text("#job-words"), 60)
    page.focus(LANE)
    page.keyboard.press("Control+ArrowRight")
    page.keyboard.press("Escape")
    page.keyboard.press("Delete")  # of no point
    assert len(track(page)["curve"]) == len(CURVE) and page.inner_text("#job-words") != "stopping"
    page.keyboard.press("Escape")
    wait(lambda: page.is_hidden("#job"), 10)
    assert page.inner_text("#live") == "Cancelled"


def loud_and_soft(page: Any, start: float) -> tuple[float, float]:
    """Levels in the loud and the soft half second of a mouth sound that begins at `start`."""
    found = level_at(page, start + 0.25, start + 0.75)
    return found[0], found[1]


def test_the_loudness_of_a_chosen_sound_becomes_the_curve_from_the_playhead_on(page: Any, home: Path) -> None:
    given_curve(page, [[0, -50], [3, -50]])
    page.evaluate("() => studio.transport.seekFrame(12)")
    page.click("summary:has-text('Change the curve')")
    page.set_input_files("#inspector input[type=file]", home / "mouth.wav")
    wait(lambda: len(track(page)["curve"]) > 3, 30)
    loud, soft = loud_and_soft(page, 1.0)
    assert loud - soft == pytest.approx(20, abs=1) and loud == pytest.approx(-9, abs=1)
    assert level_at(page, 0, 0.9, 2.9) == pytest.approx([-50] * 3, abs=0.01)
    assert len(track(page)["curve"]) < 15  # simplified
    page.keyboard.press("Control+z")
    assert track(page)["curve"] == [[0, -50], [3, -50]]


def test_a_sound_is_dropped_on_a_lane_where_it_shall_begin(page: Any, home: Path) -> None:
    drop = """async ([bytes, x]) => {
      const lane = document.querySelector('.track .lane');
      const box = lane.getBoundingClientRect();
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(atob(bytes), (one) => one.charCodeAt(0))], 'mouth.wav'));
      const place = { clientX: box.left + x * box.width, clientY: box.top + 20 };
      lane.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true, ...place }));
    }"""
    page.evaluate(drop, [base64.b64encode((home / "mouth.wav").read_bytes()).decode(), 0.5])
    wait(lambda: track(page)["curve"], 30)
    assert track(page)["curve"][0][0] == pytest.approx(1.55, abs=0.06)
    loud, soft = loud_and_soft(page, 1.5)
    assert loud - soft == pytest.approx(20, abs=1)


def test_a_mouth_sound_is_recorded_while_the_video_plays_and_becomes_the_curve(page: Any) -> None:
    """Chromium's microphone hears half a second loud, half a second 20 dB softer, again and again."""
    page.keyboard.press("Shift+R")
    wait(lambda: page.evaluate("() => studio.transport.playing()"), 15)
    page.click("summary:has-text('Change the curve')")
    assert page.get_by_role("button", name="Stop recording").get_attribute("aria-pressed") == "true"
    wait(lambda: page.evaluate("() => studio.transport.frame()") > 26, 20)
    page.keyboard.press("Shift+R")
    wait(lambda: page.get_by_role("button", name="Record", exact=True).count(), 5)
    assert page.get_by_role("button", name="Record", exact=True).get_attribute("aria-pressed") == "false"
    wait(lambda: track(page)["curve"], 30)
    curve = track(page)["curve"]
    assert curve[0][0] < 0.2 and 1.8 < curve[-1][0] <= 3 and len(curve) < 10 * curve[-1][0]
    levels = level_at(page, *(0.25 + n / 20 for n in range(30)))
    assert max(levels) - min(levels) == pytest.approx(20, abs=4)
    halves = [level > (max(levels) + min(levels)) / 2 for level in levels]
    assert 8 <= sum(halves) <= 22 and sum(a != b for a, b in pairwise(halves)) >= 2


def test_a_microphone_that_may_not_be_used_is_a_sentence(page: Any) -> None:
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError')); }"
    )
    page.keyboard.press("Shift+R")
    wait(lambda: "The microphone cannot be used" in page.inner_text("#notice"), 5)
