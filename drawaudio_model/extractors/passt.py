"""PaSST: class posteriors for the KL divergence.

Preprocessing (pinned, as in hear21passt's passt_s_swa_p16_128_ap476): 16 kHz brought to 32 kHz by scipy's polyphase filter,
10 s (cut, or zeros at the end, as audioldm_eval does), pre-emphasis 0.97, symmetric Hann window of 800 in an FFT of
1024, hop 320, centred, power spectrum, 128 Kaldi mel bins from 0 to 15 kHz, (ln(mel + 1e-5) + 4.5) / 5. Posteriors are the
softmax of the 527 logits.

Legend: B batch, T frames, M mel bins, D width, P patches.
"""

import torch
from scipy.signal import resample_poly
from torch import Tensor, nn
from torch.nn import functional

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.extractors.filters import kaldi_mel_filters
from drawaudio_model.extractors.weights import Weights

WEIGHTS = Weights(
    "passt-s-f128-p16-s10-ap.476-swa.pt",
    "https://github.com/kkoutini/PaSST/releases/download/v0.0.1-audioset/passt-s-f128-p16-s10-ap.476-swa.pt",
)
CLASSES, MELS = 527, 128
RATE_FACTOR = 2
SECONDS = 10
WINDOW, HOP, FFT = 800, 320, 1024
MAX_HZ = 15_000
PATCH, STRIDE = 16, 10
_ROWS, _COLUMNS = 12, 99
"""Patches in frequency and time: (128 - 16) // 10 + 1, and those of 998 frames."""


class PaSST(nn.Module):
    """(B, samples) waveforms at 16 kHz to class logits (B, 527).

    Args:
        width: D.
        depth: transformer blocks.
        heads: of each block.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, width: int = 768, depth: int = 12, heads: int = 12) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(1, width, PATCH, STRIDE)})
        self.cls_token, self.dist_token = (nn.Parameter(torch.zeros(1, 1, width)) for _ in range(2))
        self.new_pos_embed = nn.Parameter(torch.zeros(1, 2, width))
        self.freq_new_pos_embed = nn.Parameter(torch.zeros(1, width, _ROWS, 1))
        self.time_new_pos_embed = nn.Parameter(torch.zeros(1, width, 1, _COLUMNS))
        self.blocks = nn.Sequential(*[_Block(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, CLASSES))
        filters = kaldi_mel_filters(MELS, FFT, SAMPLE_RATE * RATE_FACTOR, 0, MAX_HZ)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW, periodic=False), persistent=False)
        self.eval()

    def load_published(self, state: dict[str, Tensor]) -> None:
        """Takes the published state dict; the distillation head is not part of the logits."""
        self.load_state_dict({name: value for name, value in state.items() if not name.startswith("head_dist.")})

    def log_mel(self, waveforms: Tensor) -> Tensor:
        """(B, M, T), normalised."""
        doubled = torch.from_numpy(resample_poly(waveforms.cpu().numpy(), RATE_FACTOR, 1, axis=-1))
        wanted = SECONDS * SAMPLE_RATE * RATE_FACTOR
        samples = functional.pad(doubled[:, :wanted], (0, max(0, wanted - doubled.shape[1]))).to(self.window)
        emphasised = samples[:, 1:] - 0.97 * samples[:, :-1]
        spectrum = torch.stft(emphasised, FFT, HOP, WINDOW, window=self.window, center=True, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()  # (B, K, T)
        return ((self.filters @ power + 1e-5).log() + 4.5) / 5

    @torch.no_grad()
    def forward(self, waveforms: Tensor) -> Tensor:
        """Logits; softmax makes them posteriors."""
        return self.classify(self.log_mel(waveforms))

    def classify(self, mel: Tensor) -> Tensor:
        """(B, 527) logits of normalised log-mels (B, M, T)."""
        patches = self.patch_embed["proj"](mel[:, None])  # (B, D, 12, P)
        patches = patches + self.time_new_pos_embed[..., : patches.shape[-1]] + self.freq_new_pos_embed
        tokens = torch.cat([self.cls_token, self.dist_token], dim=1) + self.new_pos_embed  # (1, 2, D)
        hidden = torch.cat([tokens.expand(len(patches), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        hidden = self.norm(self.blocks(hidden))
        return self.head(hidden[:, :2].mean(dim=1))


class _Block(nn.Module):
    """A transformer block with the names of timm's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, hidden: Tensor) -> Tensor:
        batch, count, width = hidden.shape
        query, key, value = (
            self.attn["qkv"](self.norm1(hidden)).reshape(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )
        attended = (
            functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, count, width)
        )
        hidden = hidden + self.attn["proj"](attended)
        return hidden + self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(hidden))))
