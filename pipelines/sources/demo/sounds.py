"""The sounds of the demo world: one timbre per kind, synthesised from the events that the picture shows.

Every struck sound begins exactly on its onset's sample; every lasting sound is zero outside its events.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from drawaudio_model.clip_format import SAMPLE_RATE, SOURCE_SAMPLES
from drawaudio_model.levels.limiter import limit
from pipelines.sources.demo.objects import (
    SceneObject,
    chirp_strength,
    dense_events,
    nearness,
    onsets,
    shower_strength,
    wail_strength,
)


def render_stem(thing: SceneObject) -> np.ndarray:
    """The object's sound alone, float32 (SOURCE_SAMPLES,), its largest absolute sample `thing.peak`."""
    rng = np.random.default_rng(thing.noise_seed)
    sound = _SOUNDS[thing.kind](thing, rng)
    return (sound * (thing.peak / np.abs(sound).max())).astype(np.float32)


MATERIAL_LEVEL, MATERIAL_PEAK = 0.35, 2.5
"""RMS and peak of a material before it is limited, at most: as loud as any sound of the world, and ticks stay ticks."""


def render_material(thing: SceneObject) -> np.ndarray:
    """The object's sound without a pause and at one strength, float32 (SOURCE_SAMPLES,): for curves drawn by hand.

    Loud and dense, with its peaks limited below full scale: a curve that a person draws asks for more than one tick or thud
    can give.
    """
    rng = np.random.default_rng([thing.noise_seed, 1])
    sound = _SOUNDS[thing.kind](replace(thing, events=dense_events(thing.kind, rng)), rng)
    gain = min(MATERIAL_LEVEL / np.sqrt(np.mean(sound**2)), MATERIAL_PEAK / np.abs(sound).max())
    return limit(sound * gain)[0].astype(np.float32)


def _times(seconds: float) -> np.ndarray:
    return np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE


def _clip_times() -> np.ndarray:
    return np.arange(SOURCE_SAMPLES) / SAMPLE_RATE


