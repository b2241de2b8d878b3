"""Published checkpoints: of pinned revisions, from a local folder when they are there, else from where they are published.

Each lies in `<DRAWAUDIO_MODELS>/<owner>/<name>` as its authors laid it out. Of every file the sha256 is checked: against
the one known here, else against the one that was recorded in `checksums.json` when the file was first seen. Where the hub
is asked, the sha256 that it lists for the revision is checked as well. HF_HUB_OFFLINE=1 keeps all of this off the network.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drawaudio_model.atomic_files import file_sha256, write_atomically
from drawaudio_model.one_sentence import one_sentence

RECORD = "checksums.json"
_WEIGHTS = (".safetensors", ".bin")
_SIDE_FILES = (".json", ".txt", ".model")


@dataclass(frozen=True)
class Published:
    """A checkpoint that others published."""

    name: str
    """<owner>/<name>, on the hub and below the folder of models."""
    revision: str = ""
    """Commit on the hub, or tag of the release; "" where none is pinned: the newest, whose checksums are recorded."""
    files: tuple[str, ...] = ()
    """The files that are needed; empty: config, tokenizer and weights, whatever they are called."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """File -> sha256 (hex), where it is known."""
    url: str = ""
    """Folder of a release outside the hub; empty: the hub."""


AUDIOLDM2 = Published(
    "cvssp/audioldm2",
    "c8e7e189d324425c05c4c2f81214041ef4107983",
    files=(
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vocoder/config.json",
        "vocoder/model.safetensors",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "text_encoder_2/config.json",
        "text_encoder_2/model.safetensors",
        "tokenizer_2/special_tokens_map.json",
        "tokenizer_2/tokenizer.json",
        "tokenizer_2/tokenizer_config.json",
        "projection_model/config.json",
        "projection_model/diffusion_pytorch_model.safetensors",
        "language_model/config.json",
        "language_model/model.safetensors",
        "scheduler/scheduler_config.json",
        "feature_extractor/preprocessor_config.json",
        "model_index.json",
    ),
)
CAVP_FILE = "diff_foley_ckpt/cavp_epoch66.ckpt"
DIFF_FOLEY = Published(
    "SimianLuo/Diff-Foley",
    "b17ddbe76e6d42f4b4135eeb443b1c1644267e3e",
    files=(CAVP_FILE,),
    sha256={CAVP_FILE: "3472c2217a9481f530a96e32611c9e4611766f10b7f0d185a1ce35be7b7f9c80"},
)
CLIP = Published(
    "timm/vit_base_patch32_clip_224.openai",
    "a6f597a30f7b82c51704746581f9a4e41421e878",
    files=("open_clip_config.json", "open_clip_model.safetensors"),
    sha256={"open_clip_model.safetensors": "e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31"},
)
"""OpenAI's ViT-B/32 as open_clip has it: the text features that YOLO-World was trained with."""


def yolo_world(size: str) -> Published:
    """YOLO-World v2 of a size, from ultralytics' release of weights."""
    return Published(
        "ultralytics/assets",
        "v8.4.0",
        files=(f"yolov8{size}-worldv2.pt",),
        url="https://github.com/ultralytics/assets/releases/download/v8.4.0",
    )


def by_id(model_id: str) -> Published:
    """A checkpoint on the hub by "<owner>/<name>" or "<owner>/<name>@<revision>".

    Raises:
        ValueError: for anything else, such as a path that leaves the folder of models.
    """
    name, _, revision = model_id.partition("@")
    parts = name.split("/")
    if len(parts) != 2 or any(part in ("", ".", "..") or "\\" in part for part in parts):
        raise ValueError(f"model id is {model_id!r}, expected <owner>/<name> or <owner>/<name>@<revision>; correct it")
    return Published(name, revision)


def fetch(model: Published, models: Path, *, recheck: bool = False) -> Path:
    """The folder in which the checkpoint lies, complete and with the right checksums.

    Args:
        model: which.
        models: folder of all published models.
        recheck: read every file again, even those whose size and time are as when they were last checked.

    Raises:
        ValueError: when it is not there and cannot be fetched, or a file has another checksum.
    """
    folder = models / model.name
    missing = _missing(model, folder)
    if missing:
        _download(model, folder, missing)
        missing = _missing(model, folder)
        if missing:
            raise ValueError(
                f"{folder} still lacks {', '.join(missing)} after fetching {_origin(model)}; fill it by hand"
            )
    _verify(model, folder, recheck=recheck)
    return folder


