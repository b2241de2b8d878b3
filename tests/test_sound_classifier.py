"""The classifier of the control benchmark: it learns from stems, is judged on others, and is trained once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from drawaudio_model.clip_format import CLIP_SAMPLES, SAMPLE_RATE, SOURCE_SAMPLES
from drawaudio_model.evaluation.sound_classifier import (
    SoundClassifier,
    Stem,
    _crop,
    accuracy,
    read_stems,
    train_classifier,
    trained_classifier,
)
from drawaudio_model.media import encode_flac
from drawaudio_model.mel import log_mel
from drawaudio_model.scene_truth import TRUTH_MEMBER, SceneTruth, TrueObject
from drawaudio_model.shard import ShardWriter

STEPS = 30


def tone_or_noise(kind: str, number: int) -> np.ndarray:
    """(160000,) two bursts: of a tone ("horn") or of noise ("drum")."""
    rng = np.random.default_rng([number, kind == "horn"])
    time = np.arange(SOURCE_SAMPLES) / SAMPLE_RATE
    carrier = (
        np.sin(2 * np.pi * rng.uniform(300, 500) * time) if kind == "horn" else rng.standard_normal(SOURCE_SAMPLES)
    )
    starts = rng.uniform(0.5, 6.5, 2)
    envelope = sum(np.exp(-np.maximum(time - start, 0) * 3) * (time > start) for start in starts)
    return (0.3 * carrier * envelope / np.abs(carrier * envelope).max()).astype(np.float32)


def write_raw_clips(folder: Path, split: str, numbers: range) -> list[str]:
    """Clips with truth and stems as the demo world leaves them; every second one has a second thing that moves."""
    keys = []
    with ShardWriter(folder, f"{split}-000000", inputs={}) as shard:
        for number in numbers:
            kinds = ["horn", "drum"][:: 1 if number % 2 else -1][: 1 + (number % 4 > 0)]
            boxes = [((0.1, 0.1, 0.4, 0.8),) * 40, ((0.6, 0.2, 0.9, 0.9),) * 40]
            colours = ("red", "orange")
            things = [
                TrueObject(
                    kind,
                    f"{colour} {kind}",
                    colour,
                    active=True,
                    stem=place,
                    boxes=boxes[place],
                    onsets_seconds=((1.0, 3.0, 9.0), (2.0,))[place],
                    onset_levels=(1.0,) * (3, 1)[place],
                )
                for place, (kind, colour) in enumerate(zip(kinds, colours, strict=False))
            ]
            things.append(TrueObject("car", "car", "grey", active=False, stem=None, boxes=boxes[0]))
            key = f"scene{number}_000000"
            caption = f"a red {kinds[0]} makes itself heard"
            truth = SceneTruth(key, kinds[0], caption, target=0, objects=tuple(things))
            stems = {f"stem{i}.flac": encode_flac(tone_or_noise(kind, 10 * number + i)) for i, kind in enumerate(kinds)}
            shard.add(key, {"json": b"{}", TRUTH_MEMBER: truth.to_json(), **stems})
            keys.append(key)
        shard.commit()
    return keys


@pytest.fixture(scope="module")
def raw_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_raw_clips(folder, "train", range(6))
    write_raw_clips(folder, "test", range(6, 10))
    return folder


def test_every_stem_is_read_with_its_kind(raw_clips: Path) -> None:
    stems = read_stems(raw_clips, "train")
    # Clips 0 and 4 have one thing, the others two; the caption's comes first.
    pairs = [["drum"], ["horn", "drum"], ["drum", "horn"], ["horn", "drum"], ["drum"], ["horn", "drum"]]
    assert [stem.kind for stem in stems] == [kind for pair in pairs for kind in pair]
    assert all(stem.waveform.shape == (SOURCE_SAMPLES,) and np.abs(stem.waveform).max() > 0.4 for stem in stems)
    with pytest.raises(ValueError, match="no finished shard of the split 'val'"):
        read_stems(raw_clips, "val")


def test_it_tells_kinds_apart_that_it_never_heard(raw_clips: Path) -> None:
    model = train_classifier(read_stems(raw_clips, "train"), steps=STEPS, seed=0)
    held_out = read_stems(raw_clips, "test")
    assert accuracy(model, held_out) == 1.0
    quieter = [0.1 * stem.waveform[:CLIP_SAMPLES] for stem in held_out]
    assert model.classify(quieter) == [stem.kind for stem in held_out]


def test_it_is_trained_once_for_the_same_clips(raw_clips: Path, tmp_path: Path) -> None:
    first = trained_classifier(raw_clips, tmp_path, steps=2)
    written = (tmp_path / "classifier.safetensors").stat().st_mtime_ns
    again = trained_classifier(raw_clips, tmp_path, steps=2)
    assert (tmp_path / "classifier.safetensors").stat().st_mtime_ns == written
    for name, value in first.state_dict().items():
        assert value.equal(again.state_dict()[name]), name
    trained_classifier(raw_clips, tmp_path, steps=3)
    assert (tmp_path / "classifier.safetensors").stat().st_mtime_ns != written


def test_the_networks_vote_and_their_agreement_is_told() -> None:
    model = SoundClassifier(("drum", "horn"), members=3)
    with torch.no_grad():
        for member, logits in zip(model.members, ([2.0, 0.0], [2.0, 0.0], [0.0, 1.0]), strict=True):
            member.head.weight.zero_()
            member.head.bias.copy_(torch.tensor(logits))
    sounds = [tone_or_noise("horn", 1)[:CLIP_SAMPLES]] * 2
    assert model.classify(sounds) == ["drum", "drum"]
    assert not model.hear(sounds[0]).unanimous
    with torch.no_grad():
        model.members[2].head.bias.copy_(torch.tensor([3.0, 0.0]))
    assert model.hear(sounds[0]) == ("drum", True)


def test_continuous_sounds_are_also_heard_under_drawn_curves(raw_clips: Path) -> None:
    steady = Stem("horn", np.full(SOURCE_SAMPLES, 0.5, np.float32) * np.sin(np.arange(SOURCE_SAMPLES)), continuous=True)
    mel = log_mel(steady.waveform)
    crops = [_crop(np.random.default_rng(seed), [steady], [mel], [0]) for seed in range(20)]
    spread = [float(crop[50:-50].amax(dim=1).max() - crop[50:-50].amax(dim=1).min()) for crop in crops]
    assert 4 < sum(value > 1.0 for value in spread) < 16  # about half of them rise and fall
    paused = replace(steady, continuous=False)
    crops = [_crop(np.random.default_rng(seed), [paused], [mel], [0]) for seed in range(20)]
    assert all(float(crop[50:-50].amax(dim=1).std()) < 0.1 for crop in crops)
