"""A job of `drawaudio serve` in the worker: carried out by what `drawaudio generate` and `regenerate` call."""

import argparse
import json
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drawaudio_model.atomic_files import write_atomically
from drawaudio_model.commands.delivery import Delivery
from drawaudio_model.commands.generate import Request, Sampling, check_places, make_sound, model_mark
from drawaudio_model.commands.regenerate import SectionOrder
from drawaudio_model.studio.messages import Sound, SoundOrder

if TYPE_CHECKING:
    from drawaudio_model.generation.output import DrawAudioOutput
    from drawaudio_model.generation.stages import OnProgress
    from drawaudio_model.pipeline import DrawAudioPipeline

OWN_SETTINGS = {
    "guidance_text": None,
    "guidance_video": None,
    "guidance_loudness": None,
    "guidance_interval": (0.0, 1.0),
}


def make(pipe: "DrawAudioPipeline", model: Path, order: SoundOrder, on_progress: "OnProgress") -> Sound:
    """Makes one sound into the order's folder; returns what is said of it. It is there when its .json is, which comes last.

    Args:
        pipe: the model.
        model: its folder.
        order: `options` as the command line would have them, and `folder`.
        on_progress: told of every stage; what it raises ends the job.

    Raises:
        ValueError: when an instruction cannot be carried out.
    """
    folder, identity = Path(order["folder"]), secrets.token_hex(6)
    began = time.perf_counter()
    output = folder / f"{identity}.wav"
    options = argparse.Namespace(
        **order["options"], **OWN_SETTINGS, output=output, model=model, adapters=None, cavp=None, detector=None
    )
    try:
        result, steps = _section(pipe, options, on_progress) if options.section else _whole(pipe, options, on_progress)
    except BaseException:
        for path in folder.glob(f"{identity}.*"):
            path.unlink()
        raise
    facts: Sound = {
        "id": identity,
        "seed": result.seeds[0],
        "steps": steps,
        "seconds": result.audios.shape[1] / result.sample_rate,
        "sample_rate": options.sample_rate or result.sample_rate,
        "curve_score": _score(result.curve_scores),
        "clap_score": _score(result.clap_scores),
        "notices": list(result.notices),
        "model_sha256": model_mark(options),
        "model_seconds": round(time.perf_counter() - began, 3),
    }
    write_atomically(output.with_suffix(".json"), json.dumps(facts, allow_nan=False).encode())
    return facts


def _whole(
    pipe: "DrawAudioPipeline", options: argparse.Namespace, on_progress: "OnProgress"
) -> tuple["DrawAudioOutput", int]:
    for name in ("video", "start_from"):
        setattr(options, name, None if getattr(options, name) is None else Path(getattr(options, name)))
    check_places(options)
    asked, sampling, delivery = Request.of(options), Sampling.of(options), Delivery.of(options)
    result = make_sound(pipe, options, asked, sampling, delivery, keep_take=True, on_progress=on_progress)
    result.notices += delivery.notices
    return result, options.steps


def _section(
    pipe: "DrawAudioPipeline", options: argparse.Namespace, on_progress: "OnProgress"
) -> tuple["DrawAudioOutput", int]:
    options.sound, options.anew, options.guidance_interval = Path(options.sound), False, None
    options.video = None if options.video is None else Path(options.video)
    options.strength = 1.0 if options.strength is None else options.strength
    order = SectionOrder.of(options)
    return order.make(pipe, None, on_progress=on_progress), order.call["num_inference_steps"]


def _score(scores: Any) -> float | None:
    """The best sound's, as JSON can hold it; None where nothing is known."""
    value = None if scores is None else float(scores[0])
    return value if value is not None and value == value else None
