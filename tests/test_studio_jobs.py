"""Takes by the worker: the pipeline's own sounds, mixed and exported as they are heard, and a dead worker costs one job."""

import json
import os
import shlex
import signal
import time
from pathlib import Path

import av
import numpy as np
import opentimelineio
import psutil
import pytest
import soundfile
import soxr

from drawaudio_model import media
from drawaudio_model.atomic_files import file_sha256
from drawaudio_model.cli import main
from drawaudio_model.defaults import DRAFT_STEPS
from drawaudio_model.generation.mixing import mix
from drawaudio_model.model_folder import model_sha256
from drawaudio_model.muxing.wave_file import read_chunks
from drawaudio_model.studio.project import empty_track
from tests.studio_page import Running, studio, wait, write_clip

pytest_plugins = ["tests.studio_browser"]
pytestmark = pytest.mark.slow
DETECTOR = False

BOX = {"kind": "box", "cut": False, "points": [[0.1, 0.2], [0.61, 0.7]], "size": 0}
STROKE = {"kind": "brush", "cut": True, "points": [[0.3, 0.3], [0.5, 0.6]], "size": 0.1}
MOVED = BOX | {"points": [[0.3, 0.25], [0.9, 0.8]]}
MASK = {
    "invert": True,
    "keyframes": [{"frame": 0, "shapes": [BOX], "linear": True}, {"frame": 5, "shapes": [MOVED, STROKE]}],
}
CURVE = [[0.0, -40.0], [1.0, -14.5], [2.9, -60.0]]


def save(running: Running, *tracks: dict, steps: int = 2) -> dict:
    """The project with these tracks."""
    document = running.json("GET", "/api/project")["document"]
    document |= {"tracks": [*tracks], "steps": steps}
    running.json("PUT", "/api/project", document, If_Match=str(document["revision"]))
    return document


def track(identity: str, **fields: object) -> dict:
    return empty_track(identity) | fields


def generate(running: Running, identity: str) -> dict:
    job = running.json("POST", "/api/jobs", {"track": identity})
    return running.wait_for_job(job["id"])


def worker_of(running: Running) -> psutil.Process:
    """The process that holds the model."""
    children = psutil.Process(running.process.pid).children()
    return next(child for child in children if "drawaudio_model.studio.worker" in child.cmdline())


def test_the_server_itself_loads_no_torch(cold: Running) -> None:
    """What is slow and large is in the worker, whose end is no end of the server."""
    assert "libtorch" not in Path(f"/proc/{cold.process.pid}/maps").read_text()
    worker = wait(lambda: [c for c in psutil.Process(cold.process.pid).children() if "worker" in str(c.cmdline())], 30)[
        0
    ]
    wait(lambda: "libtorch" in Path(f"/proc/{worker.pid}/maps").read_text(), 60)


def test_a_take_is_the_sound_that_generate_makes_of_the_same_drawing(running: Running, home: Path) -> None:
    save(running, track("track1", text="a bell rings", negative_text="rain", mask=MASK, curve=CURVE, seed=7))
    job = generate(running, "track1")
    assert job["state"] == "done", job
    (identity,) = job["takes"]
    project = home / "clip.drawaudio"
    take = json.loads((project / "takes" / f"{identity}.json").read_bytes())
    assert (take["seed"], take["steps"], take["place"]) == (7, 2, 0)
    assert take["instructions"]["mask"] == MASK and -1 <= take["curve_score"] <= 1

    from drawaudio_model.curve_files import write_points
    from drawaudio_model.studio.drawing import curve_levels

    write_points(home / "curve.csv", curve_levels(CURVE, 3.0))
    words = ["generate", str(home / "clip.mp4"), "--text", "a bell rings", "--negative-text", "rain", "--mask-invert"]
    words += [
        "--mask",
        str(project / "masks" / take["mask_folder"]),
        "--loudness",
        str(home / "curve.csv"),
        "--seed",
        "7",
    ]
    assert main([*words, "--steps", "2", "--model", str(home / "model"), "-o", str(home / "typed.wav")]) == 0
    made = soundfile.read(project / "takes" / f"{identity}.wav", dtype="float32")[0]
    typed = soundfile.read(home / "typed.wav", dtype="int16")[0]
    assert (np.round(made.astype(np.float64) * 32768).clip(-32768, 32767) == typed).all()


