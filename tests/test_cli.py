"""The `drawaudio` command: what people type, what they get, and one sentence with exit code 2 where it is wrong."""

import contextlib
import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from drawaudio_model.adapters import from_audioldm2, save_adapters
from drawaudio_model.boxes import Box, boxes_from_json, boxes_to_json
from drawaudio_model.cli import main
from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.commands.draw import contact_sheet
from drawaudio_model.evaluation.listening_page import write_video
from drawaudio_model.generation.instructions import parse_loudness
from drawaudio_model.generation.mixing import mix
from drawaudio_model.loudness import from_points, loudness_signal, read_points, write_points
from drawaudio_model.media import read_waveform, write_audio
from drawaudio_model.pipeline import DrawAudioPipeline
from drawaudio_model.shard import ShardWriter
from tests.tiny_audioldm2 import tiny_audioldm2
from tests.tiny_detector import tiny_detector
from tests.tiny_pipeline import tiny_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "model"
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 s of moving grey with a quiet sound."""
    path = tmp_path_factory.mktemp("video") / "scene.mp4"
    frames = np.random.default_rng(0).integers(0, 255, (24, 48, 64, 3), dtype=np.uint8)
    write_video(path, frames, 12, np.full(2 * SAMPLE_RATE, 0.01, np.float32))
    return path


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.best(kind)) if packet.size]


def test_generate_keeps_the_picture_as_it_is_and_brings_the_sound(
    model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["generate", str(video), "--text", "a bell rings", "--model", str(model), "--steps", "1", "--seed", "7"]
    common += ["--mask", "0.2,0.1,0.8,0.9", "--loudness", "0:0,1:0.3,2:0", "--device", "cpu"]
    assert main([*common, "-o", str(tmp_path / "out.mp4")]) == 0
    assert "out.mp4: seed 7, follows the curve with correlation" in capsys.readouterr().out
    assert packets(tmp_path / "out.mp4", "video") == packets(video, "video")
    for name in ("out.flac", "out.mp3", "out.ogg", "out.m4a"):
        assert main([*common, "-o", str(tmp_path / name)]) == 0
    sound = read_waveform(tmp_path / "out.flac")
    for name in ("out.mp3", "out.ogg", "out.m4a"):
        assert np.corrcoef(read_waveform(tmp_path / name)[: len(sound)], sound)[0, 1] > 0.9
    assert len(sound) == 2 * SAMPLE_RATE and np.abs(sound).max() > 1e-3


def test_the_same_seed_gives_the_same_bytes(model: Path, video: Path, tmp_path: Path) -> None:
    """Two processes, as two evenings at the desk: a new one, and this one."""
    command = ["generate", str(video), "--text", "a bell rings", "--model", str(model), "--steps", "1", "--seed", "7"]
    alone = [sys.executable, "-m", "drawaudio_model.cli", *command, "--device", "cpu", "-o", str(tmp_path / "a.flac")]
    subprocess.run(alone, check=True, capture_output=True)
    assert main([*command, "--device", "cpu", "-o", str(tmp_path / "b.flac")]) == 0
    assert (tmp_path / "a.flac").read_bytes() == (tmp_path / "b.flac").read_bytes()


def test_bad_tracks_and_places_for_stems_are_named(
    model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["mix", str(video), "--tracks", str(tmp_path / "tracks.json"), "--model", str(model), "--steps", "1"]
    command += ["--device", "cpu", "-o", str(tmp_path / "out.wav")]
    for track, sentence in (
        ({"loudness": 5}, "points nor one level"),
        ({"loudness": [0.1, 0.2]}, "loudness has 2 levels, expected 20"),
        ({"loudness": [[0, None]]}, "level nan"),
        ({"seed": 2**64}, "track 1 of"),
        ({"gain_db": 10_000}, "gain_db is 10000, expected -120 to 120 decibels"),
    ):
        (tmp_path / "tracks.json").write_text(json.dumps([{"text": "a bell rings"} | track]))
        assert main(command) == 2 and sentence in capsys.readouterr().err
    (tmp_path / "tracks.json").write_text(json.dumps([{"text": "a bell rings"}]))
    assert main([*command, "--stems", str(tmp_path / "tracks.json" / "deep")]) == 2
    assert "tracks.json is a file; choose another folder with --stems" in capsys.readouterr().err
    # Before a model is looked for.
    (tmp_path / "tracks.json").write_text(json.dumps([{"text": "a bell rings", "loudness": "gone.csv"}]))
    assert main([*command, "--model", "none"]) == 2
    sentence = capsys.readouterr().err
    assert "track 1 of" in sentence and "loudness gone.csv does not exist" in sentence


def test_stems_of_another_detector_are_made_again(
    model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = tiny_detector(tmp_path / "detector", vocabulary=["bell"])
    (tmp_path / "tracks.json").write_text(json.dumps([{"mask": "bell"}]))
    command = ["mix", str(video), "--tracks", str(tmp_path / "tracks.json"), "--model", str(model), "--steps", "1"]
    command += ["--detector", str(detector), "--stems", str(tmp_path / "deep" / "stems"), "--device", "cpu"]
    command += ["-o", str(tmp_path / "out.wav")]
    for made in (True, False):
        assert main(command) == 0 and ("track 1" in capsys.readouterr().out) == made
    (detector / "vocabulary.json").write_text(json.dumps(["bell", "drum"]))
    assert main(command) == 0 and "track 1" in capsys.readouterr().out


def test_a_mix_keeps_its_stems_and_makes_only_what_is_new(
    model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracks = [
        {"text": "a bell rings", "mask": [0.2, 0.1, 0.8, 0.9], "loudness": [[0, 0.3], [2, 0.1]], "gain_db": -6},
        {"text": "rain falls", "seed": 3},
        {"text": "a drum is struck", "mute": True},
    ]
    (tmp_path / "tracks.json").write_text(json.dumps(tracks))
    command = ["mix", str(video), "--tracks", str(tmp_path / "tracks.json"), "--model", str(model), "--steps", "1"]
    command += ["--device", "cpu", "-o", str(tmp_path / "out.wav")]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "track 1: a bell rings" in shown and "2 of 3 tracks, true peak" in shown
    stems = sorted((tmp_path / "out.stems").iterdir())
    assert [stem.name[:-15] for stem in stems] == ["01-a-bell-rings", "02-rain-falls"]
    bell, rain = (soundfile.read(stem, dtype="float32")[0] for stem in stems)
    assert len(bell) == 2 * SAMPLE_RATE
    first = (tmp_path / "out.wav").read_bytes()
    assert read_waveform(tmp_path / "out.wav") == pytest.approx(mix([bell, rain], [-6.0, 0.0]).waveform, abs=1e-4)
    assert main(command) == 0 and "track 1" not in capsys.readouterr().out
    assert (tmp_path / "out.wav").read_bytes() == first

    tracks[0] |= {"gain_db": 30}
    tracks[1] |= {"mute": True}
    (tmp_path / "tracks.json").write_text(json.dumps(tracks))
    assert main([*command[:-1], str(tmp_path / "out.mp4"), "--stems", str(tmp_path / "out.stems")]) == 0
    shown = capsys.readouterr().out
    assert "limited by" in shown and "track 1:" not in shown
    assert packets(tmp_path / "out.mp4", "video") == packets(video, "video")
    assert len(list((tmp_path / "out.stems").iterdir())) == 2

    tracks[0] |= {"gain_db": -6, "pan": -1}
    tracks[1] |= {"mute": False}
    (tmp_path / "tracks.json").write_text(json.dumps(tracks))
    assert main(command) == 0 and "track 1:" not in capsys.readouterr().out
    left, right = soundfile.read(tmp_path / "out.wav", dtype="float32")[0].T
    expected = mix([bell, rain], [-6.0, 0.0], [-1.0, 0.0]).waveform
    np.testing.assert_allclose(np.stack([left, right], axis=1), expected, atol=1e-4)
    np.testing.assert_allclose(right, rain, atol=1e-4)

    tracks[0] |= {"text": "a bird sings"}
    (tmp_path / "tracks.json").write_text(json.dumps(tracks))
    assert main(command) == 0 and "track 1: a bird sings" in capsys.readouterr().out
    assert len(list((tmp_path / "out.stems").iterdir())) == 3


def test_a_curve_goes_to_sound_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = [(0.0, 0.1), (1.0, 0.2), (3.0, 0.06), (3.95, 0.1)]
    write_points(tmp_path / "curve.csv", drawn)
    assert main(["curve", str(tmp_path / "curve.csv"), "-o", str(tmp_path / "heard.wav")]) == 0
    assert "4 points, 4 s" in capsys.readouterr().out
    assert main(["curve", str(tmp_path / "heard.wav"), "-o", str(tmp_path / "back.json")]) == 0
    drawn_signal = from_points(drawn, 4.0)
    back = from_points(read_points(tmp_path / "back.json"), 4.0)
    # Up to one gain: a measured sound is brought to a peak of 0.5 first.
    decibels = 20 * np.log10(back / drawn_signal)
    assert np.abs(decibels - np.median(decibels)).max() < 1.5
    assert loudness_signal(read_waveform(tmp_path / "heard.wav"), seconds=4) == pytest.approx(drawn_signal, rel=0.2)


def test_a_silent_sound_is_said_to_be_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, level in (("silent.wav", 0.0), ("soft.wav", 0.001)):
        write_audio(tmp_path / name, np.resize(np.float32([level, -level]), SAMPLE_RATE), floats=True)
        assert main(["curve", str(tmp_path / name), "-o", str(tmp_path / "curve.csv")]) == 0
    told = capsys.readouterr().err
    assert told == f"notice: {tmp_path / 'silent.wav'} is silent throughout, and so is the curve\n"


def test_a_curve_changes_its_form_without_a_change(tmp_path: Path) -> None:
    drawn = [(0.0, 0.0), (0.5, 0.25), (2.0, 0.1)]
    write_points(tmp_path / "curve.csv", drawn)
    assert main(["curve", str(tmp_path / "curve.csv"), "-o", str(tmp_path / "curve.json")]) == 0
    assert main(["curve", str(tmp_path / "curve.json"), "-o", str(tmp_path / "again.csv")]) == 0
    assert read_points(tmp_path / "curve.json") == drawn
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "curve.csv").read_bytes()
    assert main(["curve", str(tmp_path / "curve.csv"), "-o", str(tmp_path / "cut.csv"), "--seconds", "1"]) == 0
    assert read_points(tmp_path / "cut.csv") == drawn[:2]
    (tmp_path / "late.csv").write_text("time_seconds,level\n5,0.2\n6,0.1\n")
    assert main(["curve", str(tmp_path / "late.csv"), "-o", str(tmp_path / "cut.csv"), "--seconds", "1"]) == 0
    assert read_points(tmp_path / "cut.csv") == [(0.0, 0.2)]


def test_a_mask_by_text_becomes_boxes_and_a_sound(
    model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = tiny_detector(tmp_path / "detector", vocabulary=["bell"])
    common = ["mask", str(video), "--detector", str(detector), "-o", str(tmp_path / "mask.json")]
    assert main([*common, "--text", "bell", "--preview", str(tmp_path / "mask.png")]) == 0
    assert "'bell' in 8 of 8 frames" in capsys.readouterr().out
    boxes = boxes_from_json((tmp_path / "mask.json").read_text(), frames=8)
    assert {box.frame for box in boxes} == set(range(8))
    assert Image.open(tmp_path / "mask.png").size == (4 * 240, 180)
    assert main([*common, "--text", "ghost"]) == 2
    assert "does not know 'ghost'; the nearest of the 1 things that it knows are 'bell'" in capsys.readouterr().err
    sounds = []
    for mask in ("bell", str(tmp_path / "mask.json")):
        command = ["generate", str(video), "--model", str(model), "--mask", mask, "--detector", str(detector)]
        assert main([*command, "--steps", "1", "--seed", "7", "--device", "cpu", "-o", str(tmp_path / "o.flac")]) == 0
        sounds.append((tmp_path / "o.flac").read_bytes())
    assert sounds[0] == sounds[1]


def test_a_mask_means_the_same_by_hand_in_python_and_in_tracks(
    model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Drawn faintly, in an index of a palette, and inverted."""
    region = np.zeros((48, 64), np.uint8)
    region[10:40, :20] = 1
    Image.fromarray(region).save(tmp_path / "mask.png")
    common = ["--model", str(model), "--steps", "1", "--seed", "7", "--device", "cpu"]
    told = ["generate", str(video), *common, "-o", str(tmp_path / "o.wav")]
    sounds = {}
    for name, more in {
        "drawn": ["--mask", str(tmp_path / "mask.png")],
        "inverted": ["--mask", str(tmp_path / "mask.png"), "--mask-invert"],
        "none": [],
    }.items():
        assert main([*told, *more]) == 0
        sounds[name] = read_waveform(tmp_path / "o.wav")
    assert np.abs(sounds["drawn"] - sounds["inverted"]).max() > 1e-3
    pipe = DrawAudioPipeline.from_pretrained(model)
    for name, mask, invert in (
        ("drawn", region, False),
        ("inverted", Image.open(tmp_path / "mask.png"), True),
        ("drawn", region == 0, True),
    ):
        audio = pipe(video, mask=mask, mask_invert=invert, num_inference_steps=1, seed=7).audios[0]
        assert read_waveform(tmp_path / "o.wav").shape == audio.shape
        assert sounds[name] == pytest.approx(audio, abs=1e-3)
    (tmp_path / "tracks.json").write_text(json.dumps([{"mask": "mask.png", "mask_invert": True, "seed": 7}]))
    command = ["mix", str(video), "--tracks", str(tmp_path / "tracks.json"), *common, "-o", str(tmp_path / "mix.wav")]
    assert main(command) == 0
    (stem,) = (tmp_path / "mix.stems").iterdir()
    assert soundfile.read(stem, dtype="float32")[0] == pytest.approx(sounds["inverted"], abs=1e-3)
    capsys.readouterr()
    assert main([*told, "--mask", "0,0,1,1"]) == 0
    assert "notice: the mask is the whole picture, as if there were none" in capsys.readouterr().err
    assert read_waveform(tmp_path / "o.wav") == pytest.approx(sounds["none"], abs=1e-3)


