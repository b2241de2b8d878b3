"""Which streams of a file are read, and what is said of those that cannot be."""

import io
import socket
import subprocess
import sys
import time

import av
import imageio_ffmpeg
import numpy as np
import pytest

from drawaudio_model import media
from drawaudio_model.decoding import errors, reading
from drawaudio_model.media import MediaError
from drawaudio_model.training_sample import RARE_FLAGS
from tests.test_media import H, W, encode, number_of


def without_decoder(data, tag):
    """The file with one codec's tag made one that nobody knows."""
    assert data.count(tag) >= 1
    place = data.rindex(tag)
    return data[:place] + b"zzzz" + data[place + 4 :]


def test_a_stream_without_a_decoder_is_told_and_the_other_one_read():
    whole = encode(container="mov", video="mjpeg", audio="pcm_s16le", pixels="yuvj420p")
    no_picture, no_sound = without_decoder(whole, b"jpeg"), without_decoder(whole, b"sowt")
    for data, kind in ((no_picture, "video"), (no_sound, "audio")):
        with pytest.raises(MediaError, match=f"no decoder for the {kind} stream") as caught:
            media.read_clips(data, seconds=2)
        assert caught.value.reason == "undecodable"
        info = media.probe(data)
        assert (info.video_codec == "unknown", info.audio_codec == "unknown") == (kind == "video", kind == "audio")
        assert (info.video_seconds, info.audio_seconds) == pytest.approx((2, 2), abs=0.01)
    assert len(media.read_waveform(no_picture)) == 2 * 16000
    assert media.read_frames(no_sound, seconds=2).shape[0] == 8
    with pytest.raises(MediaError, match="no decoder for the audio stream"):
        media.read_waveform(no_sound)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_a_thumbnail_that_nobody_marked_is_no_moving_picture(suffix, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    encode(tmp_path / "clip.mkv", container="matroska", audio="flac")
    still = {"video": "mjpeg", "audio": None, "frames": 1, "pixels": "yuvj420p", "picture": noise, "size": (640, 480)}
    encode(tmp_path / "thumb.mkv", container="matroska", **still)
    out = tmp_path / f"out.{suffix}"
    maps = [
        "-map",
        "1:v",
        "-map",
        "0:v",
        "-map",
        "0:a",
        "-c",
        "copy",
        "-disposition:v:0",
        "default",
        "-disposition:v:1",
        "0",
    ]
    sound = ["-c:a", "aac"] if suffix != "mkv" else []
    inputs = ["-i", str(tmp_path / "clip.mkv"), "-i", str(tmp_path / "thumb.mkv")]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *inputs, *maps, *sound, str(out)], check=True)
    with av.open(str(out)) as container:
        assert container.streams.video[0].codec_context.name == "mjpeg"
    decoded = media.read_clips(out, seconds=2)
    assert decoded.frames_decoded == 24 and decoded.clips[0].frames.shape[1:3] == (H, W)
    assert number_of(media.read_frames(out, seconds=2)).tolist() == [0, 3, 6, 9, 12, 15, 18, 21]


@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile other.mp4\n", "#EXTM3U\n#EXTINF:1,\nother.ts\n"])
def test_a_list_of_other_files_is_no_media_and_says_so(text, tmp_path):
    encode(tmp_path / "other.mp4")
    path = tmp_path / "list.mp4"
    path.write_text(text)
    with pytest.raises(MediaError) as caught:
        media.read_clips(path)
    assert caught.value.reason == "undecodable" and "names other files" in str(caught.value)


