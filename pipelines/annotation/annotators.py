"""The annotators of a clip, and the choice among them: captioner, phrase finder, object detector, video encoder.

Each is a small protocol with one implementation of ours, picked here and nowhere else. One of another package takes its place
where DRAWAUDIO_CAPTIONER, DRAWAUDIO_PHRASE_FINDER, DRAWAUDIO_DETECTOR or DRAWAUDIO_VIDEO_ENCODER names its factory,
`package.module:factory`, which is called without arguments. Ours and others' load their weights with the first clip: each
asset makes one for a run and asks `identity` first, and where all shards are finished no clip comes.

`identity` enters the fingerprint of the shards: JSON-able, and another one whenever the same clip could be described otherwise
(weights, versions, settings).

Legend: N versions of a clip's frames, V video frames, H/W pixels, D feature width.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from drawaudio_model.caption import Candidate
from pipelines.annotation.settings import PREFIX, AnnotationSettings, models_folder
from pipelines.devices import autocast, device
from pipelines.plugins import load_plugin

if TYPE_CHECKING:
    from drawaudio_model.boxes import Box
    from drawaudio_model.cavp import CAVP
    from drawaudio_model.detector import ObjectDetector
    from pipelines.annotation.caption_models import CaptionModelFolders, CaptionModels


class Captioner(Protocol):
    """Proposes captions for clips that came with a label only."""

    @property
    def identity(self) -> Any: ...

    def candidates(
        self, labels: Sequence[str], waveforms: Sequence[np.ndarray], pictures: Sequence[np.ndarray]
    ) -> list[list[Candidate]]:
        """Every clip's candidates, at least one, the best first: it becomes the caption, the others are kept beside it.

        Args:
            labels: a sentence made of each clip's label.
            waveforms: (samples,) float32 at SAMPLE_RATE, one a clip.
            pictures: (H, W, 3) uint8 RGB, one frame a clip.
        """


class PhraseFinder(Protocol):
    """Finds the visible things that a caption names."""

    @property
    def identity(self) -> Any: ...

    def phrases(self, captions: Sequence[str]) -> list[list[str]]:
        """One list of phrases such as "dog" or "tin roof" a caption, in order of appearance; empty where it names none."""


class Detector(Protocol):
    """Finds the boxes of the things that phrases name; masks are rasterised from them."""

    @property
    def identity(self) -> Any: ...

    def detect(
        self,
        frames: Sequence[np.ndarray],
        phrases: Sequence[Sequence[str]],
        *,
        confidence: float,
        batch_frames: int,
    ) -> list[list["Box"]]:
        """Every clip's boxes.

        Args:
            frames: (V, H, W, 3) uint8 RGB, one a clip; clips differ in size.
            phrases: of each clip; a box's `phrase_index` counts them.
            confidence: least one of a box that is kept.
            batch_frames: frames that fit into one pass.
        """


class VideoEncoder(Protocol):
    """Turns frames into the features that the model hears the video by; a model must generate with the one it learnt with."""

    @property
    def identity(self) -> Any: ...

    def encode(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(N, V, D) float16 of each clip's (N, V, H, W, 3) uint8 RGB; clips differ in size, N and V do not."""


def pick_captioner(settings: AnnotationSettings) -> Captioner:
    """The captioner in force.

    Raises:
        ValueError: when its weights are not there and cannot be fetched, or there is no factory of that name.
    """
    if settings.captioner:
        return _plugin("captioner", settings.captioner)
    from pipelines.annotation.caption_models import CaptionModelFolders

    return PublishedCaptioner(CaptionModelFolders.find(settings, models_folder()), settings.audio_prompt)


def pick_phrase_finder(settings: AnnotationSettings) -> PhraseFinder:
    """The phrase finder in force.

    Raises:
        ValueError: when there is no factory of that name.
    """
    if settings.phrase_finder:
        return _plugin("phrase_finder", settings.phrase_finder)
    return NounPhraseChunker()


