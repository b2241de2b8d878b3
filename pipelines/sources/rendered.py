"""The rendered world as a source: clips that are drawn from a seed, with their truth."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from drawaudio_model.atomic_files import file_sha256, fingerprint
from drawaudio_model.release.card import About
from drawaudio_model.scene_truth import TRUTH_MEMBER
from pipelines.clip_rows import clip_row
from pipelines.profiles import Profile
from pipelines.raw_media import members_of_media
from pipelines.shard_work import Members, ShardRecipe
from pipelines.sources.source import CODE_NOTICE, Listing, fill_by_recipe, nothing_to_plan, raw_recipe

if TYPE_CHECKING:
    from pipelines.sources.demo.world import DemoClip

ABOUT = About(
    pretty_name="Draw an Audio: rendered demo clips",
    description="Rendered scenes in which what is heard follows from what is seen, with the features that train the model.",
    licence="cc0-1.0",
    licence_place="https://creativecommons.org/publicdomain/zero/1.0/",
    provenance="Pictures, sounds and captions are rendered by this project's program from a seed; nothing was recorded.",
    notices=(("clips, captions and features", "CC0 1.0, no rights reserved"), CODE_NOTICE),
)


class RenderedSource:
    """As many clips as the profile says, each a function of the seed and its number alone."""

    has_truth = True
    takedowns = None
    download_pool = None
    evaluated_splits = ("test",)

    def list_clips(self, profile: Profile, taken_back: frozenset[str] = frozenset()) -> Listing:
        return Listing([clip_row(profile, clip, source="demo") for clip in demo_clips(profile)])

    def fill_shards(self, context: dg.AssetExecutionContext, root: Path, profile: Profile) -> None:
        fill_by_recipe(context, root, self.recipe(root, profile))

    def recipe(self, root: Path, profile: Profile) -> ShardRecipe:
        """Render the clips of the list; rendered again when the drawing or the sounds have changed."""
        clips = {clip.key: clip for clip in demo_clips(profile)}
        settings = {"clips": fingerprint([str(clip) for clip in clips.values()]), "renderer": _renderer_sha256()}
        return raw_recipe(root, lambda rows: _render([clips[row.key] for row in rows]), settings, group=128)

    def about(self, profile: Profile) -> About:
        return ABOUT

    def plan(self, profile: Profile) -> str:
        raise nothing_to_plan(profile)


def demo_clips(profile: Profile) -> list["DemoClip"]:
    """The profile's clips as the world knows them."""
    from pipelines.sources.demo import world

    train, val, test = profile.clips
    return world.list_clips(train=train, val=val, test=test, seed=profile.seed)


def _render(clips: list["DemoClip"]) -> Iterator[tuple[str, Members]]:
    from drawaudio_model.media import encode_flac
    from pipelines.sources.demo import world

    rendered = world.render_clips(clips, processes=os.cpu_count() or 1)
    for wanted, clip in zip(clips, rendered, strict=True):
        sounds = {f"stem{i}.flac": encode_flac(stem) for i, stem in enumerate(clip.stems)}
        sounds |= {f"material{i}.flac": encode_flac(material) for i, material in enumerate(clip.materials)}
        yield wanted.key, {**members_of_media(clip.media), TRUTH_MEMBER: clip.truth.to_json(), **sounds}


def _renderer_sha256() -> str:
    """Changes when the drawing or the sounds change."""
    return fingerprint([file_sha256(path) for path in sorted((Path(__file__).parent / "demo").glob("*.py"))])
