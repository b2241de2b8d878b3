"""The sounding things of the demo world: what happens to them, and the motion that follows from it.

Sight (pictures.py) and sound (sounds.py) are two readings of one list of events, so every thud, tick and
chirp is exactly at the moment that the picture shows, and as loud as the motion is large. What an event means depends
on the kind:

    ball    one flight from floor to floor      thud when it ends      level = speed of impact
    bell    one half-swing                      ring in its middle     level = widest angle
    drum    one stroke of the stick             hit when it ends       level = height of the lift
    car     one drive towards us and back       from start to end      level = how near it comes
    bird    one chirp, beak open                from start to end      level = how wide the beak opens
    rain    one shower                          from start to end      level = density of the drops
    siren   one wail, lamp lit                  from start to end      level = brightness
    clock   one half-swing of the pendulum      tick in its middle     level = widest angle
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from drawaudio_model.clip_format import SAMPLE_RATE, SOURCE_SECONDS
from pipelines.sources.demo.drawing import Point

Moments = TypeVar("Moments", float, np.ndarray)
KINDS = ("ball", "bell", "drum", "car", "bird", "rain", "siren", "clock")

FIRST_SECONDS = 0.3
"""Nothing sounds before this moment."""
LAST_SECONDS = SOURCE_SECONDS - 0.3
"""No event ends after this moment."""


@dataclass(frozen=True)
class Event:
    """One thing that happens to an object; the module's table says what it is for each kind."""

    start_seconds: float
    end_seconds: float
    level: float
    """In (0, 1]; the strongest event of an object has 1."""

    def progress(self, seconds: Moments) -> Moments:
        """How far the event has come: 0 at its start, 1 at its end."""
        return (seconds - self.start_seconds) / (self.end_seconds - self.start_seconds)


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene, sounding (it has events) or at rest (it has none)."""

    kind: str
    colour: str
    phrase: str
    """The noun phrase that names it, such as 'red ball'."""
    region: tuple[float, float, float, float]
    """x0, y0, x1, y1 in picture pixels: the space in which it moves."""
    events: tuple[Event, ...]
    pitch: float
    """Factor on every frequency of its sound."""
    peak: float
    """Largest absolute sample of its stem."""
    mirrored: bool
    noise_seed: int

    @property
    def active(self) -> bool:
        """Whether it sounds at all."""
        return bool(self.events)

    def at(self, u: float, v: float) -> Point:
        """The picture point at (u, v) of the region: (0, 0) is its top left, (1, 1) its bottom right."""
        x0, y0, x1, y1 = self.region
        u = 1 - u if self.mirrored else u
        return x0 + u * (x1 - x0), y0 + v * (y1 - y0)

    def event_at(self, seconds: float) -> Event | None:
        """The event under way at that moment, if any."""
        return next((event for event in self.events if event.start_seconds <= seconds < event.end_seconds), None)


# Events


def sample_events(kind: str, rng: np.random.Generator) -> tuple[Event, ...]:
    """The course of one sounding object in the clip: bursts of events with pauses between them, in time order."""
    spans: list[tuple[float, float]] = []
    fades: list[float] = []
    step = rng.uniform(*_STEP_SECONDS[kind])
    start = rng.uniform(FIRST_SECONDS, 1.5)
    while start < LAST_SECONDS - 1.2:
        if kind == "ball":
            burst = _flights(start, step, rng)
        else:
            burst = _steps(kind, start, min(start + rng.uniform(*_BURST_SECONDS[kind]), LAST_SECONDS), step, rng)
        fades += [fade for _, _, fade in burst]
        spans += [(first, last) for first, last, _ in burst]
        start = spans[-1][1] + rng.uniform(0.7, 2.0)
    levels = np.array(fades) if kind == "ball" else _dynamics(len(spans), rng)
    levels = levels / levels.max()
    return tuple(Event(float(a), float(b), float(level)) for (a, b), level in zip(spans, levels, strict=True))


_STEP_SECONDS = {
    "ball": (0.8, 1.05),
    "bell": (0.5, 0.8),
    "drum": (0.26, 0.5),
    "car": (3.0, 4.5),
    "bird": (0.2, 0.34),
    "rain": (1.8, 3.8),
    "siren": (0.55, 1.2),
    "clock": (0.3, 0.48),
}
_BURST_SECONDS = {
    "bell": (2.0, 4.5),
    "drum": (1.2, 3.5),
    "car": (2.6, 4.5),
    "bird": (0.8, 2.2),
    "rain": (1.8, 4.2),
    "siren": (1.4, 4.0),
    "clock": (1.8, 4.5),
}


def _flights(start: float, longest: float, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Start, end and speed of the flights of one toss: each contact keeps the same share of the speed."""
    restitution, speed = rng.uniform(0.7, 0.84), rng.uniform(0.75, 1.0)
    flights = []
    while speed > 0.22 and start + longest * speed < LAST_SECONDS:
        flights.append((start, start + longest * speed, speed))
        start, speed = start + longest * speed, speed * restitution
    return flights


