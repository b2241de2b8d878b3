"""The true content of a fetched file, read off its packets: a download that "succeeded" is believed only after this."""

from dataclasses import asdict, dataclass
from pathlib import Path

import av
from av.stream import Disposition

from drawaudio_model.clip_format import SOURCE_SECONDS
from pipelines.sources.youtube.errors import CLASSES, ErrorClass

TOLERANCE_SECONDS = 0.5
"""A clip may be so much shorter or longer than asked: one packet of sound and one frame at 2 fps."""
MOST_OFFSET_SECONDS = 0.5
"""Sound and picture may begin so far apart; the decoder corrects it, beyond this the cut itself is suspect."""
MISSING_SECONDS = 1.0
"""A file that ends so much before the length in its header is truncated."""


@dataclass(frozen=True)
class Probe:
    """Facts of a file, measured without decoding. Lengths and starts are presented ones: edit lists are applied."""

    video_seconds: float
    audio_seconds: float
    audio_offset_seconds: float
    """Start of the sound minus start of the picture."""
    frames: int
    """Frames that are shown."""
    hidden_frames: int
    """Frames that are stored and never shown: before the first edit's start."""
    declared_seconds: float
    width: int
    height: int
    video_codec: str
    audio_codec: str


@dataclass(frozen=True)
class Fault:
    """Why a file cannot be used: a class of youtube_errors and a sentence."""

    error: ErrorClass
    message: str


def probe(path: Path) -> Probe | Fault:
    """Facts of a media file, or what keeps it from being one."""
    size = path.stat().st_size
    try:
        with av.open(f"file:{path}") as container:
            return _measure(container)
    except av.error.FFmpegError as error:
        with path.open("rb") as file:
            head = file.read(64)
        reason = error.strerror or str(error)
        if head[4:8] == b"ftyp":
            return Fault(CLASSES["truncated"], f"the mp4 of {size} bytes cannot be read to its end: {reason}")
        shown = head[:16].decode("ascii", "replace").strip()
        return Fault(CLASSES["not_media"], f"{size} bytes that begin with {shown!r} are no media: {reason}")
    except OSError:
        raise  # The machine's, not the file's: FFmpeg has its own kinds of those.
    except Exception as error:  # Of any kind: one file never stops the others.
        return Fault(CLASSES["not_media"], f"reading {size} bytes ends in {type(error).__name__}: {error}")


def source_fault(facts: Probe) -> Fault | None:
    """The fault of a whole downloaded video, or None."""
    picture, sound = bool(facts.video_codec), bool(facts.audio_codec)
    if (picture and not facts.frames) or (sound and not facts.audio_seconds) or not (picture or sound):
        return Fault(CLASSES["truncated"], "the file has a header, and nothing of what it announces")
    if not facts.frames:
        return Fault(CLASSES["no_video"], "the file has no moving picture")
    if not facts.audio_seconds:
        return Fault(CLASSES["no_audio"], "the file has no sound")
    ends = max(facts.video_seconds, facts.audio_seconds)
    if ends < facts.declared_seconds - MISSING_SECONDS:
        return Fault(
            CLASSES["truncated"], f"the file ends at {ends:.2f} s, its header promises {facts.declared_seconds:.2f} s"
        )
    return None


def clip_fault(facts: Probe) -> Fault | None:
    """The fault of a clip that was cut, or None."""
    if not facts.frames and not facts.audio_seconds:
        return Fault(CLASSES["empty_clip"], "the clip holds neither picture nor sound; the video ends before its start")
    if not facts.frames:
        return Fault(CLASSES["no_video"], "the clip has no moving picture")
    if not facts.audio_seconds:
        return Fault(CLASSES["no_audio"], "the clip has no sound")
    shorter, longer = sorted((facts.video_seconds, facts.audio_seconds))
    lengths = f"{facts.video_seconds:.2f} s of picture and {facts.audio_seconds:.2f} s of sound"
    if shorter < SOURCE_SECONDS - TOLERANCE_SECONDS:
        return Fault(CLASSES["short_clip"], f"the clip has {lengths}, expected {SOURCE_SECONDS} s of both")
    if longer > SOURCE_SECONDS + TOLERANCE_SECONDS:
        return Fault(CLASSES["long_clip"], f"the clip has {lengths}, expected {SOURCE_SECONDS} s of both")
    if facts.hidden_frames:
        return Fault(
            CLASSES["hidden_frames"],
            f"{facts.hidden_frames} frames from before the clip's start are hidden by an edit list",
        )
    if abs(facts.audio_offset_seconds) > MOST_OFFSET_SECONDS:
        return Fault(
            CLASSES["av_offset"],
            f"the sound begins {facts.audio_offset_seconds:+.2f} s from the picture, at most {MOST_OFFSET_SECONDS} s may be",
        )
    return None


def missing_part(start_seconds: float, video_seconds: float, slack_seconds: float = 0.0) -> Fault | None:
    """Why a clip cannot be cut from a video of that length, or None; known before anything is fetched or cut.

    Args:
        slack_seconds: by how much the length may be wrong.
    """
    if video_seconds + slack_seconds <= start_seconds:
        return Fault(
            CLASSES["empty_clip"], f"the video is {video_seconds:.1f} s long, the clip begins at {start_seconds:g} s"
        )
    if video_seconds + slack_seconds < start_seconds + SOURCE_SECONDS - TOLERANCE_SECONDS:
        return Fault(
            CLASSES["short_clip"],
            f"the video is {video_seconds:.1f} s long, the clip lasts from {start_seconds:g} to "
            f"{start_seconds + SOURCE_SECONDS:g} s",
        )
    return None


def as_columns(facts: Probe) -> dict[str, float | int | str]:
    """The facts as they stand in the ledger."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(facts).items()}


def _measure(container: av.container.InputContainer) -> Probe:
    streams = {stream.index: stream for stream in container.streams if _counts(stream)}
    video = next((stream for stream in streams.values() if isinstance(stream, av.VideoStream)), None)
    audio = next((stream for stream in streams.values() if isinstance(stream, av.AudioStream)), None)
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    shown = hidden = 0
    wanted = [stream for stream in (video, audio) if stream is not None]
    for packet in container.demux(wanted) if wanted else ():
        if packet.pts is None:
            continue
        if packet.is_discard:
            hidden += packet.stream is video
            continue
        shown += packet.stream is video
        index, begin = packet.stream_index, float(packet.pts * packet.time_base)
        first[index] = min(first.get(index, begin), begin)
        last[index] = max(last.get(index, begin), begin + float((packet.duration or 0) * packet.time_base))

    def seconds(stream: av.stream.Stream | None) -> float:
        return last[stream.index] - first[stream.index] if stream is not None and stream.index in last else 0.0

    offset = 0.0
    if video is not None and audio is not None and video.index in first and audio.index in first:
        offset = first[audio.index] - first[video.index]
    return Probe(
        video_seconds=seconds(video),
        audio_seconds=seconds(audio),
        audio_offset_seconds=offset,
        frames=shown,
        hidden_frames=hidden,
        declared_seconds=container.duration / av.time_base if container.duration else 0.0,
        width=video.codec_context.width if video else 0,
        height=video.codec_context.height if video else 0,
        video_codec=video.codec_context.name if video else "",
        audio_codec=audio.codec_context.name if audio else "",
    )


def _counts(stream: av.stream.Stream) -> bool:
    """Picture or sound that there is a decoder for; a cover picture is neither."""
    return (
        stream.type in ("video", "audio")
        and stream.codec_context is not None
        and not stream.disposition & Disposition.attached_pic
    )
