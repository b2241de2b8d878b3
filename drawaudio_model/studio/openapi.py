"""Requests and answers of `drawaudio serve` as an OpenAPI document; requests are checked against its schemas.

What stands here is what holds: the document that is served, the checks and their sentences come from the same tables.
"""

import functools
import json
import math
from collections.abc import Mapping
from typing import Any

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.defaults import DRAFT_STEPS, SAMPLING_STEPS

ID = {"type": "string", "pattern": "^[a-z0-9]{4,32}$", "description": "an id that the service gave"}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_LEVEL = {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number", "minimum": 0, "maximum": 21600}}
_FILE = {
    "type": "object",
    "description": "a file that was uploaded",
    "properties": {"file": ID},
    "required": ["file"],
    "additionalProperties": False,
}
_TEXT = {"type": "string", "minLength": 1, "maxLength": 2000, "pattern": r"\S"}

INSTRUCTIONS: dict[str, Any] = {
    "type": "object",
    "description": "One sound of a video. What is left out is left to the model; of a section, it is as it was before.",
    "properties": {
        "video": ID | {"description": "id of the uploaded video; of a section the one before"},
        "text": _TEXT | {"description": "what should sound"},
        "negative_text": _TEXT | {"description": "what should not sound"},
        "mask": {
            "description": "which part of the picture sounds: a box (left, top, right, bottom in shares of the picture), a file "
            "(picture, video, boxes as JSON), or the words of a thing that the detector looks for",
            "oneOf": [
                {"type": "array", "minItems": 4, "maxItems": 4, "items": _SHARE},
                _FILE,
                {
                    "type": "object",
                    "properties": {
                        "words": {"type": "string", "pattern": r"^[^/\\\\\x00,;.]*[^/\\\\\x00,;.\s][^/\\\\\x00,;.]*$"}
                    },
                    "required": ["words"],
                    "additionalProperties": False,
                },
            ],
        },
        "mask_invert": {"type": "boolean", "description": "what the mask leaves out sounds"},
        "loudness": {
            "description": "when and how loud: points [seconds, level], or a file (.csv, .json, or a sound to follow)",
            "oneOf": [{"type": "array", "minItems": 1, "maxItems": 20000, "items": _LEVEL}, _FILE],
        },
        "seed": {
            "type": "integer",
            "minimum": 0,
            "maximum": 2**53 - 1,
            "description": "the same seed gives the same sound; a random one without it",
        },
        "steps": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1000,
            "description": f"of the sampling; {SAMPLING_STEPS} where nothing is said",
        },
        "draft": {"type": "boolean", "description": f"{DRAFT_STEPS} steps: to be heard soon"},
        "candidates": {"type": "integer", "minimum": 1, "maximum": 16, "description": "make several, keep the best"},
        "seconds": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 21600,
            "description": "only this much of the video",
        },
        "start_from": ID | {"description": "id of an uploaded file, or of a sound, to begin with instead of noise"},
        "strength": _SHARE | {"description": "how far to go from it, or from what a section was before"},
        "sound": ID | {"description": "id of a sound of this service, of which a section is to be made anew"},
        "section": {
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "items": {"type": "number", "minimum": 0, "maximum": 21600},
            "description": "start and end in seconds; nothing outside changes",
        },
        "sample_rate": {
            "type": "integer",
            "minimum": SAMPLE_RATE,
            "maximum": 384_000,
            "description": "of the .wav, in Hz",
        },
        "bits": {"type": "integer", "enum": [16, 24], "description": "of the .wav"},
        "timecode": {
            "type": "string",
            "maxLength": 11,
            "description": "where on the clock the .wav begins: HH:MM:SS:FF",
        },
    },
    "anyOf": [{"required": ["video"]}, {"required": ["sound"]}],
    "dependentRequired": {"section": ["sound"], "sound": ["section"]},
    "additionalProperties": False,
}
_NUMBER_OR_NULL = {"type": ["number", "null"]}
SCHEMAS: dict[str, Any] = {
    "Instructions": INSTRUCTIONS,
    "File": {
        "type": "object",
        "properties": {"id": ID, "bytes": {"type": "integer"}, "sha256": {"type": "string"}},
        "required": ["id", "bytes", "sha256"],
    },
    "Sound": {
        "type": "object",
        "properties": {
            "id": ID,
            "seed": {"type": "integer"},
            "steps": {"type": "integer"},
            "seconds": {"type": "number"},
            "sample_rate": {"type": "integer"},
            "curve_score": _NUMBER_OR_NULL | {"description": "correlation with the curve"},
            "clap_score": _NUMBER_OR_NULL | {"description": "how well it fits the words"},
            "notices": {"type": "array", "items": {"type": "string"}},
            "model_seconds": {"type": "number", "description": "that the model took"},
        },
        "required": ["id", "seed", "steps", "seconds", "sample_rate", "notices"],
    },
    "Job": {
        "type": "object",
        "properties": {
            "id": ID,
            "state": {"enum": ["waiting", "running", "done", "failed", "cancelled"]},
            "stage": {"type": "string"},
            "step": {"type": "integer"},
            "total": {"type": "integer"},
            "seconds_left": {"type": "number"},
            "sentence": {"type": "string", "description": "why it failed"},
            "sound": {"$ref": "#/components/schemas/Sound"},
        },
        "required": ["id", "state"],
    },
    "State": {
        "type": "object",
        "properties": {
            "model": {"type": "string", "description": "name of the model's folder"},
            "licence": {"type": ["string", "null"], "description": "of the model's weights"},
            "waiting": {"type": "integer", "description": "jobs that wait or run"},
            "content_ends_at_hz": {
                "type": "number",
                "description": "above it no sound has anything, whatever its rate",
            },
        },
        "required": ["model", "licence", "waiting", "content_ends_at_hz"],
    },
    "Error": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]},
}


