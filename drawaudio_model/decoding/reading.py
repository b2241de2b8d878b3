"""One pass over a media file: packets in, the frames and the sound of all its clips out.

Legend: V video frames, H/W pixels. A clip is handed on as soon as picture and sound have passed its end, so that a long
file needs the memory of one clip. What turns out on the way (frames that cannot be left out, times that break, channels
that cancel) makes the pass begin again; the clips are then handed on again, and the later ones count.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.decoding.clock import (
    Clock,
    ClockBreaks,
    Moves,
    is_flush,
    lay_out,
    longest_leap,
    may_jump,
    read_packets,
    scan,
)
from drawaudio_model.decoding.container import MediaInfo, find_stream, media_info, open_container, require_stream
from drawaudio_model.decoding.errors import MediaError, check_memory, only_media_errors
from drawaudio_model.decoding.lengths import Ends, check_complete, presented_seconds, wrong_length
from drawaudio_model.decoding.skipping import CannotSkip
from drawaudio_model.decoding.sound import ChannelsCancel, SoundTrack
from drawaudio_model.decoding.tracks import FrameClock, PictureTrack

MIN_SECONDS = 0.5
"""Shortest picture and shortest sound that make a clip. Our choice: shorter ones are 95 % padding."""
SILENT_PEAK = 1e-4
"""A clip whose largest sample is below this is silent: 3 steps of 16-bit audio, so dither counts as silence."""
PADDED_SECONDS = 0.1
"""Silence added to a clip's sound above which it is flagged; below, it is codec priming and rounding."""

T = TypeVar("T")


@dataclass(frozen=True)
class DecodedClip:
    """One clip: as many frames and samples as asked, whatever the file held."""

    start_seconds: float
    frames: np.ndarray
    """(V, H, W, 3) uint8 RGB, upright, square pixels; frame i is the one shown at start + i / fps."""
    waveform: np.ndarray
    """(seconds * SAMPLE_RATE,) float32 mono; full scale is 1 (decoders of lossy sound overshoot it a little)."""
    video_seconds: float
    audio_seconds: float
    """The part of the asked window that the file really holds."""
    flags: tuple[str, ...]
    """Of CLIP_FLAGS."""


@dataclass(frozen=True)
class FileFacts:
    """The counts of one pass over a whole file."""

    frames_decoded: int
    """Frames presented, over the whole file; edit lists applied."""
    corrupt_frames: int
    """Frames that were damaged or missing, within MAX_CORRUPT_SHARE; damage in frames that no clip shows and no other
    frame is predicted from may stay unseen."""
    video_seconds: float
    """From the first frame to the end of the last, over the whole file."""
    audio_seconds_decoded: float
    audio_offset_seconds: float
    """Start of the sound minus start of the picture, as the file has them; the clips are already corrected for it."""
    info: MediaInfo
    flags: tuple[str, ...]
    """Of FILE_FLAGS."""


@dataclass(frozen=True)
class DecodedMedia(FileFacts):
    """All asked clips of one file, and what one pass over the whole file counted."""

    clips: list[DecodedClip]


CLIP_FLAGS = {
    "padded_video": "the picture ends in the clip; the last frame is held",
    "padded_audio": "silence was added before, in or after the sound",
    "one_channel": "the channels cancel in the mono mix; the loudest one was taken alone",
    "silent": "no sample is above SILENT_PEAK",
    "too_short": "picture or sound in the clip is shorter than MIN_SECONDS",
}
"""Every flag of a clip, with its meaning."""


@dataclass(frozen=True)
class _Way:
    """How a file is read; what turns out on the way changes it."""

    skipping: bool = True
    """Frames that nobody looks at may be left out."""
    moves: dict[int, Moves] | None = None
    """How the clock is laid out; None: its breaks are looked for."""
    breaks: bool = False
    """Whether there were any."""
    channels: dict[int, int] = field(default_factory=dict)
    """Clip -> channel that is taken instead of the mix."""


def probe(source: Path | bytes) -> MediaInfo:
    """Facts of a file: codecs and sizes from its header, lengths from all its packets.

    Raises:
        MediaError: undecodable or truncated, when no container can be opened. A missing stream is no error here.
        FileNotFoundError: when the path does not exist.
    """
    with only_media_errors(), open_container(source) as container:
        times = _read_times(source, container)
        found = {
            "joined_clock": times.breaks,
            "wrong_length": wrong_length(container, times.ends),
            "other_stream": _goes_on_elsewhere(container, times.ends),
        }
        return media_info(
            container,
            presented_seconds(find_stream(container, "video"), times.picture),
            presented_seconds(find_stream(container, "audio"), times.sound),
            tuple(name for name, is_so in found.items() if is_so),
        )


