"""The dataset: WebDataset tars that hold everything training needs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from drawaudio_model.atomic_files import decode_array
from drawaudio_model.caption import read_caption
from drawaudio_model.release.ledger_row import LedgerRow
from drawaudio_model.shard import Rejection, ShardManifest, ShardReader, read_manifest
from drawaudio_model.training_sample import MASKS_MEMBER, RARE_FLAGS, TrainingSample, decode_sample, encode_sample
from pipelines.assets.audio_latents import audio_latents
from pipelines.assets.captions import captions
from pipelines.assets.cavp_features import cavp_features
from pipelines.assets.clip_media import clip_media
from pipelines.assets.loudness_curves import loudness_curves
from pipelines.assets.noun_phrases import noun_phrases, phrases_source, read_phrases
from pipelines.assets.object_masks import object_masks
from pipelines.assets.text_embeddings import text_embeddings
from pipelines.clip_rows import ClipRow, read_clip_list
from pipelines.parquet_rows import write_rows
from pipelines.partitions import SHARD_BACKFILL, base_shard, shard_family, shards
from pipelines.raw_ledger import clips_in, read_raw_ledger
from pipelines.resources import DataRoot
from pipelines.shard_work import Members, ShardRecipe, make_shards

UPSTREAM = (
    "clip_media",
    "captions",
    "noun_phrases",
    "object_masks",
    "cavp_features",
    "loudness_curves",
    "audio_latents",
    "text_embeddings",
)
STAGES = ("raw_clips", *UPSTREAM, "training_shards")
"""Where a clip may end, in order."""


@dg.asset(
    deps=[
        clip_media,
        captions,
        noun_phrases,
        object_masks,
        cavp_features,
        loudness_curves,
        audio_latents,
        text_embeddings,
    ],
    partitions_def=shards,
    backfill_policy=SHARD_BACKFILL,
    group_name="dataset",
    kinds={"webdataset"},
    check_specs=[
        dg.AssetCheckSpec("keys_match", asset="training_shards", blocking=True),
        dg.AssetCheckSpec("samples_decode", asset="training_shards", blocking=True),
    ],
)
def training_shards(context: dg.AssetExecutionContext, data_root: DataRoot) -> dg.MaterializeResult:
    """One WebDataset tar a shard: the key-checked join of all features, its index, its manifest and its ledger.

    `ledger/<shard>.parquet` has one row for every clip of the list: kept, or the asset and the reason where it ended.
    """
    root = Path(data_root.path)
    manifests = make_shards(context, root, recipe(root), show, lambda shard, _: write_ledger(root, shard))
    return dg.MaterializeResult(check_results=[_keys_match(root, manifests), _samples_decode(root, list(manifests))])


def recipe(root: Path) -> ShardRecipe:
    """Join by key; a clip that any feature lacks is rejected."""
    rows = read_clip_list(root)

    def work(keys: list[str], upstream: dict[str, ShardReader]) -> Iterator[tuple[str, Members | Rejection]]:
        for key in keys:
            lacking = [name for name in UPSTREAM if key not in upstream[name]]
            if key not in rows:
                text = f"{key} is on the clip list no more; it may have been taken back"
                yield key, Rejection(key, "not_listed", text)
                continue
            if lacking:
                yield key, Rejection(key, f"no_{lacking[0]}", f"{key} ended in {lacking[0]}, see its manifest")
                continue
            yield key, encode_sample(_join(key, rows[key], upstream))

    # The form of the JSON members, so that one dataset does not end with shards of two forms.
    return ShardRecipe("training_shards", UPSTREAM, work, settings={"lists": "lines"}, batched=False)


def show(reader: ShardReader) -> dict[str, Any]:
    """Hours, and the members with their mean sizes."""
    from drawaudio_model.release.markdown import table

    sizes: dict[str, list[int]] = {}
    for _, members in reader.items():
        for name, content in members.items():
            sizes.setdefault(name, []).append(len(content))
    rows = [{"member": name, "mean_kilobytes": round(float(np.mean(found)) / 1e3, 2)} for name, found in sizes.items()]
    return {"hours": round(len(reader) * 10 / 3600, 3), "members": dg.MetadataValue.md(table(rows))}


def ledger_rows(root: Path, shard: str) -> list[LedgerRow]:
    """Every clip of a shard, kept or dropped.

    An overflow shard's clips are those that its raw tar holds; all others are their own shard's.
    """
    overflow = [name for name in shard_family(root / "raw_clips", base_shard(shard)) if name != base_shard(shard)]
    late = clips_in(root, overflow)
    ended: dict[str, tuple[str, str, str]] = {}
    for stage in STAGES:
        manifest = read_manifest(root / stage, shard)
        for row in manifest.rejected if manifest else ():
            ended.setdefault(row.key, (stage, row.reason, row.message))
    # A shard's manifest knows its first round only, the ledger what a later one has met.
    for later in read_raw_ledger(root, base_shard(shard)):
        if later.reason and ended.get(later.key, ("",))[0] == "raw_clips":
            ended[later.key] = ("raw_clips", later.reason, later.message)
    rows = []
    for key, clip in read_clip_list(root, shard).items():
        if late.get(key, base_shard(shard)) != shard:
            continue
        stage, reason, message = ended.get(key, ("training_shards", "", ""))
        status = "dropped" if key in ended else "kept"
        rows.append(LedgerRow(key, clip.source, clip.source_id, status, stage, reason, message))
    return rows


def write_ledger(root: Path, shard: str) -> None:
    """Write `training_shards/ledger/<shard>.parquet`."""
    path = root / "training_shards" / "ledger" / f"{shard}.parquet"
    write_rows(path, LedgerRow, ledger_rows(root, shard))


def _join(key: str, clip: ClipRow, upstream: dict[str, ShardReader]) -> TrainingSample:
    media = json.loads(upstream["clip_media"].member(key, "json"))
    caption = read_caption(upstream["captions"], key)
    boxes = json.loads(upstream["object_masks"].member(key, "boxes.json"))
    arrays = {
        name: decode_array(upstream[asset].member(key, f"{name}.npy"))
        for name, asset in (
            ("cavp", "cavp_features"),
            ("cavp_masked", "cavp_features"),
            ("loudness", "loudness_curves"),
            ("latent", "audio_latents"),
            ("clap", "text_embeddings"),
            ("t5", "text_embeddings"),
            ("gpt", "text_embeddings"),
        )
    }
    facts = {name: getattr(clip, name) for name in ("source", "source_id", "start_s", "label", "split")}
    if (source := phrases_source(upstream["noun_phrases"], key)) is not None:
        facts["phrases_source"] = source
    masks = None
    if MASKS_MEMBER in upstream["object_masks"].members(key):
        masks = upstream["object_masks"].member(key, MASKS_MEMBER)
        facts["mask_source"] = json.loads(masks)["source"]
    return TrainingSample(
        key=key,
        facts={
            **facts,
            "caption": caption.text,
            "caption_source": caption.source,
            "noun_phrases": read_phrases(upstream["noun_phrases"], key),
            "flags": {
                "padded_video": "padded_video" in media["flags"],
                "padded_audio": "padded_audio" in media["flags"],
                "whole_frame_mask": not any(boxes),
                **{name: True for name in RARE_FLAGS if name in media["flags"]},
            },
            "scores": media["scores"],
        },
        flac=upstream["clip_media"].member(key, "flac"),
        boxes=boxes,
        masks=masks,
        **arrays,
    )


def _keys_match(root: Path, manifests: dict[str, ShardManifest]) -> dg.AssetCheckResult:
    lost: dict[str, list[str]] = {}
    for shard in manifests:
        reader = ShardReader(root / "training_shards", shard)
        kept = {row.key for row in ledger_rows(root, shard) if row.status == "kept"}
        # A clip that was taken back since stays in the tar, where the loader's exclude list keeps it from use.
        held = set(reader.keys) & set(read_clip_list(root, shard))
        if kept != held:
            lost[shard] = sorted(kept ^ held)
        reader.close()
    return dg.AssetCheckResult(
        check_name="keys_match",
        passed=not lost,
        metadata={"clips_without_a_row_or_a_sample": dg.MetadataValue.json(lost)},
    )


def _samples_decode(root: Path, names: list[str]) -> dg.AssetCheckResult:
    broken: dict[str, str] = {}
    checked = 0
    for shard in names:
        reader = ShardReader(root / "training_shards", shard)
        for key, members in reader.items():
            checked += 1
            try:
                decode_sample(key, members)
            except ValueError as error:
                broken[key] = str(error)
        reader.close()
    metadata: dict[str, Any] = {"checked_samples": checked, "broken": dg.MetadataValue.json(broken)}
    return dg.AssetCheckResult(check_name="samples_decode", passed=not broken, metadata=metadata)
