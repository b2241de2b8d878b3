"""The official lists of VGGSound and AudioCaps -> one row a clip, before anything is fetched.

DRAWAUDIO_LISTS names a folder with the files as their authors publish them, plain or gzipped (`.gz`):

    vggsound/vggsound.csv             no header; id, start, label, split
    vggsound/train.csv, test.csv      no header; <id>_<start, 6 digits>.mp4, label; beside vggsound.csv or instead of it
    audiocaps/train.csv, val.csv, test.csv      header audiocap_id,youtube_id,start_time,caption
    exclude.txt                       takedowns: a clip's key or a video's id on each line; # begins a comment

A row that cannot be used is left out and named by file, line and reason; so is a second row of the same clip. Where
AudioCaps has several captions of a clip, the one with the lowest audiocap_id is taken. A video with clips in several
splits stays in the one that is held out furthest (test, then val): the pictures of two of its clips are alike.
"""

import csv
import gzip
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drawaudio_model.shard import is_excluded, read_exclude_list
from pipelines.sources.source import LeftOut

LISTS: dict[str, tuple[str, ...]] = {
    "audiocaps": ("train.csv", "val.csv", "test.csv"),
    "vggsound": ("vggsound.csv", "train.csv", "test.csv"),
}
"""Files of each dataset. Where both have a clip, AudioCaps' row is kept: a person wrote its caption."""
SPLITS = {"audiocaps": ("train", "val", "test"), "vggsound": ("train", "test")}
"""Splits of each dataset; there are shards of no other."""
ORIGINS = {
    "audiocaps": "train.csv, val.csv and test.csv of github.com/cdjkim/audiocaps (folder dataset)",
    "vggsound": "vggsound.csv of www.robots.ox.ac.uk/~vgg/data/vggsound, or test.csv of github.com/hche11/VGGSound",
}
AUDIOCAPS_HEADER = ["audiocap_id", "youtube_id", "start_time", "caption"]
_HELD_OUT_FIRST = ("test", "val", "train")
_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_NAME = re.compile(r"([A-Za-z0-9_-]{11})_([0-9]{6})(?:\.mp4)?")
EXCLUDED = re.compile(rf"{_ID.pattern}(?:_[0-9]{{6}})?")
"""A line of the exclude list: a video's id, or a clip's key."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ListedClip:
    """One clip of ten seconds that a list names."""

    key: str
    """<video id>_<start, 6 digits>."""
    source: str
    source_id: str
    """The video's id on YouTube, 11 characters."""
    start_s: int
    label: str
    """VGGSound's class; "" in AudioCaps."""
    split: str
    caption: str | None
    """None where it is yet to be made."""
    order: int = 0
    """AudioCaps' number of the caption; of several for one clip the lowest counts."""
    place: str = ""
    """<file>, line <number>."""


@dataclass
class ClipLists:
    """The content of the lists."""

    clips: list[ListedClip] = field(default_factory=list)
    """Sorted by key."""
    left_out: list[LeftOut] = field(default_factory=list)
    """For bad_row, duplicate, further_caption, held_out or excluded."""

    @property
    def reasons(self) -> dict[str, int]:
        """Rows left out by reason."""
        return dict(Counter(row.reason for row in self.left_out).most_common())


def lists_folder() -> Path:
    """The folder of DRAWAUDIO_LISTS.

    Raises:
        ValueError: when it is not set or no folder.
    """
    name = os.environ.get("DRAWAUDIO_LISTS")
    if not name:
        raise ValueError(
            "DRAWAUDIO_LISTS is not set; set it to the folder with vggsound/ and audiocaps/, see docs/datasets.md"
        )
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ValueError(f"DRAWAUDIO_LISTS is {folder}, which is no folder; make it and put the official lists there")
    return folder


def exclude_path(folder: Path) -> Path:
    """The exclude list: DRAWAUDIO_EXCLUDE, or exclude.txt in the folder of lists; it may be absent there.

    Raises:
        ValueError: when DRAWAUDIO_EXCLUDE names no file.
    """
    name = os.environ.get("DRAWAUDIO_EXCLUDE")
    if not name:
        return Path(folder) / "exclude.txt"
    path = Path(name).expanduser()
    if not path.is_file():
        raise ValueError(
            f"DRAWAUDIO_EXCLUDE is {path}, which is no file; a takedown must not be lost, correct the path"
        )
    return path