def test_a_section_is_made_anew_and_every_sample_outside_stays(running: Running, home: Path) -> None:
    save(running, track("track1", text="a bell rings", curve=CURVE, seed=7))
    (first,) = generate(running, "track1")["takes"]
    save(running, track("track1", text="rain falls", curve=CURVE, mask=MASK, seed=8, take=first, strictness=1.5))
    job = running.json("POST", "/api/jobs", {"track": "track1", "do": "regenerate", "section": [1.0, 2.0]})
    assert job["section"] == [1.0, 2.0]
    ended = running.wait_for_job(job["id"])
    assert ended["state"] == "done", ended
    (second,) = ended["takes"]
    takes = home / "clip.drawaudio" / "takes"
    before, after = (soundfile.read(takes / f"{name}.wav", dtype="float32")[0] for name in (first, second))
    assert (before[:16000] == after[:16000]).all() and (before[32000:] == after[32000:]).all()
    assert np.abs(before[16000:32000] - after[16000:32000]).max() > 1e-3
    facts = json.loads((takes / f"{second}.json").read_bytes())
    assert facts["section"] == {"of": first, "seconds": [1.0, 2.0]} and facts["seed"] == 8
    assert facts["instructions"]["text"] == "rain falls" and facts["instructions"]["strictness"] == 1.5
    # No table of tracks makes this sound again, and the export says so.
    save(running, track("track1", take=second))
    manifest = json.loads((Path(running.json("POST", "/api/exports")["folder"]) / "manifest.json").read_bytes())
    assert manifest["render_again"] is None and manifest["takes"][0]["section"]["of"] == first
    # The command goes on from a take of the studio as from its own, and hears the same.
    words = ["regenerate", str(takes / f"{first}.wav"), "--section", "1", "2", "--text", "rain falls", "--mask-invert"]
    words += ["--mask", str(home / "clip.drawaudio" / "masks" / facts["mask_folder"]), "--seed", "8"]
    words += ["--guidance-loudness", "1.5", "--model", str(home / "model"), "-o", str(home / "section.wav")]
    assert main(words) == 0
    typed = soundfile.read(home / "section.wav", dtype="float32")[0]
    assert typed == pytest.approx(after, abs=2e-4)


def test_a_section_needs_a_take_and_a_stretch_of_the_video(running: Running) -> None:
    save(running, track("track1", text="a bell rings"))
    ask = {"track": "track1", "do": "regenerate"}
    assert "has no take yet" in refusal(running, ask | {"section": [0.5, 1.0]})
    save(running, track("track1", text="a bell rings", take=generate(running, "track1")["takes"][0]))
    assert "expected a start before its end" in refusal(running, ask | {"section": [1.0, 1.0]})
    assert "the video at 3 s" in refusal(running, ask | {"section": [1.0, 3.5]})
    assert "a list of 2 to 2" in refusal(running, ask)


def refusal(running: Running, ask: dict) -> str:
    status, _, content = running.ask("POST", "/api/jobs", ask)
    assert status == 400
    return json.loads(content)["error"]


def test_a_section_is_cancelled_like_any_job(running: Running) -> None:
    row = track("track1", text="a bell rings")
    save(running, row)
    row |= {"take": generate(running, "track1")["takes"][0]}
    save(running, row, steps=1000)
    job = running.json("POST", "/api/jobs", {"track": "track1", "do": "regenerate", "section": [1.0, 2.0]})
    wait(lambda: find(running, job["id"]).get("step", 0) >= 2, 60)
    running.ask("DELETE", f"/api/jobs/{job['id']}")
    assert running.wait_for_job(job["id"], 10)["state"] == "cancelled"


def test_a_mask_of_an_export_makes_the_same_sound_on_the_command_line(running: Running, home: Path) -> None:
    row = track("track1", text="a bell rings", mask=MASK, seed=3)
    save(running, row)
    row |= {"take": generate(running, "track1")["takes"][0]}
    save(running, row)
    folder = Path(running.json("POST", "/api/exports")["folder"])
    (mask,) = (folder / "masks").iterdir()
    assert len([*mask.iterdir()]) == 12  # it moves
    words = ["generate", str(home / "clip.mp4"), "--text", "a bell rings", "--mask", str(mask), "--mask-invert"]
    words += ["--seed", "3", "--steps", "2", "--model", str(home / "model"), "--sample-rate", "48000", "--bits", "24"]
    timecode = json.loads((folder / "manifest.json").read_bytes())["timecode"]
    words += ["--timecode", timecode, "-o", str(home / "masked.wav")]
    assert main(words) == 0
    assert (home / "masked.wav").read_bytes() == (folder / "mix.wav").read_bytes()


