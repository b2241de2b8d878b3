"""The control benchmark of a pipeline whose sounds are known: each row's figures are against the curve it commanded."""

import json
from pathlib import Path

import numpy as np
import pytest

from drawaudio_model import metrics
from drawaudio_model.clip_format import CLIP_SECONDS, LOUDNESS_POINTS, SOURCE_VIDEO_FRAMES
from drawaudio_model.control import main
from drawaudio_model.evaluation.control_rows import ROWS, Scene, read_scenes
from drawaudio_model.loudness import loudness_signal
from drawaudio_model.media import decode_flac, encode_jpeg
from drawaudio_model.pipeline import DrawAudioPipeline
from drawaudio_model.shard import ShardWriter
from drawaudio_model.training_sample import TrainingSample, encode_sample
from tests import test_evaluate_oracle as evaluation
from tests.oracle import (
    LATENT_FRAMES,
    OWN_GUIDANCE,
    UNCOMMANDED_LEVEL,
    curve_levels,
    latent_sound,
    level_latent,
    oracle_pipeline,
    told_bytes,
)
from tests.test_sound_classifier import write_raw_clips
from tests.tiny_pipeline import tiny_pipeline

KEYS = [f"scene{number}_000000" for number in range(3)]
BY_NAME = {row.name: row for row in ROWS}
SEED, STEPS = 3, 2
WORDINGS = {"drum": ["bang a drum", "drum roll"], "horn": ["toot"]}


