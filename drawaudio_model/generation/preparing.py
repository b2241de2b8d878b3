"""Features of a call's instructions, computed once and shared by all that is sampled under them: takes, other curves, sections.

Legend: V video frames and P loudness points of whole windows, D CAVP width, H/W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from drawaudio_model.clip_format import CLIP_SECONDS, LOUDNESS_FPS, VIDEO_FPS
from drawaudio_model.denoiser import Conditions
from drawaudio_model.generation.found_boxes import detector_in, find_boxes
from drawaudio_model.generation.freed_memory import return_freed_memory
from drawaudio_model.generation.instructions import (
    Instructions,
    Loudness,
    Mask,
    drawn_mask,
    frames_in,
    hold_last,
    is_text,
    read_loudness,
    read_video,
    video_seconds,
)
from drawaudio_model.generation.sections import Section
from drawaudio_model.generation.stages import SILENT, Teller
from drawaudio_model.generation.windows import window_starts_seconds
from drawaudio_model.masks import apply_mask
from drawaudio_model.text import TextEmbeddings


@dataclass(frozen=True, eq=False)
class Prepared:
    """Features of picture, mask and words, and the curve, for one sound or for the windows that a section touches."""

    prompt: str | None
    text: TextEmbeddings
    """Of the prompt, "" for none."""
    negative: TextEmbeddings
    cavp: Tensor | None
    """(1, V, D) of the frames; None: no video."""
    cavp_masked: Tensor | None
    """(1, V, D) of the masked frames; None: no mask."""
    curve: np.ndarray | None
    """(points,) loudness signal of the whole sound, as far as the model can follow it; None: no curve."""
    seconds: float
    """Length of the whole sound."""
    overlap_seconds: int
    """Least seconds that two windows share."""
    window_starts: tuple[int, ...]
    """Seconds of the whole sound at which the prepared windows start; V and P cover them and nothing else."""
    complete: bool
    """Whether these are all windows of the sound."""
    notices: tuple[str, ...] = ()
    """Sentences for the user about picture, mask and text."""
    negative_prompt: str | None = None
    curve_notices: tuple[str, ...] = ()
    """Sentences for the user about the curve."""

    @property
    def span(self) -> tuple[int, int]:
        """First and last second that the windows cover."""
        return _span(self.window_starts)

    def of_windows(self, starts: tuple[int, ...]) -> "Prepared":
        """The same of some of the windows, which follow each other."""
        (first, last), begin = _span(starts), self.span[0]
        frames = slice((first - begin) * VIDEO_FPS, (last - begin) * VIDEO_FPS)
        cavp, masked = (None if whole is None else whole[:, frames] for whole in (self.cavp, self.cavp_masked))
        complete = self.complete and starts == self.window_starts
        return replace(self, cavp=cavp, cavp_masked=masked, window_starts=starts, complete=complete)


def _span(window_starts: Sequence[int]) -> tuple[int, int]:
    return window_starts[0], window_starts[-1] + CLIP_SECONDS


def prepare(
    pipe: DiffusionPipeline,
    instructions: Instructions,
    overlap_seconds: int,
    section: tuple[float, float] | None,
    teller: Teller,
) -> Prepared:
    """`DrawAudioPipeline.prepare`."""
    teller.tell("reading")
    seconds = instructions.seconds
    if instructions.video is not None:
        seconds = video_seconds(instructions.video, video_fps=instructions.video_fps, seconds=seconds)
    seconds = float(CLIP_SECONDS if seconds is None else seconds)
    starts = every = window_starts_seconds(seconds, pipe.latent_frames, overlap_seconds)
    if section is not None:
        starts = Section(*section, seconds, pipe.latent_frames).window_starts(overlap_seconds)
    first, last = _span(starts)
    frames: np.ndarray | None = None
    if instructions.video is not None:
        frames = read_video(
            instructions.video, video_fps=instructions.video_fps, seconds=seconds, part=(first, last)
        ).frames
    # Before the encoders run: a curve that cannot be read is a mistake of the person's.
    curve, cut = limited_curve(pipe, instructions.loudness, seconds)
    cavp, masked, notices = picture_features(
        pipe,
        frames,
        instructions.mask,
        (last - first) * VIDEO_FPS,
        instructions.mask_invert,
        teller=teller,
        place=(first, seconds),
    )
    return_freed_memory()
    teller.tell("text")
    # Both at once: the encoders' weights, which are what short texts cost, are read once.
    texts = pipe.text([instructions.prompt or "", instructions.negative_prompt or ""])
    text, negative = texts.select([0]), texts.select([1])
    if pipe.domain is not None:
        said = [
            pipe.domain.notice_of_words(instructions.prompt, text.clap[0]) if instructions.prompt else None,
            None if frames is None else pipe.domain.notice_of_pictures(frames),
        ]
        notices += [sentence for sentence in said if sentence]
    return Prepared(
        prompt=instructions.prompt,
        text=text,
        negative=negative,
        cavp=cavp,
        cavp_masked=masked,
        curve=curve,
        seconds=seconds,
        overlap_seconds=overlap_seconds,
        window_starts=starts,
        complete=starts == every,
        notices=tuple(notices),
        negative_prompt=instructions.negative_prompt,
        curve_notices=cut,
    )


def limited_curve(
    pipe: DiffusionPipeline, loudness: Loudness | None, seconds: float
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """(points,) loudness signal of a curve as far as the model can follow it, and what is to be said of it."""
    if loudness is None:
        return None, ()
    curve = read_loudness(loudness, seconds)
    if pipe.domain is None:
        return curve, ()
    curve, cut = pipe.domain.limit_curve(curve)
    return curve, (cut,) if cut else ()


def picture_features(
    pipe: DiffusionPipeline,
    frames: np.ndarray | None,
    mask: Mask | None,
    length: int,
    invert: bool = False,
    *,
    teller: Teller = SILENT,
    place: tuple[int, float] | None = None,
) -> tuple[Tensor | None, Tensor | None, list[str]]:
    """CAVP features of the frames and of the masked frames, (1, length, D) each, and what to say of the mask.

    Args:
        pipe: with CAVP, and a detector for a mask by text.
        frames: (V, H, W, 3) uint8, or None.
        mask: drawn on the whole video.
        length: frames that the windows hold; behind the last one it is held.
        invert: what the mask leaves out sounds.
        teller: told of the frames.
        place: second of the video at which the frames begin, and the video's seconds; None: they are all of it.
    """
    if frames is None:
        return None, None, []
    held = hold_last(frames, length)
    if mask is None:
        return _encoded(pipe, held, teller, 0, len(held)), None, []
    teller.tell("mask", 0, len(frames))
    first, whole = 0, len(frames)
    if is_text(mask):
        pipe.detector = pipe.detector or detector_in(pipe.detector_folder, mask)
        mask = find_boxes(pipe.detector, frames, mask, tell=lambda done: teller.tell("mask", done, len(frames)))
    elif place is not None:
        first, whole = place[0] * VIDEO_FPS, frames_in(place[1])
    regions, _, notices = drawn_mask(mask, whole, *frames.shape[1:3], invert=invert)
    masked = apply_mask(held, hold_last(regions[first : first + len(frames)], length))
    return (
        _encoded(pipe, held, teller, 0, 2 * len(held)),
        _encoded(pipe, np.asarray(masked), teller, len(held), 2 * len(held)),
        notices,
    )


def _encoded(pipe: DiffusionPipeline, frames: np.ndarray, teller: Teller, before: int, total: int) -> Tensor:
    """(1, V, D) CAVP features of frames (V, H, W, 3); `before` of the `total` frames are done."""
    return pipe.cavp.encode_frames(frames, tell=lambda done: teller.tell("picture", before + done, total))


def conditions_of(pipe: DiffusionPipeline, prepared: Prepared) -> Conditions:
    """The denoiser's conditions of prepared instructions, over all their windows."""
    first, last = prepared.span
    curve = None
    if prepared.curve is not None:
        held = hold_last(prepared.curve, last * LOUDNESS_FPS)[first * LOUDNESS_FPS :]
        curve = torch.from_numpy(held)[None]
    return pipe.conditions(
        prepared.text,
        prepared.negative,
        cavp=prepared.cavp,
        cavp_masked=prepared.cavp_masked,
        loudness=curve,
        seconds=last - first,
    )
