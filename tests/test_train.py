"""The trainer: what the denoiser is shown, the closed forms of its rates, and that a killed run ends as an undisturbed one."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers import AudioLDM2UNet2DConditionModel, AutoencoderKL, DDPMScheduler
from safetensors.torch import load_file
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from drawaudio_model.adapters import load_adapters
from drawaudio_model.cavp import CAVP
from drawaudio_model.cli import build_parser
from drawaudio_model.config import TrainConfig
from drawaudio_model.dataset import TrainingBatch, TrainingShards, fixed_batches, split_step
from drawaudio_model.denoiser import Denoiser
from drawaudio_model.generation.sampling import sampling_solver
from drawaudio_model.griffin_lim import GriffinLimVocoder
from drawaudio_model.model_folder import model_sha256
from drawaudio_model.pipeline import DrawAudioPipeline
from drawaudio_model.progress import Reporter
from drawaudio_model.shard import ShardWriter
from drawaudio_model.text import TextConditions, build_text_conditioner, train_tokenizers
from drawaudio_model.train import main, train
from drawaudio_model.training.checkpoint import newest_checkpoint, only_trainer
from drawaudio_model.training.loop import MovingAverage, Training, learning_rate
from drawaudio_model.training.objective import (
    NOISE_SCHEDULE,
    diffusion_noise,
    min_snr_weights,
    noise_loss,
    shown_conditions,
)
from drawaudio_model.training.parts import build_denoiser, load_null_text
from tests.counting_shards import write_shards

WIDTHS = {"latent": (4, 125, 8), "cavp": 16, "clap": 16, "t5": 16, "gpt": 16, "deviation": 0.5, "cavp_scale": 1 / 512}
CONFIG = TrainConfig.tiny()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `shards` (6 train, 3 val samples) and untrained `backbones` that fit them."""
    folder = tmp_path_factory.mktemp("world")
    write_shards(folder / "shards", [4, 2], **WIDTHS)
    write_shards(folder / "shards", [3], "val", first=6, **WIDTHS)
    torch.manual_seed(0)
    text = folder / "backbones" / "text_encoders"
    tokenizers = train_tokenizers(["a bell rings", "a dog barks"], text, vocab_size=270)
    build_text_conditioner(*tokenizers, clap_dim=16, t5_dim=16, gpt_dim=16, layers=1, heads=2).save_pretrained(text)
    AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=2,
        block_out_channels=(4, 4, 4, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        scaling_factor=0.01,
    ).save_pretrained(folder / "backbones" / "audio_autoencoder")
    CAVP(video_width=4, video_blocks=(1, 1, 1, 1), audio_width=4, embed_dim=16, image_size=32).save_pretrained(
        folder / "backbones" / "cavp_backbone"
    )
    return folder


@pytest.fixture(scope="module")
def shards(world: Path) -> TrainingShards:
    return TrainingShards(world / "shards")


@pytest.fixture(scope="module")
def batch(shards: TrainingShards) -> TrainingBatch:
    return next(fixed_batches(shards, 4, 4, 0))[1]


@pytest.fixture(scope="module")
def null_text(world: Path) -> TextConditions:
    return load_null_text(world / "backbones")


def live_denoiser(world: Path, shards: TrainingShards) -> Denoiser:
    """A denoiser whose layers that start at zero do not, so that every instruction is heard."""
    denoiser = build_denoiser(CONFIG, world / "backbones", shards)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return denoiser.eval()


def arguments(world: Path, output: Path, *more: str) -> list[str]:
    folders = ["--shards", str(world / "shards"), "--backbones", str(world / "backbones"), "--output", str(output)]
    return [*folders, "--run", "tiny", "--set", "drawn_share=0", *more]


def make_training(world: Path, folder: Path, config: TrainConfig, report: Reporter) -> Training:
    shards = TrainingShards(world / "shards")
    folder.mkdir()
    denoiser = build_denoiser(config, world / "backbones", shards)
    null_text = load_null_text(world / "backbones")
    return Training(config, shards, None, denoiser, null_text, 0.01, folder, Accelerator(), report)


