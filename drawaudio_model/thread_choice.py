"""The number of threads for the steps on a CPU, chosen by measuring: a process cannot know what else the machine computes.

Threads wait for each other at the end of every layer. Beside another process the slowest of them is the one that was
interrupted, and two threads may take several times as long as one. So a few steps are timed with one thread and with all,
and the faster number stays. Both are timed again when steps slow down and, with fewer than all threads, from time to time.

The number of threads decides how sums are split, and so the last bits of predictions and gradients: runs that shall be
equal bit for bit need a fixed number, which is what happens unless "auto" is asked for.
"""

import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from drawaudio_model.defaults import THREADS_VARIABLE

SETTING = THREADS_VARIABLE
PROBES = 3
"""Timed steps with each number of threads, of which the median counts."""
HOPELESS = 2.0
"""A measurement stops trying all threads after a step that takes this many times as long as with one."""
WORTH = 0.95
"""Share of the present number's time below which the other one takes its place."""
SLOWER = 1.5
"""Times as slow as when it was measured: then both are measured again ..."""
SLOW_STEPS = 7
"""... when the median of so many steps is."""
AGAIN_SECONDS = 60.0
"""Between two measurements, at least, and before all threads are tried again."""
MOST_SHARE = 0.02
"""Of the time, at most, goes into measuring again."""


class ThreadChoice:
    """Sets torch's number of threads to one or to all, whichever makes the steps of a loop faster.

    Args:
        most: all threads; with 1 there is nothing to choose.
        tell: gets one line when the number changes.
        set_threads: sets the number for what follows.
        clock: seconds.

    Attributes:
        threads: number of the step that runs, or comes next.
    """

    def __init__(
        self,
        most: int,
        *,
        tell: Callable[[str], None] | None = None,
        set_threads: Callable[[int], None] = torch.set_num_threads,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.most, self.threads = most, most
        self._tell, self._set_threads, self._clock = tell, set_threads, clock
        self._chosen = most
        self._began: float | None = None
        self._usual = 0.0
        """Seconds of a step with the chosen number, the fastest it has been."""
        self._recent: deque[float] = deque(maxlen=SLOW_STEPS)
        self._waiting: list[int] = []
        """Numbers that are still to be measured, the one that is being measured first."""
        self._times: dict[int, list[float]] = {}
        self._is_first = True
        self._next_measurement = 0.0
        if most > 1:
            self._measure()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Times what it encloses: one step of the loop."""
        self.begin()
        yield
        self.end()

    def begin(self) -> None:
        """A step begins."""
        self._began = self._clock()

    def end(self) -> None:
        """The step that began ends; may change the number of threads."""
        if self.most == 1 or self._began is None:
            return
        now = self._clock()
        seconds, self._began = now - self._began, None
        if self._waiting:
            self._probed(seconds, now)
            return
        self._recent.append(seconds)
        if len(self._recent) < SLOW_STEPS:
            return
        typical = statistics.median(self._recent)
        self._usual = min(self._usual, typical)
        if now >= self._next_measurement and (self._chosen < self.most or typical > SLOWER * self._usual):
            self._measure()

    def after_sampling_step(self, *_: object) -> dict[str, object]:
        """A pipeline's `callback_on_step_end`, where each sampling step is one of the loop; `begin` before the first."""
        self.end()
        self.begin()
        return {}

    def close(self) -> None:
        """Gives all threads back."""
        self._use(self.most)

    def _measure(self) -> None:
        """The next steps are timed, first with one thread, then with all: too slow a step with all is given up early."""
        self._times = {1: [], self.most: []}
        self._waiting = list(self._times)
        self._is_first = True
        self._recent.clear()
        self._use(1)

    def _probed(self, seconds: float, now: float) -> None:
        """One more step with the number that is being measured."""
        if self._is_first:  # it starts the process, or fills caches
            self._is_first = False
            return
        number = self._waiting[0]
        self._times[number].append(seconds)
        hopeless = number > 1 and seconds > HOPELESS * statistics.median(self._times[1])
        if len(self._times[number]) < PROBES and not hopeless:
            return
        self._waiting.pop(0)
        if self._waiting:
            self._use(self._waiting[0])
        else:
            self._choose(now)

    def _choose(self, now: float) -> None:
        """Pick the faster number, slightly favouring the present one, and the time of the next measurement."""
        medians = {number: statistics.median(times) for number, times in self._times.items()}
        present, other = self._chosen, 1 if self._chosen > 1 else self.most
        self._chosen = other if medians[other] < WORTH * medians[present] else present
        if self._tell is not None and (self._chosen != present or self._next_measurement == 0):
            measured = ", ".join(f"{seconds:.3g} s with {number}" for number, seconds in medians.items())
            self._tell(f"{self._chosen} of {self.most} threads: a step takes {measured}")
        self._usual = medians[self._chosen]
        lost = sum(max(0.0, seconds - self._usual) for times in self._times.values() for seconds in times)
        self._next_measurement = now + max(AGAIN_SECONDS, lost / MOST_SHARE)
        self._use(self._chosen)

    def _use(self, number: int) -> None:
        if number != self.threads:
            self._set_threads(number)
        self.threads = number


def threads_setting(flag: str | None = None) -> int | Literal["auto"]:
    """The setting of a command's --threads, or else of the environment variable SETTING, or else torch's own number.

    Raises:
        ValueError: for another value than auto or a number of at least 1.
    """
    text = flag or os.environ.get(SETTING)
    if text is None or text == "":
        return torch.get_num_threads()
    if text == "auto":
        return "auto"
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"threads is {text!r}, expected auto or a number of at least 1 such as 2")
    return int(text)


@contextmanager
def chosen_threads(
    setting: int | Literal["auto"],
    *,
    device: torch.device,
    processes: int = 1,
    tell: Callable[[str], None] | None = None,
) -> Iterator[ThreadChoice | None]:
    """Inside, torch's threads are as the setting says: a ThreadChoice that wants every step timed for "auto" on a CPU.

    Args:
        setting: of `threads_setting`.
        device: of the steps.
        processes: that compute the same steps together; they would wait for each other, so nothing is measured.
        tell: gets a line when the number changes.

    Yields:
        None where there is nothing to choose: a fixed number, a single core, a GPU, several processes.
    """
    before = torch.get_num_threads()
    if setting != "auto":
        torch.set_num_threads(setting)
        try:
            yield None
        finally:
            torch.set_num_threads(before)
        return
    if device.type != "cpu" or processes > 1 or before == 1:
        yield None
        return
    choice = ThreadChoice(before, tell=tell)
    try:
        yield choice
    finally:
        choice.close()
