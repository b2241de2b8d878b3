"""Which source a profile's name of one means."""

from collections.abc import Mapping

from pipelines.plugins import load_plugin
from pipelines.profiles import Profile, current_profile
from pipelines.sources.folder import FolderSource
from pipelines.sources.rendered import RenderedSource
from pipelines.sources.source import ClipSource
from pipelines.sources.youtube.source import YouTubeSource

SOURCES: Mapping[str, ClipSource] = {
    "demo": RenderedSource(),
    "folder": FolderSource(),
    "youtube": YouTubeSource(),
}


def source_of(profile: Profile) -> ClipSource:
    """The source of a profile: one of SOURCES, or what a factory of another package makes.

    Raises:
        ValueError: when there is no source of that name.
    """
    if profile.source in SOURCES:
        return SOURCES[profile.source]
    return load_plugin(profile.source, "DRAWAUDIO_SOURCE", f"one of {', '.join(SOURCES)}")


def current_source() -> ClipSource:
    """The source of the profile in force."""
    return source_of(current_profile())
