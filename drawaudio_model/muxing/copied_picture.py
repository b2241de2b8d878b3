"""A new video file: the packets of a picture as they are, beside a new sound track.

What a picture is shown by comes along: its four-letter tag where the new container knows it, side data (rotation, colour
volume, alpha), pixel shape, frame rate, the stream's and the file's names. PyAV writes the file. It cannot do two things
that FFmpeg's program can, and for those the program copies once more what PyAV has written: codecs that Matroska and MOV
take under the tag that AVI gave them, and pixels that are not square in Matroska.
"""

import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.stream import Disposition

from drawaudio_model.atomic_files import folder_beside
from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.decoding.container import NAMES_ERRORS, find_stream, open_container
from drawaudio_model.muxing.edit_list import end_picture
from drawaudio_model.muxing.encoded_sound import TRACK_CODECS, add_sound, encoded
from drawaudio_model.muxing.layered_head import upper_sets, write_head
from drawaudio_model.muxing.packet_times import PictureTimes, demuxed, is_packed, picture_stream, unpacked_head

if TYPE_CHECKING:
    from av.container.core import Chapter

FORMATS = {".mp4": "mp4", ".mov": "mov", ".m4v": "ipod", ".ts": "mpegts", ".webm": "webm", ".mkv": "matroska"}
"""Suffix -> FFmpeg's name of the container."""
_INTERMEDIATE = ("nut", "mov")
"""Containers that PyAV writes where it refuses a codec in the one that is asked for; NUT takes nearly all."""
_WITH_EDIT_LISTS = ("mp4", "mov", "ipod")
_MATROSKA = ("matroska", "webm")
UNSPECIFIED = 2
"""A colour property that nothing says anything about."""
_OWN_FACTS = ("major_brand", "minor_version", "compatible_brands", "encoder", "creation_time", "duration")
_OWN_STATISTICS = ("BPS", "DURATION", "NUMBER_OF_", "_STATISTICS_")
"""Names of facts about the old file, which the new one has its own of."""


class CannotHold(Exception):
    """No way leads into this container; the message is FFmpeg's."""


def write_video(path: Path, video: Path, times: PictureTimes, samples: np.ndarray) -> PictureTimes:
    """Writes the packets of `video` that `times` lists and the sound, which begins with the first picture seen.

    `samples` are (n,) int16, or (n, 2) left and right.

    Returns:
        The times that were written: all, but for those that an edit list cuts off behind its end where the container has no
        edit lists.

    Raises:
        CannotHold: when the container cannot hold the codec.
        MediaError: when the picture cannot be read.
        av.error.FFmpegError: when writing fails on the way.
    """
    suffix = path.suffix.lower()
    container, codec = FORMATS[suffix], TRACK_CODECS[suffix]
    if container not in _WITH_EDIT_LISTS:
        times = times.without_cut_off_end()
    try:
        _write(path, container, video, times, samples, codec)
    except CannotHold as error:
        _write_by_way(path, container, video, times, samples, codec, error)
    else:
        _keep_pixel_ratio(path, container, video)
    if container in _WITH_EDIT_LISTS and times.end_seconds is not None:
        end_picture(path, times.end_seconds)
    if container in _WITH_EDIT_LISTS:
        _keep_layers(path, video)
    return times


def _write(path: Path, container: str, video: Path, times: PictureTimes, samples: np.ndarray, codec: str) -> None:
    with open_container(video) as source:
        stream = picture_stream(source, video)
        with _opened(path, container, source, stream, (codec, samples.ndim), times) as sink:
            (picture,), (sound,) = sink.streams.video, sink.streams.audio
            waiting = encoded(sound, samples, round(times.first_shown_seconds * SAMPLE_RATE))
            audio_packet = next(waiting, None)
            for packet in _timed(source, stream, times):
                # Sound and picture are interleaved by time, as players that cannot seek want it.
                while audio_packet is not None and _seconds(audio_packet) <= _seconds(packet):
                    sink.mux_one(audio_packet)
                    audio_packet = next(waiting, None)
                packet.stream = picture
                sink.mux_one(packet)
            while audio_packet is not None:
                sink.mux_one(audio_packet)
                audio_packet = next(waiting, None)


def _seconds(packet: av.Packet) -> Fraction:
    assert packet.dts is not None, "packets that are written have their times"
    return packet.dts * packet.time_base


def _timed(source: av.container.InputContainer, stream: av.VideoStream, times: PictureTimes) -> Iterator[av.Packet]:
    """The packets with the times that they are to have."""
    stored = (packet for packet in demuxed(source, stream) if packet.size)
    for time, packet in zip(times.packets, stored, strict=False):
        packet.pts, packet.dts, packet.duration = time.pts, time.dts, time.duration
        yield packet


