"""The studio's page in a real browser: time, history, saving, and what it asks for."""

import json
import tarfile
from pathlib import Path
from typing import Any

from tests.studio_page import (
    BROWSER_TESTS,
    FPS,
    LANE,
    NUMBER_SHOWN,
    SECONDS,
    SETTLED,
    Running,
    drag,
    open_page,
    place_in,
    saved,
    studio,
    track,
    wait,
)

pytest_plugins = ["tests.studio_browser"]
pytestmark = BROWSER_TESTS


FRAMES = SECONDS * FPS


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


def test_everything_is_undone_and_done_again(page: Any) -> None:
    first = page.evaluate("() => studio.state.document")
    page.fill("textarea", "a bell rings")
    drag(page, "#overlay", (0.2, 0.2), (0.5, 0.5))
    page.mouse.click(*place_in(page, LANE, 0.5, 0.5))
    page.keyboard.press("p")
    drag(page, "#overlay", (0.7, 0.7), (0.8, 0.8))
    page.keyboard.press("q")
    drag(page, "#overlay", (0.1, 0.6), (0.3, 0.6), (0.2, 0.9), steps=6)
    page.click("#invert")
    page.keyboard.press("m")
    drag(page, "#ruler", (0.3, 0.7), (0.6, 0.7))
    page.get_by_label("Pan, left to right").focus()
    page.keyboard.press("ArrowLeft")
    page.get_by_label("Gain in decibels").focus()
    page.keyboard.press("ArrowLeft")
    page.click("#add-track")
    page.get_by_role("button", name="Mute", exact=True).nth(1).click()
    last = page.evaluate("() => studio.state.document")
    for _ in range(12):
        page.click("#undo")
    assert page.evaluate("() => studio.state.document") == first and page.is_disabled("#undo")
    for _ in range(12):
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


def test_zoom_reaches_from_the_whole_video_to_single_frames(page: Any) -> None:
    page.evaluate("() => document.activeElement.blur()")
    wait(lambda: page.evaluate("() => document.getElementById('thumb').style.width") == "100%", 5)  # it is drawn
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


def test_a_marker_is_named_by_key_and_by_double_click_and_its_name_is_kept(page: Any, home: Path) -> None:
    page.evaluate("() => studio.transport.seekFrame(9)")
    page.keyboard.press("Shift+M")  # sets it, too
    page.keyboard.type("door slams")
    page.keyboard.press("Enter")
    markers = "() => studio.state.document.markers"
    assert page.evaluate(markers) == [{"frame": 9, "name": "door slams"}]
    assert page.inner_text("#live") == "Marker door slams at 00:00:00:09"
    page.evaluate("() => studio.transport.seekFrame(30)")
    ruler = page.locator("#ruler").bounding_box()
    place = ruler["x"] + 9 / FRAMES * ruler["width"] + 2, ruler["y"] + 4
    page.mouse.click(*place)
    assert page.evaluate("() => studio.transport.frame()") == 9
    page.mouse.dblclick(*place)
    assert page.input_value("#marker-name") == "door slams"
    page.keyboard.type("door")
    page.keyboard.press("Escape")
    assert page.evaluate(markers)[0]["name"] == "door slams" and page.is_hidden("#marker-name")
    page.mouse.dblclick(*place)
    page.keyboard.type("door")
    page.keyboard.press("Enter")
    assert page.evaluate(markers) == [{"frame": 9, "name": "door"}]
    page.keyboard.press("Control+z")
    assert page.evaluate(markers)[0]["name"] == "door slams"
    saved(page)
    kept = json.loads((home / "clip.drawaudio" / "project.json").read_bytes())
    assert kept["markers"] == [{"frame": 9, "name": "door slams"}]


def test_a_change_is_saved_a_second_after_it(page: Any) -> None:
    page.evaluate(
        "() => { window.said = []; studio.on('saved', (words) => said.push([performance.now(), words])); "
        "studio.store.changeTrack('track1', { gain_db: -3 }); }"
    )
    wait(lambda: page.evaluate("() => said.at(-1)[1]") == "Saved", 10)
    said = {words: at for at, words in page.evaluate("() => said")}
    assert 950 < said["Saving…"] - said["Changed"] < 1400


