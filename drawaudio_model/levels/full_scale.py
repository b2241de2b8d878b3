"""Sound that fits a file: what exceeds full scale goes through the limiter, and the caller can say so.

Fixed-point files hold samples from -1 to 1. Lossy ones come back a little louder than they went in, so of them the true
peak counts, and it stays below the ceiling from the start. The writers of `media` refuse what does not fit: no sound is
ever cut off at full scale.

Legend: n samples, at 16 kHz; (n,) is one channel, (n, 2) are left and right.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from drawaudio_model.atomic_files import write_atomically
from drawaudio_model.levels.limiter import CEILING_DB, decibels, limit, true_peak
from drawaudio_model.media import check_waveform

ROUNDING = 1 + 1e-4
"""A peak above the ceiling by less is one that the limiter brought there, in single precision."""
LIMITED_SUFFIX = ".limited.json"
"""Of the note that stands beside a written sound that was limited."""


class FittedSound(NamedTuple):
    """A sound that a file can hold, and what was done to it."""

    waveform: np.ndarray
    """(n,) or (n, 2); the very array that was given where it fitted, else float32 with a true peak of CEILING_DB."""
    peak_db: float
    """True peak before, in dB of full scale."""
    reduction_db: float
    """Decibels by which the limiter turned down the loudest part; 0 where the sound fitted."""

    @property
    def limited(self) -> bool:
        """Whether the sound was limited."""
        return self.reduction_db > 0

    @property
    def description(self) -> str:
        """A sentence for people about a limited sound."""
        return (
            f"the sound peaks at {self.peak_db:+.1f} dB; limited by {self.reduction_db:.1f} dB to {CEILING_DB:g} dBTP"
        )


def fit_full_scale(waveform: np.ndarray, *, lossy: bool = False) -> FittedSound:
    """The waveform (n,) or (n, 2) as a file can hold it: untouched, bit for bit, or limited to a true peak of CEILING_DB.

    Args:
        waveform: finite floats.
        lossy: whether a codec will change the samples: a true peak above CEILING_DB is limited then, not only samples
            beyond full scale.

    Raises:
        ValueError: for another shape, or samples that are not finite.
    """
    check_waveform(waveform, stereo=True)
    peak = true_peak(waveform)
    if np.abs(waveform).max() <= 1 and not (lossy and peak > 10 ** (CEILING_DB / 20) * ROUNDING):
        return FittedSound(waveform, decibels(peak), 0.0)
    limited, gain = limit(waveform)
    return FittedSound(limited.astype(np.float32), decibels(peak), -decibels(gain))


def fit_sounds(sounds: Mapping[str, np.ndarray], tell: Callable[[str], None]) -> dict[str, np.ndarray]:
    """Key -> the sound as a fixed-point file can hold it; each that had to be limited is reported."""
    fitted = {key: fit_full_scale(waveform) for key, waveform in sounds.items()}
    for key, sound in fitted.items():
        if sound.limited:
            tell(f"{key}: {sound.description}")
    return {key: sound.waveform for key, sound in fitted.items()}


def note_limited(path: Path, sound: FittedSound) -> None:
    """Leaves a note beside the sound at `path` where it was limited; a run that keeps the sound counts it, too."""
    note = path.with_suffix(LIMITED_SUFFIX)
    if sound.limited:
        facts = {"peak_db": round(sound.peak_db, 3), "reduction_db": round(sound.reduction_db, 3)}
        write_atomically(note, json.dumps(facts).encode())
    else:
        note.unlink(missing_ok=True)


def count_limited(paths: Iterable[Path]) -> dict[str, Any]:
    """The numbers of limited and of all sounds at `paths`, and the largest true peak before limiting; null where none was."""
    notes = [path.with_suffix(LIMITED_SUFFIX) for path in paths]
    peaks = [json.loads(note.read_text())["peak_db"] for note in notes if note.is_file()]
    return {"count": len(peaks), "of": len(notes), "largest_peak_db": max(peaks, default=None)}
