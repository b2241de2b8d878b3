"""No file that is written is clipped: what exceeds full scale is limited, and what fits comes back bit for bit."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from drawaudio_model import media
from drawaudio_model.cli import main
from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.commands.delivery import write_sound
from drawaudio_model.evaluation.listening_page import PageClip, write_page
from drawaudio_model.levels.full_scale import count_limited, fit_full_scale, fit_sounds, note_limited
from drawaudio_model.levels.limiter import CEILING_DB, true_peak
from drawaudio_model.training.sounds import write_sounds

CEILING = 10 ** (CEILING_DB / 20)
TIME = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
AT_FULL_SCALE = 32766 / 32768


def hot(peak: float = 3.0) -> np.ndarray:
    """A tone and noise beyond full scale for a second, between quiet ones."""
    noise = np.random.default_rng(0).standard_normal(len(TIME))
    sound = np.sin(2 * np.pi * 440 * TIME) + 0.2 * noise
    sound *= np.where((TIME >= 1) & (TIME < 2), 1, 0.01)
    return (peak * sound / np.abs(sound).max()).astype(np.float32)


def longest_run_at_full_scale(waveform: np.ndarray) -> int:
    """Samples in a row that a clipper could have left there, as a player's 16 bits have them."""
    at_top = np.abs(np.clip(waveform, -1, 32767 / 32768)) >= AT_FULL_SCALE
    longest = run = 0
    for sample in at_top:
        run = run + 1 if sample else 0
        longest = max(longest, run)
    return longest


def silent_video(path: Path, codec: str) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=8, width=64, height=48, pix_fmt="yuv420p")
        for level in range(24):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * level, np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("lossy", [False, True])
def test_a_sound_that_fits_comes_back_bit_for_bit(lossy: bool) -> None:
    sound = hot(0.8)
    fitted = fit_full_scale(sound, lossy=lossy)
    assert fitted.waveform is sound and not fitted.limited and fitted.reduction_db == 0
    assert fitted.peak_db == pytest.approx(20 * np.log10(0.8), abs=0.3)


def test_full_scale_itself_fits_a_lossless_file_and_no_lossy_one() -> None:
    square = np.where(np.sin(2 * np.pi * 100 * TIME) >= 0, 1.0, -1.0)
    assert fit_full_scale(square).waveform is square
    lossy = fit_full_scale(square, lossy=True)
    assert lossy.limited and true_peak(lossy.waveform) <= CEILING * (1 + 1e-6)
    assert fit_full_scale(lossy.waveform, lossy=True).waveform is lossy.waveform


def test_a_hot_sound_is_limited_to_the_ceiling_and_says_by_how_much() -> None:
    sound = hot(2.0)
    fitted = fit_full_scale(sound)
    assert true_peak(fitted.waveform) == pytest.approx(CEILING, rel=1e-3) and fitted.waveform.dtype == np.float32
    assert fitted.peak_db == pytest.approx(20 * np.log10(2), abs=0.5)
    assert fitted.reduction_db == pytest.approx(fitted.peak_db - CEILING_DB, abs=0.05)
    assert fitted.description == (
        f"the sound peaks at {fitted.peak_db:+.1f} dB; limited by {fitted.reduction_db:.1f} dB to -1 dBTP"
    )
    quiet = slice(0, SAMPLE_RATE - 1000)
    np.testing.assert_allclose(fitted.waveform[quiet], sound[quiet], rtol=0.02)
    with pytest.raises(ValueError, match="finite floats"):
        fit_full_scale(np.array([0.0, np.nan]))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp4", ".mov", ".mkv", ".webm", ".ts"])
def test_no_written_file_of_a_hot_sound_is_clipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    video = silent_video(tmp_path / ("in.webm" if suffix == ".webm" else "in.mp4"), codec)
    assert longest_run_at_full_scale(hot()) >= 3  # what a clipper would leave
    write_sound(tmp_path / f"out{suffix}", hot(), video=video)
    shown = capsys.readouterr().out
    assert shown.startswith(f"{tmp_path / f'out{suffix}'}: the sound peaks at +9.") and shown.count("\n") == 1
    heard = media.read_waveform(tmp_path / f"out{suffix}")
    assert 0.5 < np.abs(heard).max() and longest_run_at_full_scale(heard) < 3
    write_sound(tmp_path / f"out{suffix}", hot(0.5), video=video)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".m4a", ".ogg", ".mp3", ".mp4", ".mkv", ".webm", ".ts"])
