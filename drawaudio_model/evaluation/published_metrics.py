"""The paper's metrics on a set of clips, each with its extractor, the weights' sha256, the clip count and an interval.

A metric whose weights are missing says which file belongs where; no other extractor ever takes its place.

Legend: N clips, V pictures of a clip.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from drawaudio_model import metrics
from drawaudio_model.defaults import WEIGHTS_FOLDER
from drawaudio_model.extractors import clap, clip_image, panns, passt, vggish, wav2clip
from drawaudio_model.extractors.weights import MissingWeights, Weights, find, read_state, weights_sha256

SPLITS = 10
"""Of the inception score (audioldm_eval, av-benchmark)."""
SPLIT_SEED = 2020
"""Shuffles the clips before they are split, as audioldm_eval does."""
SET_RESAMPLES = 100
"""Bootstrap draws of the metrics that need a decomposition each."""
DEFAULT_FOLDER = WEIGHTS_FOLDER


@dataclass(frozen=True, eq=False)
class Clip:
    """A real and a generated sound, to be compared."""

    real: np.ndarray
    """(samples,) at 16 kHz."""
    generated: np.ndarray
    """(samples,)."""
    caption: str
    pictures: Callable[[], np.ndarray | None]
    """Gives (V, H, W, 3) uint8, one a second, or None where the clip's pictures are not at hand."""


@dataclass(frozen=True)
class Metric:
    """A metric with what it needs."""

    name: str
    weights: tuple[Weights, ...]
    measure: Callable[["Networks", Sequence[Clip], int], metrics.Interval]
    extractor: str


class Networks:
    """Extractors of a weights folder, each loaded once, with what each gave for each set of clips.

    Args:
        folder: where weights lie.
        device: of the networks.
        fetch: download missing files from where they are published.
    """

    def __init__(self, folder: Path, device: torch.device, *, fetch: bool = False) -> None:
        self.folder, self.device, self.fetch = folder, device, fetch
        self._loaded: dict[str, Any] = {}

    def path(self, weights: Weights) -> Path:
        """Of the weights.

        Raises:
            MissingWeights: when they are not there.
        """
        return find(weights, self.folder, fetch=self.fetch)

    def network(self, weights: Weights, build: Callable[[], Any]) -> torch.nn.Module:
        """A network with its published weights."""
        if weights.name not in self._loaded:
            network = build()
            network.load_published(read_state(self.path(weights)))
            self._loaded[weights.name] = network.to(self.device)
        return self._loaded[weights.name]

    def processor(self, weights: Weights, build: Callable[[Path], Any]) -> Any:
        """An extractor that transformers reads from a folder."""
        if weights.name not in self._loaded:
            extractor = build(self.path(weights))
            extractor.model.to(self.device)
            self._loaded[weights.name] = extractor
        return self._loaded[weights.name]

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """The result of `compute`, computed once."""
        if name not in self._loaded:
            self._loaded[name] = compute()
        return self._loaded[name]

    def tensor(self, waveform: np.ndarray) -> Tensor:
        """The waveform on the device."""
        return torch.from_numpy(np.asarray(waveform, np.float32)).to(self.device)


def published_metrics(
    clips: Sequence[Clip],
    *,
    folder: Path,
    device: torch.device,
    seed: int,
    fetch: bool = False,
    tell: Callable[[str], object] | None = None,
) -> dict[str, dict[str, Any]]:
    """Metric -> {"name", "value", "low", "high", "count", "extractor", "weights_sha256"}, or {"name", "missing"}.

    Args:
        clips: of one system.
        folder: where extractor weights lie.
        device: of the extractors.
        seed: of the intervals.
        fetch: download missing weights from where they are published.
        tell: receives one sentence before each metric whose weights are at hand.
    """
    networks = Networks(folder, device, fetch=fetch)
    table: dict[str, dict[str, Any]] = {}
    for key, metric in METRICS.items():
        try:
            paths = [networks.path(weights) for weights in metric.weights]
            if tell is not None:
                tell(f"measuring {metric.name}")
            interval = metric.measure(networks, clips, seed)
        except (MissingWeights, TooFewClips) as error:
            table[key] = {"name": metric.name, "missing": str(error)}
            continue
        table[key] = {
            "name": metric.name,
            **interval._asdict(),
            "extractor": metric.extractor,
            "weights_sha256": {path.name: weights_sha256(path) for path in paths},
        }
    return table


class TooFewClips(ValueError):
    """A metric is not defined for so few clips, or for clips without pictures."""


def _frechet_distance(networks: Networks, clips: Sequence[Clip], seed: int) -> metrics.Interval:
    _need(clips, 2)
    real, generated = (_panns(networks, clips, side)[0] for side in ("real", "generated"))
    return _distance(lambda places: metrics.frechet_distance(real[places], generated[places]), len(clips), seed)