def test_a_sound_becomes_a_curve_and_silence_a_sentence(running: Running, home: Path) -> None:
    save(running, track("track1"))
    sound = np.zeros(16000, np.float32)
    sound[4800:9600] = 0.5 * np.sin(np.arange(4800) * 0.3)
    soundfile.write(home / "hit.flac", sound, 16000)
    job = send_sound(running, "name=hit.flac&track=track1&start=0.5", (home / "hit.flac").read_bytes())
    points = running.wait_for_job(job["id"])["points"]
    times = [time for time, _ in points]
    assert times[0] == 0.55 and np.diff(times) == pytest.approx(0.1)
    levels = dict(points)
    assert levels[0.95] == pytest.approx(-10, abs=1.5) and levels[0.55] == -60.0
    later = send_sound(running, "name=hit.flac&track=track1&start=-0.25&from=0.4", (home / "hit.flac").read_bytes())
    assert running.wait_for_job(later["id"])["points"][0][0] == 0.4
    soundfile.write(home / "none.wav", np.zeros(16000, np.float32), 16000)
    job = send_sound(running, "name=none.wav&track=track1", (home / "none.wav").read_bytes())
    assert "none.wav is silent" in running.wait_for_job(job["id"])["sentence"]
    job = send_sound(running, "name=../../x.wav&track=track1", b"no sound at all")
    assert running.wait_for_job(job["id"])["state"] == "failed"
    assert [*(home / "clip.drawaudio" / "sounds").iterdir()] == []


def send_sound(running: Running, query: str, content: bytes) -> dict:
    status, _, answer = running.ask("PUT", f"/api/sounds?{query}", content)
    assert status == 202, answer
    return json.loads(answer)


def test_several_takes_are_ranked_and_have_neighbouring_seeds(running: Running, home: Path) -> None:
    save(running, track("track1", text="a bell rings", curve=CURVE, seed=40, count=3))
    job = generate(running, "track1")
    takes = {take["id"]: take for take in running.json("GET", "/api/project")["takes"]}
    made = [takes[identity] for identity in job["takes"]]
    assert sorted(take["seed"] for take in made) == [40, 41, 42]
    scores = [(take["curve_score"] + take["clap_score"]) / 2 for take in made]
    assert scores == sorted(scores, reverse=True) and len({*scores}) == 3


