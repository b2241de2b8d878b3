"""The evaluation of a pipeline whose sounds are known: what it was told, and every figure of the report."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from drawaudio_model import metrics
from drawaudio_model.cavp import diff_foley_log_mel
from drawaudio_model.clip_format import CLIP_SAMPLES, CLIP_SECONDS, SAMPLE_RATE, SOURCE_SAMPLES, SOURCE_VIDEO_FRAMES
from drawaudio_model.drawn.curves import draw_signal
from drawaudio_model.drawn.sounds import LOUDEST
from drawaudio_model.evaluate import main
from drawaudio_model.evaluation.sample_sounds import clip_seed
from drawaudio_model.evaluation.unsteered_sounds import bursts_of_curve
from drawaudio_model.loudness import loudness_signal, noise_of_curve
from drawaudio_model.media import decode_flac, encode_flac
from drawaudio_model.mel import log_mel, normalize_waveform
from drawaudio_model.pipeline import DrawAudioPipeline
from drawaudio_model.shard import ShardWriter
from drawaudio_model.training_sample import TrainingSample, encode_sample
from tests.oracle import (
    COMPRESSION,
    LATENT_FRAMES,
    OWN_GUIDANCE,
    UNCOMMANDED_LEVEL,
    curve_levels,
    latent_sound,
    level_latent,
    noise_sound,
    oracle_pipeline,
    told_bytes,
)
from tests.tiny_pipeline import CAVP_WIDTH, GPT, T5, tiny_pipeline

KEYS = [f"known{number}_000000" for number in range(3)]
HITS = {
    KEYS[0]: [0.5, 1.3, 3.4, 4.1, 6.2, 8.3, 8.9],
    KEYS[1]: [1.1, 2.7, 5.0, 7.3, 8.6, 9.2],
    KEYS[2]: [0.9, 2.2, 3.0, 6.6, 8.2, 8.7, 9.4],
}
"""Seconds at which something is struck; what begins after 8 s belongs to no clip of 8 s."""
ASKED = {"guidance_text": 2.25, "guidance_video": OWN_GUIDANCE["guidance_video"], "guidance_loudness": 1.5}
SEED, STEPS = 5, 3


def real_sound(key: str) -> np.ndarray:
    """(160000,) bursts of noise at HITS over quiet noise; the loudest come after 8 s."""
    rng = np.random.default_rng(KEYS.index(key))
    waveform = 1e-3 * rng.standard_normal(SOURCE_SAMPLES)
    for place, hit in enumerate(HITS[key]):
        start, level = round(hit * SAMPLE_RATE), 0.08 * (1 + place % 3) + 0.1 * (hit > CLIP_SECONDS)
        length = min(6000, SOURCE_SAMPLES - start)
        burst = np.exp(-np.arange(length) / 1500) * rng.standard_normal(length)
        waveform[start : start + length] += level * burst
    return waveform.clip(-1, 1).astype(np.float32)


def known_sample(key: str) -> TrainingSample:
    """A sample whose curve is that of its sound and whose latent decodes to noise of the sound's levels."""
    number = KEYS.index(key)
    rng = np.random.default_rng([1, number])
    waveform = decode_flac(encode_flac(real_sound(key)))
    normal = normalize_waveform(waveform)
    levels = np.sqrt(np.square(normal.reshape(125, -1)).mean(axis=1))
    mean = level_latent(levels, told_bytes(autoencoder_of=key))
    facts = {"source": "test", "source_id": key.split("_")[0], "start_s": 0, "label": "drum", "split": "test"}
    facts |= {"caption": f"drum {number}", "caption_source": "test", "noun_phrases": ["drum"], "scores": {}}
    return TrainingSample(
        key=key,
        facts=facts,
        flac=encode_flac(waveform),
        boxes=[[] for _ in range(SOURCE_VIDEO_FRAMES)],
        cavp=rng.standard_normal((SOURCE_VIDEO_FRAMES, CAVP_WIDTH)).astype(np.float16),
        cavp_masked=rng.standard_normal((SOURCE_VIDEO_FRAMES, CAVP_WIDTH)).astype(np.float16),
        loudness=loudness_signal(normal, seconds=10),
        latent=np.concatenate([mean, 9 * np.ones_like(mean)]).astype(np.float16),
        clap=rng.standard_normal(16).astype(np.float16),
        t5=rng.standard_normal((3 + number, T5)).astype(np.float16),
        gpt=rng.standard_normal((8, GPT)).astype(np.float16),
    )


