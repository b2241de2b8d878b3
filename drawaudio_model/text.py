"""Captions to what the UNet reads: FLAN-T5's states and GPT-2's eight hidden tokens, with CLAP's embedding between.

Legend: B batch (captions), L text tokens, S language model inputs, D feature width (D_clap, D_t5, D_gpt).

The route is AudioLDM2's: [sos, CLAP, eos, sos, T5 ..., eos], projected to the language model's width, goes into GPT-2,
which continues it by eight hidden states, each fed back as the next input. Two things differ from diffusers' pipeline:

- The loop is our own. diffusers' calls a method that GPT2Model, the class that the published checkpoint names, no
  longer has in transformers 5.
- A caption's result does not depend on the captions beside it. Padding is masked and takes no position, so a batch
  equals its captions one by one; for a single caption the result is diffusers'.

The null text, in training and in guidance, is what the encoders make of NULL_CAPTION.
"""

import logging
import math
import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from diffusers.pipelines.audioldm2.modeling_audioldm2 import AudioLDM2ProjectionModel
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from tokenizers.decoders import Metaspace as MetaspaceDecoder
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace, WhitespaceSplit
from tokenizers.pre_tokenizers import Sequence as PreTokenizers
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    ClapConfig,
    ClapModel,
    GPT2Config,
    GPT2Model,
    RobertaTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)
from transformers.utils import ModelOutput

from drawaudio_model.clip_format import MEL_BINS

GENERATED_TOKENS = 8
"""Hidden tokens that GPT-2 makes of a caption (AudioLDM2's `max_new_tokens`)."""
NULL_CAPTION = ""

COMPONENTS = {
    "text_encoder": ClapModel,
    "tokenizer": RobertaTokenizer,
    "text_encoder_2": T5EncoderModel,
    "tokenizer_2": T5TokenizerFast,
    "projection_model": AudioLDM2ProjectionModel,
    "language_model": GPT2Model,
}
"""Sub-folders of a text conditioner, as in AudioLDM2's checkpoint, and the classes in them."""

CLAP_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
T5_SPECIAL = ["<pad>", "</s>", "<unk>"]
"""Special tokens of the trained tokenizers, at the ids that RoBERTa and T5 give them."""

ENDINGS = tuple("ings ing ers ies ied ily ed es er ly s y e".split())
"""Endings of English word forms, the longest first; the trained tokenizers cut a word before its ending."""

