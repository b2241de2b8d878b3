"""A small rendered world for the object detector of profiles whose own media have no true boxes."""

from dataclasses import replace
from pathlib import Path

from pipelines.assets import clip_media
from pipelines.clip_rows import write_clip_list
from pipelines.profiles import PROFILES, Profile
from pipelines.shard_work import make_shard
from pipelines.sources.rendered import RenderedSource


def make_detector_world(profile: Profile, root: Path) -> Path:
    """Render, list and decode `profile.world_clips` train clips under `<root>/detector_world`; returns that folder."""
    world = replace(PROFILES["demo"], clips=(profile.world_clips, 0, 0), shards=(1, 1, 1), seed=profile.seed)
    source, folder = RenderedSource(), root / "detector_world"
    write_clip_list(folder / "clip_list.parquet", source.list_clips(world).clips)
    for recipe in (source.recipe(folder, world), clip_media.recipe()):
        make_shard(folder, "train-000000", recipe)
    return folder
