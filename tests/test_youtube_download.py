"""Clips from a site on loopback that behaves as badly as the real one: every clip gets its row, whatever happens."""

import ast
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from drawaudio_model.clip_format import SOURCE_SECONDS
from drawaudio_model.media import read_clips
from drawaudio_model.shard import ShardReader, read_manifest
from pipelines.sources.youtube.download import DownloadsStopped
from pipelines.sources.youtube.errors import CLASSES, Kind
from pipelines.sources.youtube.ledger import AttemptLog
from pipelines.sources.youtube.settings import DownloadSettings
from tests.youtube_server import PLUGINS, YouTubeServer, frame_number, make_media
from tests.youtube_site import SHARD, fill, read_ledger, settings, video_id, write_list

ROOT = Path(__file__).parent.parent

EXPECTED = {
    # behaviour: (videos, starts of the clips of each, classes)
    "good": (6, (0, 3), ("", "")),
    "pair": (2, (0, 4), ("", "")),
    "long": (1, (0, 2, 601, 1195), ("", "", "", "short_clip")),
    "holes": (1, (2, 604), ("", "http_404")),
    "503_once": (1, (1,), ("",)),
    "reset_once": (1, (1,), ("",)),
    "403_once": (1, (1,), ("",)),
    "429_once": (1, (1,), ("",)),
    "evil": (1, (1,), ("",)),
    "short": (2, (0, 20), ("short_clip", "empty_clip")),
    "mute": (1, (0,), ("no_audio",)),
    "403": (1, (0,), ("http_403",)),
    "404": (1, (0,), ("http_404",)),
    "429": (1, (0,), ("http_429",)),
    "500": (1, (0,), ("http_5xx",)),
    "reset": (1, (0,), ("network",)),
    "early": (1, (0,), ("network",)),
    "cut": (1, (0,), ("truncated",)),
    "slow": (1, (0,), ("time_limit",)),
    "html": (1, (0,), ("not_media",)),
    "no_format": (1, (0,), ("format",)),
    "private": (1, (0,), ("private",)),
    "removed": (1, (0,), ("removed",)),
    "age": (1, (0,), ("age",)),
    "geo": (1, (0,), ("copyright_geo",)),
}
VIDEOS = {video_id(name, i): name for name, (count, _, _) in EXPECTED.items() for i in range(count)}
CLIPS = [(video, start) for video, name in VIDEOS.items() for start in EXPECTED[name][1]]
CLASS = {
    f"{video}_{start:06d}": error
    for video, name in VIDEOS.items()
    for start, error in zip(EXPECTED[name][1], EXPECTED[name][2], strict=True)
}
GOOD = {key for key, error in CLASS.items() if not error}


@pytest.fixture(scope="module", autouse=True)
def plugins() -> Any:
    """The site's extractor, for every process that loads yt-dlp."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(PLUGINS), os.environ.get("PYTHONPATH")))))
        yield


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return make_media(tmp_path_factory.mktemp("media"))


def shard_settings(server: YouTubeServer, root: Path) -> DownloadSettings:
    # One refused video must not end the run. The endless one is given up soon, the others have time on a busy machine.
    return settings(server, root / "state", session_pauses=4, clip_limit_seconds=10.0)


@pytest.fixture(scope="module")
def undisturbed(media: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The shard, fetched in one go: its folder, the server as it was left, the ledger."""
    root = tmp_path_factory.mktemp("site") / "data"
    write_list(root, CLIPS)
    with YouTubeServer(media, VIDEOS) as server:
        ledger = fill(root, shard_settings(server, root))
    return root, server, ledger


