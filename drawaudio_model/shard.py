"""Shards: what one training sample is, and tars that are either whole or not there.

A shard is a WebDataset tar with two sidecars. Next to `<folder>/<shard>.tar` lie `<folder>/index/<shard>.parquet` (key,
member, offset, size, crc32: random access without scanning the tar, and the name of whatever is damaged) and
`<folder>/manifests/<shard>.json` (count, bytes, sha256, inputs, rejected clips), which is written last. Readers trust
manifests only: a tar without one does not exist.

The members in JSON hold no list that may be empty: loaders such as `datasets` take a column's type from its first rows, and
an empty list has none. Noun phrases are one text, a line each; boxes are one text a frame, a line each.

Shapes: V video frames of the 10 s clip (40), D CAVP width, C latent channels, F x K latent grid of the 10 s clip, L text
tokens.
"""

import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from drawaudio_model.clip_format import SOURCE_LOUDNESS_POINTS, SOURCE_VIDEO_FRAMES

SCHEMA_VERSION = 1
"""Version of the training sample; stored in every sample and manifest."""

SAMPLE_MEMBERS = (
    "json",
    "txt",
    "flac",
    "boxes.json",
    "cavp.npy",
    "cavp_masked.npy",
    "loudness.npy",
    "latent.npy",
    "clap.npy",
    "t5.npy",
    "gpt.npy",
)
"""Members of a training sample in the order in which they stand in the tar; `flac` is absent from the published variant."""

EXCLUDE_FILE = "exclude.txt"
"""Beside the tars: clips that were taken back after their shard was made; loaders skip them."""

_KEY = re.compile(r"[A-Za-z0-9_-]+")
_EXTENSION = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")


@dataclass(frozen=True)
class Rejection:
    """A clip that ended here: which one, a short reason for counting and one sentence for people."""

    key: str
    reason: str
    message: str


