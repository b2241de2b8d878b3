"""How a training is run: several processes, bf16, compiled, estimated; and the sounds it leaves on its way."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from drawaudio_model.cli import main as drawaudio
from drawaudio_model.clip_format import CLIP_SAMPLES
from drawaudio_model.media import decode_flac
from drawaudio_model.train import main
from tests.test_train import arguments, world
from tests.warm_python import warm_python

__all__ = ["world"]

ROOT = Path(__file__).parent.parent
SLOW_RATE = ("--set", "learning_rate=1e-4", "--set", "final_learning_rate=1e-4")
"""Adam divides small gradients by themselves; a larger rate would show their rounding, not our mistakes."""
FEW = ("--set", "validate_every=99", "--set", "checkpoint_every=99", "--set", "audio_samples=0")


def run_alone(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: an Accelerator's precision and number of processes are fixed once in each."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | variables
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_two_processes_with_half_the_batch_give_the_weights_of_one(world: Path, tmp_path: Path) -> None:
    # Four rounds through the six samples.
    more = ("--steps", "6", "--workers", "1", *SLOW_RATE, *FEW)
    command = [
        warm_python(),
        "-m",
        "drawaudio_model.cli",
        "train",
        *arguments(world, tmp_path / "two" / "model", *more),
    ]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    # What accelerate launch and torchrun set for each process.
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    with ThreadPoolExecutor(2) as pool:
        ranks = [meeting | {"RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
        for done in pool.map(lambda variables: run_alone(command, **variables), ranks):
            assert done.returncode == 0, done.stderr[-4000:]
    assert main(arguments(world, tmp_path / "one" / "model", *more)) == 0
    for name in ("model", "average"):
        file = Path("training") / "checkpoints" / "step-00000006" / f"{name}.safetensors"
        one, two = (load_file(tmp_path / side / file) for side in ("one", "two"))
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, atol=1e-5, rtol=0, msg=key)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / side / "training" / "losses.jsonl").read_text().splitlines()]
        for side in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and len(losses[0]) == 6


def train_as_two_machines(world: Path, folders: list[Path], *more: str) -> list[subprocess.CompletedProcess[str]]:
    """Two processes that train together, each with a state folder of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}

    def start(rank: int) -> subprocess.CompletedProcess[str]:
        words = arguments(world, folders[0] / "model", *more, "--state", str(folders[rank] / "training"))
        command = [warm_python(), "-m", "drawaudio_model.cli", "train", *words]
        return run_alone(command, **meeting, RANK=str(rank), LOCAL_RANK=str(rank))

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(start, range(2)))


def test_machines_with_states_of_their_own_do_not_go_on_from_different_steps(world: Path, tmp_path: Path) -> None:
    more = ("--workers", "0", *SLOW_RATE, *FEW)
    folders = [tmp_path / "first", tmp_path / "second"]
    assert main(arguments(world, folders[0] / "model", "--steps", "2", *more)) == 0
    for done in train_as_two_machines(world, folders, "--steps", "4", *more):
        assert done.returncode == 2
        assert "process 1 finds the checkpoint of step 0, process 0 that of step 2 in" in done.stderr
        assert "let --state name a folder that all machines share" in done.stderr
    shutil.copytree(folders[0] / "training", folders[1] / "training")
    for done in train_as_two_machines(world, folders, "--steps", "4", *more):
        assert done.returncode == 0, done.stderr[-4000:]


