"""Loudness curves as a person draws them: seeded, for training, tests and the control benchmark.

A measured curve has the small ripple of a real sound; a drawn one has a few straight lines, a plateau, a spike, or the
tremor of a hand. `draw_curve` invents one, `redraw_curve` draws a measured one again by hand. Both give points as
`loudness.from_points` takes them.

Legend: P loudness points, ten a second.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d

from drawaudio_model.clip_format import LOUDNESS_FPS
from drawaudio_model.loudness import from_points, point_times

QUIETEST = 0.03
"""Smallest peak of a drawn curve. Our choice: softer sounds are set by a track's gain, not by its curve."""
JUMP_SECONDS = 0.02
"""Seconds between the two points of a jump."""

Points = list[tuple[float, float]]
Shape = Callable[[np.random.Generator, float], Points]


def draw_curve(rng: np.random.Generator, seconds: float, *, loudest: float, shape: str | None = None) -> Points:
    """(time in seconds, level) points of one curve drawn by hand, from 0 to `seconds`.

    Its peak is drawn between QUIETEST and `loudest`, equally likely in decibels.

    Args:
        rng: decides everything.
        seconds: length of the clip.
        loudest: largest peak, linear RMS in (0, 1].
        shape: one of SHAPES; None: any.

    Raises:
        ValueError: for another shape, or a loudest level outside QUIETEST to 1.
    """
    if not QUIETEST <= loudest <= 1:
        raise ValueError(f"loudest is {loudest}, expected a level from {QUIETEST} to 1")
    name = str(rng.choice(list(SHAPES))) if shape is None else shape
    if name not in SHAPES:
        raise ValueError(f"shape is {name!r}, expected one of {', '.join(SHAPES)}")
    points = SHAPES[name](rng, seconds)
    peak = float(np.exp(rng.uniform(np.log(QUIETEST), np.log(loudest))))
    top = max(level for _, level in points)
    return [(time, min(max(level, 0.0) / top * peak, 1.0)) for time, level in points]


def redraw_curve(rng: np.random.Generator, signal: np.ndarray) -> Points:
    """Points of a measured loudness signal (P,) as somebody would draw it over the original.

    One of: simplified to few points (Ramer, Douglas and Peucker's rule, within 3 to 12 % of the peak), with the tremor of a
    hand, in steps of a few levels, or as it is. Peaks may be overshot by up to a tenth.
    """
    levels = np.asarray(signal, np.float64)
    times = point_times(len(levels) / LOUDNESS_FPS)
    peak = float(levels.max())
    way = rng.choice(["simplified", "tremor", "steps", "as measured"], p=[0.4, 0.3, 0.15, 0.15])
    if peak <= 0 or way == "as measured":
        return _points(times, levels)
    levels = levels * (1 + rng.uniform(-0.05, 0.1) * (levels > 0.8 * peak))
    if way == "simplified":
        kept = simplify(times, levels, float(rng.uniform(0.03, 0.12)) * peak)
        return _points(times[kept], levels[kept])
    if way == "tremor":
        hand = gaussian_filter1d(rng.normal(0, 1, len(levels)), rng.uniform(0.7, 2.0))
        return _points(times, levels * (1 + 0.08 * hand / max(hand.std(), 1e-9)))
    step = peak / rng.integers(5, 12)
    return _points(times, np.round(levels / step) * step)


def simplify(times: np.ndarray, levels: np.ndarray, tolerance: float) -> np.ndarray:
    """Indices of the points to keep so that straight lines between them stay within `tolerance` of all levels.

    Ramer (1972), Douglas and Peucker (1973), with the vertical distance.
    """
    kept, open_spans = {0, len(times) - 1}, [(0, len(times) - 1)]
    while open_spans:
        first, last = open_spans.pop()
        if last - first < 2:
            continue
        inside = slice(first + 1, last)
        line = np.interp(times[inside], times[[first, last]], levels[[first, last]])
        distance = np.abs(levels[inside] - line)
        if distance.max() > tolerance:
            middle = first + 1 + int(distance.argmax())
            kept.add(middle)
            open_spans += [(first, middle), (middle, last)]
    return np.array(sorted(kept))


def _points(times: Sequence[float] | np.ndarray, levels: np.ndarray) -> Points:
    return [(float(time), float(level)) for time, level in zip(times, np.clip(levels, 0, 1), strict=True)]


def _lines(rng: np.random.Generator, seconds: float) -> Points:
    """Some points at free times and levels, a third of them at zero."""
    count = int(rng.integers(4, 10))
    times = np.sort(rng.uniform(0, seconds, count))
    levels = rng.uniform(0.1, 1, count) * (rng.random(count) > 0.33)
    levels[int(rng.integers(count))] = 1.0
    return _rising([(0.0, float(levels[0])), *zip(times.tolist(), levels.tolist(), strict=True)])


