"""Training shards -> batches, in an order that depends on nothing but (seed, epoch).

The samples of all finished shards are numbered once, sorted by shard and key. Training reads an endless sequence of
them: epoch after epoch, each a permutation of its own. Optimiser step s takes the places s * G ... (s + 1) * G - 1 of
that sequence (G samples a step); processes and micro-batches split that range and workers only fetch. So the number of
workers, of processes and of shards never changes what is learnt from, a run is resumed by its step number alone, and
one shard of 14 samples feeds any number of workers.

Every random choice about a sample (crop, posterior noise, dropped instructions) comes from (seed, epoch, sample number).

Legend: B batch, C latent channels, F x K latent grid of the 8 s crop (time first), V video frames of the crop, D CAVP
width, L text tokens, Dt and Dg widths of T5 and GPT-2.
"""

import ast
import functools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from drawaudio_model.atomic_files import decode_array, fingerprint
from drawaudio_model.clip_format import (
    CLIP_SECONDS,
    LOUDNESS_FPS,
    LOUDNESS_POINTS,
    SOURCE_SECONDS,
    VIDEO_FPS,
    VIDEO_FRAMES,
    crop_starts_seconds,
)
from drawaudio_model.shard import (
    EXCLUDE_FILE,
    ShardManifest,
    ShardReader,
    Tar,
    finished_shards,
    is_excluded,
    read_exclude_list,
    read_index,
    read_manifest,
)
from drawaudio_model.training_sample import SCHEMA_VERSION

MEMBERS = ("cavp.npy", "cavp_masked.npy", "loudness.npy", "latent.npy", "clap.npy", "t5.npy", "gpt.npy")
"""Members of a sample that training reads. They lie side by side in the tar, so that one read fetches them all; CLAP's vector
lies between them and is not used, for GPT-2's tokens were computed from it."""

HOW_TO_MAKE_SHARDS = (
    "make them with: dagster asset materialize -m pipelines --select '*train_model' "
    "--partition-range 'train-000000...test-000000'"
)


@dataclass(frozen=True)
class NullRates:
    """Probability that an instruction is withheld from a sample; each sample tosses its own coins, in this order."""

    text_and_video: float = 0.0
    text: float = 0.0
    video: float = 0.0
    mask: float = 0.0
    loudness: float = 0.0

    def __post_init__(self) -> None:
        for name, rate in vars(self).items():
            if not 0 <= rate <= 1:
                raise ValueError(f"null rate of {name} is {rate}, expected a probability from 0 to 1")


@dataclass(frozen=True)
class ScoreLimits:
    """Limits on the scores that the dataset builder measured; clips beyond one are left out. None sets no limit."""

    most_silent_share: float | None = None
    most_clipped_share: float | None = None
    least_motion: float | None = None
    most_shot_cuts: int | None = None
    once_per_sound: bool = False
    """Of several clips with the same sound, the first by key stays."""

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return self != ScoreLimits()

    def reason(self, scores: dict[str, float | str]) -> str | None:
        """The score for which a clip is left out, or None when it stays.

        Raises:
            KeyError: when a score that is limited was not measured.
        """
        limits = (
            ("silent_share", self.most_silent_share, 1),
            ("clipped_share", self.most_clipped_share, 1),
            ("motion", self.least_motion, -1),
            ("shot_cuts", self.most_shot_cuts, 1),
        )
        for name, limit, sign in limits:
            if limit is not None and sign * float(scores[name]) > sign * limit:
                return name
        return None


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """B crops of 8 s with their precomputed instructions, all float32, and which instructions to withhold."""

    keys: list[str]
    start_seconds: torch.Tensor
    """(B,) float64: where the crop begins in the 10 s clip, at a frame of the picture."""
    latent: torch.Tensor
    """(B, C, F, K): a sample of the autoencoder's posterior, before its scaling factor."""
    cavp: torch.Tensor
    """(B, V, D) CAVP features of the frames."""
    cavp_masked: torch.Tensor
    """(B, V, D) CAVP features of the masked frames."""
    loudness: torch.Tensor
    """(B, 80) loudness signal at 10 points a second."""
    t5: torch.Tensor
    """(B, L, Dt), zeros behind each caption's end."""
    t5_mask: torch.Tensor
    """(B, L) bool, True where a caption has a token."""
    gpt: torch.Tensor
    """(B, 8, Dg)."""
    no_text: torch.Tensor
    """(B,) bool: train this sample with the text of ""."""
    no_video: torch.Tensor
    """(B,) bool: train it with zeros for both CAVP inputs."""
    no_mask: torch.Tensor
    """(B,) bool: train it with the whole frame as mask."""
    no_loudness: torch.Tensor
    """(B,) bool: train it without loudness signal."""

    def to(self, device: torch.device | str) -> "TrainingBatch":
        """The same batch with its tensors on `device`."""
        moved = {name: value.to(device, non_blocking=True) for name, value in self._tensors().items()}
        return replace(self, **moved)

    def pin_memory(self) -> "TrainingBatch":
        """The same batch in page-locked memory, from which copies to a GPU do not block; DataLoader calls this."""
        return replace(self, **{name: value.pin_memory() for name, value in self._tensors().items()})

    def _tensors(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}