def test_one_optimiser_step_lowers_the_loss_of_a_fixed_batch(
    world: Path, shards: TrainingShards, batch: TrainingBatch, null_text: TextConditions
) -> None:
    denoiser = build_denoiser(CONFIG, world / "backbones", shards)
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=1e-3)
    schedule = DDPMScheduler(**NOISE_SCHEDULE)
    timesteps, noise = diffusion_noise(0, 0, range(4), shards.latent_shape)
    losses = []
    for _ in range(3):
        loss = noise_loss(denoiser, schedule, batch, null_text, timesteps, noise, 0.01).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[1] < losses[0] and losses[2] < losses[1]


def test_the_loss_of_a_run_is_of_what_its_unet_predicts(batch: TrainingBatch, null_text: TextConditions) -> None:
    """A denoiser that knows the latent has no loss, whether it answers with the noise or with the velocity."""
    latent = batch.latent * 0.5
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([0, 300, 700, 999])
    kept = torch.from_numpy(np.cumprod(1 - np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2)).float()[timesteps]
    kept = kept[:, None, None, None]
    answers = {"epsilon": noise, "v_prediction": kept.sqrt() * noise - (1 - kept).sqrt() * latent}
    for prediction, answer in answers.items():
        schedule = DDPMScheduler(**NOISE_SCHEDULE | {"prediction_type": prediction})
        right = noise_loss(lambda *_, answer=answer: answer, schedule, batch, null_text, timesteps, noise, 0.5)
        wrong = noise_loss(lambda *_, answer=answer: answer + 1, schedule, batch, null_text, timesteps, noise, 0.5)
        assert right.max() < 1e-9
        np.testing.assert_allclose(wrong, np.ones(4), rtol=1e-4)


def test_a_withheld_instruction_is_not_heard_and_a_given_one_is(
    world: Path, shards: TrainingShards, batch: TrainingBatch, null_text: TextConditions
) -> None:
    denoiser = live_denoiser(world, shards)
    noisy, timesteps = torch.randn(4, *shards.latent_shape), torch.tensor([1, 250, 500, 999])
    always, half = torch.ones(4, dtype=torch.bool), torch.tensor([True, False, True, False])
    changed = {
        "no_text": {"t5": batch.t5.flip(2), "gpt": batch.gpt.flip(2)},
        "no_video": {"cavp": batch.cavp.flip(1), "cavp_masked": batch.cavp_masked.flip(1)},
        "no_mask": {"cavp_masked": batch.cavp_masked.flip(1)},
        "no_loudness": {"loudness": batch.loudness.flip(1)},
    }

    def predicted(shown: TrainingBatch) -> torch.Tensor:
        return denoiser(noisy, timesteps, shown_conditions(shown, null_text))

    with torch.no_grad():
        for flag, other in changed.items():
            # Withheld from every second sample: there and only there it does not matter what it says.
            withheld = replace(batch, **{flag: half})
            same = predicted(withheld)
            different = predicted(replace(withheld, **other))
            moved = (same - different).abs().amax(dim=(1, 2, 3)) > 1e-6
            assert moved.tolist() == [False, True, False, True], flag
        whole = predicted(replace(batch, no_mask=always))
        assert torch.equal(whole, predicted(replace(batch, cavp_masked=batch.cavp)))


def test_the_null_text_is_that_of_the_empty_caption(
    world: Path, shards: TrainingShards, batch: TrainingBatch, null_text: TextConditions
) -> None:
    withheld = replace(batch, no_text=torch.tensor([True, False, True, False]))
    (inputs,) = live_denoiser(world, shards).inputs(shown_conditions(withheld, null_text))
    text = inputs.text
    length = null_text.t5.shape[1]
    assert torch.equal(text.gpt[0], null_text.gpt[0]) and torch.equal(text.gpt[1], batch.gpt[1])
    assert torch.equal(text.t5[2, :length], null_text.t5[0]) and not text.t5[2, length:].any()
    assert text.t5_mask[0].sum() == length and torch.equal(text.t5_mask[3], batch.t5_mask[3])


