"""The clip with which the README draws, where `make demo` has made its world: beside the model, in a shard of raw clips."""

import tarfile
from pathlib import Path

from drawaudio_model.atomic_files import write_atomically

SHARD, CLIP = Path("raw_clips") / "test-000000.tar", "demo900002_000000.mp4"


def has_demo_clip(model: Path) -> bool:
    """Whether the demo's clips lie beside this model."""
    return (model.parent / SHARD).is_file()


def demo_clip(model: Path) -> Path:
    """The clip, taken out of its shard where that has not been done yet; `make studio` opens the same file.

    Raises:
        ValueError: when the shard is not there, or is none that can be read.
    """
    shard, clip = model.parent / SHARD, model.parent / "clip.mp4"
    if clip.is_file():
        return clip
    try:
        with tarfile.open(shard) as tar:
            videos = sorted(name for name in tar.getnames() if name.endswith(".mp4"))
            member = tar.extractfile(CLIP if CLIP in videos else videos[0])
            assert member is not None  # it is a file
            write_atomically(clip, member.read())
    except (OSError, tarfile.TarError, IndexError) as error:
        raise ValueError(
            f"the demo's clip cannot be taken from {shard} ({error}); run make demo, or drop a video"
        ) from None
    return clip
