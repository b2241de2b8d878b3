"""What a model says of its own limits: levels, words and pictures beyond its training, and silence about what lies inside."""

from pathlib import Path

import numpy as np
import pytest
import torch

from drawaudio_model.clip_format import LOUDNESS_POINTS
from drawaudio_model.dataset import TrainingShards
from drawaudio_model.generation.feature_distance import fit_distance, picture_statistics
from drawaudio_model.pipeline import DrawAudioPipeline
from drawaudio_model.training_domain import TrainingDomain, write_pictures, write_words
from tests.counting_shards import write_shards
from tests.tiny_pipeline import CAPTIONS, tiny_pipeline

TEXTS = [*CAPTIONS, "the tolling of church bells", "heavy rain"]


def cartoon(seed: int, frames: int = 8) -> np.ndarray:
    """(V, 48, 64, 3) uint8: a square that moves over a plain ground."""
    rng = np.random.default_rng(seed)
    video = np.full((frames, 48, 64, 3), rng.integers(80, 120, 3), np.uint8)
    left, top = rng.integers(0, 30, 2)
    for number, picture in enumerate(video):
        picture[top : top + 12, left + number : left + number + 12] = rng.integers(180, 220, 3)
    return video


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbones")
    pipe = tiny_pipeline()
    pipe.text.save_pretrained(folder / "text_encoders")
    write_words(folder / "text_encoders", TEXTS)
    (folder / "cavp_backbone").mkdir()
    write_pictures(
        folder / "cavp_backbone", fit_distance(np.stack([picture_statistics(cartoon(i)) for i in range(40)]))
    )
    return folder


@pytest.fixture(scope="module")
def domain(backbones: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingDomain:
    shards = TrainingShards(write_shards(tmp_path_factory.mktemp("shards"), [5, 2]))
    return TrainingDomain.of_training(shards, backbones)


def test_levels_are_those_of_the_training_curves(domain: TrainingDomain) -> None:
    # counting_sample's curve is k / 1000 at point k of 100.
    assert domain.config.loudest_level == pytest.approx(0.099, abs=1e-4)
    expected = np.sqrt(np.mean((np.arange(100) / 1000) ** 2))
    assert domain.config.quietest_rms == pytest.approx(expected, rel=1e-3)
    assert domain.config.loudest_rms == pytest.approx(expected, rel=1e-3)


def test_a_curve_beyond_the_loudest_is_cut_and_said(domain: TrainingDomain) -> None:
    curve = np.full(LOUDNESS_POINTS, 0.05, np.float32)
    assert domain.limit_curve(curve)[1] is None
    curve[32] = 0.9
    limited, sentence = domain.limit_curve(curve)
    assert limited.max() == pytest.approx(0.099, abs=1e-4) and limited[0] == pytest.approx(0.05)
    assert sentence is not None and sentence.startswith("the curve asks for 0.90 at 3.2 s; the loudest that this model")


def test_only_words_that_training_never_saw_are_named(domain: TrainingDomain, backbones: Path) -> None:
    text = tiny_pipeline().text
    assert domain.notice_of_words("Bells tolled", text(["Bells tolled"]).clap[0]) is None
    sentence = domain.notice_of_words("a dragon roars", text(["a dragon roars"]).clap[0])
    assert sentence is not None and "no word of 'a dragon roars'; the nearest that it knows is" in sentence
    assert any(f"'{wording}'" in sentence for wording in TEXTS)
    # Encoders that say nothing of their words are bound to none.
    assert TrainingDomain().notice_of_words("a dragon roars", torch.zeros(1)) is None


def test_only_pictures_unlike_those_of_the_training_are_named(domain: TrainingDomain) -> None:
    assert [domain.notice_of_pictures(cartoon(seed)) for seed in range(100, 110)] == [None] * 10
    noise = np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), dtype=np.uint8)
    assert "looks like nothing that the model was trained on" in str(domain.notice_of_pictures(noise))
    assert TrainingDomain().notice_of_pictures(noise) is None


def test_a_pipeline_keeps_its_domain_and_says_what_lies_beyond_it(domain: TrainingDomain, tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    pipe.register_modules(domain=domain)
    pipe.register_to_config(level_matching_db=12.0)
    pipe.save_pretrained(tmp_path / "model")
    loaded = DrawAudioPipeline.from_pretrained(tmp_path / "model")
    assert loaded.domain.config.words == domain.config.words and loaded.config.level_matching_db == 12.0
    torch.testing.assert_close(loaded.domain.picture_precision, domain.picture_precision)
    noise = np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), dtype=np.uint8)
    found = loaded(noise, "a dragon roars", loudness=[(0, 0.0), (1, 0.8)], num_inference_steps=1, seed=0)
    assert ["curve asks" in found.notices[0], "dragon" in found.notices[1], "video" in found.notices[2]] == [True] * 3
    assert found.curve.max() == pytest.approx(0.099, abs=1e-4)
    assert loaded(cartoon(3), "a bell rings", num_inference_steps=1, seed=0).notices == []


def test_a_model_saved_without_a_domain_loads_and_says_nothing(tmp_path: Path) -> None:
    tiny_pipeline().save_pretrained(tmp_path / "model")
    loaded = DrawAudioPipeline.from_pretrained(tmp_path / "model")
    assert loaded.domain is None and loaded.config.level_matching_db is None
    assert loaded(None, "a dragon roars", num_inference_steps=1, seed=0).notices == []