def known_samples() -> dict[str, TrainingSample]:
    """The evaluation's samples under the keys of scenes with a truth."""
    return {
        key: TrainingSample(**{**vars(evaluation.known_sample(known)), "key": key})
        for key, known in zip(KEYS, evaluation.KEYS, strict=True)
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model, training shards, raw clips, pictures, and the report in `control`."""
    root = tmp_path_factory.mktemp("oracle")
    tiny_pipeline().save_pretrained(root / "model")
    for split, numbers in (("test", range(3)), ("train", range(3, 7)), ("val", range(7, 8))):
        write_raw_clips(root / "raw_clips", split, numbers)
    with (
        ShardWriter(root / "shards", "test-000000", inputs={}) as shard,
        ShardWriter(root / "clip_media", "test-000000", inputs={}) as media,
    ):
        for number, sample in enumerate(known_samples().values()):
            shard.add(sample.key, encode_sample(sample))
            noise = np.random.default_rng(number).integers(0, 255, (SOURCE_VIDEO_FRAMES, 24, 32, 3), dtype=np.uint8)
            media.add(sample.key, {f"{frame:03d}.jpg": encode_jpeg(picture) for frame, picture in enumerate(noise)})
        shard.commit()
        media.commit()
    command = f"--model {root}/model --shards {root}/shards --raw-clips {root}/raw_clips --media {root}/clip_media"
    (root / "wordings.json").write_text(json.dumps(WORDINGS))
    command += f" --wordings {root}/wordings.json"
    command += f" --output {root}/control --seed {SEED} --steps {STEPS} --batch 2 --classifier-steps 2 --page-clips 0"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DrawAudioPipeline, "from_pretrained", classmethod(lambda _class, _folder: oracle_pipeline()))
        assert main([*command.split(), "--device", "cpu"]) == 0
    return root


@pytest.fixture(scope="module")
def scenes(root: Path) -> dict[str, Scene]:
    samples = list(known_samples().values())
    folders = root / "raw_clips", root / "clip_media"
    found = read_scenes(oracle_pipeline(), samples, *folders, seed=SEED, wordings=WORDINGS)
    return {scene.key: scene for scene in found}


def heard(root: Path, row: str) -> dict[str, np.ndarray]:
    """The sounds of a row."""
    return {path.stem: decode_flac(path.read_bytes()) for path in (root / "control" / "clips" / row).glob("*.flac")}


def curve(sample: TrainingSample) -> np.ndarray:
    return sample.loudness[:LOUDNESS_POINTS]


def asked_curves(row: str, scenes: dict[str, Scene]) -> dict[str, np.ndarray]:
    """What each sound of a row is measured against, written out."""
    own = {key: curve(scene.sample) for key, scene in scenes.items()}
    if BY_NAME[row].signal == "drawn":
        return {key: scene.drawn_curve for key, scene in scenes.items()}
    if row == "shuffled_signal":
        return {key: curve(scene.donor) for key, scene in scenes.items()}
    return {key: v.max() + v.min() - v for key, v in own.items()} if row == "inverted_signal" else own


def test_a_rows_sounds_are_made_from_its_instructions(root: Path, scenes: dict[str, Scene]) -> None:
    """In a row without text that branch goes unasked, and without a signal there is none to steer more strongly by."""
    pipe = oracle_pipeline()
    own_rows = ("none", "mask_signal", "all", "shuffled_signal", "other_mask", "other_text")
    for name in (*own_rows, "held_out_text_box", "drawn_mask", "all_drawn"):
        row = BY_NAME[name]
        for key, sound in heard(root, name).items():
            scene, sample = scenes[key], scenes[key].sample
            asked = {"own": "", "other": scene.other_caption, "held_out": scene.held_out_text, None: ""}
            text = pipe.text([asked[row.text]])
            words = (text.gpt[0].numpy(), text.states(0).numpy())
            if row.text == "own":
                words = (sample.gpt.astype(np.float32), sample.t5.astype(np.float32))
            masked = {
                "own": sample.cavp_masked[:32],
                "true": scene.true_cavp_masked,
                "other": scene.other_cavp_masked,
                "drawn": scene.drawn_cavp_masked,
                None: sample.cavp[:32],
            }[row.mask]
            told = told_bytes(
                seed=evaluation.clip_seed(SEED, key),
                steps=STEPS,
                text=words[0],
                words=words[1],
                cavp=sample.cavp[:32].astype(np.float32),
                cavp_masked=masked.astype(np.float32),
                video=True,
                guidance_text=OWN_GUIDANCE["guidance_text"] if row.text else 0.0,
                guidance_video=OWN_GUIDANCE["guidance_video"],
                guidance_loudness=OWN_GUIDANCE["guidance_loudness"] if row.signal else 0.0,
            )
            levels = np.full(LATENT_FRAMES, UNCOMMANDED_LEVEL)
            if row.signal:
                levels = curve_levels(asked_curves(name, scenes)[key])
            assert evaluation.alike(sound, latent_sound(level_latent(levels, told))) > 0.999, (name, key)


def test_every_row_is_measured_against_what_it_commanded(root: Path, scenes: dict[str, Scene]) -> None:
    clips = json.loads((root / "control" / "clips.json").read_text())
    real = {key: evaluation.first_seconds(scene.sample) for key, scene in scenes.items()}
    for row in ROWS:
        asked = asked_curves(row.name, scenes)
        for key, sound in heard(root, row.name).items():
            measured = loudness_signal(sound, seconds=CLIP_SECONDS)
            correlation = metrics.loudness_correlation(asked[key], measured)
            expected = {
                "loudness_pearson": correlation.pearson,
                "loudness_spearman": correlation.spearman,
                "loudness_error_db": metrics.loudness_error_db(asked[key], measured),
                "level_error_db": metrics.level_error_db(asked[key], measured),
                "lag_seconds": metrics.lag_seconds(asked[key], measured),
                "silence_db": metrics.silence_db(asked[key], measured),
                "envelope_l1": None,
                "onset_f1": None,
            }
            if row.signal not in ("inverted", "drawn"):
                of = scenes[key].donor.key if row.signal == "shuffled" else key
                onsets = metrics.onset_times(real[of]), metrics.onset_times(sound)
                expected |= {"onset_f1": metrics.match_onsets(*onsets).f1}
                expected |= {"envelope_l1": metrics.envelope_l1(real[of], sound)}
            for name, value in expected.items():
                found = clips[row.name][key][name]
                # Undefined is null in JSON.
                if value is None or np.isnan(value):
                    assert found is None, (row.name, key, name)
                else:
                    assert found == pytest.approx(value, abs=1e-3), (row.name, key, name)


def test_a_model_that_obeys_follows_another_clips_curve_as_well_as_its_own(root: Path) -> None:
    rows = json.loads((root / "control" / "control.json").read_text())["rows"]
    found = {row: {name: entry["value"] for name, entry in rows[row]["metrics"].items()} for row in rows}
    for row in ("signal", "all", "shuffled_signal", "autoencoder"):
        assert found[row]["loudness_pearson"] > 0.95 and found[row]["lag_seconds"] == 0, row
        assert found[row]["onset_f1"] == 1, row
    assert found["inverted_signal"]["loudness_pearson"] > 0.8
    assert abs(found["none"]["loudness_pearson"]) < 0.3 and found["none"]["onset_f1"] < 0.5
    assert found["real"]["onset_f1"] == 1 and found["real"]["loudness_pearson"] > 0.99
