"""Time and memory of making 8 s of sound, against diffusers' AudioLDM2Pipeline: full size, random weights.

    python benchmarks/sampling.py                        25 steps each, on the CPU
    python benchmarks/sampling.py --steps 3 --repeats 3  a few steps in turn; 25 are reckoned from them
    python benchmarks/sampling.py --device cuda --bf16 --compile

diffusers evaluates two branches a step (with and without text), we three (Eq. 12: with text and video, too) on a UNet
with a fourth attention stack, and CAVP twice before (frames and masked frames). `ours_null_skipped` is a model for which
no video means no video stack (MaskAttention's `null_video`). All run in this process in turn on the same text encoders,
autoencoder, vocoder and scheduler, so all see the same machine. What is reported is the time of a step (median), of all
that is not a step, and of 25 steps with it; by the clock, and by CPU seconds, which other work on the machine hardly
touches. The ratio is that of neighbours: each run's with diffusers' of the same repeat, the median of them. Peak memory is
that of further processes, each with one of the pipelines alone.

Goals: 1.5 x diffusers' time, 1.1 x its memory. Writes results/sampling.json.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import published
import torch
from diffusers import AudioLDM2Pipeline
from transformers import ClapFeatureExtractor

from drawaudio_model.cavp import CAVP
from drawaudio_model.clip_format import CLIP_SECONDS, FRAME_SIZE, VIDEO_FRAMES
from drawaudio_model.loudness_control import LoudnessControl
from drawaudio_model.mask_attention import MaskAttention
from drawaudio_model.pipeline import STEPS, DrawAudioPipeline

GOALS = {"time": 1.5, "memory": 1.1}
CLOCKS = ("clock", "cpu")
MEASURED_MEMORY = ("diffusers", "ours")
RESULTS = Path(__file__).parent / "results" / "sampling.json"


def diffusers_pipeline(shared: dict[str, Any]) -> AudioLDM2Pipeline:
    pipe = AudioLDM2Pipeline(**shared, unet=published.base_unet(), feature_extractor=ClapFeatureExtractor())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def our_pipeline(shared: dict[str, Any]) -> DrawAudioPipeline:
    parts = shared | {"language_model": shared["language_model"].transformer}
    pipe = DrawAudioPipeline(
        **parts,
        unet=published.our_unet(),
        mask_attention=MaskAttention().eval(),
        loudness_control=LoudnessControl(zero_start=False).eval(),
        cavp=CAVP(audio_width=0).eval(),
    )
    pipe.set_progress_bar_config(disable=True)
    # As a pipeline that was loaded from a folder; the autoencoder is shared, and diffusers' faster by it, too.
    pipe.enable_channels_last()
    return pipe


def shared_parts() -> dict[str, Any]:
    return published.text_parts() | {
        "vae": published.autoencoder(),
        "vocoder": published.vocoder(),
        "scheduler": published.solver(),
    }


def run_diffusers(pipe: AudioLDM2Pipeline, steps: int, on_step: Callable[..., None]) -> None:
    """8 s from a text, guided."""
    pipe(
        published.CAPTION,
        audio_length_in_s=float(CLIP_SECONDS),
        num_inference_steps=steps,
        guidance_scale=3.5,
        callback=lambda *_: on_step(),
        callback_steps=1,
    )


def run_ours(
    pipe: DrawAudioPipeline,
    steps: int,
    on_step: Callable[..., None],
    *,
    null_video: str = "zeros",
) -> None:
    """8 s from all instructions: text, video, mask and curve."""
    frames = np.random.default_rng(0).integers(0, 255, (VIDEO_FRAMES, FRAME_SIZE, FRAME_SIZE, 3), dtype=np.uint8)
    pipe.mask_attention.register_to_config(null_video=null_video)
    pipe(
        frames,
        published.CAPTION,
        mask=(0.1, 0.1, 0.6, 0.8),
        loudness=[(0.0, 0.0), (2.0, 0.3), (8.0, 0.05)],
        num_inference_steps=steps,
        seed=0,
        callback_on_step_end=lambda *_: on_step(),
    )


def timed(run: Callable[[int, Callable[..., None]], None], steps: int, device: str) -> dict[str, list[float]]:
    """Clock and CPU seconds of each step but the first, and of all that is not a step."""

    def now() -> tuple[float, float]:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()

    marks: list[tuple[float, float]] = []
    start = now()
    run(steps, lambda: marks.append(now()))
    end = now()
    found = {}
    for axis, name in enumerate(CLOCKS):
        each = [later[axis] - earlier[axis] for earlier, later in pairwise(marks)]
        step = statistics.median(each)
        # The first step shares its interval with what comes before it.
        found[name] = {"step": step, "fixed": end[axis] - start[axis] - sum(each) - step}
    return found


def measure_times(arguments: argparse.Namespace) -> dict[str, Any]:
    shared = shared_parts()
    theirs, ours = diffusers_pipeline(shared), our_pipeline(shared)
    for pipe in (theirs, ours):
        pipe.to(arguments.device, torch.bfloat16 if arguments.bf16 else torch.float32)
        if arguments.compile:
            pipe.unet.compile()
    runs = {
        "diffusers": lambda steps, on_step: run_diffusers(theirs, steps, on_step),
        "ours": lambda steps, on_step: run_ours(ours, steps, on_step),
        "ours_null_skipped": lambda steps, on_step: run_ours(ours, steps, on_step, null_video="skip"),
    }
    if arguments.compile or arguments.device == "cuda":  # compiling and choosing kernels belong to no repeat
        for run in runs.values():
            timed(run, 2, arguments.device)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
    for repeat in range(arguments.repeats):
        for name, run in runs.items():
            found[name].append(timed(run, arguments.steps, arguments.device))
            print(f"repeat {repeat + 1}, {name}: {found[name][-1]}", flush=True)
    return {name: {clock: summary(rows, found["diffusers"], clock) for clock in CLOCKS} for name, rows in found.items()}


def summary(rows: list[dict[str, Any]], baseline: list[dict[str, Any]], clock: str) -> dict[str, float]:
    """Medians over the repeats, in seconds, and of the ratio to the baseline of the same repeat."""

    def whole(row: dict[str, Any]) -> float:
        return row[clock]["fixed"] + STEPS * row[clock]["step"]

    return {
        "step": statistics.median(row[clock]["step"] for row in rows),
        "fixed": statistics.median(row[clock]["fixed"] for row in rows),
        "whole": statistics.median(map(whole, rows)),
        "ratio": statistics.median(whole(row) / whole(other) for row, other in zip(rows, baseline, strict=True)),
    }


def measure_memory(which: str) -> None:
    """Prints the peak of this process in MiB after one step of one of the pipelines."""
    if which == "diffusers":
        pipe = diffusers_pipeline(shared_parts())
        built = peak_mib()
        run_diffusers(pipe, 1, lambda: None)
    else:
        pipe = our_pipeline(shared_parts())
        built = peak_mib()
        run_ours(pipe, 1, lambda: None)
    weights = sum(
        weight.nbytes
        for part in pipe.components.values()
        if isinstance(part, torch.nn.Module)
        for weight in part.parameters()
    )
    print(json.dumps({"peak_mib": peak_mib(), "built_mib": built, "weights_mib": weights / 2**20}))


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_of(which: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--memory", which]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of each run, at least 2 (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--memory", choices=MEASURED_MEMORY, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    if arguments.memory:
        measure_memory(arguments.memory)
        return
    memory = {which: memory_of(which) for which in MEASURED_MEMORY}
    print(memory, flush=True)
    times = measure_times(arguments)
    clock = "clock" if arguments.device == "cuda" else "cpu"
    ratios = {name: {axis: times[name][axis].pop("ratio") for axis in CLOCKS} for name in times}
    result = {
        "what": f"seconds for {CLIP_SECONDS} s of sound, {STEPS} steps; median of the repeats",
        "settings": {name: getattr(arguments, name) for name in ("steps", "repeats", "device", "bf16", "compile")},
        "seconds": times,
        "time_ratio": ratios,
        "memory": memory,
        "memory_ratio": {name: memory[name]["peak_mib"] / memory["diffusers"]["peak_mib"] for name in memory},
        "goals": GOALS,
        **published.surroundings(),
        "seed": 0,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    for name in times:
        print(
            f"{name:15s} {times[name][clock]['whole']:8.1f} s, {ratios[name][clock]:.2f} x diffusers (goal {GOALS['time']})"
        )
    for name, ratio in result["memory_ratio"].items():
        print(f"{name:15s} {memory[name]['peak_mib']:8.0f} MiB, {ratio:.2f} x diffusers (goal {GOALS['memory']})")


if __name__ == "__main__":
    main()
