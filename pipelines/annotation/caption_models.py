"""Candidates for a clip's caption, and CLAP as their judge.

The audio captioner is a Whisper-format model (encoder of sound, decoder of text), the picture captioner any
`AutoModelForImageTextToText` such as BLIP, the judge CLAP; all three through `transformers`, from local folders.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from drawaudio_model.caption import Candidate
from drawaudio_model.clip_format import SAMPLE_RATE
from pipelines.annotation.settings import AnnotationSettings
from pipelines.devices import autocast, device
from pipelines.published import by_id, fetch, recorded_sha256

MOST_TOKENS = 40
"""Longest caption that a model may write."""


@dataclass(frozen=True)
class CaptionModelFolders:
    """Where the models lie, checked; the captioners that a person switched off are None."""

    audio: Path | None
    image: Path | None
    scorer: Path
    sha256: dict[str, dict[str, str]]
    """Model id -> file -> sha256."""

    @classmethod
    def find(cls, settings: AnnotationSettings, models: Path) -> Self:
        """The folders of the settings' models, fetched where they are missing.

        Raises:
            ValueError: when one is not there and cannot be fetched.
        """
        audio, image, scorer = settings.audio_captioner, settings.image_captioner, settings.caption_scorer
        return cls(
            audio=fetch(by_id(audio), models) if audio else None,
            image=fetch(by_id(image), models) if image else None,
            scorer=fetch(by_id(scorer), models),
            sha256={name: recorded_sha256(by_id(name), models) for name in (audio, image, scorer) if name},
        )


class CaptionModels:
    """The loaded models."""

    def __init__(self, folders: CaptionModelFolders, audio_prompt: str) -> None:
        from transformers import (
            AutoFeatureExtractor,
            AutoModelForImageTextToText,
            AutoModelForSpeechSeq2Seq,
            AutoProcessor,
            AutoTokenizer,
            ClapModel,
        )

        self.device, self.audio_prompt = device(), audio_prompt
        self.audio: Any = None
        self.image: Any = None
        if folders.audio is not None:
            self.audio = AutoModelForSpeechSeq2Seq.from_pretrained(folders.audio).eval().to(self.device)
            self.audio_features = AutoFeatureExtractor.from_pretrained(folders.audio)
            self.audio_tokenizer = AutoTokenizer.from_pretrained(folders.audio)
        if folders.image is not None:
            self.image = AutoModelForImageTextToText.from_pretrained(folders.image).eval().to(self.device)
            self.image_processor = AutoProcessor.from_pretrained(folders.image)
        self.scorer = ClapModel.from_pretrained(folders.scorer).eval().to(self.device)
        self.scorer_features = AutoFeatureExtractor.from_pretrained(folders.scorer)
        self.scorer_tokenizer = AutoTokenizer.from_pretrained(folders.scorer)

    def candidates(
        self, labels: Sequence[str], waveforms: Sequence[np.ndarray], pictures: Sequence[np.ndarray]
    ) -> list[list[Candidate]]:
        """Every clip's candidates, the one that CLAP finds nearest to the sound first.

        Args:
            labels: a sentence made of each clip's label.
            waveforms: (samples,) float32 at 16 kHz, one a clip.
            pictures: (H, W, 3) uint8 RGB, one frame a clip.
        """
        texts = [[("label", sentence)] for sentence in labels]
        if self.audio is not None:
            for own, text in zip(texts, self.describe_sounds(waveforms), strict=True):
                own.append(("audio_model", text))
        if self.image is not None:
            for own, text in zip(texts, self.describe_pictures(pictures), strict=True):
                own.append(("image_model", text))
        # A model that says nothing proposes nothing.
        texts = [[(source, text) for source, text in own if text] for own in texts]
        scores = self.scores([[text for _, text in own] for own in texts], waveforms)
        found = []
        for own, points in zip(texts, scores, strict=True):
            rows = [Candidate(source, text, score) for (source, text), score in zip(own, points, strict=True)]
            found.append(sorted(rows, key=lambda row: -row.score))
        return found

    def describe_sounds(self, waveforms: Sequence[np.ndarray]) -> list[str]:
        """One sentence a sound."""
        import torch
        from transformers import GenerationConfig
        from transformers.generation import GenerationMixin

        inputs = self.audio_features(list(waveforms), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        prompt = self.audio_tokenizer(self.audio_prompt, add_special_tokens=False).input_ids
        start = [self.audio.config.decoder_start_token_id, *prompt]
        prefix = torch.tensor([start] * len(inputs), device=self.device)
        # Whisper's own `generate` looks for languages and time stamps, which a captioner has not learnt.
        settings = GenerationConfig(
            max_new_tokens=MOST_TOKENS,
            decoder_start_token_id=self.audio.config.decoder_start_token_id,
            eos_token_id=self.audio.config.eos_token_id,
            pad_token_id=self.audio.config.pad_token_id,
        )
        with torch.inference_mode(), autocast(float16_is_enough=True):
            tokens = GenerationMixin.generate(
                self.audio, inputs.to(self.device), generation_config=settings, decoder_input_ids=prefix
            )
        said = tokens[:, len(start) :]
        return [_sentence(text) for text in self.audio_tokenizer.batch_decode(said, skip_special_tokens=True)]

    def describe_pictures(self, pictures: Sequence[np.ndarray]) -> list[str]:
        """One sentence a picture."""
        import torch
        from PIL import Image

        inputs = self.image_processor(images=[Image.fromarray(picture) for picture in pictures], return_tensors="pt")
        with torch.inference_mode(), autocast(float16_is_enough=True):
            tokens = self.image.generate(
                pixel_values=inputs["pixel_values"].to(self.device),
                max_new_tokens=MOST_TOKENS,
                do_sample=False,
                num_beams=1,
            )
        return [_sentence(text) for text in self.image_processor.batch_decode(tokens, skip_special_tokens=True)]

    def scores(self, texts: Sequence[Sequence[str]], waveforms: Sequence[np.ndarray]) -> list[list[float]]:
        """Cosine of each text with its own clip's sound, rounded to four decimals."""
        import torch
        from scipy.signal import resample_poly

        rate = self.scorer_features.sampling_rate
        sounds = [resample_poly(waveform, rate, SAMPLE_RATE).astype(np.float32) for waveform in waveforms]
        features = self.scorer_features(sounds, sampling_rate=rate, return_tensors="pt").to(self.device)
        # RoBERTa counts positions from its padding id + 1 on; a captioner may ramble on past the last of them.
        room = self.scorer.config.text_config.max_position_embeddings - 2
        read = self.scorer_tokenizer(
            [text for own in texts for text in own],
            padding=True,
            truncation=True,
            max_length=min(room, self.scorer_tokenizer.model_max_length),
            return_tensors="pt",
        )
        with torch.inference_mode(), autocast(float16_is_enough=True):
            sound = _pooled(self.scorer.get_audio_features(**features)).float()
            text = _pooled(self.scorer.get_text_features(**read.to(self.device))).float()
        sound, text = (torch.nn.functional.normalize(part, dim=-1) for part in (sound, text))
        counts = [len(own) for own in texts]
        owners = torch.repeat_interleave(torch.arange(len(texts)), torch.tensor(counts)).to(self.device)
        cosines = (sound[owners] * text).sum(dim=-1).tolist()
        rows = iter(round(value, 4) for value in cosines)
        return [[next(rows) for _ in range(count)] for count in counts]


def _pooled(features: Any) -> Any:
    """transformers 5 returns an output object, 4 the tensor itself."""
    return features if hasattr(features, "shape") else features.pooler_output


def _sentence(text: str) -> str:
    """Capital and full stop; empty where the model said nothing."""
    words = " ".join(text.split()).strip(" .")
    return f"{words[0].upper()}{words[1:]}." if words else ""
