"""Shards: tars that are either whole or not there.

A shard is a WebDataset tar with two sidecars. Next to `<folder>/<shard>.tar` lie `<folder>/index/<shard>.parquet` (key,
member, offset, size, crc32: random access without scanning the tar, and the name of whatever is damaged) and
`<folder>/manifests/<shard>.json` (count, bytes, sha256, inputs, rejected clips), which is written last. Readers trust
manifests only: a tar without one does not exist.
"""

import fcntl
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

# The names behind `as` lay in this file before; code outside may still import them from here.
from drawaudio_model.atomic_files import decode_array as decode_array
from drawaudio_model.atomic_files import encode_array as encode_array
from drawaudio_model.atomic_files import file_sha256 as file_sha256
from drawaudio_model.atomic_files import fingerprint as fingerprint
from drawaudio_model.atomic_files import put_in_place
from drawaudio_model.atomic_files import write_atomically as write_atomically
from drawaudio_model.boxes import decode_boxes as decode_boxes
from drawaudio_model.training_sample import SAMPLE_MEMBERS as SAMPLE_MEMBERS
from drawaudio_model.training_sample import SCHEMA_VERSION as SCHEMA_VERSION
from drawaudio_model.training_sample import TrainingSample as TrainingSample
from drawaudio_model.training_sample import decode_facts as decode_facts
from drawaudio_model.training_sample import decode_sample as decode_sample
from drawaudio_model.training_sample import encode_sample as encode_sample

SPLITS = ("train", "val", "test")
"""First parts of shards' names, in the order of lists and tables."""

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
    """The content of a finished shard."""

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
        sha256 = file_sha256(temporary)
        put_in_place(temporary, tar)
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
        # read_table would import pandas.
        with pq.ParquetFile(self.folder / "index" / f"{shard}.parquet") as file:
            table = file.read()
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
