"""A small CAVP whose features differ from frame to frame as a trained one's do."""

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from drawaudio_model.cavp import CAVP


@torch.no_grad()
def awake(model: CAVP) -> CAVP:
    """The same CAVP with residual branches that act, and video normalisations that fit pictures of noise.

    As it starts, its features of all frames are equal to five digits and know no neighbours: what changes them a little
    would go unseen.
    """
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    for layer in model.video_encoder.modules():
        if isinstance(layer, _BatchNorm):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            layer.momentum = None  # a plain average of what it sees
    model.train()
    for seed in range(2):
        model.encode_video(model.preprocess(pictures(seed, 32)[None]))
    torch.random.set_rng_state(state)
    return model.eval()


def pictures(seed: int, count: int) -> np.ndarray:
    """(V, 32, 32, 3) uint8 of coarse noise, another in each frame."""
    coarse = np.random.default_rng(seed).integers(0, 255, (count, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)
