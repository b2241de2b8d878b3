"""What a header claims of lengths, held against what can be read; each stream is judged by its own packets."""

import io
import struct
import subprocess

import av
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from drawaudio_model import media
from drawaudio_model.decoding.lengths import ends_early
from pipelines.sources import folder
from tests.test_media import H, W, clicks, encode, number_of

NOISE = np.random.default_rng(0).normal(0, 0.2, 6 * 44100).clip(-1, 1)


def overwritten(data, mark, offset, form, value):
    """The bytes with one number, `offset` bytes behind the first `mark`, replaced."""
    changed = bytearray(data)
    struct.pack_into(form, changed, data.index(mark) + offset, value)
    return bytes(changed)


FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}
UNSET = 0xFFFFFFFF

FALSE_CLAIMS = {
    "a movie header": lambda: overwritten(encode(options=FRAGMENTED), b"mvhd", 20, ">I", UNSET),
    "a track header": lambda: overwritten(encode(options=FRAGMENTED), b"tkhd", 24, ">I", UNSET),
    "a media header": lambda: overwritten(encode(options=FRAGMENTED), b"mdhd", 20, ">I", UNSET),
    "an mp4's movie header": lambda: overwritten(encode(), b"mvhd", 20, ">I", 0x7FFFFFFF),
    "a Matroska": lambda: overwritten(encode(container="matroska"), b"\x44\x89\x88", 3, ">d", 1e12),
    "an FLV": lambda: overwritten(encode(container="flv", video="flv", audio="libmp3lame"), b"duration", 9, ">d", 1e6),
    "an AVI": lambda: overwritten(
        encode(container="avi", video="mpeg4", audio="pcm_s16le"), b"strh", 8 + 32, "<I", 10**8
    ),
}


@pytest.mark.parametrize(("picture", "sound", "late"), [(2.0, 6.0, 0.0), (6.0, 2.0, 0.0), (4.0, 4.0, 1.5)])
def test_one_length_for_all_streams_is_no_claim_of_each(picture, sound, late):
    """Windows Media states how long a file is; FFmpeg says that of every stream."""
    data = encode(
        container="asf",
        video="mpeg4",
        audio="libmp3lame",
        frames=round(12 * picture),
        sound=NOISE[: round(44100 * sound)],
        audio_start=late,
    )
    info = media.probe(data)
    assert info.flags == () and (info.video_seconds, info.audio_seconds) == pytest.approx((picture, sound), abs=0.15)


def test_a_false_rate_of_pictures_makes_no_clips(tmp_path):
    """One picture in years, says the header of an AVI, whose clock counts pictures."""
    data = overwritten(encode(container="avi", video="mpeg4", audio="pcm_s16le"), b"strh", 8 + 20, "<I", 0x7FFFFFFF)
    info = media.probe(data)
    assert info.video_seconds < 3 and "wrong_length" in info.flags
    (tmp_path / "clip.avi").write_bytes(data)
    assert [clip.start_s for clip in folder.list_media(tmp_path, None)] == [0]
    assert media.read_frames(data, seconds=1, size=(H, W)).shape == (4, H, W, 3)


@pytest.mark.parametrize("claim", FALSE_CLAIMS)
def test_a_false_length_in_a_header_makes_no_clips(claim, tmp_path):
    data = FALSE_CLAIMS[claim]()
    info = media.probe(data)
    assert info.video_seconds == pytest.approx(2, abs=0.1) and info.audio_seconds == pytest.approx(2, abs=0.2)
    (tmp_path / "clip.mkv").write_bytes(data)
    clips, dropped = folder.cut_media(tmp_path, None)
    assert [clip.start_s for clip in clips] == [0] and dropped == []
    decoded = media.read_clips(data, seconds=2)
    assert decoded.frames_decoded == 24
    assert number_of(media.read_frames(data, seconds=2)).tolist() == [0, 3, 6, 9, 12, 15, 18, 21]
    assert len(media.read_waveform(data)) / 16000 == pytest.approx(2, abs=0.2)
    if claim in ("a Matroska", "an FLV", "an AVI"):
        assert info.flags == decoded.flags == ("wrong_length",)
        assert clips[0].flags == ("tail", "wrong_length")


