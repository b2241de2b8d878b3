"""`drawaudio generate` and `drawaudio mix`: one sound, or several tracks, for a video.

Heavy libraries are imported inside the commands, so that `drawaudio --help` answers at once.
"""

import argparse
import functools
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drawaudio_model.command_line import add_command, check_folder_of
from drawaudio_model.commands.delivery import (
    AUDIO_SUFFIXES,
    VIDEO_SUFFIXES,
    Delivery,
    never_lost,
    write_sound,
)
from drawaudio_model.defaults import DRAFT_STEPS, SAMPLING_STEPS
from drawaudio_model.guidance import Guidance
from drawaudio_model.library_imports import libraries_imported

if TYPE_CHECKING:
    import numpy as np

    from drawaudio_model.generation.mixing import Track
    from drawaudio_model.generation.stages import OnProgress
    from drawaudio_model.pipeline import DrawAudioOutput, DrawAudioPipeline, StepCallback

DEFAULT_MODEL = Path("data/demo/model")
"""Folder of the demo profile's model, seen from the repository's root."""

GENERATE_EXAMPLE = """example:
  drawaudio generate ball.mp4 --text "a ball bounces" --mask 0.3,0.1,0.7,0.9 --loudness curve.csv --seed 7 -o out.mp4

  --mask      a picture (white or any colour on black, or what is opaque), a folder of pictures or a video (one picture per
              frame at 4 fps), a .json of boxes or of COCO's run lengths, one box x0,y0,x1,y1 in fractions of the picture, or
              the text of a thing that is then looked for; `drawaudio mask --explain` shows how a mask is read
  --loudness  a .csv or .json curve (time_seconds, level), an audio file to follow, or points 0:0,1.5:0.3,2:0
  OUT         .wav, .flac, .mp3, .ogg or .m4a, or a video (the picture is copied, not encoded again)

  --start-from  a sound whose rhythm stays and whose colour the instructions change, as far as --strength says
  --take        keeps beside OUT what `drawaudio regenerate` makes a section anew from
  --timecode    where on the clock the .wav begins (BWF), at the video's frame rate; 01:00:00;00 for drop frame"""
MIX_EXAMPLE = """example:
  drawaudio mix street.mp4 --tracks tracks.json --seed 7 -o out.mp4

  tracks.json is a list; each track may have text, negative_text, mask, mask_invert, loudness, gain_db, pan (-1
  left to 1 right; the mix then has two channels), mute and seed; masks and curves are written as above for
  `generate`, or as lists:
    [{"text": "a car passes", "mask": "car", "loudness": "car.csv", "gain_db": -3},
     {"text": "a bird sings", "mask": [0.6, 0.0, 1.0, 0.4], "loudness": [[0, 0.1], [8, 0.3]], "pan": 0.5},
     {"text": "rain falls", "mute": true}]

  The stems stay in a folder beside OUT: after a change of gains, pans or mutes only the mix is made again."""


@dataclass(frozen=True)
class Sampling:
    """Settings of the sampling, which all tracks share."""

    seconds: float | None
    steps: int
    guidance: Guidance

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"--steps is {self.steps}, expected at least 1, such as {SAMPLING_STEPS}")

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Sampling":
        """The settings on the command line."""
        weights = options.guidance_text, options.guidance_video
        guidance = Guidance(*weights, tuple(options.guidance_interval), options.guidance_loudness)
        return cls(options.seconds, options.steps, guidance)

    def without_loudness(self) -> "Sampling":
        """Of a sound that has no curve, and so no weight of one."""
        return replace(self, guidance=replace(self.guidance, loudness=None))

    def arguments(self) -> dict[str, Any]:
        """As the pipeline's call has them, and a stem's name: a weight of the loudness only where it is given."""
        weights = self.guidance.settings()
        if self.guidance.loudness is None:
            del weights["guidance_loudness"]
        sampling = {"seconds": self.seconds, "num_inference_steps": self.steps}
        return sampling | weights | {"guidance_interval": self.guidance.interval}