def test_what_is_heard_is_what_is_exported_and_what_mix_renders_again(running: Running, home: Path) -> None:
    tracks = [
        track("track1", text="a bell rings", mask=MASK, curve=CURVE, seed=1, gain_db=3.0),
        track("track2", text="a bird sings", seed=2, gain_db=-4.5),
        track("track3", text="rain falls", seed=3, mute=True),
    ]
    save(running, *tracks)
    for row in tracks:
        row["take"] = generate(running, row["id"])["takes"][0]
    document = save(running, *tracks)
    heard = soundfile.read(_bytes(running.ask("POST", "/api/mix", document)[2]), dtype="float32")[0]
    stems = [
        soundfile.read(home / "clip.drawaudio" / "takes" / f"{row['take']}.wav", dtype="float32")[0]
        for row in tracks[:2]
    ]
    assert (heard == mix(stems, [3.0, -4.5]).waveform).all()

    # At the model's own rate, what is heard is written sample by sample.
    plain = running.json("POST", "/api/exports", {"sample_rate": 16000, "bits": 16})
    exported, rate = soundfile.read(Path(plain["folder"]) / "mix.wav", dtype="int16")
    assert rate == 16000 and (np.round(heard.astype(np.float64) * 32768).clip(-32768, 32767) == exported).all()
    made = running.json("POST", "/api/exports")
    folder = Path(made["folder"])
    names = ["01-a-bell-rings.wav", "02-a-bird-sings.wav"]
    assert [path.name for path in sorted((folder / "stems").iterdir())] == names
    for path, stem, gain in zip(sorted((folder / "stems").iterdir()), stems, (3.0, -4.5), strict=True):
        info = soundfile.info(path)
        assert (info.samplerate, info.subtype, info.frames) == (48000, "PCM_24", 3 * len(stem))
        expected = soxr.resample((stem * 10 ** (gain / 20)).astype(np.float32), 16000, 48000, quality="VHQ")
        assert np.abs(soundfile.read(path, dtype="float64")[0] - expected).max() <= 2**-23
        assert {*read_chunks(path)} == {b"bext", b"iXML"}
    assert media.probe(folder / "preview.mp4").video_seconds == pytest.approx(3.0)
    assert any("ends at 8 kHz" in notice for notice in made["notices"])

    manifest = json.loads((folder / "manifest.json").read_bytes())
    words = shlex.split(manifest["render_again"])[1:-2]
    words[words.index("tracks.json")] = str(folder / "tracks.json")
    words[words.index("model")] = str(home / "model")
    assert main([*words, "-o", str(home / "again.wav")]) == 0
    assert (home / "again.wav").read_bytes() == (folder / "mix.wav").read_bytes()
    assert [row["seed"] for row in manifest["takes"]] == [1, 2]
    assert manifest["model"]["sha256"] == model_sha256(home / "model") and manifest["notices"] == made["notices"]
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert {*made["files"]} == {*files} == {*manifest["files"], "manifest.json"}
    assert all(file_sha256(files[name]) == sha256 for name, sha256 in manifest["files"].items())

    # A solo silences the others, mute or not.
    tracks[2] |= {"solo": True}
    alone = soundfile.read(_bytes(running.ask("POST", "/api/mix", document | {"tracks": tracks})[2]), dtype="float32")[
        0
    ]
    third = soundfile.read(home / "clip.drawaudio" / "takes" / f"{tracks[2]['take']}.wav", dtype="float32")[0]
    assert (alone == mix([third], [0.0]).waveform).all()


def test_a_panned_track_is_exported_in_two_channels_and_rendered_so_again(running: Running, home: Path) -> None:
    tracks = [
        track("track1", text="a bell rings", seed=1, pan=-0.6, gain_db=2.0),
        track("track2", text="a bird sings", seed=2),
    ]
    save(running, *tracks)
    for row in tracks:
        row["take"] = generate(running, row["id"])["takes"][0]
    document = save(running, *tracks)
    heard = soundfile.read(_bytes(running.ask("POST", "/api/mix", document)[2]), dtype="float32")[0]
    assert heard.shape == (48_000, 2)
    takes = home / "clip.drawaudio" / "takes"
    stems = [soundfile.read(takes / f"{row['take']}.wav", dtype="float32")[0] for row in tracks]
    assert (heard == mix(stems, [2.0, 0.0], [-0.6, 0.0]).waveform).all()

    folder = Path(running.json("POST", "/api/exports")["folder"])
    exported = soundfile.read(folder / "mix.wav", dtype="float64")[0]
    sides = zip(exported.T, soxr.resample(heard, 16000, 48000, quality="VHQ").T, strict=True)
    for found, expected in sides:
        assert 20 * np.log10(found.std() / expected.std()) == pytest.approx(0, abs=0.01)
        assert np.abs(found - expected).max() <= 2**-23
    written = [soundfile.read(path, dtype="float64")[0] for path in sorted((folder / "stems").iterdir())]
    assert [stem.shape for stem in written] == [(144_000, 2)] * 2
    assert (written[1][:, 0] == written[1][:, 1]).all()
    assert written[0][:, 0].std() / written[0][:, 1].std() == pytest.approx(1 / np.tan(np.pi / 10), rel=1e-3)
    if json.loads((folder / "manifest.json").read_bytes())["limited_by_db"] == 0:
        assert np.abs(sum(written) - exported).max() <= 3 * 2**-23
    with av.open(str(folder / "preview.mp4")) as container:
        assert container.streams.audio[0].channels == 2
    assert [row["pan"] for row in json.loads((folder / "tracks.json").read_bytes())] == [-0.6, 0.0]
    words = shlex.split(json.loads((folder / "manifest.json").read_bytes())["render_again"])[1:-2]
    words[words.index("tracks.json")] = str(folder / "tracks.json")
    words[words.index("model")] = str(home / "model")
    assert main([*words, "-o", str(home / "panned.wav")]) == 0
    assert (home / "panned.wav").read_bytes() == (folder / "mix.wav").read_bytes()

    # Of what is not heard the place does not count.
    tracks[0] |= {"mute": True}
    alone = soundfile.read(_bytes(running.ask("POST", "/api/mix", document | {"tracks": tracks})[2]))[0]
    assert alone.ndim == 1


