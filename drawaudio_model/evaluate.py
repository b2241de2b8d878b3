"""The evaluation: generates a split of the training shards, measures how well it follows, and writes a page to listen to.

    python -m drawaudio_model.evaluate --model data/demo/model --shards data/demo/training_shards --split test \
        --media data/demo/clip_media --output data/demo/evaluation

The paper's metrics (FD, IS, KL, FAD, CS-AV) and the CLAP score are measured where their extractors' weights lie, and named
as missing where not. In the output folder: `metrics.json` (every figure with its count and interval), `clips.json` (the
figures of each clip), `index.html` with `page/` (a folder that can be copied anywhere) and `clips/` (what was generated,
kept for the next run).

Each clip is the first 8 s of its sample, generated from the sample's own features: with all instructions, with a curve
drawn by hand in place of its own, and without a curve. Beside them stand the real sound through autoencoder and vocoder,
the mean log-mel of all real sounds (as from a model that ignores every instruction), and what follows the curve and is
not the thing: white noise, noise of the spectrum that the noun's training sounds have, and bursts where the curve rises.
None of them is a bound: each has some figures that a model may miss. With DRAWAUDIO_THREADS=auto the threads of a CPU's
sampling steps are chosen by measuring, which changes the last bits (thread_choice.py).

Legend: N clips, B batch, T mel frames, M mel bins, P loudness points.
"""

import argparse
import platform
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from drawaudio_model import metrics
from drawaudio_model.atomic_files import fingerprint, write_atomically
from drawaudio_model.cavp import diff_foley_log_mel
from drawaudio_model.clip_format import CLIP_SECONDS, LOUDNESS_POINTS, SOURCE_SECONDS
from drawaudio_model.command_line import run_program
from drawaudio_model.defaults import SAMPLING_STEPS, WEIGHTS_FOLDER
from drawaudio_model.device_choice import named_device
from drawaudio_model.drawn.curves import draw_signal
from drawaudio_model.drawn.sounds import LOUDEST
from drawaudio_model.evaluation import listening_page
from drawaudio_model.evaluation.arguments import EVALUATE_EXAMPLE, EVALUATE_PURPOSE, add_evaluate_arguments
from drawaudio_model.evaluation.paper_tables import beside_the_paper, table_html
from drawaudio_model.evaluation.published_metrics import Clip, published_metrics
from drawaudio_model.evaluation.report import Figure, ReportRow, figure
from drawaudio_model.evaluation.sample_sounds import (
    Evaluation,
    batch_conditions,
    clip_seed,
    curve_and_onsets,
    defined_json,
    each_once,
    generate_clips,
    keep_sounds_of,
    limited_clips,
    mean_sound,
    read_samples,
    real_onsets,
    real_waveform,
    sample_fingerprint,
    through_autoencoder,
)
from drawaudio_model.evaluation.unsteered_sounds import bursts_of_curve, is_on_time, noun_spectra, obeys
from drawaudio_model.guidance import OWN_GUIDANCE, Guidance
from drawaudio_model.loudness import noise_of_curve
from drawaudio_model.model_folder import model_sha256
from drawaudio_model.pipeline import Conditions, DrawAudioPipeline
from drawaudio_model.progress import Reporter
from drawaudio_model.second_process import process_count, second_process
from drawaudio_model.thread_choice import threads_setting
from drawaudio_model.training_sample import TrainingSample

