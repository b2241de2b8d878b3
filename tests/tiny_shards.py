"""Small training shards with every member, for tests of what reads them."""

from pathlib import Path

import numpy as np

from drawaudio_model.clip_format import SOURCE_LOUDNESS_POINTS, SOURCE_SAMPLES, SOURCE_VIDEO_FRAMES
from drawaudio_model.media import encode_flac
from drawaudio_model.shard import ShardManifest, ShardWriter
from drawaudio_model.training_sample import TrainingSample, encode_sample

COUNTS = {"train-000000": 5, "train-000001": 3, "test-000000": 2}


def write_tiny_shards(folder: Path) -> list[ShardManifest]:
    """The shards of COUNTS, with seeded noise as features and text of varying length."""
    manifests = []
    for number, (shard, count) in enumerate(COUNTS.items()):
        random = np.random.default_rng(number)
        with ShardWriter(folder, shard, inputs={"test": "tiny"}) as writer:
            for i in range(0 if writer.committed else count):
                sample = tiny_sample(f"clip{number}{i}_{i:06d}", shard.split("-")[0], i, random)
                writer.add(sample.key, encode_sample(sample))
            manifests.append(writer.committed or writer.commit())
    return manifests


def tiny_sample(key: str, split: str, i: int, random: np.random.Generator) -> TrainingSample:
    """One sample with all members at narrow widths."""

    def noise(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float16)

    boxes = [[[0, 0.5, 0.1, 0.2, 0.3, 0.4]] if frame % 2 else [] for frame in range(SOURCE_VIDEO_FRAMES)]
    return TrainingSample(
        key=key,
        facts={
            "source": "demo",
            "source_id": key.rsplit("_", 1)[0],
            "start_s": i,
            "label": ("ball", "bird")[i % 2],
            "split": split,
            "caption": f"a {('red ball bounces', 'bird sings')[i % 2]} – take {i}",
            "caption_source": "rendered",
            "noun_phrases": [["red ball"], ["bird"]][i % 2],
            "flags": {"padded_video": False, "padded_audio": False, "whole_frame_mask": False},
            "scores": {"level": 0.5},
        },
        flac=encode_flac(0.1 * random.standard_normal(SOURCE_SAMPLES).astype(np.float32)),
        boxes=boxes,
        cavp=noise(SOURCE_VIDEO_FRAMES, 6),
        cavp_masked=noise(SOURCE_VIDEO_FRAMES, 6),
        loudness=random.random(SOURCE_LOUDNESS_POINTS).astype(np.float32),
        latent=noise(4, 10, 2),
        clap=noise(6),
        t5=noise(3 + i, 5),
        gpt=noise(8, 5),
    )
