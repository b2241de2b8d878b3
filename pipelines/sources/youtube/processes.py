"""One process a video, each the leader of its own group, started from one small parent that has yt-dlp loaded already.

Loading yt-dlp takes longer than many a download; a fork of a process without threads takes milliseconds. The parent is
started once a run (`python -m pipelines.sources.youtube.processes`), reads one JSON line a video on stdin and answers with
one line when its process has ended. At a video's limit its whole group is killed: ffmpeg, JavaScript and all. When stdin
ends, because the run ended or was killed, it kills every group and goes.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parent.parent.parent.parent


@dataclass(frozen=True)
class Ended:
    """A video's process has ended."""

    number: int
    status: int
    """Exit status; negative: the signal that killed it."""
    timed_out: bool


class VideoProcesses:
    """Starts processes and tells which have ended; leaving the block kills the rest.

    Example:
        with VideoProcesses() as processes:
            processes.start(0, request.to_json(), limit_seconds=300)
            for ended in processes.wait(10): ...
    """

    def __enter__(self) -> Self:
        # The group of its own keeps Ctrl-C with the run, which ends this process by closing its stdin.
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "pipelines.sources.youtube.processes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))},
            start_new_session=True,
        )
        assert self._parent.stdin is not None and self._parent.stdout is not None, "both are pipes"
        self._requests, self._answers = self._parent.stdin, self._parent.stdout
        self._read = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)
        return self

    def start(self, number: int, request: str, limit_seconds: float) -> None:
        """Start a video's process. `number` names it in `wait`; `request` is VideoRequest's JSON."""
        line = json.dumps({"number": number, "request": request, "limit_seconds": limit_seconds})
        self._requests.write(line.encode() + b"\n")
        self._requests.flush()

    def wait(self, timeout_seconds: float) -> list[Ended]:
        """Processes that ended, as soon as there is one; none after the timeout.

        Raises:
            RuntimeError: when the parent of the processes died.
        """
        if not self._selector.select(max(0.0, timeout_seconds)):
            return []
        got = os.read(self._answers.fileno(), 1 << 16)
        if not got:
            raise RuntimeError(
                f"the process that starts downloads ended with status {self._parent.wait()}; its words stand above, "
                "start the run again"
            )
        *lines, self._read = (self._read + got).split(b"\n")
        return [Ended(**json.loads(line)) for line in lines]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._selector.close()
        with suppress(BrokenPipeError):
            self._requests.close()
        try:
            self._parent.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._parent.kill()
            self._parent.wait()
        self._answers.close()


@dataclass
class _Running:
    number: int
    pid: int
    deadline: float
    timed_out: bool = False


def main() -> None:
    """Read requests until stdin ends."""
    _load_all()
    running: dict[int, _Running] = {}
    try:
        _serve(running)
    finally:
        _kill(running)


def _serve(running: dict[int, _Running]) -> None:
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    text = b""
    while True:
        now = time.monotonic()
        limits = [row.deadline - now for row in running.values() if not row.timed_out]
        for key, _ in selector.select(max(0.0, min(limits)) if limits else None):
            if key.fd == 0:
                got = os.read(0, 1 << 16)
                if not got:
                    return
                *lines, text = (text + got).split(b"\n")
                for line in lines:
                    fd, started = _fork(json.loads(line))
                    running[fd] = started
                    selector.register(fd, selectors.EVENT_READ)
            else:
                selector.unregister(key.fd)
                os.close(key.fd)
                _report(running.pop(key.fd))
        for row in running.values():
            if not row.timed_out and time.monotonic() >= row.deadline:
                row.timed_out = True
                with suppress(ProcessLookupError):
                    os.killpg(row.pid, signal.SIGKILL)


def _load_all() -> None:
    """Loads the modules that every video needs, once before the forks."""
    from yt_dlp.extractor import gen_extractor_classes
    from yt_dlp.plugins import load_all_plugins

    import pipelines.sources.youtube.fetch  # noqa: F401

    load_all_plugins()
    gen_extractor_classes()


def _fork(line: dict[str, Any]) -> tuple[int, _Running]:
    """Start a video's process; the returned pipe ends when it has."""
    ours, its = os.pipe()
    pid = os.fork()
    if pid == 0:
        _run_child(str(line["request"]), its)
    # Both sides name the group, so that it exists whoever comes first.
    with suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)
    os.close(its)
    return ours, _Running(int(line["number"]), pid, time.monotonic() + float(line["limit_seconds"]))


def _run_child(text: str, pipe: int) -> None:
    """The forked process: never returns. `pipe` stays open until it is gone."""
    status = 1
    try:
        os.setpgid(0, 0)
        from pipelines.sources.youtube.fetch import fetch_video
        from pipelines.sources.youtube.outcomes import VideoRequest

        request = VideoRequest.from_json(text)
        folder = Path(request.folder)
        folder.mkdir(parents=True, exist_ok=True)
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        fetch_video(request)
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _report(ended: _Running) -> None:
    _, status = os.waitpid(ended.pid, 0)
    # What it left behind in its group ends with it.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(ended.pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(status)
    line = json.dumps({"number": ended.number, "status": code, "timed_out": ended.timed_out})
    os.write(1, line.encode() + b"\n")


def _kill(running: dict[int, _Running]) -> None:
    for row in running.values():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(row.pid, signal.SIGKILL)
    for row in running.values():
        os.waitpid(row.pid, 0)


if __name__ == "__main__":
    main()
