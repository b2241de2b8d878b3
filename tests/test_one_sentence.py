"""Errors of the operating system as sentences: real ones, of real files."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from drawaudio_model.one_sentence import one_sentence


def missing(folder: Path) -> None:
    (folder / "clip.mp4").read_bytes()


def missing_folder(folder: Path) -> None:
    (folder / "none" / "curve.csv").write_text("")


def through_a_file(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "file" / "curve.csv").write_text("")


def a_folder(folder: Path) -> None:
    folder.read_bytes()


def long_name(folder: Path) -> None:
    (folder / ("a" * 300)).touch()


def full_disk(_: Path) -> None:
    with Path("/dev/full").open("w") as file:
        file.write("x")


def full_disk_named(folder: Path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "out.wav"))


def moved_nowhere(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "file").rename(folder / "none" / "file")


def own_words(_: Path) -> None:
    raise ValueError("a mask\n is   empty")


def no_words(_: Path) -> None:
    raise KeyError


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (missing, "FOLDER/clip.mp4 does not exist; check its name"),
        (missing_folder, "the folder of FOLDER/none/curve.csv does not exist; make it first"),
        (
            through_a_file,
            "FOLDER/file/curve.csv: a part of this path is a file, not a folder; name another place",
        ),
        (a_folder, "FOLDER: it is a folder, expected a file"),
        (long_name, f"FOLDER/{'a' * 300}: the name is too long; give a shorter one"),
        (full_disk, "the disk is full; make room there, or name another place"),
        (full_disk_named, "FOLDER/out.wav: the disk is full; make room there, or name another place"),
        (moved_nowhere, "the folder of FOLDER/none/file does not exist; make it first"),
        (own_words, "a mask is empty"),
        (no_words, "KeyError"),
    ],
)
def test_an_error_names_the_file_and_what_to_do(fault: Callable[[Path], None], sentence: str, tmp_path: Path) -> None:
    with pytest.raises((OSError, ValueError, KeyError)) as caught:
        fault(tmp_path)
    assert one_sentence(caught.value) == sentence.replace("FOLDER", str(tmp_path))


def test_an_error_without_advice_has_the_system_s_words_and_no_number(tmp_path: Path) -> None:
    error = OSError(errno.EIO, os.strerror(errno.EIO), str(tmp_path / "clip.mp4"))
    assert one_sentence(error) == f"{tmp_path / 'clip.mp4'}: Input/output error"
