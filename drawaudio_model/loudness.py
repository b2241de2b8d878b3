"""The loudness signal: how loud a clip is, ten times a second, from its waveform or from a drawn curve.

Paper: Eq. 10 (RMS over windows of 1024 samples every 160), average pooling to 10 points a second, Eq. 11 (three-tap
Gaussian, called EWMA there). Levels are linear RMS amplitudes of the waveform that enters the mel, whose peak is 0.5:
0 is silence, and about 0.35 a full sine.

Point k stands for the time from k/10 to (k+1)/10 s; curves are written and drawn with the middle of it, (k + 0.5)/10.

Legend: B batch, T mel frames.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from drawaudio_model.clip_format import HOP_LENGTH, LOUDNESS_FPS, SAMPLE_RATE, WINDOW_LENGTH

CSV_COLUMNS = ("time_seconds", "level")
Waveform = TypeVar("Waveform", np.ndarray, Tensor)


def loudness_signal(
    waveform: Waveform,
    *,
    seconds: float,
    padding: Literal["tail", "centered"] = "tail",
    window: int = 3,
    sigma: float = 3.5,
    sigma_is: Literal["std", "variance"] = "std",
    edges: Literal["renormalise", "zero", "replicate"] = "renormalise",
) -> Waveform:
    """(..., 10 * seconds) float32 loudness of a waveform (..., 16000 * seconds); numpy in, numpy out.

    What the paper leaves open or contradicts is an argument here. Shards, control and evaluation take the defaults: the
    literal reading, but for `sigma_is`.

    Args:
        waveform: (..., samples) at 16 kHz: the normalised waveform from which the log-mel is made.
        seconds: length of the clip.
        padding: where the 864 zeros go that make one RMS value a mel frame: all at the "tail" (Eq. 10 starts at sample
            0, so a value leads its mel frame by 27 ms), or "centered", as many at each end.
        window: taps of the Gaussian of Eq. 11, odd; 1 leaves the pooled signal as it is.
        sigma: its width in points.
        sigma_is: whether `sigma` is the standard deviation or the variance. The paper's text says "variance"; the default
            is the standard deviation, which the letter sigma names everywhere else. The three taps are .329 .343 .329
            then, and .317 .366 .317 with the variance.
        edges: what Eq. 11 sees beyond the ends: "renormalise" drops those taps and scales the others to a sum of 1.

    Raises:
        ValueError: when the waveform has not exactly `seconds` of samples, or a setting is unknown.

    Paper: Eq. (10) and (11), Sec. "Time-Loudness Module".
    """
    samples = torch.as_tensor(waveform).float()
    points = _points(seconds)
    wanted = points * SAMPLE_RATE // LOUDNESS_FPS
    if samples.ndim == 0 or samples.shape[-1] != wanted:
        raise ValueError(
            f"waveform has shape {tuple(samples.shape)}, expected (..., {wanted}) samples for {seconds} s at "
            f"{SAMPLE_RATE} Hz; cut or pad it first"
        )
    frames = rms(samples, padding=padding)  # (..., T)
    leading = frames.shape[:-1]
    pooled = functional.adaptive_avg_pool1d(frames.reshape(-1, 1, frames.shape[-1]), points)  # (B, 1, 10 * seconds)
    smooth = _smooth(pooled, gaussian_kernel(window, sigma, sigma_is), edges).reshape(*leading, points)
    return smooth.cpu().numpy() if isinstance(waveform, np.ndarray) else smooth


def rms(waveform: Tensor, *, padding: Literal["tail", "centered"] = "tail") -> Tensor:
    """(..., T) root mean square of each window of 1024 samples every 160; T is samples // 160. Paper: Eq. (10)."""
    surplus = WINDOW_LENGTH - HOP_LENGTH
    if padding == "tail":
        pad = (0, surplus)
    elif padding == "centered":
        pad = (surplus // 2, surplus - surplus // 2)
    else:
        raise ValueError(f'loudness padding is "{padding}", expected "tail" or "centered"')
    squares = functional.pad(waveform.square(), pad)
    mean = functional.avg_pool1d(squares.reshape(-1, 1, squares.shape[-1]), WINDOW_LENGTH, HOP_LENGTH)
    return mean.clamp_min(0).sqrt().reshape(*waveform.shape[:-1], -1)


def gaussian_kernel(window: int = 3, sigma: float = 3.5, sigma_is: Literal["std", "variance"] = "std") -> Tensor:
    """(window,) float32 Gaussian taps with sum 1. Paper: Eq. (11)."""
    if window < 1 or window % 2 == 0:
        raise ValueError(f"loudness window is {window} points, expected an odd number of at least 1")
    if sigma <= 0:
        raise ValueError(f"loudness sigma is {sigma}, expected more than 0")
    if sigma_is not in ("std", "variance"):
        raise ValueError(f'loudness sigma_is is "{sigma_is}", expected "std" or "variance"')
    variance = sigma**2 if sigma_is == "std" else sigma
    offsets = torch.arange(window, dtype=torch.float64) - window // 2
    taps = torch.exp(-offsets.square() / (2 * variance))
    return (taps / taps.sum()).float()


def _smooth(signal: Tensor, taps: Tensor, edges: Literal["renormalise", "zero", "replicate"]) -> Tensor:
    """The signal (B, 1, points) filtered by the taps, same length."""
    if edges not in ("renormalise", "zero", "replicate"):
        raise ValueError(f'loudness edges is "{edges}", expected "renormalise", "zero" or "replicate"')
    reach = len(taps) // 2
    kernel = taps.to(signal.device).view(1, 1, -1)
    if edges == "replicate":
        return functional.conv1d(functional.pad(signal, (reach, reach), mode="replicate"), kernel)
    smooth = functional.conv1d(signal, kernel, padding=reach)
    if edges == "zero":
        return smooth
    return smooth / functional.conv1d(torch.ones_like(signal[:1]), kernel, padding=reach)


def point_times(seconds: float) -> np.ndarray:
    """(10 * seconds,) times in seconds of the points: the middle of the tenth of a second that each stands for."""
    return (np.arange(_points(seconds)) + 0.5) / LOUDNESS_FPS


def from_points(points: Sequence[tuple[float, float]], seconds: float) -> np.ndarray:
    """(10 * seconds,) float32 loudness signal of a drawn curve: straight lines between points, flat beyond the ends.

    Args:
        points: (time in seconds, level in [0, 1]), times strictly rising; a jump is two points close together. Points
            beyond the clip shape the line up to its end.
        seconds: length of the clip.

    Raises:
        ValueError: for no point, a time that does not rise, or a value that is not finite or out of range.
    """
    _check_points(points)
    times, levels = zip(*points, strict=True)
    return np.interp(point_times(seconds), times, levels).astype(np.float32)


def noise_of_curve(signal: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """(samples,) float32 noise whose loudness signal is about `signal` (10 * seconds,): a curve made audible.

    Its peaks lie about 12 dB above its level, so a loud curve's exceed full scale: they are left as they are.
    """
    levels = np.asarray(signal, np.float64)
    if levels.ndim != 1 or not len(levels) or not np.isfinite(levels).all():
        raise ValueError(f"loudness signal has shape {levels.shape}, expected (10 * seconds,) finite levels")
    samples = len(levels) * SAMPLE_RATE // LOUDNESS_FPS
    noise = np.random.default_rng(seed).standard_normal(samples)
    times = (np.arange(samples) + 0.5) / SAMPLE_RATE
    return (noise * np.interp(times, point_times(len(levels) / LOUDNESS_FPS), levels)).astype(np.float32)


def to_points(signal: np.ndarray | Tensor) -> list[tuple[float, float]]:
    """The (time in seconds, level) points of a loudness signal (10 * seconds,); `from_points` gives it back."""
    levels = np.asarray(signal, dtype=np.float32)
    if levels.ndim != 1:
        raise ValueError(f"loudness signal has shape {levels.shape}, expected one axis; take one clip of the batch")
    times = point_times(len(levels) / LOUDNESS_FPS)
    return [(float(time), float(level)) for time, level in zip(times, levels, strict=True)]


def write_points(path: Path, points: Sequence[tuple[float, float]]) -> None:
    """Writes a curve as CSV (columns time_seconds, level) or JSON (a list of objects with those keys), by suffix."""
    _check_points(points)
    rows = [dict(zip(CSV_COLUMNS, (float(time), float(level)), strict=True)) for time, level in points]
    if _suffix(path) == ".json":
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_points(path: Path) -> list[tuple[float, float]]:
    """The (time in seconds, level) points of a curve file as `write_points` writes it.

    Raises:
        ValueError: naming the file and, for CSV, the line, when it is not such a curve.
    """
    rows = _read_json(path) if _suffix(path) == ".json" else _read_csv(path)
    points = []
    for number, row in enumerate(rows, start=1):
        try:
            points.append((float(row["time_seconds"]), float(row["level"])))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} point {number} is {row!r}, expected numbers for {CSV_COLUMNS[0]} and {CSV_COLUMNS[1]}"
            ) from error
    try:
        _check_points(points)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return points


