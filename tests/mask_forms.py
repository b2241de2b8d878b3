"""One drawn region in all the forms that tools give it: files, images, arrays, folders and a video."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import imageio_ffmpeg
import numpy as np
import torch
from PIL import Image

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.evaluation.listening_page import write_video

FRAMES, HEIGHT, WIDTH = 8, 96, 128
REGION = np.zeros((HEIGHT, WIDTH), bool)
REGION[20:60, 10:50] = True
REGION[52:60, 50:90] = True  # an L: no turn or mirror image of it is itself
PIXELS = REGION.astype(np.uint8) * 255
LEFT = np.arange(WIDTH)[None] < 30
"""Parts the region in two, where a form has two labels or colours."""


class Form(NamedTuple):
    """How a region is given."""

    make: Callable[[Path], Any]
    """A folder for its files -> the mask."""
    least_iou: float = 1.0
    """Below 1 only where the form itself has lost the edge."""


def coloured(*colours: tuple[int, int, int], background: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    """(H, W, 3) uint8: the region in one colour, or its left and its right in two."""
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    picture[:] = background
    picture[REGION & LEFT] = colours[0]
    picture[REGION & ~LEFT] = colours[-1]
    return picture


def labels(left: int, right: int, kind: type = np.uint8) -> np.ndarray:
    """(H, W) the region as one or two labels."""
    return (np.where(LEFT, left, right) * REGION).astype(kind)


def saved(picture: np.ndarray | Image.Image, folder: Path, name: str, **options: Any) -> Path:
    """The path of a picture that was written."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(folder / name, **options)
    return folder / name


