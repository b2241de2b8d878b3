"""The JSON of a project: its document, and the facts of a take. `project.check_document` holds a document to these forms.

Places are fractions of the picture, x to the right and y down; times are seconds, levels decibels, and frames of a mask
are the model's, 4 a second.
"""

from typing import Literal, NotRequired, TypedDict

Point = list[float]
"""(x, y) of a shape, or (time, level) of a curve."""


class Shape(TypedDict):
    """One thing that is drawn on a picture."""

    kind: Literal["box", "lasso", "brush"]
    cut: bool
    """Whether it takes away what the shapes before it cover."""
    points: list[Point]
    """Two corners of a box; of a lasso its outline; of a brush its way."""
    size: float
    """A brush's width, as a fraction of the picture's height."""


class Keyframe(TypedDict):
    """The shapes from one frame on."""

    frame: int
    shapes: list[Shape]
    linear: NotRequired[bool]
    """Whether they move in straight lines to those of the next one; else they hold."""


class Mask(TypedDict):
    """Where a track's sound comes from."""

    invert: bool
    keyframes: list[Keyframe]


class Video(TypedDict):
    """The project's video, as it was when the project was begun."""

    path: str
    """From the project's folder."""
    absolute: str
    bytes: int
    sha256: str


class Original(TypedDict):
    """How the video's own sound is heard."""

    gain_db: float
    mute: bool


class Marker(TypedDict):
    """A named frame of the video."""

    frame: int
    name: str


class DeliveryForm(TypedDict):
    """The form of an export."""

    sample_rate: int
    bits: int
    timecode: str | None
    """Of the first frame; None: midnight."""


class Instructions(TypedDict):
    """The fields of a track that a take is made of, beside its seed."""

    text: str
    negative_text: str
    mask: Mask | None
    curve: list[Point] | None
    strictness: float | None
    """Guidance by the curve; None: the model's own."""


class Track(Instructions):
    """One sound of the project."""

    id: str
    seed: int | None
    count: int
    """Takes that are made at once."""
    gain_db: float
    pan: float
    """-1 left to 1 right."""
    mute: bool
    solo: bool
    take: str | None
    """Id of the one that is heard."""
    starred: list[str]
    notes: dict[str, str]
    """By the id of a take."""


class Document(TypedDict):
    """All that a person draws, types and chooses in a project."""

    format: str
    revision: int
    video: Video
    steps: int
    original: Original
    markers: list[Marker]
    section: list[float] | None
    """Start and end in seconds."""
    delivery: DeliveryForm
    tracks: list[Track]


class Section(TypedDict):
    """The part of a take that was made anew."""

    of: str
    """Id of the take that it was made from."""
    seconds: list[float]


class Take(TypedDict):
    """The facts of a take, which lie beside its sound."""

    id: str
    track: str
    made: str
    """ISO 8601, in UTC."""
    place: int
    """Among those that were made with it, from 0, the best first."""
    seed: int
    steps: int
    seconds: float
    curve_score: float | None
    clap_score: float | None
    notices: list[str]
    model: str
    model_sha256: NotRequired[str]
    mask_folder: str | None
    instructions: Instructions
    section: NotRequired[Section | None]