class TrainingShards:
    """All samples of one split of a shard folder, for random access; only the index is held in memory.

    Args:
        folder: holds `<split>-*.tar` with index and manifest (shard.py); clips that its exclude.txt names are skipped.
        split: "train", "val" or "test".
        limits: clips beyond them are skipped; without limits no score is read.
        drawn: variants of the samples that `training_sample` draws in their place, or None.

    Raises:
        ValueError: when there is no finished shard, or a shard does not fit its manifest or lacks members or scores.
    """

    def __init__(
        self,
        folder: Path,
        split: str = "train",
        limits: ScoreLimits | None = None,
        drawn: "DrawnInstructions | None" = None,
    ) -> None:
        self.folder, self.split = Path(folder), split
        self.drawn = drawn
        """May be set later, before the first sample is read."""
        self.shards = finished_shards(self.folder, split=split)
        if not self.shards:
            raise ValueError(f"no finished training shard '{split}-*' in {self.folder}; {HOW_TO_MAKE_SHARDS}")
        excluded = read_exclude_list(self.folder / EXCLUDE_FILE)
        self.keys: list[str] = []
        self.skipped: Counter[str] = Counter()
        """Clips left out, by "excluded" or the score that was beyond its limit."""
        skipped: list[str] = []
        sounds: set[str] = set()
        shard_numbers, offsets, sizes, hashes = [], [], [], []
        for number, shard in enumerate(self.shards):
            manifest = read_manifest(self.folder, shard)
            assert manifest is not None
            self._check_shard(shard, manifest.bytes, manifest.schema_version)
            keys, offset, size = _read_index(self.folder, manifest)
            reasons = {key: "excluded" for key in keys if is_excluded(key, excluded)}
            if limits is not None and limits.any:
                reasons |= self._beyond(limits, shard, [key for key in keys if key not in reasons], sounds)
            self.skipped.update(reasons.values())
            kept = np.array([key not in reasons for key in keys], bool)
            skipped += [key for key, keep in zip(keys, kept, strict=True) if not keep]
            keys = [key for key, keep in zip(keys, kept, strict=True) if keep]
            offset, size = offset[kept], size[kept]
            self.keys += keys
            shard_numbers.append(np.full(len(keys), number, np.int32))
            offsets.append(offset)
            sizes.append(size)
            hashes.append(manifest.sha256)
        if not self.keys:
            raise ValueError(f"the '{split}-*' shards in {self.folder} hold no sample; {HOW_TO_MAKE_SHARDS}")
        self._identity = [hashes, *([sorted(skipped)] if skipped else [])]
        self._shard_numbers = np.concatenate(shard_numbers)
        self._offsets, self._sizes = np.concatenate(offsets), np.concatenate(sizes)
        self._tars = [Tar(self.folder / f"{shard}.tar") for shard in self.shards]
        self._shapes = {name: _fixed_shape(name, array) for name, array in self._load(0).items()}
        self.crop_starts = crop_starts_seconds(self._shapes["latent"][1])

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def fingerprint(self) -> str:
        """Changes when the samples do, or the variants that are drawn in their place."""
        return fingerprint(*self._identity, *([] if self.drawn is None else [self.drawn.fingerprint]))

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, F, K) of an 8 s crop."""
        channels, frames, bins = self._shapes["latent"]
        return channels // 2, frames * CLIP_SECONDS // SOURCE_SECONDS, bins

    @property
    def widths(self) -> dict[str, int]:
        """Feature widths of "cavp", "t5" and "gpt"."""
        return {name: self._shapes[name][-1] for name in ("cavp", "t5", "gpt")}

    def read(self, number: int) -> dict[str, np.ndarray]:
        """The arrays of one 10 s sample by member name without ".npy", as they are stored (CLAP left out).

        Raises:
            ValueError: when the tar is shorter than its index says or an array has an unexpected shape.
        """
        arrays = self._load(number)
        for name, array in arrays.items():
            if _fixed_shape(name, array) != self._shapes[name]:
                raise ValueError(
                    f"{name} of sample {self.keys[number]} has shape {array.shape}, the first sample's is "
                    f"{self._shapes[name]}; the shards come from different backbones, materialize them again"
                )
        return arrays

    def close(self) -> None:
        """Close this process's open tars; `read` opens them again."""
        for tar in self._tars:
            tar.close()

    def _load(self, number: int) -> dict[str, np.ndarray]:
        offsets, sizes = self._offsets[number], self._sizes[number]
        start = int(offsets[0])
        length = int(offsets[-1] + sizes[-1]) - start
        content = self._tars[self._shard_numbers[number]].read(length, start)
        if len(content) != length:
            shard = self.shards[self._shard_numbers[number]]
            raise ValueError(f"{self.folder / shard}.tar ends inside sample {self.keys[number]}; materialize it again")
        arrays = {}
        for member, offset, size in zip(MEMBERS, (offsets - start).tolist(), sizes.tolist(), strict=True):
            if member != "clap.npy":
                arrays[member.removesuffix(".npy")] = _parse_npy(content, offset, size)
        return arrays

    def _beyond(self, limits: ScoreLimits, shard: str, keys: Sequence[str], sounds: set[str]) -> dict[str, str]:
        """Key -> score of the clips beyond the limits; `sounds` are those of all shards so far."""
        reader, reasons = ShardReader(self.folder, shard), {}
        for key in keys:
            scores = json.loads(reader.member(key, "json"))["scores"]
            try:
                reason = limits.reason(scores)
                if reason is None and limits.once_per_sound:
                    reason = "sound_hash" if scores["sound_hash"] in sounds else None
                    sounds.add(scores["sound_hash"])
            except KeyError as error:
                raise ValueError(
                    f"{key} in {shard} has no score {error}, which the run limits; materialize clip_media again"
                ) from None
            if reason is not None:
                reasons[key] = reason
        reader.close()
        return reasons

    def _check_shard(self, shard: str, manifest_bytes: int, schema_version: int) -> None:
        path = self.folder / f"{shard}.tar"
        found = path.stat().st_size if path.exists() else 0
        if found != manifest_bytes:
            raise ValueError(f"{path} has {found} bytes, its manifest says {manifest_bytes}; materialize it again")
        if schema_version != SCHEMA_VERSION:
            raise ValueError(f"{path} has samples of schema {schema_version}, expected {SCHEMA_VERSION}; make it again")


