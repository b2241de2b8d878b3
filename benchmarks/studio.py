"""How quick and how small the drawing studio is, in a real headless browser: each figure beside its goal.

    python benchmarks/studio.py --model data/demo/model

A clip of the rendered world's form (8 s), and a project of eight tracks of 60 s with takes and curves:

    first_paint_s         from the command to the first contentful paint, the browser being open
    redraw_ms             from a pointer's event on a curve to the end of the frame that shows it: while idle, and while the
                          model samples; `of_it_script` is what the page's own code took of that
    seek_ms               from asking for a frame to the browser having it, at random frames
    cancel_s              from a cancel to the job's end, beside the time of two steps
    sync_ms               how far the picture is from the sound, over ten minutes at 25 frames a second, and for a minute while
                          the model samples: the size of the median, and what one frame in twenty exceeds
    server_mb, page_mb    of memory that nothing shares (USS), after all of it; the page's is its renderer process's
    page_kb               all files of the page, gzipped
    first_sound_s, draft_s  of 8 s: from asking for a take of a warm model to its being there; the median of the repeats

Writes results/studio.json.
"""

import argparse
import datetime
import gzip
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.evaluation.listening_page import write_video
from drawaudio_model.media import write_audio
from drawaudio_model.studio.media_view import write_pictures
from drawaudio_model.studio.project import Project, empty_track

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "studio.json"
GOALS = {
    "first_paint_s": 1.0,
    "redraw_ms_idle_p95": 16.0,
    "redraw_ms_generating_p95": 16.0,
    "seek_ms_p95": 50.0,
    "cancel_beyond_two_steps_s": 0.5,
    "sync_ms_median": 20.0,
    "sync_ms_p95": 40.0,
    "sync_ms_generating_median": 20.0,
    "sync_ms_generating_p95": 40.0,
    "server_mb": 80.0,
    "page_mb": 200.0,
    "page_kb": 60.0,
    "first_sound_s": 3.0,
    "draft_s": 1.0,
}
TRACKS, SECONDS, FPS = 8, 60, 12
SYNC_FPS = 25
WATCH = """() => {
  window.measured = [];
  const begun = [];
  addEventListener('pointermove', (event) => begun.push([event.timeStamp, performance.now()]), true);
  addEventListener('pointermove', () => requestAnimationFrame(() => {
    const now = performance.now();
    while (begun.length) { const [at, seen] = begun.shift(); window.measured.push([now - at, now - seen]); }
  }));
}"""
SEEK = """async (frame) => {
  const video = document.getElementById('video');
  const begin = performance.now();
  const there = new Promise((done) => video.addEventListener('seeked', done, { once: true }));
  studio.transport.seekFrame(frame);
  await there;
  return performance.now() - begin;
}"""


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("data/demo/model"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--play-seconds", type=int, default=600, help="length of the video whose sync is measured")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("no chromium; Debian: apt-get install chromium")
    figures: dict[str, Any] = {"page_kb": page_kb()}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        figures |= measure(folder, options.model.resolve(), chromium, options)
    figures = {name: round(value, 3) for name, value in figures.items()}
    result = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": f"{processor()}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores",
        "load_average": os.getloadavg()[0],
        "versions": {"python": platform.python_version(), "chromium": version(chromium)},
        "repeats": options.repeats,
        "play_seconds": options.play_seconds,
        "figures": figures,
        "goals": GOALS,
        "reached": {name: figures[name] <= goal for name, goal in GOALS.items()},
    }
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    for name, value in figures.items():
        goal = f"  goal {GOALS[name]:g}: {'reached' if value <= GOALS[name] else 'MISSED'}" if name in GOALS else ""
        print(f"{name:30} {value:8.3f}{goal}")


