"""`drawaudio dataset verify` and `publish`: damage is named, what is published has no sound, and both can be interrupted."""

import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from drawaudio_model.atomic_files import file_sha256
from drawaudio_model.cli import main
from drawaudio_model.dataset import TrainingShards
from drawaudio_model.release import publish as publishing
from drawaudio_model.release.card import CARD_LINK, FACTS_FILE, write_card
from drawaudio_model.release.ledger_row import LedgerRow
from drawaudio_model.release.publish import publish
from drawaudio_model.release.verify import verify_shards
from drawaudio_model.shard import EXCLUDE_FILE, ShardReader, ShardWriter, read_manifest
from drawaudio_model.training_sample import SAMPLE_MEMBERS, decode_sample, encode_sample
from pipelines import pictures
from pipelines.sources import rendered
from tests.tiny_shards import COUNTS, tiny_sample, write_tiny_shards

ROOT = Path(__file__).parent.parent
LEDGER = [
    LedgerRow("x_000000", "demo", "x", "dropped", stage="raw_clips", reason="private", message="Private video"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with training shards and the link to their card, as the pipeline leaves it."""
    root = tmp_path_factory.mktemp("built")
    shards = root / "data" / "training_shards"
    manifests = write_tiny_shards(shards)
    levels = {"Loudness": 0.1, "clip01_000001: a bird sings": 0.2}
    shown = {text: pictures.curves({"clip": [level] * 100}) for text, level in levels.items()}
    write_card(root / "cards", "tiny", shards, manifests, rendered.ABOUT, ledger=LEDGER, pictures=shown)
    (root / "data" / CARD_LINK).symlink_to(root / "cards" / "tiny")
    return root / "data"


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_tiny_shards(tmp_path / "shards")
    return tmp_path / "shards"


def place(shards: Path, shard: str, key: str, member: str) -> tuple[int, int]:
    """Offset and size of a member in its tar."""
    rows = pq.read_table(shards / "index" / f"{shard}.parquet").to_pylist()
    return next((row["offset"], row["size"]) for row in rows if (row["key"], row["member"]) == (key, member))


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def test_whole_shards_have_no_damage(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = verify_shards(shards)
    assert (found.shards, found.clips, found.damages) == (3, 10, [])
    assert main(["dataset", "verify", str(shards)]) == 0
    assert "3 shards, 10 clips, all as their manifests say" in capsys.readouterr().out


@pytest.mark.parametrize("member", SAMPLE_MEMBERS)
def test_one_changed_byte_is_named_by_shard_clip_and_member(shards: Path, member: str) -> None:
    offset, size = place(shards, "train-000001", "clip11_000001", member)
    tar = shards / "train-000001.tar"
    byte = tar.read_bytes()[offset + size - 1]
    overwrite(tar, offset + size - 1, bytes([byte ^ 1]))
    (damage,) = verify_shards(shards).damages
    assert (damage.shard, damage.key) == ("train-000001", "clip11_000001")
    assert f"clip11_000001.{member} is damaged" in damage.message


def test_the_command_names_every_damage_and_ends_with_an_error(
    shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for shard, key in (("train-000000", "clip00_000000"), ("test-000000", "clip21_000001")):
        offset, _ = place(shards, shard, key, "latent.npy")
        overwrite(shards / f"{shard}.tar", offset + 200, b"????")
    assert main(["dataset", "verify", str(shards)]) == 2
    error = capsys.readouterr().err
    assert "train-000000, clip clip00_000000: clip00_000000.latent.npy is damaged" in error
    assert "test-000000, clip clip21_000001: clip21_000001.latent.npy is damaged" in error
    assert "2 damages in 3 shards" in error


def test_a_tar_that_ends_early_names_the_clips_that_are_gone(shards: Path) -> None:
    offset, _ = place(shards, "train-000000", "clip03_000003", "flac")
    os.truncate(shards / "train-000000.tar", offset + 10)
    damages = verify_shards(shards).damages
    assert [(damage.shard, damage.key) for damage in damages] == [
        ("train-000000", "clip03_000003"),
        ("train-000000", "clip04_000004"),
    ]
    assert "the tar ends inside clip03_000003.flac" in damages[0].message


def damaged_header(shards: Path) -> None:
    offset, _ = place(shards, "test-000000", "clip20_000000", "txt")
    overwrite(shards / "test-000000.tar", offset - 512, b"other.txt\0")


def damaged_padding(shards: Path) -> None:
    overwrite(shards / "test-000000.tar", (shards / "test-000000.tar").stat().st_size - 1, b"x")


def damaged_manifest(shards: Path) -> None:
    (shards / "manifests" / "test-000000.json").write_text('{"shard": "test-0')


def wrong_count(shards: Path) -> None:
    path = shards / "manifests" / "test-000000.json"
    path.write_text(path.read_text().replace('"count": 2', '"count": 3'))


def other_schema(shards: Path) -> None:
    path = shards / "manifests" / "test-000000.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 9'))


def lost_tar(shards: Path) -> None:
    (shards / "test-000000.tar").unlink()


def lost_index(shards: Path) -> None:
    (shards / "index" / "test-000000.parquet").unlink()


def lost_manifest(shards: Path) -> None:
    (shards / "manifests" / "test-000000.json").unlink()


def key_in_two_shards(shards: Path) -> None:
    with ShardWriter(shards, "test-000001", inputs={}) as writer:
        sample = tiny_sample("clip20_000000", "test", 0, np.random.default_rng(0))
        writer.add(sample.key, encode_sample(sample))
        writer.commit()


def other_members(shards: Path) -> None:
    with ShardWriter(shards, "test-000001", inputs={}) as writer:
        sample = tiny_sample("clip30_000000", "test", 0, np.random.default_rng(0))
        writer.add(sample.key, {name: content for name, content in encode_sample(sample).items() if name != "flac"})
        writer.commit()


def another_split(shards: Path) -> None:
    with ShardWriter(shards, "test-000001", inputs={}) as writer:
        sample = tiny_sample("clip30_000000", "train", 0, np.random.default_rng(0))
        writer.add(sample.key, encode_sample(sample))
        writer.commit()


def not_a_sample(shards: Path) -> None:
    with ShardWriter(shards, "test-000001", inputs={}) as writer:
        sample = tiny_sample("clip30_000000", "test", 0, np.random.default_rng(0))
        members = dict(encode_sample(sample))
        members["latent.npy"] = b"no array"
        writer.add(sample.key, members)
        writer.commit()


def no_sound(shards: Path) -> None:
    with ShardWriter(shards, "test-000001", inputs={}) as writer:
        sample = tiny_sample("clip30_000000", "test", 0, np.random.default_rng(0))
        writer.add(sample.key, {**encode_sample(sample), "flac": b"no sound"})
        writer.commit()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (damaged_header, r"test-000000, clip clip20_000000: .*header"),
        (damaged_padding, r"test-000000: its tar has another sha256"),
        (damaged_manifest, r"test-000000: its manifest cannot be read"),
        (wrong_count, r"test-000000: its index has 2 clips, its manifest says 3"),
        (other_schema, r"test-000000: its schema is 9, expected 1"),
        (lost_tar, r"test-000000: its tar is missing"),
        (lost_index, r"test-000000: its index is missing"),
        (lost_manifest, r"test-000000: its tar has no manifest"),
        (key_in_two_shards, r"test-000001, clip clip20_000000: the key is in test-000000 as well"),
        (other_members, r"test-000001, clip clip30_000000: its members are json, txt, boxes.json"),
        (another_split, r"test-000001, clip clip30_000000: its json says .*'train'"),
        (not_a_sample, r"test-000001, clip clip30_000000: it does not decode"),
        (no_sound, r"test-000001, clip clip30_000000: its flac does not decode"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_damage_is_named(shards: Path, damage, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    import re

    damage(shards)
    assert main(["dataset", "verify", str(shards)]) == 2
    assert re.search(named, capsys.readouterr().err)


@pytest.mark.parametrize(
    "damage",
    [damaged_header, damaged_padding, damaged_manifest, wrong_count, other_schema, lost_tar, lost_index, lost_manifest],
)
def test_what_shall_be_made_again_is_made_again(shards: Path, damage) -> None:
    """The next run has equal inputs: only the damage can tell it that there is something to do."""
    whole = {path: path.read_bytes() for path in shards.rglob("*.*") if path.is_file()}
    damage(shards)
    assert verify_shards(shards).damages
    write_tiny_shards(shards)
    assert verify_shards(shards).damages == []
    assert {path: path.read_bytes() for path in shards.rglob("*.*") if path.is_file()} == whole


def test_the_published_variant_has_no_sound_and_a_card_of_its_own(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "published"
    assert main(["dataset", "publish", str(built / "training_shards"), str(target)]) == 0
    assert "3 shards, 10 clips" in capsys.readouterr().out
    assert main(["dataset", "verify", str(target)]) == 0
    for shard in COUNTS:
        source, reader = ShardReader(built / "training_shards", shard), ShardReader(target / "data", shard)
        assert reader.keys == source.keys
        for key in reader.keys:
            assert reader.members(key) == [name for name in SAMPLE_MEMBERS if name != "flac"]
            assert reader[key] == {name: content for name, content in source[key].items() if name != "flac"}
            assert decode_sample(key, reader[key]).flac is None
    sums = dict(line.split()[::-1] for line in (target / "SHA256SUMS").read_text().splitlines())
    assert sums == {f"data/{shard}.tar": file_sha256(target / "data" / f"{shard}.tar") for shard in COUNTS}
    for row in json.loads((target / "shards.json").read_text())["shardlist"]:
        content = (target / row["url"]).read_bytes()
        assert (row["md5sum"], row["filesize"]) == (hashlib.md5(content).hexdigest(), len(content))
    _, head, body = (target / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(head)["configs"][0]["data_files"][0]["path"] == "data/train-*.tar"
    assert "features only" in body and "cast_column" not in body
    assert "cast_column" in (built / CARD_LINK / "README.md").read_text()
    assert "| `flac` |" not in body and "| raw_clips: private | 1 |" in body
    assert {path.name for path in target.iterdir()} >= {"NOTICE", "exclude.txt", "croissant.json", "index", "pictures"}
    assert not (target / "data").is_symlink()
    assert len(TrainingShards(target / "data")) == 8


def test_published_shards_open_with_webdataset_datasets_and_croissant(built: Path, tmp_path: Path) -> None:
    import datasets
    import webdataset

    target = tmp_path / "published"
    publish(built / "training_shards", str(target))
    urls = [str(path) for path in sorted((target / "data").glob("train-*.tar"))]
    rows = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert len(rows) == 8 and "flac" not in rows[0]
    for streaming in (True, False):
        found = datasets.load_dataset(
            str(target), split="train", streaming=streaming, cache_dir=str(tmp_path / "cache")
        )
        assert sorted(row["__key__"] for row in found) == sorted(row["__key__"] for row in rows)
    program = f"""
import mlcroissant
dataset = mlcroissant.Dataset({str(target / "croissant.json")!r})
assert not list(dataset.metadata.issues.errors), dataset.metadata.issues.report()
print(len(list(dataset.records("clips"))), len(list(dataset.records("captions"))))
"""
    environment = os.environ | {"CROISSANT_CACHE": str(tmp_path / "croissant")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["10", "10"]
    command = [str(Path(sys.executable).parent / "mlcroissant"), "validate", "--jsonld", str(target / "croissant.json")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0 and "Done." in done.stderr, done.stderr


def test_publishing_again_writes_nothing_and_an_interrupted_one_continues(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, other = tmp_path / "published", tmp_path / "other"
    publish(built / "training_shards", str(target))
    before = {path: path.stat().st_mtime_ns for path in (target / "data").rglob("*.tar")}
    publish(built / "training_shards", str(target))
    assert {path: path.stat().st_mtime_ns for path in (target / "data").rglob("*.tar")} == before

    added: list[str] = []
    add = ShardWriter.add

    def stopping(self: ShardWriter, key: str, members: dict[str, bytes]) -> None:
        if len(added) == 4:
            raise KeyboardInterrupt
        added.append(key)
        add(self, key, members)

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "add", stopping)
        with pytest.raises(KeyboardInterrupt):
            publish(built / "training_shards", str(other))
    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "add", lambda self, key, members: added.append(key) or add(self, key, members))
        publish(built / "training_shards", str(other))
    assert len(added) == len(set(added)) == 10
    assert {path.name: file_sha256(path) for path in (other / "data").glob("*.tar")} == {
        path.name: file_sha256(path) for path in (target / "data").glob("*.tar")
    }


def test_what_was_taken_back_is_not_published(built: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(built, root, symlinks=True)
    shards = root / "training_shards"
    publish(shards, str(tmp_path / "out"))
    (shards / EXCLUDE_FILE).write_text("clip01\n")
    assert publish(shards, str(tmp_path / "out")).clips == 9
    assert [path.name for path in (tmp_path / "out" / "pictures").iterdir()] == ["00.png"]
    assert "a bird sings" not in (tmp_path / "out" / "card.json").read_text()
    manifest = read_manifest(tmp_path / "out" / "data", "train-000000")
    assert manifest is not None
    assert [(row.key, row.reason) for row in manifest.rejected] == [("clip01_000001", "excluded")]
    assert b"clip01" not in (tmp_path / "out" / "data" / "train-000000.tar").read_bytes()
    assert (tmp_path / "out" / EXCLUDE_FILE).read_text() == "clip01\n"
    keys = pq.read_table(tmp_path / "out" / "index" / "clips.parquet")["key"].to_pylist()
    assert len(keys) == 9 and "clip01_000001" not in keys
    # The card beside the source leaves it out of its index as well.
    manifests = [read_manifest(shards, shard) for shard in COUNTS]
    statistics = write_card(tmp_path / "cards", "tiny", shards, manifests, rendered.ABOUT)
    assert statistics.clips == 9 and statistics.clips_per_split["train"] == 7


def test_a_damaged_source_and_a_wrong_destination_are_refused(shards: Path, tmp_path: Path) -> None:
    assert not publish(shards, str(tmp_path / "bare")).has_card
    with pytest.raises(ValueError, match="where the shards lie already"):
        publish(shards, str(shards))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letters.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        publish(shards, str(tmp_path / "full"))
    with pytest.raises(ValueError, match="expected hf://datasets/<owner>/<name>"):
        publish(shards, "hf://datasets/nobody")
    offset, _ = place(shards, "train-000000", "clip00_000000", "latent.npy")
    overwrite(shards / "train-000000.tar", offset + 200, b"????")
    with pytest.raises(ValueError, match=r"train-000000\.tar has another sha256 .*drawaudio dataset verify"):
        publish(shards, str(tmp_path / "damaged"))


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the hub's API that an upload talks to; files that are there already are answered as such."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]
    blobs: dict[str, bytes]
    sent: list[str]
    private = True

    def do_GET(self) -> None:
        rows = [{"rfilename": name} for name in self.files]
        self.answer({"id": "me/tiny", "sha": "0" * 40, "siblings": rows, "private": self.private, "name": "me"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/repos/create"):
            self.answer({"url": "me/tiny", "name": "me/tiny", "id": "me/tiny"})
        elif "/preupload/" in self.path:
            large = (".tar", ".parquet", ".png")
            rows = [
                {"path": row["path"], "uploadMode": "lfs" if row["path"].endswith(large) else "regular"}
                | {"shouldIgnore": False, "oid": None}
                for row in json.loads(body)["files"]
            ]
            self.answer({"files": rows, "commitOid": "0" * 40})
        elif self.path.endswith("/info/lfs/objects/batch"):
            self.answer({"transfer": "basic", "objects": [self.lfs(row) for row in json.loads(body)["objects"]]})
        elif "/commit/" in self.path:
            self.commit(body)
            url = f"http://{self.headers['Host']}/datasets/me/tiny/commit/{'1' * 40}"
            self.answer({"commitUrl": url, "commitOid": "1" * 40, "hookOutput": ""})
        else:
            self.answer({})

    def lfs(self, row: dict) -> dict:
        if row["oid"] in self.blobs:
            return row
        return row | {"actions": {"upload": {"href": f"http://{self.headers['Host']}/blob/{row['oid']}"}}}

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        oid = self.path.rpartition("/")[2]
        assert hashlib.sha256(content).hexdigest() == oid
        self.blobs[oid] = content
        self.sent.append(oid)
        self.answer({})

    def commit(self, body: bytes) -> None:
        import base64

        for line in body.splitlines():
            row = json.loads(line)
            if row["key"] == "file":
                self.files[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
            elif row["key"] == "lfsFile":
                self.files[row["value"]["path"]] = self.blobs[row["value"]["oid"]]

    def answer(self, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


def test_the_hub_gets_the_variant_without_sound_and_each_file_once(built: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(built, root, symlinks=True)
    handler = type("OwnHub", (Hub,), {"files": {}, "blobs": {}, "sent": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}",
        "HF_TOKEN": "hf_test",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
    }
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-m", "drawaudio_model.cli", "dataset", "publish"]
    command += [str(root / "training_shards"), f"{publishing.HUB}me/tiny"]
    try:
        for _ in range(2):
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
            )
            assert done.returncode == 0, done.stderr
            # Left by writers that were killed, here and on another machine.
            for leftover in (
                ".NOTICE.abcdef-0.writing/NOTICE",
                "data/test-000009.tar.partial",
                ".staging/a/samples.bin",
            ):
                (root / "published" / leftover).parent.mkdir(parents=True, exist_ok=True)
                (root / "published" / leftover).write_bytes(b"half")
    finally:
        server.shutdown()
        server.server_close()
    assert {"README.md", "NOTICE", "data/manifests/train-000000.json"} <= set(handler.files)
    for shard in COUNTS:
        content = handler.files[f"data/{shard}.tar"]
        assert content == (root / "published" / "data" / f"{shard}.tar").read_bytes()
        assert not [name for name in tarfile.open(fileobj=io.BytesIO(content)).getnames() if name.endswith(".flac")]
    unfinished = (".staging", ".writing", ".partial")
    assert not [name for name in handler.files if any(word in name for word in unfinished)]
    assert len(handler.sent) == len(set(handler.sent))


def test_a_card_that_names_a_picture_outside_its_folder_is_not_published(built: Path, tmp_path: Path) -> None:
    """The card is as its maker wrote it; what it names is copied to where everybody can read it."""
    shutil.copytree(built.parent, tmp_path / "all", symlinks=True)
    (tmp_path / "all" / "secret.png").write_bytes(b"x")
    (tmp_path / "all" / "data" / CARD_LINK).unlink()
    (tmp_path / "all" / "data" / CARD_LINK).symlink_to(tmp_path / "all" / "cards" / "tiny")
    path = tmp_path / "all" / "cards" / "tiny" / FACTS_FILE
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"pictures": {"../../secret.png": "Loudness"}}))
    with pytest.raises(ValueError, match=r"names the picture '\.\./\.\./secret\.png' outside its folder"):
        publish(tmp_path / "all" / "data" / "training_shards", str(tmp_path / "published"))


def test_a_public_dataset_of_the_hub_is_filled_only_when_that_was_said(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Latents decode to nearly the recordings: nobody shall publish them by mistake."""

    class Api:
        def create_repo(self, *_: object, **given: object) -> None:
            assert given["private"] is True

        def dataset_info(self, name: str) -> object:
            return SimpleNamespace(private=name != "me/open")

        def upload_folder(self, *, repo_id: str, **_: object) -> None:
            sent.append(repo_id)

    sent: list[str] = []
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    with pytest.raises(ValueError, match=r"me/open is there already and everybody can read it, .* add --public"):
        publishing.upload(tmp_path, "me/open")
    assert sent == []
    publishing.upload(tmp_path, "me/open", public=True)
    publishing.upload(tmp_path, "me/closed")
    assert sent == ["me/open", "me/closed"]
    publish(built / "training_shards", str(tmp_path / "published"))
    body = (tmp_path / "published" / "README.md").read_text()
    assert "the model's autoencoder and vocoder make of them what is close to the recording" in body
