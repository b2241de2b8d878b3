"""The model in a process of its own: it is loaded once, and what happens to this process happens to one job.

The server writes a line of JSON for each job to its input, and for a cancel; it answers with lines of JSON. It makes
sounds by the call of the pipeline that `drawaudio generate` makes, and puts them into the project's folder itself.
"""

import argparse
import json
import os
import queue
import secrets
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from drawaudio_model.detector import ObjectDetector
    from drawaudio_model.generation.output import DrawAudioOutput
    from drawaudio_model.pipeline import DrawAudioPipeline


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

    def run(self, order: Mapping[str, Any]) -> None:
        """One job, to its end; what goes wrong is told in a sentence."""
        job = order["job"]
        try:
            self.check(job)
            jobs = {"generate": self.generate, "detect": self.detect, "load": self.load, "sound": self.sound}
            found = jobs[order["do"]](order)
        except Cancelled:
            self.tell(job, state="cancelled")
        except (ValueError, OSError) as error:
            self.tell(job, state="failed", sentence=" ".join(str(error).split()))
        except Exception as error:  # a fault of ours costs a job, not the loaded model
            words = f"{type(error).__name__}: {' '.join(str(error).split())}"
            self.tell(job, state="failed", sentence=NO_MEMORY if _wants_memory(error) else words)
        else:
            self.tell(job, state="done", **found)

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
        """What takes say of the model that made them."""
        from drawaudio_model.commands.generate import model_mark

        return model_mark(argparse.Namespace(model=self.model, adapters=None, cavp=None))

    def load(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Loads the model before it is needed."""
        self.pipeline(order["job"])
        self.model_sha256()
        return {}

    def sound(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Makes a sound for `drawaudio serve`."""
        from drawaudio_model.generation.stages import Progress
        from drawaudio_model.studio import sounds

        job = order["job"]

        def tell(at: Progress) -> None:
            self.check(job)
            steps = {"step": at.done, "total": at.total} if at.stage == "sampling" else {}
            self.tell(job, stage=at.stage, **steps)

        return {"sound": sounds.make(self.pipeline(job), self.model, order, tell)}

    def detect(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """The keyframes of a mask that shows where a thing is; one for each frame in which its boxes change."""
        from drawaudio_model.generation.instructions import detector_in, find_boxes, read_video
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
        keyframes: list[dict[str, Any]] = []
        for frame in range(len(frames)):
            corners = [[[box.x0, box.y0], [box.x1, box.y1]] for box in boxes if box.frame == frame]
            shapes = [{"kind": "box", "cut": False, "points": points, "size": 0} for points in corners]
            if not keyframes or keyframes[-1]["shapes"] != shapes:
                keyframes.append({"frame": frame, "shapes": shapes})
        return {"keyframes": keyframes}

    def generate(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Makes the takes of a track: their ids, the best first."""
        from drawaudio_model.studio.drawing import curve_levels, write_mask_folder

        job, track, project = order["job"], order["track"], Path(order["project"])
        pipe = self.pipeline(job)
        self.check(job)
        self.tell(job, stage="reading picture, mask and words")
        mask = None
        if track["mask"] is not None:
            width, height = order["model_size"]
            mask = write_mask_folder(project / "masks", track["mask"], order["model_frames"], height, width)
        total = order["steps"] * track["count"]
        done = 0

        def step(*_: object) -> None:
            nonlocal done
            done += 1
            self.check(job)
            stage = "sampling" if done % order["steps"] else "making the sound"
            self.tell(job, stage=stage, step=done, total=total)

        seed = secrets.randbelow(2**31) if track["seed"] is None else track["seed"]
        result = pipe(
            order["video"],
            track["text"].strip() or None,
            negative_prompt=track["negative_text"].strip() or None,
            mask=mask,
            mask_invert=mask is not None and track["mask"]["invert"],
            loudness=None if track["curve"] is None else curve_levels(track["curve"], order["seconds"]),
            num_inference_steps=order["steps"],
            seed=seed,
            num_candidates=track["count"],
            callback_on_step_end=step,
        )
        self.check(job)
        return {"takes": self.keep(order, result, mask)}

    def keep(self, order: Mapping[str, Any], result: "DrawAudioOutput", mask: Path | None) -> list[str]:
        """Writes the takes into the project; a take is there when its .json is, which comes last."""
        from drawaudio_model.atomic_files import write_atomically
        from drawaudio_model.media import write_audio
        from drawaudio_model.studio.media_view import write_pictures

        folder = Path(order["project"]) / "takes"
        folder.mkdir(exist_ok=True)
        track = order["track"]
        made = datetime.now(UTC).isoformat(timespec="milliseconds")
        identities = []
        for place, (audio, seed) in enumerate(zip(result.audios, result.seeds, strict=True)):
            identity = secrets.token_hex(6)
            write_audio(folder / f"{identity}.wav", audio, floats=True)
            write_pictures(audio, folder / identity)
            facts = {
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
                "instructions": {name: track[name] for name in ("text", "negative_text", "mask", "curve")},
            }
            write_atomically(folder / f"{identity}.json", json.dumps(facts, allow_nan=False).encode())
            identities.append(identity)
        return identities


def _wants_memory(error: Exception) -> bool:
    """Whether an allocation failed: numpy says so by its type, torch of a GPU by its type, and of a CPU in words alone."""
    return isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "allocate memory" in str(error)


def _score(scores: Any, place: int) -> float | None:
    """A score that JSON can hold; None where nothing is known."""
    value = None if scores is None else float(scores[place])
    return value if value is not None and value == value else None


def serve(worker: Worker, orders: TextIO) -> None:
    """Runs the jobs that come in, until the input ends: then the server is gone, and nobody wants what is being made."""
    waiting: queue.Queue[dict[str, Any]] = queue.Queue()

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
