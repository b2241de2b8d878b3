"""What a command imports before it answers: `import torch` alone takes twice as long as such an answer may."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from drawaudio_model.boxes import Box, boxes_to_json
from drawaudio_model.curve_files import write_points
from drawaudio_model.media import mux, write_audio
from tests.tiny_pipeline import tiny_pipeline
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
_RUN = """
import json, sys
from drawaudio_model.cli import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted(name for name in sys.modules if "." not in name)]))
"""
