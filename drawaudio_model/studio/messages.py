"""Messages between server, worker and page, as JSON: orders, the jobs that they become, the views of the video.

The page's requests are checked in server.py and service.py, where they become orders; `document` has a project's own forms.
"""

from typing import Any, Literal, NotRequired, TypedDict

from drawaudio_model.studio.document import Keyframe, Point, Track


class LoadOrder(TypedDict):
    """Have the model ready."""

    do: Literal["load"]
    job: NotRequired[str]
    """Id; the queue gives it."""


class TrackOrder(TypedDict):
    """Fields that all orders for a track of the project have."""

    job: NotRequired[str]
    track: Track
    project: str
    """Its folder."""
    video: str
    steps: int
    seconds: float
    """Of the video."""
    model_size: list[int]
    """(width, height) of a frame as the model sees it."""
    model_frames: int
    rate: int
    """Samples a second of a take."""


class GenerateOrder(TrackOrder):
    """Make takes."""

    do: Literal["generate"]


class RegenerateOrder(TrackOrder):
    """Make a section of a take anew."""

    do: Literal["regenerate"]
    section: list[float]
    """Start and end in seconds."""
    take: str


class DetectOrder(TrackOrder):
    """Find a thing in the picture."""

    do: Literal["detect"]
    words: str


class FollowOrder(TrackOrder):
    """Move a mask with what is under it."""

    do: Literal["follow"]
    frame: int
    """Of the model, where it begins."""
    until: float
    """Seconds."""


class CurveOrder(TypedDict):
    """Measure the loudness of a sound; its file is removed afterwards."""

    do: Literal["curve"]
    job: NotRequired[str]
    track: Track
    sound: str
    """Its file."""
    name: str
    """As the person knows it."""
    start: float
    """Where the sound begins in the video, seconds."""
    kept_from: float
    """Points before it are left out, seconds."""
    length: float
    """Seconds from `start` to the end of the video."""


class SoundOrder(TypedDict):
    """Make one sound for `drawaudio serve`."""

    do: Literal["sound"]
    job: NotRequired[str]
    options: dict[str, Any]
    """Those of `drawaudio generate`, or of `regenerate`, by the names of its parser."""
    folder: str


class CancelOrder(TypedDict):
    """End a job at its next step."""

    do: Literal["cancel"]
    job: str


Order = LoadOrder | GenerateOrder | RegenerateOrder | DetectOrder | FollowOrder | CurveOrder | SoundOrder


class Sound(TypedDict):
    """The facts of a sound of `drawaudio serve`."""

    id: str
    seed: int
    steps: int
    seconds: float
    sample_rate: int
    curve_score: float | None
    clap_score: float | None
    notices: list[str]
    model_sha256: str
    model_seconds: float


class Found(TypedDict, total=False):
    """Results of a job; which of them, its order decides."""

    takes: list[str]
    """Ids, the best first."""
    keyframes: list[Keyframe]
    followed_to: int
    """The last frame of the model that the mask was followed to."""
    points: list[Point]
    """(time in seconds, level in decibels)."""
    sound: Sound


class JobChange(Found, total=False):
    """Fields of a job that change as it runs."""

    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    stage: str
    step: int
    total: int
    """Steps."""
    seconds_left: float
    sentence: str
    """Why it failed."""


class Job(JobChange, total=False):
    """A job as the page sees it; id, do, state and stage are always there."""

    id: str
    do: str
    track: str
    """Id."""
    section: list[float]


class Rate(TypedDict):
    """Frames a second as a fraction."""

    numerator: int
    denominator: int
    varies: bool
    """Whether the frames do not keep it."""


class Strip(TypedDict):
    """Layout of the sheet of small pictures: row by row, one for every `interval` seconds."""

    width: int
    height: int
    columns: int
    interval: float
    count: int


class VideoSound(TypedDict):
    """The video's own sound."""

    samples: int


class Media(TypedDict):
    """The facts of the video's views."""

    seconds: float
    size: list[int]
    """(width, height) of the picture that is played."""
    model_size: list[int]
    model_frames: int
    times: list[float]
    """Of every frame, seconds from the first."""
    rate: Rate
    strip: Strip
    sound: VideoSound | None
