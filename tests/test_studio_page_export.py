"""The studio's dialog that exports: what it says, in which form it writes, and what was wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile

from drawaudio_model.muxing.wave_file import read_chunks
from drawaudio_model.studio.project import DELIVERY
from tests.studio_page import BROWSER_TESTS, refusals, saved, track, wait

pytest_plugins = ["tests.studio_browser"]
pytestmark = BROWSER_TESTS
DETECTOR = False


@pytest.fixture
def exporting(page: Any) -> Any:
    """The page with a take and the dialog open."""
    page.fill("textarea", "a bell rings")
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("g")
    wait(lambda: track(page)["take"], 120)
    page.click("#export-open")
    yield page
    page.keyboard.press("Escape")
    page.evaluate("(delivery) => studio.store.change((document) => ({ ...document, delivery }))", DELIVERY)
    saved(page)


def written(page: Any) -> Path:
    page.click("#export-go")
    page.locator("#export-done li").first.wait_for(timeout=60_000)
    return Path(page.inner_text("#export-done .path"))


def test_the_dialog_says_where_the_content_ends_and_where_the_licence_stands(exporting: Any) -> None:
    said = exporting.inner_text("#export-words")
    assert "ends at 8 kHz" in said and "What its weights may be used for stands in manifest.json" in said
    assert "1 of 1 tracks have a take" in said


def test_sounds_are_written_in_the_form_that_is_chosen_and_it_is_kept(exporting: Any, home: Path) -> None:
    exporting.select_option("#export-rate", "96000")
    exporting.select_option("#export-bits", "16")
    exporting.fill("#export-timecode", "01:00:00:00")
    folder = written(exporting)
    for path in (folder / "mix.wav", *(folder / "stems").iterdir()):
        info = soundfile.info(path)
        assert (info.samplerate, info.subtype) == (96_000, "PCM_16")
        reference = int.from_bytes(read_chunks(path)[b"bext"][338:346], "little")
        assert reference == 3600 * 96_000
    assert json.loads((folder / "manifest.json").read_bytes())["timecode"] == "01:00:00:00"
    listed = exporting.locator("#export-done li").all_inner_texts()
    assert {"mix.wav", "timeline.otio", "timeline.edl", "markers.csv", "tracks.json", "manifest.json"} <= {*listed}
    assert "ends at 8 kHz" in exporting.inner_text("#export-done")
    exporting.click("#export-close")
    exporting.reload()
    wait(lambda: exporting.evaluate("() => window.studio?.state.media.state === 'ready'"), 20)
    exporting.click("#export-open")
    fields = [exporting.input_value(f"#export-{name}") for name in ("rate", "bits", "timecode")]
    assert fields == ["96000", "16", "01:00:00:00"]


def test_a_timecode_that_is_none_is_a_sentence_and_nothing_is_written(exporting: Any, home: Path) -> None:
    before = {*(home / "clip.drawaudio" / "exports").glob("*")}
    for typed in ("01:00:00:12", "one", "01:00:00;00"):
        exporting.fill("#export-timecode", typed)
        exporting.click("#export-go")
        wait(lambda: exporting.locator("#export-done .bad").count(), 30)
        assert f"timecode '{typed}'" in exporting.inner_text("#export-done .bad")
        assert exporting.is_enabled("#export-go")
    assert {*(home / "clip.drawaudio" / "exports").glob("*")} == before
    assert refusals(exporting) == 3