def generated_sound(sample: TrainingSample, curve: np.ndarray | None, loudness_guidance: float) -> np.ndarray:
    """What the oracle makes of a sample's own instructions of the first 8 s and of a curve, through a 16 bit file."""
    told = told_bytes(
        seed=clip_seed(SEED, sample.key),
        steps=STEPS,
        text=sample.gpt.astype(np.float32),
        words=sample.t5.astype(np.float32),
        cavp=sample.cavp[:32].astype(np.float32),
        cavp_masked=sample.cavp_masked[:32].astype(np.float32),
        video=True,
        **ASKED | {"guidance_loudness": loudness_guidance},
    )
    levels = np.full(LATENT_FRAMES, UNCOMMANDED_LEVEL) if curve is None else curve_levels(curve)
    return decode_flac(encode_flac(latent_sound(level_latent(levels, told))))


def commanded_curve(row: str, sample: TrainingSample) -> np.ndarray:
    """(80,) what a row's sound of a sample is measured against."""
    if "drawn" not in row:
        return sample.loudness[:80]
    return draw_signal(np.random.default_rng(clip_seed(SEED, sample.key)), 10, loudest=LOUDEST)[:80]


def first_seconds(sample: TrainingSample) -> np.ndarray:
    return normalize_waveform(decode_flac(sample.flac))[:CLIP_SAMPLES]


@pytest.fixture(scope="module")
def samples() -> list[TrainingSample]:
    return [known_sample(key) for key in KEYS]


