"""A take on the disk: beside its sound, what it was decoded from and what was asked for, so that a section can be made anew.

`bell.wav` has `bell.take`, a safetensors file: one tensor, `latents` (C, N, K) float32, and JSON in its metadata.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from drawaudio_model.atomic_files import file_sha256, write_atomically
from drawaudio_model.generation.output import Take
from drawaudio_model.generation.take_places import SOUND_SUFFIXES as SOUND_SUFFIXES
from drawaudio_model.generation.take_places import existing_take, take_path
from drawaudio_model.generation.windows import OVERLAP_SECONDS

_DEPTHS = {"PCM_16": 16, "PCM_24": 24, "FLOAT": 32}


@dataclass(frozen=True, eq=False)
class TakeFile:
    """The content of the file beside a sound."""

    latents: Tensor
    """(C, N, K) float32."""
    instructions: dict[str, Any]
    """As the command line has them, and how it was sampled."""
    overlap_seconds: int
    fits: bool
    """Whether the sound is still the one that was written with it."""
    model_sha256: str | None = None
    """Of the model that made it; None in takes of before this was kept."""


@dataclass(frozen=True, eq=False)
class SoundFile:
    """A sound as a file holds it."""

    waveform: np.ndarray
    """(n,) float32: exact for 16 and 24 bits."""
    sample_rate: int
    bits: int
    """16, 24, or 32 for floats."""
    beside: TakeFile | None = field(default=None)

    def take(self) -> Take:
        """The sound, with latents where they are its own."""
        beside = self.beside if self.beside is not None and self.beside.fits else None
        overlap = OVERLAP_SECONDS if beside is None else beside.overlap_seconds
        return Take(self.waveform, None if beside is None else beside.latents, overlap, self.sample_rate)


def check_made_by(sound: Path, found: SoundFile, model_sha256: str, name: object) -> None:
    """Raises ValueError where the latents beside a sound are of another model, whose numbers mean nothing to this one.

    Args:
        sound: the sound's file.
        found: what was read of it.
        model_sha256: of the model that is to go on from it.
        name: of that model.
    """
    made_by = None if found.beside is None or not found.beside.fits else found.beside.model_sha256
    if made_by not in (None, model_sha256):
        raise ValueError(
            f"sound {sound.name} was made by the model of sha256 {str(made_by)[:12]}, and {name} is {model_sha256[:12]}; "
            f"give the model that made it, or move {take_path(sound).name} away, and its sound alone is gone on from"
        )


def write_take(sound: Path, take: Take, instructions: dict[str, Any], model_sha256: str | None = None) -> None:
    """Leaves latents, instructions and the name of the model beside the sound, which is there already."""
    assert take.latents is not None
    facts = {
        "instructions": instructions,
        "overlap_seconds": take.overlap_seconds,
        "sound_sha256": file_sha256(sound),
        "model_sha256": model_sha256,
    }
    content = save({"latents": take.latents.float().contiguous()}, metadata={"take": json.dumps(facts, sort_keys=True)})
    write_atomically(take_path(sound), content)


def read_sound(path: Path) -> SoundFile:
    """A sound, and the take beside it where there is one.

    Raises:
        ValueError: when the file is no mono .wav or .flac of 16 or 24 bits or floats, or its take cannot be read.
    """
    beside = existing_take(path)
    try:
        info = soundfile.info(path)
        waveform, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"sound {path} cannot be read: {error.error_string}") from error
    if info.subtype not in _DEPTHS or waveform.shape[1] != 1 or not len(waveform):
        raise ValueError(
            f"sound {path} has {waveform.shape[1]} channels of {info.subtype}, expected one of PCM_16, PCM_24 or FLOAT"
        )
    read = _read_take(beside, path) if beside.is_file() else None
    return SoundFile(waveform[:, 0], rate, _DEPTHS[info.subtype], read)


def _read_take(path: Path, sound: Path) -> TakeFile:
    try:
        with safe_open(path, "pt") as file:
            latents, facts = file.get_tensor("latents"), json.loads(file.metadata()["take"])
        instructions, overlap, sha256 = (facts[name] for name in ("instructions", "overlap_seconds", "sound_sha256"))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"take {path} cannot be read ({error}); remove it, and its sound alone is gone on from"
        ) from error
    return TakeFile(latents, instructions, overlap, sha256 == file_sha256(sound), facts.get("model_sha256"))
