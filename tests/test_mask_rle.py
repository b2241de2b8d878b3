"""COCO's run lengths of masks: both ways, and what is refused."""

import json

import numpy as np
import pytest

from drawaudio_model import mask_rle
from drawaudio_model.cli import main
from drawaudio_model.generation.instructions import read_mask


def regions() -> np.ndarray:
    """(40, 90, 160) of a box that moves, a blob, all and nothing."""
    found = np.zeros((40, 90, 160), bool)
    for frame in range(40):
        found[frame, 20 + frame : 40 + frame, 3 * frame : 3 * frame + 25] = True
    down, across = np.ogrid[:90, :160]
    found[5] = (down - 40) ** 2 + (across - 70) ** 2 < 900
    found[6], found[7] = True, False
    found[8] = np.random.default_rng(0).random((90, 160)) < 0.5
    return found


def test_what_is_written_is_read_again() -> None:
    content = json.loads(mask_rle.encode(regions()))
    assert content["size"] == [90, 160] and len(content["counts"]) == 40
    np.testing.assert_array_equal(mask_rle.decode(content), regions())


@pytest.mark.parametrize(
    ("lengths", "text"),
    # By hand from rleToString: 2 is "2"; 100 = 3 * 32 + 4 is "T3"; 16 needs a second letter for its sign; the fourth is -1.
    [([2, 2], "22"), ([100, 16, 0], "T3`00"), ([5, 6, 1, 5], "561O"), ([0, 1000, 1000], "0Xo0Xo0")],
)
def test_the_text_is_cocos(lengths: list[int], text: str) -> None:
    assert mask_rle.counts_text(lengths) == text
    assert mask_rle.lengths_of(text) == lengths


def test_runs_go_down_the_columns_and_begin_with_what_is_not_drawn() -> None:
    region = np.array([[1, 0, 0], [1, 1, 0]], bool)
    assert mask_rle.run_lengths(region) == [0, 2, 1, 1, 2]
    for counts in ([0, 2, 1, 1, 2], "021O1"):
        np.testing.assert_array_equal(mask_rle.decode({"size": [2, 3], "counts": counts})[0], region)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"size": [2, 3], "counts": [0, 2]}, r"frame 0 has runs of 2 pixels, expected 2 x 3 = 6"),
        ({"size": [2], "counts": [6]}, r"frame 0 has the size \[2\], expected \[height, width\]"),
        ({"counts": [6]}, "frame 0 has the size None"),
        ({"size": [2, 3], "counts": "0~"}, "frame 0: the counts have the letter '~'"),
        ({"size": [2, 3], "counts": "P"}, "frame 0: the counts end within a number"),
        ({"size": [2, 3], "counts": [-1, 7]}, "frame 0 has a run length that is no whole number"),
        ([{"size": [2, 3], "counts": [6]}, {"size": [3, 2], "counts": [6]}], r"sizes \[\(2, 3\), \(3, 2\)\]"),
        ([{"size": [2, 3], "counts": [6]}, 5], "frame 1 has the size None"),
        ({"size": [10**6, 10**6], "counts": [10**12]}, "frame 0 has the size"),
    ],
)
def test_what_is_no_mask_is_refused_by_its_frame(content: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mask_rle.decode(content)


@pytest.mark.parametrize("form", ["ours", "one object a frame", "one object"])
def test_a_drawn_mask_may_be_one(form: str, tmp_path) -> None:
    """As a person's own annotation tool writes it: `generate --mask` and `mask --explain` read it."""
    whole = regions()[:4]
    rows = [{"size": [90, 160], "counts": mask_rle.counts_text(mask_rle.run_lengths(region))} for region in whole]
    content = {"ours": json.loads(mask_rle.encode(whole)), "one object a frame": rows, "one object": rows[0]}[form]
    (tmp_path / "mask.json").write_text(json.dumps(content))
    found = read_mask(tmp_path / "mask.json", 4, 90, 160)
    np.testing.assert_array_equal(found, whole if form != "one object" else np.repeat(whole[:1], 4, axis=0))


def test_what_is_read_is_explained(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mask.json").write_bytes(mask_rle.encode(regions()[5:6]))
    assert main(["mask", "--explain", str(tmp_path / "mask.json"), "--preview", str(tmp_path / "shown.png")]) == 0
    told = capsys.readouterr().out
    assert "every second run is drawn" in told and "1 frame of 160 x 90 pixels" in told


def test_a_mask_in_a_file_that_is_none_is_named(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mask.json").write_text('{"size": [2, 3], "counts": [1]}')
    assert main(["mask", "--explain", str(tmp_path / "mask.json")]) == 2
    assert f"mask {tmp_path / 'mask.json'}: frame 0 has runs of 1 pixels" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"mask.json: frame 0 has runs of 1 pixels"):
        read_mask(tmp_path / "mask.json", 4, 90, 160)
