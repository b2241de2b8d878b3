"""Settings of the annotators."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipelines.profiles import data_root

if TYPE_CHECKING:
    from pipelines.annotation.own_files import OwnAnnotations

PREFIX = "DRAWAUDIO_"
DETECTOR_SIZES = ("s", "m", "l", "x")


@dataclass(frozen=True)
class AnnotationSettings:
    """Each field is set by the environment variable DRAWAUDIO_<FIELD>."""

    annotations: str = ""
    """Folder of captions, phrases and masks that are there already (own_files.OwnAnnotations); empty: none are."""
    captioner: str = ""
    """Factory of another captioner, `package.module:factory` (annotators.Captioner); empty: the three models below."""
    phrase_finder: str = ""
    """The same of another finder of noun phrases (annotators.PhraseFinder); empty: spaCy or the lexicon."""
    detector: str = ""
    """The same of another detector (annotators.Detector); empty: that of the asset object_detector."""
    video_encoder: str = ""
    """The same of another video encoder (annotators.VideoEncoder); empty: that of the asset cavp_backbone."""
    audio_captioner: str = "MU-NLPC/whisper-small-audio-captioning"
    """Model id of a captioner of sounds in Whisper's format, an optional revision behind "@"; empty: no such candidate."""
    audio_prompt: str = "clotho > caption: "
    """Words that the audio captioner's answer begins with; they choose the style it learnt and are cut off again."""
    image_captioner: str = "Salesforce/blip-image-captioning-base@82a37760796d32b1411fe092ab5d4e227313294b"
    """Model id of a captioner of pictures (`AutoModelForImageTextToText`); empty: no such candidate."""
    caption_scorer: str = "laion/clap-htsat-unfused@8fa0f1c6d0433df6e97c127f64b2a1d6c0dcda8a"
    """Model id of the CLAP that chooses among the candidates."""
    detector_size: str = "l"
    """Size of YOLO-World v2: s, m, l or x."""
    detector_confidence: float = 0.1
    """Least confidence of a box that is kept."""

    def __post_init__(self) -> None:
        if self.detector_size not in DETECTOR_SIZES:
            raise ValueError(
                f"{PREFIX}DETECTOR_SIZE is {self.detector_size!r}, expected one of {', '.join(DETECTOR_SIZES)}; correct it"
            )
        if not 0 <= self.detector_confidence <= 1:
            raise ValueError(
                f"{PREFIX}DETECTOR_CONFIDENCE is {self.detector_confidence:g}, expected 0 to 1; correct it"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """The settings with the environment's values in place of the defaults.

        Raises:
            ValueError: for a value that cannot be.
        """
        found = os.environ if environment is None else environment
        values: dict[str, Any] = {
            field.name: found.get(PREFIX + field.name.upper(), field.default) for field in fields(cls)
        }
        try:
            values["detector_confidence"] = float(values["detector_confidence"])
        except ValueError:
            text = values["detector_confidence"]
            raise ValueError(f"{PREFIX}DETECTOR_CONFIDENCE is {text!r}, expected a number from 0 to 1") from None
        return cls(**values)


def own_annotations(settings: AnnotationSettings) -> "OwnAnnotations | None":
    """The annotations that are there already, or None.

    Raises:
        ValueError: when the folder that is named holds none.
    """
    from pipelines.annotation.own_files import OwnAnnotations

    return OwnAnnotations(Path(settings.annotations).expanduser()) if settings.annotations else None


def models_folder() -> Path:
    """Where published checkpoints lie, each in <owner>/<name>: DRAWAUDIO_MODELS, or `models` beside the data roots."""
    return Path(os.environ.get("DRAWAUDIO_MODELS") or data_root().parent / "models").expanduser().absolute()
