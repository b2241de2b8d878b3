"""How far a call of the pipeline is, told at every stage, and how it is stopped at any of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

STAGES = ("reading", "mask", "picture", "text", "sampling", "decoding", "vocoder", "ranking")
"""In this order; those that a call does not need are left out."""


@dataclass(frozen=True)
class Progress:
    """One report: `done` of `total` parts of a stage, of one candidate."""

    stage: str
    """One of STAGES."""
    done: int = 0
    total: int = 1
    """Parts of the stage: frames of "mask" and "picture"; of "sampling" the steps times the windows; windows of "decoding"."""
    candidate: int = 0
    """Counted from 1; 0 in what all candidates share."""
    candidates: int = 0
    """How many are made; 0 while that is not known."""


class Stopped(Exception):
    """The call was stopped by its `on_progress`; nothing that was computed is given back."""


OnProgress = Callable[[Progress], object]
"""Called with each report; False stops the call with `Stopped`, and so does whatever it raises, unchanged."""


class Teller:
    """Hands reports to a callback, and stops where it says so.

    Args:
        listener: the callback; None: nobody listens.
    """

    def __init__(self, listener: OnProgress | None = None) -> None:
        self.listener = listener
        self.place = Progress("reading")

    def of_candidate(self, candidate: int, candidates: int) -> None:
        """The reports that follow are of this one."""
        self.place = replace(self.place, candidate=candidate, candidates=candidates)

    def tell(self, stage: str, done: int = 0, total: int = 1) -> None:
        """One report.

        Raises:
            Stopped: when the callback returns False.
        """
        self.place = replace(self.place, stage=stage, done=done, total=total)
        if self.listener is not None and self.listener(self.place) is False:
            raise Stopped(f"stopped in {stage}, {done} of {total}")


SILENT = Teller()
"""Tells nobody."""
