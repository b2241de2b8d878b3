"""Trains the small CAVP: frames and sound of the same moments get similar vectors.

The model and the semantic and temporal terms are Diff-Foley's (cavp.py). Additions make up for a corpus that is a
thousand times smaller, each a setting: a term between single frames and the stretches of sound they belong to, windows
that show only the sounding object, since the features of masked frames are computed with this model as well, and a term
that sorts both encoders' windows by what sounds. Diff-Foley starts from encoders that were trained on labels; from
nothing, the contrast alone first makes all vectors equal and stays there for hundreds of steps.

Legend: B videos in a batch, N windows of one video, V frames of a window, T spectrogram frames of a window, M bins,
D feature width, H/W pixels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from drawaudio_model.cavp import (
    CAVP,
    SPECTROGRAM_FRAMES_PER_STEP,
    TRAINING_FRAMES,
    clip_starts,
    contrastive_loss,
    diff_foley_log_mel,
)
from drawaudio_model.media import decode_flac
from drawaudio_model.mel import normalize_waveform
from drawaudio_model.pretrain_loop import TrainClips, draw_losses, fit

LABEL_SCALE = 10.0
"""Factor on the classifier's scores of unit vectors."""


@dataclass(frozen=True)
class CavpConfig:
    """Sizes and run of the small CAVP."""

    video_width: int = 8
    """Base channels of SlowOnly; Diff-Foley's has 64."""
    video_blocks: tuple[int, int, int, int] = (1, 1, 1, 1)
    audio_width: int = 4
    """Base channels of Cnn14; Diff-Foley's has 64."""
    embed_dim: int = 64
    image_size: int = 48
    dropout: float = 0.1
    steps: int = 180
    videos: int = 8
    """B."""
    windows: int = 3
    """N, as in Diff-Foley."""
    learning_rate: float = 2e-3
    frame_weight: float = 0.5
    """Weight of the term between single frames and their sound; 0 is Diff-Foley's loss. Our addition."""
    label_weight: float = 1.0
    """Weight of the term that sorts windows by the kind of the sounding object, where the truth is known. Our addition."""
    masked_share: float = 0.5
    """Share of the videos that show only the sounding object's box, where the truth is known. Our addition."""

    @staticmethod
    def demo() -> "CavpConfig":
        """About 100 s on two idle cores."""
        return CavpConfig()

    @staticmethod
    def tiny() -> "CavpConfig":
        """A few seconds; the features know little."""
        return CavpConfig(video_width=4, audio_width=2, embed_dim=16, image_size=32, steps=4, videos=2)


@dataclass(frozen=True)
class Videos:
    """Whole clips, decoded once."""

    frames: Tensor
    """(clips, 40, 3, S, S) uint8."""
    target_frames: Tensor
    """The same, black outside the box of the object that sounds; equal to `frames` where no truth is known."""
    spectrograms: Tensor
    """(clips, M, T) float32 in [0, 1]."""
    labels: list[str | None]
    """Kind of the object that sounds, or None where no truth is known."""


def read_videos(clips: TrainClips, keys: list[str], image_size: int) -> Videos:
    """Frames at the model's size and Diff-Foley's spectrogram of each clip."""
    frames, targets, spectrograms, labels = [], [], [], []
    for key in keys:
        pictures = clips.frames(key, image_size)
        truth = clips.json("raw_clips", key, "truth.json") if clips.has("raw_clips", key, "truth.json") else None
        frames.append(pictures)
        targets.append(_only_target(pictures, truth) if truth else pictures)
        labels.append(truth["objects"][truth["target"]]["kind"] if truth else None)
        waveform = normalize_waveform(decode_flac(clips.member("clip_media", key, "flac")))
        spectrograms.append(diff_foley_log_mel(waveform))
    stacks = [torch.from_numpy(np.stack(part)).permute(0, 1, 4, 2, 3).contiguous() for part in (frames, targets)]
    return Videos(stacks[0], stacks[1], torch.stack(spectrograms), labels)


