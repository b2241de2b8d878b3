"""Every medium of the collections of odd and of real files through the folder source: what is listed, and what is read."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from drawaudio_model import media
from pipelines.sources import folder

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
FOLDERS = (
    "faults/streams",
    "faults/clock",
    "faults/messages",
    "faults/mux",
    "realdata/clips",
    "realdata/odd",
    "realdata/audio",
)
pytestmark = pytest.mark.skipif(
    not (SHARED / "faults").is_dir(), reason="the collections of media are not beside the checkout"
)

TAIL = ("tail",)


@dataclass(frozen=True)
class Read:
    """A file that becomes clips."""

    frames: int
    """As `ffprobe -count_frames` counts them."""
    video: float
    audio: float
    """Seconds of picture and of decoded sound."""
    offset: float = 0.0
    """Start of the sound less start of the picture, seconds."""
    heard: float | None = None
    """Seconds of sound from the first picture on, which is what `drawaudio curve` measures; None: `audio`."""
    listed: tuple[str, ...] = TAIL
    """Flags of its last clip in the list."""
    flags: tuple[str, ...] = ()
    """Of the whole file."""
    clips: int = 1


@dataclass(frozen=True)
class Refused:
    """A file that ends in the ledger, after one clip in the list."""

    reason: str
    listed: tuple[str, ...] = TAIL
    heard: float | None = None
    """Seconds of sound that are read all the same, without clips; None: there is none to be read."""


EXPECTED = {
    "faults/streams/audio_longer.mkv": Read(120, 4.0, 9.02, -0.021, 9.0),
    "faults/streams/audio_longer.mp4": Read(120, 4.0, 9.0),
    "faults/streams/audio_shorter.mp4": Read(120, 4.0, 2.0),
    "faults/streams/audio_without_decoder.mov": Refused("undecodable"),
    "faults/streams/rate_change.ts": Read(120, 3.93, 4.07, -0.021, 3.95, flags=("changed_rate",)),
    "faults/streams/raw.h264": Refused("no_audio_stream"),
    "faults/streams/unflagged_thumbnail_first.mp4": Read(120, 4.0, 4.01),
    "faults/streams/video_late15.mp4": Read(120, 4.0, 4.01, -1.5, 2.51),
    "faults/streams/video_without_decoder.mov": Refused("undecodable", heard=4.01),
    # FFmpeg hides 30 packets whose fragment's time goes back, and one is damaged.
    "faults/clock/duration_6e14s.mp4": Read(
        89, 4.0, 3.95, -0.067, 3.99, (*TAIL, "joined_clock", "wrong_length"), ("wrong_length", "joined_clock")
    ),
    "faults/clock/fragmented_67ms.mp4": Read(120, 4.0, 4.03, -0.067, 4.01),
    "faults/clock/joined_jump.ts": Read(240, 8.03, 8.06, -0.021, 8.04, (*TAIL, "joined_clock"), ("joined_clock",)),
    "faults/clock/joined_other_size.ts": Read(120, 3.93, 4.05, -0.021, 3.94),
    "faults/clock/start3600.mp4": Read(120, 4.0, 4.03, -0.022, 4.01),
    "faults/clock/start3600.ts": Read(120, 4.0, 4.03, -0.021, 4.01),
    "faults/messages/anim.webp": Refused("no_audio_stream"),
    "faults/messages/ffconcat_named.mp4": Refused("undecodable", ("unreadable",)),
    "faults/messages/picture_as_video.png": Refused("no_audio_stream"),
    "faults/messages/tracks_bom.json": Refused("no_video_stream"),
    "faults/mux/anim.gif": Refused("no_audio_stream"),
    "faults/mux/dnxhd.mxf": Refused("too_short", heard=0.32),
    "faults/mux/flv1.flv": Read(120, 4.0, 4.05, -0.025, 4.02),
    "faults/mux/h264_bframes.mkv": Read(120, 4.0, 4.03, -0.021, 4.01),
    "faults/mux/hvc1_tag.mp4": Read(32, 1.1, 1.0),
    "faults/mux/hvc1_tag2.mp4": Read(120, 4.0, 4.03, -0.021, 4.01),
    "faults/mux/raw_to_mkv.avi": Refused("too_short", heard=0.11),
    "faults/mux/vp8_to_mov_crash.webm": Read(120, 4.0, 4.01, -0.007, 4.0),
    "faults/mux/wmv2.wmv": Read(120, 4.0, 3.97, 0.043, 4.01),
    "realdata/clips/-0pJqpNjft4_000267.mp4": Read(301, 10.03, 10.01, listed=()),
    "realdata/clips/0nib7bMm8BA_000015.mp4": Read(300, 10.0, 10.01, listed=()),
    "realdata/clips/20qZLse0acs_000030.mp4": Read(300, 10.0, 10.01, listed=()),
    "realdata/clips/53UdZyM9MyE_000252.mp4": Read(300, 10.0, 10.01, listed=()),
    "realdata/clips/7fRaV39Y-2o_000050.mp4": Read(300, 10.0, 10.01, listed=()),
    "realdata/clips/big_buck_bunny_0_30.webm": Read(720, 30.0, 30.02, listed=(), clips=3),
    "realdata/clips/car.mp4": Read(217, 10.09, 10.03, listed=()),
    "realdata/clips/drum.mp4": Read(216, 10.05, 10.01, listed=()),
    "realdata/clips/eye_makeup.avi": Read(164, 6.56, 6.56, -0.04, 6.52),
    "realdata/clips/fireworks_video_03051.mp4": Read(300, 10.01, 10.03, listed=()),
    "realdata/clips/flipping_a_pancake.mkv": Read(310, 10.33, 10.37, listed=()),
    "realdata/clips/gun.mp4": Read(217, 10.09, 10.01, listed=()),
    "realdata/clips/hammer_video_00323.mp4": Read(240, 10.0, 10.01, listed=()),
    "realdata/clips/tv_advert.ogv": Read(443, 29.53, 29.49, clips=3),
    "realdata/odd/audio_only_5ch1.mp4": Refused("no_video_stream", heard=2.02),
    "realdata/odd/corrupted_frames.mp4": Refused("no_audio_stream"),
    "realdata/odd/no_audio_stream.mp4": Refused("no_audio_stream"),
    "realdata/odd/no_moov.mp4": Refused("truncated", ("unreadable",)),
    "realdata/odd/rotated_5ch1.mp4": Read(45, 1.88, 2.01, -0.083, 1.92),
    "realdata/odd/short_audio_amr.3gp": Read(74, 4.93, 5.0),
    "realdata/odd/silent_audio_track.mp4": Refused("silent", heard=5.06),
    "realdata/odd/vfr_huge.mp4": Refused("no_audio_stream"),
    "realdata/audio/FwVYUHKoLtQ_000034.wav": Refused("no_video_stream", heard=10.0),
    "realdata/audio/dog_audio.wav": Refused("no_video_stream", heard=2.61),
    "realdata/audio/jfk.flac": Refused("no_video_stream", heard=11.0),
    "realdata/audio/voices-around-a-fire.mp3": Refused("no_video_stream", heard=30.37),
}


def test_the_table_names_every_file():
    assert {*EXPECTED} == {f"{place}/{path.name}" for place in FOLDERS for path in (SHARED / place).iterdir()}


def listed_clips(path, tmp_path, monkeypatch):
    """The clips that the folder source makes of one file, whatever its suffix."""
    monkeypatch.setattr(folder, "SUFFIXES", folder.SUFFIXES | {path.suffix.lower()})
    (tmp_path / path.name).symlink_to(path)
    return folder.list_media(tmp_path, None)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_a_file_becomes(name, tmp_path, monkeypatch):
    path, expected = SHARED / name, EXPECTED[name]
    clips = listed_clips(path, tmp_path, monkeypatch)
    assert clips[-1].flags == expected.listed
    starts = [clip.start_s for clip in clips]
    if isinstance(expected, Refused):
        assert starts == [0]
        with pytest.raises(media.MediaError) as caught:
            media.read_clips(path, starts_seconds=starts, size=(36, 64))
        assert caught.value.reason == expected.reason
        if expected.heard is None:
            with pytest.raises(media.MediaError):
                media.read_waveform(path)
        heard = expected.heard
    else:
        assert starts == [10 * number for number in range(expected.clips)]
        decoded = media.read_clips(path, starts_seconds=starts, size=(36, 64))
        assert not any({"silent", "too_short"} & {*clip.flags} for clip in decoded.clips)
        assert decoded.flags == expected.flags and decoded.frames_decoded == expected.frames
        found = decoded.video_seconds, decoded.audio_seconds_decoded, decoded.audio_offset_seconds
        assert found == pytest.approx((expected.video, expected.audio, expected.offset), abs=0.01)
        heard = expected.audio if expected.heard is None else expected.heard
    if heard is not None:
        assert len(media.read_waveform(path)) / 16000 == pytest.approx(heard, abs=0.01)


def test_a_folder_of_all_of_them_is_listed_whole(tmp_path):
    """None of them stops the list, and all that look like media are in it."""
    names = [name for name in EXPECTED if Path(name).suffix.lower() in folder.SUFFIXES]
    for name in names:
        place = tmp_path / Path(name).parent
        place.mkdir(parents=True, exist_ok=True)
        (place / Path(name).name).symlink_to(SHARED / name)
    clips = folder.list_media(tmp_path, None)
    assert len(clips) == sum(getattr(EXPECTED[name], "clips", 1) for name in names)
