"""The looks of the demo world: for each kind the thing itself, and the prop that it stands or hangs on.

A drawing reads the same motion as the sound. Props belong to the background and to no box. Every thing is drawn inside
its region; shapes are given in the region's unit coordinates through `thing.at(u, v)`.
"""

from collections.abc import Callable

import numpy as np

from pipelines.sources.demo.drawing import COLOURS, OUTLINE, Canvas, Colour, Point, shade
from pipelines.sources.demo.objects import (
    SceneObject,
    ball_height,
    chirp_strength,
    nearness,
    shower_strength,
    stick_lift,
    swing,
    wail_strength,
)

ASPECT = {
    "ball": 0.55,
    "bell": 1.25,
    "drum": 1.1,
    "car": 1.0,
    "bird": 1.1,
    "rain": 0.75,
    "siren": 0.85,
    "clock": 0.5,
}
"""Width over height of each kind's region."""

WOOD: Colour = (142, 96, 58)
RIM = 1.2
"""Width in picture pixels of the dark line around things."""


def draw_object(canvas: Canvas, thing: SceneObject, seconds: float) -> None:
    """Draw the thing as it is at that moment of the clip."""
    _DRAWINGS[thing.kind](canvas, thing, seconds)


def draw_prop(canvas: Canvas, thing: SceneObject) -> None:
    """Draw what holds the thing: floor, shelf, beam, road, branch or nothing."""
    x0, y0, x1, y1 = thing.region
    if thing.kind in ("ball", "drum", "siren"):
        canvas.rectangle(x0 - 3, y1, x1 + 3, y1 + 5, shade(WOOD, 0.8))
    elif thing.kind == "bell":
        canvas.rectangle(x0 + 0.15 * (x1 - x0), y0 - 4, x1 - 0.15 * (x1 - x0), y0 + 2, shade(WOOD, 0.7))
    elif thing.kind == "bird":
        canvas.line([(x0 - 3, y1 + 2), (x1 + 3, y1 + 1)], shade(WOOD, 0.65), 4)
    elif thing.kind == "car":
        road = [thing.at(0.0, 1.0), thing.at(1.0, 1.0), thing.at(0.36, 0.42), thing.at(0.16, 0.42)]
        canvas.polygon(road, (104, 104, 108))


def _size(thing: SceneObject) -> tuple[float, float]:
    x0, y0, x1, y1 = thing.region
    return x1 - x0, y1 - y0


def _ball(canvas: Canvas, thing: SceneObject, seconds: float) -> None:
    width, height = _size(thing)
    radius = max(15.5, 0.3 * width)
    x, floor = thing.at(0.5, 1.0)
    y = floor - radius - (height - 2 * radius) * ball_height(thing, seconds)
    colour = COLOURS[thing.colour]
    canvas.ellipse((x, y), radius, radius, colour, outline=RIM)
    event = thing.event_at(seconds)
    turn = 0.6 if event is None else 0.6 + 3.0 * event.progress(seconds)
    dx, dy = 0.78 * radius * np.cos(turn), 0.78 * radius * np.sin(turn)
    canvas.line([(x - dx, y - dy), (x + dx, y + dy)], shade(colour, 0.62), 0.22 * radius)
    canvas.ellipse((x - 0.35 * radius, y - 0.4 * radius), 0.2 * radius, 0.16 * radius, shade(colour, 1.7))


_BELL_PROFILE = ((0.10, 0.05), (0.13, 0.13), (0.22, 0.19), (0.5, 0.23), (0.74, 0.28), (0.88, 0.36), (0.96, 0.42))
"""(distance from the pivot, half-width) of the bell's outline, in bell lengths."""


