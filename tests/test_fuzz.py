"""Mutations of small files through every reader: only MediaError and ValueError come out, in bounded time.

2,000 mutations with fixed seeds, as many as run in a minute. DRAWAUDIO_MUTATIONS sets another number for a long run, and
DRAWAUDIO_FIRST_MUTATION where its seeds begin: a run that goes on where another one stopped tries nothing twice.
"""

import contextlib
import io
import json
import os
import random
import subprocess
import tempfile
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from drawaudio_model import loudness, media
from drawaudio_model.boxes import Box, boxes_to_json
from drawaudio_model.generation import instructions
from pipelines.sources import folder
from tests.test_media import clicks, encode

MUTATIONS = int(os.environ.get("DRAWAUDIO_MUTATIONS", "2000"))
FIRST = int(os.environ.get("DRAWAUDIO_FIRST_MUTATION", "0"))
SLOWEST_SECONDS = 10.0
"""No mutation of a file of 2 s may take longer."""


def small(**arguments):
    return encode(frames=12, sound=clicks(1, arguments.get("rate", 44100), (0.5,)), **arguments)


def seeds():
    """Small files of every container, whole and joined."""
    fragmented = small(options={"movflags": "frag_keyframe+empty_moov"})
    stream = small(container="mpegts")
    return [
        small(),
        fragmented,
        small(container="mov", video="mjpeg", audio="pcm_s16le", pixels="yuvj420p"),
        small(container="matroska", audio="flac"),
        small(container="webm", video="libvpx", audio="libopus", rate=48000),
        small(container="avi", video="mpeg4", audio="libmp3lame"),
        small(container="flv", video="flv", audio="libmp3lame"),
        small(container="ogg", video="libvpx", audio="flac"),
        stream,
        stream + stream,
        small(container="asf", video="mpeg4", audio="libmp3lame"),
        small(container="wav", video=None, audio="pcm_s16le"),
        small(container="flac", video=None, audio="flac"),
        small(container="mp3", video=None, audio="libmp3lame"),
    ]


def seeds_of_the_program():
    """What PyAV does not write: pictures that are packed, chapters, a transparency in a layer of its own."""
    picture = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=12:d=1", "-f", "lavfi", "-i", "sine=d=1"]
    made = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "chapters.txt").write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle=one\n")
        transparent = "format=yuva420p,colorchannelmixer=aa=0.5,format=yuva420p"
        layers = ["-vf", transparent, "-c:v", "libx265", "-x265-params", "log-level=none:alpha=1", "-tag:v", "hvc1"]
        chapters = ["-i", str(place / "chapters.txt"), "-map_chapters", "2"]
        for name, words in (
            ("packed.avi", ["-c:v", "libxvid", "-bf", "2"]),
            ("chapters.mkv", chapters),
            ("chapters.mp4", chapters),
            ("layers.mov", layers),
        ):
            program = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *picture, *words, str(place / name)]
            subprocess.run(program, check=True)
            made.append((place / name).read_bytes())
    return made


def mutated(data, rng):
    """The bytes with a few changes of the kinds that break readers: bits, extreme numbers, holes, cuts, doubled pieces."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not out:
            break
        # Headers matter most: half of the changes lie in the first kilobyte, or the last.
        span = min(len(out), 1024)
        place = rng.choice((rng.randrange(span), len(out) - 1 - rng.randrange(span), rng.randrange(len(out))))
        kind = rng.randrange(6)
        if kind == 0:
            out[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            width = rng.choice((2, 4, 8))
            out[place : place + width] = rng.choice((b"\xff", b"\x00", b"\x7f")) * len(out[place : place + width])
        elif kind == 3:
            del out[place : place + rng.choice((1, 4, 100))]
        elif kind == 4:
            out[place:place] = out[place : place + rng.choice((1, 8, 500))]
        else:
            del out[place + rng.randrange(1, 500) :]
    return bytes(out)


def read_media(data, path):
    for read in (
        media.probe,
        lambda source: media.read_clips(source, starts_seconds=(0, 1), seconds=1, size=(18, 32)),
        lambda source: media.read_frames(source, seconds=1, size=(18, 32), threads=1),
        lambda source: media.read_waveform(source, seconds=1),
    ):
        allowed(read, data)
    path.write_bytes(data)
    allowed(lambda source: folder.cut_media(source.parent, None), path)


def mux(data, path):
    path.write_bytes(data)
    suffix = random.Random(len(data)).choice((".mp4", ".mkv", ".mov", ".webm"))
    sound = np.zeros(16000, np.float32)
    allowed(lambda source: media.mux(source, sound, source.parent / f"out{suffix}"), path)


def read_mask(data, path):
    for suffix in (".png", ".jpg", ".json"):
        path = path.with_suffix(suffix)
        path.write_bytes(data)
        allowed(lambda source: instructions.read_mask(source, 4, 18, 32), path)


def read_curve(data, path):
    for suffix in (".csv", ".json"):
        path = path.with_suffix(suffix)
        path.write_bytes(data)
        allowed(loudness.read_points, path)
        allowed(lambda source: loudness.from_points(loudness.read_points(source), 2), path)


def read_captions(data, path):
    clips = path.parent / "clips"
    clips.mkdir(exist_ok=True)
    (clips / "a.mp4").touch()
    path.write_bytes(data)
    allowed(lambda source: folder.list_media(clips, source), path)


def allowed(read, source):
    """Reads; nothing but a ValueError may come out (MediaError is one), and soon."""
    begin = time.perf_counter()
    with contextlib.suppress(ValueError):
        read(source)
    assert time.perf_counter() - begin < SLOWEST_SECONDS


def pictures():
    """Masks in several forms."""
    grey = np.zeros((18, 32), np.uint8)
    grey[4:9, 5:20] = 255
    for mode, form in (("L", "PNG"), ("RGB", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("1", "PNG"), ("RGB", "JPEG")):
        buffer = io.BytesIO()
        Image.fromarray(grey).convert(mode).save(buffer, form)
        yield buffer.getvalue()
    yield boxes_to_json([Box(0, 0, 1.0, 0.1, 0.1, 0.5, 0.5)], frames=4).encode()


CURVES = [
    b"time_seconds,level\n0,0\n0.5,0.3\n2,1e-3\n",
    json.dumps([{"time_seconds": 0, "level": 0.25}, {"time_seconds": 2, "level": 1}]).encode(),
]
CAPTIONS = [b'file,caption,split,label\na.mp4,"A dog, barking.",test,dog\n', b"\xef\xbb\xbffile,caption\na.mp4,rain\n"]

WAYS = {
    "media": (lambda: seeds() + seeds_of_the_program(), read_media, 0.5),
    "mux": (lambda: seeds() + seeds_of_the_program(), mux, 0.1),
    "masks": (lambda: list(pictures()), read_mask, 0.15),
    "curves": (lambda: CURVES, read_curve, 0.15),
    "captions": (lambda: CAPTIONS, read_captions, 0.1),
}
"""Name -> its files, its readers, its share of all mutations."""


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_nothing_but_value_errors_comes_out_of_broken_files(way, tmp_path):
    files, read, share = WAYS[way]
    originals = files()
    for number in range(FIRST, FIRST + round(share * MUTATIONS)):
        rng = random.Random(f"{way} {number}")
        data = mutated(rng.choice(originals), rng)
        try:
            read(data, tmp_path / "clip.mp4")
        except Exception as error:
            pytest.fail(f"mutation {number} of {way}: {type(error).__name__}: {error}")


def test_the_unbroken_files_are_read(tmp_path):
    """The readers above accept what they are given before it is broken."""
    for data in seeds()[:12] + seeds_of_the_program():
        media.probe(data)
    for data in seeds()[:9]:
        assert media.read_clips(data, seconds=1).frames_decoded == 12
    path = tmp_path / "mask.png"
    path.write_bytes(next(iter(pictures())))
    assert instructions.read_mask(path, 4, 18, 32).any()
    path = tmp_path / "curve.csv"
    path.write_bytes(CURVES[0])
    assert len(loudness.read_points(path)) == 3
