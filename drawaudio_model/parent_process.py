"""The process that started this one: what works for it ends with it."""

import multiprocessing
import os
from threading import Thread


def end_with_parent() -> None:
    """Ends this process, which multiprocessing started, as soon as its parent is killed.

    By itself a pool's process would wait for work for ever, and a second process would go on for nobody.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "multiprocessing started this process"

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()
