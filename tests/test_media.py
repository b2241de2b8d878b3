"""media.py on files that are made here: every frame carries its number as a grey level, the sound carries clicks."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from drawaudio_model import media
from drawaudio_model.clip_format import SAMPLE_RATE, VIDEO_FPS
from drawaudio_model.media import MediaError

W, H = 64, 48


def grey(number):
    """Grey level that says which frame this is."""
    return 20 + 4 * (number % 54)


def number_of(frames):
    """Frame numbers read back from the middle of each picture."""
    h, w = frames.shape[1:3]
    middle = frames[:, h // 4 : -h // 4, w // 4 : -w // 4].mean(axis=(1, 2, 3))
    return np.round((middle - 20) / 4).astype(int)


def clicks(seconds, rate, at):
    """Short 1 kHz bursts around the given times."""
    time = np.arange(round(seconds * rate)) / rate
    wave = np.zeros_like(time)
    for moment in at:
        near = np.abs(time - moment) < 0.01
        wave[near] += (
            0.7 * np.cos(2 * np.pi * 1000 * (time[near] - moment)) * np.cos(50 * np.pi * (time[near] - moment))
        )
    return wave


def burst_time(waveform, around, reach=0.2):
    """Time of the loudest moment near `around`, by the centre of energy."""
    first = max(0, round((around - reach) * SAMPLE_RATE))
    energy = np.square(waveform[first : round((around + reach) * SAMPLE_RATE)], dtype=np.float64)
    assert energy.sum() > 0.1, "no burst here"
    return (first + (energy * np.arange(len(energy))).sum() / energy.sum()) / SAMPLE_RATE


def encode(
    file=None,
    *,
    container="mp4",
    video="libx264",
    audio="aac",
    frames=24,
    fps=Fraction(12),
    times=None,
    size=(W, H),
    picture=None,
    pixels="yuv420p",
    ratio=None,
    sound=None,
    rate=44100,
    layout="mono",
    video_start=0.0,
    audio_start=0.0,
    options=None,
):
    """A media file as bytes (or at `file`). `times` (seconds) make the frame rate variable; None codecs leave out a stream."""
    buffer = io.BytesIO()
    with av.open(str(file) if file else buffer, "w", format=container, options=options or {}) as out:
        pictures = sounds = None
        if video:
            pictures = out.add_stream(video, rate=fps)
            pictures.width, pictures.height, pictures.pix_fmt = *size, pixels
            if times is not None:
                pictures.codec_context.time_base = Fraction(1, 1000)
            if ratio:
                pictures.codec_context.sample_aspect_ratio = ratio
            if video == "libx264":
                pictures.options = {"preset": "ultrafast", "crf": "10", "bf": "2"}
            else:
                pictures.bit_rate = 1_000_000
        if audio:
            sounds = out.add_stream(audio, rate=rate, layout=layout)
        packets = []
        if pictures:
            tick = Fraction(1, 1000) if times is not None else 1 / fps
            for i in range(frames if times is None else len(times)):
                array = picture if picture is not None else np.full((size[1], size[0], 3), grey(i), np.uint8)
                frame = av.VideoFrame.from_ndarray(array, format="rgb24").reformat(format=pixels)
                frame.time_base = tick
                frame.pts = round((times[i] if times is not None else i * tick) / tick + Fraction(video_start) / tick)
                packets += pictures.encode(frame)
            packets += pictures.encode(None)
        if sounds:
            if sound is None:
                sound = clicks(frames / float(fps), rate, (0.5, 1.5))
            packets += encode_sound(sounds, np.atleast_2d(sound), rate, layout, audio_start)
        # Interleaving is the muxer's work; out of order within one stream would be ours.
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in packets:
            out.mux(packet)
    return Path(file) if file else buffer.getvalue()


def encode_sound(stream, sound, rate, layout, start):
    form = stream.codec_context.format.name
    resampler = av.AudioResampler(
        format=form, layout=layout, rate=rate, frame_size=stream.codec_context.frame_size or 1024
    )
    frame = av.AudioFrame.from_ndarray(sound.astype(np.float32), format="fltp", layout=layout)
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), round(start * rate)
    packets = []
    for given in (frame, None):
        for piece in resampler.resample(given):
            packets += stream.encode(piece)
    return packets + stream.encode(None)


CONTAINERS = [
    ("mp4", "libx264", "aac", 44100),
    ("mov", "mpeg4", "pcm_s16le", 48000),
    ("matroska", "libx264", "libopus", 48000),
    ("matroska", "libvpx-vp9", "flac", 44100),
    ("webm", "libvpx", "libopus", 48000),
    ("avi", "mpeg4", "libmp3lame", 44100),
    ("avi", "mjpeg", "pcm_s16le", 16000),
    ("mpegts", "libx264", "aac", 44100),
    ("mpegts", "mpeg2video", "mp2", 48000),
    ("mpeg", "mpeg1video", "mp2", 44100),
    ("flv", "flv", "libmp3lame", 44100),
    ("ogg", "libvpx", "flac", 44100),
]


@pytest.mark.parametrize(("container", "video", "audio", "rate"), CONTAINERS)
def test_every_container_gives_the_shown_frames_and_aligned_sound(container, video, audio, rate):
    fps = Fraction(24) if video.startswith("mpeg") else Fraction(12)  # MPEG-1 and -2 know only some rates
    pixels = "yuvj420p" if video == "mjpeg" else "yuv420p"
    data = encode(
        container=container,
        video=video,
        audio=audio,
        rate=rate,
        fps=fps,
        frames=2 * int(fps),
        pixels=pixels,
        sound=clicks(2, rate, (0.5, 1.5)),
        # AVI cannot store times before zero: with this the picture is not moved by a fraction of a frame,
        # and MP3's 1105 samples of priming stay audible, as they do in every player.
        options={"avoid_negative_ts": "disabled"} if container == "avi" else None,
    )
    decoded = media.read_clips(data, seconds=2)
    clip = decoded.clips[0]
    assert decoded.frames_decoded == 2 * fps
    assert number_of(clip.frames).tolist() == [i * int(fps) // VIDEO_FPS for i in range(8)]
    priming = 1105 / rate if (container, audio) == ("avi", "libmp3lame") else 0
    for moment in (0.5 + priming, 1.5 + priming):
        assert burst_time(clip.waveform, moment) == pytest.approx(moment, abs=0.004)
    assert clip.waveform.dtype == np.float32 and clip.waveform.shape == (2 * SAMPLE_RATE,)
    assert "padded_video" not in clip.flags and "silent" not in clip.flags


def test_a_transport_stream_starts_at_its_own_zero():
    data = encode(container="mpegts", video_start=7.0, audio_start=7.0)
    decoded = media.read_clips(data, seconds=2)
    assert number_of(decoded.clips[0].frames)[0] == 0
    assert burst_time(decoded.clips[0].waveform, 0.5) == pytest.approx(0.5, abs=0.002)
    assert decoded.audio_offset_seconds == pytest.approx(0, abs=0.05)  # priming of AAC, which ts cannot hide


def test_late_sound_is_preceded_by_silence_and_early_sound_is_cut():
    late = media.read_clips(encode(container="matroska", audio="flac", audio_start=0.5), seconds=2)
    assert late.audio_offset_seconds == pytest.approx(0.5, abs=0.002)
    assert np.abs(late.clips[0].waveform[: SAMPLE_RATE * 3 // 4]).max() < 1e-3
    assert burst_time(late.clips[0].waveform, 1.0) == pytest.approx(1.0, abs=0.002)
    assert "padded_audio" in late.clips[0].flags
    early = media.read_clips(encode(container="matroska", audio="flac", video_start=0.25), seconds=2)
    assert early.audio_offset_seconds == pytest.approx(-0.25, abs=0.002)
    assert burst_time(early.clips[0].waveform, 0.25) == pytest.approx(0.25, abs=0.002)
    assert number_of(early.clips[0].frames)[0] == 0


def test_an_edit_list_hides_the_frames_before_zero():
    # 0.5 s before zero: the mp4 writer stores them and an edit list that hides them.
    data = encode(frames=24, video_start=-0.5, audio_start=-0.5)
    assert b"elst" in data
    decoded = media.read_clips(data, seconds=1.5)
    assert decoded.frames_decoded == 18
    assert number_of(decoded.clips[0].frames).tolist() == [6 + 3 * i for i in range(6)]
    assert burst_time(decoded.clips[0].waveform, 1.0) == pytest.approx(1.0, abs=0.002)
    assert media.probe(data).video_seconds == pytest.approx(1.5, abs=0.01)


def test_variable_frame_rate_shows_the_last_frame_not_after_the_moment():
    times = np.array([0, 0.04, 0.05, 0.31, 0.75, 0.76, 0.99, 1.0, 1.4, 1.9])
    for container in ("mp4", "matroska"):
        decoded = media.read_clips(encode(container=container, times=times), seconds=2)
        expected = np.searchsorted(times, np.arange(8) / VIDEO_FPS + 1e-9, side="right") - 1
        assert number_of(decoded.clips[0].frames).tolist() == expected.tolist()
        assert decoded.frames_decoded == len(times)


@pytest.mark.parametrize("fps", [Fraction(43, 2), Fraction(30000, 1001), Fraction(5, 2)])
def test_odd_frame_rates_follow_the_clock(fps):
    frames = int(2 * fps) + 1
    decoded = media.read_clips(encode(fps=fps, frames=frames, sound=clicks(2.2, 44100, (0.5,))), seconds=2)
    expected = [int(Fraction(i, VIDEO_FPS) * fps) for i in range(8)]
    assert number_of(decoded.clips[0].frames).tolist() == [n % 54 for n in expected]
    assert decoded.clips[0].flags == ()


def with_matrix(data, a, b, c, d):
    """The mp4 with another display matrix in the header of its first track."""
    at = data.index(b"tkhd") + 4
    at += 4 + (36 if data[at] == 0 else 48)
    matrix = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    return data[:at] + struct.pack(">9i", *matrix) + data[at + 36 :]


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((1, 0, 0, 1), lambda p: p),
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),  # a telephone held upright: turned clockwise for display
        ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
        ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
        ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
        ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
    ],
)
def test_the_display_matrix_turns_the_picture_upright(matrix, upright):
    picture = np.zeros((H, W, 3), np.uint8)
    picture[: H // 2, : W // 2] = (230, 30, 30)
    picture[H // 2 :, : W // 2] = (30, 200, 30)
    data = with_matrix(encode(picture=picture), *matrix)
    frames = media.read_clips(data, seconds=1).clips[0].frames
    expected = upright(picture)
    assert frames.shape[1:] == expected.shape
    assert np.abs(frames[0].astype(int) - expected).mean() < 8


def test_wide_pixels_and_odd_sizes_come_out_square_and_whole():
    wide = encode(container="matroska", video="mpeg4", ratio=Fraction(2, 1))
    assert media.read_clips(wide, seconds=1).clips[0].frames.shape[1:3] == (H, 2 * W)
    odd = encode(container="matroska", video="libx264", pixels="yuv444p", size=(63, 47))
    assert media.read_clips(odd, seconds=1).clips[0].frames.shape[1:3] == (47, 63)


def test_longer_side_only_shrinks_and_size_is_exact():
    data = encode(size=(160, 90))
    assert media.read_clips(data, seconds=1, longer_side=80).clips[0].frames.shape[1:3] == (45, 80)
    assert media.read_clips(data, seconds=1, longer_side=640).clips[0].frames.shape[1:3] == (90, 160)
    assert media.read_clips(data, seconds=1, longer_side=None).clips[0].frames.shape[1:3] == (90, 160)
    assert media.read_clips(data, seconds=1, size=(32, 48)).clips[0].frames.shape[1:3] == (32, 48)


def test_shrinking_averages_instead_of_dropping_lines():
    stripes = np.zeros((96, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    data = encode(container="matroska", video="mjpeg", pixels="yuvj444p", size=(128, 96), picture=stripes, audio="flac")
    frame = media.read_clips(data, seconds=1, size=(24, 32)).clips[0].frames[0]
    assert abs(frame.mean() - 127.5) < 10 and frame.std() < 10


def test_rec709_red_is_red():
    red = np.full((H, W, 3), (200, 20, 30), np.uint8)
    plain = media.read_clips(encode(picture=red), seconds=1).clips[0].frames[0, H // 2, W // 2].astype(int)
    assert np.abs(plain - (200, 20, 30)).max() <= 4


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_a_sine_keeps_level_and_phase_at_every_rate(rate):
    seconds, hz = 6, 1000
    time = np.arange(seconds * rate) / rate
    data = encode(
        container="matroska",
        audio="pcm_s16le",
        rate=rate,
        frames=12,
        fps=Fraction(2),
        sound=0.5 * np.sin(2 * np.pi * hz * time),
    )
    waveform = media.read_clips(data, seconds=seconds).clips[0].waveform.astype(np.float64)
    clock = np.arange(len(waveform)) / SAMPLE_RATE
    tone = waveform * np.exp(-2j * np.pi * hz * clock)
    per_second = tone.reshape(seconds, -1).mean(axis=1) * 2j
    middle = per_second[1:-1]
    assert np.abs(middle) == pytest.approx(0.5, rel=0.005)  # 0.04 dB
    assert np.angle(middle) == pytest.approx(0, abs=0.004)  # 0.6 microseconds: no delay, no drift


def test_resampling_removes_what_the_new_rate_cannot_hold():
    time = np.arange(2 * 44100) / 44100
    sound = 0.5 * np.sin(2 * np.pi * 12000 * time) + 0.01 * np.sin(2 * np.pi * 500 * time)
    waveform = media.read_clips(encode(container="matroska", audio="flac", sound=sound), seconds=2).clips[0].waveform
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)))) / len(waveform) * 4
    assert spectrum[1000] == pytest.approx(0.01, rel=0.05)
    assert np.delete(spectrum, slice(990, 1010)).max() < 0.001


@pytest.mark.parametrize("audio", ["flac", "pcm_s16le"])  # the second leaves the channels without names
def test_downmix_weighs_channels_and_never_clips(audio):
    def peak(layout, channel, count):
        sound = np.zeros((count, 2 * 48000), np.float32)
        sound[channel] = 0.8 * np.sin(2 * np.pi * 440 * np.arange(2 * 48000) / 48000)
        data = encode(container="matroska", audio=audio, rate=48000, layout=layout, sound=sound)
        waveform = media.read_clips(data, seconds=2).clips[0].waveform
        return np.abs(waveform[8000:24000]).max() / 0.8

    assert peak("stereo", 0, 2) == pytest.approx(0.5, abs=0.01)
    total = 0.5 + 0.5 + 0.7071 + 0.3536 + 0.3536
    assert peak("5.1", 0, 6) == pytest.approx(0.5 / total, abs=0.01)
    assert peak("5.1", 2, 6) == pytest.approx(0.7071 / total, abs=0.01)
    assert peak("5.1", 4, 6) == pytest.approx(0.3536 / total, abs=0.01)
    # The subwoofer is no part of a mono sum; alone it is all that there is to hear.
    assert peak("5.1", 3, 6) == pytest.approx(1, abs=0.01)


def test_short_media_is_padded_and_flagged():
    decoded = media.read_clips(encode(), seconds=10)
    clip = decoded.clips[0]
    assert clip.frames.shape[0] == 40 and clip.waveform.shape == (10 * SAMPLE_RATE,)
    assert set(clip.flags) == {"padded_video", "padded_audio"}
    assert set(number_of(clip.frames[8:])) == {23}
    assert np.abs(clip.waveform[round(2.1 * SAMPLE_RATE) :]).max() == 0
    assert clip.video_seconds == pytest.approx(2.0, abs=0.01) and clip.audio_seconds == pytest.approx(2.0, abs=0.05)


def test_several_clips_of_one_pass_equal_single_reads():
    data = encode(frames=50, fps=Fraction(10), sound=clicks(5, 44100, (0.5, 1.5, 2.5, 3.5, 4.5)))
    starts = (2.5, 0.0, 1.0)
    together = media.read_clips(data, starts_seconds=starts, seconds=2)
    for start, clip in zip(starts, together.clips, strict=True):
        alone = media.read_clips(data, starts_seconds=[start], seconds=2).clips[0]
        np.testing.assert_array_equal(clip.frames, alone.frames)
        np.testing.assert_array_equal(clip.waveform, alone.waveform)
        assert number_of(clip.frames).tolist() == [int(10 * (start + i / 4) + 1e-9) for i in range(8)]
    assert together.frames_decoded == 50


def test_a_bad_clip_among_good_ones_is_flagged_not_raised():
    sound = clicks(4, 44100, (0.5, 1.5))
    data = encode(container="matroska", audio="flac", frames=48, sound=sound)
    first, second, beyond = media.read_clips(data, starts_seconds=(0, 2, 20), seconds=2).clips
    assert first.flags == () and "silent" in second.flags and "too_short" in beyond.flags
    with pytest.raises(MediaError, match="silent") as caught:
        media.read_clips(data, starts_seconds=(2,), seconds=2)
    assert caught.value.reason == "silent"


def test_bytes_path_and_threads_make_no_difference(tmp_path):
    data = encode()
    reference = media.read_clips(data, seconds=2).clips[0]
    for name in ("-dash.mp4", "12:30 é.mp4"):
        path = tmp_path / name
        path.write_bytes(data)
        np.testing.assert_array_equal(media.read_clips(path, seconds=2).clips[0].frames, reference.frames)
    threaded = media.read_clips(data, seconds=2, threads=2).clips[0]
    np.testing.assert_array_equal(threaded.frames, reference.frames)
    np.testing.assert_array_equal(threaded.waveform, reference.waveform)


def reason_of(data, **arguments):
    with pytest.raises(MediaError) as caught:
        media.read_clips(data, **arguments)
    assert caught.value.reason in media.REASONS and caught.value.reason in str(caught.value)
    return caught.value.reason


def test_what_is_wrong_with_a_file_is_a_typed_reason():
    assert reason_of(encode(audio=None)) == "no_audio_stream"
    assert reason_of(encode(video=None)) == "no_video_stream"
    assert reason_of(encode(sound=np.zeros(88200))) == "silent"
    assert reason_of(encode(frames=2, sound=clicks(2, 44100, (0.5,)))) == "too_short"
    assert reason_of(np.random.default_rng(0).bytes(4000)) == "undecodable"
    assert reason_of(b"file,caption\n") == "undecodable"
    assert reason_of(b"") == "undecodable"


def test_cut_files_are_truncated(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.2, 6 * 44100).clip(-1, 1)
    whole = encode(frames=72, sound=noise)
    with pytest.raises(MediaError, match="no moov atom") as caught:
        media.read_clips(whole[: len(whole) // 2])
    assert caught.value.reason == "truncated"
    front = encode(tmp_path / "front.mp4", frames=72, sound=noise, options={"movflags": "faststart"}).read_bytes()
    assert reason_of(front[: len(front) // 2]) == "truncated"
    mkv = encode(container="matroska", audio="flac", frames=72, sound=noise)
    assert reason_of(mkv[: len(mkv) // 2]) == "truncated"


def damaged(share):
    """20 JPEG pictures in a row of which a share is overwritten."""
    picture = np.random.default_rng(0).integers(0, 255, (H, W, 3), dtype=np.uint8)
    data = bytearray(
        encode(container="avi", video="mjpeg", audio="pcm_s16le", pixels="yuvj420p", frames=20, picture=picture)
    )
    starts = [i for i in range(len(data)) if data[i : i + 3] == b"\xff\xd8\xff"]
    assert len(starts) == 20
    for start in starts[1 : 1 + round(20 * share)]:
        data[start : start + 600] = b"\0" * 600
    return bytes(data)


def test_a_little_damage_is_counted_and_much_is_an_error():
    clean = media.read_clips(damaged(0), seconds=1)
    assert (clean.frames_decoded, clean.corrupt_frames) == (20, 0)
    decoded = media.read_clips(damaged(0.05), seconds=1)
    assert (decoded.frames_decoded, decoded.corrupt_frames) == (19, 1)
    assert reason_of(damaged(0.5), seconds=1) == "undecodable"


def test_arguments_that_make_no_sense_are_named(tmp_path):
    data = encode()
    with pytest.raises(ValueError, match="starts_seconds is"):
        media.read_clips(data, starts_seconds=[])
    with pytest.raises(ValueError, match="starts_seconds is"):
        media.read_clips(data, starts_seconds=[-1.0])
    with pytest.raises(ValueError, match="seconds is 0"):
        media.read_clips(data, seconds=0)
    with pytest.raises(FileNotFoundError, match=r"nothing\.mp4 does not exist"):
        media.read_clips(tmp_path / "nothing.mp4")


def test_probe_states_the_header():
    info = media.probe(encode(frames=24, rate=48000, layout="stereo", sound=np.tile(clicks(2, 48000, (1,)), (2, 1))))
    assert (info.width, info.height, info.video_codec, info.audio_codec) == (W, H, "h264", "aac")
    assert (info.sample_rate, info.channels, info.fps) == (48000, 2, 12.0)
    assert info.video_seconds == pytest.approx(2, abs=0.01) and info.audio_seconds == pytest.approx(2, abs=0.05)
    # A live recording's header has no length.
    live = encode(container="matroska", options={"live": "1"})
    assert media.probe(live).video_seconds == pytest.approx(2, abs=0.1)


def test_frames_alone_need_no_sound_and_sound_alone_no_picture(tmp_path):
    frames = media.read_frames(encode(audio=None), seconds=1.3, size=(20, 30))
    assert frames.shape == (6, 20, 30, 3) and number_of(frames).tolist() == [0, 3, 6, 9, 12, 15]
    sound = clicks(1.25, SAMPLE_RATE, (0.5,)).astype(np.float32)
    media.write_audio(tmp_path / "a.wav", sound)
    np.testing.assert_allclose(media.read_waveform(tmp_path / "a.wav"), sound, atol=1 / 32768)
    longer = media.read_waveform(tmp_path / "a.wav", seconds=2)
    assert longer.shape == (2 * SAMPLE_RATE,) and not longer[len(sound) :].any()
    with pytest.raises(MediaError, match="no_audio_stream"):
        media.read_waveform(encode(audio=None))


def test_flac_round_trip_is_exact_on_16_bits(tmp_path):
    rng = np.random.default_rng(1)
    samples = rng.integers(-32768, 32768, 5000).astype(np.float32) / 32768
    data = media.encode_flac(samples)
    assert data[:4] == b"fLaC" and data == media.encode_flac(samples)
    np.testing.assert_array_equal(media.decode_flac(data), samples)
    for name in ("a.wav", "a.flac"):
        media.write_audio(tmp_path / name, samples)
        np.testing.assert_array_equal(media.read_waveform(tmp_path / name), samples)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.flac", "a.wav"]
    with pytest.raises(ValueError, match=r"expected one of \.wav, \.flac, \.mp3, \.ogg, \.m4a"):
        media.write_audio(tmp_path / "a.wma", samples)
    with pytest.raises(ValueError, match=r"expected \(samples,\) finite floats"):
        media.encode_flac(np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match="are no FLAC file"):
        media.decode_flac(b"nothing")


def test_jpeg_round_trip_keeps_the_picture():
    x = np.linspace(0, 255, 64)
    frame = np.stack([np.tile(x, (48, 1)), np.tile(x[::-1], (48, 1)), np.full((48, 64), 128)], -1).astype(np.uint8)
    back = media.decode_jpeg(media.encode_jpeg(frame))
    assert back.shape == frame.shape and np.abs(back.astype(int) - frame).mean() < 3
    assert len(media.encode_jpeg(frame, quality=30)) < len(media.encode_jpeg(frame, quality=95))
    with pytest.raises(ValueError, match=r"expected \(H, W, 3\) uint8 RGB"):
        media.encode_jpeg(frame.astype(np.float32))


def packets_of(source):
    with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
def test_mux_copies_the_picture_and_aligns_the_sound(tmp_path, suffix):
    video = encode(tmp_path / "in.mp4", frames=24)
    sound = clicks(2, SAMPLE_RATE, (0.25, 1.25)).astype(np.float32)
    out = tmp_path / f"out{suffix}"
    media.mux(video, sound, out)
    before, after = media.read_clips(video, seconds=2), media.read_clips(out, seconds=2)
    np.testing.assert_array_equal(after.clips[0].frames, before.clips[0].frames)
    if suffix != ".ts":  # which has its own form of H.264
        assert packets_of(out) == packets_of(video)
    lag = np.argmax(np.correlate(after.clips[0].waveform, sound, "full")) - (len(sound) - 1)
    assert abs(lag) <= 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", out.name]


def test_mux_keeps_edit_lists_and_rotation(tmp_path):
    video = tmp_path / "in.mp4"
    video.write_bytes(with_matrix(encode(frames=24, video_start=-0.5, audio_start=-0.5), 0, 1, -1, 0))
    sound = clicks(1.5, SAMPLE_RATE, (0.25, 1.25)).astype(np.float32)
    media.mux(video, sound, tmp_path / "out.mp4")
    decoded = media.read_clips(tmp_path / "out.mp4", seconds=1.5)
    assert decoded.frames_decoded == 18 and decoded.clips[0].frames.shape[1:3] == (W, H)
    assert number_of(decoded.clips[0].frames)[0] == 6
    assert burst_time(decoded.clips[0].waveform, 0.25) == pytest.approx(0.25, abs=0.002)


def test_mux_leaves_nothing_behind_when_it_cannot(tmp_path):
    sound = clicks(1, SAMPLE_RATE, (0.5,))
    video = encode(tmp_path / "in.mp4")
    with pytest.raises(ValueError, match=r"cannot hold h264 video; give the output the suffix \.mkv"):
        media.mux(video, sound, tmp_path / "out.webm")
    with pytest.raises(ValueError, match=r"expected one of \.mp4"):
        media.mux(video, sound, tmp_path / "out.wav")
    silent = encode(tmp_path / "sound.mp4", video=None)
    with pytest.raises(MediaError, match="no_video_stream"):
        media.mux(silent, sound, tmp_path / "out.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "sound.mp4"]


def test_a_flac_that_lasts_for_hours_is_not_unpacked():
    """A few kilobytes of it hold hours of silence: as samples they would fill the memory."""
    bomb = media.encode_flac(np.zeros(3600 * SAMPLE_RATE, np.float32))
    assert len(bomb) < 200_000
    with pytest.raises(ValueError, match=r"says that it lasts 3600 s, expected at most 60; do not use what holds it"):
        media.decode_flac(bomb)
    # And one whose header says less: of what follows no more is read. Bits 108 to 143 of STREAMINFO count the samples.
    lying = bytearray(bomb)
    start = 8 + 13
    lying[start] &= 0xF0
    lying[start + 1 : start + 5] = (10 * SAMPLE_RATE).to_bytes(4, "big")
    try:
        assert len(media.decode_flac(bytes(lying))) <= 60 * SAMPLE_RATE
    except ValueError as error:
        assert "no FLAC file" in str(error)
