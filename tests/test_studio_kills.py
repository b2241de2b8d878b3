"""Processes are killed at random moments, for real: what was acknowledged is there, and nothing is half there.

Some rounds in the suite; DRAWAUDIO_ROUNDS=50 for as many as one has patience.
"""

import http.client
import os
import random
import resource
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
import soundfile

from drawaudio_model.studio.project import Project, empty_track, read_document
from drawaudio_model.studio.worker import NO_MEMORY
from tests.studio_page import Running, studio, wait, write_clip

pytest_plugins = ["tests.studio_browser"]
pytestmark = pytest.mark.slow
DETECTOR = False
ROUNDS = int(os.environ.get("DRAWAUDIO_ROUNDS", "2"))


def save(running: Running, **fields: object) -> None:
    document = running.json("GET", "/api/project")["document"]
    document |= {"tracks": [empty_track("track1") | {"text": "a bell rings"}]} | fields
    running.json("PUT", "/api/project", document, If_Match=str(document["revision"]))


def worker_of(running: Running) -> psutil.Process:
    def found() -> list[psutil.Process]:
        children = psutil.Process(running.process.pid).children()
        return [child for child in children if "drawaudio_model.studio.worker" in str(child.cmdline())]

    return wait(found, 60)[0]


def test_a_model_that_is_killed_at_any_moment_costs_that_job_alone(running: Running, home: Path) -> None:
    source = random.Random(ROUNDS)
    save(running, steps=2)
    project = home / "clip.drawaudio"
    document = (project / "project.json").read_bytes()
    known: set[str] = set()
    ends = []
    for _ in range(ROUNDS):
        job = running.json("POST", "/api/jobs", {"track": "track1"})
        # From before the model is loaded to the writing of the take.
        if source.random() < 0.7:
            wait_for_a_step(running, job["id"])
        time.sleep(source.uniform(0.0, 0.3))
        os.kill(worker_of(running).pid, signal.SIGKILL)
        ended = running.wait_for_job(job["id"], 300)
        ends.append(ended["state"])
        assert ended["state"] == "done" or "was ended by SIGKILL" in ended["sentence"], ended
        takes = {take["id"]: take for take in running.json("GET", "/api/project")["takes"]}
        for identity, take in takes.items():
            info = soundfile.info(project / "takes" / f"{identity}.wav")
            assert info.frames == take["seconds"] * info.samplerate
        assert known <= takes.keys() and {*ended.get("takes", [])} <= takes.keys()
        known = {*takes}
        assert (project / "project.json").read_bytes() == document
    assert {*ends} <= {"done", "failed"}
    made = running.wait_for_job(running.json("POST", "/api/jobs", {"track": "track1"})["id"])
    assert made["state"] == "done", made


def test_a_model_that_is_killed_in_a_step_costs_that_job_and_one_that_waits_costs_nothing(running: Running) -> None:
    save(running, steps=1000)
    job = running.json("POST", "/api/jobs", {"track": "track1"})
    wait_for_a_step(running, job["id"])
    os.kill(worker_of(running).pid, signal.SIGKILL)
    assert "was ended by SIGKILL" in running.wait_for_job(job["id"], 20)["sentence"]
    save(running, steps=2)
    for _ in range(ROUNDS):
        assert (
            running.wait_for_job(running.json("POST", "/api/jobs", {"track": "track1"})["id"], 300)["state"] == "done"
        )
        os.kill(worker_of(running).pid, signal.SIGKILL)
        # It may not have ended yet when the next job comes.


ENDED = ("done", "failed")


def wait_for_a_step(running: Running, identity: str) -> None:
    # The model's process is nice: beside other work of the machine it may load for minutes.
    wait(lambda: find(running, identity).get("step", 0) >= 1 or find(running, identity)["state"] in ENDED, 300)


def find(running: Running, identity: str) -> dict:
    return next(job for job in running.json("GET", "/api/project")["jobs"] if job["id"] == identity)


def test_a_server_that_is_killed_while_it_saves_has_all_that_it_acknowledged(home: Path) -> None:
    source = random.Random(ROUNDS)
    write_clip(home / "saved.mp4")
    folder = home / "saved.drawaudio"
    Project.create(folder, home / "saved.mp4").close()
    saves = 0
    for _ in range(ROUNDS):
        with studio(home, "saved.mp4", "--model", "no-model") as running:
            acknowledged = read_document(folder / "project.json")
            end = time.monotonic() + source.uniform(0.05, 0.5)
            killer = threading.Timer(end - time.monotonic(), running.process.kill)
            killer.start()
            try:
                while True:
                    sent = acknowledged | {"tracks": [empty_track("track1") | {"text": f"{time.time()} " * 90}]}
                    answer = running.json("PUT", "/api/project", sent, If_Match=str(acknowledged["revision"]))
                    acknowledged = sent | answer
                    saves += 1
            except (OSError, http.client.HTTPException) as error:
                assert running.process.wait(10) == -signal.SIGKILL, error
        found = read_document(folder / "project.json")
        # The last that was acknowledged, or the one that was on its way.
        assert found in (acknowledged, sent | {"revision": acknowledged["revision"] + 1})
        for backup in (folder / "backups").glob("project-*.json"):
            assert read_document(backup)["format"] == found["format"]
    assert saves > ROUNDS


def test_a_model_that_gets_no_memory_says_so_and_goes_on_later(cold: Running) -> None:
    running = cold
    save(running, steps=2)
    assert running.wait_for_job(running.json("POST", "/api/jobs", {"track": "track1"})["id"])["state"] == "done"
    worker = worker_of(running)
    before = worker.rlimit(psutil.RLIMIT_AS)
    worker.rlimit(psutil.RLIMIT_AS, (worker.memory_info().vms + 2**20, before[1]))
    try:
        # Eight at once need more than a megabyte.
        save(running, steps=2, tracks=[empty_track("track1") | {"text": "rain falls", "count": 8}])
        ended = running.wait_for_job(running.json("POST", "/api/jobs", {"track": "track1"})["id"])
    finally:
        if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
            worker.rlimit(psutil.RLIMIT_AS, (resource.RLIM_INFINITY, before[1]))
    assert ended["state"] == "failed"
    assert ended["sentence"] == NO_MEMORY or "was ended by" in ended["sentence"], ended
    save(running, steps=2)
    assert running.wait_for_job(running.json("POST", "/api/jobs", {"track": "track1"})["id"])["state"] == "done"