def stream_clips(
    source: Path | bytes,
    starts_seconds: Sequence[float],
    take: Callable[[int, DecodedClip], None],
    *,
    seconds: float,
    fps: float,
    longer_side: int | None,
    size: tuple[int, int] | None = None,
    threads: int = 1,
) -> FileFacts:
    """Hands `take` every clip and its number, in the order in which they end; facts of the file when all is read.

    A clip may be handed on more than once: the last one counts, and only if no error is raised in the end. Other
    arguments and errors as media.read_clips, but a clip that is silent or too short is handed on with its flag.
    """
    if not starts_seconds or min(starts_seconds) < 0:
        raise ValueError(f"starts_seconds is {tuple(starts_seconds)}, expected at least one start, none below 0")
    times = moments(seconds, fps)
    ending = sorted(range(len(starts_seconds)), key=lambda index: starts_seconds[index])

    def read(way: _Way) -> FileFacts:
        with open_container(source) as container:
            video, _ = require_stream(container, "video"), require_stream(container, "audio")
            _set_threads(video, threads)
            picture = PictureTrack(video, [start + times for start in starts_seconds], longer_side, size, way.skipping)
            sound = SoundTrack([float(start) for start in starts_seconds], float(seconds), way.channels)
            waiting = list(reversed(ending))

            def hand_on(*, at_end: bool = False) -> None:
                while waiting:
                    index, end = waiting[-1], starts_seconds[waiting[-1]] + seconds
                    if not at_end and not (picture.passed(end) and sound.passed(index)):
                        break
                    clip = _clip(picture, sound, waiting.pop(), starts_seconds[index], seconds, index in way.channels)
                    take(index, clip)

            ends = _decode(container, picture, sound, way.moves, hand_on)
            check_complete(container, source, ends, {"video frames": picture, "audio frames": sound})
            hand_on(at_end=True)
            if sound.cancelled and not way.channels:
                raise ChannelsCancel(sound.cancelled)
            assert picture.zero is not None and sound.start is not None, "check_complete counted frames of both"
            flags = _file_flags(container, ends, way, sound)
            return FileFacts(
                frames_decoded=picture.count,
                corrupt_frames=picture.corrupt,
                video_seconds=picture.end - picture.zero,
                audio_seconds_decoded=sound.samples / sound.rate,
                audio_offset_seconds=sound.start - picture.zero,
                info=media_info(container, picture.end - picture.zero, sound.end - sound.start, flags),
                flags=flags,
            )

    return _read_again(source, read)


def read_picture(
    source: Path | bytes,
    *,
    seconds: float,
    start_seconds: float,
    fps: float,
    longer_side: int | None,
    size: tuple[int, int] | None,
    threads: int,
    alpha: bool = False,
) -> np.ndarray:
    """(V, H, W, 3) uint8 RGB of the picture, or (V, H, W, 4) with its opacity; see media.read_frames."""
    if not 0 <= start_seconds < np.inf:
        raise ValueError(f"start_seconds is {start_seconds}, expected at least 0")
    times = start_seconds + moments(seconds, fps)

    def read(way: _Way) -> np.ndarray:
        with open_container(source) as container:
            video = require_stream(container, "video")
            _set_threads(video, threads)
            picture = PictureTrack(video, [times], longer_side, size, way.skipping, alpha)
            ends = _decode(container, picture, None, way.moves)
            check_complete(container, source, ends, {"video frames": picture})
            return picture.take(0)

    return _read_again(source, read)


def read_sound(source: Path | bytes, *, seconds: float | None) -> np.ndarray:
    """(samples,) float32 mono at SAMPLE_RATE on the picture's clock; see media.read_waveform."""

    def read(way: _Way) -> np.ndarray:
        with open_container(source) as container:
            require_stream(container, "audio")
            times = _read_times(source, container)
            if times.sound is None:
                check_memory()
                raise MediaError("undecodable", "not one of the audio frames can be decoded")
            length = times.sound[1] - (times.picture or times.sound)[0]
        if length <= 0:
            raise MediaError("too_short", "the sound ends before the first picture is shown")
        with open_container(source) as container:
            sound = SoundTrack([0.0], seconds or length + 1.0, way.channels)
            sound.zero = None if times.picture is None else times.picture[0]
            ends = _decode(container, None, sound, times.moves)
            check_complete(container, source, ends, {"audio frames": sound})
            waveform, _ = sound.take(0)
            if sound.cancelled and not way.channels:
                raise ChannelsCancel(sound.cancelled)
            assert sound.zero is not None, "_decode sets it"
            whole = max(round((sound.end - sound.zero) * SAMPLE_RATE), 0)
            return waveform if seconds else waveform[:whole]

    return _read_again(source, read)