ROWS = {
    "generated": "generated, all instructions",
    "drawn": "generated, the curve drawn by hand",
    "uncurved": "generated, no curve",
    "autoencoder": "real sound through autoencoder and vocoder",
    "mean": "mean of all real sounds",
    "noise": "noise under the clip's curve",
    "noise_drawn": "noise under the drawn curve",
    "noun": "noise of the noun's spectrum under the clip's curve",
    "noun_drawn": "noise of the noun's spectrum under the drawn curve",
    "bursts": "bursts where the clip's curve rises",
    "bursts_drawn": "bursts where the drawn curve rises",
}
"""Row -> its name in the table. Noise gets every loudness figure right and is not the sound of the thing."""
NOUN_ROWS = frozenset({"noun", "noun_drawn"})
"""Rows that need the train split with its sounds."""
HEARD_ROWS = ("generated", "drawn", "autoencoder")
"""Rows of which the page has the sounds."""
DRAWN_ROWS = frozenset({"drawn", "noise_drawn", "noun_drawn", "bursts_drawn"})
"""Rows whose curve was drawn by hand, without regard to the picture: no onset of the real sound is expected there."""
GENERATED_FOLDERS = {"generated": "clips", "drawn": "clips_drawn", "uncurved": "clips_uncurved"}
"""Row that the model generates -> folder of its sounds."""
PER_CLIP = {
    "loudness_pearson": "loudness correlation (Pearson)",
    "loudness_spearman": "loudness correlation (Spearman)",
    "loudness_error_db": "loudness error, level-free (dB)",
    "level_error_db": "level error, absolute (dB)",
    "silence_db": "level where the curve is silent (dB)",
    "onset_f1": "onset F1 (0.1 s)",
    "lag_seconds": "lag of the loudness (s)",
    "right_at_once": "curve, level and onsets right at once",
}
"""Metrics that have a value for each clip."""
MEAN_OVER_CLIPS = frozenset({"onset_f1", "right_at_once"})
"""Metrics of which the mean is reported; of the others it is the median."""
FRECHET = "Frechet distance (the model's own CAVP audio tower)"
"""Not comparable with any published FD: another extractor."""


@dataclass(frozen=True)
class Settings:
    """Settings of an evaluation."""

    split: str = "test"
    limit: int | None = None
    """At most this many clips, drawn with the seed."""
    seed: int = 0
    batch: int = 8
    steps: int = SAMPLING_STEPS
    guidance: Guidance = OWN_GUIDANCE
    page_clips: int = 40
    weights: Path = WEIGHTS_FOLDER
    """Folder of the extractors for the paper's metrics."""
    fetch_weights: bool = False
    """Whether weights that are missing there are downloaded."""
    dataset: str | None = None
    """The paper's test set whose table is filled."""
    part: tuple[int, int] = (0, 1)
    """(i, n): of n processes this is the i-th, from 0."""
    processes: int = 1
    """That generate at the same time, on this machine: 1 or 2; with a part of several 1."""


