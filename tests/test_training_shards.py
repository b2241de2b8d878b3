"""What the dataset holds of a clip, from media to sample: latents, curves, and each feature in its own place."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from drawaudio_model.atomic_files import decode_array, encode_array
from drawaudio_model.boxes import Box, boxes_to_json
from drawaudio_model.caption import Caption
from drawaudio_model.clip_format import SOURCE_SAMPLES, SOURCE_SECONDS, SOURCE_VIDEO_FRAMES
from drawaudio_model.loudness import loudness_signal
from drawaudio_model.media import decode_flac, encode_flac
from drawaudio_model.mel import log_mel
from drawaudio_model.shard import ShardReader, ShardWriter
from drawaudio_model.training_sample import decode_sample
from pipelines.assets import audio_latents, loudness_curves, training_shards
from pipelines.clip_rows import ClipRow, write_clip_list
from pipelines.resources import DataRoot
from pipelines.shard_work import make_shard

SHARD = "train-000000"
KEYS = ["quiet_000000", "steady_000000"]
GONE = "gone_000000"
WIDTHS = {"cavp": (40, 6), "cavp_masked": (40, 6), "loudness": (100,), "latent": (8, 125, 4), "clap": (5,)}
WIDTHS |= {"t5": (3, 4), "gpt": (8, 7)}


def recorded(key: str) -> np.ndarray:
    """(160000,) a tone that is switched on and off, as it was recorded: far too quiet, and beside its zero."""
    time = np.arange(SOURCE_SAMPLES) / 16_000
    gate = 0.2 + 0.8 * ((time * (0.7 if key == KEYS[0] else 1.1)) % 1 < 0.5)
    noise = np.random.default_rng(len(key)).standard_normal(SOURCE_SAMPLES)
    return (0.02 * gate * (np.sin(2 * np.pi * 440 * time) + 0.3 * noise) + 0.05).astype(np.float32)


def normalised(key: str) -> np.ndarray:
    """Without its mean, with a peak of one half."""
    waveform = decode_flac(encode_flac(recorded(key)))
    centred = waveform - waveform.mean()
    return 0.5 * centred / np.abs(centred).max()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with the media of two clips."""
    monkeypatch.setenv("DRAWAUDIO_PROFILE", "folder")
    with ShardWriter(tmp_path / "clip_media", SHARD, inputs={}) as media:
        for key in KEYS:
            flags = {KEYS[0]: ["padded_audio"], KEYS[1]: ["joined_clock", "turned_down"]}.get(key, [])
            facts = {"flags": flags, "scores": {"motion": len(key) / 100}}
            media.add(key, {"json": json.dumps(facts).encode(), "flac": encode_flac(recorded(key))})
        media.commit()
    return tmp_path


def test_curves_are_those_of_the_normalised_waveform(root: Path) -> None:
    make_shard(root, SHARD, loudness_curves.recipe())
    reader = ShardReader(root / "loudness_curves", SHARD)
    for key in KEYS:
        found = decode_array(reader.member(key, "loudness.npy"))
        np.testing.assert_allclose(found, loudness_signal(normalised(key), seconds=SOURCE_SECONDS), rtol=1e-3)
        assert found.max() > 0.1


@torch.no_grad()
def test_latents_are_mean_and_log_variance_of_the_normalised_waveforms_posterior(root: Path) -> None:
    torch.manual_seed(0)
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    autoencoder = AutoencoderKL(1, 1, **kinds, block_out_channels=(4, 4, 8, 8), latent_channels=4, norm_num_groups=2)
    autoencoder.quant_conv.bias += torch.linspace(-1, 1, 8)  # the two halves are unlike each other
    folder = root / "backbones" / "audio_autoencoder"
    autoencoder.eval().save_pretrained(folder)
    (folder / "backbone.json").write_text(json.dumps({"inputs": {}, "files": {}}))
    make_shard(root, SHARD, audio_latents.recipe(DataRoot(path=str(root))))
    reader = ShardReader(root / "audio_latents", SHARD)
    for key in KEYS:
        found = decode_array(reader.member(key, "latent.npy")).astype(np.float32)
        posterior = autoencoder.encode(log_mel(normalised(key))[None, None]).latent_dist
        as_recorded = autoencoder.encode(log_mel(recorded(key))[None, None]).latent_dist.mean[0].numpy()
        halves = (found[:4], posterior.mean[0].numpy()), (found[4:], posterior.logvar[0].numpy())
        for half, expected in halves:
            assert np.abs(half - expected).max() < 0.02 * expected.std()
        assert np.abs(as_recorded - found[:4]).max() > 0.1 * found[:4].std()


def test_each_feature_stands_under_its_own_name_and_who_was_taken_back_is_missing(root: Path) -> None:
    kept = [*KEYS, GONE]
    arrays = {
        (key, name): np.random.default_rng([i, j])
        .random(shape)
        .astype(np.float32 if name == "loudness" else np.float16)
        for i, key in enumerate(kept)
        for j, (name, shape) in enumerate(WIDTHS.items())
    }
    boxes = {KEYS[0]: [Box(3, 0, 0.5, 0.1, 0.2, 0.3, 0.4)], KEYS[1]: [], GONE: []}
    members = {
        "captions": lambda key: {"json": Caption(f"about {key}", "folder").to_json()},
        "noun_phrases": lambda key: {"json": json.dumps({"phrases": [f"phrase of {key}"]}).encode()},
        "object_masks": lambda key: {"boxes.json": boxes_to_json(boxes[key]).encode()},
    }
    places = {"cavp_features": ("cavp", "cavp_masked"), "loudness_curves": ("loudness",), "audio_latents": ("latent",)}
    places["text_embeddings"] = ("clap", "t5", "gpt")
    for asset, names in places.items():
        members[asset] = lambda key, names=names: {f"{name}.npy": encode_array(arrays[key, name]) for name in names}
    media = ShardReader(root / "clip_media", SHARD)
    facts = {key: media[key] for key in KEYS} | {GONE: media[KEYS[0]]}
    for asset, made in {"clip_media": facts.__getitem__, **members}.items():
        with ShardWriter(root / asset, SHARD, inputs={"again": "with the third clip"}) as shard:
            for key in kept:
                shard.add(key, made(key))
            shard.commit()
    rows = [
        ClipRow(key, "folder", key.split("_")[0], 0, "", "train", f"about {key}", media="", shard=SHARD) for key in KEYS
    ]
    write_clip_list(root / "clip_list.parquet", rows)
    manifest = make_shard(root, SHARD, training_shards.recipe(root))
    assert [(row.key, row.reason) for row in manifest.rejected] == [(GONE, "not_listed")]
    reader = ShardReader(root / "training_shards", SHARD)
    assert reader.keys == KEYS
    for key in KEYS:
        sample = decode_sample(key, reader[key])
        for name in WIDTHS:
            np.testing.assert_array_equal(getattr(sample, name), arrays[key, name])
        np.testing.assert_array_equal(decode_flac(sample.flac), decode_flac(encode_flac(recorded(key))))
        assert sample.facts["caption"] == f"about {key}" and sample.facts["noun_phrases"] == [f"phrase of {key}"]
        assert sample.facts["flags"] == {
            "padded_video": False,
            "padded_audio": key == KEYS[0],
            "whole_frame_mask": key == KEYS[1],
            **({"joined_clock": True} if key == KEYS[1] else {}),
        }
        assert sample.facts["scores"] == {"motion": len(key) / 100}
        assert [len(frame) for frame in sample.boxes] == [
            int(key == KEYS[0] and i == 3) for i in range(SOURCE_VIDEO_FRAMES)
        ]
