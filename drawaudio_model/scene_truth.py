"""The truth of a rendered clip: its `truth.json`, with one reader and one writer.

Only clips whose source knows it carry one (the demo world's). All other code asks `read_truth` and gets None without it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drawaudio_model.shard import ShardReader

TRUTH_MEMBER = "truth.json"
"""Member of raw_clips."""
TrueBox = tuple[float, float, float, float]
"""x0 y0 x1 y1 in [0, 1]."""


@dataclass(frozen=True)
class TrueObject:
    """One thing in sight."""

    kind: str
    phrase: str
    """Its name in a caption, with its colour: "red bell"."""
    colour: str
    active: bool
    """Whether it moves; moving things make a sound of their own."""
    stem: int | None
    """Number of its sound among the clip's `stem<i>.flac` and `material<i>.flac`; None where it makes none."""
    boxes: tuple[TrueBox, ...]
    """Its box at each of the clip's SOURCE_VIDEO_FRAMES moments."""
    names: tuple[str, ...] = ()
    """All that may name it; none in files that were written before it was noted."""
    wordings: tuple[str, ...] = ()
    """Texts that ask for its sound; none where it makes none, and in files that were written before it was noted."""
    onsets_seconds: tuple[float, ...] = ()
    onset_levels: tuple[float, ...] = ()
    """In (0, 1], 1 the strongest; one an onset."""

    @property
    def stem_member(self) -> str | None:
        """Member of raw_clips with its sound; None where it makes none."""
        return None if self.stem is None else f"stem{self.stem}.flac"

    @property
    def material_member(self) -> str | None:
        """Member of raw_clips with its sound without a pause; None where it makes none."""
        return None if self.stem is None else f"material{self.stem}.flac"


@dataclass(frozen=True)
class SceneTruth:
    """One clip's scene."""

    key: str
    kind: str
    """Of the target."""
    caption: str
    target: int
    """Number of the object that the caption names and that is heard."""
    objects: tuple[TrueObject, ...]

    @property
    def target_object(self) -> TrueObject:
        """The object that the caption names and that is heard."""
        return self.objects[self.target]

    def to_json(self) -> bytes:
        """The content of `truth.json`; the same truth gives the same bytes."""
        objects = [
            {
                "kind": thing.kind,
                "phrase": thing.phrase,
                "names": thing.names,
                "wordings": thing.wordings,
                "colour": thing.colour,
                "active": thing.active,
                # Said twice, as it always was, so that the bytes of a rendered shard stay; readers look at the index only.
                "target": number == self.target,
                "stem": thing.stem,
                "boxes": thing.boxes,
                "onsets_seconds": thing.onsets_seconds,
                "onset_levels": thing.onset_levels,
            }
            for number, thing in enumerate(self.objects)
        ]
        facts = {
            "key": self.key,
            "kind": self.kind,
            "caption": self.caption,
            "target": self.target,
            "objects": objects,
        }
        return json.dumps(facts, sort_keys=True).encode()

    @staticmethod
    def from_json(content: bytes) -> "SceneTruth":
        """The truth that `to_json` wrote, now or before `names` and `wordings` were noted.

        Raises:
            ValueError: when a field is missing or the target is no object of the scene.
        """
        facts = json.loads(content)
        try:
            objects = tuple(_read_object(thing) for thing in facts["objects"])
            truth = SceneTruth(facts["key"], facts["kind"], facts["caption"], facts["target"], objects)
        except KeyError as error:
            raise ValueError(
                f"{TRUTH_MEMBER} of clip {facts.get('key', 'without a key')} has no field {error}; materialize raw_clips again"
            ) from error
        if not 0 <= truth.target < len(objects):
            raise ValueError(
                f"{TRUTH_MEMBER} of clip {truth.key} says that object {truth.target} is heard, expected one of its "
                f"{len(objects)}; materialize raw_clips again"
            )
        return truth


def read_truth(reader: ShardReader, key: str) -> SceneTruth | None:
    """The truth of a clip of raw_clips; None where the clip's source knows none.

    Raises:
        ValueError: when a field is missing or it is another clip's.
    """
    if TRUTH_MEMBER not in reader.members(key):
        return None
    truth = SceneTruth.from_json(reader.member(key, TRUTH_MEMBER))
    if truth.key != key:
        raise ValueError(f"{TRUTH_MEMBER} of clip {key} says that it is of {truth.key!r}; materialize raw_clips again")
    return truth


def _read_object(facts: Mapping[str, Any]) -> TrueObject:
    return TrueObject(
        kind=facts["kind"],
        phrase=facts["phrase"],
        colour=facts["colour"],
        active=facts["active"],
        stem=facts["stem"],
        boxes=tuple(tuple(box) for box in facts["boxes"]),
        names=tuple(facts.get("names", ())),
        wordings=tuple(facts.get("wordings", ())),
        onsets_seconds=tuple(facts["onsets_seconds"]),
        onset_levels=tuple(facts["onset_levels"]),
    )
