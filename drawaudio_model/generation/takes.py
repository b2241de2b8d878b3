"""Takes under prepared instructions: sampled, decoded and ranked; whole sounds, or one section of a sound made anew.

Legend: B candidates, C latent channels, N latent frames of the whole sound, K latent mel bins, n samples.
"""

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from drawaudio_model.clip_format import CLIP_SECONDS, LOUDNESS_FPS, SAMPLE_RATE
from drawaudio_model.defaults import SAMPLING_STEPS
from drawaudio_model.generation.candidates import clap_score, curve_score, rank
from drawaudio_model.generation.freed_memory import return_freed_memory
from drawaudio_model.generation.instructions import Sound, check_seed, read_start
from drawaudio_model.generation.output import DrawAudioOutput, Take
from drawaudio_model.generation.preparing import Prepared, conditions_of
from drawaudio_model.generation.sampling import Given
from drawaudio_model.generation.sections import Section, excerpt, level_of_neighbours, pasted
from drawaudio_model.generation.stages import OnProgress, Teller
from drawaudio_model.generation.windows import window_starts_seconds
from drawaudio_model.guidance import OWN_GUIDANCE, Guidance
from drawaudio_model.levels.full_scale import fit_full_scale
from drawaudio_model.levels.matching import shortfall_notice

logger = logging.getLogger("drawaudio_model.pipeline")  # the name that users know

StepCallback = Callable[[Any, int, int, dict[str, Tensor]], Any]
"""Called as (pipeline, step, timestep, {"latents": (1, C, N, K)}); the "latents" of a dictionary that it returns take their
place."""
STRENGTH = 0.6
"""How far from a given sound, where nobody says: its rhythm stays, its colour is the instructions'."""


@dataclass(frozen=True)
class Sampling:
    """How takes are sampled."""

    num_inference_steps: int = SAMPLING_STEPS
    guidance: Guidance = OWN_GUIDANCE
    """A weight of None is the model's own."""
    branches_together: bool | None = None
    """The branches in one batch, in turns with less memory, or by what memory is free (None)."""
    callback_on_step_end: StepCallback | None = None
    on_progress: OnProgress | None = None
    """Told of every stage; False stops the call, and so does what it raises."""


OWN_SAMPLING = Sampling()
"""The paper's steps under the model's own guidance."""


def generate(
    pipe: DiffusionPipeline,
    prepared: Prepared,
    seeds: Sequence[int] | None,
    sampling: Sampling,
    start_from: Sound | None,
    strength: float | None,
    keep_latents: bool,
) -> DrawAudioOutput:
    """`DrawAudioPipeline.generate`, with the curve in its place."""
    check_start(start_from, strength)
    if not prepared.complete:
        raise ValueError("the instructions were prepared for a section; prepare them without one, or use regenerate")
    given = None
    if start_from is not None:
        sound = read_start(start_from, prepared.span[1])
        latents = pipe.encode(sound[None], overlap_seconds=prepared.overlap_seconds)[0]
        given = Given(latents, STRENGTH if strength is None else strength)
    seeds = _seeds(seeds)
    kept, audios = [], []
    for sound, latents in _sampled(pipe, prepared, seeds, sampling, given):
        # Ranked by what is handed out: whole windows are sampled, and the last may reach beyond the end.
        audios.append(pipe.at_level(sound[: round(prepared.seconds * SAMPLE_RATE)], prepared.curve))
        if keep_latents:
            kept.append(latents.float().cpu())
    return _ranked(pipe, prepared, seeds, audios, kept, sampling, list(prepared.notices))


