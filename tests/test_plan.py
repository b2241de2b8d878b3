"""The plan of a build from YouTube: its sums, and that nothing is fetched for it."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.profiles import PROFILES
from pipelines.sources.youtube.plan import estimate, plan
from tests.test_youtube_lists import write

ROOT = Path(__file__).parent.parent


@pytest.fixture
def lists(tmp_path, monkeypatch):
    """Three clips of two videos, one of them twice in the list."""
    write(
        tmp_path,
        "vggsound/vggsound.csv",
        "goodgoodgo1,1,y,train",
        "goodgoodgo1,50,y,train",
        "testtestte1,5,x,test",
        "testtestte1,5,x,test",
    )
    monkeypatch.setenv("DRAWAUDIO_LISTS", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("DRAWAUDIO_YOUTUBE_")]:
        monkeypatch.delenv(name)
    return tmp_path


def test_the_paper_s_list_takes_a_guest_four_weeks_and_an_account_four_days():
    guest, account = (estimate(199_176, 160_000, quota) for quota in (250, 1500))
    assert guest.hours == 640 and account.hours == pytest.approx(106.7, abs=0.1)
    assert guest.pages == pytest.approx(528_000)
    assert guest.core_hours == pytest.approx(199_176 * 1.58 / 3600)
    assert guest.disk_gigabytes == account.disk_gigabytes > 199_176 * 1.1e-3


def test_the_plan_counts_clips_videos_and_what_is_left_out(lists, monkeypatch):
    def no_network(*_):
        raise AssertionError("the plan opened a connection")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    text = plan(PROFILES["vggsound_caption"])
    lines = {line.split("  ")[1]: line for line in text.splitlines() if line.startswith("  ") and line.split("  ")[1]}
    assert "3 (2 train, 0 val, 1 test)" in lines["clips"]
    assert "1 duplicate" in lines["rows left out"]
    assert re.search(r"\b2;", lines["videos"]) and "2, one a video" in lines["requests"]
    assert "250 videos/h, as a guest" in lines["time"]
    assert {"fetched", "disk", "CPU"} <= set(lines)
    assert "GB" in lines["disk"] and "core-hours" in lines["CPU"]
    assert list(lists.iterdir()) == [lists / "vggsound"]


def test_cookies_put_the_account_s_quota_first(lists, monkeypatch):
    cookies = lists / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n")
    monkeypatch.setenv("DRAWAUDIO_YOUTUBE_COOKIES", str(cookies))
    assert re.search(r"time +0\.0 h at 1500 videos/h, as an account", plan(PROFILES["vggsound_caption"]))


def test_the_command_prints_it_and_refuses_what_it_cannot_plan(lists):
    def run(profile: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipelines", "plan"]
        environment = {**os.environ, "DRAWAUDIO_PROFILE": profile}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    done = run("vggsound_caption")
    assert done.returncode == 0 and done.stdout.startswith("vggsound_caption: nothing was fetched yet\n")
    refused = run("audiocaps")
    assert refused.returncode == 2 and "has no train.csv" in refused.stderr
    nothing = run("demo")
    assert nothing.returncode == 2 and "fetches nothing" in nothing.stderr
