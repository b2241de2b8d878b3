"""PANNs' Cnn14 at 16 kHz: 2048 features and 527 AudioSet classes; FD and IS of AudioLDM's evaluation.

Preprocessing (pinned, as in PANNs' Cnn14_16k): 16 kHz, periodic Hann window of 512, hop 160, centred with reflection, power
spectrum, 64 Slaney mel bins from 50 to 8000 Hz, 10 log10 of at least 1e-10.

Legend: B batch, T frames, M mel bins.
"""

import librosa
import torch
from torch import Tensor, nn
from torch.nn import functional

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.extractors.weights import Weights

WEIGHTS = Weights("Cnn14_16k_mAP=0.438.pth", "https://zenodo.org/record/3987831/files/Cnn14_16k_mAP%3D0.438.pth")
CLASSES, FEATURES, MELS = 527, 2048, 64
WINDOW, HOP = 512, 160
MIN_HZ, MAX_HZ = 50, 8000
_SMALLEST_POWER = 1e-10
_COMPUTED = ("spectrogram_extractor.", "logmel_extractor.")
"""Fixed tables that the checkpoint carries and that are computed here."""


class Cnn14(nn.Module):
    """(B, samples) waveforms at 16 kHz to features (B, 2048) and class logits (B, 527).

    Args:
        channels: of the six blocks; the published ones by default.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, channels: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(MELS)
        for number, (before, after) in enumerate(zip((1, *channels), channels, strict=False), start=1):
            self.add_module(f"conv_block{number}", _ConvBlock(before, after))
        self.fc1 = nn.Linear(channels[-1], channels[-1])
        self.fc_audioset = nn.Linear(channels[-1], CLASSES)
        filters = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=WINDOW, n_mels=MELS, fmin=MIN_HZ, fmax=MAX_HZ)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.eval()

    def load_published(self, state: dict[str, Tensor]) -> None:
        """Takes the published state dict; every parameter must be there."""
        self.load_state_dict({name: value for name, value in state.items() if not name.startswith(_COMPUTED)})

    def log_mel(self, waveforms: Tensor) -> Tensor:
        """(B, T, M) in dB."""
        spectrum = torch.stft(waveforms, WINDOW, HOP, window=self.window, center=True, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()  # (B, K, T)
        return 10 * (self.filters @ power).clamp_min(_SMALLEST_POWER).log10().transpose(1, 2)

    @torch.no_grad()
    def forward(self, waveforms: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits."""
        hidden = self.bn0(self.log_mel(waveforms)[:, None].transpose(1, 3)).transpose(1, 3)  # (B, 1, T, M)
        for number in range(1, 7):
            hidden = getattr(self, f"conv_block{number}")(hidden)
            if number < 6:
                hidden = functional.avg_pool2d(hidden, 2)
        hidden = hidden.mean(dim=3)  # (B, C, T')
        features = functional.relu(self.fc1(hidden.amax(dim=2) + hidden.mean(dim=2)))
        return features, self.fc_audioset(features)


class _ConvBlock(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = functional.relu(self.bn1(self.conv1(hidden)))
        return functional.relu(self.bn2(self.conv2(hidden)))
