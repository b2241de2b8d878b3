"""The model in a process of its own: it is loaded once, and what happens to this process happens to one job.

The server writes a line of JSON for each job to its input, and for a cancel; it answers with lines of JSON. It makes
sounds by the call of the pipeline that `drawaudio generate` makes, and puts them into the project's folder itself.
"""

import argparse
import json
import math
import os
import queue
import secrets
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from drawaudio_model.one_sentence import one_sentence
from drawaudio_model.studio.document import Instructions, Keyframe, Section, Shape, Take, Track
from drawaudio_model.studio.messages import (
    CurveOrder,
    DetectOrder,
    FollowOrder,
    Found,
    GenerateOrder,
    LoadOrder,
    Order,
    RegenerateOrder,
    SoundOrder,
    TrackOrder,
)

if TYPE_CHECKING:
    from drawaudio_model.detector import ObjectDetector
    from drawaudio_model.generation.output import DrawAudioOutput
    from drawaudio_model.generation.stages import OnProgress, Progress
    from drawaudio_model.pipeline import DrawAudioPipeline


STAGE_WORDS = {
    "reading": "reading the picture",
    "mask": "reading the mask",
    "picture": "looking at the picture",
    "text": "reading the words",
    "sampling": "sampling",
    "decoding": "making the sound",
    "vocoder": "making the sound",
    "ranking": "comparing",
}
SECONDS_BETWEEN_REPORTS = 0.1
"""Within a stage."""
NO_MEMORY = (
    "the model needs more memory than there is; nothing in the project was lost: "
    "end other programs, or take a shorter video"
)


class Cancelled(Exception):
    """The person wants this job no longer."""