def train_in_two(world: Path, output: Path, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`drawaudio train --processes 2`, in a process whose torch has two threads, as on two cores."""
    command = [
        warm_python(),
        "-m",
        "drawaudio_model.cli",
        "train",
        *arguments(world, output, *more, "--processes", "2"),
    ]
    return run_alone(command, **{"OMP_NUM_THREADS": "2"} | variables)


def test_a_run_goes_on_with_one_process_after_two_and_with_two_after_one(world: Path, tmp_path: Path) -> None:
    more = ("--workers", "0", *SLOW_RATE, *FEW)
    assert main(arguments(world, tmp_path / "one" / "model", "--steps", "6", *more)) == 0
    done = train_in_two(world, tmp_path / "two" / "model", "--steps", "2", *more)
    assert done.returncode == 0, done.stderr[-4000:]
    assert main(arguments(world, tmp_path / "two" / "model", "--steps", "4", *more, "--resume", "must")) == 0
    done = train_in_two(world, tmp_path / "two" / "model", "--steps", "6", *more, "--resume", "must")
    assert done.returncode == 0 and "continues after step 4 of 6" in done.stderr, done.stderr[-4000:]
    for name in ("model", "average"):
        file = Path("training") / "checkpoints" / "step-00000006" / f"{name}.safetensors"
        one, two = (load_file(tmp_path / side / file) for side in ("one", "two"))
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, atol=1e-5, rtol=0, msg=key)
    assert (tmp_path / "two" / "model" / "model_index.json").exists()


def children_of(process: int) -> list[int]:
    """Process numbers of those that a process started, the resource tracker of multiprocessing aside."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    names = {child: Path(f"/proc/{child}/cmdline").read_text() for child in found}
    return [int(child) for child, name in names.items() if "spawn_main" in name]


@contextmanager
def running_in_two(world: Path, folder: Path) -> Iterator[tuple[subprocess.Popen, int]]:
    """A long training in two processes that has begun to learn, and the number of its second process."""
    more = ("--steps", "100000", *FEW, "--processes", "2")
    command = [sys.executable, "-m", "drawaudio_model.cli", "train", *arguments(world, folder / "model", *more)]
    environment = os.environ | {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    log = folder / "training" / "log.jsonl"
    try:
        while process.poll() is None and not (log.exists() and '"progress"' in log.read_text()):
            time.sleep(0.05)
        (second,) = children_of(process.pid)
        yield process, second
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_second_process_that_dies_ends_the_training_with_one_sentence(world: Path, tmp_path: Path) -> None:
    with running_in_two(world, tmp_path) as (process, second):
        os.kill(second, signal.SIGKILL)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    lines = [line for line in error.splitlines() if line.startswith("drawaudio: ")]
    assert lines == [
        "drawaudio: the second process of the training was ended by SIGKILL, probably for want of memory; run the same "
        "again to go on, or with --processes 1"
    ]
    assert "Traceback" not in error


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_two_processes_listen_on_loopback_only_and_end_together(world: Path, tmp_path: Path) -> None:
    with running_in_two(world, tmp_path) as (process, second):
        addresses = listening_addresses(process.pid) + listening_addresses(second)
        assert addresses and set(addresses) == {"0100007F"}, addresses  # 127.0.0.1, as the kernel writes it
        process.kill()
        process.wait()
        ends = time.monotonic() + 60
        while Path(f"/proc/{second}").exists() and time.monotonic() < ends:
            time.sleep(0.05)
        assert not Path(f"/proc/{second}").exists()


def listening_addresses(process: int) -> list[str]:
    """Hexadecimal IPv4 addresses on which a process listens."""
    links = [os.readlink(link) for link in Path(f"/proc/{process}/fd").iterdir() if link.is_symlink()]
    inodes = {link.removeprefix("socket:[").rstrip("]") for link in links if link.startswith("socket:[")}
    rows = [line.split() for line in Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:]]
    tcp6 = [line.split() for line in Path(f"/proc/{process}/net/tcp6").read_text().splitlines()[1:]]
    return [row[1].partition(":")[0] for row in rows + tcp6 if row[3] == "0A" and row[9] in inodes]


def test_bf16_trains_without_a_gradient_scaler(world: Path, tmp_path: Path) -> None:
    asked = arguments(world, tmp_path / "model", "--steps", "2", "--set", "precision=bf16", *FEW)
    code = f"""
import torch
from drawaudio_model import train
from drawaudio_model.training import loop
seen = []
original = loop.Training._optimise
def optimise(self, *given):
    assert self.accelerator.scaler is None and self.accelerator.mixed_precision == "bf16"
    hook = self.denoiser.unet.conv_in.register_forward_hook(lambda *call: seen.append(call[2].dtype))
    try:
        return original(self, *given)
    finally:
        hook.remove()
loop.Training._optimise = optimise
assert train.main({asked!r}) == 0
assert set(seen) == {{torch.bfloat16}}, seen
"""
    done = run_alone([warm_python(), "-c", code])
    assert done.returncode == 0, done.stderr[-4000:]
    weights = load_file(tmp_path / "training" / "checkpoints" / "step-00000002" / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert all(value.isfinite().all() for value in weights.values())


def test_compiled_training_gives_the_same_weights(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Capturing takes as long as the network is deep.
    more = ("--steps", "2", "--set", "unet_channels=[16,32]", *SLOW_RATE, *FEW)
    assert main(arguments(world, tmp_path / "plain" / "model", *more)) == 0
    # The graph is captured as on a GPU; what would be generated from it needs a C compiler and minutes.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    assert main(arguments(world, tmp_path / "compiled" / "model", *more, "--set", "compile=true")) == 0
    file = Path("training") / "checkpoints" / "step-00000002" / "model.safetensors"
    plain, compiled = (load_file(tmp_path / side / file) for side in ("plain", "compiled"))
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, atol=1e-5, rtol=0, msg=name)


def test_each_validation_leaves_sounds_and_curves(world: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main(arguments(world, tmp_path / "model", "--steps", "4", "--set", "audio_samples=2")) == 0
    training = tmp_path / "training"
    keys = ("clip0006_000000", "clip0007_000000")
    expected = {f"step-{step:08d}-{key}.flac" for step in (2, 4) for key in keys}
    assert {path.name for path in (training / "samples").iterdir()} == expected
    sounds = {name: decode_flac((training / "samples" / name).read_bytes()) for name in expected}
    assert all(sound.shape == (CLIP_SAMPLES,) for sound in sounds.values())
    assert (training / "learning_curves.png").stat().st_size > 5000
    board = EventAccumulator(str(training / "tensorboard"))
    board.Reload()
    assert set(board.Tags()["audio"]) == {f"samples/{key}" for key in keys}
    assert {"losses/gradient_norm", "losses/loss", "validation/bands 0-499"} <= set(board.Tags()["scalars"])


def test_the_estimate_says_what_a_run_takes_and_writes_nothing(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards, backbones = str(world / "shards"), str(world / "backbones")
    before = sorted(world.rglob("*"))
    given = ["train", "--run", "tiny", "--steps", "1000", "--estimate", "--shards", shards, "--backbones", backbones]
    assert drawaudio([*given, "--devices", "4"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["run"] == "tiny" and lines["steps"] == "1,000" and lines["samples"].startswith("4,000 (4 a step")
    assert "real samples" in lines["measured"] and "GB a checkpoint" in lines["disk"]
    assert "wall" in lines and lines["wall"].endswith("on 4 such devices")
    assert sorted(world.rglob("*")) == before


def test_the_estimate_of_the_paper_needs_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--set", "unet_channels=[16,32]", "--set", "unet_heads=2", "--set", "video_width=16"]
    assert drawaudio(["train", "--run", "paper", "--dataset", "mixed", "--estimate", *small]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["steps"] == "200,000" and lines["samples"].startswith("57,600,000 (288 a step")
    assert "random samples of the published shapes" in lines["measured"]


def test_settings_are_changed_by_name_and_checked(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong, message in (
        ("loudness=additive", "no NAME=VALUE with a name of config.py"),
        ("steps=many", "setting steps is 'many', expected a int"),
        ("micro_batch_size=3", "batch_size 4 is no multiple of micro_batch_size 3"),
    ):
        assert main(arguments(world, tmp_path / "model", "--set", wrong)) == 2
        assert message in capsys.readouterr().err
    assert main(["--run", "tiny"]) == 2
    assert "required: --shards, --backbones, --output" in capsys.readouterr().err