def test_left_and_right_arrive_each_at_its_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    video = silent_video(tmp_path / ("in.webm" if suffix == ".webm" else "in.mp4"), codec)
    sound = np.stack([0.5 * np.sin(2 * np.pi * 440 * TIME), 0.05 * np.sin(2 * np.pi * 1000 * TIME)], axis=1)
    write_sound(tmp_path / f"out{suffix}", sound.astype(np.float32), video=video)
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        assert container.streams.audio[0].channels == 2
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=SAMPLE_RATE)
        frames = [piece for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
    heard = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)  # (2, n)
    middle = heard[:, SAMPLE_RATE // 2 : SAMPLE_RATE]
    levels = np.sqrt((middle**2).mean(axis=1))
    assert 20 * np.log10(levels / [0.5 / 2**0.5, 0.05 / 2**0.5]) == pytest.approx([0, 0], abs=0.5)  # LAME: 0.45
    pitches = np.abs(np.fft.rfft(middle)).argmax(axis=1) * SAMPLE_RATE / middle.shape[1]
    assert pitches == pytest.approx([440, 1000], abs=3)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("peak", [0.95, 1.0])
def test_a_lossy_codec_does_not_bring_a_loud_sound_to_full_scale(tmp_path: Path, peak: float) -> None:
    square = np.where(np.sin(2 * np.pi * 440 * TIME) >= 0, peak, -peak).astype(np.float32)
    video = silent_video(tmp_path / "in.mp4", "libx264")
    for name, sound in (("plain", square), ("fitted", fit_full_scale(square, lossy=True).waveform)):
        media.mux(video, sound, tmp_path / f"{name}.mp4")
    plain, fitted = (media.read_waveform(tmp_path / f"{name}.mp4") for name in ("plain", "fitted"))
    assert longest_run_at_full_scale(plain) >= 3 > longest_run_at_full_scale(fitted)


def test_a_command_leaves_a_lossy_file_room_and_takes_a_lossless_one_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loud, video = hot(0.97), silent_video(tmp_path / "in.mp4", "libx264")
    for suffix, limits in ((".wav", False), (".mkv", False), (".mp4", True), (".ts", True)):
        write_sound(tmp_path / f"out{suffix}", loud, video=video)
        assert ("limited by" in capsys.readouterr().out) == limits, suffix


def test_the_writers_refuse_what_they_would_have_to_clip(tmp_path: Path) -> None:
    video = silent_video(tmp_path / "in.mp4", "libx264")
    for write in (
        media.encode_flac,
        lambda sound: media.write_audio(tmp_path / "a.wav", sound),
        lambda sound: media.mux(video, sound, tmp_path / "a.mp4"),
    ):
        with pytest.raises(ValueError, match=r"peaks at 3 of full scale, expected at most 1; limit it first"):
            write(hot())
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
    media.write_audio(tmp_path / "stem.wav", hot(), floats=True)
    ends = media.decode_flac(media.encode_flac(np.array([1.0, -1.0])))
    np.testing.assert_array_equal(ends, [32767 / 32768, -1])


def test_a_loud_curve_made_audible_is_limited_with_a_notice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "curve.csv").write_text("time_seconds,level\n0,0.1\n1,0.1\n1.1,0.9\n2,0.9\n")
    assert main(["curve", str(tmp_path / "curve.csv"), "-o", str(tmp_path / "heard.wav")]) == 0
    assert "limited by" in capsys.readouterr().out
    heard = media.read_waveform(tmp_path / "heard.wav")
    assert true_peak(heard) <= CEILING * 1.001 and longest_run_at_full_scale(heard) == 0


def test_a_note_beside_a_limited_sound_is_counted_and_goes_with_it(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.flac" for name in ("a", "b", "c")]
    for path, peak in zip(paths, (0.5, 2.0, 4.0), strict=True):
        note_limited(path, fit_full_scale(hot(peak)))
    limited = count_limited(paths)
    assert (limited["count"], limited["of"]) == (2, 3) and limited["largest_peak_db"] == pytest.approx(
        20 * np.log10(4), abs=0.5
    )
    note_limited(paths[2], fit_full_scale(hot(0.5)))
    assert count_limited(paths)["count"] == 1
    nothing = count_limited([])
    assert nothing == {"count": 0, "of": 0, "largest_peak_db": None} == json.loads(json.dumps(nothing))


def test_sounds_of_a_training_run_are_limited_and_told_of(tmp_path: Path) -> None:
    told: list[str] = []
    sounds = {"quiet": hot(0.5), "loud": hot(3.0)}
    fitted = fit_sounds(sounds, told.append)
    assert fitted["quiet"] is sounds["quiet"] and len(told) == 1 and told[0].startswith("loud: the sound peaks at +9.")
    for path in write_sounds(tmp_path, 100, fitted):
        assert longest_run_at_full_scale(media.read_waveform(path)) < 3


def test_the_pages_sounds_are_limited_and_say_so(tmp_path: Path) -> None:
    longer = np.pad(hot(), (0, 8 * SAMPLE_RATE - len(TIME)))
    curve = np.full(80, 0.1, np.float32)
    clip = PageClip("one", "a tone", [], curve, 0.1 * longer, {"generated": longer}, {"figure": 1.0})
    result = {"clips": 1, "seed": 0, "steps": 1, "model_sha256": "0", "device": "cpu", "rows": {}}
    result |= {f"guidance_{name}": 0.0 for name in ("text", "video", "loudness")}
    page = write_page(tmp_path, title="t", result=result, clips=[clip], media=None, above="").read_text()
    assert "generated (limited by 10." in page and "real sound (limited" not in page
    heard = media.read_waveform(tmp_path / "page" / "one.0.flac")
    assert longest_run_at_full_scale(heard) < 3 and true_peak(heard) <= CEILING * 1.001


def test_a_decoded_clip_beyond_full_scale_is_turned_down_as_a_whole() -> None:
    from drawaudio_model.mel import normalize_waveform
    from pipelines.assets.clip_media import storable

    fits, loud = hot(1.0), hot(1.3)
    assert storable(fits) is fits
    stored = media.decode_flac(media.encode_flac(storable(loud)))
    assert np.abs(normalize_waveform(stored) - normalize_waveform(loud)).max() < 2 / 32768
