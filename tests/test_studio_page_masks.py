"""Masks drawn on the studio's page, by hand, by key, by words, in time."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.studio_page import BROWSER_TESTS, Running, drag, place_in, saved, track, wait

pytest_plugins = ["tests.studio_browser"]
pytestmark = BROWSER_TESTS


def test_a_box_a_lasso_a_brush_and_the_eraser_draw_the_mask(page: Any) -> None:
    drag(page, "#overlay", (0.2, 0.3), (0.7, 0.8))
    page.keyboard.press("q")
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
    page.keyboard.press("q")
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


def test_the_strip_of_keyframes_shows_the_time_that_the_timeline_shows(page: Any) -> None:
    drag(page, "#overlay", (0.1, 0.1), (0.4, 0.4))
    for frame in (12, 30):  # 1 and 2.5 s: 4 and 10 of the model
        page.evaluate(f"() => studio.transport.seekFrame({frame})")
        page.keyboard.press("Shift+K")
    assert page.locator(".keyframe").count() == 3
    page.evaluate("() => studio.timeline.show(0.75, 1)")  # frames 3 to 6
    assert page.locator(".keyframe").count() == 1
    drag(page, "#keyframes", (1 / 3, 0.5), (2 / 3, 0.5))
    assert [keyframe["frame"] for keyframe in track(page)["mask"]["keyframes"]] == [0, 5, 10]
    page.locator(".keyframe").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => document.activeElement.dataset.frame") == "6"
    page.keyboard.press("l")
    assert track(page)["mask"]["keyframes"][1]["linear"] and page.locator("#keyframes .way").count() == 1
    page.evaluate("() => studio.timeline.showAll()")
    assert page.locator(".keyframe").count() == 3


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


def lasso(page: Any) -> list[list[float]]:
    return track(page)["mask"]["keyframes"][0]["shapes"][0]["points"]


def test_a_lasso_has_few_points_and_is_bent_by_them(page: Any) -> None:
    page.keyboard.press("q")
    drag(page, "#overlay", (0.2, 0.2), (0.6, 0.2), (0.6, 0.7), (0.2, 0.7), (0.2, 0.25), steps=30)
    points = lasso(page)
    assert 4 <= len(points) <= 8  # of more than a hundred places of the hand
    for corner in ((0.2, 0.2), (0.6, 0.2), (0.6, 0.7), (0.2, 0.7)):
        assert min(abs(x - corner[0]) + abs(y - corner[1]) for x, y in points) < 0.02
    page.keyboard.press("v")
    page.mouse.click(*place_in(page, "#overlay", 0.4, 0.4))  # chooses it
    drag(page, "#overlay", (0.6, 0.7), (0.8, 0.9))
    moved = lasso(page)
    (number,) = (number for number, one in enumerate(moved) if one != points[number])
    assert moved[number] == pytest.approx([0.8, 0.9], abs=0.012) and len(moved) == len(points)
    page.keyboard.press("Control+z")
    assert lasso(page) == points
    page.mouse.dblclick(*place_in(page, "#overlay", 0.4, 0.7))
    (added,) = (one for one in lasso(page) if one not in points)
    assert added == pytest.approx([0.4, 0.7], abs=0.012) and len(lasso(page)) == len(points) + 1
    page.keyboard.down("Alt")
    page.mouse.click(*place_in(page, "#overlay", *added))
    page.keyboard.up("Alt")
    assert lasso(page) == points
    # Its inside moves all of it, as before.
    drag(page, "#overlay", (0.4, 0.45), (0.45, 0.45))
    assert [x for x, _ in lasso(page)] == pytest.approx([x + 0.05 for x, _ in points], abs=0.01)


def test_a_lasso_is_bent_by_keys_alone(page: Any) -> None:
    page.evaluate(
        "() => studio.store.changeTrack('track1', { mask: { invert: false, keyframes: [{ frame: 0, shapes: ["
        "{ kind: 'lasso', cut: false, size: 0, points: [[0.2, 0.2], [0.6, 0.2], [0.6, 0.6]] }] }] } })"
    )
    page.focus("#stage")
    for key in (".", "Control+.", "Control+.", "ArrowRight", "Shift+ArrowDown"):
        page.keyboard.press(key)
    assert lasso(page) == [[0.2, 0.2], pytest.approx([0.605, 0.25]), [0.6, 0.6]]
    assert page.inner_text("#live") == "Point 2 of the lasso: 0.605, 0.250"
    page.keyboard.press("a")
    assert len(lasso(page)) == 4 and lasso(page)[2] == pytest.approx([0.6025, 0.425], abs=1e-4)
    page.keyboard.press("Delete")
    assert len(lasso(page)) == 3
    page.keyboard.press("Delete")  # three are the fewest
    assert len(lasso(page)) == 3
    page.keyboard.press("Control+,")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowLeft")  # of all of it, now that no point is chosen
    assert lasso(page)[0] == pytest.approx([0.195, 0.2])


def test_a_lasso_a_stroke_and_the_eraser_are_drawn_by_keys_alone(page: Any) -> None:
    page.keyboard.press("q")
    page.focus("#stage")
    page.keyboard.press("n")  # four points, the last of them chosen
    page.keyboard.press("Shift+ArrowDown")
    assert lasso(page) == [[0.35, 0.35], [0.65, 0.35], [0.65, 0.65], pytest.approx([0.35, 0.7])]
    page.keyboard.press("p")
    page.keyboard.press("n")
    for key in ("a", "Shift+ArrowDown", "a", "ArrowUp"):
        page.keyboard.press(key)
    page.keyboard.press("e")
    page.keyboard.press("n")
    shapes = track(page)["mask"]["keyframes"][0]["shapes"]
    assert [(shape["kind"], shape["cut"]) for shape in shapes] == [("lasso", False), ("brush", False), ("brush", True)]
    assert shapes[1]["points"] == [[0.5, 0.5], pytest.approx([0.6, 0.55]), pytest.approx([0.7, 0.545])]
    assert shapes[1]["size"] == pytest.approx(0.1)
    assert page.inner_text("#live") == "Point 1 of the brush: 0.500, 0.500"
    page.keyboard.press("Escape")  # the point, then the shape is left; no job is cancelled
    page.keyboard.press("Escape")
    page.keyboard.press("Delete")
    assert len(track(page)["mask"]["keyframes"][0]["shapes"]) == 3


def test_lassos_and_strokes_are_numbers_too_and_any_shape_can_be_cut_out(page: Any) -> None:
    page.keyboard.press("q")
    page.focus("#stage")
    page.keyboard.press("n")
    page.keyboard.press("p")
    page.keyboard.press("n")
    page.click("summary:has-text('Mask as numbers')")
    field = page.get_by_label("Points of lasso 1")
    assert field.input_value() == "0.35 0.35, 0.65 0.35, 0.65 0.65, 0.35 0.65"
    field.fill("0.1 0.2, 0.9 0.2, 0.5 0.8")
    field.press("Tab")
    assert lasso(page) == [[0.1, 0.2], [0.9, 0.2], [0.5, 0.8]]
    field.fill("0.1 0.2, 0.9 1.2, 0.5 0.8")
    field.press("Tab")
    assert "The points of lasso 1 are" in page.inner_text("#notice") and lasso(page)[1] == [0.9, 0.2]
    page.get_by_label("Size of brush 2").fill("0.25")
    page.get_by_label("Size of brush 2").press("Tab")
    page.get_by_label("Cut out lasso 1").check()
    shapes = track(page)["mask"]["keyframes"][0]["shapes"]
    assert (shapes[0]["cut"], shapes[1]["cut"], shapes[1]["size"]) == (True, False, 0.25)


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


LINEAR = """() => studio.state.document.tracks[0].mask.keyframes.map((one) => [one.frame, one.linear ?? false])"""


def test_a_mask_moves_in_lines_between_keyframes_and_what_is_changed_on_its_way_becomes_one(page: Any) -> None:
    drag(page, "#overlay", (0.1, 0.1), (0.3, 0.3))
    page.evaluate("() => studio.transport.seekFrame(24)")  # 2 s, frame 8 of the model
    page.keyboard.press("Shift+K")
    page.keyboard.press("v")
    drag(page, "#overlay", (0.2, 0.2), (0.6, 0.6))
    page.evaluate("() => studio.transport.seekFrame(0)")
    page.keyboard.press("Shift+L")
    assert page.evaluate(LINEAR) == [[0, True], [8, False]]
    assert page.get_by_role("button", name="Linear").get_attribute("aria-pressed") == "true"
    assert page.locator("#keyframes .way").count() == 1 and page.locator(".keyframe.linear").count() == 1
    page.evaluate("() => studio.transport.seekFrame(12)")  # 1 s, half of the way
    page.click("summary:has-text('Mask as numbers')")
    shown = [float(page.get_by_label(f"{side} of box 1").input_value()) for side in ("left", "top")]
    assert shown == pytest.approx([0.3, 0.3], abs=0.02)
    # What is lit there is what the server draws there.
    lit = page.evaluate("""async () => {
      const { shapesAt } = await import('/page/masks.js');
      const mask = studio.state.document.tracks[0].mask;
      const answer = await studio.ask('POST', '/api/mask', { body: { mask, frame: 4 } });
      const bitmap = await createImageBitmap(await answer.blob());
      const canvas = document.createElement('canvas');
      [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
      canvas.getContext('2d').drawImage(bitmap, 0, 0);
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let [left, right] = [1, 0];
      for (let place = 0; place < data.length; place += 4) {
        const x = (place / 4) % canvas.width / canvas.width;
        if (data[place]) [left, right] = [Math.min(left, x), Math.max(right, x)];
      }
      return [left, right, shapesAt(mask, 4)[0].points];
    }""")
    (x0, _), (x1, _) = lit[2]
    assert lit[:2] == pytest.approx([x0, x1], abs=0.02)
    drag(page, "#overlay", (0.4, 0.4), (0.4, 0.7))
    assert page.evaluate(LINEAR) == [[0, True], [4, True], [8, False]]
    page.locator(".keyframe").first.focus()
    page.keyboard.press("l")
    assert page.evaluate(LINEAR)[0] == [0, False]
    for _ in range(3):
        page.keyboard.press("Control+z")
    assert page.evaluate(LINEAR) == [[0, False], [8, False]]


def test_a_mask_follows_what_is_under_it_in_keyframes_that_can_be_edited(page: Any, home: Path) -> None:
    """The clip's lower half has an orange bar of 8 pixels that goes to the right by 4 of 160 a frame."""
    drag(page, "#overlay", (0.0, 0.55), (0.06, 0.95))
    before = track(page)["mask"]
    page.keyboard.press("f")
    wait(lambda: len(track(page)["mask"]["keyframes"]) > 1, 60)
    mask = track(page)["mask"]
    wait(lambda: page.inner_text("#live") == "The mask follows", 10)
    lefts = page.evaluate("""async () => {
      const { shapesAt } = await import('/page/masks.js');
      const { mask } = studio.state.document.tracks[0];
      return [4, 8, 11].map((frame) => Math.min(...shapesAt(mask, frame)[0].points.map((point) => point[0])));
    }""")
    assert lefts == pytest.approx([12 * 4 / 160, 24 * 4 / 160, 33 * 4 / 160], abs=0.05)
    assert mask["keyframes"][0]["shapes"] == before["keyframes"][0]["shapes"] and mask["keyframes"][-1]["frame"] == 11
    page.keyboard.press("Control+z")
    assert track(page)["mask"] == before
    page.keyboard.press("Shift+Control+z")
    saved(page)
    kept = json.loads((home / "clip.drawaudio" / "project.json").read_bytes())
    assert kept["tracks"][0]["mask"] == mask


def test_as_the_model_shows_the_frame_of_its_quarter_second_with_black_around_the_mask(page: Any) -> None:
    drag(page, "#overlay", (0.0, 0.0), (1.0, 0.5))
    page.evaluate("() => studio.transport.seekFrame(17)")  # 1.42 s: the model sees frame 15
    page.click("#as-model")
    number = """() => {
      const canvas = document.getElementById('overlay');
      const at = (x, y) => [Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1];
      const read = (x, y) => canvas.getContext('2d').getImageData(...at(x, y)).data;
      let shown = 0;
      for (let bit = 0; bit < 8; bit += 1) shown |= (read((15 + 18 * bit) / 160, 0.2)[0] > 128) << bit;
      return [shown, ...read(0.3, 0.8)];
    }"""
    wait(lambda: page.evaluate(number) == [15, 0, 0, 0, 255], 10)
    page.click("#invert")
    wait(lambda: page.evaluate(number)[:4] == [0, *page.evaluate(number)[1:4]] and page.evaluate(number)[1] > 20, 10)
