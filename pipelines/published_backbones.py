"""Published checkpoints in the layout of the backbones' folders, so that nothing after them knows where they came from."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from drawaudio_model.atomic_files import fingerprint, replaced_folder
from pipelines.annotation.settings import AnnotationSettings
from pipelines.published import AUDIOLDM2, CAVP_FILE, CLIP, DIFF_FOLEY, Published, fetch, recorded_sha256, yolo_world

TEXT_PARTS = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "projection_model", "language_model")
"""Folders of AudioLDM2 that make up `text_encoders`."""
BESIDE = {"audio_autoencoder": ("unet",)}
"""Parts that come with a backbone and get folders of their own: the trainer looks for them there."""


def checkpoints_of(name: str) -> tuple[Published, ...]:
    """The checkpoints that a backbone is made of."""
    detector = yolo_world(AnnotationSettings.from_environment().detector_size)
    return {
        "audio_autoencoder": (AUDIOLDM2,),
        "text_encoders": (AUDIOLDM2,),
        "cavp_backbone": (DIFF_FOLEY,),
        "object_detector": (detector, CLIP),
        "vocoder": (AUDIOLDM2,),
    }[name]


def fetch_all(name: str, models: Path) -> dict[str, str]:
    """Fetch and check a backbone's checkpoints; returns what identifies them, for its marker.

    Raises:
        ValueError: when one is neither local nor to be had, or has a wrong checksum.
    """
    inputs = {}
    for model in checkpoints_of(name):
        fetch(model, models, recheck=True)
        inputs[model.name] = fingerprint(model.revision, recorded_sha256(model, models))
    return inputs


def assemble(name: str, models: Path, folder: Path) -> None:
    """Write a backbone's folder, and those of the parts that come with it, from fetched checkpoints.

    Files are linked where the file system allows it; each folder is there as a whole or not at all.

    Raises:
        ValueError: when a checkpoint holds another network than it should.
    """
    builders: Mapping[str, Callable[[Path, Path], None]] = {
        "audio_autoencoder": lambda models, target: _link_part(models, "vae", target),
        "text_encoders": _text_encoders,
        "cavp_backbone": _cavp,
        "object_detector": _detector,
        "vocoder": lambda models, target: _link_part(models, "vocoder", target),
    }
    for part in BESIDE.get(name, ()):
        with replaced_folder(folder.with_name(part)) as target:
            _link_part(models, part, target)
    with replaced_folder(folder) as target:
        builders[name](models, target)


def _link_part(models: Path, part: str, target: Path) -> None:
    """Link AudioLDM2's files of one part."""
    for name in AUDIOLDM2.files:
        if name.startswith(f"{part}/"):
            _link(models / AUDIOLDM2.name / name, target / Path(name).name)


def _text_encoders(models: Path, target: Path) -> None:
    for part in TEXT_PARTS:
        (target / part).mkdir()
        _link_part(models, part, target / part)


def _cavp(models: Path, target: Path) -> None:
    from drawaudio_model.cavp import CAVP

    CAVP.from_checkpoint(models / DIFF_FOLEY.name / CAVP_FILE).save_pretrained(target)


def _detector(models: Path, target: Path) -> None:
    (checkpoint,) = (model for model in checkpoints_of("object_detector") if model.url)
    _link(models / checkpoint.name / checkpoint.files[0], target / "detector.pt")
    (target / "clip").mkdir()
    weights, config = (next(name for name in CLIP.files if name.endswith(end)) for end in (".safetensors", ".json"))
    _link(models / CLIP.name / weights, target / "clip" / weights)
    facts = json.loads((models / CLIP.name / config).read_text())
    # OpenAI trained with this activation; open_clip's plain ViT-B-32 has another, and the features would differ slightly.
    facts["model_cfg"]["quick_gelu"] = True
    (target / "clip" / config).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    # null: it may be asked for any phrase.
    (target / "vocabulary.json").write_text(json.dumps(None) + "\n")


def _link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy on another file system."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