class DrawnInstructions:
    """Variants of training clips: 8 s each, with other words, a mask and a curve drawn by hand, and a sound that obeys them.

    Args:
        folder: what the pipelines' asset `drawn_instructions` wrote.
        share: of the samples that are drawn from it, 0 to 1.

    Raises:
        ValueError: when there is no finished shard with a variant, or the share is no probability.
    """

    def __init__(self, folder: Path, share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"drawn_share is {share}, expected a probability from 0 to 1")
        self.share = share
        readers = [ShardReader(folder, shard) for shard in finished_shards(folder, split="train")]
        self._readers = {key: reader for reader in readers for key in reader.keys}
        if not self._readers:
            raise ValueError(
                f"no finished shard with variants in {folder}; materialize drawn_instructions of the train shards, or set "
                "drawn_share=0"
            )
        self.fingerprint = fingerprint(share, [reader.manifest.sha256 for reader in readers])

    def draw(self, key: str, generator: np.random.Generator) -> dict[str, np.ndarray] | None:
        """The arrays of one variant and its `start_frame`, or None: the clip itself is to be taken."""
        if generator.random() >= self.share or key not in self._readers:
            return None
        reader = self._readers[key]
        names = {name.split(".", 1)[0] for name in reader.members(key)}
        number = int(generator.integers(len(names)))
        arrays = {
            name: decode_array(reader.member(key, f"{number}.{name}.npy"))
            for name in ("cavp_masked", "loudness", "latent", "t5", "gpt")
        }
        facts = json.loads(reader.member(key, f"{number}.json"))
        # Variants that were made before have whole seconds.
        start = facts["start_frame"] if "start_frame" in facts else facts["start_seconds"] * VIDEO_FPS
        return arrays | {"start_frame": np.array(start)}

    def curves(self, keys: Sequence[str]) -> list[np.ndarray]:
        """The loudness signals of all variants of some clips, (P,) each."""
        return [
            decode_array(self._readers[key].member(key, name))
            for key in keys
            if key in self._readers
            for name in self._readers[key].members(key)
            if name.endswith(".loudness.npy")
        ]


