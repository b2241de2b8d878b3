"""What several test files share: one run of the whole path."""

from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two workers share the suite: a file stays with one of them, and so does everything that needs the tiny run.

    The tests of the whole path come first, as they take longest. xdist reads the marks in the same hook, after this one.
    """
    for item in items:
        group = "path" if "tiny" in getattr(item, "fixturenames", ()) else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: ("tiny" not in getattr(item, "fixturenames", ()), "folder_path" not in item.path.stem))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny profile ran to its end, by the README's `make demo`.

    `home` is DAGSTER_HOME, `data` the data root, `cards` the dataset cards, `make_demo.txt` what was printed.
    """
    from tests.readme_commands import Block, blocks, run_block
    from tests.test_tiny_path import environment

    folder = tmp_path_factory.mktemp("tiny")
    typed = next(block.text for block in blocks()).replace("make install\n", "")
    assert typed == "make demo\n"
    (folder / "make_demo.txt").write_text(run_block(Block("bash", typed, ""), folder, environment(folder)))
    return folder
