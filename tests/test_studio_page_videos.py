"""Videos of every kind on the studio's page: those that no browser plays, rates that vary or drop labels, files that moved."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.evaluation.listening_page import write_video
from tests.studio_page import BROWSER_TESTS, FPS, NUMBER_SHOWN, SETTLED, open_page, place_in, saved, studio, track, wait
from tests.test_studio_media_view import write_frames

pytest_plugins = ["tests.studio_browser"]
pytestmark = BROWSER_TESTS


@contextmanager
def shown(context: Any, folder: Path, *arguments: str | Path) -> Iterator[Any]:
    """The page of a studio of its own."""
    with studio(folder, *arguments, "--model", "none") as started:
        page = open_page(context, started)
        yield page
        page.close()
        assert page.said == []


def frames_shown(page: Any, numbers: list[int]) -> list[int]:
    """What the picture shows when these frames are asked for."""
    found = []
    for number in numbers:
        page.evaluate(f"() => studio.transport.seekFrame({number})")
        wait(lambda: page.evaluate(SETTLED), 10)
        found.append(page.evaluate(NUMBER_SHOWN))
    return found


def test_a_video_that_no_browser_plays_is_prepared_with_its_progress_and_shows_every_frame(
    context: Any, tmp_path: Path
) -> None:
    write_frames(tmp_path / "old.avi", [number / 25 for number in range(200)], "mpeg4", (640, 480))
    with studio(tmp_path, "old.avi", "--model", "none") as started:
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(started.address)
        told = set()

        def ready() -> bool:
            told.add(page.inner_text("#making") if page.is_visible("#making") else "")
            # Whoever cannot wait meets no error.
            for key in ("End", "ArrowLeft", "m", "i", "o", "x", " ", "f", "K", ",", "+"):
                page.keyboard.press(key)
            return page.evaluate("() => window.studio?.state.media.state === 'ready'")

        wait(ready, 60)
        shares = [int(words.split("… ")[1].removesuffix(" %")) for words in told if words.startswith("Preparing")]
        assert shares and all(0 <= share <= 100 for share in shares)
        wait(lambda: page.evaluate(SETTLED), 20)
        assert not page.is_visible("#making") and errors == []
        page.evaluate("() => studio.transport.stop()")
        numbers = [0, 1, 57, 120, 199]
        assert frames_shown(page, numbers) == numbers
        assert page.evaluate("() => document.createElement('video').canPlayType('video/x-msvideo')") == ""
        page.close()


def test_frames_of_a_rate_that_varies_are_found_by_number_and_by_time(context: Any, tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 0.2, 0.5, 0.54, 1.0, 1.3, 1.34, 1.9]
    write_frames(tmp_path / "phone.mkv", times, "libx264", bf="2")
    with shown(context, tmp_path, "phone.mkv") as page:
        assert frames_shown(page, [*range(10)]) == [*range(10)]
        for typed, frame in (("0.5", 4), ("0:01.29", 6), ("f8", 8), ("1.89", 8)):
            page.fill("#timecode", typed)
            page.press("#timecode", "Enter")
            wait(lambda: page.evaluate(SETTLED), 10)
            assert (page.inner_text("#frame"), page.evaluate(NUMBER_SHOWN)) == (f"f{frame}", frame)
        page.evaluate("() => studio.transport.seekFrame(4)")
        assert page.input_value("#timecode") == "00:00:00.500"
        page.keyboard.press("ArrowRight")
        assert page.input_value("#timecode") == "00:00:00.540"


def test_labels_are_dropped_on_the_page_of_a_video_of_29_97(context: Any, tmp_path: Path) -> None:
    """61 s: the labels of the frames 1800 and 1801 are left out, and the picture is that of the frame."""
    rate = Fraction(30000, 1001)
    with av.open(str(tmp_path / "ntsc.mp4"), "w") as sink:
        stream = sink.add_stream("libx264", rate=rate, width=160, height=120, pix_fmt="yuv420p")
        stream.options = {"preset": "ultrafast"}
        for number in range(1830):
            picture = np.full((120, 160, 3), 60, np.uint8)
            for bit in range(8):
                picture[8:40, 8 + bit * 18 : 22 + bit * 18] = 255 if number >> bit & 1 else 0
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        sink.mux(stream.encode(None))
    with shown(context, tmp_path, "ntsc.mp4") as page:
        labels = []
        for number in (1799, 1800, 1829):
            assert frames_shown(page, [number]) == [number % 256]
            labels.append(page.input_value("#timecode"))
        assert labels == ["00:00:59;29", "00:01:00;02", "00:01:01;01"]
        page.fill("#timecode", "00:01:00;10")
        page.press("#timecode", "Enter")
        wait(lambda: page.evaluate(SETTLED), 10)
        assert page.inner_text("#frame") == "f1808" and page.evaluate(NUMBER_SHOWN) == 1808 % 256


INK = """([selector, parts]) => {
  const canvas = document.querySelector(selector);
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const sums = new Array(parts).fill(0);
  for (let place = 3; place < data.length; place += 4) {
    const x = ((place - 3) / 4) % canvas.width;
    sums[Math.floor((x / canvas.width) * parts)] += data[place] / 255;
  }
  return sums.map((sum) => sum / (canvas.width * canvas.height / parts));
}"""


def test_the_film_strip_and_the_original_sound_are_drawn_where_they_are(context: Any, tmp_path: Path) -> None:
    """Two seconds dark and silent, two seconds light and loud."""
    frames = np.zeros((4 * FPS, 120, 160, 3), np.uint8)
    frames[2 * FPS :] = 240
    sound = np.sin(2 * np.pi * 500 * np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32) * 0.5
    sound[: 2 * SAMPLE_RATE] = 0
    write_video(tmp_path / "half.mp4", frames, FPS, sound)
    with shown(context, tmp_path, "half.mp4") as page:
        lights = """() => [0.2, 0.8].map((share) => {
          const canvas = document.querySelector('.film .lane');
          return canvas.getContext('2d').getImageData(share * canvas.width, canvas.height / 2, 1, 1).data[0];
        })"""
        wait(lambda: page.evaluate(lights)[1] > 200, 10)
        assert page.evaluate(lights)[0] < 40
        # The waveform, and under it the log-mel, have ink where it sounds.
        wait(lambda: page.evaluate(INK, [".original .lane", 4])[3] > 0.3, 10)
        first, second, third, last = page.evaluate(INK, [".original .lane", 4])
        assert max(first, second) < 0.1 and min(third, last) > 0.3
        assert page.get_by_label("Mute the original sound").get_attribute("aria-pressed") == "true"


def test_a_project_is_there_tomorrow_and_elsewhere_and_a_video_that_changed_or_went_is_said(
    context: Any, home: Path, tmp_path: Path
) -> None:
    shutil.copy(home / "clip.mp4", tmp_path / "clip.mp4")
    with shown(context, tmp_path, "clip.mp4") as page:
        page.fill("textarea", "a bell rings")
        page.mouse.click(*place_in(page, ".track .lane", 0.5, 0.5))
        saved(page)
        before = track(page)
    other = tmp_path / "other machine"
    other.mkdir()
    for name in ("clip.mp4", "clip.drawaudio"):
        shutil.move(tmp_path / name, other / name)
    with shown(context, tmp_path, other / "clip.drawaudio") as page:
        assert track(page) == before and page.inner_text("#name") == "clip"
        assert page.is_hidden("#notice")
    with (other / "clip.mp4").open("ab") as file:
        file.write(b"\0")
    with shown(context, tmp_path, other / "clip.drawaudio") as page:
        wait(lambda: page.is_visible("#notice"), 20)
        assert "clip.mp4 is not the file that this project was begun with" in page.inner_text("#notice")
        assert track(page) == before
    shutil.move(other / "clip.mp4", tmp_path / "renamed.mp4")
    with studio(tmp_path, other / "clip.drawaudio", "--model", "none") as started:
        page = context.new_page()
        page.goto(started.address)
        wait(lambda: page.is_visible("#notice"), 20)
        assert "open the project with --video PATH" in page.inner_text("#notice")
        assert track(page) == before and page.get_by_role("button", name="Generate").is_disabled()
        page.close()
    with shown(context, tmp_path, other / "clip.drawaudio", "--video", "renamed.mp4") as page:
        assert track(page) == before and page.is_hidden("#notice")


def test_a_file_that_is_no_video_is_refused_and_another_one_can_be_dropped(
    context: Any, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "letter.mp4").write_text("Dear Sir or Madam")
    started_in = tmp_path / "here"
    started_in.mkdir()
    with studio(started_in, "--model", "none") as started:
        page = context.new_page()
        page.goto(started.address)
        page.locator("#drop").wait_for()
        page.set_input_files("#file", tmp_path / "letter.mp4")
        wait(lambda: page.is_visible("#notice"), 20)
        assert "letter.mp4" in page.inner_text("#notice") and page.is_visible("#drop")
        assert [*started_in.iterdir()] == []
        with page.expect_navigation(timeout=60_000):
            page.set_input_files("#file", home / "clip.mp4")
        wait(lambda: page.evaluate("() => window.studio?.state.media.state === 'ready'"), 60)
        assert page.is_hidden("#notice")
        page.close()


DROP = """([name, selector]) => {
  const data = new DataTransfer();
  data.items.add(new File(['words'], name));
  document.querySelector(selector).dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def test_what_is_dropped_beside_a_lane_is_told_where_it_belongs(page: Any) -> None:
    page.evaluate(DROP, ["another.mp4", "#stage"])
    wait(lambda: page.is_visible("#notice"), 5)
    assert "another studio" in page.inner_text("#notice")
    page.get_by_label("Close this message").click()
    page.evaluate(DROP, ["words.wav", ".track .lane"])
    wait(lambda: "words.wav" in page.inner_text("#notice"), 30)
    assert track(page)["curve"] is None


@pytest.mark.parametrize("name", ["letter.txt", "sound.wav"])
def test_a_wrong_file_on_a_lane_is_a_sentence_that_names_it(page: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("Dear Sir or Madam")
    page.click("summary:has-text('Change the curve')")
    page.set_input_files("#inspector input[type=file]", tmp_path / name)
    wait(lambda: page.is_visible("#notice") and name in page.inner_text("#notice"), 30)
