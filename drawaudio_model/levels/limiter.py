"""A limiter that looks ahead: a sound below a true peak, turned down nowhere more than needed.

Legend: n samples, at 16 kHz; (n,) is one channel, (n, 2) are left and right, which are turned down together.
"""

import functools
import math

import numpy as np

from drawaudio_model.clip_format import SAMPLE_RATE

CEILING_DB = -1.0
"""True peak of a mix, in dB of full scale: what EBU R 128 allows, so that AAC and Opus do not clip."""
OVERSAMPLING = 4
"""For true peaks, as ITU-R BS.1770-4 asks at 48 kHz and more; at 16 kHz it finds them within 0.7 dB of any phase."""
LOOK_AHEAD_SECONDS = 0.01
"""On each side of a peak: the gain falls and rises over twice this."""


def true_peak(waveform: np.ndarray) -> float:
    """The largest magnitude of a waveform (n,) or (n, 2) between its samples, too."""
    return float(_peaks(waveform).max())


def limit(waveform: np.ndarray, *, ceiling_db: float = CEILING_DB) -> tuple[np.ndarray, float]:
    """The waveform (n,) or (n, 2) with its true peak at most `ceiling_db`, and the smallest gain on the way (1: unchanged).

    The gain that each sample needs is held over the look-ahead and then smoothed by a window as long: nowhere more than
    needed, and no step in it.
    """
    ceiling = 10 ** (ceiling_db / 20)
    if true_peak(waveform) <= ceiling:
        return waveform, 1.0
    # The studio's server mixes, and most of its mixes are not limited: 20 MB of a process that is to stay small.
    from scipy.ndimage import minimum_filter1d

    reach = round(LOOK_AHEAD_SECONDS * SAMPLE_RATE)
    window = np.hanning(2 * reach + 1)
    needed = ceiling / np.maximum(_peaks(waveform), ceiling)
    held = minimum_filter1d(needed, 2 * reach + 3, mode="nearest")
    gain = np.convolve(np.pad(held, reach, mode="edge"), window / window.sum(), mode="valid")
    limited = (waveform.T * gain).T  # one gain for both channels: the picture between them stays where it is
    # What is left comes from the gain's own motion between samples: a few thousandths.
    rest = min(ceiling / true_peak(limited), 1.0)
    return limited * rest, float(gain.min() * rest)


def _peaks(waveform: np.ndarray) -> np.ndarray:
    """(n,): the largest magnitude from each sample to the next, in any channel."""
    channels = np.atleast_2d(waveform.T)  # (1 or 2, n)
    return np.max([np.abs(_oversampled(channel)).reshape(-1, OVERSAMPLING).max(axis=1) for channel in channels], axis=0)


def _oversampled(waveform: np.ndarray) -> np.ndarray:
    """(4 n,), as scipy.signal.resample_poly makes it; importing that takes 50 MB, and the studio's server needs no more of it."""
    filters = _phases()
    reach = filters.shape[1] // 2
    phases = [np.convolve(waveform, phase)[reach : reach + len(waveform)] for phase in filters]
    return np.stack(phases, axis=1).reshape(-1)


@functools.cache
def _phases() -> np.ndarray:
    """(OVERSAMPLING, taps) of a low pass up to the old rate's half: a sinc in a Kaiser window."""
    half = 10 * OVERSAMPLING
    taps = np.sinc(np.arange(-half, half + 1) / OVERSAMPLING) * np.kaiser(2 * half + 1, 5.0)
    taps *= OVERSAMPLING / taps.sum()
    return np.pad(taps, (0, OVERSAMPLING - 1)).reshape(-1, OVERSAMPLING).T.copy()


def decibels(amplitude: float) -> float:
    """20 log10 of an amplitude; silence is -inf."""
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf
