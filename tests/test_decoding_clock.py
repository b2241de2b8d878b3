"""Clocks that break: parts that were joined, times that leap or are false, streams that begin late or in mid-file."""

import struct
from fractions import Fraction

import numpy as np
import pytest

from drawaudio_model import media
from drawaudio_model.decoding.clock import LEAP_SECONDS, LONG_LEAP_SECONDS, PacketTimes, lay_out
from tests.test_media import H, W, burst_time, clicks, encode, number_of

TS = {"container": "mpegts"}


def shifted(seconds, **arguments):
    """A file of 2 s whose clock starts elsewhere."""
    return encode(video_start=seconds, audio_start=seconds, **arguments)


@pytest.mark.parametrize(
    ("first", "second"),
    [(0, 0), (0, 1000), (1000, 0), (0, 95440), (3600, 3590), (0, 1.7)],
    ids=["restart", "ahead", "back", "to the wrap", "a little back", "overlapping"],
)
def test_joined_transport_streams_are_laid_end_to_end_with_picture_and_sound_together(first, second):
    data = shifted(first, **TS) + shifted(second, **TS)
    decoded = media.read_clips(data, seconds=4, fps=12)
    assert decoded.frames_decoded == 48 and "joined_clock" in decoded.flags
    assert decoded.video_seconds == pytest.approx(4, abs=0.1)
    frames, waveform = number_of(decoded.clips[0].frames), decoded.clips[0].waveform
    joint = int(np.flatnonzero(np.diff(frames) < 0)[0]) + 1  # The first frame of the second part, as it is shown.
    assert joint in (24, 25)
    assert [burst_time(waveform, at) for at in (0.5, 1.5)] == pytest.approx([0.5, 1.5], abs=0.03)
    # Each part's bursts come with its own picture.
    assert [burst_time(waveform, joint / 12 + at) - joint / 12 for at in (0.5, 1.5)] == pytest.approx(
        [0.5, 1.5], abs=0.09
    )
    info = media.probe(data)
    assert "joined_clock" in info.flags and info.video_seconds == pytest.approx(decoded.video_seconds, abs=0.01)
    np.testing.assert_allclose(media.read_waveform(data)[: 4 * 16000], waveform[: len(media.read_waveform(data))])


@pytest.mark.parametrize(
    "begins", [(0, 0, 0), (0, 40, 20000), (900, 0, 40)], ids=["restarts", "ahead", "back and ahead"]
)
def test_joined_program_streams_are_laid_end_to_end(begins):
    """FFmpeg says of the last picture of a part that it is shown when the first of the next one is decoded."""
    film = {"container": "mpeg", "video": "mpeg1video", "audio": "mp2", "fps": Fraction(24), "frames": 48}
    data = b"".join(shifted(seconds, **film) for seconds in begins)
    decoded = media.read_clips(data, seconds=6, fps=24)
    assert decoded.frames_decoded == 144 and decoded.flags == ("joined_clock",)
    assert decoded.video_seconds == pytest.approx(6, abs=0.1)
    assert [burst_time(decoded.clips[0].waveform, at) for at in (0.5, 2.5, 5.5)] == pytest.approx(
        [0.5, 2.5, 5.5], abs=0.06
    )
    frames = number_of(decoded.clips[0].frames)
    assert np.flatnonzero(np.diff(frames) < 0) + 1 == pytest.approx(np.array([48, 96]), abs=1)
    info = media.probe(data)
    assert "joined_clock" in info.flags and info.video_seconds == pytest.approx(decoded.video_seconds, abs=0.05)


def test_a_part_whose_streams_have_other_numbers_is_said_to_be_left_out():
    """FFmpeg takes them for other streams; a sound or a picture that only begins late is none."""
    other = {"options": {"mpegts_start_pid": "600"}}
    joined = encode(**TS) + encode(**TS, **other)
    decoded = media.read_clips(joined, seconds=2)
    assert decoded.flags == media.probe(joined).flags == ("other_stream",) and decoded.frames_decoded == 24
    sounds = encode(**TS) + encode(**TS, video=None, **other)
    assert media.read_clips(sounds, seconds=2).flags == media.probe(sounds).flags == ("other_stream",)
    late = encode(audio=None, **TS) + encode(**TS)
    assert "other_stream" not in media.probe(late).flags + media.read_clips(late, seconds=4).flags


def test_ordinary_files_and_files_that_start_elsewhere_are_not_flagged():
    for data in (
        encode(),
        shifted(3600, container="matroska"),
        shifted(3600, **TS),
        encode(container="flv", video="flv", audio="libmp3lame"),
    ):
        decoded = media.read_clips(data, seconds=2)
        assert decoded.flags == () and decoded.video_seconds == pytest.approx(2, abs=0.01)
        assert media.probe(data).flags == ()