def _triangles(rng: np.random.Generator, seconds: float) -> Points:
    """One to four triangles with rests between them."""

    def triangle(length: float) -> Points:
        return [(0, 0), (float(rng.uniform(0.2, 0.8)) * length, float(rng.uniform(0.4, 1))), (length, 0)]

    return _apart(rng, seconds, int(rng.integers(1, 5)), triangle)


def _ramp(rng: np.random.Generator, seconds: float) -> Points:
    """A swell or a fade over most of the clip, sometimes with an abrupt end."""
    start, end = rng.uniform(0, 0.2) * seconds, rng.uniform(0.7, 1.0) * seconds
    low, high = rng.uniform(0, 0.3), 1.0
    first, last = (low, high) if rng.random() < 0.5 else (high, low)
    points = [(0.0, 0.0), (start, 0.0), (start + JUMP_SECONDS, first), (end, last)]
    return _rising([*points, (end + JUMP_SECONDS, 0.0), (seconds, 0.0)])


def _plateaus(rng: np.random.Generator, seconds: float) -> Points:
    """One to three level stretches with short flanks."""

    def plateau(length: float) -> Points:
        flank, level = float(rng.uniform(JUMP_SECONDS, 0.3)), float(rng.uniform(0.3, 1))
        flank = min(flank, length / 3)
        return [(0, 0), (flank, level), (length - flank, level * rng.uniform(0.85, 1)), (length, 0)]

    return _apart(rng, seconds, int(rng.integers(1, 4)), plateau)


def _pulses(rng: np.random.Generator, seconds: float) -> Points:
    """Three to nine short spikes, each with a quick rise and a slower fall."""

    def pulse(length: float) -> Points:
        length = min(length, float(rng.uniform(0.25, 0.7)))
        return [(0, 0), (float(rng.uniform(0.1, 0.35)) * length, float(rng.uniform(0.4, 1))), (length, 0)]

    return _apart(rng, seconds, int(rng.integers(3, 10)), pulse)


def _freehand(rng: np.random.Generator, seconds: float) -> Points:
    """A slow wander with a hand's tremor, zero in places, sampled thirty times a second as a mouse does."""
    times = np.arange(0, seconds, 1 / 30)
    wander = gaussian_filter1d(rng.normal(0, 1, len(times)), rng.uniform(12, 30), mode="reflect")
    wander = wander / max(np.abs(wander).max(), 1e-9) + rng.uniform(-0.2, 0.5)
    tremor = gaussian_filter1d(rng.normal(0, 1, len(times)), 2)
    levels = np.maximum(wander, 0) * (1 + 0.05 * tremor / max(tremor.std(), 1e-9))
    if not levels.max() > 0:
        levels[len(levels) // 3 : 2 * len(levels) // 3] = 1.0
    return _points(times, levels / levels.max())


def _steps(rng: np.random.Generator, seconds: float) -> Points:
    """Levels that jump, as on a staircase; some of them zero."""
    count = int(rng.integers(3, 8))
    edges = np.concatenate([[0.0], np.sort(rng.uniform(0.05, 0.95, count - 1)) * seconds, [seconds]])
    levels = rng.uniform(0.15, 1, count) * (rng.random(count) > 0.3)
    levels[int(rng.integers(count))] = 1.0
    points: Points = []
    for start, end, level in zip(edges[:-1], edges[1:], levels, strict=True):
        points += [(float(start) + JUMP_SECONDS / 2, float(level)), (float(end) - JUMP_SECONDS / 2, float(level))]
    return _rising(points)


SHAPES: dict[str, Shape] = {
    "lines": _lines,
    "triangles": _triangles,
    "ramp": _ramp,
    "plateaus": _plateaus,
    "pulses": _pulses,
    "freehand": _freehand,
    "steps": _steps,
}
"""The shapes that people draw, by name."""


def _apart(rng: np.random.Generator, seconds: float, count: int, part: Callable[[float], Points]) -> Points:
    """`count` parts, each in a cell of its own with a rest before and after; `part(length)` starts at 0 and at level 0."""
    cell = seconds / count
    points: Points = [(0.0, 0.0)]
    for number in range(count):
        rest = float(rng.uniform(0.05, 0.35)) * cell
        length = float(rng.uniform(0.45, 0.95)) * (cell - rest)
        points += [(number * cell + rest + time, float(level)) for time, level in part(length)]
    return _rising([*points, (seconds, 0.0)])


def _rising(points: Points) -> Points:
    """The points whose times rise; one that does not is left out."""
    kept: Points = []
    for time, level in points:
        if not kept or time > kept[-1][0] + 1e-6:
            kept.append((float(time), float(level)))
    return kept


def draw_signal(rng: np.random.Generator, seconds: float, *, loudest: float, shape: str | None = None) -> np.ndarray:
    """(P,) float32 loudness signal of `draw_curve`; see there."""
    return from_points(draw_curve(rng, seconds, loudest=loudest, shape=shape), seconds)
