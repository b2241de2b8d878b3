"""An object detector's folder with random weights: real classes, no training."""

import json
from pathlib import Path

import open_clip
import torch

from drawaudio_model.pretraining.detector import (
    DetectorConfig,
    build_world_model,
    clip_config,
    save_clip,
    save_world_model,
)


def tiny_detector(folder: Path, *, vocabulary: list[str], sure: bool = True) -> Path:
    """A detector that knows `vocabulary` and, when `sure`, finds each of it somewhere in every frame; else nowhere."""
    torch.manual_seed(0)
    config = DetectorConfig.tiny()
    model = build_world_model(config)
    with torch.no_grad():
        for head in model.model[-1].cv4:
            head.bias.fill_(5.0 if sure else -20.0)
    save_clip(open_clip.CLIP(**clip_config(config)), folder / "clip", config)
    save_world_model(model, folder / "detector.pt", config.image_size)
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    return folder