@pytest.mark.slow
def test_every_clip_of_a_shard_ends_in_one_row_of_the_right_class(undisturbed: Any) -> None:
    root, _, ledger = undisturbed
    assert len(CLIPS) >= 40
    assert {key: row["reason"] for key, row in ledger.items()} == CLASS
    for key, row in ledger.items():
        kind = CLASSES[CLASS[key]].kind if CLASS[key] else None
        assert row["kind"] == (kind or "")
        assert row["status"] == ("kept" if not kind else "pending" if kind is Kind.SESSION else "failed"), row
        assert row["first_tried"] <= row["last_tried"]
        assert row["yt_dlp"]
        assert (row["attempts"] > 0) == (kind is not Kind.SESSION), row
        assert bool(row["message"]) == bool(kind)
    reader = ShardReader(root / "raw_clips", SHARD)
    assert set(reader.keys) == GOOD
    for key in GOOD:
        row, facts = ledger[key], json.loads(reader.member(key, "json"))
        assert (row["bytes"], row["sha256"]) == (facts["bytes"], facts["sha256"])
        assert row["bytes"] == len(reader.member(key, "mp4"))
        assert row["format"]
        assert abs(row["video_seconds"] - SOURCE_SECONDS) < 0.5
        assert abs(row["audio_offset_seconds"]) < 0.05
        assert row["hidden_frames"] == 0
    reader.close()


@pytest.mark.slow
def test_clips_begin_at_the_asked_frame(undisturbed: Any) -> None:
    root, _, _ = undisturbed
    reader = ShardReader(root / "raw_clips", SHARD)
    for name, fps in (("good", 5), ("pair", 5), ("long", 2)):
        for start in [start for start, error in zip(*EXPECTED[name][1:], strict=True) if not error]:
            clip = read_clips(reader.member(f"{video_id(name)}_{start:06d}", "mp4"), fps=fps).clips[0]
            assert [frame_number(frame) for frame in clip.frames[:10]] == list(range(start * fps, start * fps + 10))
            # Every fifth second of the video is loud.
            loud = [abs(clip.waveform[i * 16000 + 4000 : i * 16000 + 12000]).max() > 0.2 for i in range(10)]
            assert loud == [(start + i) % 5 == 0 for i in range(10)], (name, start)
    reader.close()


@pytest.mark.slow
def test_one_request_serves_all_clips_of_a_video(undisturbed: Any) -> None:
    _, server, ledger = undisturbed
    refused = ledger[f"{video_id('429')}_000000"]["session_errors"]
    # Where both refused videos are under way at once, the second refusal belongs to the first one's incident.
    assert refused in (4, 5)
    again = {"403_once": 2, "429_once": 2, "403": 2, "429": refused}
    assert server.pages == {video: again.get(name, 1) for video, name in VIDEOS.items()}
    for video, name in VIDEOS.items():
        if name == "good":
            assert server.whole[f"{video} good.mp4"] == 1
            assert server.sent[video] == len(server.media["good.mp4"])
        if name == "long":
            # Sections over m3u8: a small part of the video, and never the plain file.
            assert server.sent[video] < len(server.media["long.mp4"]) / 5
            assert not [path for path in server.paths if path.endswith(f"{video}/long.mp4")]
    assert ledger[f"{video_id('429_once')}_000001"]["session_errors"] == 1


@pytest.mark.slow
def test_nothing_is_written_outside_the_folders_of_the_download(undisturbed: Any) -> None:
    root, _, _ = undisturbed
    written = {path.relative_to(root.parent).as_posix() for path in root.parent.rglob("*") if path.is_file()}
    raw = f"data/raw_clips/{SHARD}.tar"
    expected = {
        raw,
        f"data/raw_clips/index/{SHARD}.parquet",
        f"data/raw_clips/manifests/{SHARD}.json",
        f"data/raw_clips/ledger/{SHARD}.parquet",
        f"data/raw_clips/attempts/{SHARD}.jsonl",
        f"data/raw_clips/.staging/locks/{SHARD}",
        "data/clip_list.parquet",
        "data/state/quota.json",
        "data/state/quota.lock",
    }
    assert written == expected
    assert not [path for path in ROOT.rglob("*escaped*") if ".venv" not in path.parts]


