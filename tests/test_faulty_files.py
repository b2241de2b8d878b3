"""All small faulty files of drawn instructions and captions, through the readers of the commands: one outcome each.

They lie beside the checkout where there are any; each stands for a kind that the tests of its reader have in full.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from drawaudio_model.cli import main
from drawaudio_model.generation.instructions import read_mask
from drawaudio_model.generation.mixing import Track, read_tracks
from pipelines.sources import folder

FAULTS = Path(__file__).resolve().parents[1].parent / "shared" / "faults"
pytestmark = pytest.mark.skipif(not FAULTS.is_dir(), reason="the collection of faulty files is not beside the checkout")

REGION = np.zeros((96, 128), bool)
REGION[20:60, 10:50] = True
MASKS = {
    "alpha100.png": "what is opaque is drawn",
    "black.png": "leaves nothing to sound: it is empty",
    "cmyk.jpg": "at least halfway from the background 0 to 255",
    "comfy.png": "its transparent part counts as drawn",
    "frames_unpadded": "in 12 frames of 128 x 96 pixels",
    "green.png": "#00ff00",
    "i16.png": "the background 0 is drawn: 255",
    "i16_bg.png": "the background 19.4553 is drawn: 255",
    "l01.png": "the background 0 is drawn: 1\n",
    "la.png": "the background 0 is drawn: 255",
    "red.png": "#ff0000",
    "square.png": "9.8% of the picture sounds, in 1 frame of 128 x 128 pixels",
}
"""What `drawaudio mask --explain` says of each."""
CURVES = {
    "bom.json": [(0.0, 0.1)],
    "dup_key.csv": "line 1: the header has the column 'level' twice",
    "dup_times.csv": [(0.0, 0.0), (1.0, 0.0), (1.0, 0.3), (2.0, 0.0)],
    "huge_time.csv": "line 3: the times reach 1e+08 .* looks like milliseconds",
    "ms.csv": "line 4: the times reach 2000 .* divide them by 1000",
    "true.json": "point 1: true is no number",
}
"""The points of each, or what is said."""
CAPTIONS = {"no_line_number.csv": "line 52: ',' expected after '\"'"}
MESSAGES = {
    "anim.webp": "an animated WebP, which FFmpeg cannot read; save it as GIF or MP4",
    "ffconcat_named.mp4": "is a list of other files; join them first",
    "picture_as_video.png": "is a still picture; make a video of it: ffmpeg -loop 1",
    "tracks_bom.json": [Track(text="a bell rings")],
}


KINDS: dict[str, dict] = {"masks": MASKS, "curves": CURVES, "captions": CAPTIONS, "messages": MESSAGES}


@pytest.mark.parametrize(("kind", "table"), KINDS.items())
def test_every_file_has_an_outcome(kind: str, table: dict[str, object]) -> None:
    assert {path.name for path in (FAULTS / kind).iterdir()} == table.keys()


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_is_explained_and_arrives(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = FAULTS / "masks" / name
    code = main(["mask", "--explain", str(path)])
    said = capsys.readouterr()
    assert MASKS[name] in said.out + said.err
    assert code == (2 if name == "black.png" else 0)
    if name not in ("black.png", "square.png", "frames_unpadded"):
        regions = read_mask(path, 4, 96, 128)
        np.testing.assert_array_equal(regions, np.repeat(REGION[None], 4, axis=0))
    if name == "frames_unpadded":
        lefts = [np.flatnonzero(region[0])[0] for region in read_mask(path, 12, 96, 128)]
        assert lefts == [10 * number for number in range(12)]


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_is_read_or_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["curve", str(FAULTS / "curves" / name), "-o", str(tmp_path / "read.json")])
    expected = CURVES[name]
    if isinstance(expected, str):
        said = capsys.readouterr().err
        assert code == 2 and all(part in said for part in expected.split(" .* "))
        return
    points = [tuple(row.values()) for row in json.loads((tmp_path / "read.json").read_text())]
    assert code == 0 and points == expected


@pytest.mark.parametrize("name", CAPTIONS)
def test_captions_are_refused_with_a_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "a0.mp4").write_bytes(b"x")
    with pytest.raises(ValueError) as told:
        folder.list_media(tmp_path, FAULTS / "captions" / name)
    assert CAPTIONS[name] in str(told.value)


@pytest.mark.parametrize("name", MESSAGES)
def test_other_files_get_a_clear_word(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, expected = FAULTS / "messages" / name, MESSAGES[name]
    if not isinstance(expected, str):
        assert read_tracks(path) == expected
        return
    # Before a model is looked for.
    for command in (["generate", "--model", "none"], ["mask", "--text", "bell", "--detector", "none"]):
        output = "o.json" if command[0] == "mask" else "o.wav"
        assert main([command[0], str(path), *command[1:], "-o", str(tmp_path / output)]) == 2
        assert expected in capsys.readouterr().err