def recorded_sha256(model: Published, models: Path) -> dict[str, str]:
    """File -> sha256 of a checkpoint that `fetch` has seen."""
    rows = _read_record(models / model.name)
    names = model.files or tuple(rows)
    return {name: rows[name]["sha256"] for name in names}


def _missing(model: Published, folder: Path) -> list[str]:
    if model.files:
        return [name for name in model.files if not (folder / name).is_file()]
    weights = [path for path in folder.glob("*") if path.suffix in _WEIGHTS]
    return [
        name for name, there in (("config.json", (folder / "config.json").is_file()), ("weights", weights)) if not there
    ]


def _origin(model: Published) -> str:
    return f"{model.name} at {model.revision}" if model.revision else model.name


def _download(model: Published, folder: Path, missing: Sequence[str]) -> None:
    hint = f"fill {folder} with {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''} of {_origin(model)}"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise ValueError(f"{model.name} is not there and HF_HUB_OFFLINE forbids the network; {hint}, or unset it")
    try:
        if model.url:
            _from_release(model, folder, missing)
        else:
            _from_hub(model, folder, missing)
    except _network_errors() as error:
        reason = one_sentence(error)[:200]
        raise ValueError(f"{model.name} is not there and cannot be fetched ({reason}); {hint}, or try again") from error


def _network_errors() -> tuple[type[Exception], ...]:
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    return (httpx.HTTPError, HfHubHTTPError, LocalEntryNotFoundError, OSError)


def _from_release(model: Published, folder: Path, missing: Sequence[str]) -> None:
    import torch

    for name in missing:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(f"{model.url}/{name}", str(folder / name), progress=False)


def _from_hub(model: Published, folder: Path, missing: Sequence[str]) -> None:
    """Fetch the files and compare the large ones with the checksums that the hub lists."""
    from huggingface_hub import HfApi, hf_hub_download

    found = HfApi().model_info(model.name, revision=model.revision or None, files_metadata=True)
    listed = {row.rfilename: row for row in found.siblings or ()}
    names = list(missing) if model.files else _snapshot_files(list(listed))
    for name in names:
        path = hf_hub_download(model.name, name, revision=found.sha, local_dir=folder)
        stored = listed[name].lfs if name in listed else None
        expected = stored.sha256 if stored else None
        if expected and file_sha256(Path(path)) != expected:
            Path(path).unlink()
            raise ValueError(f"{name} of {_origin(model)} arrived damaged (its sha256 is not {expected}); try again")


def _snapshot_files(names: Sequence[str]) -> list[str]:
    """Config, tokenizer and weights of a repository's root, as safetensors where it has them."""
    top = [name for name in names if "/" not in name]
    suffix = next((suffix for suffix in _WEIGHTS if any(name.endswith(suffix) for name in top)), "")
    return [name for name in top if name.endswith(_SIDE_FILES) or (suffix and name.endswith(suffix))]


def _verify(model: Published, folder: Path, *, recheck: bool) -> None:
    """Compare every file with its known or recorded sha256, and record those that have none."""
    record = _read_record(folder)
    names = model.files or sorted(
        path.name for path in folder.glob("*") if path.suffix in (*_WEIGHTS, *_SIDE_FILES) and path.name != RECORD
    )
    changed = False
    for name in names:
        path = folder / name
        state = {"bytes": path.stat().st_size, "modified_ns": path.stat().st_mtime_ns}
        row = record.get(name, {})
        expected = model.sha256.get(name) or row.get("sha256")
        if not recheck and expected == row.get("sha256") and row == {**state, "sha256": expected}:
            continue
        found = file_sha256(path)
        if expected is not None and found != expected:
            raise ValueError(
                f"{path} has sha256 {found}, expected {expected} ({_origin(model)}); remove it to have it fetched again"
            )
        record[name], changed = {**state, "sha256": found}, True
    if changed:
        write_atomically(folder / RECORD, json.dumps(record, indent=1, sort_keys=True).encode() + b"\n")


def _read_record(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / RECORD
    return json.loads(path.read_text()) if path.exists() else {}
