"""What the README names exists; what it tells people to type is typed in test_tiny_path."""

import re
import subprocess

from pipelines.profiles import PROFILES
from pipelines.sources.demo.world import list_clips
from tests.house_map import named_places
from tests.readme_commands import ROOT, blocks
from tests.test_definitions import MODULES, ROOM_IMPORTS


def test_the_readme_has_the_blocks_that_are_tested() -> None:
    marks = [block.mark for block in blocks()]
    assert marks.count("after demo") >= 3
    assert marks.count("in order") == 1
    assert next(block.text for block in blocks()) == "make install\nmake demo\n"
    commands = re.findall(r"\bmake (?!sure)(\w+)", (ROOT / "README.md").read_text())
    assert list(dict.fromkeys(commands))[:3] == ["install", "demo", "studio"]


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


def test_every_file_that_the_map_names_exists() -> None:
    places = named_places()
    assert [path for path in places if not path.exists()] == []
    assert len(places) > 25


def test_the_map_names_every_file_and_every_folder_the_users_first() -> None:
    places = named_places()
    modules = {path: name for name, path in MODULES.items()}
    rooms = [
        name for path in places if (name := modules.get(path) or modules.get(path / "__init__.py")) in ROOM_IMPORTS
    ]
    assert {*rooms} == ROOM_IMPORTS.keys() - {"pipelines.sources"}
    for number, name in enumerate(rooms):
        above = ROOM_IMPORTS[name] & {*rooms[1:number]} if name.startswith("drawaudio_model.") else set()
        assert not above, f"{name} stands below {above}, which it imports"


def test_the_readme_is_short_and_its_map_names_the_folders_that_there_are() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    tree = text.split("## Map\n")[1].split("\n## ")[0]
    top = {ROOT / line.split()[0] for line in tree.splitlines() if line.startswith("    ")}
    assert top == {path for path in named_places() if path.parent == ROOT}
    (model,) = (line for line in tree.splitlines() if "drawaudio_model/" in line)
    doors = re.findall(r"\w+\.py", model)
    assert len(doors) >= 5 and all((ROOT / "drawaudio_model" / name).is_file() for name in doors)


def test_every_page_that_is_linked_exists_and_every_page_is_linked() -> None:
    pages = {ROOT / "README.md", *(ROOT / "docs").glob("*.md")}
    linked = set()
    for page in pages:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
            path = (page.parent / target).resolve()
            assert path.exists(), f"{page.name} links {target}"
            linked.add(path)
    assert pages - {ROOT / "README.md"} <= linked


def test_a_user_installs_no_tools_of_the_tests_and_the_tests_install_theirs() -> None:
    def extras(target: str) -> set[str]:
        """The extras in what `make` would install before a target, were nothing there."""
        told = subprocess.run(["make", "-n", "-B", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return {*re.findall(r"-e '\.(\[\w+\])?'", told)}

    assert extras("install") == extras("demo") == extras("studio") == {""}
    assert extras("test") == extras("lint") == extras("docs") == {"[test]"}
