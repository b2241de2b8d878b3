"""Shards: tars that are either whole or not there.

A shard is a WebDataset tar with two sidecars. Next to `<folder>/<shard>.tar` lie `<folder>/index/<shard>.parquet` (key,
member, offset, size, crc32: random access without scanning the tar, and the name of whatever is damaged) and
`<folder>/manifests/<shard>.json` (count, bytes, sha256, inputs, rejected clips), which is written last. Readers trust
manifests only: a tar without one does not exist.
"""

import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import weakref
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

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

if TYPE_CHECKING:
    import pyarrow as pa

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


def check_keys(keys: Iterable[str], place: object) -> None:
    """A clip's key becomes the name of files, and whoever made a shard chose it: it must name nothing outside a folder.

    Args:
        keys: of clips, as they were read.
        place: where they were read, for the message.

    Raises:
        ValueError: for the first that is no key.
    """
    for key in keys:
        if not _KEY.fullmatch(key):
            raise ValueError(
                f"key {key!r} in {place} may hold letters, digits, '_' and '-' only (WebDataset splits at the first dot, and "
                "files are named after it); do not use what has it"
            )


def read_manifest(folder: Path, shard: str) -> ShardManifest | None:
    """The manifest of a finished shard, or None where the shard was never finished.

    Raises:
        ValueError: when it cannot be read or is another shard's, or a rejected clip's key is none.
    """
    path = _manifest_path(folder, shard)
    if not path.exists():
        return None
    try:
        fields = json.loads(path.read_text())
        fields["rejected"] = tuple(Rejection(**row) for row in fields["rejected"])
        manifest = ShardManifest(**fields)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} cannot be read ({error}); delete it and make the shard again") from error
    if manifest.shard != shard:
        raise ValueError(
            f"{path} says that it is of shard {manifest.shard!r}, expected {shard!r}; make the shard again"
        )
    check_keys((row.key for row in manifest.rejected), path)
    return manifest


def read_index(folder: Path, manifest: ShardManifest) -> "pa.Table":
    """The index of a finished shard: one row a member, with key, member, offset, size and (unless it is old) crc32.

    Raises:
        ValueError: when it is missing, is not what the manifest says, or has a key or a member's name that is none.
    """
    import pyarrow.parquet as pq

    path = _index_path(folder, manifest.shard)
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != manifest.index_sha256:
        raise ValueError(f"{path} is missing or is not what its manifest says; materialize {Path(folder).name} again")
    # read_table would import pandas.
    with pq.ParquetFile(io.BytesIO(content)) as file:
        table = file.read()
    check_keys(set(table["key"].to_pylist()), path)
    for member in set(table["member"].to_pylist()):
        _check_member(member, path)
    return table


Places = dict[str, dict[str, tuple[int, int, int | None]]]
"""Key -> member -> (offset, size, crc32), in the order of the tar; None where an old index has no checksums."""


def read_places(folder: Path, manifest: ShardManifest) -> Places:
    """The places of all members in a finished shard's tar; raises ValueError as `read_index` does."""
    table = read_index(folder, manifest)
    columns = [table[name].to_pylist() for name in ("key", "member", "offset", "size")]
    sums = table["crc32"].to_pylist() if "crc32" in table.column_names else [None] * len(table)
    places: Places = {}
    for key, member, offset, size, crc32 in zip(*columns, sums, strict=True):
        places.setdefault(key, {})[member] = (offset, size, crc32)
    return places


