"""The studio's page in a real browser: each line of what a person can do, done by hand and by key."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drawaudio_model.studio.drawing import curve_levels
from drawaudio_model.studio.project import empty_track
from tests.studio_page import CHROMIUM, FPS, SECONDS, Running, studio, wait, write_clip
from tests.tiny_detector import tiny_detector
from tests.tiny_pipeline import saved_pipeline

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium; Debian: apt-get install chromium"),
]

FRAMES = SECONDS * FPS
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
SETTLED = "() => !document.getElementById('video').seeking && document.getElementById('video').readyState >= 2"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_clip(folder / "clip.mp4")
    saved_pipeline(folder / "model")
    tiny_detector(folder / "backbones" / "object_detector", vocabulary=["bell", "ball"])
    return folder


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Running]:
    with studio(home, "clip.mp4", "--model", "model") as found:
        found.wait_for_media()
        yield found


@pytest.fixture(scope="module")
def context(running: Running) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark")
        browser.close()


@pytest.fixture
def page(context: Any, running: Running) -> Iterator[Any]:
    """A page with an empty project; what its console says ends the test."""

    def emptied() -> bool:
        # The page before this one may still be saving.
        document = running.json("GET", "/api/project")["document"]
        document |= {"tracks": [empty_track("track1")], "markers": [], "steps": 2}
        return running.ask("PUT", "/api/project", document, {"If-Match": str(document["revision"])})[0] == 200

    wait(emptied, 10)
    opened = open_page(context, running)
    yield opened
    opened.close()
    assert opened.said == []


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
    page.mouse.move(*place_in(page, selector, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*place_in(page, selector, *point), steps=steps)
    page.mouse.up()


def saved(page: Any) -> None:
    wait(lambda: page.inner_text("#saved") == "Saved", 10)


def test_the_page_is_painted_within_a_second_of_being_asked_for(page: Any) -> None:
    page.reload()
    paints = page.evaluate("() => performance.getEntriesByType('paint').map((entry) => entry.startTime)")
    assert paints and max(paints) < 1000


def test_the_frame_that_is_named_is_the_frame_that_is_shown(page: Any) -> None:
    shown = []
    for frame in range(FRAMES):
        page.evaluate(f"() => studio.transport.seekFrame({frame})")
        wait(lambda: page.evaluate(SETTLED), 10)
        shown.append(page.evaluate(NUMBER_SHOWN))
        assert page.inner_text("#frame") == f"f{frame}"
    assert shown == [*range(FRAMES)]


def test_arrows_go_by_frames_and_home_and_end_to_the_ends(page: Any) -> None:
    keys = ("ArrowRight", "ArrowRight", "Shift+ArrowRight", "ArrowLeft", "End", "ArrowRight", "Home", "ArrowLeft")
    found = []
    for key in keys:
        page.keyboard.press(key)
        found.append(page.evaluate("() => studio.transport.frame()"))
    assert found == [1, 2, 12, 11, FRAMES - 1, FRAMES - 1, 0, 0]


def test_a_typed_timecode_goes_there_and_nonsense_is_said(page: Any) -> None:
    for typed, frame in (("00:00:01:06", 18), ("f7", 7), ("2.5", 30), ("0:01", 12)):
        page.fill("#timecode", typed)
        page.press("#timecode", "Enter")
        assert page.evaluate("() => studio.transport.frame()") == frame
    assert page.input_value("#timecode") == "00:00:01:00"
    page.fill("#timecode", "soon")
    page.press("#timecode", "Enter")
    assert "“soon” is no time" in page.inner_text("#notice")


def test_timecodes_drop_numbers_as_the_standard_says(page: Any) -> None:
    """SMPTE 12M: 29.97 leaves out ;00 and ;01 of each minute but every tenth."""
    program = """async (frames) => {
      const { timecode, readTime } = await import('/page/timecode.js');
      const media = { rate: { numerator: 30000, denominator: 1001, varies: false }, times: new Array(200000).fill(0) };
      return frames.map((frame) => [timecode(frame, media), readTime(timecode(frame, media), media)]);
    }"""
    known = {
        0: "00:00:00;00",
        1799: "00:00:59;29",
        1800: "00:01:00;02",
        17981: "00:09:59;29",
        17982: "00:10:00;00",
        107892: "01:00:00;00",
    }
    assert page.evaluate(program, [*known]) == [[text, frame] for frame, text in known.items()]
    many = [*range(0, 40_000, 7)]
    assert [frame for _, frame in page.evaluate(program, many)] == many


def test_j_k_and_l_play_back_halt_and_go_faster(page: Any) -> None:
    page.keyboard.press("l")
    assert page.evaluate("() => studio.transport.speed()") == 1
    page.keyboard.press("l")
    assert page.evaluate("() => studio.transport.speed()") == 2 and page.inner_text("#speed") == "2×"
    wait(lambda: page.evaluate("() => studio.transport.frame()") > 3, 10)
    page.keyboard.press("k")
    at = page.evaluate("() => studio.transport.frame()")
    wait(lambda: page.evaluate(SETTLED), 10)
    assert page.evaluate(NUMBER_SHOWN) == at and page.inner_text("#speed") == ""
    page.keyboard.press("End")
    page.keyboard.press("j")
    wait(lambda: page.evaluate("() => studio.transport.frame()") < FRAMES - 6, 10)
    page.keyboard.press("k")
    at = page.evaluate("() => studio.transport.frame()")
    wait(lambda: page.evaluate(SETTLED), 10)
    assert 0 <= at < FRAMES - 6 and page.evaluate(NUMBER_SHOWN) == at


def test_a_place_on_the_ruler_is_gone_to_at_rest_and_while_it_plays(page: Any) -> None:
    page.mouse.click(*place_in(page, "#ruler", 0.5, 0.5))
    assert page.evaluate("() => studio.transport.frame()") == FRAMES // 2
    page.keyboard.press(" ")
    wait(lambda: page.evaluate("() => studio.transport.frame()") > FRAMES // 2 + 2, 10)
    page.evaluate("() => studio.transport.seekFrame(2)")
    assert page.evaluate("() => studio.transport.playing() && studio.transport.frame()") < 8
    wait(lambda: page.evaluate("() => studio.transport.frame()") > 8, 10)
    page.keyboard.press(" ")
    assert not page.evaluate("() => studio.transport.playing()")


def test_the_original_sound_is_heard_when_it_is_no_longer_mute(page: Any) -> None:
    page.keyboard.press(" ")
    page.get_by_label("Mute the original sound").click()
    heard = "() => studio.transport.sounding()"
    wait(lambda: page.evaluate(heard) == 1, 10)
    page.get_by_label("Mute the original sound").click()
    wait(lambda: page.evaluate(heard) == 0, 10)
    page.keyboard.press("k")


def test_a_box_a_lasso_a_brush_and_the_eraser_draw_the_mask(page: Any) -> None:
    drag(page, "#overlay", (0.2, 0.3), (0.7, 0.8))
    page.keyboard.press("o")
    drag(page, "#overlay", (0.1, 0.1), (0.3, 0.1), (0.2, 0.3), steps=6)
    page.keyboard.press("p")
    drag(page, "#overlay", (0.8, 0.2), (0.9, 0.4))
    page.keyboard.press("e")
    drag(page, "#overlay", (0.4, 0.4), (0.5, 0.5))
    mask = track(page)["mask"]
    (keyframe,) = mask["keyframes"]
    kinds = [(shape["kind"], shape["cut"]) for shape in keyframe["shapes"]]
    assert kinds == [("box", False), ("lasso", False), ("brush", False), ("brush", True)]
    (x0, y0), (x1, y1) = keyframe["shapes"][0]["points"]
    assert [x0, y0, x1, y1] == pytest.approx([0.2, 0.3, 0.7, 0.8], abs=0.01)
    assert all(0 <= value <= 1 for shape in keyframe["shapes"] for point in shape["points"] for value in point)
    # What is shown dark is what does not sound.
    dark = """() => {
      const canvas = document.getElementById('overlay');
      const at = (x, y) => canvas.getContext('2d').getImageData(x * canvas.width, y * canvas.height, 1, 1).data[3];
      return [at(0.3, 0.7), at(0.05, 0.9), at(0.45, 0.45)];
    }"""
    inside, outside, erased = page.evaluate(dark)
    assert inside == 0 and outside > 100 and erased > 100
    page.click("#invert")
    inside, outside, _ = page.evaluate(dark)
    assert inside > 100 and outside == 0


def test_what_the_page_lights_is_what_the_server_draws(page: Any, running: Running) -> None:
    """The server's mask in the model's pixels, compared with the picture on the screen, pixel by pixel."""
    drag(page, "#overlay", (0.2, 0.3), (0.7, 0.8))
    page.keyboard.press("o")
    drag(page, "#overlay", (0.5, 0.1), (0.95, 0.1), (0.9, 0.6), (0.6, 0.2), steps=8)
    page.keyboard.press("e")
    drag(page, "#overlay", (0.4, 0.4), (0.6, 0.7), steps=8)
    share = page.evaluate("""async () => {
      const { paint } = await import('/page/masks.js');
      const mask = studio.state.document.tracks[0].mask;
      const answer = await studio.ask('POST', '/api/mask', { body: { mask, frame: 0 } });
      const bitmap = await createImageBitmap(await answer.blob());
      const [width, height] = [bitmap.width, bitmap.height];
      const read = (make) => {
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [width, height];
        const context = canvas.getContext('2d');
        make(context);
        return context.getImageData(0, 0, width, height).data;
      };
      const server = read((context) => context.drawImage(bitmap, 0, 0));
      const own = read((context) => paint(context, mask.keyframes[0].shapes, mask.invert, width, height));
      let different = 0;
      for (let place = 0; place < server.length; place += 4) different += (server[place] > 127) !== (own[place + 3] > 127);
      return different / (width * height);
    }""")
    assert share < 0.02  # the outermost pixels
    page.click("#as-model")
    corner = """() => {
      const canvas = document.getElementById('overlay');
      return canvas.getContext('2d').getImageData(3, canvas.height - 3, 1, 1).data[3];
    }"""
    wait(lambda: page.evaluate(corner) == 255, 10)
    page.click("#as-model")


def test_a_mask_changes_in_time_by_keyframes_that_hold(page: Any) -> None:
    drag(page, "#overlay", (0.1, 0.1), (0.4, 0.4))
    page.evaluate("() => studio.transport.seekFrame(18)")  # 1.5 s
    page.keyboard.press("Shift+K")
    drag(page, "#overlay", (0.6, 0.6), (0.9, 0.9))
    frames = {keyframe["frame"]: len(keyframe["shapes"]) for keyframe in track(page)["mask"]["keyframes"]}
    assert frames == {0: 1, 6: 2}
    page.locator(".keyframe").nth(1).focus()
    page.keyboard.press("ArrowLeft")
    assert [keyframe["frame"] for keyframe in track(page)["mask"]["keyframes"]] == [0, 5]
    drag(page, "#keyframes", (5 / 11, 0.5), (8 / 11, 0.5))
    assert [keyframe["frame"] for keyframe in track(page)["mask"]["keyframes"]] == [0, 8]
    page.locator(".keyframe").nth(1).focus()
    page.keyboard.press("Delete")
    assert [keyframe["frame"] for keyframe in track(page)["mask"]["keyframes"]] == [0]


def test_a_mask_is_drawn_by_keys_and_numbers_alone(page: Any) -> None:
    page.focus("#stage")
    page.keyboard.press("n")
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowDown", "Control+ArrowLeft"):
        page.keyboard.press(key)
    (shape,) = track(page)["mask"]["keyframes"][0]["shapes"]
    assert [*shape["points"][0], *shape["points"][1]] == pytest.approx([0.36, 0.4, 0.655, 0.7])
    page.click("summary:has-text('Mask as numbers')")
    field = page.get_by_label("left of box 1")
    field.fill("0,25")
    field.press("Enter")
    assert track(page)["mask"]["keyframes"][0]["shapes"][0]["points"][0][0] == 0.25
    page.focus("#stage")
    page.keyboard.press(".")
    page.keyboard.press("Delete")
    assert track(page)["mask"]["keyframes"][0]["shapes"] == []


def test_a_shape_is_moved_and_resized_by_hand(page: Any) -> None:
    drag(page, "#overlay", (0.2, 0.2), (0.5, 0.5))
    page.keyboard.press("v")
    drag(page, "#overlay", (0.35, 0.35), (0.45, 0.55))
    points = track(page)["mask"]["keyframes"][0]["shapes"][0]["points"]
    assert [*points[0], *points[1]] == pytest.approx([0.3, 0.4, 0.6, 0.7], abs=0.012)
    drag(page, "#overlay", (0.6, 0.7), (0.8, 0.9))
    points = sorted(track(page)["mask"]["keyframes"][0]["shapes"][0]["points"])
    assert [*points[0], *points[1]] == pytest.approx([0.3, 0.4, 0.8, 0.9], abs=0.012)
    # One undo for each of the three: drawing, moving, resizing.
    for _ in range(3):
        page.keyboard.press("Control+z")
    assert track(page)["mask"] is None


LANE = ".track .lane"


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


def test_a_thing_that_is_named_becomes_a_mask_of_its_boxes(page: Any) -> None:
    page.keyboard.press("t")
    page.keyboard.type("bell")
    page.keyboard.press("Enter")
    wait(lambda: track(page)["mask"], 60)
    shapes = [shape for keyframe in track(page)["mask"]["keyframes"] for shape in keyframe["shapes"]]
    assert shapes and {shape["kind"] for shape in shapes} == {"box"}
    page.keyboard.press("Escape")
    page.fill("#find-words", "unicorn")
    page.press("#find-words", "Enter")
    wait(lambda: "the detector does not know 'unicorn'" in page.inner_text("#notice"), 30)


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


def test_everything_is_undone_and_done_again(page: Any) -> None:
    first = page.evaluate("() => studio.state.document")
    page.fill("textarea", "a bell rings")
    drag(page, "#overlay", (0.2, 0.2), (0.5, 0.5))
    page.mouse.click(*place_in(page, LANE, 0.5, 0.5))
    page.click("#add-track")
    page.get_by_role("button", name="Mute").nth(1).click()
    last = page.evaluate("() => studio.state.document")
    for _ in range(5):
        page.click("#undo")
    assert page.evaluate("() => studio.state.document") == first and page.is_disabled("#undo")
    for _ in range(5):
        page.click("#redo")
    assert page.evaluate("() => studio.state.document") == last and page.is_disabled("#redo")


def test_two_hundred_strokes_of_history_hold_each_stroke_once(page: Any) -> None:
    assert page.evaluate("""() => {
      const points = (n) => Array.from({ length: 50 }, (_, k) => [k / 50, (n % 100) / 100]);
      const stroke = (n) => ({ kind: 'brush', cut: false, size: 0.1, points: points(n) });
      const kept = [];
      for (let n = 0; n < 250; n += 1) {
        const mask = studio.state.document.tracks[0].mask;
        const shapes = mask ? [...mask.keyframes[0].shapes, stroke(n)] : [stroke(n)];
        studio.store.changeTrack('track1', { mask: { invert: false, keyframes: [{ frame: 0, shapes }] } });
        kept.push(shapes[0]);
      }
      let steps = 0;
      while (studio.store.canUndo()) { studio.store.undo(); steps += 1; }
      const left = studio.state.document.tracks[0].mask.keyframes[0].shapes;
      return [steps, left.length, left[0] === kept[249]];
    }""") == [200, 50, True]


def test_a_change_is_saved_by_itself_and_is_there_after_a_reload(page: Any, home: Path) -> None:
    page.fill("textarea", "a béll rings")
    drag(page, "#overlay", (0.2, 0.2), (0.5, 0.5))
    wait(lambda: page.inner_text("#saved") == "Changed", 5)
    saved(page)
    kept = json.loads((home / "clip.drawaudio" / "project.json").read_bytes())
    assert kept["tracks"][0]["text"] == "a béll rings"
    page.reload()
    wait(lambda: page.evaluate("() => window.studio?.state.media.state === 'ready'"), 20)
    assert page.input_value("textarea") == "a béll rings" and track(page)["mask"] is not None


def test_a_second_tab_is_told_and_overwrites_nothing(page: Any, context: Any, running: Running, home: Path) -> None:
    second = open_page(context, running)
    page.fill("textarea", "from the first tab")
    saved(page)
    second.fill("textarea", "from the second tab")
    wait(lambda: "changed in another tab" in second.inner_text("#notice"), 10)
    second.close()
    assert (
        json.loads((home / "clip.drawaudio" / "project.json").read_bytes())["tracks"][0]["text"] == "from the first tab"
    )


def test_a_take_is_made_while_one_draws_and_is_heard_in_step_with_the_picture(page: Any, running: Running) -> None:
    page.fill("textarea", "a bell rings")
    page.get_by_label("Takes").first.fill("2")
    page.get_by_label("Seed").first.fill("5")
    page.keyboard.press("Tab")
    page.get_by_role("button", name=re.compile("Generate")).click()
    # Drawing goes on meanwhile.
    drag(page, "#overlay", (0.2, 0.2), (0.5, 0.5))
    wait(lambda: page.evaluate("() => studio.state.takes.size && studio.state.document.tracks[0].take"), 120)
    assert page.locator(".take").count() == 2
    assert page.locator(".take.chosen").count() == 1 and "seed" in page.locator(".take.chosen").inner_text()
    assert "changed since" in page.locator(".take").first.inner_text()  # the mask came after
    page.keyboard.press("Escape")
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("2")
    assert track(page)["take"] == page.evaluate(
        "() => [...studio.state.takes.values()].filter((t) => t.track === 'track1').sort((a, b) => a.place - b.place)[1].id"
    )
    wait(lambda: page.evaluate("() => studio.transport.samplesOfMix()?.length === 48000"), 10)
    page.evaluate("() => studio.transport.seekFrame(0)")
    page.evaluate("() => { studio.transport.drifts.length = 0; }")
    page.keyboard.press(" ")
    wait(lambda: page.evaluate("() => !studio.transport.playing() && studio.transport.drifts.length"), 20)
    drifts = sorted(page.evaluate("() => studio.transport.drifts"))
    assert len(drifts) > 10
    assert abs(drifts[len(drifts) // 2]) < 0.02
    saved(page)
    # What is played is what is exported, sample for sample.
    import numpy as np
    import soundfile

    page.click("#export-open")
    page.click("#export-go")
    page.locator("#export-done li").first.wait_for(timeout=60_000)
    folder = Path(page.inner_text("#export-done .path"))
    page.click("#export-close")
    played = np.array(page.evaluate("() => [...studio.transport.samplesOfMix()]"))
    exported = soundfile.read(folder / "mix.wav", dtype="int16")[0]
    assert (np.round(played * 32768).clip(-32768, 32767) == exported).all()


def test_a_job_is_cancelled_on_the_page(page: Any) -> None:
    page.get_by_label("Steps").first.fill("1000")
    page.fill("textarea", "a bell rings")
    page.get_by_role("button", name=re.compile("Generate")).click()
    wait(lambda: re.search(r"sampling \d+/1000", page.inner_text("#job-words")), 60)
    page.click("#job-cancel")
    wait(lambda: page.is_hidden("#job"), 10)
    assert page.inner_text("#live") == "Cancelled"


def test_zoom_reaches_from_the_whole_video_to_single_frames(page: Any) -> None:
    page.evaluate("() => document.activeElement.blur()")
    whole = page.evaluate("() => document.getElementById('thumb').getBoundingClientRect().width")
    for _ in range(12):
        page.keyboard.press("+")
    wait(
        lambda: page.evaluate("() => document.getElementById('thumb').style.width") == "27.7778%", 5
    )  # 10 of 36 frames
    page.keyboard.press("0")
    wait(lambda: page.evaluate("() => document.getElementById('thumb').getBoundingClientRect().width") == whole, 5)


def test_markers_are_set_reached_and_taken_away(page: Any) -> None:
    for frame in (5, 20):
        page.evaluate(f"() => studio.transport.seekFrame({frame})")
        page.keyboard.press("m")
    assert [marker["frame"] for marker in page.evaluate("() => studio.state.document.markers")] == [5, 20]
    page.keyboard.press(",")
    assert page.evaluate("() => studio.transport.frame()") == 5
    page.keyboard.press("m")
    assert [marker["frame"] for marker in page.evaluate("() => studio.state.document.markers")] == [20]


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


def test_the_page_asks_for_nothing_elsewhere_and_weighs_little(page: Any, running: Running) -> None:
    import gzip

    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    wait(lambda: page.evaluate("() => window.studio?.state.media.state === 'ready'"), 20)
    assert {url.split("/")[2] for url in asked} == {f"127.0.0.1:{running.port}"}
    own = [url for url in asked if "/page/" in url or url.endswith(f":{running.port}/")]
    assert sum(len(gzip.compress(running.ask("GET", "/" + url.split("/", 3)[3])[2])) for url in own) < 60_000
