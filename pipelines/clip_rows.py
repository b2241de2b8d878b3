"""The clip list: one row a clip, as it is built, written by `clip_list` and read by all assets."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from drawaudio_model.shard import check_keys
from pipelines.parquet_rows import read_rows, write_rows
from pipelines.partitions import base_shard, shard_of
from pipelines.profiles import Profile


@dataclass(frozen=True)
class ClipRow:
    """One clip of ten seconds, before anything is rendered, read or fetched; the fields are the list's columns."""

    key: str
    """<source_id>_<start, 6 digits>."""
    source: str
    """Name of where it comes from, as the samples and the card say it."""
    source_id: str
    """Of the video: all clips of one video share a shard."""
    start_s: int
    label: str
    """Class of the clip; "" where there is none."""
    split: str
    caption: str | None
    """None where it is yet to be made."""
    media: str
    """Path of the user's own file; "" where the source makes or fetches the media."""
    shard: str


class SourceClip(Protocol):
    """A clip as its source knows it."""

    @property
    def key(self) -> str: ...
    @property
    def source_id(self) -> str: ...
    @property
    def start_s(self) -> int: ...
    @property
    def label(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def caption(self) -> str | None: ...


def clip_row(profile: Profile, clip: SourceClip, *, source: str, media: str = "") -> ClipRow:
    """The row of a source's clip, in the shard that the profile gives its video."""
    shard = shard_of(profile, clip.split, clip.source_id)
    return ClipRow(
        clip.key, source, clip.source_id, clip.start_s, clip.label, clip.split, clip.caption, media=media, shard=shard
    )


def write_clip_list(path: Path, rows: Iterable[ClipRow]) -> None:
    """Write the rows as parquet, whole or not at all."""
    write_rows(path, ClipRow, rows)


def read_clip_list(root: Path, shard: str | None = None) -> dict[str, ClipRow]:
    """Rows by key, of one shard (or the one that an overflow shard belongs to) or of all.

    Raises:
        ValueError: when the list was not made, or a key is none.
    """
    path = Path(root) / "clip_list.parquet"
    if not path.exists():
        raise ValueError(f"{path} does not exist; materialize clip_list first")
    rows = read_rows(path, ClipRow, [("shard", "=", base_shard(shard))] if shard else None)
    check_keys((row.key for row in rows), path)
    return {row.key: row for row in rows}
