"""The rule for what counts as drawn in the pictures of a mask, be they files, PIL images, arrays or a video.

1. A picture is turned upright by its EXIF mark, and its palette, CMYK, 1 or 16 bits become colours, or values of grey.
2. Where at least a thousandth of the picture is transparent, or all that can be seen has one colour, the transparency was
   drawn: opaque pixels are drawn (more opaque than halfway). One exception: where the opaque part runs along more than half
   of every side and the transparent part is the smaller one, a hole was cut, and the hole is drawn; this gives a notice.
3. Else the colours were drawn, on a background. The background of a grey picture is its darkest value; of a coloured one
   it is black, or the commonest colour of the border where hardly anything is black. Bright is drawn, and so is any colour.
4. In a picture of flat areas (at most 256 colours, as labels, palettes and 0/1 have them) each area that is not the
   background is drawn, however dark its colour. A soft edge belongs to what it is nearer to. In any other picture, and in
   all that was compressed with losses (JPEG, video, pictures made of them), pixels at least halfway from the background to
   the farthest colour are drawn, and those of another hue.
5. All pictures of a mask are judged by the same background and the same areas. Alone, a picture of one colour is empty
   when it is black, else it is whole.

Legend: H/W pixels of the mask that is made, h/w of a picture, C channels (1 grey or 3).
"""

import struct
import tokenize
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

TRANSPARENT_SHARE = 0.001
"""Of a picture: fewer transparent pixels are specks of a picture whose colours were drawn."""
MOST_COLOURS = 256
"""Of a picture of flat areas, with those of its soft edges."""
SOLID_SIDE = 24
"""Shorter side in pixels from which an area needs a block of 3 x 3; in a smaller picture every colour is an area."""
LEAST_CONTRAST = 32
"""Of a lossy picture, in steps of 256: below lies what compression leaves of one colour."""
NOISE_SHARE, NOISE_FROM = 1 / 16, 64
"""A pixel that differs from a colour by less than this share of the contrast may be noise, if the contrast is at least this
many steps of 256 (labels have less)."""
LOSSLESS_HUE, LOSSY_HUE = 24, 48
"""Distance from the line between the background and a colour, in steps of 256, at which another hue begins."""
FAINT_FROM, FAINT_PICTURE, FAINT_DRAWN = 1 / 8, 0.005, 0.25
"""From this share of the contrast up, what is not drawn may have been meant; more than these shares of the picture and of what
is drawn are no edges."""
BLACK = 16
"""The brightest channel of what counts as black in a coloured picture, in steps of 256."""

DAMAGES = (
    *(OSError, EOFError, ImportError, LookupError, TypeError, AttributeError, OverflowError, MemoryError),
    *(SyntaxError, struct.error, zlib.error, tokenize.TokenError, Image.DecompressionBombError),
)
"""Errors that Pillow and numpy raise for damaged files, besides ValueError."""


@dataclass(frozen=True)
class MaskPicture:
    """One picture of a mask, upright, before anything is judged."""

    values: np.ndarray
    """(h, w) of any number, or (h, w, 3) uint8."""
    opacity: np.ndarray | None = None
    """(h, w) of any number from 0; None: opaque."""
    lossy: bool = False
    """Whether its values were compressed with losses."""


class Drawn(NamedTuple):
    """The drawn pixels of the pictures, and the reason."""

    regions: list[np.ndarray]
    """(H, W) bool for each picture."""
    reading: str
    """The way in which they were read, in a clause."""
    notices: list[str]
    """Sentences about decisions that could be meant otherwise."""


