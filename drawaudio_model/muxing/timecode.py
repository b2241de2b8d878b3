"""SMPTE timecode: what a frame is called, and how many seconds after midnight that is.

A label counts frames as if there were a whole number of them in a second. At 30000/1001 a second, the clock of labels
without a drop falls behind by 3.6 s an hour; with one (";" before the frames), the labels 00 and 01 are left out at the
beginning of each minute that is no multiple of ten, and it keeps time.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

_LABEL = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)")
_DROPPING = {Fraction(30000, 1001): 2, Fraction(60000, 1001): 4}
"""Rate -> labels that are left out a minute."""


@dataclass(frozen=True)
class Timecode:
    """A frame's label at a frame rate."""

    frame: int
    """Frames since midnight, counted, whatever they are called."""
    rate: Fraction
    """Frames a second."""
    drop: bool

    @property
    def seconds(self) -> Fraction:
        """Since midnight."""
        return self.frame / self.rate

    @property
    def label(self) -> str:
        """HH:MM:SS:FF, with a semicolon before the frames where labels are dropped; after midnight it begins anew."""
        whole, number = round(self.rate), self.frame
        if self.drop:
            left_out = _DROPPING[self.rate]
            minute, ten_minutes = 60 * whole - left_out, 600 * whole - 9 * left_out
            tens, rest = divmod(number, ten_minutes)
            # The first of ten minutes drops nothing, and so is longer than the others.
            number += left_out * (9 * tens + (0 if rest < 60 * whole else 1 + (rest - 60 * whole) // minute))
        seconds, frames = divmod(number, whole)
        hours, minutes = divmod(seconds // 60, 60)
        return f"{hours % 24:02d}:{minutes:02d}:{seconds % 60:02d}{';' if self.drop else ':'}{frames:02d}"

    def plus(self, frames: int) -> "Timecode":
        """So many frames later."""
        return Timecode(self.frame + frames, self.rate, self.drop)

    def samples(self, sample_rate: int) -> int:
        """Since midnight, at a rate in Hz: what a bext chunk calls the time reference."""
        return round(self.seconds * sample_rate)


def parse_timecode(text: str, rate: Fraction) -> Timecode:
    """The frame that a label names.

    Args:
        text: HH:MM:SS:FF, or HH:MM:SS;FF with dropped labels.
        rate: frames a second.

    Raises:
        ValueError: for another form, a label that there is not at this rate, or drops at a rate that has none.
    """
    match = _LABEL.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"timecode {text!r} is none, expected HH:MM:SS:FF, or HH:MM:SS;FF for drop frame")
    hours, minutes, seconds, frames = (int(match[group]) for group in (1, 2, 3, 5))
    whole, drop = round(rate), match[4] != ":"
    if hours > 23 or minutes > 59 or seconds > 59 or frames >= whole:
        raise ValueError(
            f"timecode {text!r} names no frame at {float(rate):.6g} frames a second, expected at most 23:59:59:{whole - 1:02d}"
        )
    count = ((hours * 60 + minutes) * 60 + seconds) * whole + frames
    if not drop:
        return Timecode(count, rate, drop)
    if rate not in _DROPPING:
        raise ValueError(
            f"timecode {text!r} drops frames, which is of 29.97 and 59.94 frames a second, and this is at {float(rate):.6g}; "
            "write a colon before the frames"
        )
    left_out, passed = _DROPPING[rate], hours * 60 + minutes
    if minutes % 10 and not seconds and frames < left_out:
        raise ValueError(f"timecode {text!r} is one of the labels that drop frame leaves out; name the frame after it")
    return Timecode(count - left_out * (passed - passed // 10), rate, drop)


def drops(rate: Fraction) -> bool:
    """Whether labels are dropped at this rate where nobody says otherwise: where that keeps them with the clock."""
    return rate in _DROPPING


def exact_rate(fps: float) -> Fraction:
    """A frame rate as the fraction that it is an approximation of: 29.97 is 30000/1001."""
    for whole in (24, 30, 48, 60, 120):
        pulled_down = Fraction(whole * 1000, 1001)
        if abs(fps - float(pulled_down)) < 5e-3:
            return pulled_down
    return Fraction(fps).limit_denominator(1001)
