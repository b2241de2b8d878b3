"""Real media, whole and broken, through the folder profile to training shards."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from drawaudio_model.shard import ShardReader, finished_shards
from drawaudio_model.training_sample import decode_sample
from tests.test_tiny_path import materialize

ROOT = Path(__file__).parent.parent
REAL = ROOT.parent / "shared" / "realdata"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL.is_dir(), reason="the folder of real media does not lie beside the checkout"),
]

REASONS = {
    "no_audio_stream.mp4": "no_audio_stream",
    "silent_audio_track.mp4": "silent",
    "audio_only_5ch1.mp4": "no_video_stream",
    "no_moov.mp4": "truncated",
    "corrupted_frames.mp4": "no_audio_stream",
    "vfr_huge.mp4": "no_audio_stream",
}
SAMPLES = {"rotated_5ch1.mp4", "short_audio_amr.3gp"}


@pytest.fixture(scope="module")
def media() -> dict[str, dict[str, str]]:
    """Rows of the manifest of everything that is a picture file, by file name."""
    rows = csv.DictReader((REAL / "manifest.csv").open(newline=""))
    return {Path(row["file"]).name: row for row in rows if row["file"].startswith(("clips/", "odd/"))}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, media: dict[str, dict[str, str]]) -> Path:
    """A data root in which all real media went through the folder profile, by the README's command."""
    folder = tmp_path_factory.mktemp("folder")
    clips = folder / "media"
    clips.mkdir()
    for name, row in media.items():
        (clips / name).symlink_to(REAL / row["file"])
    with (folder / "captions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "caption"])
        writer.writerows((name, row["caption"]) for name, row in media.items())
    done = materialize(
        folder,
        "--select",
        "*training_shards",
        "--partition-range",
        "train-000000...test-000000",
        DRAWAUDIO_PROFILE="folder",
        DRAWAUDIO_RUN="tiny",
        DRAWAUDIO_CLIPS=str(clips),
        DRAWAUDIO_CAPTIONS=str(folder / "captions.csv"),
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return folder / "data"


def file_of(root: Path, key: str) -> str:
    rows = pq.read_table(root / "clip_list.parquet").to_pylist()
    return Path(next(row["media"] for row in rows if row["key"] == key)).name


def test_every_real_clip_became_a_sample(built: Path, media: dict[str, dict[str, str]]) -> None:
    kept: dict[str, list[str]] = {}
    for shard in finished_shards(built / "training_shards"):
        reader = ShardReader(built / "training_shards", shard)
        for key, members in reader.items():
            sample = decode_sample(key, members)
            kept.setdefault(file_of(built, key), []).append(key)
            assert sample.facts["caption"] == media[file_of(built, key)]["caption"]
    assert set(kept) == {name for name, row in media.items() if row["file"].startswith("clips/")} | SAMPLES
    # 30 s and 29.5 s become three clips each; a tail of 0.4 s becomes none.
    several = {name: len(keys) for name, keys in kept.items() if len(keys) > 1}
    assert several == {"big_buck_bunny_0_30.webm": 3, "tv_advert.ogv": 3}


def test_counts_agree_with_what_is_presented(built: Path, media: dict[str, dict[str, str]]) -> None:
    checked = 0
    for shard in finished_shards(built / "clip_media"):
        reader = ShardReader(built / "clip_media", shard)
        for key in reader.keys:
            facts, row = json.loads(reader.member(key, "json")), media[file_of(built, key)]
            assert facts["frames_decoded"] == int(row["frames_decoded"]), key
            if row["audio_codec"] == "amr_nb":
                # The manifest's decoder gave one of the five AMR frames of each packet; the header says 4.93 s.
                assert facts["audio_seconds_decoded"] == pytest.approx(5.0, abs=0.1)
                continue
            # An encoder's delay and padding: at most two frames of the longest codec here.
            assert facts["audio_seconds_decoded"] == pytest.approx(float(row["audio_decoded_s"]), abs=0.12), key
            checked += 1
    assert checked == 19


def test_every_broken_file_ends_in_the_ledger_with_its_reason(built: Path) -> None:
    rows = []
    for path in sorted((built / "training_shards" / "ledger").glob("*.parquet")):
        rows += pq.read_table(path).to_pylist()
    listed = pq.read_table(built / "clip_list.parquet").num_rows
    assert len(rows) == listed
    dropped = {file_of(built, row["key"]): row["reason"] for row in rows if row["status"] == "dropped"}
    assert dropped == REASONS
    assert all(row["message"] for row in rows if row["status"] == "dropped")


def test_short_sound_and_picture_are_padded_and_say_so(built: Path) -> None:
    flags: dict[str, dict[str, bool]] = {}
    for shard in finished_shards(built / "training_shards"):
        reader = ShardReader(built / "training_shards", shard)
        for key in reader.keys:
            flags[file_of(built, key)] = json.loads(reader.member(key, "json"))["flags"]
    for name in ("short_audio_amr.3gp", "eye_makeup.avi"):
        assert flags[name]["padded_audio"] and flags[name]["padded_video"]
    assert not flags["7fRaV39Y-2o_000050.mp4"]["padded_video"]
