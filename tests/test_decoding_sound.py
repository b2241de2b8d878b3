"""The sound of a clip: channels that cancel, rates that change on the way."""

import io

import av
import numpy as np
import pytest

from drawaudio_model import media
from tests.test_media import burst_time, clicks, encode

CODECS = [("matroska", "flac", 44100), ("mp4", "aac", 44100), ("webm", "libopus", 48000), ("mov", "pcm_s16le", 48000)]


def stereo(left, right, container="matroska", audio="flac", rate=44100):
    video = "libvpx" if container == "webm" else "libx264"
    seconds = len(left) / rate
    return encode(
        container=container,
        video=video,
        audio=audio,
        rate=rate,
        layout="stereo",
        frames=round(12 * seconds),
        sound=np.stack([left, right]),
    )


@pytest.mark.parametrize(("container", "audio", "rate"), CODECS)
@pytest.mark.parametrize("louder", [0, 1])
def test_channels_that_cancel_give_way_to_the_louder_one(container, audio, rate, louder):
    sound = clicks(2, rate, (0.5, 1.5))
    pair = [-sound, -sound]
    pair[louder] = sound * 1.02
    data = stereo(*pair, container=container, audio=audio, rate=rate)
    clip = media.read_clips(data, seconds=2).clips[0]
    assert "one_channel" in clip.flags and "silent" not in clip.flags
    assert np.abs(clip.waveform).max() == pytest.approx(0.7 * 1.02, abs=0.03)
    assert burst_time(clip.waveform, 0.5) == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(media.read_waveform(data, seconds=2), clip.waveform, atol=1e-6)


def test_only_the_clips_whose_channels_cancel_are_read_from_one():
    rate = 44100
    sound = clicks(6, rate, (0.5, 2.5, 4.5))
    other = sound.copy()
    other[2 * rate : 4 * rate] *= -1
    decoded = media.read_clips(stereo(sound, other), starts_seconds=(4, 0, 2), seconds=2)
    assert [("one_channel" in clip.flags) for clip in decoded.clips] == [False, False, True]
    assert [np.abs(clip.waveform).max() for clip in decoded.clips] == pytest.approx([0.7] * 3, abs=0.01)
    assert [burst_time(clip.waveform, 0.5) for clip in decoded.clips] == pytest.approx([0.5] * 3, abs=0.002)


@pytest.mark.parametrize("share", [0.15, 0.5, 0.9])
def test_channels_that_cancel_for_a_while_leave_no_silence_there(share):
    sound = np.random.default_rng(0).normal(0, 0.1, 4 * 44100)
    other = sound.copy()
    other[: round(share * len(sound))] *= -1
    data = stereo(sound, other)
    clip = media.read_clips(data, seconds=4).clips[0]
    levels = np.sqrt(np.square(clip.waveform).reshape(40, -1).mean(axis=1))
    assert "one_channel" in clip.flags and levels.min() > 0.8 * levels.max() > 0.04
    assert np.sqrt(np.square(media.read_waveform(data)).reshape(40, -1).mean(axis=1)).min() > 0.8 * levels.max()


def test_wide_and_one_sided_sound_is_mixed_as_ever():
    rng = np.random.default_rng(0)
    left, right = rng.normal(0, 0.1, (2, 2 * 44100))
    short = left.copy()
    short[:4410] *= -1  # a twentieth
    for pair in ((left, right), (left, 0 * left), (left, -0.6 * left), (left, left), (left, short)):
        clip = media.read_clips(stereo(*pair), seconds=2).clips[0]
        assert "one_channel" not in clip.flags
        rms = np.sqrt(np.square((pair[0] + pair[1]) / 2).mean())
        # White noise at 44.1 kHz loses what 16 kHz cannot hold.
        assert np.sqrt(np.square(clip.waveform).mean()) == pytest.approx(rms * np.sqrt(16 / 44.1), rel=0.05)


def test_the_bass_effects_channel_alone_is_heard():
    """No mono mix has it; where nothing else sounds, it is no silence."""
    surround = np.zeros((6, 88200))
    surround[3] = clicks(2, 44100, (0.5, 1.5))
    data = encode(container="matroska", audio="flac", layout="5.1", sound=surround)
    clip = media.read_clips(data, seconds=2).clips[0]
    assert "one_channel" in clip.flags and burst_time(clip.waveform, 0.5) == pytest.approx(0.5, abs=0.01)
    surround[0] = 0.5 * clicks(2, 44100, (1.0,))
    clip = media.read_clips(encode(container="matroska", audio="flac", layout="5.1", sound=surround), seconds=2).clips[
        0
    ]
    assert "one_channel" not in clip.flags and burst_time(clip.waveform, 1.0, 0.1) == pytest.approx(1.0, abs=0.01)


def test_a_rate_that_no_sound_has_is_refused_before_it_fills_the_memory():
    data = bytearray(encode(container="wav", video=None, audio="pcm_s16le"))
    place = data.index(b"fmt ") + 12
    data[place : place + 4] = (2_000_000_000).to_bytes(4, "little")
    with pytest.raises(media.MediaError, match="claims 2000000000 samples a second") as caught:
        media.read_waveform(bytes(data), seconds=2)
    assert caught.value.reason == "undecodable"


def test_silence_on_both_sides_is_silence():
    with pytest.raises(media.MediaError) as caught:
        media.read_clips(stereo(np.zeros(88200), np.zeros(88200)), seconds=2)
    assert caught.value.reason == "silent"


def test_sound_that_changes_its_rate_is_heard_to_its_end_at_the_right_pitch():
    parts = [
        encode(
            container="mpegts",
            audio="mp2",
            rate=rate,
            sound=0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * rate) / rate),
            video_start=start,
            audio_start=start,
        )
        for rate, start in ((48000, 0), (32000, 2), (44100, 4))
    ]
    data = b"".join(parts)
    with av.open(io.BytesIO(data)) as container:
        assert {frame.sample_rate for frame in container.decode(audio=0)} == {48000, 32000, 44100}
    decoded = media.read_clips(data, seconds=6)
    assert decoded.flags == ("changed_rate",) and decoded.frames_decoded == 72
    waveform = decoded.clips[0].waveform
    for begin in (0.5, 2.5, 4.5):
        piece = waveform[round(begin * 16000) : round((begin + 1) * 16000)]
        spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece))))
        assert np.argmax(spectrum) == pytest.approx(1000, abs=2)
        assert np.sqrt(np.square(piece).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)
    assert len(media.read_waveform(data)) / 16000 == pytest.approx(6, abs=0.25)