class Worker:
    """One model, and the jobs that it is given.

    Args:
        model: its folder.
        answers: where the lines go.
    """

    def __init__(self, model: Path, answers: TextIO) -> None:
        self.model, self.answers = model, answers
        self.cancelled: set[str] = set()
        self._pipe: DrawAudioPipeline | None = None
        self._detector: ObjectDetector | None = None

    def tell(self, job: str, **values: Any) -> None:
        """One line."""
        try:
            self.answers.write(json.dumps({"job": job} | values) + "\n")
            self.answers.flush()
        except BrokenPipeError:
            os._exit(0)  # the server is gone, and nobody wants what is being made

    def run(self, order: Order) -> None:
        """One job, to its end; what goes wrong is told in a sentence."""
        job = order["job"]
        try:
            self.check(job)
            found = self.found(order)
        except Cancelled:
            self.tell(job, state="cancelled")
        except Exception as error:  # a fault of ours costs a job, not the loaded model
            words = one_sentence(error)
            if _wants_memory(error):
                words = NO_MEMORY
            elif not isinstance(error, ValueError | OSError):
                words = f"{type(error).__name__}: {words}"
            self.tell(job, state="failed", sentence=words)
        else:
            self.tell(job, state="done", **found)

    def found(self, order: Order) -> Found:
        """Carry out an order."""
        if order["do"] == "generate":
            return self.generate(order)
        if order["do"] == "regenerate":
            return self.regenerate(order)
        if order["do"] == "detect":
            return self.detect(order)
        if order["do"] == "follow":
            return self.follow(order)
        if order["do"] == "curve":
            return self.curve(order)
        return self.sound(order) if order["do"] == "sound" else self.load(order)

    def check(self, job: str) -> None:
        """Raises Cancelled when the job is no longer wanted."""
        if job in self.cancelled:
            raise Cancelled

    def pipeline(self, job: str) -> "DrawAudioPipeline":
        """The model, loaded at the first job."""
        if self._pipe is None:
            self.tell(job, stage="loading the model")
            from drawaudio_model.commands.generate import load_pipeline
            from drawaudio_model.generation.preparations import Preparations

            options = argparse.Namespace(
                model=self.model, adapters=None, cavp=None, detector=None, device=None, bf16=False, compile=False
            )
            self._pipe = load_pipeline(options)
            self._pipe.set_progress_bar_config(disable=True)
            self._pipe.preparations = Preparations()
        return self._pipe

    def model_sha256(self) -> str:
        """The facts that a take holds of the model that made it."""
        from drawaudio_model.commands.generate import model_mark

        return model_mark(argparse.Namespace(model=self.model, adapters=None, cavp=None))

    def load(self, order: LoadOrder) -> Found:
        """Loads the model before it is needed."""
        self.pipeline(order["job"])
        self.model_sha256()
        return {}

    def sound(self, order: SoundOrder) -> Found:
        """Makes a sound for `drawaudio serve`."""
        from drawaudio_model.generation.stages import Progress
        from drawaudio_model.studio import sounds

        job = order["job"]

        def tell(at: Progress) -> None:
            self.check(job)
            steps = {"step": at.done, "total": at.total} if at.stage == "sampling" else {}
            self.tell(job, stage=at.stage, **steps)

        return {"sound": sounds.make(self.pipeline(job), self.model, order, tell)}

    def detect(self, order: DetectOrder) -> Found:
        """The keyframes of a mask that shows where a thing is; one for each frame in which its boxes change."""
        from drawaudio_model.generation.found_boxes import detector_in, find_boxes
        from drawaudio_model.generation.instructions import read_video
        from drawaudio_model.model_folder import detector_beside

        job, words = order["job"], order["words"]
        folder = detector_beside(self.model)
        if not folder.is_dir():
            raise ValueError(f"there is no detector in {folder}, which would look for {words!r}; draw the mask instead")
        self.tell(job, stage="loading the detector")
        self._detector = self._detector or detector_in(folder, words)
        self.check(job)
        self.tell(job, stage=f"looking for {words}")
        frames = read_video(order["video"]).frames
        boxes = find_boxes(self._detector, frames, words)
        self.check(job)
        keyframes: list[Keyframe] = []
        for frame in range(len(frames)):
            corners = [[[box.x0, box.y0], [box.x1, box.y1]] for box in boxes if box.frame == frame]
            shapes: list[Shape] = [{"kind": "box", "cut": False, "points": points, "size": 0} for points in corners]
            if not keyframes or keyframes[-1]["shapes"] != shapes:
                keyframes.append({"frame": frame, "shapes": shapes})
        return {"keyframes": keyframes}

    def teller(self, order: GenerateOrder | RegenerateOrder) -> "OnProgress":
        """A callback that tells of a job's stages, and ends it at any of them when it is no longer wanted.

        Steps are told a few times a second: a page that draws has better things to do.
        """
        job = order["job"]
        sampling = "sampling the section" if "section" in order else "sampling"
        told = -math.inf, ""

        def tell(at: "Progress") -> None:
            nonlocal told
            self.check(job)
            now, stage = time.monotonic(), sampling if at.stage == "sampling" else STAGE_WORDS[at.stage]
            if stage == told[1] and now - told[0] < SECONDS_BETWEEN_REPORTS:
                return
            told = now, stage
            steps = {"step": (at.candidate - 1) * at.total + at.done, "total": at.total * at.candidates}
            self.tell(job, stage=stage, **(steps if at.stage == "sampling" else {}))

        return tell

    def generate(self, order: GenerateOrder) -> Found:
        """Makes the takes of a track: their ids, the best first."""
        job, track = order["job"], order["track"]
        pipe, tell = self.pipeline(job), self.teller(order)
        mask = self.mask_of(order)
        seed = secrets.randbelow(2**31) if track["seed"] is None else track["seed"]
        result = pipe(
            order["video"],
            track["text"].strip() or None,
            negative_prompt=track["negative_text"].strip() or None,
            mask=mask,
            mask_invert=is_inverted(track),
            loudness=self.curve_of(order),
            num_inference_steps=order["steps"],
            guidance_loudness=strictness_of(track),
            seed=seed,
            num_candidates=track["count"],
            keep_latents=True,
            on_progress=tell,
        )
        self.check(job)
        return {"takes": self.keep(order, result, mask)}

    def regenerate(self, order: RegenerateOrder) -> Found:
        """Makes a section of a take anew, under what the track says now: ids of whole takes, the best first."""
        from drawaudio_model.generation.take_files import check_made_by, read_sound
        from drawaudio_model.generation.takes import Sampling
        from drawaudio_model.guidance import Guidance

        job, track, (start, end) = order["job"], order["track"], order["section"]
        pipe, tell = self.pipeline(job), self.teller(order)
        mask, steps, count = self.mask_of(order), order["steps"], track["count"]
        sound = Path(order["project"]) / "takes" / f"{order['take']}.wav"
        found = read_sound(sound)
        check_made_by(sound, found, self.model_sha256(), self.model)
        before = found.take()
        prepared = pipe.prepare(
            order["video"],
            track["text"].strip() or None,
            negative_prompt=track["negative_text"].strip() or None,
            mask=mask,
            mask_invert=is_inverted(track),
            loudness=self.curve_of(order),
            overlap_seconds=before.overlap_seconds,
            section=(start, end),
            on_progress=tell,
        )
        seed = secrets.randbelow(2**31) if track["seed"] is None else track["seed"]
        guidance = Guidance(text=None, video=None, loudness=strictness_of(track))
        result = pipe.regenerate(
            before,
            prepared,
            start,
            end,
            seeds=[seed + number for number in range(count)],
            sampling=Sampling(steps, guidance, on_progress=tell),
        )
        self.check(job)
        return {"takes": self.keep(order, result, mask)}

    def follow(self, order: FollowOrder) -> Found:
        """The keyframes of a mask from one frame of the model on, whose shapes follow what is under them."""
        from drawaudio_model import media
        from drawaudio_model.clip_format import VIDEO_FPS
        from drawaudio_model.studio import following
        from drawaudio_model.studio.drawing import shapes_at

        job, first, mask = order["job"], order["frame"], order["track"]["mask"]
        assert mask is not None  # the server has seen to it
        self.tell(job, stage="reading the picture")
        start = first / VIDEO_FPS
        pictures = media.read_frames(
            Path(order["video"]),
            seconds=min(order["until"], start + following.MOST_SECONDS) - start,
            start_seconds=start,
            fps=following.PICTURES_A_SECOND,
            longer_side=following.LONGER_SIDE,
        )

        def tell(done: int, total: int) -> None:
            self.check(job)
            if done % following.STEPS_A_FRAME == 0:
                self.tell(job, stage="following", step=done, total=total)

        found = following.follow(shapes_at(mask, first), pictures, tell)
        return {"keyframes": following.keyframes_of(found, first), "followed_to": first + len(found) - 1}

    def curve(self, order: CurveOrder) -> Found:
        """The points of a curve in decibels, ten a second, of a sound; the sound's file is removed."""
        import numpy as np

        from drawaudio_model.clip_format import LOUDNESS_FPS
        from drawaudio_model.generation.instructions import curve_of_audio
        from drawaudio_model.studio.drawing import SILENCE_DB, decibels_of

        job, sound = order["job"], Path(order["sound"])
        try:
            self.tell(job, stage="listening")
            levels = curve_of_audio(sound, max(math.floor(order["length"] * LOUDNESS_FPS), 1) / LOUDNESS_FPS)
        except (ValueError, OSError) as error:
            if _wants_memory(error):
                raise
            # Under its own name, not the one that it has here.
            words = str(error).replace(str(sound), order["name"]).replace(sound.name, order["name"])
            raise ValueError(words) from error
        finally:
            sound.unlink(missing_ok=True)
        heard = np.nonzero(levels > 10 ** (SILENCE_DB / 20))[0]
        if not len(heard):
            raise ValueError(
                f"{order['name']} is silent; choose a sound that can be heard, or speak closer to the microphone"
            )
        # What follows the sound's end is no part of it.
        points = decibels_of(levels[: heard[-1] + 1])
        placed = [[round(order["start"] + time, 4), level] for time, level in points]
        return {"points": [point for point in placed if point[0] >= order["kept_from"]]}

    def mask_of(self, order: TrackOrder) -> Path | None:
        """The folder of pictures of a track's mask, as `drawaudio generate --mask` reads it."""
        from drawaudio_model.studio.drawing import write_mask_folder

        mask, (width, height) = order["track"]["mask"], order["model_size"]
        if mask is None:
            return None
        return write_mask_folder(Path(order["project"]) / "masks", mask, order["model_frames"], height, width)

    def curve_of(self, order: TrackOrder) -> list[tuple[float, float]] | None:
        """The points of a track's curve as the model gets them."""
        from drawaudio_model.studio.drawing import curve_levels

        curve = order["track"]["curve"]
        return None if curve is None else curve_levels(curve, order["seconds"])

    def keep(self, order: GenerateOrder | RegenerateOrder, result: "DrawAudioOutput", mask: Path | None) -> list[str]:
        """Writes the takes into the project; a take is there when its .json is, which comes last."""
        from drawaudio_model.atomic_files import write_atomically
        from drawaudio_model.generation.take_files import write_take
        from drawaudio_model.media import write_audio
        from drawaudio_model.studio.media_view import write_pictures

        folder = Path(order["project"]) / "takes"
        folder.mkdir(exist_ok=True)
        track = order["track"]
        made = datetime.now(UTC).isoformat(timespec="milliseconds")
        section: Section | None = None
        if order["do"] == "regenerate":
            section = {"of": order["take"], "seconds": order["section"]}
        identities = []
        for place, (audio, seed) in enumerate(zip(result.audios, result.seeds, strict=True)):
            identity = secrets.token_hex(6)
            write_audio(folder / f"{identity}.wav", audio, floats=True)
            write_take(folder / f"{identity}.wav", result.take(place), self.typed(order, mask), self.model_sha256())
            write_pictures(audio, folder / identity)
            facts: Take = {
                "id": identity,
                "track": track["id"],
                "made": made,
                "place": place,
                "seed": seed,
                "steps": order["steps"],
                "seconds": len(audio) / order["rate"],
                "curve_score": _score(result.curve_scores, place),
                "clap_score": _score(result.clap_scores, place),
                "notices": list(result.notices),
                "model": str(self.model),
                "model_sha256": self.model_sha256(),
                "mask_folder": None if mask is None else mask.name,
                "instructions": instructions_of(track),
                "section": section,
            }
            write_atomically(folder / f"{identity}.json", json.dumps(facts, allow_nan=False).encode())
            identities.append(identity)
        return identities

    def typed(self, order: TrackOrder, mask: Path | None) -> dict[str, Any]:
        """The record from which `drawaudio regenerate` goes on with a take: the instructions as one types them."""
        track, curve = order["track"], self.curve_of(order)
        told = {
            "video": order["video"],
            "text": track["text"].strip() or None,
            "negative_text": track["negative_text"].strip() or None,
            "mask": None if mask is None else str(mask),
            "mask_invert": is_inverted(track) or None,
            "loudness": None if curve is None else ",".join(f"{time:.4f}:{level:.6f}" for time, level in curve),
            "num_inference_steps": order["steps"],
            "guidance_loudness": strictness_of(track),
        }
        return {name: value for name, value in told.items() if value is not None}


