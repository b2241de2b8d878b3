"""One region in every form that a tool gives it arrives as that region; what is ambiguous or empty is said."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageOps

from drawaudio_model.cli import main
from drawaudio_model.generation.instructions import drawn_mask, read_mask
from drawaudio_model.mask_pictures import drawn, open_picture, picture_of
from drawaudio_model.masks import DrawnMask
from tests import mask_forms
from tests.mask_forms import FORMS, FRAMES, HEIGHT, PIXELS, REGION, WIDTH, coloured, numbered, saved, with_alpha


def read(mask: object, **options: bool) -> DrawnMask:
    return drawn_mask(mask, FRAMES, HEIGHT, WIDTH, **options)


def iou(region: np.ndarray) -> float:
    return (region & REGION).sum() / (region | REGION).sum()


@pytest.mark.parametrize("name", FORMS)
def test_a_region_arrives_as_it_was_drawn_in_every_form(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    found = read(form.make(tmp_path))
    assert min(iou(region) for region in found.regions) >= form.least_iou
    assert len(found.notices) == (name.startswith("a hole")), found.notices


@pytest.mark.parametrize("name", FORMS)
def test_an_inverted_mask_is_the_rest(name: str, tmp_path: Path) -> None:
    mask = FORMS[name].make(tmp_path)
    found = read(mask, invert=True)
    np.testing.assert_array_equal(found.regions, ~read(mask).regions)
    assert not found.notices


@pytest.mark.parametrize("name", mask_forms.FILES)
def test_a_mask_of_another_size_is_the_same_region(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    picture = open_picture(form.make(tmp_path))
    for scale in (0.5, 2, 5):
        (region,) = drawn([picture], int(scale * HEIGHT), int(scale * WIDTH)).regions
        rows = ((np.arange(int(scale * HEIGHT)) + 0.5) / scale).astype(int)
        columns = ((np.arange(int(scale * WIDTH)) + 0.5) / scale).astype(int)
        expected = REGION[rows][:, columns]
        assert (region & expected).sum() / (region | expected).sum() >= form.least_iou - 0.05 * (form.least_iou < 1)


def test_frames_are_taken_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in range(12):
        picture = np.zeros((HEIGHT, WIDTH), np.uint8)
        picture[:, 10 * number : 10 * number + 8] = 1
        saved(picture, tmp_path, f"frame_{number}.png")
    (tmp_path / "._frame_3.png").write_bytes(b"a file system's own")
    regions = read_mask(tmp_path, 12, HEIGHT, WIDTH)
    assert [int(np.flatnonzero(region[0])[0]) for region in regions] == [10 * number for number in range(12)]


@pytest.mark.parametrize(("count", "shown"), [(7, [*range(7), 6]), (8, range(8)), (9, range(8))])
def test_one_picture_more_or_fewer_is_held_or_left_out(count: int, shown: list[int], tmp_path: Path) -> None:
    for number in range(count):
        picture = np.zeros((HEIGHT, WIDTH), np.uint8)
        picture[:, 10 * number : 10 * number + 8] = 255
        saved(picture, tmp_path, f"{number}.png")
    regions = read_mask(tmp_path, FRAMES, HEIGHT, WIDTH)
    assert [int(np.flatnonzero(region[0])[0]) for region in regions] == [10 * number for number in shown]


def test_other_counts_are_refused_with_both_numbers_and_the_export(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has 10 pictures, .* 8 frames of the video .* ffmpeg .*fps=4"):
        read(numbered(tmp_path, 10))
    (tmp_path / "boxes.json").write_text("[" + ",".join(["[]"] * 5 + ["[[0, 1.0, 0, 0, 0.5, 1]]"]) + "]")
    with pytest.raises(ValueError, match="has 6 frames of boxes, expected 1 or one for each of the 8 frames"):
        read(tmp_path / "boxes.json")
    (tmp_path / "boxes.json").write_text("\ufeff[" + ",".join(["[]"] * 6 + ["[[0, 1.0, 0, 0, 0.5, 1]]"]) + "]")
    assert read(tmp_path / "boxes.json").regions[:, 0, 0].tolist() == [False] * 6 + [True] * 2


def test_frames_are_judged_together() -> None:
    """Of 0/1 pictures one is empty and one is whole; alone, neither could be told."""
    frames = [np.zeros((HEIGHT, WIDTH), np.uint8), REGION.astype(np.uint8), np.ones((HEIGHT, WIDTH), np.uint8)]
    regions = read_mask(frames, 3, HEIGHT, WIDTH)
    assert not regions[0].any() and regions[2].all()
    np.testing.assert_array_equal(regions[1], REGION)
    # A tool may save an empty frame in another mode.
    mixed = [Image.new("1", (WIDTH, HEIGHT)), Image.fromarray(coloured((0, 0, 90)))]
    np.testing.assert_array_equal(read_mask(mixed, 2, HEIGHT, WIDTH), [0 * REGION, REGION])


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((HEIGHT, WIDTH), np.uint8),
        Image.new("RGBA", (WIDTH, HEIGHT)),
        Image.new("L", (WIDTH, HEIGHT)),
        np.zeros((FRAMES, HEIGHT, WIDTH), bool),
    ],
    ids=["array", "transparent", "black", "stack"],
)
def test_an_empty_mask_is_refused_and_inverted_it_is_the_whole(mask: object) -> None:
    with pytest.raises(ValueError, match=r"leaves nothing to sound: it is empty .* --explain"):
        read(mask)
    found = read(mask, invert=True)
    assert found.regions.all() and "is the whole picture" in found.notices[0]


def test_a_whole_mask_is_a_notice_and_inverted_it_is_refused() -> None:
    found = read(np.ones((HEIGHT, WIDTH), bool))
    assert found.regions.all() and ["whole picture" in sentence for sentence in found.notices] == [True]
    assert "whole picture" in read((0.0, 0.0, 1.0, 1.0)).notices[0]
    with pytest.raises(ValueError, match="inverted, it is empty: all of it was drawn"):
        read(np.ones((HEIGHT, WIDTH), bool), invert=True)


def test_dark_on_bright_and_another_shape_are_said() -> None:
    found = read(255 - PIXELS)
    np.testing.assert_array_equal(found.regions[0], ~REGION)
    assert "surrounds the rest" in found.notices[0]
    assert "has 128 x 128 pixels and the video 128 x 96: it was stretched" in read(np.eye(128)).notices[0]


def test_what_is_too_faint_to_count_is_said(tmp_path: Path) -> None:
    """After compression a dark label is no area any more that could be told from a shadow."""
    path = saved(mask_forms.labels(90, 255), tmp_path, "mask.jpg")
    found = read(path)
    assert iou(found.regions[0]) == pytest.approx((REGION & ~mask_forms.LEFT).sum() / REGION.sum(), abs=0.05)
    assert ["% of the mask is fainter than halfway and does not count" in text for text in found.notices] == [True]
    # Two colours of the same strength are told apart by their hues.
    hues = saved(coloured((0, 0, 90), (255, 0, 0)), tmp_path, "hues.jpg", quality=95)
    assert iou(read(hues).regions[0]) > 0.85 and not read(hues).notices


@pytest.mark.parametrize(
    ("strongest", "shades", "are_drawn"),
    [
        (255, (2, 5, 9), False),
        (255, (2, 5), True),
        (255, (2, 5, 60), True),
        (60, (1, 2, 3), True),
        (255, (60, 245), (False, True)),
        (255, (60, 230), True),
        (np.float32(1), (0.01, 0.03, 0.06), False),
        (np.float32(1), (0.01, 0.03), True),
    ],
    ids=[
        "three near the background",
        "two of them",
        "two and a label",
        "labels of little contrast",
        "one near the strongest",
        "none near it",
        "likelihoods",
        "floats as labels",
    ],
)
def test_shades_beside_a_strong_one_are_noise_and_labels_are_not(
    strongest: float, shades: tuple[float, ...], are_drawn: bool | tuple[bool, ...]
) -> None:
    """Compression leaves many values near the background, or near the strongest; labels are few, or all of them weak."""
    picture = (REGION * strongest).astype(
        np.asarray(strongest).dtype if isinstance(strongest, np.generic) else np.uint8
    )
    expected = REGION.copy()
    for number, shade in enumerate(shades):
        block = np.s_[70:80, 10 + 30 * number : 30 + 30 * number]
        picture[block] = shade
        expected[block] = are_drawn if isinstance(are_drawn, bool) else are_drawn[number]
    np.testing.assert_array_equal(read(picture).regions[0], expected)


def test_a_shade_near_the_strongest_is_a_colour_of_its_own() -> None:
    """In a palette two strong colours may be alike; only in grey are they one with noise."""
    picture = coloured((255, 0, 0))
    picture[70:80, 10:30], picture[70:80, 40:60] = (250, 0, 0), (60, 0, 0)
    expected = REGION.copy()
    expected[70:80, 10:30] = expected[70:80, 40:60] = True
    np.testing.assert_array_equal(read(picture).regions[0], expected)


def test_few_transparent_pixels_are_specks_unless_they_are_all_that_was_drawn() -> None:
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[50, 60:63] = 0
    np.testing.assert_array_equal(read(with_alpha(coloured((9, 9, 9)), alpha)).regions[0], REGION)
    found = read(with_alpha(np.full((HEIGHT, WIDTH), 9, np.uint8), alpha))
    assert found.regions[0].sum() == 3 and "hole" in found.reading
    assert read(with_alpha(coloured((0, 0, 0)), 255 - alpha)).regions[0].sum() == 3


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (np.where(REGION, 5.0, -5.0), "values from -5.0 to 5.0, expected 0 for what is not drawn .* threshold"),
        (np.where(REGION, np.nan, 0.0), "values from nan"),
        (np.zeros((4, 4, 5)), r"3 axes|shape|has 4 pictures"),
        (np.zeros((2, 2), complex), "type complex128"),
        (np.array(["a", "b"]), "shape"),
    ],
)
def test_arrays_that_say_nothing_are_refused(mask: np.ndarray, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read(mask)


def test_files_that_say_nothing_are_refused(tmp_path: Path) -> None:
    whole = saved(PIXELS, tmp_path, "mask.png").read_bytes()
    for name, data, sentence in (
        ("cut.png", whole[: len(whole) // 2], "is damaged"),
        ("text.png", b"no picture", "is no picture that can be read; export it as PNG"),
        ("mask.npy", b"\x93NUMPY", "holds no array that can be read"),
        ("mask.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': '|b1', (", "holds no array that can be read"),
        ("cut.gif", b"GIF89a\x40\x00\x40\x00\xf0\x00\x00\x00", "is damaged"),
        ("mask.json", b"[" * 100_000, "lists within lists"),
        ("mask.doc", b"", "neither a picture"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=sentence):
            read(tmp_path / name)
    np.save(tmp_path / "logits.npy", np.where(REGION, 5.0, -5.0))
    with pytest.raises(ValueError, match=r"^mask \S*logits\.npy: mask picture has values from -5\.0 to 5\.0"):
        read(tmp_path / "logits.npy")
    Image.fromarray(PIXELS).save(
        tmp_path / "moving.gif", save_all=True, append_images=[Image.fromarray(255 - PIXELS)], duration=100
    )
    with pytest.raises(ValueError, match="holds 2 pictures; export one, or a folder"):
        read(tmp_path / "moving.gif")
    saved(mask_forms.labels(1, 1), tmp_path, "labels.jpg")
    with pytest.raises(ValueError, match=r"labels\.jpg: .* from 0 to 1 of 255 only, and was compressed with losses"):
        read(tmp_path / "labels.jpg")


def test_a_transparency_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """VP8 and VP9 keep it beside the picture, where FFmpeg's own decoders do not look."""
    mask_forms.transparent_video(tmp_path)
    words = [
        "-i",
        str(tmp_path / "mask.mov"),
        "-c:v",
        "libvpx-vp9",
        "-pix_fmt",
        "yuva420p",
        str(tmp_path / "mask.webm"),
    ]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *words], check=True)
    with pytest.raises(ValueError, match=r"mask\.webm: its transparency cannot be read; export it white on black"):
        read(tmp_path / "mask.webm")


