"""The studio's server: the page, the project, what is shown of the video, jobs and exports, for one browser on this machine.

Every request has passed the gates of guard.py before it comes here. A request names things by their ids; which file that
is, is decided here. Nothing that is loaded here is slow: the model and the decoder have processes of their own.
"""

import asyncio
import contextlib
import json
import math
import re
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from drawaudio_model.clip_format import SAMPLE_RATE, VIDEO_FPS
from drawaudio_model.defaults import DRAFT_STEPS
from drawaudio_model.studio.answers import HANDLERS, event_stream
from drawaudio_model.studio.answers import file_answer as _file
from drawaudio_model.studio.answers import json_body as _json
from drawaudio_model.studio.demo import demo_clip, has_demo_clip
from drawaudio_model.studio.jobs import Events, Jobs, Views, fault_of
from drawaudio_model.studio.messages import (
    CurveOrder,
    DetectOrder,
    FollowOrder,
    GenerateOrder,
    Media,
    Order,
    RegenerateOrder,
    TrackOrder,
)
from drawaudio_model.studio.project import (
    DELIVERY,
    MOST_TEXT,
    SUFFIX,
    Conflict,
    Project,
    check_delivery,
    check_id,
    check_instructions,
    check_mask,
    check_section,
)

PAGE = Path(__file__).parent / "page"
VIEWS = {"proxy.mp4": "video/mp4", "strip.jpg": "image/jpeg", "sound.wav": "audio/wav"}
VIEWS |= {"sound.png": "image/png", "sound.peaks": "application/octet-stream"}
TAKE_FILES = {"wav": "audio/wav", "png": "image/png", "peaks": "application/octet-stream"}
SECONDS_FOR_A_PAGE = 5.0
"""After them the model is loaded, page or not."""
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
MOST_LEAD_SECONDS = 10.0
"""That a recording may begin before the video."""