def add_commands(commands: "argparse._SubParsersAction") -> None:
    """`generate` and `mix`."""
    generate = add_command(commands, "generate", "make the sound of a video", GENERATE_EXAMPLE, run_generate)
    generate.add_argument("video", type=Path, metavar="VIDEO")
    generate.add_argument("--text", help="what should sound")
    generate.add_argument("--negative-text", help="what should not sound")
    generate.add_argument("--mask", help="which part of the picture sounds (see below)")
    generate.add_argument("--mask-invert", action="store_true", help="what the mask leaves out sounds")
    generate.add_argument("--loudness", help="when and how loud (see below)")
    generate.add_argument("--candidates", type=int, default=1, help="make several, keep the best (curve and CLAP)")
    generate.add_argument("--start-from", type=Path, metavar="SOUND", help="begin with a sound instead of noise")
    generate.add_argument("--strength", type=float, help="how far from it, 0 to 1 (default: 0.6)")
    generate.add_argument("--take", action="store_true", help="keep beside a .wav or .flac what `regenerate` needs")
    add_common(generate)
    add_delivery(generate)
    mix = add_command(commands, "mix", "make several sounds of a video and mix them", MIX_EXAMPLE, run_mix)
    mix.add_argument("video", type=Path, metavar="VIDEO")
    mix.add_argument("--tracks", type=Path, required=True, help=".json of the tracks (see below)")
    mix.add_argument("--stems", type=Path, metavar="DIR", help="folder of the stems (default: OUT with .stems)")
    add_common(mix)
    add_delivery(mix)


def add_delivery(parser: argparse.ArgumentParser) -> None:
    """The arguments of `Delivery`."""
    parser.add_argument("--sample-rate", type=int, metavar="HZ", help="of a .wav or .flac (default: 16000)")
    parser.add_argument("--bits", type=int, choices=(16, 24), help="of a .wav or .flac (default: 16)")
    parser.add_argument("--timecode", metavar="HH:MM:SS:FF", help="where on the clock a .wav begins (BWF)")


