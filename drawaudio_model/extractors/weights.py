"""The weights of an extractor: a file or folder on this machine, put there by hand or fetched on request."""

import importlib
import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from drawaudio_model.atomic_files import file_sha256, fingerprint, folder_beside, put_in_place

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Weights:
    """A published checkpoint."""

    name: str
    """File or folder name below the weights folder."""
    place: str
    """Address of the published file, or of a repository on the hub."""
    revision: str = ""
    """Commit of a repository, whose folder as transformers saves it is meant; "" for a file."""


class MissingWeights(ValueError):
    """The weights are not there; the message says which file belongs into which folder and where it is published."""


def find(weights: Weights, folder: Path, *, fetch: bool = False) -> Path:
    """The weights' path below `folder`.

    Args:
        weights: which.
        folder: where weights lie.
        fetch: download what is missing from its published place.

    Raises:
        MissingWeights: when there are none and they may not or cannot be fetched.
    """
    path = folder / weights.name
    if path.is_dir() if weights.revision else path.is_file():
        return path
    if not fetch:
        raise MissingWeights(f"{path} is missing; put there what {weights.place} publishes")
    folder.mkdir(parents=True, exist_ok=True)
    with folder_beside(path) as temporary:
        partial = temporary / weights.name
        try:
            if weights.revision:
                _fetch_repository(weights, partial)
            else:
                _fetch_file(weights.place, partial)
        except OSError as error:
            raise MissingWeights(f"{path} is missing and could not be fetched from {weights.place}: {error}") from error
        put_in_place(partial, path)
    return path


def _fetch_file(place: str, path: Path) -> None:
    with urllib.request.urlopen(place, timeout=60) as source, path.open("wb") as sink:
        while content := source.read(_CHUNK):
            sink.write(content)


def _fetch_repository(weights: Weights, folder: Path) -> None:
    """The weights, and what transformers reads beside them, of the pinned commit.

    Raises:
        OSError: when it cannot be reached, or a file differs from the sha256 that the hub lists.
    """
    hub, owner, name = weights.place.rsplit("/", 2)
    address = f"{hub}/api/models/{owner}/{name}/revision/{weights.revision}?blobs=true"
    with urllib.request.urlopen(address, timeout=60) as answer:
        listed = {row["rfilename"]: row for row in json.load(answer)["siblings"]}
    kept = next((file for file in ("model.safetensors", "pytorch_model.bin") if file in listed), None)
    if kept is None:
        raise OSError(f"{weights.revision} has no model.safetensors and no pytorch_model.bin")
    folder.mkdir()
    for file, row in listed.items():
        if file != kept and ("/" in file or not file.endswith((".json", ".txt"))):
            continue
        _fetch_file(f"{weights.place}/resolve/{weights.revision}/{file}", folder / file)
        expected = (row.get("lfs") or {}).get("sha256")
        if expected and file_sha256(folder / file) != expected:
            raise OSError(f"{file} arrived damaged (its sha256 is not {expected}); try again")


def weights_sha256(path: Path) -> str:
    """Of a file; of a folder, the fingerprint of its weight files and configs."""
    if path.is_file():
        return file_sha256(path)
    files = sorted(file for file in path.rglob("*") if file.suffix in {".safetensors", ".bin", ".json"})
    return fingerprint({str(file.relative_to(path)): file_sha256(file) for file in files})


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a checkpoint file: at its top, or below "model" or "state_dict".

    Only tensors and numpy arrays are read (PANNs' checkpoints carry their sampler's indices); nothing is executed.

    Raises:
        ValueError: when the file holds something else.
    """
    arrays = [np.ndarray, np.dtype, np.dtypes.Int64DType, np.dtypes.Int32DType, np.dtypes.Float64DType]
    # numpy's own types leave its inner module out.
    multiarray = importlib.import_module("numpy._core.multiarray")
    with torch.serialization.safe_globals([multiarray._reconstruct, multiarray.scalar, *arrays]):
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    for name in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ValueError(f"{path} holds no state dict of tensors; fetch the checkpoint again")
    return content
