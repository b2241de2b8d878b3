"""Clips of the lists out of folders and tars that are there, good and bad ones; the site is asked for the rest alone."""

import dataclasses
import gzip
import io
import os
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterExecutionInterruptedError

from drawaudio_model.shard import ShardReader, read_manifest
from pipelines.partitions import shard_of
from pipelines.profiles import PROFILES
from pipelines.sources.mirror import tars
from pipelines.sources.mirror.settings import MediaSettings
from pipelines.sources.youtube.ledger import AttemptLog
from pipelines.sources.youtube.plan import plan
from pipelines.sources.youtube.source import YouTubeSource
from tests.readme_commands import blocks, run_block
from tests.test_mirror_tars import entry, make_tar
from tests.test_youtube_lists import write
from tests.youtube_server import PLUGINS, YouTubeServer, make_video
from tests.youtube_site import SHARD, fill, settings, write_list

DEEP = "scratch/shared/data/VGGSound_final/video"
REAL = Path(__file__).resolve().parents[2] / "shared" / "realdata" / "clips"
VIDEOS = [f"mirror{letter}----" for letter in "abcdefgh"]
KEYS = [f"{video}_000003" for video in VIDEOS]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Three different clips of ten seconds, a whole video of 14 s, and one of 7 s."""
    folder = tmp_path_factory.mktemp("clips")
    for number, seconds in enumerate((10, 10, 10, 14, 7)):
        make_video(folder / f"{number}.mp4", seconds, fps=5 + number)
    return [(folder / f"{number}.mp4").read_bytes() for number in range(5)]


@pytest.fixture
def site(clip: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The loopback site with one video; the others are gone. Nothing of the environment names media."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(PLUGINS), os.environ.get("PYTHONPATH")))))
    for name in [name for name in os.environ if name.startswith("DRAWAUDIO_")]:
        monkeypatch.delenv(name)
    with YouTubeServer({"good.mp4": clip[3]}, {video: "removed" for video in VIDEOS} | {VIDEOS[7]: "good"}) as server:
        yield server


def run(site: YouTubeServer, root: Path, monkeypatch: pytest.MonkeyPatch, media: Any, **more: str) -> dict[str, dict]:
    """One run over the shard with these media."""
    monkeypatch.setenv("DRAWAUDIO_MEDIA", str(media))
    for name, value in more.items():
        monkeypatch.setenv(f"DRAWAUDIO_MEDIA_{name.upper()}", value)
    return fill(root, settings(site, root.parent / "state"))


def media_of(root: Path, shard: str = SHARD) -> dict[str, bytes]:
    reader = ShardReader(root / "raw_clips", shard)
    found = {key: reader.member(key, "mp4") for key in reader.keys}
    reader.close()
    return found


def left_behind(root: Path) -> list[str]:
    staging = root / "raw_clips" / ".staging"
    return [str(path) for path in staging.rglob("*") if path.is_file() and "locks" not in path.parts]


@pytest.mark.parametrize("packed", [False, True], ids=["tar", "tar.gz"])
def test_the_usual_mirror_gives_its_clips_and_the_site_the_rest(packed, clip, site, tmp_path, monkeypatch):
    root, mirror = tmp_path / "data", tmp_path / "mirror"
    mirror.mkdir()
    write_list(root, [(video, 3) for video in VIDEOS])
    parts = [make_tar({f"{DEEP}/{KEYS[2 * i + j]}.mp4": clip[j] for j in range(2)}) for i in range(2)]
    parts[0] += make_tar({f"{DEEP}/{'x' * 11}_000001.mp4": clip[0], f"{DEEP}/readme.txt": b"text", "odd": b""})
    for number, part in enumerate(parts):
        name = f"vggsound_{number:02d}.tar" + (".gz" if packed else "")
        (mirror / name).write_bytes(gzip.compress(part) if packed else part)
    ledger = run(site, root, monkeypatch, mirror / "vggsound_*.tar*")
    assert media_of(root) | {KEYS[7]: b""} == {KEYS[i]: clip[i % 2] for i in range(4)} | {KEYS[7]: b""}
    assert ledger[KEYS[2]]["media"].endswith(f".tar{'.gz' if packed else ''}: {DEEP}/{KEYS[2]}.mp4")
    assert ledger[KEYS[2]]["access"].startswith("media ") and ledger[KEYS[2]]["video_seconds"] == pytest.approx(
        10, abs=0.3
    )
    assert {key: (row["status"], row["reason"], row["media"]) for key, row in ledger.items() if key in KEYS[4:]} == {
        **{key: ("failed", "removed", "") for key in KEYS[4:7]},
        KEYS[7]: ("kept", "", ""),
    }
    assert site.pages == Counter(VIDEOS[4:])
    assert left_behind(root) == []
    before = (root / "raw_clips" / f"{SHARD}.tar").read_bytes()
    run(site, root, monkeypatch, mirror / "vggsound_*.tar*")
    assert (root / "raw_clips" / f"{SHARD}.tar").read_bytes() == before and site.pages == Counter(VIDEOS[4:])


def test_a_folder_holds_clips_pieces_and_whole_videos_wherever_they_lie(clip, site, tmp_path, monkeypatch):
    root, media = tmp_path / "data", tmp_path / "media"
    write_list(root, [(video, 3) for video in VIDEOS[:5]])
    names = {f"a/b/{KEYS[0]}.mp4": 0, f"{VIDEOS[1]}_3000_13000.mp4": 1, f"c/{VIDEOS[2]}.mp4": 3, "named by hand.mp4": 2}
    names |= {f"{VIDEOS[3]}_1000_15000.mp4": 3, f"{VIDEOS[4]}_4000_14000.mp4": 0}
    for name, number in names.items():
        (media / name).parent.mkdir(parents=True, exist_ok=True)
        (media / name).write_bytes(clip[number])
    (media / "c" / f"{KEYS[4]}.mp4").symlink_to(media / f"a/b/{KEYS[0]}.mp4")
    table = tmp_path / "map.csv"
    table.write_text(f"key,path\n{KEYS[4]},named by hand.mp4\n")
    ledger = run(site, root, monkeypatch, media, map=str(table), only="1")
    assert {row["status"] for row in ledger.values()} == {"kept"} and not site.pages
    found = media_of(root)
    assert (found[KEYS[0]], found[KEYS[1]], found[KEYS[4]]) == (clip[0], clip[1], clip[2])
    for key in (KEYS[2], KEYS[3]):  # cut out of 14 s
        assert found[key] not in clip and ledger[key]["video_seconds"] == pytest.approx(10, abs=0.3)
    again = tmp_path / "again" / "data"
    write_list(again, [(video, 3) for video in VIDEOS[:5]])
    run(site, again, monkeypatch, media)
    assert (again / "raw_clips" / f"{SHARD}.tar").read_bytes() == (root / "raw_clips" / f"{SHARD}.tar").read_bytes()


def test_what_is_bad_is_a_row_with_its_reason_and_the_first_good_copy_is_taken(clip, site, tmp_path, monkeypatch):
    root, path = tmp_path / "data", tmp_path / "part.tar.gz"
    write_list(root, [(video, 3) for video in VIDEOS])
    name = [f"../../{DEEP}/{key}.mp4" for key in KEYS]
    links = [entry(name[0], tarfile.SYMTYPE, linkname="/etc/passwd"), entry(name[1], tarfile.LNKTYPE, linkname=name[0])]
    buffer = io.BytesIO(make_tar({}, extra=links)[:1024])
    content = buffer.getvalue()
    files = [
        (2, clip[4]),
        (3, b"<html>"),
        (4, clip[0][:20_000]),
        (4, clip[1]),
        (4, clip[2]),
        (1, clip[2]),
        (5, clip[0]),
    ]
    for number, media in files:
        content += make_tar({name[number]: media})[: 512 + -(-len(media) // 512) * 512]
    sparse = {"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 32)}
    content += make_tar({}, tarfile.PAX_FORMAT, [entry(name[6], tarfile.REGTYPE, pax_headers=sparse)])
    path.write_bytes(gzip.compress(content)[:-2000])
    ledger = run(site, root, monkeypatch, path, only="1")
    reasons = {KEYS.index(key): (row["status"], row["reason"]) for key, row in ledger.items()}
    assert reasons == {
        0: ("failed", "no_file"),
        1: ("kept", ""),
        2: ("failed", "short_clip"),
        3: ("failed", "not_media"),
        4: ("kept", ""),
        5: ("failed", "truncated"),
        6: ("failed", "not_in_media"),
        7: ("failed", "not_in_media"),
    }
    assert media_of(root) == {KEYS[1]: clip[2], KEYS[4]: clip[1]} and not site.pages
    assert ledger[KEYS[4]]["media"].endswith("2 further copies")
    assert "is a link, which is not followed" in ledger[KEYS[0]]["message"]
    assert "part.tar.gz: it ends before its compressed data do" in ledger[KEYS[7]]["message"]
    assert {path.name for path in tmp_path.iterdir()} <= {"data", "part.tar.gz", "state"} and left_behind(root) == []


def test_a_clip_that_the_site_has_not_comes_from_media_that_are_found_later(clip, site, tmp_path, monkeypatch):
    root, media = tmp_path / "data", tmp_path / "media"
    write_list(root, [(video, 3) for video in VIDEOS[:3]])
    media.mkdir()
    (media / f"{KEYS[0]}.mp4").write_bytes(clip[0])
    run(site, root, monkeypatch, media)
    assert [*media_of(root)] == [KEYS[0]] and site.pages == Counter(VIDEOS[1:3])
    (media / f"{KEYS[1]}.mp4").write_bytes(clip[1])
    (media / f"{KEYS[2]}.mp4").write_bytes(clip[4])
    ledger = run(site, root, monkeypatch, media)
    assert media_of(root, "train-100000") == {KEYS[1]: clip[1]} and site.pages == Counter(VIDEOS[1:3])
    assert ledger[KEYS[2]]["media"].startswith(str(media)) and "7" in ledger[KEYS[2]]["media"]
    attempts = AttemptLog(root, SHARD).path.read_bytes()
    run(site, root, monkeypatch, media)
    assert len(AttemptLog(root, SHARD).of(KEYS[2])) == 2 and AttemptLog(root, SHARD).path.read_bytes() == attempts


def test_a_run_that_is_stopped_in_a_part_goes_on_and_ends_with_the_same_bytes(clip, site, tmp_path, monkeypatch):
    roots = [tmp_path / name / "data" for name in ("whole", "stopped")]
    path = tmp_path / "part.tar.gz"
    path.write_bytes(gzip.compress(make_tar({f"{key}.mp4": clip[i % 3] for i, key in enumerate(KEYS)})))
    for root in roots:
        write_list(root, [(video, 3) for video in VIDEOS])
    run(site, roots[0], monkeypatch, path)
    pieces, seen = tars.Member.pieces, []

    def stopping(member: tars.Member) -> Any:
        seen.append(member.name)
        if member.number == 5:
            raise KeyboardInterrupt
        return pieces(member)

    monkeypatch.setattr(tars.Member, "pieces", stopping)
    with pytest.raises((KeyboardInterrupt, DagsterExecutionInterruptedError)) as stopped:
        run(site, roots[1], monkeypatch, path)
    assert not isinstance(stopped.value, AssertionError) and read_manifest(roots[1] / "raw_clips", SHARD) is None
    assert len(seen) == 6
    monkeypatch.setattr(tars.Member, "pieces", lambda member: (seen.append(member.name), pieces(member))[1])
    run(site, roots[1], monkeypatch, path)
    assert seen[6:] == [f"{key}.mp4" for key in KEYS[5:]]
    whole, stopped_one = ((root / "raw_clips" / f"{SHARD}.tar").read_bytes() for root in roots)
    assert whole == stopped_one and left_behind(roots[1]) == []


def test_each_part_is_read_once_for_all_shards(clip, site, tmp_path, monkeypatch):
    from pipelines.clip_rows import write_clip_list
    from tests.youtube_site import clip_row

    root, path = tmp_path / "data", tmp_path / "part.tar.gz"
    path.write_bytes(gzip.compress(make_tar({f"{key}.mp4": clip[0] for key in KEYS[:4]})))
    rows = [clip_row(video, 3) for video in VIDEOS[:4]]
    rows[2:] = [dataclasses.replace(row, shard="train-000001") for row in rows[2:]]
    write_clip_list(root / "clip_list.parquet", rows)
    run(site, root, monkeypatch, path, only="1")
    spooled = [Path(name).parent.name for name in left_behind(root)]
    assert spooled == ["train-000001", "train-000001"] and [*media_of(root)] == KEYS[:2]
    monkeypatch.setattr(tars, "members", lambda *_: pytest.fail("the part was read again"))
    monkeypatch.setattr("pipelines.sources.mirror.listing.members", lambda *_: pytest.fail("the part was read again"))
    monkeypatch.setattr("tests.youtube_site.SHARD", "train-000001")
    run(site, root, monkeypatch, path, only="1")
    assert [*media_of(root, "train-000001")] == KEYS[2:4] and left_behind(root) == []


@pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here")
def test_real_clips_are_taken_byte_for_byte(site, tmp_path, monkeypatch):
    root, path = tmp_path / "data", tmp_path / "part.tar.gz"
    files = {real.name: real.read_bytes() for real in sorted(REAL.glob("*_000*.mp4"))}
    write_list(root, [(name[:11], int(name[12:18])) for name in files])
    path.write_bytes(gzip.compress(make_tar({f"{DEEP}/{name}": content for name, content in files.items()})))
    ledger = run(site, root, monkeypatch, path, only="1")
    assert {key: row["reason"] for key, row in ledger.items()} == {name[:18]: "" for name in files}
    assert sum(content in files.values() for content in media_of(root).values()) >= len(files) - 1


def test_the_commands_of_the_page_build_a_shard_from_a_mirror(clip, tmp_path):
    (block,) = (block for block in blocks() if block.mark == "with a mirror")
    keys = [
        f"{video}_000003" for video in VIDEOS if shard_of(PROFILES["vggsound_caption"], "test", video) == "test-000004"
    ]
    assert keys == KEYS[4:7]
    write(tmp_path / "lists", "vggsound/vggsound.csv", *(f"{video},3,a dog barks,test" for video in VIDEOS))
    (tmp_path / "mirror").mkdir()
    packed = gzip.compress(make_tar({f"{DEEP}/{key}.mp4": clip[0] for key in KEYS}))
    (tmp_path / "mirror" / "vggsound_00.tar.gz").write_bytes(packed)
    (tmp_path / "home").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DRAWAUDIO_")}
    said = run_block(block, tmp_path, environment | {"DAGSTER_HOME": str(tmp_path / "home")})
    assert "in the media   8 clips (100.0 %" in said
    assert media_of(tmp_path / "data", "test-000004") == dict.fromkeys(keys, clip[0])


@pytest.fixture
def lists(tmp_path, monkeypatch):
    rows = [f"{video},3,a dog barks,{'test' if i == 0 else 'train'}" for i, video in enumerate(VIDEOS)]
    write(tmp_path / "lists", "vggsound/vggsound.csv", *rows)
    for name in [name for name in os.environ if name.startswith("DRAWAUDIO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DRAWAUDIO_LISTS", str(tmp_path / "lists"))
    monkeypatch.setenv("DRAWAUDIO_DATA", str(tmp_path / "data"))


def test_the_plan_says_what_is_there(lists, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    media = {f"{DEEP}/{key}.mp4": bytes(50_000_000) for key in KEYS[:3]}
    (mirror / "vggsound_00.tar.gz").write_bytes(gzip.compress(make_tar(media), 1)[:-100])
    (mirror / f"{VIDEOS[3]}.mp4").write_bytes(b"video")
    monkeypatch.setenv("DRAWAUDIO_MEDIA", str(mirror))
    text = plan(PROFILES["vggsound_caption"])
    assert "in the media   4 clips (50.0 %, 0.0 h) in files of 0.2 GB" in text
    assert "in 2 files, each once" in text and "vggsound_00.tar.gz: it ends before" in text
    assert "videos         4; some 10 %" in text
    assert not (tmp_path / "data" / "raw_clips" / ".staging").exists()
    monkeypatch.setattr("pipelines.sources.mirror.listing.members", lambda *_: pytest.fail("read again"))
    monkeypatch.setenv("DRAWAUDIO_MEDIA_ONLY", "1")
    text = plan(PROFILES["vggsound_caption"])
    assert "4 clips, which are not fetched" in text and "videos/h" not in text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"": "/nowhere/at/all"}, "DRAWAUDIO_MEDIA is /nowhere/at/all, which does not exist"),
        ({"": "{folder}"}, "where there is no media file and no tar"),
        ({"": "{folder}/*.tar"}, "which does not exist|no media file and no tar"),
        ({"": "{folder}/notes.txt"}, "expected a folder, a tar"),
        (
            {"": "hf://datasets/a/b"},
            "names hf://datasets/a/b, expected folders, tars or globs of this machine; fetch it first",
        ),
        ({"_ONLY": "1"}, "DRAWAUDIO_MEDIA_ONLY is set and DRAWAUDIO_MEDIA is not"),
        ({"": "{folder}", "_ONLY": "yes"}, "DRAWAUDIO_MEDIA_ONLY is 'yes', expected 1 or 0"),
        ({"": "{folder}", "_MAP": "/nowhere.csv"}, "DRAWAUDIO_MEDIA_MAP is /nowhere.csv, which is no file"),
    ],
)
def test_a_value_that_cannot_be_meant_is_one_sentence(values, message, tmp_path):
    (tmp_path / "notes.txt").write_text("notes")
    environment = {f"DRAWAUDIO_MEDIA{name}": value.format(folder=tmp_path) for name, value in values.items()}
    with pytest.raises(ValueError, match=message) as error:
        found = MediaSettings.from_environment(environment)
        assert found is not None
        found.parts()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,path\na,b\n", "columns are name,path, expected key,path"),
        (f"key,path\n{KEYS[0]},../b.mp4\n{KEYS[1]}\n", "line 2: .*; line 3: 1 fields"),
        ("key,path\nsomething,b.mp4\n", "has no key of the list"),
    ],
)
def test_a_malformed_map_is_refused_by_line(table, message, lists, tmp_path, monkeypatch):
    (tmp_path / "map.csv").write_text(table)
    (tmp_path / "a.mp4").write_bytes(b"video")
    monkeypatch.setenv("DRAWAUDIO_MEDIA", str(tmp_path / "a.mp4"))
    monkeypatch.setenv("DRAWAUDIO_MEDIA_MAP", str(tmp_path / "map.csv"))
    with pytest.raises(ValueError, match=message):
        plan(PROFILES["vggsound_caption"])


def test_only_the_site_makes_steps_wait_for_one_another(monkeypatch):
    assert YouTubeSource().download_pool == "youtube"
    monkeypatch.setenv("DRAWAUDIO_MEDIA_ONLY", "1")
    assert YouTubeSource().download_pool is None