def test_null_text_longer_than_every_caption_fits(world: Path, shards: TrainingShards, batch: TrainingBatch) -> None:
    null_text = TextConditions(
        t5=torch.ones(1, 9, 16), t5_mask=torch.ones(1, 9, dtype=torch.bool), gpt=torch.zeros(1, 8, 16)
    )
    withheld = replace(batch, no_text=torch.tensor([True, False, False, False]))
    (inputs,) = live_denoiser(world, shards).inputs(shown_conditions(withheld, null_text))
    text = inputs.text
    assert text.t5.shape == (4, 9, 16) and text.t5_mask[0].all()
    assert text.t5_mask[1].sum() == batch.t5_mask[1].sum()


def test_noise_belongs_to_the_sample_however_a_step_is_split() -> None:
    timesteps, noise = diffusion_noise(3, 7, range(6), (2, 5, 4))
    part_timesteps, part_noise = diffusion_noise(3, 7, range(2, 5), (2, 5, 4))
    assert torch.equal(timesteps[2:5], part_timesteps) and torch.equal(noise[2:5], part_noise)
    assert not torch.equal(noise, diffusion_noise(3, 8, range(6), (2, 5, 4))[1])
    many, values = diffusion_noise(0, 0, range(2000), (1, 2, 2))
    assert 0 <= many.min() and many.max() <= 999 and abs(many.float().mean() - 499.5) < 30
    assert abs(values.mean()) < 0.05 and abs(values.std() - 1) < 0.03


def test_min_snr_weights_are_the_closed_form() -> None:
    schedule = DDPMScheduler(**NOISE_SCHEDULE)
    betas = np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2
    kept = np.cumprod(1 - betas)
    ratio = kept / (1 - kept)
    timesteps = torch.tensor([0, 10, 400, 999])
    expected = np.minimum(ratio, 5.0) / ratio
    np.testing.assert_allclose(min_snr_weights(schedule, timesteps, 5.0), expected[timesteps], rtol=1e-4)
    of_velocity = DDPMScheduler(**NOISE_SCHEDULE | {"prediction_type": "v_prediction"})
    expected = np.minimum(ratio, 5.0) / (ratio + 1)
    np.testing.assert_allclose(min_snr_weights(of_velocity, timesteps, 5.0), expected[timesteps], rtol=1e-4)
    assert torch.equal(min_snr_weights(schedule, timesteps, None), torch.ones(4))


def test_the_pipeline_samples_what_the_network_was_taught_to_predict(world: Path, tmp_path: Path) -> None:
    assert main(arguments(world, tmp_path / "model", "--steps", "1", "--set", "prediction=v_prediction")) == 0
    pipeline = DrawAudioPipeline.from_pretrained(tmp_path / "model")
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert sampling_solver(pipeline.scheduler, 3, torch.device("cpu")).config.prediction_type == "v_prediction"


def test_the_moving_average_warms_up_as_documented() -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    average = MovingAverage({"w": weight}, decay=0.3)
    expected = 0.0
    for step in range(1, 8):
        weight.data.fill_(float(step))
        average.update(step)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(average.average["w"], torch.full((3,), expected))
    average.swap()
    torch.testing.assert_close(weight.data, torch.full((3,), expected))
    average.swap()
    assert weight.data.tolist() == [7.0] * 3


def test_the_learning_rate_rises_stays_and_falls() -> None:
    paper = TrainConfig.paper("audiocaps")
    assert learning_rate(paper, 0) == pytest.approx(1e-7)
    assert {learning_rate(paper, step) for step in (1000, 30_000, 59_999)} == {1e-4}
    demo = replace(CONFIG, steps=101, warmup_steps=0, learning_rate=1.0, final_learning_rate=0.2)
    assert learning_rate(demo, 50) == pytest.approx(0.6)
    assert learning_rate(demo, 25) == pytest.approx(0.2 + 0.4 * (1 + math.cos(math.pi / 4)))
    assert learning_rate(demo, 100) == pytest.approx(0.2)


def test_micro_batches_give_the_weights_of_one_batch(world: Path, tmp_path: Path) -> None:
    weights = []
    for width in (4, 2):
        # Adam divides small gradients by themselves; a larger rate would show their rounding, not our mistakes.
        rates = {"learning_rate": 1e-4, "final_learning_rate": 1e-4}
        config = replace(CONFIG, micro_batch_size=width, steps=4, checkpoint_every=9, validate_every=9, **rates)
        with Reporter("train", config.steps) as report:
            training = make_training(world, tmp_path / str(width), config, report)
            training.run()
        weights.append(training.denoiser.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=1e-5, rtol=0, msg=name)


