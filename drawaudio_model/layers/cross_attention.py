"""Attention of the stacks: to themselves, to the tokens of text and video, or to prepared tokens.

While sampling, text and video stay the same, so each layer's keys and values are computed once. On a CPU they are folded
into the layer's own projections where that is cheaper: the scores of a head are (x Wq) K^T = x (Wq K^T), and the layer's
output is sum_h softmax_h (V_h Wo_h); both products in brackets depend on the tokens only. A text of 20 tokens with 8 heads
then costs C x 160 products twice instead of C x C twice. Nothing is approximated.

Legend: G rows, S distinct sets of tokens among them, N tokens of a set, H heads, C channels, D width of the tokens.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

from drawaudio_model.layers.cpu import may_skip_calls, product


@dataclass(frozen=True, eq=False)
class Folded:
    """A layer's projections, multiplied by the keys and values of one set of tokens."""

    to_scores: Tensor  # (C, H * N)
    to_output: Tensor  # (H * N, C)


FoldedSets = dict[bytes, dict[nn.Module, Folded]]
"""Cache of folded layers by the hash of their tokens: windows and branches with the same tokens share an entry."""


@dataclass(frozen=True, eq=False)
class PreparedTokens:
    """Keys and values, or folded projections, of every layer that attends to one kind of token; equal rows share theirs."""

    of_layer: dict[nn.Module, list[Folded] | tuple[Tensor, Tensor]]
    """Attention -> one Folded per set, or keys and values of all, (S, H, N, C / H) each."""
    bias: Tensor | None  # (S, 1, 1, N) for scores of keys that are not folded: 0 keeps, a large negative number masks
    sets: tuple[int, ...]  # (G,) number of each row's set

    def of_rows(self, rows: Sequence[int]) -> "PreparedTokens":
        """The same for some of the rows."""
        return replace(self, sets=tuple(self.sets[row] for row in rows))


class StackAttention:
    """Attention of a stack's layers to themselves, to tokens or to prepared tokens; a processor like AttnProcessor2_0."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | PreparedTokens | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """(G, positions, C) of the positions (G, positions, C); the mask is a bias (G, 1, N) on tokens' scores."""
        if not isinstance(encoder_hidden_states, PreparedTokens):
            tokens = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            key, value = keys_and_values(attn, tokens)
            return _attend(attn, hidden_states, key, value, None if attention_mask is None else attention_mask[:, None])
        made, sets = encoder_hidden_states.of_layer[attn], encoder_hidden_states.sets
        if isinstance(made, list):
            return _attend_folded(attn, hidden_states, [made[number] for number in sets])
        rows, bias = list(sets), encoder_hidden_states.bias
        return _attend(attn, hidden_states, made[0][rows], made[1][rows], None if bias is None else bias[rows])


def prepare(
    layers: Sequence[Attention],
    tokens: Tensor,
    bias: Tensor | None = None,
    *,
    folds: bool = True,
    cache: FoldedSets | None = None,
) -> PreparedTokens:
    """Prepare tokens (G, N, D) for the layers that attend to them.

    Args:
        layers: that attend to the tokens.
        tokens: one set a row; equal rows are prepared once.
        bias: (G, 1, N) on the scores: 0 keeps a token, a large negative number masks it.
        folds: False keeps keys and values instead: a folded set takes H times their memory.
        cache: sets that were folded before; those that are folded now are added.
    """
    cache = {} if cache is None else cache
    masks = torch.zeros(tokens.shape[:2], dtype=tokens.dtype, device=tokens.device) if bias is None else bias[:, 0]
    first: list[int] = []  # of each set, the first row that has it
    sets: list[int] = []
    for row in range(len(tokens)):
        same = (
            number
            for number, other in enumerate(first)
            if torch.equal(masks[row], masks[other]) and torch.equal(tokens[row], tokens[other])
        )
        sets.append(next(same, len(first)))
        if sets[-1] == len(first):
            first.append(row)
    distinct, masks = tokens[first], masks[first]
    kept = [states[mask == mask.max()] for states, mask in zip(distinct, masks, strict=True)]  # each (N', D)
    longest = max(len(states) for states in kept)
    of_layer: dict[nn.Module, list[Folded] | tuple[Tensor, Tensor]] = {}
    for layer in layers:
        # Folding makes a product with C channels one with H * N scores.
        cheaper = layer.heads * longest <= layer.query_dim
        if not (folds and cheaper and may_skip_calls((layer.to_q, layer.to_out[0]), tokens)):
            of_layer[layer] = keys_and_values(layer, distinct)
            continue
        sets_of_layer: list[Folded] = []
        for states in kept:
            folded = cache.setdefault(_name(states), {})
            if layer not in folded:
                folded[layer] = _fold(layer, states)
            sets_of_layer.append(folded[layer])
        of_layer[layer] = sets_of_layer
    return PreparedTokens(of_layer, None if bias is None else masks[:, None, None], tuple(sets))


def keys_and_values(attention: Attention, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values, (G, H, N, C / H) each, that an attention layer makes of tokens (G, N, D)."""
    return (
        _split_heads(product(attention.to_k, tokens), attention.heads),
        _split_heads(product(attention.to_v, tokens), attention.heads),
    )


def _attend(attn: Attention, hidden: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    query = _split_heads(product(attn.to_q, hidden), attn.heads)  # (G, H, positions, C / H)
    attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    joined = attended.transpose(1, 2).flatten(2)  # (G, positions, C)
    return product(attn.to_out[0], joined)


def _attend_folded(attn: Attention, hidden: Tensor, rows: Sequence[Folded]) -> Tensor:
    attended = []
    for positions, folded in zip(hidden, rows, strict=True):
        scores = positions @ folded.to_scores  # (positions, H * N)
        weights = scores.unflatten(-1, (attn.heads, -1)).softmax(dim=-1).flatten(1)
        attended.append(torch.addmm(attn.to_out[0].bias, weights, folded.to_output))
    return torch.stack(attended)


def _name(states: Tensor) -> bytes:
    return hashlib.sha256(states.contiguous().view(torch.uint8).numpy().data).digest()


def _fold(attn: Attention, tokens: Tensor) -> Folded:
    """The layer with one set of tokens (N, D) folded in."""
    key, value = (states[0] for states in keys_and_values(attn, tokens[None]))  # (H, N, C / H)
    to_query = attn.to_q.weight.unflatten(0, (attn.heads, -1))  # (H, C / H, C)
    to_output = attn.to_out[0].weight.T.unflatten(0, (attn.heads, -1))  # (H, C / H, C)
    scores = (key @ to_query).flatten(0, 1) * attn.scale  # (H * N, C)
    return Folded(to_scores=scores.T.contiguous(), to_output=(value @ to_output).flatten(0, 1))


def _split_heads(states: Tensor, heads: int) -> Tensor:
    return states.unflatten(-1, (heads, -1)).transpose(1, 2)
