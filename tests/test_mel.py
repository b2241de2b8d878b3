from types import SimpleNamespace

import librosa
import numpy as np
import pytest
import torch
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from drawaudio_model import mel
from drawaudio_model.clip_format import CLIP_SAMPLES, HOP_LENGTH, MEL_FRAMES, SAMPLE_RATE, SOURCE_SAMPLES


def tone(hz, seconds=2, amplitude=0.3):
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE)).astype(np.float32)


def noise(samples=2 * SAMPLE_RATE, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def level_db(found, expected):
    return 10 * np.log10(np.mean(np.square(found)) / np.mean(np.square(expected)))


def bark(starts_seconds, seconds=2):
    """Bursts of decaying noise at the given times."""
    rng = np.random.default_rng(0)
    waveform = np.zeros(seconds * SAMPLE_RATE, dtype=np.float32)
    for start in starts_seconds:
        first = round(start * SAMPLE_RATE)
        waveform[first : first + 800] = 0.3 * rng.normal(size=800) * np.exp(-np.arange(800) / 150)
    return waveform


def test_the_log_mel_equals_librosas():
    waveform = noise()
    expected = librosa.feature.melspectrogram(
        y=np.pad(waveform, 432, mode="reflect"),
        sr=16000,
        n_fft=1024,
        hop_length=160,
        center=False,
        power=1.0,
        n_mels=64,
        fmin=0.0,
        fmax=8000.0,
    )
    np.testing.assert_allclose(mel.log_mel(waveform), np.log(np.maximum(expected, 1e-5)).T, atol=1e-4)


@pytest.mark.parametrize(("samples", "frames"), [(CLIP_SAMPLES, MEL_FRAMES), (SOURCE_SAMPLES, 1000), (163_840, 1024)])
def test_there_is_one_frame_every_ten_milliseconds(samples, frames):
    assert mel.log_mel(torch.zeros(samples)).shape == (frames, 64)


def test_batches_and_tensors_give_what_single_arrays_give():
    waveforms = noise(6 * 4800).reshape(2, 3, 4800)
    found = mel.log_mel(torch.from_numpy(waveforms))
    assert found.shape == (2, 3, 30, 64) and found.dtype == torch.float32
    torch.testing.assert_close(found[1, 2], mel.log_mel(waveforms[1, 2]))


def test_silence_and_padding_are_the_floor_and_never_zero():
    silence = mel.log_mel(np.zeros(SAMPLE_RATE, dtype=np.float32))
    assert mel.SILENCE == pytest.approx(-11.5129, abs=1e-4)
    torch.testing.assert_close(silence, torch.full((100, 64), mel.SILENCE))
    padded = mel.pad_log_mel(mel.log_mel(noise(1600)), 100)
    torch.testing.assert_close(padded[10:], silence[10:])
    with pytest.raises(ValueError, match="100 frames, more than the 80"):
        mel.pad_log_mel(silence, 80)


def test_a_click_is_loudest_in_the_frame_centred_on_it():
    waveform = np.zeros(SAMPLE_RATE, dtype=np.float32)
    waveform[50 * HOP_LENGTH + 80] = 0.5
    assert mel.log_mel(waveform).sum(dim=1).argmax() == 50


def test_a_normalised_waveform_has_no_mean_and_a_peak_of_one_half():
    waveform = noise() + 0.2
    for found in (mel.normalize_waveform(waveform), mel.normalize_waveform(torch.from_numpy(waveform)).numpy()):
        assert found.dtype == np.float32
        assert np.abs(found).max() == pytest.approx(0.5, abs=1e-6)
        centred = waveform - waveform.mean()
        np.testing.assert_allclose(found, 0.5 * centred / np.abs(centred).max(), atol=1e-6)


def test_silence_stays_silence_when_normalised():
    np.testing.assert_array_equal(mel.normalize_waveform(np.full(1000, 0.1, dtype=np.float32)), np.zeros(1000))


def test_each_clip_of_a_batch_is_normalised_by_itself():
    batch = torch.stack([torch.from_numpy(noise(1000)), 0.01 * torch.from_numpy(noise(1000))])
    torch.testing.assert_close(*mel.normalize_waveform(batch))


def test_too_short_a_waveform_is_refused():
    with pytest.raises(ValueError, match="more than 432 samples"):
        mel.log_mel(np.zeros(400, dtype=np.float32))
    with pytest.raises(ValueError, match="with some samples"):
        mel.normalize_waveform(np.zeros((2, 0), dtype=np.float32))


@pytest.mark.parametrize(
    "waveform", [tone(440), tone(1000), noise(), bark([0.3, 1.1])], ids=["440 Hz", "1 kHz", "noise", "barks"]
)
def test_the_vocoder_keeps_the_level(waveform):
    found = mel.GriffinLimVocoder()(mel.log_mel(waveform)[None])[0].numpy()
    assert found.shape == waveform.shape
    assert abs(level_db(found, waveform)) < 1.5


def test_the_vocoder_keeps_a_tones_pitch():
    found = mel.GriffinLimVocoder()(mel.log_mel(tone(440)))
    assert torch.fft.rfft(found).abs().argmax() / 2 == pytest.approx(440, abs=10)


def test_the_vocoder_keeps_onsets_within_ten_milliseconds():
    starts = [0.3, 0.85, 1.5]
    found = mel.GriffinLimVocoder()(mel.log_mel(bark(starts))).numpy()
    for start in starts:
        first = round((start - 0.1) * SAMPLE_RATE)
        window = np.abs(found[first : first + 3200])
        onset = (first + np.argmax(window > 0.4 * window.max())) / SAMPLE_RATE
        assert onset == pytest.approx(start, abs=0.010)


def test_the_vocoder_is_silent_on_silence():
    assert mel.GriffinLimVocoder()(torch.full((100, 64), mel.SILENCE)).abs().max() < 1e-3


def test_the_vocoder_is_deterministic_and_clips_do_not_depend_on_each_other():
    mels = torch.stack([mel.log_mel(noise(8000, seed)) for seed in (1, 2)])
    vocoder = mel.GriffinLimVocoder(iterations=4)
    together = vocoder(mels)
    torch.testing.assert_close(vocoder(mels), together, rtol=0, atol=0)
    torch.testing.assert_close(vocoder(mels[1:])[0], together[1], rtol=0, atol=0)
    assert not torch.equal(mel.GriffinLimVocoder(iterations=4, seed=1)(mels), together)


def test_the_vocoder_survives_its_folder(tmp_path):
    vocoder = mel.GriffinLimVocoder(iterations=3, seed=5)
    vocoder.save_pretrained(tmp_path)
    loaded = mel.GriffinLimVocoder.from_pretrained(tmp_path)
    assert (loaded.config.iterations, loaded.config.seed, loaded.config.sampling_rate) == (3, 5, 16000)
    mels = mel.log_mel(noise(8000))[None]
    torch.testing.assert_close(loaded(mels), vocoder(mels), rtol=0, atol=0)


def test_the_vocoder_refuses_other_mels():
    with pytest.raises(ValueError, match=r"shape \(1, 10, 80\)"):
        mel.GriffinLimVocoder()(torch.zeros(1, 10, 80))
    with pytest.raises(ValueError, match="not finite"):
        mel.GriffinLimVocoder()(torch.full((10, 64), float("nan")))


def hifigan(**settings):
    """AudioLDM2's vocoder at a small width, with its published strides (product 160)."""
    torch.manual_seed(0)
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=64,
            upsample_initial_channel=32,
            upsample_rates=[5, 4, 2, 2, 2],
            upsample_kernel_sizes=[16, 16, 8, 4, 4],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1]],
            normalize_before=False,
            **settings,
        )
    ).eval()
    with torch.no_grad():
        for weight in vocoder.parameters():
            if weight.ndim > 1:  # as they start, its sounds peak at 1e-9: any tolerance would let everything pass
                weight.mul_(20)
    return vocoder


@torch.no_grad()
def test_a_vocoders_surplus_samples_are_cut():
    mels = torch.randn(2, 40, 64)
    vocoder = hifigan(sampling_rate=16000)
    whole = vocoder(mels)
    assert whole.shape[-1] > 40 * HOP_LENGTH and 0.01 < whole.abs().max() < 10
    torch.testing.assert_close(mel.vocode(vocoder, mels), whole[:, : 40 * HOP_LENGTH], rtol=0, atol=1e-6)
    assert mel.vocode(mel.GriffinLimVocoder(iterations=2), mels).shape == (2, 40 * HOP_LENGTH)


def test_a_vocoder_for_other_audio_is_refused_with_both_values():
    with pytest.raises(ValueError, match="sampling_rate 22050, expected 16000"):
        mel.vocode(hifigan(sampling_rate=22050), torch.randn(1, 8, 64))
    with pytest.raises(ValueError, match="model_in_dim 80, expected 64"):
        mel.check_vocoder(SimpleNamespace(config=SimpleNamespace(sampling_rate=16000, model_in_dim=80)))
    with pytest.raises(ValueError, match="model_in_dim 80, expected 64"):
        mel.GriffinLimVocoder(model_in_dim=80)
