"""A box names the phrase of the caption that it was found for."""

from pathlib import Path

import numpy as np

from drawaudio_model.detector import ObjectDetector
from tests.tiny_detector import tiny_detector


def test_a_box_names_its_phrase_by_its_place_in_the_caption(tmp_path: Path) -> None:
    """Phrases that the detector does not know have a place, too."""
    detector = ObjectDetector.from_pretrained(tiny_detector(tmp_path, vocabulary=["bell", "drum"]))
    frames = np.random.default_rng(0).integers(0, 255, (2, 32, 40, 3), dtype=np.uint8)
    found = detector.detect([frames, frames], [["cat", "bell", "dog", "drum"], ["drum"]])
    assert [{box.phrase_index for box in boxes} for boxes in found] == [{1, 3}, {0}]
