"""Boxes of the things that a caption names, on every frame."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from drawaudio_model.clip_frames import read_frames
from drawaudio_model.scene_truth import TrueBox, read_truth
from drawaudio_model.shard import ShardReader
from pipelines.annotation.annotators import WorldDetector, pick_detector
from pipelines.annotation.settings import AnnotationSettings
from pipelines.assets.backbones import backbone_sha256, object_detector
from pipelines.assets.clip_media import clip_media
from pipelines.assets.noun_phrases import noun_phrases, read_phrases
from pipelines.devices import device
from pipelines.partitions import ALL_SHARDS, SHARD_BACKFILL, shards
from pipelines.profiles import current_profile
from pipelines.resources import DataRoot
from pipelines.shard_work import Members, ShardRecipe, make_shards
from pipelines.sources.registry import current_source
from pipelines.steps_at_once import EARLY


@dg.asset(
    deps=[noun_phrases, clip_media, dg.AssetDep(object_detector, partition_mapping=ALL_SHARDS)],
    partitions_def=shards,
    backfill_policy=SHARD_BACKFILL,
    group_name="features",
    kinds={"ultralytics"},
    op_tags=EARLY,
    check_specs=[dg.AssetCheckSpec("boxes_match_truth", asset="object_masks", blocking=True)],
)
def object_masks(context: dg.AssetExecutionContext, data_root: DataRoot) -> dg.MaterializeResult:
    """One tar a shard: `boxes.json`, YOLO-World's boxes per frame and phrase. Masks are rasterised from them.

    A clip in which nothing was found keeps an empty list; its mask is the whole frame.
    """
    root = Path(data_root.path)
    make_shards(context, root, recipe(data_root), lambda reader: show(root, reader))
    return dg.MaterializeResult(check_results=[_boxes_match_truth(root, context.partition_keys)])


def recipe(data_root: DataRoot) -> ShardRecipe:
    """Detect with the detector in force; the frames of several clips go through it in one batch.

    A phrase is encoded once for all shards and runs: its feature stays in `object_masks/.text_features/`.
    """
    folder = data_root.backbone("object_detector")
    annotation = AnnotationSettings.from_environment()

    def backbone() -> WorldDetector:
        sha256 = backbone_sha256(folder)
        return WorldDetector(folder, sha256, data_root.folder("object_masks") / ".text_features" / sha256[:16])

    detector, confidence = pick_detector(annotation, backbone), annotation.detector_confidence
    settings = {"detector": detector.identity, "confidence": confidence}
    clips, frames_at_once = (16, 320) if device() == "cuda" else (4, 64)

    def work(keys: list[str], upstream: dict[str, ShardReader]) -> Iterator[tuple[str, Members]]:
        from drawaudio_model.boxes import boxes_to_json

        frames = [read_frames(upstream["clip_media"], key) for key in keys]
        phrases = [read_phrases(upstream["noun_phrases"], key) for key in keys]
        found = detector.detect(frames, phrases, confidence=confidence, batch_frames=frames_at_once)
        for key, boxes in zip(keys, found, strict=True):
            yield key, {"boxes.json": boxes_to_json(boxes).encode()}

    return ShardRecipe("object_masks", ("noun_phrases", "clip_media"), work, settings=settings, group=clips)


def read_boxes(reader: ShardReader, key: str) -> list[Any]:
    """The boxes (masks.Box) of a clip."""
    from drawaudio_model.boxes import boxes_from_json

    return boxes_from_json(reader.member(key, "boxes.json").decode())


def show(root: Path, reader: ShardReader) -> dict[str, Any]:
    """A contact sheet with boxes, and how many clips had none."""
    from pipelines import pictures

    media, texts = ShardReader(root / "clip_media", reader.shard), ShardReader(root / "noun_phrases", reader.shard)
    boxes = {key: read_boxes(reader, key) for key in reader.keys}
    key = max(boxes, key=lambda name: len(boxes[name]) > 0)
    sheet = pictures.contact_sheet(read_frames(media, key), boxes[key], read_phrases(texts, key), key)
    return {
        "boxes": dg.MetadataValue.md(pictures.picture(sheet)),
        "boxes_per_frame": round(float(np.mean([len(found) / 40 for found in boxes.values()])), 3),
        "clips_without_box": sum(not found for found in boxes.values()),
    }


def mean_truth_iou(root: Path, shard: str) -> list[float]:
    """Per clip, the mean overlap over frames of the captioned thing's true box and the surest box of its own phrase.

    A frame without a box of that phrase counts as 0, and so does a clip whose caption's phrases do not name the thing.
    """
    masks, raw, texts = (ShardReader(root / name, shard) for name in ("object_masks", "raw_clips", "noun_phrases"))
    scores = []
    for key in masks.keys:
        truth = read_truth(raw, key)
        if truth is None:
            raise ValueError(f"clip {key} of raw_clips has no truth.json; its boxes cannot be checked")
        target = truth.target_object
        noun = target.phrase.split()[-1]
        # A chunker may leave an adjective out; the noun names the thing.
        own = {number for number, phrase in enumerate(read_phrases(texts, key)) if phrase.split()[-1] == noun}
        surest: dict[int, Any] = {}
        for box in read_boxes(masks, key):
            if box.phrase_index in own and (box.frame not in surest or box.confidence > surest[box.frame].confidence):
                surest[box.frame] = box
        overlaps = [_iou(true, surest[frame]) if frame in surest else 0.0 for frame, true in enumerate(target.boxes)]
        scores.append(float(np.mean(overlaps)))
    for reader in (masks, raw, texts):
        reader.close()
    return scores


def _boxes_match_truth(root: Path, names: list[str]) -> dg.AssetCheckResult:
    profile = current_profile()
    tests = [name for name in names if name.startswith("test-")]
    has_truth = current_source().has_truth
    if not has_truth or not tests:
        note = "no test shard in this run" if has_truth else "no ground truth"
        return dg.AssetCheckResult(
            check_name="boxes_match_truth", passed=True, metadata={"checked_clips": 0, "note": note}
        )
    scores = [score for name in tests for score in mean_truth_iou(root, name)]
    limit = profile.minimum_box_iou
    return dg.AssetCheckResult(
        check_name="boxes_match_truth",
        passed=limit is None or float(np.mean(scores)) >= limit,
        metadata={
            "mean_iou": float(np.mean(scores)),
            "worst_clip_iou": float(np.min(scores)),
            "checked_clips": len(scores),
            "limit": limit if limit is not None else "none: this profile trains for a few steps only",
        },
    )


def _iou(true: TrueBox, box: Any) -> float:
    x0, y0, x1, y1 = true
    width = min(x1, box.x1) - max(x0, box.x0)
    height = min(y1, box.y1) - max(y0, box.y0)
    shared = max(width, 0.0) * max(height, 0.0)
    union = (x1 - x0) * (y1 - y0) + (box.x1 - box.x0) * (box.y1 - box.y0) - shared
    return shared / union if union > 0 else 0.0
