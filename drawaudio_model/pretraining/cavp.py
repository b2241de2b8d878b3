"""Trains the small CAVP: frames and sound of the same moments get similar vectors.

Two stages, as Diff-Foley's. Its encoders first learnt from labels (Kinetics, AudioSet); from nothing the contrast first
makes all vectors equal and stays there for hundreds of steps. Here both encoders first predict, for many short stretches,
what kinds of things are in sight or sound (where the truth names them) and how loud each of a few bands is, through heads
that they share. Then the contrast is added, Diff-Foley's semantic and temporal terms (`drawaudio_model.cavp`); the first
losses stay. Measured here: without them, or with the temporal term at full weight, a few dozen steps of contrast make
the vectors of all clips nearly equal (cosine 0.86 to 0.97 between clips, 0.2 to 0.45 with both).

Features are also computed of masked frames, so most views show only one thing, under a mask as someone may draw it, with
its own sound. A silent thing still teaches the picture encoder its kind.

A thing under a mask fills a twentieth of an otherwise black picture, and SlowOnly averages over the picture: what it says
of the thing is a small part of features that all pictures share. So the first stage asks of features standardised over
the batch, and their mean and deviation go into the last layers afterwards; else hundreds of steps pass until the heads'
weights are large enough.

Legend: B views in a batch, N windows of one view, V frames of a window, T spectrogram frames of a window, M bins,
D feature width, S pixels of a side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from drawaudio_model.backbone_config import CavpConfig
from drawaudio_model.cavp import (
    CAVP,
    SPECTROGRAM_FRAMES_PER_STEP,
    TRAINING_FRAMES,
    clip_starts,
    contrastive_loss,
    diff_foley_log_mel,
)
from drawaudio_model.drawn.masks import MASK_KINDS, MaskKind, box_mask, drawn_mask
from drawaudio_model.generation.feature_distance import LEFT_OUT_PARTS, fit_distance, picture_statistics
from drawaudio_model.media import decode_flac
from drawaudio_model.mel import normalize_waveform
from drawaudio_model.pretraining.loop import TrainClips, counted, draw_losses, fit
from drawaudio_model.training_domain import write_pictures

COARSE_BANDS = 16
"""Bands of the spectrum that the first stage predicts."""
SOUND_EVERY = 12
"""The sound encoder takes every twelfth step of the first stage: it learns its part in a fraction of the steps, and one of its
steps takes the time of six of the pictures'."""
STANDARD_VIEWS = 128
"""Views from which the features' mean and deviation are measured between the stages."""
RECALL_WINDOWS = 3
"""Windows of TRAINING_FRAMES frames of each view among which the right one is looked for."""


@dataclass(frozen=True)
class View:
    """One way to look at a clip, with the sound that belongs to it."""

    clip: int
    boxes: np.ndarray | None
    """(40, 4) in [0, 1] of one thing: all outside is black; None: the whole frame."""
    sound: int | None
    """Number of the spectrogram; None for a thing without sound."""
    sound_kind: int
    """Number of the kind of thing that sounds; -1 where the truth is unknown or nothing sounds."""
    visible_kinds: tuple[int, ...]
    """Numbers of the kinds of things in sight; empty where the truth is unknown."""


