"""A pipeline folder: checked before it is loaded, and named by what its weights are.

diffusers and transformers load a folder with a missing weight or another shape with a warning, or fail inside torch.
Here a folder that does not fit is refused in one sentence before anything is loaded. Its files are read without torch; what
its configs ask for is known by the networks alone (model_weights.py).
"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drawaudio_model.atomic_files import file_sha256, fingerprint

PIPELINE_CLASS = "DrawAudioPipeline"
_WEIGHTS = ("diffusion_pytorch_model.safetensors", "model.safetensors")
_FILES: dict[str, tuple[tuple[str, ...], ...]] = {
    # transformers makes a tokenizer without a vocabulary when it finds none: every word would be the unknown one.
    "tokenizer": (("tokenizer.json",), ("vocab.json", "merges.txt")),
    "scheduler": (("scheduler_config.json",),),
    "feature_extractor": (("preprocessor_config.json",),),
}
"""Kind of a part without weights -> sets of files, one of which it needs."""


def check_model_folder(folder: Path, pipeline_class: str = PIPELINE_CLASS) -> None:
    """Raises where the folder of a pipeline lacks a file or holds weights of other shapes than its configs say.

    Args:
        folder: of a DrawAudioPipeline, or another of diffusers' pipelines.
        pipeline_class: which.

    Raises:
        ValueError: one sentence with the file, what was found and what was expected.
    """
    parts = check_model_files(folder, pipeline_class)

    from drawaudio_model.model_weights import expected_weights, kind_of

    for name, (library, class_name) in parts.items():
        part = folder / name
        kind = kind_of(library, class_name)
        if kind is None:
            raise ValueError(f"part {name} of {folder} is a {library}.{class_name}, which this version does not know")
        if kind == "weights":
            found = _stored_shapes(part)
            _check_weights(part, found, *expected_weights(part, library, class_name))
        for base, choices in _FILES.items():
            if kind == base and not any(all((part / file).is_file() for file in files) for files in choices):
                wanted = " or ".join(" with ".join(files) for files in choices)
                raise ValueError(f"model part {part} has no {wanted}; save or download it again")


def check_model_files(folder: Path, pipeline_class: str = PIPELINE_CLASS) -> dict[str, tuple[str, str]]:
    """`read_components`, with every part there and every file of weights whole; arguments and errors as above.

    What the parts' configs ask for is not compared here, so that an answer needs no torch.
    """
    parts = read_components(folder, pipeline_class)
    for name in parts:
        if not (Path(folder) / name).is_dir():
            raise ValueError(f"model folder {folder} has no part {name}; save or download it again")
        for file in sorted((Path(folder) / name).glob("*.safetensors")):
            weight_shapes(file)
    return parts


def read_components(folder: Path, pipeline_class: str = PIPELINE_CLASS) -> dict[str, tuple[str, str]]:
    """Part -> (library, class) of a pipeline folder.

    Raises:
        ValueError: when there is no model_index.json, or it describes another pipeline.
    """
    index = Path(folder) / "model_index.json"
    if not index.is_file():
        raise ValueError(f"{folder} is no model folder (it has no model_index.json); train one, or give its path")
    content = read_json(index)
    if content.get("_class_name") != pipeline_class:
        raise ValueError(f"{index} describes a {content.get('_class_name')}, expected a {pipeline_class}")
    return {name: tuple(value) for name, value in content.items() if isinstance(value, list) and value[0]}


def read_json(path: Path, *, needed: Sequence[str] = ()) -> dict[str, Any]:
    """A JSON object from a file, with at least the `needed` names.

    Raises:
        ValueError: when it is no such thing.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected an object")
    for name in needed:
        if name not in content:
            raise ValueError(f"{path} has no {name!r}; save or download it again")
    return content


