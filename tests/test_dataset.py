"""Batches: what is read, where it is cut, and that order and coins depend on nothing but (seed, epoch, sample)."""

import json
import os
import pickle
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from drawaudio_model import shard
from drawaudio_model.atomic_files import encode_array
from drawaudio_model.clip_format import LOUDNESS_POINTS, VIDEO_FRAMES
from drawaudio_model.dataset import (
    NullRates,
    TrainingBatch,
    TrainingShards,
    _parse_npy,
    epoch_order,
    pad_text,
    samples_at,
    split_step,
    training_batches,
    training_sample,
)
from drawaudio_model.shard import ShardReader
from tests.counting_shards import counting_sample, write_shards


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"), [5, 2, 4])


RATES = NullRates(text_and_video=0.2, text=0.3, video=0.3, mask=0.4, loudness=0.5)


def assert_equal(left: TrainingBatch, right: TrainingBatch) -> None:
    for name, value in vars(left).items():
        other = getattr(right, name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name


def test_a_batch_has_the_documented_shapes_and_values(folder: Path) -> None:
    batch = next(training_batches(folder, batch_size=6, seed=3))
    assert batch.latent.shape == (6, 2, 16, 2) and batch.latent.dtype == torch.float32
    assert batch.cavp.shape == batch.cavp_masked.shape == (6, VIDEO_FRAMES, 6)
    assert batch.loudness.shape == (6, LOUDNESS_POINTS)
    assert batch.gpt.shape == (6, 8, 7)
    for place, key in enumerate(batch.keys):
        sample = counting_sample(int(key[4:8]))
        length = len(sample.t5)
        assert batch.t5_mask[place].tolist() == [index < length for index in range(batch.t5.shape[1])]
        np.testing.assert_array_equal(batch.t5[place, :length], sample.t5.astype(np.float32))
        assert not batch.t5[place, length:].any()
        np.testing.assert_array_equal(batch.gpt[place], sample.gpt.astype(np.float32))
    assert not (batch.no_text | batch.no_video | batch.no_mask | batch.no_loudness).any()


def test_all_grids_are_cut_at_the_same_allowed_second(folder: Path) -> None:
    starts = set()
    for batch in training_batches(folder, batch_size=4, seed=0, steps=20):
        for place, start in enumerate(batch.start_seconds.int().tolist()):
            starts.add(start)
            # counting_sample counts: 2 latent frames, 4 video frames and 10 loudness points a second.
            assert batch.latent[place, 0, :, 0].round().tolist() == list(range(2 * start, 2 * start + 16))
            assert batch.cavp[place, :, 0].tolist() == list(range(4 * start, 4 * start + 32))
            assert batch.cavp_masked[place, 0, 0] == 100 + 4 * start
            assert batch.loudness[place, 0] == pytest.approx(start / 100)
    assert starts == {0, 1, 2}


def test_a_grid_of_125_frames_is_cut_at_even_seconds_only(tmp_path: Path) -> None:
    shards = TrainingShards(write_shards(tmp_path, [3], latent=(4, 125, 2)))
    assert shards.crop_starts == (0, 2) and shards.latent_shape == (2, 100, 2)
    batches = list(training_batches(shards, batch_size=4, seed=0, steps=10))
    assert {start for batch in batches for start in batch.start_seconds.tolist()} == {0, 2}
    for batch in batches:
        first = batch.latent[:, 0, 0, 0].round().long()
        assert torch.equal(first, (batch.start_seconds * 125 // 10).to(first.dtype))


def test_the_posterior_is_sampled_with_its_mean_and_deviation(tmp_path: Path) -> None:
    shards = TrainingShards(write_shards(tmp_path, [1], latent=(4, 250, 16), deviation=0.5))
    batches = list(training_batches(shards, batch_size=1, seed=1, steps=30))
    values = torch.stack([batch.latent for batch in batches])
    starts = torch.stack([batch.start_seconds for batch in batches])
    noise = values - (torch.arange(200) + 25 * starts[..., None])[:, :, None, :, None]
    assert abs(noise.mean()) < 0.005 and abs(noise.std() - 0.5) < 0.005
    assert not torch.equal(noise[0], noise[1])


def test_every_epoch_shows_every_sample_once_in_its_own_order(folder: Path) -> None:
    places = samples_at(0, 33, count=11, seed=5)
    epochs = [[number for epoch, number in places if epoch == wanted] for wanted in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(11))] * 3
    assert epochs[0] != epochs[1] and epochs[0] != sorted(epochs[0])
    assert samples_at(9, 4, count=11, seed=5) == places[9:13]
    assert not np.array_equal(epoch_order(11, 5, 0), epoch_order(11, 6, 0))
    keys = [key for batch in training_batches(folder, batch_size=3, seed=5, steps=11) for key in batch.keys]
    shards = TrainingShards(folder)
    assert keys == [shards.keys[number] for _, number in places]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(folder: Path, workers: int) -> None:
    wanted = training_batches(folder, batch_size=4, seed=1, steps=6, null_rates=RATES)
    found = training_batches(folder, batch_size=4, seed=1, steps=6, null_rates=RATES, workers=workers)
    for left, right in zip(wanted, found, strict=True):
        assert_equal(left, right)


def test_a_resumed_sequence_continues_as_if_never_stopped(folder: Path) -> None:
    whole = list(training_batches(folder, batch_size=4, seed=1, steps=9, null_rates=RATES))
    rest = list(training_batches(folder, batch_size=4, seed=1, first_step=5, steps=4, null_rates=RATES))
    for left, right in zip(whole[5:], rest, strict=True):
        assert_equal(left, right)


def test_processes_and_micro_batches_split_the_same_step(folder: Path) -> None:
    whole = list(training_batches(folder, batch_size=12, seed=2, steps=2, null_rates=RATES))
    parts = [
        list(
            training_batches(
                folder,
                batch_size=12,
                micro_batch_size=3,
                seed=2,
                steps=2,
                process_index=process,
                process_count=2,
                null_rates=RATES,
            )
        )
        for process in range(2)
    ]
    assert len(parts[0]) == 4
    for step, batch in enumerate(whole):
        order = [parts[process][step * 2 + micro] for micro in range(2) for process in range(2)]
        assert batch.keys == [key for part in order for key in part.keys]
        assert torch.equal(batch.latent, torch.cat([part.latent for part in order]))
        assert torch.equal(batch.no_mask, torch.cat([part.no_mask for part in order]))


def test_one_shard_feeds_more_workers_and_processes_than_it_has_samples(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, [2])
    batches = [
        next(training_batches(shards, batch_size=4, seed=0, process_index=process, process_count=4, workers=2))
        for process in range(4)
    ]
    assert sorted(key for batch in batches for key in batch.keys) == sorted(TrainingShards(shards).keys * 2)


def test_coins_fall_at_their_rates_and_independently(folder: Path) -> None:
    shards = TrainingShards(folder)
    tosses = [training_sample(shards, number, epoch, 0, RATES) for epoch in range(200) for number in range(11)]
    rate = {
        name: np.mean([toss[name] for toss in tosses]) for name in ("no_text", "no_video", "no_mask", "no_loudness")
    }
    # A withheld pair withholds both: 0.2 + 0.8 * 0.3. Four standard errors of 2200 tosses are about 0.04.
    assert rate["no_text"] == pytest.approx(0.44, abs=0.045)
    assert rate["no_video"] == pytest.approx(0.44, abs=0.045)
    assert rate["no_mask"] == pytest.approx(0.4, abs=0.045)
    assert rate["no_loudness"] == pytest.approx(0.5, abs=0.045)
    both = np.mean([toss["no_text"] and toss["no_video"] for toss in tosses])
    assert both == pytest.approx(0.2 + 0.8 * 0.09, abs=0.04)
    again = training_sample(shards, 3, 7, 0, RATES)
    np.testing.assert_equal(again, tosses[7 * 11 + 3])


def test_rates_change_coins_only(folder: Path) -> None:
    without = next(training_batches(folder, batch_size=8, seed=1))
    always = next(training_batches(folder, batch_size=8, seed=1, null_rates=NullRates(1, 0, 0, 1, 1)))
    assert torch.equal(without.latent, always.latent) and without.keys == always.keys
    assert (always.no_text & always.no_video & always.no_mask & always.no_loudness).all()


def test_npy_members_are_parsed_as_numpy_does() -> None:
    generator = np.random.default_rng(0)
    for array in (
        generator.standard_normal((40, 512)).astype(np.float16),
        generator.standard_normal(100).astype(np.float32),
        generator.standard_normal((16, 250, 16)).astype(np.float16),
    ):
        content = encode_array(array)
        parsed = _parse_npy(b"before" + content + b"after", 6, len(content))
        assert parsed.dtype == array.dtype
        np.testing.assert_array_equal(parsed, array)
    with pytest.raises(ValueError, match=r"is no \.npy file"):
        _parse_npy(b"0" * 100, 0, 100)


def test_text_is_padded_with_a_mask() -> None:
    states, mask = pad_text([torch.ones(2, 3), torch.ones(4, 3)])
    assert states.shape == (2, 4, 3) and mask.sum(1).tolist() == [2, 4] and not states[0, 2:].any()


def test_missing_shards_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no finished training shard 'train-\*'.*dagster asset materialize -m pipelines"
    ):
        TrainingShards(tmp_path)
    write_shards(tmp_path, [2])
    with pytest.raises(ValueError, match=r"'val-\*'"):
        TrainingShards(tmp_path, "val")
    (tmp_path / "manifests" / "train-000000.json").unlink()
    with pytest.raises(ValueError, match="no finished training shard"):
        training_batches(tmp_path, batch_size=1, seed=0)


def test_damaged_and_mixed_shards_are_refused(tmp_path: Path) -> None:
    cut = write_shards(tmp_path / "cut", [3])
    tar = cut / "train-000000.tar"
    tar.write_bytes(tar.read_bytes()[:-1024])
    with pytest.raises(ValueError, match="its manifest says"):
        TrainingShards(cut)

    mixed = write_shards(tmp_path / "mixed", [2])
    write_shards(tmp_path / "other", [0, 1], first=2, cavp=9)
    for part in ("train-000001.tar", "index/train-000001.parquet", "manifests/train-000001.json"):
        (tmp_path / "other" / part).rename(mixed / part)
    with pytest.raises(ValueError, match=r"cavp of sample clip0002_000000 has shape \(40, 9\).*different backbones"):
        TrainingShards(mixed).read(2)

    old = write_shards(tmp_path / "old", [1])
    manifest = old / "manifests" / "train-000000.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema_version": 0}))
    with pytest.raises(ValueError, match="samples of schema 0, expected 1"):
        TrainingShards(old)


