"""clip_media on the user's own files: whatever is wrong with one, the others are read; a long one is read once."""

import json
from fractions import Fraction

import numpy as np
import pytest

from drawaudio_model import media
from drawaudio_model.decoding import reading
from drawaudio_model.shard import SAMPLE_MEMBERS, ShardReader
from pipelines import raw_media
from pipelines.assets import clip_media
from pipelines.clip_rows import ClipRow, write_clip_list
from pipelines.shard_work import make_shard
from pipelines.sources import folder
from pipelines.sources.source import raw_recipe
from tests.test_decoding_container import without_decoder
from tests.test_media import clicks, encode

SHARD = "train-000000"


def built(tmp_path, captions=None):
    """The shard of clip_media of all files in tmp_path/media, and the source's list of clips."""
    root, clips = tmp_path / "data", folder.list_media(tmp_path / "media", captions)
    rows = [
        ClipRow(c.key, "folder", c.source_id, c.start_s, c.label, "train", c.caption, media=str(c.path), shard=SHARD)
        for c in clips
    ]
    write_clip_list(root / "clip_list.parquet", rows)
    make_shard(root, SHARD, raw_recipe(root, folder.refer_once(), {}))
    manifest = make_shard(root, SHARD, clip_media.recipe())
    return ShardReader(root / "clip_media", SHARD), {row.key: row for row in manifest.rejected}, clips


def facts(reader, key):
    return json.loads(reader.member(key, "json"))


@pytest.fixture
def long_file(tmp_path):
    """A file of 210 s: 21 clips, more than a group."""
    (tmp_path / "media").mkdir()
    times = np.arange(210) + 0.5
    sound = clicks(210, 8000, times[:0])
    for at in times:
        place = round(at * 8000)
        sound[place : place + 80] = 0.5
    encode(
        tmp_path / "media" / "long.mkv",
        container="matroska",
        audio="flac",
        rate=8000,
        video="mpeg4",
        frames=840,
        fps=Fraction(4),
        sound=sound,
    )
    encode(tmp_path / "media" / "short.mkv", container="matroska", audio="flac")
    return tmp_path


def test_a_long_file_is_hashed_and_decoded_once_a_shard(long_file, monkeypatch):
    read, hashed = [], []
    stream, sha = media.stream_clips, raw_media.file_sha256
    monkeypatch.setattr(
        media, "stream_clips", lambda source, *a, **k: (read.append(source.name), stream(source, *a, **k))[1]
    )
    monkeypatch.setattr(raw_media, "file_sha256", lambda path: (hashed.append(path.name), sha(path))[1])
    reader, rejected, clips = built(long_file)
    assert len(clips) == 22 and rejected == {} and len(reader) == 22
    assert sorted(read) == sorted(hashed) == ["long.mkv", "short.mkv"]


def test_clips_of_a_long_file_are_those_that_are_read_alone(long_file):
    reader, _, _ = built(long_file)
    path = long_file / "media" / "long.mkv"
    for start in (0, 100, 200):
        key = f"long_{start:06d}"
        alone = media.read_clips(path, starts_seconds=[start]).clips[0]
        heard = media.decode_flac(reader.member(key, "flac"))
        np.testing.assert_allclose(heard, alone.waveform, atol=2 / 32768)
        seen = facts(reader, key)
        assert (seen["frames_decoded"], seen["video_seconds"], seen["audio_seconds"]) == (840, 10, 10)
        assert seen["flags"] == list(alone.flags) == []


def test_a_long_file_takes_the_memory_of_a_few_clips(long_file, monkeypatch):
    most = 0
    take = reading.PictureTrack.take

    def counted(track, index):
        nonlocal most
        most = max(most, len(track._clips))
        return take(track, index)

    monkeypatch.setattr(reading.PictureTrack, "take", counted)
    built(long_file)
    assert 1 <= most <= 2


