"""One partition a shard.

Dagster must know static partitions when it loads the definitions, so the profile is read here, at import.
"""

import hashlib

import dagster as dg

from pipelines.profiles import SPLITS, Profile, current_profile

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