@pytest.mark.slow
def test_a_later_run_retries_only_what_may_succeed_and_keeps_the_published_tar(
    undisturbed: Any, media: dict[str, bytes], tmp_path: Path
) -> None:
    shutil.copytree(undisturbed[0], tmp_path / "data")
    root, first = tmp_path / "data", undisturbed[2]
    tar = root / "raw_clips" / f"{SHARD}.tar"
    before = tar.stat().st_mtime_ns
    healed = VIDEOS | {
        video_id(name): "good" for name in ("403", "404", "429", "500", "reset", "slow", "private", "age")
    }
    with YouTubeServer(media, healed) as server:
        ledger = fill(root, settings(server, root / "state"))
        overflow = ShardReader(root / "raw_clips", "train-100000")
        late = {f"{video_id(name)}_000000" for name in ("403", "404", "429", "500", "reset", "slow")}
        assert set(overflow.keys) == late
        overflow.close()
        for key in late:
            assert (ledger[key]["status"], ledger[key]["shard"]) == ("kept", "train-100000")
            assert ledger[key]["attempts"] == first[key]["attempts"] + 1
        retryable = {video for video, name in VIDEOS.items() if _kinds(name) & {Kind.RETRY, Kind.SESSION}}
        assert set(server.pages) == retryable
        # With cookies the age limit is worth a try; the country is not, and nothing of the first rounds is asked again.
        cookies = tmp_path / "cookies.txt"
        cookies.write_text("# Netscape HTTP Cookie File\n.youtube.com\tTRUE\t/\tTRUE\t0\tSID\tsecret\n")
        with pytest.raises(ValueError, match=r"can be read by others of this machine; run: chmod 600"):
            fill(root, settings(server, root / "state", cookies=str(cookies)))
        cookies.chmod(0o600)
        asked = dict(server.pages)
        held = settings(server, root / "state", cookies=str(cookies))
        ledger = fill(root, held)
        assert ledger[f"{video_id('age')}_000000"]["shard"] == "train-200000"
        assert ledger[f"{video_id('age')}_000000"]["access"] == "account"
        news = {video for video, count in server.pages.items() if count != asked.get(video, 0)}
        assert video_id("age") in news
        assert not news & {video_id(name) for name in ("403", "slow", "private", "geo", "short")}
    assert tar.stat().st_mtime_ns == before
    assert "secret" in cookies.read_text()
    assert not [path for path in root.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]
    assert {key: row["reason"] for key, row in ledger.items() if row["status"] != "kept"} == {
        key: error for key, error in CLASS.items() if error and ledger[key]["shard"] == ""
    }


def _kinds(name: str) -> set[Kind]:
    return {CLASSES[error].kind for error in EXPECTED[name][2] if error}