@pytest.mark.parametrize("container", ["mp4", "matroska", "mov", "mpegts", "avi", "flv"])
@pytest.mark.parametrize(("picture", "sound"), [(2.0, 6.0), (6.0, 2.0)])
def test_sound_and_picture_of_different_lengths_are_read_whole_and_padded(container, picture, sound):
    codecs = {"avi": ("mpeg4", "pcm_s16le"), "flv": ("flv", "libmp3lame")}
    video, audio = codecs.get(container, ("libx264", "aac"))
    data = encode(
        container=container,
        video=video,
        audio=audio,
        frames=round(12 * picture),
        sound=clicks(sound, 44100, (0.5, sound - 0.5)),
    )
    assert media.read_frames(data, seconds=picture).shape == (round(4 * picture), H, W, 3)
    assert len(media.read_waveform(data)) / 16000 == pytest.approx(sound, abs=0.15)
    decoded = media.read_clips(data, seconds=6)
    clip = decoded.clips[0]
    assert decoded.flags == () and decoded.frames_decoded == 12 * picture
    assert ("padded_video" in clip.flags) == (picture < 6) and ("padded_audio" in clip.flags) == (sound < 6)
    assert clip.video_seconds == pytest.approx(picture, abs=0.1)
    assert clip.audio_seconds == pytest.approx(sound, abs=0.15)
    info = media.probe(data)
    assert info.video_seconds == pytest.approx(picture, abs=0.1)
    assert info.audio_seconds == pytest.approx(sound, abs=0.15) and info.flags == ()


def test_a_subtitle_that_runs_on_is_no_missing_picture(tmp_path):
    (tmp_path / "lines.srt").write_text("1\n00:00:09,000 --> 00:00:10,000\nstill talking\n")
    encode(tmp_path / "clip.mkv", container="matroska", audio="flac")
    inputs = ["-i", str(tmp_path / "clip.mkv"), "-i", str(tmp_path / "lines.srt"), "-map", "0", "-map", "1"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *inputs, "-c", "copy", str(tmp_path / "both.mkv")]
    subprocess.run(command, check=True)
    data = (tmp_path / "both.mkv").read_bytes()
    with av.open(io.BytesIO(data)) as container:
        assert container.duration / av.time_base > 8
    decoded = media.read_clips(data, seconds=2)
    assert decoded.flags == () and decoded.frames_decoded == 24
    assert media.read_frames(data, seconds=2).shape[0] == 8 and len(media.read_waveform(data)) == 2 * 16000


