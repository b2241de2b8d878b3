"""Profiles: where clips come from, how they are split into shards, and which sizes the models have.

DRAWAUDIO_PROFILE picks one (default `demo`); DRAWAUDIO_DATA sets the data root (default `data/<profile>`).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from runpy import run_module

from drawaudio_model.shard import SPLITS


@dataclass(frozen=True)
class Profile:
    """One way to run the whole path."""

    name: str
    source: str
    """Name of one in sources/registry.py, or the factory of another package's, `package.module:factory`."""
    clips: tuple[int, int, int]
    """Train, val and test clips to render; zeros where the source decides."""
    shards: tuple[int, int, int]
    """Train, val and test shards; a clip goes to one by a hash of its video id, so these numbers are part of the data."""
    run: str
    """Named run of drawaudio_model.config and, where backbones are trained here, of their training."""
    minimum_kept_share: float
    """Least share of a source's clips that must survive decoding."""
    minimum_box_iou: float | None
    """Least mean overlap of detected and true boxes on test clips; None where no truth or no claim of quality exists."""
    evaluation_clips: int
    """Test clips that the evaluation generates, at most."""
    sampling_steps: int = 25
    """Steps of the sampler in the evaluation."""
    control_clips: int = 40
    """Test clips that each row of the control benchmark generates, at most."""
    classifier_steps: int = 300
    """Training steps of the classifier that hears which thing sounds."""
    seed: int = 0
    world_clips: int = 0
    """Rendered clips on which the object detector is trained where the source has no true boxes of its own."""
    backbones: str = "trained"
    """"trained": small ones, here; "published": checkpoints of pinned revisions (pipelines/published.py)."""
    lists: tuple[str, ...] = ()
    """Datasets of a YouTube source; of a clip that two of them name, the first one's row is kept."""
    run_per_shard: bool = False
    """A backfill starts one run for every shard instead of one for all: a run that fails costs one shard."""

    @property
    def drawn_variants(self) -> int:
        """Variants of each train clip with instructions drawn by hand; 0 where the run does not learn from them."""
        return DRAWN_VARIANTS[self.run]

    @property
    def shard_names(self) -> list[str]:
        """Names of all shards: train, then val, then test."""
        return [f"{split}-{i:06d}" for split, count in zip(SPLITS, self.shards, strict=True) for i in range(count)]

    @property
    def shard_range(self) -> str:
        """All shards, as `dagster asset materialize --partition-range` wants them."""
        return f"{self.shard_names[0]}...{self.shard_names[-1]}"


RUNS = {"demo": 120, "control": 120, "small": 64, "tiny": 8, "paper": 0, "improved": 0}
"""Named runs, and how many rendered clips each affords for an object detector that learns beside the user's media."""
DRAWN_VARIANTS = {"demo": 12, "control": 12, "small": 6, "tiny": 1, "paper": 0, "improved": 2}
"""Named runs, and how many variants of each train clip are made with instructions drawn by hand (drawn_instructions)."""
BACKBONES = ("trained", "published")


def _youtube(name: str, lists: tuple[str, ...], shards: tuple[int, int, int]) -> Profile:
    """A profile of the paper: clips from YouTube, published backbones, 1000 generated test clips."""
    return Profile(
        name,
        "youtube",
        (0, 0, 0),
        shards,
        "paper",
        # A video that is gone is no fault; a shard of which nearly nothing is left points at the machine.
        0.5,
        None,
        1000,
        backbones="published",
        lists=lists,
        run_per_shard=True,
    )


PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("demo", "demo", (160, 16, 40), (2, 1, 1), "demo", 1.0, 0.5, 24),
        Profile("control", "demo", (480, 16, 48), (3, 1, 1), "control", 1.0, 0.5, 48, control_clips=48),
        # As few clips as teach each thing's name, sight and sound; the README's clip is the third of test.
        Profile("small", "demo", (64, 8, 8), (1, 1, 1), "small", 1.0, None, 8),
        Profile("tiny", "demo", (8, 2, 2), (2, 1, 1), "tiny", 1.0, None, 2, sampling_steps=3, classifier_steps=2),
        Profile("folder", "folder", (0, 0, 0), (1, 1, 1), "demo", 0.0, None, 40, world_clips=120),
        # About 1000 clips a shard: 49,838 + 495 + 975 in AudioCaps, 183,730 + 0 + 15,446 in VGGSound.
        _youtube("audiocaps", ("audiocaps",), (50, 1, 1)),
        _youtube("vggsound_caption", ("vggsound",), (184, 0, 16)),
        _youtube("mixed", ("audiocaps", "vggsound"), (230, 1, 16)),
    )
}


