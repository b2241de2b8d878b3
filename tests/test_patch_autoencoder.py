"""The patch autoencoder: its directions are the best linear ones, its calls are AutoencoderKL's, and bad input is named."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from drawaudio_model.clip_format import WINDOW_LENGTH
from drawaudio_model.mel import SILENCE, log_mel, mel_filters
from drawaudio_model.patch_autoencoder import (
    DEVIATION,
    LOUDEST,
    PatchAutoencoder,
    compression,
    fit_patches,
    joined,
    load_autoencoder,
    patches,
    pressed,
    unpressed,
)

KNEE = -6.0


@pytest.fixture(scope="module")
def mels() -> torch.Tensor:
    """(6, 80, 64) smooth log-mels with a tilt over the bins."""
    rng = np.random.default_rng(0)
    rough = torch.from_numpy(rng.normal(0, 3, (6, 1, 20, 16))).float()
    smooth = torch.nn.functional.interpolate(rough, size=(80, 64), mode="bilinear")[:, 0]
    return (smooth - 4 - torch.linspace(0, 3, 64)).clamp_min(SILENCE)


def test_patches_come_back_where_they_were(mels: torch.Tensor) -> None:
    cut = patches(mels[:, None], 8)
    assert cut.shape == (6, 10, 8, 64)
    torch.testing.assert_close(cut[2, 3, 5].reshape(8, 8), mels[2, 24:32, 40:48])
    torch.testing.assert_close(joined(cut, 8)[:, 0], mels)


def test_its_error_is_that_of_the_principal_components(mels: torch.Tensor) -> None:
    model = fit_patches(mels, patch=8, latent_channels=5)
    rebuilt = model.decode(model.encode(mels[:, None]).latent_dist.mean).sample[:, 0]
    cut = patches((mels - mels.mean(dim=(0, 1)))[:, None], 8).reshape(-1, 64).double()
    left = torch.linalg.svdvals(cut)[5:].square().sum() / cut.numel()
    assert float((rebuilt - mels).square().mean()) == pytest.approx(float(left), rel=0.02)  # the floor is clamped


def test_with_all_directions_nothing_is_lost(mels: torch.Tensor) -> None:
    model = fit_patches(mels, patch=8, latent_channels=64)
    rebuilt = model.decode(model.encode(mels[:, None]).latent_dist.mean).sample[:, 0]
    torch.testing.assert_close(rebuilt, mels, atol=1e-3, rtol=0)


def test_latents_have_the_scale_that_the_factor_says_and_the_first_channel_leads(mels: torch.Tensor) -> None:
    model = fit_patches(mels, patch=8, latent_channels=8)
    posterior = model.encode(mels[:, None]).latent_dist
    assert float(posterior.mean.std()) * model.config.scaling_factor == pytest.approx(1, rel=1e-3)
    again = fit_patches([*mels], patch=8, latent_channels=8)  # clip by clip it is the same
    assert again.config.scaling_factor == model.config.scaling_factor and torch.equal(again.basis, model.basis)
    spreads = posterior.mean.std(dim=(0, 2, 3))
    assert all(spreads[:-1] >= spreads[1:] - 1e-3)
    assert float(posterior.std.mean()) * model.config.scaling_factor == pytest.approx(DEVIATION, rel=1e-3)


def test_latents_that_no_sound_has_stay_between_silence_and_full_scale(mels: torch.Tensor) -> None:
    model = fit_patches(mels, patch=8, latent_channels=2)
    assert model.decode(torch.full((1, 2, 10, 8), -500.0)).sample.min() == SILENCE
    assert model.decode(torch.full((1, 2, 10, 8), 500.0)).sample.max() == LOUDEST
    largest = np.log(np.hanning(WINDOW_LENGTH).sum() * np.asarray(mel_filters()).sum(axis=1).max())
    assert LOUDEST - 0.1 < largest < LOUDEST
    hardest = np.sign(np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000)).astype(np.float32)
    assert 2.0 < float(log_mel(hardest).max()) < LOUDEST


def test_equal_sounds_give_equal_folders_and_either_class_loads(mels: torch.Tensor, tmp_path: Path) -> None:
    for name in ("a", "b"):
        fit_patches(mels, patch=8, latent_channels=4).save_pretrained(tmp_path / name)
    weights = "diffusion_pytorch_model.safetensors"
    assert (tmp_path / "a" / weights).read_bytes() == (tmp_path / "b" / weights).read_bytes()
    model = load_autoencoder(tmp_path / "a")
    assert isinstance(model, PatchAutoencoder) and compression(model) == 8 and not model.training
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    other = AutoencoderKL(1, 1, **kinds, block_out_channels=(4, 4, 8), latent_channels=4, norm_num_groups=2)
    other.save_pretrained(tmp_path / "kl")
    assert isinstance(load_autoencoder(tmp_path / "kl"), AutoencoderKL) and compression(other) == 4
    config = tmp_path / "kl" / "config.json"
    config.write_text(config.read_text().replace("AutoencoderKL", "VQModel"))
    with pytest.raises(
        ValueError, match="kl holds a VQModel, expected one of PatchAutoencoder, AutoencoderKL; materialize"
    ):
        load_autoencoder(tmp_path / "kl")


def test_above_the_knee_log_mels_stay_and_far_below_it_nothing_is_left_of_them() -> None:
    loud, faint = torch.linspace(KNEE + 8, LOUDEST + 5, 50), torch.linspace(-60, KNEE - 10, 50)
    torch.testing.assert_close(pressed(loud, KNEE), loud - KNEE, atol=1e-3, rtol=0)
    assert 0 <= pressed(faint, KNEE).min() and pressed(faint, KNEE).max() < 1e-4
    # Halfway between: at the knee itself, log 2.
    assert float(pressed(torch.tensor([KNEE]), KNEE)) == pytest.approx(np.log(2))
    every = torch.linspace(SILENCE, LOUDEST, 200)
    torch.testing.assert_close(unpressed(pressed(every, KNEE), KNEE), every, atol=1e-3, rtol=0)
    assert unpressed(torch.tensor([0.0, -1.0]), KNEE).tolist() == [-np.inf] * 2
    assert pressed(every, None) is every and unpressed(every, None) is every


def test_with_a_knee_sounds_and_silence_come_back_and_what_is_loud_comes_nearer(mels: torch.Tensor) -> None:
    def rebuilt(channels: int, knee: float | None) -> torch.Tensor:
        model = fit_patches(given, patch=8, latent_channels=channels, knee=knee)
        assert model.config.knee == knee
        latents = model.encode(given[:, None]).latent_dist.mean
        assert float(latents.std()) * model.config.scaling_factor == pytest.approx(1, rel=1e-3)
        return model.decode(latents).sample[:, 0]

    given = mels.clone()
    given[:, 40:56] = SILENCE
    # Four patterns that are hardly heard, and differ more than most of what is loud.
    rng = np.random.default_rng(1)
    patterns = rng.integers(0, 2, (4, 8, 8)).repeat(36, axis=0)[:, None, None]
    hardly_heard = joined(torch.from_numpy(rng.permutation(patterns)).reshape(6, 3, 8, 64), 8)[:, 0]
    given[:, 56:] = torch.where(hardly_heard > 0, KNEE - 1, SILENCE)
    loud = given > KNEE + 3
    whole = rebuilt(64, KNEE)
    torch.testing.assert_close(whole, given, atol=0.02, rtol=0)
    assert whole[:, 40:56].max() < KNEE - 5
    error, without = ((rebuilt(6, knee) - given)[loud].square().mean() for knee in (KNEE, None))
    assert error < 0.8 * without


def test_a_folder_that_was_saved_before_there_was_a_knee_gives_what_it_gave(mels: torch.Tensor, tmp_path: Path) -> None:
    latents = {}
    for name, knee in (("before", None), ("now", KNEE)):
        model = fit_patches(mels, patch=8, latent_channels=6, knee=knee)
        model.save_pretrained(tmp_path / name)
        latents[name] = model.encode(mels[:, None]).latent_dist.mean
        written = json.loads((tmp_path / name / "config.json").read_text())
        assert written["knee"] == knee
        if name == "before":
            del written["knee"]
            (tmp_path / name / "config.json").write_text(json.dumps(written))
        loaded = load_autoencoder(tmp_path / name)
        assert loaded.config.knee == knee
        torch.testing.assert_close(loaded.encode(mels[:, None]).latent_dist.mean, latents[name], atol=0, rtol=0)
        torch.testing.assert_close(
            loaded.decode(latents[name]).sample, model.decode(latents[name]).sample, atol=0, rtol=0
        )
    cut = patches((mels - mels.mean(dim=(0, 1)))[:, None], 8)
    before = load_autoencoder(tmp_path / "before")
    # Without a knee, latents are projections of the log-mels themselves.
    expected = (cut @ before.basis.T / before.spread).permute(0, 3, 1, 2)
    torch.testing.assert_close(latents["before"], expected, atol=1e-4, rtol=1e-4)
    assert (latents["now"] - latents["before"]).abs().mean() > 0.1


def test_what_does_not_fit_is_named(mels: torch.Tensor) -> None:
    model = fit_patches(mels, patch=8, latent_channels=4)
    with pytest.raises(
        ValueError, match=r"log-mels have shape \(6, 1, 77, 64\), expected \(B, 1, T, 64\) with T a multiple"
    ):
        model.encode(mels[:, None, :77])
    with pytest.raises(ValueError, match="latent_channels is 65, expected 1 to 64 with patches of 8 x 8"):
        fit_patches(mels, patch=8, latent_channels=65)
    with pytest.raises(ValueError, match="8 patches are too few for 9 channels"):
        fit_patches(mels[:1, :8], patch=8, latent_channels=9)