def test_a_step_that_does_not_divide_gives_the_weights_of_one_batch(world: Path, tmp_path: Path) -> None:
    """Of five samples in passes of three the sixth place holds one a second time: it must not count."""
    weights = []
    for width in (5, 3):
        rates = {"learning_rate": 1e-4, "final_learning_rate": 1e-4}
        settings = {"batch_size": 5, "micro_batch_size": 5, "steps": 4, "checkpoint_every": 9, "validate_every": 9}
        config = replace(CONFIG, **settings, **rates)
        with Reporter("train", config.steps) as report:
            training = make_training(world, tmp_path / str(width), config, report)
            training.width, training.micro_batches = split_step(5, width, 1)
            training.run()
        losses = (tmp_path / str(width) / "losses.jsonl").read_text().splitlines()
        weights.append((training.denoiser.state_dict(), [json.loads(line)["loss"] for line in losses]))
    assert weights[0][1] == pytest.approx(weights[1][1], rel=1e-4)
    for name, value in weights[0][0].items():
        torch.testing.assert_close(value, weights[1][0][name], atol=1e-5, rtol=0, msg=name)


def test_a_step_that_is_not_finite_stops_and_names_its_clips(world: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, learning_rate=1e30, final_learning_rate=1e30, gradient_clip=1e30)
    with Reporter("train", 4) as report:
        training = make_training(world, tmp_path / "state", config, report)
        with pytest.raises(FloatingPointError, match=r"step 2 has loss .*its clips are listed in"):
            training.run()
    written = json.loads((tmp_path / "state" / "not_finite_0.json").read_text())
    assert written["step"] == 2 and len(written["keys"]) == 4 and written["keys"][0].startswith("clip")
    assert not (tmp_path / "state" / "checkpoints").exists()


@pytest.fixture(scope="module")
def undisturbed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 8 steps, from start to end, in this process; `kept` is its state for tests behind one that changes it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert main(arguments(world, folder / "model", "--steps", "8")) == 0
    shutil.copytree(folder / "training", folder / "kept")
    return folder


