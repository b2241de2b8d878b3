"""`drawaudio serve`: the studio's worker for programs. Files go in, jobs are asked for, sounds come out.

    FOLDER/
      files/   <id>.<suffix>: what was uploaded, named after its content
      sounds/  <id>.wav, .take (what a section is made anew from), .json (what the service says of it; written last)

Every request has passed the gates of guard.py. It names things by ids; what it may say stands in openapi.py.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from drawaudio_model.atomic_files import folder_beside
from drawaudio_model.clip_format import MEL_MAX_HZ
from drawaudio_model.defaults import DRAFT_STEPS, SAMPLING_STEPS
from drawaudio_model.studio import openapi
from drawaudio_model.studio.answers import HANDLERS, event_stream, file_answer, json_body
from drawaudio_model.studio.jobs import Events, Jobs
from drawaudio_model.studio.messages import Job
from drawaudio_model.studio.project import check_id

FILES = "/api/files"
LONGEST_WAIT_SECONDS = 60.0
_ID_BYTES = 12


class Service:
    """The requests that programs make of the model.

    Args:
        model: the model's folder.
        folder: where files and sounds lie.
        address: of the service, for its document.
    """

    def __init__(self, model: Path, folder: Path, address: str) -> None:
        self.model, self.folder, self.address = model.resolve(), folder.resolve(), address
        for name in ("files", "sounds"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.events = Events()
        self.jobs = Jobs(self.model, self.events)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Runs the jobs while the server runs, and has the model loaded before it is asked for."""
        async with self.jobs.running():
            await self.jobs.warm()
            yield

    async def read_document(self, _: Request) -> Response:
        from importlib.metadata import version

        return JSONResponse(openapi.document(version("drawaudio"), self.address))

    async def read_state(self, _: Request) -> Response:
        index = json.loads((self.model / "model_index.json").read_bytes())
        waiting = sum(job["state"] in ("waiting", "running") for job in self.jobs.jobs.values())
        facts = {"model": self.model.name, "licence": index.get("licence"), "waiting": waiting}
        return JSONResponse(facts | {"content_ends_at_hz": MEL_MAX_HZ})

    # Files

    async def upload(self, request: Request) -> Response:
        suffix = Path(request.query_params.get("name", "")).suffix.lower()
        if not re.fullmatch(r"\.[a-z0-9]{1,8}", suffix):
            raise ValueError(
                f"the file's name is {request.query_params.get('name', '')[:60]!r}, expected one such as clip.mp4"
            )
        digest, size = hashlib.sha256(), 0
        try:
            with (
                folder_beside(self.folder / "files" / "upload") as own,
                (received := own / "content").open("wb") as file,
            ):
                async for part in request.stream():
                    digest.update(part)
                    size += len(part)
                    await run_in_threadpool(file.write, part)
                if not size:
                    raise ValueError("the file is empty; send its bytes as the body of the request")
                file.flush()
                identity = digest.hexdigest()[: 2 * _ID_BYTES]
                for before in self._named("files", identity):
                    if before.suffix != suffix:
                        before.unlink()  # the same content under a name that says something else
                received.replace(self.folder / "files" / f"{identity}{suffix}")
        except ClientDisconnect:
            raise ValueError("the upload was broken off; send the file again") from None
        return JSONResponse({"id": identity, "bytes": size, "sha256": digest.hexdigest()}, 201)

    async def remove(self, request: Request) -> Response:
        """Of a file or of a sound."""
        kind = request.url.path.split("/")[2]
        found = self._named(kind, check_id(request.path_params["id"], "id"))
        for path in found:
            path.unlink(missing_ok=True)
        return Response(status_code=204) if found else JSONResponse({"error": "it is not there"}, 404)

    async def read_sound(self, request: Request) -> Response:
        path = self.folder / "sounds" / f"{check_id(request.path_params['id'], 'sound')}.wav"
        return file_answer(path, "audio/wav")

    def _named(self, kind: str, identity: str) -> list[Path]:
        return [path for path in sorted((self.folder / kind).glob(f"{identity}.*"))]

    def _file(self, identity: str, what: str) -> str:
        found = self._named("files", identity)
        if not found:
            raise ValueError(f"{what} names the file {identity}, which is not there; upload it first")
        return str(found[0])

    def _sound(self, identity: str) -> Path:
        path = self.folder / "sounds" / f"{identity}.json"
        if not path.is_file():
            raise ValueError(f"there is no sound {identity}; it is not made yet, or was removed")
        return path.with_suffix(".wav")

    # Jobs

    async def add_job(self, request: Request) -> Response:
        asked = await json_body(request)
        openapi.check(asked, openapi.INSTRUCTIONS, "the request")
        job = self.jobs.add({"do": "sound", "options": self._options(asked), "folder": str(self.folder / "sounds")})
        return JSONResponse(_shown(job), 202, headers={"location": f"/api/jobs/{job['id']}"})

    def _options(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The options that `drawaudio generate`, or for a section `regenerate`, would have on its line."""
        mask, loudness, start = asked.get("mask"), asked.get("loudness"), asked.get("start_from")
        if isinstance(mask, list):
            mask = ",".join(map(repr, mask))
        elif mask is not None and "words" in mask:
            mask = mask["words"]
        elif mask is not None:
            mask = self._file(mask["file"], "the mask")
        if isinstance(loudness, list):
            loudness = ",".join(f"{time!r}:{level!r}" for time, level in loudness)
        elif loudness is not None:
            loudness = self._file(loudness["file"], "the loudness")
        if start is not None:
            is_sound = (self.folder / "sounds" / f"{start}.json").is_file()
            start = str(self._sound(start)) if is_sound else self._file(start, "start_from")
        section = asked.get("section")
        steps = asked.get("steps", DRAFT_STEPS if asked.get("draft") else None)
        options = {
            "video": None if "video" not in asked else self._file(asked["video"], "the video"),
            "mask": mask,
            "mask_invert": asked.get("mask_invert", False if section is None else None),
            "loudness": loudness,
            "start_from": start,
            "candidates": asked.get("candidates", 1),
            "steps": steps or (SAMPLING_STEPS if section is None else None),
            "section": section,
            "sound": None if section is None else str(self._sound(asked["sound"])),
        }
        if section is not None:
            refused = sorted({*asked} & {"start_from", "candidates", "seconds", "sample_rate", "bits", "timecode"})
            if refused:
                raise ValueError(f"{refused[0]} is not of a section, which keeps the form of its sound; leave it out")
        names = ("text", "negative_text", "seed", "seconds", "strength", "sample_rate", "bits", "timecode")
        return {name: asked.get(name) for name in names} | options

    async def read_jobs(self, _: Request) -> Response:
        return JSONResponse([_shown(job) for job in self.jobs.jobs.values()])

    async def read_job(self, request: Request) -> Response:
        identity = check_id(request.path_params["id"], "job")
        if identity not in self.jobs.jobs:
            raise HTTPException(404, f"there is no job {identity}")
        wait = request.query_params.get("wait", "0")
        if not re.fullmatch(r"\d{1,2}(\.\d{1,3})?", wait) or float(wait) > LONGEST_WAIT_SECONDS:
            raise ValueError(f"wait is {wait[:20]!r}, expected 0 to {LONGEST_WAIT_SECONDS:g} seconds")
        return JSONResponse(_shown(await self.jobs.ended(identity, float(wait))))

    async def cancel_job(self, request: Request) -> Response:
        identity = check_id(request.path_params["id"], "job")
        if identity not in self.jobs.jobs:
            raise HTTPException(404, f"there is no job {identity}")
        self.jobs.cancel(identity)
        return Response(status_code=204)

    async def read_events(self, request: Request) -> Response:
        return event_stream(self.events, request)


def _shown(job: Job) -> dict[str, Any]:
    return {name: value for name, value in job.items() if name in openapi.SCHEMAS["Job"]["properties"]}


def application(service: Service) -> Starlette:
    """The routes: those of the document, each by its operationId."""
    own = {"remove_file": service.remove, "remove_sound": service.remove}
    routes = [
        Route(path, own.get(row[0]) or getattr(service, row[0]), methods=[method.upper()])
        for path, rows in openapi.PATHS.items()
        for method, row in rows.items()
    ]
    app = Starlette(routes=routes, exception_handlers=HANDLERS, lifespan=service.lifespan)
    app.router.redirect_slashes = False  # an id ends where it ends
    return app
