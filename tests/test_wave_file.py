"""Broadcast wave files: read back by FFmpeg, by libsndfile and chunk by chunk; timecodes count what they name."""

import struct
import subprocess
import xml.etree.ElementTree as ElementTree
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
import soundfile

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.muxing.timecode import Timecode, drops, exact_rate, parse_timecode
from drawaudio_model.muxing.wave_file import clock_chunks, read_chunks, resampled, write_wave

NTSC, FILM = Fraction(30000, 1001), Fraction(24000, 1001)


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, count).astype(np.float32)


@pytest.mark.parametrize(
    ("label", "rate", "frame"),
    [
        ("00:00:00:00", Fraction(25), 0),
        ("01:00:00:00", Fraction(25), 90_000),
        ("10:11:12:13", Fraction(24), (10 * 3600 + 11 * 60 + 12) * 24 + 13),
        # SMPTE ST 12-1: two labels are left out each minute but every tenth.
        ("00:00:59;29", NTSC, 1799),
        ("00:01:00;02", NTSC, 1800),
        ("00:10:00;00", NTSC, 17_982),
        ("01:00:00;00", NTSC, 107_892),
        ("01:00:00:00", NTSC, 108_000),
        ("00:01:00;04", Fraction(60000, 1001), 3600),
    ],
)
def test_a_label_names_a_frame(label: str, rate: Fraction, frame: int) -> None:
    timecode = parse_timecode(label, rate)
    assert timecode.frame == frame and timecode.seconds == frame / rate
    assert timecode.samples(48_000) == round(frame * 48_000 / rate)


def test_drop_frame_keeps_the_time_of_day() -> None:
    assert abs(parse_timecode("12:00:00;00", NTSC).seconds - 12 * 3600) < Fraction(1, 20)
    assert abs(parse_timecode("12:00:00:00", NTSC).seconds - 12 * 3600) > 40