def _only_target(frames: np.ndarray, truth: dict[str, Any]) -> np.ndarray:
    side = frames.shape[1]
    kept = np.zeros_like(frames)
    for frame, (x0, y0, x1, y1) in enumerate(truth["objects"][truth["target"]]["boxes"]):
        rows, columns = slice(int(y0 * side), int(np.ceil(y1 * side))), slice(int(x0 * side), int(np.ceil(x1 * side)))
        kept[frame, rows, columns] = frames[frame, rows, columns]
    return kept


def cut_windows(
    videos: Videos, chosen: list[int], starts: list[list[int]], masked: list[bool]
) -> tuple[Tensor, Tensor]:
    """Windows of the chosen videos.

    Args:
        chosen: B clip numbers.
        starts: first frames of each video's N windows.
        masked: whether a video shows only the sounding object.

    Returns:
        frames (B N, V, 3, S, S) float32 in [0, 1]; spectrograms (B N, M, T).
    """
    per_frame = SPECTROGRAM_FRAMES_PER_STEP
    frames, sounds = [], []
    for clip, own, only_target in zip(chosen, starts, masked, strict=True):
        source = videos.target_frames if only_target else videos.frames
        for start in own:
            frames.append(source[clip, start : start + TRAINING_FRAMES])
            end = (start + TRAINING_FRAMES) * per_frame
            sounds.append(videos.spectrograms[clip, :, start * per_frame : end])
    return torch.stack(frames).float() / 255, torch.stack(sounds)


def frame_loss(video: Tensor, sound: Tensor, logit_scale: Tensor) -> Tensor:
    """Symmetric cross entropy that tells the V moments of one window apart.

    A frame and 16 spectrogram frames last equally long (1/4 s), so the two encoders' unpooled outputs pair up.

    Args:
        video: (windows, V, D) unit vectors of frames.
        sound: (windows, V, D) unit vectors of the sound during each frame.
        logit_scale: logarithm of the scale.
    """
    logits = logit_scale.exp() * video @ sound.transpose(1, 2)  # (windows, V, V)
    right = torch.arange(logits.shape[-1], device=logits.device).expand(logits.shape[:2])
    return (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.transpose(1, 2), right)) / 2


