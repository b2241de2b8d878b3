"""Pictures and tables for people, small enough to live in Dagster's metadata: PNG bytes and Markdown.

Every picture is about 900 pixels wide. Dagster keeps metadata for ever, so photographs are reduced to few colours until
they fit MAX_BYTES.

Legend: V video frames, H/W pixels, T mel frames, M mel bins.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from drawaudio_model.clip_format import HOP_LENGTH, LOUDNESS_FPS, MEL_MAX_HZ, MEL_MIN_HZ, SAMPLE_RATE, VIDEO_FPS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from drawaudio_model.boxes import Box

WIDTH = 900
"""Pixels across."""
MAX_BYTES = 150_000
INK, FAINT, LINE, SECOND = "#1f2933", "#9aa5b1", "#1769aa", "#c2410c"
PHRASE_COLOURS = ("#ff5a36", "#19c3ff", "#ffd21f", "#7cf03c", "#ff6bd6", "#b99bff")
_COLUMNS, _ROWS, _GAP = 4, 2, 4


def contact_sheet(frames: np.ndarray, boxes: Sequence["Box"], phrases: Sequence[str], caption: str) -> bytes:
    """Eight frames of a clip, evenly spaced, with their boxes; PNG.

    Args:
        frames: (V, H, W, 3) uint8 RGB.
        boxes: boxes of all frames, corners in [0, 1].
        phrases: names of the boxes, by `phrase_index`.
        caption: a line above the frames.
    """
    from PIL import Image, ImageDraw

    shown = np.unique(np.linspace(0, len(frames) - 1, _COLUMNS * _ROWS).round().astype(int))
    tile_width = (WIDTH - (_COLUMNS + 1) * _GAP) // _COLUMNS
    tile_height = min(round(tile_width * frames.shape[1] / frames.shape[2]), tile_width)
    tile_width = min(tile_width, round(tile_height * frames.shape[2] / frames.shape[1]))
    colours = {i: PHRASE_COLOURS[i % len(PHRASE_COLOURS)] for i in sorted({box.phrase_index for box in boxes})}
    head = _header([caption], [(phrases[i], colour) for i, colour in colours.items()])
    rows = math.ceil(len(shown) / _COLUMNS)
    sheet = Image.new("RGB", (WIDTH, head.height + rows * (tile_height + _GAP)), "white")
    sheet.paste(head, (0, 0))
    for place, frame in enumerate(shown):
        tile = Image.fromarray(np.ascontiguousarray(frames[frame])).resize(
            (tile_width, tile_height), Image.Resampling.LANCZOS
        )
        draw = ImageDraw.Draw(tile)
        for box in (box for box in boxes if box.frame == frame):
            _draw_box(draw, box, tile.size, colours[box.phrase_index])
        label = f"{frame / VIDEO_FPS:.1f} s"
        draw.rectangle((0, tile_height - 17, 9 + draw.textlength(label, font=_font(13)), tile_height), fill="#000000")
        draw.text((4, tile_height - 16), label, fill="#ffffff", font=_font(13))
        row, column = divmod(place, _COLUMNS)
        sheet.paste(tile, (_GAP + column * (tile_width + _GAP), head.height + row * (tile_height + _GAP)))
    return _small_png(sheet)


def mel_with_loudness(log_mel: np.ndarray, loudness: np.ndarray, onsets: Sequence[float] | None = None) -> bytes:
    """A log-mel with its loudness signal below, on one time axis; PNG.

    Args:
        log_mel: (T, M) natural log.
        loudness: (points,) RMS levels at LOUDNESS_FPS.
        onsets: seconds at which something sounds, drawn as lines through both.
    """
    figure, (upper, lower) = _figure(3.6, rows=2, heights=(2.2, 1))
    seconds = len(log_mel) * HOP_LENGTH / SAMPLE_RATE
    low, high = np.percentile(log_mel, [2, 99.8])
    extent = (0, seconds, -0.5, log_mel.shape[1] - 0.5)
    upper.imshow(
        log_mel.T, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=low, vmax=max(high, low + 1e-3)
    )
    ticks = [hz for hz in (250, 1000, 2000, 4000) if MEL_MIN_HZ < hz < MEL_MAX_HZ]
    upper.set_yticks(_mel_bin(np.array(ticks), log_mel.shape[1]), [f"{hz / 1000:g} kHz" for hz in ticks])
    lower.fill_between(_point_times(loudness), loudness, color=LINE, alpha=0.25, linewidth=0)
    lower.plot(_point_times(loudness), loudness, color=LINE, linewidth=1.8)
    _finish_axis(lower, "loudness (RMS)")
    for time in onsets or ():
        upper.axvline(time, color="white", linewidth=0.9, alpha=0.8)
        lower.axvline(time, color=FAINT, linewidth=0.9)
    upper.tick_params(labelbottom=False)
    lower.set_xlim(0, seconds)
    lower.set_xlabel("seconds")
    return _png(figure)


def curves(signals: Mapping[str, np.ndarray]) -> bytes:
    """Loudness signals, one row each under its name, with a common scale; PNG."""
    figure, axes = _figure(0.5 + 0.9 * max(len(signals), 1), rows=max(len(signals), 1))
    top = max((float(np.max(signal)) for signal in signals.values()), default=0.0)
    for axis, (name, signal) in zip(axes, signals.items(), strict=False):
        axis.fill_between(_point_times(signal), signal, color=LINE, alpha=0.25, linewidth=0)
        axis.plot(_point_times(signal), signal, color=LINE, linewidth=1.6)
        _finish_axis(axis)
        axis.set(xlim=(0, len(signal) / LOUDNESS_FPS), ylim=(0, 1.1 * top or 1))
        axis.set_title(name, loc="left", fontsize=9, pad=2, color=INK)
        axis.tick_params(labelbottom=axis is axes[-1])
    axes[-1].set_xlabel("seconds")
    return _png(figure)


def loss_curve(rows: Sequence[Mapping[str, Any]], names: Sequence[str] = ("loss",), x: str = "done") -> bytes:
    """Metrics over training as points with a running median, one panel each; PNG.

    Args:
        rows: log lines, each with `x` and some of `names`.
        names: metrics to draw.
        x: the field that counts steps.

    Raises:
        ValueError: when no row has a finite value of a metric.
    """
    figure, axes = _figure(2.6 * len(names), rows=len(names))
    for axis, name in zip(axes, names, strict=True):
        points = [(row[x], row[name]) for row in rows if name in row and x in row and math.isfinite(row[name])]
        if not points:
            raise ValueError(f"none of the {len(rows)} log rows has {x!r} and a finite {name!r}; name what they hold")
        steps, values = (np.array(column, dtype=float) for column in zip(*points, strict=True))
        order = np.argsort(steps, kind="stable")
        steps, values = steps[order], values[order]
        axis.plot(steps, values, ".", color=FAINT, markersize=3 if len(values) > 60 else 5)
        axis.plot(steps, _running_median(values), color=LINE, linewidth=2)
        if values.min() > 0 and values.max() / values.min() > 20:
            axis.set_yscale("log")
        _finish_axis(axis, name)
        last = (steps[-1], _running_median(values)[-1])
        axis.annotate(f"{last[1]:.4g}", last, (4, 0), textcoords="offset points", va="center", fontsize=10)
    axes[-1].set_xlabel("steps")
    return _png(figure)


def picture(content: bytes, name: str = "") -> str:
    """A PNG or JPEG as Markdown that needs no other file."""
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f"![{name}](data:image/{kind};base64,{base64.b64encode(content).decode()})"


def _running_median(values: np.ndarray) -> np.ndarray:
    """Median over about a twentieth of the run around each point; shorter at the ends."""
    half = max(1, len(values) // 40) if len(values) > 4 else 0
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])


def _point_times(signal: np.ndarray) -> np.ndarray:
    """Seconds in the middle of each loudness point."""
    return (np.arange(len(signal)) + 0.5) / LOUDNESS_FPS


def _mel_bin(hertz: np.ndarray, bins: int) -> np.ndarray:
    """Where a frequency lies among `bins` Slaney mel bins, as a fractional bin number."""
    from librosa import hz_to_mel

    low, high = hz_to_mel(MEL_MIN_HZ), hz_to_mel(MEL_MAX_HZ)
    return (hz_to_mel(hertz) - low) / (high - low) * (bins + 1) - 1


def _figure(height_inches: float, rows: int, heights: Sequence[float] | None = None) -> tuple["Figure", list["Axes"]]:
    """A figure 900 pixels wide with `rows` axes that share their time axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height_inches), dpi=WIDTH / 9, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    return figure, list(axes)


