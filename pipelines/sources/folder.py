"""The user's own media: a folder of files and a CSV of captions -> a list of clips.

Rule for cutting: a clip starts at every multiple of SOURCE_SECONDS. The piece after the last whole clip is kept, and
later padded and flagged, when it lasts at least MIN_TAIL_SECONDS or is the only one; a shorter tail is dropped and its
length reported.

Captions CSV: a header with the columns `file,caption`, optionally `split` (train, val or test) and `label`, separated by
commas, semicolons or tabs; one row a file. `file` is relative to the folder, or a path that ends in it, through links or
not; composed and decomposed letters are the same. One caption serves all clips of its file. A malformed CSV (unknown or missing
column, wrong number of fields, empty caption, unknown split, two rows for one file, a row without its file) is an error
that names every bad line. Media without a row are listed with caption None: the pipeline's ledger then shows them as
rejected, with the reason `no_caption`. Media that cannot be read, whatever goes wrong with them, are listed with one clip
at 0 s, so that they end in the ledger with their reason. The length of a file is what its packets have, whatever its header
claims.

Split, where the CSV has none: by a hash of the file's name, SPLIT_SHARES of all names going to val and test. It depends
on nothing but the name, so adding files moves none. The price: a folder of a few files may get no test clip at all; a
`split` column in the CSV then says what the hash cannot.
"""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

import dagster as dg

from drawaudio_model.atomic_files import fingerprint
from drawaudio_model.clip_format import SOURCE_SECONDS
from drawaudio_model.release.card import About
from drawaudio_model.shard import SPLITS, Rejection
from drawaudio_model.text_files import read_table
from pipelines.clip_rows import ClipRow, clip_row, read_clip_list
from pipelines.profiles import Profile
from pipelines.raw_media import members_of_file
from pipelines.shard_work import Members
from pipelines.sources.source import CODE_NOTICE, Listing, fill_by_recipe, nothing_to_plan, raw_recipe

SUFFIXES = frozenset(
    (
        ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .m2ts .m4v .mkv .mov .mp4 .mpe .mpeg .mpg .mts .mxf .nut .ogg .ogm .ogv .qt .rm "
        ".rmvb .ts .vob .webm .wmv"
    ).split()
)
"""Files of the folder that are taken for media; others (captions, notes, pictures) are not looked at."""

MIN_TAIL_SECONDS = 5
"""A tail below this would be mostly padding."""
_TAIL_TOLERANCE_SECONDS = 0.1
"""A piece this short after a clip's end is rounding of the container's length and never a clip of its own."""

SPLIT_SHARES = {"val": 0.1, "test": 0.1}
"""Share of all file names that the hash sends to each held-out split; the rest trains."""

_COLUMNS = ("file", "caption", "split", "label")
_NO_UTF8 = re.compile(r"\\udc[89a-f][0-9a-f]")
_MAX_STEM = 60
"""Characters of a file's name that enter its key: a tar's names have 100, of which the hash, the start and the member take 40."""


@dataclass(frozen=True)
class FolderClip:
    """One clip of the user's media."""

    key: str
    """<source_id>_<start, 6 digits>."""
    source_id: str
    """The file's name made safe: letters, digits, - and _ only; unique in the folder."""
    start_s: int
    path: Path
    caption: str | None
    """None: the CSV has no row for the file."""
    split: str
    label: str
    flags: tuple[str, ...] = ()
    """Of the last clip of a file: "tail" where it will be padded, "unreadable" where the file could not be read, and what is
    known of the whole file without decoding it (FILE_FLAGS: "wrong_length", "joined_clock")."""


@dataclass(frozen=True)
class DroppedTail:
    """The end of a file that became no clip."""

    path: Path
    start_s: int
    seconds: float


@dataclass(frozen=True)
class _CaptionRow:
    line: int
    caption: str
    split: str
    label: str