WORD_START = "\u2581"
"""Metaspace's mark: a piece that begins with it begins a word."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextTokens:
    """Token ids of a batch of captions, padded to its longest; masks are true at tokens.

    Attributes:
        clap_ids, clap_mask: CLAP's tokens, (B, L_clap) int64 and bool.
        t5_ids, t5_mask: T5's tokens, (B, L) int64 and bool.
    """

    clap_ids: Tensor
    clap_mask: Tensor
    t5_ids: Tensor
    t5_mask: Tensor


@dataclass(frozen=True, kw_only=True)
class TextConditions:
    """A batch of texts as the denoiser reads them.

    Attributes:
        t5: T5's states, (B, L, D_t5), zero where padded.
        t5_mask: true at tokens, false at padding, (B, L) bool. It travels with the states: no one may read `t5` without.
        gpt: GPT-2's hidden tokens, (B, 8, D_gpt).
    """

    t5: Tensor
    t5_mask: Tensor
    gpt: Tensor

    def __post_init__(self) -> None:
        if self.t5_mask.dtype != torch.bool or self.t5_mask.shape != self.t5.shape[:2]:
            raise ValueError(
                f"t5_mask is {self.t5_mask.dtype} of shape {tuple(self.t5_mask.shape)}, "
                f"expected bool of shape {tuple(self.t5.shape[:2])} as t5"
            )
        if len(self.t5) != len(self.gpt):
            raise ValueError(f"t5 and gpt hold {len(self.t5)} and {len(self.gpt)} captions, expected as many each")

    def __len__(self) -> int:
        return len(self.gpt)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """The same on another device; `dtype` concerns the embeddings, the mask stays bool."""
        tensors = {part.name: getattr(self, part.name) for part in fields(self)}
        return type(self)(
            **{
                name: tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
                for name, tensor in tensors.items()
            }
        )

    def select(self, indices: Sequence[int] | Tensor) -> Self:
        """The captions at `indices`, in that order; an index may repeat."""
        rows = torch.as_tensor(indices, device=self.gpt.device)
        return type(self)(**{part.name: getattr(self, part.name)[rows] for part in fields(self)})

    def states(self, index: int) -> Tensor:
        """T5's states of one caption without padding, (L_i, D_t5)."""
        return self.t5[index][self.t5_mask[index]]

    def pad(self, length: int) -> Self:
        """The same with T5's states padded to `length` tokens.

        Raises:
            ValueError: when there are more tokens already.
        """
        missing = length - self.t5.shape[1]
        if missing < 0:
            raise ValueError(f"T5 states have {self.t5.shape[1]} tokens, expected at most the {length} to pad to")
        return replace(
            self,
            t5=functional.pad(self.t5, (0, 0, 0, missing)),
            t5_mask=functional.pad(self.t5_mask, (0, missing)),
        )

    def where(self, visible: bool | Tensor, null: "TextConditions") -> "TextConditions":
        """These texts where they are visible, (B,) or all alike, and `null` elsewhere, which has B texts or one for all."""
        if isinstance(visible, bool):
            hidden = null if len(null) == len(self) else null.select([0] * len(self))
            return self if visible else hidden
        length = max(self.t5.shape[1], null.t5.shape[1])
        own, null, here = self.pad(length), null.pad(length), visible[:, None]
        return TextConditions(
            t5=torch.where(here[..., None], own.t5, null.t5),
            t5_mask=torch.where(here, own.t5_mask, null.t5_mask),
            gpt=torch.where(here[..., None], own.gpt, null.gpt),
        )

    @classmethod
    def collate(cls, parts: Sequence["TextConditions"]) -> Self:
        """One batch of several, their T5 states padded to the longest."""
        if not parts:
            raise ValueError("there are no text embeddings to collate, expected at least one")
        longest = max(part.t5.shape[1] for part in parts)
        padded = [part.pad(longest) for part in parts]
        return cls(**{part.name: torch.cat([getattr(one, part.name) for one in padded]) for part in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class TextEmbeddings(TextConditions):
    """The same with what CLAP makes of the texts.

    Attributes:
        clap: CLAP's text embedding, (B, D_clap), L2 norm 1.
    """

    clap: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.clap) != len(self.gpt):
            raise ValueError(f"clap and gpt hold {len(self.clap)} and {len(self.gpt)} captions, expected as many each")


def pooled_embedding(features: Tensor | ModelOutput) -> Tensor:
    """CLAP's embeddings (B, D_clap) from `get_text_features` or `get_audio_features`.

    transformers 5 returns an output object, 4 the tensor itself.
    """
    return features if isinstance(features, Tensor) else features.pooler_output


class TextConditioner(nn.Module):
    """AudioLDM2's text encoders; called with captions it gives their TextEmbeddings, without gradients.

    The four steps of that call are methods with gradients, for training the encoders: `clap_embedding`, `t5_states`,
    `projected_inputs`, `generate`.

    Args:
        text_encoder: CLAP; its text branch is used here, its audio branch ranks candidates elsewhere.
        tokenizer: CLAP's tokenizer.
        text_encoder_2: FLAN-T5's encoder.
        tokenizer_2: T5's tokenizer.
        projection_model: widths of CLAP and T5 to the language model's, with learned sos and eos.
        language_model: GPT-2.

    Raises:
        ValueError: when the widths of two parts do not fit.
    """

    def __init__(
        self,
        text_encoder: ClapModel,
        tokenizer: RobertaTokenizer,
        text_encoder_2: T5EncoderModel,
        tokenizer_2: T5TokenizerFast,
        projection_model: AudioLDM2ProjectionModel,
        language_model: GPT2Model,
    ) -> None:
        super().__init__()
        projection = projection_model.config
        for name, width, expected in (
            ("text_encoder", text_encoder.config.projection_dim, projection.text_encoder_dim),
            ("text_encoder_2", text_encoder_2.config.d_model, projection.text_encoder_1_dim),
            ("language_model", language_model.config.n_embd, projection.langauge_model_dim),
        ):
            if width != expected:
                raise ValueError(
                    f"{name} is {width} wide, expected {expected} as projection_model; use parts of one model"
                )
        self.text_encoder = text_encoder
        self.tokenizer = tokenizer
        self.text_encoder_2 = text_encoder_2
        self.tokenizer_2 = tokenizer_2
        self.projection_model = projection_model
        self.language_model = language_model
        self.eval()

    def components(self) -> dict[str, Any]:
        """Name -> part, for each of COMPONENTS: what a pipeline takes of it."""
        return {name: getattr(self, name) for name in COMPONENTS}

    @torch.no_grad()
    def forward(self, captions: Sequence[str]) -> TextEmbeddings:
        """The embeddings of `captions`, on the encoders' device; a caption too long for a tokenizer is cut and logged.

        Raises:
            ValueError: when `captions` is empty or a single string.
        """
        tokens = self.tokenize(captions)
        clap = self.clap_embedding(tokens.clap_ids, tokens.clap_mask)
        t5 = self.t5_states(tokens.t5_ids, tokens.t5_mask)
        inputs, mask = self.projected_inputs(clap, t5, tokens.t5_mask)
        return TextEmbeddings(clap=clap, t5=t5, t5_mask=tokens.t5_mask, gpt=self.generate(inputs, mask))

    def null(self) -> TextEmbeddings:
        """The null text, a batch of one."""
        return self([NULL_CAPTION])

    def tokenize(self, captions: Sequence[str]) -> TextTokens:
        """Token ids of `captions` on the encoders' device.

        Padding to the batch's longest instead of CLAP's full length (diffusers) gives the same embedding sooner.
        """
        if isinstance(captions, str) or not captions:
            raise ValueError(f"captions are {captions!r}, expected a list of at least one string")
        device = self.projection_model.device
        encoded = []
        for tokenizer in (self.tokenizer, self.tokenizer_2):
            lower = tokenizer.init_kwargs.get("do_lower_case", False)
            texts = [caption.lower() if lower else caption for caption in captions]
            batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
            limit = tokenizer.model_max_length
            for caption, count in zip(captions, batch["attention_mask"].sum(dim=1).tolist(), strict=True):
                if count >= limit:
                    logger.warning("caption fills all %d tokens and may be cut: %r", limit, caption)
            encoded += [batch["input_ids"].to(device), batch["attention_mask"].to(device).bool()]
        return TextTokens(*encoded)

    def clap_embedding(self, ids: Tensor, mask: Tensor) -> Tensor:
        """CLAP's text embedding of tokens (B, L_clap): (B, D_clap), L2 norm 1."""
        return pooled_embedding(self.text_encoder.get_text_features(input_ids=ids, attention_mask=mask.long()))

    def t5_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """T5's states of tokens (B, L): (B, L, D_t5), zero where padded."""
        states = self.text_encoder_2(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return states * mask[..., None]

    def projected_inputs(self, clap: Tensor, t5: Tensor, t5_mask: Tensor) -> tuple[Tensor, Tensor]:
        """The language model's input [sos, CLAP, eos, sos, T5 ..., eos], (B, S, D_gpt), and its mask, (B, S) bool."""
        output = self.projection_model(
            hidden_states=clap[:, None],
            hidden_states_1=t5,
            attention_mask=t5_mask.new_ones(len(clap), 1),
            attention_mask_1=t5_mask,
        )
        return output.hidden_states, output.attention_mask

    def generate(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """GPT-2's continuation of `inputs` by hidden states, each appended and encoded after what was encoded before.

        Args:
            inputs: (B, S, D_gpt); the last of each is no padding.
            mask: true where an input is no padding, (B, S) bool.

        Returns:
            (B, 8, D_gpt).
        """
        positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)  # (B, S); padding takes no position
        generated: list[Tensor] = []
        cache = None  # keys and values of the states so far
        while len(generated) < GENERATED_TOKENS:
            output = self.language_model(
                inputs_embeds=inputs,
                attention_mask=mask.long(),
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
            inputs, cache = output.last_hidden_state[:, -1:], output.past_key_values  # (B, 1, D_gpt)
            generated.append(inputs)
            mask = functional.pad(mask, (0, 1), value=True)
            positions = positions[:, -1:] + 1
        return torch.cat(generated, dim=1)

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> "TextConditioner":
        """The encoders saved in the sub-folders COMPONENTS of `folder`.

        Raises:
            ValueError: when a sub-folder is missing or the widths of two parts do not fit.
        """
        folder = Path(folder)
        missing = [name for name in COMPONENTS if not (folder / name).is_dir()]
        if missing:
            raise ValueError(f"{folder} lacks {', '.join(missing)}, expected the folders {', '.join(COMPONENTS)}")
        return cls(**{name: kind.from_pretrained(folder / name) for name, kind in COMPONENTS.items()})

    def save_pretrained(self, folder: Path | str) -> None:
        """Writes every part to its sub-folder, weights as safetensors."""
        for name in COMPONENTS:
            getattr(self, name).save_pretrained(Path(folder) / name)


def train_tokenizers(
    captions: Iterable[str], folder: Path | str, *, vocab_size: int = 512, max_tokens: int = 64
) -> tuple[RobertaTokenizer, T5TokenizerFast]:
    """Tokenizers of CLAP's and T5's kind, trained on `captions` and saved to `folder`/tokenizer and /tokenizer_2.

    Both are for lower case only (`do_lower_case`, which `TextConditioner.tokenize` heeds), and neither has a piece that
    spans the stem and the ending of a word that occurs in several forms: so "tolled" shares a piece with "tolling",
    although nobody ever wrote it.

    Args:
        captions: the training captions.
        folder: where the two sub-folders go.
        vocab_size: upper limit of each vocabulary; CLAP's needs 261 for bytes and special tokens alone.
        max_tokens: longest token sequence of a caption.

    Raises:
        ValueError: when there are no captions or the vocabulary is too small.
    """
    captions = [caption.lower() for caption in captions]
    smallest = 256 + len(CLAP_SPECIAL)
    if not captions:
        raise ValueError("there are no captions to train tokenizers on, expected at least one")
    if vocab_size < smallest:
        raise ValueError(f"vocab_size is {vocab_size}, expected at least {smallest} (all bytes and special tokens)")

    clap_folder, t5_folder = Path(folder) / "tokenizer", Path(folder) / "tokenizer_2"
    clap_folder.mkdir(parents=True, exist_ok=True)
    pairs = ByteLevelBPETokenizer()
    words = _count_words(captions)
    stems = shared_stems(words)
    # A string without the space in front is the rest of a word.
    parts = [part for word, count in words.items() for part in _cut(word, stems, " ") for _ in range(count)]
    pairs.train_from_iterator(
        parts, vocab_size=vocab_size, min_frequency=2, special_tokens=CLAP_SPECIAL, show_progress=False
    )
    pairs.save_model(str(clap_folder))
    clap = RobertaTokenizer.from_pretrained(
        clap_folder, model_max_length=max_tokens, add_prefix_space=True, do_lower_case=True
    )
    clap.save_pretrained(clap_folder)

    pieces = Tokenizer(Unigram(_unigram_vocabulary(words, stems, vocab_size), unk_id=T5_SPECIAL.index("<unk>")))
    pieces.pre_tokenizer = PreTokenizers([WhitespaceSplit(), Metaspace()])
    pieces.decoder = MetaspaceDecoder()
    pieces.post_processor = TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", T5_SPECIAL.index("</s>"))]
    )
    t5 = T5TokenizerFast(tokenizer_object=pieces, extra_ids=0, model_max_length=max_tokens, do_lower_case=True)
    t5.save_pretrained(t5_folder)
    return clap, t5


def _count_words(captions: list[str]) -> Counter[str]:
    """The count of each word (after WORD_START), rest of a word and punctuation mark."""
    words: Counter[str] = Counter()
    for caption in captions:
        for chunk in caption.split():
            words.update(re.findall(rf"{WORD_START}?\w+|[^\w\s]", WORD_START + chunk))
    return words


def shared_stems(words: Iterable[str]) -> dict[str, str]:
    """Word -> its stem, for every word of which another form is among the words.

    The stem is the start that the forms share: "chim" of "chime" and "chiming", "drip" of "drip" and "dripping". A mark
    of WORD_START stays in front.
    """
    vocabulary = set(words)
    stems: dict[str, set[str]] = {}
    for word in vocabulary:
        bare = word.removeprefix(WORD_START)
        for ending in ENDINGS:
            start = word[: len(word) - len(ending)]
            if not bare.isalpha() or not bare.endswith(ending) or len(bare) - len(ending) < 3:
                continue
            single = start[:-1] if start[-1] == start[-2] and start[:-1] in vocabulary else start
            stems.setdefault(single, set()).add(word)
    families = {
        stem: forms | {stem} & vocabulary for stem, forms in stems.items() if len(forms | {stem} & vocabulary) > 1
    }
    stem_of: dict[str, str] = {}
    # A word goes with its largest family: "drizzles" with "drizzling" too, and not with "drizzle" alone.
    for stem in sorted(families, key=lambda stem: (len(families[stem]), len(stem), stem)):
        stem_of |= dict.fromkeys(families[stem], stem)
    return stem_of


def _cut(word: str, stems: Mapping[str, str], word_start: str) -> list[str]:
    """A word as its stem and its ending, or whole, with WORD_START written as `word_start`."""
    stem = stems.get(word, word)
    return [part.replace(WORD_START, word_start) for part in (stem, word[len(stem) :]) if part]


def _unigram_vocabulary(words: Counter[str], stems: Mapping[str, str], vocab_size: int) -> list[tuple[str, float]]:
    """Pieces and log-probabilities of a Unigram model: special tokens, characters, then the most frequent words.

    Words of one stem are represented by the stem and their endings. The library's own trainer ends with single characters
    on a few hundred captions, and with other scores each time.
    """
    pieces: Counter[str] = Counter()
    for word, count in words.items():
        for part in _cut(word, stems, WORD_START):
            pieces[part] += count
    characters = sorted(
        {WORD_START, *string.ascii_letters, *string.digits, *string.punctuation, *"".join(words)} - {" "}
    )
    room = vocab_size - len(T5_SPECIAL) - len(characters)
    frequent = sorted(pieces, key=lambda piece: (-pieces[piece], piece))
    frequent = [piece for piece in frequent if len(piece) > 1][: max(room, 0)]
    rarest = math.log(1 / pieces.total())
    vocabulary = [(token, 0.0) for token in T5_SPECIAL]
    vocabulary += [(character, 2 * rarest) for character in characters]
    return vocabulary + [(piece, math.log(pieces[piece] / pieces.total())) for piece in frequent]


def build_text_conditioner(
    tokenizer: RobertaTokenizer,
    tokenizer_2: T5TokenizerFast,
    *,
    clap_dim: int = 64,
    t5_dim: int = 64,
    gpt_dim: int = 64,
    layers: int = 2,
    heads: int = 4,
) -> TextConditioner:
    """A small, untrained text conditioner of AudioLDM2's classes around two trained tokenizers.

    CLAP's audio branch takes log-mels (B, 1, T, 64) of up to 1024 frames in patches of 16 x 16.

    Args:
        tokenizer: CLAP's tokenizer.
        tokenizer_2: T5's tokenizer.
        clap_dim: width of CLAP; a multiple of 2 x heads.
        t5_dim: width of T5; a multiple of heads.
        gpt_dim: width of GPT-2; a multiple of heads.
        layers: layers of each of the three.
        heads: attention heads of each of the three.
    """
    for name, width, step in (
        ("clap_dim", clap_dim, 2 * heads),
        ("t5_dim", t5_dim, heads),
        ("gpt_dim", gpt_dim, heads),
    ):
        if width % step:
            raise ValueError(f"{name} is {width}, expected a multiple of {step} for {heads} heads")
    clap = ClapModel(_small_clap_config(tokenizer, clap_dim, layers, heads))
    t5 = T5Config(
        vocab_size=len(tokenizer_2),
        d_model=t5_dim,
        d_kv=t5_dim // heads,
        d_ff=4 * t5_dim,
        num_layers=layers,
        num_heads=heads,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
    )
    gpt = GPT2Config(
        vocab_size=1,  # it reads embeddings, never token ids
        n_positions=tokenizer_2.model_max_length + 5 + GENERATED_TOKENS,  # sos, CLAP, eos, sos, T5 ..., eos, new ones
        n_embd=gpt_dim,
        n_layer=layers,
        n_head=heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    return TextConditioner(
        text_encoder=clap,
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=tokenizer_2,
        projection_model=AudioLDM2ProjectionModel(clap_dim, t5_dim, gpt_dim),
        language_model=GPT2Model(gpt),
    )


def _small_clap_config(tokenizer: RobertaTokenizer, width: int, layers: int, heads: int) -> ClapConfig:
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": tokenizer.model_max_length + 2,  # RoBERTa counts from the padding id + 1
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    audio = {
        "num_mel_bins": MEL_BINS,
        "spec_size": 4 * MEL_BINS,  # HTSAT folds 4 stretches of time on top of each other into a square
        "patch_size": 16,
        "patch_stride": (16, 16),
        "window_size": 4,
        "patch_embeds_hidden_size": width // 2,
        "hidden_size": width,
        "depths": (1, 1),
        "num_attention_heads": (heads, heads),
        "num_hidden_layers": 2,
        "hidden_dropout_prob": 0.0,
    }
    return ClapConfig(text_config=text, audio_config=audio, projection_dim=width)