def test_one_file_never_stops_the_others(tmp_path, monkeypatch):
    place = tmp_path / "media"
    place.mkdir()
    whole = encode(container="mov", video="mjpeg", audio="pcm_s16le", pixels="yuvj420p")
    (place / "good.mov").write_bytes(whole)
    (place / "no_picture_decoder.mov").write_bytes(without_decoder(whole, b"jpeg"))
    (place / "no_sound_decoder.mov").write_bytes(without_decoder(whole, b"sowt"))
    (place / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(4000))
    (place / "empty.mp4").write_bytes(b"")
    (place / "list.mp4").write_text("ffconcat version 1.0\nfile good.mov\n")
    (place / "cut.mp4").write_bytes(encode(frames=60, sound=clicks(5, 44100, (0.5,)))[:-2000])
    (place / "nan.mov").write_bytes(with_nan())
    for name in ("memory", "index", "recursion", "attribute"):
        (place / f"{name}.mov").write_bytes(whole)
    errors = {
        "memory.mov": MemoryError("unable to allocate"),
        "index.mov": IndexError("list index out of range"),
        "recursion.mov": RecursionError("maximum depth"),
        "attribute.mov": AttributeError("no attribute 'name'"),
    }
    stream = media.stream_clips

    def failing(source, *arguments, **options):
        if source.name in errors:
            raise errors[source.name]
        return stream(source, *arguments, **options)

    monkeypatch.setattr(media, "stream_clips", failing)
    reader, rejected, clips = built(tmp_path)
    assert reader.keys == ["good_000000"] and len(clips) == len(list(place.iterdir()))
    reasons = {key.removesuffix("_000000"): row.reason for key, row in rejected.items()}
    assert (reasons.pop("cut"), reasons.pop("memory")) == ("truncated", "no_memory")
    assert {*reasons.values()} == {"undecodable"}
    for name, error in errors.items():
        assert f"{type(error).__name__}: {error}" in rejected[f"{name[:-4]}_000000"].message
    assert "finite" in rejected["nan_000000"].message and "no decoder" in rejected["no_sound_decoder_000000"].message


def test_names_as_people_give_them_stop_nothing(tmp_path):
    """A tar's names have 100 characters, and some letters mean something to shells and libraries."""
    (tmp_path / "media").mkdir()
    names = [
        "a" * 200,
        "a" * 75,
        "\u00fc" * 90,
        "new\nline",
        "%03d",
        "a:b",
        "*",
        "-dash",
        " lead",
        "\u65e5\u672c",
        'it\'s "it"',
    ]
    whole = encode()
    for name in names:
        (tmp_path / "media" / f"{name}.mp4").write_bytes(whole)
    (tmp_path / "media" / "folder.mp4").mkdir()
    (tmp_path / "media" / "loop.mp4").symlink_to("loop.mp4")
    reader, rejected, clips = built(tmp_path)
    assert rejected == {} and len(reader) == len(clips) == len(names)
    longest = max(len(f"{clip.key}.{member}") for clip in clips for member in SAMPLE_MEMBERS)
    assert longest <= 100


def with_nan():
    """A file whose sound, stored as floats, holds one that is no number."""
    data = encode(container="mov", video="mjpeg", audio="pcm_f32le", pixels="yuvj420p", sound=clicks(2, 44100, (0.5,)))
    marked = bytearray(data)
    place = data.index(np.float32(clicks(2, 44100, (0.5,))[22050 - 3]).tobytes())
    marked[place : place + 4] = np.float32(np.nan).tobytes()
    return bytes(marked)


def test_a_full_disk_is_not_the_files_fault(tmp_path, monkeypatch):
    (tmp_path / "media").mkdir()
    encode(tmp_path / "media" / "good.mp4")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(clip_media.pickle, "dump", full)
    with pytest.raises(OSError, match="No space left"):
        built(tmp_path)


def test_a_file_that_cannot_be_opened_or_has_gone_is_a_row(tmp_path, monkeypatch):
    (tmp_path / "media").mkdir()
    for name in ("good", "locked", "gone"):
        encode(tmp_path / "media" / f"{name}.mp4")
    sha = raw_media.file_sha256

    def guarded(path):
        if path.stem == "locked":
            raise PermissionError(13, "Permission denied")
        if path.stem == "gone":
            digest = sha(path)
            path.unlink()
            return digest
        return sha(path)

    monkeypatch.setattr(raw_media, "file_sha256", guarded)
    reader, rejected, _ = built(tmp_path)
    raw = ShardReader(tmp_path / "data" / "raw_clips", SHARD)
    assert [(row.key, row.reason) for row in raw.manifest.rejected] == [("locked_000000", "unreadable_file")]
    assert "Permission denied" in raw.manifest.rejected[0].message
    assert reader.keys == ["good_000000"] and {key: row.reason for key, row in rejected.items()} == {
        "gone_000000": "missing_file"
    }


def test_what_is_odd_about_a_file_stands_in_its_clips_flags(tmp_path):
    (tmp_path / "media").mkdir()
    part = encode(container="mpegts")
    (tmp_path / "media" / "joined.ts").write_bytes(part + part)
    sound = clicks(2, 44100, (0.5,))
    encode(
        tmp_path / "media" / "wide.mkv",
        container="matroska",
        audio="flac",
        layout="stereo",
        sound=np.stack([sound, -sound]),
    )
    reader, rejected, clips = built(tmp_path)
    assert rejected == {}
    assert "joined_clock" in facts(reader, "joined_000000")["flags"]
    assert "one_channel" in facts(reader, "wide_000000")["flags"]
    assert {clip.source_id: clip.flags for clip in clips} == {"joined": ("tail", "joined_clock"), "wide": ("tail",)}