def train_cavp(
    data: Path, output: Path, config: CavpConfig, *, seed: int, seconds: float | None, device: torch.device
) -> dict[str, Any]:
    """Writes CAVP's folder (`CAVP.from_pretrained`) with loss.png and similarity.png; returns what was measured."""
    torch.manual_seed(seed)
    clips = TrainClips(data, ["clip_media"], optional=["raw_clips"])
    train_keys, held_out_keys = clips.split()
    videos = read_videos(clips, train_keys, config.image_size)
    held_out = read_videos(clips, held_out_keys, config.image_size)
    model = CAVP(
        video_width=config.video_width,
        video_blocks=config.video_blocks,
        audio_width=config.audio_width,
        embed_dim=config.embed_dim,
        image_size=config.image_size,
        dropout=config.dropout,
    ).to(device)
    kinds = sorted({label for label in videos.labels if label is not None})
    # One classifier for both encoders: it puts their vectors into the same directions. It is not kept.
    classifier = torch.nn.Linear(config.embed_dim, max(1, len(kinds)), bias=False).to(device)
    random = np.random.default_rng([seed, 3])

    def loss_of_step(step: int) -> Tensor:
        model.clamp_logit_scale()
        chosen = random.choice(len(train_keys), config.videos, replace=len(train_keys) < config.videos).tolist()
        starts = [clip_starts(random, config.windows) for _ in chosen]
        masked = (random.random(config.videos) < config.masked_share).tolist()
        frames, sounds = (part.to(device) for part in cut_windows(videos, chosen, starts, masked))
        video = model.encode_video(frames, normalize=False)  # (B N, V, D)
        sound = model.encode_spectrogram(sounds, normalize=False)
        pooled = [
            functional.normalize(part.amax(dim=1), dim=-1).unflatten(0, (config.videos, config.windows))
            for part in (video, sound)
        ]
        loss = contrastive_loss(*pooled, model.logit_scale).total
        steps = [functional.normalize(part, dim=-1) for part in (video, sound)]
        loss = loss + config.frame_weight * frame_loss(*steps, model.logit_scale)
        known = [place for place, clip in enumerate(chosen) if videos.labels[clip] is not None]
        if known and config.label_weight:
            right = torch.tensor([kinds.index(videos.labels[chosen[place]]) for place in known], device=device)
            right = right.repeat_interleave(config.windows)
            for part in pooled:  # (B, N, D)
                scores = LABEL_SCALE * classifier(part[known].flatten(0, 1))
                loss = loss + 0.5 * config.label_weight * functional.cross_entropy(scores, right)
        return loss

    before = measure_recall(model, held_out, config.windows, device)
    model.train()
    run = fit(
        "CAVP",
        [*model.parameters(), *classifier.parameters()],
        loss_of_step,
        steps=config.steps,
        learning_rate=config.learning_rate,
        seconds=seconds,
        log=output / "log.jsonl",
    )
    after = measure_recall(model, held_out, config.windows, device)
    model.cpu().save_pretrained(output)
    draw_losses({"all terms": run.losses}, output / "loss.png")
    draw_similarity(model, held_out, output / "similarity.png")
    return {
        "steps": run.steps,
        "train_seconds": run.seconds,
        "loss_before": run.loss_before,
        "loss_after": run.loss_after,
        "held_out_windows": len(held_out_keys) * config.windows,
        **{f"{name}_before": value for name, value in before.items()},
        **{f"{name}_after": value for name, value in after.items()},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


@torch.no_grad()
def measure_recall(model: CAVP, videos: Videos, windows: int, device: torch.device) -> dict[str, float]:
    """How often the right sound is the most similar one, for windows of fixed places.

    Returns:
        recall_at_1 among all windows of all videos, video_recall_at_1 (any window of the right video), and
        frame_recall_at_1 among the V moments of a frame's own window.
    """
    model.eval()
    starts = [number * TRAINING_FRAMES * 3 // (2 * windows) for number in range(windows)]
    video, sound = [], []
    for clip in range(len(videos.frames)):
        frames, sounds = cut_windows(videos, [clip], [starts], [False])
        video.append(model.encode_video(frames.to(device), normalize=False))  # (N, V, D)
        sound.append(model.encode_spectrogram(sounds.to(device), normalize=False))
    video_steps, sound_steps = torch.cat(video), torch.cat(sound)
    pooled = [functional.normalize(part.amax(dim=1), dim=-1) for part in (video_steps, sound_steps)]
    nearest = (pooled[0] @ pooled[1].T).argmax(dim=1)
    own = torch.arange(len(nearest), device=nearest.device)
    moments = functional.normalize(video_steps, dim=-1) @ functional.normalize(sound_steps, dim=-1).transpose(1, 2)
    right = torch.arange(moments.shape[-1], device=moments.device)
    return {
        "recall_at_1": float((nearest == own).float().mean()),
        "video_recall_at_1": float((nearest // windows == own // windows).float().mean()),
        "frame_recall_at_1": float((moments.argmax(dim=2) == right).float().mean()),
    }


@torch.no_grad()
def draw_similarity(model: CAVP, videos: Videos, path: Path, *, clips: int = 3) -> None:
    """Cosine of every frame with the sound at every moment, whole clips, as PNG; a trained model shows a diagonal."""
    from matplotlib.figure import Figure

    count = min(clips, len(videos.frames))
    figure = Figure(figsize=(4 * count, 3.6), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    for axis, clip in zip(axes, np.linspace(0, len(videos.frames) - 1, count).astype(int), strict=True):
        video = model.encode_video(videos.frames[clip][None].float() / 255)[0]
        sound = model.encode_spectrogram(videos.spectrograms[clip][None])[0]
        axis.imshow((video @ sound.T).numpy(), cmap="magma", origin="lower")
        axis.set(xlabel="moment of the sound (1/4 s)", ylabel="frame")
    figure.savefig(path, dpi=100)
