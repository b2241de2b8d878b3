"""A media file -> frames and waveform, decoded once; waveform (+ video) -> file.

Legend: V video frames, H/W pixels. Time zero of a file is the moment its first picture is shown: frames and sound are
both counted from there, after the container's edit lists. Sound from before that moment is cut off, sound that begins
later is preceded by silence. All decoding is PyAV's (it brings its own FFmpeg); one pass serves all clips of a file.
"""

import io
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from av.audio.resampler import AudioResampler
from av.stream import Discard
from PIL import Image

from drawaudio_model.atomic_files import replaced_file
from drawaudio_model.clip_format import SAMPLE_RATE, SOURCE_SECONDS, VIDEO_FPS
from drawaudio_model.decoding.container import (
    MediaInfo,
    find_stream,
    measured_info,
    media_info,
    open_container,
    require_stream,
)
from drawaudio_model.decoding.skipping import read_skipping
from drawaudio_model.decoding.tracks import MARGIN_SECONDS, MediaError, PictureTrack, SoundTrack
from drawaudio_model.decoding.tracks import REASONS as REASONS

MIN_SECONDS = 0.5
"""Shortest picture and shortest sound that make a clip. Our choice: shorter ones are 95 % padding."""
SILENT_PEAK = 1e-4
"""A clip whose largest sample is below this is silent: 3 steps of 16-bit audio, so dither counts as silence."""
MAX_CORRUPT_SHARE = 0.1
"""Damaged frames (of the picture, or packets of the sound) that are tolerated, as a share of all."""
MISSING_SECONDS = 1.0
"""A file whose streams all end this much before the declared length is truncated; headers are rounded by less."""
PADDED_SECONDS = 0.1
"""Silence added to a clip's sound above which it is flagged; below, it is codec priming and rounding."""


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
    """What the file really holds of the asked window."""
    flags: tuple[str, ...]
    """Of padded_video (last frame held), padded_audio (silence added), silent, too_short."""


@dataclass(frozen=True)
class DecodedMedia:
    """All asked clips of one file, and what one pass over the whole file counted."""

    clips: list[DecodedClip]
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


def probe(source: Path | bytes) -> MediaInfo:
    """Facts of a file's header, without decoding; lengths that it does not state are read off the packets' times.

    Raises:
        MediaError: undecodable or truncated, when no container can be opened. A missing stream is no error here.
    """
    with open_container(source) as container:
        info = media_info(container)
        if (info.video_codec and not info.video_seconds) or (info.audio_codec and not info.audio_seconds):
            info = measured_info(container, info)
        return info


def read_clips(
    source: Path | bytes,
    *,
    starts_seconds: Sequence[float] = (0.0,),
    seconds: float = SOURCE_SECONDS,
    fps: float = VIDEO_FPS,
    longer_side: int | None = 640,
    size: tuple[int, int] | None = None,
    threads: int = 1,
) -> DecodedMedia:
    """Clips of one file, frames and sound together, in one pass over the file.

    Args:
        source: path of a file, or its bytes.
        starts_seconds: where the clips start, counted from the first picture; at least one.
        seconds: length of every clip.
        fps: frames a second; frame i is the last one whose time is <= start + i / fps.
        longer_side: pixels; larger pictures are scaled down to it, smaller ones stay. None: never scale.
        size: (H, W) in pixels; scales to exactly this, not keeping the aspect ratio. Wins over longer_side.
        threads: decoding threads. 1 by default, because shards are decoded in parallel processes; 0 lets FFmpeg choose.

    Returns:
        DecodedMedia. Media shorter than a clip is padded (last frame held, silence) and flagged. Where several clips
        are asked, a silent or too short one is flagged, and only a file with no usable clip raises.

    Raises:
        MediaError: for everything else that is wrong with the file; see REASONS.
        ValueError: for arguments that make no sense.
        FileNotFoundError: when the path does not exist.
    """
    if not starts_seconds or min(starts_seconds) < 0:
        raise ValueError(f"starts_seconds is {tuple(starts_seconds)}, expected at least one start, none below 0")
    times = _moments(seconds, fps)

    def read(skipping: bool) -> tuple[PictureTrack, SoundTrack, MediaInfo]:
        with open_container(source) as container:
            video, audio = require_stream(container, "video"), require_stream(container, "audio")
            _set_threads(video, threads)
            picture = PictureTrack(video, [start + times for start in starts_seconds], longer_side, size, skipping)
            sound = SoundTrack([float(start) for start in starts_seconds], float(seconds))
            _decode(container, {video.index: picture, audio.index: sound})
            info = media_info(container)
            _check_complete(container, picture, sound)
        return picture, sound, info

    picture, sound, info = read_skipping(read)
    assert picture.zero is not None and sound.start is not None, "both have frames: _check_complete"
    clips = [_clip(picture, sound, index, start, seconds) for index, start in enumerate(starts_seconds)]
    _check_usable(clips)
    return DecodedMedia(
        clips=clips,
        frames_decoded=picture.count,
        corrupt_frames=picture.corrupt,
        video_seconds=picture.end - picture.zero,
        audio_seconds_decoded=sound.samples / sound.rate,
        audio_offset_seconds=sound.start - picture.zero,
        info=info,
    )


