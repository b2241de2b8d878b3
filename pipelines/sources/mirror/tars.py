"""Members of a tar or tar.gz, read once and in order, whatever has become of the file.

Nothing is ever unpacked by its name. A fault costs what lies in it: behind a damaged header of a plain tar the next good one is
looked for; compressed data cannot be read behind a fault, so there the part ends. Links, devices and sparse files are named
and not followed, and no header makes this module hold or read more than the file has.
"""

import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

_BLOCK = tarfile.BLOCKSIZE
_STEP = 1 << 15
"""Bytes that are inflated at a time."""
_COPY = 1 << 20
_LONGEST_NAME = 1 << 16
"""A header's extension of more bytes than this is none."""
_SPARSE_FLAG, _FURTHER_FLAG = 482, 504
"""Bytes of a sparse file's header, and of the blocks behind it, that say that another block of its map follows."""
_NOT_FOLLOWED = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


class PlainStream:
    """The bytes of a tar. A short read is its end; `fault` says why where it should not have ended."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.left = os.fstat(file.fileno()).st_size
        """Bytes to come."""
        self.position = 0
        self.fault = ""

    def read(self, count: int) -> bytes:
        """So many bytes, or what is left."""
        try:
            content = self._file.read(count)
        except OSError as error:
            self.fault, content, self.left = f"it cannot be read: {error.strerror}", b"", 0
        self.position += len(content)
        self.left = max(0, self.left - len(content))
        return content

    def skip(self, count: int) -> None:
        """Go on behind so many bytes without reading them."""
        count = min(count, self.left)
        self._file.seek(count, os.SEEK_CUR)
        self.position += count
        self.left -= count


class GzipStream:
    """The bytes of a tar that is compressed, with the same calls; how many are left cannot be known."""

    left = None

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._inflate = file, zlib.decompressobj(31)
        self._waiting = self._ready = b""
        self._ended = False
        self.position = 0
        self.fault = ""

    def read(self, count: int) -> bytes:
        """So many bytes, or what comes before the end or a fault."""
        pieces, have = [], 0
        while have < count:
            piece = self._ready or self._more()
            if not piece:
                break
            pieces.append(piece[: count - have])
            self._ready = piece[count - have :]
            have += len(pieces[-1])
        self.position += have
        return b"".join(pieces)

    def skip(self, count: int) -> None:
        """Go on behind so many bytes, which have to be inflated."""
        while count > 0 and (piece := self.read(min(count, _COPY))):
            count -= len(piece)

    def _more(self) -> bytes:
        """The next bytes; none at the end."""
        while not self._ended:
            try:
                piece = self._waiting or self._file.read(_STEP)
                if self._inflate.eof:  # Several streams may follow one another; zeros fill a tape's last block.
                    self._waiting = (self._inflate.unused_data + piece).lstrip(b"\0")
                    if not self._waiting and not piece:
                        return self._end("")
                    if self._waiting:
                        self._inflate = zlib.decompressobj(31)
                    continue
                before = self._inflate.copy()
                made = self._inflate.decompress(piece, _STEP)
            except OSError as error:
                return self._end(f"it cannot be read any further: {error.strerror}")
            except zlib.error as error:
                self._end(f"it cannot be read any further: {error}")
                return _before_the_fault(before, piece)
            self._waiting = self._inflate.unconsumed_tail
            if made:
                return made
            if not piece and not self._inflate.eof:
                return self._end("it ends before its compressed data do")
        return b""

    def _end(self, fault: str) -> bytes:
        self._ended, self.fault = True, fault
        return b""


def _before_the_fault(inflate: Any, piece: bytes) -> bytes:
    """The bytes before the fault of a damaged piece, which zlib withholds when it meets the fault."""
    made = []
    try:
        for place in range(len(piece)):
            made.append(inflate.decompress(piece[place : place + 1]))
    except zlib.error:
        pass
    return b"".join(made)


Stream = PlainStream | GzipStream


@dataclass
class Member:
    """One entry of a tar; its bytes can be read until the next one is asked for."""

    number: int
    """Its place among the part's entries."""
    name: str
    """As the tar has it: to be shown and compared, never to be opened."""
    offset: int
    """Of its first byte in the tar."""
    size: int
    refusal: str
    """Why it is never read; "" for a file."""
    _stream: Stream
    _unread: int

    def pieces(self) -> Iterator[bytes]:
        """Its bytes; fewer than `size` where the part ends in it."""
        while self._unread > 0 and (piece := self._stream.read(min(self._unread, _COPY))):
            self._unread -= len(piece)
            yield piece


