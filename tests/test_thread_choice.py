"""Threads by measuring: steps of a made-up machine whose clock only they move."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from drawaudio_model.thread_choice import (
    AGAIN_SECONDS,
    MOST_SHARE,
    SETTING,
    ThreadChoice,
    chosen_threads,
    threads_setting,
)
from drawaudio_model.thread_waiting import SPIN_VARIABLE, SPINS, wait_briefly
from drawaudio_model.train import main
from pipelines import resources
from tests.test_train import arguments, world

__all__ = ["world"]

IDLE = {1: 0.62, 2: 0.49}
BUSY = {1: 0.62, 2: 2.4}
CPU = torch.device("cpu")


class Machine:
    """Steps that take as long as the number of threads says; nothing else moves its clock."""

    def __init__(self, most: int = 2) -> None:
        self.now, self.threads, self.used, self.told = 0.0, most, [], []
        self.choice = ThreadChoice(most, tell=self.told.append, set_threads=self.set_threads, clock=lambda: self.now)

    def set_threads(self, number: int) -> None:
        self.threads = number

    def run(self, steps: int, seconds: dict[int, float]) -> float:
        """Seconds that the steps took."""
        before = self.now
        for _ in range(steps):
            assert self.choice.threads == self.threads
            with self.choice.step():
                self.now += seconds[self.threads]
            self.used.append(self.threads)
        return self.now - before


def test_an_idle_machine_gets_all_threads_and_is_hardly_slowed_down() -> None:
    machine = Machine()
    took = machine.run(628, IDLE)
    assert set(machine.used[10:]) == {2}
    assert took < 628 * IDLE[2] * 1.003
    assert len(machine.told) == 1 and machine.told[0] == "2 of 2 threads: a step takes 0.62 s with 1, 0.49 s with 2"


def test_beside_another_process_one_thread_is_taken_after_one_slow_step() -> None:
    machine = Machine()
    took = machine.run(60, BUSY)
    assert machine.used.count(2) == 1 and set(machine.used[5:]) == {1}
    assert took < 60 * BUSY[1] + 2.4


def test_steps_that_slow_down_are_measured_again_and_a_single_slow_one_is_not() -> None:
    machine = Machine()
    machine.run(200, IDLE)
    machine.run(1, {2: 30.0})
    machine.run(20, IDLE)
    assert set(machine.used[10:]) == {2}
    busy = machine.run(100, BUSY)
    assert machine.threads == 1 and set(machine.used[-80:]) == {1}
    assert busy < 100 * BUSY[1] + 8 * BUSY[2]
    assert "1 of 2 threads" in machine.told[-1]


def test_all_threads_come_back_when_the_machine_is_free() -> None:
    machine = Machine()
    machine.run(20, BUSY)
    assert machine.threads == 1
    machine.run(round(2 * AGAIN_SECONDS / IDLE[1]), IDLE)
    assert machine.threads == 2 and "2 of 2 threads" in machine.told[-1]


@pytest.mark.parametrize("slow", [2.4, 20.0, 200.0])
def test_trying_again_takes_a_small_share_of_the_time(slow: float) -> None:
    machine = Machine()
    machine.run(10, {1: 0.62, 2: slow})
    took = machine.run(100_000, {1: 0.62, 2: slow})
    assert took < 100_000 * 0.62 * (1 + MOST_SHARE + 0.001)
    assert machine.used[10:].count(2) > 1


def test_a_slower_task_of_the_same_machine_keeps_its_threads() -> None:
    """Longer steps are no reason for fewer threads: what is measured again is compared with the other number."""
    machine = Machine()
    machine.run(200, IDLE)
    machine.run(400, {1: 6.2, 2: 4.9})
    assert machine.threads == 2 and machine.used[200:].count(1) <= 4 * 2


def test_a_difference_that_is_noise_changes_nothing() -> None:
    machine = Machine()
    machine.run(50, {1: 0.485, 2: 0.49})
    assert machine.threads == 2


def test_one_core_leaves_nothing_to_choose() -> None:
    machine = Machine(most=1)
    machine.run(50, {1: 0.5})
    assert machine.used == [1] * 50 and not machine.told


def test_the_setting_is_the_flags_or_the_environments_or_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    assert threads_setting() == torch.get_num_threads()
    monkeypatch.setenv(SETTING, "auto")
    assert threads_setting() == "auto" and threads_setting("3") == 3
    for wrong in ("0", "-1", "many", "1.5"):
        with pytest.raises(ValueError, match="expected auto or a number of at least 1"):
            threads_setting(wrong)


def test_dagster_leaves_the_choice_to_the_process_unless_the_user_set_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    monkeypatch.setattr(resources, "_THREADS", None)
    assert resources.thread_environment() == {"OMP_NUM_THREADS": str(os.cpu_count()), SETTING: "auto"}
    monkeypatch.setenv(SETTING, "2")
    assert resources.thread_environment()[SETTING] == "2"
    monkeypatch.setattr(resources, "_THREADS", "1")
    assert resources.thread_environment() == {"OMP_NUM_THREADS": "1"}


def test_threads_are_as_before_afterwards_and_only_a_lone_cpu_process_measures() -> None:
    before = torch.get_num_threads()
    with chosen_threads(2, device=CPU) as choice:
        assert choice is None and torch.get_num_threads() == 2
        for device, processes in ((torch.device("cuda"), 1), (CPU, 2)):
            with chosen_threads("auto", device=device, processes=processes) as none:
                assert none is None and torch.get_num_threads() == 2
        with chosen_threads("auto", device=CPU) as choice:
            assert choice.most == 2 and torch.get_num_threads() == 1  # which is measured first
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before


def test_a_training_run_writes_down_the_threads_that_it_chose(world: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        more = ("--steps", "8", "--set", "validate_every=99", "--set", "audio_samples=0")
        assert main(arguments(world, tmp_path / "model", *more, "--threads", "auto", "--processes", "1")) == 0
    finally:
        torch.set_num_threads(before)
    rows = [json.loads(line) for line in (tmp_path / "training" / "losses.jsonl").read_text().splitlines()]
    assert [row["threads"] for row in rows][:5] == [1, 1, 1, 1, 2]
    notes = (tmp_path / "training" / "log.jsonl").read_text()
    assert "of 2 threads: a step takes" in notes
    assert main(arguments(world, tmp_path / "fixed" / "model", *more, "--threads", "1")) == 0
    assert "threads" not in (tmp_path / "fixed" / "training" / "losses.jsonl").read_text()
    assert main(arguments(world, tmp_path / "fixed" / "model", *more, "--threads", "few")) == 2


def test_threads_sleep_soon_unless_the_user_has_a_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SPIN_VARIABLE, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    wait_briefly()
    assert SPIN_VARIABLE not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    wait_briefly()
    assert os.environ[SPIN_VARIABLE] == SPINS


@pytest.mark.parametrize(
    "start",
    ["from pipelines import defs", "from drawaudio_model.cli import main; main(['info', 'nowhere'])"],
    ids=["dagster", "commands"],
)
def test_threads_sleep_soon_in_every_process_of_ours(start: str) -> None:
    """The variable is there before torch is, which reads it once."""
    clean = {name: value for name, value in os.environ.items() if name not in (SPIN_VARIABLE, "OMP_WAIT_POLICY")}
    watched = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, *_):\n"
        f"        assert name != 'torch' or {SPIN_VARIABLE!r} in os.environ, 'torch comes first'\n"
        f"sys.meta_path.insert(0, Watch())\n{start}\nprint(os.environ[{SPIN_VARIABLE!r}])"
    )
    ran = subprocess.run([sys.executable, "-c", watched], env=clean, capture_output=True, text=True, check=True)
    assert ran.stdout.split()[-1] == SPINS