SESSION = "o=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
NAMED = "http://127.0.0.1:{port}/a"
"""An address that a list names; a server there hears whoever asks."""
LISTS = {
    "session.sdp": "v=0\n" + SESSION,
    "session.mp4": "v=0\r\n" + SESSION.replace("\n", "\r\n"),
    "no version.mp4": SESSION,  # FFmpeg takes it for a session all the same
    "late.mp4": f"s={'x' * 1200}\n{SESSION}",
    "hls.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{NAMED}.ts\n#EXT-X-ENDLIST\n",
    "concat.ffconcat": f"ffconcat version 1.0\nfile {NAMED}.ts\n",
    "concat.mp4": f"\n  ffconcat version 1.0\nfile {NAMED}.ts\n",
    "dash.mpd": f'<?xml version="1.0"?>\n<!-- made here -->\n<MPD><BaseURL>{NAMED}.mp4</BaseURL></MPD>',
    "list.pls": f"[playlist]\nFile1={NAMED}.mp4\n",
    "list.asx": f"<asx><entry><ref href='{NAMED}.mp4'/></entry></asx>",
    "address.mp4": f"{NAMED}.mp4\n",
    "camera.rtsp": "rtsp://127.0.0.1:{port}/camera\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_what_names_a_stream_on_a_network_is_refused_at_once_and_nobody_is_asked(name, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        path = tmp_path / name
        path.write_text(LISTS[name].format(port=server.getsockname()[1]), newline="")
        for source in (path, path.read_bytes()):
            begun = time.monotonic()
            with pytest.raises(MediaError) as caught:
                media.probe(source)
            assert caught.value.reason == "undecodable"
            assert name in ("no version.mp4", "late.mp4") or "names other files, or a stream" in str(caught.value)
            assert time.monotonic() - begun < 5, "FFmpeg waits 10 s for packets that never come"
        with pytest.raises(TimeoutError):
            server.accept()


def test_whatever_a_file_raises_is_a_media_error_with_its_words(monkeypatch):
    data = encode()
    for error in (MemoryError("no room"), IndexError("stream 7"), AttributeError("no name"), RecursionError("deep")):

        def broken(*_, error=error, **__):
            raise error

        monkeypatch.setattr(reading, "_decode", broken)
        for read in (media.read_clips, media.read_waveform, lambda source: media.read_frames(source, seconds=1)):
            with pytest.raises(MediaError, match=f"{type(error).__name__}: {error}") as caught:
                read(data)
            assert caught.value.reason == ("no_memory" if isinstance(error, MemoryError) else "undecodable")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        media.read_clips("nothing.mp4")


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_machine_without_memory_never_calls_a_file_damaged(tmp_path, comes_back):
    """A process that may grow by half a picture reads a file that is whole; also where memory is back a moment later."""
    picture = np.random.default_rng(0).integers(0, 255, (1500, 2000, 3), dtype=np.uint8)
    path = tmp_path / "large.mov"
    options = {"video": "mjpeg", "audio": "pcm_s16le", "pixels": "yuvj420p"}
    encode(path, container="mov", frames=12, size=(2000, 1500), picture=picture, **options)
    program = (
        "import resource, sys; import psutil; from drawaudio_model import media\n"
        "from drawaudio_model.decoding import lengths\n"
        "list(media.read_frames(sys.argv[2], seconds=1, threads=1))\n"  # whatever is loaded at the first use
        "now = psutil.Process().memory_info().vms\n"
        "most = resource.RLIM_INFINITY\n"
        "resource.setrlimit(resource.RLIMIT_AS, (now + 1500 * 2000 * 3 // 4, most))\n"
        "lift = lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
        f"{'lengths.check_memory = lift' if comes_back else ''}\n"
        "try:\n"
        "    media.read_frames(sys.argv[1], seconds=1, size=(18, 32), threads=1)\n"
        "except media.MediaError as error:\n"
        "    print(error.reason, error)\n"
    )
    encode(tmp_path / "small.mov", container="mov", **options)
    command = [sys.executable, "-c", program, str(path), str(tmp_path / "small.mov")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.startswith("no_memory "), told
    assert media.read_frames(path, seconds=1, size=(18, 32)).shape == (4, 18, 32, 3)


def test_every_flag_of_a_file_reaches_the_samples():
    assert {*RARE_FLAGS} == {*errors.FILE_FLAGS, "one_channel"} and "one_channel" in reading.CLIP_FLAGS


def test_a_still_picture_is_read_as_one_and_has_no_sound():
    picture = media.encode_jpeg(np.full((H, W, 3), 90, np.uint8))
    with pytest.raises(MediaError) as caught:
        media.read_clips(picture)
    assert caught.value.reason == "no_audio_stream"
    with av.open(io.BytesIO(picture)) as container:
        assert container.format.name in ("jpeg_pipe", "image2")
