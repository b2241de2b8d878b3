"""The control benchmark: whether each instruction steers the sound, on the demo world's test split.

    python -m drawaudio_model.control --model data/demo/model --shards data/demo/training_shards \
        --raw-clips data/demo/raw_clips --media data/demo/clip_media --output data/demo/control \
        --wordings pipelines/sources/demo/held_out_wordings.json

Every row of `evaluation.control_rows.ROWS` generates the clips from the same noise under other instructions. Beside them
stand the real sound, the real sound through autoencoder and vocoder, and the mean of all real sounds. A classifier trained on the
train split's stems decides which thing sounds. In the output folder: `control.json` (every figure with count, interval
and seed), `clips.json` (the figures of each clip), `index.html` with `page/`, and `clips/<row>/` (what was generated,
kept for the next run).

Legend: N clips, P loudness points.
"""

import argparse
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from drawaudio_model import metrics
from drawaudio_model.atomic_files import fingerprint, write_atomically
from drawaudio_model.clip_format import CLIP_SAMPLES, CLIP_SECONDS
from drawaudio_model.command_line import run_program
from drawaudio_model.device_choice import named_device
from drawaudio_model.drawn.curves import draw_signal
from drawaudio_model.evaluation import control_page, sound_classifier
from drawaudio_model.evaluation.arguments import CONTROL_EXAMPLE, CONTROL_PURPOSE, add_control_arguments
from drawaudio_model.evaluation.control_goals import comparisons, goals, mask_swaps
from drawaudio_model.evaluation.control_rows import (
    ROWS,
    Row,
    Scene,
    loudest_level,
    other_things,
    read_scenes,
    read_truths,
    row_conditions,
)
from drawaudio_model.evaluation.report import Figure, JudgedClip, ReportRow, figure
from drawaudio_model.evaluation.sample_sounds import (
    Evaluation,
    curve_and_onsets,
    defined_json,
    each_once,
    flat_settings,
    generate_clips,
    limited_clips,
    mean_sound,
    read_samples,
    real_onsets,
    real_waveform,
    rebuilt_sound,
    sample_fingerprint,
    through_autoencoder,
)
from drawaudio_model.evaluation.unsteered_sounds import (
    SOUNDS_OF_NOUN,
    bursts_at,
    bursts_of_curve,
    is_on_time,
    mean_spectrum,
    obeys,
)
from drawaudio_model.guidance import OWN_GUIDANCE, Guidance
from drawaudio_model.levels.matching import MAX_BOOST_DB, follow_curve
from drawaudio_model.loudness import noise_of_curve
from drawaudio_model.mel import SILENT_PEAK
from drawaudio_model.model_folder import model_sha256
from drawaudio_model.pipeline import STEPS, DrawAudioPipeline
from drawaudio_model.progress import Reporter
from drawaudio_model.text_files import read_json
from drawaudio_model.training_sample import TrainingSample