def add_common(parser: argparse.ArgumentParser) -> None:
    """Output, model and sampling: the arguments that all commands have which make sounds."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="model folder (default: %(default)s)")
    parser.add_argument("--adapters", type=Path, metavar="DIR", help="adapters to put onto the model folder")
    parser.add_argument("--cavp", type=Path, help="CAVP checkpoint, with --adapters onto AudioLDM2's folder")
    parser.add_argument("--detector", type=Path, help="folder for masks by text (default: backbones beside the model)")
    parser.add_argument("--seconds", type=float, help="only this much from the start (default: the whole video)")
    parser.add_argument("--steps", type=int, default=SAMPLING_STEPS, help="sampling steps (default: %(default)s)")
    parser.add_argument(
        "--draft",
        dest="steps",
        action="store_const",
        const=DRAFT_STEPS,
        help=f"{DRAFT_STEPS} steps: to try things soon",
    )
    parser.add_argument("--guidance-text", type=float, help="default: the model's")
    parser.add_argument("--guidance-video", type=float, help="default: the model's")
    parser.add_argument(
        "--guidance-loudness", type=float, help="the curve counts more from 0 up (default: the model's)"
    )
    parser.add_argument(
        "--guidance-interval",
        type=float,
        nargs=2,
        default=(0.0, 1.0),
        metavar=("FROM", "TO"),
        help="guide only in this share of the noise schedule, 0 clean to 1 noise: faster (default: all of it)",
    )
    parser.add_argument("--seed", type=int, help="the same seed gives the same sound (default: a random one; mix: 0)")
    parser.add_argument("--device", help="cuda, cpu, ... (default: a GPU where there is one)")
    parser.add_argument("--bf16", action="store_true", help="half the memory and more speed, on hardware that has it")
    parser.add_argument("--compile", action="store_true", help="compile the denoiser: slower start, faster steps")


def run_generate(options: argparse.Namespace) -> None:
    """`drawaudio generate`."""
    check_places(options)

    from drawaudio_model.generation.instructions import check_named
    from drawaudio_model.generation.take_places import take_path

    if options.take:
        take_path(options.output)
    delivery = Delivery.of(options)
    asked, sampling = Request.of(options), Sampling.of(options)
    check_named(
        asked.video,
        seconds=sampling.seconds,
        mask=asked.mask,
        mask_invert=asked.mask_invert,
        loudness=asked.loudness,
        start_from=asked.start_from,
        seed=asked.seed,
    )
    pipe = load_pipeline(options)
    with one_bar(pipe, options.steps * max(asked.candidates, 1)) as step:
        result = make_sound(pipe, options, asked, sampling, delivery, step, keep_take=options.take)
    print_notices([*result.notices, *delivery.notices])
    print(f"{options.output}: {', '.join(result_words(result))}")


@dataclass(frozen=True)
class Request:
    """One sound as a person asks for it in words: on the command line, or in a row of a table."""

    video: Path
    text: str | None = None
    negative_text: str | None = None
    mask: str | None = None
    mask_invert: bool = False
    loudness: str | None = None
    start_from: Path | None = None
    strength: float | None = None
    candidates: int = 1
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.mask_invert and self.mask is None:
            raise ValueError("--mask-invert was given without --mask; give the mask that is to be inverted")
        if self.strength is not None and self.start_from is None:
            raise ValueError(f"--strength is {self.strength} without --start-from; give the sound to begin with")
        if self.strength is not None and not 0 <= self.strength <= 1:
            raise ValueError(f"--strength is {self.strength}, expected 0 (the given sound) to 1 (none of it)")
        if self.candidates < 1:
            raise ValueError(f"--candidates is {self.candidates}, expected at least 1")

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Request":
        """The request of a command line."""
        return cls(**{field.name: getattr(options, field.name) for field in fields(cls)})

    def record(self) -> dict[str, Any]:
        """As JSON has it, with the whole paths of files that are there."""
        values = {name: value for name, value in asdict(self).items() if value not in (None, False)}
        return {name: whole_path(name, value) for name, value in values.items()}

    def sound(
        self,
        pipe: "DrawAudioPipeline",
        sampling: Sampling,
        step: "StepCallback | None",
        *,
        keep_latents: bool = False,
        on_progress: "OnProgress | None" = None,
    ) -> "DrawAudioOutput":
        """The sounds that the pipeline makes of the request."""
        return pipe(
            self.video,
            self.text,
            negative_prompt=self.negative_text,
            mask=_parsed("mask", self.mask),
            mask_invert=self.mask_invert,
            loudness=_parsed("loudness", self.loudness),
            seed=self.seed,
            num_candidates=self.candidates,
            start_from=self.start_from,
            strength=self.strength,
            keep_latents=keep_latents,
            callback_on_step_end=step,
            on_progress=on_progress,
            **sampling.arguments(),
        )


def make_sound(
    pipe: "DrawAudioPipeline",
    options: argparse.Namespace,
    asked: Request,
    sampling: Sampling,
    delivery: Delivery,
    step: "StepCallback | None" = None,
    *,
    keep_take: bool = False,
    on_progress: "OnProgress | None" = None,
) -> "DrawAudioOutput":
    """One sound from its instructions to its file: what `generate`, each row of `batch` and each job of `serve` does.

    Args:
        pipe: the model.
        options: `output`, and the model's place where a take is kept.
        asked: the instructions.
        sampling: settings.
        delivery: form of a .wav or .flac.
        step: called after each step.
        keep_take: whether what `regenerate` needs is left beside the sound.
        on_progress: told of every stage.
    """
    result = asked.sound(pipe, sampling, step, keep_latents=keep_take, on_progress=on_progress)
    write_sound(options.output, result.audios[0], video=asked.video, delivery=delivery)
    if keep_take:
        from drawaudio_model.generation.take_files import write_take

        told = asked.record() | {"seed": result.seeds[0]} | sampling.arguments()
        write_take(options.output, result.take(), told, model_mark(options))
    return result


def model_mark(options: argparse.Namespace) -> str:
    """sha256 (hex) of everything in the model that decides what it makes; of a plain folder what `drawaudio info` prints."""
    from drawaudio_model.atomic_files import file_mark

    places = tuple(Path(place) for place in (options.model, options.adapters, options.cavp) if place is not None)
    return _model_mark(places, json.dumps([file_mark(place) for place in places]))


@functools.lru_cache(maxsize=4)
def _model_mark(places: tuple[Path, ...], marks: str) -> str:
    """Gigabytes are read for it: once for as long as the files keep their `marks`."""
    from drawaudio_model.atomic_files import file_sha256, fingerprint
    from drawaudio_model.model_folder import model_sha256

    if len(places) == 1:
        return model_sha256(places[0])
    files = [path for place in places for path in ([place] if place.is_file() else sorted(place.rglob("*")))]
    return fingerprint([file_sha256(path) for path in files if path.is_file()])


def whole_path(name: str, value: Any) -> Any:
    """An instruction's value, with the whole path where it is a file that is there; words stay words."""
    is_path = name in ("video", "mask", "loudness", "start_from") and value is not None and os.path.exists(value)
    return os.path.abspath(value) if is_path else value