def model_sha256(folder: Path) -> str:
    """One sha256 (hex) for everything in a pipeline folder that decides what it generates."""
    folder = Path(folder)
    files = [folder / "model_index.json"]
    for name in read_components(folder):
        files += [path for path in (folder / name).rglob("*") if path.is_file()]
    return fingerprint({path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(files)})


PLACES = ("_name_or_path", "name_or_path")
"""Where diffusers and transformers write down the folder that a part was loaded from."""


def forget_places(folder: Path) -> None:
    """Removes from a model folder's own configs where its parts were loaded from; what else lies there is left alone.

    It says nothing of the model, but much of the disk, and two equal models would have two names (`model_sha256`).
    """
    index = Path(folder) / "model_index.json"
    parts = [Path(folder) / name for name in read_json(index)]
    for path in [index, *(path for part in parts if part.is_dir() for path in sorted(part.glob("*.json")))]:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        if any(f'"{name}"' in text for name in PLACES) and (kept := _without_places(content)) != content:
            path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _without_places(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _without_places(value) for name, value in content.items() if name not in PLACES}
    return [_without_places(value) for value in content] if isinstance(content, list) else content


def weight_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Weight -> shape of a safetensors file, from its header.

    Raises:
        ValueError: when it is no whole safetensors file.
    """
    with file.open("rb") as content:
        start = content.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        size = file.stat().st_size
        try:
            header = json.loads(content.read(length)) if 0 < length < size else None
        except ValueError:
            header = None
    entries = {name: entry for name, entry in (header or {}).items() if name != "__metadata__"}
    end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if header is None or size != 8 + length + end:
        raise ValueError(f"{file} is no whole safetensors file ({size} bytes); copy or download it again")
    return {name: tuple(entry["shape"]) for name, entry in entries.items()}


def missing_vocoder(backbones: Path) -> str | None:
    """The sentence that a model is saved without a vocoder of the backbones; None where they have one."""
    if (backbones / "vocoder").exists():
        return None
    return (
        f"{backbones} has no vocoder, so the model makes its sounds with Griffin-Lim, slower and further from the real ones; "
        "materialize vocoder (dagster asset materialize -m pipelines --select vocoder) and train again for a better sound"
    )


def detector_beside(folder: Path) -> Path:
    """Folder of the detector that belongs to a pipeline folder, for masks by text."""
    return folder.parent / "backbones" / "object_detector"


def _stored_shapes(part: Path) -> dict[str, tuple[int, ...]]:
    """Weight -> shape of all files of weights in a part's folder."""
    files = [part / name for name in _WEIGHTS if (part / name).is_file()]
    files = files or sorted(part.glob("*-of-*.safetensors"))
    if not (part / "config.json").is_file() or not files:
        missing = "config.json" if files else "safetensors weights"
        raise ValueError(f"model part {part} has no {missing}; save or download it again")
    return {name: shape for file in files for name, shape in weight_shapes(file).items()}


def _check_weights(
    part: Path, found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]], tied: set[str], prefix: str
) -> None:
    """Compares the weights in a part's folder with those that its config asks for."""
    stored = {_plain_name(name, prefix): shape for name, shape in found.items()}
    for name, shape in expected.items():
        own = stored.get(_plain_name(name, prefix), shape)
        if own != shape:
            raise ValueError(f"{part} has {name} of shape {own}, its config.json asks for {shape}; save it again")
    lacking = sorted(name for name in set(expected) - tied if _plain_name(name, prefix) not in stored)
    if lacking:
        raise ValueError(
            f"{part} lacks {len(lacking)} weights that its config.json asks for, the first is {lacking[0]}"
        )


def _plain_name(name: str, prefix: str) -> str:
    """A weight's name as every version of transformers means it: without the model's prefix, weight norm in old words."""
    plain = name.removeprefix(f"{prefix}.") if prefix else name
    return plain.replace("parametrizations.weight.original0", "weight_g").replace(
        "parametrizations.weight.original1", "weight_v"
    )
