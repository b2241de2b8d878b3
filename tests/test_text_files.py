"""Text files of a person's: an editor's byte order mark is no part of any of them."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from drawaudio_model.commands import batch
from drawaudio_model.control import read_wordings
from pipelines.sources.youtube import ytdlp


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "text"
    path.write_text(json.dumps({"bell": ["a bell rings"]}), encoding=encoding)
    assert read_wordings(path) == {"bell": ["a bell rings"]}
    path.write_text(",".join(batch.RESULT_COLUMNS) + "\n" + "x," * (len(batch.RESULT_COLUMNS) - 1) + "x\n", encoding)
    assert batch._read_results(path) == [dict.fromkeys(batch.RESULT_COLUMNS, "x")]
    path.write_text("# Netscape HTTP Cookie File\n", encoding=encoding)
    cookies = ytdlp._cookies(SimpleNamespace(cookies=str(path)))
    assert cookies is not None and cookies.read() == "# Netscape HTTP Cookie File\n"


def test_wordings_that_are_no_json_are_named(tmp_path: Path) -> None:
    (tmp_path / "wordings.json").write_text('{"bell": ["a"], "bell": ["b"]}')
    with pytest.raises(ValueError, match=r"wordings .*wordings\.json is no JSON: an object has 'bell' twice"):
        read_wordings(tmp_path / "wordings.json")
