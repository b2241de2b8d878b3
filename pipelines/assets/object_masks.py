"""Boxes of the things that a caption names, on every frame."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from drawaudio_model import mask_rle, masks
from drawaudio_model.boxes import Box
from drawaudio_model.clip_format import SOURCE_SECONDS, SOURCE_VIDEO_FRAMES
from drawaudio_model.clip_frames import read_frames
from drawaudio_model.masks import rasterize, resize_mask
from drawaudio_model.one_sentence import one_sentence
from drawaudio_model.scene_truth import TrueBox, read_truth
from drawaudio_model.shard import Rejection, ShardReader
from drawaudio_model.training_sample import MASKS_MEMBER
from pipelines.annotation.annotators import WorldDetector, pick_detector
from pipelines.annotation.own_files import FROM_FILE
from pipelines.annotation.settings import AnnotationSettings, own_annotations
from pipelines.assets.backbones import backbone_sha256, object_detector
from pipelines.assets.clip_media import clip_media
from pipelines.assets.noun_phrases import noun_phrases, read_phrases
from pipelines.clip_rows import read_clip_list
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

    A clip in which nothing was found keeps an empty list; its mask is the whole frame. With masks from files
    (DRAWAUDIO_ANNOTATIONS) every clip has its region as `masks.rle.json`, too, and the boxes of a mask are those around it.
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

    own = own_annotations(annotation)
    own = own if own is not None and own.has_masks else None

    def work(keys: list[str], upstream: dict[str, ShardReader]) -> Iterator[tuple[str, Members | Rejection]]:
        from drawaudio_model.boxes import boxes_to_json

        frames = {key: read_frames(upstream["clip_media"], key) for key in keys}
        asked = [key for key in keys if own is None or key not in own.masks]
        phrases = [read_phrases(upstream["noun_phrases"], key) for key in asked]
        pictures = [frames[key] for key in asked]
        found = detector.detect(pictures, phrases, confidence=confidence, batch_frames=frames_at_once) if asked else []
        boxes = dict(zip(asked, found, strict=True))
        for key in keys:
            if own is None:
                yield key, {"boxes.json": boxes_to_json(boxes[key]).encode()}
            elif key in boxes:
                regions = rasterize(boxes[key], *frames[key].shape[1:3], frames=SOURCE_VIDEO_FRAMES)
                yield key, _members(boxes[key], regions, "detector")
            else:
                yield key, _own_mask(key, own.masks[key], frames[key])

    def shard_settings(shard: str) -> dict[str, str]:
        if own is None:
            return {}
        return {"files": own.mark(own.mask_of, read_clip_list(Path(data_root.path), shard).values())}

    upstream = ("noun_phrases", "clip_media")
    return ShardRecipe("object_masks", upstream, work, settings=settings, shard_settings=shard_settings, group=clips)


def _own_mask(key: str, path: Path, frames: np.ndarray) -> Members | Rejection:
    """The members of a mask from a file, or why it is none."""
    height, width = frames.shape[1:3]
    try:
        if path.suffix.lower() in masks.VIDEO_SUFFIXES:
            pictures = masks.video_pictures(path, SOURCE_SECONDS)
            found = masks.from_pictures(pictures, height, width, frames=SOURCE_VIDEO_FRAMES)
        else:
            found = masks.read_drawn(path, height, width, frames=SOURCE_VIDEO_FRAMES)
        masks.check_drawn(found, "the mask")
    except (ValueError, OSError) as error:
        return Rejection(key, "bad_mask", f"masks/{path.name}: {one_sentence(error)}")
    return _members(boxes_around(found.regions), found.regions, FROM_FILE)


def _members(boxes: list[Box], regions: np.ndarray, source: str) -> Members:
    from drawaudio_model.boxes import boxes_to_json

    facts = json.loads(mask_rle.encode(regions)) | {"source": source}
    return {"boxes.json": boxes_to_json(boxes).encode(), MASKS_MEMBER: json.dumps(facts).encode()}


def boxes_around(regions: np.ndarray) -> list[Box]:
    """A box around what is drawn in each frame of (V, H, W), none where that is nothing."""
    found = []
    height, width = regions.shape[1:]
    for frame, region in enumerate(regions):
        down, across = region.any(axis=1).nonzero()[0], region.any(axis=0).nonzero()[0]
        if len(down):
            corners = (across[0] / width, down[0] / height, (across[-1] + 1) / width, (down[-1] + 1) / height)
            found.append(Box(frame, 0, 1.0, *map(float, corners)))
    return found


def read_region(reader: ShardReader, key: str, height: int, width: int) -> np.ndarray:
    """(V, H, W) bool: the part of a clip's frames that sounds, of this size."""
    if MASKS_MEMBER in reader.members(key):
        regions = mask_rle.decode(json.loads(reader.member(key, MASKS_MEMBER)))
        return regions if regions.shape[1:] == (height, width) else resize_mask(regions, height, width)
    return rasterize(read_boxes(reader, key), height, width, frames=SOURCE_VIDEO_FRAMES)


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
