"""VGGish: 128 features a 0.96 s of sound; FAD.

Preprocessing (pinned, as in torchvggish): 16 kHz, periodic Hann window of 400 without centring, hop 160, FFT of 512,
magnitudes, 64 Kaldi mel bins from 125 to 7500 Hz, ln(mel + 0.01), examples of 96 frames that do not overlap. As in
audioldm_eval, the last ReLU and the PCA are left out.

Legend: N examples, T frames, M mel bins.
"""

import torch
from torch import Tensor, nn

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.extractors.filters import kaldi_mel_filters
from drawaudio_model.extractors.weights import Weights

WEIGHTS = Weights(
    "vggish-10086976.pth", "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth"
)
FEATURES, MELS = 128, 64
WINDOW, HOP, FFT = 400, 160, 512
EXAMPLE_FRAMES = 96
_OFFSET = 0.01


class VGGish(nn.Module):
    """A waveform at 16 kHz to (N, 128) features, one row a 0.96 s.

    Args:
        hidden: width of the two linear layers before the last; the published one by default.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, hidden: int = 4096) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for after in (64, None, 128, None, 256, 256, None, 512, 512, None):
            layers += [nn.MaxPool2d(2)] if after is None else [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
            before = after or before
        self.features = nn.Sequential(*layers)
        flat = 512 * (EXAMPLE_FRAMES // 16) * (MELS // 16)
        self.embeddings = nn.Sequential(
            nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, FEATURES)
        )
        filters = kaldi_mel_filters(MELS, FFT, SAMPLE_RATE, 125, 7500)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.eval()

    def load_published(self, state: dict[str, Tensor]) -> None:
        """Takes the published state dict; its PCA is not used."""
        self.load_state_dict({name: value for name, value in state.items() if not name.startswith("pproc.")})

    def examples(self, waveform: Tensor) -> Tensor:
        """(N, T, M) log-mels of a waveform (samples,)."""
        frames = waveform.unfold(0, WINDOW, HOP) * self.window  # (T', 400)
        mel = torch.fft.rfft(frames, FFT).abs() @ self.filters.T  # (T', M)
        log_mel = (mel + _OFFSET).log()
        count = len(log_mel) // EXAMPLE_FRAMES
        return log_mel[: count * EXAMPLE_FRAMES].reshape(count, EXAMPLE_FRAMES, MELS)

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """(N, 128)."""
        hidden = self.features(self.examples(waveform)[:, None])  # (N, 512, 6, 4)
        # TensorFlow's order of axes, in which the linear layers were trained.
        return self.embeddings(hidden.permute(0, 2, 3, 1).flatten(1))
