"""The evaluation on three tiny samples: figures, bounds, a page that stands alone, and a second run that keeps the first's."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from drawaudio_model.clip_format import CLIP_SAMPLES, SOURCE_SAMPLES, SOURCE_VIDEO_FRAMES
from drawaudio_model.evaluate import DRAWN_ROWS, MEAN_OVER_CLIPS, NOUN_ROWS, PER_CLIP, ROWS, main
from drawaudio_model.evaluation.sample_sounds import clip_seed, read_samples
from drawaudio_model.levels.limiter import CEILING_DB, true_peak
from drawaudio_model.media import decode_flac, encode_flac, encode_jpeg
from drawaudio_model.shard import ShardWriter
from drawaudio_model.training_sample import TrainingSample, encode_sample
from tests.tiny_pipeline import CAVP_WIDTH, GPT, T5, tiny_pipeline

KEYS = [f"scene{number}_000000" for number in range(3)]


def sample(number: int) -> TrainingSample:
    """A few noise bursts; random features of the tiny pipeline's widths."""
    rng = np.random.default_rng(number)
    waveform = 1e-3 * rng.standard_normal(SOURCE_SAMPLES)
    for start in rng.integers(0, SOURCE_SAMPLES - 4000, 6):
        waveform[start : start + 4000] += 0.4 * np.exp(-np.arange(4000) / 900) * rng.standard_normal(4000)
    facts = {"source": "test", "source_id": f"scene{number}", "start_s": 0, "label": "drum", "split": "test"}
    facts |= {"caption": f"a <drum> & {number}", "caption_source": "test", "noun_phrases": ["drum"], "scores": {}}
    return TrainingSample(
        key=KEYS[number],
        facts=facts,
        flac=encode_flac(waveform.clip(-1, 1)),
        boxes=[[[0, 0.9, 0.2, 0.2, 0.7, 0.8]] for _ in range(SOURCE_VIDEO_FRAMES)],
        cavp=rng.standard_normal((SOURCE_VIDEO_FRAMES, CAVP_WIDTH)).astype(np.float16),
        cavp_masked=rng.standard_normal((SOURCE_VIDEO_FRAMES, CAVP_WIDTH)).astype(np.float16),
        loudness=rng.random(100).astype(np.float32),
        latent=rng.standard_normal((8, 125, 8)).astype(np.float16),
        clap=rng.standard_normal(16).astype(np.float16),
        t5=rng.standard_normal((3 + number, T5)).astype(np.float16),
        gpt=rng.standard_normal((8, GPT)).astype(np.float16),
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model, training shards and pictures as the pipelines leave them."""
    root = tmp_path_factory.mktemp("data")
    tiny_pipeline().save_pretrained(root / "model")
    with ShardWriter(root / "training_shards", "test-000000", inputs={}) as shard:
        for number, key in enumerate(KEYS):
            shard.add(key, encode_sample(sample(number)))
        shard.commit()
    with ShardWriter(root / "training_shards", "train-000000", inputs={}) as shard:
        shard.add("other_000000", encode_sample(replace(sample(1), key="other_000000")))
        shard.commit()
    with ShardWriter(root / "clip_media", "test-000000", inputs={}) as shard:
        for key in KEYS:
            ramp = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (47, 64, 3))
            shard.add(key, {f"{frame:03d}.jpg": encode_jpeg(ramp) for frame in range(SOURCE_VIDEO_FRAMES)})
        shard.commit()
    return root


def run(root: Path, output: Path, *more: str) -> int:
    arguments = ["--model", root / "model", "--shards", root / "training_shards", "--output", output]
    arguments += ["--weights", output / "no_weights"]
    return main([*map(str, arguments), "--steps", "1", "--device", "cpu", "--batch", "2", *more])


@pytest.fixture(scope="module")
def evaluated(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("evaluation")
    assert run(root, output, "--media", str(root / "clip_media"), "--seed", "5") == 0
    return output


def test_every_figure_has_its_count_for_the_model_and_the_rows_beside_it(evaluated: Path) -> None:
    result = json.loads((evaluated / "metrics.json").read_text())
    assert result["clips"] == 3 and result["seed"] == 5 and result["steps"] == 1
    assert set(result["rows"]) == set(ROWS)
    for name, row in result["rows"].items():
        assert set(row["metrics"]) == {*PER_CLIP, "frechet_distance"}
        for metric, entry in row["metrics"].items():
            # The samples' curves are noise without a silence; a drawn curve expects no onset of the real sound's.
            undefined = metric == "silence_db" or (metric in MEAN_OVER_CLIPS and name in DRAWN_ROWS)
            assert undefined or (entry["count"] >= 3 and np.isfinite(entry["value"])), (name, metric)
    assert "CAVP" in result["rows"]["generated"]["metrics"]["frechet_distance"]["name"]
    clips = json.loads((evaluated / "clips.json").read_text())
    assert set(clips["generated"]) == set(KEYS)
    log = [json.loads(line) for line in (evaluated / "log.jsonl").read_text().splitlines()]
    start = next(row for row in log if row["event"] == "start" and row["task"] == "measure")
    assert start["total"] == next(row["step"] for row in log if row["event"] == "finish")


def test_the_page_stands_alone_and_all_its_files_exist(evaluated: Path) -> None:
    page = (evaluated / "index.html").read_text()
    links = re.findall(r'(?:src|poster|href)="([^"]+)"', page)
    assert len(links) == 3 * (2 * 2 + 2 + 4)
    assert all(link.startswith("page/") and (evaluated / link).stat().st_size > 100 for link in links)
    assert "://" not in page and "<script" not in page and "@import" not in page
    assert "a &lt;drum&gt; &amp; 0" in page and "$" not in page


def test_a_second_run_keeps_what_is_there_and_another_seed_starts_anew(
    root: Path, evaluated: Path, tmp_path: Path
) -> None:
    clip = evaluated / "clips" / f"{KEYS[1]}.flac"
    first = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (evaluated / "clips").glob("*.flac")}
    assert len(first) == 3 and decode_flac(first[clip][0]).shape == (CLIP_SAMPLES,)
    before = json.loads((evaluated / "metrics.json").read_text())["rows"]
    clip.unlink()
    assert run(root, evaluated, "--seed", "5") == 0
    for path, (content, written) in first.items():
        assert path.read_bytes() == content
        assert (path.stat().st_mtime_ns == written) == (path != clip)
    assert json.loads((evaluated / "metrics.json").read_text())["rows"] == before
    assert "audio" in (evaluated / "index.html").read_text()


def test_without_training_sounds_the_rows_of_their_spectra_are_left_out(
    root: Path, evaluated: Path, tmp_path: Path
) -> None:
    (tmp_path / "model").symlink_to(root / "model")
    shards = shutil.copytree(root / "training_shards", tmp_path / "training_shards")
    (shards / "manifests" / "train-000000.json").unlink()
    output = Path(shutil.copytree(evaluated, tmp_path / "evaluation"))
    assert run(tmp_path, output, "--seed", "5", "--page-clips", "0") == 0
    assert set(json.loads((output / "metrics.json").read_text())["rows"]) == set(ROWS) - NOUN_ROWS
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert any("has no training sound of the clips' nouns" in row.get("message", "") for row in log)
    start = [row for row in log if row["event"] == "start" and row["task"] == "measure"][-1]
    assert start["total"] == [row for row in log if row["event"] == "finish"][-1]["step"], "the bar ends at its end"


def test_a_sound_made_for_other_instructions_is_not_kept(root: Path, evaluated: Path, tmp_path: Path) -> None:
    changed = replace(sample(1), loudness=np.full(100, 0.2, np.float32))
    (tmp_path / "model").symlink_to(root / "model")
    with ShardWriter(tmp_path / "training_shards", "test-000000", inputs={}) as shard:
        for content in (sample(0), changed, sample(2)):
            shard.add(content.key, encode_sample(content))
        shard.commit()
    output = Path(shutil.copytree(evaluated, tmp_path / "evaluation"))
    assert run(tmp_path, output, "--seed", "5", "--page-clips", "0") == 0
    same = {key: (output / "clips" / f"{key}.flac").read_bytes() for key in KEYS}
    before = {key: (evaluated / "clips" / f"{key}.flac").read_bytes() for key in KEYS}
    assert [same[key] == before[key] for key in KEYS] == [True, False, True]
    # A constant command is undefined, which is null in JSON and no NaN.
    clips = json.loads((output / "clips.json").read_text(), parse_constant=pytest.fail)
    assert clips["generated"][KEYS[1]]["loudness_pearson"] is None


def test_parts_together_make_what_one_process_makes(root: Path, evaluated: Path, tmp_path: Path) -> None:
    for part in ("2/2", "1/2"):
        assert run(root, tmp_path, "--seed", "5", "--part", part) == 0
        assert not (tmp_path / "metrics.json").exists()
    made = {path.name: path.read_bytes() for path in (tmp_path / "clips").glob("*.flac")}
    assert made == {path.name: path.read_bytes() for path in (evaluated / "clips").glob("*.flac")}
    assert run(root, tmp_path, "--seed", "5", "--part", "3/2") == 2


@pytest.mark.usefixtures("warm_children")
def test_two_processes_share_the_batches_and_make_what_one_makes(root: Path, tmp_path: Path) -> None:
    made = {}
    for processes in ("1", "2"):
        output = tmp_path / processes
        assert run(root, output, "--seed", "5", "--batch", "1", "--processes", processes, "--page-clips", "0") == 0
        made[processes] = {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*.flac")}
        rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
        made[processes]["figures"] = json.loads((output / "metrics.json").read_text())["rows"]
        # Nine sounds, one by one, of which two processes make five and four.
        (total,) = [row["total"] for row in rows if row["event"] == "start" and row["task"] == "generate"]
        assert total == {"1": 9, "2": 5}[processes]
        steps = [row["step"] for row in rows if row["event"] == "progress" and row["task"] == "generate"]
        assert steps[-1] == max(steps) == total
    assert len(made["1"]) == 10 and made["1"] == made["2"]


def test_the_rest_of_a_failed_second_process_is_not_made_in_silence() -> None:
    from drawaudio_model.second_process import second_process

    with pytest.raises(
        ChildProcessError, match=r"second process of the evaluation failed \(ValueError: .*\); run .* again"
    ):
        with second_process("evaluation", int, "two"):
            pass


def test_a_model_without_a_sound_tower_is_measured_without_its_distance(root: Path, tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    pipe.cavp = pipe.cavp.video_only()
    pipe.save_pretrained(tmp_path / "model")
    (tmp_path / "training_shards").symlink_to(root / "training_shards")
    assert run(tmp_path, tmp_path / "evaluation", "--limit", "1") == 0
    result = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert {name for row in result["rows"].values() for name in row["metrics"]} == set(PER_CLIP)


def test_generated_sounds_beyond_full_scale_are_limited_and_counted(
    root: Path, evaluated: Path, tmp_path: Path
) -> None:
    assert json.loads((evaluated / "metrics.json").read_text())["limited_clips"]["count"] == 0
    pipe = tiny_pipeline()
    with torch.no_grad():
        pipe.vae.decoder.conv_out.bias += 6.0  # of the log-mel: a sound of 400 times the amplitude
    pipe.save_pretrained(tmp_path / "model")
    (tmp_path / "training_shards").symlink_to(root / "training_shards")
    output = tmp_path / "evaluation"
    assert run(tmp_path, output) == 0
    limited = json.loads((output / "metrics.json").read_text())["limited_clips"]
    # With its own curve, with a drawn one and without.
    assert limited["count"] == 9 and limited["largest_peak_db"] > 3
    for path in (output / "clips").glob("*.flac"):
        assert true_peak(decode_flac(path.read_bytes())) == pytest.approx(10 ** (CEILING_DB / 20), abs=0.01)
    assert "9 generated sounds exceed full scale" in (output / "log.jsonl").read_text()
    assert "(limited by" in (output / "index.html").read_text()
    assert run(tmp_path, output) == 0  # keeps the sounds, and what is known of them
    assert json.loads((output / "metrics.json").read_text())["limited_clips"] == limited
    (tmp_path / "model").rename(tmp_path / "loud")
    (tmp_path / "model").symlink_to(root / "model")
    assert run(tmp_path, output) == 0
    assert json.loads((output / "metrics.json").read_text())["limited_clips"]["count"] == 0
    assert not list((output / "clips").glob("*.limited.json"))


def test_the_papers_metrics_are_named_as_missing_without_weights(evaluated: Path) -> None:
    published = json.loads((evaluated / "metrics.json").read_text())["published"]
    assert set(published) == {"fd", "is", "kl", "fad", "cs_av", "clap"}
    assert "Cnn14_16k_mAP=0.438.pth is missing; put there what https://" in published["fd"]["missing"]


def test_a_clips_noise_depends_on_seed_and_key_only() -> None:
    assert clip_seed(1, "a") == clip_seed(1, "a")
    assert len({clip_seed(1, "a"), clip_seed(2, "a"), clip_seed(1, "b")}) == 3


def test_a_limit_draws_the_same_clips_for_the_same_seed(root: Path) -> None:
    keys = [sample.key for sample in read_samples(root / "training_shards", "test", limit=2, seed=3)]
    assert len(keys) == 2 and keys == sorted(keys)
    assert keys == [sample.key for sample in read_samples(root / "training_shards", "test", limit=2, seed=3)]


def test_bad_input_ends_with_code_2_and_one_sentence(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, tmp_path, "--split", "val") == 2
    assert "no finished shard of the split 'val'" in capsys.readouterr().err
    assert main(["--model", str(tmp_path), "--shards", str(root / "training_shards"), "--output", str(tmp_path)]) == 2
    assert "is no model folder" in capsys.readouterr().err
