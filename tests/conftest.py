"""What several test files share: one run of the whole path."""

import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from drawaudio_model.library_imports import libraries_imported
from tests.warm_python import FOLDER, warm_python


def pytest_configure(config: pytest.Config) -> None:
    """Where the warm Python of all processes of this run lies; it starts when the first test asks for it."""
    if not hasattr(config, "workerinput"):
        folder = Path(tempfile.mkdtemp(prefix="drawaudio-tests-"))
        (folder / "owner").write_text(str(os.getpid()))
        os.environ[FOLDER] = str(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """It ends by itself, a moment after this process."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(FOLDER), ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collecting imports every library, as a command does."""
    with libraries_imported():
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first: two workers share the suite file by file, and end together then.

    xdist keeps this order with --no-loadscope-reorder; by itself it starts with the files of the most tests.
    """
    longest = [
        "test_tiny_path",
        "test_youtube_download",
        "test_folder_path",
        "test_cli",
        "test_train_runs",
        "test_train",
        "test_train_step",
        "test_pretrain",
        "test_control",
        "test_control_oracle",
        "test_overflow_shards",
        "test_unet",
        "test_pipeline",
        "test_studio_jobs",
        "test_studio_page_takes",
        "test_studio_page",
        "test_studio_page_curves",
        "test_studio_page_masks",
        "test_studio_page_access",
        "test_dagster_page",
        "test_youtube_fetch",
        "test_wheel",
    ]
    order = {name: place for place, name in enumerate(longest)}
    items.sort(key=lambda item: order.get(item.path.stem, len(longest)))


@pytest.fixture
def warm_children() -> Iterator[None]:
    """Second processes that the test's code starts begin with their libraries loaded."""
    multiprocessing.set_executable(warm_python())
    yield
    multiprocessing.set_executable(sys.executable)


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
