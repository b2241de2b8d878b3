"""The quota holds over processes, and a refusal stops all of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.sources.youtube.quota import HOUR, Quota
from pipelines.sources.youtube.settings import DownloadSettings

ROOT = Path(__file__).parent.parent


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def take_until(quota: Quota, clock: Clock, end: float) -> list[float]:
    taken = []
    while clock.now < end:
        wait = quota.try_take()
        if wait:
            clock.now += wait
        else:
            taken.append(clock.now)
    return taken


def most_in_an_hour(times: list[float]) -> int:
    times = sorted(times)
    return max(sum(start <= time < start + HOUR for time in times) for start in times)


def test_no_hour_sees_more_than_the_quota_and_the_quota_is_used(tmp_path: Path) -> None:
    clock = Clock()
    quota = Quota(tmp_path, per_hour=30, burst=3, clock=clock)
    taken = take_until(quota, clock, clock.now + 3 * HOUR)
    assert most_in_an_hour(taken) <= 30
    assert len(taken) >= 3 * 27


def test_a_rest_gives_no_more_than_the_burst(tmp_path: Path) -> None:
    clock = Clock()
    quota = Quota(tmp_path, per_hour=20, burst=4, clock=clock)
    first = take_until(quota, clock, clock.now + HOUR)
    clock.now += 24 * HOUR
    started = clock.now
    times = first + take_until(quota, clock, clock.now + 2 * HOUR)
    assert sum(time == started for time in times) == 4
    assert most_in_an_hour(times) <= 20


TAKER = """
import fcntl, sys
from pathlib import Path
from pipelines.sources.youtube.quota import Quota
folder, name, end = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
clock_file = folder / "clock"
quota = Quota(folder / "state", per_hour=30, burst=3, clock=lambda: float(clock_file.read_text()))
taken = (folder / f"taken-{name}").open("w")
while True:
    # Sleeping is moving the common clock on; whoever waits least moves it first.
    with (folder / "clock.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        now = float(clock_file.read_text())
        if now >= end:
            break
        wait = quota.try_take()
        if wait:
            new = clock_file.with_name(f"clock-{name}")
            new.write_text(repr(now + min(wait, 50.0)))
            new.replace(clock_file)
        else:
            taken.write(f"{now!r}\\n")
"""


def test_two_processes_at_once_never_exceed_the_bucket(tmp_path: Path) -> None:
    start = 1_000_000.0
    (tmp_path / "clock").write_text(repr(start))
    command = [sys.executable, "-c", TAKER, str(tmp_path)]
    takers = [subprocess.Popen([*command, name, str(start + 3 * HOUR)], cwd=ROOT) for name in ("a", "b")]
    assert [taker.wait(timeout=60) for taker in takers] == [0, 0]
    taken = [[float(line) for line in (tmp_path / f"taken-{name}").read_text().split()] for name in ("a", "b")]
    assert all(taken), "both processes must have downloaded"
    both = taken[0] + taken[1]
    assert most_in_an_hour(both) <= 30
    assert len(both) >= 3 * 27


def test_a_pause_holds_everybody_and_ends(tmp_path: Path) -> None:
    clock = Clock()
    one, other = (Quota(tmp_path, per_hour=250, burst=5, clock=clock) for _ in range(2))
    assert one.try_take() == 0
    one.pause(600, "bot_check: Sign in")
    assert other.try_take() == pytest.approx(600)
    other.pause(60, "http_429: later and shorter")
    assert one.paused() == (pytest.approx(600), "bot_check: Sign in")
    clock.now += 600
    assert other.try_take() == 0


def test_a_clock_set_back_stops_nobody(tmp_path: Path) -> None:
    clock = Clock()
    quota = Quota(tmp_path, per_hour=250, burst=5, clock=clock)
    take_until(quota, clock, clock.now + 60)
    clock.now -= 10 * HOUR
    assert quota.try_take() < 60


def test_a_clock_set_back_makes_no_pause_longer(tmp_path: Path) -> None:
    clock = Clock()
    quota = Quota(tmp_path, per_hour=250, burst=5, clock=clock)
    quota.pause(600, "http_429")
    clock.now -= 10 * HOUR
    assert quota.paused()[0] == pytest.approx(600)


def test_a_guest_beside_an_account_keeps_the_guests_quota(tmp_path: Path) -> None:
    clock = Clock()
    guest, account = (Quota(tmp_path, per_hour=number, burst=3, clock=clock) for number in (30, 300))
    taken, end = [], clock.now + 2 * HOUR
    while clock.now < end:
        if account.try_take() and guest.try_take():
            clock.now += 5
        else:
            taken.append(clock.now)
    assert most_in_an_hour(taken) <= 30
    clock.now += HOUR
    assert len(take_until(account, clock, clock.now + HOUR)) > 200


def test_the_quota_is_the_sessions() -> None:
    assert DownloadSettings().videos_per_hour == 250
    assert DownloadSettings(cookies="cookies.txt").videos_per_hour == 1500


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    variables = {"DRAWAUDIO_YOUTUBE_COOKIES": "c.txt", "DRAWAUDIO_YOUTUBE_SLEEP_SECONDS": "7", "PATH": "/bin"}
    settings = DownloadSettings.from_environment(variables)
    assert (settings.cookies, settings.sleep_seconds, settings.proxy) == ("c.txt", 7.0, "")
    with pytest.raises(ValueError, match=r"DRAWAUDIO_YOUTUBE_COOKIE names no setting, expected one of .*_COOKIES"):
        DownloadSettings.from_environment({"DRAWAUDIO_YOUTUBE_COOKIE": "c.txt"})
    with pytest.raises(ValueError, match="DRAWAUDIO_YOUTUBE_RETRIES is 'many', expected a whole number"):
        DownloadSettings.from_environment({"DRAWAUDIO_YOUTUBE_RETRIES": "many"})
    with pytest.raises(ValueError, match="SLEEP_MOST_SECONDS is 1, expected at least"):
        DownloadSettings(sleep_most_seconds=1)
    with pytest.raises(ValueError, match=r"expected a URL with \{id\} in it"):
        DownloadSettings(url_template="https://www.youtube.com/watch?v=")
