"""The video encoder's features of each clip, with and without the mask."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from drawaudio_model.atomic_files import decode_array, encode_array
from drawaudio_model.clip_frames import read_frames
from drawaudio_model.shard import ShardReader
from pipelines.annotation.annotators import CAVPEncoder, pick_video_encoder
from pipelines.annotation.settings import AnnotationSettings
from pipelines.assets.backbones import backbone_sha256, cavp_backbone
from pipelines.assets.clip_media import clip_media
from pipelines.assets.object_masks import object_masks, read_region
from pipelines.devices import clips_at_once
from pipelines.partitions import ALL_SHARDS, SHARD_BACKFILL, shards
from pipelines.resources import DataRoot
from pipelines.shard_work import Members, ShardRecipe, make_shards


@dg.asset(
    deps=[clip_media, object_masks, dg.AssetDep(cavp_backbone, partition_mapping=ALL_SHARDS)],
    partitions_def=shards,
    backfill_policy=SHARD_BACKFILL,
    group_name="features",
    kinds={"pytorch"},
)
def cavp_features(context: dg.AssetExecutionContext, data_root: DataRoot) -> None:
    """One tar a shard: `cavp.npy` and `cavp_masked.npy`, float16 (40, D), of the frames and of the masked frames (Eq. 7)."""
    make_shards(context, Path(data_root.path), recipe(data_root), show)


def recipe(data_root: DataRoot, group: int | None = None) -> ShardRecipe:
    """All 40 frames in one pass: CAVP's output depends on neighbouring frames, so a chunk would change it.

    Each clip is decoded once; its frames and its masked frames, of `group` clips, are one batch.
    """
    folder = data_root.backbone("cavp_backbone")
    group = group or clips_at_once(8)
    settings = AnnotationSettings.from_environment()
    encoder = pick_video_encoder(settings, lambda: CAVPEncoder(folder, backbone_sha256(folder)))

    def work(keys: list[str], upstream: dict[str, ShardReader]) -> Iterator[tuple[str, Members]]:
        for start in range(0, len(keys), group):
            chosen = keys[start : start + group]
            pairs = encoder.encode([_both(upstream, key) for key in chosen])
            for key, (full, masked) in zip(chosen, pairs, strict=True):
                yield key, {"cavp.npy": encode_array(full), "cavp_masked.npy": encode_array(masked)}

    upstream, inputs = ("object_masks", "clip_media"), {"cavp": encoder.identity}
    return ShardRecipe("cavp_features", upstream, work, settings=inputs, group=max(group, 16), batched=group > 1)


def _both(upstream: dict[str, ShardReader], key: str) -> np.ndarray:
    """(2, 40, H, W, 3) uint8: the frames of a clip, and the same black outside its mask."""
    from drawaudio_model.masks import apply_mask

    frames = read_frames(upstream["clip_media"], key)
    mask = read_region(upstream["object_masks"], key, *frames.shape[1:3])
    return np.stack([frames, np.asarray(apply_mask(frames, mask))])


def show(reader: ShardReader) -> dict[str, Any]:
    """How much the mask changes the features: mean cosine of full and masked ones."""
    cosines = []
    for key in reader.keys:
        full, masked = (
            decode_array(reader.member(key, f"{name}.npy")).astype(np.float32) for name in ("cavp", "cavp_masked")
        )
        lengths = np.linalg.norm(full, axis=1) * np.linalg.norm(masked, axis=1)
        cosines.append(float(np.mean((full * masked).sum(axis=1) / np.maximum(lengths, 1e-6))))
    return {"cosine_full_and_masked": round(float(np.mean(cosines)), 4), "width": int(full.shape[1])}
