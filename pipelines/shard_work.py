"""The loop that every per-shard asset shares: clips in, one finished shard out, one event a shard."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from drawaudio_model.atomic_files import file_sha256, fingerprint
from drawaudio_model.progress import Reporter
from drawaudio_model.shard import (
    Rejection,
    ShardManifest,
    ShardReader,
    ShardWriter,
    read_manifest,
    restore_index,
)
from pipelines.partitions import shard_family
from pipelines.profiles import materialize_command

Members = Mapping[str, bytes]
Work = Callable[[list[str], dict[str, ShardReader]], Iterator[tuple[str, Members | Rejection]]]
"""(keys of one group, upstream shards by asset) -> what becomes of each key."""


@dataclass(frozen=True)
class ShardRecipe:
    """How one asset turns upstream shards into its own."""

    asset: str
    upstream: tuple[str, ...]
    """Assets whose shards are read; the first one's keys are the clips to work on, unless `keys` says otherwise."""
    work: Work
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Everything else that determines the bytes: settings, versions, fingerprints of backbones."""
    group: int = 16
    """Clips handed to `work` at a time. Groups are cut from the sorted keys, so a batch holds the same clips in every run:
    floating-point sums depend on the batch, and a killed run must end with an undisturbed one's bytes."""
    together: Callable[[str, dict[str, ShardReader]], str] | None = None
    """(key, upstream shards) -> what must be worked on in one piece, such as the file that the clip is cut from: clips of
    one name are never in two groups, so a group may be larger than `group`. Only of a recipe that is not `batched`."""
    keys: Callable[[str], list[str]] | None = None
    shard_settings: Callable[[str], Mapping[str, Any]] | None = None
    """As `settings`, of one shard: what concerns its clips alone, so that a change elsewhere leaves it as it is."""
    batched: bool = True
    """Whether a clip's bytes depend on the other clips of its group; if not, only the missing ones are worked on again."""
    permanent: bool = False
    """A finished shard is never made again, whatever has changed: what it was made from may be gone."""


def make_shard(root: Path, shard: str, recipe: ShardRecipe) -> ShardManifest:
    """Make one shard of one asset, or return the manifest of the one that is there already.

    Raises:
        ValueError: when an upstream shard is missing.
    """
    if recipe.permanent and (manifest := read_manifest(root / recipe.asset, shard)) is not None:
        return _check_in_place(root / recipe.asset, manifest)
    missing = [name for name in recipe.upstream if read_manifest(root / name, shard) is None]
    if missing:
        raise ValueError(f"shard {shard} of {missing[0]} is missing in {root}; run: {materialize_command()}")
    readers = {name: ShardReader(root / name, shard) for name in recipe.upstream}
    inputs = {name: reader.manifest.sha256 for name, reader in readers.items()}
    keys = sorted(recipe.keys(shard) if recipe.keys else readers[recipe.upstream[0]].keys)
    settings = {**recipe.settings, **(recipe.shard_settings(shard) if recipe.shard_settings else {})}
    # A permanent shard's clips may change while it is filled (takedowns, late additions): what it has stays.
    inputs |= {"keys": "" if recipe.permanent else fingerprint(keys), "settings": fingerprint(settings)}
    with ShardWriter(root / recipe.asset, shard, inputs=inputs) as writer:
        if (manifest := writer.committed) is None:
            with Reporter(f"{recipe.asset} {shard}", total=len(keys)) as report:
                report.skip(len(writer.done))
                for group in _groups(keys, recipe, readers):
                    _work_on(writer, group, recipe, readers, report.step)
            manifest = writer.commit()
    for reader in readers.values():
        reader.close()
    return manifest


