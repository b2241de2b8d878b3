"""The time that torch's threads wait for each other before they sleep.

At the end of every layer the threads of GNU's OpenMP, which torch's own builds use, turn in a loop for some milliseconds,
for the next layer may come at once. Where another process computes on the same cores, the loop keeps it, and the thread that
all wait for, from going on: beside one other process a training step on two cores took thirty times as long
(benchmarks/busy_threads.py). A loop of some microseconds costs a few per cent on an idle machine, and a busy one shares.

Nothing is imported here: the library reads the variable when torch is loaded.
"""

import os

SPIN_VARIABLE = "GOMP_SPINCOUNT"
SPINS = "1000"
"""Turns of the loop; the library's own number is 300,000."""
_USERS_OWN = ("OMP_WAIT_POLICY", SPIN_VARIABLE)


def wait_briefly() -> None:
    """Lets the threads of this process, and of those it starts, sleep soon; call it before torch is imported.

    A policy that the user set stays.
    """
    if not any(name in os.environ for name in _USERS_OWN):
        os.environ[SPIN_VARIABLE] = SPINS
