"""An estimate of a build from YouTube and media that are there, before anything is fetched."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drawaudio_model.clip_format import SOURCE_SECONDS
from drawaudio_model.shard import SPLITS
from pipelines.clip_rows import clip_row
from pipelines.profiles import Profile, data_root

if TYPE_CHECKING:
    from pipelines.sources.mirror.settings import MediaSettings
    from pipelines.sources.youtube.lists import ListedClip
    from pipelines.sources.youtube.settings import DownloadSettings

PAGES_PER_VIDEO = 3.3
"""Requests to the site for one video: about 1000 pages and player calls in an hour of 300 videos."""
MEDIA_BYTES_PER_SECOND = 110e3
"""H.264 and AAC at 360 lines: about 1.1 MB for a clip of ten seconds."""
GUESSED_VIDEO_SECONDS = 180.0
"""Mean length of what is fetched of a video; a guess, as the lists do not say. Videos over 12 minutes come as sections."""
CLIP_MEDIA_BYTES = 2.0e6
"""40 JPEGs and the FLAC of one clip: the mean of four clips of VGGSound, 0.9 to 3.5 MB."""
FEATURE_BYTES = 0.27e6
"""Latent, CAVP features, embeddings and curve of one clip: about 60 GB in 223,649 clips."""
FLAC_BYTES = 0.2e6
CUT_CPU_SECONDS = 1.31
"""One accurate cut of ten seconds with x264 veryfast, on one core."""
DECODE_CPU_SECONDS = 0.27
"""Its decoding to 4 frames a second and 16 kHz."""


@dataclass(frozen=True)
class Plan:
    """Totals of a build."""

    clips: int
    videos: int
    pages: float
    """Requests to the site beside the media themselves."""
    hours: float
    """At the quota in force."""
    fetched_gigabytes: float
    disk_gigabytes: float
    """Everything that stays: raw clips, decoded clips, each feature's shards, training shards."""
    core_hours: float


def estimate(clips: int, videos: int, videos_per_hour: float) -> Plan:
    """Totals of `clips` clips cut from `videos` videos."""
    per_clip = 10 * MEDIA_BYTES_PER_SECOND + CLIP_MEDIA_BYTES + 2 * FEATURE_BYTES + FLAC_BYTES
    return Plan(
        clips=clips,
        videos=videos,
        pages=videos * PAGES_PER_VIDEO,
        hours=videos / videos_per_hour,
        fetched_gigabytes=videos * GUESSED_VIDEO_SECONDS * MEDIA_BYTES_PER_SECOND / 1e9,
        disk_gigabytes=clips * per_clip / 1e9,
        core_hours=clips * (CUT_CPU_SECONDS + DECODE_CPU_SECONDS) / 3600,
    )


def plan(profile: Profile) -> str:
    """A page for people: what the lists hold, what of it is there and what fetching the rest takes; nothing is fetched.

    Raises:
        ValueError: when its lists or media are missing.
    """
    from pipelines.sources.mirror.settings import MediaSettings
    from pipelines.sources.youtube.lists import lists_folder, read_lists
    from pipelines.sources.youtube.settings import DownloadSettings

    settings, media = DownloadSettings.from_environment(), MediaSettings.from_environment()
    lists = read_lists(lists_folder(), profile.lists)
    splits = Counter(clip.split for clip in lists.clips)
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in lists.reasons.items()) or "none"
    rows = [
        ("clips", f"{len(lists.clips):,} (" + ", ".join(f"{splits[split]:,} {split}" for split in SPLITS) + ")"),
        ("rows left out", f"{reasons} (each is named in clip_list_left_out.csv by clip_list)"),
    ]
    missing = lists.clips
    if media is not None:
        held, of_media = _media_rows(profile, lists.clips, media, settings)
        rows += of_media
        missing = [clip for clip in lists.clips if clip.key not in held]
    if media is None or not media.only:
        rows += _fetch_rows(missing, settings)
    total = estimate(len(lists.clips), 0, settings.videos_per_hour)
    rows += [
        ("disk", f"{total.disk_gigabytes:,.0f} GB for clips, features and training shards"),
        ("CPU", f"{total.core_hours:,.0f} core-hours to cut and decode; features run on a GPU beside it"),
    ]
    lines = (f"  {name:<14} {text}" for name, text in rows)
    return "\n".join([f"{profile.name}: nothing was fetched yet", *lines])


def _media_rows(
    profile: Profile, clips: Sequence["ListedClip"], media: "MediaSettings", settings: "DownloadSettings"
) -> tuple[frozenset[str], list[tuple[str, str]]]:
    """Keys of the clips that are there, and the lines on them."""
    from pipelines.sources.mirror.index import survey

    rows = {clip.key: clip_row(profile, clip, source=clip.source) for clip in clips}
    found = survey(data_root(), media, rows, settings.most_bytes)
    count, share = len(found.keys), 100 * len(found.keys) / max(1, len(rows))
    lines = [
        (
            "in the media",
            f"{count:,} clips ({share:.1f} %, {count * SOURCE_SECONDS / 3600:,.1f} h) in files of {found.gigabytes:,.1f} GB",
        ),
        ("to read", f"{found.read_gigabytes:,.1f} GB in {found.parts:,} files, each once"),
        *(("not readable", text) for text in found.troubles),
    ]
    if media.only:
        lines.append(("missing", f"{len(rows) - count:,} clips, which are not fetched (DRAWAUDIO_MEDIA_ONLY)"))
    return found.keys, lines


def _fetch_rows(clips: Sequence["ListedClip"], settings: "DownloadSettings") -> list[tuple[str, str]]:
    """The lines on clips that are fetched from the site."""
    total = estimate(len(clips), len({clip.source_id for clip in clips}), settings.videos_per_hour)
    who, as_other = ("an account", "a guest") if settings.cookies else ("a guest", "an account")
    other = settings.guest_videos_per_hour if settings.cookies else settings.account_videos_per_hour
    return [
        ("videos", f"{total.videos:,}; some 10 % of such lists are gone or private by now"),
        ("requests", f"{total.videos:,}, one a video; about {total.pages:,.0f} pages and player calls"),
        ("time", f"{_hours(total.hours)} at {settings.videos_per_hour} videos/h, as {who}"),
        ("", f"{_hours(total.videos / other)} at {other} videos/h, as {as_other}"),
        (
            "fetched",
            f"{total.fetched_gigabytes:,.0f} GB, if {GUESSED_VIDEO_SECONDS / 60:g} min of a video are (a guess)",
        ),
    ]


def _hours(hours: float) -> str:
    return f"{hours:,.1f} h" + (f" ({hours / 24:.1f} days)" if hours >= 48 else "")
