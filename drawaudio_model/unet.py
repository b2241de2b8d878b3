"""The denoiser: AudioLDM2's UNet with a fourth attention stack, for video, at every attention position.

Legend: B batch, C channels, F latent frames (time, comes first), K latent mel bins, L text tokens, V video frames,
D feature width.

An attention position of AudioLDM2 is three complete Transformer2D stacks in series: self-attention only, GPT-2 tokens,
FLAN-T5 states. The video stack comes fourth and lives in a list of its own (`video_attentions`), so every key of the
base checkpoint keeps its name. Its output projection starts at zero: with AudioLDM2's weights, the untrained model
*is* AudioLDM2.

diffusers' own AudioLDM2UNet2DConditionModel cannot be extended in place: it routes any slot after the second to the T5
states, and its gradient checkpointing passes the T5 mask in the wrong position. The layers are diffusers', the blocks
are ours.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.activations import get_activation
from diffusers.models.attention import AttentionMixin
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.utils import BaseOutput
from safetensors.torch import load_file
from torch import Tensor, nn

from drawaudio_model.layers.blocks import STACKS, AttentionContext, Block, DownBlock, Layers, MidBlock, UpBlock, silence
from drawaudio_model.layers.cross_attention import FoldedSets, prepare

ORIGINAL_HEADS = (4, 8, 12, 20)
"""`attention_head_dim` that gives the original AudioLDM2 code's heads of 32 channels. The published diffusers config
has 8 heads at every level; the weights load under both, the outputs differ."""
DISCARDED = -10_000.0
"""Attention bias of a masked T5 token, as in diffusers."""

Trainable = Literal["adapters", "attention", "full"]

NEUTRAL_SETTINGS: dict[str, Any] = {
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "only_cross_attention": False,
    "num_attention_heads": None,
    "class_embed_type": None,
    "num_class_embeds": None,
    "time_embedding_type": "positional",
    "time_embedding_act_fn": None,
    "timestep_post_act": None,
    "time_cond_proj_dim": None,
    "projection_class_embeddings_input_dim": None,
    "class_embeddings_concat": False,
}
"""Settings of diffusers' class that AudioLDM2 leaves at these values; a base folder with others is refused."""


@dataclass
class UNetOutput(BaseOutput):
    """The UNet's prediction.

    Attributes:
        sample: predicted noise, (B, C, F, K).
    """

    sample: Tensor


