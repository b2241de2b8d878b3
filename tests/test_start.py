"""What a command imports before it answers: `import torch` alone takes twice as long as such an answer may."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from drawaudio_model.boxes import Box, boxes_to_json
from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.curve_files import write_points
from drawaudio_model.evaluation.listening_page import write_video
from tests.tiny_pipeline import saved_pipeline
from tests.tiny_shards import write_tiny_shards

HEAVY = {
    "accelerate",
    "av",
    "dagster",
    "datasets",
    "diffusers",
    "huggingface_hub",
    "librosa",
    "matplotlib",
    "numba",
    "numpy",
    "pandas",
    "PIL",
    "pyarrow",
    "scipy",
    "sklearn",
    "soundfile",
    "spacy",
    "torch",
    "torchaudio",
    "torchvision",
    "transformers",
    "ultralytics",
}
NUMPY = {"numpy"}
MEDIA = {"av", "numpy", "PIL", "soundfile"}
"""What reads and writes media files."""
MODEL = HEAVY - {"dagster", "datasets", "matplotlib", "pandas", "sklearn", "spacy", "ultralytics"}
"""What computes with a model: diffusers' base class of a pipeline alone brings most of it."""
_RUN = """
import gc, json, sys
from drawaudio_model.cli import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted(name for name in sys.modules if "." not in name), gc.get_freeze_count(), gc.isenabled()]))
"""
_MANY_OBJECTS = 100_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video, a curve, boxes, a model and shards."""
    place = tmp_path_factory.mktemp("start")
    frames = np.random.default_rng(0).integers(0, 255, (24, 48, 64, 3), dtype=np.uint8)
    write_video(place / "scene.mp4", frames, 12, np.full(2 * SAMPLE_RATE, 0.01, np.float32))
    write_points(place / "curve.csv", [(0.0, 0.0), (1.0, 0.05)])
    boxes = [Box(frame, 0, 0.9, 0.25, 0.25, 0.75, 0.75) for frame in range(8)]
    (place / "boxes.json").write_text(boxes_to_json(boxes, frames=8))
    saved_pipeline(place / "model")
    write_tiny_shards(place / "shards")
    return place


@pytest.mark.parametrize(
    ("words", "code", "allowed"),
    [
        ("curve scene.mp4 -o measured.csv", 0, MEDIA),
        ("curve curve.csv -o curve.json", 0, MEDIA),
        ("curve curve.csv -o heard.wav", 0, MEDIA | {"scipy"}),
        ("info model", 0, NUMPY),
        ("dataset verify shards", 0, MEDIA | {"pyarrow"}),
        ("mask --explain boxes.json", 0, MEDIA),
        ("mask scene.mp4 --explain boxes.json --preview seen.png", 0, MEDIA),
        # What a person got wrong is said before anything is imported that takes seconds.
        ("mask scene.mp4 --text bell -o mask.json --detector none", 2, MEDIA),
        ("curve gone.wav -o curve.csv", 2, MEDIA),
        ("info none", 2, NUMPY),
        ("dataset verify none", 2, NUMPY),
        ("dataset publish none published", 2, NUMPY),
        ("generate gone.mp4 -o out.wav", 2, set()),
        ("generate scene.mp4 --model none -o out.wav", 2, MEDIA),
        ("generate scene.mp4 --model model -o out.webm", 2, MEDIA),
        ("generate scene.mp4 --model model --take -o out.mp4", 2, MEDIA),
        ("generate scene.mp4 --model model --seed -1 -o out.wav", 2, MEDIA),
        ("generate scene.mp4 --model model --mask 0.1,0.2,0.3 -o out.wav", 2, MEDIA),
        ("generate scene.mp4 --model model --loudness gone.csv -o out.wav", 2, MEDIA),
        ("mix scene.mp4 --tracks gone.json -o out.wav", 2, MEDIA),
        ("regenerate gone.wav --section 0 1 -o out.wav", 2, NUMPY),
        ("generate scene.mp4 --model model --steps 1 --seed 1 --device cpu -o out.wav", 0, MODEL),
        ("train --run tiny --shards none --backbones none --output trained", 2, MODEL),
    ],
)
def test_a_command_imports_no_more_than_it_needs(words: str, code: int, allowed: set[str], folder: Path) -> None:
    command = [sys.executable, "-c", _RUN, *words.split()]
    shown = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    found, modules, frozen, collected = json.loads(shown.stdout.splitlines()[-1])
    assert found == code, shown.stderr
    assert HEAVY & set(modules) <= allowed
    # The garbage collector rests while libraries are imported, and leaves them alone afterwards: two fifths of a start.
    assert collected and ("torch" not in modules or frozen > _MANY_OBJECTS)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("drawaudio_model.mel", {"diffusers", "transformers", "scipy"}),
        ("drawaudio_model.shard", {"torch", "pandas"}),
        ("drawaudio_model.media", {"torch", "scipy"}),
        ("drawaudio_model.masks", {"torch"}),
        ("drawaudio_model.loudness", {"torch"}),
        ("drawaudio_model.model_folder", {"torch", "diffusers", "transformers"}),
    ],
)
def test_a_module_imports_none_of_what_others_need(module: str, absent: set[str]) -> None:
    code = f"import sys; import {module}; print(' '.join(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert absent.isdisjoint(shown.stdout.split())
