"""A second process on a CPU that does half of the work: two processes of one thread are faster than one of two.

The threads of one process wait for each other at the end of every layer, and what lies between two layers is done by one of
them: a training step of the demo's denoiser gains a fifth by a second thread, and a sampling step a half. Processes meet once a
step, or never.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal

import torch

from drawaudio_model.defaults import THREADS_VARIABLE
from drawaudio_model.parent_process import end_with_parent


def process_count(asked: str, threads: int | Literal["auto"], device: torch.device) -> int:
    """How many processes share the work: 1 or 2.

    Args:
        asked: "1", "2" or "auto": two where the number of threads is free, too, for a sum over processes rounds differently.
        threads: of `threads_setting`.
        device: of the work.
    """
    if asked != "auto":
        return int(asked)
    is_one_of_several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    free = threads == "auto" and device.type == "cpu" and torch.get_num_threads() > 1
    return 2 if free and not is_one_of_several else 1


class SecondProcess:
    """A process that does `work(*arguments)`.

    Args:
        what: does it, for messages: "training".
        threads: torch's, in that process.
        work: a function of a module; what it raises is told by the message of `check`.
        arguments: that can be pickled.
    """

    def __init__(self, what: str, threads: int, work: Callable[..., object], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._what, self._reason = what, ""
        self._words, theirs = context.Pipe(duplex=False)
        self.process: BaseProcess = context.Process(target=_begin, args=(theirs, threads, work, arguments), daemon=True)
        self.process.start()
        theirs.close()

    def wait_for_start(self) -> None:
        """Until it begins to work: its libraries are loaded.

        Raises:
            ChildProcessError: when it ended before.
        """
        wait([self._words, self.process.sentinel])
        self._listen()
        if not self.process.is_alive():
            self.check()

    def check(self) -> None:
        """Waits for the end of the process.

        Raises:
            ChildProcessError: when it ended with an error, with its reason.
        """
        self.process.join()
        self._listen()
        code = self.process.exitcode
        if code:
            ended = f"was ended by {signal.Signals(-code).name}, probably for want of memory" if code < 0 else "failed"
            raise ChildProcessError(
                f"the second process of the {self._what} {ended}{self._reason}; run the same again to go on, or with "
                "--processes 1"
            )

    def kill(self) -> None:
        """Ends the process, if it still runs."""
        self.process.kill()
        self.process.join()

    def _listen(self) -> None:
        """Takes the words that the process has sent: "" when it begins, its reason when it fails."""
        try:
            while self._words.poll():
                self._reason = self._words.recv()
        except EOFError:
            pass


@contextmanager
def second_process(what: str, work: Callable[..., object], *arguments: Any) -> Iterator[SecondProcess]:
    """While the block does one half of the work, a process of its own does the other; each has half of the threads.

    The process is killed when the block raises, and ends by itself when this process is killed.

    Args:
        what: does the work, for messages.
        work: the other half; a function of a module.
        arguments: of `work`.

    Raises:
        ChildProcessError: when the other process failed, which a RuntimeError of the block is taken for where it has ended.
    """
    before, variable = torch.get_num_threads(), os.environ.get(THREADS_VARIABLE)
    threads = max(1, before // 2)
    second = SecondProcess(what, threads, work, *arguments)
    torch.set_num_threads(threads)
    os.environ[THREADS_VARIABLE] = str(threads)
    try:
        yield second
        second.check()
    except RuntimeError:
        second.process.join(_SECONDS_TO_END)
        if not second.process.is_alive():
            second.check()
        raise
    finally:
        second.kill()
        torch.set_num_threads(before)
        os.environ.pop(THREADS_VARIABLE)
        if variable is not None:
            os.environ[THREADS_VARIABLE] = variable


_MOST_WORDS = 2000
"""Characters of a reason: it must fit into the pipe, for the process to end before anybody reads it."""
_SECONDS_TO_END = 5.0
"""That a failing process may need, after its connections are closed."""


def _begin(words: Connection, threads: int, work: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    end_with_parent()
    torch.set_num_threads(threads)
    os.environ[THREADS_VARIABLE] = str(threads)
    # The first process reports to Dagster.
    os.environ.pop("DAGSTER_PIPES_CONTEXT", None)
    words.send("")
    try:
        work(*arguments)
    except Exception as error:
        words.send(f" ({type(error).__name__}: {str(error)[:_MOST_WORDS]})")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