def measure(folder: Path, model: Path, chromium: str, options: argparse.Namespace) -> dict[str, float]:
    """All figures but the page's weight."""
    from playwright.sync_api import sync_playwright

    repeats = options.repeats
    write_clip(folder / "clip.mp4", 8)
    write_clip(folder / "long.mp4", SECONDS)
    write_clip(folder / "reel.mp4", options.play_seconds, SYNC_FPS)
    figures: dict[str, float] = {}
    with sync_playwright() as playwright:
        with browsing(playwright, chromium) as (browser, context):
            with studio(folder / "clip.mp4", model) as (_, address):
                opened(context, address).close()  # the views of the clip are made once, as on every later day
            figures["first_paint_s"] = statistics.median(first_paint(context, folder, model) for _ in range(repeats))
            with studio(folder / "clip.mp4", model) as (_, address):
                page = opened(context, address)
                figures |= generating(page, repeats)
                page.close()
            fill(folder / "long.drawaudio", folder / "long.mp4")
            with studio(folder / "long.mp4", model) as (process, address):
                page = drawn_on(context, address)
                figures |= redraws(page, "idle")
                figures |= seeks(page, repeats * 10)
                with sampling(page):
                    figures |= redraws(page, "generating")
                page.evaluate("() => studio.ask('POST', '/api/mix', { body: studio.state.document })")
                figures["server_mb"] = uss_mb(process.pid)
                figures["page_mb"] = renderer_mb(browser, page)
                page.close()
        fill(folder / "reel.drawaudio", folder / "reel.mp4", tracks=1, seconds=options.play_seconds)
        with (
            browsing(playwright, chromium) as (_, context),
            studio(folder / "reel.mp4", model) as (_, address),
        ):
            page = opened(context, address)
            figures |= sync(page, "sync_ms", options.play_seconds)
            with sampling(page):
                figures |= sync(page, "sync_ms_generating", min(options.play_seconds, 60))
            page.close()
    return figures


@contextmanager
def browsing(playwright: Any, chromium: str) -> Iterator[tuple[Any, Any]]:
    """A browser, and a context in it for the pages of a small screen."""
    arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
    yield browser, browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark")
    browser.close()


def drawn_on(context: Any, address: str) -> Any:
    """The page, with the whole video on its timeline, that notes when what is drawn is shown."""
    page = opened(context, address)
    page.evaluate("() => studio.timeline.showAll()")
    page.evaluate(WATCH)
    return page