def document(version: str, address: str) -> dict[str, Any]:
    """The OpenAPI document of the service at an address."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Draw an Audio",
            "version": version,
            "description": "Sounds for silent video, as told. Upload a video, ask for a job, wait for it, fetch its sound.",
            "license": {"name": "AGPL-3.0-only", "identifier": "AGPL-3.0-only"},
        },
        "servers": [{"url": address}],
        "security": [{"token": []}],
        "paths": {path: {method: _operation(*row) for method, row in rows.items()} for path, rows in PATHS.items()},
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "the token that `drawaudio serve` printed"}
            },
        },
    }


def _operation(
    name: str, summary: str, inputs: Mapping[str, Any], answers: Mapping[int, tuple[str, Any]]
) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    operation: dict[str, Any] = {"operationId": name, "summary": summary, **inputs}
    operation["responses"] = {
        str(status): {"description": words} | ({"content": content} if content else {})
        for status, (words, content) in answers.items()
    }
    operation["responses"]["4XX"] = {"description": "what was wrong, in one sentence", "content": error}
    return operation


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _parameter(name: str, place: str, schema: Mapping[str, Any], words: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema, "description": words}


_BYTES: dict[str, Any] = {"schema": {}}
_PATH_ID = {"parameters": [_parameter("id", "path", ID, "what the service gave")]}
_WAIT = _parameter(
    "wait",
    "query",
    {"type": "number", "minimum": 0, "maximum": 60},
    "answer when it has ended, or after so many seconds",
)
_AFTER = _parameter("after", "query", {"type": "integer", "minimum": 0}, "the number of the event that was seen last")
_NAME = _parameter("name", "query", {"type": "string"}, "its name, whose suffix says what it is: clip.mp4")
PATHS: dict[str, dict[str, tuple[str, str, Mapping[str, Any], Mapping[int, tuple[str, Any]]]]] = {
    "/api/openapi.json": {"get": ("read_document", "This document", {}, {200: ("it", {"application/json": _BYTES})})},
    "/api/state": {
        "get": ("read_state", "The model and how much it has to do", {}, {200: ("the state", _json("State"))})
    },
    "/api/files": {
        "put": (
            "upload",
            "A video, mask, curve or sound; the same content has the same id",
            {
                "parameters": [_NAME | {"required": True}],
                "requestBody": {"required": True, "content": {"application/octet-stream": _BYTES}},
            },
            {201: ("the file's id", _json("File"))},
        )
    },
    "/api/files/{id}": {"delete": ("remove_file", "Removes an uploaded file", _PATH_ID, {204: ("it is gone", None)})},
    "/api/jobs": {
        "get": (
            "read_jobs",
            "All jobs since the start, the last 1000 of them",
            {},
            {
                200: (
                    "the jobs",
                    {"application/json": {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/Job"}}}},
                )
            },
        ),
        "post": (
            "add_job",
            "Asks for a sound, or for a section of one to be made anew",
            {"requestBody": {"required": True, "content": _json("Instructions")}},
            {202: ("the job, which waits for its turn", _json("Job"))},
        ),
    },
    "/api/jobs/{id}": {
        "get": (
            "read_job",
            "How far a job is",
            {"parameters": [*_PATH_ID["parameters"], _WAIT]},
            {200: ("the job", _json("Job"))},
        ),
        "delete": ("cancel_job", "Ends a job at its next step", _PATH_ID, {204: ("it ends", None)}),
    },
    "/api/events": {
        "get": (
            "read_events",
            "Server-sent events of all jobs: each is a Job",
            {"parameters": [_AFTER]},
            {200: ("the events, for ever", {"text/event-stream": {"schema": {"type": "string"}}})},
        )
    },
    "/api/sounds/{id}": {
        "get": ("read_sound", "A sound, as .wav", _PATH_ID, {200: ("the sound", {"audio/wav": _BYTES})}),
        "delete": ("remove_sound", "Removes a sound", _PATH_ID, {204: ("it is gone", None)}),
    },
}


def check(value: object, schema: Mapping[str, Any], name: str) -> None:
    """Raises ValueError, naming the field, its value and what was expected, for what a schema does not let through."""
    from jsonschema.exceptions import best_match

    error = best_match(_validator(json.dumps(schema)).iter_errors(value))
    if error is None:
        return
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path).lstrip(".")
    given = json.dumps(error.instance)
    raise ValueError(f"{place or name} is {given[:60]}{'...' * (len(given) > 60)}: {_wanted(error)}")


def _wanted(error: Any) -> str:
    """A schema's rule in words."""
    rule, wanted, schema = error.validator, error.validator_value, error.schema
    if rule in ("minimum", "maximum", "exclusiveMinimum"):
        low = schema.get("minimum", schema.get("exclusiveMinimum", -math.inf))
        return f"expected {'more than ' if 'exclusiveMinimum' in schema else ''}{low} to {schema.get('maximum')}"
    if rule == "type":
        return f"expected {' or '.join([wanted] if isinstance(wanted, str) else wanted)}"
    if rule == "enum":
        return f"expected {' or '.join(map(str, wanted))}"
    if rule == "additionalProperties":
        unknown = sorted({*error.instance} - {*schema["properties"]})
        return f"expected no {unknown[0][:40]!r}, only {', '.join(schema['properties'])}"
    if rule in ("minItems", "maxItems"):
        return f"expected {schema.get('minItems', 0)} to {schema.get('maxItems', 'any number')} items"
    if rule == "maxLength":
        return f"expected at most {wanted} letters"
    if rule in ("pattern", "minLength"):
        return f"expected {ID['description'] if wanted == ID['pattern'] else schema.get('description', 'the words of a thing')}"
    if rule == "anyOf":
        return "expected a video, or a sound with a section of it"
    if rule == "oneOf":
        return "expected one of the forms that /api/openapi.json shows"
    return error.message[:200]


@functools.lru_cache(maxsize=8)
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema))
