"""A backbone is made once, and again when anything changes that decides what it would be."""

import json
import logging
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from drawaudio_model import backbone_config, pretrain
from drawaudio_model.backbone_config import CONFIGS, AutoencoderConfig
from drawaudio_model.clip_format import SOURCE_SAMPLES
from drawaudio_model.media import encode_flac
from drawaudio_model.pretraining.arguments import BACKBONES, RUNS
from drawaudio_model.shard import ShardWriter
from pipelines.assets import backbones
from pipelines.profiles import PROFILES
from pipelines.resources import DataRoot


class TrainerInThisProcess:
    """The same command without a process of its own; counts how often it runs."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, context: object, module: str, arguments: list[object], watch: object = None) -> None:
        assert module == "pretrain"
        self.runs += 1
        assert pretrain.main([str(word) for word in arguments]) == 0


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three clips of noise, all that the autoencoder learns from."""
    monkeypatch.setenv("DRAWAUDIO_PROFILE", "tiny")
    random = np.random.default_rng(0)
    with ShardWriter(tmp_path / "clip_media", "train-000000", inputs={}) as clips:
        for number in range(3):
            sound = encode_flac(random.normal(0, 0.1, SOURCE_SAMPLES).astype(np.float32))
            clips.add(f"clip{number}_000000", {"json": b"{}", "flac": sound})
        clips.commit()
    return tmp_path


def make(root: Path, trainer: TrainerInThisProcess) -> Any:
    context = SimpleNamespace(log=logging.getLogger("backbones"))
    return backbones.make_backbone(context, DataRoot(path=str(root)), trainer, "audio_autoencoder", ("clip_media",))


def test_a_backbone_of_other_settings_is_made_again_and_says_why(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trainer = TrainerInThisProcess()
    first = make(root, trainer).data_version
    assert make(root, trainer).data_version == first and trainer.runs == 1
    # As after an update of the code.
    other = replace(AutoencoderConfig.tiny(), latent_channels=6)
    monkeypatch.setattr(backbone_config.AutoencoderConfig, "tiny", staticmethod(lambda: other))
    assert make(root, trainer).data_version != first and trainer.runs == 2
    assert json.loads((root / "backbones" / "audio_autoencoder" / "config.json").read_text())["latent_channels"] == 6
    assert (
        caplog.messages.count("audio_autoencoder is made again: settings are no longer those that it was made with")
        == 1
    )
    assert make(root, trainer) and trainer.runs == 2


def test_a_backbone_of_which_no_settings_are_known_is_made_once_more_with_the_same_bytes(root: Path) -> None:
    trainer = TrainerInThisProcess()
    first = make(root, trainer).data_version
    marker = root / "backbones" / "audio_autoencoder" / "backbone.json"
    facts = json.loads(marker.read_text())
    del facts["inputs"]["settings"]
    marker.write_text(json.dumps(facts))
    assert make(root, trainer).data_version == first and trainer.runs == 2
    assert make(root, trainer).data_version == first and trainer.runs == 2


@pytest.mark.parametrize("name", BACKBONES)
def test_every_setting_of_every_backbone_counts(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def inputs() -> dict[str, str]:
        return backbones._inputs(name, root, ("clip_media",), PROFILES["tiny"])

    config, before = CONFIGS[name].tiny(), inputs()
    for field in fields(config):
        changed = replace(config, **{field.name: (getattr(config, field.name), "changed")})
        monkeypatch.setattr(CONFIGS[name], "tiny", staticmethod(lambda changed=changed: changed))
        assert {key for key, value in inputs().items() if value != before[key]} == {"settings"}, field.name


def test_every_backbone_has_settings_for_every_run() -> None:
    assert tuple(CONFIGS) == BACKBONES
    assert all(isinstance(getattr(config, run)(), config) for config in CONFIGS.values() for run in RUNS)
