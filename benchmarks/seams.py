"""Seams of a section that is made anew, on the demo's test clips: the log-mel's jump and the level's step at them.

    python benchmarks/seams.py
    python benchmarks/seams.py --model data/demo/model --data data/demo --clips 16 --steps 25

Each clip's words and curve make a sound; then a section of it, of one to three seconds somewhere, is made anew: under the same
instructions (`same`), under a curve that is half as high inside the section (`curve`), and, without a curve, under the same
words (`free`) and under other ones (`words`). At both its ends are measured, over the fade, where it was placed, and 20 ms on
each side (before it begins, every sample inside the section is still that of before):

    jump        mean difference of neighbouring log-mel frames; the median over all seams, as a multiple of the same in the
                sound before ("before"), and of that sound's median jump anywhere ("anywhere")
    splice      the same where another take is put in without a fade and at its own latents
    level_db    how much the step from the 0.1 s outside the section to the 0.1 s inside has changed, and likewise at the
                fade's begin; median and ninth decile of the larger
    inside_ms   from the section's end to its fade; median

Goals: 1.2 times the median jump anywhere, 1.5 dB. Writes results/seams.json.
"""

import argparse
import json
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from drawaudio_model.clip_format import LOUDNESS_FPS, SAMPLE_RATE
from drawaudio_model.evaluation.sample_sounds import read_samples
from drawaudio_model.generation.sections import FADE_SECONDS
from drawaudio_model.generation.takes import Sampling
from drawaudio_model.mel import log_mel
from drawaudio_model.pipeline import DrawAudioPipeline

RESULTS = Path(__file__).parent / "results" / "seams.json"
OTHER_WORDS = "rain falls"
KINDS = ("same", "curve", "free", "words")
MADE: dict[str, tuple] = {}
"""The takes under a clip's own curve, which two kinds share."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("data/demo/model"))
    parser.add_argument("--data", type=Path, default=Path("data/demo"))
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    pipe = DrawAudioPipeline.from_pretrained(options.model)
    pipe.set_progress_bar_config(disable=True)
    samples = read_samples(options.data / "training_shards", "test", limit=options.clips, seed=0)
    rng = np.random.default_rng(0)
    sections = [(start, start + float(rng.uniform(1, 3))) for start in rng.uniform(1.0, 4.5, len(samples))]
    result = {"clips": len(samples), "steps": options.steps, "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            rows = []
            for sample, section in zip(samples, sections, strict=True):
                video = Path(folder) / "clip.mp4"
                video.write_bytes(clip(options.data, sample.key))
                rows += seams(pipe, video, sample, section, kind, Sampling(options.steps))
            result[kind] = summary(np.array(rows))
            print(kind, json.dumps(result[kind]), flush=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n")


def clip(data: Path, key: str) -> bytes:
    """The clip's video."""
    for shard in sorted((data / "raw_clips").glob("test-*.tar")):
        with tarfile.open(shard) as tar:
            if f"{key}.mp4" in tar.getnames():
                return tar.extractfile(f"{key}.mp4").read()
    raise ValueError(f"{data}/raw_clips has no {key}.mp4; materialize raw_clips first")


def seams(
    pipe: DrawAudioPipeline, video: Path, sample: object, section: tuple[float, float], kind: str, sampling: Sampling
) -> list[tuple[float, ...]]:
    """Of both seams: jump after, before, of a splice, anywhere, change of the step in dB, ms inside, seconds of samplings."""
    words = sample.facts["caption"]
    curve = np.asarray(sample.loudness, np.float32)[: 8 * LOUDNESS_FPS] if kind in ("same", "curve") else None
    prepared = pipe.prepare(video, words, loudness=curve, seconds=8)
    if curve is not None and sample.key in MADE:
        takes, whole = MADE[sample.key]
    else:
        began = time.perf_counter()
        takes = [pipe.generate(prepared, seeds=[seed], sampling=sampling, keep_latents=True) for seed in (1, 2)]
        whole = (time.perf_counter() - began) / 2
        if curve is not None:
            MADE[sample.key] = takes, whole
    if kind == "words":
        prepared = pipe.prepare(video, OTHER_WORDS, seconds=8)
        takes[1] = pipe.generate(prepared, seeds=[2], sampling=sampling)
    if kind == "curve":
        lower = curve.copy()
        lower[round(section[0] * LOUDNESS_FPS) : round(section[1] * LOUDNESS_FPS)] /= 2
        prepared = pipe.with_loudness(prepared, lower)
    began = time.perf_counter()
    after = pipe.regenerate(takes[0], prepared, *section, seeds=[3], sampling=sampling).audios[0]
    part = time.perf_counter() - began
    before, other = (take.audios[0] for take in takes)
    first, last = (round(edge * SAMPLE_RATE) for edge in section)
    assert np.array_equal(before[:first], after[:first]) and np.array_equal(before[last:], after[last:])
    splice = before.copy()
    splice[first:last] = other[first:last]
    jumps = [np.abs(np.diff(log_mel(sound).numpy(), axis=0)).mean(axis=1) for sound in (after, before, splice)]
    # The fades begin and end where the samples do not agree any more.
    changed = first + np.flatnonzero(before[first:last] != after[first:last])[[0, -1]] + (0, 1)
    reach, rows = round(FADE_SECONDS * 100), []
    fades = changed[0] * 100 // SAMPLE_RATE, changed[1] * 100 // SAMPLE_RATE - reach
    for place, fade, begin in zip((first, last), changed, fades, strict=True):
        at_seam = [float(jump[begin - 2 : begin + reach + 2].mean()) for jump in jumps]
        steps = max(abs(step_db(after, at) - step_db(before, at)) for at in (place, fade))
        away = abs(fade - place) / SAMPLE_RATE * 1000
        rows.append((*at_seam, float(np.median(jumps[1])), steps, away, whole, part))
    return rows


def step_db(sound: np.ndarray, place: int) -> float:
    """From the 0.1 s before a sample to the 0.1 s after it; below -80 dB of full scale all is alike."""
    width = SAMPLE_RATE // 10
    levels = [np.sqrt(np.mean(sound[start : start + width].astype(float) ** 2)) for start in (place - width, place)]
    return float(20 * np.log10(max(levels[1], 1e-4) / max(levels[0], 1e-4)))


def summary(rows: np.ndarray) -> dict[str, float]:
    """The figures of the docstring."""
    after, before, splice, anywhere, level, away, whole, part = rows.T
    middle = [float(np.median(values)) for values in (after, before, splice, anywhere)]
    figures = {
        "jump_of_before": middle[0] / middle[1],
        "jump_of_anywhere": middle[0] / middle[3],
        "splice_of_before": middle[2] / middle[1],
        "level_db_median": float(np.median(level)),
        "level_db_ninth_decile": float(np.percentile(level, 90)),
        "inside_ms": float(np.median(away)),
        "seconds_whole": float(np.median(whole)),
        "seconds_section": float(np.median(part)),
    }
    return {name: round(value, 3) for name, value in figures.items()}


if __name__ == "__main__":
    main()
