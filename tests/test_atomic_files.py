"""Whatever interrupts a writer: the old file or folder stays until the new one is complete, and is never half of both."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Event

import pytest

from drawaudio_model import atomic_files
from drawaudio_model.atomic_files import put_in_place, replaced_file, replaced_folder, write_atomically


def fill(folder: Path, text: str) -> None:
    (folder / "part").mkdir()
    (folder / "part" / "weights").write_text(text)
    (folder / "index").write_text(text)


def content(folder: Path) -> set[str]:
    return {path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_file_is_replaced_and_nothing_is_left_over(tmp_path: Path) -> None:
    path = tmp_path / "made" / "facts.json"
    for text in ("old", "new"):
        write_atomically(path, text.encode())
        assert path.read_text() == text
    with replaced_file(path) as temporary:
        assert temporary.name == path.name and path.read_text() == "new"
        temporary.write_text("newest")
    assert path.read_text() == "newest"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_replaced_and_nothing_is_left_over(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "model"
    for text in ("old", "new"):
        with replaced_folder(folder) as partial:
            fill(partial, text)
        assert content(folder) == {text}
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("replaced", [replaced_file, replaced_folder])
def test_an_error_leaves_the_old_one(tmp_path: Path, replaced: Callable[[Path], AbstractContextManager[Path]]) -> None:
    path = tmp_path / "kept"
    write_atomically(path, b"old") if replaced is replaced_file else fill_new(path)
    with pytest.raises(ValueError, match="stopped"), replaced(path) as temporary:
        (temporary if replaced is replaced_file else temporary / "index").write_text("half")
        raise ValueError("stopped")
    assert path.read_text() == "old" if replaced is replaced_file else content(path) == {"old"}


def fill_new(path: Path) -> None:
    path.mkdir()
    fill(path, "old")


def test_a_new_folder_is_put_in_place_whole(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    fill(tmp_path / "made", "new")
    put_in_place(tmp_path / "made", tmp_path / "final")
    assert content(tmp_path / "final") == {"new"}
    assert not (tmp_path / "made").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from drawaudio_model.atomic_files import replaced_folder
step, point = 0, int(sys.argv[2])
def dying(original):
    def call(*arguments):
        global step
        step += 1
        if step == point:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)
    return call
# Every sync and every rename is a place where the machine may stop.
os.fsync, os.rename = dying(os.fsync), dying(os.rename)
with replaced_folder(Path(sys.argv[1])) as partial:
    (partial / "part").mkdir()
    (partial / "part" / "weights").write_text("new")
    (partial / "index").write_text("new")
"""


@pytest.mark.parametrize("point", range(1, 8))
def test_killed_at_any_point_the_next_writer_finds_the_old_one_or_the_new_one(tmp_path: Path, point: int) -> None:
    folder = tmp_path / "model"
    fill_new(folder)
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(point)], check=False)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(ValueError, match="stopped"), replaced_folder(folder):
        # Between the two renames the old one lay aside; it is back before anything is written.
        assert content(folder) in ({"old"}, {"new"})
        raise ValueError("stopped")
    assert os.listdir(tmp_path) == ["model"]
    with replaced_folder(folder) as partial:
        fill(partial, "newest")
    assert content(folder) == {"newest"}
    assert os.listdir(tmp_path) == ["model"]


def test_an_error_names_the_file_and_not_the_one_beside_it(tmp_path: Path) -> None:
    """A name that leaves no room for the other one's suffix."""
    path = tmp_path / ("a" * 250)
    with pytest.raises(OSError, match="File name too long") as told:
        write_atomically(path, b"x")
    assert str(path) in str(told.value) and ".writing" not in str(told.value)
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken") as told:
        write_atomically(tmp_path / "taken", b"x")
    assert ".writing" not in str(told.value)
    assert [found.name for found in tmp_path.iterdir()] == ["taken"]