ABOUT = About(
    pretty_name="Draw an Audio: own clips",
    description="A folder of media and its captions, cut to whole clips, with the features that train the model.",
    licence="other",
    licence_place="NOTICE",
    provenance="Media and captions are the user's own files; features were computed from them by this project's program.",
    notices=(("clips and captions", "their owners'; clear the rights before you publish them"), CODE_NOTICE),
)


class FolderSource:
    """The media of DRAWAUDIO_CLIPS with the captions of DRAWAUDIO_CAPTIONS; shards refer to the files where they lie."""

    has_truth = False
    takedowns = None
    download_pool = None
    # A small folder may have no clip in a held-out split.
    evaluated_splits = ("test", "val", "train")

    def list_clips(self, profile: Profile, taken_back: frozenset[str] = frozenset()) -> Listing:
        clips, tails = cut_media(*_folder_paths())
        if not any(clip.split == "train" for clip in clips):
            raise ValueError(
                f"none of the {len(clips)} clips of DRAWAUDIO_CLIPS is in the split train; add a column `split` to "
                "DRAWAUDIO_CAPTIONS that says train for those to learn from"
            )
        rows = [clip_row(profile, clip, source="folder", media=_as_text(clip.path.absolute())) for clip in clips]
        dropped = [
            {"file": tail.path.name, "start_s": tail.start_s, "seconds": round(tail.seconds, 2)} for tail in tails
        ]
        return Listing(rows, metadata={"dropped_tails": dg.MetadataValue.json(dropped)})

    def fill_shards(self, context: dg.AssetExecutionContext, root: Path, profile: Profile) -> None:
        fill_by_recipe(context, root, raw_recipe(root, refer_once(), {"media": _media_state(root)}))

    def about(self, profile: Profile) -> About:
        return ABOUT

    def plan(self, profile: Profile) -> str:
        raise nothing_to_plan(profile)


def _folder_paths() -> tuple[Path, Path]:
    names = ("DRAWAUDIO_CLIPS", "DRAWAUDIO_CAPTIONS")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise ValueError(
            f"{missing[0]} is not set; the folder profile needs the media folder and a CSV of captions in it"
        )
    clips, captions = (Path(os.environ[name]).expanduser() for name in names)
    if not clips.is_dir():
        raise ValueError(f"DRAWAUDIO_CLIPS is {clips}, which is no folder; set it to the folder that holds your media")
    if not captions.is_file():
        raise ValueError(
            f"DRAWAUDIO_CAPTIONS is {captions}, which is no file; write a CSV with the columns file,caption"
        )
    return clips, captions


def refer_once() -> Callable[[list[ClipRow]], Iterator[tuple[str, Members | Rejection]]]:
    """A function that refers clips to their files, and hashes each file once for all of them."""
    hashes: dict[tuple[Path, int, int], str] = {}

    def refer(rows: list[ClipRow]) -> Iterator[tuple[str, Members | Rejection]]:
        for row in rows:
            path = Path(row.media)
            try:
                if path.is_file():
                    yield row.key, members_of_file(path, row.start_s, hashes)
                    continue
                text = f"{path} does not exist; put it back or take it out of the captions"
                if _NO_UTF8.search(row.media):
                    text = f"the name {row.media} is no UTF-8, so no table can hold it; give the file another name"
                yield row.key, Rejection(row.key, "missing_file", text)
            except OSError as error:
                yield (
                    row.key,
                    Rejection(row.key, "unreadable_file", f"{path} cannot be read: {error.strerror or error}"),
                )

    return refer


def _as_text(path: Path) -> str:
    """A path as tables hold it: bytes of its name that are no UTF-8 become `\\udcff` and the like."""
    return str(path).encode(errors="backslashreplace").decode()