def restore_index(folder: Path, manifest: ShardManifest) -> ShardManifest:
    """Write a lost or damaged index anew from the shard's tar, which must be whole; returns the manifest that goes with it."""
    path = _index_path(folder, manifest.shard)
    if path.is_file() and file_sha256(path) == manifest.index_sha256:
        return manifest
    tar = Path(folder) / f"{manifest.shard}.tar"
    if file_sha256(tar) != manifest.sha256:
        raise ValueError(f"{path} is lost, and {tar} is not what its manifest says; put both back from a copy")
    rows = []
    with tarfile.open(tar) as archive, tar.open("rb") as file:
        for header in archive:
            key, _, member = header.name.partition(".")
            content = os.pread(file.fileno(), header.size, header.offset_data)
            rows.append((key, member, header.offset_data, header.size, zlib.crc32(content)))
    _write_index(path, rows)
    manifest = replace(manifest, index_sha256=file_sha256(path))
    _write_manifest(Path(folder), manifest)
    return manifest


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
        self._committed: ShardManifest | None = None
        self._compared = False
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
        """The finished shard's manifest when it was made from the same inputs and its tar and index are whole, else None.

        Both are read once to compare them: what is damaged is made again, as `verify_shards` says.
        """
        if not self._compared:
            self._committed, self._compared = self._find_committed(), True
        return self._committed

    @property
    def done(self) -> set[str]:
        """Keys that are journaled already, kept and rejected ones."""
        return set(self._journal)

    def add(self, key: str, members: Mapping[str, bytes]) -> None:
        """Keep a clip: its members (extension -> bytes) in the order in which they will stand in the tar."""
        self._check_new(key)
        for extension in members:
            _check_member(extension, key)
        with (self.staging / "samples.bin").open("ab") as samples:
            start = samples.tell()
            for content in members.values():
                samples.write(content)
            samples.flush()
            os.fsync(samples.fileno())
        sizes = {extension: len(content) for extension, content in members.items()}
        sums = {extension: zlib.crc32(content) for extension, content in members.items()}
        self._append({"key": key, "start": start, "sizes": sizes, "crc32": sums})

    def reject(self, key: str, reason: str, message: str) -> None:
        """End a clip here; it is counted by `reason` and listed with `message` in the manifest."""
        self._check_new(key)
        self._append({"key": key, "reason": reason, "message": message})

    def commit(self, extra: Mapping[str, Any] | None = None) -> ShardManifest:
        """Write tar, index and manifest, remove the staging folder; returns the manifest.

        Args:
            extra: JSON-able facts of the whole shard that depend on its inputs only (no times of day).

        Raises:
            ValueError: when a clip that was added is not as it was; all of them are given up then.
        """
        kept = sorted((row for row in self._journal.values() if "sizes" in row), key=lambda row: row["key"])
        rejected = sorted((row for row in self._journal.values() if "reason" in row), key=lambda row: row["key"])
        tar, manifest_path = self.folder / f"{self.shard}.tar", _manifest_path(self.folder, self.shard)
        # Until the new manifest is in place the shard must not exist for readers.
        manifest_path.unlink(missing_ok=True)
        sha256, index = self._write_tar(tar, kept)
        index_path = _index_path(self.folder, self.shard)
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
        _write_manifest(self.folder, manifest)
        shutil.rmtree(self.staging)
        self._committed, self._compared = manifest, True
        return manifest

    def _find_committed(self) -> ShardManifest | None:
        try:
            manifest = read_manifest(self.folder, self.shard)
        except ValueError:
            return None  # no manifest that could be read: the shard is made again, and gets one
        if manifest is None or manifest.inputs != self.inputs:
            return None
        tar = self.folder / f"{self.shard}.tar"
        if not tar.is_file() or file_sha256(tar) != manifest.sha256 or manifest.schema_version != SCHEMA_VERSION:
            return None
        try:
            index = read_index(self.folder, manifest)
        except ValueError:
            return None
        return manifest if len(set(index["key"].to_pylist())) == manifest.count else None

    def _open_staging(self) -> None:
        marker = self.staging / "inputs.json"
        if not marker.exists() or json.loads(marker.read_text()) != self.inputs:
            shutil.rmtree(self.staging, ignore_errors=True)
            self.staging.mkdir(parents=True)
            write_atomically(marker, json.dumps(self.inputs).encode())
        journal, samples = self.staging / "journal.jsonl", self.staging / "samples.bin"
        written = journal.read_bytes() if journal.exists() else b""
        rows = _read_journal(written, samples.stat().st_size if samples.exists() else 0)
        self._journal = {row["key"]: row for row in rows}
        complete = b"".join(_journal_line(row) for row in rows)
        if complete != written:
            write_atomically(journal, complete)
        kept = [row["start"] + sum(row["sizes"].values()) for row in rows if "sizes" in row]
        if samples.exists():
            os.truncate(samples, max(kept, default=0))

    def _check_new(self, key: str) -> None:
        check_keys([key], f"shard {self.shard}")
        if key in self._journal:
            raise ValueError(f"key {key} stands in shard {self.shard} already; keys must be unique")

    def _append(self, row: dict[str, Any]) -> None:
        with (self.staging / "journal.jsonl").open("ab") as journal:
            journal.write(_journal_line(row))
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
                        crc32 = zlib.crc32(content)
                        if len(content) != size or row.get("crc32", {}).get(extension, crc32) != crc32:
                            shutil.rmtree(self.staging)
                            temporary.unlink()
                            raise ValueError(
                                f"{row['key']}.{extension} in {samples} is not what was written there; the staged clips of "
                                f"shard {self.shard} were given up, run it again"
                            )
                        archive.addfile(header, io.BytesIO(content))
                        start = archive.offset - -(-size // 512) * 512
                        index.append((row["key"], extension, start, size, crc32))
        sha256 = file_sha256(temporary)
        put_in_place(temporary, tar)
        return sha256, index


MOST_OPEN = 64
"""Tars that are open at once in one process; usually 1,024 files may be, and a dataset has as many shards as it likes."""
_OPEN: "deque[weakref.ref[Tar]]" = deque()
"""Tars in the order in which they were opened, of all readers together."""


class Tar:
    """A tar that is read at any place, by several threads, forked and spawned processes.

    It is opened by the first reading and closed when MOST_OPEN others were opened since; the next reading opens it again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: _OpenTar | None = None

    def read(self, size: int, offset: int) -> bytes:
        """The bytes from `offset` on, fewer than `size` at the tar's end."""
        return (self._opened or self._open()).read(size, offset)

    def close(self) -> None:
        """Close it until the next reading."""
        self._opened = None  # it closes when no other thread reads from it any more

    def __getstate__(self) -> dict[str, Any]:
        """For a process that is spawned: it opens the tar itself."""
        return {"_path": self._path, "_opened": None}

    def _open(self) -> "_OpenTar":
        self._opened = opened = _OpenTar(self._path)
        _OPEN.append(weakref.ref(self))
        while len(_OPEN) > MOST_OPEN:
            oldest = _OPEN.popleft()()
            if oldest is not None and oldest is not self:
                oldest.close()
        return opened


class _OpenTar:
    """A handle that closes when nobody has it any more."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, size: int, offset: int) -> bytes:
        # Of a place of its own: processes that were forked share a handle, and with it the place of a plain read.
        return os.pread(self._handle, size, offset)

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            os.close(self._handle)


class ShardReader:
    """Random access to a finished shard.

    Raises:
        ValueError: when the shard has no manifest, or its tar or its index is not what the manifest says.
    """

    def __init__(self, folder: Path, shard: str) -> None:
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
        self._places = read_places(self.folder, manifest)
        self._tar = Tar(path)

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
            ValueError: when its bytes are not what the index says.
        """
        offset, size, crc32 = self._places[key][extension]
        content = self._tar.read(size, offset)
        if len(content) != size or crc32 not in (None, zlib.crc32(content)):
            raise ValueError(
                f"{key}.{extension} in {self.folder / self.shard}.tar is damaged: its checksum is not what its index says; "
                f"materialize {self.folder.name} again"
            )
        return content

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
        """Close the tar; reading a member opens it again."""
        self._tar.close()


def _write_index(path: Path, rows: list[tuple[str, str, int, int, int]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"key": pa.string(), "member": pa.string(), "offset": pa.int64(), "size": pa.int64(), "crc32": pa.uint32()}
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(types)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types.values(), strict=True)]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names=list(types)), buffer, compression="zstd")
    write_atomically(path, buffer.getvalue())