def current_profile() -> Profile:
    """The profile that DRAWAUDIO_PROFILE names.

    DRAWAUDIO_RUN, DRAWAUDIO_BACKBONES, DRAWAUDIO_SOURCE and DRAWAUDIO_SHARDS take the place of its run, backbones, source and
    shards where they are set.

    Raises:
        ValueError: when no profile, run or kind of backbones has that name, the run needs other backbones, or the shards are
            no three numbers.
    """
    name = os.environ.get("DRAWAUDIO_PROFILE", "demo")
    if name not in PROFILES:
        raise ValueError(f"DRAWAUDIO_PROFILE is {name!r}, expected one of {', '.join(PROFILES)}; set it to one of them")
    profile = PROFILES[name]
    run = os.environ.get("DRAWAUDIO_RUN", profile.run)
    if run not in RUNS:
        raise ValueError(f"DRAWAUDIO_RUN is {run!r}, expected one of {', '.join(RUNS)}; set it to one of them")
    backbones = os.environ.get("DRAWAUDIO_BACKBONES", profile.backbones)
    if backbones not in BACKBONES:
        raise ValueError(
            f"DRAWAUDIO_BACKBONES is {backbones!r}, expected {' or '.join(BACKBONES)}; set it to one of them"
        )
    if run in ("paper", "improved") and backbones != "published":
        raise ValueError(
            f"DRAWAUDIO_RUN is {run!r}, which starts from AudioLDM2; set DRAWAUDIO_BACKBONES=published as well"
        )
    if not any(profile.clips) and not profile.world_clips and backbones != "published":
        raise ValueError(
            f"DRAWAUDIO_BACKBONES is {backbones!r}, but small backbones learn from rendered truth that profile {name} has "
            "not; unset it"
        )
    source = os.environ.get("DRAWAUDIO_SOURCE") or profile.source
    world_clips = min(profile.world_clips, RUNS[run])
    shards = _shards(os.environ["DRAWAUDIO_SHARDS"]) if os.environ.get("DRAWAUDIO_SHARDS") else profile.shards
    return replace(profile, source=source, run=run, backbones=backbones, world_clips=world_clips, shards=shards)


def _shards(text: str) -> tuple[int, int, int]:
    """Train, val and test shards of a text such as 20,2,2: about 1000 clips a shard let a machine work on several at once."""
    numbers = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    if len(numbers) != 3 or text.count(",") != 2 or not all(1 <= number < 100_000 for number in numbers):
        raise ValueError(
            f"DRAWAUDIO_SHARDS is {text!r}, expected the numbers of train, val and test shards, at least 1 each, such as 20,2,2"
        )
    train, val, test = numbers
    return train, val, test


def data_root() -> Path:
    """Folder that holds everything the current profile makes.

    Raises:
        ValueError: when DRAWAUDIO_DATA is an address: as a path it would be a folder of that name on this machine alone.
    """
    named = os.environ.get("DRAWAUDIO_DATA")
    if named and "://" in named:
        raise ValueError(
            f"DRAWAUDIO_DATA is {named!r}, expected a folder; mount what the address names and give that folder"
        )
    return Path(named or Path("data") / current_profile().name).absolute()


def materialize_command() -> str:
    """The command that makes everything up to the trained model."""
    return (
        "dagster asset materialize -m pipelines --select '*train_model' "
        f"--partition-range '{current_profile().shard_range}'"
    )


if __name__ == "__main__":
    # `python -m pipelines.profiles`: the older words for `python -m pipelines`.
    run_module("pipelines", run_name="__main__")
