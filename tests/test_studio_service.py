"""`drawaudio serve`: what it documents holds, its sounds are those of the commands, and nobody else is let in."""

import http.client
import importlib.util
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from drawaudio_model.cli import main
from drawaudio_model.defaults import DRAFT_STEPS
from drawaudio_model.studio.guard import MOST_BODY_BYTES, MOST_UPLOAD_BYTES
from drawaudio_model.studio.openapi import INSTRUCTIONS, PATHS, check, document
from tests.readme_commands import blocks
from tests.running_program import ROOT
from tests.running_service import RunningService, service
from tests.studio_page import wait, write_clip

pytest_plugins = ["tests.studio_browser"]
pytestmark = pytest.mark.slow
DETECTOR = False
CURVE = [[0, 0.05], [1.5, 0.2], [3, 0.0]]


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[RunningService]:
    with service(home, "--model", "model", "--folder", "kept") as found:
        yield found


@pytest.fixture(scope="module")
def video(running: RunningService, home: Path) -> str:
    return running.upload(home / "clip.mp4")


@pytest.fixture(scope="module")
def served(running: RunningService) -> dict[str, Any]:
    return running.json("GET", "/api/openapi.json")


def conforms(served: dict[str, Any], name: str, value: Any) -> None:
    """The value is what the document says; sounds and jobs refer to each other in it."""
    Draft202012Validator(served | {"$ref": f"#/components/schemas/{name}"}).validate(value)


# The document


def test_the_document_is_openapi_and_every_route_of_it_is_there(
    running: RunningService, served: dict[str, Any]
) -> None:
    validate(served)
    assert served["servers"] == [{"url": running.address}]
    for path, rows in served["paths"].items():
        for method in {*rows} if path != "/api/events" else ():  # a stream has no end
            status, _, content = running.ask(method.upper(), path.replace("{id}", "00000000"))
            # They say that there is nothing of this name, or what they miss.
            assert status not in (405, 500, 501), (method, path, status, content)
            assert status != 404 or b"Not Found" not in content, (method, path)


