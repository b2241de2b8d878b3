"""The frames of a decoded clip (clip_media): JPEGs at VIDEO_FPS, one member each, in the order of time.

PyAV is loaded with the first frame and not before: the assets import this file when Dagster starts.

Legend: V video frames, H/W pixels.
"""

import numpy as np

from drawaudio_model.shard import ShardReader


def frame_member(number: int) -> str:
    """Name of the member that holds a frame, counted from 0."""
    return f"{number:03d}.jpg"


def frame_members(reader: ShardReader, key: str) -> list[str]:
    """Names of a clip's frames in the order of time; none where the shard has no pictures of it."""
    return sorted(name for name in reader.members(key) if name.endswith(".jpg"))


def read_frame(reader: ShardReader, key: str, number: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    from drawaudio_model.media import decode_jpeg

    return decode_jpeg(reader.member(key, frame_member(number)))


def read_frames(reader: ShardReader, key: str, *, most: int | None = None) -> np.ndarray:
    """(V, H, W, 3) uint8 RGB, all of them or the first `most`.

    Raises:
        ValueError: when the shard has no pictures of the clip.
    """
    from drawaudio_model.media import decode_jpeg

    names = frame_members(reader, key)[:most]
    if not names:
        raise ValueError(f"shard {reader.shard} has no pictures of clip {key}; give the folder of clip_media")
    return np.stack([decode_jpeg(reader.member(key, name)) for name in names])
