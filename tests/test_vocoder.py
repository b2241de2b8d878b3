"""The small vocoder: what it keeps whatever its weights are, that it learns, and its folder."""

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from drawaudio_model import mel
from drawaudio_model.clip_format import HOP_LENGTH, SAMPLE_RATE, SOURCE_SAMPLES
from drawaudio_model.media import encode_flac
from drawaudio_model.model_folder import check_model_folder, read_components
from drawaudio_model.patch_autoencoder import fit_patches
from drawaudio_model.pipeline import DrawAudioPipeline
from drawaudio_model.pretraining.vocoder import (
    GAIN_DB,
    Examples,
    VocoderConfig,
    compare,
    random_gains,
    spectral_loss,
    train_vocoder,
)
from drawaudio_model.pretraining.vocoder_comparison import sound_distances, stft_magnitudes
from drawaudio_model.shard import ShardWriter
from drawaudio_model.vocoder import SpectralVocoder, fast_griffin_lim, load_vocoder, match_mel
from tests.tiny_pipeline import tiny_pipeline


@pytest.fixture(scope="module")
def vocoder():
    """Untrained, with heads that do something."""
    torch.manual_seed(0)
    made = SpectralVocoder(width=16, blocks=2, iterations=4).eval()
    for head in (made.mel_head, made.fine_head):
        torch.nn.init.normal_(head.weight, std=0.02)
    return made