def test_the_events_of_a_job_are_told_to_its_end(running: RunningService, served: dict[str, Any], video: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    headers = {"Authorization": f"Bearer {running.token}", "Host": f"127.0.0.1:{running.port}"}
    connection.request("GET", "/api/events", headers=headers)
    stream = connection.getresponse()
    job = running.json("POST", "/api/jobs", {"video": video, "text": "a bell rings", "steps": 3})
    told = []
    while not told or told[-1]["state"] not in ("done", "failed"):
        line = stream.readline()
        if line.startswith(b"data: ") and (event := json.loads(line[6:]))["id"] == job["id"]:
            told.append(event)
    connection.close()
    conforms(served, "Job", told[-1])
    steps = [(event["step"], event["total"]) for event in told if event.get("stage") == "sampling"]
    assert steps == [(0, 3), (1, 3), (2, 3)]
    assert told[0]["state"] == "waiting" and told[-1]["state"] == "done"


def test_the_state_names_the_model_and_its_licence(running: RunningService, served: dict[str, Any]) -> None:
    state = running.json("GET", "/api/state")
    conforms(served, "State", state)
    assert state["model"] == "model" and state["content_ends_at_hz"] == 8000


# Sounds


def test_a_sound_is_the_one_that_generate_makes(
    running: RunningService, served: dict[str, Any], home: Path, video: str
) -> None:
    asked = {"video": video, "text": "a bell rings", "negative_text": "rain", "mask": [0.1, 0.2, 0.6, 0.7]}
    asked |= {"mask_invert": True, "loudness": CURVE, "seed": 7, "steps": 2, "sample_rate": 48000, "bits": 24}
    job = running.finished(asked | {"timecode": "01:00:00:00"})
    assert job["state"] == "done", job
    conforms(served, "Job", job)
    status, headers, content = running.ask("GET", f"/api/sounds/{job['sound']['id']}")
    assert (status, headers["content-type"]) == (200, "audio/wav")
    words = ["generate", str(home / "clip.mp4"), "--text", "a bell rings", "--negative-text", "rain", "--mask-invert"]
    words += ["--mask", "0.1,0.2,0.6,0.7", "--loudness", "0:0.05,1.5:0.2,3:0", "--seed", "7", "--steps", "2"]
    words += ["--sample-rate", "48000", "--bits", "24", "--timecode", "01:00:00:00", "--model", str(home / "model")]
    assert main([*words, "-o", str(home / "typed.wav")]) == 0
    assert content == (home / "typed.wav").read_bytes()
    assert job["sound"]["seed"] == 7 and -1 <= job["sound"]["curve_score"] <= 1
    assert any("ends at 8 kHz" in notice for notice in job["sound"]["notices"])


def test_masks_curves_and_sounds_are_files_too(running: RunningService, home: Path, video: str) -> None:
    picture = np.zeros((120, 160), np.uint8)
    picture[30:90, 20:100] = 255
    np.save(home / "mask.npy", picture)
    (home / "curve.csv").write_text("time_seconds,level\n0,0.05\n1.5,0.2\n3,0\n")
    sound = 0.2 * np.sin(np.arange(48000) / 5).astype(np.float32)
    soundfile.write(home / "start.wav", sound, 16000)
    files = {name: running.upload(home / name) for name in ("mask.npy", "curve.csv", "start.wav")}
    asked = {"video": video, "mask": {"file": files["mask.npy"]}, "loudness": {"file": files["curve.csv"]}}
    job = running.finished(asked | {"start_from": files["start.wav"], "strength": 0.5, "seed": 1, "steps": 4})
    assert job["state"] == "done", job
    words = [
        "generate",
        str(home / "clip.mp4"),
        "--mask",
        str(home / "mask.npy"),
        "--loudness",
        str(home / "curve.csv"),
    ]
    words += ["--start-from", str(home / "start.wav"), "--strength", "0.5", "--seed", "1", "--steps", "4"]
    assert main([*words, "--model", str(home / "model"), "-o", str(home / "typed.wav")]) == 0
    assert running.ask("GET", f"/api/sounds/{job['sound']['id']}")[2] == (home / "typed.wav").read_bytes()


def test_a_section_is_made_anew_and_nothing_else(running: RunningService, home: Path, video: str) -> None:
    first = running.finished({"video": video, "text": "a bell rings", "loudness": CURVE, "seed": 3, "steps": 2})[
        "sound"
    ]
    job = running.finished({"sound": first["id"], "section": [1.0, 2.0], "text": "rain falls", "seed": 4})
    assert job["state"] == "done", job
    before, after = (
        soundfile.read(io.BytesIO(running.ask("GET", f"/api/sounds/{name}")[2]), dtype="int16")[0]
        for name in (first["id"], job["sound"]["id"])
    )
    assert (before[:16000] == after[:16000]).all() and (before[32000:] == after[32000:]).all()
    assert (before[16000:32000] != after[16000:32000]).mean() > 0.5
    words = ["regenerate", str(home / "kept" / "sounds" / f"{first['id']}.wav"), "--section", "1", "2", "--seed", "4"]
    words += ["--text", "rain falls", "--model", str(home / "model")]
    assert main([*words, "-o", str(home / "section.wav")]) == 0
    assert (soundfile.read(home / "section.wav", dtype="int16")[0] == after).all()
    # And the section of a section.
    assert running.finished({"sound": job["sound"]["id"], "section": [0.5, 1.5], "seed": 5})["state"] == "done"


def test_a_warm_service_adds_little_to_what_the_model_takes(running: RunningService, video: str) -> None:
    asked = {"video": video, "text": "a bell rings", "steps": 2}
    running.finished(asked)
    added = []
    for seed in range(5):
        began = time.perf_counter()
        sound = running.finished(asked | {"seed": seed})["sound"]
        running.ask("GET", f"/api/sounds/{sound['id']}")
        added.append(time.perf_counter() - began - sound["model_seconds"])
    assert sorted(added)[2] < 0.3, added


def test_a_draft_has_few_steps(running: RunningService, video: str) -> None:
    assert (
        running.finished({"video": video, "text": "a bell rings", "draft": True, "seed": 1})["sound"]["steps"]
        == DRAFT_STEPS
    )


def test_the_same_content_is_kept_once_and_a_file_can_be_removed(running: RunningService, home: Path) -> None:
    write_clip(home / "other.mp4", seconds=2)
    first, second = (
        running.json("PUT", f"/api/files?name={name}.mp4", (home / "other.mp4").read_bytes()) for name in "ab"
    )
    assert first == second and len([*(home / "kept" / "files").glob(f"{first['id']}.*")]) == 1
    assert running.ask("DELETE", f"/api/files/{first['id']}")[0] == 204
    assert running.ask("DELETE", f"/api/files/{first['id']}")[0] == 404
    assert "upload it first" in running.refused("POST", "/api/jobs", {"video": first["id"], "text": "a bell"})


def test_sounds_stay_in_the_folder_for_the_next_start(running: RunningService, home: Path, video: str) -> None:
    made = running.finished({"video": video, "text": "a bell rings", "seed": 1, "steps": 1})["sound"]
    content = running.ask("GET", f"/api/sounds/{made['id']}")[2]
    secret = "a secret of thirty-two letters..".replace(" ", "-")
    with service(home, "--model", "model", "--folder", "kept", token=secret) as again:
        assert again.ask("GET", f"/api/sounds/{made['id']}")[2] == content
        assert again.finished({"sound": made["id"], "section": [0, 1]})["state"] == "done"
        assert again.ask("DELETE", f"/api/sounds/{made['id']}")[0] == 204
        assert again.ask("GET", f"/api/sounds/{made['id']}")[0] == 404


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_commands_of_the_page_make_a_sound(running: RunningService, home: Path) -> None:
    text = next(block.text for block in blocks() if "curl -sSf" in block.text)
    text = text.replace("http://127.0.0.1:8765", running.address).replace('"seed": 7', '"seed": 7, "steps": 2')
    environment = {**os.environ, "DRAWAUDIO_TOKEN": running.token}
    subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=home, env=environment, check=True)
    words = ["generate", str(home / "clip.mp4"), "--text", "a bell rings", "--loudness", "0:0.1,2:0.3", "--seed", "7"]
    assert main([*words, "--steps", "2", "--model", str(home / "model"), "-o", str(home / "typed.wav")]) == 0
    assert (home / "served.wav").read_bytes() == (home / "typed.wav").read_bytes()