@functools.lru_cache(maxsize=4)
def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """(count,) sample numbers in the order of one epoch."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def samples_at(first: int, length: int, *, count: int, seed: int) -> list[tuple[int, int]]:
    """(epoch, sample number) of the places first ... first + length - 1 in the endless training sequence."""
    places = range(first, first + length)
    return [(place // count, int(epoch_order(count, seed, place // count)[place % count])) for place in places]


def training_batches(
    shards: Path | TrainingShards,
    *,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    steps: int | None = None,
    micro_batch_size: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    null_rates: NullRates | None = None,
    pin_memory: bool = False,
) -> Iterator[TrainingBatch]:
    """Micro-batches of this process, step after step, from `first_step` on.

    A step has as many micro-batches in each process as `split_step` says; in each of them the processes hold neighbouring
    slices. Where they do not divide the step, the last slices hold some of its samples a second time: whoever sums over
    them leaves out all places from batch_size on.

    Args:
        shards: folder of training shards (its "train" split) or opened shards.
        batch_size: samples of one optimiser step over all processes.
        seed: of order, crops, posterior noise and dropped instructions.
        first_step: optimiser steps that were done already.
        steps: optimiser steps to yield; None: endless.
        micro_batch_size: samples in one forward pass of one process, at most; None: batch_size / process_count.
        process_index: this process, from 0.
        process_count: processes that train together.
        workers: loader processes; 0 loads in this one. Changes no batch.
        null_rates: how often instructions are withheld; None: never.
        pin_memory: page-lock the batches for a GPU.

    Raises:
        ValueError: when there are no samples.
    """
    if isinstance(shards, str | Path):
        shards = TrainingShards(Path(shards))
    width, micro_batches = split_step(batch_size, micro_batch_size or batch_size, process_count)
    last_step = None if steps is None else first_step + steps
    sampler = _StepSampler(
        count=len(shards),
        seed=seed,
        first=first_step * micro_batches,
        last=None if last_step is None else last_step * micro_batches,
        width=width,
        batch_size=batch_size,
        micro_batches=micro_batches,
        process_index=process_index,
        process_count=process_count,
    )
    loader = DataLoader(
        _Crops(shards, seed, null_rates or NullRates()),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # so that the loader takes nothing from the global one
    )
    return iter(loader)


def fixed_batches(shards: TrainingShards, count: int, width: int, seed: int) -> Iterator[tuple[int, TrainingBatch]]:
    """The first `count` samples with all instructions, cut the same way each time, as (first number, up to `width`)."""
    for first in range(0, count, width):
        numbers = range(first, min(first + width, count))
        yield first, _collate([training_sample(shards, number, 0, seed, NullRates()) for number in numbers])


def split_step(batch_size: int, micro_batch_size: int, process_count: int) -> tuple[int, int]:
    """Samples in one forward pass of one process, and forward passes of each process in one optimiser step.

    Together they are the step's samples, or as few more as any split has: any number of processes shares any batch.

    Args:
        batch_size: samples of one optimiser step over all processes.
        micro_batch_size: samples in one forward pass of one process, at most.
        process_count: processes that train together.

    Raises:
        ValueError: when one of them is less than 1.
    """
    if batch_size < 1 or micro_batch_size < 1 or process_count < 1:
        raise ValueError(
            f"a step of {batch_size} samples in micro-batches of {micro_batch_size} on {process_count} processes; expected at "
            "least 1 of each"
        )
    passes = -(-batch_size // (micro_batch_size * process_count))
    return -(-batch_size // (passes * process_count)), passes


def training_sample(shards: TrainingShards, number: int, epoch: int, seed: int, rates: NullRates) -> dict[str, Any]:
    """One crop with all its random choices, a function of the arguments only; see TrainingBatch for the members."""
    generator = np.random.default_rng([seed, epoch, number])
    start = int(generator.choice(shards.crop_starts))
    both, text, video, mask, loudness = (generator.random(5) < tuple(vars(rates).values())).tolist()
    arrays = shards.read(number)
    sample = {
        "key": shards.keys[number],
        "start_seconds": start,
        **crop_sample(arrays, start),
        "latent_noise": generator.standard_normal(shards.latent_shape, np.float32),
        "no_text": both or text,
        "no_video": both or video,
        "no_mask": mask,
        "no_loudness": loudness,
    }
    drawn = None if shards.drawn is None else shards.drawn.draw(shards.keys[number], generator)
    if drawn is None:
        return sample
    frame = int(drawn.pop("start_frame"))
    cavp = arrays["cavp"][frame : frame + VIDEO_FRAMES]
    # Its sound may follow the curve and not the picture: without the curve nothing would explain when it sounds.
    return sample | {"start_seconds": frame / VIDEO_FPS, "cavp": cavp, **drawn, "no_loudness": False}


def crop_sample(arrays: dict[str, np.ndarray], start_seconds: int) -> dict[str, np.ndarray]:
    """Cuts every grid of a 10 s sample to the 8 s that begin at `start_seconds`; text stays as it is."""
    latent_frames = arrays["latent"].shape[1]
    first = start_seconds * latent_frames // SOURCE_SECONDS
    frame, point = start_seconds * VIDEO_FPS, start_seconds * LOUDNESS_FPS
    return arrays | {
        "latent": arrays["latent"][:, first : first + latent_frames * CLIP_SECONDS // SOURCE_SECONDS],
        "cavp": arrays["cavp"][frame : frame + VIDEO_FRAMES],
        "cavp_masked": arrays["cavp_masked"][frame : frame + VIDEO_FRAMES],
        "loudness": arrays["loudness"][point : point + LOUDNESS_POINTS],
    }


class _Crops(Dataset):
    """(epoch, sample number) -> crop, for the loader's workers."""

    def __init__(self, shards: TrainingShards, seed: int, rates: NullRates) -> None:
        self.shards, self.seed, self.rates = shards, seed, rates

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        epoch, number = place
        return training_sample(self.shards, number, epoch, self.seed, self.rates)