def _opened(
    path: Path,
    container: str,
    source: av.container.InputContainer,
    stream: av.VideoStream,
    sound: tuple[str, int],
    times: PictureTimes,
) -> av.container.OutputContainer:
    """The new file with its header: with the picture's own tag, or with the container's where that is not known to it.

    `sound` are the codec and the channels of its sound.
    """
    reason = ""
    for tag in dict.fromkeys((_tag(stream), None)):
        sink = av.open(f"file:{path}", "w", format=container, metadata_errors=NAMES_ERRORS)
        try:
            picture = sink.add_stream_from_template(stream, opaque=True)
            if is_packed(stream):
                picture.codec_context.extradata = unpacked_head(stream)
            _describe(sink, picture, source, stream)
            sink.set_chapters(_chapters(source, times))
            if tag is not None:
                picture.codec_context.codec_tag = tag
            add_sound(sink, *sound).disposition = Disposition.default
            sink.start_encoding()
            return sink
        except (av.error.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            sink.close()
    raise CannotHold(reason)


def _tag(stream: av.VideoStream) -> str | None:
    """The picture's four-letter tag; None where it has none, or one that is no text."""
    try:
        tag = stream.codec_context.codec_tag
    except UnicodeDecodeError:
        return None
    return tag if tag.strip("\0") else None


def _describe(
    sink: av.container.OutputContainer,
    picture: av.VideoStream,
    source: av.container.InputContainer,
    stream: av.VideoStream,
) -> None:
    """The facts of a picture that the container, not the codec, holds."""
    if stream.average_rate:
        picture.codec_context.framerate = stream.average_rate
    if stream.sample_aspect_ratio:
        picture.codec_context.sample_aspect_ratio = stream.sample_aspect_ratio
    picture.disposition = stream.disposition | Disposition.default
    own = {name: text for name, text in stream.metadata.items() if not name.upper().startswith(_OWN_STATISTICS)}
    picture.metadata.update(own)
    sink.metadata.update({name: text for name, text in source.metadata.items() if name.lower() not in _OWN_FACTS})


def _chapters(source: av.container.InputContainer, times: PictureTimes) -> "list[Chapter]":
    """The file's chapters on the new file's clock; those that end before the first picture are left out."""
    kept: list[Chapter] = []
    for chapter in source.chapters():
        tick = chapter["time_base"] or Fraction(1, av.time_base)
        begin, end = (round(time - times.zero_seconds / tick) for time in (chapter["start"], chapter["end"]))
        if end > 0:
            kept.append({**chapter, "start": max(begin, 0), "end": end})
    return kept


def _write_by_way(
    path: Path,
    container: str,
    video: Path,
    times: PictureTimes,
    samples: np.ndarray,
    codec: str,
    refused: CannotHold,
) -> None:
    """Writes what PyAV refuses: into a container that it does not refuse, which FFmpeg's program then copies."""
    with folder_beside(path) as folder:
        for by_way in _INTERMEDIATE:
            between = folder / f"picture.{by_way}"
            try:
                _write(between, by_way, video, times, samples, "pcm_s16le")
            except CannotHold:
                continue
            _copied(between, path, container, [*_said_by_container(video), "-c:v", "copy", "-copyinkf", "-c:a", codec])
            return
    raise refused


def _keep_layers(path: Path, video: Path) -> None:
    """Writes into the head of an MP4 or MOV file what FFmpeg leaves out of it: the parameters of HEVC's upper layers."""
    with open_container(video) as source, open_container(path) as written:
        head, copied = (picture_stream(file, video).codec_context.extradata for file in (source, written))
    # Other heads, as in transport streams, stand in the packets as well.
    if head and head[:1] == b"\1" and upper_sets(head) != upper_sets(copied):
        write_head(path, head)


def _said_by_container(video: Path) -> list[str]:
    """Words for FFmpeg's program: the shape of the pixels and the colours of a picture, which PyAV leaves out on the way.

    Where the codec says them itself, they are the same.
    """
    with open_container(video) as source:
        stream = picture_stream(source, video)
        context, ratio = stream.codec_context, stream.sample_aspect_ratio
        words = ["-aspect", _shape(stream, ratio)] if ratio else []
        colours = {"colorspace": context.colorspace, "color_primaries": context.color_primaries}
        colours |= {"color_trc": context.color_trc}
        told = {name: value for name, value in colours.items() if value != UNSPECIFIED}
        told |= {"color_range": context.color_range} if context.color_range else {}
        return [*words, *(word for name, value in told.items() for word in (f"-{name}", str(int(value))))]


def _shape(stream: av.VideoStream, ratio: Fraction) -> str:
    """Width to height of a picture whose pixels have this ratio."""
    return f"{stream.width * ratio.numerator}:{stream.height * ratio.denominator}"


def _keep_pixel_ratio(path: Path, container: str, video: Path) -> None:
    """Writes into the head of a Matroska file what PyAV does not: that the pixels are not square."""
    with open_container(video) as source, open_container(path) as written:
        ratio, picture = picture_stream(source, video).sample_aspect_ratio, find_stream(written, "video")
        if not ratio or container not in _MATROSKA or picture is None or (picture.sample_aspect_ratio or 1) == ratio:
            return
        shape = _shape(picture, ratio)
    with folder_beside(path) as folder:
        square = path.rename(folder / path.name)
        _copied(square, path, container, ["-c", "copy", "-copyinkf", "-aspect", shape])


def _copied(given: Path, path: Path, container: str, how: list[str]) -> None:
    """Runs FFmpeg's program.

    Raises:
        CannotHold: when it is not there, or refuses.
    """
    import imageio_ffmpeg

    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise CannotHold(str(error)) from error
    command = [program, "-v", "error", "-nostdin", "-y", "-i", f"file:{given}", "-map", "0:v", "-map", "0:a", *how]
    done = subprocess.run([*command, "-f", container, f"file:{path}"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotHold(done.stderr.strip().rpartition(": ")[2])  # before it stand the names of temporary files