def read_frames(
    source: Path | bytes,
    *,
    seconds: float,
    fps: float = VIDEO_FPS,
    longer_side: int | None = 640,
    size: tuple[int, int] | None = None,
    threads: int = 0,
) -> np.ndarray:
    """(V, H, W, 3) uint8 RGB, V = ceil(seconds * fps): the first `seconds` of a picture that needs no sound.

    Arguments and errors as read_clips, the sound's left out. A shorter picture holds its last frame.
    """
    times = _moments(seconds, fps)

    def read(skipping: bool) -> np.ndarray:
        with open_container(source) as container:
            video = require_stream(container, "video")
            _set_threads(video, threads)
            picture = PictureTrack(video, [times], longer_side, size, skipping)
            _decode(container, {video.index: picture})
            _check_complete(container, picture, None)
        return picture.clips[0]

    return read_skipping(read)


def read_waveform(source: Path | bytes, *, seconds: float | None = None) -> np.ndarray:
    """(samples,) float32 mono at SAMPLE_RATE: the sound of any audio or video file from its own start.

    Args:
        source: path of a file, or its bytes.
        seconds: exactly this much, silence after the sound's end; None: all of it.

    Raises:
        MediaError: no_audio_stream, undecodable or truncated. Silence is no error here.
    """
    with open_container(source) as container:
        audio = require_stream(container, "audio")
        sound = SoundTrack(
            [0.0], seconds or (measured_info(container, media_info(container)).audio_seconds + MARGIN_SECONDS)
        )
        container.seek(0)
        _decode(container, {audio.index: sound})
        _check_complete(container, None, sound)
    waveform, held_seconds = sound.clip(0)
    return waveform if seconds else waveform[: round(held_seconds * SAMPLE_RATE)]


def _moments(seconds: float, fps: float) -> np.ndarray:
    """Times of all frames i / fps below `seconds`."""
    if not (0 < seconds < np.inf and 0 < fps < np.inf):
        raise ValueError(f"seconds is {seconds} and fps {fps}, expected both finite and above 0")
    # Rounded before ceil: 2.3 s at 10 fps is 22.999999999999996 frames in binary, and 23 in truth.
    return np.arange(math.ceil(round(seconds * fps, 6))) / fps


def _set_threads(stream: av.VideoStream, threads: int) -> None:
    stream.codec_context.thread_count = threads
    stream.codec_context.thread_type = "SLICE" if threads == 1 else "AUTO"