# What goes wrong


def test_a_job_is_cancelled_and_the_model_stays(running: RunningService, video: str, home: Path) -> None:
    kept = {path.name for path in (home / "kept" / "sounds").iterdir()}
    job = running.json("POST", "/api/jobs", {"video": video, "text": "a bell rings", "steps": 1000})
    wait(lambda: running.json("GET", f"/api/jobs/{job['id']}").get("step", 0) >= 2, 60)
    pid = worker_of(running).pid
    assert running.ask("DELETE", f"/api/jobs/{job['id']}")[0] == 204
    ended = running.json("GET", f"/api/jobs/{job['id']}?wait=10")
    assert ended["state"] == "cancelled" and ended["step"] < 1000
    assert {path.name for path in (home / "kept" / "sounds").iterdir()} == kept
    assert running.finished({"video": video, "text": "a bell rings", "steps": 1})["state"] == "done"
    assert worker_of(running).pid == pid


def test_a_killed_model_costs_one_job_and_a_sentence(running: RunningService, video: str, home: Path) -> None:
    made = {path: path.read_bytes() for path in (home / "kept").rglob("*") if path.is_file()}
    job = running.json("POST", "/api/jobs", {"video": video, "text": "a bell rings", "steps": 1000})
    wait(lambda: running.json("GET", f"/api/jobs/{job['id']}").get("step", 0) >= 2, 60)
    os.kill(worker_of(running).pid, signal.SIGKILL)
    ended = running.json("GET", f"/api/jobs/{job['id']}?wait=10")
    assert ended["state"] == "failed" and "was ended by SIGKILL, probably for want of memory" in ended["sentence"]
    assert {path: path.read_bytes() for path in (home / "kept").rglob("*") if path.is_file()} == made
    assert running.finished({"video": video, "text": "a bell rings", "steps": 1})["state"] == "done"


