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
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


_WRITERS = 16
"""So many writers of one file at the same time have a folder that a later one finds again."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that after a crash it is either the old one or the whole new one; of two writers the last one's.

    Raises:
        OSError: when it cannot be written; the message names `path`, not the file beside it, which is gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A file beside `path`, of its name, that takes its place once the block has written it: for writers that want a path.

    Raises:
        OSError: when it cannot be written; the message names `path`, not the file beside it.
    """
    try:
        with folder_beside(path) as folder:
            yield folder / path.name
            put_in_place(folder / path.name, path)
    except OSError as error:
        if str(path.with_name(f".{path.name}.")) not in f"{error.filename}{error.filename2}":
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` that no other writer has while the block runs, and that is gone behind it.

    A process that is killed leaves its folder: whoever writes `path` next on this machine removes those that nobody holds. Where
    the file system cannot lock, nobody can tell, and they stay.
    """
    folder, handle = _free_folder(path)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            _let_go(handle)


def _free_folder(path: Path) -> tuple[Path, int | None]:
    """A folder beside `path` and the handle of its lock; folders of writers that were killed are gone."""
    # Another machine's locks may not be seen here, so its folders have other names.
    machine = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
    folders = [path.with_name(f".{path.name}.{machine}-{number}.writing") for number in range(_WRITERS)]
    free: tuple[Path, int] | None = None
    with suppress(_CannotLock):
        for folder in folders:
            if free is not None and not os.path.lexists(folder):
                continue
            handle = _held(folder)
            if handle is None:
                continue  # somebody writes there
            _empty(folder)
            if free is None:
                free = folder, handle
            else:
                shutil.rmtree(folder, ignore_errors=True)
                _let_go(handle)
        if free is not None:
            return free
    folder = path.with_name(f".{path.name}.{secrets.token_hex(4)}.writing")
    folder.mkdir()
    return folder, None


class _CannotLock(Exception):
    """The file system has no locks of folders."""


def _held(folder: Path) -> int | None:
    """The handle of a folder's lock, the folder made where there is none; None where another writer holds it."""
    while True:
        with suppress(FileExistsError):
            folder.mkdir()  # not exist_ok, which asks whether a folder is there that its writer may just have removed
        if not os.path.lexists(folder):
            continue
        if not os.access(folder, os.W_OK | os.X_OK):
            return None  # another user's
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # its writer has just removed it
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError as error:
            os.close(handle)
            raise _CannotLock from error
        with suppress(FileNotFoundError):
            # Between the opening and the lock its writer may have removed it.
            if os.path.samestat(os.fstat(handle), folder.stat()):
                return handle
        os.close(handle)


def _let_go(handle: int) -> None:
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)  # said, for a process forked meanwhile holds the handle as well
    os.close(handle)


def _empty(folder: Path) -> None:
    for leftover in folder.iterdir():
        shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()


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
        _empty(partial)
        yield
    finally:
        _let_go(handle)


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
