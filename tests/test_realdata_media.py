"""media.py and the folder source on real clips and odd files, where that collection lies beside the checkout."""

import csv
from pathlib import Path

import numpy as np
import pytest

from drawaudio_model import media
from drawaudio_model.clip_format import SOURCE_SAMPLES, SOURCE_SECONDS, SOURCE_VIDEO_FRAMES
from drawaudio_model.decoding import tracks
from drawaudio_model.media import MediaError
from pipelines.sources import folder

REALDATA = Path(__file__).resolve().parents[1].parent / "shared" / "realdata"
pytestmark = pytest.mark.skipif(not REALDATA.is_dir(), reason="the collection of real clips is not beside the checkout")


def manifest():
    path = REALDATA / "manifest.csv"
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


MANIFEST = manifest()
CLIPS = sorted(name for name in MANIFEST if name.startswith("clips/"))

# The manifest's seconds have two decimals; everything else must be equal to the sample, because decoders of one codec
# agree on which samples are priming. One AAC frame (1024 samples at 44.1 kHz) would be 0.023.
AUDIO_TOLERANCE = 0.0051


def small(name, **arguments):
    return media.read_clips(REALDATA / name, size=(36, 64), **arguments)


@pytest.mark.parametrize("name", CLIPS)
def test_counts_of_every_real_clip_agree_with_the_manifest(name):
    row = MANIFEST[name]
    decoded = media.read_clips(REALDATA / name, longer_side=64)
    assert decoded.frames_decoded == int(row["frames_decoded"]) and decoded.corrupt_frames == 0
    assert decoded.audio_seconds_decoded == pytest.approx(float(row["audio_decoded_s"]), abs=AUDIO_TOLERANCE)
    clip = decoded.clips[0]
    scale = 64 / max(int(row["width"]), int(row["height"]))
    height, width = round(int(row["height"]) * scale), round(int(row["width"]) * scale)
    assert clip.frames.shape == (SOURCE_VIDEO_FRAMES, height, width, 3) and clip.waveform.shape == (SOURCE_SAMPLES,)
    # Only the AVI is shorter than a clip.
    assert set(clip.flags) == ({"padded_video", "padded_audio"} if name.endswith("eye_makeup.avi") else set())
    assert np.abs(clip.waveform).max() > 0.01
    if clip.flags:
        assert clip.video_seconds == pytest.approx(6.56, abs=0.05)


@pytest.mark.parametrize("name", CLIPS)
def test_leaving_out_frames_changes_nothing_in_any_real_clip(name, monkeypatch):
    decoded = []
    add = tracks.PictureTrack.add
    monkeypatch.setattr(tracks.PictureTrack, "add", lambda track, frame: (decoded.append(frame.pts), add(track, frame)))
    skipping = media.read_clips(REALDATA / name, longer_side=64)
    count = len(decoded)
    monkeypatch.setattr(tracks, "can_skip", lambda stream: False)
    full = media.read_clips(REALDATA / name, longer_side=64)
    np.testing.assert_array_equal(skipping.clips[0].frames, full.clips[0].frames)
    np.testing.assert_array_equal(skipping.clips[0].waveform, full.clips[0].waveform)
    assert len(decoded) - count == full.frames_decoded == skipping.frames_decoded
    assert (skipping.video_seconds, skipping.audio_offset_seconds) == (full.video_seconds, full.audio_offset_seconds)
    b_frames = full.info.video_codec == "h264" and not name.endswith("flipping_a_pancake.mkv")
    assert count < 0.75 * full.frames_decoded if b_frames else count == full.frames_decoded


def test_all_real_clips_are_there():
    assert len(CLIPS) == 14 and sum(name.startswith("odd/") for name in MANIFEST) == 8