def read_lists(folder: Path, datasets: Sequence[str], also_excluded: frozenset[str] = frozenset()) -> ClipLists:
    """Every clip of the datasets' lists once, and every row that was left out.

    Args:
        folder: laid out as this module's head says.
        datasets: "audiocaps", "vggsound" or both; of two rows of a clip the first dataset's is kept.
        also_excluded: keys and ids that are taken back beside those of the folder's exclude list.

    Raises:
        ValueError: when a dataset's lists are missing or hold no row that can be used, or for a line of the exclude list that
            is neither key nor id.
    """
    excluded = read_exclude_list(exclude_path(folder), EXCLUDED) | also_excluded
    found = ClipLists()
    kept: dict[str, ListedClip] = {}
    for dataset in datasets:
        for path, split in list_files(Path(folder), dataset):
            rows = _audiocaps_rows(path, split) if dataset == "audiocaps" else _vggsound_rows(path, split)
            good = 0
            for row in rows:
                if isinstance(row, LeftOut):
                    found.left_out.append(row)
                    continue
                good += 1
                if is_excluded(row.key, excluded):
                    found.left_out.append(LeftOut(row.place, row.key, "excluded", f"{row.key} is on the exclude list"))
                elif row.key in kept:
                    kept[row.key], other = _choose(kept[row.key], row)
                    found.left_out.append(other)
                else:
                    kept[row.key] = row
            if not good:
                first = next(
                    (row.message for row in found.left_out if row.place.startswith(f"{path}, ")), "it is empty"
                )
                raise ValueError(f"{path} has no row that can be used ({first}); it should be {ORIGINS[dataset]}")
    found.clips = sorted(_one_split_a_video(kept, found.left_out), key=lambda clip: clip.key)
    return found


def list_files(folder: Path, dataset: str) -> list[tuple[Path, str]]:
    """(file, split of its rows or "" where they say it themselves) of a dataset.

    Raises:
        ValueError: when a file that is needed is missing.
    """
    paths: dict[str, Path] = {}
    for name in LISTS[dataset]:
        candidates = [path for path in (folder / dataset / name, folder / dataset / f"{name}.gz") if path.is_file()]
        if candidates:
            paths[name] = candidates[0]
    missing = [name for name in LISTS[dataset] if name not in paths]
    if not paths or (dataset == "audiocaps" and missing):
        raise ValueError(f"{folder / dataset} has no {missing[0]} (or {missing[0]}.gz); put {ORIGINS[dataset]} there")
    return [(path, "" if name == "vggsound.csv" else name.removesuffix(".csv")) for name, path in paths.items()]


def _choose(first: ListedClip, second: ListedClip) -> tuple[ListedClip, LeftOut]:
    """Of two rows of one clip the one that stays, and the other's report."""
    if first.source == second.source == "audiocaps" and first.split == second.split and first.caption != second.caption:
        stays, goes = (second, first) if second.order < first.order else (first, second)
        text = f"{goes.key} has the caption of {stays.place} already; one caption a clip is used"
        return stays, LeftOut(goes.place, goes.key, "further_caption", text)
    if _HELD_OUT_FIRST.index(second.split) < _HELD_OUT_FIRST.index(first.split):
        text = f"{first.key} is a clip of {second.split} in {second.place}; it stays there only"
        return second, LeftOut(first.place, first.key, "held_out", text)
    if second.split != first.split:
        text = f"{first.key} is a clip of {first.split} in {first.place}; it stays there only"
        return first, LeftOut(second.place, second.key, "held_out", text)
    unlike = f", there with the label {first.label!r}, here {second.label!r}" if second.label != first.label else ""
    return first, LeftOut(second.place, second.key, "duplicate", f"{first.key} stands in {first.place} already{unlike}")


