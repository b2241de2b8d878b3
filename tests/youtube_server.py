"""A server on loopback that answers as the site and its failures do, by the video asked for.

`/page/<id>` is what the extractor of tests/plugins reads; `/media/<id>/<file>` are the media, with Range. What a video does
is its entry in `videos`; see BEHAVIOURS. Every request is remembered.
"""

import json
import math
import re
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np

from pipelines.sources.youtube.cut import ffmpeg_binary
from pipelines.sources.youtube.settings import DownloadSettings

PLUGINS = Path(__file__).parent / "plugins"

REASONS = {
    "private": "Private video. Sign in if you've been granted access to this video",
    "removed": "Video unavailable. This video has been removed by the uploader",
    "age": "Sign in to confirm your age. This video may be inappropriate for some users.",
    "geo": "The uploader has not made this video available in your country",
    "bot": "Sign in to confirm you\u2019re not a bot. This helps protect our community",
    "broken": "Unable to extract initial player response",
}
BEHAVIOURS = (
    "good",  # video and sound in one file of 14 s
    "pair",  # the same as two formats, to be merged
    "long",  # 20 minutes, also as m3u8
    "holes",  # the same, some of its segments cannot be had
    "stuck",  # the same, some of its segments never end
    "expired",  # the same, its playlist's first address had expired
    "torn_pair",  # two formats, of which the picture ends after 7 s
    "hls",  # the good one, as m3u8 only
    "hls_hole",  # the same without its second segment
    "short",  # 7 s
    "mute",  # no sound
    "403",
    "403_once",  # an address that had expired; a new one is good
    "404",
    "429_once",  # Retry-After: 1
    "429",  # always, without a word for how long
    "500",
    "503_once",
    "reset",  # the connection is reset half way, always
    "reset_once",
    "early",  # the body ends before its Content-Length
    "cut",  # the body ends early and there was no Content-Length
    "slow",  # endless, a byte at a time
    "flood",  # endless and fast
    "html",  # a page instead of media
    "no_format",
    "evil",  # names that point elsewhere
    *REASONS,
)

LONG = ("long", "holes", "stuck", "expired")


