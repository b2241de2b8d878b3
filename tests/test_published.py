"""Published checkpoints: taken from a local folder or fetched, and never used unchecked."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines import published
from pipelines.published import AUDIOLDM2, CLIP, DIFF_FOLEY, Published, by_id, fetch, recorded_sha256, yolo_world

ROOT = Path(__file__).parent.parent
COMMIT = "c0ffee" * 6 + "beef"
CONTENT = {"config.json": b'{"model_type": "clap"}', "model.safetensors": b"weights" * 999, "README.md": b"# card"}
MODEL = Published("owner/name", COMMIT, files=("config.json", "model.safetensors"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fill(models: Path, model: Published = MODEL) -> Path:
    for name in model.files:
        path = models / model.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENT.get(name, name.encode()))
    return models / model.name


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_a_filled_folder_is_used_and_its_checksums_are_recorded(tmp_path):
    folder = fill(tmp_path)
    assert fetch(MODEL, tmp_path) == folder
    expected = {name: sha256(CONTENT[name]) for name in MODEL.files}
    assert recorded_sha256(MODEL, tmp_path) == expected
    assert {
        name: row["sha256"] for name, row in json.loads((folder / "checksums.json").read_text()).items()
    } == expected
    assert fetch(MODEL, tmp_path, recheck=True) == folder


@pytest.mark.parametrize("recheck", [False, True])
def test_a_file_that_changed_is_refused(tmp_path, recheck):
    folder = fill(tmp_path)
    fetch(MODEL, tmp_path)
    path = folder / "model.safetensors"
    before = path.stat()
    path.write_bytes(b"Weights" * 999)
    if recheck:  # same size, same time: only reading it tells
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(
        ValueError, match=rf"model\.safetensors has sha256 {sha256(b'Weights' * 999)}, expected .*remove it"
    ):
        fetch(MODEL, tmp_path, recheck=recheck)


def test_a_known_checksum_is_held_from_the_first_time(tmp_path):
    fill(tmp_path)
    wrong = Published(MODEL.name, COMMIT, files=MODEL.files, sha256={"config.json": "0" * 64})
    with pytest.raises(ValueError, match=f"expected {'0' * 64} .owner/name at c0ffee"):
        fetch(wrong, tmp_path)


def test_offline_with_nothing_local_one_sentence_says_which_folder_to_fill(tmp_path):
    with pytest.raises(ValueError) as caught:
        fetch(AUDIOLDM2, tmp_path)
    text = str(caught.value)
    assert f"fill {tmp_path / 'cvssp' / 'audioldm2'} with vae/config.json" in text
    assert AUDIOLDM2.revision in text and "HF_HUB_OFFLINE" in text and "\n" not in text


def test_a_model_without_a_list_of_files_needs_config_and_weights(tmp_path):
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="with weights of owner/name"):
        fetch(by_id("owner/name"), tmp_path)
    (folder / "pytorch_model.bin").write_bytes(b"x")
    fetch(by_id("owner/name"), tmp_path)
    assert set(recorded_sha256(by_id("owner/name"), tmp_path)) == {"config.json", "pytorch_model.bin"}


@pytest.mark.parametrize("name", ["", "name", "../../etc", "owner/..", "a/b/c", "./x", "owner/", "a\\b/.."])
def test_ids_cannot_leave_the_folder_of_models(name):
    with pytest.raises(ValueError, match="expected <owner>/<name>"):
        by_id(name)


def test_what_is_pinned_is_pinned_completely():
    for model in (AUDIOLDM2, DIFF_FOLEY, CLIP):
        assert len(model.revision) == 40 and int(model.revision, 16)
        assert all(len(value) == 64 and int(value, 16) for value in model.sha256.values())
        assert set(model.sha256) <= set(model.files)
    # Without a known sha256, trusted as first seen: AudioLDM2, CLIP's config, and YOLO-World.
    unknown = {name for model in (DIFF_FOLEY, CLIP) for name in model.files if name not in model.sha256}
    assert unknown == {"open_clip_config.json"} and not AUDIOLDM2.sha256 and not yolo_world("s").sha256
    assert by_id("a/b@deadbeef").revision == "deadbeef"
    assert yolo_world("m").files == ("yolov8m-worldv2.pt",)


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers like the hub for one repository; `damaged` changes what arrives, not what is listed."""

    damaged = False

    def do_GET(self):
        if self.path.startswith("/api/models/owner/name"):
            large = {"model.safetensors"}
            rows = [
                {"rfilename": name, "size": len(content)}
                | (
                    {"lfs": {"sha256": sha256(content), "size": len(content), "pointerSize": 130}}
                    if name in large
                    else {}
                )
                for name, content in CONTENT.items()
            ]
            self.answer(json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": rows}).encode(), "application/json")
            return
        name = self.path.rpartition("/")[2].partition("?")[0]
        if name not in CONTENT or COMMIT not in self.path:
            self.send_error(404)
            return
        content = CONTENT[name]
        if self.damaged and name == "model.safetensors":
            content = content[:-1] + b"!"
        self.answer(content, "application/octet-stream")

    do_HEAD = do_GET

    def answer(self, content, kind):
        self.send_response(200)
        for header, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(content))),
            ("ETag", f'"{sha256(content)}"'),
            ("X-Repo-Commit", COMMIT),
            ("Accept-Ranges", "bytes"),
        ):
            self.send_header(header, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    handler = type("OwnHub", (Hub,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def fetch_in_process(models: Path, endpoint: str, model: str) -> subprocess.CompletedProcess[str]:
    """`fetch` in a fresh process: the hub's address is read when huggingface_hub is imported."""
    code = f"""
from pathlib import Path
from pipelines.published import Published, by_id, fetch
try:
    fetch({model}, Path({str(models)!r}))
except ValueError as error:
    print(error)
"""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(models / ".home")}
    environment.pop("HF_HUB_OFFLINE", None)
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_hub_is_asked_for_the_pinned_revision_only(tmp_path, hub):
    _, address = hub
    done = fetch_in_process(tmp_path, address, f"by_id('owner/name@{COMMIT}')")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    folder = tmp_path / "owner" / "name"
    assert (folder / "model.safetensors").read_bytes() == CONTENT["model.safetensors"]
    assert not (folder / "README.md").exists()
    assert recorded_sha256(MODEL, tmp_path)["model.safetensors"] == sha256(CONTENT["model.safetensors"])
    # Once there, it is there without the hub.
    assert fetch(MODEL, tmp_path, recheck=True) == folder


def test_a_damaged_transfer_is_told_by_the_hub_s_own_checksum(tmp_path, hub):
    handler, address = hub
    handler.damaged = True
    done = fetch_in_process(tmp_path, address, f"by_id('owner/name@{COMMIT}')")
    assert "model.safetensors of owner/name at c0ffee" in done.stdout and "arrived damaged" in done.stdout, done.stderr
    assert not (tmp_path / "owner" / "name" / "model.safetensors").exists()


def test_a_file_of_a_release_is_fetched_by_its_address(tmp_path, hub, monkeypatch):
    _, address = hub
    monkeypatch.delenv("HF_HUB_OFFLINE")
    model = Published("maker/assets", "v1", files=("model.safetensors",), url=f"{address}/{COMMIT}")
    folder = fetch(model, tmp_path)
    assert (folder / "model.safetensors").read_bytes() == CONTENT["model.safetensors"]
    gone = Published("maker/other", "v1", files=("nowhere.pt",), url=f"{address}/{COMMIT}")
    with pytest.raises(
        ValueError, match=rf"cannot be fetched .HTTP Error 404.*fill {tmp_path}/maker/other with nowhere\.pt"
    ):
        fetch(gone, tmp_path)
    assert published.RECORD not in {path.name for path in (tmp_path / "maker" / "other").glob("*")}