def _read_csv(path: Path) -> list[Any]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns, rows = reader.fieldnames, list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no CSV: {error}") from error
    if columns is None or not set(CSV_COLUMNS) <= set(columns):
        raise ValueError(f"{path} has the columns {columns}, expected {', '.join(CSV_COLUMNS)}")
    return rows


def _read_json(path: Path) -> list[Any]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds a {type(rows).__name__}, expected a list of points")
    return rows


def _suffix(path: Path) -> str:
    if path.suffix.lower() not in (".csv", ".json"):
        raise ValueError(f'loudness curve {path} ends in "{path.suffix}", expected .csv or .json')
    return path.suffix.lower()


def _check_points(points: Sequence[tuple[float, float]]) -> None:
    if not points:
        raise ValueError("loudness curve has no points, expected at least one (time, level)")
    before = -math.inf
    for time, level in points:
        if not math.isfinite(time) or time <= before:
            raise ValueError(f"loudness curve has the time {time} s after {before} s, expected rising times; sort it")
        if not 0 <= level <= 1:
            raise ValueError(f"loudness curve has the level {level} at {time} s, expected 0 to 1 (linear RMS)")
        before = time


def _points(seconds: float) -> int:
    points = round(seconds * LOUDNESS_FPS)
    if points < 1 or not math.isclose(points, seconds * LOUDNESS_FPS, rel_tol=1e-9):
        raise ValueError(f"clip has {seconds} s, expected a positive multiple of {1 / LOUDNESS_FPS} s; cut or pad it")
    return points