def test_what_was_changed_a_moment_before_the_tab_is_closed_is_saved(context: Any, page: Any, running: Running) -> None:
    second = open_page(context, running)
    second.fill("textarea", "the last words")
    second.close(run_before_unload=True)

    def kept() -> str:
        return running.json("GET", "/api/project")["document"]["tracks"][0]["text"]

    wait(lambda: kept() == "the last words", 5)
    page.reload()  # this tab has an older document


def test_a_tab_with_more_than_can_be_sent_at_its_end_asks_to_wait(context: Any, page: Any, running: Running) -> None:
    second = open_page(context, running)
    asked: list[str] = []
    second.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    second.click("#stage")
    second.evaluate("""() => {
      const points = Array.from({ length: 6000 }, (_, n) => [(n % 97) / 97, (n % 89) / 89]);
      const shape = { kind: 'brush', cut: false, size: 0.1, points };
      studio.store.changeTrack('track1', { mask: { invert: false, keyframes: [{ frame: 0, shapes: [shape] }] } });
    }""")
    second.close(run_before_unload=True)
    # Playwright hands over what happened while it is asked something.
    wait(lambda: page.evaluate("() => true") and asked == ["beforeunload"], 10)

    def kept() -> int:
        mask = running.json("GET", "/api/project")["document"]["tracks"][0]["mask"]
        return len(mask["keyframes"][0]["shapes"][-1]["points"]) if mask else 0

    wait(lambda: kept() == 6000, 10)
    page.reload()  # this tab has an older document


def test_the_page_asks_for_nothing_elsewhere_and_weighs_little(page: Any, running: Running) -> None:
    import gzip

    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    wait(lambda: page.evaluate("() => window.studio?.state.media.state === 'ready'"), 20)
    assert {url.split("/")[2] for url in asked} == {f"127.0.0.1:{running.port}"}
    own = [url for url in asked if "/page/" in url or url.endswith(f":{running.port}/")]
    assert sum(len(gzip.compress(running.ask("GET", "/" + url.split("/", 3)[3])[2])) for url in own) < 60_000


def test_without_a_video_the_page_opens_the_demos_clip_where_it_was_made(context: Any, home: Path) -> None:
    world = home / "world"
    (world / "raw_clips").mkdir(parents=True)
    with tarfile.open(world / "raw_clips" / "test-000000.tar", "w") as tar:
        tar.add(home / "clip.mp4", "demo900002_000000.mp4")
    with studio(home, "--model", world / "model") as started:
        page = context.new_page()
        page.goto(started.address)
        with page.expect_navigation(timeout=60_000):  # the page comes again, with the project
            page.get_by_role("button", name="Open the demo’s clip").click()
        wait(lambda: page.evaluate("() => window.studio?.state.media.state === 'ready'"), 60)
        assert page.inner_text("#name") == "clip" and (world / "clip.drawaudio" / "project.json").is_file()
        assert (world / "clip.mp4").read_bytes() == (home / "clip.mp4").read_bytes()
        page.close()


def test_a_file_that_is_chosen_becomes_a_project_where_the_studio_was_started(context: Any, home: Path) -> None:
    folder = home / "elsewhere"
    folder.mkdir()
    with studio(folder, "--model", "none") as started:
        page = context.new_page()
        page.goto(started.address)
        page.locator("#drop").wait_for()
        assert page.is_hidden("#open-demo")  # it was not made here
        with page.expect_navigation(timeout=60_000):
            page.set_input_files("#file", home / "clip.mp4")
        wait(lambda: page.evaluate("() => window.studio?.state.media.state === 'ready'"), 60)
        assert (folder / "clip.drawaudio" / "media" / "clip.mp4").read_bytes() == (home / "clip.mp4").read_bytes()
        page.close()
