"""The quota of requests and the pause after a refusal, shared by all processes of the machine.

The state is one small file under a lock. The bucket holds `burst` tokens and is refilled with quota - burst of them in an
hour, so that no hour sees more than `quota` starts, whatever processes there are and however they are restarted. Where
processes ask with different quotas (a guest beside an account), the lowest that was asked with in the last hour holds.
"""

import fcntl
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drawaudio_model.atomic_files import write_atomically

HOUR = 3600.0
_ROUNDING = 1e-6
"""Part of a token that is never waited for: a clock that counts from 1970 cannot show so short a time."""


@dataclass
class QuotaState:
    """The content of the file."""

    tokens: float
    at: float
    """When `tokens` was true; seconds of the clock."""
    paused_until: float = 0.0
    reason: str = ""
    rate: float = math.inf
    """Tokens a second of the lowest quota that was lately asked with ..."""
    rate_at: float = 0.0
    """... and when that was."""


class Quota:
    """Token bucket and circuit breaker.

    Args:
        folder: holds the state; made where it is missing.
        per_hour: starts allowed in any hour.
        burst: tokens that the bucket holds.
        clock: seconds; the same clock for all processes, and one that survives a restart.
    """

    def __init__(self, folder: Path, *, per_hour: int, burst: int, clock: Callable[[], float] = time.time) -> None:
        if not 0 < burst < per_hour:
            raise ValueError(f"burst is {burst} of {per_hour} starts an hour, expected at least 1 and fewer than all")
        self.folder, self.per_hour, self.burst, self._clock = Path(folder), per_hour, burst, clock
        self._rate = (per_hour - burst) / HOUR

    def try_take(self) -> float:
        """Take one token: 0 when it was there, else the seconds to wait before asking again."""
        with self._locked() as (state, now):
            if now < state.paused_until:
                return state.paused_until - now
            if state.tokens < 1 - _ROUNDING:
                return (1 - state.tokens) / state.rate
            state.tokens -= 1
            return 0.0

    def pause(self, seconds: float, reason: str) -> None:
        """Open the circuit breaker: nobody gets a token for so long; a longer pause stays."""
        with self._locked() as (state, now):
            if now + seconds > state.paused_until:
                state.paused_until, state.reason = now + seconds, reason

    def paused(self) -> tuple[float, str]:
        """Seconds that the pause still lasts (0 without one), and its reason."""
        with self._locked() as (state, now):
            return max(0.0, state.paused_until - now), state.reason

    @contextmanager
    def _locked(self) -> Iterator[tuple[QuotaState, float]]:
        """The state of this moment, for this process alone; what is changed in it is kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "quota.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            path, now = self.folder / "quota.json", self._clock()
            state = self._read(path, now)
            # A clock that was set back must not stop the line until it has caught up; what is left of a pause stays.
            back = max(0.0, state.at - now)
            state.paused_until, state.rate_at = state.paused_until - back, state.rate_at - back
            passed = max(0.0, now - state.at)
            state.tokens += passed * min(state.rate, self._rate)
            state.tokens, state.at = min(float(self.burst), state.tokens), now
            before = dict(vars(state))
            if self._rate <= state.rate or now - state.rate_at >= HOUR:
                state.rate, state.rate_at = self._rate, now
            yield state, now
            if vars(state) != before or not path.exists():
                write_atomically(path, json.dumps(vars(state)).encode())

    def _read(self, path: Path, now: float) -> QuotaState:
        try:
            return QuotaState(**json.loads(path.read_text()))
        except FileNotFoundError:
            return QuotaState(float(self.burst), now)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path} cannot be read ({error}); delete it, an hour after the last download at the earliest"
            ) from error
