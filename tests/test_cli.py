"""The `drawaudio` command: what people type, what they get, and one sentence with exit code 2 where it is wrong."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from drawaudio_model.cli import build_parser, contact_sheet, main, parse_loudness
from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.listening_page import write_video
from drawaudio_model.loudness import read_points
from drawaudio_model.masks import Box, boxes_to_json
from drawaudio_model.media import read_waveform, write_audio
from drawaudio_model.shard import ShardWriter
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
    assert main([*common, "-o", str(tmp_path / "out.flac")]) == 0
    sound = read_waveform(tmp_path / "out.flac")
    assert len(sound) == 2 * SAMPLE_RATE and np.abs(sound).max() > 1e-3


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
        (["generate", "VIDEO", "-o", "out.mp3"], "ends in '.mp3', expected one of .wav"),
        (["generate", "no.mp4", "-o", "out.wav"], "no.mp4 does not exist"),
        (["generate", "VIDEO", "-o", "no/folder/out.wav"], "make it first"),
        (["generate", "VIDEO", "--model", "no-model", "-o", "out.wav"], "is no model folder"),
        (["generate", "VIDEO", "--model", "MODEL", "--mask", "0.9,0,0.1,1", "-o", "out.wav"], "corners outside"),
        (["generate", "VIDEO", "--model", "MODEL", "--mask", "a,b,c,d", "-o", "out.wav"], "is no box"),
        (["generate", "VIDEO", "--model", "MODEL", "--mask", "gone.png", "-o", "out.wav"], "gone.png does not exist"),
        (["generate", "VIDEO", "--model", "MODEL", "--mask", "bell", "-o", "out.wav"], "detector folder"),
        (["generate", "VIDEO", "--model", "MODEL", "--loudness", "0:x", "-o", "out.wav"], "neither a file nor points"),
        (
            ["generate", "VIDEO", "--model", "MODEL", "--loudness", "gone.csv", "-o", "out.wav"],
            "gone.csv does not exist",
        ),
        (["curve", "gone.wav", "-o", "curve.csv"], "gone.wav does not exist"),
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


@pytest.mark.parametrize("command", [["generate"], ["curve"], ["mask"], ["info"], ["dataset", "verify"]])
def test_every_help_shows_an_example_that_parses(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    example = next(line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("drawaudio "))
    words = [word.strip('"') for word in example.replace('"a ball bounces"', '"a"').split("  measure")[0].split()]
    assert build_parser().parse_args(words[1:]).run is not None


def test_the_command_answers_without_loading_torch() -> None:
    program = "import sys; from drawaudio_model.cli import build_parser; build_parser(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


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