def test_a_picture_that_stands_for_long_is_no_break():
    still = encode(container="matroska", audio="flac", times=[0, 1, 15, 15.5], sound=clicks(16, 44100, (0.5, 15.2)))
    decoded = media.read_clips(still, seconds=16)
    assert decoded.flags == () and decoded.video_seconds == pytest.approx(15.6, abs=0.6)
    assert burst_time(decoded.clips[0].waveform, 15.2) == pytest.approx(15.2, abs=0.01)
    # In a transport stream a picture may wait for as long, if the sound goes on.
    sparse = encode(**TS, video="mpeg4", audio="mp2", times=[0, 1, 15, 15.5], sound=clicks(16, 44100, (0.5, 15.2)))
    assert media.read_clips(sparse, seconds=16).flags == ()
    assert burst_time(media.read_waveform(sparse), 15.2) == pytest.approx(15.2, abs=0.03)


def test_one_false_time_does_not_stretch_the_file():
    data = bytearray(encode(video="mpeg4", options={"movflags": "frag_keyframe+empty_moov"}, frames=24))
    # The decode time of the picture's second fragment becomes 2**61 ticks.
    places = [i for i in range(len(data)) if data[i : i + 4] == b"tfdt"]
    struct.pack_into(">BxxxQ", data, places[len(places) // 2] + 4, 1, 1 << 61)
    info = media.probe(bytes(data))
    assert info.video_seconds < 3 and info.audio_seconds < 3 and "joined_clock" in info.flags
    decoded = media.read_clips(bytes(data), seconds=2)
    assert decoded.video_seconds < 3 and "joined_clock" in decoded.flags


def table(*times, duration=1):
    """Packets (of 1 s each) decoded and shown at the given seconds, or at (second, place in the file)."""
    made = PacketTimes(Fraction(1, 10), 10 * duration)
    for number, time in enumerate(times):
        second, order = time if isinstance(time, tuple) else (time, 2 * number)
        made.decoded.append(10 * second)
        made.shown.append(10 * second)
        made.durations.append(10 * duration)
        made.orders.append(order)
    return made


def laid(leap, *tables):
    """Seconds at which the packets of each table are, when the clock is laid out."""
    numbered = dict(enumerate(tables))
    moves = lay_out(numbered, numbered, leap)
    out = []
    for index, made in numbered.items():
        steps = moves.get(index, [(0, 0)])
        out.append(
            [
                (time + next(ticks for first, ticks in reversed(steps) if first <= number)) / 10
                for number, time in enumerate(made.decoded)
            ]
        )
    return out


def test_pieces_on_one_clock_are_moved_together():
    # The second part's sound begins 0.5 s before its picture, and still does behind the first part.
    picture, sound = table(0, 1, 2, 100, 101), table(0, 1, 2, 99, 100)
    assert laid(LEAP_SECONDS, picture, sound) == [[0, 1, 2, 4, 5], [0, 1, 2, 3, 4]]
    assert laid(LONG_LEAP_SECONDS, picture, sound) == [[0, 1, 2, 100, 101], [0, 1, 2, 99, 100]]


def test_a_lone_false_piece_is_laid_beside_the_true_ones():
    false = 6 * 10**14
    assert laid(LONG_LEAP_SECONDS, table(false, false + 1, 2, 3), table(0, 1, 2, 3)) == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert laid(LONG_LEAP_SECONDS, table(0, 1, false, 3), table(0, 1, 2, 3)) == [[0, 1, 2, 3], [0, 1, 2, 3]]


def test_a_stream_whose_whole_clock_is_another_one_begins_where_the_other_is_in_the_file():
    picture, sound = table(0, 1, 2, 3), table((500, 5), (501, 7))
    pictures, sounds = laid(LEAP_SECONDS, picture, sound)
    assert sounds[0] - pictures[0] == pytest.approx(2.5, abs=1)
    # Other containers need not be stored in the order of time.
    pictures, sounds = laid(LONG_LEAP_SECONDS, picture, table((9000, 5), (9001, 7)))
    assert sounds[0] == pictures[0]


def test_sound_that_first_appears_in_mid_file_is_found():
    silent = encode(audio=None, frames=12 * 20, **TS)
    decoded = media.read_clips(silent + encode(**TS), starts_seconds=(0, 20), seconds=2)
    assert decoded.frames_decoded == 12 * 22 and decoded.audio_offset_seconds == pytest.approx(20, abs=0.1)
    assert "too_short" in decoded.clips[0].flags and decoded.clips[1].audio_seconds == pytest.approx(2, abs=0.1)
    assert burst_time(decoded.clips[1].waveform, 0.5) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("video", ["libx264", "mpeg2video", "mpeg4"])
@pytest.mark.parametrize("announced", [False, True], ids=["a new program", "one program"])
def test_sound_behind_much_silent_picture_is_found(video, announced):
    """More than FFmpeg looks through by itself, and the last picture of the first part comes after sound of the second."""
    noise = np.random.default_rng(0).integers(0, 255, (192, 256, 3), dtype=np.uint8)
    film = {**TS, "video": video, "audio": "mp2", "fps": Fraction(25), "size": (256, 192), "picture": noise}
    seconds = 20
    if announced:
        data = encode(**film, frames=25 * (seconds + 2), audio_start=seconds, sound=clicks(2, 44100, (0.5,)))
    else:
        data = encode(**film | {"audio": None}, frames=25 * seconds) + encode(**film, frames=50)
    assert len(data) > 500_000
    assert media.probe(data).audio_seconds == pytest.approx(2, abs=0.1)
    clip = media.read_clips(data, starts_seconds=(seconds,), seconds=2, size=(48, 64)).clips[0]
    assert burst_time(clip.waveform, 0.5) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("video", ["libx264", "mpeg2video"])
@pytest.mark.parametrize("announced", [False, True], ids=["a new program", "one program"])
def test_a_picture_behind_much_sound_is_found_and_can_be_copied(video, announced, tmp_path):
    film, seconds = {**TS, "video": video, "audio": "mp2"}, 40
    long = clicks(seconds + 2 if announced else seconds, 44100, (0.5, seconds + 0.5))
    if announced:
        data = encode(**film, video_start=seconds, sound=long)
    else:
        options = {"mpegts_start_pid": "257"}  # of the second part's sound
        data = encode(**film | {"video": None}, sound=long, options=options) + encode(**film)
    assert len(data) > 500_000
    path = tmp_path / "clip.ts"
    path.write_bytes(data)
    info = media.probe(path)
    assert (info.width, info.height) == (W, H) and info.video_seconds == pytest.approx(2, abs=0.1)
    assert info.audio_seconds == pytest.approx(seconds + 2, abs=0.2)
    decoded = media.read_clips(path, seconds=2)
    assert decoded.frames_decoded == 24 and decoded.audio_offset_seconds == pytest.approx(-seconds, abs=0.1)
    media.mux(path, np.zeros(2 * 16000, np.float32), tmp_path / "out.mkv")
    assert media.probe(tmp_path / "out.mkv").width == W


def test_sound_that_a_header_does_not_announce_is_found_behind_what_is_searched_by_itself():
    """A recorder writes the head of an FLV file before it knows of the sound; FFmpeg looks at the first 5 s only."""
    data = bytearray(encode(container="flv", video="flv", audio="libmp3lame", frames=12 * 22, audio_start=20))
    assert data[:5] == b"FLV\x01\x05"
    data[4] = 1  # there is a picture
    clip = media.read_clips(bytes(data), starts_seconds=(20,), seconds=2).clips[0]
    assert burst_time(clip.waveform, 0.5) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("start", [0.0, 1.5, 0.25])
@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_a_waveform_is_on_the_pictures_clock(container, start):
    late = encode(container=container, audio_start=start)
    sound = media.read_waveform(late)
    assert burst_time(sound, start + 0.5) == pytest.approx(start + 0.5, abs=0.03)
    assert len(sound) / 16000 == pytest.approx(start + 2, abs=0.06)
    early = encode(container=container, video_start=start)
    assert burst_time(media.read_waveform(early), 1.5 - start) == pytest.approx(1.5 - start, abs=0.03)
    np.testing.assert_allclose(
        media.read_waveform(late, seconds=3), media.read_clips(late, seconds=3).clips[0].waveform, atol=1e-6
    )


def test_a_waveform_of_a_fragmented_file_is_on_the_pictures_clock():
    data = encode(options={"movflags": "frag_keyframe+empty_moov"})
    clip = media.read_clips(data, seconds=2)
    assert abs(clip.audio_offset_seconds) > 0.05
    np.testing.assert_allclose(media.read_waveform(data, seconds=2), clip.clips[0].waveform, atol=1e-6)


@pytest.mark.parametrize(("container", "unit"), [("mpegts", 188), ("mpeg", 2048)])
def test_a_waveform_of_a_file_that_begins_in_mid_group_is_on_the_clock_of_the_first_picture_that_is_seen(
    container, unit
):
    film = {"container": container, "video": "mpeg2video", "audio": "mp2", "fps": Fraction(25), "frames": 100}
    noise = np.random.default_rng(0).integers(0, 255, (H, W, 3), dtype=np.uint8)
    data = encode(**film, picture=noise, sound=clicks(4, 44100, (0.5, 1.5, 2.5, 3.5)))
    for share in (0.3, 0.35, 0.4, 0.45):
        cut = data[round(share * len(data) / unit) * unit :]
        decoded = media.read_clips(cut, seconds=2)
        assert decoded.frames_decoded < 25 * 4 * (1 - share)
        np.testing.assert_allclose(media.read_waveform(cut, seconds=2), decoded.clips[0].waveform, atol=1e-6)
        assert media.probe(cut).video_seconds == pytest.approx(decoded.video_seconds, abs=0.1)


def test_a_waveform_without_a_picture_starts_with_its_first_sample():
    for container in ("matroska", "mp4"):
        data = encode(container=container, video=None, audio="flac", audio_start=1.5, sound=clicks(2, 44100, (0.5,)))
        sound = media.read_waveform(data)
        assert len(sound) == 2 * 16000 and burst_time(sound, 0.5) == pytest.approx(0.5, abs=0.002)


def test_sound_that_ends_before_the_first_picture_says_so():
    with pytest.raises(media.MediaError, match="ends before the first picture") as caught:
        media.read_waveform(encode(container="matroska", video_start=5))
    assert caught.value.reason == "too_short"
