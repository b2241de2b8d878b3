"""The loudness signal: how loud a clip is, ten times a second, from its waveform or from a drawn curve.

Paper: Eq. 10 (RMS over windows of 1024 samples every 160), average pooling to 10 points a second, Eq. 11 (three-tap
Gaussian, called EWMA there). Levels are linear RMS amplitudes of the waveform that enters the mel, whose peak is 0.5:
0 is silence, and about 0.35 a full sine.

An array is measured with numpy, and no torch is loaded; a tensor with torch (loudness_tensors.py). They agree to 1e-7.

Point k stands for the time from k/10 to (k+1)/10 s; curves are written and drawn with the middle of it, (k + 0.5)/10.

Legend: B batch, T mel frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from drawaudio_model.clip_format import HOP_LENGTH, LOUDNESS_FPS, SAMPLE_RATE, WINDOW_LENGTH
from drawaudio_model.curve_files import check_points

# The files of curves were read here before; code outside may still import this from here.
from drawaudio_model.curve_files import read_points as read_points
from drawaudio_model.curve_files import write_points as write_points

if TYPE_CHECKING:
    from torch import Tensor

Waveform = TypeVar("Waveform", np.ndarray, "Tensor")


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
    """(..., 10 * seconds) float32 loudness of a waveform (..., 16000 * seconds); numpy in, numpy out; tensor in, tensor out.

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
    points = _points(seconds)
    wanted = points * SAMPLE_RATE // LOUDNESS_FPS
    if waveform.ndim == 0 or waveform.shape[-1] != wanted:
        raise ValueError(
            f"waveform has shape {tuple(waveform.shape)}, expected (..., {wanted}) samples for {seconds} s at "
            f"{SAMPLE_RATE} Hz; cut or pad it first"
        )
    if edges not in ("renormalise", "zero", "replicate"):
        raise ValueError(f'loudness edges is "{edges}", expected "renormalise", "zero" or "replicate"')
    taps = gaussian_kernel(window, sigma, sigma_is)
    if not isinstance(waveform, np.ndarray):
        from drawaudio_model import loudness_tensors

        return loudness_tensors.loudness_signal(waveform, _padding(padding), points, taps, edges)
    frames = rms(waveform, padding=padding)  # (..., T)
    pooled = _running_sum(frames, points, step=frames.shape[-1] // points, length=frames.shape[-1] // points)
    return _smooth(pooled / np.float32(frames.shape[-1] // points), taps, edges)


def rms(waveform: Waveform, *, padding: Literal["tail", "centered"] = "tail") -> Waveform:
    """(..., T) root mean square of each window of 1024 samples every 160; T is samples // 160. Paper: Eq. (10)."""
    pad = _padding(padding)
    if not isinstance(waveform, np.ndarray):
        from drawaudio_model import loudness_tensors

        return loudness_tensors.rms(waveform, pad)
    squares = np.square(waveform, dtype=np.float32)
    squares = np.pad(squares, [(0, 0)] * (squares.ndim - 1) + [pad])
    frames = waveform.shape[-1] // HOP_LENGTH
    return np.sqrt(_running_sum(squares, frames, step=HOP_LENGTH, length=WINDOW_LENGTH) / np.float32(WINDOW_LENGTH))


def _padding(padding: Literal["tail", "centered"]) -> tuple[int, int]:
    """Zeros before and after the squares of a waveform."""
    surplus = WINDOW_LENGTH - HOP_LENGTH
    if padding == "tail":
        return (0, surplus)
    if padding == "centered":
        return (surplus // 2, surplus - surplus // 2)
    raise ValueError(f'loudness padding is "{padding}", expected "tail" or "centered"')


def _running_sum(values: np.ndarray, count: int, *, step: int, length: int) -> np.ndarray:
    """(..., count) float32 sums over `length` values every `step`, added up in the order in which torch's pooling does."""
    total = np.zeros((*values.shape[:-1], count), np.float32)
    for offset in range(length):
        total += values[..., offset::step][..., :count]
    return total


def gaussian_kernel(window: int = 3, sigma: float = 3.5, sigma_is: Literal["std", "variance"] = "std") -> np.ndarray:
    """(window,) float32 Gaussian taps with sum 1. Paper: Eq. (11)."""
    if window < 1 or window % 2 == 0:
        raise ValueError(f"loudness window is {window} points, expected an odd number of at least 1")
    if sigma <= 0:
        raise ValueError(f"loudness sigma is {sigma}, expected more than 0")
    if sigma_is not in ("std", "variance"):
        raise ValueError(f'loudness sigma_is is "{sigma_is}", expected "std" or "variance"')
    variance = sigma**2 if sigma_is == "std" else sigma
    taps = np.exp(-np.square(np.arange(window) - window // 2) / (2 * variance))
    return (taps / taps.sum()).astype(np.float32)


def _smooth(signal: np.ndarray, taps: np.ndarray, edges: Literal["renormalise", "zero", "replicate"]) -> np.ndarray:
    """The signal (..., points) filtered by the taps, same length."""
    reach = [(0, 0)] * (signal.ndim - 1) + [(len(taps) // 2,) * 2]
    padded = np.pad(signal, reach, mode="edge" if edges == "replicate" else "constant")
    smooth = np.lib.stride_tricks.sliding_window_view(padded, len(taps), axis=-1) @ taps
    if edges != "renormalise":
        return smooth
    # Not mode "same", which has the taps' length where they are more than the points.
    weights = np.convolve(np.ones(signal.shape[-1], np.float32), taps)[len(taps) // 2 :][: signal.shape[-1]]
    return smooth / weights


def point_times(seconds: float) -> np.ndarray:
    """(10 * seconds,) times in seconds of the points: the middle of the tenth of a second that each stands for."""
    return (np.arange(_points(seconds)) + 0.5) / LOUDNESS_FPS


def from_points(points: Sequence[tuple[float, float]], seconds: float) -> np.ndarray:
    """(10 * seconds,) float32 loudness signal of a drawn curve: straight lines between points, flat beyond the ends.

    Args:
        points: (time in seconds, level in [0, 1]), times rising; two points at one time are a jump, which has the second's
            level. Points beyond the clip shape the line up to its end.
        seconds: length of the clip.

    Raises:
        ValueError: for no point, a time that falls, or a value that is not finite or out of range.
    """
    check_points(points)
    times, levels = zip(*points, strict=True)
    return np.interp(point_times(seconds), times, levels).astype(np.float32)


def noise_of_curve(signal: np.ndarray, *, seed: int = 0, spectrum: np.ndarray | None = None) -> np.ndarray:
    """(samples,) float32 noise whose loudness signal is about `signal` (10 * seconds,): a curve made audible.

    Its peaks lie about 12 dB above its level, so a loud curve's exceed full scale: they are left as they are.

    Args:
        signal: (10 * seconds,) levels.
        seed: of the noise.
        spectrum: (K,) power of the noise at K frequencies from 0 to 8 kHz, of any scale; None: white.
    """
    levels = np.asarray(signal, np.float64)
    if levels.ndim != 1 or not len(levels) or not np.isfinite(levels).all():
        raise ValueError(f"loudness signal has shape {levels.shape}, expected (10 * seconds,) finite levels")
    samples = len(levels) * SAMPLE_RATE // LOUDNESS_FPS
    noise = np.random.default_rng(seed).standard_normal(samples)
    if spectrum is not None:
        lines = np.fft.rfft(noise)
        powers = np.interp(np.linspace(0, 1, len(lines)), np.linspace(0, 1, len(spectrum)), spectrum)
        noise = np.fft.irfft(lines * np.sqrt(powers), samples)
        noise /= np.sqrt(np.square(noise).mean())
    times = (np.arange(samples) + 0.5) / SAMPLE_RATE
    return (noise * np.interp(times, point_times(len(levels) / LOUDNESS_FPS), levels)).astype(np.float32)


def to_points(signal: np.ndarray | Tensor) -> list[tuple[float, float]]:
    """The (time in seconds, level) points of a loudness signal (10 * seconds,); `from_points` gives it back."""
    levels = np.asarray(signal, dtype=np.float32)
    if levels.ndim != 1:
        raise ValueError(f"loudness signal has shape {levels.shape}, expected one axis; take one clip of the batch")
    times = point_times(len(levels) / LOUDNESS_FPS)
    return [(float(time), float(level)) for time, level in zip(times, levels, strict=True)]


def _points(seconds: float) -> int:
    points = round(seconds * LOUDNESS_FPS)
    if points < 1 or not math.isclose(points, seconds * LOUDNESS_FPS, rel_tol=1e-9):
        raise ValueError(f"clip has {seconds} s, expected a positive multiple of {1 / LOUDNESS_FPS} s; cut or pad it")
    return points