def _bell(canvas: Canvas, thing: SceneObject, seconds: float) -> None:
    _, height = _size(thing)
    length, colour = 0.8 * height, COLOURS[thing.colour]
    pivot = thing.at(0.5, 0.02)
    angle = 0.45 * swing(thing, seconds)

    def place(along: float, across: float, angle: float = angle) -> Point:
        return (
            pivot[0] + length * (along * np.sin(angle) + across * np.cos(angle)),
            pivot[1] + length * (along * np.cos(angle) - across * np.sin(angle)),
        )

    clapper = place(1.0, 0.0, 1.25 * angle)
    canvas.line([pivot, clapper], OUTLINE, 2)
    canvas.ellipse(clapper, 0.065 * length, 0.065 * length, shade(colour, 0.45), outline=RIM)
    canvas.line([pivot, place(0.12, 0.0)], OUTLINE, 4)
    right = [place(along, across) for along, across in _BELL_PROFILE]
    left = [place(along, -across) for along, across in reversed(_BELL_PROFILE)]
    canvas.polygon(right + left, colour, outline=RIM)
    canvas.line([place(0.76, -0.27), place(0.76, 0.27)], shade(colour, 0.6), 2)
    canvas.line([place(0.3, -0.1), place(0.7, -0.16)], shade(colour, 1.6), 3)


def _drum(canvas: Canvas, thing: SceneObject, seconds: float) -> None:
    width, height = _size(thing)
    colour = COLOURS[thing.colour]
    x, top = thing.at(0.42, 0.56)
    bottom = thing.at(0.0, 1.0)[1]
    radius, flat = 0.37 * width, 0.1 * height
    base = bottom - flat
    canvas.ellipse((x, base), radius, flat, shade(colour, 0.7), outline=RIM)
    canvas.rectangle(x - radius, top, x + radius, base, colour, outline=RIM)
    canvas.ellipse((x, base - 1), radius - RIM, flat - RIM, colour)
    for k in range(-2, 3):
        canvas.line([(x + 0.4 * k * radius, top + flat), (x + 0.4 * k * radius + 4, base)], shade(colour, 1.6), 1.5)
    canvas.ellipse((x, top), radius, flat, (238, 232, 216), outline=2 * RIM)
    hand = thing.at(0.97, 0.4)
    side = -1.0 if thing.mirrored else 1.0
    length, angle = 0.56 * width, 0.82 * stick_lift(thing, seconds)
    rest = np.arctan2(top - hand[1] - 2, side * (hand[0] - x) * 0.9)
    tip = (hand[0] - side * length * np.cos(rest - angle), hand[1] + length * np.sin(rest - angle))
    canvas.line([hand, tip], OUTLINE, 5.5)
    canvas.line([hand, tip], (206, 160, 100), 3.5)
    canvas.ellipse(tip, 4, 4, (206, 160, 100), outline=RIM)


def _car(canvas: Canvas, thing: SceneObject, seconds: float) -> None:
    """Seen from the front while it comes (white lamps), from behind while it goes (red lamps)."""
    width, _ = _size(thing)
    event, colour = thing.event_at(seconds), COLOURS[thing.colour]
    near = float(nearness(thing, np.array([seconds]))[0])
    side = width * (0.4 + 0.54 * near)
    far_x, far_y = thing.at(0.26, 0.46)
    near_x, near_y = thing.at(0.5, 0.99)
    x, ground = far_x + (near_x - far_x) * near, far_y + (near_y - far_y) * near

    def box(u0: float, v0: float, u1: float, v1: float, fill: Colour, outline: float = 0.0) -> None:
        canvas.rectangle(x + u0 * side, ground - v0 * side, x + u1 * side, ground - v1 * side, fill, outline)

    def trapezoid(v0: float, v1: float, wide: float, narrow: float, fill: Colour, outline: float = 0.0) -> None:
        corners = [(x - wide * side, ground - v0 * side), (x + wide * side, ground - v0 * side)]
        corners += [(x + narrow * side, ground - v1 * side), (x - narrow * side, ground - v1 * side)]
        canvas.polygon(corners, fill, outline)

    for left in (-0.42, 0.24):
        box(left, 0.2, left + 0.18, 0.0, OUTLINE)
    trapezoid(0.48, 0.82, 0.4, 0.28, colour, RIM)
    trapezoid(0.5, 0.77, 0.34, 0.25, (168, 208, 226))
    box(-0.49, 0.5, 0.49, 0.12, colour, RIM)
    box(-0.2, 0.28, 0.2, 0.18, shade(colour, 0.5))
    coming = event is None or event.progress(seconds) < 0.5
    lamp: Colour = (92, 92, 92) if event is None else (255, 250, 190) if coming else (255, 24, 24)
    for u in (-0.35, 0.35):
        canvas.ellipse((x + u * side, ground - 0.38 * side), 0.095 * side, 0.08 * side, lamp, outline=RIM)