def _parsed(name: str, text: str | None) -> Any:
    from drawaudio_model.generation.instructions import parse_loudness, parse_mask

    return parse_mask(text) if name == "mask" else parse_loudness(text)


def result_words(result: "DrawAudioOutput") -> list[str]:
    """The facts of the best sound of a call: its seed, and its scores where there are any."""
    words = [f"seed {result.seeds[0]}"]
    if result.curve_scores is not None:
        # Pearson's correlation is undefined for a curve or a sound that never changes.
        defined = math.isfinite(result.curve_scores[0])
        correlation = f"{result.curve_scores[0]:.2f}" if defined else "undefined: one of the two never changes"
        words.append(f"follows the curve with correlation {correlation}")
    if result.clap_scores is not None:
        words.append(f"fits the text with {result.clap_scores[0]:.2f} (CLAP)")
    return words


def print_notices(notices: Sequence[str]) -> None:
    """Print the pipeline's notices of a sound; its own log is silent (`load_pipeline`)."""
    for sentence in notices:
        print(f"notice: {sentence}", file=sys.stderr)


def run_mix(options: argparse.Namespace) -> None:
    """`drawaudio mix`."""
    from drawaudio_model.generation.instructions import check_named, video_seconds
    from drawaudio_model.generation.mixing import CEILING_DB, mix, read_tracks

    tracks = read_tracks(options.tracks)
    audible = [number for number, track in enumerate(tracks) if not track.mute]
    if not audible:
        raise ValueError(f"all tracks of {options.tracks} are muted; let at least one sound")
    check_places(options)
    video_seconds(options.video, seconds=options.seconds)  # what is wrong with it is no fault of a track
    for number in audible:
        track = tracks[number]
        try:
            check_named(
                options.video,
                seconds=options.seconds,
                mask=track.mask,
                mask_invert=track.mask_invert,
                loudness=track.loudness,
                seed=track.seed,
            )
        except ValueError as error:
            raise ValueError(f"track {number + 1} of {options.tracks}: {error}") from error
    delivery = Delivery.of(options)
    if options.seed is None:
        options.seed = 0
    stems = make_stems(options, tracks, audible)
    heard = [tracks[number] for number in audible]
    gains, pans = [track.gain_db for track in heard], [track.pan for track in heard]
    mixed = mix([stems[number] for number in audible], gains, pans)
    print_notices(delivery.notices)
    write_sound(options.output, mixed.waveform, video=options.video, delivery=delivery)
    limited = f", limited by {mixed.reduction_db:.1f} dB to {CEILING_DB:g} dBTP" if mixed.reduction_db else ""
    print(f"{options.output}: {len(audible)} of {len(tracks)} tracks, true peak {mixed.peak_db:.1f} dB{limited}")


