"""Files and folders that are whole or not there, and fingerprints of them.

One guarantee for all of them: whatever is written lies under another name until it is complete and on the disk, and is
then renamed. A process that is killed, or a machine that loses power, leaves the old one or the new one.
"""

import fcntl
import hashlib
import io
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that after a crash it is either the old one or the whole new one; of two writers the last one's.

    Raises:
        OSError: when it cannot be written; the message names `path`, not the file beside it, which is gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: two writers of one file must not write into one another's half.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with temporary.open("xb") as file:
            file.write(content)
        put_in_place(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if error.filename not in (None, str(temporary)):
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A file beside `path`, of its name, that takes its place once the block has written it: for writers that want a path.

    Raises:
        OSError: when it cannot be written; the message names `path`, not the file beside it.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            put_in_place(temporary, path)
    except OSError as error:
        if ".writing-" not in f"{error.filename}{error.filename2}":
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` that takes its place once the block has written it: `folder` is always whole.

    Where the block raises, what it had written is removed.

    Raises:
        ValueError: when another writer is at it: each would take what the other has written for its own.
    """
    partial, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
    with _own_folder(partial, folder):
        if old.exists() and not folder.exists():
            os.rename(old, folder)  # a process was killed between the two renames below
        shutil.rmtree(old, ignore_errors=True)
        try:
            yield partial
            _sync_whole(partial)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        if folder.exists():
            os.rename(folder, old)
        os.rename(partial, folder)
        _sync(folder.parent)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _own_folder(partial: Path, final: Path) -> Iterator[None]:
    """An empty folder that no other writer has while the block runs, wherever the block renames it to."""
    partial.mkdir(parents=True, exist_ok=True)
    handle = os.open(partial, os.O_RDONLY)
    try:
        _lock(handle)
        # Between the opening and the lock the other writer may have given the folder its final name.
        if not os.path.samestat(os.fstat(handle), partial.stat()):
            raise BlockingIOError
    except (BlockingIOError, FileNotFoundError):
        os.close(handle)
        raise ValueError(f"{final} is being written by another process; wait for it or stop it") from None
    try:
        for leftover in partial.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)  # said, for a process forked meanwhile holds the handle as well
        os.close(handle)


def _lock(handle: int) -> None:
    """Lock a folder, or raise BlockingIOError; some network file systems cannot lock folders, and none is locked there."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass


def put_in_place(made: Path, final: Path) -> None:
    """Give a complete file, or folder that is new, its final name once its content is on the disk."""
    _sync_whole(made)
    os.replace(made, final)
    _sync(final.parent)


def fingerprint(*parts: object) -> str:
    """sha256 (hex) of JSON-able values; the same values give the same text in every process."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def file_mark(place: Any) -> Any:
    """Sizes and times of a file, or of all files in a folder: they change when it does. None where there is neither."""
    if not isinstance(place, str | Path) or not os.path.exists(place):
        return None
    place = Path(place)
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def encode_array(array: "np.ndarray") -> bytes:
    """The bytes of an .npy file of version 1.0, equal for equal arrays."""
    import numpy as np

    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def decode_array(content: bytes) -> "np.ndarray":
    """The array of an .npy file; pickled objects are refused."""
    import numpy as np  # not above: whoever only writes files waits for no library

    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def _sync_whole(path: Path) -> None:
    """Wait until a file, or a folder and everything in it, is on the disk: after a power cut nothing empty lies there."""
    for part in [*path.rglob("*"), path]:
        _sync(part)


def _sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