def _decode(container: av.container.InputContainer, tracks: "dict[int, PictureTrack | SoundTrack]") -> None:
    """Feeds every frame of the streams (by index) to their tracks, in file order."""
    for stream in container.streams:
        stream.discard = Discard.default if stream.index in tracks else Discard.all
    picture = next((track for track in tracks.values() if isinstance(track, PictureTrack)), None)
    sound = next((track for track in tracks.values() if isinstance(track, SoundTrack)), None)
    packets = container.demux([container.streams[index] for index in tracks])
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except av.error.FFmpegError as error:
            raise MediaError("truncated", f"the file cannot be read to its end: {error.strerror}") from error
        track: Any = tracks[packet.stream.index]
        for due in track.due(packet):
            try:
                for frame in due.decode():
                    track.add(frame)
            except av.error.FFmpegError:
                track.corrupt += 1  # FFmpeg goes on with the next packet; _check_complete holds the limit.
        if sound is not None and sound.zero is None:
            sound.zero = picture.zero if picture is not None else sound.start
    for track in tracks.values():
        track.finish()


def _check_complete(
    container: av.container.InputContainer, picture: PictureTrack | None, sound: SoundTrack | None
) -> None:
    """Raises when the file ended early or was too damaged."""
    tracks = {"video frames": picture, "audio frames": sound}
    for name, corrupt, count in ((n, t.corrupt, t.count) for n, t in tracks.items() if t is not None):
        if not count:
            raise MediaError("undecodable", f"not one of the {name} can be decoded")
        if corrupt > MAX_CORRUPT_SHARE * (corrupt + count):
            raise MediaError("undecodable", f"{corrupt} {name} are damaged beside {count} decoded ones")
    if container.duration:
        declared = container.duration / av.time_base
        held = max(t.end for t in tracks.values() if t is not None) - (container.start_time or 0) / av.time_base
        if declared - held > MISSING_SECONDS:
            raise MediaError("truncated", f"the file holds {held:.2f} s of the {declared:.2f} s that it declares")


def _clip(picture: PictureTrack, sound: SoundTrack, index: int, start: float, seconds: float) -> DecodedClip:
    frames = picture.clips[index]
    waveform, audio_seconds = sound.clip(index)
    assert picture.zero is not None, "it has a frame: _check_complete"
    left = picture.end - picture.zero - start
    video_seconds = min(max(left, 0.0), float(seconds))
    flags = []
    # The last asked frame lies one interval before the clip's end: a clip that still shows it needs no padding.
    if left <= (len(frames) - 1) * seconds / len(frames):
        flags.append("padded_video")
    if seconds - audio_seconds > PADDED_SECONDS:
        flags.append("padded_audio")
    if min(video_seconds, audio_seconds) < min(MIN_SECONDS, seconds):
        flags.append("too_short")
    elif np.abs(waveform).max() < SILENT_PEAK:
        flags.append("silent")
    return DecodedClip(start, frames, waveform, video_seconds, audio_seconds, tuple(flags))


def _check_usable(clips: list[DecodedClip]) -> None:
    """Raises what is wrong with the first clip, when something is wrong with all."""
    if not all({"silent", "too_short"} & set(clip.flags) for clip in clips):
        return
    clip = clips[0]
    if "too_short" in clip.flags:
        raise MediaError(
            "too_short",
            f"the clip at {clip.start_seconds:g} s has {clip.video_seconds:.2f} s of picture and "
            f"{clip.audio_seconds:.2f} s of sound, expected at least {MIN_SECONDS:g} s of both",
        )
    peak = float(np.abs(clip.waveform).max())
    raise MediaError("silent", f"the sound of the clip at {clip.start_seconds:g} s peaks at {peak:.1e} of full scale")


def write_audio(path: Path, waveform: np.ndarray, *, floats: bool = False) -> None:
    """Writes (n,) float mono at SAMPLE_RATE as 16-bit wav or flac, by the suffix; whole or not at all.

    Args:
        path: .wav or .flac.
        waveform: samples in [-1, 1].
        floats: write a wav of 32-bit floats, which holds samples beyond full scale, too.

    Raises:
        ValueError: for another suffix, another shape, or samples that are not finite or do not fit 16 bits: nothing is
            clipped. `levels.full_scale.fit_full_scale` makes any sound fit.
    """
    path = Path(path)
    formats = {".wav": "WAV", ".flac": "FLAC"}
    if path.suffix.lower() not in formats:
        raise ValueError(f"audio file {path.name} ends in {path.suffix!r}, expected .wav or .flac")
    if floats and path.suffix.lower() != ".wav":
        raise ValueError(f"audio file {path.name} is to hold floats, expected .wav")
    check_waveform(waveform)
    samples = np.asarray(waveform, np.float32) if floats else _to_int16(waveform)
    with replaced_file(path) as temporary:
        soundfile.write(
            temporary,
            samples,
            SAMPLE_RATE,
            format=formats[path.suffix.lower()],
            subtype="FLOAT" if floats else "PCM_16",
        )


