import math

import numpy as np
import pytest
import torch

from drawaudio_model import loudness
from drawaudio_model.clip_format import CLIP_SAMPLES, CLIP_SECONDS, LOUDNESS_POINTS, SAMPLE_RATE, SOURCE_SECONDS


def sine(seconds, amplitude=0.5, hz=500.0):
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE)).astype(np.float32)


def reference_signal(waveform, points, pad, taps):
    """Eq. 10-11 written out with loops."""
    padded = np.pad(waveform.astype(np.float64), pad)
    frames = [math.sqrt(np.mean(padded[i : i + 1024] ** 2)) for i in range(0, len(padded) - 1023, 160)]
    pooled = np.array(frames).reshape(points, -1).mean(axis=1)
    smooth = []
    for k in range(points):
        inside = [(tap, pooled[k + j]) for j, tap in zip((-1, 0, 1), taps, strict=True) if 0 <= k + j < points]
        smooth.append(sum(tap * value for tap, value in inside) / sum(tap for tap, _ in inside))
    return np.array(smooth)


def test_the_level_of_a_sine_is_its_amplitude_over_the_square_root_of_two():
    signal = loudness.loudness_signal(sine(CLIP_SECONDS), seconds=CLIP_SECONDS)
    assert signal.shape == (LOUDNESS_POINTS,) and signal.dtype == np.float32
    np.testing.assert_allclose(signal[:-2], 0.5 / math.sqrt(2), rtol=1e-3)


@pytest.mark.parametrize(("padding", "pad"), [("tail", (0, 864)), ("centered", (432, 432))])
@pytest.mark.parametrize(
    ("sigma_is", "taps"), [("std", (0.3288, 0.3425, 0.3288)), ("variance", (0.3171, 0.3658, 0.3171))]
)
def test_the_signal_equals_the_equations_written_out(padding, pad, sigma_is, taps):
    waveform = np.random.default_rng(3).uniform(-0.5, 0.5, 2 * SAMPLE_RATE).astype(np.float32)
    waveform *= np.linspace(0, 1, len(waveform), dtype=np.float32)
    found = loudness.loudness_signal(waveform, seconds=2, padding=padding, sigma_is=sigma_is)
    np.testing.assert_allclose(found, reference_signal(waveform, 20, pad, taps), atol=3e-5)


@pytest.mark.parametrize("seconds", [CLIP_SECONDS, SOURCE_SECONDS])
def test_there_is_one_rms_value_a_mel_frame(seconds):
    assert loudness.rms(torch.zeros(seconds * SAMPLE_RATE)).shape == (seconds * 100,)
    assert loudness.rms(torch.zeros(seconds * SAMPLE_RATE), padding="centered").shape == (seconds * 100,)


def test_the_kernel_has_the_known_taps():
    np.testing.assert_allclose(loudness.gaussian_kernel(), [0.32876, 0.34248, 0.32876], atol=1e-4)
    np.testing.assert_allclose(loudness.gaussian_kernel(sigma_is="variance"), [0.3171, 0.3658, 0.3171], atol=1e-4)
    assert loudness.gaussian_kernel(window=7, sigma=1.0).sum() == pytest.approx(1)


def test_edges_keep_a_constant_or_do_not():
    ones = np.ones((1, 1, 5), np.float32)
    taps = loudness.gaussian_kernel()
    for edges in ("renormalise", "replicate"):
        np.testing.assert_allclose(loudness._smooth(ones, taps, edges), ones, rtol=1e-6)
    assert loudness._smooth(ones, taps, "zero")[0, 0, 0] == pytest.approx(1 - 0.32876, abs=1e-4)


def test_batches_and_tensors_give_what_single_arrays_give():
    waveforms = np.random.default_rng(0).normal(0, 0.1, (2, 3, SAMPLE_RATE)).astype(np.float32)
    batched = loudness.loudness_signal(torch.from_numpy(waveforms), seconds=1)
    assert isinstance(batched, torch.Tensor) and batched.shape == (2, 3, 10)
    np.testing.assert_allclose(batched[1, 2], loudness.loudness_signal(waveforms[1, 2], seconds=1), atol=1e-7)


def test_silence_is_zero_and_a_click_lifts_only_its_neighbours():
    waveform = np.zeros(CLIP_SAMPLES, dtype=np.float32)
    waveform[4 * SAMPLE_RATE + 800] = 0.5
    signal = loudness.loudness_signal(waveform, seconds=CLIP_SECONDS)
    assert set(np.flatnonzero(signal > 1e-4)) <= {38, 39, 40, 41}
    assert signal.argmax() in (39, 40)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seconds": 2}, r"shape \(16000,\), expected \(\.\.\., 32000\)"),
        ({"seconds": 0.25}, "multiple of 0.1 s"),
        ({"seconds": 1, "padding": "both"}, 'padding is "both"'),
        ({"seconds": 1, "sigma_is": "width"}, 'sigma_is is "width"'),
        ({"seconds": 1, "edges": "wrap"}, 'edges is "wrap"'),
        ({"seconds": 1, "window": 4}, "window is 4"),
        ({"seconds": 1, "sigma": 0.0}, "sigma is 0.0"),
    ],
)
def test_wrong_input_says_what_is_wrong(settings, message):
    with pytest.raises(ValueError, match=message):
        loudness.loudness_signal(np.zeros(SAMPLE_RATE, dtype=np.float32), **settings)


def test_a_drawn_ramp_is_a_ramp_and_stays_flat_beyond_its_ends():
    curve = loudness.from_points([(2.0, 0.0), (6.0, 0.4)], CLIP_SECONDS)
    times = loudness.point_times(CLIP_SECONDS)
    np.testing.assert_allclose(curve, np.clip((times - 2) / 4, 0, 1) * 0.4, atol=1e-6)


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_curve_survives_its_file(tmp_path, suffix):
    signal = np.random.default_rng(1).uniform(0, 0.5, LOUDNESS_POINTS).astype(np.float32)
    path = tmp_path / f"curve{suffix}"
    loudness.write_points(path, loudness.to_points(signal))
    np.testing.assert_allclose(loudness.from_points(loudness.read_points(path), CLIP_SECONDS), signal, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "time,level\n0,0\n", "expected time_seconds, level"),
        ("a.csv", "time_seconds,level\n0,0.1\n1,loud\n", "line 3: 'loud' is no number, expected numbers"),
        ("a.csv", "time_seconds,level\n", "no points"),
        ("a.csv", "time_seconds,level\n1,0.1\n0.5,0.2\n", "line 3: .* rising times"),
        ("a.csv", "time_seconds,level\n1,1.5\n", "level 1.5 at 1.0 s, expected 0 to 1"),
        ("a.json", "{}", "holds a dict"),
        ("a.json", "[{]", "is no JSON"),
        ("a.json", '[{"time_seconds": 1}]', "point 1"),
        ("a.txt", "", "expected .csv or .json"),
    ],
)
def test_a_wrong_curve_file_says_what_is_wrong(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        loudness.read_points(tmp_path / name)
