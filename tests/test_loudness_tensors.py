import numpy as np
import pytest
import torch

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.loudness import loudness_signal


@pytest.mark.parametrize(
    "settings",
    [{}, {"padding": "centered"}, {"edges": "zero"}, {"edges": "replicate"}, {"window": 5, "sigma_is": "variance"}],
)
def test_a_tensor_is_measured_as_an_array_is(settings):
    rise = np.linspace(0, 1, 2 * SAMPLE_RATE, dtype=np.float32)
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 2 * SAMPLE_RATE)).astype(np.float32) * rise
    found = loudness_signal(torch.from_numpy(waveform), seconds=2, **settings)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, loudness_signal(waveform, seconds=2, **settings), atol=1e-7)


def test_a_tensor_of_another_length_is_refused_as_an_array_is():
    with pytest.raises(ValueError, match=r"expected .* 32000"):
        loudness_signal(torch.zeros(SAMPLE_RATE), seconds=2)


@pytest.mark.parametrize("points", [1, 2, 3])
def test_a_sound_shorter_than_the_taps_is_measured_alike(points: int) -> None:
    sound = np.random.default_rng(points).normal(0, 0.1, points * 1600).astype(np.float32)
    array = loudness_signal(sound, seconds=points / 10)
    tensor = loudness_signal(torch.from_numpy(sound), seconds=points / 10).numpy()
    assert array.shape == (points,)
    np.testing.assert_allclose(array, tensor, atol=1e-6)
