"""Speed of reading training batches, against plain readings of the same tars.

    python benchmarks/loader.py

Shards of random samples with the published backbones' shapes are written to a temporary folder. Then, in this order and
repeated in turns so that all see the same machine:

- `training_batches` in one process: the members that training needs, cropped, posterior sampled, collated to tensors;
- `tarfile`: every byte of every member, nothing decoded;
- `webdataset`: its plain decoding (`.decode()`: arrays, JSON and text; the flac stays bytes), one sample at a time.

Both time (best of the repeats) and CPU time are given; the goals are 0.6 of tarfile's samples/s and 1.0 of webdataset's.
The files are in the page cache for all three. Writes results/loader.json.
"""

import argparse
import json
import os
import platform
import tarfile
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import webdataset as wds

from drawaudio_model.clip_format import SOURCE_LOUDNESS_POINTS, SOURCE_MEL_FRAMES, SOURCE_VIDEO_FRAMES
from drawaudio_model.dataset import NullRates, TrainingShards, training_batches
from drawaudio_model.shard import ShardWriter
from drawaudio_model.training_sample import TrainingSample, encode_sample

GOALS = {"tarfile": 0.6, "webdataset": 1.0}
FLAC_BYTES = 160_000
"""Of a 10 s clip: FLAC halves 16 bit at 16 kHz."""


def published_sample(key: str, generator: np.random.Generator) -> TrainingSample:
    """Random arrays of the shapes that AudioLDM2 and Diff-Foley give."""

    def half(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape, np.float32).astype(np.float16)

    words = int(generator.integers(8, 25))
    facts = {"source": "benchmark", "source_id": key.split("_")[0], "start_s": 0, "label": "bell", "split": "train"}
    facts |= {"caption": "a bell rings " * 4, "caption_source": "benchmark", "noun_phrases": ["bell"], "scores": {}}
    box = {"phrase": 0, "confidence": 0.5, "x0": 0.1, "y0": 0.1, "x1": 0.6, "y1": 0.7}
    return TrainingSample(
        key=key,
        facts=facts,
        flac=generator.bytes(FLAC_BYTES),
        boxes=[{"frame": frame, **box} for frame in range(SOURCE_VIDEO_FRAMES)],
        cavp=half(SOURCE_VIDEO_FRAMES, 512),
        cavp_masked=half(SOURCE_VIDEO_FRAMES, 512),
        loudness=generator.random(SOURCE_LOUDNESS_POINTS, np.float32),
        latent=half(16, SOURCE_MEL_FRAMES // 4, 16),
        clap=half(512),
        t5=half(words, 1024),
        gpt=half(8, 768),
    )


def write_shards(folder: Path, shards: int, samples: int, seed: int) -> None:
    """`shards` tars of `samples` each."""
    generator = np.random.default_rng(seed)
    for shard in range(shards):
        with ShardWriter(folder, f"train-{shard:06d}", inputs={"seed": str(seed)}) as writer:
            for number in range(samples):
                sample = published_sample(f"clip{shard:03d}{number:05d}_000000", generator)
                writer.add(sample.key, encode_sample(sample))
            writer.commit()


def read_training_batches(folder: Path, count: int, seed: int) -> int:
    rates = NullRates(text_and_video=0.1, text=0.1, video=0.1, mask=0.1, loudness=0.1)
    batches = training_batches(
        TrainingShards(folder), batch_size=32, seed=seed, steps=count // 32, null_rates=rates, workers=0
    )
    return sum(len(batch.keys) for batch in batches)


def read_tarfile(folder: Path, count: int, seed: int) -> int:
    keys = 0
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path, "r|") as archive:
            for member in archive:
                content = archive.extractfile(member).read()
                keys += member.name.endswith(".gpt.npy") and bool(content)
    return keys


def read_webdataset(folder: Path, count: int, seed: int) -> int:
    paths = [str(path) for path in sorted(folder.glob("*.tar"))]
    return sum("gpt.npy" in sample for sample in wds.WebDataset(paths, shardshuffle=False).decode())


def measure(read: Callable[[Path, int, int], int], folder: Path, count: int, seed: int) -> tuple[float, float]:
    """(samples/s by the clock, samples per CPU second) of one reading."""
    clock, cpu = time.perf_counter(), time.process_time()
    samples = read(folder, count, seed)
    return samples / (time.perf_counter() - clock), samples / (time.process_time() - cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--samples", type=int, default=256, help="samples in each shard")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "loader.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    readers = {"training_batches": read_training_batches, "tarfile": read_tarfile, "webdataset": read_webdataset}
    count = arguments.shards * arguments.samples
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_shards(folder, arguments.shards, arguments.samples, arguments.seed)
        size = sum(path.stat().st_size for path in folder.glob("*.tar"))
        speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
        for _ in range(arguments.repeats):
            for name, read in readers.items():
                speeds[name].append(measure(read, folder, count, arguments.seed))
    best = {name: {"samples_per_s": max(a)[0], "samples_per_cpu_s": max(s[1] for s in a)} for name, a in speeds.items()}
    ratios = {
        name: {unit: best["training_batches"][unit] / best[name][unit] for unit in best[name]} | {"goal": goal}
        for name, goal in GOALS.items()
    }
    result = {
        "what": "training_batches against plain readings of the same tars, one process, page cache warm",
        "samples": count,
        "bytes_per_sample": size // count,
        "repeats": arguments.repeats,
        "best": best,
        "ratio": ratios,
        "load_average_at_end": os.getloadavg()[0],
        "hardware": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in ("torch", "numpy", "webdataset")}
        | {"python": platform.python_version()},
        "date": date.today().isoformat(),
        "seed": arguments.seed,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    for name, values in best.items():
        print(f"{name:18s} {values['samples_per_s']:8.0f} samples/s  {values['samples_per_cpu_s']:8.0f} per CPU second")
    for name, values in ratios.items():
        print(
            f"{values['samples_per_s']:.2f} x {name} (goal {values['goal']}), by CPU time {values['samples_per_cpu_s']:.2f}"
        )


if __name__ == "__main__":
    main()
