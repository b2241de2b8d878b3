"""Media of every clip that could be had, and a ledger row for every clip."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from drawaudio_model.atomic_files import file_sha256, fingerprint
from drawaudio_model.scene_truth import TRUTH_MEMBER
from drawaudio_model.shard import Rejection, ShardReader
from pipelines.assets.clip_list import clip_list, demo_clips
from pipelines.clip_rows import ClipRow, read_clip_list
from pipelines.partitions import SHARD_BACKFILL, shards
from pipelines.profiles import Profile, current_profile
from pipelines.raw_ledger import write_raw_ledger
from pipelines.raw_media import members_of_file, members_of_media
from pipelines.resources import DataRoot
from pipelines.shard_work import Members, ShardRecipe, make_shards
from pipelines.sources.youtube.settings import DownloadSettings
from pipelines.sources.youtube.shards import fill_shards


@dg.asset(
    deps=[clip_list],
    partitions_def=shards,
    backfill_policy=SHARD_BACKFILL,
    group_name="dataset",
    kinds={"webdataset"},
    # The site counts requests by address: one step at a time, whatever else runs.
    pool="youtube" if current_profile().source == "youtube" else None,
)
def raw_clips(context: dg.AssetExecutionContext, data_root: DataRoot) -> None:
    """One tar a shard: media of 10 s as `mp4` (or a reference to the user's own file) and its facts as `json`.

    The demo world adds its ground truth: `truth.json` (objects, boxes, onsets), and as `flac` the sound of each thing that moves
    (`stem<i>`) and the same without a pause (`material<i>`).
    Beside it `ledger/<shard>.parquet` holds one row for every clip of the list, kept or not.
    """
    root = Path(data_root.path)
    if current_profile().source == "youtube":
        fill_shards(context, root, DownloadSettings.from_environment())
        return
    make_shards(context, root, recipe(current_profile(), root), show, lambda shard, _: write_raw_ledger(root, shard))


def recipe(profile: Profile, root: Path) -> ShardRecipe:
    """How the profile's source fills a shard."""
    if profile.source == "folder":
        return ShardRecipe(
            "raw_clips",
            (),
            lambda keys, _: _refer(keys, read_clip_list(root)),
            settings={"media": _media_state(root)},
            keys=lambda shard: list(read_clip_list(root, shard)),
            batched=False,
        )
    clips = {clip.key: clip for clip in demo_clips(profile)}
    return ShardRecipe(
        "raw_clips",
        (),
        lambda keys, _: _render(keys, clips),
        settings={"clips": fingerprint([str(clip) for clip in clips.values()]), "renderer": _renderer_sha256()},
        group=128,
        keys=lambda shard: list(read_clip_list(root, shard)),
        batched=False,
    )


def show(reader: ShardReader) -> dict[str, Any]:
    """Hours of media in a finished shard."""
    return {"hours": round(len(reader) * 10 / 3600, 3)}


def _render(keys: list[str], clips: dict[str, Any]) -> Iterator[tuple[str, Members]]:
    from drawaudio_model.media import encode_flac
    from pipelines.sources.demo import world

    rendered = world.render_clips([clips[key] for key in keys], processes=os.cpu_count() or 1)
    for key, clip in zip(keys, rendered, strict=True):
        sounds = {f"stem{i}.flac": encode_flac(stem) for i, stem in enumerate(clip.stems)}
        sounds |= {f"material{i}.flac": encode_flac(material) for i, material in enumerate(clip.materials)}
        yield key, {**members_of_media(clip.media), TRUTH_MEMBER: clip.truth.to_json(), **sounds}


def _renderer_sha256() -> str:
    """Changes when the drawing or the sounds change, so that the world is rendered again."""
    return fingerprint([file_sha256(path) for path in sorted((Path(__file__).parent.parent / "sources" / "demo").glob("*.py"))])


def _refer(keys: list[str], rows: dict[str, ClipRow]) -> Iterator[tuple[str, Members | Rejection]]:
    for key in keys:
        path = Path(rows[key].media)
        if not path.is_file():
            yield (
                key,
                Rejection(key, "missing_file", f"{path} does not exist; put it back or take it out of the captions"),
            )
            continue
        yield key, members_of_file(path, rows[key].start_s)


def _media_state(root: Path) -> str:
    """Changes when a file of the user's changes, so that the shard is made again."""
    paths = sorted({row.media for row in read_clip_list(root).values()})
    states = [(path, os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in paths if os.path.exists(path)]
    return fingerprint(paths, states)