@pytest.mark.parametrize("container", ["matroska", "mpegts", "mp4", "mov"])
def test_a_clock_that_starts_at_an_hour_takes_nothing_away(container):
    data = encode(container=container, video_start=3600, audio_start=3600)
    decoded = media.read_clips(data, seconds=2)
    assert decoded.frames_decoded == 24 and decoded.flags == ()
    assert media.read_frames(data, seconds=2).shape[0] == 8
    assert len(media.read_waveform(data)) / 16000 == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    ("container", "video", "audio", "options"),
    [
        ("mp4", "libx264", "aac", {"movflags": "faststart"}),
        ("mp4", "libx264", "aac", FRAGMENTED),
        ("matroska", "libx264", "flac", None),
        ("webm", "libvpx", "libopus", None),
        ("flv", "flv", "libmp3lame", None),
        ("avi", "mpeg4", "libmp3lame", None),
        ("avi", "mjpeg", "pcm_s16le", None),
        ("asf", "mpeg4", "libmp3lame", None),
    ],
)
def test_bytes_that_end_early_are_told_from_a_false_claim(container, video, audio, options, tmp_path):
    rate = 48000 if audio == "libopus" else 44100
    sound = np.random.default_rng(0).normal(0, 0.2, 6 * rate).clip(-1, 1)
    path = encode(
        tmp_path / "whole",
        container=container,
        video=video,
        audio=audio,
        rate=rate,
        frames=72,
        sound=sound,
        options=options,
        pixels="yuvj420p" if video == "mjpeg" else "yuv420p",
    )
    data = path.read_bytes()
    assert not ends_early(data) and not ends_early(path)
    assert media.read_clips(data).flags == ()
    half = data[: len(data) * 6 // 10]
    assert ends_early(half) or options == FRAGMENTED
    if options != FRAGMENTED:  # A fragmented file claims nothing: what is there is all.
        with pytest.raises(media.MediaError) as caught:
            media.read_clips(half)
        assert caught.value.reason == "truncated"


def test_a_large_avi_of_several_riff_chunks_is_whole():
    riff = b"RIFF" + struct.pack("<I", 12) + b"AVI " + bytes(8)
    assert not ends_early(riff + riff) and ends_early((riff + riff)[:-1])
    assert not ends_early(b"RIFF" + struct.pack("<I", UNSET) + b"WAVE")


def test_a_wav_that_was_cut_off_is_told_from_one_whose_length_nobody_knew():
    whole = bytearray(encode(container="wav", video=None, audio="pcm_s16le", sound=clicks(10, 44100, (0.5,))))
    assert len(media.read_waveform(bytes(whole))) == 10 * 16000
    with pytest.raises(media.MediaError, match=r"6\.00 s of the 10\.00 s") as caught:
        media.read_waveform(bytes(whole[: len(whole) * 6 // 10]))
    assert caught.value.reason == "truncated"
    place = whole.index(b"data") + 4
    for size in (0, 0x7FFFFFFF, 0x80000000, UNSET):  # as recorders write them into a pipe
        struct.pack_into("<I", whole, 4, min(size + 36, UNSET))
        struct.pack_into("<I", whole, place, size)
        assert len(media.read_waveform(bytes(whole))) == 10 * 16000


def test_a_flac_that_was_cut_off_is_told_from_one_that_claims_too_much():
    whole = encode(container="flac", video=None, audio="flac", sound=NOISE)
    assert len(media.read_waveform(whole)) == 6 * 16000
    assert int.from_bytes(whole[18:26]) % 2**36 == 6 * 44100
    for claim in (2**36 - 1, 60 * 44100, 0):
        false = whole[:18] + (int.from_bytes(whole[18:26]) - 6 * 44100 + claim).to_bytes(8) + whole[26:]
        for data in (false, false + b"TAG" + bytes(125)):
            assert len(media.read_waveform(data)) == 6 * 16000
            assert media.probe(data).flags == (("wrong_length",) if claim else ())
    for share in (0.2, 0.5, 0.8):
        with pytest.raises(media.MediaError, match=r"of the 6\.00 s that it declares") as caught:
            media.read_waveform(whole[: round(share * len(whole))])
        assert caught.value.reason == "truncated"


def test_raw_pictures_are_as_long_as_there_are_of_them():
    raw = encode(container="h264", audio=None, frames=50)
    assert media.probe(raw).video_seconds == pytest.approx(50 / 12)
    assert number_of(media.read_frames(raw, seconds=2)).tolist() == [0, 3, 6, 9, 12, 15, 18, 21]


def test_an_mp4_sample_of_no_bytes_repeats_the_picture():
    """The size table of a file of still pictures: some samples are emptied, all others stay where they are."""
    picture = np.random.default_rng(0).integers(0, 255, (H, W, 3), dtype=np.uint8)
    data = bytearray(
        encode(container="mov", video="mjpeg", audio="pcm_s16le", pixels="yuvj420p", frames=24, picture=picture)
    )
    place = data.index(b"stsz") + 4
    assert struct.unpack_from(">II", data, place + 4) == (0, 24)
    for number in (5, 6, 23):
        struct.pack_into(">I", data, place + 12 + 4 * number, 0)
    decoded = media.read_clips(bytes(data), seconds=2)
    assert decoded.video_seconds == pytest.approx(2, abs=0.01)
    assert decoded.frames_decoded + decoded.corrupt_frames == 21


def test_a_cover_is_no_claim_of_its_length(tmp_path):
    """FFmpeg gives the one picture of a cover the length of the whole file."""
    encode(tmp_path / "clip.mp4")
    Image.new("RGB", (32, 32), (200, 0, 0)).save(tmp_path / "cover.png")
    inputs = ["-i", str(tmp_path / "clip.mp4"), "-i", str(tmp_path / "cover.png")]
    covered = [
        "-map",
        "0",
        "-map",
        "1",
        "-c",
        "copy",
        "-disposition:v:1",
        "attached_pic",
        str(tmp_path / "covered.mp4"),
    ]
    alone = ["-map", "0:a", "-map", "1", "-c", "copy", "-disposition:v", "attached_pic", str(tmp_path / "covered.m4a")]
    for words in (covered, alone):
        subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *inputs, *words], check=True)
    assert media.probe(tmp_path / "covered.mp4").flags == media.read_clips(tmp_path / "covered.mp4").flags == ()
    info = media.probe(tmp_path / "covered.m4a")
    assert info.flags == () and info.video_codec is None
