"""The process that started this one: what works for it ends with it."""

import os
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

ENDS_WITH = "DRAWAUDIO_ENDS_WITH"
"""Environment variable: number of the process for which a command works, and with which it ends."""
_SECONDS_BETWEEN_LOOKS = 1.0


def end_with_parent() -> None:
    """Ends this process, which multiprocessing started, as soon as its parent is killed.

    By itself a pool's process would wait for work for ever, and a second process would go on for nobody.
    """
    import multiprocessing  # not above: every --help would wait for it

    parent = multiprocessing.parent_process()
    assert parent is not None, "multiprocessing started this process"

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def end_with_starter() -> None:
    """Ends this process, and with it what works for it, once the process that `ENDS_WITH` names is gone; nothing without it.

    Whoever starts a command that takes hours sets it: a starter that is killed cannot stop the command, which would go on for
    nobody and write where the next one writes. Where a launcher stands between the two, this process ends with the launcher, too.
    """
    number = os.environ.get(ENDS_WITH, "")
    if not number.isdecimal():
        return

    # An orphan of a launcher that was killed before this line has process 1 for its parent.
    parent = os.getppid() if os.getppid() != 1 or number == "1" else None

    def watch() -> None:
        while _runs(int(number)) and os.getppid() == parent:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _runs(process: int) -> bool:
    with suppress(OSError):
        # One that was killed and that nobody has waited for still has its number; its state stands behind its name.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    try:
        os.kill(process, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is somebody else's, and there
    return True
