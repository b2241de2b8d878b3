"""YouTube as a source: clips of the official lists, out of media that are there or fetched at the pace that the site allows."""

import os
from pathlib import Path

import dagster as dg

from drawaudio_model.release.card import About
from drawaudio_model.shard import read_exclude_list
from pipelines.clip_rows import ClipRow, clip_row
from pipelines.profiles import Profile
from pipelines.sources.source import CODE_NOTICE, Listing
from pipelines.sources.youtube.lists import EXCLUDED, ClipLists, exclude_path, lists_folder, read_lists
from pipelines.sources.youtube.plan import plan
from pipelines.sources.youtube.settings import DownloadSettings
from pipelines.sources.youtube.shards import fill_shards

_VIDEOS = (
    "videos and their sound",
    "their uploaders'; no right to them is given here. A clip is taken back on request: it goes to exclude.txt",
)
_MODELS = (
    "features",
    "computed with AudioLDM2 (CC BY-NC-SA 4.0), Diff-Foley's CAVP (terms of its authors), YOLO-World v2 (AGPL-3.0) and "
    "OpenAI's CLIP (MIT); not for commercial use",
)
_LISTS = {
    "audiocaps": ("AudioCaps' captions", "MIT (Kim, Kim, Lee and Kim, NAACL 2019)"),
    "vggsound": ("VGGSound's list and labels", "CC BY 4.0 (Chen, Xie, Vedaldi and Zisserman, ICASSP 2020)"),
}
_SOURCES = {
    "audiocaps": "The clips and captions of AudioCaps.",
    "vggsound": "The clips of VGGSound; each caption is its label as a sentence, or a captioning model's sentence, "
    "whichever CLAP finds nearest to the sound (`caption_source` says which).",
}
_NAMES = {
    "audiocaps": "Draw an Audio: AudioCaps with features",
    "vggsound_caption": "Draw an Audio: VGGSound-Caption",
    "mixed": "Draw an Audio: VGGSound-Caption and AudioCaps",
}


class YouTubeSource:
    """The profile's lists in DRAWAUDIO_LISTS, and what DRAWAUDIO_MEDIA has of them."""

    has_truth = False
    takedowns = EXCLUDED
    evaluated_splits = ("test",)

    @property
    def download_pool(self) -> str | None:
        """The site counts requests by address: one step at a time, whatever else runs; none waits where it is not asked."""
        return None if os.environ.get("DRAWAUDIO_MEDIA_ONLY") == "1" else "youtube"

    def list_clips(self, profile: Profile, taken_back: frozenset[str] = frozenset()) -> Listing:
        lists = read_lists(lists_folder(), profile.lists, taken_back)
        return Listing(
            youtube_rows(profile, lists),
            left_out=lists.left_out,
            taken_back=read_exclude_list(exclude_path(lists_folder()), EXCLUDED),
        )

    def fill_shards(self, context: dg.AssetExecutionContext, root: Path, profile: Profile) -> None:
        fill_shards(context, root, DownloadSettings.from_environment())

    def about(self, profile: Profile) -> About:
        return About(
            pretty_name=_NAMES[profile.name],
            description="Clips of ten seconds with captions, boxes, loudness curves and the features that train the model.",
            licence="other",
            licence_place="NOTICE",
            provenance=" ".join(
                [
                    *(_SOURCES[name] for name in profile.lists),
                    "They were fetched from YouTube, or taken from media that were; what could not be had is listed.",
                ]
            ),
            notices=(*(_LISTS[name] for name in profile.lists), _VIDEOS, _MODELS, CODE_NOTICE),
        )

    def plan(self, profile: Profile) -> str:
        return plan(profile)


def youtube_rows(profile: Profile, lists: ClipLists) -> list[ClipRow]:
    """Rows of the official lists' clips, sorted by key."""
    return [clip_row(profile, clip, source=clip.source) for clip in lists.clips]
