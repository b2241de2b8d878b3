"""Scores that a training run may filter clips by: measured here, judged there (drawaudio_model.config.ScoreLimits)."""

import hashlib
from itertools import pairwise

import numpy as np

from drawaudio_model.clip_format import SOURCE_SECONDS

SCORES_VERSION = 2
"""Raised when a score means something else, so that the shards are made again."""
CUT_DIFFERENCE = 0.18
"""Mean change of a pixel from one frame to the next (of 1) above which it is another shot ..."""
CUT_RATIO = 4.0
"""... when it is also this many times the clip's usual change: a shaking camera changes much all the time."""
SILENT_PEAK = 1e-3
"""Windows of a tenth of a second below this peak are silent (-60 dB)."""
_HASH_BLOCKS = 16
_HASH_BANDS = 4


def clip_scores(frames: np.ndarray, waveform: np.ndarray) -> dict[str, float | str]:
    """Scores of one clip.

    Args:
        frames: (V, H, W, 3) uint8 RGB at 4 fps.
        waveform: (samples,) float32 in [-1, 1], as it was recorded.

    Returns:
        peak and rms; clipped_share of samples at full scale; silent_share of the time; motion, the mean change of a pixel
        from frame to frame (0: a still picture); shot_cuts; sound_hash, equal for the same sound at any level.
    """
    thumbnails = frames[:, ::8, ::8].astype(np.float32) / 255
    changes = np.abs(np.diff(thumbnails, axis=0)).mean(axis=(1, 2, 3))  # (V - 1,)
    windows = np.abs(waveform).reshape(-1, SOURCE_SECONDS * 10).max(axis=1)
    usual = float(np.median(changes))
    return {
        "peak": round(float(np.abs(waveform).max()), 4),
        "rms": round(float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))), 5),
        "clipped_share": round(float(np.mean(np.abs(waveform) > 0.999)), 6),
        "silent_share": round(float(np.mean(windows < SILENT_PEAK)), 4),
        "motion": round(float(changes.mean()), 5),
        "shot_cuts": int(np.sum((changes > CUT_DIFFERENCE) & (changes > CUT_RATIO * usual))),
        "sound_hash": sound_hash(waveform),
    }


def sound_hash(waveform: np.ndarray) -> str:
    """16 hex digits of the order of energies in blocks of time and octave-wide bands: the level does not matter.

    It finds copies, louder, softer or stored without loss; a shifted or lossily encoded copy has other digits.
    """
    blocks = waveform[: len(waveform) // _HASH_BLOCKS * _HASH_BLOCKS].reshape(_HASH_BLOCKS, -1).astype(np.float64)
    spectrum = np.abs(np.fft.rfft(blocks, axis=1)) ** 2
    edges = np.geomspace(len(spectrum[0]) / 2**_HASH_BANDS, len(spectrum[0]), _HASH_BANDS + 1).astype(int)
    energies = np.stack([spectrum[:, low:high].sum(axis=1) for low, high in pairwise(edges)])
    order = np.argsort(energies.ravel(), kind="stable").astype(np.uint8)
    return hashlib.sha256(order.tobytes()).hexdigest()[:16]