def _bird(canvas: Canvas, thing: SceneObject, seconds: float) -> None:
    width, height = _size(thing)
    colour, side = COLOURS[thing.colour], -1.0 if thing.mirrored else 1.0
    open_beak = min(1.0, float(chirp_strength(thing, np.array([seconds]))[0]) * 1.6)
    for u in (0.42, 0.52):
        canvas.line([thing.at(u, 0.8), thing.at(u, 1.0)], OUTLINE, 2.5)
    tail = [thing.at(0.24, 0.5), thing.at(0.03, 0.72), thing.at(0.08, 0.86), thing.at(0.32, 0.72)]
    canvas.polygon(tail, shade(colour, 0.7), outline=RIM)
    head = thing.at(0.66, 0.3)
    mouth, tip_length = (head[0] + side * 0.15 * width, head[1]), 0.2 * width
    for direction in (-1, 1):
        angle = direction * (0.1 + 0.55 * open_beak)
        tip = (mouth[0] + side * tip_length * np.cos(angle), mouth[1] + tip_length * np.sin(angle))
        root = (mouth[0] - side * 0.06 * width, mouth[1] + direction * 0.1 * height)
        canvas.polygon([mouth, tip, root], (246, 166, 32), outline=RIM)
    canvas.ellipse(thing.at(0.45, 0.62), 0.29 * width, 0.25 * height, colour, outline=RIM)
    canvas.ellipse(head, 0.17 * width, 0.2 * height, colour, outline=RIM)
    canvas.ellipse(thing.at(0.5, 0.6), 0.2 * width, 0.19 * height, colour)
    raised = 0.24 * open_beak
    wing = [thing.at(0.56, 0.56), thing.at(0.2, 0.62 - 1.6 * raised), thing.at(0.3, 0.76 - raised)]
    canvas.polygon(wing, shade(colour, 0.62), outline=RIM)
    canvas.ellipse(
        (head[0] + side * 0.05 * width, head[1] - 0.05 * height), 0.05 * width, 0.05 * width, (255, 255, 255)
    )
    canvas.ellipse((head[0] + side * 0.06 * width, head[1] - 0.05 * height), 0.028 * width, 0.028 * width, (16, 16, 16))


STREAKS = 70
"""Drops in the air at full density."""


def _rain(canvas: Canvas, thing: SceneObject, seconds: float) -> None:
    """A cloud, the drops under it (their number is the density) and the tin roof that they fall on."""
    width, height = _size(thing)
    rng = np.random.default_rng(thing.noise_seed)
    u, phase, speed = rng.uniform(0.08, 0.92, STREAKS), rng.random(STREAKS), rng.uniform(1.6, 2.2, STREAKS)
    falling = round(STREAKS * float(shower_strength(thing, np.array([seconds]))[0]) ** 1.2)
    x0, y0, x1, y1 = thing.region
    canvas.polygon(
        [(x0, y1), (x1, y1), (x1 - 0.1 * width, y1 - 0.1 * height), (x0 + 0.1 * width, y1 - 0.1 * height)],
        (150, 156, 164),
        outline=RIM,
    )
    for k in range(1, 8):
        across = k / 8
        canvas.line([(x0 + across * width, y1), (x0 + (0.1 + 0.8 * across) * width, y1 - 0.1 * height)], OUTLINE, 1)
    for k in range(falling):
        x = x0 + u[k] * width
        y = y0 + height * (0.28 + 0.6 * ((phase[k] + speed[k] * seconds) % 1.0))
        canvas.line([(x, y), (x - 1.5, y + 0.09 * height)], (72, 124, 222), 1.7)
        if k % 3 == 0:
            canvas.line(
                [(x - 2.5, y1 - 0.13 * height), (x, y1 - 0.09 * height), (x + 2.5, y1 - 0.13 * height)],
                (225, 238, 255),
                1.2,
            )
    colour = COLOURS[thing.colour]
    puffs = ((0.2, 0.22, 0.19, 0.1), (0.8, 0.22, 0.19, 0.1), (0.38, 0.14, 0.2, 0.13), (0.62, 0.15, 0.21, 0.12))
    for grown, fill in ((RIM, OUTLINE), (0.0, colour)):
        for pu, pv, rx, ry in puffs:
            canvas.ellipse(thing.at(pu, pv), rx * width + grown, ry * height + grown, fill)
        canvas.ellipse(thing.at(0.5, 0.24), 0.4 * width + grown, 0.08 * height + grown, fill)
    canvas.ellipse(thing.at(0.38, 0.1), 0.1 * width, 0.04 * height, shade(colour, 1.4))


