"""A source of clips: where a profile's clips come from, and all that the assets ask of it.

A new source is one file with a class that has what `ClipSource` says, and one line of SOURCES in registry.py. One of another
package needs no line: DRAWAUDIO_SOURCE names its factory, `package.module:factory`. Sources are made when Dagster loads, so
importing their module must load no heavy library; `list_clips` and `fill_shards` may.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import dagster as dg

from drawaudio_model.release.card import About
from drawaudio_model.shard import Rejection, ShardReader
from pipelines.clip_rows import ClipRow, read_clip_list
from pipelines.profiles import Profile
from pipelines.raw_ledger import write_raw_ledger
from pipelines.shard_work import Members, ShardRecipe, make_shards

CODE_NOTICE = ("the code that made it", "AGPL-3.0 (with ultralytics, AGPL-3.0)")
"""The line about the code in the notices of every card."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An entry of a source's lists that became no clip of its own."""

    place: str
    """<file>, line <number>."""
    key: str
    """"" where the entry was not understood."""
    reason: str
    """Class of the fault, such as bad_row, duplicate or excluded."""
    message: str


@dataclass(frozen=True)
class Listing:
    """The clips that a source lists."""

    clips: Sequence[ClipRow]
    left_out: Sequence[LeftOut] | None = None
    """Written to `clip_list_left_out.csv`; None where the source leaves nothing out."""
    taken_back: frozenset[str] = frozenset()
    """Keys and video ids of takedowns, for the exclude list of the training shards; of a source that has `takedowns`."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Further metadata for the page of clip_list."""


class ClipSource(Protocol):
    """Where clips come from."""

    @property
    def has_truth(self) -> bool:
        """Whether every raw clip carries a `truth.json`: boxes are checked, the control benchmark runs, and the object detector
        learns on the clips themselves instead of on a rendered world beside them."""

    @property
    def takedowns(self) -> re.Pattern[str] | None:
        """The form of a line of its exclude list; None: nothing is ever taken back."""

    @property
    def download_pool(self) -> str | None:
        """Dagster pool of raw_clips, for a source that must not be asked by two steps at once."""

    @property
    def evaluated_splits(self) -> tuple[str, ...]:
        """The evaluation takes the first of these that has clips."""

    def list_clips(self, profile: Profile, taken_back: frozenset[str] = frozenset()) -> Listing:
        """The profile's clips, before any media are made or fetched.

        Args:
            profile: says how many, of which lists, and which shard each video goes to (clip_rows.clip_row).
            taken_back: keys and ids that the loader's exclude list holds already.

        Raises:
            ValueError: when the source is not set up.
        """

    def fill_shards(self, context: dg.AssetExecutionContext, root: Path, profile: Profile) -> None:
        """Make the shards of raw_clips that this run asks for, and their ledgers.

        `fill_by_recipe(context, root, raw_recipe(...))` does it where media are there for the asking.
        """

    def about(self, profile: Profile) -> About:
        """The facts that the dataset card gives beside its numbers."""

    def plan(self, profile: Profile) -> str:
        """A page for people: what fetching the clips will take.

        Raises:
            ValueError: when nothing is fetched (`nothing_to_plan`).
        """


def raw_recipe(
    root: Path,
    work: Callable[[list[ClipRow]], Iterator[tuple[str, Members | Rejection]]],
    settings: Mapping[str, Any],
    group: int = 16,
) -> ShardRecipe:
    """How a shard of raw_clips is filled with the clips that the list has for it.

    Args:
        root: the data root, with the clip list.
        work: rows of the list -> each one's members (raw_media.members_of_media, members_of_file) or why there are none.
        settings: everything beside the keys that determines the bytes; a change makes the shards anew.
        group: rows handed to `work` at a time.
    """

    @cache  # a list may have 200,000 rows, and a shard is worked on in many groups
    def rows() -> dict[str, ClipRow]:
        return read_clip_list(root)

    def work_on(keys: list[str], _: dict[str, ShardReader]) -> Iterator[tuple[str, Members | Rejection]]:
        return work([rows()[key] for key in keys])

    return ShardRecipe(
        "raw_clips",
        (),
        work_on,
        settings=settings,
        group=group,
        keys=lambda shard: list(read_clip_list(root, shard)),
        batched=False,
    )


def fill_by_recipe(context: dg.AssetExecutionContext, root: Path, recipe: ShardRecipe) -> None:
    """Make the shards that this run asks for, and the ledger beside each."""
    make_shards(context, root, recipe, show_hours, lambda shard, _: write_raw_ledger(root, shard))


def show_hours(reader: ShardReader) -> dict[str, Any]:
    """Hours of media in a finished shard."""
    return {"hours": round(len(reader) * 10 / 3600, 3)}


def nothing_to_plan(profile: Profile) -> ValueError:
    """The error of a source that fetches nothing."""
    return ValueError(
        f"profile {profile.name} fetches nothing, so there is nothing to plan; set DRAWAUDIO_PROFILE to audiocaps, "
        "vggsound_caption or mixed"
    )
