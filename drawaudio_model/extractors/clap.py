"""LAION-CLAP's places of a sound and of its caption; the CLAP score.

Preprocessing: 16 kHz brought to 48 kHz by scipy's polyphase filter, then transformers' feature extractor as saved beside the
weights, on the whole clip (10 s or less: repeated and padded as its settings say, no random crop).
"""

from pathlib import Path

import numpy as np
import torch
from scipy.signal import resample_poly
from transformers import ClapModel, ClapProcessor

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.extractors.weights import Weights

WEIGHTS = Weights(
    "clap-htsat-unfused",
    "https://huggingface.co/laion/clap-htsat-unfused",
    revision="8fa0f1c6d0433df6e97c127f64b2a1d6c0dcda8a",
)


class Clap:
    """Sounds (samples,) at 16 kHz and captions to (D,) float32 each."""

    def __init__(self, folder: Path) -> None:
        self.processor = ClapProcessor.from_pretrained(folder, local_files_only=True)
        self.model = ClapModel.from_pretrained(folder, local_files_only=True).eval()

    @torch.no_grad()
    def sound(self, waveform: np.ndarray) -> np.ndarray:
        """Embedding of a sound."""
        rate = self.processor.feature_extractor.sampling_rate
        raised = resample_poly(np.asarray(waveform, np.float32), rate // SAMPLE_RATE, 1)
        given = self.processor.feature_extractor(raised, sampling_rate=rate, return_tensors="pt")
        found = self.model.audio_projection(self.model.audio_model(**given.to(self.model.device)).pooler_output)
        return found[0].cpu().numpy()

    @torch.no_grad()
    def text(self, caption: str) -> np.ndarray:
        """Embedding of a caption."""
        given = self.processor.tokenizer([caption], return_tensors="pt", truncation=True).to(self.model.device)
        found = self.model.text_projection(self.model.text_model(**given).pooler_output)
        return found[0].cpu().numpy()