def test_a_picture_that_was_turned_before_is_not_turned_again(tmp_path: Path) -> None:
    upright = ImageOps.exif_transpose(Image.open(mask_forms.turned(tmp_path, "mask.png")))
    np.testing.assert_array_equal(drawn([picture_of(upright)], HEIGHT, WIDTH).regions[0], REGION)


def test_explain_says_what_is_drawn_and_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(coloured((0, 0, 60)), tmp_path, "mask.png")
    assert main(["mask", "--explain", str(path), "--preview", str(tmp_path / "seen.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path}: every area that is not the background #000000 is drawn: #00003c"
    assert lines[1] == f"{REGION.mean():.1%} of the picture sounds, in 1 frame of 128 x 96 pixels"
    shown = np.array([[letter == "#" for letter in line] for line in lines[2:-1]])
    assert shown.shape == (18, 48) and abs(shown.mean() - REGION.mean()) < 0.03 and shown[7, 10] and not shown[0].any()
    seen = np.asarray(Image.open(tmp_path / "seen.png"))
    assert seen[80, 60].min() == 255 and seen[10, 200].max() == 63

    assert main(["mask", "--explain", str(path), "--mask-invert"]) == 0
    shown = capsys.readouterr().out
    assert "; inverted" in shown and f"{1 - REGION.mean():.1%} of the picture" in shown
    assert main(["mask", "--explain", "0.5,0,1,1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "." * 24 + "#" * 24


def test_explain_with_a_video_shows_the_mask_on_its_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = mask_forms.video(tmp_path)
    (tmp_path / "frames").mkdir()
    folder = numbered(tmp_path / "frames", FRAMES - 1)
    assert main(["mask", str(scene), "--explain", str(folder), "--preview", str(tmp_path / "seen.jpg")]) == 0
    assert "in 8 frames of 128 x 96 pixels" in capsys.readouterr().out
    assert Image.open(tmp_path / "seen.jpg").size == (4 * 240, 180)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "a VIDEO, --text and -o are needed"),
        (["--explain", "mask.png", "--text", "bell"], "leave --text and -o out"),
        (["--explain", "gone.png"], "gone.png does not exist"),
        (["--explain", "black.png"], "leaves nothing to sound"),
        (["--explain", "0.5,0.3,1"], "3 numbers of 3 parts, expected x0,y0,x1,y1"),
        (["v.mp4", "--text", "bell", "-o", "m.json", "--mask-invert"], "goes with --explain here"),
    ],
)
def test_wrong_questions_get_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(PIXELS, tmp_path, "mask.png")
    saved(0 * PIXELS, tmp_path, "black.png")
    assert main(["mask", *arguments]) == 2
    assert sentence in capsys.readouterr().err
