"""Views of a video for the page, made once by a process of its own: a proxy that every browser plays and seeks in at once,
the times of its frames, a strip of small pictures, the sound with its waveform and its log-mel.

The proxy is H.264 of key frames alone: every seek then decodes one frame. It holds every frame of the video at its own
time, upright and with square pixels, so that frame n of the page is frame n of the file, also where the rate varies.

Run as a program, with a video and a folder; it prints a line of JSON for each step, and writes media.json last. With a video
alone it says whether that is one.
"""

import itertools
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from drawaudio_model.atomic_files import replaced_folder
from drawaudio_model.clip_format import HOP_LENGTH, VIDEO_FPS
from drawaudio_model.decoding.container import open_container, require_stream
from drawaudio_model.decoding.errors import MediaError, named_file
from drawaudio_model.decoding.tracks import FrameClock, orientation
from drawaudio_model.one_sentence import one_sentence
from drawaudio_model.studio.messages import Media, Rate, Strip, VideoSound
from drawaudio_model.studio.view_marks import file_mark

PROXY_WIDTH = 960
"""Longer side in pixels at most."""
TICKS = 90_000
"""Of the proxy's clock, in a second."""
MOST_TILES = 240
TILE_HEIGHT = 54
TILE_COLUMNS = 20
MOST_FRAMES = 600_000

Tell = Callable[[str, float], None]


def make_views(video: Path, folder: Path, tell: Tell) -> None:
    """Makes all views of a video; the folder appears when all are there.

    Args:
        video: any file that the media reader takes.
        folder: is replaced.
        tell: called with a stage and its share that is done, 0 to 1.

    Raises:
        media.MediaError: when the picture cannot be read.
        ValueError: for a still picture.
    """
    from drawaudio_model import media

    info = media.probe(video)
    if info.video_codec is None:
        raise MediaError("no_video_stream", f"{video.name} has no picture; give a video")
    mark = file_mark(video)
    with replaced_folder(folder) as partial:
        found = _make_proxy(video, partial, info.video_seconds, tell)
        tell("sound", 0)
        if info.audio_codec is not None:
            found["sound"] = _make_sound(video, partial, found["seconds"])
        (partial / "media.json").write_text(json.dumps({**found, "mark": mark, "name": video.name}))


def check_video(video: Path) -> None:
    """Raises MediaError or ValueError, in a sentence, for a file of which no views can be made."""
    from drawaudio_model import media

    with named_file(video.name):
        if media.probe(video).video_codec is None:
            raise MediaError("no_video_stream", f"{video.name} has no picture; give a video")
        with open_container(video) as container:
            frames = _decoded(container, require_stream(container, "video"))
            if sum(1 for _ in itertools.islice(frames, 2)) < 2:
                raise ValueError(f"{video.name} is a still picture; give a video")


def _make_proxy(video: Path, folder: Path, seconds: float, tell: Tell) -> Media:
    from drawaudio_model import media

    model_height, model_width = media.read_frames(video, seconds=1 / VIDEO_FPS).shape[1:3]
    scale = min(1.0, PROXY_WIDTH / max(model_height, model_width) / 2) * 2
    height, width = _proxy_size(video, scale * model_height, scale * model_width)
    tiles = _Tiles(seconds, height, width)
    times: list[float] = []
    end = 0.0
    with av.open(str(folder / "proxy.mp4"), "w") as sink:
        stream = sink.add_stream("libx264", rate=30, width=width, height=height, pix_fmt="yuv420p")
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        stream.gop_size = 1
        stream.options = {"crf": "23", "preset": "veryfast", "bf": "0"}
        last = -1
        for time, duration, picture in _upright_frames(video, height, width):
            tick = max(round(time * TICKS), last + 1)
            if len(times) == MOST_FRAMES:
                raise ValueError(f"{video.name} has more than {MOST_FRAMES} frames; cut it into parts")
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base, last = tick, Fraction(1, TICKS), tick
            sink.mux(stream.encode(frame))
            tiles.add(time, picture)
            times.append(tick / TICKS)
            end = time + duration
            if len(times) % 25 == 0:
                tell("picture", min(time / max(seconds, 1e-9), 1.0))
        sink.mux(stream.encode(None))
    if len(times) < 2:
        raise ValueError(f"{video.name} is a still picture; give a video")
    Image.fromarray(tiles.sheet()).save(folder / "strip.jpg", quality=80)
    length = seconds or end
    return {
        "seconds": length,
        "size": [width, height],
        "model_size": [model_width, model_height],
        "model_frames": math.ceil(round(length * VIDEO_FPS, 6)),
        "times": times,
        "rate": _rate(times, video),
        "strip": tiles.layout(),
        "sound": None,
    }


def _proxy_size(video: Path, height: float, width: float) -> tuple[int, int]:
    """Even sides, as H.264 wants them, of a picture no larger than the file's own."""
    with open_container(video) as container:
        stream = require_stream(container, "video")
        own = max(stream.width, stream.height)
    share = min(1.0, max(own, 64) / max(height, width))
    return max(round(height * share / 2) * 2, 2), max(round(width * share / 2) * 2, 2)


