"""`drawaudio regenerate`, and what `drawaudio generate` writes for it: takes, other rates, timecodes, a sound to begin with."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile
from safetensors import safe_open

from drawaudio_model.cli import main
from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.commands import regenerate
from drawaudio_model.evaluation.listening_page import write_video
from drawaudio_model.media import read_waveform
from drawaudio_model.model_folder import model_sha256
from drawaudio_model.muxing.wave_file import read_chunks
from tests.tiny_pipeline import saved_pipeline

SECONDS = 18


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_pipeline(tmp_path_factory.mktemp("regenerate") / "model")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 s at 25 frames a second: three windows."""
    path = tmp_path_factory.mktemp("video") / "scene.mp4"
    frames = np.random.default_rng(0).integers(0, 255, (25 * SECONDS, 48, 64, 3), dtype=np.uint8)
    write_video(path, frames, 25, np.full(SECONDS * SAMPLE_RATE, 0.01, np.float32))
    return path


@pytest.fixture(scope="module")
def bell(model: Path, video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound with its take, at 48 kHz and 24 bits, on the clock."""
    path = tmp_path_factory.mktemp("bell") / "bell.wav"
    command = ["generate", str(video), "--text", "a bell rings", "--loudness", "0:0.1,18:0.3", "--steps", "2"]
    command += ["--model", str(model), "--seed", "7", "--device", "cpu", "--take", "-o", str(path)]
    assert main([*command, "--sample-rate", "48000", "--bits", "24", "--timecode", "01:00:00:12"]) == 0
    return path


def stored(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="int32")[0]


def test_a_sound_is_delivered_at_48_khz_24_bits_and_its_timecode(
    model: Path, video: Path, bell: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = soundfile.info(bell)
    assert (info.samplerate, info.subtype, info.frames) == (48_000, "PCM_24", SECONDS * 48_000)
    with av.open(str(bell)) as container:
        assert int(container.metadata["time_reference"]) == (3600 * 25 + 12) * 48_000 // 25
    command = ["generate", str(video), "--text", "a bell rings", "--loudness", "0:0.1,18:0.3", "--steps", "2"]
    command += ["--model", str(model), "--seed", "7", "--device", "cpu"]
    assert main([*command, "-o", str(tmp_path / "plain.wav")]) == 0
    assert "8 kHz" not in capsys.readouterr().err
    plain, high = read_waveform(tmp_path / "plain.wav"), soundfile.read(bell, dtype="float32")[0]
    assert np.abs(high[::3] - plain).max() < 2e-2 and np.corrcoef(high[::3], plain)[0, 1] > 0.95
    assert main([*command, "--sample-rate", "48000", "--bits", "24", "-o", str(tmp_path / "high.flac")]) == 0
    assert "notice: the sound ends at 8 kHz" in capsys.readouterr().err
    info = soundfile.info(tmp_path / "high.flac")
    assert (info.samplerate, info.subtype) == (48_000, "PCM_24")
    assert np.array_equal(stored(tmp_path / "high.flac"), stored(bell))


def test_a_mix_is_delivered_alike(model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tracks.json").write_text(json.dumps([{"text": "a bell rings"}]))
    command = ["mix", str(video), "--tracks", str(tmp_path / "tracks.json"), "--model", str(model), "--steps", "1"]
    command += ["--device", "cpu", "--seconds", "2", "--sample-rate", "96000", "--timecode", "00:00:01:00"]
    assert main([*command, "-o", str(tmp_path / "mix.wav")]) == 0
    info = soundfile.info(tmp_path / "mix.wav")
    assert (info.samplerate, info.subtype, info.frames) == (96_000, "PCM_16", 2 * 96_000)
    assert b"bext" in read_chunks(tmp_path / "mix.wav") and "8 kHz" in capsys.readouterr().err


def test_a_section_changes_nothing_else_in_the_file(
    model: Path, bell: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "drum.wav"
    command = ["regenerate", str(bell), "--section", "9.2", "10.5", "--text", "a drum is struck", "--seed", "8"]
    command += ["--model", str(model), "--device", "cpu"]
    assert main([*command, "-o", str(out)]) == 0
    shown = capsys.readouterr()
    assert "drum.wav: 9.2 to 10.5 s anew, seed 8" in shown.out and "take" not in shown.err
    before, after = stored(bell), stored(out)
    first, last = round(9.2 * 48_000), round(10.5 * 48_000)
    assert soundfile.info(out).subtype == "PCM_24" and before.shape == after.shape
    assert np.array_equal(before[:first], after[:first]) and np.array_equal(before[last:], after[last:])
    assert (before[first:last] != after[first:last]).mean() > 0.9
    assert read_chunks(out) == read_chunks(bell)
    with safe_open(out.with_suffix(".take"), "pt") as file:
        told = json.loads(file.metadata()["take"])["instructions"]
        assert file.get_tensor("latents").shape == (4, 225, 8)  # whole windows
    assert told["text"] == "a drum is struck" and told["loudness"] == "0:0.1,18:0.3"
    assert told["num_inference_steps"] == 2
    # On from there: the same again, and another section.
    command[1] = str(out)
    assert main([*command[:2], "--section", "1", "2", "--model", str(model), "-o", str(tmp_path / "two.wav")]) == 0
    assert np.array_equal(stored(tmp_path / "two.wav")[2 * 48_000 :], after[2 * 48_000 :])


def test_a_sound_without_its_take_is_gone_on_from_as_it_is(
    model: Path, video: Path, bell: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = shutil.copy(bell, tmp_path / "alone.wav")
    command = [
        "regenerate",
        str(alone),
        "--section",
        "9.2",
        "10.5",
        "--text",
        "rain falls",
        "--seed",
        "8",
        "--steps",
        "2",
    ]
    command += ["--model", str(model), "--device", "cpu", "-o", str(tmp_path / "out.wav")]
    assert main(command) == 2 and "has no take beside it that names its video; give --video" in capsys.readouterr().err
    assert main([*command, "--video", str(video)]) == 0
    assert "has no take beside it: the section goes on from what" in capsys.readouterr().err
    assert np.array_equal(stored(tmp_path / "out.wav")[: 9 * 48_000], stored(bell)[: 9 * 48_000])
    assert not (tmp_path / "out.take").exists()
    # A take of another sound is none of this one.
    shutil.copy(bell.with_suffix(".take"), tmp_path / "alone.take")
    data = bytearray(bell.read_bytes())
    data[-1] ^= 1
    (tmp_path / "alone.wav").write_bytes(data)
    assert main([*command[:-1], str(tmp_path / "again.wav")]) == 0
    assert "was changed after its take was written" in capsys.readouterr().err
    (tmp_path / "alone.take").write_bytes(b"nothing")
    assert main(command) == 2 and "alone.take cannot be read" in capsys.readouterr().err


def test_latents_of_another_model_are_refused_and_its_sound_alone_is_not(
    model: Path, video: Path, bell: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(model, tmp_path / "other"))
    weights = next((other / "unet").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1  # one bit of one weight
    weights.write_bytes(content)
    for path in (bell, bell.with_suffix(".take")):
        shutil.copy(path, tmp_path / path.name)
    command = ["regenerate", str(tmp_path / "bell.wav"), "--section", "9.2", "10.5", "--seed", "8", "--steps", "2"]
    command += ["--device", "cpu", "-o", str(tmp_path / "out.wav")]
    assert main([*command, "--model", str(other)]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    names = [model_sha256(folder)[:12] for folder in (model, other)]
    assert f"made by the model of sha256 {names[0]}, and {other} is {names[1]}; give the model that made it" in told
    assert main([*command, "--model", str(model)]) == 0
    capsys.readouterr()
    (tmp_path / "bell.take").unlink()
    assert main([*command, "--model", str(other), "--video", str(video), "--text", "rain falls"]) == 0
    assert "has no take beside it" in capsys.readouterr().err


def test_floats_and_flac_keep_their_form(model: Path, video: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    loud = (1.5 * rng.uniform(-1, 1, SECONDS * SAMPLE_RATE)).astype(np.float32)
    soundfile.write(tmp_path / "loud.wav", loud, SAMPLE_RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "low.flac", loud / 4, SAMPLE_RATE, subtype="PCM_16")
    for name in ("loud.wav", "low.flac"):
        out = tmp_path / f"new-{name}"
        command = ["regenerate", str(tmp_path / name), "--section", "3", "4", "--text", "rain falls", "--steps", "1"]
        assert main([*command, "--video", str(video), "--model", str(model), "--device", "cpu", "-o", str(out)]) == 0
        before, after = (soundfile.read(path, dtype="float32")[0] for path in (tmp_path / name, out))
        assert np.array_equal(before[4 * SAMPLE_RATE :], after[4 * SAMPLE_RATE :])
        assert not np.array_equal(before, after)
        assert soundfile.info(out).subtype == soundfile.info(tmp_path / name).subtype


@pytest.mark.parametrize(("suffix", "bits"), [(".wav", 24), (".wav", 32), (".flac", 16)])
def test_a_section_that_cannot_be_written_is_kept(suffix: str, bits: int, tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, 4800).astype(np.float32)
    soundfile.write(tmp_path / "before.wav", sound, 48_000)
    before = SimpleNamespace(bits=bits, sample_rate=48_000)
    # A name that leaves no room, be it for a suffix or at all.
    options = SimpleNamespace(output=tmp_path / ("a" * 252 + suffix), sound=tmp_path / "before.wav", video=None)
    with pytest.raises(ValueError, match="the sound itself is kept in ") as told:
        regenerate._write(options, before, sound)
    kept = Path(str(told.value).rpartition("kept in ")[2])
    back, rate = soundfile.read(kept, dtype="float32")
    assert rate == 48_000 and np.array_equal(back, sound) and kept.parent == tmp_path
    assert not {".partial", ".writing"} & {Path(word).suffix for word in str(told.value).split()}


def test_a_sound_to_begin_with(model: Path, video: Path, bell: Path, tmp_path: Path) -> None:
    command = ["generate", str(video), "--text", "rain falls", "--model", str(model), "--steps", "2", "--seed", "3"]
    command += ["--device", "cpu", "--seconds", "2"]
    sounds = {}
    for name, more in {
        "none": [],
        "near": ["--start-from", str(bell), "--strength", "0.5"],
        "far": ["--start-from", str(bell), "--strength", "1"],
    }.items():
        assert main([*command, *more, "-o", str(tmp_path / f"{name}.wav")]) == 0
        sounds[name] = (tmp_path / f"{name}.wav").read_bytes()
    assert sounds["none"] == sounds["far"] != sounds["near"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["generate", "VIDEO", "--take", "-o", "o.mp3"], "a take is kept beside a .wav or .flac, not o.mp3"),
        (["generate", "VIDEO", "--strength", "0.5", "-o", "o.wav"], "--strength is 0.5 without --start-from"),
        (["generate", "VIDEO", "--steps", "0", "-o", "o.wav"], "--steps is 0, expected at least 1, such as 25"),
        (["generate", "VIDEO", "--candidates", "0", "-o", "o.wav"], "--candidates is 0, expected at least 1"),
        (
            ["generate", "VIDEO", "--start-from", "BELL", "--strength", "nan", "-o", "o.wav"],
            "--strength is nan, expected 0 (the given sound) to 1",
        ),
        (["generate", "VIDEO", "--start-from", "SILENT", "-o", "o.wav"], "is silent in its first"),
        (["generate", "VIDEO", "--bits", "24", "-o", "o.mp3"], "--bits given for o.mp3, expected .wav or .flac"),
        (["generate", "VIDEO", "--timecode", "01:00:00:00", "-o", "o.flac"], "given for o.flac, expected .wav"),
        (["generate", "VIDEO", "--timecode", "01:00:00:25", "-o", "o.wav"], "names no frame at 25 frames a second"),
        (["generate", "VIDEO", "--sample-rate", "8000", "-o", "o.wav"], "--sample-rate is 8000, expected 16000 to"),
        (
            ["generate", "VIDEO", "--model", "MODEL", "--start-from", "gone.wav", "-o", "o.wav"],
            "gone.wav does not exist",
        ),
        (["regenerate", "gone.wav", "--section", "1", "2", "-o", "o.wav"], "gone.wav does not exist"),
        (["regenerate", "VIDEO", "--section", "1", "2", "-o", "o.wav"], "kept beside a .wav or .flac"),
        (
            ["regenerate", "BELL", "--section", "1", "2", "-o", "o.mp3"],
            "ends in '.mp3', expected one of .wav, .flac, .mp4",
        ),
        (["regenerate", "BELL", "--section", "1", "2", "-o", "o.mp4"], "takes sounds of 16000 Hz, this has 48000"),
        (["regenerate", "BELL", "--section", "1", "2", "-o", "BELL"], "is the sound itself"),
        (["regenerate", "BELL", "--section", "2", "1", "--model", "MODEL", "-o", "o.wav"], "goes from 2 to 1 s"),
        (["regenerate", "BELL", "--section", "17", "19", "--model", "MODEL", "-o", "o.wav"], "within the 18.00 s"),
        (["regenerate", "BELL", "--section", "1", "2", "--seed", "-1", "-o", "o.wav"], "seed is -1"),
        (
            ["regenerate", "BELL", "--section", "1", "2", "--strength", "3", "--model", "MODEL", "-o", "o.wav"],
            "strength is 3",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(
    arguments: list[str],
    sentence: str,
    model: Path,
    video: Path,
    bell: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    silent = bell.with_name("silent.wav")
    soundfile.write(silent, np.zeros(16_000), 16_000)
    places = {"VIDEO": str(video), "MODEL": str(model), "BELL": str(bell), "SILENT": str(silent)}
    assert main([places.get(argument, argument) for argument in arguments]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("drawaudio: ") and sentence in message
    assert list(tmp_path.iterdir()) == []