def _inception_score(networks: Networks, clips: Sequence[Clip], seed: int) -> metrics.Interval:
    _need(clips, SPLITS)
    posteriors = _softmax(_panns(networks, clips, "generated")[1])
    posteriors = posteriors[np.random.default_rng(SPLIT_SEED).permutation(len(clips))]
    return metrics.bootstrap_statistic(
        lambda places: metrics.inception_score(posteriors[places], splits=SPLITS).mean, len(clips), seed=seed
    )


def _kl_divergence(networks: Networks, clips: Sequence[Clip], seed: int) -> metrics.Interval:
    network = networks.network(passt.WEIGHTS, passt.PaSST)
    real, generated = (
        _softmax(np.concatenate([network(networks.tensor(sound)[None]).cpu().numpy() for sound in sounds]))
        for sounds in ([clip.real for clip in clips], [clip.generated for clip in clips])
    )
    values = [metrics.kl_divergence(real[i : i + 1], generated[i : i + 1]) for i in range(len(clips))]
    return metrics.bootstrap_interval(values, seed=seed)


def _frechet_audio_distance(networks: Networks, clips: Sequence[Clip], seed: int) -> metrics.Interval:
    _need(clips, 2)
    network = networks.network(vggish.WEIGHTS, vggish.VGGish)
    real, generated = (
        [network(networks.tensor(sound)).cpu().numpy() for sound in sounds]
        for sounds in ([clip.real for clip in clips], [clip.generated for clip in clips])
    )

    def distance(places: np.ndarray) -> float:
        return metrics.frechet_distance(
            np.concatenate([real[place] for place in places]), np.concatenate([generated[place] for place in places])
        )

    return _distance(distance, len(clips), seed)


def _distance(statistic: Callable[[np.ndarray], float], count: int, seed: int) -> metrics.Interval:
    """A distance of sets with its interval, which does not reach below 0."""
    interval = metrics.bootstrap_statistic(statistic, count, resamples=SET_RESAMPLES, seed=seed)
    return interval._replace(low=max(interval.low, 0.0))


def _cs_av(networks: Networks, clips: Sequence[Clip], seed: int) -> metrics.Interval:
    embed_sound = networks.network(wav2clip.WEIGHTS, wav2clip.Wav2Clip)
    embed_pictures = networks.processor(clip_image.WEIGHTS, clip_image.ClipImage)
    values = []
    for clip in clips:
        pictures = clip.pictures()
        if pictures is None:
            raise TooFewClips("a clip's pictures are not at hand; give the folder of clip_media")
        sound = embed_sound(networks.tensor(clip.generated)).cpu().numpy()
        values.append(metrics.clip_score(sound[None], embed_pictures(pictures)[None]))
    return metrics.bootstrap_interval(values, seed=seed)


def _clap_score(networks: Networks, clips: Sequence[Clip], seed: int) -> metrics.Interval:
    extractor = networks.processor(clap.WEIGHTS, clap.Clap)
    values = [
        metrics.clip_score(extractor.sound(clip.generated)[None], extractor.text(clip.caption)[None]) for clip in clips
    ]
    return metrics.bootstrap_interval(values, seed=seed)


def _panns(networks: Networks, clips: Sequence[Clip], side: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2048) features and (N, 527) logits of the real or the generated sounds."""
    network = networks.network(panns.WEIGHTS, panns.Cnn14)

    def compute() -> tuple[np.ndarray, np.ndarray]:
        outputs = [network(networks.tensor(getattr(clip, side))[None]) for clip in clips]
        features, logits = (torch.cat(part).cpu().numpy() for part in zip(*outputs, strict=True))
        return features, logits

    return networks.once(f"panns {side}", compute)


def _softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).double().softmax(dim=-1).numpy()


def _need(clips: Sequence[Clip], least: int) -> None:
    if len(clips) < least:
        raise TooFewClips(f"{len(clips)} clips, at least {least} are needed")


METRICS = {
    "fd": Metric("FD", (panns.WEIGHTS,), _frechet_distance, "PANNs Cnn14 16 kHz, 2048 features"),
    "is": Metric("IS", (panns.WEIGHTS,), _inception_score, "PANNs Cnn14 16 kHz, softmax of 527 logits, 10 splits"),
    "kl": Metric("KL", (passt.WEIGHTS,), _kl_divergence, "PaSST, softmax of 527 logits"),
    "fad": Metric("FAD", (vggish.WEIGHTS,), _frechet_audio_distance, "VGGish without last ReLU and PCA"),
    "cs_av": Metric("CS-AV", (wav2clip.WEIGHTS, clip_image.WEIGHTS), _cs_av, "Wav2CLIP and CLIP ViT-B/32 at 1 fps"),
    "clap": Metric("CLAP score", (clap.WEIGHTS,), _clap_score, "LAION-CLAP, 100 x cosine"),
}
"""In the order of the paper's tables, then what it does not report."""