def open_picture(path: Path) -> MaskPicture:
    """The picture of a file.

    Raises:
        ValueError: when it is none, is damaged, or holds several pictures.
    """
    if not begins_as_picture(path):
        raise ValueError(f"mask {path} is no picture that can be read; export it as PNG")
    try:
        with path.open("rb") as file, Image.open(file) as image:
            if (pictures := getattr(image, "n_frames", 1)) > 1:
                raise ValueError(
                    f"mask {path} holds {pictures} pictures; export one, or a folder with a picture for each frame"
                )
            return picture_of(image)
    # ultralytics, once loaded, answers Pillow's own error by looking for a package of more formats.
    except (Image.UnidentifiedImageError, ImportError):
        raise ValueError(f"mask {path} is damaged: its header cannot be read; export it again as PNG") from None
    except Image.DecompressionBombError:
        raise ValueError(f"mask {path} has more pixels than can be read; export it smaller") from None
    except DAMAGES as error:  # a ValueError is Pillow's own or one of ours
        raise ValueError(f"mask {path} is damaged: {error or type(error).__name__}; export it again as PNG") from error


def begins_as_picture(path: Path) -> bool:
    """Whether a file begins as PNG, JPEG, GIF, WebP, BMP or TIFF do."""
    with path.open("rb") as file:
        head = file.read(12)
    return head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")) or (
        head[:4] == b"RIFF" and head[8:] == b"WEBP"
    )


def picture_of(image: Image.Image | np.ndarray) -> MaskPicture:
    """An image or array as a picture of a mask.

    Args:
        image: an image of any mode, or (h, w), (h, w, 1), (h, w, 2) grey and opacity, (h, w, 3) or (h, w, 4) of bool or any
            number.

    Raises:
        ValueError: for another kind of array, or one with negative or infinite values.
    """
    return _of_image(image) if isinstance(image, Image.Image) else _of_array(np.asarray(image))


def _of_image(image: Image.Image) -> MaskPicture:
    # WebP does not say whether it is lossy; labels of little contrast would not have outlived it.
    lossy = image.format in ("JPEG", "MPO") or (image.format == "WEBP" and _contrast(image) >= LEAST_CONTRAST)
    name = getattr(image, "filename", "")
    if image.format == "TIFF" and name and image.tile:  # type: ignore[attr-defined]  # Pillow's types: an opened file's
        # Not loaded as yet. Pillow maps an uncompressed TIFF that it knows by its name into memory, and mixes up the rows of
        # one that lies on its side.
        with open(name, "rb") as file, Image.open(file) as anew:
            anew.seek(image.tell())
            return _of_image(anew)
    image = ImageOps.exif_transpose(image)
    if "transparency" in image.info or image.mode in ("PA", "La", "RGBa"):
        image = image.convert("RGBA")
    if image.mode == "P":
        indices, colours = np.asarray(image), np.asarray(image.convert("RGB"))
        one_colour = (colours == colours[:1, :1]).all()
        return _of_array(indices if one_colour and indices.min() != indices.max() else colours)
    if image.mode in ("1", "L", "LA", "RGBA", "F"):
        values = np.asarray(image)
    elif image.mode.startswith("I"):
        # Beside pictures of 8 bits the same white is the same number.
        values = np.asarray(image).astype(np.float64)
        values = values / 257 if image.mode != "I" or values.max(initial=0) > 255 else values
    else:
        values = np.asarray(image.convert("RGB"))
    read = _of_array(values)
    return MaskPicture(read.values, read.opacity, lossy)


def _contrast(image: Image.Image) -> int:
    channels: Any = image.convert("RGB").getextrema()  # of several channels, a pair for each
    return max(high - low for low, high in channels)


