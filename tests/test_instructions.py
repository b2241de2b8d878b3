"""What a person may give as video, mask and loudness, and what is refused."""

import json
import subprocess
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from drawaudio_model.boxes import Box
from drawaudio_model.cli import main
from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.evaluation.listening_page import write_video
from drawaudio_model.generation.found_boxes import find_boxes, nearest_phrases
from drawaudio_model.generation.instructions import (
    hold_last,
    is_text,
    parse_loudness,
    parse_mask,
    read_loudness,
    read_mask,
    read_start,
    read_video,
)
from drawaudio_model.loudness import write_points
from drawaudio_model.media import MediaError, write_audio
from tests.test_media import clicks, encode


def numbered_frames(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frame i is grey of level 5 i."""
    return np.broadcast_to(
        (5 * np.arange(count, dtype=np.uint8))[:, None, None, None], (count, height, width, 3)
    ).copy()


@pytest.mark.parametrize("fps", [3, 4, 10, 21.5, 30])
def test_frame_i_of_an_array_is_the_one_shown_at_i_quarters_of_a_second(fps: float) -> None:
    picture = read_video(numbered_frames(50), video_fps=fps)
    assert picture.seconds == pytest.approx(50 / fps)
    assert len(picture.frames) == np.ceil(50 / fps * 4)
    for number, frame in enumerate(picture.frames):
        assert frame[0, 0, 0] // 5 == int(number / 4 * fps + 1e-6)


def test_a_file_gives_its_frames_by_time_and_needs_no_sound(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", numbered_frames(24), 12, np.zeros(SAMPLE_RATE, np.float32))
    picture = read_video(tmp_path / "a.mp4")
    assert picture.seconds == pytest.approx(2)
    assert picture.frames.mean(axis=(1, 2, 3)) == pytest.approx([15 * i for i in range(8)], abs=3)
    assert len(read_video(tmp_path / "a.mp4", seconds=1.1).frames) == 5
    write_audio(tmp_path / "a.wav", np.zeros(SAMPLE_RATE, np.float32))
    with pytest.raises(MediaError, match="no video stream"):
        read_video(tmp_path / "a.wav")


def test_bad_videos_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        read_video(tmp_path / "no.mp4")
    with pytest.raises(ValueError, match=r"expected uint8 \(frames, height, width, 3\)"):
        read_video(np.zeros((4, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"at most the video's 2\.00 s"):
        read_video(numbered_frames(8), seconds=3)
    with pytest.raises(ValueError, match="video_fps is 0"):
        read_video(numbered_frames(8), video_fps=0)
    with pytest.raises(ValueError, match=r"video_fps is 10 for the file a\.mp4"):
        read_video("a.mp4", video_fps=10)
    with pytest.raises(ValueError, match="video is a list, expected a media file or a numpy array"):
        read_video([numbered_frames(1)[0]])


def test_all_kinds_of_masks_give_the_same_region(tmp_path: Path) -> None:
    region = np.zeros((20, 30), bool)
    region[5:15, 6:24] = True
    pixels = region.astype(np.uint8) * 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    boxes = [Box(frame, 0, 1.0, 0.2, 0.25, 0.8, 0.75) for frame in range(3)]
    expected = np.repeat(region[None], 3, axis=0)
    kinds = [boxes, region, pixels, Image.fromarray(pixels), str(tmp_path / "mask.png"), tmp_path / "mask.png"]
    kinds += [(0.2, 0.25, 0.8, 0.75), [(0.2, 0.25, 0.8, 0.75), [0.3, 0.3, 0.5, 0.5]]]
    kinds += [expected, [pixels] * 3, np.stack([pixels] * 3), np.repeat(pixels[..., None], 3, axis=2)]
    for mask in kinds:
        assert np.array_equal(read_mask(mask, 3, 20, 30), expected)


def test_a_mask_is_a_text_when_it_is_no_path(tmp_path: Path) -> None:
    (tmp_path / "bell").mkdir()
    assert is_text("a red ball") and is_text("bell")
    assert not is_text(str(tmp_path / "bell")) and not is_text("mask.png") and not is_text(" ")
    assert is_text("a St. Bernard") and is_text("x" * 300) and not is_text("gone.json")
    assert not is_text(None) and not is_text((0.1, 0.1, 0.2, 0.2))


def test_a_text_is_the_same_instruction_in_python_as_on_the_command_line() -> None:
    box = np.zeros((3, 20, 30), bool)
    box[:, 5:15, 6:24] = True
    for text in ("0.2,0.25,0.8,0.75", " 0.2, 0.25, 0.8, 0.75", "0.2;0.25;0.8;0.75"):
        assert np.array_equal(read_mask(text, 3, 20, 30), box) and not is_text(text)
    assert np.array_equal(read_mask("0.2,0.25,0.8,0.75", 3, 20, 30, invert=True), ~box)
    assert read_loudness("0:0,2:0.4", 2.0) == pytest.approx(read_loudness([(0, 0), (2, 0.4)], 2.0))
    assert parse_loudness("curve.csv") == "curve.csv" and parse_mask("two dogs, one cat") == "two dogs, one cat"


@pytest.mark.parametrize("text", ["0.5,0.3,1", "0.5,0.3,1,0.75,1", "0.5,0.3,1,x", "a,b,c,d", "0.5,nan,1,1"])
def test_numbers_that_are_no_box_are_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no box: .* expected x0,y0,x1,y1 as fractions") as told:
        is_text(text)
    assert len(str(told.value)) < 200


def test_an_empty_text_is_not_the_folder_one_works_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (30, 20), 255).save("mask.png")
    write_points(tmp_path / "curve.csv", [(0.0, 0.1)])
    for text in ("", " "):
        with pytest.raises(ValueError, match=f"mask '{text}' is empty; give a path"):
            read_mask(text, 3, 20, 30)
        with pytest.raises(ValueError, match=f"loudness '{text}' is empty; give a curve"):
            read_loudness(text, 2.0)


def test_of_several_files_the_one_that_is_wrong_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("film.mp4", "mask.mp4", "reference.wav", "begin.wav"):
        (tmp_path / name).write_bytes(b"noise" * 100)
    for read, name in (
        (lambda path: read_video(path), "film.mp4"),
        (lambda path: read_mask(path, 4, 20, 30), "mask.mp4"),
        (lambda path: read_loudness(path, 2.0), "reference.wav"),
        (lambda path: read_start(path, 2), "begin.wav"),
    ):
        with pytest.raises(MediaError, match=rf"{name}: the container cannot be opened") as told:
            read(tmp_path / name)
        assert str(told.value).count(name) == 1 and told.value.reason == "undecodable"
    for command in (["curve", "film.mp4", "-o", "c.csv"], ["generate", "film.mp4", "--text", "x", "-o", "o.wav"]):
        words = [str(tmp_path / word) if "." in word else word for word in command]
        assert main(words) == 2
        assert f"{tmp_path / 'film.mp4'}: the container cannot be opened" in capsys.readouterr().err


def test_bad_masks_are_named() -> None:
    with pytest.raises(ValueError, match="mask the dog does not exist"):
        read_mask("the dog", 3, 20, 30)
    with pytest.raises(ValueError, match="2 pictures, expected 1 or one for each of the 4 frames"):
        read_mask(np.ones((2, 20, 30), bool), 4, 20, 30)
    with pytest.raises(ValueError, match="None is the whole frame"):
        read_mask([], 3, 20, 30)


def test_all_kinds_of_curves_give_the_same_signal(tmp_path: Path) -> None:
    points = [(0.0, 0.0), (2.0, 0.4)]
    write_points(tmp_path / "curve.csv", points)
    write_points(tmp_path / "curve.json", points)
    expected = 0.2 * (np.arange(20) + 0.5) / 10
    for loudness in (
        points,
        np.array(points),
        tmp_path / "curve.csv",
        str(tmp_path / "curve.json"),
        expected,
        list(expected),
    ):
        assert read_loudness(loudness, 2.0) == pytest.approx(expected, abs=1e-6)


def test_a_sound_file_gives_its_loudness_and_silence_after_its_end(tmp_path: Path) -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    write_audio(tmp_path / "tone.flac", (0.1 * np.sin(2 * np.pi * 440 * time)).astype(np.float32))
    signal = read_loudness(tmp_path / "tone.flac", 3.0)
    assert signal.shape == (30,)
    # Normalised to a peak of 0.5, whatever the file's level: RMS 0.5 / sqrt 2.
    assert signal[2:8] == pytest.approx(0.5 / np.sqrt(2), abs=2e-3)
    assert signal[13:] == pytest.approx(0)


def test_bad_curves_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 79 levels, expected 80"):
        read_loudness(np.zeros(79), 8.0)
    with pytest.raises(ValueError, match="time in seconds, level"):
        read_loudness([(0.0, 0.1, 0.2)], 8.0)
    with pytest.raises(ValueError, match="does not exist"):
        read_loudness(tmp_path / "no.csv", 8.0)
    for other in (5, [[0, 0.1], [1]], {"time": 1}, [None, "loud"]):
        with pytest.raises(ValueError, match=r"neither .time in seconds, level. points nor one level"):
            read_loudness(other, 8.0)
    with pytest.raises(ValueError, match=r"level nan at 0\.0 s, expected 0 to 1"):
        read_loudness([[0, None]], 8.0)
    with pytest.raises(ValueError, match="does not exist"):
        read_loudness("x" * 300, 8.0)
    (tmp_path / "sound.csv").write_bytes(b"time_seconds,level\n\xff\xfe,1\n")
    with pytest.raises(ValueError, match=r"sound\.csv is no CSV"):
        read_loudness(tmp_path / "sound.csv", 8.0)
    (tmp_path / "huge.csv").write_text("time_seconds,level\n0," + "1" * 200_000)
    with pytest.raises(ValueError, match=r"huge\.csv is no CSV"):
        read_loudness(tmp_path / "huge.csv", 8.0)
    with pytest.raises(ValueError, match="expected 0 to 1"):
        read_loudness([(0.0, 3.0)], 8.0)


def test_a_silent_sound_gives_no_curve(tmp_path: Path) -> None:
    write_audio(tmp_path / "still.wav", np.zeros(SAMPLE_RATE, np.float32))
    with pytest.raises(ValueError, match=r"still\.wav is silent in its first 3 s; give a sound that can be heard"):
        read_loudness(tmp_path / "still.wav", 3.0)
    with pytest.raises(ValueError, match="there are booleans"):
        read_loudness([True] * 20, 2.0)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("a.png", {}, r"a\.png is a still picture; make a video of it: ffmpeg -loop 1 -i a\.png -t 8"),
        ("a.jpg", {}, "is a still picture"),
        ("a.gif", {}, "is a still picture"),
        ("a.webp", {"save_all": True, "append_images": [Image.new("RGB", (8, 8), 9)]}, "is an animated WebP"),
    ],
)
def test_a_picture_is_no_video(name: str, options: dict, sentence: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / name, **options)
    (tmp_path / "a.mp4").write_bytes((tmp_path / name).read_bytes())  # whatever it is called
    with pytest.raises(ValueError, match=sentence):
        read_video(tmp_path / name)
    with pytest.raises(ValueError, match=r"still picture|animated"):
        read_video(tmp_path / "a.mp4")


@pytest.mark.parametrize("name", ["a.ppm", "a.tga", "a.jp2", "a.avif", "a.gif", "a.mp4", "a.mkv", "a.nfo"])
def test_a_still_picture_in_any_format_is_no_video_and_the_advice_makes_one(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if path.suffix in (".mp4", ".mkv"):
        encode(path, container="mp4" if path.suffix == ".mp4" else "matroska", frames=1, sound=clicks(2, 44100, (0.5,)))
    elif path.suffix == ".nfo":
        path.write_text("a page\n" * 30)
    else:
        Image.new("RGB", (64, 48), (90, 20, 200)).save(path)
    with pytest.raises(ValueError, match=rf"{name} is a still picture; make a video of it: ffmpeg ") as told:
        read_video(path)
    words = str(told.value).partition(": ffmpeg ")[2].split()
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", *words], check=True, cwd=tmp_path)
    assert read_video(tmp_path / words[-1]).seconds == pytest.approx(8, abs=0.1)


def test_one_picture_that_stands_for_long_is_a_video(tmp_path: Path) -> None:
    encode(tmp_path / "slide.mp4", frames=1, fps=Fraction(1, 4))
    assert read_video(tmp_path / "slide.mp4").seconds == pytest.approx(4)


def test_lists_of_files_are_no_video_and_a_moving_gif_is_one(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile a0.ts\n")
    with pytest.raises(ValueError, match="is a list of other files; join them first"):
        read_video(tmp_path / "a.mp4")
    frames = [Image.new("L", (32, 32), 20 * number) for number in range(8)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=250)
    assert len(read_video(tmp_path / "a.gif").frames) == 8


TOLD_AT_ONCE = {
    "silent.wav": ({"loudness": "silent.wav"}, "silent.wav is silent in its first 2 s; give a sound that can be heard"),
    "black.png": ({"mask": "black.png"}, "black.png leaves nothing to sound: it is empty"),
    "white.png": ({"mask": "white.png", "mask_invert": True}, "nothing to sound: inverted, it is empty"),
    "five.npy": ({"mask": "five.npy"}, "mask has 5 pictures, expected 1 or one for each of the 8 frames"),
    "late.csv": ({"loudness": "late.csv"}, "late.csv reaches 500 s and the sound 2 s, which looks like milliseconds"),
    "corners": ({"mask": "0.5,0.3,0.2,0.9"}, "0.5,0.3,0.2,0.9 of frame 0 has corners outside"),
}
"""Instructions, and what is said of them before a model is looked for."""


@pytest.mark.parametrize("name", TOLD_AT_ONCE)
def test_what_no_model_can_use_is_told_before_one_is_loaded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "clip.mp4")
    write_audio(tmp_path / "silent.wav", np.zeros(16000, np.float32))
    Image.new("L", (64, 48)).save("black.png")
    Image.new("L", (64, 48), 255).save("white.png")
    np.save("five.npy", np.eye(48, 64)[None].repeat(5, axis=0))
    Path("late.csv").write_text("time_seconds,level\n0,0\n100,0.3\n500,0\n")
    given, sentence = TOLD_AT_ONCE[name]
    words = [word for key, value in given.items() if value is not True for word in (f"--{key}", value)]
    words += ["--mask-invert"] if "mask_invert" in given else []
    assert main(["generate", "clip.mp4", "--text", "a bell", *words, "--model", "none", "-o", "out.wav"]) == 2
    assert sentence in capsys.readouterr().err
    Path("tracks.json").write_text(json.dumps([{"text": "rain"}, {"text": "a bell", **given}]))
    assert main(["mix", "clip.mp4", "--tracks", "tracks.json", "--model", "none", "-o", "out.wav"]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.startswith("drawaudio: track 2 of tracks.json: ")


@pytest.mark.parametrize("seconds", ["1e9", "nan", "-1"])
def test_seconds_that_a_video_has_not_are_told_before_a_model_is_loaded(
    seconds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encode(tmp_path / "clip.mp4")
    tracks = tmp_path / "tracks.json"
    tracks.write_text('[{"text": "a bell"}]')
    for words in (["generate", "--text", "a bell"], ["mix", "--tracks", str(tracks)]):
        words = [words[0], str(tmp_path / "clip.mp4"), *words[1:], "--seconds", seconds, "--model", "none"]
        assert main([*words, "-o", str(tmp_path / "out.wav")]) == 2
        said = capsys.readouterr().err
        assert said.startswith("drawaudio: seconds is ") and "at most the video's 2.00 s" in said


def test_numbers_in_tracks_that_are_no_box_are_said_to_be_none() -> None:
    with pytest.raises(
        ValueError, match=r"mask \[0\.5, 0\.3, 1\] is no box: it has 3 numbers, expected x0, y0, x1, y1"
    ):
        read_mask((0.5, 0.3, 1), 4, 18, 32)


def test_the_last_row_is_held() -> None:
    assert hold_last(np.arange(3), 5).tolist() == [0, 1, 2, 2, 2]
    assert hold_last(np.arange(3), 2).tolist() == [0, 1]


def test_an_unknown_thing_is_answered_with_the_nearest_five() -> None:
    vocabulary = ["bell", "brass bell", "red ball", "ball", "drum", "car", "red drum", "bird", "rain cloud", "clock"]
    detector = SimpleNamespace(vocabulary=frozenset(vocabulary * 40), knows=lambda text: text in vocabulary)
    with pytest.raises(ValueError, match="does not know 'big bell'; the nearest of the 10 things") as error:
        find_boxes(detector, np.zeros((1, 8, 8, 3), np.uint8), "big bell")
    assert "are 'bell', 'brass bell', 'ball'" in str(error.value) and "'clock'" not in str(error.value)
    assert nearest_phrases("Drums", vocabulary, count=2) == ["drum", "red drum"]
