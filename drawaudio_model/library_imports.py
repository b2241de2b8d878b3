"""A command's import of the libraries that take seconds, without Python's garbage collector.

torch, diffusers and transformers make a million objects, all of which stay. The collector would walk through them a thousand
times while they are made, and again as the process ends: together two fifths of the CPU time of a start.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def libraries_imported() -> Iterator[None]:
    """Nothing is collected within it, and what was imported is not walked through afterwards (`gc.freeze`).

    For the start of a process of our own: objects that are garbage as it ends are kept for good. Where torch was there
    before, as in a notebook, the process is somebody else's, and the collector only rests.
    """
    own = "torch" not in sys.modules
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if own:
            gc.freeze()
        if collected:
            gc.enable()
