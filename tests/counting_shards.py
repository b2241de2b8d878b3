"""Training shards of valid samples whose numbers count time, written through the real transaction."""

from pathlib import Path

import numpy as np

from drawaudio_model.clip_format import SOURCE_LOUDNESS_POINTS, SOURCE_VIDEO_FRAMES
from drawaudio_model.shard import ShardWriter
from drawaudio_model.training_sample import TrainingSample, encode_sample


def counting_sample(
    number: int,
    *,
    latent: tuple[int, int, int] = (4, 20, 2),
    cavp: int = 6,
    clap: int = 5,
    t5: int = 8,
    gpt: int = 7,
    flac_bytes: int = 100,
    deviation: float = 1e-4,
    cavp_scale: float = 1.0,
) -> TrainingSample:
    """Sample `number`; latent frame f of all channels is f up to `deviation`; CAVP and loudness count too."""
    generator = np.random.default_rng(number)
    channels, frames, bins = latent
    mean = np.broadcast_to(np.arange(frames)[None, :, None], (channels // 2, frames, bins))
    log_variance = np.full((channels // 2, frames, bins), 2 * np.log(deviation))
    frame = np.arange(SOURCE_VIDEO_FRAMES)[:, None]
    key = f"clip{number:04d}_000000"
    facts = {"source": "test", "source_id": f"clip{number:04d}", "start_s": 0, "label": "bell", "split": "train"}
    facts |= {"caption": f"sound {number}", "caption_source": "test", "noun_phrases": ["bell"], "scores": {}}
    return TrainingSample(
        key=key,
        facts=facts,
        flac=generator.bytes(flac_bytes),
        boxes=[],
        cavp=(cavp_scale * (frame + np.zeros(cavp))).astype(np.float16),
        cavp_masked=(cavp_scale * (frame + 100 + np.zeros(cavp))).astype(np.float16),
        loudness=(np.arange(SOURCE_LOUDNESS_POINTS) / 1000).astype(np.float32),
        latent=np.concatenate([mean, log_variance]).astype(np.float16),
        clap=generator.standard_normal(clap).astype(np.float16),
        t5=generator.standard_normal((2 + number % 4, t5)).astype(np.float16),
        gpt=generator.standard_normal((8, gpt)).astype(np.float16),
    )


def write_shards(folder: Path, counts: list[int], split: str = "train", first: int = 0, **widths: object) -> Path:
    """Shards `<split>-000000`, ... with that many samples each; returns `folder`."""
    for index, count in enumerate(counts):
        with ShardWriter(folder, f"{split}-{index:06d}", inputs={"made": "by the test"}) as shard:
            for number in range(first, first + count):
                sample = counting_sample(number, **widths)
                shard.add(sample.key, encode_sample(sample))
            shard.commit()
        first += count
    return folder
