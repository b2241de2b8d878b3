"""The optimiser of a run: AdamW as in the paper, or Muon."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from drawaudio_model.config import TrainConfig
from drawaudio_model.muon import Muon

MOMENTS = {"adamw": 2, "muon": 1}
"""Numbers that an optimiser keeps for nearly every weight."""


def make_optimizer(config: TrainConfig, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The optimiser that a run asks for.

    Args:
        config: the run.
        parameters: what learns.
    """
    settings: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": (config.adam_beta1, config.adam_beta2),
        "weight_decay": config.weight_decay,
        # One pass over all weights: a tenth of a small step's time.
        "fused": True,
    }
    kinds: dict[str, Any] = {"adamw": torch.optim.AdamW, "muon": Muon}
    return kinds[config.optimizer](list(parameters), **settings)
