"""Work in the background: the views of the video, and takes, one job after the other, each in a process that may die.

A process that ends by itself, is killed for want of memory or does not stop when it is told to costs its job and is told
in one sentence; the next job starts a new one.
"""

import asyncio
import contextlib
import json
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Unpack

from drawaudio_model.studio.messages import CancelOrder, Job, JobChange, Media, Order
from drawaudio_model.studio.view_marks import is_made

SECONDS_TO_STOP = 5.0
"""After a cancel the worker's process is ended; a step of a large model may take longer than anyone wants to wait."""
MOST_WAITING = 32
"""Jobs that may wait."""
KEPT_JOBS = 1000
"""Of those that have ended, what became of them is known for so many."""
KEPT_EVENTS = 2000
SECONDS_TO_NOTICE = 0.2
"""That the server was told to end."""
LONGEST_LINE = 2**24
"""Of what a process tells."""


class Events:
    """Messages to the page, numbered, so that a page that was away gets those that it missed."""

    def __init__(self) -> None:
        self.number = 0
        self._kept: list[tuple[int, dict[str, Any]]] = []
        self._changed = asyncio.Event()
        self._closed = False
        self.ending: Callable[[], bool] = lambda: False
        """Whether the server was told to end."""

    def add(self, kind: str, **values: Any) -> None:
        """Tells every page."""
        self.number += 1
        self._kept = [*self._kept[-KEPT_EVENTS:], (self.number, {"kind": kind} | values)]
        self._changed.set()
        self._changed = asyncio.Event()

    async def after(self, number: int) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        """All events with a higher number, until the server ends; None of them is given twice."""
        while True:
            changed = self._changed
            for given, event in [row for row in self._kept if row[0] > number]:
                number = given
                yield given, event
            if self._closed:
                return
            await changed.wait()

    async def close_at_end(self) -> None:
        """Ends what listens once the server was told to end, which else would wait for it and then break it off."""
        while not self.ending():
            await asyncio.sleep(SECONDS_TO_NOTICE)
        self._closed = True
        self._changed.set()


