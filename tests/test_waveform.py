import numpy as np
import pytest

from drawaudio_model.mel import normalize_waveform
from drawaudio_model.waveform import normalized


@pytest.mark.parametrize("scale", [1e-3, 0.3, 2.0])
def test_a_sound_is_normalised_as_the_model_takes_it(scale):
    waveform = (np.random.default_rng(0).standard_normal(16000) * scale + 0.1 * scale).astype(np.float32)
    found = normalized(waveform)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, normalize_waveform(waveform), atol=1e-6)


def test_silence_with_an_offset_is_zeros():
    assert not normalized(np.full(1000, 0.25, np.float32)).any()