@contextmanager
def studio(video: Path, model: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """A studio of a video, warm: its process and its address. It is ended by its process's number."""
    process, address = start(video, model)
    try:
        yield process, address
    finally:
        process.terminate()
        process.wait(20)


def start(video: Path, model: Path) -> tuple[subprocess.Popen, str]:
    command = [sys.executable, "-m", "drawaudio_model.cli", "studio", str(video), "--model", str(model), "--no-browser"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=video.parent, env=environment, stdout=subprocess.PIPE, text=True)
    address = next(line.strip() for line in process.stdout if "http://" in line)
    return process, address


def opened(context: Any, address: str) -> Any:
    """The page, with its video and its model ready."""
    page = context.new_page()
    page.goto(address)
    wait(page, "() => window.studio?.state.media.state === 'ready'")
    wait(page, "() => document.getElementById('video').readyState >= 2")
    return page


def wait(page: Any, expression: str, argument: Any = None, seconds: float = 150) -> Any:
    """What an expression gives, as soon as it is true; asked from here, for the page's own rules forbid it to evaluate texts."""
    deadline = time.monotonic() + seconds
    while not (found := page.evaluate(expression, argument)):
        assert time.monotonic() < deadline, f"{expression}: nothing within {seconds} s"
        time.sleep(0.01)
    return found


def first_paint(context: Any, folder: Path, model: Path) -> float:
    """Seconds from the command to the first contentful paint."""
    page = context.new_page()
    began = time.time()
    process, address = start(folder / "clip.mp4", model)
    try:
        page.goto(address, wait_until="load")
        paint = wait(page, "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
        at = (page.evaluate("() => performance.timeOrigin") + paint) / 1000
    finally:
        process.terminate()
        process.wait(20)
        page.close()
    return at - began


def generating(page: Any, repeats: int) -> dict[str, float]:
    """First sound and draft of a warm model, and a cancel."""
    page.evaluate(
        "() => { const track = studio.state.document.tracks[0];"
        " studio.store.changeTrack(track.id, { text: 'a bell rings' }); }"
    )
    page.evaluate("() => studio.store.save()")
    finish(page, {})  # loads the model
    sounds = [finish(page, {}) for _ in range(repeats)]
    drafts = [finish(page, {"draft": True}) for _ in range(repeats)]
    page.evaluate(
        "() => { studio.state.document.steps = 1000; studio.store.changeTrack(studio.state.document.tracks[0].id,"
        " { text: 'a bell  rings' }); }"
    )
    page.evaluate("() => studio.store.save()")
    beyond = [cancel(page) for _ in range(repeats)]
    return {
        "first_sound_s": statistics.median(sounds),
        "draft_s": statistics.median(drafts),
        "cancel_beyond_two_steps_s": max(beyond),
    }


JOB = """async (more) => {
  const answer = await studio.ask('POST', '/api/jobs', { body: { track: studio.state.document.tracks[0].id, ...more } });
  return (await answer.json()).id;
}"""
FINISH = """async (more) => {
  const began = performance.now();
  const answer = await studio.ask('POST', '/api/jobs', { body: { track: studio.state.document.tracks[0].id, ...more } });
  const { id } = await answer.json();
  await new Promise((resolve) => {
    const look = () => ['done', 'failed'].includes(studio.state.jobs.get(id)?.state) && resolve();
    studio.on('jobs', look);
    look();
  });
  return [performance.now() - began, studio.state.jobs.get(id)];
}"""


def finish(page: Any, more: dict[str, Any]) -> float:
    """Seconds from asking for a take to its being known to the page. The page is not asked meanwhile: that costs time, too."""
    milliseconds, found = page.evaluate(FINISH, more)
    assert found["state"] == "done", found
    return milliseconds / 1000


def cancel(page: Any) -> float:
    """Seconds from a cancel to the job's end, less two steps of it."""
    identity = page.evaluate(JOB, {})
    step = "([id, least]) => (studio.state.jobs.get(id)?.step ?? 0) >= least"
    wait(page, step, [identity, 2])
    began = time.perf_counter()
    first = page.evaluate("(id) => studio.state.jobs.get(id).step", identity)
    wait(page, step, [identity, first + 5])
    steps = page.evaluate("(id) => studio.state.jobs.get(id).step", identity) - first
    one = (time.perf_counter() - began) / steps
    began = time.perf_counter()
    page.evaluate("(id) => studio.ask('DELETE', `/api/jobs/${id}`)", identity)
    wait(page, "(id) => studio.state.jobs.get(id).state === 'cancelled'", identity)
    return time.perf_counter() - began - 2 * one


def redraws(page: Any, name: str) -> dict[str, float]:
    """A point of a curve is dragged about, as by a hand."""
    box = page.locator(".lane canvas, canvas.lane").nth(3).bounding_box()
    middle = box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5
    page.evaluate("() => { window.measured = []; }")
    page.mouse.move(*middle)
    page.mouse.down()
    source = random.Random(0)
    for _ in range(200):
        page.mouse.move(middle[0] + source.uniform(-60, 60), middle[1] + source.uniform(-20, 20))
    page.mouse.up()
    found = np.array(page.evaluate("() => window.measured"))
    assert len(found) >= 100, f"{len(found)} events were seen"
    return {
        f"redraw_ms_{name}_median": float(np.median(found[:, 0])),
        f"redraw_ms_{name}_p95": float(np.percentile(found[:, 0], 95)),
        f"redraw_ms_{name}_of_it_script_p95": float(np.percentile(found[:, 1], 95)),
    }


@contextmanager
def sampling(page: Any) -> Iterator[None]:
    """A job of a thousand steps goes on meanwhile."""
    page.evaluate(
        "() => { studio.state.document.steps = 1000; const track = studio.state.document.tracks[0];"
        " studio.store.changeTrack(track.id, { text: 'a bell rings' }); }"
    )
    page.evaluate("() => studio.store.save()")
    identity = page.evaluate(JOB, {})
    wait(page, "(id) => (studio.state.jobs.get(id)?.step ?? 0) >= 2", identity)
    yield
    assert page.evaluate("(id) => studio.state.jobs.get(id).state", identity) == "running"
    page.evaluate("(id) => studio.ask('DELETE', `/api/jobs/${id}`)", identity)


def sync(page: Any, name: str, seconds: float) -> dict[str, float]:
    """The video is played from its start, and of every frame it is asked how far it was ahead of what was heard."""
    page.evaluate(
        "() => { studio.transport.seekFrame(0); studio.transport.drifts.length = 0; studio.transport.play(1); }"
    )
    found: list[float] = []
    deadline = time.monotonic() + seconds - 1
    while time.monotonic() < deadline:
        time.sleep(min(5.0, max(deadline - time.monotonic(), 0.01)))
        found += page.evaluate("() => studio.transport.drifts.splice(0)")
    assert page.evaluate("() => studio.transport.playing()")
    page.evaluate("() => studio.transport.stop()")
    assert len(found) > 0.5 * SYNC_FPS * seconds, f"{len(found)} frames were shown in {seconds} s"
    ahead = 1000 * np.array(found)
    return {
        f"{name}_median": float(abs(np.median(ahead))),
        f"{name}_p95": float(np.percentile(np.abs(ahead), 95)),
        f"{name}_frames_shown": len(found) / (SYNC_FPS * seconds),
    }


def seeks(page: Any, count: int) -> dict[str, float]:
    source = random.Random(0)
    found = [page.evaluate(SEEK, source.randrange(1, SECONDS * FPS - 1)) for _ in range(count)]
    return {"seek_ms_median": float(np.median(found)), "seek_ms_p95": float(np.percentile(found, 95))}


def write_clip(path: Path, seconds: int, fps: int = FPS) -> None:
    """A box that moves over grey, with a click a second."""
    frames = np.full((seconds * fps, 224, 224, 3), 60, np.uint8)
    for number, frame in enumerate(frames):
        frame[80:140, number * 3 % 180 : number * 3 % 180 + 40] = (200, 120, 40)
    sound = np.zeros(seconds * SAMPLE_RATE, np.float32)
    sound[::SAMPLE_RATE] = 0.5
    write_video(path, frames, fps, sound)


def fill(folder: Path, video: Path, *, tracks: int = TRACKS, seconds: int = SECONDS) -> None:
    """A project of some tracks, each with a take and a curve of a point a second."""
    project = Project.create(folder, video)
    rng = np.random.default_rng(0)
    (folder / "takes").mkdir()
    rows = []
    for number in range(tracks):
        identity = f"take{number}"
        sound = (0.1 * rng.standard_normal(seconds * SAMPLE_RATE)).astype(np.float32)
        write_audio(folder / "takes" / f"{identity}.wav", sound, floats=True)
        write_pictures(sound, folder / "takes" / identity)
        curve = [[float(second), float(rng.uniform(-40, -6))] for second in range(seconds)]
        row = empty_track(f"track{number}") | {"text": "a bell rings", "curve": curve, "take": identity}
        rows.append(row)
        facts = {"id": identity, "track": row["id"], "made": "2026-01-01T00:00:00.000+00:00", "place": 0, "seed": 1}
        facts |= {"steps": 25, "seconds": seconds, "curve_score": 0.5, "clap_score": None, "notices": [], "model": ""}
        facts |= {
            "mask_folder": None,
            "instructions": {name: row[name] for name in ("text", "negative_text", "mask", "curve")},
        }
        (folder / "takes" / f"{identity}.json").write_text(json.dumps(facts))
    project.save(project.document | {"tracks": rows}, 0)
    project.close()


def uss_mb(pid: int) -> float:
    return psutil.Process(pid).memory_full_info().uss / 2**20


def renderer_mb(browser: Any, page: Any) -> float:
    """Of the process that shows the page: the largest of the renderers, as the others are empty."""
    session = browser.new_browser_cdp_session()
    rows = session.send("SystemInfo.getProcessInfo")["processInfo"]
    page.evaluate("() => 1")
    return max(uss_mb(row["id"]) for row in rows if row["type"] == "renderer")


def page_kb() -> float:
    files = (ROOT / "drawaudio_model" / "studio" / "page").iterdir()
    return sum(len(gzip.compress(path.read_bytes(), mtime=0)) for path in files if path.is_file()) / 1000


def processor() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def version(chromium: str) -> str:
    return subprocess.run([chromium, "--version"], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
