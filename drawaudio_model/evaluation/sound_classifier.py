"""Says which kind of thing sounds: small networks trained on the demo world's stems, one kind each, that vote.

It is a measuring instrument, not a part of the model, and knows nothing of one: it is trained on the stems of the train
split and on its things' sounds without a pause under drawn curves, blurred and coloured as any decoder may do. It is
judged on those of the held-out splits, as they are and through the autoencoder and vocoder of the model that is measured,
and both accuracies stand in every report that it serves.

Legend: B batch, T mel frames, M mel bins, K kinds.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from drawaudio_model.atomic_files import fingerprint
from drawaudio_model.clip_format import CLIP_SAMPLES, CLIP_SECONDS, HOP_LENGTH, MEL_BINS, MEL_FRAMES
from drawaudio_model.drawn.curves import draw_signal
from drawaudio_model.drawn.sounds import LOUDEST
from drawaudio_model.media import decode_flac
from drawaudio_model.mel import SILENCE, log_mel, normalize_waveform
from drawaudio_model.progress import Reporter
from drawaudio_model.scene_truth import read_truth
from drawaudio_model.shard import ShardReader, finished_shards, read_manifest

STEPS, BATCH = 300, 16
MEMBERS = 3
"""Networks that vote: each classifies held-out stems right, but one alone guesses on sounds that lie between two kinds."""
LEARNING_RATE = 3e-3
_SILENT_SHARE = 0.02
"""Crops in which a smaller share of a stem's energy lies are not learnt from: nothing sounds in them."""


@dataclass(frozen=True, eq=False)
class Stem:
    """The sound of one thing alone."""

    kind: str
    waveform: np.ndarray
    """(160000,) float32, normalised as for the log-mel."""
    continuous: bool = False
    """Whether it sounds without a pause, so that it may be put under any curve."""


class SoundClassifier(nn.Module):
    """(B, T, M) log-mels to (B, K) log-probabilities, of any T: the mean of some networks' own.

    Args:
        kinds: names of the classes.
        width: channels of each network's first layer.
        members: networks.
    """

    def __init__(self, kinds: Sequence[str], width: int = 16, members: int = MEMBERS) -> None:
        super().__init__()
        self.kinds, self.width = tuple(kinds), width
        self.members = nn.ModuleList(KindNetwork(len(self.kinds), width) for _ in range(members))

    def forward(self, mel: Tensor) -> Tensor:
        """Mean log-probabilities."""
        return self.votes(mel).mean(dim=0)

    def votes(self, mel: Tensor) -> Tensor:
        """(members, B, K) each network's log-probabilities of log-mels (B, T, M)."""
        return torch.stack([functional.log_softmax(member(mel), dim=1) for member in self.members])

    @torch.no_grad()
    def hear(self, waveform: np.ndarray) -> "Verdict":
        """The verdict on a (samples,) waveform at 16 kHz, which is normalised here."""
        self.eval()
        votes = self.votes(log_mel(normalize_waveform(waveform))[None])[:, 0]  # (members, K)
        return Verdict(self.kinds[int(votes.mean(dim=0).argmax())], len(set(votes.argmax(dim=1).tolist())) == 1)

    def classify(self, waveforms: Sequence[np.ndarray]) -> list[str]:
        """The kind of each waveform."""
        return [self.hear(waveform).kind for waveform in waveforms]


class Verdict(NamedTuple):
    """The networks' verdict on one sound."""

    kind: str
    unanimous: bool
    """Whether all networks agree; a divided verdict is less reliable."""