def make_stems(
    options: argparse.Namespace, tracks: Sequence["Track"], audible: Sequence[int]
) -> "dict[int, np.ndarray]":
    """Number of each audible track -> its stem (samples,), before gain; kept in the stems' folder and found there again."""
    import soundfile

    from drawaudio_model.atomic_files import file_mark, fingerprint
    from drawaudio_model.generation.instructions import is_text
    from drawaudio_model.media import write_audio
    from drawaudio_model.model_folder import detector_beside

    folder = options.stems or options.output.with_suffix(".stems")
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise ValueError(f"the stems cannot be kept in {folder}: {there} is a file; choose another folder with --stems")
    sampling = Sampling.of(options)
    missing, stems = [], {}
    for number in audible:
        track = tracks[number]
        if track.seed is None:
            track = replace(track, seed=options.seed + number)
        marks = [file_mark(place) for place in (options.video, options.model, options.adapters, options.cavp)]
        marks += [file_mark(value) for value in (track.mask, track.loudness)]
        if is_text(track.mask):
            marks.append(file_mark(options.detector or detector_beside(options.model)))
        own = sampling
        if track.loudness is None:  # this weight is of those tracks that have a curve
            own = sampling.without_loudness()
        mark = fingerprint(json.dumps([track.instructions(), own.arguments(), options.bf16, marks], sort_keys=True))
        path = folder / f"{number + 1:02d}-{track.name}-{mark[:10]}.wav"
        if path.is_file():
            stems[number] = soundfile.read(path, dtype="float32")[0]
        else:
            missing.append((number, track, own, path))
    if not missing:
        return stems
    pipe = load_pipeline(options)
    with one_bar(pipe, options.steps * len(missing)) as step:
        for number, track, own, path in missing:
            print(f"track {number + 1}: {track.text or 'no text'}")
            result = pipe(
                options.video,
                track.text,
                negative_prompt=track.negative_text,
                mask=track.mask,
                mask_invert=track.mask_invert,
                loudness=track.loudness,
                seed=track.seed,
                callback_on_step_end=step,
                **own.arguments(),
            )
            print_notices(result.notices)
            with never_lost(path, result.audios[0]):
                folder.mkdir(parents=True, exist_ok=True)
                write_audio(path, result.audios[0], floats=True)
            stems[number] = soundfile.read(path, dtype="float32")[0]
    return stems


@contextmanager
def one_bar(pipe: "DrawAudioPipeline", total: int) -> "Iterator[StepCallback]":
    """A callback for the pipeline's steps, counted in the only bar of a command; on a terminal alone."""
    from tqdm import tqdm

    pipe.set_progress_bar_config(disable=True)
    with tqdm(total=total, desc="generate", dynamic_ncols=True, disable=None) as bar:

        def step(*_: object) -> None:
            bar.update()

        yield step


def check_places(options: argparse.Namespace, *, suffixes: Sequence[str] = AUDIO_SUFFIXES + VIDEO_SUFFIXES) -> None:
    """Raises ValueError before a model is loaded, when the video is missing or the output cannot be written."""
    suffix = options.output.suffix.lower()
    if suffix not in suffixes:
        known = ", ".join(suffixes)
        raise ValueError(f"output {options.output.name} ends in {suffix!r}, expected one of {known}")
    if not options.video.is_file():
        raise ValueError(f"video {options.video} does not exist")
    from drawaudio_model.decoding.errors import named_file
    from drawaudio_model.generation.instructions import check_is_video

    with named_file(str(options.video)):
        check_is_video(options.video)
    check_folder_of(options.output)
    if options.output.resolve() == options.video.resolve():
        raise ValueError(f"output {options.output} is the video itself; choose another name")
    if suffix in VIDEO_SUFFIXES:
        from drawaudio_model.media import check_container

        with named_file(str(options.video)):
            check_container(options.video, options.output)


def load_pipeline(options: argparse.Namespace) -> "DrawAudioPipeline":
    """The model that the options name, on the device and in the precision that they ask for."""
    import logging

    from drawaudio_model.model_folder import check_model_files, check_model_folder

    if options.adapters is None:
        check_model_files(options.model)  # a wrong folder is refused before what takes seconds is imported

    with libraries_imported():
        import diffusers
        import torch
        import transformers

        from drawaudio_model.adapters import load_adapters
        from drawaudio_model.device_choice import named_device
        from drawaudio_model.pipeline import DrawAudioPipeline

    # Loaders have bars of their own; a command has one, which counts its steps.
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    # Its notices are printed by the commands, and so said once.
    logging.getLogger("drawaudio_model.pipeline").setLevel(logging.ERROR)
    device = named_device(options.device)
    if options.adapters is not None:
        pipe = load_adapters(options.model, options.adapters, cavp=options.cavp)
        pipe = pipe.to(torch.bfloat16) if options.bf16 else pipe
    else:
        check_model_folder(options.model)
        pipe = DrawAudioPipeline.from_pretrained(options.model, dtype=torch.bfloat16 if options.bf16 else torch.float32)
    if options.detector is not None:
        pipe.detector_folder = options.detector
    pipe.to(device)
    if options.compile:
        pipe.unet.compile()
    return pipe
