"""The whole path on the smallest rendered world, through the commands that people type."""

import json
import os
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from drawaudio_model.shard import ShardReader, finished_shards, read_manifest
from drawaudio_model.training_sample import decode_sample
from tests.readme_commands import Block, blocks, run_block
from tests.warm_python import warm_commands, warm_python

ROOT = Path(__file__).parent.parent
AFTER_DEMO = [block for block in blocks() if block.mark == "after demo"]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """A home and a data root of their own; nothing of this machine's settings reaches the run."""
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "dagster_home" / "dagster.yaml", home / "dagster.yaml")
    return {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "DRAWAUDIO_PROFILE": "tiny",
        "DRAWAUDIO_DATA": str(folder / "data"),
        "DRAWAUDIO_CARDS": str(folder / "cards"),
        "HF_HUB_OFFLINE": "1",
        **more,
    }


def materialize(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [str(warm_commands() / "dagster"), "asset", "materialize", "-m", "pipelines", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment(folder, **more), capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_every_clip_became_a_sample_of_the_published_schema(tiny: Path) -> None:
    shards = finished_shards(tiny / "data" / "training_shards")
    assert shards == ["test-000000", "train-000000", "train-000001", "val-000000"]
    samples = []
    for name in shards:
        reader = ShardReader(tiny / "data" / "training_shards", name)
        samples += [decode_sample(key, members) for key, members in reader.items()]
    assert len(samples) == 12
    grids = {sample.latent.shape for sample in samples}
    assert len(grids) == 1
    assert {sample.facts["caption_source"] for sample in samples} == {"demo"}
    assert all(sample.loudness.max() > 0.01 for sample in samples)
    assert all(abs(sample.cavp.astype(float)).max() > 0 for sample in samples)


@pytest.mark.slow
def test_the_model_generates_the_same_sound_for_the_same_seed(tiny: Path) -> None:
    import numpy as np

    from drawaudio_model.pipeline import DrawAudioPipeline

    pipe = DrawAudioPipeline.from_pretrained(tiny / "data" / "model")
    pipe.set_progress_bar_config(disable=True)
    key = ShardReader(tiny / "data" / "raw_clips", "test-000000").keys[0]
    video = tiny / "clip.mp4"
    video.write_bytes(ShardReader(tiny / "data" / "raw_clips", "test-000000").member(key, "mp4"))
    asked = {"video": video, "prompt": "a bell rings", "num_inference_steps": 3, "seed": 5}
    first, second = (pipe(**asked).audios for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first).max() > 0


@pytest.mark.slow
def test_the_report_and_the_card_are_there(tiny: Path) -> None:
    metrics = json.loads((tiny / "data" / "evaluation" / "metrics.json").read_text())
    assert metrics
    assert "<audio" in (tiny / "data" / "evaluation" / "index.html").read_text()
    assert (tiny / "cards" / "tiny" / "README.md").exists()


@pytest.mark.slow
def test_training_streams_its_loss_into_dagster(tiny: Path) -> None:
    """The loss must stand in the run's event log as a row of its own, written while the trainer ran."""
    import sqlite3

    files = [path for path in (tiny / "home").rglob("*.db") if "runs" in path.parts and path.stem != "index"]
    rows = [row[0] for path in files for row in sqlite3.connect(path).execute("select event from event_logs")]
    assert any("train_model" in row and "loss" in row for row in rows)


@pytest.mark.slow
def test_training_shows_its_curves_and_a_sound_while_it_runs(tiny: Path) -> None:
    import dagster as dg

    with dg.DagsterInstance.from_config(str(tiny / "home")) as instance:
        seen = instance.fetch_observations(dg.AssetKey("train_model"), limit=20).records
        (made,) = instance.fetch_materializations(dg.AssetKey("train_model"), limit=1).records
        assert seen and min(record.storage_id for record in seen) < made.storage_id
        metadata = seen[0].asset_observation.metadata
    assert metadata["learning_curves"].value.startswith("![](data:image/png")
    assert metadata["sound"].value.startswith("![](data:image/png")
    assert all(Path(path).exists() for path in metadata["sounds"].value)


def test_training_without_shards_says_what_to_run(tmp_path: Path) -> None:
    done = materialize(tmp_path, "--select", "train_model")
    assert done.returncode != 0
    assert (
        "run: dagster asset materialize -m pipelines --select '*train_model' --partition-range"
        in done.stdout + done.stderr
    )


KILLED = """
import os, signal, sys
import dagster as dg
# What every round would import again for seconds.
import spacy
from drawaudio_model import cavp, detector, loudness, mel, pipeline, shard, text
from pipelines import defs
detector.import_world_model()
assets = sys.argv[1:]
names = ["train-000000", "train-000001", "val-000000", "test-000000"]
graph = [defs.get_assets_def(key) for key in defs.resolve_asset_graph().get_all_asset_keys()]
tags = {"dagster/asset_partition_range_start": names[0], "dagster/asset_partition_range_end": names[-1]}
original = shard.ShardWriter.add

def run(*wanted, killed_in=None):
    added = 0
    def add(self, key, members):
        nonlocal added
        original(self, key, members)
        if self.folder.name == killed_in:
            added += 1
            if added == 3:
                os.kill(os.getpid(), signal.SIGKILL)
    shard.ShardWriter.add = add
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(graph, instance=instance, resources=defs.resources, tags=tags,
                              selection=dg.AssetSelection.assets(*wanted))
    os._exit(0 if done.success else 1)

def end_of(*wanted, killed_in=None):
    # A process of its own for every round; what all of them import was imported once, before.
    child = os.fork()
    if child == 0:
        run(*wanted, killed_in=killed_in)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

assert end_of("clip_list") == 0, "the list of clips failed"
for asset in assets:
    assert end_of(asset, killed_in=asset) == -signal.SIGKILL, f"{asset} was not killed"
    assert end_of(asset) == 0, f"{asset} does not go on"
everything = [key.to_user_string() for key in dg.AssetSelection.assets(*assets).upstream().resolve(graph)]
assert end_of(*everything) == 0, "the undisturbed round failed"
"""


@pytest.mark.slow
def test_killed_during_each_asset_the_next_run_ends_with_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of every per-shard asset, one after the other, on one data root."""
    from pipelines.assets.training_shards import STAGES
    from tests.test_definitions import PARTITIONED

    # Backbones are no shards: the trained ones are taken as they are, so that the bytes can be compared.
    shutil.copytree(tiny / "data" / "backbones", tmp_path / "data" / "backbones")
    stages = [*STAGES, "drawn_instructions"]
    assert set(stages) == PARTITIONED
    command = [warm_python(), "-c", KILLED, *stages]
    done = subprocess.run(command, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    for asset in stages:
        for name in finished_shards(tiny / "data" / asset):
            undisturbed, again = (read_manifest(folder / "data" / asset, name) for folder in (tiny, tmp_path))
            assert undisturbed is not None
            assert again is not None
            assert again.sha256 == undisturbed.sha256, f"{asset} {name} differs after kills"


@pytest.fixture(scope="module")
def made(tiny: Path) -> Path:
    """A folder like a reader's after `make demo`."""
    # The commands look for `data/demo` unless told otherwise; here the data root is `data` itself.
    (tiny / "data" / "demo").symlink_to(".")
    return tiny


@pytest.mark.slow
def test_make_demo_prints_where_to_listen(tiny: Path) -> None:
    output = (tiny / "make_demo.txt").read_text()
    assert f"{tiny / 'data'}\n" in output
    assert "training_shards/" in output
    assert "open it and listen" in output


@dataclass(frozen=True)
class SecondRun:
    """The stages once more, one by one, by the commands that docs/stages.md has in order."""

    commands: str
    assets: Counter[str]
    """How often its runs made each."""
    shards_before: dict[str, int]
    """Name -> when its tar was written, by the first run."""
    shards_after: dict[str, int]


@pytest.fixture(scope="module")
def second_run(made: Path) -> SecondRun:
    (block,) = (block for block in blocks() if block.mark == "in order")
    before = _shard_times(made)
    assets = _made_by_runs(made)
    run_block(block, made, environment(made))
    return SecondRun(block.text, _made_by_runs(made) - assets, before, _shard_times(made))


def _made_by_runs(folder: Path) -> Counter[str]:
    """How often each asset was made, by Dagster's book."""
    import dagster as dg

    with dg.DagsterInstance.from_config(str(folder / "home")) as instance:
        keys = instance.all_asset_keys()
        return Counter(
            {key.to_user_string(): len(instance.fetch_materializations(key, limit=99).records) for key in keys}
        )


def _shard_times(folder: Path) -> dict[str, int]:
    shards = folder / "data" / "training_shards"
    return {name: (shards / f"{name}.tar").stat().st_mtime_ns for name in finished_shards(shards)}


@pytest.mark.slow
def test_stages_run_one_by_one_and_the_exported_module_name_replaces_the_option(second_run: SecondRun) -> None:
    assert "export" in second_run.commands and "DAGSTER_MODULE_NAME=pipelines" in second_run.commands
    assert " -m " not in second_run.commands.replace("python -m pipelines", "")
    # Each ended with status 0, or the block would have failed.
    assert second_run.commands.count("dagster asset materialize") == 5
    alone = {
        name: second_run.assets[name] for name in ("dataset_card", "train_model", "evaluation_report", "control_report")
    }
    assert alone == dict.fromkeys(alone, 1)


@pytest.mark.slow
def test_a_second_run_makes_no_shard_again(second_run: SecondRun) -> None:
    assert second_run.shards_after == second_run.shards_before and len(second_run.shards_before) == 4


@pytest.mark.slow
def test_the_control_benchmark_has_its_table_page_and_json(made: Path, second_run: SecondRun) -> None:
    report = json.loads((made / "data" / "control" / "control.json").read_text())
    assert {"none", "text", "mask", "signal", "all", "shuffled_signal", "real", "mean"} <= set(report["rows"])
    assert "<video" in (made / "data" / "control" / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("block", AFTER_DEMO, ids=[block.text.split("\n")[0][:40] for block in AFTER_DEMO])
def test_tools_work_on_what_demo_left(block: Block, made: Path) -> None:
    vocabulary = json.loads((made / "data" / "backbones" / "object_detector" / "vocabulary.json").read_text())
    key = ShardReader(made / "data" / "raw_clips", "test-000000").keys[0]
    run_block(block, made, environment(made), phrase=vocabulary[0] if vocabulary else "bell", clip=key)