class Jobs:
    """The queue of jobs and the process that does them.

    Args:
        model: the model's folder.
        events: what the pages are told.
    """

    def __init__(self, model: Path, events: Events) -> None:
        self.model, self.events = model, events
        self.jobs: dict[str, Job] = {}
        self._orders: dict[str, Order] = {}
        self._waiting: asyncio.Queue[str] = asyncio.Queue()
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._killer: asyncio.Task[None] | None = None
        self._began = (0.0, 0)
        """When a job's first step ended, and which one that was."""

    def add(self, order: Order) -> Job:
        """A new job that waits for its turn.

        Raises:
            ValueError: when too many wait.
        """
        if sum(job["state"] in ("waiting", "running") for job in self.jobs.values()) >= MOST_WAITING:
            raise ValueError(f"{MOST_WAITING} jobs are waiting; let some of them end first")
        identity = secrets.token_hex(6)
        for old in [*self.jobs][:-KEPT_JOBS]:
            if self.jobs[old]["state"] not in ("waiting", "running"):
                del self.jobs[old]
        job: Job = {"id": identity, "do": order["do"]}
        if order["do"] != "load" and order["do"] != "sound":
            job["track"] = order["track"]["id"]
        if order["do"] == "regenerate":
            job["section"] = order["section"]
        job |= {"state": "waiting", "stage": "waiting for its turn"}
        self.jobs[identity] = job
        order["job"] = identity
        self._orders[identity] = order
        self._tell(identity)
        self._waiting.put_nowait(identity)
        return job

    def cancel(self, identity: str) -> None:
        """Ends a job; one that runs stops at its next step, or its process does.

        Raises:
            ValueError: when there is no such job.
        """
        job = self.jobs.get(identity)
        if job is None:
            raise ValueError(f"there is no job {identity[:40]}; reload the page")
        if job["state"] == "waiting":
            self._tell(identity, state="cancelled", stage="")
        elif job["state"] == "running" and self._killer is None:
            self._tell(identity, stage="stopping")
            self._send({"do": "cancel", "job": identity})
            self._killer = asyncio.get_running_loop().create_task(self._kill_later())

    async def ended(self, identity: str, seconds: float) -> Job:
        """A job as it is when it has ended, or after so many seconds."""
        with contextlib.suppress(TimeoutError, StopAsyncIteration):
            async with asyncio.timeout(seconds):
                source = self.events.after(self.events.number)
                while self.jobs[identity]["state"] in ("waiting", "running"):
                    await anext(source)
        return self.jobs[identity]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the jobs, and ends the streams of events when the server is told to end."""
        tasks = [asyncio.create_task(self.events.close_at_end()), asyncio.create_task(self.run())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await tasks[-1]

    async def run(self) -> None:
        """Does the jobs, one after the other, for ever."""
        try:
            while True:
                identity = await self._waiting.get()
                if self.jobs[identity]["state"] == "waiting":
                    await self._do(identity)
        finally:
            await self.stop()

    async def warm(self) -> None:
        """Has the model loaded before it is asked for."""
        async with self._starting:
            if self._process is None:
                await self._start()
                self._send({"do": "load", "job": ""})

    async def stop(self) -> None:
        """Ends the worker's process."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _do(self, identity: str) -> None:
        self._began = (0.0, 0)
        self._tell(identity, state="running", stage="starting")
        try:
            waited = self._process
            process = await self._started()
            if not await self._ends_in(identity, process):
                return
            if process is waited and self.jobs[identity]["stage"] == "starting":
                # It ended before it knew of this job, which so costs nothing.
                process = await self._started()
                if not await self._ends_in(identity, process):
                    return
            self._end_without_answer(identity, process.returncode or 0)
        except (OSError, ValueError) as error:
            self._tell(identity, state="failed", sentence=f"the model's process failed: {error}")
            await self.stop()
        finally:
            if self._killer is not None:
                self._killer.cancel()
                self._killer = None
            self._orders.pop(identity, None)

    async def _ends_in(self, identity: str, process: asyncio.subprocess.Process) -> bool:
        """Has a process do a job, and tells what it says of it; whether the process ends in the middle of it."""
        self._send(self._orders[identity])
        while line := await process.stdout.readline():  # type: ignore[union-attr]  # it is a pipe
            told = json.loads(line)
            if told.pop("job") == identity:
                self._tell(identity, **(told | self._time_left(told)))
            if self.jobs[identity]["state"] != "running":
                return False
        await process.wait()
        return True

    async def _started(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                await self._start()
            assert self._process is not None
            return self._process

    async def _start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "drawaudio_model.studio.worker", str(self.model)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
        )

    def _send(self, order: Order | CancelOrder) -> None:
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(ConnectionError):  # its end is told where its answers are read
            self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def _kill_later(self) -> None:
        await asyncio.sleep(SECONDS_TO_STOP)
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def _end_without_answer(self, identity: str, code: int) -> None:
        self._process = None
        if self._killer is not None:
            self._tell(identity, state="cancelled", stage="")
            return
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        memory = ", probably for want of memory" if code == -signal.SIGKILL else ""
        sentence = f"the model's process {how}{memory}; nothing in the project was lost: generate again"
        self._tell(identity, state="failed", stage="", sentence=sentence)

    def _time_left(self, told: Mapping[str, Any]) -> dict[str, float]:
        """The seconds that are left of sampling, from the pace of the steps so far."""
        if "step" not in told:
            return {}
        began, first = self._began
        if not began:
            self._began = (time.monotonic(), told["step"])
            return {}
        pace = (time.monotonic() - began) / max(told["step"] - first, 1)
        return {"seconds_left": round(pace * (told["total"] - told["step"]), 1)}

    def _tell(self, identity: str, **change: Unpack[JobChange]) -> None:
        job = self.jobs[identity]
        job.update(change)
        self.events.add("job", **job)


async def fault_of(video: Path) -> str | None:
    """The fault of a file that is to be a project's video, in a sentence; None where there is none. Its decoder may die."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "drawaudio_model.studio.media_view", str(video)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    told, _errors = await process.communicate()
    if not process.returncode:
        return None
    return json.loads(told)["error"] if told.strip() else f"{video} could not be read: its reader ended"


class Views:
    """The views of the video (`media_view`), made in the background.

    Args:
        events: what the pages are told.
    """

    def __init__(self, events: Events) -> None:
        self.events = events
        self.state: dict[str, Any] = {"state": "none"}
        """As the page is told."""
        self.media: Media | None = None
        """Once they are made."""
        self._process: asyncio.subprocess.Process | None = None

    async def make(self, video: Path, folder: Path) -> None:
        """Makes them where they are not there."""
        if not is_made(video, folder):
            self._tell(state="making", stage="picture", share=0.0)
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "drawaudio_model.studio.media_view", str(video), str(folder)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
            )
            error = None
            async for line in self._process.stdout:  # type: ignore[union-attr]  # it is a pipe
                told = json.loads(line)
                error = told.get("error", error)
                if "stage" in told:
                    self._tell(state="making", **told)
            code = await self._process.wait()
            if code:
                self._tell(
                    state="failed", sentence=error or f"{video.name} could not be read: its reader ended with {code}"
                )
                return
        self.media = json.loads((folder / "media.json").read_bytes())
        self._tell(**(self.media or {}), state="ready")

    async def stop(self) -> None:
        """Ends the process that makes them."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _tell(self, **values: Any) -> None:
        self.state = values
        shown = {name: value for name, value in values.items() if name != "times"}
        self.events.add("media", **shown)
