"""Clips a second of media.py, beside FFmpeg's command decoding the same files, on one thread each.

Three baselines, run in turn with media.py, file by file:

- `ffmpeg -threads 1 ... -f null`: picture and sound decoded, thrown away. It does less: no scaling, no resampling.
- `ffmpeg -threads 1 ... -f rawvideo` piping 4 fps, 224 x 224 RGB: what a dataset script would start. No sound.
- the same with a second output, the sound as 16 kHz mono: the work that media.py does.

media.py reads picture and sound of the whole file, and makes the frames of all its clips at 224 x 224 and their sound at
16 kHz; frames that no clip shows and no other frame is predicted from it leaves undecoded (decoding/skipping.py). Times are
CPU seconds (user and system, children included), so that other work on the machine does not count; wall-clock ratios are
kept beside them. Each figure is the least of --repeats runs, summed over the files.

    python benchmarks/decode.py [--clips FOLDER] [--repeats 3]
"""

import argparse
import datetime
import json
import os
import platform
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from drawaudio_model import media
from drawaudio_model.clip_format import FRAME_SIZE, SAMPLE_RATE, SOURCE_SECONDS, VIDEO_FPS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "decode.json"
GOALS = {"ffmpeg_decode": 0.8, "ffmpeg_pipe": 1.0, "ffmpeg_both": 1.0}
"""Least clips/s of media.py, as a multiple of each baseline's."""


def main() -> None:
    """Measure, print the ratios, write benchmarks/results/decode.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, default=ROOT.parent / "shared" / "realdata" / "clips")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        real = arguments.clips.is_dir()
        files = sorted(arguments.clips.iterdir()) if real else encode_clips(Path(folder))
        result = measure(files, arguments.repeats, Path(folder))
    result["files"] = "real clips" if real else "encoded test pictures"
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    report(result)


def measure(files: list[Path], repeats: int, folder: Path) -> dict:
    """Seconds of each way on each file, and the ratios of their clips/s; `folder` takes what FFmpeg writes."""
    ffmpeg = find_ffmpeg()
    shrink = ["-map", "0:v:0", "-filter_threads", "1", "-vf", f"fps={VIDEO_FPS},scale={FRAME_SIZE}:{FRAME_SIZE}"]
    shrink += ["-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    sound = ["-map", "0:a:0", "-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "f32le", "-y", str(folder / "sound.f32")]
    ways: dict[str, Callable[[Path], None]] = {
        "media": read_with_media,
        "ffmpeg_decode": lambda path: run([ffmpeg, "-threads", "1", "-i", f"file:{path}", "-f", "null", "-"]),
        "ffmpeg_pipe": lambda path: run([ffmpeg, "-threads", "1", "-i", f"file:{path}", *shrink]),
        "ffmpeg_both": lambda path: run([ffmpeg, "-threads", "1", "-i", f"file:{path}", *shrink, *sound]),
    }
    clips = {path.name: len(starts(path)) for path in files}
    read_with_media(files[0])  # the first call loads libraries
    rows = []
    for path in files:
        row: dict = {"file": path.name, "clips": clips[path.name]}
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(repeats):
            for name, way in ways.items():
                runs[name].append(timed(way, path))
        for name, times in runs.items():
            row[f"{name}_cpu_s"] = round(min(cpu for cpu, _ in times), 4)
            row[f"{name}_wall_s"] = round(min(wall for _, wall in times), 4)
        rows.append(row)
    total = {key: sum(row[key] for row in rows) for key in rows[0] if key != "file"}
    rate = {name: round(total["clips"] / total[f"{name}_cpu_s"], 3) for name in ways}
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": hardware(),
        "versions": versions(ffmpeg),
        "repeats": repeats,
        "threads": 1,
        "load_average": round(os.getloadavg()[0], 2),
        "clips_per_cpu_second": rate,
        "ratio": {name: round(rate["media"] / rate[name], 3) for name in GOALS},
        "wall_ratio": {name: round(total[f"{name}_wall_s"] / total["media_wall_s"], 3) for name in GOALS},
        "goal": GOALS,
        "per_file": rows,
    }


def starts(path: Path) -> list[float]:
    """Clips of a file, at every whole SOURCE_SECONDS that begins before its end."""
    return [float(i * SOURCE_SECONDS) for i in range(max(1, round(media.probe(path).video_seconds / SOURCE_SECONDS)))]


def read_with_media(path: Path) -> None:
    """All clips of a file, frames and sound, in one pass."""
    media.read_clips(path, starts_seconds=starts(path), size=(FRAME_SIZE, FRAME_SIZE), threads=1)


def run(command: list[str]) -> None:
    """Run FFmpeg, its output read and thrown away as a caller's pipe would."""
    options = [command[0], "-nostdin", "-v", "error", *command[1:]]
    subprocess.run(options, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)


def timed(way: Callable[[Path], None], path: Path) -> tuple[float, float]:
    """(CPU seconds of this process and its children, wall-clock seconds)."""
    before, wall = cpu_seconds(), time.perf_counter()
    way(path)
    return cpu_seconds() - before, time.perf_counter() - wall


def cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def find_ffmpeg() -> str:
    """FFmpeg of the PATH, else the one that imageio-ffmpeg brings."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def versions(ffmpeg: str) -> dict[str, str]:
    banner = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
    return {
        "python": platform.python_version(),
        "av": av.__version__,
        "libavcodec": libavcodec,
        "numpy": np.__version__,
        "ffmpeg": banner.split(" ")[2],
    }


def hardware() -> str:
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores"


def encode_clips(folder: Path) -> list[Path]:
    """Six clips of moving pictures with noise, where no real ones are at hand."""
    rng = np.random.default_rng(0)
    files = []
    for number, (width, height, fps) in enumerate(((640, 360, 30), (1280, 720, 25), (320, 240, 30)) * 2):
        path = folder / f"clip{number}.mp4"
        ground = rng.integers(0, 255, (height // 8 + 1, width // 8 + 60, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        with av.open(str(path), "w") as out:
            pictures = out.add_stream("libx264", rate=fps, options={"preset": "veryfast"})
            pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv420p"
            sounds = out.add_stream("aac", rate=44100, layout="stereo")
            for i in range(SOURCE_SECONDS * fps):
                view = np.ascontiguousarray(ground[:height, i : i + width])
                out.mux(pictures.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
            for i in range(SOURCE_SECONDS * 44100 // 1024):
                noise = rng.normal(0, 0.1, (2, 1024)).astype(np.float32)
                frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="stereo")
                frame.sample_rate, frame.time_base, frame.pts = 44100, Fraction(1, 44100), i * 1024
                out.mux(sounds.encode(frame))
            out.mux(pictures.encode(None))
            out.mux(sounds.encode(None))
        files.append(path)
    return files


def report(result: dict) -> None:
    rates = result["clips_per_cpu_second"]
    print(f"{result['files']} on {result['hardware']}, one thread, {result['date']}")
    for name, rate in rates.items():
        print(f"{name:>14}: {rate:7.3f} clips per CPU second")
    for name, ratio in result["ratio"].items():
        verdict = "reached" if ratio >= GOALS[name] else "MISSED"
        wall = result["wall_ratio"][name]
        print(f"media / {name}: {ratio:.2f}x CPU, {wall:.2f}x wall clock; goal {GOALS[name]:.1f}x {verdict}")


if __name__ == "__main__":
    main()
