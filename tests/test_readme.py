"""What the README names exists; what it tells people to type is typed in test_tiny_path."""

import re

from tests.readme_commands import ROOT, blocks


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
