"""How well a mask that follows stays with its thing, on the demo's test clips, whose true boxes are known.

    python benchmarks/following.py
    python benchmarks/following.py --data data/demo --clips 32

A box is drawn on each thing that moves, as it is at 0 s: as tight as the truth, and a fifth wider on each side. After
following for 2 and for 10 seconds, `overlap` is its intersection over union with the true box (of the wide one: with the true
box as wide), the median over things, beside that of the same box where it stays where it is. `seconds` is what following one
second of video takes, on one thread. Writes results/following.json.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from drawaudio_model import media
from drawaudio_model.clip_format import VIDEO_FPS
from drawaudio_model.scene_truth import TrueObject, read_truth
from drawaudio_model.shard import ShardReader
from drawaudio_model.studio.following import LONGER_SIDE, PICTURES_A_SECOND, follow

RESULTS = Path(__file__).parent / "results" / "following.json"
WIDER = 0.2
MOMENTS = (2, 10)
"""Seconds after which the boxes are compared."""
LEAST_WAY = 0.05
"""Of the picture: what moves less is no test."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/demo"))
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows: list[dict[str, float]] = []
    spent = watched = 0.0
    for content, objects in clips(options.data, options.clips):
        pictures = read(content)
        for thing in objects:
            boxes = np.array(thing.boxes)  # (moments, 4)
            if np.abs(boxes - boxes[0]).max() < LEAST_WAY:
                continue
            for width in (0.0, WIDER):
                true = [widened(box, width) for box in boxes]
                began = time.perf_counter()
                found = follow(
                    [{"kind": "box", "cut": False, "points": [true[0][:2], true[0][2:]], "size": 0}], pictures
                )
                spent, watched = spent + time.perf_counter() - began, watched + len(pictures) / PICTURES_A_SECOND
                for moment in MOMENTS:
                    frame = min(moment * VIDEO_FPS, len(found) - 1, len(true) - 1)
                    rows.append(
                        {
                            "width": width,
                            "moment": moment,
                            "follows": overlap(
                                [*found[frame][0]["points"][0], *found[frame][0]["points"][1]], true[frame]
                            ),
                            "stays": overlap(true[0], true[frame]),
                        }
                    )
    result = {"things": len(rows) // 4, "seconds": round(spent / watched, 3), "overlap": {}}
    for width, name in ((0.0, "tight"), (WIDER, "wide")):
        for moment in MOMENTS:
            some = [row for row in rows if row["width"] == width and row["moment"] == moment]
            medians = {key: round(float(np.median([row[key] for row in some])), 2) for key in ("follows", "stays")}
            result["overlap"][f"{name} after {moment} s"] = medians
    print(json.dumps(result, indent=1))
    options.output.write_text(json.dumps(result, indent=1) + "\n")


def clips(data: Path, most: int) -> Iterator[tuple[bytes, tuple[TrueObject, ...]]]:
    """(video, things) of the first test clips."""
    reader = ShardReader(data / "raw_clips", "test-000000")
    for key in reader.keys[:most]:
        truth = read_truth(reader, key)
        assert truth is not None  # the demo's world knows it
        yield reader.member(key, "mp4"), truth.objects


def read(content: bytes) -> np.ndarray:
    """(N, H, W, 3) what following looks at."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        path.write_bytes(content)
        seconds = media.probe(path).video_seconds
        return media.read_frames(path, seconds=seconds, fps=PICTURES_A_SECOND, longer_side=LONGER_SIDE)


def widened(box: np.ndarray, width: float) -> list[float]:
    """A box that is wider by a share of its size on each side, within the picture."""
    x0, y0, x1, y1 = box
    reach_x, reach_y = width * (x1 - x0), width * (y1 - y0)
    return [float(value) for value in np.clip([x0 - reach_x, y0 - reach_y, x1 + reach_x, y1 + reach_y], 0, 1)]


def overlap(first: list[float], second: list[float]) -> float:
    """Intersection over union of two boxes."""
    sides = [(max(first[axis], second[axis]), min(first[axis + 2], second[axis + 2])) for axis in (0, 1)]
    shared = float(np.prod([max(end - start, 0.0) for start, end in sides]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / max(sum(areas) - shared, 1e-9)


if __name__ == "__main__":
    main()
