"""The frames of a decoded clip."""

from pathlib import Path

import numpy as np
import pytest

from drawaudio_model.clip_frames import frame_member, frame_members, read_frame, read_frames
from drawaudio_model.media import encode_jpeg
from drawaudio_model.shard import ShardReader, ShardWriter


@pytest.fixture
def reader(tmp_path: Path) -> ShardReader:
    """A clip of 12 grey frames, each a step lighter, written backwards; and a clip without pictures."""
    pictures = [np.full((16, 16, 3), 20 * number, np.uint8) for number in range(12)]
    frames = {frame_member(number): encode_jpeg(pictures[number]) for number in reversed(range(12))}
    with ShardWriter(tmp_path, "train-000000", inputs={}) as shard:
        shard.add("a_000000", {"json": b"{}", "flac": b"", **frames})
        shard.add("b_000000", {"json": b"{}"})
        shard.commit()
    return ShardReader(tmp_path, "train-000000")


def test_frames_come_in_the_order_of_time(reader: ShardReader) -> None:
    assert frame_members(reader, "a_000000") == [f"{number:03d}.jpg" for number in range(12)]
    assert read_frames(reader, "a_000000").mean(axis=(1, 2, 3)) == pytest.approx([20 * n for n in range(12)], abs=2)
    assert read_frames(reader, "a_000000", most=3).shape == (3, 16, 16, 3)
    assert read_frame(reader, "a_000000", 7).mean() == pytest.approx(140, abs=2)


def test_a_clip_without_pictures_is_named(reader: ShardReader) -> None:
    assert frame_members(reader, "b_000000") == []
    with pytest.raises(ValueError, match="shard train-000000 has no pictures of clip b_000000"):
        read_frames(reader, "b_000000")
