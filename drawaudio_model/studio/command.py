"""`drawaudio studio`: opens a video or a project on a page in the browser. `drawaudio serve`: the same model for programs."""

import argparse
import asyncio
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from drawaudio_model.command_line import add_command
from drawaudio_model.commands.generate import DEFAULT_MODEL

if TYPE_CHECKING:
    from drawaudio_model.studio.guard import Guard
    from drawaudio_model.studio.jobs import Events
    from drawaudio_model.studio.project import Project

EXAMPLE = """example:
  drawaudio studio clip.mp4

  A VIDEO opens clip.drawaudio beside it, which is made where it is not there; a PROJECT.drawaudio opens that; without
  either the page asks for a video. The server listens on this machine alone, and the address that is printed holds a secret:
  whoever has it may draw. From another machine: ssh -L PORT:127.0.0.1:PORT, and --port PORT here."""
SERVE_EXAMPLE = """example:
  drawaudio serve --port 8765

  A video is uploaded, a job asked for, its sound fetched, all over HTTP; GET /api/openapi.json says how. Every request carries
  the token that is printed: Authorization: Bearer TOKEN. The environment's DRAWAUDIO_TOKEN is the token where it is set.
  The server listens on this machine alone. Files and sounds lie in --folder, or for as long as it runs in a temporary one."""
LEAST_TOKEN = 32
"""Letters of a token that a person chose."""


def add_commands(commands: "argparse._SubParsersAction") -> None:
    """`studio` and `serve`."""
    parser = add_command(commands, "studio", "draw and hear on a page in the browser", EXAMPLE, run_studio)
    parser.add_argument("source", type=Path, nargs="?", metavar="VIDEO|PROJECT.drawaudio")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="model folder (default: %(default)s)")
    parser.add_argument("--video", type=Path, help="where the project's video is now, when it was moved or made anew")
    parser.add_argument("--port", type=int, default=0, help="of this machine (default: one that is free)")
    parser.add_argument("--no-browser", action="store_true", help="print the address and open no browser")
    serve = add_command(commands, "serve", "make sounds for programs, over HTTP", SERVE_EXAMPLE, run_serve)
    serve.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="model folder (default: %(default)s)")
    serve.add_argument("--folder", type=Path, help="where files and sounds are kept (default: a temporary one)")
    serve.add_argument("--port", type=int, default=0, help="of this machine (default: one that is free)")


def run_studio(options: argparse.Namespace) -> None:
    """`drawaudio studio`."""
    from drawaudio_model.studio.guard import new_token

    project = open_source(options.source, options.video)
    listener = _listener(options.port)
    port = listener.getsockname()[1]
    token = new_token()
    address = f"http://127.0.0.1:{port}/?token={token}"

    from drawaudio_model.studio.guard import Guard
    from drawaudio_model.studio.server import Studio, application

    # Beside the user's own files, where the command was typed.
    studio = Studio(project, options.model, Path.cwd())
    guarded = Guard(application(studio), port=port, token=token)
    sys.stdout.write(f"the studio is open at\n  {address}\nend it with Ctrl+C; everything is saved as you draw\n")
    sys.stdout.flush()
    if not options.no_browser:
        import webbrowser

        # Not here: it waits for a browser that starts slowly, or that shows the page in this terminal.
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    _listen(guarded, listener, studio.events)


def run_serve(options: argparse.Namespace) -> None:
    """`drawaudio serve`."""
    import tempfile

    from drawaudio_model.studio.guard import Guard, new_token
    from drawaudio_model.studio.service import Service, application

    if not (options.model / "model_index.json").is_file():
        raise ValueError(
            f"{options.model} is no model folder (it has no model_index.json); train one, or give its path"
        )
    if options.folder is not None and options.folder.exists() and not options.folder.is_dir():
        raise ValueError(f"--folder {options.folder} is a file, expected a folder for files and sounds")
    token = os.environ.get("DRAWAUDIO_TOKEN") or new_token()
    if len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(
            f"DRAWAUDIO_TOKEN has {len(token)} letters, expected at least {LEAST_TOKEN} of ASCII without spaces"
        )
    listener = _listener(options.port)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="drawaudio-serve-") as temporary:
        service = Service(options.model, options.folder or Path(temporary), address)
        guarded = Guard(application(service), port=listener.getsockname()[1], token=token, for_programs=True)
        shown = "that of DRAWAUDIO_TOKEN" if "DRAWAUDIO_TOKEN" in os.environ else token
        sys.stdout.write(f"the service is at\n  {address}\nits token is\n  {shown}\nend it with Ctrl+C\n")
        sys.stdout.flush()
        _listen(guarded, listener, service.events)


def _listen(guarded: "Guard", listener: socket.socket, events: "Events") -> None:
    """Answers requests until the process is told to end."""
    import uvicorn

    from drawaudio_model.generation.freed_memory import return_large_blocks

    # Eight stems of a minute, mixed once, would stay in a server that is to stay small.
    return_large_blocks()
    config = uvicorn.Config(
        guarded, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=1, ws="none"
    )
    server = uvicorn.Server(config)
    events.ending = lambda: server.should_exit
    server.run(sockets=[listener])


def _new_project(folder: Path, video: Path) -> "Project":
    from drawaudio_model.studio.jobs import fault_of
    from drawaudio_model.studio.project import Project

    if fault := asyncio.run(fault_of(video)):
        raise ValueError(f"no project is made of {video}: {fault}")
    return Project.create(folder, video)


def open_source(source: Path | None, video: Path | None) -> "Project | None":
    """The project that is meant: a folder, or the one beside a video, made where it is not there; None for neither.

    Raises:
        ValueError: when there is no such file or folder, or it cannot be opened.
    """
    from drawaudio_model.studio.project import SUFFIX, Project

    if video is not None and not video.is_file():
        raise ValueError(f"video {video} does not exist; give a file")
    if source is None:
        if video is not None:
            raise ValueError("--video names the video of a project; give the project, too, or the video alone")
        return None
    if source.is_dir():
        if source.suffix != SUFFIX:
            raise ValueError(f"{source} is a folder and no project, expected a name that ends in {SUFFIX}")
        project = Project(source)
    elif not source.is_file():
        raise ValueError(f"{source} does not exist; give a video, or a project that ends in {SUFFIX}")
    elif video is not None:
        raise ValueError(f"{source} is a video, and --video names another one; leave --video out")
    else:
        folder = source.with_suffix(SUFFIX)
        project = Project(folder) if folder.exists() else _new_project(folder, source)
        if project.video != source.resolve():
            where = project.video
            project.close()
            raise ValueError(f"{folder} belongs to the video {where}; open it by itself, or move it away")
    if video is not None:
        project.move_video(video)
    return project


def _listener(port: int) -> socket.socket:
    """A socket of this machine alone."""
    if not 0 <= port < 2**16:
        raise ValueError(f"--port is {port}, expected 0 to {2**16 - 1}")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        # From now on a browser that is quicker than the server waits for it, and is not refused.
        listener.listen()
    except OSError as error:
        listener.close()
        raise ValueError(f"port {port} cannot be used ({error.strerror}); leave --port out, or give another") from None
    return listener