def run(options: argparse.Namespace) -> None:
    """Does what the parsed command line asks for.

    Raises:
        ValueError: when the input is wrong.
    """
    device = named_device(options.device)
    evaluate(
        options.model,
        shards=options.shards,
        media=options.media,
        output=options.output,
        settings=_settings(options, device),
        device=device,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the evaluation; returns the exit code: 2 with one sentence on bad input."""
    return run_program("evaluate", EVALUATE_PURPOSE, EVALUATE_EXAMPLE, add_evaluate_arguments, run, arguments)


def evaluate(
    model: Path, *, shards: Path, media: Path | None, output: Path, settings: Settings, device: torch.device
) -> dict[str, Any]:
    """Generates, measures and writes everything; returns the content of metrics.json.

    With a part of several, only that part's clips are generated, nothing is measured and {} is returned; once all parts
    are done, a call without one finds every clip there and measures.

    Args:
        model: folder of a DrawAudioPipeline.
        shards: training shards, with sound.
        media: shards with the pictures for the page, or None for a page without them.
        output: folder.
        settings: clips, seed, sampling, the paper's metrics.
        device: of the model and the extractors.

    Raises:
        ValueError: when the split has no finished shard, its samples have no sound, or the model does not fit them.
    """
    started = time.monotonic()
    seed, batch, part = settings.seed, settings.batch, settings.part
    generation = Generation(model, shards, output, settings, device)
    samples, pipe = generation.samples, generation.pipe
    own = part if settings.processes == 1 else (0, 2)
    with Reporter("generate", total=generation.count(own), log=output / "log.jsonl") as report:
        if settings.processes > 1:
            generation.keep_sounds()
            with second_process("evaluation", _generate_second, model, shards, output, settings, device):
                generation.rows(report, own)
            # All sounds are there now, and are read.
            generated, drawn, uncurved = generation.rows(Reporter("read", None, active=False), part)
        else:
            generated, drawn, uncurved = generation.rows(report, part)
        if part[1] > 1:
            report.finish({"clips": len(generated), "part": f"{part[0] + 1} of {part[1]}"})
            return {}
    # The rows beside the model's, the real sounds' onsets and features, two passes over each row, and the page.
    spectra = noun_spectra(shards, samples)
    measured_rows = [row for row in ROWS if spectra or row not in NOUN_ROWS]
    steps_of_measuring = len(samples) * (3 + 2 * len(measured_rows)) + len(samples[: settings.page_clips])
    own_curves = {sample.key: sample.loudness[:LOUDNESS_POINTS] for sample in samples}
    drawn_curves = {sample.key: sample.loudness[:LOUDNESS_POINTS] for sample in generation.with_drawn}
    with Reporter("measure", total=steps_of_measuring, log=output / "log.jsonl") as report:
        real = {sample.key: real_waveform(sample) for sample in samples}
        report.note("real sounds through autoencoder and vocoder")
        sounds = {
            "generated": generated,
            "drawn": drawn,
            "uncurved": uncurved,
            "autoencoder": through_autoencoder(pipe, samples, batch=batch, report=report),
            "mean": dict.fromkeys(real, mean_sound(pipe, list(real.values()))),
            "noise": {key: noise_of_curve(curve) for key, curve in own_curves.items()},
            "noise_drawn": {key: noise_of_curve(curve) for key, curve in drawn_curves.items()},
            "bursts": {key: bursts_of_curve(curve) for key, curve in own_curves.items()},
            "bursts_drawn": {key: bursts_of_curve(curve) for key, curve in drawn_curves.items()},
        }
        if spectra:
            for row, curves in (("noun", own_curves), ("noun_drawn", drawn_curves)):
                sounds[row] = {key: noise_of_curve(curve, spectrum=spectra[key]) for key, curve in curves.items()}
        else:
            report.note(f"{shards} has no training sound of the clips' nouns; the rows of their spectra are left out")
        report.note("loudness, onsets and features")
        onsets = real_onsets(real, report)
        clips = {
            row: measure_clips(
                row_sounds,
                drawn_curves if row in DRAWN_ROWS else own_curves,
                None if row in DRAWN_ROWS else onsets,
                report,
            )
            for row, row_sounds in sounds.items()
        }
        table = {row: ReportRow(name=ROWS[row], metrics=summarise(values, seed)) for row, values in clips.items()}
        if pipe.cavp.config.audio_width:
            reference = audio_features(pipe, list(real.values()), report)
            for row, row_sounds in sounds.items():
                features = audio_features(pipe, [row_sounds[key] for key in real], report)
                table[row]["metrics"]["frechet_distance"] = {
                    "value": metrics.frechet_distance(reference, features),
                    "name": FRECHET,
                    "count": len(features),
                }
        else:
            report.note(
                f"{FRECHET} is not measured: the model was saved without it, as adapters put onto AudioLDM2 are"
            )
        pictures = listening_page.Pictures(media)
        compared = [
            Clip(
                real[sample.key],
                generated[sample.key],
                sample.facts["caption"],
                partial(pictures.find_one_a_second, sample.key),
            )
            for sample in samples
        ]
        published = published_metrics(
            compared,
            folder=settings.weights,
            device=device,
            seed=seed,
            fetch=settings.fetch_weights,
            tell=report.note,
        )
        for entry in published.values():
            if "missing" in entry:
                report.note(f"{entry['name']} is not measured: {entry['missing']}")
        result = {
            **generation.evaluation.record(),
            "dataset": settings.dataset,
            "published": published,
            "beside_the_paper": beside_the_paper(published, settings.dataset),
            "clips": len(samples),
            "limited_clips": limited_clips([output / folder for folder in GENERATED_FOLDERS.values()], report),
            "levels": {"uncurved_in_training_range": share_in_training_range(sounds["uncurved"].values(), pipe)},
            "seconds_of_sound": len(samples) * CLIP_SECONDS,
            "wall_seconds": round(time.monotonic() - started, 1),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
            "torch": torch.__version__,
            "rows": table,
        }
        write_atomically(output / "clips.json", defined_json(clips))
        write_atomically(output / "metrics.json", defined_json(result))
        report.note("writing the page")
        shown = [page_clip(sample, real, sounds, clips) for sample in samples[: settings.page_clips]]
        page = listening_page.write_page(
            output,
            title=f"Draw an Audio: {settings.split} split",
            result=result,
            clips=shown,
            media=media,
            below=None if settings.dataset is None else table_html(result["beside_the_paper"]),
            report=report,
        )
        report.finish({"clips": len(samples), "page": page, **_figures(table["generated"]["metrics"])})
    return result


class Generation:
    """The sounds of every row that the model generates, in parts.

    Args:
        model: folder of a DrawAudioPipeline.
        shards: training shards, with sound.
        output: folder that receives a folder of sounds for each row.
        settings: clips, seed, sampling.
        device: of the model.
    """

    def __init__(self, model: Path, shards: Path, output: Path, settings: Settings, device: torch.device) -> None:
        self.output, self.batch = output, settings.batch
        self.samples = read_samples(shards, settings.split, limit=settings.limit, seed=settings.seed)
        self.pipe = DrawAudioPipeline.from_pretrained(model).to(device)
        self.pipe.set_progress_bar_config(disable=True)
        self.with_drawn = drawn_samples(self.pipe, self.samples, settings.seed)
        own, drawn = (
            fingerprint([sample_fingerprint(sample) for sample in samples], self.batch)
            for samples in (self.samples, self.with_drawn)
        )
        guidance = settings.guidance.resolved(self.pipe.own_guidance)
        self.evaluation = Evaluation(model_sha256(model), settings.split, settings.seed, settings.steps, guidance, own)
        self._runs = {
            "generated": self.evaluation,
            "drawn": replace(self.evaluation, instructions=drawn),
            "uncurved": replace(self.evaluation, guidance=replace(guidance, loudness=0.0)),
        }

    def keep_sounds(self) -> None:
        """Removes what another model or setting has made, before several processes look for it."""
        for row, run in self._runs.items():
            keep_sounds_of(run, self.output / GENERATED_FOLDERS[row])

    def rows(self, report: Reporter, part: tuple[int, int]) -> list[dict[str, np.ndarray]]:
        """Key -> (128000,) sound of each row: generated, drawn, uncurved; of a part of several its own only."""
        return [
            generate_clips(
                self.pipe,
                self.with_drawn if row == "drawn" else self.samples,
                run,
                self.output / GENERATED_FOLDERS[row],
                batch=self.batch,
                report=report,
                conditions=curveless_conditions if row == "uncurved" else None,
                part=self._part_of_row(number, part),
            )
            for number, (row, run) in enumerate(self._runs.items())
        ]

    def count(self, part: tuple[int, int]) -> int:
        """Sounds of a part."""
        batches = [self.samples[start : start + self.batch] for start in range(0, len(self.samples), self.batch)]
        parts = [self._part_of_row(number, part) for number in range(len(self._runs))]
        return sum(len(together) for first, step in parts for together in batches[first::step])

    def _part_of_row(self, number: int, part: tuple[int, int]) -> tuple[int, int]:
        """The batches of all rows are dealt out in turn: none of the parts has the first one of every row."""
        batches = -(-len(self.samples) // self.batch)
        return (part[0] - number * batches) % part[1], part[1]


def _generate_second(model: Path, shards: Path, output: Path, settings: Settings, device: torch.device) -> None:
    """Generate the second half, in the second of two processes."""
    Generation(model, shards, output, settings, device).rows(Reporter("generate", None, active=False), (1, 2))


def curveless_conditions(pipe: DrawAudioPipeline, samples: Sequence[TrainingSample]) -> Conditions:
    """As `batch_conditions`, without the curve."""
    return batch_conditions(pipe, samples).without_loudness()


def drawn_samples(pipe: DrawAudioPipeline, samples: Sequence[TrainingSample], seed: int) -> list[TrainingSample]:
    """The samples, each with a curve drawn by hand in place of its own; seeded by the sample's key."""
    loudest = LOUDEST if pipe.domain is None else pipe.domain.config.loudest_level
    return [
        replace(
            sample,
            loudness=draw_signal(np.random.default_rng(clip_seed(seed, sample.key)), SOURCE_SECONDS, loudest=loudest),
        )
        for sample in samples
    ]


@torch.no_grad()
def audio_features(pipe: DrawAudioPipeline, waveforms: Sequence[np.ndarray], report: Reporter) -> np.ndarray:
    """(N * tokens, D) float32 features of CAVP's audio tower, one row for each quarter of a second."""

    def features(waveform: np.ndarray) -> np.ndarray:
        mel = diff_foley_log_mel(torch.from_numpy(waveform)[None].to(pipe.device))
        return pipe.cavp.encode_spectrogram(mel, normalize=True, pool=False)[0].cpu().numpy()

    return np.concatenate(each_once(waveforms, features, report))


def measure_clips(
    sounds: Mapping[str, np.ndarray],
    commanded: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray] | None,
    report: Reporter,
) -> dict[str, dict[str, float]]:
    """Key -> metric -> value; a metric that a row does not have is NaN.

    Args:
        sounds: key -> (128000,) waveform.
        commanded: key -> (P,) curve that its loudness is compared with.
        expected: key -> seconds of the real sound's onsets; None where none are expected.
        report: counts the sounds.
    """
    measured = {}
    analyses = each_once([sounds[key] for key in commanded], curve_and_onsets, report)
    for (key, wanted), (curve, made) in zip(commanded.items(), analyses, strict=True):
        correlation = metrics.loudness_correlation(wanted, curve)
        measured[key] = {
            "loudness_pearson": correlation.pearson,
            "loudness_spearman": correlation.spearman,
            "loudness_error_db": metrics.loudness_error_db(wanted, curve),
            "level_error_db": metrics.level_error_db(wanted, curve),
            "silence_db": metrics.silence_db(wanted, curve),
            "lag_seconds": metrics.lag_seconds(wanted, curve),
            "onset_f1": float("nan"),
            "right_at_once": float("nan"),
        }
        if expected is not None:
            onsets = metrics.match_onsets(expected[key], made)
            counts = {"onset_f1": onsets.f1, "onset_hits": onsets.hits, "onsets_real": onsets.reference_count}
            measured[key] |= counts | {"onsets_generated": onsets.generated_count}
            follows = obeys(correlation.pearson, measured[key]["level_error_db"])
            measured[key]["right_at_once"] = float(follows and is_on_time(onsets.f1))
    return measured


