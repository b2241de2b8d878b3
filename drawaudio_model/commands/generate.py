"""`drawaudio generate` and `drawaudio mix`: one sound, or several tracks, for a video.

Heavy libraries are imported inside the commands, so that `drawaudio --help` answers at once.
"""

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drawaudio_model.command_line import add_command
from drawaudio_model.defaults import SAMPLING_STEPS
from drawaudio_model.guidance import Guidance

if TYPE_CHECKING:
    import numpy as np

    from drawaudio_model.generation.mixing import Track
    from drawaudio_model.pipeline import DrawAudioPipeline, StepCallback

DEFAULT_MODEL = Path("data/demo/model")
"""Folder of the demo profile's model, seen from the repository's root."""
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".ts")
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".m4a")
"""As `media` has them, which takes a second to import."""

GENERATE_EXAMPLE = """example:
  drawaudio generate ball.mp4 --text "a ball bounces" --mask 0.3,0.1,0.7,0.9 --loudness curve.csv --seed 7 -o out.mp4

  --mask      a picture (white or any colour on black, or what is opaque), a folder of pictures or a video (one picture per
              frame at 4 fps), a .json of boxes, one box x0,y0,x1,y1 in fractions of the picture, or the text of a thing that
              is then looked for; `drawaudio mask --explain` shows how a mask is read
  --loudness  a .csv or .json curve (time_seconds, level), an audio file to follow, or points 0:0,1.5:0.3,2:0
  OUT         .wav, .flac, .mp3, .ogg or .m4a, or a video (the picture is copied, not encoded again)"""
MIX_EXAMPLE = """example:
  drawaudio mix street.mp4 --tracks tracks.json --seed 7 -o out.mp4

  tracks.json is a list; each track may have text, negative_text, mask, mask_invert, loudness, gain_db, mute and
  seed; masks and curves are written as above for `generate`, or as lists:
    [{"text": "a car passes", "mask": "car", "loudness": "car.csv", "gain_db": -3},
     {"text": "a bird sings", "mask": [0.6, 0.0, 1.0, 0.4], "loudness": [[0, 0.1], [8, 0.3]]},
     {"text": "rain falls", "mute": true}]

  The stems stay in a folder beside OUT: after a change of gains or mutes only the mix is made again."""


@dataclass(frozen=True)
class Sampling:
    """Settings of the sampling, which all tracks share."""

    seconds: float | None
    steps: int
    guidance: Guidance

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Sampling":
        """The settings on the command line."""
        weights = options.guidance_text, options.guidance_video
        guidance = Guidance(*weights, tuple(options.guidance_interval), options.guidance_loudness)
        return cls(options.seconds, options.steps, guidance)

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
    _add_common(generate)
    mix = add_command(commands, "mix", "make several sounds of a video and mix them", MIX_EXAMPLE, run_mix)
    mix.add_argument("video", type=Path, metavar="VIDEO")
    mix.add_argument("--tracks", type=Path, required=True, help=".json of the tracks (see below)")
    mix.add_argument("--stems", type=Path, metavar="DIR", help="folder of the stems (default: OUT with .stems)")
    _add_common(mix)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="model folder (default: %(default)s)")
    parser.add_argument("--adapters", type=Path, metavar="DIR", help="adapters to put onto the model folder")
    parser.add_argument("--cavp", type=Path, help="CAVP checkpoint, with --adapters onto AudioLDM2's folder")
    parser.add_argument("--detector", type=Path, help="folder for masks by text (default: backbones beside the model)")
    parser.add_argument("--seconds", type=float, help="only this much from the start (default: the whole video)")
    parser.add_argument("--steps", type=int, default=SAMPLING_STEPS, help="sampling steps (default: %(default)s)")
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
    from drawaudio_model.generation.instructions import parse_loudness, parse_mask

    _check_places(options)
    sampling = Sampling.of(options)
    mask, loudness = parse_mask(options.mask), parse_loudness(options.loudness)
    if options.mask_invert and mask is None:
        raise ValueError("--mask-invert was given without --mask; give the mask that is to be inverted")
    pipe = load_pipeline(options)
    with one_bar(pipe, options.steps * max(options.candidates, 1)) as step:
        result = pipe(
            options.video,
            options.text,
            negative_prompt=options.negative_text,
            mask=mask,
            mask_invert=options.mask_invert,
            loudness=loudness,
            seed=options.seed,
            num_candidates=options.candidates,
            callback_on_step_end=step,
            **sampling.arguments(),
        )
    _print_notices(result.notices)
    write_sound(options.output, result.audios[0], video=options.video)
    facts = [f"seed {result.seeds[0]}"]
    if result.curve_scores is not None:
        # Pearson's correlation is undefined for a curve or a sound that never changes.
        defined = math.isfinite(result.curve_scores[0])
        correlation = f"{result.curve_scores[0]:.2f}" if defined else "undefined: one of the two never changes"
        facts.append(f"follows the curve with correlation {correlation}")
    if result.clap_scores is not None:
        facts.append(f"fits the text with {result.clap_scores[0]:.2f} (CLAP)")
    print(f"{options.output}: {', '.join(facts)}")


def _print_notices(notices: Sequence[str]) -> None:
    """Print the pipeline's notices about a sound; its own log is silent (`load_pipeline`)."""
    for sentence in notices:
        print(f"notice: {sentence}", file=sys.stderr)


