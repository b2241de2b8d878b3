"""WAV files as film and television exchange them: any rate, 16 or 24 bits, and where on the clock they begin (BWF).

A broadcast wave file has two chunks more than a plain one: `bext` (EBU Tech 3285) says at which sample since midnight it
begins, `iXML` the same and at which frame rate that is to be read. Nothing in them depends on when a file is written, so that
the same sound gives the same bytes.

Legend: n samples; (n,) is mono, (n, 2) are left and right.
"""

import struct
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import soxr

from drawaudio_model.atomic_files import write_atomically
from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.muxing.timecode import Timecode

BIT_DEPTHS = (16, 24)
KEPT_CHUNKS = (b"bext", b"iXML")
"""The chunk that says where on the clock a file begins."""
LARGEST_BYTES = 2**32 - 2**16
"""Of samples: sizes in a WAV file have 32 bits."""


def resampled(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """(m,) float32 of (n,) at SAMPLE_RATE, or (m, 2) of (n, 2), at another rate: the same up to 8 kHz, and nothing above."""
    if sample_rate == SAMPLE_RATE:
        return waveform
    return soxr.resample(np.asarray(waveform, np.float32), SAMPLE_RATE, sample_rate, quality="VHQ")


def clock_chunks(timecode: Timecode, sample_rate: int, bits: int, description: str = "") -> dict[bytes, bytes]:
    """The chunks of a file that begins at a timecode.

    Args:
        timecode: of its first sample.
        sample_rate: of the file, in Hz.
        bits: of its samples.
        description: in words; 256 bytes of it are kept.
    """
    reference = timecode.samples(sample_rate)
    bext = struct.pack(
        "<256s32s32s10s8sQH64s190s",
        description.encode("ascii", "replace")[:256],
        b"drawaudio",
        b"",
        b"",
        b"",
        reference,
        1,  # version
        b"",
        b"",
    )
    rate = f"{timecode.rate.numerator}/{timecode.rate.denominator}"
    facts = {
        "MASTER_SPEED": rate,
        "CURRENT_SPEED": rate,
        "TIMECODE_RATE": rate,
        "TIMECODE_FLAG": "DF" if timecode.drop else "NDF",
        "FILE_SAMPLE_RATE": sample_rate,
        "AUDIO_BIT_DEPTH": bits,
        "DIGITIZER_SAMPLE_RATE": sample_rate,
        "TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_HI": reference >> 32,
        "TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_LO": reference & 0xFFFFFFFF,
        "TIMESTAMP_SAMPLE_RATE": sample_rate,
    }
    speed = "".join(f"<{name}>{value}</{name}>" for name, value in facts.items())
    ixml = (
        '<?xml version="1.0" encoding="UTF-8"?><BWFXML><IXML_VERSION>2.10</IXML_VERSION>'
        f"<NOTE>{escape(description)}</NOTE><SPEED>{speed}</SPEED></BWFXML>"
    )
    return {b"bext": bext, b"iXML": ixml.encode()}


def write_wave(
    path: Path, samples: np.ndarray, *, sample_rate: int, bits: int, chunks: dict[bytes, bytes] | None = None
) -> None:
    """Writes (n,) or (n, 2) floats in [-1, 1], whole or not at all.

    Args:
        path: of the file.
        samples: at `sample_rate`.
        sample_rate: in Hz.
        bits: 16 or 24.
        chunks: name of four letters -> content, of more that the file shall say (`clock_chunks`).

    Raises:
        ValueError: for samples beyond full scale, another depth, or more than a WAV file holds.
    """
    if bits not in BIT_DEPTHS:
        raise ValueError(f"bits is {bits}, expected 16 or 24")
    peak = float(np.abs(samples).max(initial=0.0))
    fits = samples.ndim == 1 or samples.shape[1:] == (2,)
    if not fits or not len(samples) or not peak <= 1:
        raise ValueError(
            f"samples of shape {samples.shape} peak at {peak:.4g}, expected (n,) or (n, 2) with a peak of at most 1"
        )
    width, scale, channels = bits // 8, 2 ** (bits - 1), samples.ndim
    if samples.size * width > LARGEST_BYTES:
        raise ValueError(f"{path.name} would have {samples.size * width} bytes, a .wav holds 4 GiB; write it in parts")
    whole = np.minimum(np.round(samples.astype(np.float64) * scale), scale - 1).astype("<i4")
    data = np.ascontiguousarray(whole).view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    frame = channels * width
    head = struct.pack("<HHIIHH", 1, channels, sample_rate, sample_rate * frame, frame, bits)
    body = b"".join(
        name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
        for name, content in {**(chunks or {}), b"fmt ": head, b"data": data}.items()
    )
    write_atomically(path, b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)


def read_chunks(path: Path) -> dict[bytes, bytes]:
    """The chunks of KEPT_CHUNKS that a WAV file has; none for any other file."""
    found: dict[bytes, bytes] = {}
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return found
        while len(mark := file.read(8)) == 8:
            name, size = mark[:4], struct.unpack("<I", mark[4:])[0]
            if name in KEPT_CHUNKS:
                found[name] = file.read(size)
                file.seek(size % 2, 1)
            else:
                file.seek(size + size % 2, 1)
    return found
