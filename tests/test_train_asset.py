"""The asset that trains, in several processes: they train one model, and none of them outlives its orchestrator."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import numpy as np
import psutil
import pytest
from safetensors.torch import load_file

from drawaudio_model.atomic_files import encode_array
from drawaudio_model.clip_format import LOUDNESS_POINTS, VIDEO_FRAMES
from drawaudio_model.dataset import TrainingShards
from drawaudio_model.shard import ShardWriter
from drawaudio_model.training.checkpoint import only_trainer
from pipelines.assets.train_model import train_model
from pipelines.resources import ENDS_WITH, PROCESSES, DataRoot, Trainer, thread_environment
from tests.readme_commands import ROOT
from tests.test_train import WIDTHS, arguments, world
from tests.warm_python import warm_python

__all__ = ["world"]


def variant(rng: np.random.Generator) -> dict[str, bytes]:
    """One variant of a clip drawn by hand, at the shapes of the world's 8 s crops."""
    channels, frames, bins = WIDTHS["latent"]
    shapes = {"latent": (channels, frames * 8 // 10, bins), "cavp_masked": (VIDEO_FRAMES, 16), "t5": (3, 16)}
    arrays = {
        name: rng.standard_normal(shape).astype(np.float16) for name, shape in (shapes | {"gpt": (8, 16)}).items()
    }
    arrays["loudness"] = np.full(LOUDNESS_POINTS, 0.1, np.float32)
    facts = {"0.json": json.dumps({"start_frame": 0, "words": "w", "curve": "shaped"}).encode()}
    return facts | {f"0.{name}.npy": encode_array(array) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def data(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root whose shards and backbones are there, without a vocoder."""
    root = tmp_path_factory.mktemp("asset") / "data"
    shutil.copytree(world / "shards", root / "training_shards")
    shutil.copytree(world / "backbones", root / "backbones")
    rng = np.random.default_rng(0)
    with ShardWriter(root / "drawn_instructions", "train-000000", inputs={}) as shard:
        for key in TrainingShards(root / "training_shards").keys:
            shard.add(key, dict(sorted(variant(rng).items())))
        shard.commit()
    return root


def materialize(root: Path, processes: str) -> dg.ExecuteInProcessResult:
    resources = {"data_root": DataRoot(path=str(root)), "trainer": Trainer(processes=processes)}
    return dg.materialize([train_model], resources=resources, raise_on_error=False)


@pytest.mark.slow
def test_two_processes_train_one_model_as_one_does(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAWAUDIO_PROFILE", "tiny")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(sys, "executable", warm_python())
    averages = []
    for processes in ("1", "2"):
        root = shutil.copytree(data, tmp_path / processes)
        done = materialize(root, processes)
        assert done.success
        (made,) = [event for event in done.get_asset_materialization_events() if event.asset_key == train_model.key][
            -1:
        ]
        metadata = made.materialization.metadata
        assert "makes its sounds with Griffin-Lim" in metadata["vocoder"].value
        log = [json.loads(line) for line in (root / "training" / "log.jsonl").read_text().splitlines()]
        facts = next(row["metadata"] for row in log if row["event"] == "finish")
        assert facts["processes"] == int(processes) and facts["samples_seen"] == 16
        assert sum("Griffin-Lim" in row["message"] for row in log if row["event"] == "note") == 1
        averages.append(load_file(root / "training" / "checkpoints" / "step-00000004" / "average.safetensors"))
    one, two = averages
    changed = 0.0
    for name, value in one.items():
        # A step of Adam is 1e-3 whatever the gradient is; sums in another order turn some of the smallest ones around.
        assert float((two[name] - value).abs().mean()) < 1e-4, name
        changed = max(changed, float((two[name] - value).abs().max()))
    assert changed > 0, "two processes add in another order: equal bits would be one process's"


@pytest.mark.parametrize("processes", ["0", "two", "-1", ""])
def test_a_number_of_processes_that_is_none_is_told_in_one_sentence(processes: str) -> None:
    with pytest.raises(
        dg.Failure, match=f"{PROCESSES} is '{processes}', expected a number of processes such as 4, or gpus"
    ):
        Trainer(processes=processes).run(dg.build_asset_context(), "train", ["--run", "tiny"])


def test_the_environment_names_the_number_of_processes() -> None:
    words = "from pipelines import defs; print(defs.resources['trainer'].processes)"
    for given, expected in (({}, "1"), ({PROCESSES: "3"}, "3"), ({PROCESSES: ""}, "1")):
        environment = {name: value for name, value in os.environ.items() if name != PROCESSES} | given
        done = subprocess.run(
            [sys.executable, "-c", words], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.resources._THREADS", None)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    found = {number: thread_environment(number)["OMP_NUM_THREADS"] for number in ("1", "2", "3", "16", "gpus")}
    assert found == {"1": "8", "2": "4", "3": "2", "16": "1", "gpus": "1"}


ORCHESTRATOR = """
import sys, time
import dagster as dg
from pipelines.resources import Trainer
@dg.asset
def long_training(context: dg.AssetExecutionContext, trainer: Trainer) -> None:
    trainer.run(context, "train", sys.argv[1:])
dg.materialize([long_training], resources={"trainer": Trainer(processes="2")}, raise_on_error=False)
time.sleep(600)  # it has other things to do
"""


@contextmanager
def orchestrated(world: Path, folder: Path) -> Iterator[tuple[subprocess.Popen, list[psutil.Process]]]:
    """An orchestrator whose training in two processes has begun to learn, and all processes below it."""
    words = [*arguments(world, folder / "model", "--steps", "100000"), "--set", "validate_every=99999"]
    words[words.index("--run")] = "--named-run"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "DAGSTER_HOME": ""}
    process = subprocess.Popen([sys.executable, "-c", ORCHESTRATOR, *words], cwd=ROOT, env=environment)
    losses = folder / "training" / "losses.jsonl"
    below: list[psutil.Process] = []
    try:
        while process.poll() is None and not (losses.exists() and losses.stat().st_size):
            time.sleep(0.1)
        below = psutil.Process(process.pid).children(recursive=True)
        yield process, below
    finally:
        for one in (process, *below):
            if one.poll() is None if isinstance(one, subprocess.Popen) else one.is_running():
                one.kill()
        process.wait()


def trainers(below: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in below if ENDS_WITH in one.environ() and "RANK" in one.environ()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("victim", ["orchestrator", "launcher"])
def test_no_training_outlives_who_started_it(world: Path, tmp_path: Path, victim: str) -> None:
    with orchestrated(world, tmp_path) as (orchestrator, below):
        ranks = trainers(below)
        assert len(ranks) == 2, [one.cmdline() for one in below]
        (launcher,) = {one.parent() for one in ranks}
        os.kill(orchestrator.pid if victim == "orchestrator" else launcher.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs([*ranks, launcher], timeout=30)
        assert not alive, [one.cmdline() for one in alive]
        assert (orchestrator.poll() is None) == (victim == "launcher")
        with only_trainer(tmp_path / "training"):
            pass  # nobody holds the state any more
