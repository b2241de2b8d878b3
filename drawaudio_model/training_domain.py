"""The domain of a model's training (levels, words, pictures), for notices about instructions beyond it.

Legend: P loudness points, ten a second, V video frames, N wordings, D width of CLAP, K picture statistics.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from safetensors.torch import load_file, save_file
from torch import Tensor

from drawaudio_model.clip_format import LOUDNESS_FPS
from drawaudio_model.dataset import TrainingShards
from drawaudio_model.generation.feature_distance import FeatureDistance, picture_statistics
from drawaudio_model.generation.vocabulary import notice_of_words, vocabulary_of
from drawaudio_model.text import TextConditioner

LEVEL_PERCENTILES = (1.0, 99.0)
"""Of the training clips' RMS levels: between them lies a sound without a curve."""
CLIPS = 2000
"""Training clips that are looked at, at most."""
WORDINGS = 64
"""Wordings that are kept to name the nearest one, at most."""
MEASURING_ERROR = 1.02
"""A level above the loudest by less than this factor is no wish for more."""
WORDS_FILE = "words.json"
"""Beside the text encoders' folders: the words that they learnt from."""
PICTURES_FILE = "pictures.safetensors"
"""Beside CAVP's weights: the picture statistics of the clips that it learnt from."""


class TrainingDomain(ModelMixin, ConfigMixin):
    """The part of a pipeline that records the limits of its training; it has no weights that learn.

    Args:
        loudest_level: largest level of any training curve, linear RMS.
        quietest_rms: RMS of a clip at the first of LEVEL_PERCENTILES.
        loudest_rms: RMS of a clip at the second.
        words: content words of all captions; empty where words are unbounded, as after a published text encoder.
        wordings: some captions, to name the nearest.
        clap_dim: D.
        picture_width: K; 0 where nothing is known of the pictures.
        picture_threshold: distance of a clip's picture statistics beyond which it is foreign.
    """

    @register_to_config
    def __init__(
        self,
        loudest_level: float = 1.0,
        quietest_rms: float = 0.0,
        loudest_rms: float = 1.0,
        words: Sequence[str] = (),
        wordings: Sequence[str] = (),
        clap_dim: int = 1,
        picture_width: int = 0,
        picture_threshold: float = float(2**31),
    ) -> None:
        super().__init__()
        self.register_buffer("wording_embeddings", torch.zeros(len(wordings), clap_dim))
        self.register_buffer("picture_mean", torch.zeros(max(picture_width, 1), dtype=torch.float64))
        self.register_buffer("picture_precision", torch.zeros(max(picture_width, 1), max(picture_width, 1)).double())

    @classmethod
    def of_training(cls, shards: TrainingShards, backbones: Path) -> Self:
        """The domain of a run: of its samples and what was drawn besides them, a random 2000 where there are more.

        Args:
            shards: training samples.
            backbones: the run's; text encoders and CAVP that were trained here say what they learnt from, published ones
                do not, and know more than anybody could list.
        """
        chosen = [int(number) for number in np.random.default_rng(0).permutation(len(shards))[:CLIPS]]
        curves = [np.asarray(shards.read(number)["loudness"], np.float64) for number in chosen]
        drawn = [] if shards.drawn is None else shards.drawn.curves([shards.keys[number] for number in chosen])
        levels = [float(np.sqrt(np.square(curve).mean())) for curve in curves]
        quietest, loudest = np.percentile(levels, LEVEL_PERCENTILES)
        highest = max(float(curve.max()) for curve in [*curves, *drawn])
        words, wordings = _read_words(backbones / "text_encoders" / WORDS_FILE)
        pictures = _read_pictures(backbones / "cavp_backbone" / PICTURES_FILE)
        embeddings = TextConditioner.from_pretrained(backbones / "text_encoders")(wordings).clap if wordings else None
        domain = cls(
            loudest_level=highest,
            quietest_rms=float(quietest),
            loudest_rms=float(loudest),
            words=words,
            wordings=wordings,
            clap_dim=1 if embeddings is None else embeddings.shape[1],
            picture_width=0 if pictures is None else len(pictures.mean),
            picture_threshold=float(2**31) if pictures is None else pictures.threshold,
        )
        if embeddings is not None:
            domain.wording_embeddings.copy_(embeddings)
        if pictures is not None:
            domain.picture_mean.copy_(pictures.mean)
            domain.picture_precision.copy_(pictures.precision)
        return domain

    def limit_curve(self, curve: np.ndarray) -> tuple[np.ndarray, str | None]:
        """The curve (P,) with no level above the loudest that was learnt, and a sentence about what was cut, or None."""
        loudest = self.config.loudest_level
        limited = np.minimum(curve, np.float32(loudest))
        if curve.max() <= loudest * MEASURING_ERROR:
            return limited, None
        sentence = (
            f"the curve asks for {curve.max():.2f} at {(int(curve.argmax()) + 0.5) / LOUDNESS_FPS:.1f} s; the loudest that "
            f"this model has learnt is {loudest:.2f}, so what lies above is cut to it"
        )
        return limited, sentence

    def notice_of_words(self, prompt: str, embedding: Tensor) -> str | None:
        """A sentence when training saw no word of the prompt, with the nearest wording by CLAP; else None.

        Args:
            prompt: a text.
            embedding: (D,) CLAP's text embedding of it.
        """
        if not self.config.words:
            return None
        nearest = self.wording_embeddings.to(embedding.device)
        return notice_of_words(prompt, self.config.words, embedding, nearest, self.config.wordings)

    def notice_of_pictures(self, frames: np.ndarray) -> str | None:
        """A sentence when frames (V, H, W, 3), uint8 RGB, look like no training clip; else None."""
        if not self.config.picture_width or len(frames) < 2:
            return None
        distance = FeatureDistance(
            self.picture_mean.cpu().double(), self.picture_precision.cpu().double(), self.config.picture_threshold
        )
        if not distance.is_foreign(picture_statistics(frames)[None]):
            return None
        some = "; ".join(self.config.wordings[:3])
        return (
            "this video looks like nothing that the model was trained on"
            + (f" (clips such as: {some})" if some else "")
            + "; expect no sound of its own, or train a model on your clips (docs/datasets.md)"
        )


def write_pictures(folder: Path, pictures: FeatureDistance) -> None:
    """Leaves the picture statistics of the clips beside the weights that learnt from them."""
    tensors = {
        "mean": pictures.mean,
        "precision": pictures.precision,
        "threshold": torch.tensor(pictures.threshold).double(),
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / PICTURES_FILE)


def _read_pictures(path: Path) -> FeatureDistance | None:
    if not path.is_file():
        return None
    tensors = load_file(path)
    return FeatureDistance(tensors["mean"], tensors["precision"], float(tensors["threshold"]))


def write_words(folder: Path, texts: Sequence[str]) -> None:
    """Leaves the content words of all texts, and some of the texts, beside the encoders that learnt from them."""
    texts = list(dict.fromkeys(texts))
    chosen = np.random.default_rng(0).permutation(len(texts))[:WORDINGS]
    facts = {"words": vocabulary_of(texts), "wordings": sorted(texts[number] for number in chosen)}
    (folder / WORDS_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _read_words(path: Path) -> tuple[list[str], list[str]]:
    """Content words and wordings; two empty lists where no file says which."""
    if not path.is_file():
        return [], []
    facts = json.loads(path.read_text(encoding="utf-8"))
    return facts["words"], facts["wordings"]