def _finish_axis(axis: "Axes", label: str = "") -> None:
    axis.set_ylabel(label)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#e4e7eb", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=9, colors=INK)
    axis.margins(y=0.1)


def _png(figure: "Figure") -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return _small_png(Image.open(buffer).convert("RGB"))


def _small_png(image: "Image") -> bytes:
    """The picture as PNG with as many colours as fit MAX_BYTES (256 down to 16)."""
    from PIL import Image

    for colours in (256, 128, 64, 32, 16):
        buffer = io.BytesIO()
        reduced = image.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        reduced.save(buffer, format="png", compress_level=9)
        if buffer.tell() <= MAX_BYTES:
            break
    return buffer.getvalue()


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _header(lines: Sequence[str], legend: Sequence[tuple[str, str]]) -> "Image":
    """The lines above a contact sheet: the caption, cut to one line, and each phrase in its box's colour."""
    from PIL import Image, ImageDraw

    head = Image.new("RGB", (WIDTH, 30 + (24 if legend else 0)), "white")
    draw = ImageDraw.Draw(head)
    text = " ".join(lines)
    while text and draw.textlength(text, font=_font(17)) > WIDTH - 16:
        text = text[:-2].rstrip(" .") + "…"
    draw.text((8, 5), text, fill=INK, font=_font(17))
    across = 8.0
    for name, colour in legend:
        draw.rectangle((across, 33, across + 14, 47), fill=colour, outline=INK)
        draw.text((across + 20, 31), name, fill=INK, font=_font(15))
        across += 40 + draw.textlength(name, font=_font(15))
    return head


def _draw_box(draw: Any, box: "Box", size: tuple[int, int], colour: str) -> None:
    width, height = size
    corners = (box.x0 * width, box.y0 * height, box.x1 * width - 1, box.y1 * height - 1)
    draw.rectangle(corners, outline="#000000", width=4)
    draw.rectangle(corners, outline=colour, width=2)
    label = f"{box.confidence:.2f}"
    left, top = corners[0] + 3, corners[1] + 2
    draw.text((left, top), label, fill=colour, font=_font(12), stroke_width=2, stroke_fill="#000000")