def test_the_lists_of_an_export_are_on_the_clock_of_its_sounds(running: Running, home: Path) -> None:
    row = track("track1", text="a bell rings", seed=5)
    save(running, row)
    row["take"] = generate(running, "track1")["takes"][0]
    document = running.json("GET", "/api/project")["document"]
    document |= {"tracks": [row], "markers": [{"frame": 7, "name": "door"}]}
    running.json("PUT", "/api/project", document, If_Match=str(document["revision"]))
    made = running.json("POST", "/api/exports", {"timecode": "01:00:00:06"})
    folder = Path(made["folder"])
    timeline = opentimelineio.adapters.read_from_file(str(folder / "timeline.otio"))
    rate = timeline.global_start_time.rate
    assert (rate, timeline.global_start_time.value) == (12.0, 3600 * 12 + 6)
    picture, sound = (track[0] for track in timeline.tracks)
    assert picture.duration().value == 36
    assert (folder / picture.media_reference.target_url).resolve() == (home / "clip.mp4").resolve()
    stem = folder / sound.media_reference.target_url
    with av.open(str(stem)) as container:
        reference = int(container.metadata["time_reference"])
    assert reference == round(sound.source_range.start_time.to_seconds() * 48000) == (3600 * 12 + 6) * 4000
    assert sound.duration().to_seconds() * 48000 == pytest.approx(soundfile.info(stem).frames)
    assert (folder / "markers.csv").read_text().splitlines()[1] == "7,01:00:01:01,0.583333,door"
    assert "01:00:00:06 01:00:03:06" in (folder / "timeline.edl").read_text()
    for asked in ({"timecode": "01:00:00:30"}, {"bits": 20}, {"sample_rate": 8000}, {"timecode": 5}, {"color": 1}, [1]):
        status, _, content = running.ask("POST", "/api/exports", json.dumps(asked).encode())
        assert status == 400 and ("expected" in json.loads(content)["error"] or "names no frame" in str(content))


def _bytes(content: bytes) -> "object":
    import io

    return io.BytesIO(content)


def test_an_export_renders_the_take_and_not_what_was_drawn_since(running: Running) -> None:
    row = track("track1", text="a bell rings", seed=5)
    save(running, row)
    row["take"] = generate(running, "track1")["takes"][0]
    save(running, row | {"text": "something else", "curve": CURVE, "seed": 99})
    folder = Path(running.json("POST", "/api/exports")["folder"])
    (rendered,) = json.loads((folder / "tracks.json").read_bytes())
    assert (rendered["text"], rendered["seed"]) == ("a bell rings", 5) and "loudness" not in rendered


def test_nothing_heard_is_a_sentence(running: Running) -> None:
    document = save(running, track("track1"))
    for method, path, body in (("POST", "/api/mix", document), ("POST", "/api/exports", None)):
        status, _, content = running.ask(method, path, body)
        assert status == 400 and "no track is heard" in json.loads(content)["error"]


def test_a_draft_has_few_steps_whatever_the_project_has(running: Running) -> None:
    save(running, track("track1", text="a bell rings"), steps=20)
    job = running.json("POST", "/api/jobs", {"track": "track1", "draft": True})
    ended = running.wait_for_job(job["id"])
    (take,) = (take for take in running.json("GET", "/api/project")["takes"] if take["id"] in ended["takes"])
    assert (ended["total"], take["steps"]) == (DRAFT_STEPS, DRAFT_STEPS)


def test_a_cancel_ends_a_job_within_two_steps_and_the_model_stays(running: Running) -> None:
    save(running, track("track1", text="a bell rings"), steps=1000)
    job = running.json("POST", "/api/jobs", {"track": "track1"})
    seen = wait(lambda: (now := find(running, job["id"])).get("step", 0) >= 2 and now, 60)
    pid = worker_of(running).pid
    assert running.ask("DELETE", f"/api/jobs/{job['id']}")[0] == 204
    ended = running.wait_for_job(job["id"], 10)
    assert ended["state"] == "cancelled" and ended["step"] < 1000 and seen["total"] == 1000
    save(running, track("track1", text="a bell rings"))
    assert generate(running, "track1")["state"] == "done"
    assert worker_of(running).pid == pid


