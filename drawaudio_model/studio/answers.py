"""Answers of both servers, the studio's and the one for programs: files, events, and one sentence on what was wrong."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from drawaudio_model.one_sentence import one_sentence
from drawaudio_model.studio.guard import Refused
from drawaudio_model.studio.jobs import Events

SECONDS_BETWEEN_SIGNS = 15.0
"""Of life, on the stream of events: a connection that is gone is noticed then."""


def file_answer(path: Path, kind: str) -> Response:
    """A file, or 404."""
    if not path.is_file():
        raise HTTPException(404, "it is not there")
    return FileResponse(path, media_type=kind)


async def json_body(request: Request) -> Any:
    """The document that a request brings.

    Raises:
        ValueError: when it is none.
    """

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no number of JSON")

    try:
        return json.loads(await request.body(), parse_constant=refuse)
    except RecursionError:
        raise ValueError("the request is nested too deep") from None


def event_stream(events: Events, request: Request) -> Response:
    """Server-sent events, from the one after that which was seen last."""
    seen = request.headers.get("last-event-id") or request.query_params.get("after", "0")
    number = int(seen) if seen.isdecimal() else 0

    async def lines() -> AsyncIterator[str]:
        source = events.after(number)
        following: asyncio.Task[tuple[int, dict[str, Any]]] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(anext(source))
                done, _ = await asyncio.wait({following}, timeout=SECONDS_BETWEEN_SIGNS)
                if not done:
                    yield ": here\n\n"
                    continue
                try:
                    given, event = following.result()
                except StopAsyncIteration:
                    return
                following = None
                yield f"id: {given}\ndata: {json.dumps(event)}\n\n"
        finally:
            if following is not None:
                following.cancel()

    return StreamingResponse(lines(), media_type="text/event-stream")


async def sentence(_: Request, error: Exception) -> Response:
    """A mistake of a person, or of a program, in one sentence."""
    status = error.status_code if isinstance(error, HTTPException) else getattr(error, "status", 400)
    words = error.detail if isinstance(error, HTTPException) else one_sentence(error)
    return JSONResponse({"error": words}, status)


HANDLERS: dict[Any, Any] = {ValueError: sentence, OSError: sentence, HTTPException: sentence, Refused: sentence}