def test_a_run_leaves_a_pipeline_with_averaged_weights_logs_and_curves(world: Path, undisturbed: Path) -> None:
    pipeline = DrawAudioPipeline.from_pretrained(undisturbed / "model")
    checkpoint = undisturbed / "training" / "checkpoints" / "step-00000008"
    average, last = load_file(checkpoint / "average.safetensors"), load_file(checkpoint / "model.safetensors")
    for name, value in pipeline.unet.state_dict().items():
        assert torch.equal(value, average[f"unet.{name}"]), name
    assert not torch.equal(average["unet.conv_in.weight"], last["unet.conv_in.weight"])
    assert pipeline.vae.config.scaling_factor == 0.01
    assert pipeline.scheduler.config.beta_end == 0.0195

    training = undisturbed / "training"
    rows = [json.loads(line) for line in (training / "losses.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 9)) and all(0 < row["loss"] < 10 for row in rows)
    checks = [json.loads(line) for line in (training / "validation.jsonl").read_text().splitlines()]
    assert [check["step"] for check in checks] == [2, 4, 6, 8] and set(checks[0]["bands"]) == {"0-499", "500-999"}
    assert sorted(path.name for path in (training / "checkpoints").iterdir()) == ["step-00000006", "step-00000008"]
    assert (training / "learning_curves.png").stat().st_size > 5000
    assert list((training / "tensorboard").glob("events*"))
    log = [json.loads(line) for line in (training / "log.jsonl").read_text().splitlines()]
    finish = next(row for row in log if row["event"] == "finish")
    assert finish["metadata"]["samples_seen"] == 32
    assert type(pipeline.vocoder) is GriffinLimVocoder
    notes = [row["message"] for row in log if row["event"] == "note" and "Griffin-Lim" in row["message"]]
    assert len(notes) == 1 and notes[0].startswith(f"{world / 'backbones'} has no vocoder")


def test_the_same_training_in_another_folder_leaves_a_model_of_the_same_name(
    world: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """Its frozen parts were loaded from backbones that lie elsewhere."""
    moved = shutil.copytree(world, tmp_path / "moved")
    assert main(arguments(moved, tmp_path / "model", "--steps", "8")) == 0
    assert not [path for path in (tmp_path / "model").rglob("*.json") if str(tmp_path) in path.read_text()]
    assert model_sha256(tmp_path / "model") == model_sha256(undisturbed / "model")


def test_a_run_from_audioldm2_leaves_its_adapters_and_its_licence(world: Path, tmp_path: Path) -> None:
    backbones = shutil.copytree(world / "backbones", tmp_path / "backbones")
    base = AudioLDM2UNet2DConditionModel(
        in_channels=2,
        out_channels=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=[[None, 16, 16]] * 2,
    )
    base.save_pretrained(backbones / "unet")
    options = build_parser().parse_args(["train", *arguments(world, tmp_path / "model")])
    options.backbones = backbones
    settings = {"unet_channels": None, "trainable": "adapters", "loudness_branches": "video", "null_video": "skip"}
    config = replace(CONFIG, steps=2, drawn_share=0, gradient_checkpointing=True, mask_bias=False, **settings)
    with pytest.raises(ValueError, match="has no folder vocoder; materialize it"):
        train(options, config)
    strides = {"upsample_rates": [5, 4, 2, 2, 2], "upsample_kernel_sizes": [10, 8, 4, 4, 4]}
    hifigan = SpeechT5HifiGanConfig(model_in_dim=64, upsample_initial_channel=32, **strides)
    SpeechT5HifiGan(hifigan).save_pretrained(backbones / "vocoder")
    train(options, config)
    pipeline = DrawAudioPipeline.from_pretrained(tmp_path / "model")
    assert isinstance(pipeline.vocoder, SpeechT5HifiGan)
    for name, value in base.state_dict().items():
        assert torch.equal(pipeline.unet.state_dict()[name], value), name
    moved = [value for name, value in pipeline.unet.state_dict().items() if ".video_attentions.0.proj_out" in name]
    assert all(value.any() for value in moved)
    assert pipeline.mask_attention.attention.bias is None and pipeline.config.loudness_branches == "video"
    assert pipeline.mask_attention.config.null_video == "skip" and pipeline.feature_extractor is not None
    for folder in ("model", "adapters"):
        card = (tmp_path / folder / "README.md").read_text()
        assert "license: cc-by-nc-sa-4.0" in card and "base_model: cvssp/audioldm2" in card
    again = load_adapters(tmp_path / "model", tmp_path / "adapters")
    for name, value in pipeline.unet.state_dict().items():
        assert torch.equal(again.unet.state_dict()[name], value), name


def test_settings_of_the_paper_reach_the_networks(world: Path, shards: TrainingShards) -> None:
    config = replace(CONFIG, video_projection_learns=False, loudness_widths=(8,), loudness_zero_start=False)
    denoiser = build_denoiser(config, world / "backbones", shards)
    attention, control = denoiser.mask_attention, denoiser.loudness_control
    assert not any(weight.requires_grad for weight in [*attention.projection.parameters(), attention.position.weight])
    assert attention.attention.weight.requires_grad
    assert [layer.out_features for layer in control.mlp] == [8, 100] and control.mlp[-1].weight.any()
    with pytest.raises(ValueError, match=r"ldm_epoch240.ckpt does not exist"):
        build_denoiser(replace(config, video_projection="diff_foley"), world / "backbones", shards)


@torch.no_grad()
def test_signal_and_video_may_go_together(
    world: Path, shards: TrainingShards, batch: TrainingBatch, null_text: TextConditions
) -> None:
    denoiser = live_denoiser(world, shards)
    blind = replace(batch, no_video=torch.ones_like(batch.no_video), no_loudness=torch.zeros_like(batch.no_loudness))
    louder = replace(blind, loudness=1 - blind.loudness)
    noisy, steps = torch.randn(blind.latent.shape), torch.full((len(batch.keys),), 500)

    def change() -> float:
        quiet, loud = (denoiser(noisy, steps, shown_conditions(given, null_text)) for given in (blind, louder))
        return float((quiet - loud).abs().max())

    assert change() > 1e-4
    denoiser.loudness_branches = "video"
    assert change() == 0


def test_a_killed_run_continues_to_the_same_bytes(world: Path, undisturbed: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "drawaudio_model.train", *arguments(world, tmp_path / "model", "--steps", "8")]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    first = tmp_path / "training" / "checkpoints" / "step-00000002"
    while not first.exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    _, error = process.communicate()
    assert process.returncode == -signal.SIGKILL, error.decode()
    assert not (tmp_path / "model").exists()
    (tmp_path / "training" / "losses.jsonl").open("a").write('{"step": 99, "torn')

    assert main(arguments(world, tmp_path / "model", "--steps", "8", "--resume", "must")) == 0
    for log in ("losses.jsonl", "validation.jsonl"):
        assert (tmp_path / "training" / log).read_bytes() == (undisturbed / "training" / log).read_bytes()
    for part in ("model", "average", "optimizer"):
        file = Path("training") / "checkpoints" / "step-00000008" / f"{part}.safetensors"
        assert (tmp_path / file).read_bytes() == (undisturbed / file).read_bytes()
    for part in ("unet", "mask_attention", "loudness_control"):
        file = Path("model") / part / "diffusion_pytorch_model.safetensors"
        assert (tmp_path / file).read_bytes() == (undisturbed / file).read_bytes()


def test_a_finished_run_is_not_repeated_and_another_one_starts_anew(
    world: Path, undisturbed: Path, capsys: pytest.CaptureFixture
) -> None:
    training = undisturbed / "training"
    losses = (training / "losses.jsonl").read_bytes()
    assert main(arguments(world, undisturbed / "model", "--steps", "8")) == 0
    assert (training / "losses.jsonl").read_bytes() == losses
    assert "continues after step 8 of 8" in capsys.readouterr().err

    must = main(arguments(world, undisturbed / "model", "--steps", "8", "--seed", "5", "--resume", "must"))
    assert must == 2 and "cannot be continued: seed was 0, is 5" in capsys.readouterr().err
    assert main(arguments(world, undisturbed / "model", "--steps", "2", "--seed", "5")) == 0
    assert len((training / "losses.jsonl").read_text().splitlines()) == 2
    assert (undisturbed / "training.1" / "losses.jsonl").read_bytes() == losses


def test_a_second_model_in_the_same_folder_leaves_the_first_ones_training_alone(world: Path, tmp_path: Path) -> None:
    assert main(arguments(world, tmp_path / "model", "--steps", "1")) == 0
    losses = (tmp_path / "training" / "losses.jsonl").read_bytes()
    other = ("--steps", "1", "--set", "loudness_mode=additive")
    assert main(arguments(world, tmp_path / "model_additive", *other)) == 0
    assert (tmp_path / "training" / "losses.jsonl").read_bytes() == losses
    names = {"model", "training", "model_additive", "model_additive.training"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_damaged_checkpoint_is_passed_over_for_an_older_one(
    world: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The run goes on from the older one, and ends as if nothing had happened."""
    shutil.copytree(undisturbed / "kept", tmp_path / "training")
    newest = tmp_path / "training" / "checkpoints" / "step-00000008"
    content = bytearray((newest / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (newest / "model.safetensors").write_bytes(content)
    (tmp_path / "training" / "losses.jsonl").open("a").write("no line\n")
    assert main(arguments(world, tmp_path / "model", "--steps", "8", "--resume", "must")) == 0
    told = capsys.readouterr().err
    assert "step-00000008 is damaged (model.safetensors has another sha256" in told and "continues after step 6" in told
    for name in ("losses.jsonl", "validation.jsonl", "checkpoints/step-00000008/model.safetensors"):
        assert (tmp_path / "training" / name).read_bytes() == (undisturbed / "kept" / name).read_bytes()


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


CHECKPOINT_DAMAGES = {
    "cut off": lambda folder: cut_off(folder / "average.safetensors"),
    "lost": lambda folder: (folder / "optimizer.safetensors").unlink(),
    "torn state": lambda folder: cut_off(folder / "state.json"),
    "no state": lambda folder: (folder / "state.json").unlink(),
    "empty": lambda folder: (folder / "state.json").write_text("[]"),
    "of another step": lambda folder: (folder / "state.json").write_text('{"step": 3}'),
}


@pytest.mark.parametrize("damage", CHECKPOINT_DAMAGES)
def test_every_damage_of_a_checkpoint_is_told_in_one_sentence(
    world: Path, undisturbed: Path, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "training" / "checkpoints"
    shutil.copytree(undisturbed / "kept" / "checkpoints", folder)
    CHECKPOINT_DAMAGES[damage](folder / "step-00000008")
    assert newest_checkpoint(folder).step == 6
    CHECKPOINT_DAMAGES[damage](folder / "step-00000006")
    assert main(arguments(world, tmp_path / "model", "--steps", "8")) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("drawaudio: checkpoint") and told.endswith("start anew with --resume never")


def test_a_checkpoint_without_its_weights_is_told_in_one_sentence(
    world: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Older checkpoints do not list their files."""
    folder = tmp_path / "training" / "checkpoints" / "step-00000008"
    shutil.copytree(undisturbed / "kept" / "checkpoints" / "step-00000008", folder)
    state = json.loads((folder / "state.json").read_text())
    del state["files"]
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "average.safetensors").unlink()
    assert main(arguments(world, tmp_path / "model", "--steps", "8")) == 2
    assert "does not fit the run's networks ('average'); start anew" in capsys.readouterr().err


def test_two_trainings_never_share_a_state_folder(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Neither may a second one put the first one's folder aside."""
    state = tmp_path / "training"
    with only_trainer(state):
        for more in (("--steps", "8"), ("--steps", "8", "--resume", "never")):
            assert main(arguments(world, tmp_path / "model", *more)) == 2
            told = capsys.readouterr().err
            assert f"a training is writing {state} already (process {os.getpid()} of " in told
            assert "wait for it, stop it, or give another --state" in told
    assert [path.name for path in tmp_path.iterdir()] == ["training"]
    assert main(arguments(world, tmp_path / "model", "--steps", "1", "--resume", "never")) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"training", "model"}


def test_a_training_that_starts_anew_keeps_others_away_from_its_new_folder(world: Path, tmp_path: Path) -> None:
    assert main(arguments(world, tmp_path / "model", "--steps", "1")) == 0
    seen: list[str] = []

    def run(training: Training) -> None:
        with pytest.raises(ValueError, match="a training is writing") as told, only_trainer(training.folder):
            raise AssertionError("two at once")
        seen.append(str(told.value))
        raise ValueError("stopped")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "run", run)
        assert main(arguments(world, tmp_path / "model", "--steps", "1", "--seed", "5")) == 2
    assert len(seen) == 1 and (tmp_path / "training.1").is_dir()


def test_a_split_that_is_finished_and_empty_is_no_validation(world: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    write_shards(shards, [4], **WIDTHS)
    with ShardWriter(shards, "val-000000", inputs={}) as empty:
        empty.commit()
    command = arguments(world, tmp_path / "model", "--steps", "1")
    command[1] = str(shards)
    assert main(command) == 0
    assert not (tmp_path / "training" / "validation.jsonl").read_text()


def test_a_loss_that_is_no_number_ends_the_command_with_one_sentence(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    wild = [f"--set={name}=1e30" for name in ("learning_rate", "final_learning_rate", "gradient_clip")]
    assert main(arguments(world, tmp_path / "model", *wild, "--set", "audio_samples=0")) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("drawaudio: step 2 has loss") and "Traceback" not in "".join(told)


def test_wrong_input_ends_with_one_sentence(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    wrong = arguments(world, tmp_path / "model")
    wrong[1] = str(tmp_path)
    assert main(wrong) == 2
    assert "no finished training shard" in capsys.readouterr().err
    wrong = arguments(world, tmp_path / "model")
    wrong[3] = str(tmp_path)
    assert main(wrong) == 2
    assert "has no folder audio_autoencoder; materialize it" in capsys.readouterr().err
    assert main(arguments(world, tmp_path / "model", "--resume", "must")) == 2
    assert "no checkpoint in" in capsys.readouterr().err
    assert main(arguments(world, tmp_path / "model", "--batch-size", "6", "--micro-batch-size", "4")) == 2
    assert "batch_size 6 is no multiple of micro_batch_size 4" in capsys.readouterr().err
