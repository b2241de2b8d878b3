"""The official lists: every form they come in, every row that is wrong with them, and no clip twice or in two splits."""

import csv
import gzip
import itertools
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from drawaudio_model.dataset import TrainingShards
from drawaudio_model.evaluation.sample_sounds import read_samples
from drawaudio_model.shard import EXCLUDE_FILE, is_excluded, read_exclude_list
from pipelines.assets import clip_list
from pipelines.clip_rows import read_clip_list
from pipelines.profiles import PROFILES
from pipelines.sources.youtube.lists import ClipLists, list_files, lists_folder, read_lists
from pipelines.sources.youtube.source import youtube_rows
from tests.tiny_shards import write_tiny_shards

REAL = Path(__file__).parent.parent.parent / "shared" / "realdata" / "csv"
HEADER = "audiocap_id,youtube_id,start_time,caption"


def write(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def audiocaps(folder: Path, train: list[str], val: list[str] = (), test: list[str] = ()) -> None:
    rows = {
        "train": train,
        "val": val or ["7,valvalvalv1,0,A cat meows"],
        "test": test or ["8,testtestte1,0,A dog barks"],
    }
    for split, lines in rows.items():
        write(folder, f"audiocaps/{split}.csv", HEADER, *lines)


def by_reason(lists: ClipLists) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in lists.left_out:
        found.setdefault(row.reason, []).append(f"{Path(row.place).name}: {row.message}")
    return found


def test_vggsounds_four_columns_with_quoted_labels_and_ids_that_look_like_options(tmp_path):
    write(
        tmp_path,
        "vggsound/vggsound.csv",
        "---g-f_I2yQ,1,people marching,test",
        '_0aBcDeFgHi,30,"engine accelerating, revving, vroom",train',
        '--U7joUcTCo,0,"a ""quoted"" label",train\r',
    )
    lists = read_lists(tmp_path, ["vggsound"])
    assert not lists.left_out
    assert [(clip.key, clip.source_id, clip.start_s, clip.label, clip.split) for clip in lists.clips] == [
        ("---g-f_I2yQ_000001", "---g-f_I2yQ", 1, "people marching", "test"),
        ("--U7joUcTCo_000000", "--U7joUcTCo", 0, 'a "quoted" label', "train"),
        ("_0aBcDeFgHi_000030", "_0aBcDeFgHi", 30, "engine accelerating, revving, vroom", "train"),
    ]
    assert {(clip.source, clip.caption) for clip in lists.clips} == {("vggsound", None)}


def test_vggsounds_two_columns_alone_and_gzipped(tmp_path):
    write(
        tmp_path,
        "vggsound/test.csv.gz",
        "glLQrEijrKg_000300.mp4,playing hammond organ",
        '-a_b_c_d_e__000010,"x, y"',
    )
    clips = read_lists(tmp_path, ["vggsound"]).clips
    assert [(clip.source_id, clip.start_s, clip.label, clip.split) for clip in clips] == [
        ("-a_b_c_d_e_", 10, "x, y", "test"),
        ("glLQrEijrKg", 300, "playing hammond organ", "test"),
    ]


def test_audiocaps_three_lists_and_one_caption_a_clip(tmp_path):
    audiocaps(
        tmp_path,
        ['91139,r1nicOVtvkQ,130,"A woman talks, nearby"'],
        test=["12,7fmOlUlwoNg,20,Second", "11,7fmOlUlwoNg,20,First", "13,7fmOlUlwoNg,20,Third"],
    )
    lists = read_lists(tmp_path, ["audiocaps"])
    assert [(clip.key, clip.split, clip.caption) for clip in lists.clips] == [
        ("7fmOlUlwoNg_000020", "test", "First"),
        ("r1nicOVtvkQ_000130", "train", "A woman talks, nearby"),
        ("valvalvalv1_000000", "val", "A cat meows"),
    ]
    assert lists.reasons == {"further_caption": 2}
    assert {row.place.split(", ")[-1] for row in lists.left_out} == {"line 2", "line 4"}


def test_bad_rows_are_named_by_file_line_and_reason_and_cost_no_other_row(tmp_path):
    path = write(
        tmp_path,
        "vggsound/vggsound.csv",
        "goodgoodgo1,1,a label,train",
        "short,1,a label,train",
        "goodgoodgo2,1.5,a label,train",
        "goodgoodgo3,1,,train",
        "goodgoodgo4,1,a label,validation",
        "goodgoodgo5,1,a, label,train",
        'goodgoodgo6,1,"a lost quote,train',
        "",
        "goodgoodgo7,-1,a label,train",
        "goodgoodgo8,1,a label,train",
        "../../../ab,1,a label,train",
    )
    with path.open("ab") as file:
        file.write(b"goodgoodgo9,1,\xff\xfe,train\n")
    lists = read_lists(tmp_path, ["vggsound"])
    assert [clip.source_id for clip in lists.clips] == ["goodgoodgo1", "goodgoodgo8"]
    assert {row.reason for row in lists.left_out} == {"bad_row"}
    named = {int(row.place.rsplit(" ", 1)[1]): (row.place.rsplit(",", 1)[0], row.message) for row in lists.left_out}
    assert {place for place, _ in named.values()} == {str(path)}
    expected = {
        2: "video id is 'short'",
        3: "start is '1.5', expected whole seconds",
        4: "the label is empty",
        5: "split is 'validation'",
        6: "5 fields, expected 4",
        7: "no CSV",
        9: "start is '-1'",
        11: "video id is '../../../ab'",
        12: "no UTF-8",
    }
    assert set(named) == set(expected)
    for line, text in expected.items():
        assert text in named[line][1], line


def test_duplicates_are_reported_once_each_and_not_doubled(tmp_path):
    write(
        tmp_path,
        "vggsound/vggsound.csv",
        "goodgoodgo1,1,a label,train",
        "goodgoodgo1,1,another label,train",
        "testtestte1,5,x,test",
    )
    write(tmp_path, "vggsound/test.csv", "testtestte1_000005.mp4,x")
    lists = read_lists(tmp_path, ["vggsound"])
    assert [(clip.key, clip.label) for clip in lists.clips] == [
        ("goodgoodgo1_000001", "a label"),
        ("testtestte1_000005", "x"),
    ]
    first, second = by_reason(lists)["duplicate"]
    assert "vggsound.csv, line 2: goodgoodgo1_000001 stands in" in first and "'a label', here 'another label'" in first
    assert second.startswith("test.csv, line 1") and "label" not in second.split("already")[1]


@pytest.mark.parametrize("order", list(itertools.permutations(["1,x,train", "1,x,test", "60,x,train"])))
def test_a_clip_and_a_video_in_both_splits_go_to_test_only(tmp_path, order):
    write(tmp_path, "vggsound/vggsound.csv", *(f"bothbothbo1,{row}" for row in order), "goodgoodgo1,1,y,train")
    lists = read_lists(tmp_path, ["vggsound"])
    assert [(clip.key, clip.split) for clip in lists.clips] == [
        ("bothbothbo1_000001", "test"),
        ("goodgoodgo1_000001", "train"),
    ]
    assert [(row.key, row.reason) for row in lists.left_out] == [
        ("bothbothbo1_000001", "held_out"),
        ("bothbothbo1_000060", "held_out"),
    ]


def test_mixed_keeps_one_row_a_clip_and_no_video_in_two_splits(tmp_path):
    audiocaps(tmp_path, ["1,sharedshar1,10,A bell rings", "2,crosscross1,10,Wind blows"])
    write(
        tmp_path,
        "vggsound/vggsound.csv",
        "sharedshar1,10,church bell ringing,train",
        "crosscross1,10,wind noise,test",
        "valvalvalv1,50,cat meowing,train",
    )
    lists = read_lists(tmp_path, PROFILES["mixed"].lists)
    assert {clip.key: (clip.source, clip.split, clip.caption) for clip in lists.clips} == {
        "sharedshar1_000010": ("audiocaps", "train", "A bell rings"),
        "crosscross1_000010": ("vggsound", "test", None),
        "valvalvalv1_000000": ("audiocaps", "val", "A cat meows"),
        "testtestte1_000000": ("audiocaps", "test", "A dog barks"),
    }
    assert lists.reasons == {"held_out": 2, "duplicate": 1}


def test_the_exclude_list_takes_clips_and_whole_videos_out_of_the_list(tmp_path, monkeypatch):
    write(
        tmp_path,
        "vggsound/vggsound.csv",
        "goodgoodgo1,1,y,train",
        "takendown_1,1,y,train",
        "takendown_1,50,y,train",
        "onlyoneclip,1,y,test",
        "onlyoneclip,80,y,test",
    )
    write(
        tmp_path, "exclude.txt", "# asked for on a Monday", "takendown_1", "onlyoneclip_000080  # a second reason", ""
    )
    lists = read_lists(tmp_path, ["vggsound"])
    assert [clip.key for clip in lists.clips] == ["goodgoodgo1_000001", "onlyoneclip_000001"]
    assert lists.reasons == {"excluded": 3}
    other = write(tmp_path, "elsewhere.txt", "goodgoodgo1")
    monkeypatch.setenv("DRAWAUDIO_EXCLUDE", str(other))
    assert "goodgoodgo1_000001" not in {clip.key for clip in read_lists(tmp_path, ["vggsound"]).clips}
    monkeypatch.setenv("DRAWAUDIO_EXCLUDE", str(tmp_path / "lost.txt"))
    with pytest.raises(ValueError, match=r"lost\.txt, which is no file"):
        read_lists(tmp_path, ["vggsound"])


def test_the_loader_and_the_evaluation_honour_the_exclude_list(tmp_path):
    write_tiny_shards(tmp_path)
    before = TrainingShards(tmp_path)
    (tmp_path / EXCLUDE_FILE).write_text("clip01\nclip12_000002 # one clip\n")
    after = TrainingShards(tmp_path)
    assert set(before.keys) - set(after.keys) == {"clip01_000001", "clip12_000002"}
    assert before.fingerprint != after.fingerprint
    for number, key in enumerate(after.keys):
        arrays, same = after.read(number), before.read(before.keys.index(key))
        for name in arrays:
            np.testing.assert_array_equal(arrays[name], same[name])
    (tmp_path / EXCLUDE_FILE).write_text("clip20\n")
    assert [sample.key for sample in read_samples(tmp_path, "test", limit=None, seed=0)] == ["clip21_000001"]
    assert TrainingShards(tmp_path).fingerprint == before.fingerprint


def test_an_id_with_underscores_is_excluded_by_itself_only():
    excluded = frozenset({"a_b_c_d_e_f"})
    assert is_excluded("a_b_c_d_e_f_000010", excluded)
    assert not is_excluded("a_b_c_d_e_g_000010", excluded)
    assert read_exclude_list(Path("no such file")) == frozenset()


@pytest.mark.parametrize(
    ("files", "datasets", "message"),
    [
        ({}, ["vggsound"], r"vggsound has no vggsound\.csv .*robots\.ox\.ac\.uk"),
        ({"audiocaps/train.csv": [HEADER, "1,r1nicOVtvkQ,1,x"]}, ["audiocaps"], r"has no val\.csv .*cdjkim/audiocaps"),
        (
            {"vggsound/vggsound.csv": ["<html>", "<body>"]},
            ["vggsound"],
            r"no row that can be used \(1 fields, expected 4",
        ),
        (
            {f"audiocaps/{split}.csv": ["id,caption", "1,x"] for split in ("train", "val", "test")},
            ["audiocaps"],
            r"train\.csv, line 1 has the columns id,caption, expected audiocap_id",
        ),
    ],
)
def test_missing_and_wrong_files_are_named(tmp_path, files, datasets, message):
    for name, lines in files.items():
        write(tmp_path, name, *lines)
    with pytest.raises(ValueError, match=message):
        read_lists(tmp_path, datasets)


def test_the_folder_of_lists_must_be_set(monkeypatch, tmp_path):
    monkeypatch.delenv("DRAWAUDIO_LISTS", raising=False)
    with pytest.raises(ValueError, match="DRAWAUDIO_LISTS is not set"):
        lists_folder()
    monkeypatch.setenv("DRAWAUDIO_LISTS", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="which is no folder"):
        lists_folder()


def test_the_asset_writes_list_report_and_exclude_list(tmp_path, monkeypatch):
    from pipelines.resources import DataRoot

    lists, root = tmp_path / "lists", tmp_path / "data"
    write(
        lists,
        "vggsound/vggsound.csv",
        "goodgoodgo1,1,y,train",
        "takendown_1,1,y,test",
        "bad,1,y,train",
        "ok_ok_ok_ok,2,z,test",
    )
    write(lists, "exclude.txt", "takendown_1")
    monkeypatch.setenv("DRAWAUDIO_LISTS", str(lists))
    monkeypatch.setenv("DRAWAUDIO_PROFILE", "vggsound_caption")
    result = clip_list.clip_list(DataRoot(path=str(root)))
    assert result.metadata["dagster/row_count"] == 2
    assert result.metadata["left_out"].data == {"excluded": 1, "bad_row": 1}
    rows = read_clip_list(root)
    assert list(rows) == ["goodgoodgo1_000001", "ok_ok_ok_ok_000002"]
    row = rows["goodgoodgo1_000001"]
    assert (row.source, row.label, row.caption, row.media) == ("vggsound", "y", None, "")
    assert list(read_clip_list(root, row.shard)) == ["goodgoodgo1_000001"]
    report = list(csv.DictReader((root / "clip_list_left_out.csv").open(newline="")))
    assert [(row["reason"], row["key"]) for row in report] == [("excluded", "takendown_1_000001"), ("bad_row", "")]
    assert report[1]["place"].endswith("vggsound.csv, line 3")
    held = root / "training_shards" / EXCLUDE_FILE
    assert read_exclude_list(held) == {"takendown_1"}
    again = clip_list.clip_list(DataRoot(path=str(root)))
    assert again.data_version == result.data_version
    # What is added to the loader's list stays there and holds for the list as well.
    with held.open("a") as file:
        file.write("ok_ok_ok_ok_000002  # asked for\n")
    assert clip_list.clip_list(DataRoot(path=str(root))).metadata["left_out"].data == {"excluded": 2, "bad_row": 1}
    assert read_exclude_list(held) == {"takendown_1", "ok_ok_ok_ok_000002"}
    assert "# asked for" in held.read_text()


@pytest.mark.parametrize("line", ["https://youtu.be/goodgoodgo1", "goodgoodgo1_000001.mp4", "goodgoodgo12"])
def test_a_line_that_takes_nothing_back_is_named(tmp_path, line):
    write(tmp_path, "vggsound/vggsound.csv", "goodgoodgo1,1,y,train")
    path = write(tmp_path, "exclude.txt", "# a comment", "takendown_1", line)
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 3 is {line!r}, expected a clip's key")):
        read_lists(tmp_path, ["vggsound"])


def test_a_split_without_shards_is_a_bad_row(tmp_path):
    write(tmp_path, "vggsound/vggsound.csv", "goodgoodgo1,1,y,train", "goodgoodgo2,1,y,val")
    left_out = read_lists(tmp_path, ["vggsound"]).left_out
    assert [(row.reason, row.message) for row in left_out] == [("bad_row", "split is 'val', expected train or test")]


@pytest.mark.skipif(not REAL.is_dir(), reason="the official tables do not lie beside the checkout")
def test_the_official_tables_give_every_clip_once_in_shards_of_about_a_thousand(tmp_path):
    for name, source in (
        ("vggsound/vggsound.csv.gz", "vggsound_partial_rebuilt.csv.gz"),
        ("vggsound/test.csv", "vggsound_test_official.csv"),
        ("audiocaps/train.csv.gz", "audiocaps_train.csv.gz"),
        ("audiocaps/val.csv", "audiocaps_val.csv"),
        ("audiocaps/test.csv", "audiocaps_test.csv"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REAL / source, tmp_path / name)
    assert len(list_files(tmp_path, "vggsound")) == 2
    vggsound = read_lists(tmp_path, ["vggsound"])
    # Every test clip stands in both files; two videos have a clip in both splits.
    assert vggsound.reasons == {"duplicate": 15_446, "held_out": 2}
    assert {row.key for row in vggsound.left_out if row.reason == "held_out"} == {
        "JixXL5s6fnE_000086",
        "sKtU5y4czNc_000070",
    }
    assert Counter(clip.split for clip in vggsound.clips) == {"train": 87_633, "test": 15_446}
    assert len({clip.label for clip in vggsound.clips}) == 309
    assert sum("," in clip.label for clip in vggsound.clips) > 10_000
    assert sum(clip.source_id.startswith("-") for clip in vggsound.clips if clip.split == "test") == 299

    profile = PROFILES["audiocaps"]
    captions = read_lists(tmp_path, profile.lists)
    assert Counter(clip.split for clip in captions.clips) == {"train": 49_838, "val": 495, "test": 975}
    # Five captions of each val and test clip; 95 of them repeat another word for word.
    assert captions.reasons == {"further_caption": 4 * (495 + 975) - 95, "duplicate": 95}
    rows = youtube_rows(profile, captions)
    sizes = Counter(row.shard for row in rows)
    assert len(sizes) == 52 and all(850 < size < 1150 for shard, size in sizes.items() if shard.startswith("train"))
    videos: dict[str, set[str]] = {}
    for row in rows:
        videos.setdefault(row.source_id, set()).add(row.shard)
    assert all(len(shards) == 1 for shards in videos.values())

    mixed = read_lists(tmp_path, PROFILES["mixed"].lists)
    assert len({clip.key for clip in mixed.clips}) == len(mixed.clips)
    splits: dict[str, set[str]] = {}
    for clip in mixed.clips:
        splits.setdefault(clip.source_id, set()).add(clip.split)
    assert all(len(found) == 1 for found in splits.values())
    assert json.dumps(mixed.reasons)


def test_full_scale_shards_hold_about_a_thousand_clips():
    sizes = {"audiocaps": (49_838, 495, 975), "vggsound_caption": (183_730, 0, 15_446)}
    for name, clips in sizes.items():
        shards = PROFILES[name].shards
        assert all((count == 0) == (number == 0) for count, number in zip(clips, shards, strict=True))
        assert all(450 < count / number < 1050 for count, number in zip(clips, shards, strict=True) if number)
    assert len(PROFILES["vggsound_caption"].shard_names) == 200
