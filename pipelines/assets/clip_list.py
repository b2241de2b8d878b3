"""The list of clips: what exists, in which split and shard, before anything is rendered, read or fetched."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from drawaudio_model.atomic_files import fingerprint, write_atomically
from drawaudio_model.shard import EXCLUDE_FILE, SPLITS, read_exclude_list
from pipelines.clip_rows import ClipRow, clip_row, write_clip_list
from pipelines.profiles import Profile, current_profile
from pipelines.resources import DataRoot

if TYPE_CHECKING:
    from pipelines.sources.youtube.lists import ClipLists


_single_run = dg.BackfillPolicy.single_run()


@dg.asset(backfill_policy=_single_run, group_name="dataset", kinds={"parquet"})
def clip_list(data_root: DataRoot) -> dg.MaterializeResult:
    """One row a clip: key, source, id, start, label, split, caption (null where it is yet to be made), media, shard."""
    profile = current_profile()
    root = Path(data_root.path)
    left_out: dict[str, Any] = {}
    if profile.source == "youtube":
        rows, left_out = _write_youtube_report(root, profile)
    else:
        rows = list_clips(profile)
    tails = dropped_tails() if profile.source == "folder" else []
    write_clip_list(root / "clip_list.parquet", rows)
    per_split = {split: sum(row.split == split for row in rows) for split in SPLITS}
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(rows),
            "clips": dg.MetadataValue.json(per_split),
            "hours": round(len(rows) * 10 / 3600, 3),
            "dropped_tails": dg.MetadataValue.json(tails),
            **left_out,
            "first_rows": dg.MetadataValue.md(_markdown(rows[:8])),
        },
        data_version=dg.DataVersion(fingerprint([vars(row) for row in rows])),
    )


def list_clips(profile: Profile) -> list[ClipRow]:
    """Rows of the profile's clips, sorted by key.

    Raises:
        ValueError: when the profile's source is not set up, or two clips share a key.
    """
    if profile.source == "youtube":
        return youtube_rows(profile, _read_lists(profile))
    if profile.source == "demo":
        rows = [clip_row(profile, clip, source="demo") for clip in demo_clips(profile)]
    else:
        rows = _folder_rows(profile)
    keys = [row.key for row in rows]
    twice = sorted({key for key in keys if keys.count(key) > 1}) if len(set(keys)) < len(keys) else []
    if twice:
        raise ValueError(f"{len(twice)} keys stand twice in the clip list, the first is {twice[0]}; rename the media")
    return sorted(rows, key=lambda row: row.key)


def youtube_rows(profile: Profile, lists: "ClipLists") -> list[ClipRow]:
    """Rows of the official lists' clips, sorted by key."""
    return [clip_row(profile, clip, source=clip.source) for clip in lists.clips]


def demo_clips(profile: Profile) -> list[Any]:
    """The rendered world's clips (demo.world.DemoClip); a folder profile's are those that its object detector learns on."""
    from pipelines.sources.demo import world

    train, val, test = profile.clips if profile.source == "demo" else (profile.world_clips, 0, 0)
    return world.list_clips(train=train, val=val, test=test, seed=profile.seed)


def _read_lists(profile: Profile, also_excluded: frozenset[str] = frozenset()) -> "ClipLists":
    from pipelines.sources.youtube import lists as youtube_lists

    return youtube_lists.read_lists(youtube_lists.lists_folder(), profile.lists, also_excluded)


def _write_youtube_report(root: Path, profile: Profile) -> tuple[list[ClipRow], dict[str, Any]]:
    """The rows, and metadata of what was left out; writes `clip_list_left_out.csv` and the loader's exclude list."""
    import csv
    import io

    from drawaudio_model.release.markdown import table
    from pipelines.sources.youtube import lists as youtube_lists

    held = root / "training_shards" / EXCLUDE_FILE
    present = read_exclude_list(held, youtube_lists.EXCLUDED)
    lists = _read_lists(profile, present)
    path, report = root / "clip_list_left_out.csv", io.StringIO()
    writer = csv.writer(report, lineterminator="\n")
    writer.writerow(("place", "key", "reason", "message"))
    writer.writerows((row.place, row.key, row.reason, row.message) for row in lists.left_out)
    write_atomically(path, report.getvalue().encode())
    # What somebody added to the loader's own list stays: a takedown must not be lost.
    new = read_exclude_list(youtube_lists.exclude_path(youtube_lists.lists_folder()), youtube_lists.EXCLUDED) - present
    text = held.read_text(encoding="utf-8-sig") if held.exists() else ""
    write_atomically(held, "".join(f"{line}\n" for line in [*text.splitlines(), *sorted(new)]).encode())
    first = {row.reason: row for row in reversed(lists.left_out)}
    examples = [{"reason": row.reason, "place": row.place, "message": row.message} for row in first.values()]
    return youtube_rows(profile, lists), {
        "left_out": dg.MetadataValue.json(lists.reasons),
        "left_out_file": dg.MetadataValue.path(path),
        "first_of_each_reason": dg.MetadataValue.md(table(examples) if examples else "nothing was left out"),
    }


def dropped_tails() -> list[dict[str, Any]]:
    """Ends of the user's media that are too short for a clip of their own: file, start, seconds."""
    from pipelines.sources import folder

    _, tails = folder.cut_media(*_folder_paths())
    return [{"file": tail.path.name, "start_s": tail.start_s, "seconds": round(tail.seconds, 2)} for tail in tails]


def _folder_rows(profile: Profile) -> list[ClipRow]:
    from pipelines.sources import folder

    clips = folder.list_media(*_folder_paths())
    if not any(clip.split == "train" for clip in clips):
        raise ValueError(
            f"none of the {len(clips)} clips of DRAWAUDIO_CLIPS is in the split train; add a column `split` to "
            "DRAWAUDIO_CAPTIONS that says train for those to learn from"
        )
    return [clip_row(profile, clip, source="folder", media=str(clip.path.absolute())) for clip in clips]


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


def _markdown(rows: list[ClipRow]) -> str:
    from drawaudio_model.release.markdown import table

    return table(
        [{name: getattr(row, name) or "" for name in ("key", "split", "shard", "label", "caption")} for row in rows]
    )
