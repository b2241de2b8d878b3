"""What a run's settings say of sampling reaches the pipeline that it leaves."""

from dataclasses import replace
from pathlib import Path

import pytest

from drawaudio_model.command_line import Parser
from drawaudio_model.config import TrainConfig
from drawaudio_model.dataset import TrainingShards
from drawaudio_model.training.arguments import add_arguments
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


@pytest.mark.parametrize("launcher", ["torchrun", "accelerate launch"])
def test_every_option_of_a_training_can_stand_behind_what_launches_it(launcher: str) -> None:
    """A launcher takes the beginning of one of its own options for that option, wherever it stands."""
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser

    launches = {"torchrun": get_args_parser, "accelerate launch": launch_command_parser}[launcher]()
    own = Parser()
    add_arguments(own)
    for action in own._actions[1:]:  # the first is --help
        option = max(action.option_strings, key=len)
        given = launches.parse_args(["-m", "drawaudio_model.train", option, "x"])
        assert given.training_script_args == [option, "x"]
    assert own.parse_args(["--named-run", "tiny"]).run == "tiny"
