"""The denoiser's faster layers against torch's and diffusers' own; and that nothing that hooks into a call is left out."""

import pytest
import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import nn

from drawaudio_model.layers.cpu import GatedFeedForward, NarrowConvolution, product
from drawaudio_model.layers.cross_attention import FoldedSets, StackAttention, prepare


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("cached", [2**21, 1000])
@pytest.mark.parametrize("positions", [5, 700])
def test_the_feed_forward_layer_gives_what_diffusers_gives(cached, positions, monkeypatch):
    monkeypatch.setattr(GatedFeedForward, "CACHED", cached)
    layer = FeedForward(16, activation_fn="geglu")
    ours, states = GatedFeedForward(layer), torch.randn(3, positions, 16)
    assert ours.state_dict().keys() == layer.state_dict().keys()
    expected = layer(states)
    torch.testing.assert_close(ours(states), expected)  # with gradients
    with torch.no_grad():
        torch.testing.assert_close(ours(states), expected.detach())


@torch.no_grad()
def test_products_without_onednn_are_those_of_blas(monkeypatch):
    layer, states = nn.Linear(16, 8), torch.randn(3, 200, 16)
    with_onednn = product(layer, states)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.nn.functional, "conv2d", None)
    assert torch.equal(product(layer, states), layer(states))
    torch.testing.assert_close(with_onednn, layer(states))


@pytest.mark.parametrize("frames, bins", [(25, 2), (7, 1), (1, 2), (4, 3)])
@pytest.mark.parametrize("last", [True, False])
def test_a_narrow_convolution_gives_what_torch_gives(frames, bins, last):
    layer, states = nn.Conv2d(6, 8, 3, padding=1), torch.randn(2, 6, frames, bins)
    ours = NarrowConvolution.of(layer)
    if last:
        ours, states = ours.to(memory_format=torch.channels_last), states.to(memory_format=torch.channels_last)
    expected = layer(states)
    torch.testing.assert_close(ours(states), expected)
    with torch.no_grad():
        torch.testing.assert_close(ours(states), expected.detach())


def attention(channels: int = 16, heads: int = 4, width: int = 12) -> Attention:
    layer = Attention(channels, cross_attention_dim=width, heads=heads, dim_head=channels // heads).eval()
    layer.set_processor(StackAttention())
    return layer


def reference(layer: Attention, states: torch.Tensor, tokens: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return AttnProcessor2_0()(layer, states, encoder_hidden_states=tokens, attention_mask=bias)


@pytest.mark.parametrize("tokens, folds", [(3, True), (40, False)])
@torch.no_grad()
def test_prepared_tokens_give_what_diffusers_gives_of_the_tokens(tokens, folds):
    layer, states, given = attention(), torch.randn(4, 30, 16), torch.randn(4, tokens, 12)
    given[2] = given[0]
    mask = torch.ones(4, tokens)
    mask[1, 1:] = mask[2, 2:] = 0  # the third has the first one's states and another mask
    bias = ((1 - mask) * -10_000.0)[:, None]
    expected = reference(layer, states, given, bias)
    torch.testing.assert_close(layer(states, given, attention_mask=bias), expected)
    prepared = prepare([layer], given, bias)
    assert isinstance(prepared.of_layer[layer], list) == folds
    assert prepared.sets == (0, 1, 2, 3)
    torch.testing.assert_close(layer(states, prepared), expected, atol=1e-5, rtol=1e-5)
    rows = [3, 1]
    torch.testing.assert_close(layer(states[rows], prepared.of_rows(rows)), expected[rows], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rows_of_the_same_tokens_are_prepared_once():
    layer, given = attention(), torch.randn(3, 2, 12)
    given[1] = given[0]
    known: FoldedSets = {}
    prepared = prepare([layer], given, cache=known)
    assert prepared.sets == (0, 0, 1) and len(prepared.of_layer[layer]) == len(known) == 2
    states = torch.randn(3, 500, 16)
    expected = reference(layer, states, given, None)
    torch.testing.assert_close(layer(states, prepared), expected, atol=1e-5, rtol=1e-5)
    again = prepare([layer], given[[2]], cache=known)
    assert again.of_layer[layer] == [prepared.of_layer[layer][1]] and len(known) == 2
    unfolded = prepare([layer], given, folds=False)
    assert isinstance(unfolded.of_layer[layer], tuple)
    torch.testing.assert_close(layer(states, unfolded), expected, atol=1e-5, rtol=1e-5)


class Doubled(nn.Module):
    """As LoRA's layers do: the layer's weights, and something on top."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer, self.weight, self.bias = layer, layer.weight, layer.bias

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return 2 * self.layer(states)


@torch.no_grad()
def test_what_stands_in_for_a_layer_or_hooks_into_it_is_called():
    states = torch.randn(600, 16)
    layer = nn.Linear(16, 16)
    torch.testing.assert_close(product(layer, states), layer(states))
    torch.testing.assert_close(product(Doubled(layer), states), 2 * layer(states))
    layer.register_forward_hook(lambda module, given, result: result + 1)
    torch.testing.assert_close(product(layer, states), layer(states))

    feed_forward = GatedFeedForward(FeedForward(16, activation_fn="geglu"))
    plain = feed_forward(states[None])
    feed_forward.net[2] = Doubled(feed_forward.net[2])
    torch.testing.assert_close(feed_forward(states[None]), 2 * plain, atol=1e-5, rtol=1e-5)

    attending, tokens = attention(), torch.randn(1, 2, 12)
    attending.to_q = Doubled(attending.to_q)
    prepared = prepare([attending], tokens)
    assert isinstance(prepared.of_layer[attending], tuple)
    expected = reference(attending, states[None], tokens, None)
    torch.testing.assert_close(attending(states[None], prepared), expected, atol=1e-5, rtol=1e-5)