def make_shards(
    context: dg.AssetExecutionContext,
    root: Path,
    recipe: ShardRecipe,
    show: Callable[[ShardReader], dict[str, Any]] | None = None,
    finish: Callable[[str, ShardManifest], None] | None = None,
    shards_of: Callable[[str], list[str]] | None = None,
) -> dict[str, ShardManifest]:
    """Make the shards that this run asks for, each with counts and pictures in its own partition's metadata.

    A partition is its own shard and those overflow shards that the first upstream asset has. Partitions that were finished
    before another one failed are recorded, so that a later run does the rest only.

    Args:
        show: pictures and figures of a finished shard, as metadata.
        finish: called after each shard, for what lies beside it (a ledger).
        shards_of: partition -> shards to make, where an asset without upstream knows better.
    """
    manifests: dict[str, ShardManifest] = {}
    finished: dict[str, list[ShardManifest]] = {}
    for partition in context.partition_keys:
        names = shards_of(partition) if shards_of else _upstream_family(root, recipe, partition)
        try:
            for shard in names:
                manifests[shard] = make_shard(root, shard, recipe)
                if finish is not None:
                    finish(shard, manifests[shard])
        except Exception:
            for name, rows in finished.items():
                event = dg.AssetMaterialization(context.asset_key, partition=name, metadata=counts(*rows))
                context.log_event(event)
            raise
        finished[partition] = [manifests[shard] for shard in names]
        metadata = counts(*finished[partition])
        if show is not None:
            reader = ShardReader(root / recipe.asset, partition)
            metadata |= show(reader) if len(reader) else {}
            reader.close()
        context.add_asset_metadata(metadata, partition_key=partition)
        for shard in names:
            context.log.info(f"{shard}: {manifests[shard].count} clips kept, {len(manifests[shard].rejected)} dropped")
    return manifests


def counts(*manifests: ShardManifest) -> dict[str, Any]:
    """Metadata of every partition: clips kept, clips dropped by reason, bytes; of all its shards."""
    reasons = Counter(row.reason for manifest in manifests for row in manifest.rejected)
    return {
        "dagster/partition_row_count": sum(manifest.count for manifest in manifests),
        "dropped": dg.MetadataValue.json(dict(reasons)),
        "megabytes": round(sum(manifest.bytes for manifest in manifests) / 1e6, 2),
        "sha256": " ".join(manifest.sha256 for manifest in manifests),
    }


def _check_in_place(folder: Path, manifest: ShardManifest) -> ShardManifest:
    """A permanent shard that was damaged is not made again in silence: that may take days, and clips may be gone.

    Its index alone, which is read off the tar, is.
    """
    tar = folder / f"{manifest.shard}.tar"
    found = tar.stat().st_size if tar.exists() else 0
    if found != manifest.bytes or file_sha256(tar) != manifest.sha256:
        differs = f"{found} bytes" if found != manifest.bytes else "another sha256"
        raise ValueError(
            f"{tar} has {differs}, its manifest says {manifest.bytes} bytes of {manifest.sha256}; put it back from a copy, or "
            f"delete {folder / 'manifests' / (manifest.shard + '.json')} to fetch its clips again"
        )
    return restore_index(folder, manifest)


def _upstream_family(root: Path, recipe: ShardRecipe, partition: str) -> list[str]:
    return shard_family(root / recipe.upstream[0], partition) if recipe.upstream else [partition]


def _groups(keys: list[str], recipe: ShardRecipe, readers: dict[str, ShardReader]) -> Iterator[list[str]]:
    """The keys (ascending) in groups of at least recipe.group clips, of exactly so many where nothing belongs together."""
    pieces: dict[str, list[str]] = {}
    for key in keys:
        pieces.setdefault(recipe.together(key, readers) if recipe.together else key, []).append(key)
    group: list[str] = []
    for piece in pieces.values():
        group += piece
        if len(group) >= recipe.group:
            yield group
            group = []
    if group:
        yield group


def _work_on(
    writer: ShardWriter,
    group: Sequence[str],
    recipe: ShardRecipe,
    readers: dict[str, ShardReader],
    advance: Callable[[int], object],
) -> None:
    todo = set(group) - writer.done
    if not todo:
        return
    for key, outcome in recipe.work(list(group) if recipe.batched else sorted(todo), readers):
        if key not in todo:
            continue
        if isinstance(outcome, Rejection):
            writer.reject(key, outcome.reason, outcome.message)
        else:
            writer.add(key, outcome)
        advance(1)
