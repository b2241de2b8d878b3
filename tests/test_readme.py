"""What the README tells people to type works."""

import json
import re
from pathlib import Path

import pytest

from drawaudio_model.shard import ShardReader, finished_shards
from tests.readme_commands import ROOT, Block, blocks, run_block
from tests.test_tiny_path import environment

AFTER_DEMO = [block for block in blocks() if block.mark == "after demo"]


def test_the_readme_has_the_blocks_that_are_tested() -> None:
    marks = [block.mark for block in blocks()]
    assert marks.count("after demo") >= 3
    assert marks.count("in order") == 1
    assert next(block.text for block in blocks()) == "make install\nmake demo\n"


def test_every_file_that_the_readme_names_exists() -> None:
    tree = (ROOT / "README.md").read_text().split("## Where things are")[1].split("## Differences")[0]
    folders: list[str] = []
    checked = 0
    for line in tree.splitlines():
        if not line.startswith("    "):
            continue
        depth = (len(line) - len(line.lstrip())) // 2 - 2
        named_files = re.split(r"\s{2,}", line.strip())[0].split()
        for name in (word for word in named_files if word.endswith(("/", ".py", ".md"))):
            path = ROOT.joinpath(*folders[:depth], name)
            assert path.exists(), path
            checked += 1
            if name.endswith("/") and line.strip().startswith(name):
                folders[depth:] = [name]
    assert checked > 25


@pytest.fixture(scope="module")
def made(tiny: Path) -> Path:
    """A folder like a reader's after `make demo`, with a video at hand."""
    shards = tiny / "data" / "raw_clips"
    reader = ShardReader(shards, finished_shards(shards, split="test")[0])
    (tiny / "clip.mp4").write_bytes(reader.member(reader.keys[0], "mp4"))
    reader.close()
    return tiny


@pytest.mark.slow
def test_make_demo_prints_where_to_listen(tiny: Path) -> None:
    output = (tiny / "make_demo.txt").read_text()
    assert f"{tiny / 'data'}\n" in output
    assert "training_shards/" in output
    assert "open it and listen" in output


@pytest.mark.slow
def test_stages_run_one_by_one(made: Path) -> None:
    (block,) = (block for block in blocks() if block.mark == "in order")
    assert "RUN_SUCCESS" in run_block(block, made, environment(made))


@pytest.mark.slow
@pytest.mark.parametrize("block", AFTER_DEMO, ids=[block.text.split("\n")[0][:40] for block in AFTER_DEMO])
def test_tools_work_on_what_demo_left(block: Block, made: Path) -> None:
    vocabulary = json.loads((made / "data" / "backbones" / "object_detector" / "vocabulary.json").read_text())
    run_block(block, made, environment(made), phrase=vocabulary[0] if vocabulary else "bell")