def test_empty_shards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hold no sample"):
        TrainingShards(write_shards(tmp_path, [0]))


@pytest.mark.parametrize("processes", [1, 2, 3, 8, 40, 64, 128, 288, 300])
def test_any_number_of_processes_shares_the_papers_batch(processes: int) -> None:
    width, passes = split_step(288, 36, processes)
    places = width * passes * processes
    assert width <= 36 and 288 <= places < 288 + passes * processes
    if 288 % (36 * processes) == 0:
        assert (width, passes) == (36, 288 // (36 * processes))


def test_a_step_that_does_not_divide_holds_each_of_its_samples(folder: Path) -> None:
    """What is there a second time stands at the end, where whoever sums leaves it out."""
    whole = list(training_batches(folder, batch_size=10, seed=2, steps=2, null_rates=RATES))
    parts = [
        list(
            training_batches(
                folder,
                batch_size=10,
                micro_batch_size=2,
                seed=2,
                steps=2,
                process_index=process,
                process_count=3,
                null_rates=RATES,
            )
        )
        for process in range(3)
    ]
    for step, batch in enumerate(whole):
        order = [parts[process][step * 2 + micro] for micro in range(2) for process in range(3)]
        keys = [key for part in order for key in part.keys]
        assert keys == [*batch.keys, *batch.keys[:2]]
        assert torch.equal(batch.latent, torch.cat([part.latent for part in order])[:10])


def test_a_step_of_nothing_is_refused(folder: Path) -> None:
    with pytest.raises(
        ValueError, match="a step of 0 samples in micro-batches of 4 on 1 processes; expected at least 1"
    ):
        training_batches(folder, batch_size=0, micro_batch_size=4, seed=0)
    with pytest.raises(ValueError, match="null rate of text is 2"):
        NullRates(text=2)


def test_an_endless_sequence_goes_on(folder: Path) -> None:
    assert len(list(islice(training_batches(folder, batch_size=11, seed=0), 5))) == 5


MANY_SHARDS = """
import resource, shutil, sys
from pathlib import Path
from drawaudio_model.dataset import DrawnInstructions, TrainingShards
from drawaudio_model.shard import ShardReader, finished_shards
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
shards = TrainingShards(folder)
for number in (*range(len(shards)), *range(len(shards))):
    shards.read(number)
readers = [ShardReader(folder, shard) for shard in finished_shards(folder)]
for reader in (*readers, *readers):
    assert all(reader[key] for key in reader.keys)
assert DrawnInstructions(folder, 1.0)._readers.keys() == set(shards.keys)
print(len(readers))
"""


def test_more_shards_than_files_may_be_open_are_read(tmp_path: Path) -> None:
    """At the usual limit of 1,024 files a dataset may have more shards than that; here fewer of both."""
    write_shards(tmp_path, [1] * 220)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", MANY_SHARDS, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "220\n"
    again = pickle.loads(pickle.dumps(TrainingShards(tmp_path)))
    assert again.read(5).keys() == TrainingShards(tmp_path).read(5).keys()


def open_tars(folder: Path) -> int:
    """Handles that this process has on tars of a folder."""
    links = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(link.startswith(str(folder)) and link.endswith(".tar") for link in links)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no list of open files")
def test_the_loader_and_other_readers_together_hold_no_more_tars_than_one_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path, [1] * 8)
    monkeypatch.setattr(shard, "MOST_OPEN", 3)
    before = open_tars(tmp_path)
    shards = TrainingShards(tmp_path)
    readers = [ShardReader(tmp_path, name) for name in shards.shards]
    for number, reader in enumerate(readers):
        shards.read(number)
        reader.member(reader.keys[0], "json")
        assert open_tars(tmp_path) <= before + 3
    assert open_tars(tmp_path) == before + 3
    again = pickle.loads(pickle.dumps(shards))
    assert again.read(0)["loudness"].tolist() == shards.read(0)["loudness"].tolist()
    for one in (shards, again, *readers):
        one.close()
    assert open_tars(tmp_path) == before