def _upright_frames(video: Path, height: int, width: int) -> Iterator[tuple[float, float, np.ndarray]]:
    """(time after the first frame, duration, (H, W, 3) RGB) of every frame that can be decoded, in the order shown."""
    with open_container(video) as container:
        stream = require_stream(container, "video")
        stream.thread_type = "AUTO"
        clock = FrameClock(stream)
        first: float | None = None
        for frame in _decoded(container, stream):
            time, duration = clock.time(frame)
            first = time if first is None else first
            transpose, flip_x, flip_y = orientation(frame)
            stored = (width, height) if not transpose else (height, width)
            picture = frame.reformat(width=stored[0], height=stored[1], format="rgb24").to_ndarray()
            picture = picture.transpose(1, 0, 2) if transpose else picture
            picture = picture[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
            yield time - first, duration, np.ascontiguousarray(picture)


def _decoded(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Damaged packets are left out, as the media reader leaves them out."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except MemoryError:
            raise
        except av.error.FFmpegError:
            continue


class _Tiles:
    """Small pictures of a video, evenly in time."""

    def __init__(self, seconds: float, height: int, width: int) -> None:
        self.interval = max(seconds / MOST_TILES, 0.25)
        self.height, self.width = TILE_HEIGHT, max(round(TILE_HEIGHT * width / height), 1)
        self.pictures: list[np.ndarray] = []

    def add(self, time: float, picture: np.ndarray) -> None:
        if time + 1e-6 >= len(self.pictures) * self.interval:
            small = Image.fromarray(picture).resize((self.width, self.height), Image.Resampling.BOX)
            while time + 1e-6 >= len(self.pictures) * self.interval:
                self.pictures.append(np.asarray(small))

    def sheet(self) -> np.ndarray:
        rows = -(-len(self.pictures) // TILE_COLUMNS)
        sheet = np.zeros((rows * self.height, TILE_COLUMNS * self.width, 3), np.uint8)
        for number, picture in enumerate(self.pictures):
            row, column = divmod(number, TILE_COLUMNS)
            top, left = row * self.height, column * self.width
            sheet[top : top + self.height, left : left + self.width] = picture
        return sheet

    def layout(self) -> Strip:
        return {
            "width": self.width,
            "height": self.height,
            "columns": TILE_COLUMNS,
            "interval": self.interval,
            "count": len(self.pictures),
        }


def _rate(times: list[float], video: Path) -> Rate:
    """The frame rate as a fraction, and whether the frames keep it."""
    with open_container(video) as container:
        stated = require_stream(container, "video").average_rate
    rate = Fraction(stated) if stated else Fraction(len(times) - 1, 1) / Fraction(times[-1]).limit_denominator(TICKS)
    expected = np.arange(len(times)) / float(rate)
    # A millisecond is how exactly Matroska knows its times; the sum of all errors may be more.
    varies = bool(np.abs(np.diff(times) - 1 / float(rate)).max() > 0.0021 or np.abs(times - expected).max() > 0.02)
    return {"numerator": rate.numerator, "denominator": rate.denominator, "varies": varies}


def _make_sound(video: Path, folder: Path, seconds: float) -> VideoSound | None:
    from drawaudio_model import media

    try:
        waveform = media.read_waveform(video, seconds=seconds)
    except MediaError as error:
        if error.reason == "no_memory":
            raise
        return None  # the picture is worth showing without its sound
    media.write_audio(folder / "sound.wav", waveform, floats=True)
    write_pictures(waveform, folder / "sound")
    return {"samples": len(waveform)}


def write_pictures(waveform: np.ndarray, stem: Path) -> None:
    """Beside a sound: `.peaks`, int8 pairs of the least and the largest sample of every 10 ms, and `.png`, its log-mel as
    opacity, low frequencies at the bottom."""
    from drawaudio_model.mel import SILENCE, log_mel

    whole = np.pad(waveform, (0, -len(waveform) % HOP_LENGTH)).reshape(-1, HOP_LENGTH)
    pairs = np.stack([whole.min(axis=1), whole.max(axis=1)], axis=1)
    stem.with_name(stem.name + ".peaks").write_bytes(np.round(pairs.clip(-1, 1) * 127).astype(np.int8).tobytes())
    mel = log_mel(whole.reshape(-1).astype(np.float32)).numpy()  # (T, M)
    level = ((mel - SILENCE) / (3.0 - SILENCE)).clip(0, 1)
    # Browsers draw pictures of at most 32767 pixels; ten minutes are 60000 frames.
    step = -(-len(level) // 16384)
    opacity = (level[::step].T[::-1] * 255).round().astype(np.uint8)
    picture = Image.fromarray(np.stack([np.full_like(opacity, 255), opacity], axis=-1), "LA")
    picture.save(stem.with_name(stem.name + ".png"))


def main(arguments: list[str]) -> int:
    """The program: VIDEO FOLDER, or VIDEO alone to check it."""
    os.nice(5)
    told = [""]

    def tell(stage: str, share: float) -> None:
        line = json.dumps({"stage": stage, "share": round(share, 2)})
        if line != told[0]:
            told[0] = line
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    try:
        if len(arguments) == 1:
            check_video(Path(arguments[0]))
        else:
            with named_file(Path(arguments[0]).name):
                make_views(Path(arguments[0]), Path(arguments[1]), tell)
    except BrokenPipeError:
        os._exit(0)  # the server is gone, and nobody wants what is being made
    except (ValueError, OSError) as error:
        sys.stdout.write(json.dumps({"error": one_sentence(error)}) + "\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
