"""Kaldi's mel filters, which VGGish and PaSST share."""

import numpy as np


def kaldi_mel_filters(bins: int, fft_size: int, rate_hz: int, low_hz: float, high_hz: float) -> np.ndarray:
    """(bins, fft_size // 2 + 1) triangles of height 1 that are straight in mel, mel = 1127 ln(1 + f / 700).

    The last bin, half the rate, gets no weight, as in Kaldi.
    """

    def mel(hz: np.ndarray | float) -> np.ndarray:
        return 1127.0 * np.log1p(np.asarray(hz) / 700.0)

    places = mel(np.arange(fft_size // 2) * rate_hz / fft_size)  # (K,)
    edges = np.linspace(mel(low_hz), mel(high_hz), bins + 2)[:, None]
    rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(rising, falling))
    return np.pad(triangles, ((0, 0), (0, 1))).astype(np.float32)