def _write_manifest(folder: Path, manifest: ShardManifest) -> None:
    content = json.dumps(asdict(manifest), indent=1, sort_keys=True).encode() + b"\n"
    write_atomically(_manifest_path(folder, manifest.shard), content)


def _manifest_path(folder: Path, shard: str) -> Path:
    return Path(folder) / "manifests" / f"{shard}.json"


def _index_path(folder: Path, shard: str) -> Path:
    return Path(folder) / "index" / f"{shard}.parquet"


def _check_member(extension: str, place: object) -> None:
    if not _EXTENSION.fullmatch(extension):
        raise ValueError(f"member {extension!r} of {place} is no lower-case extension such as 'cavp.npy'; rename it")


def _journal_line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def _read_journal(content: bytes, samples_bytes: int) -> list[dict[str, Any]]:
    """The rows of a journal up to the first that is torn or strange, without clips that the samples do not reach.

    A kill may tear the last line; a power cut may leave less of the samples on the disk than of the journal.
    """
    rows: list[dict[str, Any]] = []
    for line in content.split(b"\n")[:-1]:  # a torn line has no newline behind it
        try:
            row = json.loads(line)
            check_keys([row["key"]], "the journal")
            for extension in row.get("sizes", ()):
                _check_member(extension, row["key"])
            end = row["start"] + sum(row["sizes"].values()) if "sizes" in row else 0
        except (ValueError, TypeError, KeyError, AttributeError):
            break
        if end <= samples_bytes:
            rows.append(row)
    return rows
