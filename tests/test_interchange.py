"""Cut lists: what other programs read of them is what was written, frame by frame."""

import csv
import io
from fractions import Fraction

import opentimelineio
import pytest

from drawaudio_model.muxing.interchange import EDL_SOUNDS, CutList, Marker, Sound, edl, markers_table, otio
from drawaudio_model.muxing.timecode import parse_timecode

NTSC = Fraction(30000, 1001)
RATES = {
    "25": (Fraction(25), "01:00:00:00"),
    "drop": (NTSC, "00:59:58;02"),
    "film": (Fraction(24000, 1001), "10:00:00:12"),
}


def cuts(rate: str, sounds: int = 2) -> CutList:
    """Three seconds and a frame, from just before a minute on where labels are dropped."""
    fps, label = RATES[rate]
    found = [Sound(f"0{number}-béll", f"stems/0{number} bell.wav", 145_600, 48_000) for number in range(1, sounds + 1)]
    markers = [Marker(0, "begin"), Marker(61, "door, left"), Marker(75, "Türe\nzu")]
    return CutList("my clip", "../../my clip.mp4", round(3 * fps) + 1, parse_timecode(label, fps), found, markers)


@pytest.mark.parametrize("rate", RATES)
def test_opentimelineio_reads_back_what_was_written(rate: str) -> None:
    given = cuts(rate)
    timeline = opentimelineio.adapters.read_from_string(otio(given), "otio_json")
    fps = float(given.start.rate)
    assert timeline.global_start_time == opentimelineio.opentime.RationalTime(given.start.frame, fps)
    assert [track.kind for track in timeline.tracks] == ["Video", "Audio", "Audio"]
    picture, *sounds = [track[0] for track in timeline.tracks]
    assert picture.duration().value == given.frames and picture.media_reference.target_url == "../../my%20clip.mp4"
    for clip, sound in zip(sounds, given.sounds, strict=True):
        assert clip.name == sound.name and clip.media_reference.target_url == sound.path.replace(" ", "%20")
        # The .wav says where on the clock it begins; what is used of it is all of it, to the sample.
        assert clip.source_range == clip.available_range()
        assert clip.source_range.start_time.value == pytest.approx(given.start.frame, abs=1e-3)
        assert clip.duration().to_seconds() * 48_000 == pytest.approx(145_600, abs=1e-3)
    shown = [(marker.marked_range.start_time.value, marker.name) for marker in timeline.tracks.markers]
    assert shown == [(marker.frame, marker.name) for marker in given.markers]
    # What the library writes of it, it reads as the same: nothing was of a form of ours.
    again = opentimelineio.adapters.write_to_string(timeline, "otio_json")
    assert opentimelineio.adapters.read_from_string(again, "otio_json").is_equivalent_to(timeline)


@pytest.mark.parametrize("rate", RATES)
def test_an_edl_says_the_same_to_another_reader(rate: str) -> None:
    given = cuts(rate)
    timeline = opentimelineio.adapters.read_from_string(edl(given), "cmx_3600", rate=float(given.start.rate))
    assert timeline.name == "my clip"
    tracks = {track.kind: [] for track in timeline.tracks}
    for track in timeline.tracks:
        tracks[track.kind].append(track)
    (picture,) = tracks["Video"]
    clip = next(iter(picture.find_clips()))
    fps = float(given.start.rate)
    assert clip.duration() == opentimelineio.opentime.RationalTime(given.frames, fps)
    assert clip.name == "my clip"
    assert [marker.name for marker in clip.markers] == ["begin", "door, left", "T?re zu"]
    assert len(tracks["Audio"]) == 2
    for track in tracks["Audio"]:
        sound = next(iter(track.find_clips()))
        assert sound.source_range.start_time.value == given.start.frame
        assert sound.duration().value == -(-145_600 * given.start.rate // 48_000)  # whole frames, none too few


def test_drop_frame_is_said_and_its_labels_leave_out_what_they_leave_out() -> None:
    text = edl(cuts("drop"))
    assert "FCM: DROP FRAME\r\n" in text and "FCM: NON-DROP FRAME" in edl(cuts("25"))
    # Of 91 frames from 00:59:58;02 on, none is dropped at the hour: it is a tenth minute.
    assert "001  AX       V     C        00:00:00;00 00:00:03;01 00:59:58;02 01:00:01;03" in text


def test_a_list_has_four_channels_and_names_what_has_no_room() -> None:
    text = edl(cuts("25", sounds=6))
    events = [line for line in text.splitlines() if line[:3].isdecimal()]
    assert [line.split()[2] for line in events] == ["V", "A", "A2", "NONE", "NONE"] and len(events) == 1 + EDL_SOUNDS
    assert [line for line in text.splitlines() if line.startswith("AUD")] == ["AUD  3", "AUD       4"]
    assert text.count("* NOT IN THIS LIST") == 2 and "stems/06 bell.wav" in text
    assert text.isascii() and all(len(line) <= 120 for line in text.splitlines())


def test_the_table_of_markers_names_each_frame_in_every_way() -> None:
    rows = list(csv.DictReader(io.StringIO(markers_table(cuts("drop")))))
    assert [row["name"] for row in rows] == ["begin", "door, left", "Türe\nzu"]
    assert [row["frame"] for row in rows] == ["0", "61", "75"]
    # 00:59:58;02 is 58 frames before the hour, of which none is left out.
    assert [row["timecode"] for row in rows] == ["00:59:58;02", "01:00:00;03", "01:00:00;17"]
    assert float(rows[1]["seconds"]) == pytest.approx(61 * 1001 / 30000, abs=1e-6)
