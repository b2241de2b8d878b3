"""Curves in files: read rightly where they say one thing, refused with line and remedy where they do not."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from drawaudio_model.cli import main
from drawaudio_model.curve_files import read_points, write_points
from drawaudio_model.generation.instructions import read_loudness
from drawaudio_model.loudness import from_points

POINTS = [(0.0, 0.1), (1.5, 0.3), (2.0, 0.0)]


def write(folder: Path, text: str | bytes, name: str = "curve.csv") -> Path:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder / name


@pytest.mark.parametrize(
    "text",
    [
        "time_seconds,level\n0,0.1\n1.5,.3\n2,0\n",
        "\ufefftime_seconds,level\r\n0,0.1\r\n1.5,3e-1\r\n2,0\r\n",
        "\n Time_Seconds , LEVEL \n\n0, 0.1\n1.5, 0.3\n2, 0\n\n",
        'level,note,time_seconds\n0.1,soft,0\n0.3,"loud, then\nless",1.5\n0,,2\n',
        "time_seconds;level\n0;0,1\n1,5;0,3\n2;0\n",
        "time_seconds;level\n0;0.1\n1.5;0.3\n2;0\n",
        "time_seconds\tlevel\n0\t0.1\n1.5\t0.3\n2\t0\n",
        "time_seconds,level_db\n0,-20\n1.5,-10.457574905606752\n2,-inf\n",
        "sep=;\ntime_seconds;level\n0;0,1\n1,5;0,3\n2;0\n",
        "SEP=,\r\ntime_seconds,level\r\n0,0.1\r\n1.5,0.3\r\n2,0\r\n",
        "time_seconds,level,,\n0,0.1,,\n1.5,0.3,, \n2,0,,\n",
        "time_seconds,level_db\n0,\u221220\n1.5,\u221210.457574905606752\n2,\u2212inf\n",
    ],
    ids=[
        *("plain", "bom", "spaces", "more columns", "decimal commas", "semicolons", "tabs", "decibels"),
        *("told to Excel", "told to Excel in capitals", "empty columns", "minus signs"),
    ],
)
def test_a_table_is_read_as_it_is_written(text: str, tmp_path: Path) -> None:
    assert np.array(read_points(write(tmp_path, text))) == pytest.approx(np.array(POINTS))
    sixteen = write(tmp_path, text.lstrip("\ufeff").encode("utf-16"))
    assert np.array(read_points(sixteen)) == pytest.approx(np.array(POINTS))


@pytest.mark.parametrize(
    "rows",
    [
        [list(point) for point in POINTS],
        [{"time_seconds": time, "level": level, "note": ""} for time, level in POINTS],
        [{"time_seconds": str(time), "level": str(level)} for time, level in POINTS],
        [{"time_seconds": t, "level_db": 20 * math.log10(level) if level else -math.inf} for t, level in POINTS],
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_is_read_as_it_is_written(rows: list, encoding: str, tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps(rows).encode(encoding), "curve.json")
    assert np.array(read_points(path)) == pytest.approx(np.array(POINTS))


def test_two_points_at_one_time_are_a_jump(tmp_path: Path) -> None:
    points = [(0.0, 0.0), (1.0, 0.0), (1.0, 0.3), (2.0, 0.3), (2.0, 0.1)]
    for name in ("curve.csv", "curve.json"):
        write_points(tmp_path / name, points)
        assert read_points(tmp_path / name) == points
        expected = np.repeat([0.0, 0.3, 0.1], 10)
        assert read_loudness(tmp_path / name, 3.0) == pytest.approx(expected, abs=1e-6)
    # At the very time of a jump the second has begun.
    assert from_points([(0.0, 0.0), (0.15, 0.0), (0.15, 0.3)], 0.3) == pytest.approx([0, 0.3, 0.3])
    with pytest.raises(ValueError, match=r"three points at 1\.0 s"):
        from_points([(1.0, 0.0), (1.0, 0.2), (1.0, 0.3)], 2.0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("time_seconds,level\n0,0,5\n1,0,3\n", "line 2: 3 fields, expected 2; .* decimals with a point"),
        ("time_seconds,level\n0,0.1\n1\n", "line 3: 1 fields, expected 2"),
        ('time_seconds,level\n0,"0,5"\n', r"line 2: '0,5' is no number.* decimals with a point"),
        ("time_seconds;level\n0;0.5\n1.000,5;0,5\n", r"line 3: '1\.000,5' is no number"),
        ("time_seconds,level,level\n0,0,1\n", "line 1: the header has the column 'level' twice"),
        ("time_seconds,level,,\n0,0,1,2\n", "line 1: the header has the column '' twice"),
        ("sep=;\ntime_seconds;level\n0;0,5\n1;x\n", "line 4: 'x' is no number"),
        ("time_seconds,level,level_db\n0,0,-9\n", "line 1: the columns are .*not both"),
        ("time,level\n0,0\n", "line 1: the columns are time, level; expected time_seconds, level: name them"),
        ("time;level\n0;0\n", "line 1: the columns are time, level; expected time_seconds"),
        ("0,0.1\n1,0.3\n", "line 1: there is no header; put the line time_seconds,level"),
        ("time_seconds,level\n0,0\n1000,0.3\n2000,0\n", "line 4: .*looks like milliseconds; divide them by 1000"),
        ("time_seconds,level\n0,0\n100000000,0.3\n", "line 3: .*milliseconds"),
        ("time_seconds,level\n0,0\n1e8,0.3\n", r"line 3: .*time 1e\+08 s, expected seconds, at most 21600"),
        ("time_seconds,level\n0,0\n1,30\n", "line 3: .*level 30.0 at 1.0 s, expected 0 to 1 .*per cent by 100"),
        ("time_seconds,level\n0,-20\n", "line 2: .*below 0 looks like decibels: name it level_db"),
        ("time_seconds,level_db\n0,6\n", "line 2: level_db is 6, expected at most 0"),
        ("time_seconds,level\n0,30%\n", "line 2: '30%' is no number.*write 30 % as 0.3"),
        ("time_seconds,level\n0:30,0.1\n", "line 2: '0:30' is no number.*write 1:30 as 90"),
        ("time_seconds,level\n0,-20 dB\n", "line 2: '-20 dB' is no number.*without its unit"),
        ("time_seconds,level\n0,nan\n", "line 2: 'nan' is no number"),
        ("time_seconds,level\n0,1_0\n", "line 2: '1_0' is no number"),
        ("time_seconds,level\n0,true\n", "line 2: 'true' is no number"),
        ("time_seconds,level\n0,\n", "line 2: '' is no number"),
        ('time_seconds,level\n0,"0.1\n1,0.2\n', "line 2: unexpected end of data"),
        ("time_seconds,level\n0,0.1\n".encode("utf-16-le"), "line 1 has a byte 0, as UTF-16 does; save it as UTF-8"),
        (b"time_seconds,level\n0,0.1\n1,\xe9\n", "line 3 has the byte 0xe9; save it as UTF-8"),
        ("", "is empty, expected a header"),
        ("time_seconds,level\n", "has no points"),
    ],
)
def test_what_a_table_could_mean_twice_is_refused_with_line_and_remedy(
    text: str | bytes, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"curve.csv.*{sentence}"):
        read_points(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[{"time_seconds":true,"level":true}]', "point 1: true is no number"),
        ('[{"time_seconds":0,"level":0.1,"level":0.2}]', "no JSON: an object has 'level' twice"),
        ('[{"time_seconds":0,"level":NaN}]', r"point 1: .*level nan at 0\.0 s, expected 0 to 1"),
        ('[{"time_seconds":0,"level":1' + "0" * 400 + "}]", "point 1: .*level inf"),
        ('[{"time":0,"level":0.1}]', "point 1 has the keys time, level; expected time_seconds"),
        ("[[0, 0.1], [500, 0.2], [1000, 0.1]]", "point 3: .*milliseconds"),
        ("[[0, 0.1, 0.2]]", "point 1 is .*expected an object with"),
        ("[[0, 0.1], null]", "point 2 is None"),
        ('[[0, 0.1], {"time_seconds":1,"level_db":-9}]', "all of them in one unit"),
        ("[" * 100_000, "lists within lists without end"),
        ("[" + "1" * 5000 + "]", "is no JSON: Exceeds the limit"),
    ],
)
def test_what_a_list_could_mean_twice_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_points(write(tmp_path, text, "curve.json"))


def test_sparse_seconds_are_seconds_when_they_are_written_as_such(tmp_path: Path) -> None:
    slow = [(0.0, 0.1), (600.0, 0.2), (1200.0, 0.1)]
    write_points(tmp_path / "curve.csv", slow)
    assert read_points(tmp_path / "curve.csv") == slow
    every_five = "time_seconds,level\n" + "".join(f"{5 * number},0.1\n" for number in range(200))
    assert len(read_points(write(tmp_path, every_five, "five.csv"))) == 200


def test_milliseconds_are_known_by_the_length_of_the_sound() -> None:
    drawn = [(0.0, 0.0), (33.3, 0.1), (4000.0, 0.3), (8000.0, 0.0)]
    with pytest.raises(ValueError, match="reaches 8000 s and the sound 8 s, which looks like milliseconds"):
        read_loudness(drawn, 8.0)
    assert read_loudness([(0.0, 0.1), (4.0, 0.1), (900.0, 0.1)], 8.0) == pytest.approx(0.1)


def test_few_milliseconds_in_whole_numbers_are_refused_and_seconds_beyond_the_clip_are_read(tmp_path: Path) -> None:
    """Below 600 nothing in the file tells them from seconds: what lies in the clip does."""
    short = write(tmp_path, "time_seconds,level\n0,0\n100,0.3\n500,0\n")
    assert len(read_points(short)) == 3
    with pytest.raises(
        ValueError, match="reaches 500 s and the sound 8 s, which looks like milliseconds; divide the times"
    ):
        read_loudness(short, 8.0)
    assert len(read_loudness(short, 60.0)) == 600  # of a minute
    for text in ("0,0\n60,0.3\n", "0,0\n4,0.3\n500,0\n", "0,0\n100.5,0.3\n500.5,0\n"):
        assert len(read_loudness(write(tmp_path, f"time_seconds,level\n{text}"), 8.0)) == 80


@pytest.mark.parametrize("option", ["--seconds 1e9", "--seconds 21601"])
def test_a_sound_without_end_is_refused_at_once(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "time_seconds,level\n0,0.1\n")
    assert main(["curve", str(path), "-o", str(tmp_path / "heard.wav"), *option.split()]) == 2
    assert "expected at most 21600" in capsys.readouterr().err
