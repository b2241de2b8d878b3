"""The user's own media: what becomes a clip, under which key, in which split, and what a bad captions file is told."""

import os
import re
import unicodedata
from fractions import Fraction

import av
import numpy as np
import pytest

from drawaudio_model.shard import Rejection
from pipelines.clip_rows import ClipRow, read_clip_list, write_clip_list
from pipelines.profiles import PROFILES
from pipelines.shard_work import make_shard
from pipelines.sources import folder, source
from tests.test_media import encode


def movie(path, seconds):
    """A tiny silent file of the given length."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=Fraction(2))
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(round(seconds * 2)):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        out.mux(stream.encode(None))


def write_csv(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("seconds", "starts", "dropped"),
    [
        (0.0, [0], 0),
        (2.0, [0], 0),
        (10.0, [0], 0),
        (9.95, [0], 0),
        (10.09, [0], 0),
        (14.9, [0], 4.9),
        (15.0, [0, 10], 0),
        (30.003, [0, 10, 20], 0),
        (29.53, [0, 10, 20], 0),
        (34.0, [0, 10, 20], 4.0),
    ],
)
def test_clips_start_at_every_ten_seconds_and_short_tails_are_dropped(seconds, starts, dropped):
    got, rest = folder.clip_starts(seconds)
    assert got == starts and rest == pytest.approx(dropped, abs=1e-9)


def test_a_folder_becomes_clips_with_captions_labels_and_splits(tmp_path):
    movie(tmp_path / "dog.mp4", 27)
    (tmp_path / "sub").mkdir()
    movie(tmp_path / "sub" / "a bird.mkv", 3)
    (tmp_path / "broken.mp4").write_bytes(b"no media at all")
    (tmp_path / "notes.txt").write_text("not media")
    (tmp_path / ".hidden.mp4").write_bytes(b"")
    captions = write_csv(
        tmp_path / "captions.csv",
        "file,caption,split,label",
        'dog.mp4,"A dog, barking.",test,dog',
        "sub/a bird.mkv,A bird sings.,,",
    )
    clips, dropped = folder.cut_media(tmp_path, captions)
    by_key = {clip.key: clip for clip in clips}
    assert [key for key in by_key if key.startswith("dog")] == ["dog_000000", "dog_000010", "dog_000020"]
    assert by_key["dog_000010"].caption == "A dog, barking." and by_key["dog_000010"].label == "dog"
    assert {by_key[key].split for key in by_key if key.startswith("dog")} == {"test"}
    assert by_key["dog_000000"].flags == () and by_key["dog_000020"].flags == ("tail",)
    broken = by_key["broken_000000"]
    assert broken.caption is None and broken.flags == ("unreadable",) and broken.start_s == 0
    bird = next(clip for clip in clips if clip.path.name == "a bird.mkv")
    assert re.fullmatch(r"a_bird-[0-9a-f]{8}_000000", bird.key) and bird.split == folder.split_of("sub/a bird.mkv")
    assert len(clips) == 5 and dropped == [] and folder.list_media(tmp_path, captions) == clips
    movie(tmp_path / "cat.mp4", 13)
    (tail,) = folder.cut_media(tmp_path, captions)[1]
    assert (tail.path.name, tail.start_s, tail.seconds) == ("cat.mp4", 10, pytest.approx(3))


def test_keys_are_safe_unique_and_independent_of_order(tmp_path):
    names = ["dog.mp4", "dog.mkv", "Dog.webm", "x.y.mp4", "x_y.mp4", "-0pJ_1.mp4", "é" * 200 + ".mp4", "b/dog.mp4"]
    ids = folder._source_ids(names)
    assert len({value.lower() for value in ids.values()}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,90}", value) for value in ids.values())
    assert ids == folder._source_ids(reversed(names))
    assert ids["-0pJ_1.mp4"] == "-0pJ_1" and ids["dog.mp4"].startswith("dog-")
    assert folder._source_ids(["dog.mp4"]) == {"dog.mp4": "dog"}


def test_a_name_that_is_no_utf8_is_a_row_of_the_ledger(tmp_path, monkeypatch):
    """As unpacked from an old archive; no table can hold it, and the others go on."""
    (tmp_path / "good.mp4").write_bytes(b"x")
    with open(os.fsencode(tmp_path) + b"/gr\xfcn.mp4", "wb") as file:
        file.write(b"x")
    captions = write_csv(tmp_path / "captions.csv", "file,caption,split", "good.mp4,A dog.,train")
    monkeypatch.setenv("DRAWAUDIO_CLIPS", str(tmp_path))
    monkeypatch.setenv("DRAWAUDIO_CAPTIONS", str(captions))
    rows = folder.FolderSource().list_clips(PROFILES["folder"]).clips
    assert len(rows) == 2 and all(row.media.encode() and re.fullmatch(r"[A-Za-z0-9_-]+", row.key) for row in rows)
    found = dict(folder.refer_once()(rows))
    (bad,) = [outcome for outcome in found.values() if isinstance(outcome, Rejection)]
    assert bad.reason == "missing_file" and "is no UTF-8" in bad.message and "another name" in bad.message


def test_splits_are_stable_and_close_to_their_shares(tmp_path):
    names = [f"clip {i}.mp4" for i in range(3000)]
    splits = [folder.split_of(name) for name in names]
    for split, share in folder.SPLIT_SHARES.items():
        # Three standard deviations of a binomial share.
        assert splits.count(split) / 3000 == pytest.approx(share, abs=3 * (share * (1 - share) / 3000) ** 0.5)
    for i in range(6):
        (tmp_path / f"{i}.mp4").write_bytes(b"x")
    before = {clip.key: clip.split for clip in folder.list_media(tmp_path, None)}
    for i in range(6, 60):
        (tmp_path / f"{i}.mp4").write_bytes(b"x")
    after = {clip.key: clip.split for clip in folder.list_media(tmp_path, None)}
    assert len(after) == 60 and {key: after[key] for key in before} == before


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "is empty, expected a header"),
        (("name,caption", "dog.mp4,x"), "line 1: columns are name,caption, expected file,caption"),
        (("file,caption,colour", "dog.mp4,x,red"), "line 1: columns are file,caption,colour"),
        (
            ("file,caption", "dog.mp4,A dog, barking"),
            "line 2: 3 fields, expected 2; put a text with commas in quotes",
        ),
        (("file,caption", "cat.mp4,A cat"), "line 2: cat.mp4 is not in"),
        (("file,caption", "dog.mp4,"), "line 2: the caption of dog.mp4 is empty"),
        (("file,caption", ",A dog"), "line 2: the file is empty"),
        (("file,caption", "dog.mp4,a", "dog.mp4,b"), "line 3: dog.mp4 was already captioned in line 2"),
        (
            ("file,caption,split", "dog.mp4,a,dev"),
            "line 2: the split of dog.mp4 is 'dev', expected one of train, val, test",
        ),
        (("file,caption", "captions.csv,a"), "line 2: captions.csv is no media that is read here"),
        (("file,caption", 'dog.mp4,"A 12" disc"'), "is no CSV in UTF-8: line 2: ',' expected after"),
        (("file,caption,caption", "dog.mp4,a,b"), "line 1: the header has the column 'caption' twice"),
        (("file,caption", "dig.mp4,A dog"), "line 2: dig.mp4 is not in"),
        (("file,caption", "dig.mp4,A dog"), "(is it dog.mp4?)"),
        (("file,caption", "../dog.mp4,A dog"), "line 2: ../dog.mp4 is not in"),
        (("file,caption", "dog.mp4,a", 'x,"two', 'lines"', "y"), "line 3: x is not in"),
        (("file,caption", "dog.mp4,a", 'x,"two', 'lines"', "y"), "line 5: 1 fields, expected 2"),
        (
            ("file;caption", "dog.mp4;A dog; barking"),
            "line 2: 3 fields, expected 2; put a text with semicolons in quotes",
        ),
        (("file,caption", 'dog.mp4,"A dog'), "is no CSV in UTF-8: line 2: unexpected end of data"),
    ],
)
def test_a_malformed_captions_file_names_line_and_reason(tmp_path, lines, message):
    (tmp_path / "dog.mp4").write_bytes(b"x")
    path = tmp_path / "captions.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=re.escape(message)):
        folder.list_media(tmp_path, path)


def test_every_bad_line_is_named_at_once_and_blank_ones_are_not(tmp_path):
    (tmp_path / "dog.mp4").write_bytes(b"x")
    path = write_csv(tmp_path / "c.csv", "\ufefffile,caption", "", "cat.mp4,A cat", "./dog.mp4,A dog", "owl.mp4,An owl")
    with pytest.raises(ValueError, match=r"line 3: cat\.mp4 .*line 5: owl\.mp4"):
        folder.list_media(tmp_path, path)


@pytest.mark.parametrize(
    "text",
    [
        "file,caption\ndog.mp4,A dog\n",
        "file;caption\ndog.mp4;A dog\n",
        "File\tCaption\r\ndog.mp4\tA dog\r\n",
        "file,caption\rdog.mp4,A dog\r",
        ' file , caption\n"dog.mp4","A dog"\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_captions_are_read_as_spreadsheets_write_them(tmp_path, text, encoding):
    (tmp_path / "dog.mp4").write_bytes(b"x")
    (tmp_path / "captions.csv").write_bytes(text.encode(encoding))
    (clip,) = folder.list_media(tmp_path, tmp_path / "captions.csv")
    assert clip.caption == "A dog"


def test_captions_in_another_encoding_name_the_line(tmp_path):
    (tmp_path / "dog.mp4").write_bytes(b"x")
    (tmp_path / "captions.csv").write_bytes("file,caption\ndog.mp4,Un chien \xe9tourdi\n".encode("latin-1"))
    with pytest.raises(ValueError, match="line 2 has the byte 0xe9; save it as UTF-8"):
        folder.list_media(tmp_path, tmp_path / "captions.csv")


@pytest.mark.parametrize(
    "named",
    [
        "{clips}/sub/a.mp4",
        "{link}/sub/a.mp4",
        "{clips}/../clips/sub/a.mp4",
        "./sub/a.mp4",
        "sub//a.mp4",
        "../clips/sub/a.mp4",
        "sub\\a.mp4",
        "{outside}/to_a.mp4",
    ],
)
@pytest.mark.parametrize("listed", ["clips", "link"])
def test_a_path_that_ends_in_the_folder_names_its_file(tmp_path, named, listed):
    clips, outside = tmp_path / "clips", tmp_path / "outside"
    (clips / "sub").mkdir(parents=True)
    outside.mkdir()
    (clips / "sub" / "a.mp4").write_bytes(b"x")
    (tmp_path / "link").symlink_to(clips)
    (outside / "to_a.mp4").symlink_to(clips / "sub" / "a.mp4")
    line = named.format(clips=clips, link=tmp_path / "link", outside=outside) + ",A dog"
    (clip,) = folder.list_media(tmp_path / listed, write_csv(tmp_path / "captions.csv", "file,caption", line))
    assert clip.caption == "A dog" and clip.source_id == "a"
    assert clip.split == folder.split_of("sub/a.mp4")


def test_a_file_named_twice_by_two_paths_and_one_outside_are_refused(tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    for path in (clips / "a.mp4", tmp_path / "b.mp4"):
        path.write_bytes(b"x")
    captions = write_csv(
        tmp_path / "captions.csv", "file,caption", "a.mp4,A dog", f"{clips}/a.mp4,A dog", f"{tmp_path}/b.mp4,A cat"
    )
    with pytest.raises(
        ValueError, match=r"line 3: a\.mp4 was already captioned in line 2.*line 4: .*b\.mp4 lies outside clips"
    ):
        folder.list_media(clips, captions)


@pytest.mark.parametrize(("on_disk", "written"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_composed_and_decomposed_names_are_the_same(tmp_path, on_disk, written):
    name = "Caf\u00e9 \uac00.mp4"
    (tmp_path / unicodedata.normalize(on_disk, name)).write_bytes(b"x")
    captions = write_csv(tmp_path / "captions.csv", "file,caption", f"{unicodedata.normalize(written, name)},A dog")
    (clip,) = folder.list_media(tmp_path, captions)
    assert clip.caption == "A dog" and clip.path.is_file()


def test_a_folder_without_media_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no media in"):
        folder.list_media(tmp_path, None)
    with pytest.raises(ValueError, match="does not exist; give the folder"):
        folder.list_media(tmp_path / "nowhere", None)
    (tmp_path / "dog.mp4").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"captions file .* does not exist"):
        folder.list_media(tmp_path, tmp_path / "no.csv")


@pytest.mark.parametrize("suffix", [".asf", ".dv", ".f4v", ".qt", ".rm", ".MPE"])
def test_a_film_under_a_rarer_suffix_is_not_passed_over(tmp_path, suffix):
    (tmp_path / f"film{suffix}").write_bytes(encode(container="mov"))
    (tmp_path / "notes.txt").write_text("no film")
    assert [clip.path.name for clip in folder.list_media(tmp_path, None)] == [f"film{suffix}"]


class NotSearched(list):
    """Names that nobody looks through for each row of a table."""

    def __contains__(self, name):
        raise AssertionError(f"all names were looked through for {name}")


def test_the_work_for_a_row_of_captions_does_not_grow_with_the_folder(tmp_path):
    names = [f"{number:05d}.mp4" for number in range(3000)]
    captions = write_csv(tmp_path / "captions.csv", "file,caption", *(f"{name},a bell rings" for name in names))
    rows = folder._read_captions(captions, tmp_path, NotSearched(names))
    assert list(rows) == names


def test_the_list_of_clips_is_read_once_a_shard(tmp_path, monkeypatch):
    """It may have 200,000 rows, and a shard is worked on in groups of a few."""
    rows = [ClipRow(f"a_{n:06d}", "folder", "a", n, "", "train", "x", "", "train-000000") for n in range(100)]
    write_clip_list(tmp_path / "clip_list.parquet", rows)
    reads = []
    monkeypatch.setattr(source, "read_clip_list", lambda *given: reads.append(given) or read_clip_list(*given))

    def work(found):
        for row in found:
            yield row.key, {"json": b"{}"}

    make_shard(tmp_path, "train-000000", source.raw_recipe(tmp_path, work, {}, group=2))
    assert len(reads) == 2
