"""The blocks of the denoiser: residual layers, each followed by the four attention stacks of one position.

Letters: B batch, C channels, F latent frames, K latent mel bins, H attention heads, N tokens, D feature width; G rows of
instructions, B times a whole number (the branches of guidance).

What the cross attention reads is either tokens or the keys and values that were made of them before (`KeysAndValues`):
while sampling, text and video stay the same, and 50 projections a step with them.
"""

from dataclasses import dataclass

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import Downsample2D, ResnetBlock2D, Upsample2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn
from torch.nn import functional

STACKS = 3
"""Attention stacks at one position of the base model: self-attention only, GPT-2, T5."""


@dataclass(frozen=True, eq=False)
class KeysAndValues:
    """What every layer that attends to one kind of token makes of these tokens."""

    of_layer: dict[nn.Module, tuple[Tensor, Tensor]]  # Attention -> keys and values, (G, H, N, D / H) each
    rows: int  # G


@dataclass(frozen=True, eq=False)
class Instructions:
    """The instructions of one forward pass, as the attention stacks read them; each in G rows."""

    gpt: Tensor | KeysAndValues  # (G, 8, D_gpt)
    t5: Tensor | KeysAndValues  # (G, L, D_t5)
    t5_bias: Tensor | None  # (G, 1, L): 0 keeps, a large negative number masks
    video: Tensor | KeysAndValues | None  # (G, V, D_video), or of the rows in video_rows alone
    sees_video: Tensor | None = None  # (G,) bool: rows that the video stacks act on; None: all
    video_rows: Tensor | None = None  # their indices, once keys and values are made for them alone

    @property
    def rows(self) -> int:
        """G."""
        return self.gpt.rows if isinstance(self.gpt, KeysAndValues) else len(self.gpt)


class CrossAttention:
    """Attention of a cross stack's second layer, to tokens or to their keys and values; as diffusers' AttnProcessor2_0."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | KeysAndValues,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """(G, positions, C) of the positions (G, positions, C); the mask is a bias (G, 1, N)."""
        if isinstance(encoder_hidden_states, KeysAndValues):
            key, value = encoder_hidden_states.of_layer[attn]
        else:
            key, value = keys_and_values(attn, encoder_hidden_states)
        query = _split_heads(attn.to_q(hidden_states), attn.heads)  # (G, H, positions, C / H)
        bias = None if attention_mask is None else attention_mask[:, None]  # (G, 1, 1, N)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        joined = attended.transpose(1, 2).flatten(2)  # (G, positions, C)
        return attn.to_out[0](joined)


def keys_and_values(attention: Attention, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values, (G, H, N, C / H) each, that an attention layer makes of tokens (G, N, D)."""
    return (
        _split_heads(attention.to_k(tokens), attention.heads),
        _split_heads(attention.to_v(tokens), attention.heads),
    )


def _split_heads(states: Tensor, heads: int) -> Tensor:
    return states.unflatten(-1, (heads, -1)).transpose(1, 2)