def run_mix(options: argparse.Namespace) -> None:
    """`drawaudio mix`."""
    from drawaudio_model.generation.mixing import CEILING_DB, mix, read_tracks

    tracks = read_tracks(options.tracks)
    audible = [number for number, track in enumerate(tracks) if not track.mute]
    if not audible:
        raise ValueError(f"all tracks of {options.tracks} are muted; let at least one sound")
    _check_places(options)
    if options.seed is None:
        options.seed = 0
    stems = make_stems(options, tracks, audible)
    mixed = mix([stems[number] for number in audible], [tracks[number].gain_db for number in audible])
    write_sound(options.output, mixed.waveform, video=options.video)
    limited = f", limited by {mixed.reduction_db:.1f} dB to {CEILING_DB:g} dBTP" if mixed.reduction_db else ""
    print(f"{options.output}: {len(audible)} of {len(tracks)} tracks, true peak {mixed.peak_db:.1f} dB{limited}")


def make_stems(
    options: argparse.Namespace, tracks: Sequence["Track"], audible: Sequence[int]
) -> "dict[int, np.ndarray]":
    """Number of each audible track -> its stem (samples,), before gain; kept in the stems' folder and found there again."""
    from dataclasses import replace

    import soundfile

    from drawaudio_model.atomic_files import fingerprint
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
        marks = [_file_mark(place) for place in (options.video, options.model, options.adapters, options.cavp)]
        marks += [_file_mark(value) for value in (track.mask, track.loudness)]
        if is_text(track.mask):
            marks.append(_file_mark(options.detector or detector_beside(options.model)))
        own = sampling
        if track.loudness is None:  # this weight is of those tracks that have a curve
            own = replace(sampling, guidance=replace(sampling.guidance, loudness=None))
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
            _print_notices(result.notices)
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


def _file_mark(place: Any) -> Any:
    """Sizes and times of a file, or of all files in a folder, to notice changes by; None for a value that is no file."""
    if not isinstance(place, str | Path) or not os.path.exists(place):
        return None
    place = Path(place)
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _check_places(options: argparse.Namespace) -> None:
    """Raises ValueError before a model is loaded, when the video is missing or the output cannot be written."""
    suffix = options.output.suffix.lower()
    if suffix not in AUDIO_SUFFIXES + VIDEO_SUFFIXES:
        known = ", ".join(AUDIO_SUFFIXES + VIDEO_SUFFIXES)
        raise ValueError(f"output {options.output.name} ends in {suffix!r}, expected one of {known}")
    if not options.video.is_file():
        raise ValueError(f"video {options.video} does not exist")
    from drawaudio_model.generation.instructions import check_is_video

    check_is_video(options.video)
    if not options.output.resolve().parent.is_dir():
        raise ValueError(f"the folder of {options.output} does not exist; make it first")
    if options.output.resolve() == options.video.resolve():
        raise ValueError(f"output {options.output} is the video itself; choose another name")
    if suffix in VIDEO_SUFFIXES:
        from drawaudio_model.media import check_container

        check_container(options.video, options.output)


def load_pipeline(options: argparse.Namespace) -> "DrawAudioPipeline":
    """The model that the options name, on the device and in the precision that they ask for."""
    import logging

    import diffusers
    import torch
    import transformers

    from drawaudio_model.adapters import load_adapters
    from drawaudio_model.device_choice import named_device
    from drawaudio_model.model_folder import check_model_folder
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


def write_sound(output: Path, waveform: "np.ndarray", *, video: Path | None = None) -> None:
    """Writes a sound, or the video with it; what exceeds full scale is limited, which is said in one line.

    Raises:
        ValueError: when it cannot be written so; the sound then lies beside `output` as .wav, which the message names.
    """
    from drawaudio_model import media
    from drawaudio_model.levels.full_scale import fit_full_scale

    sound = fit_full_scale(waveform, lossy=media.is_lossy(output))
    try:
        if output.suffix.lower() in AUDIO_SUFFIXES:
            media.write_audio(output, sound.waveform)
        else:
            assert video is not None, f"{output} is to have a picture"
            media.mux(video, sound.waveform, output)
    except Exception as error:
        # Minutes of sampling are in it: whatever went wrong, a programming error of ours included, must not cost them.
        raise ValueError(f"{error}; {_rescued(output, waveform)}") from error
    if sound.limited:
        print(f"{output}: {sound.words}")


def _rescued(output: Path, waveform: "np.ndarray") -> str:
    """Writes a sound as .wav of floats, as it was made, beside an output that failed, else where there is room.

    A file that is there already is left alone.

    Returns:
        A clause that names the file, or says that there is none.
    """
    from drawaudio_model.media import write_audio

    for folder in dict.fromkeys((output.parent, Path.cwd(), Path(tempfile.gettempdir()))):
        names = (f"{output.stem}{number}.wav" for number in ("", *(f"-{count}" for count in range(2, 1000))))
        path = next((folder / name for name in names if not (folder / name).exists() and folder / name != output), None)
        if path is None:
            continue
        try:
            write_audio(path, waveform, floats=True)
        except OSError:
            continue
        return f"the sound itself is kept in {path}"
    return "the sound itself could not be kept in any folder either"