def _media_state(root: Path) -> str:
    """Changes when a file of the user's changes, so that the shard is made again."""
    paths = sorted({row.media for row in read_clip_list(root).values()})
    states = [(path, os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in paths if os.path.exists(path)]
    return fingerprint(paths, states)


def list_media(folder: Path, captions: Path | None) -> list[FolderClip]:
    """Clips of all media below the folder, sorted by key.

    Args:
        folder: searched with its sub-folders; hidden files and folders are left out.
        captions: the CSV, or None: then no clip has a caption.

    Raises:
        ValueError: when there is no media, or the CSV is malformed; one sentence a bad line.
    """
    return cut_media(folder, captions)[0]


def cut_media(folder: Path, captions: Path | None) -> tuple[list[FolderClip], list[DroppedTail]]:
    """As list_media, and the tails that were dropped."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"media folder {folder} does not exist; give the folder that holds your clips")
    files = _media_files(folder)
    if not files:
        raise ValueError(f"no media in {folder}, expected files ending in one of {' '.join(sorted(SUFFIXES))}")
    rows = {} if captions is None else _read_captions(Path(captions), folder, files)
    ids = _source_ids(files)
    clips: list[FolderClip] = []
    dropped: list[DroppedTail] = []
    for name in files:
        row = rows.get(name)
        starts, tail_flags, rest = _starts(folder / name)
        for start in starts:
            clips.append(
                FolderClip(
                    key=f"{ids[name]}_{start:06d}",
                    source_id=ids[name],
                    start_s=start,
                    path=folder / name,
                    caption=row.caption if row else None,
                    split=(row.split if row else "") or split_of(name),
                    label=row.label if row else "",
                    flags=tail_flags if start == starts[-1] else (),
                )
            )
        if rest > 0:
            dropped.append(DroppedTail(folder / name, starts[-1] + SOURCE_SECONDS, rest))
    return sorted(clips, key=lambda clip: clip.key), dropped


def split_of(name: str) -> str:
    """train, val or test, from the file's name below the folder alone."""
    place = int.from_bytes(hashlib.sha256(os.fsencode(f"split {name}")).digest()[:8], "big") / 2**64
    for split, share in SPLIT_SHARES.items():
        if place < share:
            return split
        place -= share
    return "train"


def clip_starts(seconds: float) -> tuple[list[int], float]:
    """Starts of the clips of a file, and the length of the tail that became none.

    Args:
        seconds: length of the file's picture.
    """
    whole = int((seconds + _TAIL_TOLERANCE_SECONDS) // SOURCE_SECONDS)
    rest = max(0.0, seconds - whole * SOURCE_SECONDS)
    if whole == 0 or rest >= MIN_TAIL_SECONDS:
        whole, rest = whole + 1, 0.0
    return [i * SOURCE_SECONDS for i in range(whole)], 0.0 if rest <= _TAIL_TOLERANCE_SECONDS else rest


def _starts(path: Path) -> tuple[list[int], tuple[str, ...], float]:
    """Starts of a file's clips, flags of the last of them, and the dropped tail's length."""
    from drawaudio_model.media import probe

    try:
        info = probe(path)
        seconds = info.video_seconds
        starts, dropped_seconds = clip_starts(seconds)
    except Exception:  # Of any kind: clip_media finds it again and says it in the ledger, where the file's clip ends.
        return [0], ("unreadable",), 0.0
    is_tail = seconds + _TAIL_TOLERANCE_SECONDS < starts[-1] + SOURCE_SECONDS
    return starts, (*(["tail"] if is_tail else []), *info.flags), dropped_seconds


def _media_files(folder: Path) -> list[str]:
    """Names below the folder with forward slashes, sorted."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(
        name.as_posix()
        for name in names
        if name.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in name.parts)
    )


def _source_ids(files: Iterable[str]) -> dict[str, str]:
    """File name -> key-safe id, unique.

    A name that is its own safe form keeps it (VGGSound's `-0pJqpNjft4_000267.mp4` stays readable). Every other one, and
    every file whose safe stem is shared, gets 8 hex digits of its full name's hash: ids never depend on the order of
    files. Adding a file whose stem is taken renames both; give files different stems where ids must stay.
    """
    files = list(files)
    safe = {name: re.sub(r"[^A-Za-z0-9_-]+", "_", PurePosixPath(name).stem)[:_MAX_STEM] for name in files}
    # Folders may ignore case: two ids that differ only in case would be one file for whoever unpacks a shard.
    shared = Counter(stem.lower() for stem in safe.values())
    return {
        name: stem
        if shared[stem.lower()] == 1 and stem == PurePosixPath(name).stem
        else f"{stem}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"
        for name, stem in safe.items()
    }


def _read_captions(path: Path, folder: Path, files: list[str]) -> dict[str, _CaptionRow]:
    """File name -> its row; every malformed line is named in one error."""
    if not path.is_file():
        raise ValueError(f"captions file {path} does not exist; write a CSV with the columns file,caption")
    table = read_table(path, f"captions file {path.name}", _COLUMNS)
    if not {"file", "caption"} <= set(table.columns) or not set(table.columns) <= set(_COLUMNS):
        raise ValueError(
            f"captions file {path.name}, line 1: columns are {','.join(table.columns)}, expected file,caption and, if you "
            "like, split and label"
        )
    names, known = _Names(folder, files), dict.fromkeys(files)
    rows: dict[str, _CaptionRow] = {}
    faults = dict(table.faults)
    for line, fields in table.rows:
        values = dict(zip(table.columns, (field.strip() for field in fields), strict=True))
        name = names.find(values["file"]) or values["file"]
        fault = _fault_of_row(values, name, rows, folder, known)
        if fault:
            faults[line] = fault
        else:
            rows[name] = _CaptionRow(line, values["caption"], values.get("split", ""), values.get("label", ""))
    if faults:
        sentences = [f"line {line}: {faults[line]}" for line in sorted(faults)]
        raise ValueError(f"captions file {path.name}: {'; '.join(sentences)}")
    return rows


class _Names:
    """The media of a folder, found by whatever names them: a name, however its letters are composed, or a path.

    A path may be absolute, lead through links, or have backslashes; it counts where it ends, which is in the folder.
    """

    def __init__(self, folder: Path, files: Iterable[str]) -> None:
        self._folder = folder
        self._files = frozenset(files)
        # A name that a file system has in the other form (macOS takes letters and accents apart) is the same name.
        self._composed = {unicodedata.normalize("NFC", name): name for name in sorted(files, reverse=True)}
        self._real: dict[str, str] | None = None

    def find(self, given: str) -> str | None:
        """The name below the folder, or None."""
        for text in (given, given.replace("\\", "/")):
            name = PurePosixPath(text).as_posix()
            if name in self._files:
                return name
            if found := self._composed.get(unicodedata.normalize("NFC", name)):
                return found
            if text and "\0" not in text and (found := self._real_files().get(_real(self._folder / text))):
                return found
        return None

    def _real_files(self) -> dict[str, str]:
        if self._real is None:
            self._real = {_real(self._folder / name): name for name in sorted(self._files, reverse=True)}
        return self._real


def _real(path: Path) -> str:
    return unicodedata.normalize("NFC", os.path.realpath(path))


def _fault_of_row(
    values: dict[str, str], name: str, rows: dict[str, _CaptionRow], folder: Path, files: Mapping[str, object]
) -> str | None:
    """The fault of a row, or None; `files` has the names as keys: each row looks for its own."""
    if not values["file"]:
        return "the file is empty"
    if name in rows:
        return f"{name} was already captioned in line {rows[name].line}; keep one row a file"
    if name not in files:
        if os.path.isfile(folder / name):
            where = "is no media that is read here" if _is_below(folder, name) else f"lies outside {folder.name}"
            return f"{name} {where}; give a file of the folder that ends in one of {' '.join(sorted(SUFFIXES))}"
        near = get_close_matches(name, files, n=1)
        return f"{name} is not in {folder.name}; correct its name" + (f" (is it {near[0]}?)" if near else "")
    if not values["caption"]:
        return f"the caption of {name} is empty; take the row out if there is none"
    if values.get("split", "") not in ("", *SPLITS):
        return f"the split of {name} is {values['split']!r}, expected one of {', '.join(SPLITS)}"
    return None


def _is_below(folder: Path, name: str) -> bool:
    return Path(os.path.realpath(folder / name)).is_relative_to(os.path.realpath(folder))