class Studio:
    """The project that is open, or none yet, with its views and its jobs.

    Args:
        project: the open project, or None until a video is dropped on the page.
        model: the model's folder.
        home: where the project of a dropped video is made.
    """

    def __init__(self, project: Project | None, model: Path, home: Path) -> None:
        self.project, self.model, self.home = project, model, home
        self.events = Events()
        self.jobs = Jobs(model, self.events)
        self.views = Views(self.events)
        self.notice: str | None = None
        self._views_task: asyncio.Task[None] | None = None
        self._painted = asyncio.Event()

    def opened(self) -> Project:
        """The project.

        Raises:
            ValueError: while there is none.
        """
        if self.project is None:
            raise ValueError("no project is open yet; drop a video on the page")
        return self.project

    def show(self) -> None:
        """Makes the views of the project's video, in the background."""
        project = self.opened()
        self._views_task = asyncio.get_running_loop().create_task(self._show(project))

    async def _show(self, project: Project) -> None:
        try:
            await self.views.make(project.video, project.folder / "cache")
            self.notice = await run_in_threadpool(project.video_changed)
            if self.notice:
                self.events.add("notice", sentence=self.notice)
            if self.model.is_dir():
                # A page that is being painted comes first: loading the model takes seconds of all cores.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._painted.wait(), SECONDS_FOR_A_PAGE)
                await self.jobs.warm()
        except (ValueError, OSError) as error:
            self.views.state = {"state": "failed", "sentence": str(error)}
            self.events.add("media", **self.views.state)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Runs the jobs while the server runs."""
        try:
            async with self.jobs.running():
                if self.project is not None:
                    self.show()
                yield
        finally:
            await self.views.stop()
            if self.project is not None:
                self.project.close()

    # The page

    async def index(self, _: Request) -> Response:
        return Response((PAGE / "index.html").read_bytes(), media_type="text/html; charset=utf-8")

    async def page(self, request: Request) -> Response:
        # Only what lies there is there: a name is looked up, not joined to a path.
        files = {path.name: path for path in PAGE.iterdir() if path.suffix in KINDS}
        path = files.get(request.path_params["name"])
        if path is None:
            raise HTTPException(404, "the page has no such file")
        return Response(path.read_bytes(), media_type=f"{KINDS[path.suffix]}; charset=utf-8")

    # The project

    async def read_project(self, _: Request) -> Response:
        facts: dict[str, Any] = {"model": str(self.model), "has_model": self.model.is_dir(), "notice": self.notice}
        if self.project is None:
            return JSONResponse(facts | {"document": None, "demo": has_demo_clip(self.model)})
        takes = await run_in_threadpool(self.project.takes)
        document = self.project.document
        facts |= {
            "name": self.project.folder.stem,
            "folder": str(self.project.folder),
            "jobs": [*self.jobs.jobs.values()],
        }
        return JSONResponse(facts | {"document": document, "takes": takes, "event": self.events.number})

    async def write_project(self, request: Request) -> Response:
        project = self.opened()
        revision = request.headers.get("if-match", "")
        if not revision.isdecimal():
            raise ValueError("the header If-Match names no revision; reload the page")
        document = await _json(request)
        if not isinstance(document, dict) or document.get("video") != project.document["video"]:
            raise ValueError("the video of a project is not changed by the page; open it with --video PATH")
        try:
            # In turn: two writers of one file in two threads would overwrite each other.
            return JSONResponse({"revision": project.save(document, int(revision))})
        except Conflict as error:
            return JSONResponse({"error": str(error)}, 409)

    async def upload(self, request: Request) -> Response:
        if self.project is not None:
            raise ValueError(f"{self.project.folder.name} is open; start another studio for another video")
        name = re.sub(r"[^\w.-]+", "_", Path(request.query_params.get("name", "")).name)[-80:].lstrip(".")
        if not Path(name).stem or not Path(name).suffix:
            raise ValueError(f"the file's name is {name!r}, expected one such as clip.mp4")
        folder = _free(self.home / f"{Path(name).stem}{SUFFIX}")
        video = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.upload")
        try:
            with video.open("wb") as file:
                async for part in request.stream():
                    await run_in_threadpool(file.write, part)
            if fault := await fault_of(video):
                raise ValueError(fault.replace(str(video), name).replace(video.name, name))
            await run_in_threadpool(self._create, folder, video, name)
        except ClientDisconnect:
            raise ValueError("the upload was broken off; drop the video again") from None
        finally:
            video.unlink(missing_ok=True)
        self.show()
        return JSONResponse({"folder": str(folder)}, 201)

    async def open_demo(self, _: Request) -> Response:
        """Opens the demo's clip, in a project beside it."""
        if self.project is not None:
            raise ValueError(f"{self.project.folder.name} is open; start another studio for another video")

        def opened() -> Project:
            clip = demo_clip(self.model)
            folder = clip.with_suffix(SUFFIX)
            return Project(folder) if folder.exists() else Project.create(folder, clip)

        self.project = await run_in_threadpool(opened)
        self.show()
        return JSONResponse({"folder": str(self.project.folder)}, 201)

    def _create(self, folder: Path, uploaded: Path, name: str) -> None:
        project = Project.create(folder, uploaded)
        kept = folder / "media" / name
        kept.parent.mkdir()
        shutil.move(uploaded, kept)
        project.move_video(kept)
        self.project = project

    # The video

    async def media(self, _: Request) -> Response:
        return JSONResponse(self.views.state)

    async def media_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in VIEWS or self.views.state["state"] != "ready":
            raise HTTPException(404, "the video has no such view, or it is not made yet")
        return _file(self.opened().folder / "cache" / name, VIEWS[name])

    async def mask_picture(self, request: Request) -> Response:
        """One frame of a drawn mask as the model sees it, as a picture: white sounds."""
        from drawaudio_model.studio.drawing import draw_shapes, png, shapes_at

        asked = await _json(request)
        if not isinstance(asked, dict) or not isinstance(asked.get("frame"), int):
            raise ValueError("the request names no frame")
        check_mask(asked.get("mask"), "the mask")
        media = self._ready()
        if not 0 <= asked["frame"] < media["model_frames"]:
            raise ValueError(f"frame is {asked['frame']}, expected 0 to {media['model_frames'] - 1}")
        width, height = media["model_size"]
        drawn = await run_in_threadpool(draw_shapes, shapes_at(asked["mask"], asked["frame"]), height, width)
        region = ~drawn if asked["mask"]["invert"] else drawn
        return Response(png(region), media_type="image/png")

    def _ready(self) -> Media:
        if self.views.state["state"] != "ready" or self.views.media is None:
            raise ValueError("the video is still being prepared; wait until its picture is there")
        return self.views.media

    # Sounds

    async def take_file(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        if kind not in TAKE_FILES:
            raise HTTPException(404, "a take has no such file")
        try:
            path = self.opened().take_file(request.path_params["take"], f".{kind}")
        except ValueError as error:
            raise HTTPException(404, str(error)) from None
        return _file(path, TAKE_FILES[kind])

    async def mix(self, request: Request) -> Response:
        """The mix of a document that need not be saved: what is heard is what would be exported."""
        from drawaudio_model.studio import export
        from drawaudio_model.studio.project import check_document

        document = await _json(request)
        check_document(document)
        project = self.opened()

        def made() -> tuple[bytes, dict[str, str]]:
            found = export.mixed(project, export.heard_tracks(project, document))
            facts = {"x-peak-db": f"{found.peak_db:.2f}", "x-limited-db": f"{found.reduction_db:.2f}"}
            return export.wav_of(found.waveform), facts

        sound, facts = await run_in_threadpool(made)
        return Response(sound, media_type="audio/wav", headers=facts)

    async def add_job(self, request: Request) -> Response:
        project, media = self.opened(), self._ready()
        asked = await _json(request)
        named = asked.get("track") if isinstance(asked, dict) else None
        track = next((track for track in project.document["tracks"] if track["id"] == named), None)
        if track is None:
            raise ValueError(f"there is no track {str(named)[:40]!r}; save the project first")
        check_instructions(track, "the track")
        if not self.model.is_dir():
            raise ValueError(f"the model {self.model} does not exist; run make demo, or start with --model FOLDER")
        do = asked.get("do", "generate")
        if do not in ORDERS:
            raise ValueError(f"a job is to do {str(do)[:40]!r}, expected one of {', '.join(ORDERS)}")
        about: TrackOrder = {
            "track": track,
            "project": str(project.folder.resolve()),
            "video": str(project.video),
            "steps": DRAFT_STEPS if asked.get("draft") is True else project.document["steps"],
            "seconds": media["seconds"],
            "model_size": media["model_size"],
            "model_frames": media["model_frames"],
            "rate": SAMPLE_RATE,
        }
        return JSONResponse(self.jobs.add(ORDERS[do](asked, about, project)), 202)

    async def add_sound(self, request: Request) -> Response:
        """A sound whose loudness becomes a curve: it is kept until a job has listened to it."""
        project, media = self.opened(), self._ready()
        query = request.query_params
        track = next((track for track in project.document["tracks"] if track["id"] == query.get("track")), None)
        if track is None:
            raise ValueError(f"there is no track {query.get('track', '')[:40]!r}; save the project first")
        start = _seconds(query.get("start", "0"), "start", media["seconds"], least=-MOST_LEAD_SECONDS)
        begin = _seconds(query.get("from", query.get("start", "0")), "from", media["seconds"])
        name = Path(query.get("name", "")).name[-80:] or "the sound"
        suffix = Path(name).suffix if re.fullmatch(r"\.\w{1,8}", Path(name).suffix) else ""
        kept = project.folder / "sounds" / f"{secrets.token_hex(6)}{suffix}"
        kept.parent.mkdir(exist_ok=True)
        try:
            with kept.open("wb") as file:
                async for part in request.stream():
                    await run_in_threadpool(file.write, part)
            order: CurveOrder = {
                "do": "curve",
                "track": track,
                "sound": str(kept),
                "name": name,
                "start": start,
                "kept_from": begin,
                "length": media["seconds"] - start,
            }
            job = self.jobs.add(order)
        except BaseException as error:
            kept.unlink(missing_ok=True)
            if isinstance(error, ClientDisconnect):
                raise ValueError("the upload was broken off; choose the sound again") from None
            raise
        return JSONResponse(job, 202)

    async def cancel_job(self, request: Request) -> Response:
        self.jobs.cancel(check_id(request.path_params["job"], "job"))
        return Response(status_code=204)

    async def events_stream(self, request: Request) -> Response:
        self._painted.set()  # it listens when all else of it is there
        return event_stream(self.events, request)

    # Exports

    async def export(self, request: Request) -> Response:
        """Mix, stems, lists and what renders them again; `sample_rate`, `bits` and `timecode` may be asked for."""
        project = self.opened()
        asked = delivery_of(await _json(request) if await request.body() else {})
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "drawaudio_model.studio.export"),
            *(str(project.folder), str(self.model), json.dumps(asked)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        told, _errors = await process.communicate()
        answer = json.loads(told) if told.strip() else {"error": f"the export ended with {process.returncode}"}
        if "error" in answer:
            raise ValueError(answer["error"])
        folder = project.folder / "exports" / answer["folder"]
        files = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
        return JSONResponse({"folder": str(folder), "files": files, "notices": answer["notices"]}, 201)


def delivery_of(asked: object) -> dict[str, Any]:
    """The form of an export's sounds; raises ValueError, naming the field, for one that there is not."""
    if not isinstance(asked, dict) or asked.keys() - DELIVERY.keys():
        raise ValueError(f"an export has {str(asked)[:60]}, expected {', '.join(DELIVERY)}")
    delivery = DELIVERY | asked
    check_delivery(delivery)
    return delivery


def _generate_order(_asked: dict[str, Any], about: TrackOrder, _project: Project) -> GenerateOrder:
    return {**about, "do": "generate"}


def _detect_order(asked: dict[str, Any], about: TrackOrder, _project: Project) -> DetectOrder:
    words = asked.get("words", "")
    if not (isinstance(words, str) and 0 < len(words.strip()) <= MOST_TEXT):
        raise ValueError("no thing is named; type what is to be looked for, such as bell")
    return {**about, "do": "detect", "words": words.strip()}


def _regenerate_order(asked: dict[str, Any], about: TrackOrder, project: Project) -> RegenerateOrder:
    start, end = check_section(asked.get("section"))
    seconds, take = about["seconds"], about["track"]["take"]
    if end > seconds + 1e-3:
        raise ValueError(f"the section ends at {end:g} s, and the video at {seconds:g} s; draw it shorter")
    if take is None:
        raise ValueError("the track has no take yet; generate one first, then a section of it can be made anew")
    project.take(take)
    return {**about, "do": "regenerate", "section": [start, min(end, seconds)], "take": take}


def _follow_order(asked: dict[str, Any], about: TrackOrder, _project: Project) -> FollowOrder:
    frame, frames = asked.get("frame"), about["model_frames"]
    if about["track"]["mask"] is None:
        raise ValueError("the track has no mask; draw one first, then it can follow what is under it")
    if not isinstance(frame, int) or not 0 <= frame < frames - 1:
        raise ValueError(f"frame is {str(frame)[:40]}, expected 0 to {frames - 2}: something must follow it")
    until = _seconds(asked.get("until", about["seconds"]), "until", about["seconds"])
    return {**about, "do": "follow", "frame": frame, "until": max(until, (frame + 2) / VIDEO_FPS)}


def _seconds(value: object, name: str, most: float, *, least: float = 0.0) -> float:
    """A time in a video, at most its length; raises ValueError for anything else."""
    try:
        seconds = float(value)  # type: ignore[arg-type]  # whatever is no number is refused below
    except (TypeError, ValueError):
        seconds = math.nan
    if not least <= seconds <= most + 1e-3:
        raise ValueError(f"{name} is {str(value)[:40]!r}, expected seconds from {least:g} to {most:g}")
    return min(seconds, most)


ORDERS: dict[str, Callable[[dict[str, Any], TrackOrder, Project], Order]] = {
    "generate": _generate_order,
    "regenerate": _regenerate_order,
    "detect": _detect_order,
    "follow": _follow_order,
}
"""Of a request to do something for a track, by what it is to do."""


def _free(folder: Path) -> Path:
    """The folder, or the first of its names with a number that is not taken."""
    names = (folder.with_stem(f"{folder.stem}-{number}") for number in range(2, 10_000))
    return folder if not folder.exists() else next(name for name in names if not name.exists())


def application(studio: Studio) -> Starlette:
    """The routes."""
    rows: list[tuple[str, str, Callable[[Request], Any]]] = [
        ("GET", "/", studio.index),
        ("GET", "/page/{name}", studio.page),
        ("GET", "/api/project", studio.read_project),
        ("PUT", "/api/project", studio.write_project),
        ("PUT", "/api/uploads", studio.upload),
        ("POST", "/api/demo", studio.open_demo),
        ("GET", "/api/media", studio.media),
        ("GET", "/media/{name}", studio.media_file),
        ("POST", "/api/mask", studio.mask_picture),
        ("GET", "/api/takes/{take}/{kind}", studio.take_file),
        ("POST", "/api/mix", studio.mix),
        ("POST", "/api/jobs", studio.add_job),
        ("PUT", "/api/sounds", studio.add_sound),
        ("DELETE", "/api/jobs/{job}", studio.cancel_job),
        ("GET", "/api/events", studio.events_stream),
        ("POST", "/api/exports", studio.export),
    ]
    routes = [Route(path, endpoint, methods=[method]) for method, path, endpoint in rows]
    return Starlette(routes=routes, exception_handlers=HANDLERS, lifespan=studio.lifespan)
