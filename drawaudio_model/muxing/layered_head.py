"""HEVC of several layers (a transparency, a second view): the parameter sets of the upper ones, kept in an MP4's or MOV's head.

FFmpeg's muxers write the sets of the lowest layer alone into the head of an MP4, MOV or Matroska file (hvcC). Without the
others, nobody can decode the upper layers, although their packets are all there.
"""

import io
import re
from pathlib import Path
from typing import BinaryIO

_SETS = (32, 33, 34)
"""Types of NAL units that hold parameters: of the video, of a sequence, of a picture."""
_START = re.compile(b"\0\0\1")
_WAY: tuple[tuple[tuple[bytes, ...], int], ...] = (
    ((b"moov",), 0),
    ((b"trak",), 0),
    ((b"mdia",), 0),
    ((b"minf",), 0),
    ((b"stbl",), 0),
    ((b"stsd",), 8),
    ((b"hvc1", b"hev1"), 78),
    ((b"hvcC",), 0),
)
"""Names of the boxes around the head, outermost first, and the bytes before the boxes within each."""


def upper_sets(head: bytes | None, packet: bytes = b"") -> tuple[bytes, ...]:
    """The parameter sets of all layers but the lowest, sorted, without double ones.

    Args:
        head: of the codec: hvcC, or units between start codes.
        packet: the first one of the stream, which may hold sets as well.
    """
    head = head or b""
    units = _units_of_head(head)
    units += _units_of_packet(packet, head[21] % 4 + 1) if _is_hvcc(head) else _between_start_codes(packet)
    units = [unit for unit in units if len(unit) > 2]
    return tuple(sorted({unit for unit in units if unit[0] >> 1 & 63 in _SETS and (unit[0] & 1) << 5 | unit[1] >> 3}))


def _is_hvcc(head: bytes) -> bool:
    return head[:1] == b"\1" and len(head) > 22


def _units_of_head(head: bytes) -> list[bytes]:
    if not _is_hvcc(head):
        return _between_start_codes(head)
    units, position = [], 23
    for _ in range(head[22]):
        count = int.from_bytes(head[position + 1 : position + 3])
        position += 3
        for _ in range(count):
            length = int.from_bytes(head[position : position + 2])
            units.append(head[position + 2 : position + 2 + length])
            position += 2 + length
    return units


def _units_of_packet(packet: bytes, width: int) -> list[bytes]:
    units, position = [], 0
    while position + width <= len(packet):
        length = int.from_bytes(packet[position : position + width])
        units.append(packet[position + width : position + width + length])
        position += width + length
    return units


def _between_start_codes(data: bytes) -> list[bytes]:
    begins = [mark.end() for mark in _START.finditer(data)]
    ends = [begin - 3 for begin in begins[1:]] + [len(data)]
    return [data[begin:end].rstrip(b"\0") for begin, end in zip(begins, ends[: len(begins)], strict=True)]


def write_head(path: Path, head: bytes) -> None:
    """Gives the HEVC track of an MP4 or MOV file, whose moov is its last box, this head (hvcC) in place of its own.

    Raises:
        ValueError: when there is no such track.
    """
    with path.open("r+b") as file:
        begin = _last_box(file)
        file.seek(begin)
        movie = bytearray(file.read())
        way = _way_to_head(movie, 0, len(movie), _WAY)
        if movie[4:8] != b"moov" or not way:
            raise ValueError(f"{path.name} has no HEVC track whose head can be written anew")
        start, size = way[-1]
        movie[start + 8 : start + size] = head
        for start, old in way:
            movie[start : start + 4] = (old + len(head) + 8 - size).to_bytes(4)
        file.seek(begin)
        file.write(movie)


def _last_box(file: BinaryIO) -> int:
    """Where the last of a file's boxes begins."""
    length, start, following = file.seek(0, io.SEEK_END), 0, 0
    while following + 8 <= length:
        start = following
        file.seek(start)
        head = file.read(16)
        size = int.from_bytes(head[:4])
        size = int.from_bytes(head[8:16]) if size == 1 else size
        if size < 8:
            break
        following = start + size
    return start


def _way_to_head(
    movie: bytearray, start: int, end: int, way: tuple[tuple[tuple[bytes, ...], int], ...]
) -> list[tuple[int, int]]:
    """(begin, size) of the boxes around the first head, outermost first, and of its own; none where there is none."""
    (names, before), further = way[0], way[1:]
    while start + 8 <= end:
        size = int.from_bytes(movie[start : start + 4])
        if size < 8:
            break
        if movie[start + 4 : start + 8] in names:
            rest = _way_to_head(movie, start + 8 + before, start + size, further) if further else []
            if rest or not further:
                return [(start, size), *rest]
        start += size
    return []