class KindNetwork(nn.Module):
    """(B, T, M) log-mels to (B, K) logits, of any T.

    Args:
        kinds: number of classes.
        width: channels of the first layer.
    """

    def __init__(self, kinds: int, width: int) -> None:
        super().__init__()
        channels = [1, width, 2 * width, 4 * width, 4 * width]
        layers = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(4, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(2 * channels[-1], kinds)

    def forward(self, mel: Tensor) -> Tensor:
        """Logits; the loudest moments and the average decide together."""
        seen = (mel[:, None] - SILENCE) / -SILENCE  # (B, 1, T, M), silence is 0
        features = self.layers(functional.avg_pool2d(seen, (2, 1))).mean(dim=3)  # (B, C, T / 32)
        return self.head(torch.cat([features.mean(dim=2), features.amax(dim=2)], dim=1))


def read_stems(raw_clips: Path, split: str) -> list[Stem]:
    """Every stem of a split's clips, with its thing's kind.

    Raises:
        ValueError: when the split has no finished shard, or its clips carry no truth.
    """
    stems = []
    for shard in finished_shards(raw_clips, split=split):
        reader = ShardReader(raw_clips, shard)
        for key in reader.keys:
            truth = read_truth(reader, key)
            if truth is None:
                raise ValueError(f"clip {key} of {raw_clips} has no truth.json; only the demo world's clips have stems")
            for thing in truth.objects:
                if thing.stem_member is not None:
                    waveform = decode_flac(reader.member(key, thing.stem_member))
                    stems.append(Stem(thing.kind, normalize_waveform(waveform)))
        reader.close()
    if not stems:
        raise ValueError(f"{raw_clips} has no finished shard of the split {split!r}; materialize raw_clips first")
    return stems


def read_materials(raw_clips: Path, split: str) -> list[Stem]:
    """Every thing's sound without a pause, where the clips have them: what generated sounds under drawn curves are like."""
    materials = []
    for shard in finished_shards(raw_clips, split=split):
        reader = ShardReader(raw_clips, shard)
        for key in reader.keys:
            truth = read_truth(reader, key)
            for thing in truth.objects if truth else ():
                if thing.material_member in reader.members(key):
                    waveform = decode_flac(reader.member(key, thing.material_member))
                    materials.append(Stem(thing.kind, normalize_waveform(waveform), continuous=True))
        reader.close()
    return materials


def train_classifier(
    stems: Sequence[Stem], *, steps: int, seed: int, report: Reporter | None = None
) -> SoundClassifier:
    """A classifier of the stems' kinds; `steps` of each of its networks.

    Each crop of 8 s is played at another level, half of the continuous ones under a drawn curve, with other mel bins damped,
    a little noise and blur: what a curve, an autoencoder or a vocoder does to a sound must not change its kind.
    """
    torch.manual_seed(seed)
    model = SoundClassifier(sorted({stem.kind for stem in stems}))
    model.train()
    for number, member in enumerate(model.members):
        optimizer = torch.optim.AdamW(member.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
        for step, (mels, kinds) in enumerate(_training_batches(model.kinds, stems, steps, [seed, 1, number])):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * (1 - step / steps)
            loss = functional.cross_entropy(member(mels), kinds)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if report is not None:
                report.step(classifier_loss=float(loss.detach()))
    return model.eval()


def accuracy(model: SoundClassifier, stems: Sequence[Stem]) -> float:
    """Share of stems whose first 8 s are classified as their kind; stems that are silent there are left out."""
    audible = [stem for stem in stems if _is_heard(stem.waveform, 0)]
    kinds = model.classify([stem.waveform[:CLIP_SAMPLES] for stem in audible])
    return float(np.mean([kind == stem.kind for kind, stem in zip(kinds, audible, strict=True)]))


def trained_classifier(raw_clips: Path, folder: Path, *, steps: int = STEPS, seed: int = 0) -> SoundClassifier:
    """The classifier of these clips: read from `folder` where the same one was trained before, else trained and kept."""
    manifests = {name: read_manifest(raw_clips, name) for name in finished_shards(raw_clips, split="train")}
    shards = {name: manifest.sha256 for name, manifest in manifests.items() if manifest is not None}
    identity = fingerprint("stems, drawn materials", shards, steps, seed, BATCH, LEARNING_RATE, MEMBERS)
    weights, facts = folder / "classifier.safetensors", folder / "classifier.json"
    if weights.is_file() and facts.is_file():
        stored = json.loads(facts.read_text())
        if stored["identity"] == identity:
            model = SoundClassifier(stored["kinds"], stored["width"])
            model.load_state_dict(load_file(weights))
            return model.eval()
    with Reporter("train classifier", MEMBERS * steps) as report:
        sounds = [*read_stems(raw_clips, "train"), *read_materials(raw_clips, "train")]
        model = train_classifier(sounds, steps=steps, seed=seed, report=report)
    folder.mkdir(parents=True, exist_ok=True)
    # The facts come last: weights without them are not used.
    facts.unlink(missing_ok=True)
    save_file(model.state_dict(), weights)
    facts.write_text(json.dumps({"identity": identity, "kinds": model.kinds, "width": model.width}))
    return model


def _training_batches(
    kinds: Sequence[str], stems: Sequence[Stem], steps: int, seed: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """(B, T, M) altered log-mels of crops with their (B,) kinds; every kind is as frequent as any other."""
    rng = np.random.default_rng(seed)
    mels = [log_mel(stem.waveform) for stem in stems]
    groups = [[place for place, stem in enumerate(stems) if stem.kind == kind] for kind in kinds]
    for _ in range(steps):
        chosen = rng.permutation(np.arange(BATCH) % len(kinds))
        crops = [_crop(rng, stems, mels, groups[number]) for number in chosen]
        yield _altered(rng, torch.stack(crops)), torch.from_numpy(chosen.astype(np.int64))


def _crop(rng: np.random.Generator, stems: Sequence[Stem], mels: list[Tensor], group: list[int]) -> Tensor:
    """(T, M) of 8 s somewhere in a stem of the group that are not silent."""
    while True:
        place = int(rng.choice(group))
        start = int(rng.integers(0, len(mels[place]) - MEL_FRAMES + 1))
        if _is_heard(stems[place].waveform, start * HOP_LENGTH):
            crop = mels[place][start : start + MEL_FRAMES]
            return _under_a_curve(rng, crop) if stems[place].continuous and rng.random() < 0.5 else crop


def _under_a_curve(rng: np.random.Generator, mel: Tensor) -> Tensor:
    """The log-mel (T, M) of 8 s with the gain of a curve drawn by hand."""
    curve = draw_signal(rng, CLIP_SECONDS, loudest=LOUDEST)
    gain = np.interp(np.arange(MEL_FRAMES) * len(curve) / MEL_FRAMES - 0.5, np.arange(len(curve)), curve / curve.max())
    return (mel + torch.from_numpy(np.log(np.maximum(gain, 1e-5))).float()[:, None]).clamp_min(SILENCE)


def _is_heard(waveform: np.ndarray, start: int) -> bool:
    whole = float(np.square(waveform).sum())
    return float(np.square(waveform[start : start + CLIP_SAMPLES]).sum()) > _SILENT_SHARE * whole


def _altered(rng: np.random.Generator, mels: Tensor) -> Tensor:
    """The log-mels (B, T, M) at other levels, with another balance of the bins, a noise floor and blur in time."""
    batch = len(mels)
    level = torch.from_numpy(rng.uniform(-1.5, 0.5, (batch, 1, 1))).float()
    nodes = torch.from_numpy(rng.normal(0, 0.5, (batch, 1, 6))).float()
    balance = functional.interpolate(nodes, size=MEL_BINS, mode="linear", align_corners=True)  # (B, 1, M)
    floor = torch.from_numpy(rng.uniform(SILENCE, -5.0, (batch, 1, 1))).float()
    jitter = torch.from_numpy(rng.normal(0, 0.4, mels.shape).astype(np.float32))
    noisy = torch.logaddexp(mels + level + balance, floor + jitter)
    kernel = BLURS[int(rng.integers(len(BLURS)))]
    margins = (kernel[0] // 2, kernel[1] // 2)
    blurred = functional.avg_pool2d(noisy[:, None], kernel, stride=1, padding=margins, count_include_pad=False)[:, 0]
    return torch.where(torch.from_numpy(rng.random((batch, 1, 1)) < 0.6), blurred, noisy).clamp_min(SILENCE)


BLURS = ((3, 3), (5, 3), (9, 5))
"""(frames, bins) over which a crop may be averaged: up to 90 ms and five bins, about a latent of a small autoencoder."""
