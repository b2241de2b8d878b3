"""What the README names exists; what it tells people to type is typed in test_tiny_path."""

import re

from pipelines.profiles import PROFILES
from pipelines.sources.demo.world import list_clips
from tests.readme_commands import ROOT, blocks


def test_the_readme_has_the_blocks_that_are_tested() -> None:
    marks = [block.mark for block in blocks()]
    assert marks.count("after demo") >= 3
    assert marks.count("in order") == 1
    assert next(block.text for block in blocks()) == "make install\nmake demo\n"


def test_the_environment_is_activated_and_the_clip_is_there_before_any_command_needs_them() -> None:
    first = next(block.text for block in blocks() if "drawaudio" in block.text)
    assert first.startswith("source .venv/bin/activate\n")
    (key,) = re.findall(r"test-000000\.tar (\S+)\.mp4 > clip\.mp4\ndrawaudio", first)
    profile = PROFILES["demo"]
    train, val, test = profile.clips
    clips = {clip.key: clip for clip in list_clips(train=train, val=val, test=test, seed=profile.seed)}
    # The first examples ring a bell.
    assert clips[key].split == "test" and clips[key].label == "bell" and "bell" in clips[key].caption
    assert profile.shards[2] == 1


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