def pick_detector(settings: AnnotationSettings, backbone: Callable[[], "WorldDetector"]) -> Detector:
    """The detector in force.

    Args:
        settings: may name another one.
        backbone: makes the one of the asset object_detector; not called where another one is named.

    Raises:
        ValueError: when the backbone was not made, or there is no factory of that name.
    """
    return _plugin("detector", settings.detector) if settings.detector else backbone()


def pick_video_encoder(settings: AnnotationSettings, backbone: Callable[[], "CAVPEncoder"]) -> VideoEncoder:
    """The video encoder in force.

    Args:
        settings: may name another one.
        backbone: makes the one of the asset cavp_backbone; not called where another one is named.

    Raises:
        ValueError: when the backbone was not made, or there is no factory of that name.
    """
    return _plugin("video_encoder", settings.video_encoder) if settings.video_encoder else backbone()


class PublishedCaptioner:
    """The label, an audio captioner's and an image captioner's sentence, of which CLAP prefers one."""

    def __init__(self, folders: "CaptionModelFolders", audio_prompt: str) -> None:
        self.identity = [folders.sha256, audio_prompt]
        self._folders, self._audio_prompt = folders, audio_prompt

    @cached_property
    def _models(self) -> "CaptionModels":
        from pipelines.annotation.caption_models import CaptionModels

        return CaptionModels(self._folders, self._audio_prompt)

    def candidates(
        self, labels: Sequence[str], waveforms: Sequence[np.ndarray], pictures: Sequence[np.ndarray]
    ) -> list[list[Candidate]]:
        return self._models.candidates(labels, waveforms, pictures)


class NounPhraseChunker:
    """spaCy's noun chunks where an English model is installed, else the lexicon-driven chunker."""

    @cached_property
    def identity(self) -> str:
        from pipelines.annotation.phrases import chunker_version

        return chunker_version()

    def phrases(self, captions: Sequence[str]) -> list[list[str]]:
        from pipelines.annotation.phrases import noun_phrases

        return noun_phrases(captions)


class WorldDetector:
    """YOLO-World of a backbone's folder.

    Args:
        folder: of the backbone.
        sha256: its fingerprint.
        features: folder that keeps the feature of every phrase, so that it is encoded once for all shards and runs.
    """

    def __init__(self, folder: Path, sha256: str, features: Path) -> None:
        self.identity = sha256
        self._folder, self._features = folder, features

    @cached_property
    def _detector(self) -> "ObjectDetector":
        from drawaudio_model.detector import ObjectDetector

        return ObjectDetector.from_pretrained(self._folder, device=device(), features=self._features)

    def detect(
        self,
        frames: Sequence[np.ndarray],
        phrases: Sequence[Sequence[str]],
        *,
        confidence: float,
        batch_frames: int,
    ) -> list[list["Box"]]:
        with autocast(float16_is_enough=True):
            return self._detector.detect(frames, phrases, confidence=confidence, batch_frames=batch_frames)


class CAVPEncoder:
    """CAVP of a backbone's folder.

    Args:
        folder: of the backbone.
        sha256: its fingerprint.
    """

    def __init__(self, folder: Path, sha256: str) -> None:
        self.identity = sha256
        self._folder = folder

    @cached_property
    def _model(self) -> "CAVP":
        from drawaudio_model.cavp import CAVP

        return CAVP.from_checkpoint(self._folder).eval().to(device())

    def encode(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        import torch

        # Clips differ in size, so each becomes a square of the model's size before they are stacked.
        batch = torch.cat([self._model.preprocess(versions) for versions in clips])
        with torch.inference_mode(), autocast(float16_is_enough=True):
            features = self._model.encode_video(batch.to(device()))
        return list(features.to(torch.float16).cpu().numpy().reshape(len(clips), -1, *features.shape[1:]))


def _plugin(field: str, name: str) -> Any:
    return load_plugin(name, PREFIX + field.upper(), "nothing")
