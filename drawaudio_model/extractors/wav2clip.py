"""Wav2CLIP: a sound's place in CLIP's space of pictures; the audio side of CS-AV.

Preprocessing (pinned, as in the wav2clip package): 16 kHz, power spectrogram with a periodic Hann window of 512, hop 353,
centred with reflection, ln(power + 1e-7), made zero mean and unit deviation over the clip (the package does it over its
batch, so one clip at a time).
"""

import torch
import torchvision
from torch import Tensor, nn

from drawaudio_model.extractors.weights import Weights

WEIGHTS = Weights(
    "Wav2CLIP.pt", "https://github.com/descriptinc/lyrebird-wav2clip/releases/download/v0.1.0-alpha/Wav2CLIP.pt"
)
WIDTH = 512
WINDOW, HOP = 512, 353


class Wav2Clip(nn.Module):
    """A waveform (samples,) at 16 kHz to (512,)."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        encoder = torchvision.models.resnet18()
        encoder.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        encoder.fc = nn.Identity()  # the published weights have no classifier
        self.audio_encoder = encoder
        layers = [nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Identity(), nn.Linear(WIDTH, WIDTH)]
        self.audio_transform = nn.ModuleDict({"sequential": nn.Sequential(*layers)})
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.eval()

    def load_published(self, state: dict[str, Tensor]) -> None:
        """Takes the published state dict, whose window is computed here and whose image side is CLIP's."""
        mine = {name: value for name, value in state.items() if name.startswith("audio_")}
        mine.pop("audio_encoder.spectrogram.window", None)
        self.load_state_dict(mine)

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """(512,)."""
        spectrum = torch.stft(waveform, WINDOW, HOP, window=self.window, center=True, return_complex=True)
        power = (spectrum.real.square() + spectrum.imag.square() + 1e-7).log()  # (K, T)
        power = (power - power.mean()) / (power.std() + 1e-9)
        net = self.audio_encoder
        hidden = net.maxpool(net.relu(net.bn1(net.conv1(power[None, None]))))
        hidden = net.avgpool(net.layer4(net.layer3(net.layer2(net.layer1(hidden)))))
        return self.audio_transform["sequential"](hidden.flatten(1))[0]
