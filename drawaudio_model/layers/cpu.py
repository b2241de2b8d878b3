"""Layers of the denoiser that are faster on a CPU; weights, keys and results are those of torch's and diffusers' layers.

The faster computations are used on a CPU, for layers that nothing replaces or hooks into, and, but for the feed-forward
layer, without gradients. Otherwise each layer computes as the original does.

Legend: G rows, C channels, F latent frames, K latent mel bins.
"""

from collections.abc import Sequence

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn
from torch.nn import functional

PRODUCT_POSITIONS = 400
"""Below this number of positions BLAS is as fast as oneDNN."""


def may_skip_calls(layers: Sequence[nn.Module], states: Tensor) -> bool:
    """Whether the results may be computed from the layers' weights directly, without calling the layers: see `_are_plain`."""
    return not torch.is_grad_enabled() and _are_plain(layers, states)


def _are_plain(layers: Sequence[nn.Module], states: Tensor) -> bool:
    """Whether the layers are torch's own classes, with plain weights and without hooks, and the states lie on a CPU.

    A replaced layer or weight (LoRA, quantisation) and a hook (offloading) take effect only when the layer is called.
    """
    return states.device.type == "cpu" and all(
        type(layer) in (nn.Linear, NarrowConvolution)
        and type(layer.weight) is nn.Parameter
        and not (layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer))
        for layer in layers
    )


def product(layer: nn.Linear, states: Tensor) -> Tensor:
    """The layer's output (..., C') of states (..., C); for many positions by oneDNN, a tenth faster than BLAS."""
    if not may_skip_calls((layer,), states):
        return layer(states)
    return _linear(states, layer.weight, layer.bias)


class GatedFeedForward(FeedForward):
    """A stack's feed-forward layer.

    Values and gates come from two products with the halves of the first weight, so that the activation works on contiguous
    memory. Without gradients it works in place, on as many positions at a time as the processor's cache holds inner states
    of.
    """

    CACHED = 2**21
    """Values and gates that are computed at a time: 8 MiB."""

    def __init__(self, layer: FeedForward) -> None:
        """The layer's weights in this class."""
        nn.Module.__init__(self)
        self.net = layer.net

    def forward(self, hidden: Tensor) -> Tensor:
        """(G, positions, C) of the positions (G, positions, C)."""
        wide, narrow = self.net[0].proj, self.net[2]
        if not _are_plain((wide, narrow), hidden):
            return super().forward(hidden)
        (value_weight, gate_weight), (value_bias, gate_bias) = wide.weight.chunk(2), wide.bias.chunk(2)
        if torch.is_grad_enabled():
            gate = functional.gelu(functional.linear(hidden, gate_weight, gate_bias))
            return narrow(functional.linear(hidden, value_weight, value_bias) * gate)
        positions = hidden.flatten(0, 1)
        results = []
        for piece in positions.chunk(-(-len(positions) * wide.out_features // self.CACHED)):
            gate = torch.ops.aten.gelu_(_linear(piece, gate_weight, gate_bias))
            results.append(product(narrow, gate.mul_(_linear(piece, value_weight, value_bias))))
        return (torch.cat(results) if len(results) > 1 else results[0]).view_as(hidden)


class NarrowConvolution(nn.Conv2d):
    """A 3 x 3 convolution, computed as one matrix product with all neighbours where there are at most two columns.

    oneDNN's convolution reaches half of its speed on the coarsest level, which is 2 mel bins wide.
    """

    @classmethod
    def of(cls, layer: nn.Conv2d) -> "NarrowConvolution":
        """The layer's weights in this class."""
        made = cls(layer.in_channels, layer.out_channels, 3, padding=1, device="meta")
        made.weight, made.bias = layer.weight, layer.bias
        return made

    def forward(self, hidden: Tensor) -> Tensor:
        """(G, C', F, K) of (G, C, F, K)."""
        rows, channels, frames, bins = hidden.shape
        if bins > 2 or not may_skip_calls((self,), hidden):
            return super().forward(hidden)
        padded = functional.pad(hidden.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()  # (G, F + 2, K + 2, C)
        row, frame = padded.stride()[:2]
        # 3 x 3 windows over it, each row of which is contiguous in memory.
        windows = padded.as_strided((rows, frames, bins, 3, 3 * channels), (row, frame, channels, frame, 1))
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)  # (C', 9 C): no copy where channels are last
        return functional.linear(windows.flatten(3), weight, self.bias).permute(0, 3, 1, 2)


def _linear(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """functional.linear of states (..., C) on a CPU."""
    if states.numel() < PRODUCT_POSITIONS * states.shape[-1] or not torch.backends.mkldnn.is_available():
        return functional.linear(states, weight, bias)
    picture = states.reshape(1, -1, 1, states.shape[-1]).permute(0, 3, 1, 2)  # (1, C, positions, 1), channels last
    result = functional.conv2d(picture, weight[:, :, None, None], bias)
    return result.permute(0, 2, 3, 1).view(*states.shape[:-1], -1)