@dataclass(frozen=True)
class ShardManifest:
    """What a finished shard holds."""

    shard: str
    count: int
    bytes: int
    sha256: str
    index_sha256: str
    inputs: dict[str, str]
    """Fingerprints of everything that determines the bytes; equal inputs mean that the shard need not be made again."""
    rejected: tuple[Rejection, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


def fingerprint(*parts: object) -> str:
    """sha256 (hex) of JSON-able values; the same values give the same text in every process."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path, shard: str) -> ShardManifest | None:
    """The manifest of a finished shard, or None where the shard was never finished."""
    path = _manifest_path(folder, shard)
    if not path.exists():
        return None
    fields = json.loads(path.read_text())
    fields["rejected"] = tuple(Rejection(**row) for row in fields["rejected"])
    return ShardManifest(**fields)


def finished_shards(folder: Path, *, split: str | None = None) -> list[str]:
    """Names of the shards in `folder` that have a manifest, sorted; only those of one split when it is given."""
    names = sorted(path.stem for path in (Path(folder) / "manifests").glob("*.json"))
    return [name for name in names if split is None or name.startswith(f"{split}-")]


def count_clips(folder: Path, split: str) -> int:
    """Clips in the finished shards of a split; a shard may be finished and empty."""
    manifests = [read_manifest(folder, name) for name in finished_shards(folder, split=split)]
    return sum(manifest.count for manifest in manifests if manifest is not None)


def read_exclude_list(path: Path, entry: re.Pattern[str] = _KEY) -> frozenset[str]:
    """Keys of clips and ids of videos that must not be used, one a line, `#` beginning a comment; none without a file.

    Args:
        path: the file.
        entry: what a line must look like; by default anything that can be a key.

    Raises:
        ValueError: for a line that is neither key nor id, such as an address: it would take nothing back.
    """
    if not Path(path).exists():
        return frozenset()
    lines = (line.partition("#")[0].strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines())
    names = {line: number for number, line in enumerate(lines, start=1) if line}
    for name, number in names.items():
        if not entry.fullmatch(name):
            raise ValueError(
                f"{path}, line {number} is {name!r}, expected a clip's key or a video's id alone; correct it, a takedown must "
                "not be lost"
            )
    return frozenset(names)


def is_excluded(key: str, excluded: frozenset[str]) -> bool:
    """Whether the exclude list names the clip itself or its video (the key without `_<start>`)."""
    return bool(excluded) and (key in excluded or key.rpartition("_")[0] in excluded)


class ShardWriter:
    """One shard as a transaction.

    Work goes to a staging folder with an append-only journal, clip by clip; `commit` writes the tar (keys sorted,
    mtime 0), syncs it, renames it into place, and writes the manifest last. A process killed at any point loses at most
    the clip it was working on: the next one finds `done` and ends with the bytes of an undisturbed run.

    Example:
        with ShardWriter(folder, "train-000000", inputs={"clips": sha}) as shard:
            if not shard.committed:
                for key in sorted(set(keys) - shard.done):
                    shard.add(key, {"json": b"{}"})
                shard.commit()

    Raises:
        ValueError: when another process is writing the same shard, or for a bad or repeated key or member name.
    """

    def __init__(self, folder: Path, shard: str, *, inputs: Mapping[str, str]) -> None:
        self.folder, self.shard, self.inputs = Path(folder), shard, dict(inputs)
        self.staging = self.folder / ".staging" / shard
        self._journal: dict[str, dict[str, Any]] = {}
        self._lock: BinaryIO | None = None

    def __enter__(self) -> Self:
        locks = self.folder / ".staging" / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        self._lock = (locks / self.shard).open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise ValueError(
                f"shard {self.shard} in {self.folder} is being written by another process; wait for it or stop it"
            ) from None
        if self.committed is None:
            self._open_staging()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()

    @property
    def committed(self) -> ShardManifest | None:
        """The finished shard's manifest when it was made from the same inputs and its tar is in place, else None."""
        manifest = read_manifest(self.folder, self.shard)
        if manifest is None or manifest.inputs != self.inputs:
            return None
        tar = self.folder / f"{self.shard}.tar"
        return manifest if tar.exists() and tar.stat().st_size == manifest.bytes else None

    @property
    def done(self) -> set[str]:
        """Keys that are journaled already, kept and rejected ones."""
        return set(self._journal)

    def add(self, key: str, members: Mapping[str, bytes]) -> None:
        """Keep a clip: its members (extension -> bytes) in the order in which they will stand in the tar."""
        self._check_new(key)
        for extension in members:
            if not _EXTENSION.fullmatch(extension):
                raise ValueError(
                    f"member {extension!r} of {key} is no lower-case extension such as 'cavp.npy'; rename it"
                )
        with (self.staging / "samples.bin").open("ab") as samples:
            start = samples.tell()
            for content in members.values():
                samples.write(content)
            samples.flush()
            os.fsync(samples.fileno())
        sizes = {extension: len(content) for extension, content in members.items()}
        self._append({"key": key, "start": start, "sizes": sizes})

    def reject(self, key: str, reason: str, message: str) -> None:
        """End a clip here; it is counted by `reason` and listed with `message` in the manifest."""
        self._check_new(key)
        self._append({"key": key, "reason": reason, "message": message})

    def commit(self, extra: Mapping[str, Any] | None = None) -> ShardManifest:
        """Write tar, index and manifest, remove the staging folder; returns the manifest.

        Args:
            extra: JSON-able facts of the whole shard that depend on its inputs only (no times of day).
        """
        kept = sorted((row for row in self._journal.values() if "sizes" in row), key=lambda row: row["key"])
        rejected = sorted((row for row in self._journal.values() if "reason" in row), key=lambda row: row["key"])
        tar, manifest_path = self.folder / f"{self.shard}.tar", _manifest_path(self.folder, self.shard)
        # Until the new manifest is in place the shard must not exist for readers.
        manifest_path.unlink(missing_ok=True)
        sha256, index = self._write_tar(tar, kept)
        index_path = self.folder / "index" / f"{self.shard}.parquet"
        _write_index(index_path, index)
        manifest = ShardManifest(
            shard=self.shard,
            count=len(kept),
            bytes=tar.stat().st_size,
            sha256=sha256,
            index_sha256=file_sha256(index_path),
            inputs=self.inputs,
            rejected=tuple(Rejection(row["key"], row["reason"], row["message"]) for row in rejected),
            extra=dict(extra or {}),
        )
        write_atomically(manifest_path, json.dumps(asdict(manifest), indent=1, sort_keys=True).encode() + b"\n")
        shutil.rmtree(self.staging)
        return manifest

    def _open_staging(self) -> None:
        marker = self.staging / "inputs.json"
        if not marker.exists() or json.loads(marker.read_text()) != self.inputs:
            shutil.rmtree(self.staging, ignore_errors=True)
            self.staging.mkdir(parents=True)
            write_atomically(marker, json.dumps(self.inputs).encode())
        journal = self.staging / "journal.jsonl"
        lines = journal.read_bytes().split(b"\n") if journal.exists() else []
        # A kill may tear the last line: it has no newline behind it, so the split leaves it as the last element.
        complete = [line for line in lines[:-1] if line]
        self._journal = {row["key"]: row for row in map(json.loads, complete)}
        if lines and lines[-1]:
            write_atomically(journal, b"".join(line + b"\n" for line in complete))
        kept = [row["start"] + sum(row["sizes"].values()) for row in self._journal.values() if "sizes" in row]
        samples = self.staging / "samples.bin"
        if samples.exists():
            os.truncate(samples, max(kept, default=0))

    def _check_new(self, key: str) -> None:
        if not _KEY.fullmatch(key):
            raise ValueError(
                f"key {key!r} may hold letters, digits, '_' and '-' only (WebDataset splits at the first dot)"
            )
        if key in self._journal:
            raise ValueError(f"key {key} stands in shard {self.shard} already; keys must be unique")

    def _append(self, row: dict[str, Any]) -> None:
        with (self.staging / "journal.jsonl").open("ab") as journal:
            journal.write(json.dumps(row).encode() + b"\n")
            journal.flush()
            os.fsync(journal.fileno())
        self._journal[row["key"]] = row

    def _write_tar(self, tar: Path, kept: list[dict[str, Any]]) -> tuple[str, list[tuple[str, str, int, int, int]]]:
        samples = self.staging / "samples.bin"
        samples.touch()
        index: list[tuple[str, str, int, int, int]] = []
        temporary = tar.with_suffix(".tar.partial")
        with samples.open("rb") as source, temporary.open("wb") as raw:
            with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
                for row in kept:
                    source.seek(row["start"])
                    for extension, size in row["sizes"].items():
                        header = tarfile.TarInfo(f"{row['key']}.{extension}")
                        header.size, header.mode = size, 0o644
                        content = source.read(size)
                        archive.addfile(header, io.BytesIO(content))
                        start = archive.offset - -(-size // 512) * 512
                        index.append((row["key"], extension, start, size, zlib.crc32(content)))
            raw.flush()
            os.fsync(raw.fileno())
        sha256 = file_sha256(temporary)
        os.replace(temporary, tar)
        _sync_folder(tar.parent)
        return sha256, index


class ShardReader:
    """Random access to a finished shard.

    Raises:
        ValueError: when the shard has no manifest, or its tar has another size than the manifest says.
    """

    def __init__(self, folder: Path, shard: str) -> None:
        import pyarrow.parquet as pq

        self.folder, self.shard = Path(folder), shard
        manifest = read_manifest(self.folder, shard)
        if manifest is None:
            raise ValueError(
                f"shard {shard} in {folder} is not finished (no manifest); materialize {self.folder.name} first"
            )
        self.manifest = manifest
        path = self.folder / f"{shard}.tar"
        found = path.stat().st_size if path.exists() else 0
        if found != manifest.bytes:
            raise ValueError(f"{path} has {found} bytes, its manifest says {manifest.bytes}; materialize it again")
        table = pq.read_table(self.folder / "index" / f"{shard}.parquet")
        self._places: dict[str, dict[str, tuple[int, int]]] = {}
        columns = (table[name].to_pylist() for name in ("key", "member", "offset", "size"))
        for key, member, offset, size in zip(*columns, strict=True):
            self._places.setdefault(key, {})[member] = (offset, size)
        self._file = path.open("rb", buffering=0)

    @property
    def keys(self) -> list[str]:
        """Keys in the order of the tar (sorted)."""
        return list(self._places)

    def members(self, key: str) -> list[str]:
        """Names of a clip's members, in order."""
        return list(self._places[key])

    def member(self, key: str, extension: str) -> bytes:
        """One member's bytes; safe to call from several threads.

        Raises:
            KeyError: when the clip or the member is not in the shard.
        """
        offset, size = self._places[key][extension]
        return os.pread(self._file.fileno(), size, offset)

    def __getitem__(self, key: str) -> dict[str, bytes]:
        return {extension: self.member(key, extension) for extension in self._places[key]}

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def items(self) -> Iterator[tuple[str, dict[str, bytes]]]:
        """(key, members) of every clip in the order of the tar."""
        return ((key, self[key]) for key in self._places)

    def close(self) -> None:
        """Close the tar; the reader cannot be used afterwards."""
        self._file.close()


@dataclass(frozen=True, eq=False)
class TrainingSample:
    """Everything that training and evaluation know of one 10 s clip."""

    key: str
    facts: dict[str, Any]
    """source, source_id, start_s, label, split, caption, caption_source, noun_phrases (a list), flags (name -> bool), scores."""
    flac: bytes | None
    """16 kHz mono, 16 bit; None in the published variant."""
    boxes: list[list[list[float]]]
    """Per frame, rows of phrase index, confidence, x0 y0 x1 y1 in [0, 1] (masks.boxes_to_json)."""
    cavp: np.ndarray
    """(V, D) float16, CAVP features of the frames."""
    cavp_masked: np.ndarray
    """(V, D) float16, CAVP features of the masked frames."""
    loudness: np.ndarray
    """(100,) float32, loudness signal (Eq. 10-11)."""
    latent: np.ndarray
    """(2C, F, K) float16: posterior mean, then log-variance."""
    clap: np.ndarray
    """(Dc,) float16."""
    t5: np.ndarray
    """(L, Dt) float16, without padding."""
    gpt: np.ndarray
    """(8, Dg) float16."""


_ARRAYS = {
    "cavp": (np.float16, 2),
    "cavp_masked": (np.float16, 2),
    "loudness": (np.float32, 1),
    "latent": (np.float16, 3),
    "clap": (np.float16, 1),
    "t5": (np.float16, 2),
    "gpt": (np.float16, 2),
}
_FIRST_AXIS = {
    "cavp": SOURCE_VIDEO_FRAMES,
    "cavp_masked": SOURCE_VIDEO_FRAMES,
    "loudness": SOURCE_LOUDNESS_POINTS,
    "gpt": 8,
}


def encode_sample(sample: TrainingSample) -> dict[str, bytes]:
    """The members of a training sample, in the order of SAMPLE_MEMBERS.

    Raises:
        ValueError: when an array has the wrong dtype, rank or length, or is not finite, or a fact is null or a list.
    """
    facts = {**sample.facts, "key": sample.key, "schema_version": SCHEMA_VERSION}
    facts["noun_phrases"] = "\n".join(facts.get("noun_phrases", ()))
    lists = [name for name, value in facts.items() if isinstance(value, list | tuple)]
    if lists:
        raise ValueError(
            f"facts of {sample.key} hold a list in {lists}; loaders infer a column's type, which an empty list has not, so "
            "give a text or an object"
        )
    empty = [name for name, value in facts.items() if value is None]
    if empty:
        raise ValueError(f"facts of {sample.key} hold null in {empty}; loaders infer a column's type, so give a value")
    members = {"json": json.dumps(facts, sort_keys=True).encode(), "txt": facts["caption"].encode()}
    if sample.flac is not None:
        members["flac"] = sample.flac
    frames = ["\n".join(" ".join(map(str, row)) for row in rows) for rows in sample.boxes]
    members["boxes.json"] = json.dumps(frames).encode()
    for name in _ARRAYS:
        array = getattr(sample, name)
        _check_array(sample.key, name, array)
        members[f"{name}.npy"] = encode_array(array)
    return members


def decode_sample(key: str, members: Mapping[str, bytes]) -> TrainingSample:
    """The inverse of `encode_sample`.

    Raises:
        ValueError: when a member is missing or has another shape than `encode_sample` writes.
    """
    missing = [name for name in SAMPLE_MEMBERS if name not in members and name != "flac"]
    if missing:
        raise ValueError(f"sample {key} lacks {missing}; its shard is no training shard of schema {SCHEMA_VERSION}")
    arrays = {name: decode_array(members[f"{name}.npy"]) for name in _ARRAYS}
    for name, array in arrays.items():
        _check_array(key, name, array)
    return TrainingSample(
        key=key,
        facts=decode_facts(members["json"]),
        flac=members.get("flac"),
        boxes=decode_boxes(members["boxes.json"]),
        **arrays,
    )


def decode_facts(content: bytes) -> dict[str, Any]:
    """A sample's facts, its noun phrases as a list (older shards hold them as one)."""
    facts = json.loads(content)
    phrases = facts.get("noun_phrases", "")
    return facts | {"noun_phrases": phrases.split("\n") if isinstance(phrases, str) and phrases else list(phrases)}


def decode_boxes(text: str | bytes) -> list[list[list[float]]]:
    """Rows of a sample's boxes per frame; a frame is a text with a line for each box or, as masks.py writes it, a list.

    Raises:
        ValueError: when it is neither.
    """
    try:
        frames = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"boxes are no JSON: {error}") from error
    if not isinstance(frames, list) or not all(isinstance(frame, list | str) for frame in frames):
        raise ValueError("boxes JSON is no list of frames, each with rows of phrase, confidence, x0, y0, x1, y1")
    return [[_box_row(line) for line in rows.splitlines()] if isinstance(rows, str) else rows for rows in frames]


def encode_array(array: np.ndarray) -> bytes:
    """The bytes of an .npy file of version 1.0, equal for equal arrays."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def decode_array(content: bytes) -> np.ndarray:
    """The array of an .npy file; pickled objects are refused."""
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that after a crash it is either the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync_folder(path.parent)


def _box_row(line: str) -> list[float]:
    phrase, *numbers = line.split(" ")
    try:
        return [int(phrase), *map(float, numbers)]
    except ValueError:
        raise ValueError(f"boxes JSON has the line {line!r}, expected numbers: phrase confidence x0 y0 x1 y1") from None


def _check_array(key: str, name: str, array: np.ndarray) -> None:
    dtype, rank = _ARRAYS[name]
    length = _FIRST_AXIS.get(name)
    if array.dtype != dtype or array.ndim != rank or (length is not None and array.shape[0] != length):
        expected = f"{np.dtype(dtype).name} with {rank} axes" + (f", the first {length} long" if length else "")
        raise ValueError(f"{name} of {key} is {array.dtype.name} {array.shape}, expected {expected}; compute it again")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} of {key} holds values that are not finite; compute it again")


def _write_index(path: Path, rows: list[tuple[str, str, int, int, int]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"key": pa.string(), "member": pa.string(), "offset": pa.int64(), "size": pa.int64(), "crc32": pa.uint32()}
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(types)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types.values(), strict=True)]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names=list(types)), buffer, compression="zstd")
    write_atomically(path, buffer.getvalue())


def _manifest_path(folder: Path, shard: str) -> Path:
    return Path(folder) / "manifests" / f"{shard}.json"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