MEAN_OVER_CLIPS = frozenset(
    {"onset_f1", "event_f1", "right_kind", "right_kind_of_two", "right_in_all", "right_at_once"}
)
"""Metrics of which the mean is reported; of the others it is the median, since one clip may be off by any amount."""
METRICS = {
    "loudness_pearson": "loudness correlation (Pearson)",
    "loudness_spearman": "loudness correlation (Spearman)",
    "loudness_error_db": "loudness error, level-free (dB)",
    "level_error_db": "level error, absolute (dB)",
    "envelope_l1": "E-L1",
    "silence_db": "level in commanded silence (dB)",
    "onset_f1": "onset F1 (0.1 s)",
    "event_f1": "onset F1 against the picture's events (0.1 s)",
    "lag_seconds": "lag (s)",
    "right_kind": "right thing sounds",
    "right_kind_of_two": "right thing of two sounds",
    "right_in_all": "right thing, curve and level",
    "right_at_once": "right thing, curve, level and onsets",
}
WORST_TENTH = {"loudness_pearson": 10, "loudness_error_db": 90, "level_error_db": 90, "silence_db": 90}
"""Metrics of which the worst tenth is reported as well -> the percentile that bounds it."""
DECODED = 48
"""At most this many held-out sounds, decoded by the model, test the classifier."""
UNGENERATED = {
    "real": Row("real", "real sound"),
    "autoencoder": Row("autoencoder", "real sound through autoencoder and vocoder"),
    "mean": Row("mean", "mean of all real sounds"),
    "noise": Row("noise", "noise under the clip's own curve", signal="own"),
    "noise_drawn": Row("noise_drawn", "noise under the drawn curve", signal="drawn"),
    "noun": Row("noun", "noise of the thing's spectrum under the clip's own curve", signal="own"),
    "noun_drawn": Row("noun_drawn", "noise of the thing's spectrum under the drawn curve", signal="drawn"),
    "bursts": Row("bursts", "bursts where the clip's own curve rises", signal="own"),
    "bursts_drawn": Row("bursts_drawn", "bursts where the drawn curve rises", signal="drawn"),
    "events": Row("events", "bursts at the picture's events"),
    "mean_drawn": Row("mean_drawn", "mean of all real sounds under the drawn curve", signal="drawn"),
    "other_drawn": Row("other_drawn", "another clip's real sound under the drawn curve", signal="drawn"),
}
"""Sounds that no model generated: what a decoder keeps of the real ones, and sounds that follow the curve and are not the thing.
None is a bound: a model may be better in one figure and worse in another."""
NOTHING = "nothing"
"""The classifier's verdict on a silent sound."""
BESIDE = ("signal", "all", "shuffled_signal")
"""Rows of a second model: those in which its loudness control can differ."""


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    split: str = "test"
    limit: int | None = None
    seed: int = 0
    repetitions: int = 1
    """Repetitions of the rows with drawn instructions, each with other instructions and other noise."""
    batch: int = 8
    steps: int = STEPS
    guidance: Guidance = OWN_GUIDANCE
    classifier_steps: int = sound_classifier.STEPS
    page_clips: int = 8


@dataclass(frozen=True, eq=False)
class Judge:
    """Measures generated sounds against the real ones and the curves."""

    real: Mapping[str, np.ndarray]
    """Key -> real waveform."""
    onsets: Mapping[str, np.ndarray]
    """Key -> seconds of its onsets."""
    classifier: sound_classifier.SoundClassifier
    """Decides which thing sounds; a silent sound is NOTHING, whatever the classifier says."""

    def measure(self, row: Row, sounds: Mapping[str, np.ndarray], scenes: Mapping[str, Scene]) -> dict[str, JudgedClip]:
        """Key -> figures: against the commanded curve, or the clip's own where none was commanded."""
        verdicts = {
            key: self.classifier.hear(sound)
            if np.abs(sound).max() > SILENT_PEAK
            else sound_classifier.Verdict(NOTHING, True)
            for key, sound in sounds.items()
        }
        curves = dict(zip(sounds, each_once(sounds.values(), curve_and_onsets), strict=True))
        return {key: self._measure_clip(row, scenes[key], sounds[key], verdicts[key], *curves[key]) for key in sounds}

    def _measure_clip(
        self,
        row: Row,
        scene: Scene,
        sound: np.ndarray,
        verdict: sound_classifier.Verdict,
        measured: np.ndarray,
        made: np.ndarray,
    ) -> JudgedClip:
        commanded, reference, events = scene.curve(row), scene.reference_key(row), scene.expected_events(row)
        correlation = metrics.loudness_correlation(commanded, measured)
        level_error = metrics.level_error_db(commanded, measured)
        right = verdict.kind == scene.expected_kind(row)
        obeys_all = right and obeys(correlation.pearson, level_error)
        onsets = float("nan") if reference is None else metrics.match_onsets(self.onsets[reference], made).f1
        figures = {
            "loudness_pearson": correlation.pearson,
            "loudness_spearman": correlation.spearman,
            "loudness_error_db": metrics.loudness_error_db(commanded, measured),
            "level_error_db": level_error,
            "envelope_l1": float("nan") if reference is None else metrics.envelope_l1(self.real[reference], sound),
            "silence_db": metrics.silence_db(commanded, measured),
            "onset_f1": onsets,
            "event_f1": metrics.match_onsets(events, made).f1 if events else float("nan"),
            "lag_seconds": metrics.lag_seconds(commanded, measured),
            "right_kind": float(right),
            "right_kind_of_two": float(right) if scene.other_kind is not None else float("nan"),
            "right_in_all": float("nan") if row.signal is None else float(obeys_all),
            "right_at_once": float("nan")
            if row.signal is None or reference is None
            else float(obeys_all and is_on_time(onsets)),
        }
        peak = float(np.abs(sound).max())
        return JudgedClip(figures, peak, verdict.kind, verdict.unanimous, scene.expected_kind(row))


