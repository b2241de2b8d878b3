"""The blocks of the denoiser: residual layers, each followed by the four attention stacks of one position.

Legend: B batch, C channels, F latent frames, K latent mel bins, H attention heads, N tokens, D feature width; G rows of
conditions, B times a whole number (the branches of guidance).

The cross attention reads either tokens or prepared tokens (cross_attention.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers.models.resnet import Downsample2D, ResnetBlock2D, Upsample2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from drawaudio_model.layers.cpu import GatedFeedForward, NarrowConvolution
from drawaudio_model.layers.cross_attention import PreparedTokens, StackAttention

STACKS = 3
"""Attention stacks at one position of the base model: self-attention only, GPT-2, T5."""


@dataclass(frozen=True, eq=False)
class AttentionContext:
    """The conditions of one forward pass, as the attention stacks read them; each in G rows."""

    gpt: Tensor | PreparedTokens  # (G, 8, D_gpt)
    t5: Tensor | PreparedTokens  # (G, L, D_t5)
    t5_bias: Tensor | None  # (G, 1, L): 0 keeps, a large negative number masks; None where T5's states are prepared
    video: Tensor | PreparedTokens | None  # (G, V, D_video), or of the rows in video_rows alone
    sees_video: Tensor | None = None  # (G,) bool: rows that the video stacks act on; None: all
    video_rows: Tensor | None = None  # their indices, once tokens are prepared for them alone

    @property
    def rows(self) -> int:
        """G."""
        return len(self.gpt.sets) if isinstance(self.gpt, PreparedTokens) else len(self.gpt)

    def texts(self, latents: int) -> tuple[list[int], list[int]]:
        """Rows that differ before the video is read, and for each of the G rows its place among them.

        Rows differ by their latent, of which there are `latents`, or by their text.
        """
        texts: Sequence[object] = range(self.rows)
        if isinstance(self.gpt, PreparedTokens) and isinstance(self.t5, PreparedTokens):
            texts = list(zip(self.gpt.sets, self.t5.sets, strict=True))
        kinds = [(row % latents, text) for row, text in enumerate(texts)]
        first = {kind: row for row, kind in reversed(list(enumerate(kinds)))}
        rows = sorted(first.values())
        return rows, [rows.index(first[kind]) for kind in kinds]


class AttentionStack(Transformer2DModel):
    """diffusers' stack with channels last throughout: theirs copies its result to channels first before the last layer."""

    def _get_output_for_continuous_inputs(
        self, hidden_states: Tensor, residual: Tensor, batch_size: int, height: int, width: int, inner_dim: int
    ) -> Tensor:
        """(G, C, F, K) of the stack's positions (G, F * K, C) and its input."""
        if self.use_linear_projection:
            hidden_states = self.proj_out(hidden_states)
        picture = hidden_states.unflatten(1, (height, width)).permute(0, 3, 1, 2)
        return residual + (picture if self.use_linear_projection else self.proj_out(picture))


def rows_like(tensor: Tensor, rows: int) -> Tensor:
    """The tensor (B, ...) repeated as a whole to (rows, ...), in its own memory layout."""
    return tensor if len(tensor) == rows else torch.cat([tensor] * (rows // len(tensor)))


def take_rows(tensor: Tensor, rows: Sequence[int]) -> Tensor:
    """The tensor's rows at these places, in its own memory layout."""
    return torch.cat([tensor[row : row + 1] for row in rows])


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
        block = ResnetBlock2D(
            in_channels=in_channels,
            out_channels=out_channels,
            temb_channels=self.time_width,
            eps=self.norm_eps,
            groups=self.norm_groups,
            time_embedding_norm=self.time_scale_shift,
            non_linearity=self.act_fn,
            output_scale_factor=output_scale,
        )
        block.conv1, block.conv2 = NarrowConvolution.of(block.conv1), NarrowConvolution.of(block.conv2)
        return block

    def stack(self, channels: int, heads: int, width: int | None, depth: int) -> Transformer2DModel:
        stack = AttentionStack(
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
        for block in stack.transformer_blocks:
            block.ff = GatedFeedForward(block.ff)
            block.attn1.set_processor(StackAttention())
            block.attn2.set_processor(StackAttention())
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
    _gradient_checkpointing_func: Callable[..., Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.gradient_checkpointing = False  # set, with the function, by ModelMixin.enable_gradient_checkpointing

    def residual(self, resnet: ResnetBlock2D, hidden: Tensor, time: Tensor) -> Tensor:
        time = rows_like(time, len(hidden))
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(resnet, hidden, time)
        return resnet(hidden, time)

    def attend(self, position: int, hidden: Tensor, context: AttentionContext) -> Tensor:
        """Runs the four stacks of one position; Transformer2DModel checkpoints its own layers.

        Before the first cross attention all rows of a latent are equal, and before the first video all rows of a text
        that was prepared: `hidden` is repeated only then.
        """
        if self.attentions is None or self.video_attentions is None:
            return hidden
        first = position * STACKS
        gpt, t5, t5_bias, video = context.gpt, context.t5, context.t5_bias, context.video
        (hidden,) = self.attentions[first](hidden, return_dict=False)
        places: list[int] = []
        if len(hidden) < context.rows:
            rows, places = context.texts(len(hidden))
            hidden = take_rows(hidden, [row % len(hidden) for row in rows])
            # Rows can only be alike where they were prepared.
            if isinstance(gpt, PreparedTokens) and isinstance(t5, PreparedTokens):
                gpt, t5 = gpt.of_rows(rows), t5.of_rows(rows)
        (hidden,) = self.attentions[first + 1](hidden, gpt, return_dict=False)
        (hidden,) = self.attentions[first + 2](hidden, t5, encoder_attention_mask=t5_bias, return_dict=False)
        if len(hidden) < context.rows:
            hidden = take_rows(hidden, places)
        if video is None:
            return hidden
        stack, video_rows = self.video_attentions[position], context.video_rows
        if video_rows is not None:
            (seen,) = stack(hidden[video_rows], video, return_dict=False)
            return hidden.index_copy(0, video_rows, seen)
        (seen,) = stack(hidden, video, return_dict=False)
        if context.sees_video is None:
            return seen
        return torch.where(context.sees_video[:, None, None, None], seen, hidden)


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

    def forward(self, hidden: Tensor, time: Tensor, context: AttentionContext) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for position, resnet in enumerate(self.resnets):
            hidden = self.residual(resnet, hidden, time)
            hidden = self.attend(position, hidden, context)
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

    def forward(self, hidden: Tensor, time: Tensor, context: AttentionContext) -> Tensor:
        hidden = self.residual(self.resnets[0], hidden, time)
        hidden = self.attend(0, hidden, context)
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

    def forward(self, hidden: Tensor, skips: list[Tensor], time: Tensor, context: AttentionContext) -> Tensor:
        """Takes its skips from the end of `skips`."""
        for position, resnet in enumerate(self.resnets):
            hidden = torch.cat([hidden, rows_like(skips.pop(), len(hidden))], dim=1)
            hidden = self.residual(resnet, hidden, time)
            hidden = self.attend(position, hidden, context)
        if self.upsamplers is not None:
            # The next skip says the size, so that 63 frames become 125 and not 126.
            hidden = self.upsamplers[0](hidden, skips[-1].shape[2:])
        return hidden
