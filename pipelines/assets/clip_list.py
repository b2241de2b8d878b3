"""The list of clips: what exists, in which split and shard, before anything is rendered, read or fetched."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from drawaudio_model.atomic_files import fingerprint, write_atomically
from drawaudio_model.shard import EXCLUDE_FILE, SPLITS, read_exclude_list
from pipelines.clip_rows import ClipRow, write_clip_list
from pipelines.profiles import Profile, current_profile
from pipelines.resources import DataRoot
from pipelines.sources.registry import source_of
from pipelines.sources.source import LeftOut


@dg.asset(backfill_policy=dg.BackfillPolicy.single_run(), group_name="dataset", kinds={"parquet"})
def clip_list(data_root: DataRoot) -> dg.MaterializeResult:
    """One row a clip: key, source, id, start, label, split, caption (null where it is yet to be made), media, shard.

    Beside it `clip_list_left_out.csv` names what the source's lists hold and could not be used, and takedowns reach the
    exclude list of the training shards.
    """
    root, profile = Path(data_root.path), current_profile()
    source = source_of(profile)
    held = root / "training_shards" / EXCLUDE_FILE
    present = read_exclude_list(held, source.takedowns) if source.takedowns else frozenset()
    listing = source.list_clips(profile, present)
    rows = checked_rows(listing.clips)
    left_out = {} if listing.left_out is None else _write_left_out(root / "clip_list_left_out.csv", listing.left_out)
    if source.takedowns:
        _add_takedowns(held, listing.taken_back - present)
    write_clip_list(root / "clip_list.parquet", rows)
    per_split = {split: sum(row.split == split for row in rows) for split in SPLITS}
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(rows),
            "clips": dg.MetadataValue.json(per_split),
            "hours": round(len(rows) * 10 / 3600, 3),
            **listing.metadata,
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
    return checked_rows(source_of(profile).list_clips(profile).clips)


def checked_rows(clips: Sequence[ClipRow]) -> list[ClipRow]:
    """The rows sorted by key.

    Raises:
        ValueError: when two clips share a key.
    """
    twice = sorted(key for key, count in Counter(row.key for row in clips).items() if count > 1)
    if twice:
        raise ValueError(f"{len(twice)} keys stand twice in the clip list, the first is {twice[0]}; rename the media")
    return sorted(clips, key=lambda row: row.key)


def _write_left_out(path: Path, left_out: Sequence[LeftOut]) -> dict[str, Any]:
    """Metadata of what was left out; writes all of it to a CSV."""
    from drawaudio_model.release.markdown import table

    report = io.StringIO()
    writer = csv.writer(report, lineterminator="\n")
    writer.writerow(("place", "key", "reason", "message"))
    writer.writerows((row.place, row.key, row.reason, row.message) for row in left_out)
    write_atomically(path, report.getvalue().encode())
    first = {row.reason: row for row in reversed(left_out)}
    examples = [{"reason": row.reason, "place": row.place, "message": row.message} for row in first.values()]
    return {
        "left_out": dg.MetadataValue.json(dict(Counter(row.reason for row in left_out).most_common())),
        "left_out_file": dg.MetadataValue.path(path),
        "first_of_each_reason": dg.MetadataValue.md(table(examples) if examples else "nothing was left out"),
    }


def _add_takedowns(held: Path, new: frozenset[str]) -> None:
    """Add lines to the loader's exclude list. What somebody added to it stays: a takedown must not be lost."""
    text = held.read_text(encoding="utf-8-sig") if held.exists() else ""
    write_atomically(held, "".join(f"{line}\n" for line in [*text.splitlines(), *sorted(new)]).encode())


def _markdown(rows: list[ClipRow]) -> str:
    from drawaudio_model.release.markdown import table

    return table(
        [{name: getattr(row, name) or "" for name in ("key", "split", "shard", "label", "caption")} for row in rows]
    )