def worker_of(running: RunningService) -> psutil.Process:
    children = psutil.Process(running.process.pid).children()
    return next(child for child in children if "drawaudio_model.studio.worker" in child.cmdline())


def test_what_the_model_refuses_is_its_sentence(running: RunningService, video: str) -> None:
    cases = {
        "leaves nothing to sound": {"mask": [0, 0, 1, 1], "mask_invert": True},
        "the pipeline has no detector": {"mask": {"words": "bell"}},
        "names no frame": {"text": "a bell", "timecode": "01:00:00:99"},
        "--strength is 0.5 without --start-from": {"text": "a bell", "strength": 0.5},
        "expected a start before its end": None,
    }
    for sentence, asked in cases.items():
        if asked is None:
            made = running.finished({"video": video, "text": "a bell", "steps": 1})["sound"]
            job = running.finished({"sound": made["id"], "section": [2, 1]})
        else:
            job = running.finished({"video": video, "steps": 1} | asked)
        assert job["state"] == "failed" and sentence in job["sentence"], job


def test_a_file_of_another_kind_is_a_sentence(running: RunningService, home: Path) -> None:
    (home / "text.mp4").write_bytes(b"no video")
    job = running.finished({"video": running.upload(home / "text.mp4"), "text": "a bell"})
    assert job["state"] == "failed" and "Traceback" not in job["sentence"] and "Error" not in job["sentence"]