DRIVER = """
import json, os, signal, sys, time
from pathlib import Path
from drawaudio_model import shard
from drawaudio_model.shard import ShardWriter
from pipelines.sources.youtube.ledger import AttemptLog
from pipelines.sources.youtube.processes import VideoProcesses
from pipelines.sources.youtube.quota import Quota
from pipelines.sources.youtube.settings import DownloadSettings
from tests.youtube_site import fill

root, settings = Path(sys.argv[1]), DownloadSettings(**json.loads(sys.argv[2]))
staging = root / "raw_clips" / ".staging" / "youtube"


def changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(owner: object, name: str, count: int, *, after: bool) -> None:
    original, calls = getattr(owner, name), []

    def wrapped(*arguments, **named):
        calls.append(1)
        if len(calls) == count and not after:
            die()
        result = original(*arguments, **named)
        if len(calls) == count:
            die()
        return result

    setattr(owner, name, wrapped)


def tear_a_line() -> None:
    def write(self, row):
        with self.path.open("ab") as file:
            file.write(json.dumps(row).encode()[:40])
        die()

    AttemptLog._write = write


POINTS = {
    "a token is taken": lambda: die_at(Quota, "try_take", 3, after=True),
    "videos are started": lambda: die_at(VideoProcesses, "start", 3, after=True),
    "an attempt is written down": lambda: die_at(AttemptLog, "append", 6, after=True),
    "an attempt's line is torn": tear_a_line,
    "media are in the journal's file": lambda: die_at(ShardWriter, "_append", 4, after=False),
    "the tar is there": lambda: die_at(shard, "_write_index", 1, after=False),
    "the manifest is there": lambda: die_at(AttemptLog, "close_round", 1, after=False),
}
WATCHED = {
    "a transfer is half done": "*/download/*.part",
    "a video is fetched": "*/source.mp4",
    "a clip is cut": "*/clip-*.json",
}

for line in sys.stdin:
    point, began = line.strip(), time.time()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            POINTS.get(point, lambda: None)()
            fill(root, settings)
            status = 0
        finally:
            os._exit(status)
    ended, status = 0, 0
    while not ended:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if point in WATCHED and any(changed(path) > began for path in staging.glob('*/' + WATCHED[point])):
            os.kill(pid, signal.SIGKILL)
            ended, status = os.waitpid(pid, 0)
        time.sleep(0.002)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""
KILLS = (
    "a token is taken",
    "videos are started",
    "a transfer is half done",
    "a video is fetched",
    "a clip is cut",
    "an attempt is written down",
    "an attempt's line is torn",
    "media are in the journal's file",
    "the tar is there",
    "the manifest is there",
)


def fetched_videos(root: Path) -> set[str]:
    """Good videos that need not be asked for any more: fetched, or in the shard."""
    staging = root / "raw_clips" / ".staging" / "youtube" / SHARD
    folders = {hashlib.sha256(video.encode()).hexdigest()[:24]: video for video in VIDEOS}
    found = {folders[path.parent.name] for path in staging.glob("*/source.mp4")}
    log = AttemptLog(root, SHARD)
    found |= {video for video, start in CLIPS if any(not row.error for row in log.of(f"{video}_{start:06d}"))}
    return {video for video in found if not any(EXPECTED[VIDEOS[video]][2])}


@pytest.mark.slow
def test_killed_at_ten_points_the_shard_ends_as_undisturbed_and_nothing_is_fetched_twice(
    undisturbed: Any, media: dict[str, bytes], tmp_path: Path
) -> None:
    root, reference = tmp_path / "data", undisturbed[0]
    write_list(root, CLIPS)
    with YouTubeServer(media, VIDEOS) as server:
        held = json.dumps(asdict(shard_settings(server, root)))
        command = [sys.executable, "-c", DRIVER, str(root), held]
        with (
            (tmp_path / "driver.log").open("wb") as log,
            subprocess.Popen(
                command,
                cwd=ROOT,
                # What a killed run leaves in its temporary folder goes with the test's.
                env=os.environ | {"TMPDIR": str(tmp_path)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as driver,
        ):
            for point in (*KILLS, "nothing"):
                fetched, seen = fetched_videos(root), len(server.paths)
                driver.stdin.write(f"{point}\n")
                driver.stdin.flush()
                status = driver.stdout.readline().strip()
                expected = "0" if point == "nothing" else str(-signal.SIGKILL)
                assert status == expected, f"{point}: {(tmp_path / 'driver.log').read_text()[-3000:]}"
                asked = {path.split("/")[2] for path in server.paths[seen:]}
                assert not asked & fetched, f"fetched again after the kill when {point}"
                if point == "the tar is there":
                    assert read_manifest(root / "raw_clips", SHARD) is None
        assert fetched_videos(root) == {video for video, name in VIDEOS.items() if not any(EXPECTED[name][2])}
    again, first = (read_manifest(folder / "raw_clips", SHARD) for folder in (root, reference))
    assert (again.sha256, again.count) == (first.sha256, first.count)
    assert {row.key: row.reason for row in again.rejected} == {row.key: row.reason for row in first.rejected}
    ends = [
        {key: (row["status"], row["reason"]) for key, row in read_ledger(folder).items()}
        for folder in (root, reference)
    ]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("behaviour", ["bot", "broken"])
def test_refusals_stop_the_run_cost_no_attempt_and_lose_nothing(
    behaviour: str, media: dict[str, bytes], tmp_path: Path
) -> None:
    root = tmp_path / "data"
    videos = [video_id(behaviour, i) for i in range(4)]
    write_list(root, [(video, 1) for video in videos])
    with YouTubeServer(media, dict.fromkeys(videos, behaviour)) as server:
        held = settings(server, root / "state", workers=1, session_pauses=3, session_wait_seconds=0.2)
        name = "bot_check" if behaviour == "bot" else "extractor_broken"
        with pytest.raises(DownloadsStopped, match=rf"3 times in a row .*\({name}\).*what was fetched is kept"):
            fill(root, held)
        assert sum(server.pages.values()) == 3
        ledger = read_ledger(root)
        assert [row["attempts"] for row in ledger.values()] == [0] * 4
        assert {row["status"] for row in ledger.values()} == {"pending"}
        assert sorted(row["reason"] for row in ledger.values()) == ["", name, name, name]
        assert read_manifest(root / "raw_clips", SHARD) is None
        gaps = [later - earlier for earlier, later in itertools.pairwise(server.starts)]
        assert behaviour == "broken" or min(gaps) >= 0.2, "the pause was not kept"
        server.videos.update(dict.fromkeys(videos, "good"))
        ledger = fill(root, held)
    assert {row["status"] for row in ledger.values()} == {"kept"}
    assert {row["attempts"] for row in ledger.values()} == {1}


def test_an_outage_ends_the_run_before_it_uses_up_the_list(media: dict[str, bytes], tmp_path: Path) -> None:
    root = tmp_path / "data"
    videos = sorted(video_id("early", i) for i in range(5))
    write_list(root, [(video, 1) for video in videos])
    with YouTubeServer(media, dict.fromkeys(videos, "early")) as server:
        held = settings(server, root / "state", workers=1, failures_in_a_row=3)
        with pytest.raises(DownloadsStopped, match="3 videos in a row failed, the last one with network"):
            fill(root, held)
        assert [row["attempts"] for row in read_ledger(root).values()] == [1, 1, 1, 0, 0]
        server.videos.update(dict.fromkeys(videos, "good"))
        fill(root, held)
        ledger = fill(root, held)
        assert server.pages == dict(zip(videos, (2, 2, 2, 1, 1), strict=True))
    assert [row["shard"] for row in ledger.values()] == ["train-100000"] * 3 + [SHARD] * 2


def test_a_broken_ffmpeg_ends_the_run_as_an_outage_does(media: dict[str, bytes], tmp_path: Path) -> None:
    root = tmp_path / "data"
    videos = sorted(video_id("good", i) for i in range(4))
    write_list(root, [(video, start) for video in videos for start in (0, 3)])
    with YouTubeServer(media, dict.fromkeys(videos, "good")) as server:
        held = settings(server, root / "state", workers=1, failures_in_a_row=2, ffmpeg="/bin/false")
        with pytest.raises(DownloadsStopped, match="2 videos in a row failed, the last one with ffmpeg"):
            fill(root, held)
        assert server.pages == dict.fromkeys(videos[:2], 1)


def test_a_section_or_a_torn_track_costs_no_other_clip(media: dict[str, bytes], tmp_path: Path) -> None:
    root = tmp_path / "data"
    videos = {video_id(name): name for name in ("stuck", "expired", "torn_pair")}
    stuck, expired, torn = videos
    write_list(root, [(stuck, 2), (stuck, 604), (stuck, 1100), (expired, 3), (torn, 1)])
    leftover = root / "raw_clips" / ".staging" / "youtube" / SHARD / "0" / "clip-000001.mp4"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    with YouTubeServer(media, videos) as server:
        ledger = fill(root, settings(server, root / "state", clip_limit_seconds=10.0))
        assert server.pages == {stuck: 1, expired: 2, torn: 1}
    reasons = {key: row["reason"] for key, row in ledger.items() if row["status"] != "kept"}
    assert reasons == {f"{stuck}_000604": "time_limit", f"{torn}_000001": "truncated"}
    assert ledger[f"{expired}_000003"]["attempts"] == 2
    assert ledger[f"{stuck}_001100"]["format"] == "93+s"
    assert not leftover.exists()


def test_the_limit_ends_everything_that_a_video_started(media: dict[str, bytes], tmp_path: Path) -> None:
    stuck = tmp_path / "ffmpeg"
    stuck.write_text("#!/bin/sh\nsleep 987.125 &\nsleep 987.125\n")
    stuck.chmod(0o755)
    root, video = tmp_path / "data", video_id("good")
    write_list(root, [(video, 1)])
    with YouTubeServer(media, {video: "good"}) as server:
        ledger = fill(root, settings(server, root / "state", ffmpeg=str(stuck), clip_limit_seconds=2.0))
    assert [row["reason"] for row in ledger.values()] == ["time_limit"]
    deadline = time.monotonic() + 5
    while (left := _processes_with("987.125")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def _processes_with(word: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += [path.parent.name] if word.encode() in path.read_bytes() else []
    return found


def test_no_shell_is_ever_started() -> None:
    for path in (ROOT / "pipelines" / "sources" / "youtube").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("os.system", "os.popen", "subprocess.getoutput"), path.name
                assert not any(word.arg == "shell" for word in node.keywords), path.name


def test_a_damaged_tar_is_named_and_not_fetched_again_in_silence(media: dict[str, bytes], tmp_path: Path) -> None:
    root, video = tmp_path / "data", video_id("good")
    write_list(root, [(video, 1)])
    with YouTubeServer(media, {video: "good"}) as server:
        held = settings(server, root / "state")
        fill(root, held)
        tar = root / "raw_clips" / f"{SHARD}.tar"
        os.truncate(tar, 512)
        with pytest.raises(
            ValueError, match=r"train-000000\.tar has 512 bytes, its manifest says .* delete .*000000\.json"
        ):
            fill(root, held)
        assert server.pages == {video: 1}
        (root / "raw_clips" / "manifests" / f"{SHARD}.json").unlink()
        assert [row["status"] for row in fill(root, held).values()] == ["kept"]
    assert tar.stat().st_size > 10_000


ASSET = """
import sys
import dagster as dg
from pipelines import defs
assert defs.get_assets_def("raw_clips").op.pool == "youtube"
with dg.DagsterInstance.ephemeral() as instance:
    assets = [defs.get_assets_def(name) for name in ("clip_list", "raw_clips")]
    dg.materialize(assets[:1], instance=instance, resources=defs.resources)
    dg.materialize(assets, selection=assets[1:], partition_key=sys.argv[1], instance=instance, resources=defs.resources)
