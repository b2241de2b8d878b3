"""Sources of clips: one object each, and one of another package without a line of ours."""

import ast
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from drawaudio_model.shard import ShardReader
from pipelines.assets.clip_list import checked_rows, clip_list
from pipelines.assets.raw_clips import raw_clips
from pipelines.clip_rows import ClipRow, read_clip_list
from pipelines.partitions import shard_of
from pipelines.profiles import PROFILES, current_profile, data_root
from pipelines.raw_ledger import read_raw_ledger
from pipelines.resources import DataRoot
from pipelines.sources.registry import SOURCES, current_source, source_of

ROOT = Path(__file__).parent.parent
OUTSIDE = '''
from dataclasses import dataclass

from drawaudio_model.release.card import About
from drawaudio_model.shard import Rejection
from pipelines.clip_rows import clip_row
from pipelines.raw_media import members_of_media
from pipelines.sources.source import LeftOut, Listing, fill_by_recipe, nothing_to_plan, raw_recipe


@dataclass(frozen=True)
class Letter:
    source_id: str
    start_s: int = 0
    label: str = ""
    split: str = "train"

    @property
    def key(self):
        return f"{self.source_id}_{self.start_s:06d}"

    @property
    def caption(self):
        return f"the letter {self.source_id}"


class Letters:
    """A clip for each letter; of b there are no media, and c is left out."""

    has_truth, takedowns, download_pool, evaluated_splits = False, None, None, ("test",)

    def list_clips(self, profile, taken_back=frozenset()):
        rows = [clip_row(profile, Letter(name), source="letters") for name in "ba"]
        return Listing(rows, left_out=[LeftOut("alphabet, line 3", "c_000000", "bad_row", "no c today")])

    def fill_shards(self, context, root, profile):
        fill_by_recipe(context, root, raw_recipe(root, work, {"letters": 1}))

    def about(self, profile):
        return About("Letters", "Letters.", "other", "NOTICE", "Written.", ())

    def plan(self, profile):
        raise nothing_to_plan(profile)


def work(rows):
    for row in rows:
        if row.source_id == "b":
            yield row.key, Rejection(row.key, "gone", f"{row.key} is gone")
        else:
            yield row.key, members_of_media(row.caption.encode())
'''


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of somebody else's on the path, named by DRAWAUDIO_SOURCE; returns the data root."""
    (tmp_path / "outside_letters.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DRAWAUDIO_PROFILE", "tiny")
    monkeypatch.setenv("DRAWAUDIO_SOURCE", "outside_letters:Letters")
    return tmp_path / "data"


def test_a_source_of_another_package_fills_the_shards(outside: Path) -> None:
    resources = {"data_root": DataRoot(path=str(outside))}
    listed = dg.materialize([clip_list], resources=resources)
    assert listed.success
    rows = read_clip_list(outside)
    assert list(rows) == ["a_000000", "b_000000"] and rows["a_000000"].source == "letters"
    assert '"alphabet, line 3",c_000000,bad_row,no c today' in (outside / "clip_list_left_out.csv").read_text()
    for shard in sorted({row.shard for row in rows.values()}):
        assert dg.materialize([raw_clips], partition_key=shard, resources=resources).success
    shard = rows["a_000000"].shard
    assert ShardReader(outside / "raw_clips", shard).member("a_000000", "mp4") == b"the letter a"
    ends = {
        row.key: (row.status, row.reason)
        for name in PROFILES["tiny"].shard_names
        for row in read_raw_ledger(outside, name)
    }
    assert ends == {"a_000000": ("kept", ""), "b_000000": ("failed", "gone")}


def test_the_definitions_load_with_it(outside: Path) -> None:
    """As a Dagster process does: nothing but the environment says so."""
    code = "from pipelines import defs; from pipelines.sources.registry import current_source as c; print(type(c()).__name__)"
    path = [str(ROOT), str(outside.parent)]
    command = [sys.executable, "-W", "ignore", "-c", f"import sys; sys.path[:0] = {path!r}; {code}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("Letters\n", 0), done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dmeo", "'dmeo', expected one of demo, folder, youtube or package.module:factory"),
        ("no_such_package:thing", "cannot be imported: No module named 'no_such_package'"),
        ("pipelines.profiles:nothing", "cannot be imported: module 'pipelines.profiles' has no attribute 'nothing'"),
        ("pipelines.profiles:BACKBONES", "is no function or class"),
    ],
)
def test_a_name_that_is_no_source_is_refused(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAWAUDIO_SOURCE", name)
    with pytest.raises(ValueError, match=f"DRAWAUDIO_SOURCE is .*{message}"):
        current_source()


def test_every_profile_has_a_source_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRAWAUDIO_SOURCE", raising=False)
    assert {profile.source for profile in PROFILES.values()} == set(SOURCES)
    assert source_of(current_profile()) is SOURCES[current_profile().source]


def test_small_backbones_need_rendered_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAWAUDIO_PROFILE", "audiocaps")
    monkeypatch.setenv("DRAWAUDIO_RUN", "demo")
    monkeypatch.setenv("DRAWAUDIO_BACKBONES", "trained")
    with pytest.raises(ValueError, match="small backbones learn from rendered truth that profile audiocaps has not"):
        current_profile()


def test_two_clips_of_one_key_are_refused() -> None:
    row = ClipRow("a_000000", "letters", "a", 0, "", "train", "a", media="", shard="train-000000")
    with pytest.raises(ValueError, match="1 keys stand twice in the clip list, the first is a_000000"):
        checked_rows([row, row])


def test_nothing_outside_the_registry_asks_which_source_it_is() -> None:
    """What an asset wants to know of a source it asks the source."""
    names = {f'"{name}"' for name in SOURCES} | {f"'{name}'" for name in SOURCES}
    found = []
    for path in (ROOT / "pipelines").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Compare)
                and "source" in ast.unparse(node)
                and any(n in ast.unparse(node) for n in names)
            ):
                found.append(f"{path.name}:{node.lineno}")
    assert found == []


def test_the_shards_are_as_many_as_somebody_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of a hundred thousand clips is no single shard a split."""
    monkeypatch.setenv("DRAWAUDIO_PROFILE", "folder")
    monkeypatch.delenv("DRAWAUDIO_SHARDS", raising=False)
    assert current_profile().shard_names == ["train-000000", "val-000000", "test-000000"]
    monkeypatch.setenv("DRAWAUDIO_SHARDS", "20, 2,3")
    profile = current_profile()
    assert profile.shards == (20, 2, 3) and profile.shard_range == "train-000000...test-000002"
    assert {shard_of(profile, "train", f"video{number}") for number in range(500)} == set(profile.shard_names[:20])
    for wrong in ("20", "20,2", "20,2,0", "a,b,c", "1,1,1,1", "1,,1,1", "-1,1,1"):
        monkeypatch.setenv("DRAWAUDIO_SHARDS", wrong)
        with pytest.raises(
            ValueError, match=r"DRAWAUDIO_SHARDS is .*, expected the numbers of train, val and test shards"
        ):
            current_profile()


@pytest.mark.parametrize("address", ["s3://bucket/data", "gs://bucket", "file:///disk/data"])
def test_an_address_is_no_data_root(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would become a folder of its name, and each machine would have one."""
    monkeypatch.setenv("DRAWAUDIO_DATA", address)
    with pytest.raises(ValueError, match=r"DRAWAUDIO_DATA is .*, expected a folder; mount what the address names"):
        data_root()
    monkeypatch.setenv("DRAWAUDIO_DATA", "/disk/data")
    assert str(data_root()) == "/disk/data"
