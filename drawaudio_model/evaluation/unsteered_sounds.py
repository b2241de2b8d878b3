"""Sounds that no model made and that follow the curve: noise of the noun's spectrum, and bursts where the curve rises.

With white noise under the curve (`loudness.noise_of_curve`) they stand in every table: a figure that one of them reaches is no
proof that a model steers. Each has something right, so that only what is asked of one clip at the same time tells them from a
model that obeys: `obeys` and `is_on_time`.

Legend: P loudness points, K frequencies from 0 to 8 kHz.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drawaudio_model.clip_format import LOUDNESS_FPS, SAMPLE_RATE, WINDOW_LENGTH
from drawaudio_model.media import decode_flac
from drawaudio_model.mel import normalize_waveform
from drawaudio_model.shard import EXCLUDE_FILE, ShardReader, finished_shards, is_excluded, read_exclude_list
from drawaudio_model.training_sample import TrainingSample, decode_facts

RIGHT_CORRELATION, RIGHT_LEVEL_DB, RIGHT_ONSET_F1 = 0.75, 3.0, 0.5
"""Limits that a clip has to keep at the same time to be counted as right."""
SOUNDS_OF_NOUN = 20
"""At most so many training sounds make a noun's spectrum."""
_MOST_CLIPS = 20_000
"""So many training clips are searched for the sounds of rare nouns."""
_RISE = 0.1
"""The least rise of a curve from one point to the next that begins a burst, as a share of its largest level."""
_BURST_SECONDS = 0.05
_DECAY_SECONDS = 0.01


def obeys(correlation: float, level_error_db: float) -> bool:
    """Whether a sound follows its curve in shape and in level."""
    return bool(correlation >= RIGHT_CORRELATION and level_error_db <= RIGHT_LEVEL_DB)


def is_on_time(onset_f1: float) -> bool:
    """Whether a sound begins where the real one does; False where that is not defined."""
    return bool(onset_f1 >= RIGHT_ONSET_F1)


def curve_onsets(curve: np.ndarray) -> np.ndarray:
    """Seconds at which a curve (P,) says that something begins: where its rises are largest.

    The loudness signal is smoothed over three points, so it rises one point before the sound does.
    """
    levels = np.asarray(curve, np.float64)
    rises = np.diff(levels, prepend=0.0)
    before, after = np.append(-np.inf, rises[:-1]), np.append(rises[1:], -np.inf)
    found = np.flatnonzero((rises > before) & (rises >= after) & (rises > _RISE * levels.max(initial=0.0)))
    return np.minimum(found + 1.5, len(levels) - 0.5) / LOUDNESS_FPS


def bursts_of_curve(curve: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """(samples,) float32 short bursts of noise at a curve's onsets, as loud as the curve there, of the curve's level in all."""
    levels = np.asarray(curve, np.float64)
    starts = curve_onsets(levels)
    seconds = len(levels) / LOUDNESS_FPS
    sound = bursts_at(starts, levels[(starts * LOUDNESS_FPS).astype(int)], seconds, seed=seed)
    level = np.sqrt(np.square(sound).mean())
    return (sound * (np.sqrt(np.square(levels).mean()) / level if level else 0.0)).astype(np.float32)


def bursts_at(
    starts: Sequence[float] | np.ndarray, levels: Sequence[float] | np.ndarray, seconds: float, *, seed: int = 0
) -> np.ndarray:
    """(samples,) float32 short bursts of noise at some times, silence between them.

    Args:
        starts: seconds of each; what lies behind the end is left out.
        levels: RMS at the beginning of each.
        seconds: length of the sound.
        seed: of the noise.
    """
    sound = np.zeros(round(seconds * SAMPLE_RATE))
    rng = np.random.default_rng(seed)
    decay = np.exp(-np.arange(round(_BURST_SECONDS * SAMPLE_RATE)) / (_DECAY_SECONDS * SAMPLE_RATE))
    for second, level in zip(starts, levels, strict=True):
        start = round(second * SAMPLE_RATE)
        burst = (level * decay * rng.standard_normal(len(decay)))[: max(len(sound) - start, 0)]
        sound[start : start + len(burst)] += burst
    return sound.astype(np.float32)


def mean_spectrum(waveforms: Iterable[np.ndarray]) -> np.ndarray:
    """(K,) mean power spectrum of some waveforms (samples,), each counted as one, whatever its level.

    Raises:
        ValueError: when there is none, or all are silent.
    """
    window, total = np.hanning(WINDOW_LENGTH), np.zeros(WINDOW_LENGTH // 2 + 1)
    for waveform in waveforms:
        frames = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW_LENGTH)[:: WINDOW_LENGTH // 2]
        power = np.square(np.abs(np.fft.rfft(frames * window, axis=-1))).mean(axis=0)
        total += power / power.sum() if power.any() else 0.0
    if not total.any():
        raise ValueError("there is no sound to take a spectrum of")
    return total / total.sum()


def nouns_of(facts: Mapping[str, Any]) -> list[str]:
    """The things that a clip's caption names: the last word of each noun phrase, or its label where there is none."""
    nouns = [phrase.lower().split()[-1] for phrase in facts["noun_phrases"] if phrase.split()]
    return list(dict.fromkeys(nouns)) or [str(facts["label"]).lower()]


def noun_spectra(shards: Path, samples: Sequence[TrainingSample]) -> dict[str, np.ndarray]:
    """Key -> (K,) mean spectrum of the training sounds of a sample's nouns; of all nouns where no training clip has its own.

    Args:
        shards: training shards; only the train split is read.
        samples: whose nouns are looked for.

    Returns:
        {} where no training clip with sound has any of the nouns.
    """
    found: dict[str, list[np.ndarray]] = {noun: [] for sample in samples for noun in nouns_of(sample.facts)}
    for nouns, waveform in _training_sounds(shards, found):
        spectrum = mean_spectrum([waveform])
        for noun in nouns:
            found[noun].append(spectrum)
    spectra = {noun: np.mean(rows, axis=0) for noun, rows in found.items() if rows}
    if not spectra:
        return {}
    every = np.mean(list(spectra.values()), axis=0)
    own = {sample.key: [spectra[noun] for noun in nouns_of(sample.facts) if noun in spectra] for sample in samples}
    return {key: np.mean(rows, axis=0) if rows else every for key, rows in own.items()}


def _training_sounds(shards: Path, found: Mapping[str, list[np.ndarray]]) -> Iterable[tuple[list[str], np.ndarray]]:
    """(nouns, waveform) of training clips that have one of `found`'s nouns, until each noun has enough."""
    excluded, searched = read_exclude_list(shards / EXCLUDE_FILE), 0
    for shard in finished_shards(shards, split="train"):
        reader = ShardReader(shards, shard)
        for key in reader.keys:
            wanted = {noun for noun, rows in found.items() if len(rows) < SOUNDS_OF_NOUN}
            if not wanted or searched >= _MOST_CLIPS:
                break
            searched += 1
            nouns = [noun for noun in nouns_of(decode_facts(reader.member(key, "json"))) if noun in wanted]
            if not nouns or "flac" not in reader.members(key) or is_excluded(key, excluded):
                continue
            waveform = normalize_waveform(decode_flac(reader.member(key, "flac")))
            if waveform.any():
                yield nouns, waveform
        reader.close()