def make_video(path: Path, seconds: float, *, fps: int = 5, sound: str = "aac") -> None:
    """An mp4 whose picture counts its frames (`frame_number`) and whose sound beeps in every fifth second."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream(
            "libx264", rate=fps, options={"preset": "ultrafast", "crf": "20", "g": str(fps * 10)}
        )
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream(sound, rate=16000, layout="mono") if sound else None
        if audio is not None:
            audio.bit_rate = 32_000
        for number in range(round(seconds * fps)):
            luma = np.full((72, 64), 128, np.uint8)
            luma[:48, :32], luma[:48, 32:] = 30 + 4 * (number // 50), 30 + 4 * (number % 50)
            frame = av.VideoFrame.from_ndarray(luma, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            times = np.arange(round(seconds * 16000)) / 16000
            loud = np.where(times.astype(int) % 5 == 0, 0.5, 0.02)
            wave = loud * np.sin(2 * math.pi * 440 * times)
            data = wave.astype(np.float32) if sound == "aac" else (wave * 32767).astype(np.int16)
            sample = av.AudioFrame.from_ndarray(data[None], format=audio.format.name, layout="mono")
            sample.sample_rate, sample.time_base, sample.pts = 16000, Fraction(1, 16000), 0
            container.mux(audio.encode(sample))
            container.mux(audio.encode(None))


def frame_number(picture: np.ndarray) -> int:
    """The number that a picture of `make_video` shows. picture: (H, W, 3) uint8 RGB."""
    height, width = picture.shape[:2]
    grey = picture[height // 4 : -height // 4].mean(axis=(0, 2))
    # Studio range: 16 is black, 235 white.
    sides = (grey[width // 8 : 3 * width // 8].mean(), grey[5 * width // 8 : 7 * width // 8].mean())
    high, low = (round((side * 219 / 255 + 16 - 30) / 4) for side in sides)
    return high * 50 + low


def make_media(folder: Path) -> dict[str, bytes]:
    """All media of the server by name; made once, about two seconds."""
    ffmpeg = ffmpeg_binary(DownloadSettings())
    make_video(folder / "good.mp4", 14)
    make_video(folder / "short.mp4", 7)
    make_video(folder / "mute.mp4", 14, sound="")
    make_video(folder / "long.mp4", 1200, fps=2, sound="mp2")  # FFmpeg's AAC encoder takes ten times as long.
    quiet = [ffmpeg, "-v", "error", "-y", "-i"]
    for name, streams in (("picture", "-an"), ("sound", "-vn")):
        subprocess.run([*quiet, folder / "good.mp4", streams, "-c", "copy", folder / f"{name}.mp4"], check=True)
    hls = ["-c", "copy", "-f", "hls", "-hls_time", "10", "-hls_list_size", "0", "-hls_playlist_type", "vod"]
    subprocess.run([*quiet, folder / "long.mp4", *hls, folder / "long.m3u8"], check=True)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@dataclass
class YouTubeServer:
    """Answers for the time of a `with` block.

    Args:
        media: make_media's files.
        videos: id -> behaviour.
    """

    media: dict[str, bytes]
    videos: dict[str, str]
    pages: Counter[str] = field(default_factory=Counter)
    """Times that each video's page was asked for."""
    starts: list[float] = field(default_factory=list)
    """When pages were asked for, seconds since 1970."""
    sent: Counter[str] = field(default_factory=Counter)
    """Bytes of media that were sent for each video."""
    whole: Counter[str] = field(default_factory=Counter)
    """Media files that were sent to their end, from their first byte, by video and name."""
    paths: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        server = self

        class Handler(_Handler):
            site = server

        self._http = _Http(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def page(self, video: str, behaviour: str) -> dict[str, object]:
        """What the site says of a video."""
        if behaviour in REASONS:
            return {"reason": REASONS[behaviour], "countries": ["DE"] if behaviour == "geo" else None}
        plain = {"vcodec": "avc1.42c00b", "acodec": "mp4a.40.2", "height": 48, "width": 64, "ext": "mp4"}
        address = f"/media/{video}"
        formats = [plain | {"format_id": "18", "url": f"{address}/{_file(behaviour)}"}]
        if behaviour in ("pair", "torn_pair"):
            picture = "picture.mp4" if behaviour == "pair" else "short.mp4"
            formats = [
                plain | {"format_id": "133", "url": f"{address}/{picture}", "acodec": "none"},
                plain | {"format_id": "140", "url": f"{address}/sound.mp4", "vcodec": "none", "ext": "m4a"},
            ]
        if behaviour in LONG:
            formats.append(plain | {"format_id": "93", "url": f"{address}/long.m3u8", "protocol": "m3u8_native"})
        if behaviour.startswith("hls"):
            formats = [plain | {"format_id": "93", "url": f"{address}/hls.m3u8", "protocol": "m3u8_native"}]
        if behaviour == "no_format":
            formats = [plain | {"format_id": "313", "url": f"{address}/good.mp4", "vcodec": "vp9", "ext": "webm"}]
        facts = {"title": f"video {video}; rm -rf $HOME `touch x`", "formats": formats, "duration": _seconds(behaviour)}
        if behaviour == "evil":
            facts |= {"title": "../../../escaped", "display_id": "../escaped", "uploader": "/escaped"}
            formats[0] |= {"format_id": "../../escaped"}
        return facts


def _file(behaviour: str) -> str:
    return f"{behaviour}.mp4" if behaviour in ("short", "mute") else "long.mp4" if behaviour in LONG else "good.mp4"


def _seconds(behaviour: str) -> int:
    return 1200 if behaviour in LONG else 7 if behaviour == "short" else 14


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed break their connections."""


class _Handler(BaseHTTPRequestHandler):
    site: YouTubeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, form: str, *arguments: object) -> None:
        """Tests read what was remembered, not a log."""

    def do_GET(self) -> None:
        with self.site.lock:
            self.site.paths.append(self.path)
        kind, video, *rest = self.path.strip("/").split("/")
        behaviour = self.site.videos.get(video, "404")
        if kind == "page":
            self._page(video, behaviour)
        else:
            self._media(video, behaviour, rest[-1])

    def _page(self, video: str, behaviour: str) -> None:
        with self.site.lock:
            self.site.pages[video] += 1
            self.site.starts.append(time.time())
            first = self.site.pages[video] == 1
        if behaviour == "429":
            self._answer(429, b"")
        elif behaviour == "429_once" and first:
            self._answer(429, b"", {"Retry-After": "1"})
        else:
            self._answer(
                200, json.dumps(self.site.page(video, behaviour)).encode(), {"Content-Type": "application/json"}
            )

    def _media(self, video: str, behaviour: str, name: str) -> None:
        with self.site.lock:
            before = self.site.sent[f"{video} answers"]
            self.site.sent[f"{video} answers"] += 1
        first = before == 0
        body = self.site.media[name]
        if behaviour in ("403", "404", "500"):
            self._answer(int(behaviour), b"")
        elif behaviour == "hls_hole" and name == "hls1.ts":
            self._answer(404, b"")
        elif behaviour == "holes" and re.fullmatch(r"long6\d\.ts", name) and name != "long60.ts":
            self._answer(404, b"")
        elif behaviour in ("403_once", "expired") and first:
            self._answer(403, b"")
        elif behaviour == "503_once" and first:
            self._answer(503, b"")
        elif behaviour == "html":
            self._answer(200, b"<!DOCTYPE html><title>Sorry</title>" + b" " * 2000, {"Content-Type": "text/html"})
        elif behaviour in ("slow", "flood") or (behaviour == "stuck" and re.fullmatch(r"long6\d\.ts", name)):
            self._endless(body, 1 << 14 if behaviour == "flood" else 1)
        elif behaviour == "cut":
            self._answer(200, body[: len(body) * 2 // 3], length=False)
        elif behaviour in ("reset", "early") or (behaviour == "reset_once" and first):
            # Resuming leads nowhere either, unless it happens once only.
            self._answer(200, body, stop_at=len(body) // 2, reset=behaviour != "early")
        else:
            extra = {"Content-Disposition": 'attachment; filename="../../../escaped.sh"'} if behaviour == "evil" else {}
            self._send(video, name, body, extra)

    def _send(self, video: str, name: str, body: bytes, extra: dict[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = (int(asked[1]), int(asked[2] or len(body) - 1)) if asked else (0, len(body) - 1)
        if start >= len(body):
            self._answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            return
        end = min(end, len(body) - 1)
        headers = {"Accept-Ranges": "bytes", "Content-Type": "video/mp4", **extra}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
        self._answer(206 if asked else 200, body[start : end + 1], headers)
        with self.site.lock:
            self.site.sent[video] += end + 1 - start
            self.site.whole[f"{video} {name}"] += start == 0 and end == len(body) - 1

    def _answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        length: bool = True,
        stop_at: int | None = None,
        reset: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        try:
            self.wfile.write(body[:stop_at])
            self.wfile.flush()
        except OSError:
            self.close_connection = True
        if stop_at is not None:
            self.close_connection = True
            if reset:
                time.sleep(0.1)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

    def _endless(self, body: bytes, step: int) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        place = 0
        try:
            while not self.site.closing.wait(0.1 if step == 1 else 0.001):
                self.wfile.write(body[place : place + step])
                self.wfile.flush()
                place = (place + step) % len(body)
        except OSError:
            return
