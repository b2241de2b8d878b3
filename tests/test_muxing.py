"""A picture that is copied into another file arrives as it was: every packet, every mark, every picture, from 0 on.

The files are made here by FFmpeg's program, in every codec that it encodes; what `ffmpeg -c copy` can hold, mux can.
"""

import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
from av.stream import Disposition

from drawaudio_model import media
from drawaudio_model.cli import main
from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.commands.delivery import write_sound
from drawaudio_model.muxing import packet_times
from drawaudio_model.muxing.containers import frame_hash, picture_facts
from drawaudio_model.muxing.copied_picture import FORMATS

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
FRAMES, RATE = 30, 25
OVERLAPPING_SECONDS = 1.2
"""Begin of a part that overlaps with the one before it by two pictures."""
SOUND = (0.3 * np.sin(np.arange(FRAMES * SAMPLE_RATE // RATE) / 10)).astype(np.float32)
SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".ts")

H264, HEVC = (
    "-c:v libx264 -bf 2 -g 12",
    "-c:v libx265 -x265-params log-level=none:keyint=12:bframes=2 -preset ultrafast",
)
SOURCES = {
    "h264.mp4": H264,
    "h264.mkv": H264,
    "h264.mov": H264,
    "h264.ts": H264,
    "h264.flv": H264,
    "h264.avi": H264,
    "h264.asf": H264,
    "h264_fragmented.mp4": f"{H264} -movflags frag_keyframe+empty_moov",
    "h264_late.mp4": f"{H264} -output_ts_offset 1.5",
    "h264_late.ts": f"{H264} -output_ts_offset 3600",
    "h264_overlapping.ts": f"{H264} -output_ts_offset {OVERLAPPING_SECONDS}",
    "h264_clock_wraps.ts": f"{H264} -output_ts_offset 95442.5",
    "h264_one_group.mp4": "-c:v libx264 -bf 2",
    "h264_intra.mp4": "-c:v libx264 -g 1",
    "hvc1.mp4": f"{HEVC} -tag:v hvc1",
    "hev1.mp4": HEVC,
    "hevc.mkv": HEVC,
    "hevc.ts": HEVC,
    "mpeg4.avi": "-c:v mpeg4 -bf 2",
    "mpeg4_xvid.avi": "-c:v mpeg4 -tag:v XVID",
    "mpeg4_packed.avi": "-vf noise=alls=40:allf=t -c:v libxvid -bf 2 -g 12 -b:v 500k",
    "mpeg4.mp4": "-c:v mpeg4 -bf 2",
    "mpeg4_gaps.avi": "-vf select='not(between(n,5,9))*lt(n,25)' -fps_mode passthrough -c:v mpeg4",
    "mpeg2.mpg": "-c:v mpeg2video -bf 2",
    "mpeg2.ts": "-c:v mpeg2video -bf 2",
    "mpeg2.mkv": "-c:v mpeg2video -bf 2",
    "mpeg1.mpg": "-c:v mpeg1video",
    "vp8.webm": "-c:v libvpx -b:v 200k",
    "vp8_alpha.webm": "-vf format=yuva420p,colorchannelmixer=aa=0.5,format=yuva420p -c:v libvpx -auto-alt-ref 0 -b:v 200k",
    "vp9.webm": "-c:v libvpx-vp9 -b:v 200k",
    "vp9_alpha.webm": "-vf format=yuva420p,colorchannelmixer=aa=0.5,format=yuva420p -c:v libvpx-vp9 -b:v 200k",
    "vp9.mp4": "-c:v libvpx-vp9 -b:v 200k",
    "vp9_wide.webm": "-vf setsar=2/1 -c:v libvpx-vp9 -b:v 200k",
    "av1.mp4": "-c:v libaom-av1 -cpu-used 8 -b:v 100k",
    "odd_size.webm": "-s 63x47 -c:v libvpx-vp9 -b:v 200k",
    "odd_size.avi": "-s 63x47 -c:v mpeg4",
    "theora.ogv": "-c:v libtheora",
    "h261.mkv": "-s 176x144 -c:v h261",
    "magicyuv.mkv": "-c:v magicyuv -pix_fmt gbrap",
    "prores.mov": "-c:v prores_ks",
    "ap4h.mov": "-c:v prores_ks -profile:v 4444 -pix_fmt yuva444p10le",
    "mjpeg.mov": "-c:v mjpeg",
    "mjpeg.avi": "-c:v mjpeg",
    "png.mov": "-c:v png",
    "qtrle.mov": "-c:v qtrle",
    "jpeg2000.mov": "-c:v jpeg2000",
    "ffv1.mkv": "-c:v ffv1",
    "ffv1.avi": "-c:v ffv1",
    "huffyuv.avi": "-c:v huffyuv",
    "utvideo.avi": "-c:v utvideo",
    "raw.avi": "-c:v rawvideo -pix_fmt yuv420p",
    "cinepak.avi": "-c:v cinepak",
    "msmpeg4.avi": "-c:v msmpeg4",
    "wmv1.wmv": "-c:v wmv1",
    "wmv2.wmv": "-c:v wmv2",
    "flv1.flv": "-c:v flv1",
    "gif.gif": "-c:v gif",
    "h263.3gp": "-s 176x144 -c:v h263",
    "dnxhd.mxf": "-s 256x144 -pix_fmt yuv422p -c:v dnxhd -profile:v dnxhr_lb",
    "dnxhd.mov": "-s 256x144 -pix_fmt yuv422p -c:v dnxhd -profile:v dnxhr_lb",
    "wide_pixels.mp4": f"-vf setsar=2/1 {H264}",
    "wide_by_container.mp4": f"-vf setsar=2/1 {H264} -x264-params sar=1",
    "wide_by_container.mkv": f"{H264} -aspect 3:1 -x264-params sar=1",
    "colour.mp4": f"{H264} -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -color_range tv",
    "colour.mkv": "-c:v libvpx-vp9 -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -color_range pc",
}


def ffmpeg(*words: str) -> bool:
    done = subprocess.run(
        [FFMPEG, "-v", "error", "-nostdin", "-y", *words], capture_output=True, text=True, check=False
    )
    return not done.returncode


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """Name of a source -> its file."""
    folder = tmp_path_factory.mktemp("sources")

    def make(name: str) -> Path:
        path = folder / name
        if not path.exists():
            picture = ["-f", "lavfi", "-i", f"testsrc2=s=64x48:r={RATE}:d={FRAMES / RATE}"]
            assert ffmpeg(*picture, *SOURCES[name].split(), str(path)), name
        return path

    return make


def picture(path: Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    container = av.open(str(path))
    return container, container.streams.video[0]


def shown_times(path: Path) -> np.ndarray:
    """(n,) seconds from the first picture to each, in the order in which they are shown, as the packets have it."""
    container, stream = picture(path)
    with container:
        times = [p.pts * stream.time_base for p in container.demux(stream) if p.size and not p.is_discard]
    return np.array(sorted(times), np.float64) - float(min(times))


def copied_by_ffmpeg(video: Path, out: Path) -> Path | None:
    """What `ffmpeg -c copy` makes of a picture, where it makes anything."""
    return out if ffmpeg("-i", str(video), "-map", "0:v", "-c", "copy", "-f", FORMATS[out.suffix], str(out)) else None


def facts_or_none(path: Path | None):
    try:
        return None if path is None else picture_facts(path, None)
    except (media.MediaError, av.error.FFmpegError):
        return None


def tag(path: Path) -> str:
    container, stream = picture(path)
    with container:
        return stream.codec_context.codec_tag


UNPLAYABLE = {("gif.gif", ".mkv")}
"""Copies that FFmpeg makes and reads, but that other players of Matroska, and it after another way there, do not."""


@pytest.mark.parametrize("name", [name for name in SOURCES if "packed" not in name])
def test_a_picture_arrives_unharmed_or_a_container_that_holds_it_is_named(made, tmp_path, name):
    video = made(name)
    before = picture_facts(video, None)
    assert before.packets and before.pictures
    held = []
    for suffix in SUFFIXES:
        out = tmp_path / f"out{suffix}"
        copied = copied_by_ffmpeg(video, tmp_path / f"copied{suffix}")
        try:
            media.mux(video, SOUND, out)
        except ValueError as refusal:
            advised = str(refusal).rpartition("give the output the suffix ")[2]
            media.check_container(video, tmp_path / f"other{advised}")
            assert not out.exists() and str(tmp_path) not in str(refusal)
            assert facts_or_none(copied) != before or (name, suffix) in UNPLAYABLE, f"{refusal}, but ffmpeg does it"
            continue
        held.append(suffix)
        assert picture_facts(out, None) == before, suffix
        np.testing.assert_allclose(shown_times(out), shown_times(video), atol=1.1e-3, err_msg=suffix)
        if facts_or_none(copied) == before and tag(video).strip("\0") and tag(copied) == tag(video):
            assert tag(out) == tag(video), suffix
        check_times(out)
        if suffix == ".mkv":
            assert rate(out) == pytest.approx(rate(video), rel=0.01)
    assert held


@pytest.mark.parametrize("ratio", ["1/1", "2/1"])
def test_pictures_arrive_at_their_times_where_ffmpeg_cannot_tell_them_from_a_matroska(tmp_path, ratio):
    """Of VVC it knows no reordering there: what copies such a file once more shows all pictures of a group at once."""
    video, out = tmp_path / "vvc.mp4", tmp_path / "out.mkv"
    inputs = ["-f", "lavfi", "-i", f"testsrc2=s=64x48:r={RATE}:d={FRAMES / RATE},setsar={ratio}"]
    assert ffmpeg(*inputs, "-c:v", "libvvenc", "-preset", "faster", str(video))
    expected = np.arange(FRAMES) / RATE
    np.testing.assert_allclose(shown_times(video), expected, atol=1e-3)
    media.mux(video, SOUND, tmp_path / "out.mp4")
    assert picture_facts(tmp_path / "out.mp4", None) == picture_facts(video, None)
    np.testing.assert_allclose(shown_times(tmp_path / "out.mp4"), expected, atol=1e-3)
    if ratio == "2/1":
        with pytest.raises(
            ValueError, match=r"a \.mkv file cannot keep the times of this picture; .* the suffix \.mp4"
        ):
            media.mux(video, SOUND, out)
        return
    media.mux(video, SOUND, out)
    assert picture_facts(out, None) == picture_facts(video, None)
    np.testing.assert_allclose(shown_times(out), expected, atol=1.1e-3)


def test_a_transparency_in_a_layer_of_hevc_is_kept_or_a_container_that_keeps_it_is_named(tmp_path):
    """As Apple's programs write it; FFmpeg leaves the parameters of the layer out of the head of what it copies."""
    video = tmp_path / "layers.mov"
    inputs = [
        "-f",
        "lavfi",
        "-i",
        f"testsrc2=s=64x48:r={RATE}:d=1,format=yuva420p,colorchannelmixer=aa=0.5,format=yuva420p",
    ]
    words = ["-c:v", "libx265", "-x265-params", "log-level=none:alpha=1", "-tag:v", "hvc1"]
    assert ffmpeg(*inputs, *words, str(video))

    def decoded(path: Path) -> list[str]:
        words = [FFMPEG, "-v", "error", "-i", str(path), "-map", "0:v", "-f", "framemd5", "-"]
        rows = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
        return [row.rpartition(",")[2] for row in rows if row[0] != "#"]

    before = picture_facts(video, None)
    assert len(before.layers) == 2
    for suffix in (".mov", ".mp4", ".ts"):
        out = tmp_path / f"out{suffix}"
        media.mux(video, SOUND, out)
        assert picture_facts(out, None) == before and decoded(out) == decoded(video)
        if suffix != ".ts":
            assert tag(out) == "hvc1" and media.read_clips(out, seconds=1).audio_seconds_decoded > 1
    with pytest.raises(ValueError, match=r"\.mkv file cannot keep the layers \(a transparency, .* the suffix \.mp4"):
        media.mux(video, SOUND, tmp_path / "out.mkv")


def rate(path: Path) -> float:
    """Pictures a second, as the file says."""
    container, stream = picture(path)
    with container:
        return float(stream.average_rate or stream.base_rate)


def check_times(out: Path) -> None:
    """From 0 on, as long as picture and sound are, each picture after the one before."""
    with av.open(str(out)) as container:
        assert container.start_time == pytest.approx(0, abs=0.1e6)
        stream = container.streams.video[0]
        times = [frame.time for frame in container.decode(stream)]
        first = min(times)
        assert 0 <= first <= 0.1  # a transport stream begins with what the sound's codec needs to start
        assert all(first < second for first, second in pairwise(times))
        assert container.duration / av.time_base == pytest.approx(FRAMES / RATE, abs=0.15)
    clip = media.read_clips(out, seconds=FRAMES / RATE).clips[0]
    lag = np.argmax(np.correlate(clip.waveform[:8000], SOUND[:8000], "full")) - 7999
    assert abs(lag) <= 2 and clip.audio_seconds == pytest.approx(FRAMES / RATE, abs=0.1)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
@pytest.mark.parametrize("name", ["h264.ts", "mpeg2.ts"])
def test_the_sound_of_a_start_in_mid_group_begins_with_the_first_picture_seen(made, tmp_path, name, suffix):
    whole = made(name).read_bytes()
    video = tmp_path / "cut.ts"
    video.write_bytes(whole[len(whole) // 188 // 6 * 188 :])  # the first key frame is gone, those behind it are not
    out = tmp_path / f"out{suffix}"
    media.mux(video, SOUND[:8000], out)
    assert picture_facts(out, None) == picture_facts(video, None)
    with av.open(str(video)) as container:
        unseen = container.streams.video[0].start_time * container.streams.video[0].time_base
        first_seen = float(next(container.decode(video=0)).time - unseen)
    assert first_seen > 0.1  # so this is such a start
    with av.open(str(out)) as container:
        seen = next(container.decode(video=0)).time
    clip = media.read_clips(out, seconds=0.5).clips[0]
    np.testing.assert_array_equal(clip.frames, media.read_frames(video, seconds=0.5))
    lag = np.argmax(np.correlate(clip.waveform, SOUND[:8000], "full")) - 7999
    assert abs(lag) <= 2 and clip.audio_seconds == pytest.approx(0.5, abs=0.01)
    assert seen >= first_seen - 0.05


@pytest.mark.parametrize("second", ["h264.ts", "h264_late.ts"])
def test_joined_streams_follow_upon_each_other(made, tmp_path, second):
    """The clock restarts, or jumps an hour ahead."""
    video = tmp_path / "joined.ts"
    video.write_bytes(made("h264.ts").read_bytes() + made(second).read_bytes())
    for suffix in (".mp4", ".mkv", ".ts"):
        out = tmp_path / f"out{suffix}"
        media.mux(video, SOUND, out)
        np.testing.assert_allclose(shown_times(out), np.arange(2 * FRAMES) / RATE, atol=1.1e-3)
        assert picture_facts(out, None) == picture_facts(video, None)
        assert media.probe(out).video_seconds == pytest.approx(2 * FRAMES / RATE, abs=0.15)


def test_joined_program_streams_keep_every_picture_at_its_distance(tmp_path):
    """Small pictures share a time: FFmpeg gives the last one of a part that of the next part, 40 s later."""
    parts = [tmp_path / "first.mpg", tmp_path / "second.mpg"]
    for part, begin in zip(parts, (0, 40), strict=True):
        inputs = ["-f", "lavfi", "-i", f"color=s=64x48:r={RATE}:d=2", "-f", "lavfi", "-i", "sine=d=2"]
        words = ["-c:v", "mpeg2video", "-bf", "2", "-c:a", "mp2", "-output_ts_offset", str(begin), str(part)]
        assert ffmpeg(*inputs, *words)
    video = tmp_path / "joined.mpg"
    video.write_bytes(b"".join(part.read_bytes() for part in parts))
    for suffix in (".mp4", ".mkv", ".ts"):
        out = tmp_path / f"out{suffix}"
        media.mux(video, SOUND, out)
        np.testing.assert_allclose(np.diff(shown_times(out)), 1 / RATE, atol=0.015)
        assert len(shown_times(out)) == 2 * 2 * RATE


def test_parts_that_overlap_a_little_keep_the_order_of_their_pictures(made, tmp_path):
    """The second part begins a few pictures before the first has ended: no new clock, and no picture among others."""
    video = tmp_path / "overlapping.ts"
    video.write_bytes(made("h264.ts").read_bytes() + made("h264_overlapping.ts").read_bytes())
    before = picture_facts(video, None)
    assert before.pictures[:FRAMES] == before.pictures[FRAMES:]
    container, stream = picture(video)
    with container:
        decoded = [packet.dts * stream.time_base for packet in container.demux(stream) if packet.size]
    assert -0.1 < decoded[FRAMES] - decoded[FRAMES - 1] < 0
    for suffix in (".mp4", ".mkv", ".ts"):
        out = tmp_path / f"out{suffix}"
        media.mux(video, SOUND, out)
        assert picture_facts(out, None) == before
        times = shown_times(out)
        assert (np.diff(times) > 0).all() or suffix == ".mkv"  # which counts milliseconds
        assert times[-1] == pytest.approx(float(decoded[-1] - decoded[0]), abs=1.1e-3)


def test_parts_that_overlap_by_more_are_laid_end_to_end_as_ffmpeg_does(made, tmp_path):
    """In a transport stream a clock that goes back by more than a tenth of a second was set anew."""
    early, video = tmp_path / "early.ts", tmp_path / "joined.ts"
    assert ffmpeg("-i", str(made("h264.ts")), "-c", "copy", "-output_ts_offset", "1.0", str(early))
    video.write_bytes(made("h264.ts").read_bytes() + early.read_bytes())
    copied = copied_by_ffmpeg(video, tmp_path / "copied.mkv")
    assert copied is not None
    media.mux(video, SOUND, tmp_path / "out.mkv")
    np.testing.assert_allclose(shown_times(tmp_path / "out.mkv"), shown_times(copied), atol=2e-3)
    assert shown_times(copied)[-1] == pytest.approx((2 * FRAMES - 1) / RATE, abs=0.05)


VOP = b"\0\0\1\xb6"
"""Begins a picture in MPEG-4."""


def vops(path: Path) -> list[int]:
    """Pictures in each packet."""
    container, stream = picture(path)
    with container:
        return [bytes(packet).count(VOP) for packet in container.demux(stream) if packet.size]


@pytest.mark.parametrize("wrapped", ["avi", "mkv"])
def test_packed_pictures_are_parted(made, tmp_path, wrapped):
    """DivX and Xvid put two pictures into one packet of an AVI and an empty one into the next; players of MP4 stumble."""
    video = tmp_path / f"packed.{wrapped}"
    assert ffmpeg("-fflags", "+genpts", "-i", str(made("mpeg4_packed.avi")), "-c", "copy", str(video))
    assert 2 in vops(video) and b"DivX503b1393p" in video.read_bytes()
    container, _ = picture(video)
    with container:
        seen = [frame_hash(frame) for frame in container.decode(video=0)]
    container, stream = picture(video)
    with container:
        decoded = [float(packet.dts * stream.time_base) for packet in container.demux(stream) if packet.size]
    decoded = np.array(decoded) - decoded[0]
    for suffix in (".mp4", ".mov", ".m4v", ".mkv", ".ts"):
        out = tmp_path / f"out{suffix}"
        media.mux(video, SOUND, out)
        assert vops(out) == [1] * len(seen)
        container, stream = picture(out)
        with container:
            assert suffix == ".ts" or b"DivX503b1393\0" in stream.codec_context.extradata
            assert [frame_hash(frame) for frame in container.decode(video=0)] == seen
        np.testing.assert_allclose(shown_times(out), decoded, atol=1.1e-3)
        check_times(out)


def decoded_times(path: Path) -> np.ndarray:
    """(n,) seconds from the first picture that can be decoded to each."""
    container, stream = picture(path)
    times = []
    with container:
        for part in container.demux(stream):
            try:
                times += [float(frame.pts * stream.time_base) for frame in part.decode()]
            except av.error.FFmpegError:
                continue
    return np.array(times) - times[0]


@pytest.mark.parametrize(("suffix", "codec"), [(".mpg", "mpeg2video"), (".ts", "mpeg2video"), (".ts", "libx264")])
def test_a_file_that_begins_anywhere_keeps_the_distance_of_its_pictures(tmp_path, suffix, codec):
    """FFmpeg derives decoding times that go back where it reads the middle of a group first."""
    inputs = ["-f", "lavfi", "-i", f"testsrc2=s=96x64:r={RATE}:d=4", "-f", "lavfi", "-i", "sine=d=4"]
    video, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    assert ffmpeg(*inputs, "-c:v", codec, "-bf", "2", "-g", "12", "-c:a", "mp2", str(video))
    whole = video.read_bytes()
    for share in np.linspace(0.1, 0.7, 13):
        cut.write_bytes(whole[round(share * len(whole)) :])
        before = decoded_times(cut)
        media.mux(cut, SOUND, tmp_path / "out.mkv")
        np.testing.assert_allclose(decoded_times(tmp_path / "out.mkv"), before, atol=2e-3)


CHAPTERS = ";FFMETADATA1\n" + "".join(
    f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={begin}\nEND={end}\ntitle={title}\n"
    for begin, end, title in ((0, 400, "one"), (400, 1200, "zw\u00f6lf"))
)


def chapters(path: Path) -> list[tuple[float, float, str]]:
    """(begin, end, title) of each, in seconds."""
    with av.open(str(path)) as container:
        return [
            (float(c["start"] * c["time_base"]), float(c["end"] * c["time_base"]), c["metadata"]["title"])
            for c in container.chapters()
        ]


@pytest.mark.parametrize(
    ("name", "wrapped", "suffixes"),
    [
        ("h264.mkv", "mkv", (".mp4", ".mov", ".m4v", ".mkv")),
        ("h264.mp4", "mp4", (".mp4", ".mkv")),
        ("vp9.webm", "webm", (".webm", ".mkv")),
        ("wmv2.wmv", "wmv", (".mkv", ".mov")),
    ],
)
def test_chapters_come_along(made, tmp_path, name, wrapped, suffixes):
    (tmp_path / "chapters.txt").write_text(CHAPTERS, encoding="utf-8")
    video = tmp_path / f"chapters.{wrapped}"
    assert ffmpeg(
        "-i", str(made(name)), "-i", str(tmp_path / "chapters.txt"), "-map_chapters", "1", "-c", "copy", str(video)
    )
    expected = [(0.0, 0.4, "one"), (0.4, 1.2, "zw\u00f6lf")]
    found = chapters(video)
    assert [title for _, _, title in found] == ["one", "zw\u00f6lf"]
    for suffix in suffixes:
        out = tmp_path / f"out{suffix}"
        media.mux(video, SOUND, out)
        assert [title for _, _, title in chapters(out)] == ["one", "zw\u00f6lf"]
        for chapter, wanted in zip(chapters(out), expected, strict=True):
            assert chapter[:2] == pytest.approx(wanted[:2], abs=0.05)


def test_chapters_of_a_picture_that_begins_late_move_with_it(made, tmp_path):
    late = CHAPTERS.replace("START=0\nEND=400", "START=0\nEND=1900").replace(
        "START=400\nEND=1200", "START=1900\nEND=2700"
    )
    (tmp_path / "chapters.txt").write_text(
        late.replace("[CHAPTER]", "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=900\ntitle=gone\n[CHAPTER]", 1),
        encoding="utf-8",
    )
    video = tmp_path / "late.mkv"
    words = ["-map_chapters", "1", "-c", "copy", "-output_ts_offset", "1.5", str(video)]
    assert ffmpeg("-i", str(made("h264.mp4")), "-i", str(tmp_path / "chapters.txt"), *words)
    media.mux(video, SOUND, tmp_path / "out.mkv")
    (first, second) = chapters(tmp_path / "out.mkv")
    assert first == (0.0, pytest.approx(0.4, abs=0.1), "one") and second[:2] == pytest.approx((0.4, 1.2), abs=0.1)


def test_names_in_an_old_encoding_come_along(made, tmp_path):
    """Taggers of old wrote Latin-1 into fields that are UTF-8 today; such a file is read, and its name kept to the byte."""
    for name, suffixes in (("mpeg4.avi", (".mkv", ".mov")), ("h264.mkv", (".mkv", ".mp4"))):
        video = tmp_path / f"named{Path(name).suffix}"
        assert ffmpeg("-i", str(made(name)), "-c", "copy", "-metadata", "title=Glockex", str(video))
        video.write_bytes(video.read_bytes().replace(b"Glockex", b"Gl\xf6ck\xe9x"))
        assert media.probe(video).video_seconds == pytest.approx(FRAMES / RATE, abs=0.1)
        for suffix in suffixes:
            media.mux(video, SOUND, tmp_path / f"out{suffix}")
            assert b"Gl\xf6ck\xe9x" in (tmp_path / f"out{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v"])
def test_what_an_edit_list_cuts_off_stays_cut_off(made, tmp_path, suffix):
    content = bytearray(made("h264.mp4").read_bytes())
    duration = content.index(b"elst") + 12
    content[duration : duration + 4] = int(1000 * 13 / RATE).to_bytes(4)  # milliseconds, of 30 pictures the first 13
    early = tmp_path / "early.mp4"
    early.write_bytes(content)
    late = tmp_path / "late.mp4"
    hidden = 20  # more than are tried beforehand
    assert ffmpeg("-ss", str(hidden / RATE), "-i", str(made("h264_one_group.mp4")), "-c", "copy", str(late))
    for video, shown in ((early, 13), (late, FRAMES - hidden)):
        before = picture_facts(video, None)
        assert len(before.pictures) == shown
        media.mux(video, SOUND, tmp_path / f"out{suffix}")
        assert picture_facts(tmp_path / f"out{suffix}", None) == before
    media.mux(early, SOUND, tmp_path / "out.mkv")
    assert picture_facts(tmp_path / "out.mkv", None).pictures == picture_facts(early, None).pictures
    with pytest.raises(ValueError, match=r"cannot hide the pictures that this file's edit list cuts off; .* \.mp4"):
        media.mux(late, SOUND, tmp_path / "out.mkv")


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotation_is_kept_or_a_container_that_keeps_it_is_named(made, tmp_path, turn):
    video = tmp_path / "turned.mp4"
    assert ffmpeg("-display_rotation", str(turn), "-i", str(made("h264.mp4")), "-c", "copy", str(video))
    upright = media.read_frames(video, seconds=1)
    for suffix in (".mp4", ".mov", ".m4v", ".mkv"):
        media.mux(video, SOUND, tmp_path / f"out{suffix}")
        np.testing.assert_array_equal(media.read_frames(tmp_path / f"out{suffix}", seconds=1), upright)
    with pytest.raises(ValueError, match=r"a \.ts file cannot keep the rotation of this picture; .* suffix \.mkv"):
        media.mux(video, SOUND, tmp_path / "out.ts")


def test_names_and_marks_of_the_file_come_along(made, tmp_path):
    video = tmp_path / "named.mkv"
    names = ["-metadata", "title=A ball", "-metadata:s:v", "stereo_mode=left_right", "-metadata:s:v", "language=fra"]
    assert ffmpeg("-i", str(made("h264.mp4")), "-c", "copy", *names, str(video))
    media.mux(video, SOUND, tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container:
        stream = container.streams.video[0]
        assert container.metadata["title"] == "A ball" and stream.metadata["language"] == "fra"
        assert {name.lower(): text for name, text in stream.metadata.items()}["stereo_mode"] == "left_right"
        assert stream.average_rate == RATE
        assert all(stream.disposition & Disposition.default for stream in container.streams)


def packet(dts: int | None, pts: int | None, content: bytes = b"x") -> av.Packet:
    made = av.Packet(content)
    made.dts, made.pts, made.duration = dts, pts, 10
    return made


def test_empty_packets_make_the_picture_before_them_last() -> None:
    stored = packet_times._stored(iter([packet(0, 0), packet(10, 10), packet(20, 20, b""), packet(30, 30, b"")]))
    assert [(time.dts, time.duration) for time in stored] == [(0, 10), (10, 30)]


def test_decoding_times_are_as_late_as_the_reordering_needs() -> None:
    """Times of presentation of I P B B P B B; none of decoding, as in Matroska's beginning."""
    pts = [0, 30, 10, 20, 60, 40, 50]
    times = packet_times._with_decoding_times([packet_times.StoredTime(t, None, 10, t == 0, False) for t in pts], 10)
    assert [time.dts for time in times] == [-10, 0, 10, 20, 30, 40, 50] and [time.pts for time in times] == pts


def test_a_time_that_no_reordering_explains_is_found_anew() -> None:
    times = [packet_times.StoredTime(t + 2**30 * (t == 20), t, 10, t == 0, False) for t in range(0, 100, 10)]
    sound = packet_times._without_damaged(times, Fraction(1, 250))
    assert [time.pts for time in sound] == [0, 10, None, *range(30, 100, 10)]


def test_a_bare_stream_is_told_how_to_get_times(made, tmp_path):
    video = tmp_path / "bare.h264"
    assert ffmpeg("-i", str(made("h264.mp4")), "-c", "copy", str(video))
    for call in (
        lambda: media.check_container(video, tmp_path / "o.mp4"),
        lambda: media.mux(video, SOUND, tmp_path / "o.mp4"),
    ):
        with pytest.raises(media.MediaError, match=r"ffmpeg -framerate 30 -i bare\.h264 -c copy bare\.mp4"):
            call()


@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".m4a"])
@pytest.mark.parametrize("samples", [8000, 48_123])
def test_a_lossy_sound_file_has_every_sample_at_its_place(tmp_path, suffix, samples):
    time = np.arange(samples) / SAMPLE_RATE
    sound = (0.5 * np.sin(2 * np.pi * 440 * time) * np.exp(-(((time - 0.25) / 0.05) ** 2))).astype(np.float32)
    out = tmp_path / f"out{suffix}"
    write_sound(out, sound)
    back = media.read_waveform(out)
    assert 0 <= len(back) - samples < 1024  # AAC comes in frames of 1024
    assert np.argmax(np.correlate(back[:8000], sound[:8000], "full")) == 7999
    assert np.corrcoef(back[:samples], sound)[0, 1] > 0.999
    with av.open(str(out)) as container:
        assert container.streams.audio[0].codec_context.name.startswith(
            {".mp3": "mp3", ".ogg": "opus", ".m4a": "aac"}[suffix]
        )
    assert media.is_lossy(out) and [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_finished_sound_is_kept_beside_an_output_that_fails(made, tmp_path, monkeypatch):
    sound = SOUND * 4  # beyond full scale: what is kept is what was made, not what a file of 16 bits can hold
    for number, name in enumerate(("out.wav", "out-2.wav")):
        with pytest.raises(
            ValueError, match=r"cannot hold h264 .* the sound itself is kept in .*out(-2)?\.wav"
        ) as caught:
            write_sound(tmp_path / "out.webm", sound, video=made("h264.mp4"))
        assert str(tmp_path / name) in str(caught.value)
        np.testing.assert_array_equal(soundfile.read(tmp_path / name, dtype="float32")[0], sound)
        assert len(list(tmp_path.iterdir())) == number + 1
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for output in (tmp_path / "gone" / "out.mp4", tmp_path / "gone" / "out.wav"):
        with pytest.raises(ValueError, match="the sound itself is kept in ") as caught:
            write_sound(output, sound, video=made("h264.mp4"))
        assert str(output) in str(caught.value) and ".writing" not in str(caught.value)
    assert sorted(path.name for path in elsewhere.iterdir()) == ["out-2.wav", "out.wav"]


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from drawaudio_model.commands.delivery import write_sound
resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))  # as on a full disk, a write fails on its way
sound = (0.3 * np.sin(np.arange(19_200) / 10)).astype(np.float32)
if sys.argv[2].endswith((".mp3", ".wav")):
    sound = np.tile(sound, 20)
write_sound(Path(sys.argv[2]), sound, video=Path(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("raw.avi", "out.mkv"),
        ("ap4h.mov", "out.mov"),
        ("raw.avi", "out.wav"),
        ("raw.avi", "out.mp3"),
    ],
)
def test_no_sentence_shows_a_temporary_path(made, tmp_path, source, name):
    long = name in ("out.wav", "out.mp3")
    words = [sys.executable, "-c", FULL_DISK, str(made(source)), str(tmp_path / name)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    sentence = done.stderr.strip().splitlines()[-1]
    assert str(tmp_path / name) in sentence and ".writing" not in sentence and "file:" not in sentence
    assert "cannot be written" in sentence or "File too large" in sentence
    assert ("could not be kept" in sentence) == long and (tmp_path / "out.wav").exists() == (not long)


@pytest.mark.parametrize(
    ("name", "output", "sentence"),
    [
        ("gif.gif", "out.mkv", "a .mkv file cannot hold gif video; give the output the suffix .mov"),
        ("vp8.webm", "out.mov", "a .mov file cannot hold vp8 video; give the output the suffix .mkv"),
        ("flv1.flv", "out.mp4", "a .mp4 file cannot hold flv1 video; give the output the suffix .mkv"),
        ("vp9.webm", "out.ts", "a .ts file cannot hold vp9 video; give the output the suffix .mkv"),
    ],
)
def test_a_command_refuses_a_container_before_it_looks_for_a_model(made, tmp_path, capsys, name, output, sentence):
    words = ["generate", str(made(name)), "--text", "a bell", "--model", str(tmp_path / "none")]
    assert main([*words, "-o", str(tmp_path / output)]) == 2
    assert sentence in capsys.readouterr().err and not list(tmp_path.iterdir())


FAULTS = Path(__file__).resolve().parents[1].parent / "shared" / "faults"
EXPECTED = {
    "mux/h264_bframes.mkv": {".mp4", ".mov", ".m4v", ".mkv", ".ts"},
    "mux/hvc1_tag.mp4": {".mp4", ".mov", ".mkv", ".ts"},
    "mux/hvc1_tag2.mp4": {".mp4", ".mov", ".mkv", ".ts"},
    "mux/anim.gif": {".mov"},
    "mux/flv1.flv": {".mov", ".mkv"},
    "mux/wmv2.wmv": {".mov", ".mkv"},
    "mux/dnxhd.mxf": {".mov", ".mkv"},
    "mux/raw_to_mkv.avi": {".mkv"},
    "mux/vp8_to_mov_crash.webm": {".webm", ".mkv"},
    "clock/start3600.ts": {".mp4", ".mov", ".m4v", ".mkv", ".ts"},
    "clock/start3600.mp4": {".mp4", ".mov", ".m4v", ".mkv", ".ts"},
    "clock/fragmented_67ms.mp4": {".mp4", ".mov", ".m4v", ".mkv", ".ts"},
    "clock/joined_jump.ts": {".mp4", ".mov", ".m4v", ".mkv", ".ts"},
    "clock/joined_other_size.ts": {".mp4", ".mov", ".m4v", ".mkv", ".ts"},
    "messages/anim.webp": set(),
    "streams/raw.h264": set(),
}
"""File -> the containers that hold its picture; all others are refused."""


@pytest.mark.skipif(not FAULTS.is_dir(), reason="the collection of faults is not beside the checkout")
@pytest.mark.parametrize("name", EXPECTED)
def test_a_fault_of_the_collection_is_held_or_refused_as_expected(tmp_path, name):
    video, held = FAULTS / name, set()
    for suffix in SUFFIXES:
        out = tmp_path / f"out{suffix}"
        try:
            media.mux(video, SOUND, out)
        except ValueError as refusal:
            assert "Operation not permitted" not in str(refusal) and "errno" not in str(refusal).lower()
            continue
        held.add(suffix)
        assert picture_facts(out, None) == picture_facts(video, None)
        with av.open(str(out)) as container:
            assert container.start_time == pytest.approx(0, abs=0.1e6) and container.duration < 9e6
        if suffix in (".mp4", ".mov") and "hvc1" in name:
            assert tag(out) == "hvc1"
    assert held == EXPECTED[name]


def test_pictures_that_carry_python_objects_are_decoded_by_no_thread_of_their_own(made):
    """A decoder's thread that lets go of such an object waits for the interpreter, which may be waiting for its end."""
    threads = Path("/proc/self/task")
    before = {*threads.iterdir()}
    shown = packet_times._shown(made("h264.mp4"), None)
    assert next(shown) == 0
    assert {*threads.iterdir()} <= before
    shown.close()
