"""Whether a file is whole: what its header claims, held against what could be read.

A length in a header is a claim. A file is truncated when reading it ends in an error, or when its *bytes* end before its
own structure does and with them more than MISSING_SECONDS of what was read. A claim that a whole file does not bear out is
a false claim: the file is used as far as it can be read, and flagged.
"""

import io
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import av
from av.stream import Disposition

from drawaudio_model.decoding.clock import LONGEST_PACKET_SECONDS, is_flush, may_jump
from drawaudio_model.decoding.errors import MediaError, check_memory

MAX_CORRUPT_SHARE = 0.1
"""Damaged frames (of the picture, or packets of the sound) that are tolerated, as a share of all."""
MISSING_SECONDS = 1.0
"""A claimed length this much longer than what is there is wrong; headers are rounded by less."""
_ROUNDED_SECONDS = 0.1
"""A claimed length this close to what the packets have is the more exact one of the two."""
NO_CLAIMS = {
    "mp3",
    "aac",
    "ac3",
    "eac3",
    "dts",
    "truehd",
    "h264",
    "hevc",
    "vvc",
    "av1",
    "obu",
    "mpegvideo",
    "m4v",
    "ogg",
}
"""Formats without a length in a header, beside those made for broadcast: FFmpeg guesses it, from the bit rate or the end."""
ONE_LENGTH = {"asf"}
"""Formats whose header states one length for the whole file; FFmpeg gives it to every stream, and adds a late start to it."""
CLAIMS_OF_BYTES = {"avi", "wav", "asf"}
"""Formats whose length in time FFmpeg makes as short as the file is: what says how much is missing are their bytes."""
_UNSET_SIZES = range(0x7FFFF000, 1 << 32)
"""Sizes that a program writes which does not know how long its recording will be, and none that a file beside it has."""
_MP4_BOXES = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid", b"sidx"}
_LARGEST_FLAC_FRAME = 1 << 18
"""Bytes: 4608 samples, as the usual programs take at most, of 8 channels and 24 bits are half of it."""
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


class _Track(Protocol):
    count: int
    corrupt: int


@dataclass
class Ends:
    """Where the streams of a file begin and end, by index."""

    first: dict[int, float] = field(default_factory=dict)
    last: dict[int, float] = field(default_factory=dict)
    """Seconds on its laid-out clock."""
    begun: dict[int, int] = field(default_factory=dict)
    """Number of a stream's first packet among those of the file."""
    over: dict[int, int] = field(default_factory=dict)
    """Of its last packet but one: the last is handed on when something else has begun, as its end is known only then."""
    _latest: dict[int, int] = field(default_factory=dict)
    _packets: int = 0

    def see(self, packet: av.Packet) -> None:
        """Take the next packet of the file into account."""
        self._packets += 1
        if packet.size:
            index = packet.stream_index
            self.begun.setdefault(index, self._packets)
            self.over[index] = self._latest.get(index, self._packets)
            self._latest[index] = self._packets
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None or packet.is_discard or is_flush(packet):
            return
        tick = packet.time_base
        begin, duration = float(time * tick), float((packet.duration or 0) * tick)
        self.add(packet.stream_index, begin, begin + (duration if 0 < duration < LONGEST_PACKET_SECONDS else 0.0))

    def add(self, index: int, begin: float, end: float) -> None:
        """Something of the stream is there from `begin` to `end`."""
        self.first[index] = min(self.first.get(index, begin), begin)
        self.last[index] = max(self.last.get(index, end), end)


def check_complete(
    container: av.container.InputContainer, source: Path | bytes, ends: Ends, tracks: Mapping[str, _Track]
) -> None:
    """Raises MediaError when the file was cut off, or what was read is too damaged.

    Args:
        tracks: what was decoded, by the name that a sentence gives it ("video frames").
    """
    for name, track in tracks.items():
        if not track.count or track.corrupt:
            check_memory()
        if not track.count:
            raise MediaError("undecodable", f"not one of the {name} can be decoded")
        if track.corrupt > MAX_CORRUPT_SHARE * (track.corrupt + track.count):
            raise MediaError("undecodable", f"{track.corrupt} {name} are damaged beside {track.count} decoded ones")
    missing = _unborne_claim(container, ends) or _missing_share(container, source, ends)
    if missing is not None and ends_early(source):
        held, declared = missing
        raise MediaError("truncated", f"the file holds {held:.2f} s of the {declared:.2f} s that it declares")


def wrong_length(container: av.container.InputContainer, ends: Ends) -> bool:
    """Whether the header claims a length that the packets of its streams do not have."""
    return _unborne_claim(container, ends) is not None


def stated_seconds(stream: av.stream.Stream) -> float | None:
    """Length of a stream as the header states it; None where it states none."""
    return float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None


def is_cover(stream: av.stream.Stream) -> bool:
    """Whether a stream is a picture about the file, which is shown for as long as somebody likes."""
    return bool(
        stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image)
    )


def presented_seconds(stream: av.stream.Stream | None, span: tuple[float, float] | None) -> float:
    """How long a stream is there: what its header says where its packets bear that out, else what they say.

    Headers know how much of the last packet is meant to be heard.
    """
    if stream is None or span is None:
        return 0.0
    held = span[1] - span[0]
    stated = stated_seconds(stream)
    claimed = held if stated is None else stated
    return claimed if abs(claimed - held) <= _ROUNDED_SECONDS else held