@dataclass(frozen=True)
class Corpus:
    """Whole clips, decoded once, and every view of them."""

    frames: Tensor
    """(clips, 40, 3, S, S) uint8."""
    spectrograms: Tensor
    """(sounds, M, T) float32 in [0, 1]."""
    views: list[View]
    kinds: list[str]

    def windows(
        self, chosen: list[int], starts: list[list[int]], length: int, random: np.random.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """frames (B N, V, 3, S, S) float32 in [0, 1] and spectrograms (B N, M, T) of the chosen views.

        A view of one thing is masked by its boxes or, with `random`, by masks drawn around them.
        """
        frames = []
        for number, own in zip(chosen, starts, strict=True):
            view = self.views[number]
            for start in own:
                stretch = slice(start, start + length)
                pictures = self.frames[view.clip, stretch]
                frames.append(pictures if view.boxes is None else _masked(pictures, view.boxes, stretch, random))
        return torch.stack(frames).float() / 255, self.sounds(chosen, starts, length)

    def sounds(self, chosen: list[int], starts: list[list[int]], length: int) -> Tensor:
        """Spectrograms (B N, M, T) of the chosen views; zeros, which is silence, for a thing without sound."""
        sounds = []
        for number, own in zip(chosen, starts, strict=True):
            sound = self.views[number].sound
            for start in own:
                first, last = (edge * SPECTROGRAM_FRAMES_PER_STEP for edge in (start, start + length))
                stretch = self.spectrograms[sound or 0, :, first:last]
                sounds.append(torch.zeros_like(stretch) if sound is None else stretch)
        return torch.stack(sounds)

    def whole_frame_views(self) -> list[int]:
        """Numbers of the views that show everything: one a clip."""
        return [number for number, view in enumerate(self.views) if view.boxes is None]

    def single_views(self) -> list[int]:
        """Numbers of the views of one thing, all else black, with its own sound."""
        return [number for number in self.sounding_views() if self.views[number].boxes is not None]

    def sounding_views(self) -> list[int]:
        """Numbers of the views with a sound."""
        return [number for number, view in enumerate(self.views) if view.sound is not None]

    def draw(
        self, random: np.random.Generator, views: int, windows: int, length: int, *, silent: bool = False
    ) -> tuple[list[View], Tensor, Tensor]:
        """`views` different views and, as `windows` gives them, N windows of each; the frames varied.

        Things without sound are among them if `silent`.
        """
        chosen, starts = self._choose(random, views, windows, length, silent)
        frames, sounds = self.windows(chosen, starts, length, random)
        return [self.views[number] for number in chosen for _ in range(windows)], _varied(frames, random), sounds

    def draw_sounds(self, random: np.random.Generator, views: int, length: int) -> tuple[list[View], Tensor]:
        """`views` different views with a sound, and the spectrogram (B, M, T) of a window of each."""
        chosen, starts = self._choose(random, views, 1, length, False)
        return [self.views[number] for number in chosen], self.sounds(chosen, starts, length)

    def _choose(
        self, random: np.random.Generator, views: int, windows: int, length: int, silent: bool
    ) -> tuple[list[int], list[list[int]]]:
        """Numbers of different views, and first frames of the windows of each."""
        pool = list(range(len(self.views))) if silent else self.sounding_views()
        chosen = random.choice(pool, views, replace=len(pool) < views).tolist()
        return chosen, [clip_starts(random, windows, clip_frames=length, shift_frames=2 * length) for _ in chosen]


def read_corpus(clips: TrainClips, keys: list[str], image_size: int, kinds: list[str]) -> Corpus:
    """Frames at the model's size, and Diff-Foley's spectrograms; a view of every clip and of every thing."""
    frames: list[np.ndarray] = []
    spectrograms: list[Tensor] = []
    views: list[View] = []
    for clip, key in enumerate(counted(keys, "read frames and sounds")):
        frames.append(clips.frames(key, image_size))
        truth = clips.truth(key)
        things = truth.objects if truth else ()
        seen = tuple(kinds.index(thing.kind) for thing in things)
        views.append(View(clip, None, len(spectrograms), seen[truth.target] if truth else -1, seen))
        spectrograms.append(_spectrogram(clips.member("clip_media", key, "flac")))
        for number, thing in zip(seen, things, strict=True):
            if thing.stem_member is None:
                views.append(View(clip, np.array(thing.boxes), None, -1, (number,)))
                continue
            views.append(View(clip, np.array(thing.boxes), len(spectrograms), number, (number,)))
            spectrograms.append(_spectrogram(clips.member("raw_clips", key, thing.stem_member)))
    stacked = torch.from_numpy(np.stack(frames)).permute(0, 1, 4, 2, 3).contiguous()
    return Corpus(stacked, torch.stack(spectrograms), views, kinds)


def known_kinds(clips: TrainClips) -> list[str]:
    """Kinds of things that the truth of the clips names, sorted; empty where there is no truth."""
    truths = [clips.truth(key) for key in clips.keys]
    return sorted({thing.kind for truth in truths if truth for thing in truth.objects})


def coarse_spectrum(spectrograms: Tensor) -> Tensor:
    """(B, V, COARSE_BANDS): mean level of each band during each frame, from (B, M, T)."""
    steps = spectrograms.unflatten(2, (-1, SPECTROGRAM_FRAMES_PER_STEP)).mean(dim=3)  # (B, M, V)
    return steps.unflatten(1, (COARSE_BANDS, -1)).mean(dim=2).transpose(1, 2)


class Questions(nn.Module):
    """The encoders' losses besides the contrast: the kinds of things, and the loudness of each band.

    The same two heads read both encoders' outputs, which brings the two feature spaces together.

    Args:
        width: D.
        corpus: the training clips, whose mean and deviation are the unit of the bands.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int, corpus: Corpus) -> None:
        super().__init__()
        self.kind = nn.Linear(width, max(1, len(corpus.kinds)))
        self.spectrum = nn.Linear(width, COARSE_BANDS)
        steps = corpus.spectrograms.shape[-1] // SPECTROGRAM_FRAMES_PER_STEP
        bands = coarse_spectrum(corpus.spectrograms[:, :, : steps * SPECTROGRAM_FRAMES_PER_STEP])
        self.register_buffer("mean", bands.mean(dim=(0, 1)))
        self.register_buffer("deviation", bands.std(dim=(0, 1)).clamp(min=1e-6))

    def loss(self, views: list[View], video: Tensor, sound: Tensor, sounds: Tensor) -> Tensor:
        """Scalar, of features (B N, V, D) of the frames and of the sound; `sounds` are the views' spectrograms."""
        return self.sight_loss(views, video, sounds) + self.sound_loss(views, sound, sounds)

    def sight_loss(self, views: list[View], video: Tensor, sounds: Tensor) -> Tensor:
        """Scalar, of features (B N, V, D) of the frames; a thing without sound counts with its kind only."""
        sounding = torch.tensor([view.sound is not None for view in views], device=video.device)
        has_truth = torch.tensor([bool(view.visible_kinds) for view in views], device=video.device)
        off = (self.spectrum(video) - self._bands(sounds)).square().mean(dim=(1, 2))
        total = (off * sounding).sum() / sounding.sum().clamp(min=1)
        if not has_truth.any():
            return total
        seen = torch.zeros(len(views), self.kind.out_features, device=video.device)
        for row, view in zip(seen, views, strict=True):
            row[list(view.visible_kinds)] = 1
        scores = self.kind(video[has_truth].mean(dim=1))
        # Several things may be in sight: each kind is a binary choice of its own, and their sum counts as one choice of many.
        answers = functional.binary_cross_entropy_with_logits(scores, seen[has_truth], reduction="none").sum(dim=1)
        return total + answers.mean()

    def sound_loss(self, views: list[View], sound: Tensor, sounds: Tensor) -> Tensor:
        """Scalar, of features (B N, V, D) of the sound; all views have one."""
        total = functional.mse_loss(self.spectrum(sound), self._bands(sounds))
        kinds = torch.tensor([view.sound_kind for view in views], device=sound.device)
        has_truth = kinds >= 0
        if not has_truth.any():
            return total
        return total + functional.cross_entropy(self.kind(sound[has_truth].mean(dim=1)), kinds[has_truth])

    def _bands(self, sounds: Tensor) -> Tensor:
        """(B N, V, COARSE_BANDS): the bands' levels, in their own unit."""
        return (coarse_spectrum(sounds) - self.mean) / self.deviation


def train_cavp(
    data: Path, output: Path, config: CavpConfig, *, seed: int, seconds: float | None, device: torch.device
) -> dict[str, Any]:
    """Writes CAVP's folder (`CAVP.from_pretrained`) with loss.png and similarity.png; returns what was measured."""
    torch.manual_seed(seed)
    clips = TrainClips(data, ["clip_media"], optional=["raw_clips"])
    kinds = known_kinds(clips)
    train_keys, held_out_keys = clips.split()
    corpus = read_corpus(clips, train_keys, config.image_size, kinds)
    held_out = read_corpus(clips, held_out_keys, config.image_size, kinds)
    model = CAVP(
        video_width=config.video_width,
        video_blocks=config.video_blocks,
        audio_width=config.audio_width,
        embed_dim=config.embed_dim,
        image_size=config.image_size,
        dropout=0.0,
    ).to(device)
    questions = Questions(config.embed_dim, corpus).to(device)
    before = measure(model, held_out, config, device)
    learnt = [*model.parameters(), *questions.parameters()]
    share = None if seconds is None else seconds / 2
    model.train()
    first = fit(
        "CAVP: what and how loud",
        learnt,
        _first_stage(model, questions, corpus, config, np.random.default_rng([seed, 3]), device),
        steps=config.first_steps,
        learning_rate=config.first_learning_rate,
        seconds=share,
        log=output / "log.jsonl",
        max_gradient_norm=10.0,
        optimizer="muon",
    )
    standardise(model, corpus, config, np.random.default_rng([seed, 5]), device)
    model.train()
    second = fit(
        "CAVP: contrast",
        learnt,
        _second_stage(model, questions, corpus, config, np.random.default_rng([seed, 4]), device),
        steps=config.steps,
        learning_rate=config.learning_rate,
        seconds=share,
        log=output / "log.jsonl",
        optimizer="muon",
    )
    sorted_right = _kind_accuracy(model, questions.kind, held_out, device)
    after = measure(model, held_out, config, device)
    model.cpu().save_pretrained(output)
    if len(train_keys) >= LEFT_OUT_PARTS:
        pictures = corpus.frames.permute(0, 1, 3, 4, 2).numpy()  # (clips, 40, S, S, 3)
        write_pictures(output, fit_distance(np.stack([picture_statistics(frames) for frames in pictures])))
    curves = {"kind + coarse spectrum": first.losses, "semantic + temporal + kind": second.losses}
    draw_losses(curves, output / "loss.png")
    draw_similarity(model, held_out, output / "similarity.png")
    return {
        "steps": first.steps + second.steps,
        "train_seconds": first.seconds + second.seconds,
        "loss_before": first.loss_before,
        "loss_after": first.loss_after,
        "contrast_before": second.loss_before,
        "contrast_after": second.loss_after,
        "held_out_clips": len(held_out_keys),
        **sorted_right,
        **{f"{name}_before": value for name, value in before.items()},
        **{f"{name}_after": value for name, value in after.items()},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def _first_stage(
    model: CAVP,
    questions: Questions,
    corpus: Corpus,
    config: CavpConfig,
    random: np.random.Generator,
    device: torch.device,
) -> Callable[[int], Tensor]:
    def loss_of_step(step: int) -> Tensor:
        views, frames, sounds = corpus.draw(random, config.first_views, 1, config.first_frames, silent=True)
        video = model.encode_video(frames.to(device), normalize=False)
        loss = questions.sight_loss(views, _standardised(video), sounds.to(device))
        if step % SOUND_EVERY == 0:
            views, sounds = corpus.draw_sounds(random, config.first_sounds, config.window_frames)
            sounds = sounds.to(device)
            loss = loss + questions.sound_loss(
                views, _standardised(model.encode_spectrogram(sounds, normalize=False)), sounds
            )
        return loss

    return loss_of_step


def _second_stage(
    model: CAVP,
    questions: Questions,
    corpus: Corpus,
    config: CavpConfig,
    random: np.random.Generator,
    device: torch.device,
) -> Callable[[int], Tensor]:
    def loss_of_step(step: int) -> Tensor:
        model.clamp_logit_scale()
        views, frames, sounds = corpus.draw(random, config.views, config.windows, config.window_frames)
        sounds = sounds.to(device)
        video = model.encode_video(frames.to(device), normalize=False)  # (B N, V, D)
        sound = model.encode_spectrogram(sounds, normalize=False)
        pooled_video, pooled_sound = (
            functional.normalize(part.amax(dim=1), dim=-1).unflatten(0, (config.views, config.windows))
            for part in (video, sound)
        )
        contrast = contrastive_loss(pooled_video, pooled_sound, model.logit_scale, config.temporal_weight).total
        return contrast + config.label_weight * questions.loss(views, video, sound, sounds)

    return loss_of_step


def _standardised(features: Tensor) -> Tensor:
    """The features (B, V, D) with mean zero and deviation one over the batch and its frames."""
    return functional.batch_norm(features.flatten(0, 1), None, None, training=True).view_as(features)


@torch.no_grad()
def standardise(
    model: CAVP, corpus: Corpus, config: CavpConfig, random: np.random.Generator, device: torch.device
) -> None:
    """Changes both encoders' last layers so that their features have mean zero and deviation one.

    What all clips share would make every cosine nearly one, and each encoder has its own share.
    """
    assert model.spec_encoder is not None, "CAVP learns with its audio encoder"
    model.eval()
    _, frames, sounds = corpus.draw(random, STANDARD_VIEWS, 1, config.window_frames)
    for layer, features in (
        (model.video_project_head, model.encode_video(frames.to(device), normalize=False)),
        (model.spec_encoder.final_project, model.encode_spectrogram(sounds.to(device), normalize=False)),
    ):
        deviation, mean = torch.std_mean(features, dim=(0, 1), correction=0)
        deviation = deviation.clamp(min=1e-5)
        layer.weight /= deviation[:, None]
        layer.bias.sub_(mean).div_(deviation)


def _varied(frames: Tensor, random: np.random.Generator) -> Tensor:
    """Each window mirrored or not, moved by a few pixels and tinted, so that few clips stand for many."""
    windows, side = len(frames), frames.shape[-1]
    frames = torch.where(
        torch.from_numpy(random.random(windows) < 0.5)[:, None, None, None, None].to(frames.device),
        frames.flip(-1),
        frames,
    )
    tint = torch.from_numpy(random.uniform(0.75, 1.25, (windows, 1, 3, 1, 1)).astype(np.float32)).to(frames.device)
    reach = side // 10
    moves = random.integers(-reach, reach + 1, (windows, 2)).tolist()
    moved = torch.stack(
        [window.roll((down, right), (-2, -1)) for window, (down, right) in zip(frames, moves, strict=True)]
    )
    return (moved * tint).clamp(0, 1)


def _masked(
    frames: Tensor,
    boxes: np.ndarray,
    stretch: slice,
    random: np.random.Generator | None = None,
    kind: MaskKind | None = None,
) -> Tensor:
    """Frames (V, 3, S, S) of a stretch of a clip, black outside the boxes (40, 4) or, with `random`, a mask drawn around them."""
    side = frames.shape[-1]
    if random is None:
        mask = box_mask(boxes[stretch], side, side)
    else:
        mask = drawn_mask(random, boxes, side, side, kind, frames=stretch)
    return frames * torch.from_numpy(mask)[:, None]


def _spectrogram(flac: bytes) -> Tensor:
    return torch.as_tensor(diff_foley_log_mel(normalize_waveform(decode_flac(flac))))


@torch.no_grad()
def _kind_accuracy(model: CAVP, head: nn.Module, corpus: Corpus, device: torch.device) -> dict[str, float]:
    """Accuracy of the kinds of single things: from frames under the true boxes, under each kind of drawn mask, and from sound."""
    model.eval()
    random, stretch = np.random.default_rng(0), slice(0, TRAINING_FRAMES)
    right: dict[str, list[bool]] = {"box": [], "drawn_mask": [], "sound": []}
    for view in corpus.views:
        if view.boxes is None:
            continue
        pictures = corpus.frames[view.clip, stretch]
        masked = [_masked(pictures, view.boxes, stretch)]
        masked += [_masked(pictures, view.boxes, stretch, random, kind) for kind in MASK_KINDS]
        video = model.encode_video(torch.stack(masked).float().to(device) / 255, normalize=False)
        boxed, *drawn = (head(video.mean(dim=1)).argmax(dim=1) == view.visible_kinds[0]).tolist()
        right["box"].append(boxed)
        right["drawn_mask"] += drawn
        if view.sound is not None:
            sound = model.encode_spectrogram(corpus.spectrograms[view.sound][None].to(device), normalize=False)
            right["sound"].append(int(head(sound).mean(dim=1).argmax()) == view.sound_kind)
    return {f"kind_accuracy_{name}": float(np.mean(answers)) for name, answers in right.items() if answers}


def measure(model: CAVP, corpus: Corpus, config: CavpConfig, device: torch.device) -> dict[str, float]:
    """Recall of whole frames and of single things, and how much the features of different clips resemble each other."""
    figures = measure_recall(model, corpus, corpus.whole_frame_views(), device)
    if single := corpus.single_views():
        figures |= {f"single_{name}": value for name, value in measure_recall(model, corpus, single, device).items()}
    return figures


@torch.no_grad()
def measure_recall(model: CAVP, corpus: Corpus, views: list[int], device: torch.device) -> dict[str, float]:
    """Share of windows whose most similar sound is the right one, over RECALL_WINDOWS fixed windows of each of the views.

    Returns:
        recall_at_1 among all windows of all views, video_recall_at_1 (any window of the right view), the chance of
        each, and cosine_between, the mean cosine of the mean frame features of two views.
    """
    model.eval()
    starts = [number * TRAINING_FRAMES * 3 // (2 * RECALL_WINDOWS) for number in range(RECALL_WINDOWS)]
    video, sound, means = [], [], []
    for number in views:
        frames, sounds = corpus.windows([number], [starts], TRAINING_FRAMES)
        video.append(model.encode_video(frames.to(device), pool=True))  # (RECALL_WINDOWS, D)
        sound.append(model.encode_spectrogram(sounds.to(device), pool=True))
        means.append(functional.normalize(model.encode_video(frames.to(device)).mean(dim=(0, 1)), dim=-1))
    nearest = (torch.cat(video) @ torch.cat(sound).T).argmax(dim=1)
    own = torch.arange(len(nearest), device=nearest.device)
    cosines, count = torch.stack(means) @ torch.stack(means).T, len(views)
    return {
        "recall_at_1": float((nearest == own).float().mean()),
        "video_recall_at_1": float((nearest // RECALL_WINDOWS == own // RECALL_WINDOWS).float().mean()),
        "chance_of_recall": 1 / len(nearest),
        "chance_of_video_recall": RECALL_WINDOWS / len(nearest),
        "cosine_between": float((cosines.sum() - count) / max(1, count * (count - 1))),
    }


@torch.no_grad()
def draw_similarity(model: CAVP, corpus: Corpus, path: Path, *, clips: int = 3) -> None:
    """Cosine of every frame with the sound at every moment, whole clips, as PNG: bright where both say the same."""
    from matplotlib.figure import Figure

    views = corpus.whole_frame_views()
    picks = [views[i] for i in np.linspace(0, len(views) - 1, min(clips, len(views))).astype(int)]
    figure = Figure(figsize=(4 * len(picks), 3.6), layout="constrained")
    axes = figure.subplots(1, len(picks), squeeze=False)[0]
    for axis, number in zip(axes, picks, strict=True):
        view = corpus.views[number]
        video = model.encode_video(corpus.frames[view.clip][None].float() / 255)[0]
        sound = model.encode_spectrogram(corpus.spectrograms[view.sound][None])[0]
        axis.imshow((video @ sound.T).numpy(), cmap="magma", origin="lower")
        axis.set(xlabel="moment of the sound (1/4 s)", ylabel="frame")
    figure.savefig(path, dpi=100)
