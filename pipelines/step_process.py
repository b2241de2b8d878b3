"""The imports that the processes of concurrent steps begin with; loaded once, in the process that they are copies of.

Unlike any other module it does something when it is imported: nothing else reaches a copy before its step begins.
"""

import multiprocessing
import os
import signal
import threading
import time

import torch

# Loaded for the copies. diffusers is not: it looks for a GPU as it is loaded, after which no copy could use one.
from pipelines import definitions  # noqa: F401

_SECONDS_BETWEEN_LOOKS = 0.5


def _end_with_the_run() -> None:
    """Interrupts this process's step, as Dagster does, when the run's process was killed: nobody waits for it any more."""

    def watch() -> None:
        # The process that this is a copy of lives on with its copies; the run's is known a moment after the copy was made.
        while (run := multiprocessing.parent_process()) is None:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        run.join()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


# Steps at once share the cores, unless the user has fixed the number of threads, and with it the last bits of all data.
# Trainings are processes of their own and choose for themselves (resources.py).
if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(1)
os.register_at_fork(after_in_child=_end_with_the_run)
