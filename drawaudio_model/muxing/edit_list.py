"""The end of an MP4 or MOV track's edit list, written after the muxer: up to when its pictures are shown.

Packets behind that moment stay in the file and are not shown, as in the file that they come from. FFmpeg's muxer, before its
version 9, writes every track as shown to its last packet.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_FOLDERS = (b"moov", b"trak", b"edts", b"mdia")
"""Boxes that are looked into."""


def end_picture(path: Path, seconds: float) -> None:
    """Ends the edit list of the file's one picture track at `seconds` of the movie's clock.

    Raises:
        ValueError: when the track has no edit list of one entry.
    """
    with path.open("r+b") as file:
        boxes = list(_boxes(file, 0, path.stat().st_size))
        scale, found = 0, False
        track: dict[bytes, tuple[int, bool, bytes]] = {}
        for name, start in boxes:
            file.seek(start)
            head = file.read(24)
            wide = head[:1] == b"\1"  # version 1: times of 8 bytes
            if name == b"mvhd":
                scale = int.from_bytes(head[20:24] if wide else head[12:16])
            elif name == b"trak":
                track = {}
            elif name in (b"tkhd", b"elst"):
                track[name] = start, wide, head
            elif name == b"hdlr" and head[8:12] == b"vide" and b"elst" in track:
                length = round(seconds * scale)
                start, wide, head = track[b"elst"]
                found = int.from_bytes(head[4:8]) == 1
                if found:
                    _write(file, start + 8, length, wide)
                    start, wide, _ = track[b"tkhd"]
                    _write(file, start + (28 if wide else 20), length, wide)
    if not found:
        raise ValueError(f"{path.name} has no edit list of one entry")


def _write(file: BinaryIO, position: int, value: int, wide: bool) -> None:
    file.seek(position)
    file.write(value.to_bytes(8 if wide else 4))


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Name and start of the content of each box between two positions, and of those within them."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        size, name, content = int.from_bytes(head[:4]), head[4:8], start + 8
        if size == 1:
            size, content = int.from_bytes(head[8:16]), start + 16
        if size < 8:
            return
        yield name, content
        if name in _FOLDERS:
            yield from _boxes(file, content, start + size)
        start += size
