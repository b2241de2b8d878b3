"""The files and folders that docs/map.md names."""

import re
from pathlib import Path

from tests.readme_commands import ROOT

MAP = ROOT / "docs" / "map.md"


def named_places() -> list[Path]:
    """Files and folders of the map, in its order."""
    tree = MAP.read_text()
    folders: list[str] = []
    places = []
    for line in tree.splitlines():
        if not line.startswith("    "):
            continue
        depth = (len(line) - len(line.lstrip())) // 2 - 2
        named_files = re.split(r"\s{2,}", line.strip())[0].split()
        for name in (word for word in named_files if word.endswith(("/", ".py", ".md"))):
            places.append(ROOT.joinpath(*folders[:depth], name))
            if name.endswith("/") and line.strip().startswith(name):
                folders[depth:] = [name]
    return places


def folders(package: str) -> list[str]:
    """Dotted names of a package's folders below it, in the map's order: whoever uses another one stands above it."""
    root = ROOT / package
    found = [path for path in named_places() if path.is_dir() and root in path.parents]
    return [".".join(path.relative_to(root).parts) for path in found]
