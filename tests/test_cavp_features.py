"""The features of frames and masked frames: the mask acts, and a long video's chunks see their neighbours."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from drawaudio_model.atomic_files import decode_array
from drawaudio_model.boxes import Box, boxes_to_json
from drawaudio_model.cavp import CAVP, CHUNK_FRAMES
from drawaudio_model.clip_format import SOURCE_VIDEO_FRAMES
from drawaudio_model.media import decode_jpeg, encode_jpeg
from drawaudio_model.shard import ShardReader, ShardWriter
from pipelines.assets import cavp_features
from pipelines.resources import DataRoot
from pipelines.shard_work import make_shard
from tests.tiny_cavp import awake, pictures

SHARD, SIZE = "train-000000", 32


def deep_cavp() -> CAVP:
    """A narrow video tower, as deep as the published one."""
    torch.manual_seed(0)
    return awake(CAVP(video_width=2, video_blocks=(3, 4, 6, 3), audio_width=0, embed_dim=12, image_size=SIZE))


def spread(features: torch.Tensor) -> float:
    """How much the features (V, D) differ from frame to frame."""
    return float(features.std(dim=0).mean())


@torch.no_grad()
def test_chunks_of_a_long_video_give_the_features_of_one_pass() -> None:
    model, frames = deep_cavp(), pictures(5, 2 * CHUNK_FRAMES + 16)
    at_once = model.encode_video(model.preprocess(frames[None]))[0]
    alone = model.encode_video(model.preprocess(frames[None, :CHUNK_FRAMES]))[0]
    found = model.encode_frames(frames)[0]
    # A chunk without its neighbours is another one near its end.
    assert float((alone - at_once[:CHUNK_FRAMES])[-1].abs().max()) > 0.1 * spread(at_once)
    assert float((found - at_once).abs().max()) < 1e-3 * spread(at_once)


@torch.no_grad()
def test_the_dataset_has_the_features_of_the_masked_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAWAUDIO_PROFILE", "folder")
    model = deep_cavp()
    folder = tmp_path / "backbones" / "cavp_backbone"
    model.save_pretrained(folder)
    (folder / "backbone.json").write_text(json.dumps({"inputs": {}, "files": {}}))
    keys = ["first_000000", "second_000000"]
    # The right half in even frames and the lower half in odd ones; nothing was found in the second clip.
    halves = [(0.5, 0.0, 1.0, 1.0), (0.0, 0.5, 1.0, 1.0)]
    boxes = {keys[0]: [Box(i, 0, 0.9, *halves[i % 2]) for i in range(SOURCE_VIDEO_FRAMES)], keys[1]: []}
    shown = {}
    with (
        ShardWriter(tmp_path / "clip_media", SHARD, inputs={}) as media,
        ShardWriter(tmp_path / "object_masks", SHARD, inputs={}) as masks,
    ):
        for number, key in enumerate(keys):
            jpegs = [encode_jpeg(frame) for frame in pictures(number + 7, SOURCE_VIDEO_FRAMES)]
            shown[key] = np.stack([decode_jpeg(jpeg) for jpeg in jpegs])
            media.add(key, {f"{i:03d}.jpg": jpeg for i, jpeg in enumerate(jpegs)} | {"json": b"{}"})
            masks.add(key, {"boxes.json": boxes_to_json(boxes[key]).encode()})
        media.commit()
        masks.commit()
    make_shard(tmp_path, SHARD, cavp_features.recipe(DataRoot(path=str(tmp_path))))
    reader = ShardReader(tmp_path / "cavp_features", SHARD)
    for key in keys:
        full, masked = (
            torch.from_numpy(decode_array(reader.member(key, f"{name}.npy")).astype(np.float32))
            for name in ("cavp", "cavp_masked")
        )
        black = shown[key].copy()
        if boxes[key]:
            black[0::2, :, : SIZE // 2] = 0
            black[1::2, : SIZE // 2] = 0
        expected, alone = (model.encode_video(model.preprocess(f[None]))[0] for f in (shown[key], black))
        limit = 0.02 * spread(expected)
        assert float((full - expected).abs().max()) < limit, key
        assert float((masked - alone).abs().max()) < limit, key
        assert (float((masked - full).abs().max()) > 50 * limit) == bool(boxes[key]), key