@dataclass
class Found:
    """Counts of a reading: members, and bytes between them that belong to none."""

    members: int = 0
    lost_bytes: int = 0
    """Where a header should have been and none was."""


def members(stream: Stream, found: Found) -> Iterator[Member]:
    """The entries of a tar that are files, or would be; folders are left out.

    Args:
        stream: at the tar's beginning.
        found: counts on the way.
    """
    name, sparse, size, in_step = "", False, None, True
    while len(block := stream.read(_BLOCK)) == _BLOCK:
        if not any(block):
            continue
        header = _header(block, in_step)
        if header is None:
            name, sparse, size, in_step = "", False, None, False
            found.lost_bytes += _BLOCK
            continue
        in_step = True
        if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            content = _extension(stream, header.size)
            if header.type == tarfile.GNUTYPE_LONGNAME:
                name = content.split(b"\0")[0].decode("utf-8", "replace")
            else:
                records = _pax(content)
                name = records.get("GNU.sparse.name") or records.get("path") or name
                sparse = any(record.startswith("GNU.sparse") for record in records)
                size = int(records["size"]) if records.get("size", "").isdigit() else None
            continue
        if header.type in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
            stream.skip(_padded(header.size))
            continue
        if header.type == tarfile.GNUTYPE_SPARSE:
            more = block[_SPARSE_FLAG]
            while more and len(block := stream.read(_BLOCK)) == _BLOCK:
                more = block[_FURTHER_FLAG]
        yield from _entry(stream, header, name or header.name, header.size if size is None else size, sparse, found)
        name, sparse, size = "", False, None


def _entry(
    stream: Stream, header: tarfile.TarInfo, name: str, size: int, sparse: bool, found: Found
) -> Iterator[Member]:
    has_data = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
    refusal = "a sparse file" if sparse else _NOT_FOLLOWED.get(header.type, "")
    if not refusal and not header.isreg() and not header.isdir():
        refusal = "an entry of an unknown kind"
    if has_data and stream.left is not None and size > stream.left:
        # The part was cut, or the size is false: what follows the header may be further members.
        size, refusal = 0, f"{size:,} bytes of which the part has {stream.left:,}"
    member = Member(found.members, name, stream.position, size, refusal, stream, size if has_data else 0)
    found.members += 1
    if not header.isdir():
        yield member
    if has_data:
        stream.skip(member._unread + _padded(size) - size)


def _header(block: bytes, in_step: bool) -> tarfile.TarInfo | None:
    """The header in a block, or None; where the last one was damaged, only one that names its format is believed."""
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except (tarfile.HeaderError, ValueError):
        return None
    return header if header.size >= 0 and (in_step or block[257:262] == b"ustar") else None


def _extension(stream: Stream, size: int) -> bytes:
    """The bytes of a header's extension; none of one that is longer than any name."""
    content = stream.read(size) if size <= _LONGEST_NAME else b""
    stream.skip(_padded(size) - len(content))
    return content


def _pax(content: bytes) -> dict[str, str]:
    """The records of a pax header, each `<length> <name>=<value>`; what is malformed ends them."""
    records: dict[str, str] = {}
    while content:
        digits = content.split(b" ", 1)[0]
        length = int(digits) if digits.isdigit() and len(digits) < 8 else 0
        if not len(digits) < length <= len(content):
            break
        key, separator, value = content[len(digits) + 1 : length].rstrip(b"\n").partition(b"=")
        if separator:
            records[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        content = content[length:]
    return records


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
