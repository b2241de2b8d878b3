"""`drawaudio regenerate`: one section of a sound made anew, everything outside as it was.

Heavy libraries are imported inside the command, so that `drawaudio --help` answers at once.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drawaudio_model.command_line import add_command
from drawaudio_model.commands.delivery import VIDEO_SUFFIXES, never_lost, write_sound
from drawaudio_model.commands.generate import (
    add_common,
    check_places,
    load_pipeline,
    model_mark,
    one_bar,
    print_notices,
    result_words,
    whole_path,
)
from drawaudio_model.defaults import SAMPLING_STEPS

if TYPE_CHECKING:
    import numpy as np

    from drawaudio_model.generation.stages import OnProgress
    from drawaudio_model.generation.take_files import SoundFile
    from drawaudio_model.guidance import Guidance
    from drawaudio_model.pipeline import DrawAudioOutput, DrawAudioPipeline, StepCallback

EXAMPLE = """example:
  drawaudio regenerate bell.wav --section 2.5 4 --text "a drum is struck" --seed 8 -o bell2.wav

  SOUND was made by `drawaudio generate --take` (or by this command): what is not said again is as it was then. Of any
  other .wav or .flac of the video, --video and all that shall be heard are said here.
  Outside the section every sample of OUT is that of SOUND, in a .wav or .flac of the same rate and depth."""
INSTRUCTIONS = ("video", "text", "negative_text", "mask", "mask_invert", "loudness")


def add_commands(commands: "argparse._SubParsersAction") -> None:
    """`regenerate`."""
    parser = add_command(commands, "regenerate", "make one section of a sound anew", EXAMPLE, run_regenerate)
    parser.add_argument("sound", type=Path, metavar="SOUND", help=".wav or .flac, with its .take beside it")
    parser.add_argument("--section", type=float, nargs=2, required=True, metavar=("START", "END"), help="in seconds")
    parser.add_argument("--video", type=Path, help="the video (default: as before)")
    parser.add_argument("--text", help="what should sound (default: as before)")
    parser.add_argument("--negative-text", help="what should not sound (default: as before)")
    parser.add_argument("--mask", help="which part of the picture sounds (default: as before)")
    parser.add_argument("--mask-invert", action="store_true", default=None, help="what the mask leaves out sounds")
    parser.add_argument("--loudness", help="when and how loud, of the whole sound (default: as before)")
    parser.add_argument("--anew", action="store_true", help="of the instructions before, take none but the video")
    parser.add_argument("--strength", type=float, default=1.0, help="how far from what it was, 0 to 1 (default: 1)")
    add_common(parser)
    parser.set_defaults(steps=None, guidance_interval=None)


def run_regenerate(options: argparse.Namespace) -> None:
    """`drawaudio regenerate`."""
    order = SectionOrder.of(options)
    pipe = load_pipeline(options)
    with one_bar(pipe, order.call["num_inference_steps"]) as step:
        result = order.make(pipe, step)
    print_notices(result.notices)
    start, end = options.section
    print(f"{options.output}: {start:g} to {end:g} s anew, {', '.join(result_words(result))}")


@dataclass(frozen=True)
class SectionOrder:
    """A section to be made anew, checked before a model is loaded."""

    options: argparse.Namespace
    before: "SoundFile"
    call: dict[str, Any]
    """Every instruction and setting: said now, else as before, else the default."""
    guidance: "Guidance"

    @classmethod
    def of(cls, options: argparse.Namespace) -> "SectionOrder":
        """The section that the command line asks for.

        Raises:
            ValueError: when the sound, its take, the output or an instruction cannot be used.
        """
        from drawaudio_model.generation.take_places import SOUND_SUFFIXES, existing_take

        existing_take(options.sound)  # a wrong path is refused before what takes seconds is imported

        from drawaudio_model.generation.instructions import check_seed, parse_loudness, parse_mask
        from drawaudio_model.generation.take_files import check_made_by, read_sound
        from drawaudio_model.guidance import Guidance

        before = read_sound(options.sound)
        call = _call(options, before)
        if call["video"] is None:
            raise ValueError(f"{options.sound} has no take beside it that names its video; give --video")
        options.video = Path(call["video"])
        check_places(options, suffixes=(*SOUND_SUFFIXES, *VIDEO_SUFFIXES))
        if options.output.resolve() == options.sound.resolve():
            raise ValueError(f"output {options.output} is the sound itself; choose another name")
        _check_form(options.output, before)
        parse_mask(call["mask"])
        weights = {name: call[f"guidance_{name}"] for name in ("text", "video", "loudness")}
        if parse_loudness(call["loudness"]) is None and options.guidance_loudness is None:
            weights["loudness"] = None  # it was of the curve before
        guidance = Guidance(**weights, interval=tuple(call["guidance_interval"]))
        check_seed(options.seed)
        if before.beside is not None:
            check_made_by(options.sound, before, model_mark(options), options.model)
        return cls(options, before, call, guidance)

    def make(
        self, pipe: "DrawAudioPipeline", step: "StepCallback | None", *, on_progress: "OnProgress | None" = None
    ) -> "DrawAudioOutput":
        """The sound with its section made anew, written, with its take where latents were kept."""
        from drawaudio_model.generation.instructions import parse_loudness, parse_mask
        from drawaudio_model.generation.take_files import SOUND_SUFFIXES, write_take
        from drawaudio_model.generation.takes import Sampling

        options, call = self.options, self.call
        section, take = tuple(options.section), self.before.take()
        prepared = pipe.prepare(
            options.video,
            call["text"],
            negative_prompt=call["negative_text"],
            mask=parse_mask(call["mask"]),
            mask_invert=bool(call["mask_invert"]),
            loudness=parse_loudness(call["loudness"]),
            seconds=_seconds(options.video, take.seconds),
            overlap_seconds=take.overlap_seconds,
            section=section,
            on_progress=on_progress,
        )
        steps = call["num_inference_steps"]
        result = pipe.regenerate(
            take,
            prepared,
            *section,
            seeds=None if options.seed is None else [options.seed],
            sampling=Sampling(steps, self.guidance, callback_on_step_end=step, on_progress=on_progress),
            strength=options.strength,
        )
        result.notices[:0] = _said_of(self.before, options.sound)
        _write(options, self.before, result.audios[0])
        if result.latents is not None and options.output.suffix.lower() in SOUND_SUFFIXES:
            kept = {name: value for name, value in call.items() if value is not None}
            write_take(options.output, result.take(), kept, model_mark(options))
        return result


def _call(options: argparse.Namespace, before: "SoundFile") -> dict[str, Any]:
    """Every instruction and setting: as the command line says, else as before, else the default."""
    from drawaudio_model.guidance import OWN_GUIDANCE

    was = {} if before.beside is None else before.beside.instructions
    if options.anew:
        was = {name: value for name, value in was.items() if name not in INSTRUCTIONS[1:]}
    call = {name: getattr(options, name) for name in INSTRUCTIONS}
    call |= {"num_inference_steps": options.steps, "guidance_interval": options.guidance_interval}
    call |= {name: getattr(options, name) for name in OWN_GUIDANCE.settings()}
    if call["mask"] is not None and call["mask_invert"] is None:
        call["mask_invert"] = False  # how the mask before was read says nothing of this one
    defaults = {"num_inference_steps": SAMPLING_STEPS, "guidance_interval": (0.0, 1.0)}
    found = {name: (was.get(name, defaults.get(name)) if value is None else value) for name, value in call.items()}
    return {name: whole_path(name, value) for name, value in found.items()}


def _seconds(video: Path, seconds: float) -> float:
    """The length of a sound as the pipeline counts it: a sound has whole samples, and a video may end between two."""
    from drawaudio_model.clip_format import SAMPLE_RATE
    from drawaudio_model.generation.instructions import video_seconds

    whole = video_seconds(video)
    return whole if abs(whole - seconds) <= 1 / SAMPLE_RATE else seconds


def _said_of(before: "SoundFile", sound: Path) -> list[str]:
    """Why latents are made of the sound, where it has none of its own."""
    if before.beside is None:
        return [f"{sound} has no take beside it: the section goes on from what the autoencoder keeps of it"]
    if not before.beside.fits:
        return [f"{sound} was changed after its take was written: the section goes on from the sound as it is"]
    return []


def _check_form(output: Path, before: "SoundFile") -> None:
    """Raises ValueError where the output cannot hold the samples of before."""
    from drawaudio_model.clip_format import SAMPLE_RATE

    suffix = output.suffix.lower()
    if suffix == ".flac" and before.bits == 32:
        raise ValueError(f"output {output.name} cannot hold the floats of the sound; write a .wav")
    if suffix in VIDEO_SUFFIXES and before.sample_rate != SAMPLE_RATE:
        raise ValueError(
            f"output {output.name} takes sounds of {SAMPLE_RATE} Hz, this has {before.sample_rate}; write a .wav"
        )


def _write(options: argparse.Namespace, before: "SoundFile", waveform: "np.ndarray") -> None:
    """The sound in the form it had, with its place on the clock; or the video with it."""
    import soundfile

    from drawaudio_model import media
    from drawaudio_model.atomic_files import replaced_file
    from drawaudio_model.muxing.wave_file import read_chunks, write_wave

    output, suffix = options.output, options.output.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        write_sound(output, waveform, video=options.video)
        return
    with never_lost(output, waveform, before.sample_rate):
        if before.bits == 32:
            with replaced_file(output) as temporary:
                soundfile.write(temporary, waveform, before.sample_rate, format="WAV", subtype="FLOAT")
        elif suffix == ".flac":
            media.write_flac(output, waveform, before.sample_rate, before.bits)
        else:
            chunks = read_chunks(options.sound)
            write_wave(output, waveform, sample_rate=before.sample_rate, bits=before.bits, chunks=chunks)
