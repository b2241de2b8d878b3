"""Sounds whose level follows a curve drawn by hand, for training: the curve, and 8 s of sound that obey it.

Curves read off sounds have each sound's own ripple and level; a model that saw no others does not know what to do with a
straight line, a plateau or a level that no clip has. Three kinds are made here from one clip's sound:

    shaped    a continuous sound under a drawn curve (drawn_curves.draw_curve). Continuous is a material that the source
              made for it, or, where there is none, the clip's own sound, whose curve is then read off the result;
    redrawn   the clip's own sound at another level and from another moment on, and its curve as a person would draw it
              (redraw_curve);
    measured  the same with the curve as it is: the moments at which a crop may begin are those of the picture's frames, so
              that a few clips show many relations of curve, picture and sound.

Legend: P loudness points, ten a second, n samples.
"""

from dataclasses import dataclass

import numpy as np
import torch

from drawaudio_model.clip_format import (
    CLIP_SAMPLES,
    CLIP_SECONDS,
    LOUDNESS_POINTS,
    SAMPLE_RATE,
    SOURCE_SECONDS,
    VIDEO_FPS,
)
from drawaudio_model.drawn.curves import draw_signal, redraw_curve
from drawaudio_model.levels.matching import match_levels
from drawaudio_model.loudness import from_points, loudness_signal
from drawaudio_model.mel import normalize_waveform

LOUDEST = 0.375
"""Largest peak of a curve drawn for training: that of a full sine at the peak of 0.5 that all clips have."""
KINDS = {"shaped": 0.4, "redrawn": 0.3, "measured": 0.3}
"""Kinds of variants and their shares. Our choice."""
MATERIAL_BOOST_DB = 30.0
"""A material is clean, so it may be turned up far."""
PEAK = 0.95
"""Largest magnitude of such a sound."""


@dataclass(frozen=True, eq=False)
class DrawnSound:
    """8 s of sound and the curve that it was drawn by."""

    waveform: np.ndarray
    """(n,) float32."""
    curve: np.ndarray
    """(P,) float32."""
    start_frame: int
    """The clip's video frame at which its pictures begin, VIDEO_FPS a second."""
    kind: str
    """One of KINDS."""


def draw_sound(rng: np.random.Generator, waveform: np.ndarray, material: np.ndarray | None) -> DrawnSound:
    """One variant of a clip.

    Args:
        rng: decides everything.
        waveform: (160000,) the clip's own sound, any level.
        material: (160000,) the same thing sounding without a pause, or None.
    """
    start = int(rng.integers((SOURCE_SECONDS - CLIP_SECONDS) * VIDEO_FPS + 1))
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    if kind == "shaped":
        sound, curve = _shaped(rng, waveform, material)
        return DrawnSound(sound, curve, start, kind)
    first = start * SAMPLE_RATE // VIDEO_FPS
    own = normalize_waveform(waveform)[first : first + CLIP_SAMPLES]
    loudest = 20 * np.log10(PEAK / max(float(np.abs(own).max()), 1e-3))
    own = (own * 10 ** (rng.uniform(-14.0, min(loudest, 14.0)) / 20)).astype(np.float32)
    curve = loudness_signal(torch.from_numpy(own), seconds=CLIP_SECONDS).numpy()
    if kind == "redrawn":
        curve = from_points(redraw_curve(rng, curve), CLIP_SECONDS)
    return DrawnSound(own, curve, start, kind)


def _shaped(
    rng: np.random.Generator, waveform: np.ndarray, material: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The first or last 8 s of the continuous sound under a new curve; its own timing means nothing, so the place is free."""
    curve = draw_signal(rng, CLIP_SECONDS, loudest=LOUDEST)
    place = int(rng.integers(0, len(waveform) - CLIP_SAMPLES + 1))
    if material is not None:
        source = material[place : place + CLIP_SAMPLES]
        return match_levels(source, curve, max_boost_db=MATERIAL_BOOST_DB, ceiling=PEAK).waveform, curve
    source = normalize_waveform(waveform)[place : place + CLIP_SAMPLES]
    gain = np.interp(
        np.arange(CLIP_SAMPLES) / SAMPLE_RATE, (np.arange(LOUDNESS_POINTS) + 0.5) / 10, curve / curve.max()
    )
    shaped = (source * gain).astype(np.float32)
    measured = loudness_signal(torch.from_numpy(shaped), seconds=CLIP_SECONDS).numpy()
    return shaped, from_points(redraw_curve(rng, measured), CLIP_SECONDS)
