"""CAVP: what a video frame and a stretch of sound have in common, as unit vectors (Diff-Foley, arXiv 2306.17203).

Video: a SlowOnly ResNet-50, one vector per frame; no temporal stride anywhere, temporal kernels of 3 only in the first
convolution of the last two stages' blocks. So a frame's vector depends on its neighbours (up to 9 frames each side),
and features must be computed on all 40 frames of a clip in one pass: chunks give other vectors near their ends.
Sound: Cnn14, one vector per 16 spectrogram frames. State-dict keys and shapes are those of Diff-Foley's checkpoint, at
any width.

Legend: B batch, C channels, V video frames, T spectrogram frames, M spectrogram bins, D feature width, H/W pixels,
N clips taken from one video.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import librosa
import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional

from drawaudio_model.clip_format import FRAME_SIZE, SAMPLE_RATE, SOURCE_VIDEO_FRAMES, VIDEO_FPS

SPECTROGRAM_BINS = 128
"""Mel bins of Diff-Foley's own front end; not those of AudioLDM2's."""
SPECTROGRAM_HOP = 250
"""Samples from one spectrogram frame to the next in CAVP's training: 64 frames a second, 16 to a video frame."""
SPECTROGRAM_WINDOW = 1024
SPECTROGRAM_MIN_HZ = 125.0
SPECTROGRAM_MAX_HZ = 7600.0
SPECTROGRAM_FRAMES_PER_STEP = 16
"""Spectrogram frames to one vector of `encode_spectrogram`."""

TRAINING_FRAMES = 4 * VIDEO_FPS
"""Video frames of a clip in CAVP's training: 4 s."""
TRAINING_SHIFT_FRAMES = 2 * VIDEO_FPS
"""Least distance between the starts of two clips of a video in CAVP's training: 2 s."""
FRAMES_AT_ONCE = 8
"""Frames that SlowOnly's first half, which has no time axis, takes at once: its activations are the largest tensors of a
generation."""
CHUNK_FRAMES = 32
CONTEXT_FRAMES = 9
"""Frames on each side that the temporal convolutions can see: chunks read with them give the whole video's features."""
INITIAL_LOGIT_SCALE = math.log(1 / 0.07)
MAX_LOGIT_SCALE = math.log(100)