def with_alpha(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, W, 4), or (H, W, 2) of grey."""
    return np.concatenate([colours if colours.ndim == 3 else colours[..., None], alpha[..., None]], axis=2)


def palette(colours: list[int]) -> Image.Image:
    """A palette image of labels 0 to 2."""
    paletted = Image.frombytes("P", (WIDTH, HEIGHT), labels(1, 2).tobytes())
    paletted.putpalette(colours + [0] * (768 - len(colours)))
    return paletted


def one_transparent_pixel() -> np.ndarray:
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[0, 0] = 0
    return with_alpha(coloured((255, 255, 255)), alpha)


def photo() -> np.ndarray:
    """(H, W, 3) what lies beneath a cut or a drawn layer."""
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def turned(folder: Path, name: str) -> Path:
    """A picture that lies on its side and says so."""
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter to the right
    return saved(Image.fromarray(PIXELS).transpose(Image.Transpose.ROTATE_90), folder, name, exif=exif, quality=95)


def numbered(folder: Path, count: int = FRAMES, pattern: str = "frame_{}.png") -> Path:
    """A folder with a picture for each frame."""
    for number in range(count):
        saved(PIXELS, folder, pattern.format(number))
    return folder


def video(folder: Path) -> Path:
    frames = np.repeat(np.repeat(PIXELS[None, ..., None], 3, axis=3), 24, axis=0)
    write_video(folder / "mask.mp4", frames, 12, np.zeros(2 * SAMPLE_RATE, np.float32))
    return folder / "mask.mp4"


def transparent_video(folder: Path) -> Path:
    """White everywhere, and opaque where it was drawn, as compositors export a matte."""
    saved(with_alpha(coloured(WHITE, background=WHITE), PIXELS), folder, "matte.png")
    words = ["-loop", "1", "-i", str(folder / "matte.png"), "-t", "2", "-r", "12", "-c:v", "qtrle", "-pix_fmt", "argb"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *words, str(folder / "mask.mov")], check=True)
    return folder / "mask.mov"


def array_file(folder: Path) -> Path:
    np.save(folder / "mask.npy", REGION.astype(np.uint8))
    return folder / "mask.npy"


def of_jpeg(folder: Path) -> Path:
    """A PNG of what a JPEG has left: noise around black and white."""
    return saved(Image.open(saved(PIXELS, folder, "mask.jpg", quality=60)).convert("L"), folder, "mask.png")


def image_of(make: Callable[[Path], Path]) -> Callable[[Path], Image.Image]:
    """The same as an image of Pillow."""
    return lambda folder: Image.open(make(folder))


def soft(folder: Path) -> Path:
    """The region with an edge of three values around it and inside, of which half belongs to it."""
    grown = np.pad(REGION, 1)
    around = grown[:-2, 1:-1] | grown[2:, 1:-1] | grown[1:-1, :-2] | grown[1:-1, 2:]
    inner = ~(~grown[:-2, 1:-1] | ~grown[2:, 1:-1] | ~grown[1:-1, :-2] | ~grown[1:-1, 2:])
    values = np.select([REGION & inner, REGION, around], [255, 170, 85])
    return saved(values.astype(np.uint8), folder, "mask.png")


VIRIDIS = (68, 1, 84), (253, 231, 37)
WHITE = (255, 255, 255)
ALL_OPAQUE = np.full((HEIGHT, WIDTH), 255, np.uint8)

FILES: dict[str, Form] = {
    "grey 0/255": Form(lambda folder: saved(PIXELS, folder, "mask.png")),
    "grey 0/1": Form(lambda folder: saved(labels(1, 1), folder, "mask.png")),
    "grey 100/200": Form(lambda folder: saved(np.where(REGION, 200, 100).astype(np.uint8), folder, "mask.png")),
    "labels 1 and 2": Form(lambda folder: saved(labels(1, 2), folder, "mask.png")),
    "labels 3 and 255": Form(lambda folder: saved(labels(3, 255), folder, "mask.png")),
    "1 bit": Form(lambda folder: saved(Image.fromarray(PIXELS).convert("1"), folder, "mask.png")),
    "16 bit": Form(lambda folder: saved(labels(65535, 65535, np.uint16), folder, "mask.png")),
    "16 bit on grey": Form(lambda folder: saved(np.where(REGION, 65535, 5000).astype(np.uint16), folder, "mask.png")),
    "16 bit labels": Form(lambda folder: saved(labels(1, 7, np.uint16), folder, "mask.png")),
    "32 bit floats": Form(lambda folder: saved(REGION.astype(np.float32), folder, "mask.tiff")),
    "palette": Form(lambda folder: saved(palette([0, 0, 0, 128, 0, 0, 0, 128, 0]), folder, "mask.png")),
    "palette on white": Form(lambda folder: saved(palette([*WHITE, 128, 0, 0, 0, 128, 0]), folder, "mask.png")),
    "palette of black alone": Form(lambda folder: saved(palette([0, 0, 0]), folder, "mask.png")),
    "gif": Form(lambda folder: saved(palette([0, 0, 0, 0, 0, 90, 255, 255, 0]), folder, "mask.gif")),
    "red": Form(lambda folder: saved(coloured((255, 0, 0)), folder, "mask.png")),
    "dark blue": Form(lambda folder: saved(coloured((0, 0, 60)), folder, "mask.bmp")),
    "dark blue beside red": Form(lambda folder: saved(coloured((0, 0, 60), (255, 0, 0)), folder, "mask.png")),
    "red on white": Form(lambda folder: saved(coloured((255, 0, 0), background=WHITE), folder, "mask.png")),
    "plotted": Form(lambda folder: saved(coloured(VIRIDIS[1], background=VIRIDIS[0]), folder, "mask.png")),
    "grey and opaque": Form(lambda folder: saved(with_alpha(PIXELS, ALL_OPAQUE), folder, "mask.png")),
    "grey and alpha": Form(lambda folder: saved(with_alpha(0 * PIXELS, PIXELS), folder, "mask.png")),
    "alpha alone": Form(lambda folder: saved(with_alpha(coloured((0, 0, 0)), PIXELS), folder, "mask.png")),
    "faint alpha": Form(lambda folder: saved(with_alpha(coloured(WHITE), REGION * np.uint8(100)), folder, "mask.png")),
    "cut out": Form(lambda folder: saved(with_alpha(photo(), PIXELS), folder, "mask.png")),
    "a hole": Form(lambda folder: saved(with_alpha(photo(), 255 - PIXELS), folder, "mask.png")),
    "black made transparent": Form(
        lambda folder: saved(coloured((0, 200, 0)), folder, "mask.png", transparency=(0, 0, 0))
    ),
    "one transparent pixel": Form(lambda folder: saved(one_transparent_pixel(), folder, "mask.png")),
    "cmyk": Form(lambda folder: saved(Image.fromarray(PIXELS).convert("CMYK"), folder, "mask.jpg"), 0.97),
    "jpeg": Form(lambda folder: saved(PIXELS, folder, "mask.jpg", quality=60), 0.97),
    "red jpeg": Form(lambda folder: saved(coloured((255, 0, 0)), folder, "mask.jpg"), 0.9),
    "webp with losses": Form(lambda folder: saved(coloured(WHITE), folder, "mask.webp", quality=60), 0.97),
    "webp": Form(lambda folder: saved(coloured(WHITE), folder, "mask.webp", lossless=True)),
    "png of a jpeg": Form(of_jpeg, 0.97),
    "on its side": Form(lambda folder: turned(folder, "mask.jpg"), 0.97),
    "on its side, exactly": Form(lambda folder: turned(folder, "mask.png")),
    "a scan on its side": Form(lambda folder: turned(folder, "mask.tif")),
    "soft edge": Form(soft),
}
"""Pictures of one file."""
OTHERS: dict[str, Form] = {
    "bool": Form(lambda _: REGION),
    "array 0/1": Form(lambda _: REGION.astype(np.uint8)),
    "array 0/255": Form(lambda _: PIXELS),
    "whole numbers 0/1": Form(lambda _: REGION.astype(np.int64)),
    "labels as whole numbers": Form(lambda _: labels(3, 7, np.int32)),
    "floats 0 to 1": Form(lambda _: REGION.astype(np.float32)),
    "floats 0 to 255": Form(lambda _: PIXELS.astype(np.float64)),
    "likelihoods": Form(
        lambda _: np.where(REGION, 0.6, 0.1) + np.random.default_rng(0).normal(0, 0.03, REGION.shape).clip(-0.1)
    ),
    "colours as floats": Form(lambda _: coloured((255, 0, 0)) / 255),
    "one channel": Form(lambda _: PIXELS[..., None]),
    "a tensor": Form(lambda _: torch.from_numpy(REGION)),
    "a network's stack": Form(lambda _: torch.from_numpy(np.repeat(REGION[None, None], FRAMES, axis=0))),
    "a stack": Form(lambda _: np.repeat(REGION[None], FRAMES, axis=0)),
    "a list": Form(lambda _: [labels(1, 1)] * FRAMES),
    "images in a list": Form(lambda _: [palette([0, 0, 0, 128, 0, 0, 0, 128, 0])] * FRAMES),
    "an array's file": Form(array_file),
    "a folder": Form(numbered),
    "a folder of colours": Form(lambda folder: saved(coloured((255, 0, 0)), folder, "1.png").parent),
    "a video": Form(video, 0.95),
    "a transparent video": Form(transparent_video),
}
"""What is no file, or several, or no picture."""
FORMS = (
    FILES | {f"{name}, as an image": Form(image_of(form.make), form.least_iou) for name, form in FILES.items()} | OTHERS
)