def regenerate(
    pipe: DiffusionPipeline,
    take: Take,
    prepared: Prepared,
    section: Section,
    seeds: Sequence[int] | None,
    sampling: Sampling,
    strength: float,
) -> DrawAudioOutput:
    """`DrawAudioPipeline.regenerate`, with the curve in its place."""
    _check_fits(take, prepared, section)
    frames = window_starts_seconds(prepared.seconds, pipe.latent_frames, prepared.overlap_seconds)[-1] + CLIP_SECONDS
    shape = pipe.vae.config.latent_channels, frames * pipe.latent_frames // CLIP_SECONDS, pipe.latent_bins
    if take.latents is not None and take.latents.shape != shape:
        raise ValueError(
            f"the take's latents have shape {tuple(take.latents.shape)}, expected {shape}; another model made them, give its "
            "sound alone"
        )
    prepared = prepared.of_windows(section.window_starts(prepared.overlap_seconds))
    span, notices = prepared.span, list(prepared.notices)
    before = excerpt(take, span)
    first, last = (second * pipe.latent_frames // CLIP_SECONDS for second in span)
    if take.latents is None:
        latents = pipe.encode(before[None], overlap_seconds=take.overlap_seconds)[0]
    else:
        latents = take.latents[:, first:last]
    kept = section.kept(first, last)
    seeds = _seeds(seeds)
    whole_latents, audios = [], []
    for sound, sampled in _sampled(pipe, prepared, seeds, sampling, Given(latents, strength, kept)):
        levelled = _at_level_of_rest(pipe, sound, before, prepared, section)
        fitted = fit_full_scale(levelled, lossy=take.sample_rate != SAMPLE_RATE)
        notices += [f"the new section: {fitted.description}"] if fitted.limited else []
        audios.append(pasted(take, fitted.waveform, span[0], section))
        if take.latents is not None:
            whole_latents.append(take.latents.detach().float().cpu().clone())
            whole_latents[-1][:, first:last] = sampled.cpu()
    return _ranked(pipe, prepared, seeds, audios, whole_latents, sampling, notices, rate=take.sample_rate)


def _check_fits(take: Take, prepared: Prepared, section: Section) -> None:
    """Raises ValueError when a sound, what was prepared and a section do not belong together."""
    if take.waveform.ndim != 1 or abs(take.seconds - prepared.seconds) > 0.5 / SAMPLE_RATE + 1 / take.sample_rate:
        raise ValueError(
            f"the sound has the shape {take.waveform.shape} at {take.sample_rate} Hz, expected one channel of "
            f"{prepared.seconds:.4f} s, which is what was prepared; give the video and the seconds of that sound"
        )
    if take.overlap_seconds != prepared.overlap_seconds:
        raise ValueError(
            f"the sound's windows overlap by {take.overlap_seconds} s, and {prepared.overlap_seconds} s were prepared; "
            "prepare with the same"
        )
    needed = section.window_starts(prepared.overlap_seconds)
    if not {*needed} <= {*prepared.window_starts}:
        raise ValueError(
            f"the section from {section.start_seconds:g} to {section.end_seconds:g} s needs the windows at {needed} s, and "
            f"those at {prepared.window_starts} s were prepared; prepare with section=({section.start_seconds:g}, "
            f"{section.end_seconds:g}), or all of it"
        )


def _at_level_of_rest(
    pipe: DiffusionPipeline, sound: np.ndarray, before: np.ndarray, prepared: Prepared, section: Section
) -> np.ndarray:
    """The decoded sound of a section's windows at the levels of the curve, where the model meets curves, or of the rest."""
    first, last = prepared.span
    sound = sound[: min(round(prepared.seconds * SAMPLE_RATE) - first * SAMPLE_RATE, len(sound))]
    if prepared.curve is not None and pipe.config.level_matching_db is not None:
        return pipe.at_level(sound, prepared.curve[first * LOUDNESS_FPS : last * LOUDNESS_FPS])
    ends = (round((edge - first) * SAMPLE_RATE) for edge in (section.start_seconds, section.end_seconds))
    return level_of_neighbours(sound, before[: len(sound)], *ends)


def check_start(start_from: Sound | None, strength: float | None) -> None:
    """Raises ValueError for a strength without a sound to begin with, or one that is no share."""
    if strength is None:
        return
    if start_from is None:
        raise ValueError(f"strength is {strength} without start_from; give the sound to begin with")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}, expected 0 (the given sound) to 1 (none of it)")


def _seeds(seeds: Sequence[int] | None) -> list[int]:
    """The seeds that were given, or a random one."""
    if seeds is None:
        return [secrets.randbelow(2**31)]
    if not len(seeds):
        raise ValueError("seeds is empty, expected one for each sound")
    for seed in seeds:
        check_seed(seed)
    return [int(seed) for seed in seeds]  # torch takes no numpy number