def _noise(rng: np.random.Generator, samples: int, weight: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Noise of unit RMS whose spectrum is `weight(hertz)`."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    noise = np.fft.irfft(spectrum * weight(np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)), samples)
    return noise / np.sqrt(np.mean(noise**2))


def _strikes(thing: SceneObject, strike: Callable[[int], np.ndarray], exponent: float = 1.5) -> np.ndarray:
    """The stem with one struck sound per onset; `strike(i)` is the sound of onset i at level 1, faded at its end."""
    stem = np.zeros(SOURCE_SAMPLES)
    for index, (seconds, level) in enumerate(onsets(thing)):
        start = round(seconds * SAMPLE_RATE)
        sound = strike(index)
        sound = (sound * np.minimum(np.arange(len(sound), 0, -1) / (0.3 * len(sound)), 1))[: SOURCE_SAMPLES - start]
        stem[start : start + len(sound)] += level**exponent * sound
    return stem


def _ball_sound(thing: SceneObject, rng: np.random.Generator) -> np.ndarray:
    """A dull thud: a falling low tone and a breath of low noise."""
    t = _times(0.35)
    hertz = thing.pitch * (85 + 70 * np.exp(-t / 0.03))
    tone = np.sin(2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE) * np.exp(-t / 0.07)
    slap = _noise(rng, len(t), lambda f: 1 / (1 + (f / 300) ** 4)) * np.exp(-t / 0.02)
    return _strikes(thing, lambda _: tone + 0.35 * slap)


def _bell_sound(thing: SceneObject, rng: np.random.Generator) -> np.ndarray:
    """A church bell's partials (hum, prime, tierce, quint, nominal and above), the high ones dying first."""
    t = _times(2.2)
    ring = np.zeros_like(t)
    prime = 520 * thing.pitch
    for ratio, amplitude in ((0.5, 0.5), (1.0, 1.0), (1.19, 0.7), (1.56, 0.4), (2.0, 0.9), (2.74, 0.5), (3.76, 0.3)):
        ring += amplitude * np.sin(2 * np.pi * prime * ratio * t + rng.uniform(0, 6.28)) * np.exp(-t * ratio / 0.45)
    ring *= np.minimum(t / 0.001, 1)
    return _strikes(thing, lambda _: ring)


def _drum_sound(thing: SceneObject, rng: np.random.Generator) -> np.ndarray:
    """A snare: a burst of noise around 2 kHz over a short skin tone."""
    t = _times(0.4)
    skin = np.sin(2 * np.pi * 210 * thing.pitch * t) * np.exp(-t / 0.04)
    bursts = [
        _noise(rng, len(t), lambda f: np.exp(-((np.log2(np.maximum(f, 1) / (1900 * thing.pitch))) ** 2) / 2))
        for _ in thing.events
    ]
    return _strikes(thing, lambda index: 0.5 * skin + 0.5 * bursts[index] * np.exp(-t / 0.06))


def _car_sound(thing: SceneObject, rng: np.random.Generator) -> np.ndarray:
    """An engine's low harmonics and the tyres' rumble, louder when nearer, higher when coming than when going."""
    t = _clip_times()
    near = nearness(thing, t)
    approach = np.gradient(near, 1 / SAMPLE_RATE)  # in 1/s, about +-1
    hertz = 48 * thing.pitch * (1 + 0.5 * near) * (1 + 0.08 * np.clip(approach, -2, 2))
    phase = 2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE
    engine = sum(np.sin(k * phase + 0.7 * k * k) / k**0.8 for k in range(1, 9))
    tyres = _noise(rng, SOURCE_SAMPLES, lambda f: 1 / (1 + (f / 350) ** 3))
    running = _running(thing, t, 0.05)
    return running * (0.1 + 0.9 * near**1.5) * (engine + 0.6 * tyres)


def _running(thing: SceneObject, seconds: np.ndarray, flank_seconds: float) -> np.ndarray:
    """1 while an event is under way, else 0, with straight flanks inside the event."""
    gate = np.zeros_like(seconds)
    for event in thing.events:
        rise, fall = seconds - event.start_seconds, event.end_seconds - seconds
        gate += np.clip(np.minimum(rise, fall) / flank_seconds, 0, 1)
    return gate


def _bird_sound(thing: SceneObject, rng: np.random.Generator) -> np.ndarray:
    """A chirp per event: a whistled tone that sweeps and warbles between 3 and 6 kHz."""
    t = _clip_times()
    phase_hertz = np.zeros_like(t)
    falling, warble = rng.random() < 0.5, rng.uniform(18, 32)
    for event in thing.events:
        inside = (t >= event.start_seconds) & (t < event.end_seconds)
        progress = event.progress(t[inside])
        sweep = 1 - progress if falling else progress
        wave = 350 * np.sin(2 * np.pi * warble * (t[inside] - event.start_seconds))
        phase_hertz[inside] = (3200 + 1700 * sweep + wave) * thing.pitch
    phase = 2 * np.pi * np.cumsum(phase_hertz) / SAMPLE_RATE
    return chirp_strength(thing, t) ** 1.5 * (np.sin(phase) + 0.1 * np.sin(0.5 * phase))


def _rain_sound(thing: SceneObject, rng: np.random.Generator) -> np.ndarray:
    """A hiss that follows the density, and single drops on the roof that come more often when it is denser."""
    t = _clip_times()
    density = shower_strength(thing, t)
    hiss = _noise(rng, SOURCE_SAMPLES, lambda f: np.minimum(f / (900 * thing.pitch), 1.0))
    drops = np.zeros_like(t)
    for start in np.flatnonzero(rng.random(SOURCE_SAMPLES) < density * 60 / SAMPLE_RATE):
        drop = np.sin(2 * np.pi * rng.uniform(900, 2600) * _times(0.03)) * np.exp(-_times(0.03) / 0.006)
        drops[start : start + len(drop)] += rng.uniform(0.3, 1.2) * drop[: SOURCE_SAMPLES - start]
    return np.sqrt(density) * density * hiss + density * drops


def _siren_sound(thing: SceneObject, rng: np.random.Generator) -> np.ndarray:
    """A horn with odd harmonics that wails up and down once per event."""
    t = _clip_times()
    hertz = np.full_like(t, 620.0)
    for event in thing.events:
        inside = (t >= event.start_seconds) & (t < event.end_seconds)
        hertz[inside] += 700 * np.sin(np.pi * event.progress(t[inside]))
    phase = 2 * np.pi * np.cumsum(hertz * thing.pitch) / SAMPLE_RATE + rng.uniform(0, 6.28)
    return wail_strength(thing, t) ** 1.5 * (np.sin(phase) + 0.45 * np.sin(3 * phase) + 0.2 * np.sin(5 * phase))


def _clock_sound(thing: SceneObject, rng: np.random.Generator) -> np.ndarray:
    """Dry ticks, a few milliseconds of high wood and metal; tick and tock differ."""
    t = _times(0.08)
    click = _noise(rng, len(t), lambda f: (f > 2500) * 1.0) * np.exp(-t / 0.002)
    ticks = [
        np.sin(2 * np.pi * hertz * thing.pitch * t) * np.exp(-t / 0.014)
        + 0.6 * np.sin(2 * np.pi * 1.83 * hertz * thing.pitch * t) * np.exp(-t / 0.009)
        + 0.5 * click
        for hertz in (2900, 2300)
    ]
    return _strikes(thing, lambda index: ticks[index % 2])


_SOUNDS: dict[str, Callable[[SceneObject, np.random.Generator], np.ndarray]] = {
    "ball": _ball_sound,
    "bell": _bell_sound,
    "drum": _drum_sound,
    "car": _car_sound,
    "bird": _bird_sound,
    "rain": _rain_sound,
    "siren": _siren_sound,
    "clock": _clock_sound,
}