def rows_like(tensor: Tensor, rows: int) -> Tensor:
    """The tensor (B, ...) repeated as a whole to (rows, ...)."""
    return tensor if len(tensor) == rows else tensor.repeat(rows // len(tensor), *[1] * (tensor.ndim - 1))


@dataclass(frozen=True)
class Layers:
    """Settings that all blocks share, and the layers made from them."""

    time_width: int
    norm_groups: int
    norm_eps: float
    act_fn: str
    time_scale_shift: str
    widths: tuple[None, int, int, int]  # keys' widths of the self, GPT, T5 and video stack
    use_linear_projection: bool
    upcast_attention: bool

    def resnet(self, in_channels: int, out_channels: int, output_scale: float = 1.0) -> ResnetBlock2D:
        return ResnetBlock2D(
            in_channels=in_channels,
            out_channels=out_channels,
            temb_channels=self.time_width,
            eps=self.norm_eps,
            groups=self.norm_groups,
            time_embedding_norm=self.time_scale_shift,
            non_linearity=self.act_fn,
            output_scale_factor=output_scale,
        )

    def stack(self, channels: int, heads: int, width: int | None, depth: int) -> Transformer2DModel:
        stack = Transformer2DModel(
            heads,
            channels // heads,
            in_channels=channels,
            num_layers=depth,
            norm_num_groups=self.norm_groups,
            cross_attention_dim=width,
            use_linear_projection=self.use_linear_projection,
            upcast_attention=self.upcast_attention,
            double_self_attention=width is None,
        )
        if width is not None:
            for block in stack.transformer_blocks:
                block.attn2.set_processor(CrossAttention())
        return stack

    def attention(self, channels: int, heads: int, depth: int, positions: int) -> tuple[nn.ModuleList, nn.ModuleList]:
        """The base's stacks (three a position, in series) and the video stacks (one a position, zero at the start)."""
        base = [self.stack(channels, heads, width, depth) for _ in range(positions) for width in self.widths[:STACKS]]
        video = [self.stack(channels, heads, self.widths[STACKS], depth) for _ in range(positions)]
        for stack in video:
            silence(stack)
        return nn.ModuleList(base), nn.ModuleList(video)


def silence(stack: Transformer2DModel) -> None:
    """Makes a stack add nothing to its input until it has trained."""
    nn.init.zeros_(stack.proj_out.weight)
    nn.init.zeros_(stack.proj_out.bias)


class Block(nn.Module):
    """Residual blocks, each followed by its attention stacks; what the three kinds of block share."""

    attentions: nn.ModuleList | None
    video_attentions: nn.ModuleList | None

    def __init__(self) -> None:
        super().__init__()
        self.gradient_checkpointing = False  # set, with the function, by ModelMixin.enable_gradient_checkpointing

    def residual(self, resnet: ResnetBlock2D, hidden: Tensor, time: Tensor) -> Tensor:
        time = rows_like(time, len(hidden))
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(resnet, hidden, time)
        return resnet(hidden, time)

    def attend(self, position: int, hidden: Tensor, instructions: Instructions) -> Tensor:
        """Runs the four stacks of one position; Transformer2DModel checkpoints its own layers.

        Before the first instruction is read all its rows are equal, so `hidden` is repeated to G rows only then.
        """
        if self.attentions is None:
            return hidden
        first = position * STACKS
        gpt, t5, t5_bias, video = instructions.gpt, instructions.t5, instructions.t5_bias, instructions.video
        (hidden,) = self.attentions[first](hidden, return_dict=False)
        hidden = rows_like(hidden, instructions.rows)
        (hidden,) = self.attentions[first + 1](hidden, gpt, return_dict=False)
        (hidden,) = self.attentions[first + 2](hidden, t5, encoder_attention_mask=t5_bias, return_dict=False)
        if video is None:
            return hidden
        stack, rows = self.video_attentions[position], instructions.video_rows
        if rows is not None:
            (seen,) = stack(hidden[rows], video, return_dict=False)
            return hidden.index_copy(0, rows, seen)
        (seen,) = stack(hidden, video, return_dict=False)
        if instructions.sees_video is None:
            return seen
        return torch.where(instructions.sees_video[:, None, None, None], seen, hidden)


class DownBlock(Block):
    def __init__(
        self,
        layers: Layers,
        *,
        in_channels: int,
        out_channels: int,
        depth: int,
        heads: int | None,
        stack_depth: int,
        downsample_padding: int | None,
    ) -> None:
        super().__init__()
        self.attentions, self.video_attentions = None, None
        if heads is not None:
            self.attentions, self.video_attentions = layers.attention(out_channels, heads, stack_depth, depth)
        self.resnets = nn.ModuleList(
            layers.resnet(in_channels if i == 0 else out_channels, out_channels) for i in range(depth)
        )
        self.downsamplers = None
        if downsample_padding is not None:
            step = Downsample2D(out_channels, True, out_channels=out_channels, padding=downsample_padding, name="op")
            self.downsamplers = nn.ModuleList([step])

    def forward(self, hidden: Tensor, time: Tensor, instructions: Instructions) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for position, resnet in enumerate(self.resnets):
            hidden = self.residual(resnet, hidden, time)
            hidden = self.attend(position, hidden, instructions)
            skips.append(hidden)
        if self.downsamplers is not None:
            hidden = self.downsamplers[0](hidden)  # (B, C, ceil(F / 2), ceil(K / 2))
            skips.append(hidden)
        return hidden, skips


class MidBlock(Block):
    def __init__(self, layers: Layers, channels: int, heads: int, stack_depth: int, output_scale: float) -> None:
        super().__init__()
        self.attentions, self.video_attentions = layers.attention(channels, heads, stack_depth, 1)
        self.resnets = nn.ModuleList(layers.resnet(channels, channels, output_scale) for _ in range(2))

    def forward(self, hidden: Tensor, time: Tensor, instructions: Instructions) -> Tensor:
        hidden = self.residual(self.resnets[0], hidden, time)
        hidden = self.attend(0, hidden, instructions)
        return self.residual(self.resnets[1], hidden, time)


class UpBlock(Block):
    def __init__(
        self,
        layers: Layers,
        *,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        depth: int,
        heads: int | None,
        stack_depth: int,
        upsample: bool,
    ) -> None:
        super().__init__()
        self.attentions, self.video_attentions = None, None
        if heads is not None:
            self.attentions, self.video_attentions = layers.attention(out_channels, heads, stack_depth, depth)
        below = [in_channels] + [out_channels] * (depth - 1)
        beside = [out_channels] * (depth - 1) + [skip_channels]
        self.resnets = nn.ModuleList(layers.resnet(a + b, out_channels) for a, b in zip(below, beside, strict=True))
        self.upsamplers = None
        if upsample:
            self.upsamplers = nn.ModuleList([Upsample2D(out_channels, use_conv=True, out_channels=out_channels)])

    def forward(self, hidden: Tensor, skips: list[Tensor], time: Tensor, instructions: Instructions) -> Tensor:
        """Takes its skips from the end of `skips`."""
        for position, resnet in enumerate(self.resnets):
            hidden = torch.cat([hidden, rows_like(skips.pop(), len(hidden))], dim=1)
            hidden = self.residual(resnet, hidden, time)
            hidden = self.attend(position, hidden, instructions)
        if self.upsamplers is not None:
            # The next skip says the size, so that 63 frames become 125 and not 126.
            hidden = self.upsamplers[0](hidden, skips[-1].shape[2:])
        return hidden