@pytest.fixture(scope="module")
def evaluated(samples: list[TrainingSample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report's folder."""
    root = tmp_path_factory.mktemp("oracle")
    tiny_pipeline().save_pretrained(root / "model")
    with ShardWriter(root / "shards", "test-000000", inputs={}) as shard:
        for sample in samples:
            shard.add(sample.key, encode_sample(sample))
        shard.commit()
    command = f"--model {root}/model --shards {root}/shards --output {root}/evaluation --weights {root}/no_weights"
    command += f" --seed {SEED} --steps {STEPS} --batch 2 --page-clips 0 --device cpu"
    command += f" --guidance-text {ASKED['guidance_text']} --guidance-loudness {ASKED['guidance_loudness']}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DrawAudioPipeline, "from_pretrained", classmethod(lambda _class, _folder: oracle_pipeline()))
        assert main(command.split()) == 0
    return root / "evaluation"


def alike(found: np.ndarray, expected: np.ndarray) -> float:
    """Their correlation: 1 for the same sound at whatever level, about 0 for other noise."""
    return float(np.corrcoef(found, expected)[0, 1])


def test_each_clip_is_made_from_its_own_instructions_at_the_guidance_asked_for(
    evaluated: Path, samples: list[TrainingSample]
) -> None:
    for sample in samples:
        found = decode_flac((evaluated / "clips" / f"{sample.key}.flac").read_bytes())
        expected = generated_sound(sample, sample.loudness[:80], ASKED["guidance_loudness"])
        assert alike(found, expected) > 0.999, sample.key
    report = json.loads((evaluated / "metrics.json").read_text())
    assert {name: report[name] for name in ASKED} == ASKED and report["steps"] == STEPS and report["seed"] == SEED


def known_sounds(samples: list[TrainingSample]) -> dict[str, list[np.ndarray]]:
    """The sounds of the report's rows."""
    mean = np.mean([log_mel(first_seconds(sample)).numpy() for sample in samples], axis=0)
    asked = ASKED["guidance_loudness"]
    seed = np.abs(np.round(mean[0, COMPRESSION::COMPRESSION].astype(np.float64))).astype(int)
    return {
        "generated": [generated_sound(s, commanded_curve("generated", s), asked) for s in samples],
        "drawn": [generated_sound(s, commanded_curve("drawn", s), asked) for s in samples],
        "uncurved": [generated_sound(s, None, 0.0) for s in samples],
        "noise": [noise_of_curve(commanded_curve("noise", s)) for s in samples],
        "noise_drawn": [noise_of_curve(commanded_curve("noise_drawn", s)) for s in samples],
        "bursts": [bursts_of_curve(commanded_curve("bursts", s)) for s in samples],
        "bursts_drawn": [bursts_of_curve(commanded_curve("bursts_drawn", s)) for s in samples],
        "autoencoder": [latent_sound(sample.latent[:4, :100]) for sample in samples],
        "mean": [noise_sound(np.exp(mean[:, 0]), seed)] * len(samples),
    }


def figures(row: str, sample: TrainingSample, sound: np.ndarray) -> dict[str, float]:
    """The metrics of one sound against its row's curve, and the onsets of its real sound; a drawn curve expects none."""
    curve, commanded = loudness_signal(sound, seconds=CLIP_SECONDS), commanded_curve(row, sample)
    correlation = metrics.loudness_correlation(commanded, curve)
    onsets = metrics.match_onsets(metrics.onset_times(first_seconds(sample)), metrics.onset_times(sound))
    return {
        "loudness_pearson": correlation.pearson,
        "loudness_spearman": correlation.spearman,
        "loudness_error_db": metrics.loudness_error_db(commanded, curve),
        "level_error_db": metrics.level_error_db(commanded, curve),
        "silence_db": metrics.silence_db(commanded, curve),
        "onset_f1": float("nan") if "drawn" in row else onsets.f1,
        "lag_seconds": metrics.lag_seconds(commanded, curve),
        "right_at_once": float("nan")
        if "drawn" in row
        else float(correlation.pearson >= 0.75 and metrics.level_error_db(commanded, curve) <= 3 and onsets.f1 >= 0.5),
    }


def test_every_figure_is_that_of_the_known_sounds(evaluated: Path, samples: list[TrainingSample]) -> None:
    clips = json.loads((evaluated / "clips.json").read_text())
    rows = json.loads((evaluated / "metrics.json").read_text())["rows"]
    for row, sounds in known_sounds(samples).items():
        expected = [figures(row, sample, sound) for sample, sound in zip(samples, sounds, strict=True)]
        for sample, values in zip(samples, expected, strict=True):
            # Undefined is null in JSON.
            found = {name: nan_of_null(clips[row][sample.key][name]) for name in values}
            assert found == pytest.approx(values, abs=1e-3, nan_ok=True), (row, sample.key)
        for name in expected[0]:
            of_all = [values[name] for values in expected if np.isfinite(values[name])]
            assert rows[row]["metrics"][name]["count"] == len(of_all)
            if of_all:
                value = np.mean(of_all) if name in ("onset_f1", "right_at_once") else np.median(of_all)
                assert rows[row]["metrics"][name]["value"] == pytest.approx(value, abs=1e-3), (row, name)


def nan_of_null(value: float | None) -> float:
    return float("nan") if value is None else value


def test_the_figures_of_a_model_that_obeys_are_those_of_obedience(evaluated: Path) -> None:
    rows = json.loads((evaluated / "metrics.json").read_text())["rows"]
    found = {row: {name: entry["value"] for name, entry in rows[row]["metrics"].items()} for row in rows}
    # It obeys what is drawn as well, noise has no onset of the clip's, and without a curve it follows none.
    assert found["drawn"]["loudness_pearson"] > 0.8 and found["noise"]["loudness_pearson"] > 0.95
    assert found["noise"]["onset_f1"] < 0.9 and abs(found["uncurved"]["loudness_pearson"]) < 0.3
    for row in ("generated", "autoencoder"):
        assert found[row]["loudness_pearson"] > 0.95 and found[row]["loudness_error_db"] < 3, row
        assert found[row]["onset_f1"] == 1 and found[row]["lag_seconds"] == 0, row
        # One of the three is made 3.6 dB beside its curve.
        assert found[row]["right_at_once"] > 0.6, row
    assert found["noise"]["right_at_once"] < 0.6 and found["uncurved"]["right_at_once"] == 0
    assert found["mean"]["loudness_pearson"] < 0.8 and found["mean"]["onset_f1"] < 0.8
    clips = json.loads((evaluated / "clips.json").read_text())["generated"]
    before_8_s = {key: sum(hit < CLIP_SECONDS for hit in hits) for key, hits in HITS.items()}
    assert {key: clips[key]["onsets_real"] for key in KEYS} == before_8_s


@torch.no_grad()
def test_the_distance_is_between_the_real_and_each_rows_features(
    evaluated: Path, samples: list[TrainingSample]
) -> None:
    cavp = oracle_pipeline().cavp

    def features(sounds: list[np.ndarray]) -> np.ndarray:
        mels = [diff_foley_log_mel(torch.from_numpy(sound)[None]) for sound in sounds]
        return torch.cat([cavp.encode_spectrogram(mel)[0] for mel in mels]).numpy()

    rows = json.loads((evaluated / "metrics.json").read_text())["rows"]
    real = features([first_seconds(sample) for sample in samples])
    for row, sounds in known_sounds(samples).items():
        expected = metrics.frechet_distance(real, features(sounds))
        assert rows[row]["metrics"]["frechet_distance"]["value"] == pytest.approx(expected, rel=0.02), row