def find(running: Running, identity: str) -> dict:
    return next(job for job in running.json("GET", "/api/project")["jobs"] if job["id"] == identity)


def test_a_job_that_waits_is_cancelled_at_once(running: Running) -> None:
    save(running, track("track1", text="a bell rings"), steps=1000)
    first, second = (running.json("POST", "/api/jobs", {"track": "track1"})["id"] for _ in range(2))
    assert running.ask("DELETE", f"/api/jobs/{second}")[0] == 204
    assert find(running, second)["state"] == "cancelled"
    running.ask("DELETE", f"/api/jobs/{first}")
    assert running.wait_for_job(first, 15)["state"] == "cancelled"


def test_a_worker_that_is_killed_costs_its_job_and_a_sentence(running: Running, home: Path) -> None:
    save(running, track("track1", text="a bell rings"), steps=1000)
    takes = running.json("GET", "/api/project")["takes"]
    before = (home / "clip.drawaudio" / "project.json").read_bytes()
    job = running.json("POST", "/api/jobs", {"track": "track1"})
    wait(lambda: find(running, job["id"]).get("step", 0) >= 2, 60)
    os.kill(worker_of(running).pid, signal.SIGKILL)
    ended = running.wait_for_job(job["id"], 10)
    assert ended["state"] == "failed"
    assert ended["sentence"] == (
        "the model's process was ended by SIGKILL, probably for want of memory; nothing in the project was lost: generate again"
    )
    assert (home / "clip.drawaudio" / "project.json").read_bytes() == before
    assert running.json("GET", "/api/project")["takes"] == takes
    save(running, track("track1", text="a bell rings"))
    assert generate(running, "track1")["state"] == "done"


def test_a_worker_that_does_not_stop_is_ended(cold: Running) -> None:
    save(cold, track("track1", text="a bell rings"), steps=1000)
    job = cold.json("POST", "/api/jobs", {"track": "track1"})
    wait(lambda: find(cold, job["id"]).get("step", 0) >= 1, 60)
    stuck = worker_of(cold)
    stuck.suspend()
    began = time.monotonic()
    cold.ask("DELETE", f"/api/jobs/{job['id']}")
    assert cold.wait_for_job(job["id"], 15)["state"] == "cancelled"
    assert 4 < time.monotonic() - began < 9
    wait(lambda: not stuck.is_running() or stuck.status() == psutil.STATUS_ZOMBIE, 5)


def test_what_the_pipeline_refuses_is_its_sentence(running: Running) -> None:
    everything = {"kind": "box", "cut": False, "points": [[0, 0], [1, 1]], "size": 0}
    save(running, track("track1", mask={"invert": True, "keyframes": [{"frame": 0, "shapes": [everything]}]}))
    job = generate(running, "track1")
    assert job["state"] == "failed" and "leaves nothing to sound" in job["sentence"]


def test_without_a_detector_nothing_is_looked_for_and_no_name_is_a_sentence(running: Running) -> None:
    save(running, track("track1"))
    job = running.json("POST", "/api/jobs", {"track": "track1", "do": "detect", "words": "bell"})
    assert "there is no detector in" in running.wait_for_job(job["id"])["sentence"]
    for body in ({"do": "detect", "words": " "}, {"do": "detect"}, {"do": "detect", "words": 5}, {"do": "os.system"}):
        assert running.ask("POST", "/api/jobs", {"track": "track1"} | body)[0] == 400


def test_a_track_that_is_not_there_is_a_sentence(running: Running) -> None:
    for body in ({"track": "nothing"}, {}, {"track": None}):
        status, _, content = running.ask("POST", "/api/jobs", body)
        assert status == 400 and "there is no track" in json.loads(content)["error"]


def test_when_the_server_is_killed_the_worker_ends_too(home: Path) -> None:
    write_clip(home / "other.mp4")
    with studio(home, "other.mp4", "--model", "model") as running:
        running.wait_for_media()
        child = wait(
            lambda: [c for c in psutil.Process(running.process.pid).children() if "worker" in str(c.cmdline())], 30
        )[0]
        running.process.kill()
        wait(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 15)