def _of_array(values: np.ndarray) -> MaskPicture:
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (1, 2, 3, 4)) or not values.size:
        raise ValueError(f"mask picture has shape {values.shape}, expected (H, W), (H, W, 3) or (H, W, 4)")
    if values.dtype == bool:
        values = values.astype(np.uint8) * 255
    if not np.issubdtype(values.dtype, np.integer) and not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"mask picture has the type {values.dtype}, expected bool, whole numbers or floats")
    if values.dtype != np.uint8 and not (np.isfinite(values).all() and values.min() >= 0):
        raise ValueError(
            f"mask picture has values from {values.min()} to {values.max()}, expected 0 for what is not drawn and more "
            "for what is; compare it with your threshold first (mask > threshold)"
        )
    if values.ndim == 2:
        return MaskPicture(values)
    opacity = values[..., -1] if values.shape[2] in (2, 4) else None
    colours = values[..., :3] if values.shape[2] >= 3 else values[..., :1]
    if (colours == colours[..., :1]).all():
        return MaskPicture(colours[..., 0], opacity)
    return MaskPicture(_eight_bits(colours), opacity)


def _eight_bits(colours: np.ndarray) -> np.ndarray:
    if colours.dtype == np.uint8:
        return colours
    top = colours.max()
    full = (1 if top <= 1 else 255) if np.issubdtype(colours.dtype, np.floating) or top <= 255 else 65535
    return np.round(colours.astype(np.float64) * 255 / max(full, top)).astype(np.uint8)


def drawn(pictures: Sequence[MaskPicture], height: int, width: int) -> Drawn:
    """The drawn pixels in pictures of one mask, by the rule above.

    Args:
        pictures: at least one, of any sizes.
        height: H of the result.
        width: W of the result.

    Raises:
        ValueError: when the contrast of lossy pictures is too low to say.
    """
    # Larger pictures are judged by the pixels that the mask takes from them.
    small = [_shrunk(picture, height, width) for picture in pictures]
    opaque = _opaque(small)
    notices = []
    if _transparency_is_drawn(small, opaque):
        regions, reading = opaque, "what is opaque is drawn"
        if _surrounds(opaque):
            regions, reading = (
                [~region for region in opaque],
                "a hole is cut into an opaque picture, and the hole is drawn",
            )
            notices.append(
                "the mask is opaque along all its sides, so its transparent part counts as drawn; if the opaque part is "
                "meant, invert the mask"
            )
    else:
        regions, reading, faint = _by_colours(small, opaque)
        if faint:
            notices.append(
                f"{faint:.1%} of the mask is fainter than halfway and does not count as drawn; if it should, export the mask as "
                "PNG in flat colours"
            )
        if _surrounds(regions) and not all(region.all() for region in regions):
            notices.append("what counts as drawn in the mask surrounds the rest; if the rest is meant, invert the mask")
    return Drawn([resized(region, height, width) for region in regions], reading, notices)


def resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture (h, w, ...) at another size: each new pixel takes the old pixel under its centre."""
    if picture.shape[:2] == (height, width):
        return picture
    rows = ((np.arange(height) + 0.5) * picture.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * picture.shape[1] / width).astype(int)
    return picture[rows[:, None], columns[None, :]]


def _shrunk(picture: MaskPicture, height: int, width: int) -> MaskPicture:
    size = min(picture.values.shape[0], height), min(picture.values.shape[1], width)
    opacity = None if picture.opacity is None else resized(picture.opacity, *size)
    return MaskPicture(resized(picture.values, *size), opacity, picture.lossy)


def _opaque(pictures: Sequence[MaskPicture]) -> list[np.ndarray]:
    """(h, w) bool: more opaque than halfway between the least and the most opaque; all, where nothing differs."""
    opacities = [picture.opacity for picture in pictures if picture.opacity is not None]
    if not opacities:
        return [np.ones(picture.values.shape[:2], bool) for picture in pictures]
    most, least = float(max(part.max() for part in opacities)), float(min(part.min() for part in opacities))
    limit = (least + most) / 2 if least < most or most == 0 else 0
    return [
        np.ones(picture.values.shape[:2], bool) if picture.opacity is None else picture.opacity > limit
        for picture in pictures
    ]


def _transparency_is_drawn(pictures: Sequence[MaskPicture], opaque: Sequence[np.ndarray]) -> bool:
    transparent = sum(int((~region).sum()) for region in opaque)
    if not transparent:
        return False
    if transparent >= TRANSPARENT_SHARE * sum(region.size for region in opaque):
        return True
    seen = [np.unique(_packed(picture, grey=False)[region]) for picture, region in zip(pictures, opaque, strict=True)]
    return len(np.unique(np.concatenate(seen))) == 1


def _surrounds(regions: Sequence[np.ndarray]) -> bool:
    """Whether the regions hold more than half of all pixels, and more than half of each of the four sides."""
    parts = [np.concatenate([side(region) for region in regions]) for side in _SIDES]
    return all(part.mean() > 0.5 for part in parts) and np.mean([region.mean() for region in regions]) > 0.5


_SIDES = (
    lambda region: region[0],
    lambda region: region[-1],
    lambda region: region[:, 0],
    lambda region: region[:, -1],
)


class _Colours(NamedTuple):
    """The different colours of all pictures of a mask."""

    codes: np.ndarray
    """(n,) rising, as `_packed` writes them."""
    counts: np.ndarray
    """(n,) pixels of each."""
    values: np.ndarray
    """(n, C) float64."""

    def commonest(self, among: np.ndarray) -> np.ndarray:
        """(C,) that of `among` (n,) bool which most pixels have."""
        return self.values[np.where(among, self.counts, -1).argmax()]


def _by_colours(pictures: Sequence[MaskPicture], opaque: Sequence[np.ndarray]) -> tuple[list[np.ndarray], str, float]:
    """(h, w) bool of each picture by its colours, how they were read, and the share of what is too faint, where it is much.

    Transparent specks are not drawn.
    """
    lossy = any(picture.lossy for picture in pictures)
    grey = all(picture.values.ndim == 2 or (lossy and _is_grey(picture.values)) for picture in pictures)
    packed = [_packed(picture, grey=grey) for picture in pictures]
    colours = _different([codes[region] for codes, region in zip(packed, opaque, strict=True)], grey)
    if len(colours.codes) <= 1:
        whole = bool(colours.values.any())
        return [region & whole for region in opaque], f"there is one colour, and it is {'not ' * whole}black", 0.0
    background = _background(colours, _different([side(codes) for codes in packed for side in _SIDES], grey))
    distance = np.abs(colours.values - background).max(axis=1)
    farthest = colours.values[distance.argmax()]
    if lossy and distance.max() < LEAST_CONTRAST:
        raise ValueError(
            f"mask has values from {colours.values.min():g} to {colours.values.max():g} of 255 only, and was compressed "
            "with losses: what is drawn in it cannot be told; export it as PNG, white on black"
        )
    exact = not lossy and len(colours.codes) <= MOST_COLOURS and not _is_noisy(distance, packed[0].dtype, grey)
    if exact:
        flat = np.concatenate([codes[_solid(codes) & region] for codes, region in zip(packed, opaque, strict=True)])
        areas = colours.values[np.isin(colours.codes, flat) & (distance > 0)]
        areas = np.unique(np.vstack([areas, farthest]), axis=0)
        reading = f"every area that is not the background {_name(background)} is drawn: "
        reading += ", ".join(map(_name, areas[:8])) + ", ..." * (len(areas) > 8)
    else:
        areas = farthest[None]
        reading = f"what is at least halfway from the background {_name(background)} to {_name(farthest)} is drawn"
        reading += "" if grey else ", or is of another hue"
    verdict = _is_drawn(colours.values, background, areas, LOSSLESS_HUE if exact else LOSSY_HUE)
    faint = colours.counts[~verdict & (distance > FAINT_FROM * distance.max())].sum() / colours.counts.sum()
    likely = np.issubdtype(packed[0].dtype, np.floating)  # what is unlikely is no shade that was drawn
    much = (
        not exact
        and not likely
        and faint > max(FAINT_PICTURE, FAINT_DRAWN * colours.counts[verdict].sum() / colours.counts.sum())
    )
    regions = [
        verdict[np.searchsorted(colours.codes, codes).clip(max=len(verdict) - 1)] & region
        for codes, region in zip(packed, opaque, strict=True)
    ]
    return regions, reading, float(faint) if much else 0.0


def _is_grey(colours: np.ndarray) -> bool:
    return int(np.ptp(colours.astype(np.int16), axis=-1).max()) < LEAST_CONTRAST


def _packed(picture: MaskPicture, *, grey: bool) -> np.ndarray:
    """(h, w) one number for each colour: the grey value itself, or 24 bits."""
    values = picture.values
    if grey:
        return values if values.ndim == 2 else values.mean(axis=-1).round().astype(np.uint8)
    if values.ndim == 2:
        values = np.repeat(np.clip(np.round(values), 0, 255)[..., None], 3, axis=-1)
    whole = values.astype(np.uint32)
    return whole[..., 0] << 16 | whole[..., 1] << 8 | whole[..., 2]


def _different(parts: Sequence[np.ndarray], grey: bool) -> _Colours:
    tables = [np.unique(codes, return_counts=True) for codes in parts]
    codes, places = np.unique(np.concatenate([table[0] for table in tables]), return_inverse=True)
    counts = np.bincount(places, weights=np.concatenate([table[1] for table in tables]), minlength=len(codes))
    values = codes[:, None] if grey else codes[:, None] >> np.array([16, 8, 0], np.uint32) & np.uint32(255)
    return _Colours(codes, counts, values.astype(np.float64))


def _is_noisy(distance: np.ndarray, kind: np.dtype, grey: bool) -> bool:
    """Whether colours (n,) distances from the background look like one or two with compression's noise around them."""
    most = distance.max()
    if most < NOISE_FROM and not np.issubdtype(kind, np.floating):
        return False
    near = most * NOISE_SHARE
    return int(((distance > 0) & (distance <= near)).sum()) >= 3 or (
        grey and bool(((distance > most - near) & (distance < most)).any())
    )