class _StepSampler:
    """Iterates over micro-batches, each a list of (epoch, sample number)."""

    def __init__(
        self,
        *,
        count: int,
        seed: int,
        first: int,
        last: int | None,
        width: int,
        batch_size: int,
        micro_batches: int,
        process_index: int,
        process_count: int,
    ) -> None:
        self.count, self.seed, self.first, self.last = count, seed, first, last
        self.batch_size, self.micro_batches = batch_size, micro_batches
        self.width, self.process_index, self.process_count = width, process_index, process_count

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        micro_batch = self.first
        while self.last is None or micro_batch < self.last:
            step, micro = divmod(micro_batch, self.micro_batches)
            first = (micro * self.process_count + self.process_index) * self.width
            places = [step * self.batch_size + place % self.batch_size for place in range(first, first + self.width)]
            yield [samples_at(place, 1, count=self.count, seed=self.seed)[0] for place in places]
            micro_batch += 1


def _collate(samples: Sequence[dict[str, Any]]) -> TrainingBatch:
    def stacked(name: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([sample[name] for sample in samples]))

    def flags(name: str) -> torch.Tensor:
        return torch.tensor([sample[name] for sample in samples])

    moments = stacked("latent").float()
    mean, log_variance = moments.chunk(2, dim=1)  # (B, C, F, K) each
    # diffusers clamps the log-variance of its posterior at the same values.
    deviation = log_variance.clamp_(-30.0, 20.0).mul_(0.5).exp_()
    t5, t5_mask = pad_text([torch.from_numpy(sample["t5"].astype(np.float32)) for sample in samples])
    return TrainingBatch(
        keys=[sample["key"] for sample in samples],
        start_seconds=flags("start_seconds").double(),
        latent=torch.addcmul(mean, deviation, stacked("latent_noise")),
        cavp=stacked("cavp").float(),
        cavp_masked=stacked("cavp_masked").float(),
        loudness=stacked("loudness").float(),
        t5=t5,
        t5_mask=t5_mask,
        gpt=stacked("gpt").float(),
        no_text=flags("no_text"),
        no_video=flags("no_video"),
        no_mask=flags("no_mask"),
        no_loudness=flags("no_loudness"),
    )