def encode_flac(waveform: np.ndarray) -> bytes:
    """(n,) float mono at SAMPLE_RATE as 16-bit FLAC.

    Raises:
        ValueError: for samples that are not finite or beyond full scale; see `levels.full_scale.fit_full_scale`.
    """
    buffer = io.BytesIO()
    soundfile.write(buffer, _to_int16(waveform), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_flac(data: bytes) -> np.ndarray:
    """(n,) float32 in [-1, 1), exactly the 16-bit values over 32768.

    Raises:
        ValueError: when this is no mono audio at SAMPLE_RATE.
    """
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{len(data)} bytes are no FLAC file: {error.error_string}") from error
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise ValueError(
            f"audio of shape {samples.shape} at {rate} Hz, expected mono at {SAMPLE_RATE} Hz; use read_clips for others"
        )
    return samples.astype(np.float32) / 32768


def encode_jpeg(frame: np.ndarray, quality: int = 90) -> bytes:
    """(H, W, 3) uint8 RGB as JPEG."""
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"frame of shape {frame.shape} and type {frame.dtype}, expected (H, W, 3) uint8 RGB")
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def decode_jpeg(data: bytes) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def mux(video: Path, waveform: np.ndarray, out: Path) -> None:
    """Writes the picture of `video`, copied without re-encoding, with a new sound track that starts with it.

    Args:
        video: any file with a picture; its own sound is left out.
        waveform: (n,) float mono at SAMPLE_RATE, in [-1, 1]; of a lossy track the true peak should leave room, see
            `levels.full_scale.fit_full_scale`.
        out: the suffix picks the container and with it the sound's codec: AAC (mp4, mov, m4v, ts), Opus (webm),
            FLAC (mkv). Written whole or not at all.

    Raises:
        MediaError: when `video` has no picture or cannot be read.
        ValueError: for an unknown suffix, a container that cannot hold the picture's codec, or samples beyond full scale.
    """
    out = Path(out)
    codec = _MUX_CODECS.get(out.suffix.lower())
    if codec is None:
        raise ValueError(f"output {out.name} ends in {out.suffix!r}, expected one of {', '.join(_MUX_CODECS)}")
    samples = _to_int16(waveform)
    with open_container(video) as source, replaced_file(out) as temporary:
        _mux_into(temporary, source, _picture_of(source, video), samples, codec)


def _picture_of(source: av.container.InputContainer, video: Path) -> av.VideoStream:
    stream = find_stream(source, "video")
    if stream is None:
        raise MediaError("no_video_stream", f"{video} has no video stream")
    return stream


def check_container(video: Path, out: Path) -> None:
    """Raises what `mux` would for these files, before there is a sound: only the head of a file is written, aside."""
    with open_container(video) as source, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"head{out.suffix}"
        with av.open(f"file:{path}", "w") as sink:
            _add_streams(sink, path, _picture_of(source, video), _MUX_CODECS[out.suffix.lower()])
            sink.start_encoding()


_MUX_CODECS = {
    ".mp4": "aac",
    ".mov": "aac",
    ".m4v": "aac",
    ".ts": "aac",
    ".webm": "libopus",
    ".mkv": "flac",
}

LOSSLESS_CODECS = ("flac",)


def is_lossy(out: Path) -> bool:
    """Whether the sound in a file of this suffix is encoded by a codec that changes its samples."""
    return _MUX_CODECS.get(Path(out).suffix.lower(), "flac") not in LOSSLESS_CODECS


