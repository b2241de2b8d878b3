"""One partition a shard.

Dagster must know static partitions when it loads the definitions, so the profile is read here, at import.
"""

import hashlib
from pathlib import Path

import dagster as dg

from drawaudio_model.shard import SPLITS, finished_shards
from pipelines.profiles import Profile, current_profile

shards = dg.StaticPartitionsDefinition(current_profile().shard_names)

SHARD_BACKFILL = dg.BackfillPolicy.multi_run(1) if current_profile().run_per_shard else dg.BackfillPolicy.single_run()
"""How a backfill of many shards is cut into runs."""

ALL_SHARDS = dg.AllPartitionMapping()
"""For assets that are made once from every shard."""


def shard_of(profile: Profile, split: str, source_id: str) -> str:
    """The shard of a clip, by a hash of its *video* id.

    Stable: adding clips moves none. All clips of one video share a shard, and the shards come out shuffled.
    """
    count = profile.shards[SPLITS.index(split)]
    number = int.from_bytes(hashlib.sha256(source_id.encode()).digest()[:8], "big") % count
    return f"{split}-{number:06d}"


OVERFLOW_STEP = 100_000
"""A clip that is had late goes to an overflow shard: `train-100007` is the first of `train-000007`, `train-200007` the next.
Its own tar is never written again, and overflow shards are no partitions: they are worked on with their own shard."""


def base_shard(shard: str) -> str:
    """The partition that a shard belongs to: itself, or the one that it is the overflow of."""
    split, _, number = shard.rpartition("-")
    return f"{split}-{int(number) % OVERFLOW_STEP:06d}"


def shard_family(folder: Path, shard: str) -> list[str]:
    """A partition's shard, and its overflow shards that are finished in the folder of an asset."""
    return [shard, *(name for name in finished_shards(folder) if name != shard and base_shard(name) == shard)]


def next_overflow(shards: list[str]) -> str:
    """Name of the overflow shard that follows a family's last one."""
    split = shards[0].rpartition("-")[0]
    return f"{split}-{max(int(name.rpartition('-')[2]) for name in shards) + OVERFLOW_STEP:06d}"
