"""What a model was trained on: the levels that it has learnt, so that it can say what is asked beyond them.

Legend: P loudness points, ten a second.
"""

from typing import Self

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config

from drawaudio_model.clip_format import LOUDNESS_FPS
from drawaudio_model.dataset import TrainingShards

LEVEL_PERCENTILES = (1.0, 99.0)
"""Of the training clips' RMS levels: between them lies a sound without a curve."""
CLIPS = 2000
"""Training clips that are looked at, at most."""
BARELY = 1.02
"""A level above the loudest by less than this factor is measuring error, not a wish."""


class TrainingDomain(ModelMixin, ConfigMixin):
    """The part of a pipeline that knows the limits of its training; without weights that learn.

    Args:
        loudest_level: largest level of any training curve, linear RMS.
        quietest_rms: RMS of a clip at the first of LEVEL_PERCENTILES.
        loudest_rms: RMS of a clip at the second.
    """

    @register_to_config
    def __init__(self, loudest_level: float = 1.0, quietest_rms: float = 0.0, loudest_rms: float = 1.0) -> None:
        super().__init__()
        # A folder of a part without any tensor could not be told from one whose weights are missing.
        self.register_buffer("loudest", torch.tensor(float(loudest_level)))

    @classmethod
    def of_training(cls, shards: TrainingShards) -> Self:
        """The domain of a run's samples and of what was drawn besides them; a random 2000 where there are more."""
        count = len(shards)
        chosen = np.random.default_rng(0).permutation(count)[:CLIPS]
        curves = [np.asarray(shards.read(int(number))["loudness"], np.float64) for number in chosen]
        drawn = [] if shards.drawn is None else shards.drawn.curves([shards.keys[int(number)] for number in chosen])
        levels = [float(np.sqrt(np.square(curve).mean())) for curve in curves]
        quietest, loudest = np.percentile(levels, LEVEL_PERCENTILES)
        highest = max(float(curve.max()) for curve in [*curves, *drawn])
        return cls(highest, float(quietest), float(loudest))

    def limit_curve(self, curve: np.ndarray) -> tuple[np.ndarray, str | None]:
        """The curve (P,) with no level above the loudest that was learnt, and a sentence about what was cut, or None."""
        loudest = self.config.loudest_level
        if curve.max() <= loudest * BARELY:
            return np.minimum(curve, loudest), None
        place = int(curve.argmax())
        sentence = (
            f"the curve asks for {curve.max():.2f} at {(place + 0.5) / LOUDNESS_FPS:.1f} s; the loudest that this model has "
            f"learnt is {loudest:.2f}, so what lies above is cut to it"
        )
        return np.minimum(curve, np.float32(loudest)), sentence
