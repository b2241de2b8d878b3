"""What the page shows of a video is the video: every frame at its time, upright, whatever the browser can play itself."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from drawaudio_model import media
from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.studio.media_view import TICKS, main, make_views, write_pictures
from drawaudio_model.studio.view_marks import is_made
from tests.studio_page import FPS, HEIGHT, SECONDS, WIDTH, write_clip


def number_in(frame: np.ndarray) -> int:
    """The number that the bars of `write_clip` show, in a picture of any size."""
    height, width = frame.shape[:2]
    row = frame[round(24 / HEIGHT * height)]
    return sum((row[round((15 + bit * 18) / WIDTH * width)].mean() > 128) << bit for bit in range(8))


def made(video: Path, folder: Path) -> dict:
    told: list[tuple[str, float]] = []
    make_views(video, folder, lambda stage, share: told.append((stage, share)))
    assert told and told[-1][0] == "sound" and all(0 <= share <= 1 for _, share in told)
    return json.loads((folder / "media.json").read_bytes())


def proxy_frames(folder: Path) -> list[av.VideoFrame]:
    with av.open(str(folder / "proxy.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert all(packet.is_keyframe for packet in packets)
        container.seek(0)
        return [*container.decode(stream)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


def test_the_proxy_shows_every_frame_at_its_time_and_each_is_a_key_frame(clip: Path, tmp_path: Path) -> None:
    found = made(clip, tmp_path / "cache")
    frames = proxy_frames(tmp_path / "cache")
    assert [number_in(frame.to_ndarray(format="rgb24")) for frame in frames] == [*range(SECONDS * FPS)]
    times = [float(frame.pts * frame.time_base) for frame in frames]
    assert times == pytest.approx(found["times"], abs=1e-5)
    assert times == pytest.approx([number / FPS for number in range(SECONDS * FPS)], abs=1 / TICKS)
    assert found["rate"] == {"numerator": FPS, "denominator": 1, "varies": False}
    assert found["seconds"] == pytest.approx(SECONDS)


def test_what_the_model_sees_is_said_as_the_pipeline_reads_it(clip: Path, tmp_path: Path) -> None:
    from drawaudio_model.generation.instructions import read_video

    found = made(clip, tmp_path / "cache")
    count, height, width, _ = read_video(clip).frames.shape
    assert (found["model_frames"], found["model_size"]) == (count, [width, height])


def test_views_are_made_again_only_when_the_file_has_changed(clip: Path, tmp_path: Path) -> None:
    video = tmp_path / "copy.mp4"
    video.write_bytes(clip.read_bytes())
    assert not is_made(video, tmp_path / "cache")
    made(video, tmp_path / "cache")
    assert is_made(video, tmp_path / "cache")
    video.write_bytes(clip.read_bytes() + b"\0")
    assert not is_made(video, tmp_path / "cache")


def write_frames(
    path: Path, times: list[float], codec: str, size: tuple[int, int] = (WIDTH, HEIGHT), **options: str
) -> Path:
    """Frames that show their numbers, at these times."""
    width, height = size
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream(codec, rate=25, width=width, height=height, pix_fmt="yuv420p")
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = options
        for number, time in enumerate(times):
            picture = np.full((height, width, 3), 60, np.uint8)
            for bit in range(8):
                left = round((8 + bit * 18) / WIDTH * width)
                picture[
                    round(8 / HEIGHT * height) : round(40 / HEIGHT * height), left : left + round(14 / WIDTH * width)
                ] = 255 if number >> bit & 1 else 0
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    return path


def test_a_rate_that_varies_keeps_its_times(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 0.2, 0.5, 0.54, 1.0, 1.3, 1.34, 1.9]
    found = made(write_frames(tmp_path / "phone.mkv", times, "libx264", bf="2"), tmp_path / "cache")
    assert found["times"] == pytest.approx(times, abs=0.002)
    assert found["rate"]["varies"] and found["sound"] is None
    assert [number_in(frame.to_ndarray(format="rgb24")) for frame in proxy_frames(tmp_path / "cache")] == [*range(10)]


def test_what_a_browser_cannot_play_it_can_play_by_its_proxy(tmp_path: Path) -> None:
    video = write_frames(tmp_path / "old.avi", [number / 25 for number in range(20)], "mpeg4")
    found = made(video, tmp_path / "cache")
    assert len(found["times"]) == 20
    assert [number_in(frame.to_ndarray(format="rgb24")) for frame in proxy_frames(tmp_path / "cache")] == [*range(20)]


def test_a_large_picture_gets_a_smaller_proxy_with_even_sides(tmp_path: Path) -> None:
    video = write_frames(tmp_path / "large.mp4", [number / 25 for number in range(3)], "libx264", (1922, 1082))
    width, height = made(video, tmp_path / "cache")["size"]
    assert width % 2 == height % 2 == 0 and 900 <= width <= 960
    assert width / height == pytest.approx(1922 / 1082, rel=0.01)


def test_the_strip_holds_a_small_picture_for_each_stretch(clip: Path, tmp_path: Path) -> None:
    strip = made(clip, tmp_path / "cache")["strip"]
    assert strip["count"] == 12 and strip["interval"] == 0.25
    with Image.open(tmp_path / "cache" / "strip.jpg") as sheet:
        first, last = (
            np.asarray(sheet)[: strip["height"], n * strip["width"] : (n + 1) * strip["width"]] for n in (0, 11)
        )
    assert (number_in(first), number_in(last)) == (0, 33)


def test_the_sound_is_the_reader_s_and_its_peaks_are_where_it_is_loud(clip: Path, tmp_path: Path) -> None:
    made(clip, tmp_path / "cache")
    waveform = media.read_waveform(clip, seconds=SECONDS)
    assert (media.read_waveform(tmp_path / "cache" / "sound.wav") == waveform).all()
    peaks = np.frombuffer((tmp_path / "cache" / "sound.peaks").read_bytes(), np.int8).reshape(-1, 2)
    assert len(peaks) == SECONDS * 100
    assert peaks[0, 1] == pytest.approx(waveform[:160].max() * 127, abs=1) and abs(peaks[50:90]).max() <= 3


def test_the_log_mel_picture_is_dense_where_a_tone_is_and_long_sounds_fit_a_browser(tmp_path: Path) -> None:
    times = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    write_pictures((0.5 * np.sin(2 * np.pi * 200 * times)).astype(np.float32), tmp_path / "tone")
    with Image.open(tmp_path / "tone.png") as picture:
        opacity = np.asarray(picture)[..., 1]
    assert opacity.shape == (64, 200)
    assert opacity[-6:].mean() > 2 * opacity[:32].mean()
    write_pictures(np.zeros(400 * SAMPLE_RATE, np.float32), tmp_path / "long")
    with Image.open(tmp_path / "long.png") as picture:
        assert picture.width <= 16384


@pytest.mark.parametrize("kind", ["text", "picture", "sound", "nothing"])
def test_what_is_no_video_is_one_sentence(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"{kind}.mp4"
    if kind == "text":
        path.write_text("no video")
    elif kind == "picture":
        Image.new("RGB", (32, 32)).save(path, "PNG")
    elif kind == "sound":
        media.write_audio(tmp_path / "a.wav", np.zeros(SAMPLE_RATE, np.float32))
        (tmp_path / "a.wav").rename(path)
    assert main([str(path), str(tmp_path / "cache")]) == 2
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(last) == {"error"} and "\n" not in last["error"]
    assert not (tmp_path / "cache").exists()
    # Asked alone it says the same.
    assert main([str(path)]) == 2
    assert json.loads(capsys.readouterr().out) == last


def test_a_video_is_one_when_it_is_asked_for_alone(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(clip)]) == 0
    assert capsys.readouterr().out == ""
