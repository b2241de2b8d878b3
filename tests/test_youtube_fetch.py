"""One video: what is asked of yt-dlp, what is believed of what it brings, and how a clip is cut."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from drawaudio_model.media import read_clips
from pipelines.sources.youtube.cut import cut, ffmpeg_binary
from pipelines.sources.youtube.errors import Kind
from pipelines.sources.youtube.outcomes import VideoOutcome, VideoRequest, is_fetched, read_clip, read_outcome
from pipelines.sources.youtube.probe import Fault, Probe, clip_fault, missing_part, probe, source_fault
from pipelines.sources.youtube.settings import DownloadSettings
from tests.youtube_server import PLUGINS, YouTubeServer, frame_number, make_video
from tests.youtube_site import settings, video_id


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 s at 5 fps, one keyframe every 10 s."""
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    make_video(path, 14)
    return path


@pytest.fixture(scope="module")
def server(video: Path) -> Iterator[YouTubeServer]:
    videos = {video_id(name): name for name in ("good", "flood", "hls", "hls_hole")}
    command = [
        ffmpeg_binary(DownloadSettings()),
        "-v",
        "error",
        "-i",
        video,
        "-c",
        "copy",
        "-f",
        "hls",
        "-hls_list_size",
        "0",
    ]
    subprocess.run([*command, video.with_name("hls.m3u8")], check=True)
    media = {path.name: path.read_bytes() for path in video.parent.glob("hls*")} | {"good.mp4": video.read_bytes()}
    assert {"hls.m3u8", "hls0.ts", "hls1.ts"} <= set(media)
    with pytest.MonkeyPatch.context() as patch, YouTubeServer(media, videos) as site:
        patch.syspath_prepend(str(PLUGINS))
        yield site


def fetch(server: YouTubeServer, name: str, folder: Path, **more: object) -> VideoOutcome:
    from pipelines.sources.youtube.fetch import fetch_video

    held = settings(server, folder / "state", **more)
    fetch_video(VideoRequest(video_id(name), (1,), str(folder / "video"), held))
    outcome = read_outcome(folder / "video")
    assert outcome is not None
    return outcome


def fault_of(path: Path) -> str:
    found = probe(path)
    found = found if isinstance(found, Fault) else clip_fault(found)
    return found.error.name if found else ""


