"""A small rendered world for the object detector of profiles whose own media have no true boxes."""

from dataclasses import replace
from pathlib import Path

from pipelines.assets import clip_list, clip_media, raw_clips
from pipelines.profiles import PROFILES, Profile
from pipelines.shard_work import make_shard


def make_detector_world(profile: Profile, root: Path) -> Path:
    """Render, list and decode `profile.world_clips` train clips under `<root>/detector_world`; returns that folder."""
    world = replace(PROFILES["demo"], clips=(profile.world_clips, 0, 0), shards=(1, 1, 1), seed=profile.seed)
    folder = root / "detector_world"
    clip_list.write_clip_list(folder / "clip_list.parquet", clip_list.list_clips(world))
    for recipe in (raw_clips.recipe(world, folder), clip_media.recipe()):
        make_shard(folder, "train-000000", recipe)
    return folder