"""


@pytest.mark.slow
def test_the_profile_fetches_from_the_official_lists(media: dict[str, bytes], tmp_path: Path) -> None:
    from pipelines.partitions import shard_of
    from pipelines.profiles import PROFILES

    videos = {video_id("good", 1): "good", video_id("private", 2): "private"}
    lists = tmp_path / "lists" / "audiocaps"
    lists.mkdir(parents=True)
    header = "audiocap_id,youtube_id,start_time,caption\n"
    for split, name in (("val", video_id("good", 1)), ("test", video_id("private", 2)), ("train", "abcdefghijk")):
        (lists / f"{split}.csv").write_text(f'{header}7,{name},3,"a dog, barking"\n')
    with YouTubeServer(media, videos) as server:
        held = asdict(settings(server, tmp_path / "state"))
        variables = {f"DRAWAUDIO_YOUTUBE_{name.upper()}": str(value) for name, value in held.items()}
        variables |= {"DRAWAUDIO_PROFILE": "audiocaps", "DRAWAUDIO_LISTS": str(lists.parent)}
        variables |= {"DRAWAUDIO_DATA": str(tmp_path / "data")}
        shard = shard_of(PROFILES["audiocaps"], "val", video_id("good", 1))
        command = [sys.executable, "-c", ASSET, shard]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert server.pages == {video_id("good", 1): 1}
    reader = ShardReader(tmp_path / "data" / "raw_clips", shard)
    assert reader.keys == [f"{video_id('good', 1)}_000003"]
    reader.close()