def share_in_training_range(sounds: Iterable[np.ndarray], pipe: DrawAudioPipeline) -> float | None:
    """Share of sounds made without a curve whose RMS lies in the training clips' range; None without a record of that range."""
    if pipe.domain is None:
        return None
    low, high = pipe.domain.config.quietest_rms, pipe.domain.config.loudest_rms
    levels = [float(np.sqrt(np.square(sound).mean())) for sound in sounds]
    # A FLAC's steps move a level by less than a hundredth of a decibel.
    return float(np.mean([low * 0.999 <= level <= high * 1.001 for level in levels]))


def summarise(values: dict[str, dict[str, float]], seed: int) -> dict[str, Figure]:
    """Metric -> median over clips (mean for MEAN_OVER_CLIPS) with its interval and count; undefined values are left out."""
    return {
        metric: figure(name, [row[metric] for row in values.values()], mean=metric in MEAN_OVER_CLIPS, seed=seed)
        for metric, name in PER_CLIP.items()
    }


def page_clip(
    sample: TrainingSample,
    real: dict[str, np.ndarray],
    sounds: dict[str, dict[str, np.ndarray]],
    clips: dict[str, dict[str, dict[str, float]]],
) -> listening_page.PageClip:
    """One clip as the page shows it."""
    return listening_page.PageClip(
        key=sample.key,
        caption=sample.facts["caption"],
        boxes=sample.boxes,
        commanded=sample.loudness[:LOUDNESS_POINTS],
        real=real[sample.key],
        sounds={ROWS[row]: row_sounds[sample.key] for row, row_sounds in sounds.items() if row in HEARD_ROWS},
        figures={PER_CLIP[metric]: clips["generated"][sample.key][metric] for metric in PER_CLIP},
    )


def _settings(options: argparse.Namespace, device: torch.device) -> Settings:
    part = _part(options.part)
    return Settings(
        split=options.split,
        limit=options.limit,
        seed=options.seed,
        batch=options.batch,
        steps=options.steps,
        guidance=Guidance(options.guidance_text, options.guidance_video, loudness=options.guidance_loudness),
        page_clips=options.page_clips,
        weights=options.weights,
        fetch_weights=options.fetch_weights,
        dataset=options.dataset,
        part=part,
        processes=1 if part[1] > 1 else process_count(options.processes, threads_setting(), device),
    )


def _part(text: str) -> tuple[int, int]:
    """(i, n) from 0 of "I/N" from 1."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise ValueError(f"--part is {text!r}, expected I/N such as 2/8")
    return int(number) - 1, int(count)


def _figures(row: Mapping[str, Figure]) -> dict[str, float]:
    """Metric -> value."""
    return {metric: entry["value"] for metric, entry in row.items()}


if __name__ == "__main__":
    sys.exit(main())