def _siren(canvas: Canvas, thing: SceneObject, seconds: float) -> None:
    """A beacon: dark at rest; lit, with a turning light and rays, as bright as the wail is loud."""
    width, height = _size(thing)
    level = float(wail_strength(thing, np.array([seconds]))[0])
    colour = COLOURS[thing.colour]
    x, y = thing.at(0.5, 0.62)
    if level > 0.05:
        for k in range(7):
            angle = np.pi * (0.06 + 0.88 * k / 6)
            inner, outer = 0.36 * width, (0.36 + 0.06 + 0.1 * level) * width
            ray = [(x + r * np.cos(angle), y - r * np.sin(angle)) for r in (inner, outer)]
            canvas.line(ray, shade(colour, 1.25), 3.5)
    dome = shade(colour, 0.55 + 0.75 * level if level else 0.5)
    canvas.ellipse((x, y), 0.3 * width, 0.4 * height, dome, outline=RIM)
    canvas.rectangle(x - 0.3 * width, y, x + 0.3 * width, y + 0.2 * height, dome, outline=RIM)
    canvas.rectangle(x - 0.3 * width + RIM, y - 2, x + 0.3 * width - RIM, y + 0.1 * height, dome)
    if level > 0.05:
        turned = np.sin(2 * np.pi * 1.5 * seconds)
        canvas.ellipse((x + 0.17 * width * turned, y - 0.05 * height), 0.1 * width, 0.2 * height, shade(colour, 1.9))
    else:
        canvas.ellipse((x - 0.13 * width, y - 0.18 * height), 0.04 * width, 0.08 * height, shade(colour, 1.3))
    x0, y0 = thing.at(0.5, 0.8)
    canvas.rectangle(x0 - 0.4 * width, y0, x0 + 0.4 * width, thing.at(0, 1)[1], (72, 74, 82), outline=RIM)


def _clock(canvas: Canvas, thing: SceneObject, seconds: float) -> None:
    width, height = _size(thing)
    x0, y0, x1, y1 = thing.region
    colour = COLOURS[thing.colour]
    x = (x0 + x1) / 2
    gable = [(x0, y0 + 0.1 * height), (x, y0), (x1, y0 + 0.1 * height), (x1, y1), (x0, y1)]
    canvas.polygon(gable, colour, outline=1.6)
    face, radius = (x, y0 + 0.29 * height), 0.39 * width
    canvas.ellipse(face, radius, radius, (246, 242, 230), outline=1.6)
    for hour in range(12):
        angle = hour * np.pi / 6
        mark = [(face[0] + r * radius * np.sin(angle), face[1] - r * radius * np.cos(angle)) for r in (0.72, 0.86)]
        canvas.line(mark, OUTLINE, 1.2)
    for angle, reach, thick in ((2.1, 0.45, 2.2), (0.3 + 0.01 * seconds, 0.66, 1.5)):
        hand = (face[0] + reach * radius * np.sin(angle), face[1] - reach * radius * np.cos(angle))
        canvas.line([face, hand], OUTLINE, thick)
    canvas.rectangle(x0 + 0.1 * width, y0 + 0.52 * height, x1 - 0.1 * width, y1 - 0.05 * height, (44, 36, 34))
    pivot, length = (x, y0 + 0.53 * height), 0.35 * height
    angle = 0.38 * swing(thing, seconds)
    bob = (pivot[0] + length * np.sin(angle), pivot[1] + length * np.cos(angle))
    canvas.line([pivot, bob], (232, 200, 96), 2)
    canvas.ellipse(bob, 0.12 * width, 0.12 * width, (244, 206, 84))


_DRAWINGS: dict[str, Callable[[Canvas, SceneObject, float], None]] = {
    "ball": _ball,
    "bell": _bell,
    "drum": _drum,
    "car": _car,
    "bird": _bird,
    "rain": _rain,
    "siren": _siren,
    "clock": _clock,
}