def pad_text(states: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, L, Dt) of B states (L_i, Dt) with zeros behind each end, and the (B, L) bool mask of real tokens."""
    lengths = torch.tensor([len(state) for state in states])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    return torch.nn.utils.rnn.pad_sequence(list(states), batch_first=True), mask


def _fixed_shape(name: str, array: np.ndarray) -> tuple[int, ...]:
    """The part of an array's shape that all samples share: captions differ in length."""
    return array.shape[1:] if name == "t5" else array.shape


def _read_index(folder: Path, manifest: ShardManifest) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Keys, and (n, len(MEMBERS)) int64 offsets and sizes of the members that training reads."""
    table, count = read_index(folder, manifest), manifest.count
    members = np.asarray(table["member"].to_pylist(), dtype=object)
    offsets, sizes = table["offset"].to_numpy(), table["size"].to_numpy()
    rows = [np.flatnonzero(members == name) for name in MEMBERS]
    for name, found in zip(MEMBERS, rows, strict=True):
        if len(found) != count:
            path = folder / "index" / f"{manifest.shard}.parquet"
            raise ValueError(f"{path} lists {name} for {len(found)} of {count} samples; materialize the shard again")
    chosen = np.stack(rows, axis=1) if count else np.zeros((0, len(MEMBERS)), np.int64)  # (n, members)
    keys = table["key"].take(chosen[:, 0]).to_pylist()
    return keys, offsets[chosen], sizes[chosen]


def _parse_npy(content: bytes, offset: int, size: int) -> np.ndarray:
    """The array of an .npy member inside `content`, without copying; headers repeat, so each is parsed once."""
    if content[offset : offset + 8] != b"\x93NUMPY\x01\x00":
        raise ValueError("a member is no .npy file of version 1.0; write shards with encode_sample")
    data = offset + 10 + int.from_bytes(content[offset + 8 : offset + 10], "little")
    dtype, shape = _parse_header(content[offset + 10 : data])
    return np.frombuffer(content, dtype, (offset + size - data) // dtype.itemsize, data).reshape(shape)


@functools.lru_cache(maxsize=1024)
def _parse_header(header: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    fields = ast.literal_eval(header.decode("latin1"))
    if fields["fortran_order"]:
        raise ValueError("an .npy member is in Fortran order; write shards with encode_sample")
    return np.dtype(fields["descr"]), fields["shape"]