class DrawAudioUNet(ModelMixin, AttentionMixin, ConfigMixin):
    """Predicts the noise in a latent from text and video; `cvssp/audioldm2`'s size by default.

    The arguments up to `conv_out_kernel` are those of AudioLDM2's UNet config and mean the same.

    Args:
        sample_size: latent frames the base was trained on; recorded, not used.
        in_channels: channels of the noisy latent.
        out_channels: channels of the prediction.
        flip_sin_to_cos: order of the sinusoids in the time embedding.
        freq_shift: frequency shift of the time embedding.
        down_block_types: "DownBlock2D" (no attention) or "CrossAttnDownBlock2D" per level, finest first.
        up_block_types: "CrossAttnUpBlock2D" or "UpBlock2D" per level, coarsest first.
        block_out_channels: channels per level, finest first.
        layers_per_block: residual blocks per level on the way down; one more on the way up.
        downsample_padding: padding of the strided convolutions.
        mid_block_scale_factor: divisor of the middle residual blocks' output.
        act_fn: activation of the residual blocks.
        norm_num_groups: groups of every GroupNorm; must divide all channels.
        norm_eps: epsilon of the residual blocks' GroupNorm.
        cross_attention_dim: (None, GPT width, T5 width), once or per level.
        transformer_layers_per_block: transformer layers in a stack, one number or per level.
        attention_head_dim: **number of heads**, one or per level; the name is diffusers' historical mistake, kept so
            that published configs load. See ORIGINAL_HEADS for the original code's heads.
        use_linear_projection: linear instead of 1x1 convolutions around a stack.
        upcast_attention: attention scores in float32.
        resnet_time_scale_shift: "default" or "scale_shift".
        time_embedding_dim: width of the time embedding; default four times the finest level's channels.
        conv_in_kernel: kernel of the first convolution.
        conv_out_kernel: kernel of the last convolution.
        video_attention_dim: width of the video tokens that MaskAttention makes.

    Raises:
        ValueError: when per-level settings disagree in length, an unknown block type is named, the heads or groups do
            not divide the channels, or `cross_attention_dim` is not AudioLDM2's three stacks.

    Paper: Sec. "Draw an Audio"; the fourth stack is a reconstruction from the published parameter counts.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        sample_size: int | None = 256,
        in_channels: int = 8,
        out_channels: int = 8,
        flip_sin_to_cos: bool = True,
        freq_shift: int = 0,
        down_block_types: Sequence[str] = ("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 3,
        up_block_types: Sequence[str] = ("CrossAttnUpBlock2D",) * 3 + ("UpBlock2D",),
        block_out_channels: Sequence[int] = (128, 256, 384, 640),
        layers_per_block: int | Sequence[int] = 2,
        downsample_padding: int = 1,
        mid_block_scale_factor: float = 1.0,
        act_fn: str = "silu",
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        cross_attention_dim: Sequence[int | None] | Sequence[Sequence[int | None]] = (None, 768, 1024),
        transformer_layers_per_block: int | Sequence[int] = 1,
        attention_head_dim: int | Sequence[int] = 8,
        use_linear_projection: bool = False,
        upcast_attention: bool = False,
        resnet_time_scale_shift: str = "default",
        time_embedding_dim: int | None = None,
        conv_in_kernel: int = 3,
        conv_out_kernel: int = 3,
        video_attention_dim: int = 768,
    ) -> None:
        super().__init__()
        channels = tuple(block_out_channels)
        levels = len(channels)
        depth = _per_level("layers_per_block", layers_per_block, levels)
        heads = _per_level("attention_head_dim", attention_head_dim, levels)
        stack_depth = _per_level("transformer_layers_per_block", transformer_layers_per_block, levels)
        down_attends = _attends("down_block_types", down_block_types, ("DownBlock2D", "CrossAttnDownBlock2D"), levels)
        up_attends = _attends("up_block_types", up_block_types, ("UpBlock2D", "CrossAttnUpBlock2D"), levels)
        self.gpt_width, self.t5_width = _text_widths(cross_attention_dim, levels)
        _check_divisible(channels, heads, norm_num_groups)

        time_width = time_embedding_dim or channels[0] * 4
        layers = Layers(
            time_width=time_width,
            norm_groups=norm_num_groups,
            norm_eps=norm_eps,
            act_fn=act_fn,
            time_scale_shift=resnet_time_scale_shift,
            widths=(None, self.gpt_width, self.t5_width, video_attention_dim),
            use_linear_projection=use_linear_projection,
            upcast_attention=upcast_attention,
        )
        self.conv_in = nn.Conv2d(in_channels, channels[0], conv_in_kernel, padding=(conv_in_kernel - 1) // 2)
        self.time_proj = Timesteps(channels[0], flip_sin_to_cos, freq_shift)
        self.time_embedding = TimestepEmbedding(channels[0], time_width, act_fn=act_fn)

        self.down_blocks = nn.ModuleList()
        for level in range(levels):
            self.down_blocks.append(
                DownBlock(
                    layers,
                    in_channels=channels[max(level - 1, 0)],
                    out_channels=channels[level],
                    depth=depth[level],
                    heads=heads[level] if down_attends[level] else None,
                    stack_depth=stack_depth[level],
                    downsample_padding=None if level == levels - 1 else downsample_padding,
                )
            )
        self.mid_block = MidBlock(layers, channels[-1], heads[-1], stack_depth[-1], mid_block_scale_factor)

        self.up_blocks = nn.ModuleList()
        for position, level in enumerate(reversed(range(levels))):
            self.up_blocks.append(
                UpBlock(
                    layers,
                    in_channels=channels[min(level + 1, levels - 1)],
                    skip_channels=channels[max(level - 1, 0)],
                    out_channels=channels[level],
                    depth=depth[level] + 1,
                    heads=heads[level] if up_attends[position] else None,
                    stack_depth=stack_depth[level],
                    upsample=level > 0,
                )
            )
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, channels[0], eps=norm_eps)
        self.conv_act = get_activation(act_fn)
        self.conv_out = nn.Conv2d(channels[0], out_channels, conv_out_kernel, padding=(conv_out_kernel - 1) // 2)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        *,
        gpt: Tensor | None = None,
        t5: Tensor | None = None,
        t5_mask: Tensor | None = None,
        video: Tensor | None = None,
        sees_video: Tensor | None = None,
        context: AttentionContext | None = None,
    ) -> UNetOutput:
        """Predicts the noise in `sample`.

        Args:
            sample: noisy latent, (B, C, F, K); any F and K, also odd ones.
            timestep: diffusion step, one for the batch or (B,).
            gpt: GPT-2's hidden tokens, (G, 8, D_gpt). G is B, or B times the branches of guidance, branch by branch:
                then all of them see the same latents, and what comes before the first cross attention is computed once.
            t5: FLAN-T5's states, (G, L, D_t5).
            t5_mask: true where a T5 state is a token and not padding, (G, L); None keeps all.
            video: tokens of MaskAttention, (G, V, D_video); None skips the video stacks.
            sees_video: true for the rows that the video stacks act on, (G,) bool; None for all.
            context: what `prepare` made of these five, instead of them.

        Returns:
            `.sample`: predicted noise, (G, C, F, K).

        Raises:
            ValueError: when an argument has another shape, or text and video are given twice or not at all.
        """
        if sample.ndim != 4 or sample.shape[1] != self.config.in_channels:
            raise ValueError(
                f"sample has shape {tuple(sample.shape)}, expected (batch, {self.config.in_channels}, frames, bins)"
            )
        batch = sample.shape[0]
        if (context is None) == (gpt is None or t5 is None):
            raise ValueError("the UNet got no text or two kinds of it; give gpt and t5, or what `prepare` made of them")
        if context is None:
            assert gpt is not None and t5 is not None
            self._check_shapes(gpt, t5, t5_mask, video, batch)
            bias = _bias(t5_mask, sample.dtype)
            context = AttentionContext(gpt=gpt, t5=t5, t5_bias=bias, video=video, sees_video=sees_video)
        elif context.rows % batch:
            raise ValueError(f"context has {context.rows} rows, expected {batch} or a multiple, as sample")

        steps = torch.as_tensor(timestep, device=sample.device).expand(batch)
        time = self.time_embedding(self.time_proj(steps).to(sample.dtype))  # (B, 4 C_0)

        hidden = self.conv_in(sample)
        skips = [hidden]
        for block in self.down_blocks:
            hidden, block_skips = block(hidden, time, context)
            skips.extend(block_skips)
        hidden = self.mid_block(hidden, time, context)
        for block in self.up_blocks:
            hidden = block(hidden, skips, time, context)
        hidden = self.conv_act(self.conv_norm_out(hidden))
        return UNetOutput(sample=self.conv_out(hidden))

    def prepare(
        self,
        *,
        gpt: Tensor,
        t5: Tensor,
        t5_mask: Tensor | None = None,
        video: Tensor | None = None,
        sees_video: Tensor | None = None,
        cache: FoldedSets | None = None,
        folds_video: bool = True,
    ) -> AttentionContext:
        """Text and video that stay the same over many calls, prepared for `forward(context=...)`.

        Rows that do not see the video then cost nothing in the video stacks.

        Args:
            gpt: as in `forward`.
            t5: as in `forward`.
            t5_mask: as in `forward`.
            video: as in `forward`.
            sees_video: as in `forward`.
            cache: folded tokens of earlier calls for the same sound, to which this call adds its own; see
                `layers.cross_attention.prepare`.
            folds_video: whether the video's tokens may be folded; at full size they then take 14 MiB a window.

        Raises:
            ValueError: when an argument has another shape.
        """
        self._check_shapes(gpt, t5, t5_mask, video, len(gpt))
        rows = None
        if sees_video is not None and video is not None:
            rows = sees_video.nonzero()[:, 0]
            video = video[rows] if len(rows) else None
        blocks, cache = self.attending_blocks(), {} if cache is None else cache

        def layers(stacks: Iterable[Transformer2DModel]) -> list[Attention]:
            return [layer.attn2 for stack in stacks for layer in stack.transformer_blocks]

        stacks = [list(block.attentions or ()) for block in blocks]
        gpt_layers = layers(stack for those in stacks for stack in those[1::STACKS])
        t5_layers = layers(stack for those in stacks for stack in those[2::STACKS])
        video_layers = layers(stack for block in blocks for stack in block.video_attentions or ())
        return AttentionContext(
            gpt=prepare(gpt_layers, gpt, cache=cache),
            t5=prepare(t5_layers, t5, _bias(t5_mask, t5.dtype), cache=cache),
            t5_bias=None,
            video=None if video is None else prepare(video_layers, video, folds=folds_video, cache=cache),
            video_rows=rows,
        )

    @classmethod
    def from_audioldm2(
        cls,
        unet_dir: Path | str,
        *,
        video_attention_dim: int = 768,
        attention_head_dim: int | Sequence[int] | None = None,
    ) -> "DrawAudioUNet":
        """AudioLDM2's UNet with its weights in float32, plus video stacks that change nothing yet.

        Args:
            unet_dir: folder `unet` of an AudioLDM2 checkpoint as diffusers saves it: config.json and
                diffusion_pytorch_model.safetensors.
            video_attention_dim: width of the video tokens.
            attention_head_dim: number of heads instead of the config's, for example ORIGINAL_HEADS.

        Raises:
            ValueError: when the folder lacks a file, holds another model, or a weight is missing or of another shape.
        """
        folder = Path(unet_dir)
        settings = _read_base_config(folder / "config.json")
        if attention_head_dim is not None:
            settings["attention_head_dim"] = attention_head_dim
        weights_file = folder / "diffusion_pytorch_model.safetensors"
        if not weights_file.is_file():
            raise ValueError(f"{folder} has no {weights_file.name}; save the base UNet there as safetensors")
        with torch.device("meta"):  # the base's random initial values would be thrown away
            model = cls(**settings, video_attention_dim=video_attention_dim)
        _load_base_weights(model, load_file(weights_file), str(weights_file))
        for stack in (stack for block in model.attending_blocks() for stack in block.video_attentions):
            _initialise(stack)
        return model.eval()

    def attending_blocks(self) -> list[Block]:
        """The blocks that have attention stacks, in the order of computation."""
        blocks = [*self.down_blocks, self.mid_block, *self.up_blocks]
        return [block for block in blocks if block.attentions is not None]

    def select_trainable(self, part: Trainable) -> list[nn.Parameter]:
        """Lets only `part` of the model train, freezes the rest, and returns the parameters that train.

        Args:
            part: "adapters", the new video stacks (the paper's 82 M together with MaskAttention's W); "attention", all
                four stacks (its 326 M); "full", everything.
        """
        lists = {
            "adapters": (".video_attentions.",),
            "attention": (".attentions.", ".video_attentions."),
            "full": ("",),
        }
        if part not in lists:
            raise ValueError(f"trainable part is {part!r}, expected one of {', '.join(map(repr, lists))}")
        chosen = []
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(any(key in name for key in lists[part]))
            if parameter.requires_grad:
                chosen.append(parameter)
        return chosen

    def _check_shapes(self, gpt: Tensor, t5: Tensor, t5_mask: Tensor | None, video: Tensor | None, batch: int) -> None:
        """Raises ValueError unless all have the same number of rows, `batch` or a multiple, and the right width."""
        rows = batch if len(gpt) % batch else len(gpt)
        tokens = {"gpt": (gpt, self.gpt_width), "t5": (t5, self.t5_width)}
        if video is not None:
            tokens["video"] = (video, self.config.video_attention_dim)
        for name, (value, width) in tokens.items():
            if value.ndim != 3 or value.shape[0] != rows or value.shape[2] != width:
                raise ValueError(f"{name} has shape {tuple(value.shape)}, expected ({rows}, tokens, {width})")
        if t5_mask is not None and t5_mask.shape != t5.shape[:2]:
            raise ValueError(f"t5_mask has shape {tuple(t5_mask.shape)}, expected {tuple(t5.shape[:2])} as t5")


def _bias(t5_mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """(G, 1, L) to add to attention scores: 0 at tokens, DISCARDED at padding."""
    return None if t5_mask is None else ((1 - t5_mask.to(dtype)) * DISCARDED).unsqueeze(1)


def _per_level(name: str, value: int | Sequence[int], levels: int) -> tuple[int, ...]:
    values = (value,) * levels if isinstance(value, int) else tuple(value)
    if len(values) != levels:
        raise ValueError(f"{name} has {len(values)} values, expected {levels}, one per entry of block_out_channels")
    return values


def _attends(name: str, types: Sequence[str], expected: tuple[str, str], levels: int) -> tuple[bool, ...]:
    """Whether each level has attention; `expected` are the block type without it and the one with it."""
    if len(types) != levels:
        raise ValueError(f"{name} has {len(types)} values, expected {levels}, one per entry of block_out_channels")
    for kind in types:
        if kind not in expected:
            raise ValueError(f"{name} names {kind!r}, expected {expected[0]!r} or {expected[1]!r}")
    return tuple(kind == expected[1] for kind in types)


def _text_widths(
    cross_attention_dim: Sequence[int | None] | Sequence[Sequence[int | None]], levels: int
) -> tuple[int, int]:
    """The GPT and T5 widths, from (None, GPT, T5) given once or per level."""
    nested = [tuple(level) for level in cross_attention_dim if isinstance(level, Sequence)]
    per_level = nested or [tuple(width for width in cross_attention_dim if not isinstance(width, Sequence))] * levels
    first = per_level[0]
    same = len(per_level) == levels and all(level == first for level in per_level)
    widths = tuple(width for width in first[1:] if width is not None)
    if not same or len(first) != STACKS or first[0] is not None or len(widths) != 2:
        raise ValueError(
            f"cross_attention_dim is {cross_attention_dim!r}, expected (None, GPT width, T5 width), once or the same for "
            f"each of {levels} levels; the video width is video_attention_dim"
        )
    return widths


def _check_divisible(channels: tuple[int, ...], heads: tuple[int, ...], norm_groups: int) -> None:
    for width, count in zip(channels, heads, strict=True):
        if width % norm_groups:
            raise ValueError(f"a level has {width} channels, expected a multiple of norm_num_groups {norm_groups}")
        if width % count:
            raise ValueError(
                f"a level has {width} channels and {count} heads (attention_head_dim), expected heads that divide it"
            )


def _read_base_config(path: Path) -> dict[str, Any]:
    """Constructor arguments from a saved AudioLDM2 UNet config."""
    if not path.is_file():
        raise ValueError(f"{path.parent} has no {path.name}; give the folder `unet` of an AudioLDM2 checkpoint")
    saved = {key: value for key, value in json.loads(path.read_text()).items() if not key.startswith("_name")}
    kind = saved.pop("_class_name", None)
    if kind != "AudioLDM2UNet2DConditionModel":
        raise ValueError(f"{path} describes a {kind}, expected an AudioLDM2UNet2DConditionModel")
    saved = {key: value for key, value in saved.items() if not key.startswith("_")}
    for key, expected in NEUTRAL_SETTINGS.items():
        if saved.pop(key, expected) != expected:
            raise ValueError(
                f"{path} sets {key}, expected {expected!r} as in AudioLDM2; other values are not supported"
            )
    return saved


def _load_base_weights(model: DrawAudioUNet, weights: dict[str, Tensor], source: str) -> None:
    """Copies all base weights into `model`; only the video stacks may be without one."""
    own = model.state_dict()
    for name, value in own.items():
        if ".video_attentions." in name:
            continue
        if name not in weights:
            raise ValueError(f"{source} lacks {name}, expected shape {tuple(value.shape)}; is it another model's?")
        if weights[name].shape != value.shape:
            got = tuple(weights[name].shape)
            raise ValueError(f"{source} has {name} of shape {got}, expected {tuple(value.shape)} from its config.json")
    extra = sorted(set(weights) - set(own))
    if extra:
        raise ValueError(f"{source} has {len(extra)} unknown weights, the first is {extra[0]}; is it another model's?")
    # Copied, because what safetensors returns may be a view of the file.
    copies = {name: value.to(torch.float32, copy=True) for name, value in weights.items()}
    model.load_state_dict(copies, strict=False, assign=True)


def _initialise(video_stack: Transformer2DModel) -> None:
    """Gives a stack without values (on torch's meta device) those that its constructor would have given."""
    video_stack.to_empty(device="cpu")
    for module in video_stack.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    silence(video_stack)