def moments(seconds: float, fps: float) -> np.ndarray:
    """Times of all frames i / fps below `seconds`."""
    if not (0 < seconds < np.inf and 0 < fps < np.inf):
        raise ValueError(f"seconds is {seconds} and fps {fps}, expected both finite and above 0")
    # Rounded before ceil: 2.3 s at 10 fps is 22.999999999999996 frames in binary, and 23 in truth.
    return np.arange(math.ceil(round(seconds * fps, 6))) / fps


def _read_again(source: Path | bytes, read: Callable[[_Way], T]) -> T:
    """read(way), begun again each time that the way has to be another one; each part of it changes once at most."""
    way = _Way()
    with only_media_errors():
        while True:
            try:
                return read(way)
            except CannotSkip:
                way = replace(way, skipping=False)
            except ClockBreaks:
                with open_container(source) as container:
                    times = _read_times(source, container)
                way = replace(way, moves=times.moves, breaks=times.breaks)
            except ChannelsCancel as cancel:
                way = replace(way, channels=cancel.channels)


@dataclass(frozen=True)
class _Times:
    """When the picture and the sound of a file are there, with the clock laid out."""

    picture: tuple[float, float] | None
    """(first, last) second on the file's clock; None without one. A single picture is no moving one."""
    sound: tuple[float, float] | None
    moves: dict[int, Moves]
    breaks: bool
    """Whether times had to be moved, or were false."""
    ends: Ends


def _read_times(source: Path | bytes, container: av.container.InputContainer) -> _Times:
    """By a pass over all packets; decoded is only the first picture of a file that begins in mid-group."""
    tables = scan(container)
    streams = {"video": find_stream(container, "video"), "audio": find_stream(container, "audio")}
    indices = {kind: stream.index for kind, stream in streams.items() if stream is not None}
    moves = lay_out(tables, indices.values(), longest_leap(container))
    spans = {kind: tables[index].shown_span(moves.get(index)) for kind, index in indices.items()}
    ends = Ends()
    for index, table in tables.items():
        span = table.shown_span(moves.get(index))
        if span is not None:
            ends.add(index, *span)
        if table.orders:
            ends.begun[index], ends.over[index] = table.orders[0], table.orders[max(len(table.orders) - 2, 0)]
    picture = indices.get("video")
    if picture is not None and spans["video"] is not None and tables[picture].begins_in_mid_group:
        begin, end = spans["video"]
        first = _first_picture(source, moves)
        spans["video"] = begin if first is None else min(first, end), end
    breaks = bool(moves) or any(tables[index].false_times for index in indices.values())
    return _Times(spans.get("video"), spans.get("audio"), moves, breaks, ends)


def _first_picture(source: Path | bytes, moves: dict[int, Moves]) -> float | None:
    """The second on the file's clock at which the first picture that can be decoded is shown; None: there is none."""
    with open_container(source) as container:
        video = find_stream(container, "video")
        if video is None or video.codec_context is None:
            return None
        _set_threads(video, 1)
        times, clock = FrameClock(video), Clock([video], longest_leap(container), moves)
        for packet in read_packets(container, [video]):
            if not is_flush(packet):
                clock.see(packet)
            if not packet.size and not is_flush(packet):
                continue
            try:
                frames: list[Any] = packet.decode()  # of the picture
            except MemoryError:
                raise
            except av.error.FFmpegError:
                continue
            if frames:
                return times.time(frames[0])[0]
    return None


def _file_flags(
    container: av.container.InputContainer, ends: Ends, way: _Way, sound: SoundTrack | None
) -> tuple[str, ...]:
    found = {
        "wrong_length": wrong_length(container, ends),
        "joined_clock": way.breaks,
        "other_stream": _goes_on_elsewhere(container, ends),
        "changed_rate": sound is not None and sound.changed_rate,
    }
    return tuple(name for name, is_so in found.items() if is_so)


