"""What a run's settings say of sampling reaches the pipeline that it leaves."""

from dataclasses import replace
from pathlib import Path

from drawaudio_model.config import TrainConfig
from drawaudio_model.dataset import TrainingShards
from drawaudio_model.training.parts import build_denoiser, build_pipeline
from tests.test_train import world

__all__ = ["world"]


def test_the_finished_pipeline_samples_as_the_run_says(world: Path) -> None:
    own = {"guidance_text": 1.25, "guidance_video": 2.5, "guidance_loudness": 0.75, "loudness_branches": "video"}
    config = replace(TrainConfig.tiny(), prediction="v_prediction", **own)
    denoiser = build_denoiser(config, world / "backbones", TrainingShards(world / "shards"))
    pipe = build_pipeline(denoiser, world / "backbones", config)
    assert {name: pipe.config[name] for name in own} == own
    schedule = pipe.scheduler.config
    assert (schedule.prediction_type, schedule.beta_schedule) == ("v_prediction", "scaled_linear")
    assert (schedule.beta_start, schedule.beta_end, schedule.clip_sample) == (0.0015, 0.0195, False)
    assert pipe.vae.config.scaling_factor == 0.01
    assert pipe.unet is denoiser.unet
    assert not any(part.training for part in (pipe.unet, pipe.mask_attention, pipe.loudness_control))