def _steps(
    kind: str, start: float, end: float, step: float, rng: np.random.Generator
) -> list[tuple[float, float, float]]:
    """The events of one burst: one long event, or a row of them in the kind's rhythm."""
    if kind in ("car", "rain"):
        return [(start, end, 1.0)]
    events: list[tuple[float, float, float]] = []
    while True:
        length = step
        if kind == "drum":
            length *= rng.choice([1.0, 1.0, 2.0])
        if kind == "bird":
            length *= rng.uniform(0.8, 1.2)
        if events and start + length > end:
            return events
        events.append((start, start + length, 1.0))
        start += length + (0.08 if kind == "bird" else 0.0)


def _dynamics(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,) levels that make a curve worth drawing: swelling, dying away, an arch, or accents."""
    place = np.linspace(0, 1, count) if count > 1 else np.ones(1)
    shape = rng.choice(["swell", "fade", "arch", "accents"])
    if shape == "swell":
        levels = 0.3 + 0.7 * place
    elif shape == "fade":
        levels = 1.0 - 0.7 * place
    elif shape == "arch":
        levels = 0.35 + 0.65 * np.sin(np.pi * np.clip(place, 0.1, 0.9))
    else:
        levels = rng.uniform(0.3, 1.0, count)
    return np.clip(levels * rng.uniform(0.9, 1.1, count), 0.25, 1.0)


_DENSE_STEP_SECONDS = {
    "ball": (0.16, 0.3),
    "bell": (0.25, 0.5),
    "drum": (0.16, 0.34),
    "bird": (0.18, 0.32),
    "siren": (0.55, 1.2),
    "clock": (0.16, 0.3),
}
"""Quicker than in a scene, so that a curve is heard in between, and slow enough that strokes stay strokes."""


def dense_events(kind: str, rng: np.random.Generator) -> tuple[Event, ...]:
    """Events of one strength without a pause from the clip's start to its end: what a drawn curve may shape anywhere."""
    if kind == "rain":
        return (Event(0.0, float(SOURCE_SECONDS), 1.0),)
    if kind == "car":  # it passes slowly, so that it is near all the time
        return (Event(-2.0, SOURCE_SECONDS + 2.0, 1.0),)
    events: list[Event] = []
    start = 0.0
    while (end := start + float(rng.uniform(*_DENSE_STEP_SECONDS[kind]))) < SOURCE_SECONDS:
        events.append(Event(start, end, 1.0))
        start = end + (0.03 if kind == "bird" else 0.0)
    return tuple(events)


def onsets(thing: SceneObject) -> list[tuple[float, float]]:
    """(seconds, level) of every sound's start, on the sample grid, in time order."""
    moment = {"ball": 1.0, "drum": 1.0, "bell": 0.5, "clock": 0.5}.get(thing.kind, 0.0)
    times = [event.start_seconds + moment * (event.end_seconds - event.start_seconds) for event in thing.events]
    return [
        (round(time * SAMPLE_RATE) / SAMPLE_RATE, event.level) for time, event in zip(times, thing.events, strict=True)
    ]


# Motion: the quantities that both the picture and the sound read


def ball_height(thing: SceneObject, seconds: float) -> float:
    """Height of the ball's lowest point over the floor, as a share of the greatest height; a parabola per flight."""
    event = thing.event_at(seconds)
    if event is None:
        return 0.0
    progress = event.progress(seconds)
    return event.level**2 * 4 * progress * (1 - progress)


def swing(thing: SceneObject, seconds: float) -> float:
    """Signed deflection of bell or pendulum in [-1, 1]; its extremes are where the events' middles are."""
    event = thing.event_at(seconds)
    if event is None:
        return 0.0
    side = 1 if thing.events.index(event) % 2 else -1
    return side * event.level * float(np.sin(np.pi * event.progress(seconds)))


def stick_lift(thing: SceneObject, seconds: float) -> float:
    """Lift of the drumstick in [0, 1]: slowly up, quickly down, on the skin when the event ends."""
    event = thing.event_at(seconds)
    return 0.0 if event is None else event.level * float(np.sin(np.pi * event.progress(seconds) ** 1.8))


def nearness(thing: SceneObject, seconds: np.ndarray) -> np.ndarray:
    """How near the car is in [0, 1], at an array of moments."""
    near = np.zeros_like(seconds)
    for event in thing.events:
        inside = (seconds >= event.start_seconds) & (seconds < event.end_seconds)
        near += np.where(inside, event.level * np.sin(np.pi * event.progress(seconds)) ** 2, 0)
    return near


def strength(thing: SceneObject, seconds: np.ndarray, attack_seconds: float, release_seconds: float) -> np.ndarray:
    """Level of a lasting sound (chirp, shower, wail) at an array of moments, with straight flanks at both ends."""
    level = np.zeros_like(seconds)
    for event in thing.events:
        rise = (seconds - event.start_seconds) / attack_seconds
        fall = (event.end_seconds - seconds) / release_seconds
        level += event.level * np.clip(np.minimum(rise, fall), 0, 1)
    return level


def chirp_strength(thing: SceneObject, seconds: np.ndarray) -> np.ndarray:
    """How hard the bird sings: follows its beak."""
    return strength(thing, seconds, 0.03, 0.06)


def shower_strength(thing: SceneObject, seconds: np.ndarray) -> np.ndarray:
    """Density of the rain in [0, 1]."""
    return strength(thing, seconds, 0.35, 0.9)


def wail_strength(thing: SceneObject, seconds: np.ndarray) -> np.ndarray:
    """Brightness of the lamp and loudness of the siren in [0, 1]."""
    return strength(thing, seconds, 0.03, 0.25)