def _unborne_claim(container: av.container.InputContainer, ends: Ends) -> tuple[float, float] | None:
    """(seconds held, seconds claimed) of the stream, or else the container, that claims too much; None: none does."""
    if may_jump(container) or container.format.name in NO_CLAIMS or not ends.last:
        return None
    claims = []
    begin, end = min(ends.first.values()), max(ends.last.values())
    if container.format.name in ONE_LENGTH:
        whole = min((stated_seconds(stream) or 0.0 for stream in container.streams), default=0.0)
        return (end - begin, whole) if whole - (end - begin) > MISSING_SECONDS else None
    for index, last in ends.last.items():
        stream = container.streams[index]
        stated = stated_seconds(stream)
        if stream.type in ("video", "audio") and stated is not None and not is_cover(stream):
            claims.append((stated, last - ends.first[index], last))
    if container.duration:
        claims.append((container.duration / av.time_base, end - begin, end))
    for claimed, held, last in claims:
        # Some count from the clock's zero, others from the first picture.
        if claimed - max(held, last) > MISSING_SECONDS:
            return held, claimed
    return None


def _missing_share(
    container: av.container.InputContainer, source: Path | bytes, ends: Ends
) -> tuple[float, float] | None:
    """(seconds held, seconds claimed) where the claim is one of bytes, and much of them is not there; else None."""
    if container.format.name not in CLAIMS_OF_BYTES or not ends.last:
        return None
    announced, length = _announced_end(source)
    held = max(ends.last.values()) - min(ends.first.values())
    claimed = held * announced / max(length, 1)
    return (held, claimed) if claimed - held > MISSING_SECONDS else None


def ends_early(source: Path | bytes) -> bool:
    """Whether the bytes of a file end before the structure that they announce; False where none is announced."""
    announced, length = _announced_end(source)
    return announced > length


def _announced_end(source: Path | bytes) -> tuple[int, int]:
    """(byte at which the structure of a file ends, 0 where none is announced; length of the file in bytes)."""
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
            length = file.seek(0, io.SEEK_END)
            file.seek(0)
            head = file.read(1 << 16)
            if head[4:8] in _MP4_BOXES:
                return _boxes_end(file, length), length
            if head[:4] == b"\x1a\x45\xdf\xa3":
                return _segment_end(head), length
            if head[:4] in (b"RIFF", b"RF64"):
                return _riff_end(file, length), length
            if head[:4] == b"fLaC":  # It claims a count of samples, and no bytes.
                return length + (not _ends_with_flac_frame(file, length)), length
            return _stated_size(head), length
    except OSError:
        return 0, 0


def _boxes_end(file: BinaryIO, length: int) -> int:
    """Where the chain of boxes of an mp4 ends."""
    position = 0
    while position + 8 <= length:
        file.seek(position)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size < 8:  # 0: up to the end.
            return length
        position += size
    return position


def _segment_end(head: bytes) -> int:
    """Where the segment of a Matroska file ends; 0 where its size is left open."""
    position = 4
    size, position = _ebml_size(head, position)
    position += size or 0
    if head[position : position + 4] != b"\x18\x53\x80\x67":
        return 0
    size, position = _ebml_size(head, position + 4)
    return 0 if size is None else position + size


def _ebml_size(head: bytes, position: int) -> tuple[int | None, int]:
    """(size, position behind it); None for the size that stands for unknown."""
    if position >= len(head) or not head[position]:
        return None, position
    width = 9 - head[position].bit_length()
    value = int.from_bytes(head[position : position + width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), position + width


def _riff_end(file: BinaryIO, length: int) -> int:
    """Where the last of a file's RIFF chunks ends; large AVIs have several. 0 where a size is left open."""
    position = 0
    while position + 8 <= length:
        file.seek(position)
        name, size = struct.unpack("<4sI", file.read(8))
        if name not in (b"RIFF", b"RF64") or not size or (size in _UNSET_SIZES and position + size > length):
            break
        position += 8 + size + size % 2
    return position


def _ends_with_flac_frame(file: BinaryIO, length: int) -> bool:
    """Whether the last bytes of a FLAC file are a whole frame: its checksum is the one that it ends with."""
    file.seek(max(length - _LARGEST_FLAC_FRAME, 0))
    tail = file.read()
    if tail[-128:-125] == b"TAG":  # ID3, as old programs put it behind a file
        tail = tail[:-128]
    marks = [mark.start() for mark in re.finditer(rb"\xff[\xf8\xf9]", tail)]
    # From the end: the last frame is a few kilobytes long, and what is before it need not be added up.
    return any(_flac_checksum(tail[place:]) == 0 for place in reversed(marks))


def _flac_checksum(data: bytes) -> int:
    """CRC-16 of the polynomial 0x8005; 0 for bytes that end with their own."""
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _FLAC_CRC[crc >> 8 ^ byte]
    return crc


def _flac_table() -> list[int]:
    table = []
    for crc in range(0, 1 << 16, 1 << 8):
        for _ in range(8):
            crc = (crc << 1 ^ (0x8005 if crc & 0x8000 else 0)) & 0xFFFF
        table.append(crc)
    return table


_FLAC_CRC = _flac_table()


def _stated_size(head: bytes) -> int:
    """The file's length in bytes as ASF and FLV headers state it; 0 elsewhere."""
    properties = head.find(_ASF_PROPERTIES)
    if properties >= 0:
        return int.from_bytes(head[properties + 40 : properties + 48], "little")
    found = re.search(rb"filesize\x00(.{8})", head, re.DOTALL) if head[:3] == b"FLV" else None
    size = struct.unpack(">d", found[1])[0] if found else 0.0
    return int(size) if 0 < size < 2**53 else 0
