"""Sounds that a training run makes of itself while it learns: the same validation clips, the same noise, each time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from drawaudio_model.evaluation.sample_sounds import batch_conditions, clip_seed
from drawaudio_model.media import write_audio
from drawaudio_model.pipeline import DrawAudioPipeline
from drawaudio_model.shard import ShardReader, finished_shards
from drawaudio_model.training_sample import TrainingSample, decode_sample


class AudioSamples:
    """The first validation samples as the model sounds them, with all instructions.

    Args:
        pipeline: holds the very networks that learn; they are used as they are at each call.
        samples: whose instructions are given.
        steps: sampling steps.
        seed: of the noise.
    """

    def __init__(
        self, pipeline: DrawAudioPipeline, samples: Sequence[TrainingSample], *, steps: int, seed: int
    ) -> None:
        self.pipeline, self.samples, self.steps, self.seed = pipeline, samples, steps, seed
        pipeline.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def generate(self) -> dict[str, np.ndarray]:
        """Key -> (128000,) waveform at 16 kHz."""
        sounds = {}
        for sample in self.samples:
            given = batch_conditions(self.pipeline, [sample])
            latent = self.pipeline.sample(
                given,
                seeds=[clip_seed(self.seed, sample.key)],
                num_inference_steps=self.steps,
            )
            sounds[sample.key] = self.pipeline.sounds(latent, given)[0]
        return sounds


def first_samples(shards: Path, split: str, count: int) -> list[TrainingSample]:
    """The first `count` samples of a split by shard and key; fewer where there are no more."""
    samples: list[TrainingSample] = []
    for name in finished_shards(shards, split=split):
        reader = ShardReader(shards, name)
        samples += [decode_sample(key, reader[key]) for key in reader.keys[: count - len(samples)]]
        reader.close()
    return samples


def write_sounds(folder: Path, step: int, sounds: dict[str, np.ndarray]) -> list[Path]:
    """`<folder>/step-00000100-<key>.flac` of each, in [-1, 1]; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"step-{step:08d}-{key}.flac" for key in sounds]
    for path, waveform in zip(paths, sounds.values(), strict=True):
        write_audio(path, waveform)
    return paths
