"""Every medium of the collections of odd and of real files through both doors: the folder source, and the commands."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from drawaudio_model import media
from drawaudio_model.cli import main
from drawaudio_model.commands.delivery import write_sound
from pipelines.sources import folder
from tests import test_faulty_files
from tests.test_clip_media import built, facts
from tests.tiny_pipeline import saved_pipeline

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


NO_PICTURE = "has no video stream"
SAID = {
    "faults/streams/raw.h264": (None, "ffmpeg -framerate 30 -i raw.h264 -c copy raw.mp4"),
    "faults/streams/video_without_decoder.mov": ("no decoder for the video stream", "no decoder for the picture"),
    "faults/messages/anim.webp": 2 * ("an animated WebP, which FFmpeg cannot read; save it as GIF or MP4",),
    "faults/messages/ffconcat_named.mp4": 2 * ("is a list of other files; join them first",),
    "faults/messages/picture_as_video.png": 2 * ("is a still picture; make a video of it: ffmpeg -loop 1",),
    "faults/messages/tracks_bom.json": 2 * (NO_PICTURE,),
    "faults/mux/anim.gif": (None, "a .mkv file cannot hold gif video; give the output the suffix .mov"),
    "realdata/clips/-0pJqpNjft4_000267.mp4": (None, "this file's edit list cuts off; give the output the suffix .mp4"),
    "realdata/odd/audio_only_5ch1.mp4": 2 * (NO_PICTURE,),
    "realdata/odd/no_moov.mp4": 2 * ("no moov atom: the file was never finished",),
    "realdata/audio/FwVYUHKoLtQ_000034.wav": 2 * (NO_PICTURE,),
    "realdata/audio/dog_audio.wav": 2 * (NO_PICTURE,),
    "realdata/audio/jfk.flac": 2 * (NO_PICTURE,),
    "realdata/audio/voices-around-a-fire.mp3": 2 * (NO_PICTURE,),
}
"""What the commands say that look at a picture, and that write a .mkv, where they refuse it; they take all others."""
LISTS = {
    "audiocaps_test.csv": "line 1: the columns are audiocap_id, youtube_id, start_time, caption; expected time_seconds",
    "audiocaps_train.csv.gz": "the container cannot be opened",
    "audiocaps_val.csv": "line 1: the columns are audiocap_id, youtube_id, start_time, caption; expected time_seconds",
    "vggsound_mmaudio_test.tsv": "the container cannot be opened",
    "vggsound_mmaudio_val.tsv": "the container cannot be opened",
    "vggsound_partial_rebuilt.csv.gz": "the container cannot be opened",
    "vggsound_stat_official.csv": "line 1: the columns are ",
    "vggsound_test_official.csv": "line 1: the columns are ",
    "vggsounder.csv.gz": "the container cannot be opened",
}
"""Tables of data sets, taken for a curve by mistake; test_youtube_lists.py reads them as what they are."""


def test_no_file_of_the_collections_is_left_out():
    media_files = {f"{place}/{path.name}" for place in FOLDERS for path in (SHARED / place).iterdir()}
    assert {*EXPECTED} == media_files and {*SAID} <= media_files
    lists = SHARED / "realdata" / "csv"
    assert {*LISTS} == {path.name for path in lists.iterdir()}
    # masks, curves, captions and messages: test_faulty_files.py
    others = {"realdata/csv", *(f"faults/{kind}" for kind in test_faulty_files.KINDS)}
    places = {
        path.parent.relative_to(SHARED).as_posix()
        for path in SHARED.glob("*/*/*")
        if path.parts[-3] in ("faults", "realdata")
    }
    assert places == {*FOLDERS, *others}


@pytest.mark.parametrize("name", EXPECTED)
def test_what_the_commands_make_of_a_file(name, tmp_path, capsys):
    """A curve of its sound, a mask on its picture, and a new sound beside its picture, as far as no model is needed."""
    path, expected = SHARED / name, EXPECTED[name]
    heard = expected.heard if isinstance(expected, Refused) or expected.heard is not None else expected.audio
    code = main(["curve", str(path), "-o", str(tmp_path / "curve.json")])
    said = capsys.readouterr()
    if heard is None:
        reason = "point 1 has the keys text" if path.suffix == ".json" else f"({expected.reason})"
        assert code == 2 and reason in said.err
    else:
        seconds = float(said.out.split(" points, ")[1].split(" s,")[0])
        assert code == 0 and heard - 0.01 <= seconds <= math.ceil(10 * heard + 0.1) / 10
    seen, written = SAID.get(name, (None, None))
    code = main(["mask", str(path), "--explain", "0,0,0.5,1", "--seconds", "0.1"])
    said = capsys.readouterr()
    assert (
        (code == 0 and "50.0% of the picture sounds" in said.out) if seen is None else (code == 2 and seen in said.err)
    )
    out = tmp_path / "out.mkv"
    assert main(["generate", str(path), "--text", "a bell", "--model", str(tmp_path), "-o", str(out)]) == 2
    assert (written or "is no model folder") in capsys.readouterr().err
    if written is None:
        write_sound(out, np.full(1600, 0.1, np.float32), video=path)
        length = media.probe(path).video_seconds
        assert media.probe(out).video_seconds == pytest.approx(length, abs=0.1)
        if isinstance(expected, Read):
            assert length == pytest.approx(expected.video, abs=0.05)


@pytest.mark.parametrize("name", [name for name in SAID if SAID[name][1] and "clips" not in name])
def test_a_mix_is_refused_as_one_sound_is(name, tmp_path, capsys):
    (tmp_path / "tracks.json").write_text('[{"text": "a bell"}, {"text": "rain", "pan": 0.5}]')
    words = ["--tracks", str(tmp_path / "tracks.json"), "--model", str(tmp_path), "-o", str(tmp_path / "out.mkv")]
    assert main(["mix", str(SHARED / name), *words]) == 2
    assert SAID[name][1] in capsys.readouterr().err and not (tmp_path / "out.stems").exists()


@pytest.mark.parametrize("name", LISTS)
def test_a_table_of_a_data_set_is_no_curve_and_no_captions(name, tmp_path, capsys):
    path = SHARED / "realdata" / "csv" / name
    assert main(["curve", str(path), "-o", str(tmp_path / "curve.json")]) == 2
    assert LISTS[name] in capsys.readouterr().err
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"captions file .*(columns are .* expected file,caption|is no CSV in UTF-8)"):
        folder.list_media(tmp_path, path)


def batch_rows():
    """File, output, instruction by name, and the outcome: a part of the sentence where it is refused, None where it is made."""
    for name in EXPECTED:
        written = "at most the video's 0.10 s" if "raw_to_mkv" in name else SAID.get(name, (None, None))[1]
        if not (written and "clips" in name):  # whose refusal takes seconds, and is that of the commands above
            yield name, f"{name.replace('/', '-')}.mkv", {}, written
        if written and "the suffix " in written:
            suffix = written.rpartition("the suffix ")[2]
            yield name, f"{name.replace('/', '-')}-advised{suffix}", {}, None
    for name in test_faulty_files.MASKS:
        said = {"black.png": "leaves nothing to sound", "frames_unpadded": "12 pictures, expected 1"}.get(name)
        yield SEEN, f"mask-{name}.wav", {"mask": f"faults/masks/{name}"}, said
    for name, outcome in test_faulty_files.CURVES.items():
        said = outcome.split(" .* ")[0] if isinstance(outcome, str) else None
        yield SEEN, f"curve-{name}.wav", {"loudness": f"faults/curves/{name}"}, said
    for name, said in LISTS.items():
        yield SEEN, f"list-{name}.wav", {"loudness": f"realdata/csv/{name}"}, said
    for name in (name for name in EXPECTED if name.startswith("realdata/audio")):
        yield SEEN, f"{name.replace('/', '-')}-followed.wav", {"loudness": name}, None
        yield SEEN, f"{name.replace('/', '-')}-begun.wav", {"start_from": name, "strength": "0.5"}, None


SEEN = "faults/clock/start3600.mp4"
"""The video for which masks, curves and sounds are given."""
MADE_SECONDS = 0.3
BATCH = list(batch_rows())


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """(folder of the sounds, results by output) of all that a model can be asked for with the files of the collections."""
    place = tmp_path_factory.mktemp("batch")
    columns = ("file", "output", "text", "mask", "loudness", "start_from", "strength")
    with (place / "table.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows({"file": name, "output": output, "text": "a bell", **given} for name, output, given, _ in BATCH)
    model = saved_pipeline(place / "model")
    words = [
        "--seconds",
        str(MADE_SECONDS),
        "--steps",
        "1",
        "--device",
        "cpu",
        "--model",
        str(model),
        "-o",
        str(place / "out"),
    ]
    assert main(["batch", str(SHARED), "--table", str(place / "table.csv"), *words]) == 2  # for some rows are refused
    with (place / "out" / "results.csv").open(newline="") as file:
        return place / "out", {row["output"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "output", "given", "said"), BATCH, ids=[row[1] for row in BATCH])
def test_what_a_model_makes_with_a_file(batch, name, output, given, said):
    """A sound beside its picture, or by its mask, its curve, its rhythm; whatever is refused stops no other."""
    folder, results = batch
    row = results[output]
    assert len(results) == len(BATCH)
    if said is not None:
        assert row["status"] == "failed" and said in row["reason"] and not (folder / output).exists()
        return
    assert (row["status"], row["reason"]) == ("done", "")
    made = media.probe(folder / output)
    assert made.audio_seconds == pytest.approx(MADE_SECONDS, abs=0.07)
    if not given:
        source = media.probe(SHARED / name)
        assert (made.video_codec, made.width, made.height) == (source.video_codec, source.width, source.height)
        assert made.video_seconds == pytest.approx(source.video_seconds, abs=0.1)


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


def test_a_folder_of_all_faults_becomes_a_shard_with_a_row_for_each(tmp_path):
    """The pipeline goes on past every file; test_folder_path.py has the real ones."""
    names = [name for name in EXPECTED if name[:6] == "faults" and Path(name).suffix.lower() in folder.SUFFIXES]
    for name in names:
        place = tmp_path / "media" / Path(name).parent
        place.mkdir(parents=True, exist_ok=True)
        (place / Path(name).name).symlink_to(SHARED / name)
    reader, rejected, clips = built(tmp_path)
    files = {clip.key: clip.path.relative_to(tmp_path / "media").as_posix() for clip in clips}
    assert sorted(files.values()) == sorted(names)
    expected = {name: EXPECTED[name].reason for name in names if isinstance(EXPECTED[name], Refused)}
    assert {files[key]: row.reason for key, row in rejected.items()} == expected
    assert all(row.message for row in rejected.values())
    assert {files[key] for key in reader.keys} == {*names} - {*expected}
    for key in reader.keys:
        found, read = facts(reader, key), EXPECTED[files[key]]
        assert found["frames_decoded"] == read.frames and {*read.flags} <= {*found["flags"]}, files[key]
