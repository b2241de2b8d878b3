"""Named runs: the paper's numbers, limits, and that no setting is without a reader."""

import ast
import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

import drawaudio_model
from drawaudio_model.config import FREE_TO_CHANGE, RUN_NAMES, TrainConfig, differences, named_run

PACKAGE = Path(drawaudio_model.__file__).parent


def test_paper_is_table_one() -> None:
    steps = {name: TrainConfig.paper(name).steps for name in ("audiocaps", "vggsound_caption", "mixed")}
    assert steps == {"audiocaps": 60_000, "vggsound_caption": 160_000, "mixed": 200_000}
    paper = TrainConfig.paper("mixed")
    assert paper.batch_size == 72 * 4 and paper.micro_batch_size == 72
    assert (paper.learning_rate, paper.weight_decay, paper.ema_decay) == (1e-4, 0.01, 0.9999)
    assert paper.loudness_mode == "additive" and paper.min_snr_gamma is None and paper.unet_channels is None


def test_improved_differs_from_paper_where_it_says() -> None:
    mine = json.loads(TrainConfig.improved().to_json())
    paper = json.loads(TrainConfig.paper().to_json())
    changed = {name for name in mine if mine[name] != paper[name]}
    control = {"loudness_mode", "loudness_scale", "null_loudness_rate", "min_snr_gamma"}
    drawn = {"drawn_share", "level_matching_db"}
    assert changed == {"run", "trainable", "precision"} | control | drawn
    assert paper["drawn_share"] == 0 and paper["level_matching_db"] is None
    assert paper["null_loudness_rate"] == 0 and mine["null_loudness_rate"] > 0 and mine["loudness_zero_start"]


def test_the_papers_readings_are_the_defaults() -> None:
    """Each place where the paper is silent or contradicts itself is one setting."""
    paper = TrainConfig.paper()
    readings = {
        "base_heads": "hub",
        "prediction": "epsilon",
        "video_projection": "new",
        "video_projection_learns": True,
        "mask_gate": "linear",
        "mask_bias": True,
        "positions_follow": "crop",
        "null_video": "zeros",
        "loudness_mode": "additive",
        "loudness_scale": "linear",
        "loudness_branches": "all",
        "trainable": "adapters",
        "null_text_and_video_rate": 0.1,
        "guidance_text": 3.5,
        "guidance_video": 4.5,
        "guidance_loudness": 0.0,
        "ema_decay": 0.9999,
        "precision": "no",
    }
    assert {name: getattr(paper, name) for name in readings} == readings


def test_demo_sees_ten_thousand_samples() -> None:
    demo = TrainConfig.demo()
    assert demo.steps * demo.batch_size >= 10_000


@pytest.mark.parametrize("run", RUN_NAMES)
def test_named_runs_are_found_and_survive_json(run: str) -> None:
    config = named_run(run)
    assert config.run.startswith(run)
    assert TrainConfig(**json.loads(config.to_json())) == config


def test_every_setting_is_read_and_documented() -> None:
    read = set()
    for path in [PACKAGE / "config.py", PACKAGE / "train.py", *(PACKAGE / "training").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                owner = ast.unparse(node.value)
                if owner in ("config", "self.config") or (owner == "self" and path.stem == "config"):
                    read.add(node.attr)
    names = {field.name for field in fields(TrainConfig)}
    assert not names - read
    assert FREE_TO_CHANGE <= names

    body = next(
        node.body
        for node in ast.parse((PACKAGE / "config.py").read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "TrainConfig"
    )
    for index, node in enumerate(body):
        if isinstance(node, ast.AnnAssign):
            follower = body[index + 1]
            assert isinstance(follower, ast.Expr) and isinstance(follower.value.value, str), node.target.id


def test_a_run_is_continued_with_other_speed_but_not_with_other_data_or_loss() -> None:
    tiny = TrainConfig.tiny()
    stored = json.loads(tiny.to_json())
    assert differences(replace(tiny, steps=99, workers=3, checkpoint_every=7), stored) == []
    assert differences(replace(tiny, seed=4, min_snr_gamma=5.0), stored) == [
        "min_snr_gamma was None, is 5.0",
        "seed was 0, is 4",
    ]


def test_a_setting_that_a_stored_run_does_not_know_had_its_default() -> None:
    tiny = TrainConfig.tiny()
    older = json.loads(tiny.to_json())
    for name in ("mask_bias_start", "loudness_widths"):
        del older[name]
    assert differences(tiny, older) == []
    assert differences(replace(tiny, mask_bias_start=2.0), older) == ["mask_bias_start was 0.0, is 2.0"]


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="dataset is 'audioset', expected one of audiocaps, vggsound_caption, mixed"):
        TrainConfig.paper("audioset")
    with pytest.raises(ValueError, match="steps is 0, expected at least 1"):
        replace(TrainConfig.tiny(), steps=0)
    with pytest.raises(ValueError, match="batch_size 288 is no multiple of micro_batch_size 100"):
        replace(TrainConfig.paper(), micro_batch_size=100)
    with pytest.raises(ValueError, match=r"null rate of mask is 1\.5"):
        replace(TrainConfig.tiny(), null_mask_rate=1.5)
    with pytest.raises(ValueError, match=r"ema_decay is 1\.0"):
        replace(TrainConfig.tiny(), ema_decay=1.0)
    with pytest.raises(ValueError, match="run is 'big', expected one of demo, control, small, tiny, paper, improved"):
        named_run("big")
