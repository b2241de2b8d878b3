"""Leaving out frames changes nothing: every file here is read with it and without it, and the two must be equal."""

import io
from dataclasses import fields
from fractions import Fraction

import av
import numpy as np
import pytest

from drawaudio_model import media
from drawaudio_model.decoding import skipping as frame_skipping
from drawaudio_model.decoding import tracks
from drawaudio_model.media import MediaError
from tests.test_media import clicks, encode, encode_sound

W, H, FPS, FRAMES = 96, 64, 15, 60
H264 = {"preset": "medium", "crf": "20", "g": "24", "bf": "3"}


def film(file=None, *, container="mp4", video="libx264", options=H264, muxer=None, first=0, times=None, ticks=FPS):
    """Four seconds of moving texture and two clicks, as bytes (or at `file`); every frame differs from every other."""
    ground = (
        np.random.default_rng(0)
        .integers(0, 255, (H // 4, W // 4 + FRAMES, 3), dtype=np.uint8)
        .repeat(4, 0)
        .repeat(4, 1)
    )
    buffer = io.BytesIO()
    with av.open(str(file) if file else buffer, "w", format=container, options=muxer or {}) as out:
        pictures = out.add_stream(
            video, rate=FPS if not video.startswith("mpeg") or video == "mpeg4" else 25, options=options
        )
        pictures.width, pictures.height, pictures.pix_fmt = W, H, "yuv420p"
        if times is not None:
            pictures.codec_context.time_base = Fraction(1, ticks)
        sounds = out.add_stream("aac", rate=44100, layout="mono")
        packets = []
        for i in range(FRAMES):
            array = np.ascontiguousarray(ground[:, 2 * i : 2 * i + W])
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.time_base = 1 / Fraction(pictures.codec_context.rate) if times is None else Fraction(1, ticks)
            frame.pts = first + (i if times is None else times[i])
            packets += pictures.encode(frame)
        packets += pictures.encode(None)
        packets += encode_sound(sounds, clicks(4, 44100, (0.5, 1.7))[None], 44100, "mono", 0.0)
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in packets:
            out.mux(packet)
    return buffer.getvalue()


def copied(data, change, container="matroska"):
    """The same packets in another file; `change` gets the list of the picture's packets and gives it back."""
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(buffer, "w", format=container) as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        packets = [packet for packet in source.demux() if packet.size]
        sounds = [packet for packet in packets if packet.stream.type == "audio"]
        for packet in change([packet for packet in packets if packet.stream.type == "video"]) + sounds:
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    return buffer.getvalue()


@pytest.fixture
def both(monkeypatch):
    """Reads a file with and without leaving out frames, checks that all is equal, and counts decoded frames."""
    decoded = []
    add = tracks.PictureTrack.add

    def counting(track, frame):
        decoded[-1] += 1
        add(track, frame)

    monkeypatch.setattr(tracks.PictureTrack, "add", counting)

    def read(source, **arguments):
        """(what was read, frames decoded for it)"""
        decoded.append(0)
        skipping = media.read_clips(source, **arguments)
        with monkeypatch.context() as patch:
            patch.setattr(frame_skipping, "_DECODERS", set())
            decoded.append(0)
            full = media.read_clips(source, **arguments)
        assert decoded[-1] == full.frames_decoded
        for field in fields(full):
            if field.name != "clips":
                assert getattr(skipping, field.name) == getattr(full, field.name), field.name
        for one, other in zip(skipping.clips, full.clips, strict=True):
            np.testing.assert_array_equal(one.frames, other.frames)
            np.testing.assert_array_equal(one.waveform, other.waveform)
            assert (one.flags, one.video_seconds, one.audio_seconds) == (
                other.flags,
                other.video_seconds,
                other.audio_seconds,
            )
        return full, decoded[-2]

    return read


B_FRAMES = [
    ("mp4", "libx264", H264),
    ("matroska", "libx264", H264),
    ("mov", "libx264", H264 | {"x264-params": "b-pyramid=none:open-gop=1"}),
    ("mp4", "libx265", {"preset": "ultrafast", "x265-params": "bframes=4:keyint=24:log-level=none"}),
    ("mp4", "mpeg4", {"bf": "2"}),
    ("matroska", "mpeg2video", {"bf": "2"}),
    ("matroska", "mpeg1video", {"bf": "2"}),
]


@pytest.mark.parametrize(("container", "video", "options"), B_FRAMES)
def test_b_frames_that_nobody_sees_are_left_out_and_nothing_changes(both, container, video, options):
    data = film(container=container, video=video, options=options)
    read, decoded = both(data, starts_seconds=(0.0, 1.3), seconds=1.2)
    assert read.frames_decoded == FRAMES and decoded < 0.8 * FRAMES
    # Where every frame is asked for, every frame is decoded.
    assert both(data, seconds=4, fps=50)[1] == FRAMES


@pytest.mark.parametrize("threads", [0, 2])
def test_decoding_threads_change_nothing_either(both, threads):
    read, decoded = both(film(), seconds=4, threads=threads)
    assert read.frames_decoded == FRAMES and decoded < 0.8 * FRAMES


@pytest.mark.parametrize(
    ("container", "video", "options"),
    [
        ("avi", "mpeg4", {"bf": "2"}),
        ("mpegts", "libx264", H264),
        ("webm", "libvpx-vp9", {"cpu-used": "8", "deadline": "realtime"}),
        ("mp4", "libx264", H264 | {"bf": "0"}),
        ("mp4", "libx264", H264 | {"x264-params": "interlaced=1"}),
        ("mp4", "libx265", {"preset": "ultrafast", "x265-params": "bframes=4:temporal-layers=3:log-level=none"}),
    ],
)
def test_files_of_which_none_can_be_left_out_are_decoded_whole(both, container, video, options):
    if container == "webm":
        data = encode(container=container, video=video, audio="libopus", rate=48000)
    else:
        data = film(container=container, video=video, options=options)
    read, decoded = both(data, seconds=2)
    assert decoded >= read.frames_decoded  # more, where the first attempt was given up


def test_edit_lists_and_variable_rates_change_nothing(both):
    hidden = film(first=-8)
    assert b"elst" in hidden
    read, decoded = both(hidden, seconds=2)
    assert read.frames_decoded == FRAMES - 8 and decoded < read.frames_decoded
    steps = np.random.default_rng(1).integers(5, 200, FRAMES)
    read, decoded = both(film(times=np.cumsum(steps).tolist(), ticks=1000), starts_seconds=(0, 2.1), seconds=2)
    assert read.frames_decoded == FRAMES and decoded < FRAMES


def test_a_cut_at_an_open_group_of_pictures_changes_nothing(both):
    """The first B-frames refer to what was cut off; decoders show them or not, as they like."""
    data = film(options=H264 | {"x264-params": "open-gop=1:keyint=12:scenecut=0"})

    def cut(packets):
        keys = [i for i, packet in enumerate(packets) if packet.is_keyframe]
        assert packets[keys[2] + 1].pts < packets[keys[2]].pts
        return packets[keys[2] :]

    both(copied(data, cut), seconds=2)


def test_times_without_order_are_not_relied_on(both):
    def as_stored(packets):
        for packet in packets:
            packet.pts = packet.dts
        return packets

    def doubled(packets):
        packets[31].pts = packets[30].pts
        return packets

    def exchanged(packets):
        """A B-frame gets the time of the frame stored before it, and that one the B-frame's."""
        later = next(i for i in range(30, 50) if packets[i].pts < packets[i - 1].pts)
        packets[later].pts, packets[later - 1].pts = packets[later - 1].pts, packets[later].pts
        return packets

    for change in (as_stored, doubled, exchanged):
        both(copied(film(), change), seconds=3)


def test_damage_is_counted_as_before(both):
    data = bytearray(film())
    with av.open(io.BytesIO(data)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    whole = both(bytes(data), seconds=3)[0]
    largest = max(packets[10:], key=lambda packet: packet.size)
    middle = largest.pos + largest.size // 2
    data[middle : middle + 40] = bytes(40)
    read, decoded = both(bytes(data), seconds=3)
    assert read.corrupt_frames + whole.frames_decoded - read.frames_decoded > 0
    assert decoded > FRAMES  # once until the damage was met, and once in full


def test_a_cut_file_is_truncated_all_the_same():
    data = film(container="matroska")
    with pytest.raises(MediaError, match="declares") as caught:
        media.read_clips(data[: len(data) // 2])
    assert caught.value.reason == "truncated"


def test_temporal_layers_are_read_off_the_hvcc_header():
    def layers(params):
        data = film(video="libx265", options={"preset": "ultrafast", "x265-params": params + ":log-level=none"})
        with av.open(io.BytesIO(data)) as container:
            return frame_skipping._temporal_layers(container.streams.video[0].codec_context.extradata)

    assert layers("bframes=3") == 1
    assert layers("bframes=3:temporal-layers=3") == 3
    assert frame_skipping._temporal_layers(None) is None and frame_skipping._temporal_layers(bytes(40)) is None
