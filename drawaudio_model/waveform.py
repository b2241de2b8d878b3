"""A sound's level as the model takes it, without torch: for what must answer at once."""

import numpy as np

PEAK = 0.5
"""Peak of a normalised waveform."""
SILENT_PEAK = 1e-6
"""A waveform whose peak stays below this (-120 dB, under the step of 16 bit audio) is silence."""


def normalized(waveform: np.ndarray) -> np.ndarray:
    """(n,) float32 as `mel.normalize_waveform` gives it to 1e-7: without its mean, with a peak of 0.5; silence is zeros.

    The data set and the model take that one: its mean, summed in another order, decides the last bit of a sample.

    Args:
        waveform: (n,) floats, at least one.
    """
    centred = (waveform - waveform.mean(dtype=np.float64)).astype(np.float32)
    peak = np.abs(centred).max()
    return np.zeros_like(centred) if peak < SILENT_PEAK else centred * np.float32(PEAK / peak)