def test_the_loud_shots_are_where_the_manifest_hears_them():
    waveform = small("clips/gun.mp4").clips[0].waveform
    loud = np.square(waveform).reshape(100, -1).mean(axis=1)
    first = np.argmax(loud)
    loud[max(0, first - 8) : first + 9] = 0
    assert sorted((first / 10, np.argmax(loud) / 10)) == pytest.approx([4.7, 6.4], abs=0.25)


def test_the_rotated_file_is_an_upright_sample():
    decoded = media.read_clips(REALDATA / "odd" / "rotated_5ch1.mp4", longer_side=192)
    clip = decoded.clips[0]
    assert clip.frames.shape[1:3] == (192, 108)
    assert (decoded.frames_decoded, decoded.info.channels) == (45, 6)
    assert decoded.audio_seconds_decoded == pytest.approx(2.01, abs=AUDIO_TOLERANCE)
    assert decoded.audio_offset_seconds == pytest.approx(-1 / 12, abs=0.001)
    # Sky above, a dark green tree at the lower left: as the manifest's caption has it.
    last = clip.frames[-1].astype(float)
    assert last[:60].mean() > last[-60:, :20].mean() + 40


def test_the_file_with_short_amr_sound_is_a_flagged_sample():
    decoded = small("odd/short_audio_amr.3gp")
    assert set(decoded.clips[0].flags) == {"padded_video", "padded_audio"}
    assert decoded.frames_decoded == 74
    # The manifest says 1.00 s: FFmpeg 5.1 decoded one 20 ms frame of each of the 50 packets. Each packet holds five, and
    # the file's header says 39467 / 8000 s; newer decoders give all of them.
    assert decoded.audio_seconds_decoded == pytest.approx(
        5 * float(MANIFEST["odd/short_audio_amr.3gp"]["audio_decoded_s"])
    )
    assert media.probe(REALDATA / "odd" / "short_audio_amr.3gp").audio_seconds == pytest.approx(39467 / 8000)


@pytest.mark.parametrize(
    ("name", "reason", "sentence"),
    [
        ("vfr_huge.mp4", "no_audio_stream", "no audio stream"),
        ("corrupted_frames.mp4", "no_audio_stream", "no audio stream"),
        ("no_audio_stream.mp4", "no_audio_stream", "no audio stream"),
        ("silent_audio_track.mp4", "silent", "the sound of the clip"),
        ("audio_only_5ch1.mp4", "no_video_stream", "no video stream"),
        ("no_moov.mp4", "truncated", "no moov atom"),
    ],
)
def test_odd_files_end_with_the_reason_that_the_manifest_gives(name, reason, sentence):
    with pytest.raises(MediaError, match=sentence) as caught:
        small(f"odd/{name}")
    assert caught.value.reason == reason


def test_pictures_of_soundless_odd_files_decode_all_the_same():
    corrupted = media.read_frames(REALDATA / "odd" / "corrupted_frames.mp4", seconds=5, size=(36, 64))
    assert corrupted.shape == (20, 36, 64, 3)
    frames = media.read_frames(REALDATA / "odd" / "vfr_huge.mp4", seconds=8.7, size=(36, 64), threads=1)
    # The first picture stands for 1.1 s.
    assert all(np.array_equal(frames[0], frame) for frame in frames[1:5])
    assert not np.array_equal(frames[0], frames[-1])


def test_the_folder_source_lists_the_collection():
    clips, dropped = folder.cut_media(REALDATA, None)
    keys = [clip.key for clip in clips]
    # 12 files of one clip, two of three (30.0 s, and 29.5 s with a padded tail), and one row for each odd file.
    assert len(clips) == 12 + 2 * 3 + 8 and len(set(keys)) == len(keys)
    assert "-0pJqpNjft4_000267_000000" in keys and "big_buck_bunny_0_30_000020" in keys
    assert [clip.flags for clip in clips if clip.source_id == "no_moov"] == [("unreadable",)]
    assert [(tail.path.name, tail.start_s) for tail in dropped] == [("flipping_a_pancake.mkv", SOURCE_SECONDS)]