def test_a_level_curve_has_no_correlation(
    model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["generate", str(video), "--model", str(model), "--steps", "1", "--seed", "7", "--device", "cpu"]
    assert main([*command, "--loudness", "0:0.1,2:0.1", "-o", str(tmp_path / "out.wav")]) == 0
    shown = capsys.readouterr().out
    assert "correlation undefined: one of the two never changes" in shown and "nan" not in shown


def test_a_command_has_one_bar(model: Path, video: Path, tmp_path: Path) -> None:
    """On a terminal, and counting the steps of all that is made."""
    tracks = [{"text": "a bell rings"}, {"text": "rain falls"}]
    (tmp_path / "tracks.json").write_text(json.dumps(tracks))
    common = ["--model", str(model), "--steps", "2", "--seed", "7", "--device", "cpu", "-o", str(tmp_path / "out.wav")]
    commands = [
        ["mix", str(video), "--tracks", str(tmp_path / "tracks.json"), *common],
        ["generate", str(video), "--text", "a bell rings", "--candidates", "2", *common],
    ]
    code = f"""
import sys
from drawaudio_model.cli import main
for command in {commands!r}:
    assert main(command) == 0
    sys.stderr.write("\\n== done\\n")
"""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # what a terminal says when its last writer has gone
            while part := os.read(ours, 4096):
                shown += part
    os.close(ours)
    assert process.returncode == 0, shown
    *each, rest = shown.decode().split("== done")
    assert len(each) == 2 and not rest.strip()
    for one in each:
        bars = re.findall(r"([^\r\n]*?): +[0-9]+%\|[^|\r\n]*\| ([0-9]+)/([0-9]+)", one)
        assert {(name, total) for name, _, total in bars} == {("generate", "4")}
        assert bars[-1][1] == "4"


def test_generate_with_every_option(model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = ["generate", str(video), "--text", "a bell rings", "--model", str(model), "--steps", "2", "--seed", "7"]
    command += ["--loudness", "0:0,1:0.3", "--candidates", "2", "--guidance-interval", "0.1", "0.6", "--bf16"]
    assert main([*command, "--seconds", "1.5", "--device", "cpu", "-o", str(tmp_path / "out.wav")]) == 0
    shown = capsys.readouterr().out
    assert "follows the curve with correlation" in shown and "(CLAP)" in shown
    assert len(read_waveform(tmp_path / "out.wav")) == 1.5 * SAMPLE_RATE


def test_adapters_are_put_onto_audioldm2(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tiny_audioldm2(tmp_path / "audioldm2")
    tiny_pipeline().cavp.save_pretrained(tmp_path / "cavp")
    save_adapters(from_audioldm2(base, cavp=tmp_path / "cavp", video_width=16), tmp_path / "adapters")
    command = ["generate", str(video), "--text", "a bell rings", "--steps", "1", "--device", "cpu", "--seed", "1"]
    command += ["--model", str(base), "--adapters", str(tmp_path / "adapters"), "-o", str(tmp_path / "out.wav")]
    assert main(["info", str(tmp_path / "adapters")]) == 0
    shown = capsys.readouterr().out
    assert "adapters for cvssp/audioldm2" in shown and "licence cc-by-nc-sa-4.0" in shown
    assert main([*command, "--cavp", str(tmp_path / "cavp")]) == 0
    assert len(read_waveform(tmp_path / "out.wav")) == 2 * SAMPLE_RATE
    assert main(command) == 2 and "has no CAVP" in capsys.readouterr().err
    (tmp_path / "adapters" / "adapter_config.json").write_text("{}")
    assert main(["info", str(tmp_path / "adapters")]) == 2
    assert "adapter_config.json has no 'part'" in capsys.readouterr().err


def test_a_measured_curve_can_be_drawn_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    time = np.arange(int(1.23 * SAMPLE_RATE)) / SAMPLE_RATE
    write_audio(tmp_path / "tone.wav", (0.2 * np.sin(2 * np.pi * 300 * time)).astype(np.float32))
    assert main(["curve", str(tmp_path / "tone.wav"), "-o", str(tmp_path / "curve.csv")]) == 0
    points = read_points(tmp_path / "curve.csv")
    assert len(points) == 13 and points[5] == pytest.approx((0.55, 0.5 / np.sqrt(2)), abs=3e-3)
    assert "13 points, 1.3 s" in capsys.readouterr().out


def test_info_names_every_part_and_its_weights(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(model)]) == 0
    shown = capsys.readouterr().out
    weights = sum(weight.numel() for weight in tiny_pipeline().unet.parameters())
    assert f"{weights:,} weights" in shown
    assert "fine-tuned from nothing, licence not stated" in shown
    assert all(name in shown for name in ("DrawAudioUNet", "LoudnessControl", "GriffinLimVocoder", "sha256"))


def test_verify_finds_a_changed_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ShardWriter(tmp_path, "train-000000", inputs={}) as shard:
        shard.add("a_000000", {"txt": b"a bell rings"})
        shard.commit()
    assert main(["dataset", "verify", str(tmp_path)]) == 0
    assert "1 shards, 1 clips" in capsys.readouterr().out
    tar = tmp_path / "train-000000.tar"
    tar.write_bytes(tar.read_bytes().replace(b"bell", b"ball"))
    assert main(["dataset", "verify", str(tmp_path)]) == 2
    assert "its manifest says" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["generate", "VIDEO", "-o", "out.wma"], "ends in '.wma', expected one of .wav"),
        (["generate", "no.mp4", "-o", "out.wav"], "no.mp4 does not exist"),
        (["generate", "VIDEO", "-o", "no/folder/out.wav"], "make it first"),
        (["generate", "VIDEO", "--model", "no-model", "-o", "out.wav"], "is no model folder"),
        (["generate", "VIDEO", "--model", "none", "--mask", "0.9,0,0.1,1", "-o", "out.wav"], "corners outside"),
        (["generate", "VIDEO", "--model", "MODEL", "--mask", "a,b,c,d", "-o", "out.wav"], "is no box"),
        (
            ["generate", "VIDEO", "--model", "none", "--mask", "0.5,0.3,1", "-o", "o.wav"],
            "3 numbers of 3 parts, expected",
        ),
        (["generate", "VIDEO", "--model", "none", "--mask-invert", "-o", "o.wav"], "without --mask"),
        (["generate", "VIDEO", "--model", "none", "--guidance-text", "nan", "-o", "o.wav"], "guidance_text is nan"),
        (["generate", "VIDEO", "--model", "none", "--guidance-video", "inf", "-o", "o.wav"], "guidance_video is inf"),
        (["generate", "VIDEO", "--model", "none", "--seconds", "1e9", "-o", "o.wav"], "at most the video's 2.00 s"),
        (["generate", "VIDEO", "--model", "none", "--loudness", "0:0,1e8:0.3", "-o", "o.wav"], "at most 21600"),
        (["generate", "VIDEO", "--model", "none", "--loudness", "0:0,2000:0.3", "-o", "o.wav"], "like milliseconds"),
        (["generate", "VIDEO", "--model", "none", "--mask", "gone.png", "-o", "out.wav"], "gone.png does not exist"),
        (["generate", "VIDEO", "--model", "MODEL", "--mask", "bell", "-o", "out.wav"], "has no detector"),
        (["generate", "VIDEO", "--model", "MODEL", "--loudness", "0:x", "-o", "out.wav"], "neither a file nor points"),
        (
            ["generate", "VIDEO", "--model", "MODEL", "--loudness", "gone.csv", "-o", "out.wav"],
            "gone.csv does not exist",
        ),
        (["generate", "VIDEO", "--model", "MODEL", "--device", "abacus", "-o", "out.wav"], "'abacus' cannot be used"),
        (["generate", "VIDEO", "--model", "none", "--seconds", "9", "-o", "out.wav"], "at most the video's 2.00 s"),
        (["generate", "VIDEO", "--model", "MODEL", "--candidates", "0", "-o", "out.wav"], "--candidates is 0"),
        (["generate", "VIDEO", "--model", "MODEL", "--guidance-interval", "1", "0", "-o", "o.wav"], "with 0 <= from"),
        (
            ["generate", "VIDEO", "--model", "MODEL", "--adapters", "none", "-o", "out.wav"],
            "has no adapter_config.json",
        ),
        (["mix", "VIDEO", "--tracks", "gone.json", "-o", "out.wav"], "tracks gone.json does not exist"),
        (["curve", "gone.wav", "-o", "curve.csv"], "gone.wav does not exist"),
        (["curve", "VIDEO", "-o", "no/folder/curve.csv"], "make it first"),
        (["curve", "VIDEO", "-o", "curve.txt"], "expected one of .csv, .json, .wav, .flac, .mp3, .ogg, .m4a"),
        (["curve", "VIDEO", "-o", "curve.csv", "--seconds", "0"], "seconds is 0.0"),
        (["curve", "VIDEO", "-o", "curve.csv", "--seconds", "inf"], "seconds is inf"),
        # Before any model is loaded, let alone a sound made.
        (["generate", "VIDEO", "--model", "no-model", "-o", "out.webm"], "a .webm file cannot hold h264 video"),
        (["mask", "VIDEO", "--text", "bell", "-o", "no/folder/mask.json"], "make it first"),
        (["generate", "VIDEO", "--model", "MODEL", "--seed", "9" * 20, "-o", "out.wav"], "seed is 9999"),
        (["generate", "VIDEO", "--model", "MODEL", "--loudness", "x" * 300, "-o", "out.wav"], "does not exist"),
        (["mask", "VIDEO", "--text", "bell", "-o", "mask.png"], "expected .json"),
        (["mask", "VIDEO", "--text", "bell", "-o", "mask.json", "--detector", "none"], "folder none does not exist"),
        (["mask", "gone.mp4", "--text", "bell", "-o", "mask.json"], "gone.mp4 does not exist"),
        (["info", "no-model"], "is no model folder"),
        (["dataset", "verify", "no-folder"], "has no finished shard"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(
    arguments: list[str],
    sentence: str,
    model: Path,
    video: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"VIDEO": str(video), "MODEL": str(model)}
    assert main([places.get(argument, argument) for argument in arguments]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("drawaudio: ") and sentence in message
    assert list(tmp_path.iterdir()) == []


def test_points_are_read_from_the_command_line() -> None:
    assert parse_loudness("0:0,1.5:0.3") == [(0.0, 0.0), (1.5, 0.3)]
    assert parse_loudness("curve.csv") == "curve.csv" and parse_loudness(None) is None


def test_a_mask_file_of_boxes_and_its_preview(tmp_path: Path) -> None:
    boxes = [Box(frame, 0, 0.9, 0.25, 0.25, 0.75, 0.75) for frame in range(8)]
    frames = np.zeros((8, 60, 120, 3), np.uint8)
    sheet = contact_sheet(frames, boxes, columns=3)
    assert sheet.size == (3 * 240, 2 * 120)
    assert np.asarray(sheet)[30, 60:180].min(axis=0).tolist() == [255, 196, 0]
    assert Image.fromarray(frames[0]).size == (120, 60) and len(boxes_to_json(boxes, frames=8)) > 10
