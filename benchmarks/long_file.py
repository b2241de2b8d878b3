"""Seconds and memory that clips of one long file take: 5, 10 and 20 minutes of it, from the list to clip_media's shard.

A file is hashed once and decoded once, so the cost of a minute is the same in a long file as in a short one, and memory does
not grow with its length. Each length runs in a process of its own, on one thread; seconds are of the CPU.

    python benchmarks/long_file.py [--minutes 5 10 20]
"""

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imageio_ffmpeg

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "long_file.json"
MOST_GROWTH = 1.2
"""Most CPU seconds a minute of the longest file, as a multiple of the shortest one's."""


def main() -> None:
    """Measure, print, write benchmarks/results/long_file.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--one", type=Path, help="measure the only file of this folder (used by the benchmark itself)")
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(options.one)))
        return
    rows = []
    for minutes in options.minutes:
        with tempfile.TemporaryDirectory() as folder:
            encode(Path(folder) / "media", minutes)
            command = [sys.executable, __file__, "--one", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append({"minutes": minutes, **json.loads(done.stdout.splitlines()[-1])})
        rows[-1]["cpu_s_per_minute"] = round(rows[-1]["cpu_s"] / minutes, 3)
        print(rows[-1])
    growth = rows[-1]["cpu_s_per_minute"] / rows[0]["cpu_s_per_minute"]
    result = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": f"{processor()}, one core",
        "load_average": os.getloadavg()[0],
        "rows": rows,
        "growth": round(growth, 3),
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    verdict = "reached" if growth <= MOST_GROWTH else "MISSED"
    print(f"a minute of {rows[-1]['minutes']} costs {growth:.2f} of a minute of {rows[0]['minutes']}; goal {verdict}")


def processor() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def encode(folder: Path, minutes: int) -> None:
    """One file of FFmpeg's test picture and a tone that swells, 25 pictures a second."""
    folder.mkdir()
    picture = f"testsrc2=size=320x240:rate=25:duration={60 * minutes}"
    sound = f"aevalsrc=0.3*sin(2*PI*440*t)*(1+sin(t)):duration={60 * minutes}:sample_rate=44100"
    inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
    codecs = ["-c:v", "libx264", "-preset", "veryfast", "-threads", "1", "-c:a", "aac"]
    out = str(folder / "long.mp4")
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *inputs, *codecs, out], check=True)


def measure(folder: Path) -> dict:
    """List the file of folder/media, refer to it, and make clip_media's shard of all its clips."""
    from pipelines.assets import clip_media
    from pipelines.clip_rows import ClipRow, write_clip_list
    from pipelines.shard_work import make_shard
    from pipelines.sources import folder as source
    from pipelines.sources.source import raw_recipe

    shard, root = "train-000000", folder / "data"
    begin, cpu = time.perf_counter(), time.process_time()
    clips = source.list_media(folder / "media", None)
    listed = time.process_time()
    rows = [
        ClipRow(clip.key, "folder", clip.source_id, clip.start_s, "", "train", None, media=str(clip.path), shard=shard)
        for clip in clips
    ]
    write_clip_list(root / "clip_list.parquet", rows)
    make_shard(root, shard, raw_recipe(root, source.refer_once(), {}))
    referred = time.process_time()
    manifest = make_shard(root, shard, clip_media.recipe())
    return {
        "clips": manifest.count,
        "list_cpu_s": round(listed - cpu, 2),
        "refer_cpu_s": round(referred - listed, 2),
        "decode_cpu_s": round(time.process_time() - referred, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "wall_s": round(time.perf_counter() - begin, 2),
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


if __name__ == "__main__":
    main()
