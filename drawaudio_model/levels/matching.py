"""The last decibels: a smooth gain brings a sound's loudness to the curve that was drawn.

What sounds, and when, is the denoiser's; but its levels come out of a blurred mel and a vocoder, some decibels off. As a
mixing engineer rides a fader, the gain here follows the ratio of the drawn and the measured curve. It adds no sound where
there is none: it turns up by at most MAX_BOOST_DB and never beyond full scale; down, it goes to silence where zero is drawn.
Not in the paper; a pipeline's setting.

Legend: P loudness points, ten a second, n samples.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import maximum_filter1d

from drawaudio_model.clip_format import LOUDNESS_FPS, SAMPLE_RATE, WINDOW_LENGTH
from drawaudio_model.levels.limiter import CEILING_DB, decibels, limit
from drawaudio_model.loudness import loudness_signal, point_times

MAX_BOOST_DB = 15.0
"""Largest gain upwards: more would bring up what the vocoder leaves between two sounds. Our choice."""
FLOOR_DB = -80.0
"""Gain where the curve is zero."""
ROUNDS = 4
"""The measured curve is smoothed over neighbouring points, so one division does not meet it."""
CEILING = 0.97
"""Largest magnitude up to which a sound is turned up."""
DRIVE_DB = 12.0
"""Decibels beyond the ceiling up to which a sound may be driven into the limiter, for the loudness that its curve asks for:
with lower peaks it can be louder. Our choice: 1.9 dB of level error under drawn curves on the demo's val clips, 3.8 without
a limiter."""
SHORTFALL_DB = 4.0
"""Decibels below the loudest part of its curve from which on a sound gets a notice."""
_AUDIBLE = 1e-5
"""A level below is silence, for the ratio of two levels."""
_MEASURING_LAG_SECONDS = (WINDOW_LENGTH - SAMPLE_RATE // 100) / 2 / SAMPLE_RATE
"""A point's windows reach beyond its tenth of a second: their middle lies this much later (Eq. 10 begins at sample 0)."""


class MatchedSound(NamedTuple):
    """A sound at the drawn levels."""

    waveform: np.ndarray
    """(n,) float32."""
    gain_db: np.ndarray
    """(P,) what was done to it."""


def match_levels(
    waveform: np.ndarray,
    curve: np.ndarray,
    *,
    max_boost_db: float = MAX_BOOST_DB,
    ceiling: float | None = CEILING,
    drive_db: float = 0.0,
) -> MatchedSound:
    """The waveform with a smooth gain under which its loudness signal is as near to `curve` as the limits allow.

    Args:
        waveform: (n,) at 16 kHz.
        curve: (P,) levels of the loudness signal, linear RMS >= 0; n is at most P tenths of a second.
        max_boost_db: largest gain upwards.
        ceiling: magnitude that no turned-up sample exceeds; None: no limit.
        drive_db: how far a sample may be turned up beyond the ceiling, for a limiter to hold it there.

    Raises:
        ValueError: when the curve is shorter than the sound.
    """
    levels = np.asarray(curve, np.float64)
    tenth = SAMPLE_RATE // LOUDNESS_FPS
    if levels.ndim != 1 or len(waveform) > len(levels) * tenth:
        raise ValueError(
            f"curve has shape {levels.shape} for {len(waveform)} samples, expected a point for every {tenth} of them"
        )
    padded = np.pad(np.asarray(waveform, np.float64), (0, len(levels) * tenth - len(waveform)))
    highest = np.full(len(levels), max_boost_db)
    if ceiling is not None:
        loudest = maximum_filter1d(np.abs(padded).reshape(len(levels), tenth).max(axis=1), 3)
        highest = np.minimum(highest, drive_db + 20 * np.log10(ceiling / np.maximum(loudest, 1e-9)))

    def played(gain_db: np.ndarray) -> np.ndarray:
        sound = padded * _gain(gain_db, len(padded))
        return sound if ceiling is None or not drive_db else limit(sound, ceiling_db=decibels(ceiling))[0]

    gain_db = np.zeros(len(levels))
    for _ in range(ROUNDS):
        measured = _measured(played(gain_db).astype(np.float32))
        ratio = 20 * np.log10(np.maximum(levels, _AUDIBLE) / np.maximum(measured, _AUDIBLE))
        gain_db = np.clip(gain_db + ratio, FLOOR_DB, highest)
        gain_db[levels <= _AUDIBLE] = FLOOR_DB
    matched = played(gain_db)
    return MatchedSound(matched[: len(waveform)].astype(np.float32), gain_db)


def _measured(waveform: np.ndarray) -> np.ndarray:
    """(P,) loudness signal of a waveform (n,) of whole points, measured as a tensor: as the training's curves were."""
    return loudness_signal(torch.from_numpy(waveform), seconds=len(waveform) / SAMPLE_RATE).numpy()


def _gain(gain_db: np.ndarray, samples: int) -> np.ndarray:
    """(n,) linear gain: straight lines in decibels between the points' middles."""
    moments = point_times(len(gain_db) / LOUDNESS_FPS) + _MEASURING_LAG_SECONDS
    return 10 ** (np.interp(np.arange(samples) / SAMPLE_RATE, moments, gain_db) / 20)


def shortfall_notice(waveform: np.ndarray, curve: np.ndarray) -> str | None:
    """A sentence when the sound (n,) stays well below its curve (P,) where that is loudest; else None."""
    tenth = SAMPLE_RATE // LOUDNESS_FPS
    padded = np.pad(np.asarray(waveform, np.float32), (0, max(len(curve) * tenth - len(waveform), 0)))
    measured = _measured(padded[: len(curve) * tenth])
    loud = curve >= max(float(curve.max()) / 2, _AUDIBLE)
    if not loud.any():
        return None
    short = float(np.median(20 * np.log10(curve[loud] / np.maximum(measured[loud], _AUDIBLE))))
    if short < SHORTFALL_DB:
        return None
    return (
        f"the sound stays {short:.0f} dB below the curve where the curve is loudest: this is as loud as the model makes it "
        "without clipping; draw a lower curve, or raise the track's gain in a mix"
    )


def follow_curve(waveform: np.ndarray, curve: np.ndarray, *, max_boost_db: float) -> np.ndarray:
    """The waveform (n,) at the levels of a curve (P,), turned up by at most `max_boost_db`, its true peak at most CEILING_DB."""
    ceiling = 10 ** (CEILING_DB / 20)
    return match_levels(waveform, curve, max_boost_db=max_boost_db, ceiling=ceiling, drive_db=DRIVE_DB).waveform


def fit_level(waveform: np.ndarray, quietest: float, loudest: float) -> np.ndarray:
    """The waveform (n,) with its RMS level between two bounds: as it is inside, scaled to the nearer bound outside.

    Silence stays silence; a true peak above CEILING_DB is limited.
    """
    level = float(np.sqrt(np.square(waveform, dtype=np.float64).mean()))
    wanted = level if level <= _AUDIBLE else min(max(level, quietest), loudest)
    scaled = waveform if wanted == level else waveform * (wanted / level)
    return limit(scaled)[0].astype(np.float32)