@dataclass(frozen=True, eq=False)
class Table:
    """The sounds and figures of one row of one model."""

    row: Row
    title: str
    sounds: dict[str, np.ndarray]
    """Key -> waveform."""
    clips: dict[str, JudgedClip]
    """By key."""


def run(options: argparse.Namespace) -> None:
    """Does what the parsed command line asks for; what it leaves open is as Settings has it.

    Raises:
        ValueError: when the input is wrong.
    """
    given = {field.name: getattr(options, field.name) for field in fields(Settings) if field.name != "guidance"}
    guidance = Guidance(options.guidance_text, options.guidance_video, loudness=options.guidance_loudness)
    run_benchmark(
        {"": options.model, **dict(_named_folder(text) for text in options.beside)},
        shards=options.shards,
        raw_clips=options.raw_clips,
        media=options.media,
        wordings=options.wordings,
        output=options.output,
        settings=Settings(**{name: value for name, value in given.items() if value is not None}, guidance=guidance),
        device=named_device(options.device),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code: 2 with one sentence on bad input."""
    return run_program("control", CONTROL_PURPOSE, CONTROL_EXAMPLE, add_control_arguments, run, arguments)


def run_benchmark(
    models: Mapping[str, Path],
    *,
    shards: Path,
    raw_clips: Path,
    media: Path,
    wordings: Path,
    output: Path,
    settings: Settings,
    device: torch.device,
) -> dict[str, Any]:
    """Generates, measures and writes everything; returns the content of control.json.

    Args:
        models: name -> pipeline folder; the one with the empty name is judged, of the others the rows BESIDE are measured.
        shards: training shards, with sound.
        raw_clips: the demo world's clips with truth and stems.
        media: their pictures (clip_media).
        wordings: .json of kind -> wordings that no clip has.
        output: folder.
        settings: clips, seed, sampling.
        device: of the models.

    Raises:
        ValueError: when something is missing or does not fit.
    """
    started = time.monotonic()
    samples = read_samples(shards, settings.split, limit=settings.limit, seed=settings.seed)
    wordings_by_kind = read_wordings(wordings)
    classifier = sound_classifier.trained_classifier(
        raw_clips, output / "classifier", steps=settings.classifier_steps, seed=settings.seed
    )
    held_out = [stem for split in ("val", "test") for stem in sound_classifier.read_stems(raw_clips, split)]
    accuracies = {"held_out_stems": sound_classifier.accuracy(classifier, held_out)}
    real = {sample.key: real_waveform(sample) for sample in samples}
    tables: dict[str, Table] = {}
    with Reporter("control", total=_steps(samples, raw_clips, models, settings), log=output / "log.jsonl") as report:
        onsets = real_onsets(real, report)
        judge = Judge(real, onsets, classifier)
        for model_name, folder in models.items():
            report.note("reading the scenes")
            pipe = DrawAudioPipeline.from_pretrained(folder).to(device)
            pipe.set_progress_bar_config(disable=True)
            rounds = [
                {
                    scene.key: scene
                    for scene in read_scenes(
                        pipe,
                        samples,
                        raw_clips,
                        media,
                        repetition=number,
                        seed=settings.seed,
                        wordings=wordings_by_kind,
                    )
                }
                for number in range(settings.repetitions)
            ]
            scenes = rounds[0]
            sha256 = model_sha256(folder)
            for row in ROWS:
                if not _is_measured(row, model_name):
                    continue
                name = f"{model_name}.{row.name}" if model_name else row.name
                report.note(f"row {name}")
                repetitions = [
                    _measured_row(
                        pipe,
                        row,
                        scenes_of_round,
                        settings,
                        sha256,
                        row_folder(output, name, number),
                        report,
                        number,
                        judge,
                    )
                    for number, scenes_of_round in enumerate(rounds if row.drawn else rounds[:1])
                ]
                shown = f"{model_name}: {row.title}" if model_name else row.title
                tables[name] = merged(row, shown, repetitions)
            if not model_name:
                report.note("rows that no model made")
                held_out_sounds = [*held_out, *sound_classifier.read_materials(raw_clips, "test")]
                decoded = decoded_sounds(pipe, held_out_sounds, settings.seed)
                accuracies["decoded_sounds"] = sound_classifier.accuracy(classifier, decoded)
                ungenerated = ungenerated_sounds(
                    pipe, scenes, real, kind_spectra(raw_clips), batch=settings.batch, report=report
                )
                guidance = settings.guidance.resolved(pipe.own_guidance)
        for name, sounds in ungenerated.items():
            tables[name] = Table(
                UNGENERATED[name], UNGENERATED[name].title, sounds, judge.measure(UNGENERATED[name], sounds, scenes)
            )
        rows = {
            name: ReportRow(name=table.title, metrics=summarise(table, settings.seed)) for name, table in tables.items()
        }
        judged = {name: {key: clip.figures for key, clip in table.clips.items()} for name, table in tables.items()}
        swaps = mask_swaps(judged, settings.seed)
        result = {
            **flat_settings(settings, guidance),
            "model_sha256": model_sha256(models[""]),
            "models_beside": {name: model_sha256(folder) for name, folder in models.items() if name},
            "clips": len(samples),
            "limited_clips": limited_clips(
                [
                    row_folder(output, name, number)
                    for name, table in tables.items()
                    for number in range(settings.repetitions if table.row.drawn else 1)
                ],
                report,
            ),
            "clips_with_two_things": sum(scene.other_kind is not None for scene in scenes.values()),
            "classifier": {
                "kinds": list(classifier.kinds),
                "held_out_stems": len(held_out),
                "accuracy_on_held_out_stems": accuracies["held_out_stems"],
                "accuracy_on_decoded_sounds": accuracies["decoded_sounds"],
                "unanimous": {
                    name: float(np.mean([clip.unanimous for clip in table.clips.values()])) if table.clips else None
                    for name, table in tables.items()
                },
                "steps": settings.classifier_steps,
            },
            "rows": rows,
            "comparisons": comparisons(judged, settings.seed),
            "mask_swaps": swaps._asdict(),
            "goals": goals(rows, swaps.value, accuracies, comparisons(judged, settings.seed)),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
            "torch": torch.__version__,
            "wall_seconds": round(time.monotonic() - started, 1),
        }
        records = {name: {key: clip.record() for key, clip in table.clips.items()} for name, table in tables.items()}
        write_atomically(output / "clips.json", defined_json(records))
        write_atomically(output / "control.json", defined_json(result))
        report.note("writing the page")
        page = control_page.write(output, result, tables, scenes, real, media, clips=settings.page_clips, report=report)
        report.finish({"page": page, "goals": {goal["name"]: goal["reached"] for goal in result["goals"]}})
    return result


def _is_measured(row: Row, model_name: str) -> bool:
    """Whether a model's row is measured: of a second model only those in which its loudness control can differ."""
    return not model_name or row.name in BESIDE


def _steps(samples: Sequence[TrainingSample], raw_clips: Path, models: Mapping[str, Path], settings: Settings) -> int:
    """Steps of the progress bar: real sounds' onsets, clips of every row, those through the autoencoder, and the page's."""
    truths = read_truths([sample.key for sample in samples], raw_clips)
    with_two = sum(bool(other_things(truth)) for truth in truths.values())
    measured = [row for name in models for row in ROWS if _is_measured(row, name)]
    times = {row.name: settings.repetitions if row.drawn else 1 for row in measured}
    clips = sum(times[row.name] * (with_two if row.of_two else len(samples)) for row in measured)
    return 2 * len(samples) + clips + min(settings.page_clips, len(samples))


def generate_row(
    pipe: DrawAudioPipeline,
    row: Row,
    scenes: Mapping[str, Scene],
    settings: Settings,
    model: str,
    folder: Path,
    report: Reporter,
    repetition: int = 0,
) -> dict[str, np.ndarray]:
    """Key -> sound under the row's instructions; sounds in `folder` from the same model and settings are kept."""
    chosen = [scene for scene in scenes.values() if scene.other_kind is not None or not row.of_two]
    if not chosen:
        return {}
    # A scene's features, curves and captions decide its sound as much as the row does. Its true boxes are left out: they
    # change only with its pictures, and CAVP's features of them may differ in the last bits from machine to machine.
    instructions = [
        (
            sample_fingerprint(scene.sample),
            sample_fingerprint(scene.donor),
            scene.other_caption,
            scene.held_out_text,
            scene.drawn_curve.tolist(),
        )
        for scene in chosen
    ]
    guidance = settings.guidance.resolved(pipe.own_guidance)
    if not row.text:  # the branch of the text then equals the unconditional one, and is not worth an evaluation
        guidance = replace(guidance, text=0.0)
    if not row.signal:
        guidance = replace(guidance, loudness=0.0)
    run = Evaluation(
        model_sha256=model,
        split=settings.split,
        seed=settings.seed + repetition,
        steps=settings.steps,
        guidance=guidance,
        instructions=fingerprint(asdict(row), instructions, settings.batch),
    )
    return generate_clips(
        pipe,
        [scene.sample for scene in chosen],
        run,
        folder,
        batch=settings.batch,
        report=report,
        conditions=row_conditions(row, scenes),
        matched=row.matched,
    )


def ungenerated_sounds(
    pipe: DrawAudioPipeline,
    scenes: Mapping[str, Scene],
    real: dict[str, np.ndarray],
    spectra: Mapping[str, np.ndarray],
    *,
    batch: int,
    report: Reporter,
) -> dict[str, dict[str, np.ndarray]]:
    """The sounds of UNGENERATED by name and key."""
    mean = mean_sound(pipe, list(real.values()))
    own = {key: scene.curve(UNGENERATED["noise"]) for key, scene in scenes.items()}
    drawn = {key: scene.drawn_curve for key, scene in scenes.items()}
    every = np.mean(list(spectra.values()), axis=0)
    colours = {key: spectra.get(scene.kind, every) for key, scene in scenes.items()}
    others = dict(zip(real, [*list(real.values())[1:], *list(real.values())[:1]], strict=True))
    decoded = through_autoencoder(pipe, [scene.sample for scene in scenes.values()], batch=batch, report=report)
    return {
        "real": real,
        "autoencoder": decoded,
        "mean": dict.fromkeys(real, mean),
        "noise": {key: noise_of_curve(curve) for key, curve in own.items()},
        "noise_drawn": {key: noise_of_curve(curve) for key, curve in drawn.items()},
        "noun": {key: noise_of_curve(curve, spectrum=colours[key]) for key, curve in own.items()},
        "noun_drawn": {key: noise_of_curve(curve, spectrum=colours[key]) for key, curve in drawn.items()},
        "bursts": {key: bursts_of_curve(curve) for key, curve in own.items()},
        "bursts_drawn": {key: bursts_of_curve(curve) for key, curve in drawn.items()},
        "events": {
            key: bursts_at(scene.events, [0.1] * len(scene.events), CLIP_SECONDS) for key, scene in scenes.items()
        },
        "mean_drawn": {key: follow_curve(mean, curve, max_boost_db=MAX_BOOST_DB) for key, curve in drawn.items()},
        "other_drawn": {
            key: follow_curve(others[key], curve, max_boost_db=MAX_BOOST_DB) for key, curve in drawn.items()
        },
    }


def kind_spectra(raw_clips: Path) -> dict[str, np.ndarray]:
    """Kind -> mean power spectrum of its stems in the train split."""
    waveforms: dict[str, list[np.ndarray]] = {}
    for stem in sound_classifier.read_stems(raw_clips, "train"):
        own = waveforms.setdefault(stem.kind, [])
        if len(own) < SOUNDS_OF_NOUN and stem.waveform.any():
            own.append(stem.waveform)
    return {kind: mean_spectrum(own) for kind, own in waveforms.items() if own}


def decoded_sounds(
    pipe: DrawAudioPipeline, sounds: Sequence[sound_classifier.Stem], seed: int
) -> list[sound_classifier.Stem]:
    """DECODED of the sounds, evenly chosen, through the model's autoencoder and vocoder: 8 s each, the continuous ones under a
    drawn curve. The classifier's verdict on generated sounds is worth no more than its accuracy on these."""
    chosen = np.unique(np.linspace(0, len(sounds) - 1, DECODED).astype(int))
    decoded = []
    for number in chosen:
        thing, waveform = sounds[number], sounds[number].waveform[:CLIP_SAMPLES]
        if thing.continuous:
            curve = draw_signal(np.random.default_rng([seed, 4, number]), CLIP_SECONDS, loudest=loudest_level(pipe))
            waveform = follow_curve(waveform, curve, max_boost_db=MAX_BOOST_DB)
        decoded.append(sound_classifier.Stem(thing.kind, rebuilt_sound(pipe, waveform)))
    return decoded


def read_wordings(path: Path) -> dict[str, list[str]]:
    """Kind -> wordings, of a .json file.

    Raises:
        ValueError: when it is no such file.
    """
    if not path.is_file():
        raise ValueError(f"wordings {path} does not exist; give a .json of kind -> list of wordings")
    content = read_json(path, f"wordings {path}")
    if not isinstance(content, dict) or not all(isinstance(rows, list) for rows in content.values()):
        raise ValueError(f"wordings {path} holds no object of lists, expected {{kind: [wording, ...]}}")
    return content


def _measured_row(
    pipe: DrawAudioPipeline,
    row: Row,
    scenes: Mapping[str, Scene],
    settings: Settings,
    model: str,
    folder: Path,
    report: Reporter,
    repetition: int,
    judge: Judge,
) -> tuple[dict[str, np.ndarray], dict[str, JudgedClip]]:
    """Sounds and figures by key of one repetition of a row; those of a further repetition have its number in their key."""
    sounds = generate_row(pipe, row, scenes, settings, model, folder, report, repetition)
    clips = judge.measure(row, sounds, scenes)
    if not repetition:
        return sounds, clips
    return {}, {f"{key}.{repetition}": clip for key, clip in clips.items()}


def row_folder(output: Path, name: str, repetition: int) -> Path:
    """Folder of the sounds of one repetition of a row."""
    return output / "clips" / (f"{name}.{repetition}" if repetition else name)


def merged(row: Row, title: str, parts: Sequence[tuple[dict[str, np.ndarray], dict[str, JudgedClip]]]) -> Table:
    """One table of all repetitions; the first one's sounds stand for it on the page."""
    clips = {key: clip for _, figures in parts for key, clip in figures.items()}
    return Table(row, title, parts[0][0], clips)


def summarise(table: Table, seed: int) -> dict[str, Figure]:
    """Metric -> statistic over clips with its interval and count; undefined values are left out."""
    summary = {}
    for metric, name in METRICS.items():
        values = [clip.figures[metric] for clip in table.clips.values()]
        summary[metric] = figure(name, values, mean=metric in MEAN_OVER_CLIPS, seed=seed)
        if metric in WORST_TENTH:
            defined = [value for value in values if np.isfinite(value)]
            worst = float(np.percentile(defined, WORST_TENTH[metric])) if defined else float("nan")
            summary[metric]["worst_tenth"] = worst
    return summary


def _named_folder(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise ValueError(f"--beside is {text!r}, expected NAME=FOLDER such as additive=data/demo/model_additive")
    return name, Path(folder)


if __name__ == "__main__":
    sys.exit(main())
