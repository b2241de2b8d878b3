"""An error in one sentence that a person can act on, wherever one is told: command line, servers, ledgers, tables."""

import errno
import os
from pathlib import Path

_ADVICE = {
    errno.ENOTDIR: "a part of this path is a file, not a folder; name another place",
    errno.EISDIR: "it is a folder, expected a file",
    errno.ENOTEMPTY: "this folder is not empty; name another one",
    errno.EACCES: "this user may not read or write there; change its rights, or name another place",
    errno.EPERM: "this user may not do that there; change its rights, or name another place",
    errno.EROFS: "nothing can be written there; name another place",
    errno.ENOSPC: "the disk is full; make room there, or name another place",
    errno.EDQUOT: "this user's share of the disk is full; make room there, or name another place",
    errno.EMFILE: "too many files are open at once; raise the limit (ulimit -n)",
    errno.ENAMETOOLONG: "the name is too long; give a shorter one",
}


def one_sentence(error: BaseException) -> str:
    """The words of an error on one line; an error of the operating system names the file and what to do, not a number."""
    words = " ".join(str(error).split())
    if not isinstance(error, OSError) or error.errno is None or not words.startswith("[Errno"):
        return words or type(error).__name__
    file = error.filename2 or error.filename
    advice = _ADVICE.get(error.errno, error.strerror or type(error).__name__)
    if not isinstance(file, str | bytes | os.PathLike):
        return advice
    path = Path(os.fsdecode(file))
    if error.errno == errno.ENOENT:
        if path.parent.is_dir():
            return f"{path} does not exist; check its name"
        return f"the folder of {path} does not exist; make it first"
    return f"{path}: {advice}"
