"""The last preparations of a pipeline, found again: takes, other curves and other seeds of one video are asked for one by
one, and reading it and its features takes as long as a draft's sampling.
"""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drawaudio_model.atomic_files import file_mark, fingerprint
from drawaudio_model.generation.preparing import Prepared

MOST = 8
"""Preparations that are kept; one of a minute of video has some hundred kilobytes."""


class Preparations:
    """Results of `DrawAudioPipeline.prepare`, found again by the files that they were made of.

    Args:
        most: how many are kept; the one that was not asked for longest goes first.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._kept: OrderedDict[str, Prepared] = OrderedDict()

    def of(self, make: Callable[[], Prepared], **arguments: Any) -> Prepared:
        """The preparation of these arguments, made by `make` where it is not there.

        A video or mask in memory has no name to be found by, and is prepared each time.
        """
        key = _key(arguments)
        if key is None:
            return make()
        if key not in self._kept:
            self._kept[key] = make()
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def _key(arguments: dict[str, Any]) -> str | None:
    """None where an argument is neither JSON nor a path; files count by size and time, too."""
    for value in arguments.values():
        flat = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(item, str | Path | int | float | None) for item in flat):
            return None
    marks = [file_mark(value) for value in arguments.values()]
    return fingerprint({name: str(value) for name, value in arguments.items()}, marks)
