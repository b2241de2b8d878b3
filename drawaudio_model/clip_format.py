"""The geometry of one clip: every rate, length and grid that the other files share.

Imports nothing. No other file spells these numbers. Values that a checkpoint also carries (the vocoder's sampling
rate, the autoencoder's compression) are compared with these on load, and a mismatch raises.

Source: Draw an Audio, Sec. "Implementation details" (16 kHz, 8 s, 4 fps) and AudioLDM2's mel front end (hop 160, 64 bins).
"""

SAMPLE_RATE = 16_000
"""Audio samples per second."""
HOP_LENGTH = 160
"""Audio samples from one mel frame to the next: 10 ms."""
WINDOW_LENGTH = 1024
"""Audio samples in one analysis window, of the mel (STFT) and of the loudness signal (Eq. 10)."""
MEL_BINS = 64
MEL_MIN_HZ = 0.0
MEL_MAX_HZ = 8000.0

VIDEO_FPS = 4
"""Frames a second that CAVP sees."""
FRAME_SIZE = 224
"""Side in pixels of the square picture that CAVP and the demo world use."""
LOUDNESS_FPS = 10
"""Points a second of the loudness signal."""

SOURCE_SECONDS = 10
"""Length of a clip in the dataset."""
CLIP_SECONDS = 8
"""Length of a training crop and of one sampling window."""

SOURCE_SAMPLES = SOURCE_SECONDS * SAMPLE_RATE
SOURCE_MEL_FRAMES = SOURCE_SAMPLES // HOP_LENGTH
SOURCE_VIDEO_FRAMES = SOURCE_SECONDS * VIDEO_FPS
SOURCE_LOUDNESS_POINTS = SOURCE_SECONDS * LOUDNESS_FPS

CLIP_SAMPLES = CLIP_SECONDS * SAMPLE_RATE
MEL_FRAMES = CLIP_SAMPLES // HOP_LENGTH
VIDEO_FRAMES = CLIP_SECONDS * VIDEO_FPS
LOUDNESS_POINTS = CLIP_SECONDS * LOUDNESS_FPS


def crop_starts_seconds(latent_frames_per_source: int) -> tuple[int, ...]:
    """Whole seconds at which a training crop of CLIP_SECONDS may start inside a SOURCE_SECONDS clip.

    A start is allowed where the video, loudness and latent grids all have a step, so that no grid is shifted against
    another. With AudioLDM2's 250 latent frames that is 0, 1 and 2 s; with a grid of 125 it is 0 and 2 s.

    Args:
        latent_frames_per_source: latent frames of a whole SOURCE_SECONDS clip.

    Raises:
        ValueError: when the 8 s crop is no whole number of latent frames.
    """
    if latent_frames_per_source * CLIP_SECONDS % SOURCE_SECONDS:
        raise ValueError(
            f"a latent grid of {latent_frames_per_source} frames in {SOURCE_SECONDS} s has no whole number of frames in "
            f"{CLIP_SECONDS} s; choose an autoencoder whose time compression divides {MEL_FRAMES} mel frames"
        )
    return tuple(
        start
        for start in range(SOURCE_SECONDS - CLIP_SECONDS + 1)
        if start * latent_frames_per_source % SOURCE_SECONDS == 0
    )