WRONG = {
    "nothing": ({}, "expected a video, or a sound with a section of it"),
    "a path": ({"video": "/etc/passwd"}, 'video is "/etc/passwd": expected an id that the service gave'),
    "a path in words": ({"video": "aaaa", "mask": {"words": "../model"}}, 'mask.words is "../model"'),
    "an unknown field": ({"video": "aaaa", "colour": "red"}, "expected no 'colour', only video, text"),
    "text of a number": ({"video": "aaaa", "text": 5}, "text is 5: expected string"),
    "blank text": ({"video": "aaaa", "text": "  "}, 'text is " ": expected what should sound'),
    "no steps": ({"video": "aaaa", "steps": 0}, "steps is 0: expected 1 to 1000"),
    "steps of a text": ({"video": "aaaa", "steps": "25"}, 'steps is "25": expected integer'),
    "a seed of truth": ({"video": "aaaa", "seed": True}, "seed is true: expected integer"),
    "half a box": ({"video": "aaaa", "mask": [0, 0, 1]}, "mask"),
    "a box outside": ({"video": "aaaa", "mask": [0, 0, 1, 1.5]}, "mask[3] is 1.5: expected 0 to 1"),
    "a level below zero": ({"video": "aaaa", "loudness": [[0, -1]]}, "loudness[0][1] is -1: expected 0 to 21600"),
    "a section of nothing": ({"video": "aaaa", "section": [0, 1]}, "sound"),
    "a section with a rate": ({"sound": "aaaa", "section": [0, 1], "bits": 24}, "there is no sound aaaa"),
    "a long text": ({"video": "aaaa", "text": "a" * 2001}, "expected at most 2000 letters"),
    "24 bits of a text": ({"video": "aaaa", "bits": 20}, "bits is 20: expected 16 or 24"),
    "a list": ([], "the request is []: expected object"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_request_that_cannot_be_is_a_sentence_that_names_the_field(running: RunningService, mistake: str) -> None:
    asked, sentence = WRONG[mistake]
    told = running.refused("POST", "/api/jobs", json.dumps(asked).encode())
    assert sentence in told, told


@pytest.mark.parametrize("body", [b"", b"{", b'{"seed": NaN}', b"\xff\xfe", b"[" * 100_000, b'{"strength": 1e999}'])
def test_a_body_that_is_no_document_is_a_sentence(running: RunningService, body: bytes) -> None:
    assert running.refused("POST", "/api/jobs", body)


def test_what_is_not_there_is_404(running: RunningService) -> None:
    for method, path in (("GET", "/api/jobs/abcdef"), ("DELETE", "/api/jobs/abcdef"), ("GET", "/api/sounds/abcdef")):
        assert running.ask(method, path)[0] == 404
    assert "wait is" in running.refused("GET", f"/api/jobs/{running.json('GET', '/api/jobs')[0]['id']}?wait=1e9")


# Who may ask


@pytest.mark.parametrize(
    "given", [None, "Bearer", "Bearer wrong", "Basic {token}", "{token}", "Bearer {token}x", "Bearer \xff"]
)
@pytest.mark.parametrize("path", ["/api/state", "/api/openapi.json", "/api/jobs", "/"])
def test_without_the_token_there_is_nothing(running: RunningService, path: str, given: str | None) -> None:
    sent = given and given.format(token=running.token)
    status, headers, _ = running.ask("GET", path, headers={"Authorization": sent})
    assert status == 401 and headers["www-authenticate"] == "Bearer"


def test_a_page_of_the_web_is_refused_even_with_the_token(running: RunningService) -> None:
    own = f"http://127.0.0.1:{running.port}"
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": own},
        {"Sec-Fetch-Site": "none"},
    ):
        for method in ("GET", "POST", "OPTIONS"):
            status, answered, _ = running.ask(method, "/api/jobs", headers=headers)
            assert status == 403 and "access-control-allow-origin" not in answered


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1.evil.example:{port}", ""]
)
def test_a_name_of_the_web_that_points_here_is_refused(running: RunningService, host: str) -> None:
    assert running.ask("GET", "/api/state", headers={"Host": host.format(port=running.port)})[0] in (400, 421)


def test_it_listens_on_this_machine_alone(running: RunningService) -> None:
    places = {row.laddr.ip for row in psutil.Process(running.process.pid).net_connections() if row.status == "LISTEN"}
    assert places == {"127.0.0.1"}