class CAVP(ModelMixin, ConfigMixin):
    """The pair of encoders. Defaults are Diff-Foley's: 113.4 M parameters, 402 state-dict entries."""

    @register_to_config
    def __init__(
        self,
        video_width: int = 64,
        video_blocks: tuple[int, int, int, int] = (3, 4, 6, 3),
        audio_width: int = 64,
        embed_dim: int = 512,
        image_size: int = FRAME_SIZE,
        spectrogram_bins: int = SPECTROGRAM_BINS,
        dropout: float = 0.2,
    ) -> None:
        """Encoders at any size.

        Args:
            video_width: channels after SlowOnly's first convolution; its last stage has 32 times as many.
            video_blocks: bottleneck blocks in each stage.
            audio_width: channels of Cnn14's first block; its last has 32 times as many. 0: no sound tower, 323 MB less at
                full size; making sound for a video needs the video tower only.
            embed_dim: D.
            image_size: side in pixels of the square frames.
            spectrogram_bins: M, at least 32 (halved five times).
            dropout: after each block of Cnn14, in training.
        """
        super().__init__()
        self.video_encoder = SlowOnly(video_width, video_blocks)
        self.video_project_head = nn.Linear(self.video_encoder.out_channels, embed_dim)
        self.spec_encoder = Cnn14(audio_width, embed_dim, spectrogram_bins, dropout) if audio_width else None
        self.logit_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE))

    @classmethod
    def from_checkpoint(cls, path: Path | str) -> CAVP:
        """The model of Diff-Foley's checkpoint file (`cavp_epoch66.ckpt`), or of a folder that `save_pretrained` wrote.

        A file is read with `weights_only=True`; a "state_dict" around the weights and a "module." before the keys are
        taken off. The model is in evaluation mode.

        Raises:
            FileNotFoundError: when nothing is there.
            ValueError: when a file holds other weights than the full-size CAVP's.
        """
        path = Path(path)
        if path.is_dir():
            return cls.from_pretrained(path).eval()
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        # What torch raises for a stranger's objects, for a file cut short and for an empty one.
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            reason = str(error).splitlines()[0] if str(error) else "it is empty"
            raise ValueError(f"{path} is no checkpoint of plain tensors: {reason}; download it again") from error
        state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
        if not isinstance(state, dict):
            raise ValueError(
                f"{path} holds a {type(state).__name__}, expected a state dict; use Diff-Foley's CAVP checkpoint"
            )
        with torch.device("meta"):  # no time spent on starting values
            model = cls()
        model.to_empty(device="cpu")
        weights = {str(key).removeprefix("module."): value for key, value in state.items()}
        found = {name: tuple(value.shape) if isinstance(value, Tensor) else None for name, value in weights.items()}
        expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        wrong = sorted(
            name for name in expected.keys() | found if name not in expected or found.get(name) != expected[name]
        )
        if wrong:
            raise ValueError(
                f"{path} does not hold the weights of the full-size CAVP: {len(wrong)} differ, the first is {wrong[0]} "
                f"of shape {found.get(wrong[0])}, expected {expected.get(wrong[0])}"
            )
        model.load_state_dict(weights)
        return model.eval()

    def video_only(self) -> CAVP:
        """The same model without its sound tower; the weights are shared."""
        with torch.device("meta"):
            model = type(self).from_config({**self.config, "audio_width": 0})
        state = {name: value for name, value in self.state_dict().items() if not name.startswith("spec_encoder.")}
        model.load_state_dict(state, assign=True)
        return model.train(self.training)

    def preprocess(self, frames: Tensor | np.ndarray) -> Tensor:
        """(B, V, 3, S, S) float32 in [0, 1] of uint8 RGB frames (B, V, H, W, 3); S is the model's image size.

        A straight antialiased resize: no crop, no aspect keeping and no mean and deviation, as in Diff-Foley.
        """
        pictures = torch.as_tensor(frames)
        if pictures.ndim != 5 or pictures.shape[-1] != 3 or pictures.dtype != torch.uint8:
            raise ValueError(
                f"frames have shape {tuple(pictures.shape)} and type {pictures.dtype}, expected (B, V, H, W, 3) uint8"
            )
        size = (self.config.image_size, self.config.image_size)
        clips = [clip.to(self.device).permute(0, 3, 1, 2).float() / 255 for clip in pictures]  # each (V, 3, H, W)
        if pictures.shape[2:4] != size:
            clips = [functional.interpolate(clip, size, mode="bilinear", antialias=True) for clip in clips]
        return torch.stack(clips).clamp_(0, 1)

    def encode_video(self, frames: Tensor, normalize: bool = True, pool: bool = False) -> Tensor:
        """(B, V, D) one vector per frame, or with `pool` (B, D): their maximum over time.

        Args:
            frames: (B, V, 3, S, S) in [0, 1], as from `preprocess`: all frames of the clip at once.
            normalize: makes the result unit vectors (after pooling).
            pool: one vector per clip, as in CAVP's training on 16 frames.

        Raises:
            ValueError: on another shape or an integer type.
        """
        size = self.config.image_size
        if frames.ndim != 5 or tuple(frames.shape[2:]) != (3, size, size) or not frames.is_floating_point():
            raise ValueError(
                f"frames have shape {tuple(frames.shape)} and type {frames.dtype}, expected (B, V, 3, {size}, {size}) "
                "float in [0, 1]; use preprocess first"
            )
        features = self.video_encoder(frames.transpose(1, 2))  # (B, V, C)
        return _pool_and_normalize(self.video_project_head(features), normalize, pool)

    @torch.no_grad()
    def encode_frames(self, frames: np.ndarray) -> Tensor:
        """(1, V, D) unit vectors of (V, H, W, 3) uint8 RGB frames of any length, as if all had gone through at once."""
        features = []
        for start in range(0, len(frames), CHUNK_FRAMES):
            first = max(start - CONTEXT_FRAMES, 0)
            chunk = self.preprocess(frames[None, first : start + CHUNK_FRAMES + CONTEXT_FRAMES])
            seen = self.encode_video(chunk.to(self.dtype))  # (1, V', D)
            features.append(seen[:, start - first : start - first + CHUNK_FRAMES])
        return torch.cat(features, dim=1)

    def encode_spectrogram(self, spectrogram: Tensor, normalize: bool = True, pool: bool = False) -> Tensor:
        """(B, T // 16, D) one vector per 16 spectrogram frames, or with `pool` (B, D): their maximum over time.

        Args:
            spectrogram: (B, M, T) in [0, 1], as from `diff_foley_log_mel`.
            normalize: makes the result unit vectors (after pooling).
            pool: one vector per clip.

        Raises:
            ValueError: on another shape or fewer than 16 frames.
        """
        bins = self.config.spectrogram_bins
        if self.spec_encoder is None:
            raise ValueError("this CAVP has no sound tower (audio_width 0); load the whole checkpoint")
        if spectrogram.ndim != 3 or spectrogram.shape[1] != bins or spectrogram.shape[2] < SPECTROGRAM_FRAMES_PER_STEP:
            raise ValueError(
                f"spectrogram has shape {tuple(spectrogram.shape)}, expected (B, {bins}, T) with T at least "
                f"{SPECTROGRAM_FRAMES_PER_STEP}"
            )
        features = self.spec_encoder(spectrogram.transpose(1, 2).unsqueeze(1))  # (B, T // 16, D)
        return _pool_and_normalize(features, normalize, pool)

    def clamp_logit_scale(self) -> None:
        """Keeps the learned scale between 1 and 100; called after each optimiser step, as in CLIP and Diff-Foley."""
        self.logit_scale.data.clamp_(0, MAX_LOGIT_SCALE)

    def forward(self, frames: Tensor, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled unit vectors (B, D) of frames (B, V, 3, S, S) and of their spectrograms (B, M, T)."""
        return self.encode_video(frames, pool=True), self.encode_spectrogram(spectrogram, pool=True)


def _pool_and_normalize(features: Tensor, normalize: bool, pool: bool) -> Tensor:
    """The features (B, steps, D), their maximum over time (B, D) when pooled, and unit vectors of either."""
    if pool:
        features = features.amax(dim=1)
    return functional.normalize(features, dim=-1) if normalize else features


class ContrastiveLoss(NamedTuple):
    """The loss and its two terms, each a scalar."""

    total: Tensor
    semantic: Tensor
    temporal: Tensor


def contrastive_loss(
    video: Tensor, sound: Tensor, logit_scale: Tensor | float, temporal_weight: float = 1.0
) -> ContrastiveLoss:
    """CAVP's loss: the semantic term separates all clips of the batch, the temporal one the clips of one video.

    Each term is the symmetric cross entropy of scaled cosines. Source: Diff-Foley, Sec. 3.1, and its launch script
    (three clips of a video, weight 1).

    Args:
        video: (B, N, D) unit vectors, N clips of each of B videos.
        sound: (B, N, D) unit vectors of the same clips' sound.
        logit_scale: logarithm of the scale, as `CAVP.logit_scale`.
        temporal_weight: of the temporal term, which is zero for N = 1.

    Raises:
        ValueError: when the two do not match.
    """
    if video.ndim != 3 or video.shape != sound.shape:
        raise ValueError(
            f"video features have shape {tuple(video.shape)} and sound features {tuple(sound.shape)}, expected the same "
            "(videos, clips of a video, width)"
        )
    scale = torch.as_tensor(logit_scale, device=video.device).exp()
    semantic = _symmetric_cross_entropy(scale * video.flatten(0, 1) @ sound.flatten(0, 1).T)  # over (B N, B N)
    temporal = _symmetric_cross_entropy(scale * video @ sound.transpose(1, 2))  # over (B, N, N)
    return ContrastiveLoss(semantic + temporal_weight * temporal, semantic, temporal)


def _symmetric_cross_entropy(logits: Tensor) -> Tensor:
    """Mean cross entropy of rows and of columns of logits (..., n, n) whose diagonal is right."""
    rows = -logits.log_softmax(dim=-1).diagonal(dim1=-2, dim2=-1).mean()
    columns = -logits.log_softmax(dim=-2).diagonal(dim1=-2, dim2=-1).mean()
    return (rows + columns) / 2


def clip_starts(
    rng: np.random.Generator,
    clips: int = 3,
    *,
    frames: int = SOURCE_VIDEO_FRAMES,
    clip_frames: int = TRAINING_FRAMES,
    shift_frames: int = TRAINING_SHIFT_FRAMES,
) -> list[int]:
    """First frames of `clips` clips of one video, rising, at least `shift_frames` apart; all such sets equally likely.

    Raises:
        ValueError: when they do not fit.
    """
    slack = frames - clip_frames - (clips - 1) * shift_frames
    if slack < 0:
        raise ValueError(
            f"{clips} clips of {clip_frames} frames, {shift_frames} apart, do not fit into {frames} frames; take fewer"
        )
    picks = np.sort(rng.choice(slack + clips, size=clips, replace=False)) - np.arange(clips)
    return [int(pick) + number * shift_frames for number, pick in enumerate(picks)]


def diff_foley_log_mel(waveform: np.ndarray | Tensor, hop_length: int = SPECTROGRAM_HOP) -> Tensor:
    """(..., 128, samples // hop_length) float32 in [0, 1]: Diff-Foley's own log-mel, for `encode_spectrogram` only.

    Centred STFT (reflection at the ends), magnitudes, 128 Slaney filters from 125 to 7600 Hz, then
    (20 log10(max(mel, 1e-5)) + 80) / 100 clipped to [0, 1].
    Source: Diff-Foley, data_preprocess/wav2spec.py; hop 250 in CAVP's training (256 in its diffusion model).

    Args:
        waveform: (..., samples) in [-1, 1] at 16 kHz.
        hop_length: samples from one frame to the next.
    """
    samples = torch.as_tensor(waveform).float()
    if samples.ndim == 0 or samples.shape[-1] <= SPECTROGRAM_WINDOW // 2:
        raise ValueError(
            f"waveform has shape {tuple(samples.shape)}, expected (..., samples) with more than {SPECTROGRAM_WINDOW // 2}"
        )
    spectrum = torch.stft(
        samples.reshape(-1, samples.shape[-1]),
        n_fft=SPECTROGRAM_WINDOW,
        hop_length=hop_length,
        window=torch.hann_window(SPECTROGRAM_WINDOW, device=samples.device),
        pad_mode="reflect",
        return_complex=True,
    ).abs()
    mel = torch.as_tensor(_diff_foley_filters(), device=samples.device) @ spectrum  # (B, M, T + 1)
    level = (20 * mel.clamp_min(1e-5).log10() + 80) / 100
    return level[..., : samples.shape[-1] // hop_length].clamp(0, 1).reshape(*samples.shape[:-1], SPECTROGRAM_BINS, -1)


@lru_cache(maxsize=1)
def _diff_foley_filters() -> np.ndarray:
    """(M, frequency bins) Slaney filters of Diff-Foley's front end."""
    return librosa.filters.mel(
        sr=SAMPLE_RATE,
        n_fft=SPECTROGRAM_WINDOW,
        n_mels=SPECTROGRAM_BINS,
        fmin=SPECTROGRAM_MIN_HZ,
        fmax=SPECTROGRAM_MAX_HZ,
    )


class SlowOnly(nn.Module):
    """SlowOnly ResNet (Feichtenhofer et al., arXiv 1812.03982) with bottlenecks: (B, 3, V, H, W) to (B, V, C).

    The stem halves the picture twice, stages 2 to 4 once each; time is never strided. Frames are kept as V separate
    pictures wherever a kernel has no temporal extent.
    """

    def __init__(self, width: int, blocks: Sequence[int]) -> None:
        """Base `width` and the number of `blocks` in each of the four stages."""
        super().__init__()
        if len(blocks) != 4 or min(blocks) < 1:
            raise ValueError(f"video_blocks is {tuple(blocks)}, expected four numbers of at least 1")
        self.conv1 = ConvModule(3, width, (1, 7, 7), spatial_stride=2)
        self.maxpool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        channels, stages = width, []
        for stage, count in enumerate(blocks):
            stage_width = width * 2**stage
            layers = []
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(Bottleneck(channels, stage_width, stride=stride, temporal=stage >= 2))
                channels = stage_width * Bottleneck.expansion
            stages.append(nn.Sequential(*layers))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.out_channels = channels

    def forward(self, frames: Tensor) -> Tensor:
        """(B, V, C) features of the frames (B, 3, V, H, W), averaged over the picture."""
        # Channels last through all layers: a quarter less time on a CPU.
        frames = frames.contiguous(memory_format=torch.channels_last_3d)
        if torch.is_grad_enabled() or self.training:
            features = self._each_alone(frames)
        else:
            features = torch.cat([self._each_alone(part) for part in frames.split(FRAMES_AT_ONCE, dim=2)], dim=2)
        features = self.layer3(features)
        features = self.layer4(features)
        return features.mean(dim=(3, 4)).transpose(1, 2)

    def _each_alone(self, frames: Tensor) -> Tensor:
        """The layers that see no neighbours: (B, 3, V, H, W) to (B, C, V, H / 8, W / 8)."""
        features = self.maxpool(self.conv1(frames).relu_())
        return self.layer2(self.layer1(features))


class Bottleneck(nn.Module):
    """Residual block 1x1, 3x3, 1x1; with `temporal` the first kernel reaches one frame back and ahead."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, *, stride: int, temporal: bool) -> None:
        """`stride` is spatial and sits in the 3x3 convolution."""
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = ConvModule(in_channels, width, (3 if temporal else 1, 1, 1))
        self.conv2 = ConvModule(width, width, (1, 3, 3), spatial_stride=stride)
        self.conv3 = ConvModule(width, out_channels, (1, 1, 1))
        nn.init.zeros_(self.conv3.bn.weight)  # the block starts as its shortcut
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = ConvModule(in_channels, out_channels, (1, 1, 1), spatial_stride=stride)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, V, H, W) to the same with out_channels and the picture divided by the stride."""
        shortcut = features if self.downsample is None else self.downsample(features)
        hidden = self.conv1(features).relu_()
        hidden = self.conv2(hidden).relu_()
        return self.conv3(hidden).add_(shortcut).relu_()


class ConvModule(nn.Module):
    """Convolution without bias, then batch normalisation, under the key names `conv` and `bn`."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: tuple[int, int, int], *, spatial_stride: int = 1
    ) -> None:
        """`kernel` is (frames, height, width), odd, padded so that only the stride changes the size."""
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        stride = (1, spatial_stride, spatial_stride)
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride, padding, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        self.bn = nn.BatchNorm3d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, V, H, W) to the same with out_channels."""
        if self.training or torch.is_grad_enabled() or features.device.type != "cpu":
            return self.bn(self.conv(features))
        # The normalisation's fixed scale and shift go into the convolution: a pass over the features less, a sixth of the time.
        mean, variance = self.bn.running_mean, self.bn.running_var
        assert mean is not None and variance is not None, "the normalisation keeps its statistics"
        scale = self.bn.weight * (variance + self.bn.eps).rsqrt()
        weight, bias = self.conv.weight * scale[:, None, None, None, None], self.bn.bias - mean * scale
        return functional.conv3d(features, weight, bias, self.conv.stride, self.conv.padding)


class Cnn14(nn.Module):
    """PANNs' Cnn14 as Diff-Foley changed it: (B, 1, T, M) to (B, T // 16, D)."""

    def __init__(self, width: int, embed_dim: int, bins: int, dropout: float) -> None:
        """Base `width`, output width, spectrogram `bins`, and the `dropout` after each block in training."""
        super().__init__()
        self.dropout = dropout
        self.bn = nn.BatchNorm2d(bins)
        self.conv_block1 = ConvBlock(1, width)
        self.conv_block2 = ConvBlock(width, 2 * width)
        self.conv_block3 = ConvBlock(2 * width, 4 * width)
        self.conv_block4 = ConvBlock(4 * width, 8 * width)
        self.conv_block5 = ConvBlock(8 * width, 16 * width)
        self.conv_block6 = ConvBlock(16 * width, 32 * width)
        self.fc1 = nn.Linear(32 * width, 32 * width)
        self.final_project = nn.Linear(32 * width, embed_dim)
        for layer in (self.fc1, self.final_project):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """(B, T // 16, D) features of the spectrogram (B, 1, T, M)."""
        features = self.bn(spectrogram.transpose(1, 3)).transpose(1, 3)  # normalised per bin
        features = self._drop(functional.avg_pool2d(self.conv_block1(features), (2, 2)))
        features = self._drop(functional.avg_pool2d(self.conv_block2(features), (2, 2)))
        features = self._drop(functional.avg_pool2d(self.conv_block3(features), (2, 2)))
        features = self._drop(functional.avg_pool2d(self.conv_block4(features), (2, 2)))
        features = self._drop(functional.avg_pool2d(self.conv_block5(features), (1, 2)))
        features = self._drop(self.conv_block6(features)).mean(dim=3)  # (B, C, T // 16)
        maximum = functional.max_pool1d(features, 3, stride=1, padding=1)
        average = functional.avg_pool1d(features, 3, stride=1, padding=1)
        hidden = self.fc1((maximum + average).transpose(1, 2)).relu()
        hidden = self.fc1(hidden).relu()  # twice the same layer: so the published weights were trained
        return self.final_project(hidden)

    def _drop(self, features: Tensor) -> Tensor:
        return functional.dropout(features, self.dropout, training=self.training)


class ConvBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation and ReLU: (B, C, T, M) to the same with out_channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """`in_channels` to `out_channels`."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        nn.init.xavier_uniform_(self.conv1.weight)
        nn.init.xavier_uniform_(self.conv2.weight)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, T, M) to (B, out_channels, T, M)."""
        hidden = self.bn1(self.conv1(features)).relu()
        return self.bn2(self.conv2(hidden)).relu()
