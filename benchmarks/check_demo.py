"""Check of the README's sounds: its commands and its Python call, with several seeds each.

    python benchmarks/check_demo.py --data data/demo --seeds 5

Each sound is judged by the classifier of the control benchmark (which thing sounds), by its peak, and where a curve is
drawn by correlation and level. The classifier's own accuracy on held-out stems is printed first: below 0.95 its verdicts
are worth nothing. Exit code 1 when a bound is missed.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from drawaudio_model.evaluation.sound_classifier import accuracy, read_stems, trained_classifier
from drawaudio_model.generation.instructions import curve_of_audio, read_loudness
from drawaudio_model.loudness import loudness_signal
from drawaudio_model.metrics import level_error_db, loudness_correlation

CLIP = "demo900002_000000.mp4"
"""The README's clip: a bell in the right half."""
DRAWN = [(0, 0.0), (2, 0.3), (8, 0.0)]
"""The README's drawn curve."""
KIND = "bell"


@dataclass(frozen=True)
class Case:
    """One command of the README, without its seed and output."""

    name: str
    command: str
    curve: str | None = None
    """"measured": the clip's own; "drawn": DRAWN."""


BOX = "0.5,0.3,1,0.75"
CASES = (
    Case(
        "words, box, curve of the clip",
        f"generate clip.mp4 --text 'a bell rings' --mask {BOX} --loudness curve.csv",
        "measured",
    ),
    Case("words, detector's box", "generate clip.mp4 --text 'a bell rings' --mask mask.json"),
    Case("words, drawn curve", "generate clip.mp4 --text 'a bell rings' --loudness 0:0,2:0.3,8:0", "drawn"),
    Case("words alone", "generate clip.mp4 --text 'a bell rings'"),
)
BOUNDS = {"right": 0.95, "correlation": 0.75, "level_db": 3.0}
"""Least share of right things and least median correlation, largest median level error."""


def main() -> int:
    """Prints a line a case; returns 1 when one misses a bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/demo"))
    parser.add_argument("--seeds", type=int, default=5)
    for name, bound in BOUNDS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=bound, help="bound, see BOUNDS")
    options = parser.parse_args()
    raw = options.data / "raw_clips"
    classifier = trained_classifier(raw, options.data / "classifier")
    held_out = [stem for split in ("val", "test") for stem in read_stems(raw, split)]
    print(f"classifier: {accuracy(classifier, held_out):.2f} of {len(held_out)} held-out stems")
    missed = False
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder, options.data)
        for case in CASES:
            figures = judge(case, folder, options.data, range(7, 7 + options.seeds), classifier)
            reached = figures["right"] >= options.right and figures["peak"] <= 1.0
            if case.curve:
                reached &= figures["correlation"] >= options.correlation and figures["level_db"] <= options.level_db
            missed |= not reached
            print(json.dumps({"case": case.name, **figures, "reached": reached}))
    return int(missed)


def prepare(folder: Path, data: Path) -> None:
    """The README's clip, its measured curve and the detector's mask."""
    with tarfile.open(data / "raw_clips" / "test-000000.tar") as archive:
        (folder / "clip.mp4").write_bytes(archive.extractfile(CLIP).read())
    drawaudio("curve clip.mp4 -o curve.csv", folder)
    detector = data.absolute() / "backbones" / "object_detector"
    drawaudio(f"mask clip.mp4 --text bell -o mask.json --detector {detector}", folder)


def drawaudio(command: str, folder: Path) -> str:
    """Runs `drawaudio <command>` in the folder; returns what it prints."""
    words = f"{sys.executable} -m drawaudio_model.cli {command}"
    done = subprocess.run(["bash", "-c", words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"drawaudio {command}\n{done.stderr}")
    return done.stdout + done.stderr


def judge(case: Case, folder: Path, data: Path, seeds: range, classifier: object) -> dict[str, float]:
    """Share of right things, largest peak, and of a curve the median correlation and level error."""
    sounds = []
    for seed in seeds:
        drawaudio(f"{case.command} --model {data.absolute() / 'model'} --seed {seed} -o out.wav", folder)
        sounds.append(soundfile.read(folder / "out.wav", dtype="float32")[0])
        shutil.copy(folder / "out.wav", folder / f"{case.name.replace(' ', '_')}-{seed}.wav")
    predicted = classifier.classify(sounds)
    figures = {
        "right": float(np.mean([kind == KIND for kind in predicted])),
        "predicted_kinds": ",".join(predicted),
        "peak": max(float(np.abs(sound).max()) for sound in sounds),
        "rms": float(np.median([np.sqrt(np.square(sound).mean()) for sound in sounds])),
    }
    if case.curve is None:
        return figures
    seconds = len(sounds[0]) / 16_000
    asked = curve_of_audio(folder / "clip.mp4", seconds) if case.curve == "measured" else read_loudness(DRAWN, seconds)
    measured = [loudness_signal(sound, seconds=seconds) for sound in sounds]
    figures["correlation"] = float(np.median([loudness_correlation(asked, found).pearson for found in measured]))
    figures["level_db"] = float(np.median([level_error_db(asked, found) for found in measured]))
    return figures


if __name__ == "__main__":
    sys.exit(main())