@pytest.mark.parametrize("name", ["Host", "Authorization"])
def test_a_header_that_is_there_twice_is_refused(running: RunningService, name: str) -> None:
    lines = [f"Host: 127.0.0.1:{running.port}", f"Authorization: Bearer {running.token}", f"{name}: evil.example"]
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as wire:
        wire.sendall("\r\n".join(["GET /api/state HTTP/1.1", *lines, "", ""]).encode())
        assert wire.recv(100).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "path",
    [
        *("/api/sounds/..%2f..%2fmodel%2fmodel_index", "/api/sounds/%2fetc%2fpasswd", "/api/sounds/../state"),
        *("/api/files/..%2f*", "/api/files/*", "/api/sounds/%00", "/api/jobs/..%2f", "/api/files/.%2e"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_no_path_leads_out(running: RunningService, home: Path, path: str, method: str) -> None:
    before = sorted(home.rglob("*"))
    assert running.ask(method, path)[0] in (400, 404, 405) and sorted(home.rglob("*")) == before


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [("POST", "/api/jobs", MOST_BODY_BYTES), ("PUT", "/api/files?name=a.mp4", MOST_UPLOAD_BYTES)],
)
def test_a_body_that_says_it_is_too_large_is_not_read(
    running: RunningService, method: str, path: str, limit: int
) -> None:
    assert running.ask(method, path, None, headers={"Content-Length": str(limit + 1)})[0] == 413


@pytest.mark.parametrize("name", ["", "..", ".mp4", "clip", "a.%2e%2e%2fb", "a.mp4%00"])
def test_an_upload_needs_a_suffix_and_leaves_nothing_without(running: RunningService, home: Path, name: str) -> None:
    before = sorted((home / "kept" / "files").iterdir())
    assert "expected one such as clip.mp4" in running.refused("PUT", f"/api/files?name={name}", b"x")
    assert "is empty" in running.refused("PUT", "/api/files?name=a.mp4", b"")
    assert sorted((home / "kept" / "files").iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "token", "sentence"),
    [
        (["--model", "gone"], None, "is no model folder"),
        (["--model", "model", "--folder", "clip.mp4"], None, "is a file, expected a folder"),
        (["--model", "model", "--port", "99999"], None, "--port is 99999"),
        (["--model", "model"], "short", "DRAWAUDIO_TOKEN has 5 letters, expected at least 32"),
    ],
)
def test_a_start_that_cannot_be_is_a_sentence(
    home: Path, arguments: list[str], token: str | None, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(home)
    if token is not None:
        monkeypatch.setenv("DRAWAUDIO_TOKEN", token)
    assert main(["serve", *arguments]) == 2
    assert sentence in capsys.readouterr().err


# The node for ComfyUI


def node() -> Any:
    spec = importlib.util.spec_from_file_location(
        "drawaudio_nodes", ROOT / "examples" / "comfyui" / "drawaudio_nodes.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_node_of_comfyui_makes_the_same_sound(running: RunningService, home: Path) -> None:
    import torch

    found = node()
    made = found.NODE_CLASS_MAPPINGS["DrawAudio"]()
    inputs = made.INPUT_TYPES()
    assert {*inputs["required"], *inputs["optional"]} == {*made.make.__code__.co_varnames[1:10]}
    mask = torch.zeros(1, 120, 160)
    mask[:, 24:84, 16:96] = 1.0
    given = {"video": str(home / "clip.mp4"), "text": "a bell rings", "seed": 7, "steps": 2, "mask": mask}
    audio, notices = getattr(made, made.FUNCTION)(
        **given, curve="0:0.05,1.5:0.2,3:0", address=running.address, token=running.token
    )
    assert audio["waveform"].shape == (1, 1, 48000) and audio["waveform"].dtype == torch.float32
    assert audio["sample_rate"] == 16000 and isinstance(notices, str)
    np.save(home / "node.npy", mask[0].numpy().astype(np.uint8) * 255)
    words = ["generate", str(home / "clip.mp4"), "--text", "a bell rings", "--mask", str(home / "node.npy")]
    words += ["--loudness", "0:0.05,1.5:0.2,3:0", "--seed", "7", "--steps", "2", "--model", str(home / "model")]
    assert main([*words, "-o", str(home / "typed.wav")]) == 0
    typed = soundfile.read(home / "typed.wav", dtype="float32")[0]
    assert (audio["waveform"][0, 0].numpy() == typed).all()
    with pytest.raises(RuntimeError, match="is empty"):
        made.make(**(given | {"mask": mask * 0}), address=running.address, token=running.token)
    with pytest.raises(RuntimeError, match="the token is missing or another one"):
        made.make(**given, address=running.address, token="wrong")
    with pytest.raises(RuntimeError, match="does not answer"):
        made.make(**given, address="http://127.0.0.1:1", token="wrong")


def test_the_document_and_the_checks_are_one() -> None:
    served = document("1", "http://127.0.0.1:1")
    assert served["components"]["schemas"]["Instructions"] is INSTRUCTIONS and served["paths"].keys() == PATHS.keys()
    check({"video": "aaaa", "text": "a bell", "mask": {"words": "a red bell"}}, INSTRUCTIONS, "the request")