_REORDERED_PACKETS = 600
"""Packets looked at for the first picture: 20 s of hidden ones at 30 fps, more than any keyframe distance in use."""


def _mux_into(
    path: Path, source: av.container.InputContainer, stream: av.VideoStream, samples: np.ndarray, codec: str
) -> None:
    with av.open(f"file:{path}", "w") as sink:
        picture, sound = _add_streams(sink, path, stream, codec)
        packets = (packet for packet in source.demux(stream) if packet.dts is not None)
        # The sound starts with the first picture shown: not always the clock's zero, nor the first packet stored.
        head = list(islice(packets, _REORDERED_PACKETS))
        shown = [packet.pts for packet in head if packet.pts is not None and not packet.is_discard]
        ticks = stream.time_base
        assert ticks is not None, "FFmpeg gives every stream of a file one"
        start_seconds = float(min(shown, default=0) * ticks)
        waiting = _encoded_audio(sound, samples, round(start_seconds * SAMPLE_RATE))
        audio_packet = next(waiting, None)
        for packet in chain(head, packets):
            # Sound and picture are interleaved by time, as players that cannot seek want it.
            while audio_packet is not None and _dts(audio_packet, audio_packet.time_base) <= _dts(packet, ticks):
                sink.mux_one(audio_packet)
                audio_packet = next(waiting, None)
            packet.stream = picture
            sink.mux_one(packet)
        while audio_packet is not None:
            sink.mux_one(audio_packet)
            audio_packet = next(waiting, None)


def _dts(packet: av.Packet, ticks: Fraction | None) -> Fraction:
    """Seconds on the file's clock."""
    assert packet.dts is not None and ticks is not None, "packets without a time were left out"
    return packet.dts * ticks


def _add_streams(
    sink: av.container.OutputContainer, path: Path, stream: av.VideoStream, codec: str
) -> tuple[av.VideoStream, av.AudioStream]:
    try:
        picture = sink.add_stream_from_template(stream, opaque=True)
    except ValueError as error:
        name = stream.codec_context.name
        raise ValueError(f"a {path.suffix} file cannot hold {name} video; give the output the suffix .mkv") from error
    sound = sink.add_stream(codec, rate=SAMPLE_RATE, layout="mono")
    assert isinstance(sound, av.AudioStream), f"{codec} is a codec of sound"
    if codec in ("aac", "libopus"):
        sound.bit_rate = 96_000
    return picture, sound


def _encoded_audio(stream: av.AudioStream, samples: np.ndarray, first_pts: int) -> Iterator[av.Packet]:
    """Packets of the whole sound, in order; the first sample is shown at `first_pts` samples."""
    resampler = AudioResampler(
        format=stream.codec_context.format.name,
        layout="mono",
        rate=SAMPLE_RATE,
        frame_size=stream.codec_context.frame_size or 1024,
    )
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE, first_pts
    for given in (frame, None):
        for piece in resampler.resample(given):
            yield from stream.encode(piece)
    yield from stream.encode(None)


def check_waveform(waveform: np.ndarray) -> None:
    """Raises ValueError unless this is (n,) finite floats, at least one."""
    waveform = np.asarray(waveform)
    if waveform.ndim != 1 or not len(waveform) or waveform.dtype.kind != "f" or not np.isfinite(waveform).all():
        raise ValueError(
            f"waveform of shape {waveform.shape} and type {waveform.dtype}, expected (samples,) finite floats in [-1, 1]"
        )


def _to_int16(waveform: np.ndarray) -> np.ndarray:
    """(n,) int16, rounded; 1, which has no value of its own, becomes the largest one."""
    check_waveform(waveform)
    peak = float(np.abs(waveform).max())
    if peak > 1:
        raise ValueError(
            f"waveform peaks at {peak:.4g} of full scale, expected at most 1; limit it first (levels.full_scale.fit_full_scale)"
        )
    return np.minimum(np.round(np.asarray(waveform, np.float64) * 32768), 32767).astype(np.int16)
