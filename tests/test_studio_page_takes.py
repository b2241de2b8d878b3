"""Takes on the studio's page: made, heard, compared, and made anew in a section."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from drawaudio_model.defaults import DRAFT_STEPS
from drawaudio_model.muxing.wave_file import resampled
from tests.studio_page import BROWSER_TESTS, FPS, Running, drag, place_in, saved, track, wait

pytest_plugins = ["tests.studio_browser"]
pytestmark = BROWSER_TESTS


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
    assert sorted(map(abs, drifts))[int(0.95 * len(drifts))] < 1 / FPS
    saved(page)
    # What is played is what is exported, at the rate of the export.
    page.click("#export-open")
    page.click("#export-go")
    page.locator("#export-done li").first.wait_for(timeout=60_000)
    folder = Path(page.inner_text("#export-done .path"))
    page.click("#export-close")
    played = np.array(page.evaluate("() => [...studio.transport.samplesOfMix()]"))
    exported, rate = soundfile.read(folder / "mix.wav", dtype="float32")
    assert rate == 48_000
    # The page's samples have 16 bits.
    np.testing.assert_allclose(exported, resampled(np.float32(played), rate), atol=1e-4)
    assert np.abs(exported).max() > 1e-2


def test_a_draft_is_asked_for_by_its_button_by_key_and_with_shift(page: Any) -> None:
    page.evaluate("() => studio.store.change((document) => ({ ...document, steps: 25 }))")
    page.fill("textarea", "a bell rings")
    page.get_by_role("button", name="Draft").click()
    wait(lambda: page.evaluate("() => studio.state.takes.size") == 1, 120)
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("Shift+D")
    wait(lambda: page.evaluate("() => studio.state.takes.size") == 2, 60)
    page.get_by_role("button", name="Generate").click(modifiers=["Shift"])
    wait(lambda: page.evaluate("() => studio.state.takes.size") == 3, 60)
    assert page.evaluate("() => [...studio.state.takes.values()].map((take) => take.steps)") == [DRAFT_STEPS] * 3
    assert page.locator(".take").first.get_by_text(f"{DRAFT_STEPS} steps").is_visible()
    page.evaluate(f"() => studio.store.change((document) => ({{ ...document, steps: {DRAFT_STEPS} }}))")
    assert page.get_by_text(f"{DRAFT_STEPS} steps").count() == 0


def test_a_job_is_cancelled_on_the_page(page: Any) -> None:
    page.get_by_label("Steps").first.fill("1000")
    page.fill("textarea", "a bell rings")
    page.get_by_role("button", name=re.compile("Generate")).click()
    wait(lambda: re.search(r"sampling \d+/1000", page.inner_text("#job-words")), 60)
    page.click("#job-cancel")
    wait(lambda: page.is_hidden("#job"), 10)
    assert page.inner_text("#live") == "Cancelled"


def made_take(page: Any, *, seed: int, steps: int = 2, count: int = 1) -> str:
    """The id of the take that is used after it was made."""
    before = page.evaluate("() => studio.state.takes.size")
    page.evaluate(
        "([seed, steps, count]) => { studio.store.changeTrack('track1', { text: 'a bell rings', seed, count });"
        " studio.store.change((document) => ({ ...document, steps })); }",
        [seed, steps, count],
    )
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("g")
    wait(lambda: page.evaluate("() => studio.state.takes.size") == before + count, 120)
    return wait(lambda: track(page)["take"], 5)


def test_a_range_on_the_ruler_is_made_anew_alone(page: Any, home: Path) -> None:
    first = made_take(page, seed=2_000_000_005)
    drag(page, "#ruler", (1 / 3, 0.5), (2 / 3, 0.5))
    assert page.evaluate("() => studio.state.document.section") == [1, 2]
    assert page.input_value("[aria-label='Start of the section in seconds']") == "1.00"
    page.fill("textarea", "rain falls")
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("Shift+G")
    wait(lambda: track(page)["take"] != first, 120)
    second = track(page)["take"]
    takes = home / "clip.drawaudio" / "takes"
    before, after = (soundfile.read(takes / f"{name}.wav", dtype="float32")[0] for name in (first, second))
    assert (before[:16000] == after[:16000]).all() and (before[32000:] == after[32000:]).all()
    assert np.abs(before[16000:32000] - after[16000:32000]).max() > 1e-3
    assert "1.0–2.0 s" in page.locator(".take.chosen").inner_text()
    assert (
        page.evaluate("() => { const { scrollWidth, clientWidth } = inspector; return scrollWidth - clientWidth; }")
        == 0
    )
    assert page.inner_text("#live") == "The section is there"
    page.keyboard.press("Control+z")  # the take before is used again
    assert track(page)["take"] == first
    saved(page)
    assert json.loads((home / "clip.drawaudio" / "project.json").read_bytes())["section"] == [1, 2]


def test_a_section_is_set_moved_and_taken_away_by_keys_and_by_hand(page: Any) -> None:
    section = "() => studio.state.document.section"
    page.evaluate("() => studio.transport.seekFrame(6)")
    page.keyboard.press("i")
    page.evaluate("() => studio.transport.seekFrame(17)")
    page.keyboard.press("o")
    assert page.evaluate(section) == [0.5, 1.5]
    assert page.inner_text("#live") == "Section from 0.50 to 1.50 seconds"
    drag(page, "#ruler", (0.5, 0.5), (0.75, 0.5))  # its end
    assert page.evaluate(section) == [0.5, 2.25]
    field = page.get_by_label("Start of the section in seconds")
    field.fill("0,75")
    field.press("Enter")
    assert page.evaluate(section) == [0.75, 2.25]
    page.evaluate("() => document.activeElement.blur()")
    page.mouse.click(*place_in(page, "#ruler", 0.1, 0.5))  # a click goes there and draws nothing
    assert page.evaluate(section) == [0.75, 2.25] and page.evaluate("() => studio.transport.frame()") == 3
    page.keyboard.press("x")
    assert page.evaluate(section) is None
    page.keyboard.press("Control+z")
    assert page.evaluate(section) == [0.75, 2.25]


def test_a_section_without_a_range_or_a_take_is_a_sentence(page: Any) -> None:
    page.keyboard.press("Shift+G")
    assert "There is no section yet" in page.inner_text("#notice")
    page.keyboard.press("i")
    page.keyboard.press("Shift+G")
    wait(lambda: "has no take yet" in page.inner_text("#notice"), 10)


def test_a_section_shows_its_progress_on_the_lane_and_is_cancelled(page: Any) -> None:
    first = made_take(page, seed=6)
    page.evaluate("() => studio.store.change((document) => ({ ...document, steps: 1000, section: [1, 2] }))")
    page.keyboard.press("Shift+G")
    wait(lambda: re.search(r"sampling the section \d+/1000", page.inner_text("#job-words")), 60)
    colours = """() => {
      const lane = document.querySelector('.track .lane');
      const at = (x, y) => [Math.floor(x * lane.width), Math.floor(y * lane.height), 1, 1];
      const read = (x, y) => [...lane.getContext('2d').getImageData(...at(x, y)).data];
      return [read(1 / 6, 0.97), read(1 / 2, 0.6), read(1 / 3 + 0.01, 0.97), read(1 / 2, 0.97)];
    }"""
    wait(lambda: int(re.search(r"(\d+)/1000", page.inner_text("#job-words"))[1]) > 60, 60)
    outside, inside, done, ahead = page.evaluate(colours)
    assert inside != outside and done[3] > ahead[3] + 30
    page.keyboard.press("Escape")
    wait(lambda: page.is_hidden("#job"), 10)
    assert page.inner_text("#live") == "Cancelled" and track(page)["take"] == first


def test_loudness_is_that_of_the_standard(page: Any) -> None:
    """ITU-R BS.1770-4: a sine of 997 Hz at full scale has -3.01 LUFS; EBU Tech 3341: gated parts do not count."""
    program = """async (encoded) => {
      const { loudness } = await import('/page/loudness.js');
      return loudness(Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0)).buffer);
    }"""

    def level(levels: list[float], rate: int, hertz: float = 997) -> float | None:
        time = np.arange(len(levels) * rate) / rate
        buffer = io.BytesIO()
        sound = np.repeat(levels, rate) * np.sin(2 * np.pi * hertz * time)
        soundfile.write(buffer, sound, rate, format="WAV", subtype="FLOAT")
        return page.evaluate(program, base64.b64encode(buffer.getvalue()).decode())

    assert level([1, 1, 1], 48000) == pytest.approx(-3.01, abs=0.02)
    assert level([0.1, 0.1, 0.1], 16000) == pytest.approx(-23.01, abs=0.05)
    assert level([0.1] * 6 + [0.001] * 6, 16000) == pytest.approx(-23.0, abs=0.3)
    # The rate of the file makes no difference, up to high tones.
    assert level([0.1] * 3, 16000, 6000) == pytest.approx(level([0.1] * 3, 48000, 6000), abs=0.1)
    assert level([0, 0], 16000) in (None, float("-inf"))


def test_two_takes_are_compared_at_the_same_moment_and_equal_loudness(page: Any) -> None:
    made_take(page, seed=20, count=2)
    page.locator(".take:not(.chosen)").first.get_by_role("button", name=re.compile("Compare take")).click()
    page.get_by_role("group", name="Comparison at equal loudness").wait_for()
    levels = page.evaluate("""async () => {
      const { compared } = await import('/page/compare.js');
      const { loudness } = await import('/page/loudness.js');
      const levels = [];
      for (const [place, id] of compared().takes.entries()) {
        const answer = await studio.ask('GET', `/api/takes/${id}/wav`);
        levels.push((await loudness(await answer.arrayBuffer())) + compared().cuts[place]);
      }
      return [...levels, Math.max(...compared().cuts)];
    }""")
    assert levels[0] == pytest.approx(levels[1], abs=0.01) and levels[2] == 0
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press(" ")
    wait(lambda: page.evaluate("() => studio.transport.frame()") > 2, 10)
    before = page.evaluate("() => studio.transport.seconds()")
    page.keyboard.press("c")
    assert page.locator(".comparing button[aria-pressed=true]").inner_text().startswith("A")
    assert page.evaluate("() => studio.transport.playing()")
    assert 0 <= page.evaluate("() => studio.transport.seconds()") - before < 1
    page.keyboard.press("k")
    page.keyboard.press("Shift+C")
    assert page.locator(".comparing").is_hidden()


def test_takes_are_starred_noted_and_ranked(page: Any, home: Path) -> None:
    page.evaluate("() => studio.store.changeTrack('track1', { curve: [[0, -30], [2, -10]] })")
    made_take(page, seed=30, count=3)
    last = page.locator(".take").nth(2)
    last.get_by_role("button", name="Star").click()
    page.locator(".take").nth(2).get_by_label("Note on take 3").fill("the long one")
    page.keyboard.press("Tab")
    starred = track(page)["starred"]
    page.get_by_role("button", name="Best first").click()
    facts = page.locator(".take .row > .quiet:not(.tag)").all_inner_texts()
    ranks = [sum(map(float, re.findall(r"-?\d\.\d+", words))) for words in facts if words.startswith("curve")]
    assert len(ranks) == 3 and ranks[1] >= ranks[2]  # the starred one is before them
    first = page.locator(".take").first
    assert first.get_by_role("button", name="Star").get_attribute("aria-pressed") == "true"
    assert first.locator(".note").input_value() == "the long one"
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("1")
    assert track(page)["take"] == starred[0]
    page.get_by_role("button", name="Best first").click()
    saved(page)
    kept = json.loads((home / "clip.drawaudio" / "project.json").read_bytes())["tracks"][0]
    assert kept["starred"] == starred and [*kept["notes"].values()] == ["the long one"]


HEARD = """async () => {
  const { media, document: project } = studio.state;
  const play = async (connect) => {
    const rate = studio.transport.rateOfSpeakers();
    const context = new OfflineAudioContext(2, Math.ceil(media.seconds * rate), rate);
    await connect(context);
    const played = await context.startRendering();
    return [0, 1].map((channel) => [...played.getChannelData(channel)]);
  };
  // As the page plays: the mix, straight to the loudspeakers.
  const page = await play((context) => {
    const source = new AudioBufferSourceNode(context, { buffer: studio.transport.mixed() });
    source.connect(context.destination);
    source.start();
  });
  // As Web Audio itself would place the tracks.
  const reference = await play(async (context) => {
    for (const track of project.tracks.filter((one) => one.take)) {
      const answer = await studio.ask('GET', `/api/takes/${track.take}/wav`);
      const source = new AudioBufferSourceNode(context, { buffer: studio.transport.bufferOf(await answer.arrayBuffer()) });
      const gain = new GainNode(context, { gain: Math.SQRT2 * 10 ** (track.gain_db / 20) });
      source.connect(gain).connect(new StereoPannerNode(context, { pan: track.pan })).connect(context.destination);
      source.start();
    }
  });
  return [studio.transport.rateOfSpeakers(), page, reference];
}"""


def levels_below_7_khz(channels: Any, rate: int) -> np.ndarray:
    """(2,) decibels of left and right; nearer to 8 kHz every way to another rate has its slope."""
    spectrum = np.abs(np.fft.rfft(np.asarray(channels), axis=1)) / len(channels[0])
    return 10 * np.log10((spectrum[:, np.fft.rfftfreq(len(channels[0]), 1 / rate) < 7000] ** 2).sum(axis=1))


def test_a_track_is_panned_by_keys_and_what_is_heard_is_what_is_exported(page: Any) -> None:
    made_take(page, seed=3)
    slider = page.get_by_label("Pan, left to right")
    slider.focus()
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    assert track(page)["pan"] == -0.6 and slider.get_attribute("aria-valuetext") == "left 60"
    page.keyboard.press("Home")
    assert track(page)["pan"] == -1
    page.keyboard.press("Control+z")
    assert track(page)["pan"] == 0 and slider.get_attribute("aria-valuetext") == "middle"
    page.keyboard.press("Shift+Control+z")
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    assert track(page)["pan"] == -0.6
    # A soft one, so that nothing is limited, beside one in the middle.
    page.evaluate("() => studio.store.changeTrack('track1', { gain_db: -12 })")
    page.evaluate(
        "() => studio.store.change((document) => ({ ...document, tracks: [...document.tracks,"
        " { ...document.tracks[0], id: 'track2', pan: 0, gain_db: -15 }] }))"
    )
    wait(lambda: page.evaluate("() => studio.transport.mixed()?.numberOfChannels") == 2, 10)
    saved(page)
    page.click("#export-open")
    page.click("#export-go")
    page.locator("#export-done li").first.wait_for(timeout=60_000)
    exported, exported_rate = soundfile.read(Path(page.inner_text("#export-done .path")) / "mix.wav")
    page.click("#export-close")
    page.evaluate("() => studio.transport.play()")
    wait(lambda: page.evaluate("() => studio.transport.sounding()"), 10)
    page.evaluate("() => studio.transport.stop()")
    rate, heard, reference = page.evaluate(HEARD)
    written = levels_below_7_khz(exported.T, exported_rate)
    assert written - levels_below_7_khz(heard, rate) == pytest.approx([0, 0], abs=0.1)
    assert written - levels_below_7_khz(reference, rate) == pytest.approx([0, 0], abs=0.1)
    assert written[0] > written[1] + 3
    page.get_by_label("Pan, left to right").first.dblclick()
    wait(lambda: page.evaluate("() => studio.transport.mixed().numberOfChannels") == 1, 10)


def test_mute_and_solo_decide_what_is_heard_and_the_limiter_is_said(page: Any) -> None:
    """What is heard of each choice is the server's mix of it, sample for sample; the limiter holds -1 dB and says so."""
    first = made_take(page, seed=3)
    page.evaluate(
        "() => studio.store.change((document) => ({ ...document, tracks: [document.tracks[0],"
        " { ...document.tracks[0], id: 'track2', gain_db: -7 }] }))"
    )

    def heard(gains: list[float]) -> None:
        """The mix is the take at the sum of these gains."""
        wanted = sum(10 ** (gain / 20) for gain in gains)

        def ratio() -> float | None:
            return page.evaluate(
                """async (take) => {
                  const mixed = studio.transport.mixed();
                  if (!mixed) return null;
                  const answer = await studio.ask('GET', `/api/takes/${take}/wav`);
                  const stem = studio.transport.bufferOf(await answer.arrayBuffer()).getChannelData(0);
                  const dot = (a, b) => a.reduce((sum, value, place) => sum + value * b[place], 0);
                  return dot(mixed.getChannelData(0), stem) / dot(stem, stem);
                }""",
                first,
            )

        wait(lambda: (found := ratio()) is not None and abs(found - wanted) < 1e-3, 10)

    page.evaluate("() => studio.store.changeTrack('track1', { gain_db: -12 })")
    heard([-12, -7])
    page.get_by_role("button", name="Mute", exact=True).nth(1).click()
    heard([-12])
    page.get_by_role("button", name="Solo", exact=True).nth(1).click()  # a solo is heard, mute or not
    heard([-7])
    page.get_by_role("button", name="Solo", exact=True).first.click()
    heard([-12, -7])
    assert page.locator(".track.silent").count() == 0
    page.get_by_role("button", name="Solo", exact=True).nth(1).click()
    assert page.locator(".track.silent").count() == 1
    heard([-12])
    assert page.inner_text("#meter-words") == ""
    page.evaluate("() => studio.store.changeTrack('track1', { gain_db: 40 })")
    wait(lambda: re.fullmatch(r"limited by \d+\.\d dB", page.inner_text("#meter-words")), 10)
    peak = page.evaluate(
        "() => studio.transport.samplesOfMix().reduce((most, one) => Math.max(most, Math.abs(one)), 0)"
    )
    assert peak <= 10 ** (-1 / 20) + 1e-4