@pytest.mark.parametrize(
    ("label", "rate", "sentence"),
    [
        ("1:00:00:00", Fraction(25), "expected HH:MM:SS:FF"),
        ("01:00:00:25", Fraction(25), "names no frame at 25 frames a second, expected at most 23:59:59:24"),
        ("24:00:00:00", Fraction(25), "names no frame"),
        ("01:00:00;00", Fraction(25), "drops frames, which is of 29.97 and 59.94"),
        ("00:01:00;01", NTSC, "one of the labels that drop frame leaves out"),
    ],
)
def test_labels_that_there_are_not_are_named(label: str, rate: Fraction, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_timecode(label, rate)


@pytest.mark.parametrize("rate", [FILM, Fraction(25), NTSC, Fraction(30), Fraction(60000, 1001), Fraction(100)])
@pytest.mark.parametrize("drop", [False, True])
def test_every_frame_of_a_day_has_the_label_that_names_it(rate: Fraction, drop: bool) -> None:
    if drop and not drops(rate):
        return
    whole = round(rate)
    # Every frame near the minutes, where labels are left out, and some of all others.
    near = (minute * 60 * whole - minute // 10 * 18 + step for minute in range(0, 1440, 7) for step in range(-4, 5))
    for frame in {*range(0, int(86_400 * rate) - whole * 120, 997), *(max(frame, 0) for frame in near)}:
        found = Timecode(frame, rate, drop)
        if found.label < "23:59":
            assert parse_timecode(found.label, rate) == found, frame


def test_labels_are_those_of_the_standard_s_examples() -> None:
    labels = {1799: "00:00:59;29", 1800: "00:01:00;02", 17_981: "00:09:59;29", 17_982: "00:10:00;00"}
    labels |= {107_892: "01:00:00;00", 2_589_407: "23:59:59;29", 2_589_408: "00:00:00;00"}
    assert {frame: Timecode(frame, NTSC, True).label for frame in labels} == labels
    assert Timecode(3600, Fraction(60000, 1001), True).label == "00:01:00;04"
    assert Timecode(1800, NTSC, False).label == "00:01:00:00"


def test_rates_of_files_are_the_fractions_that_they_mean() -> None:
    found = [exact_rate(fps) for fps in (23.976, 24.0, 25.0, 29.97002997, 30.0, 59.94, 12.5)]
    assert found == [FILM, 24, 25, NTSC, 30, Fraction(60000, 1001), Fraction(25, 2)]


@pytest.mark.parametrize("bits", [16, 24])
def test_samples_come_back_within_half_a_step(tmp_path: Path, bits: int) -> None:
    samples = np.append(noise(4801), [1.0, -1.0]).astype(np.float32)
    chunks = clock_chunks(parse_timecode("01:00:00:00", Fraction(25)), 48_000, bits, "a bell, rung twice")
    write_wave(tmp_path / "a.wav", samples, sample_rate=48_000, bits=bits, chunks=chunks)
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (48_000, 1, f"PCM_{bits}", 4803)
    read = soundfile.read(tmp_path / "a.wav", dtype="float64")[0]
    assert np.abs(read - np.clip(samples, -1, 1 - 2.0 ** (1 - bits))).max() <= 0.5001 * 2.0 ** (1 - bits)
    write_wave(tmp_path / "b.wav", read.astype(np.float32), sample_rate=48_000, bits=bits, chunks=chunks)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_left_and_right_come_back_each_at_its_side(tmp_path: Path) -> None:
    samples = np.stack([noise(4801), 0.1 * noise(4801)], axis=1).astype(np.float32)
    chunks = clock_chunks(parse_timecode("01:00:00:00", Fraction(25)), 48_000, 24, "two sides")
    write_wave(tmp_path / "a.wav", samples, sample_rate=48_000, bits=24, chunks=chunks)
    read, rate = soundfile.read(tmp_path / "a.wav", dtype="float64")
    assert rate == 48_000 and np.abs(read - samples).max() <= 2.0**-23
    with av.open(str(tmp_path / "a.wav")) as container:
        assert container.streams.audio[0].channels == 2 and container.duration == pytest.approx(
            4801 / 48_000 * 1e6, 0.01
        )
        assert "time_reference" in container.metadata
    found = resampled(samples, 96_000)
    for side in (0, 1):
        np.testing.assert_allclose(found[:, side], resampled(samples[:, side], 96_000), atol=1e-6)


def walked(data: bytes) -> dict[bytes, bytes]:
    """The chunks of a RIFF file, read as the format says and no other way."""
    assert data[:4] == b"RIFF" and data[8:12] == b"WAVE" and struct.unpack("<I", data[4:8])[0] == len(data) - 8
    chunks, place = {}, 12
    while place < len(data):
        size = struct.unpack("<I", data[place + 4 : place + 8])[0]
        chunks[data[place : place + 4]] = data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    assert place == len(data)
    return chunks


def test_the_place_on_the_clock_is_read_back_by_others(tmp_path: Path) -> None:
    timecode = parse_timecode("23:59:58;12", NTSC)
    path = tmp_path / "clock.wav"
    chunks = clock_chunks(timecode, 48_000, 24, "rain & thunder")
    write_wave(path, noise(999), sample_rate=48_000, bits=24, chunks=chunks)
    reference = round((timecode.frame * 1001 * 48_000) / 30_000)
    assert reference > 2**32 / 2  # the high half of the bits would be seen
    with av.open(str(path)) as container:
        assert int(container.metadata["time_reference"]) == reference
    told = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, text=True, check=False
    ).stderr
    assert f"time_reference  : {reference}" in told and "pcm_s24le" in told and "rain & thunder" in told
    found = walked(path.read_bytes())
    assert list(found) == [b"bext", b"iXML", b"fmt ", b"data"] and len(found[b"bext"]) == 602
    assert struct.unpack("<QH", found[b"bext"][338:348]) == (reference, 1)
    tree = ElementTree.fromstring(found[b"iXML"].decode())
    speed = {item.tag: item.text for item in tree.find("SPEED")}
    assert speed["TIMECODE_RATE"] == "30000/1001" and speed["TIMECODE_FLAG"] == "DF"
    assert speed["TIMESTAMP_SAMPLE_RATE"] == speed["FILE_SAMPLE_RATE"] == "48000" and speed["AUDIO_BIT_DEPTH"] == "24"
    high, low = (int(speed[f"TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_{half}"]) for half in ("HI", "LO"))
    assert (high << 32) + low == reference
    assert read_chunks(path) == chunks and read_chunks(Path(__file__)) == {}


def test_a_sound_of_another_rate_is_the_same_up_to_8_khz_and_nothing_above() -> None:
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    waveform = sum(0.1 * np.sin(2 * np.pi * hertz * time) for hertz in (100, 3000, 7000)).astype(np.float32)
    found = resampled(waveform, 48_000)
    assert len(found) == 96_000
    middle = slice(4800, -4800)
    expected = sum(0.1 * np.sin(2 * np.pi * hertz * np.arange(96_000) / 48_000) for hertz in (100, 3000, 7000))
    assert np.abs(found - expected)[middle].max() < 1e-4
    spectrum = np.abs(np.fft.rfft(found[middle] * np.hanning(len(found[middle]))))
    above = np.fft.rfftfreq(len(found[middle]), 1 / 48_000) > 8500
    assert spectrum[above].max() < 1e-4 * spectrum.max()
    assert resampled(waveform, SAMPLE_RATE) is waveform


def test_what_a_wav_cannot_hold_is_refused(tmp_path: Path) -> None:
    for samples, bits, sentence in (
        (np.array([1.01], np.float32), 24, r"peak at 1.01, expected \(n,\) or \(n, 2\) with a peak of at most 1"),
        (np.array([np.nan], np.float32), 24, "peak at nan"),
        (np.zeros((5, 3), np.float32), 24, r"shape \(5, 3\)"),
        (np.zeros(3, np.float32), 20, "bits is 20, expected 16 or 24"),
    ):
        with pytest.raises(ValueError, match=sentence):
            write_wave(tmp_path / "a.wav", samples, sample_rate=48_000, bits=bits)
    assert list(tmp_path.iterdir()) == []