def test_two_writers_of_one_file_leave_what_one_of_them_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second comes while the first has written and not yet renamed."""
    path = tmp_path / "facts.json"
    original, late = atomic_files.put_in_place, []

    def interrupted(made: Path, final: Path) -> None:
        if not late:
            late.append(made)
            write_atomically(path, b"second")
            assert made.read_bytes() == b"first"
        original(made, final)

    monkeypatch.setattr(atomic_files, "put_in_place", interrupted)
    write_atomically(path, b"first")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_many_writers_of_one_file_never_tear_it(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    # Larger than a pipe's or a page's worth, so that writing takes many calls and the writers overlap.
    contents = [bytes([65 + i]) * 4_000_000 for i in range(8)]
    write_atomically(path, contents[0])
    done = Event()

    def read() -> int:
        """Reads until all have written; the number of whole contents that were seen."""
        seen = 0
        while not done.is_set():
            assert path.read_bytes() in contents, "a reader saw a torn file"
            seen += 1
        return seen

    with ThreadPoolExecutor(9) as pool:
        reader = pool.submit(read)
        try:
            list(pool.map(lambda content: write_atomically(path, content), contents * 3))
        finally:
            done.set()
        assert reader.result() > 0
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


DIES_WRITING = """
import os, signal, sys
from pathlib import Path
from drawaudio_model.atomic_files import folder_beside, replaced_file
with (replaced_file if sys.argv[2] == "file" else folder_beside)(Path(sys.argv[1])) as made:
    (made if sys.argv[2] == "file" else made / "half").write_text("half")
    print(made, flush=True)
    if len(sys.argv) > 3:
        sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_killed_writers_left_is_gone_after_the_next_write_and_what_others_write_is_not(
    tmp_path: Path, kind: str
) -> None:
    path, other = tmp_path / "facts.json", tmp_path / "other.json"
    command = [sys.executable, "-c", DIES_WRITING]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, str(path), kind, "waits"], **pipes) for _ in range(4)]
    try:
        made = [Path(writer.stdout.readline().strip()) for writer in writers]
        folders = [place.parent if kind == "file" else place for place in made]
        assert len(set(folders)) == 4
        for writer in writers[1:]:
            writer.kill()
            writer.wait()
        done = subprocess.run([*command, str(other), kind], capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL
        (others,) = set(os.listdir(tmp_path)) - {folder.name for folder in folders}
        assert len(os.listdir(tmp_path)) == 5, "each that was killed left something, and one writes still"
        write_atomically(path, b"whole")
        assert set(os.listdir(tmp_path)) == {"facts.json", folders[0].name, others}, "only the living writer's is kept"
        assert (made[0] if kind == "file" else made[0] / "half").read_text() == "half"
        write_atomically(other, b"whole")
        assert set(os.listdir(tmp_path)) == {"facts.json", folders[0].name, "other.json"}
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    write_atomically(path, b"again")
    assert sorted(os.listdir(tmp_path)) == ["facts.json", "other.json"]


def test_where_folders_cannot_be_locked_files_are_written_and_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "facts.json"
    done = subprocess.run([sys.executable, "-c", DIES_WRITING, str(path), "file"], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = os.listdir(tmp_path)

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(atomic_files.fcntl, "flock", refused)
    write_atomically(path, b"whole")
    assert sorted(os.listdir(tmp_path)) == sorted([left, "facts.json"]) and path.read_bytes() == b"whole"
    assert len(os.listdir(tmp_path / left)) == 1


def test_a_second_writer_of_a_folder_is_refused_and_spoils_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with replaced_folder(folder) as partial:
        fill(partial, "first")
        with pytest.raises(ValueError, match=r"model is being written by another process; wait for it or stop it"):
            with replaced_folder(folder):
                raise AssertionError("two writers at once")
        assert content(partial) == {"first"}
    assert content(folder) == {"first"}
    with replaced_folder(folder) as partial:
        fill(partial, "second")
    assert content(folder) == {"second"} and os.listdir(tmp_path) == ["model"]