def _goes_on_elsewhere(container: av.container.InputContainer, ends: Ends) -> bool:
    """Whether a stream of the same kind begins in the file where the one that is read is over."""
    if not may_jump(container):
        return False  # Others may store one stream after the other.
    for read in (find_stream(container, "video"), find_stream(container, "audio")):
        if read is not None and read.index in ends.over:
            others = [stream.index for stream in container.streams if stream.type == read.type]
            if any(index != read.index and ends.begun.get(index, 0) > ends.over[read.index] for index in others):
                return True
    return False


def _set_threads(stream: av.VideoStream, threads: int) -> None:
    stream.codec_context.thread_count = threads
    stream.codec_context.thread_type = "SLICE" if threads == 1 else "AUTO"


def _decode(
    container: av.container.InputContainer,
    picture: PictureTrack | None,
    sound: SoundTrack | None,
    moves: dict[int, Moves] | None,
    hand_on: Callable[[], None] = lambda: None,
) -> Ends:
    """Feeds every frame of picture and sound to their tracks, in file order; where all streams of the file end."""
    found: list[tuple[av.stream.Stream, PictureTrack | SoundTrack]] = []
    if picture is not None:
        found.append((require_stream(container, "video"), picture))
    if sound is not None:
        found.append((require_stream(container, "audio"), sound))
    tracks = {stream.index: track for stream, track in found}
    clock = Clock((stream for stream, _ in found), longest_leap(container), moves)
    ends = Ends()
    for packet in read_packets(container):
        fed = tracks.get(packet.stream_index)
        if fed is None or is_flush(packet):
            ends.see(packet)
            continue
        clock.see(packet)
        ends.see(packet)
        if packet.size:
            _feed(fed, packet)
        elif picture is not None and fed is picture:
            picture.repeat(packet)  # A decoder would take it for the end of all.
        if sound is not None and sound.zero is None and picture is not None:
            sound.zero = picture.zero
        hand_on()
    for stream, track in found:
        end = av.Packet()
        end.stream = stream
        _feed(track, end)
    if sound is not None and sound.zero is None:
        sound.zero = picture.zero if picture is not None else sound.start
    for _, track in found:
        track.finish()
    return ends


def _feed(track: PictureTrack | SoundTrack, packet: av.Packet) -> None:
    for due in track.due(packet):
        try:
            frames: list[Any] = due.decode()  # of the kind that the track takes
            for frame in frames:
                track.add(frame)
        except MemoryError:
            raise  # One of FFmpeg's, too, and nothing is wrong with the frame.
        except av.error.FFmpegError:
            track.corrupt += 1  # FFmpeg goes on with the next packet; check_complete holds the limit.


def _clip(
    picture: PictureTrack, sound: SoundTrack, index: int, start: float, seconds: float, one_channel: bool
) -> DecodedClip:
    assert picture.zero is not None, "a clip is handed on when its pictures have passed"
    frames = picture.take(index)
    waveform, audio_seconds = sound.take(index)
    left = picture.end - picture.zero - start
    video_seconds = min(max(left, 0.0), float(seconds))
    flags = []
    # The last asked frame lies one interval before the clip's end: a clip that still shows it needs no padding.
    if left <= (len(frames) - 1) * seconds / len(frames):
        flags.append("padded_video")
    if seconds - audio_seconds > PADDED_SECONDS:
        flags.append("padded_audio")
    if one_channel:
        flags.append("one_channel")
    if min(video_seconds, audio_seconds) < min(MIN_SECONDS, seconds):
        flags.append("too_short")
    elif np.abs(waveform).max() < SILENT_PEAK:
        flags.append("silent")
    return DecodedClip(start, frames, waveform, video_seconds, audio_seconds, tuple(flags))


def check_usable(clips: Sequence[DecodedClip]) -> None:
    """Raises what is wrong with the first clip, when something is wrong with all."""
    if not all({"silent", "too_short"} & set(clip.flags) for clip in clips):
        return
    clip = clips[0]
    raise MediaError("too_short" if "too_short" in clip.flags else "silent", fault_of(clip))


def fault_of(clip: DecodedClip) -> str:
    """The reason against a clip that is silent or too short."""
    if "too_short" in clip.flags:
        return (
            f"the clip at {clip.start_seconds:g} s has {clip.video_seconds:.2f} s of picture and "
            f"{clip.audio_seconds:.2f} s of sound, expected at least {MIN_SECONDS:g} s of both"
        )
    peak = float(np.abs(clip.waveform).max())
    return f"the sound of the clip at {clip.start_seconds:g} s peaks at {peak:.1e} of full scale"