def chirps(seconds=2.0, peak=0.2):
    """Tones that glide, with pauses, (samples,) float32."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.sin(2 * np.pi * (900 * time + 300 * np.sin(4 * np.pi * time))) * (np.sin(8 * np.pi * time) > 0)
    return (peak * sound).astype(np.float32)


def level(waveform):
    """RMS in dB."""
    return 10 * math.log10(float(waveform.square().mean()) + 1e-30)


def test_a_frame_gives_160_samples(vocoder):
    mels = mel.log_mel(np.stack([chirps(), chirps(peak=0.1)]))
    assert vocoder(mels).shape == (2, 200 * HOP_LENGTH) and vocoder(mels).dtype == torch.float32
    for frames in (1, 2, 3, 7):
        assert vocoder(mels[0, :frames]).shape == (frames * HOP_LENGTH,)
    assert not vocoder(mels).requires_grad
    assert mel.vocode(vocoder, mels).shape == (2, 200 * HOP_LENGTH)


def test_it_is_deterministic_and_clips_do_not_depend_on_each_other(vocoder):
    mels = mel.log_mel(np.stack([chirps(), chirps(peak=0.1)]))
    together = vocoder(mels)
    torch.testing.assert_close(vocoder(mels), together, rtol=0, atol=0)
    torch.testing.assert_close(vocoder(mels[1:])[0], together[1], rtol=0, atol=0)


def test_what_comes_much_later_changes_nothing(vocoder):
    given = mel.log_mel(chirps(4.0))
    short, whole = vocoder(given[:300]), vocoder(given)
    near = 200 * HOP_LENGTH
    torch.testing.assert_close(short[:near], whole[:near], rtol=0, atol=5e-4)  # rounding grows with the iterations
    assert (short - whole[: len(short)]).abs().max() > 5e-3  # the end itself is another one


def test_silence_stays_silent(vocoder):
    silence = torch.full((1, 100, mel.MEL_BINS), mel.SILENCE)
    assert level(vocoder(silence)) < -60.0
    pause = mel.log_mel(np.concatenate([chirps(1.0), np.zeros(2 * SAMPLE_RATE, np.float32)]))
    assert level(vocoder(pause)[-SAMPLE_RATE:]) < -60.0


def test_a_louder_mel_gives_the_same_sound_louder(vocoder):
    generator = torch.Generator().manual_seed(0)
    given = mel.log_mel(torch.as_tensor(chirps()) + 1e-3 * torch.randn(2 * SAMPLE_RATE, generator=generator))
    assert given.min() > mel.SILENCE  # the floor does not move with the level
    gain_db = 6.0
    raised = given + gain_db / 20 * math.log(10)
    with torch.no_grad():
        magnitudes, louder_magnitudes = (vocoder.log_magnitudes(one[None]) for one in (given, raised))
    torch.testing.assert_close(louder_magnitudes, magnitudes + gain_db / 20 * math.log(10), rtol=0, atol=1e-4)
    # Not sample by sample: where two bins are equally strong but for rounding, the other one may give the phases.
    sound, louder = vocoder(given), vocoder(raised)
    assert level(louder) - level(sound) == pytest.approx(gain_db, abs=0.01)
    assert (mel.log_mel(louder) - mel.log_mel(sound) - gain_db / 20 * math.log(10)).abs().mean() < 0.01


def test_true_magnitudes_give_the_sound_with_its_onsets_and_pitch():
    waveform = torch.as_tensor(chirps())[None]
    magnitudes = stft_magnitudes(waveform, mel.WINDOW_LENGTH, HOP_LENGTH)
    few, many = (fast_griffin_lim(magnitudes, iterations, 0.99)[:, : waveform.shape[1]] for iterations in (0, 16))
    figures = sound_distances(many, waveform)
    assert figures["stft_convergence"] < 0.2 and abs(figures["level_error_db"]) < 0.5
    assert sound_distances(few, waveform)["stft_convergence"] > 2 * figures["stft_convergence"]


def test_a_correction_draws_the_mel_to_the_wanted_one():
    waveform = torch.as_tensor(chirps())[None]
    magnitudes = stft_magnitudes(waveform, mel.WINDOW_LENGTH, HOP_LENGTH)
    rough = fast_griffin_lim(magnitudes, 4, 0.99)[:, : waveform.shape[1]]
    better = match_mel(rough, magnitudes)
    before, after = (sound_distances(sound, waveform)["mel_error_nats"] for sound in (rough, better))
    assert after < 0.95 * before


def test_distances_are_zero_for_the_sound_itself_and_know_its_level():
    waveform = torch.as_tensor(chirps())[None]
    assert all(abs(value) < 1e-6 for value in sound_distances(waveform, waveform).values())
    half = sound_distances(0.5 * waveform, waveform)
    assert half["level_error_db"] == pytest.approx(-6.02, abs=0.01)
    assert half["stft_convergence"] == pytest.approx(0.5, abs=1e-3)


def test_other_mels_are_refused(vocoder):
    with pytest.raises(ValueError, match=r"log-mel has shape \(1, 10, 80\)"):
        vocoder(torch.zeros(1, 10, 80))
    with pytest.raises(ValueError, match="not finite"):
        vocoder(torch.full((10, 64), float("nan")))
    with pytest.raises(ValueError, match="model_in_dim 80, expected 64"):
        SpectralVocoder(model_in_dim=80)


def test_the_folder_names_its_class(vocoder, tmp_path):
    assert isinstance(load_vocoder(tmp_path), mel.GriffinLimVocoder)
    vocoder.save_pretrained(tmp_path / "vocoder")
    loaded = load_vocoder(tmp_path)
    assert isinstance(loaded, SpectralVocoder) and not loaded.training
    given = mel.log_mel(chirps())
    torch.testing.assert_close(loaded(given), vocoder(given), rtol=0, atol=0)
    config = json.loads((tmp_path / "vocoder" / "config.json").read_text())
    (tmp_path / "vocoder" / "config.json").write_text(json.dumps(config | {"_class_name": "AutoencoderKL"}))
    with pytest.raises(ValueError, match="holds a AutoencoderKL, expected one of SpectralVocoder"):
        load_vocoder(tmp_path)


def test_a_pipeline_with_it_is_saved_checked_and_loaded(vocoder, tmp_path):
    pipe = tiny_pipeline()
    pipe.register_modules(vocoder=vocoder)
    pipe.save_pretrained(tmp_path)
    check_model_folder(tmp_path)
    assert read_components(tmp_path)["vocoder"] == ("drawaudio_model.vocoder", "SpectralVocoder")
    loaded = DrawAudioPipeline.from_pretrained(tmp_path).vocoder
    given = mel.log_mel(chirps())
    torch.testing.assert_close(loaded(given), vocoder(given), rtol=0, atol=0)
    config = json.loads((tmp_path / "vocoder" / "config.json").read_text())
    (tmp_path / "vocoder" / "config.json").write_text(json.dumps(config | {"width": 24}))
    with pytest.raises(ValueError, match=r"its config\.json asks for"):
        check_model_folder(tmp_path)


def test_half_precision_weights_give_nearly_the_same_sound(vocoder):
    given = mel.log_mel(chirps())
    half = copy.deepcopy(vocoder).to(torch.bfloat16)(given)
    assert half.dtype == torch.float32
    assert level(half) == pytest.approx(level(vocoder(given)), abs=0.5)


def test_a_published_vocoder_is_loaded_from_the_same_place(tmp_path):
    config = SpeechT5HifiGanConfig(
        model_in_dim=64,
        upsample_initial_channel=32,
        upsample_rates=[5, 4, 2, 2, 2],
        upsample_kernel_sizes=[10, 8, 4, 4, 4],
    )
    SpeechT5HifiGan(config).save_pretrained(tmp_path / "vocoder")
    assert isinstance(load_vocoder(tmp_path), SpeechT5HifiGan)


def autoencoder(waveforms):
    """It keeps one number of a patch."""
    return fit_patches(mel.log_mel(waveforms), patch=8, latent_channels=1)


def test_examples_are_mels_of_the_sound_whose_spectrum_is_the_target():
    waveforms = torch.as_tensor(np.stack([chirps(2.0), chirps(2.0, 0.4)]))
    mels, magnitudes = Examples(waveforms, None).draw(4, 50, torch.Generator().manual_seed(0))
    assert mels.shape == (4, 50, 64) and magnitudes.shape == (4, 513, 50)
    filters = torch.as_tensor(mel.mel_filters())
    expected = (filters @ magnitudes).clamp_min(mel.MEL_FLOOR).log().transpose(1, 2)
    torch.testing.assert_close(mels, expected)
    rebuilt, same = Examples(waveforms, autoencoder(waveforms)).draw(4, 50, torch.Generator().manual_seed(0))
    torch.testing.assert_close(same, magnitudes)
    torch.testing.assert_close(rebuilt[:2], mels[:2])
    assert (rebuilt[2:] - mels[2:]).abs().mean() > 0.1


def test_gains_stay_in_their_range_and_half_of_them_move():
    gains = 20 * random_gains(64, 1000, torch.Generator().manual_seed(0)).log10()
    assert GAIN_DB[0] - 1e-3 <= gains.min() and gains.max() <= GAIN_DB[1] + 1e-3
    moves = gains.amax(dim=1) - gains.amin(dim=1)
    assert moves[::2].max() < 1e-3 and moves[1::2].min() > 1.0


def test_the_loss_is_least_at_the_truth():
    magnitudes = stft_magnitudes(torch.as_tensor(chirps())[None], 1024, HOP_LENGTH)
    truth = magnitudes.clamp_min(1e-5).log()
    least = spectral_loss(truth, magnitudes)
    assert least < 1e-3
    for change in (0.3, -0.3):
        assert spectral_loss(truth + change, magnitudes) > 0.3


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with ShardWriter(folder / "clip_media", "train-000000", inputs={}) as media:
        for number in range(4):
            time = np.arange(SOURCE_SAMPLES) / SAMPLE_RATE
            tone = 0.4 * np.sin(2 * np.pi * 300 * (1 + number % 3) * time) * (np.sin(2 * np.pi * time) > 0)
            media.add(f"clip{number}_000000", {"json": b"{}", "flac": encode_flac(tone.astype(np.float32))})
        media.commit()
    return folder


def test_training_learns_from_rebuilt_mels_where_there_is_an_autoencoder(root, tmp_path):
    config = replace(VocoderConfig.tiny(), steps=40)
    output = tmp_path / "vocoder"
    output.mkdir()
    measured = train_vocoder(root, output, config, seed=0, seconds=None, device=torch.device("cpu"))
    assert measured["loss_after"] < 0.8 * measured["loss_before"]
    assert "vocoder_true_mel_error_nats" in measured and "vocoder_rebuilt_mel_error_nats" not in measured
    assert isinstance(load_vocoder(tmp_path), SpectralVocoder)
    assert (output / "mels.png").stat().st_size > 0 and (output / "loss.png").stat().st_size > 0
    waveforms = torch.as_tensor(chirps(2.0))[None]
    autoencoder(waveforms).save_pretrained(root / "backbones" / "audio_autoencoder")
    again = train_vocoder(root, output, replace(config, steps=2), seed=0, seconds=None, device=torch.device("cpu"))
    assert "griffin_lim_rebuilt_stft_log_distance" in again


def test_the_comparison_judges_rebuilt_mels_by_the_real_sound(vocoder):
    waveforms = torch.as_tensor(chirps(2.0))[None]
    model = autoencoder(waveforms)
    figures = compare(vocoder, waveforms, model)
    # Of a patch only its level is left: both methods are far from the real sound.
    for method in ("vocoder", "griffin_lim"):
        assert figures[f"{method}_rebuilt_mel_error_nats"] > 2 * figures["griffin_lim_true_mel_error_nats"]
        assert figures[f"{method}_true_seconds"] > 0
