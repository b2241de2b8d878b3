"""E-L1: how far the linear loudness envelope of a generated sound is from that of the real one."""

import librosa
import numpy as np

FRAME_SAMPLES = 512
HOP_SAMPLES = 128
"""Video-Foley's frames at 16 kHz: 32 ms every 8 ms."""


def envelope_l1(reference: np.ndarray, generated: np.ndarray) -> float:
    """Mean |RMS(reference) - RMS(generated)| over frames, linear amplitude; lower is better, 0 for equal envelopes.

    Nothing is normalised, so a sound that is right but quieter has an error: read it beside `loudness_error_db`.

    Args:
        reference: (samples,) real waveform at 16 kHz.
        generated: (samples,) generated waveform.

    Raises:
        ValueError: when the waveforms differ in shape, are not one axis, or hold values that are not finite.

    Source: Video-Foley, evaluate_v2s.py (frame 512, hop 128, 192 samples of reflection at each end).
    """
    reference, generated = np.asarray(reference, np.float32), np.asarray(generated, np.float32)
    if reference.ndim != 1 or reference.shape != generated.shape or len(reference) < FRAME_SAMPLES:
        raise ValueError(
            f"reference is {reference.shape} and generated waveform {generated.shape}, expected one axis of equal length "
            f"and at least {FRAME_SAMPLES} samples; cut both to the same seconds"
        )
    if not (np.isfinite(reference).all() and np.isfinite(generated).all()):
        raise ValueError("a waveform holds values that are not finite; check where it was decoded")
    return float(np.abs(_envelope(reference) - _envelope(generated)).mean())


def _envelope(waveform: np.ndarray) -> np.ndarray:
    """(frames,) RMS."""
    edge = (FRAME_SAMPLES - HOP_SAMPLES) // 2
    padded = np.pad(waveform, edge, mode="reflect")
    return librosa.feature.rms(y=padded, frame_length=FRAME_SAMPLES, hop_length=HOP_SAMPLES, center=False)[0]
