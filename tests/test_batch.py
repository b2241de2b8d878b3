"""`drawaudio batch`: every row its sound, what is done is not done again, and a row that fails stops no other."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drawaudio_model.cli import main
from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.commands import batch, generate
from drawaudio_model.evaluation.listening_page import write_video
from drawaudio_model.media import probe, write_audio
from tests.tiny_pipeline import saved_pipeline

TABLE = """file,text,mask,mask_invert,loudness,start_from,strength,candidates,seed,output
a.mp4,a bell rings,,,,,,,,
gone.mp4,a bell rings,,,,,,,,
a.mp4,rain falls,mask.png,yes,"0:0.1,1:0.3",base.wav,0.5,2,5,rain.mp4
broken.mp4,rain falls,,,,,,,,
a.mp4,rain falls,,perhaps,,,,,,
a.mp4,,,,,,,,seven,
a.mp4,a drum is struck,"0.9,0,0.1,1",,,,,,,
b.mp4,a drum is struck,,,,,,,,drum.flac
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_pipeline(tmp_path_factory.mktemp("batch") / "model")


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.mp4", "b.mp4"):
        frames = rng.integers(0, 255, (12, 48, 64, 3), dtype=np.uint8)
        write_video(folder / name, frames, 12, np.full(SAMPLE_RATE, 0.01, np.float32))
    (folder / "broken.mp4").write_bytes((folder / "a.mp4").read_bytes()[:500])
    picture = Image.new("L", (64, 48))
    picture.paste(255, (8, 8, 40, 40))
    picture.save(folder / "mask.png")
    write_audio(folder / "base.wav", rng.uniform(-0.5, 0.5, SAMPLE_RATE).astype(np.float32))
    (tmp_path / "table.csv").write_text(TABLE)
    return folder


def command(clips: Path, model: Path, *more: str) -> list[str]:
    typed = ["batch", str(clips), "--table", str(clips.parent / "table.csv"), "-o", str(clips.parent / "out")]
    return [*typed, "--model", str(model), "--steps", "2", "--device", "cpu", *more]


def results(clips: Path) -> list[dict[str, str]]:
    with (clips.parent / "out" / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_ends_in_a_sound_or_a_reason(
    clips: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    load = batch.load_pipeline
    monkeypatch.setattr(batch, "load_pipeline", lambda options: loads.append(1) or load(options))
    assert main(command(clips, model)) == 2
    shown = capsys.readouterr()
    assert "3 of 8 sounds" in shown.out and loads == [1]
    assert "5 of the 8 rows" in shown.err and "the first is line 3" in shown.err
    rows = results(clips)
    assert [row["line"] for row in rows] == [str(line) for line in range(2, 10)]
    failed = {row["line"]: row["reason"] for row in rows if row["status"] == "failed"}
    for line, reason in {
        "3": "gone.mp4 does not exist",
        "5": "broken.mp4",
        "6": "mask_invert is 'perhaps', expected true or false",
        "7": "seed is 'seven', expected a whole number",
        "8": "corners outside",
    }.items():
        assert reason in failed.pop(line) or line == "5"
    assert not failed
    done = {row["output"]: row for row in rows if row["status"] == "done"}
    assert [*done] == ["0002-a.wav", "rain.mp4", "drum.flac"]
    assert done["0002-a.wav"]["seed"] == "0" and done["rain.mp4"]["seed"] in ("5", "6")
    assert done["rain.mp4"]["curve_score"] and done["rain.mp4"]["clap_score"]
    assert probe(clips.parent / "out" / "rain.mp4").video_codec == "h264"
    # The row's sound is that of the command for one.
    single = clips.parent / "one.wav"
    typed = [
        "generate",
        str(clips / "a.mp4"),
        "--text",
        "a bell rings",
        "--seed",
        "0",
        "--steps",
        "2",
        "--device",
        "cpu",
    ]
    assert main([*typed, "--model", str(model), "-o", str(single)]) == 0
    assert single.read_bytes() == (clips.parent / "out" / "0002-a.wav").read_bytes()


def test_only_what_is_missing_or_changed_is_made_again(
    clips: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = clips.parent / "table.csv"
    table.write_text("file,text,output\na.mp4,a bell rings,bell.wav\nb.mp4,rain falls,rain.wav\n")
    assert main(command(clips, model)) == 0
    first = {path.name: path.read_bytes() for path in (clips.parent / "out").iterdir()}
    capsys.readouterr()
    assert main(command(clips, model)) == 0
    assert "line " not in (shown := capsys.readouterr().out) and "2 of 2 sounds, 0 of them new" in shown
    assert {path.name: path.read_bytes() for path in (clips.parent / "out").iterdir()} == first
    (clips.parent / "out" / "rain.wav").unlink()
    assert main(command(clips, model)) == 0
    assert "line 3" in (shown := capsys.readouterr().out) and "line 2" not in shown
    # A row that moves is known; one whose words change is made anew.
    table.write_text("file,text,output\nb.mp4,rain falls,rain.wav\na.mp4,a drum is struck,bell.wav\n")
    assert main(command(clips, model)) == 0
    assert "line 3" in (shown := capsys.readouterr().out) and "line 2" not in shown
    assert (clips.parent / "out" / "bell.wav").read_bytes() != first["bell.wav"]
    assert (clips.parent / "out" / "rain.wav").read_bytes() == first["rain.wav"]
    os.utime(clips / "b.mp4", (1, 1))
    assert main(command(clips, model)) == 0
    assert "line 2" in capsys.readouterr().out
    assert main(command(clips, model, "--sample-rate", "48000")) == 0
    assert "2 of them new" in capsys.readouterr().out


def test_a_run_that_is_killed_goes_on_where_it_was(
    clips: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (clips.parent / "table.csv").write_text("file,text\na.mp4,a bell rings\nb.mp4,rain falls\n")
    write = generate.write_sound

    def killed(output: Path, *given: object, **named: object) -> None:
        if output.name.startswith("0003"):
            raise KeyboardInterrupt
        write(output, *given, **named)

    monkeypatch.setattr(generate, "write_sound", killed)
    assert main(command(clips, model)) == 130
    assert [row["status"] for row in results(clips)] == ["done"]
    monkeypatch.setattr(generate, "write_sound", write)
    capsys.readouterr()
    assert main(command(clips, model)) == 0
    assert "line 3" in (shown := capsys.readouterr().out) and "line 2" not in shown


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("text\na bell rings\n", "has no column `file`"),
        ("file,texts\na.mp4,a\n", "has the column 'texts', expected `file` and any of text, negative_text"),
        ("file\n", "has no rows below its header"),
        ("file,output\na.mp4,x.wav\nb.mp4,x.wav\n", "lines 2 and 3 of"),
    ],
)
def test_a_table_that_is_none_is_refused(
    clips: Path, model: Path, table: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (clips.parent / "table.csv").write_text(table)
    assert main(command(clips, model)) == 2
    assert sentence in capsys.readouterr().err and not (clips.parent / "out").exists()


def test_an_output_stays_in_its_folder(clips: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clips.parent / "table.csv").write_text("file,output\na.mp4,../out.wav\na.mp4,results.csv\n")
    assert main(command(clips, model)) == 2
    assert [row["status"] for row in results(clips)] == ["failed"] * 2
    assert "is no name of a file in OUT" in capsys.readouterr().err
    assert not (clips.parent / "out.wav").exists()