def _solid(codes: np.ndarray) -> np.ndarray:
    """(h, w) bool: the middle of 3 x 3 equal pixels; all of a small picture."""
    if min(codes.shape) < SOLID_SIDE:
        return np.ones(codes.shape, bool)
    middle = codes[1:-1, 1:-1]
    solid = np.zeros(codes.shape, bool)
    solid[1:-1, 1:-1] = True
    for row in range(3):
        for column in range(3):
            solid[1:-1, 1:-1] &= codes[row : row + middle.shape[0], column : column + middle.shape[1]] == middle
    return solid


def _background(colours: _Colours, border: _Colours) -> np.ndarray:
    """(C,) the colour on which the others are drawn."""
    if colours.values.shape[1] == 1:
        return colours.values[0]
    black = np.all(colours.values <= BLACK, axis=1)
    if colours.counts[black].sum() >= TRANSPARENT_SHARE * colours.counts.sum():
        return colours.commonest(black)
    return border.commonest(np.ones(len(border.codes), bool))


def _is_drawn(colours: np.ndarray, background: np.ndarray, areas: np.ndarray, hue: float) -> np.ndarray:
    """(n,) bool for colours (n, C): at least halfway from the background to an area, or on the way to none of them."""
    away = colours - background
    reached, on_the_way = np.zeros(len(colours), bool), np.zeros(len(colours), bool)
    for area in areas - background:
        part = away @ area / (area @ area)
        mixture = np.abs(away - part[:, None] * area).max(axis=1) <= (hue if len(area) == 3 else np.inf)
        on_the_way |= mixture
        reached |= mixture & (part >= 0.5)
    return reached | ~on_the_way


def _name(colour: np.ndarray) -> str:
    """A colour as people name it: #ff0000, or the number of a grey value."""
    if len(colour) == 1:
        return f"{colour[0]:g}"
    return "#" + "".join(f"{round(value):02x}" for value in colour)
