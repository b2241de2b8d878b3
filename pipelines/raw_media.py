"""The media of a raw clip: bytes in the tar, or a reference to a file of the user's. One writer, one reader."""

import hashlib
import json
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path

from drawaudio_model.atomic_files import file_sha256
from drawaudio_model.shard import ShardReader


@dataclass(frozen=True)
class MediaFacts:
    """The member `json` of a clip of raw_clips."""

    path: str
    """Of the user's own file; "" where the media are the member `mp4`."""
    start_s: int
    """Second of the media at which the clip begins."""
    bytes: int
    sha256: str


def members_of_media(content: bytes) -> dict[str, bytes]:
    """Members of a clip whose media, ten seconds of picture and sound in any container that is read, go into the tar."""
    facts = MediaFacts("", 0, len(content), hashlib.sha256(content).hexdigest())
    return {"json": _to_json(facts), "mp4": content}


def members_of_file(
    path: Path, start_s: int, hashes: MutableMapping[tuple[Path, int, int], str] | None = None
) -> Mapping[str, bytes]:
    """Members of a clip that begins at a second of a file which stays where it is.

    Args:
        hashes: (path, bytes, time of the last change) -> sha256; kept by the caller, so that a file of many clips is
            read once.

    Raises:
        OSError: when the file cannot be read.
    """
    hashes = {} if hashes is None else hashes
    state = path.stat()
    version = path, state.st_size, state.st_mtime_ns
    if version not in hashes:
        hashes[version] = file_sha256(path)
    return {"json": _to_json(MediaFacts(str(path), start_s, state.st_size, hashes[version]))}


def read_media_facts(reader: ShardReader, key: str) -> MediaFacts:
    """The facts of a clip of raw_clips."""
    return MediaFacts(**json.loads(reader.member(key, "json")))


def media_of(reader: ShardReader, key: str) -> Path | bytes:
    """A raw clip's media: the bytes in the tar, or the path of the user's own file."""
    facts = read_media_facts(reader, key)
    return Path(facts.path) if facts.path else reader.member(key, "mp4")


def _to_json(facts: MediaFacts) -> bytes:
    return json.dumps(asdict(facts)).encode()
