"""The vocoder of a data root beside Griffin-Lim, on the clips of its test split: how near to the real sound, how fast.

Each method gets the true log-mels, and those that the root's autoencoder rebuilt; both are judged by the real sound. All
times are of one thread, and for 8 s of sound. Nothing is trained.

    python benchmarks/vocoder.py [--data data/demo] [--clips 8]
"""

import argparse
import json
import platform
from pathlib import Path

import torch

from drawaudio_model.clip_format import CLIP_SAMPLES
from drawaudio_model.media import decode_flac
from drawaudio_model.mel import normalize_waveform
from drawaudio_model.pretraining.vocoder import compare, load_autoencoder
from drawaudio_model.shard import ShardReader, finished_shards
from drawaudio_model.vocoder import load_vocoder

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "vocoder.json"
FIGURES = ("mel_error_nats", "stft_log_distance", "stft_convergence", "seconds")
"""Figures that are compared as a ratio; less is better, so Griffin-Lim's share of the vocoder's should be above 1."""
GOAL = 1.0
"""Least ratio of Griffin-Lim's figure to the vocoder's."""


def main() -> None:
    """Measure, print the ratios, write benchmarks/results/vocoder.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "demo")
    parser.add_argument("--clips", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not (arguments.data / "backbones" / "vocoder").is_dir():
        print(f"{arguments.data} has no trained vocoder to compare; run: make demo")
        return
    waveforms = read_test_sounds(arguments.data, arguments.clips)
    vocoder = load_vocoder(arguments.data / "backbones")
    figures = compare(vocoder, waveforms, load_autoencoder(arguments.data))
    kinds = [kind for kind in ("true", "rebuilt") if f"vocoder_{kind}_seconds" in figures]
    ratios = {
        f"{kind}_{name}": figures[f"griffin_lim_{kind}_{name}"] / figures[f"vocoder_{kind}_{name}"]
        for kind in kinds
        for name in FIGURES
    }
    result = {
        "vocoder": type(vocoder).__name__,
        "clips": len(waveforms),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "figures": figures,
        "ratios": ratios,
        "met": {name: ratio > GOAL for name, ratio in ratios.items()},
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    for name, ratio in ratios.items():
        kind, figure = name.split("_", 1)
        ours, theirs = (figures[f"{method}_{kind}_{figure}"] for method in ("vocoder", "griffin_lim"))
        print(f"{kind:8}{figure:20}vocoder {ours:.3f}  Griffin-Lim {theirs:.3f}  ratio {ratio:.2f}")
    for kind in kinds:
        ours, theirs = (figures[f"{method}_{kind}_level_error_db"] for method in ("vocoder", "griffin_lim"))
        print(f"{kind:8}{'level_error_db':20}vocoder {ours:+.2f}  Griffin-Lim {theirs:+.2f}")


def read_test_sounds(data: Path, count: int) -> torch.Tensor:
    """(N, samples) the first 8 s of the first `count` test clips, normalised.

    Raises:
        ValueError: when no test shard is finished.
    """
    sounds: list[torch.Tensor] = []
    for shard in finished_shards(data / "clip_media", split="test"):
        reader = ShardReader(data / "clip_media", shard)
        for key in sorted(reader.keys)[: count - len(sounds)]:
            sounds.append(torch.as_tensor(normalize_waveform(decode_flac(reader.member(key, "flac"))))[:CLIP_SAMPLES])
    if not sounds:
        raise ValueError(f"{data}/clip_media has no finished test shard; materialize clip_media first")
    return torch.stack(sounds)


if __name__ == "__main__":
    main()