def test_a_cut_holds_the_clip_and_nothing_hidden(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "clip.mp4"
    assert cut(ffmpeg_binary(DownloadSettings()), video, 3, out, 60) is None
    found = probe(out)
    assert isinstance(found, Probe)
    assert (found.frames, found.hidden_frames) == (50, 0)
    assert found.video_seconds == pytest.approx(10, abs=0.01)
    assert found.audio_seconds == pytest.approx(10, abs=0.1)
    assert abs(found.audio_offset_seconds) < 0.05
    assert fault_of(out) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    again = tmp_path / "again.mp4"
    assert cut(ffmpeg_binary(DownloadSettings()), video, 3, again, 60) is None
    assert again.read_bytes() == out.read_bytes()


def test_a_copied_section_is_no_clip(video: Path, tmp_path: Path) -> None:
    """What a section without forced keyframes is: frames from the keyframe before, hidden by an edit list."""
    out = tmp_path / "copied.mp4"
    command = [ffmpeg_binary(DownloadSettings()), "-v", "error", "-ss", "3", "-i", video, "-t", "10", "-c", "copy", out]
    subprocess.run(command, check=True)
    found = probe(out)
    assert isinstance(found, Probe)
    assert found.hidden_frames == 15
    assert fault_of(out) == "hidden_frames"


def test_what_is_no_clip_is_told_apart(video: Path, tmp_path: Path) -> None:
    ffmpeg = ffmpeg_binary(DownloadSettings())
    assert fault_of(video) == "long_clip"
    short, mute, still = tmp_path / "short.mp4", tmp_path / "mute.mp4", tmp_path / "sound.mp4"
    for path, arguments in ((short, ["-t", "7"]), (mute, ["-t", "10", "-an"]), (still, ["-t", "10", "-vn"])):
        subprocess.run([ffmpeg, "-v", "error", "-i", video, *arguments, "-c", "copy", path], check=True)
    assert [fault_of(path) for path in (short, mute, still)] == ["short_clip", "no_audio", "no_video"]
    late = tmp_path / "late.mp4"
    command = [ffmpeg, "-v", "error", "-i", video, "-itsoffset", "0.8", "-i", video, "-map", "0:v", "-map", "1:a"]
    subprocess.run([*command, "-c", "copy", "-t", "10.4", late], check=True)
    found = probe(late)
    assert isinstance(found, Probe)
    assert found.audio_offset_seconds == pytest.approx(0.8, abs=0.1)  # An AAC packet of 1024 samples lasts 64 ms here.
    assert fault_of(late) == "av_offset"
    page = tmp_path / "page.mp4"
    page.write_bytes(b"<!DOCTYPE html><title>Sorry</title>")
    assert fault_of(page) == "not_media"


def test_a_file_torn_anywhere_is_fetched_again(video: Path, tmp_path: Path) -> None:
    """Never a permanent class: the video has sound, picture and length, only this copy has not."""
    content, torn = video.read_bytes(), tmp_path / "torn.mp4"
    for size in (20, 40, 200, 700, 1500, 3000, len(content) // 2, len(content) - 6000):
        torn.write_bytes(content[:size])
        found = probe(torn)
        fault = found if isinstance(found, Fault) else source_fault(found)
        assert fault is not None, size
        assert fault.error.kind is Kind.RETRY, (size, fault)
    assert source_fault(probe(video)) is None


def test_a_clip_beyond_the_video_is_known_before_it_is_cut() -> None:
    assert missing_part(4.4, 14) is None
    assert missing_part(5, 14).error.name == "short_clip"
    assert missing_part(14, 14).error.name == "empty_clip"
    # The site's lengths are whole seconds: what may be there is fetched and measured.
    assert missing_part(5, 14, slack_seconds=1) is None


def test_an_ffmpeg_error_is_the_clips_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no media")
    found = cut(ffmpeg_binary(DownloadSettings()), broken, 0, tmp_path / "clip.mp4", 60)
    assert found.error.name == "ffmpeg"
    assert "Invalid data found" in found.message
    with pytest.raises(ValueError, match="DRAWAUDIO_YOUTUBE_FFMPEG is '/no/ffmpeg', which is no program"):
        ffmpeg_binary(DownloadSettings(ffmpeg="/no/ffmpeg"))


def test_a_file_that_is_too_large_is_not_fetched_and_an_endless_one_not_to_its_end(
    server: YouTubeServer, tmp_path: Path
) -> None:
    assert fetch(server, "good", tmp_path / "a", most_bytes=10_000).error == "too_large"
    assert fetch(server, "flood", tmp_path / "b", most_bytes=100_000).error == "too_large"


def test_a_video_of_segments_is_whole_or_not_there(server: YouTubeServer, tmp_path: Path) -> None:
    assert fetch(server, "hls", tmp_path / "a") == VideoOutcome()
    clip, media = read_clip(tmp_path / "a" / "video", 1)
    assert (clip.error, clip.facts["frames"]) == ("", 50)
    frames = read_clips(media, fps=5).clips[0].frames
    assert [frame_number(frame) for frame in frames] == list(range(5, 55))
    assert fetch(server, "hls_hole", tmp_path / "b").error == "http_404"


def test_what_is_fetched_stays_until_it_is_taken(server: YouTubeServer, tmp_path: Path) -> None:
    assert fetch(server, "good", tmp_path).error == ""
    asked = list(server.paths)
    (tmp_path / "video" / "clip-000001.mp4").unlink()
    (tmp_path / "video" / "clip-000001.json").unlink()
    assert fetch(server, "good", tmp_path).error == ""
    assert read_clip(tmp_path / "video", 1)[0].error == ""
    assert server.paths == asked


def test_a_section_that_was_not_cut_yet_is_not_asked_for_again(server: YouTubeServer, tmp_path: Path) -> None:
    assert fetch(server, "hls", tmp_path, long_video_seconds=5.0).error == ""
    first, media = read_clip(tmp_path / "video", 1)
    asked = list(server.paths)
    (tmp_path / "video" / "clip-000001.mp4").unlink()
    (tmp_path / "video" / "clip-000001.json").unlink()
    assert is_fetched(tmp_path / "video", (1,))
    assert fetch(server, "hls", tmp_path, long_video_seconds=5.0).error == ""
    assert (first.error, first.format) == ("", "93+s")
    assert read_clip(tmp_path / "video", 1) == (first, media)
    assert server.paths == asked


def test_no_message_holds_an_address(tmp_path: Path) -> None:
    from pipelines.sources.youtube.ytdlp import _left_out

    words = tmp_path / "words.txt"
    words.write_text("[https @ 0x1] HTTP error 404 Not Found: 'https://host/videoplayback?ip=192.0.2.7&id=1', ends\n")
    found = _left_out(words)
    assert found.error.name == "http_404"
    assert found.message.endswith("HTTP error 404 Not Found: '<address>', ends")


def test_the_real_sites_extractor_takes_the_settings_and_leaks_none(tmp_path: Path) -> None:
    """All default options, a whole URL for an id like an option; the proxy is a closed port of this machine."""
    from pipelines.sources.youtube.fetch import fetch_video

    cookies = tmp_path / "cookies.txt"
    content = "# Netscape HTTP Cookie File\n.youtube.com\tTRUE\t/\tTRUE\t0\tSID\tsecret\n"
    cookies.write_text(content)
    quick = {"sleep_seconds": 0.0, "sleep_most_seconds": 0.0, "sleep_request_seconds": 0.0, "retry_seconds": 0.0}
    held = DownloadSettings(
        cookies=str(cookies),
        proxy="http://user:password@127.0.0.1:9",
        user_agent="a browser",
        state=str(tmp_path / "state"),
        retries=0,
        extractor_retries=0,
        **quick,
    )
    fetch_video(VideoRequest("--0PQM4-hqg", (30,), str(tmp_path / "video"), held))
    outcome = read_outcome(tmp_path / "video")
    assert (outcome.error, "[youtube] --0PQM4-hqg" in outcome.message) == ("network", True)
    assert cookies.read_text() == content
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != cookies)
    assert b"secret" not in written
    assert b"password" not in written


def test_options_are_the_settings(tmp_path: Path) -> None:
    from pipelines.sources.youtube.ytdlp import _Log, _options

    cookies = tmp_path / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n")
    held = DownloadSettings(
        cookies=str(cookies), proxy="socks5://host:1", user_agent="a browser", javascript_runtime="node:/opt/node"
    )
    options = _options(held, tmp_path, "/usr/bin/ffmpeg", _Log())
    assert options["proxy"] == "socks5://host:1"
    assert options["http_headers"] == {"User-Agent": "a browser"}
    assert options["js_runtimes"] == {"node": {"path": "/opt/node"}}
    assert options["cookiefile"].read() == cookies.read_text()
    assert (options["sleep_interval"], options["max_sleep_interval"]) == (5.0, 10.0)
    assert [options["retry_sleep_functions"]["http"](n=n) for n in (0, 1, 9)] == [2.0, 4.0, 60.0]
    assert options["allowed_extractors"] == ["youtube"]
    assert "vcodec^=avc1" in options["format"] and "height<=360" in options["format"]


def test_whatever_reading_a_file_raises_is_a_fault_of_that_file(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (IndexError("list index out of range"), MemoryError("no room"), AttributeError("no 'name'")):

        def broken(_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("pipelines.sources.youtube.probe._measure", broken)
        found = probe(video)
        assert isinstance(found, Fault) and found.error.name == "not_media"
        assert f"{type(error).__name__}: {error}" in found.message