def test_stage_step_and_time_left_are_shown_and_playing_and_drawing_go_on(page: Any) -> None:
    made_take(page, seed=5)
    page.evaluate("() => studio.store.change((document) => ({ ...document, steps: 1000 }))")
    page.keyboard.press("g")
    wait(lambda: re.search(r"sampling \d+/1000, about \d+ s left", page.inner_text("#job-words")), 60)
    assert page.is_visible(".track progress") and page.evaluate("() => document.getElementById('job-bar').value") > 0
    page.evaluate("() => { studio.transport.drifts.length = 0; }")
    page.keyboard.press("Home")
    page.keyboard.press(" ")
    for number in range(12):
        page.mouse.click(*place_in(page, ".track .lane", 0.05 + number * 0.07, 0.3 + number % 2 * 0.3))
    wait(lambda: page.evaluate("() => !studio.transport.playing()"), 20)
    assert len(track(page)["curve"]) == 12 and page.is_visible("#job")
    drifts = sorted(map(abs, page.evaluate("() => studio.transport.drifts")))
    # How many pictures a second there are then, and the worst twentieth, is measured by benchmarks/studio.py.
    assert len(drifts) > 10 and drifts[len(drifts) // 2] < 0.5 / FPS
    page.keyboard.press("Escape")  # lets go of the point that was drawn last
    page.keyboard.press("Escape")
    wait(lambda: page.is_hidden("#job"), 10)


def test_negative_words_and_strictness_reach_the_take(page: Any, home: Path) -> None:
    page.evaluate("() => studio.store.changeTrack('track1', { curve: [[0, -30], [2, -10]] })")
    page.get_by_label("Not", exact=True).fill("rain")
    slider = page.get_by_label("How strictly the curve is followed")
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert track(page)["strictness"] == 1.5 and slider.get_attribute("aria-valuetext") == "1.5"
    take = made_take(page, seed=3)
    facts = json.loads((home / "clip.drawaudio" / "takes" / f"{take}.json").read_bytes())
    assert (facts["instructions"]["negative_text"], facts["instructions"]["strictness"]) == ("rain", 1.5)
    assert "changed since" not in page.locator(".take.chosen").inner_text()
    slider.focus()
    page.keyboard.press("Home")
    assert track(page)["strictness"] is None
    assert "changed since" in page.locator(".take.chosen").inner_text()


WATCH_METERS = """() => {
  window.seen = [];
  const level = (selector) => Number(document.querySelector(selector).getAttribute('aria-valuenow'));
  const note = () => {
    seen.push([studio.transport.seconds(), level('#meter'), level('.track .meter')]);
    requestAnimationFrame(note);
  };
  note();
}"""


def test_meters_show_what_is_heard_and_fall_when_it_is_mute(page: Any) -> None:
    made_take(page, seed=4)
    wait(lambda: page.evaluate("() => studio.transport.samplesOfMix() !== null"), 10)
    page.evaluate(WATCH_METERS)
    page.evaluate("() => studio.transport.seekFrame(0)")
    page.keyboard.press(" ")
    wait(lambda: page.evaluate("() => studio.transport.frame()") > 20, 20)
    seen = page.evaluate("() => seen")
    assert max(level for _, level, _ in seen) > -40 and max(level for _, _, level in seen) > -40
    peak = page.evaluate("""() => {
      const values = studio.transport.samplesOfMix();
      return 20 * Math.log10(values.subarray(0, 24000).reduce((most, value) => Math.max(most, Math.abs(value)), 0));
    }""")
    assert max(level for at, level, _ in seen if at < 1.5) <= peak + 1
    page.keyboard.press("k")
    assert page.locator("#meter").get_attribute("aria-valuetext") == "silent"
    page.get_by_role("button", name="Mute", exact=True).click()
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press(" ")
    wait(lambda: page.evaluate("() => studio.transport.frame()") > 24, 20)
    assert page.locator(".track .meter").get_attribute("aria-valuetext") == "silent"
    page.keyboard.press("k")