def _sampled(
    pipe: DiffusionPipeline, prepared: Prepared, seeds: Sequence[int], sampling: Sampling, given: Given | None
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """(samples,) waveform of whole windows and (C, N, K) latents of each seed; one at a time, so that memory does not grow."""
    guidance = _guidance(pipe, prepared, sampling)
    conditions = conditions_of(pipe, prepared)
    teller = Teller(sampling.on_progress)
    for number, seed in enumerate(seeds, start=1):
        teller.of_candidate(number, len(seeds))
        latents = pipe.sample_latents(
            conditions,
            guidance,
            seeds=[seed],
            num_inference_steps=sampling.num_inference_steps,
            overlap_seconds=prepared.overlap_seconds,
            branches_together=sampling.branches_together,
            given=given,
            callback_on_step_end=sampling.callback_on_step_end,
            teller=teller,
        )
        return_freed_memory()
        yield pipe.decode(latents, overlap_seconds=prepared.overlap_seconds, teller=teller)[0], latents[0]


def _guidance(pipe: DiffusionPipeline, prepared: Prepared, sampling: Sampling) -> Guidance:
    return sampling.guidance.resolved(pipe.own_guidance, has_video=prepared.cavp is not None)


def _unheard(pipe: DiffusionPipeline, prepared: Prepared, sampling: Sampling) -> list[str]:
    """A sentence for each instruction that nothing in this sampling hears."""
    said = []
    guidance = _guidance(pipe, prepared, sampling)
    if prepared.negative_prompt and "uncond" not in guidance.branches:
        said.append(
            f"the negative prompt has no effect: guidance_text {guidance.text:g} and guidance_video {guidance.video:g} leave "
            "the branch that reads it no weight; let them sum to more than 1"
        )
    if prepared.curve is not None and prepared.cavp is None and pipe.config.loudness_branches == "video":
        said.append("this model hears a loudness curve together with a video only: what was sampled did not hear it")
    return said


def _ranked(
    pipe: DiffusionPipeline,
    prepared: Prepared,
    seeds: Sequence[int],
    audios: Sequence[np.ndarray],
    latents: Sequence[Tensor],
    sampling: Sampling,
    notices: list[str],
    *,
    rate: int = SAMPLE_RATE,
) -> DrawAudioOutput:
    """The sounds, best first, with what is to be said of them."""
    Teller(sampling.on_progress).tell("ranking", 0, len(seeds))
    curve, prompt = prepared.curve, prepared.prompt
    judged = list(audios)
    if not prepared.complete or rate != SAMPLE_RATE:
        judged, curve = _parts(prepared, audios, rate)
    following = None if curve is None else np.array([curve_score(audio, curve) for audio in judged])
    fitting = None
    if prompt and len(seeds) > 1:
        wanted = prepared.text.clap[0]
        fitting = np.array([clap_score(pipe.text_encoder, pipe.feature_extractor, audio, wanted) for audio in judged])
    said = [*prepared.curve_notices, *notices, *_unheard(pipe, prepared, sampling)]
    if curve is not None and (short := shortfall_notice(judged[0], curve)):
        said.append(short)
    for sentence in said:
        logger.warning("%s", sentence)
    ranking = rank(following, fitting, len(seeds))
    return DrawAudioOutput(
        audios=np.stack(audios)[ranking.order],
        seeds=[seeds[index] for index in ranking.order],
        curve=prepared.curve,
        notices=said,
        scores=ranking.scores,
        curve_scores=ranking.curve,
        clap_scores=ranking.clap,
        peaks=[float(np.abs(audios[index]).max()) for index in ranking.order],
        latents=torch.stack([latents[index] for index in ranking.order]) if latents else None,
        overlap_seconds=prepared.overlap_seconds,
        sample_rate=rate,
    )


def _parts(prepared: Prepared, audios: Sequence[np.ndarray], rate: int) -> tuple[list[np.ndarray], np.ndarray | None]:
    """The parts of whole sounds at `rate` and of the curve that lie in the prepared windows, at 16 kHz."""
    first, last = prepared.span
    samples = round((min(last, prepared.seconds) - first) * SAMPLE_RATE)
    sounds = [excerpt(Take(audio, sample_rate=rate), prepared.span)[:samples] for audio in audios]
    curve = prepared.curve
    return sounds, None if curve is None else curve[first * LOUDNESS_FPS : last * LOUDNESS_FPS]
