"""Assets that do not wait for one another, computed at the same time: DRAWAUDIO_STEPS_AT_ONCE says how many.

Most backbones learn no faster with two threads than with one, so on two cores two of them are made in the time of one. `make
demo` asks for it. Without the variable the assets of a run are computed one after the other in its own process: a process for
each would import everything again, and on many machines every shard has a run of its own.
"""

import os

import dagster as dg

SETTING = "DRAWAUDIO_STEPS_AT_ONCE"
EARLY = {"dagster/priority": "1"}
"""Tags of the steps that come first among those that may begin: the longest chains lead through them."""


def steps_at_once() -> int:
    """How many steps of a run may be computed at the same time: what SETTING says, and no more than there are cores.

    Raises:
        ValueError: when it says something else than a whole number of at least 1.
    """
    text = os.environ.get(SETTING) or "1"
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{SETTING} is {text!r}, expected a whole number of at least 1 such as 2; correct or unset it")
    return min(int(text), os.cpu_count() or 1)


def step_executor() -> dg.ExecutorDefinition:
    """One step after the other in the run's process, or several at once, each in a process of its own."""
    count = steps_at_once()
    if count == 1:
        return dg.in_process_executor
    # Two bars would write to one line; Reporter (drawaudio_model/progress.py) tells lines in their place.
    os.environ.setdefault("TQDM_DISABLE", "1")
    # A step's process is a copy of one that has loaded the libraries already.
    start = {"forkserver": {"preload_modules": ["pipelines.step_process"]}}
    return dg.multiprocess_executor.configured({"max_concurrent": count, "start_method": start})