def _one_split_a_video(kept: dict[str, ListedClip], left_out: list[LeftOut]) -> Iterator[ListedClip]:
    """The clips without those whose video has a clip in a split that is held out further."""
    splits: dict[str, str] = {}
    for clip in kept.values():
        known = splits.setdefault(clip.source_id, clip.split)
        if _HELD_OUT_FIRST.index(clip.split) < _HELD_OUT_FIRST.index(known):
            splits[clip.source_id] = clip.split
    for clip in kept.values():
        held_out = splits[clip.source_id]
        if held_out == clip.split:
            yield clip
        else:
            text = f"video {clip.source_id} has a clip in {held_out}; its clip in {clip.split} is left out"
            left_out.append(LeftOut(clip.place, clip.key, "held_out", text))


def _vggsound_rows(path: Path, split: str) -> Iterator[ListedClip | LeftOut]:
    """Rows of the 4-column list, or of a 2-column list of one split."""
    for place, fields in _records(path):
        if isinstance(fields, str):
            yield LeftOut(place, "", "bad_row", fields)
        elif len(fields) == 4 and not split:
            yield _clip(place, "vggsound", *fields, caption=None)
        elif len(fields) == 2 and split:
            name = _NAME.fullmatch(fields[0])
            if name is None:
                text = f"{fields[0]!r} is no clip's name, expected <id of 11 characters>_<start, 6 digits>.mp4"
                yield LeftOut(place, "", "bad_row", text)
            else:
                yield _clip(place, "vggsound", name[1], name[2], fields[1], split, caption=None)
        else:
            expected = "2: name and label" if split else "4: id, start, label and split"
            yield LeftOut(place, "", "bad_row", f"{len(fields)} fields, expected {expected}")


def _audiocaps_rows(path: Path, split: str) -> Iterator[ListedClip | LeftOut]:
    """Rows of one of AudioCaps' lists."""
    for number, (place, fields) in enumerate(_records(path)):
        if isinstance(fields, str):
            yield LeftOut(place, "", "bad_row", fields)
        elif number == 0:
            if fields != AUDIOCAPS_HEADER:
                raise ValueError(
                    f"{place} has the columns {','.join(fields)}, expected {','.join(AUDIOCAPS_HEADER)}; put "
                    f"{ORIGINS['audiocaps']} there"
                )
        elif len(fields) != 4:
            yield LeftOut(place, "", "bad_row", f"{len(fields)} fields, expected 4: {', '.join(AUDIOCAPS_HEADER)}")
        elif not fields[0].isascii() or not fields[0].isdigit():
            yield LeftOut(place, "", "bad_row", f"audiocap_id is {fields[0]!r}, expected a number")
        else:
            caption = " ".join(fields[3].split())
            yield _clip(place, "audiocaps", fields[1], fields[2], "", split, caption=caption, order=int(fields[0]))


def _clip(
    place: str, source: str, video: str, start: str, label: str, split: str, *, caption: str | None, order: int = 0
) -> ListedClip | LeftOut:
    """The clip of a row's fields, or what is wrong with them."""
    fault = ""
    if not _ID.fullmatch(video):
        fault = f"video id is {video!r}, expected 11 letters, digits, '-' or '_'"
    elif not (start.isascii() and start.isdigit() and len(start) <= 6):
        fault = f"start is {start!r}, expected whole seconds from 0 to 999999"
    elif split not in SPLITS[source]:
        fault = f"split is {split!r}, expected {' or '.join(SPLITS[source])}"
    elif source == "vggsound" and not label.strip():
        fault = "the label is empty"
    elif caption == "":
        fault = "the caption is empty"
    if fault:
        return LeftOut(place, "", "bad_row", fault)
    seconds = int(start)
    return ListedClip(f"{video}_{seconds:06d}", source, video, seconds, label.strip(), split, caption, order, place)


def _records(path: Path) -> Iterator[tuple[str, list[str] | str]]:
    """(place, fields, or what is wrong with the line) of every line that is not empty.

    Line by line: no official field spans two, and so a lost quote costs one row instead of all that follow.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        content = file.read().removeprefix(_BYTE_ORDER_MARK)
    for number, raw in enumerate(content.split(b"\n"), start=1):
        if not raw.strip():
            continue
        place = f"{path}, line {number}"
        try:
            line = raw.rstrip(b"\r").decode("utf-8")
            fields = next(csv.reader([line], strict=True)) if '"' in line else line.split(",")
        except UnicodeDecodeError:
            yield place, "the line is no UTF-8"
        except csv.Error as error:
            yield place, f"the line is no CSV: {error}"
        else:
            yield place, fields