def instructions_of(track: Track) -> Instructions:
    """The fields of a track that a take is made of, beside its seed."""
    return {
        "text": track["text"],
        "negative_text": track["negative_text"],
        "mask": track["mask"],
        "curve": track["curve"],
        "strictness": track["strictness"],
    }


def is_inverted(track: Track) -> bool:
    """Whether the sound comes from what is not drawn."""
    return track["mask"] is not None and track["mask"]["invert"]


def strictness_of(track: Instructions) -> float | None:
    """The weight of the curve beyond what the model learnt; None is the model's own, and without a curve there is none."""
    return None if track["curve"] is None else track["strictness"]


def _wants_memory(error: Exception) -> bool:
    """Whether an allocation failed.

    numpy says so by its type, torch of a GPU by its type and of a CPU in words alone, the media reader by its reason.
    """
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
        return True
    return getattr(error, "reason", None) == "no_memory" or "allocate memory" in str(error)


def _score(scores: Any, place: int) -> float | None:
    """A score that JSON can hold; None where nothing is known."""
    value = None if scores is None else float(scores[place])
    return value if value is not None and value == value else None


def serve(worker: Worker, orders: TextIO) -> None:
    """Runs the jobs that come in, until the input ends: then the server is gone, and nobody wants what is being made."""
    waiting: queue.Queue[Order] = queue.Queue()

    def read() -> None:
        for line in orders:
            order = json.loads(line)
            if order["do"] == "cancel":
                worker.cancelled.add(order["job"])
            else:
                waiting.put(order)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        worker.run(waiting.get())


def main(arguments: list[str]) -> int:
    """The program: MODEL."""
    from drawaudio_model.thread_waiting import wait_briefly

    # The page, which draws, and the server come first.
    os.nice(10)
    wait_briefly()
    # Libraries print; what they print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(Path(arguments[0]), answers)
    worker.tell("", ready=time.time())
    serve(worker, sys.stdin)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
