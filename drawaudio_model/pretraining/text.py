"""Trains the small text encoders: tokenizers, CLAP, T5, and the GPT-2 between them.

The classes and the order are AudioLDM2's: CLAP and T5 first, then, on top of both, the projection and GPT-2, which
learns to continue a caption by eight tokens of its sound. AudioLDM2 takes those tokens from AudioMAE; here they are the
states of CLAP's audio branch, averaged over two bands times four stretches of time and scaled to mean 0, deviation 1.

Where a clip's truth has other wordings of its caption, all three learn on those too, so that new wordings land near known
ones of the same meaning. Where it has the kind of the thing, every sound of that kind counts as right for the text in CLAP.

Legend: B batch, T mel frames, M mel bins, L text tokens, D feature width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import ClapModel, T5Config, T5ForConditionalGeneration

from drawaudio_model.backbone_config import TextConfig
from drawaudio_model.pretraining.autoencoder import read_log_mels
from drawaudio_model.pretraining.loop import Fit, TrainClips, draw_losses, fit
from drawaudio_model.text import (
    GENERATED_TOKENS,
    NULL_CAPTION,
    TextConditioner,
    build_text_conditioner,
    train_tokenizers,
)
from drawaudio_model.training_domain import write_words

SOUND_BANDS = 2
"""Bands of frequency among the eight tokens; the rest is time."""
EMBEDDING_DEVIATION = 0.05
"""Of T5's token embeddings before training."""
IGNORED = -100
"""Label that cross entropy leaves out."""


@dataclass(frozen=True)
class Pairs:
    """Texts and their sounds."""

    captions: list[str]
    wordings: list[tuple[str, ...]]
    """Of each clip beside its caption; none where its truth has none."""
    kinds: list[str | None]
    """Of the thing that sounds; None where the truth is unknown."""
    mels: Tensor
    """(clips, T, M) log-mels."""

    def text(self, clip: int, caption_share: float, random: np.random.Generator) -> str:
        """The clip's caption, or one of its wordings."""
        if not self.wordings[clip] or random.random() < caption_share:
            return self.captions[clip]
        return self.wordings[clip][int(random.integers(len(self.wordings[clip])))]

    def same(self, texts: Sequence[int], sounds: Sequence[int]) -> Tensor:
        """(texts, sounds) 1 where the text of the one clip is right for the sound of the other, else 0.

        It is for a clip of the same caption or of the same kind of thing.
        """
        rows = [[self.captions[a] == self.captions[b] or self._same_kind(a, b) for b in sounds] for a in texts]
        return torch.tensor(rows).float()

    def _same_kind(self, a: int, b: int) -> bool:
        return self.kinds[a] is not None and self.kinds[a] == self.kinds[b]


def read_pairs(clips: TrainClips, keys: list[str]) -> Pairs:
    """Captions, sounds, and what the truth adds where there is one (kind, the target's wordings)."""
    truths = [clips.truth(key) for key in keys]
    return Pairs(
        captions=[clips.caption(key).text for key in keys],
        wordings=[truth.target_object.wordings if truth else () for truth in truths],
        kinds=[truth.kind if truth else None for truth in truths],
        mels=read_log_mels(clips, keys),
    )


def train_text_encoders(
    data: Path, output: Path, config: TextConfig, *, seed: int, seconds: float | None, device: torch.device
) -> dict[str, Any]:
    """Writes the folder of `TextConditioner.from_pretrained` with loss.png and similarity.png; returns what was measured.

    `seconds` is shared out among the three stages as their steps are.
    """
    torch.manual_seed(seed)
    clips = TrainClips(data, ["clip_media", "captions"], optional=["raw_clips"])
    train, held_out = (read_pairs(clips, keys) for keys in clips.split())
    texts = [*train.captions, *(wording for own in train.wordings for wording in own)]
    tokenizers = train_tokenizers(texts, output, vocab_size=config.vocab_size)
    conditioner = build_text_conditioner(
        *tokenizers, clap_dim=config.width, t5_dim=config.width, gpt_dim=config.width, layers=config.layers
    ).to(device)
    random = np.random.default_rng([seed, 4])
    all_steps = config.clap_steps + config.t5_steps + config.gpt_steps

    def share(steps: int) -> float | None:
        return None if seconds is None else seconds * steps / all_steps

    log = output / "log.jsonl"
    recall_before = measure_recall(conditioner, held_out)
    clap_run = train_clap(conditioner, train, config, random, seconds=share(config.clap_steps), log=log)
    t5_run, guessed = train_t5(conditioner, train, held_out, config, random, seconds=share(config.t5_steps), log=log)
    gpt_run, error = train_gpt(conditioner, train, held_out, config, random, seconds=share(config.gpt_steps), log=log)
    conditioner.cpu().eval().save_pretrained(output)
    write_words(output, texts)
    runs = {"CLAP": clap_run, "T5": t5_run, "GPT-2": gpt_run}
    draw_losses({name: run.losses for name, run in runs.items()}, output / "loss.png")
    draw_similarity(conditioner, held_out, output / "similarity.png")
    return {
        "train_seconds": sum(run.seconds for run in runs.values()),
        **{f"{name}_loss_before": run.loss_before for name, run in runs.items()},
        **{f"{name}_loss_after": run.loss_after for name, run in runs.items()},
        "held_out_clips": len(held_out.captions),
        "clap_recall_at_1_before": recall_before,
        "clap_recall_at_1_after": measure_recall(conditioner, held_out),
        "t5_hidden_tokens_guessed": guessed,
        "gpt_squared_error": error,
        **{f"kind_accuracy_{part}": share for part, share in kind_accuracy(conditioner, train, held_out).items()},
        "parameters": sum(parameter.numel() for parameter in conditioner.parameters()),
    }


def train_clap(
    conditioner: TextConditioner,
    pairs: Pairs,
    config: TextConfig,
    random: np.random.Generator,
    *,
    seconds: float | None,
    log: Path,
) -> Fit:
    """Both branches of CLAP, contrastively: several texts of each sound; all that `Pairs.same` allows count as right."""
    clap = conditioner.text_encoder
    device = clap.device
    repeats = config.wordings_per_sound if any(pairs.wordings) else 1

    def loss_of_step(step: int) -> Tensor:
        chosen = random.integers(len(pairs.captions), size=config.batch_size).tolist()
        repeated = chosen * repeats
        tokens = conditioner.tokenize([pairs.text(clip, config.caption_share, random) for clip in repeated])
        ids = drop_tokens(conditioner, tokens.clap_ids, config.dropped_share if repeats > 1 else 0.0, random)
        text = conditioner.clap_embedding(ids, tokens.clap_mask)  # (texts, D)
        logits = clap.logit_scale_t.exp().clamp(max=100) * text @ embed_sounds(clap, pairs.mels[chosen].to(device)).T
        same = pairs.same(repeated, chosen).to(device)  # (texts, B)
        by_text = functional.cross_entropy(logits, same / same.sum(dim=1, keepdim=True))
        return (by_text + functional.cross_entropy(logits.T, (same / same.sum(dim=0)).T)) / 2

    clap.train()
    run = fit(
        "CLAP",
        clap.parameters(),
        loss_of_step,
        steps=config.clap_steps,
        learning_rate=config.learning_rate,
        seconds=seconds,
        log=log,
    )
    clap.eval()
    return run


def drop_tokens(conditioner: TextConditioner, ids: Tensor, share: float, random: np.random.Generator) -> Tensor:
    """CLAP's token ids (B, L) with a share of those of words replaced by its mask token."""
    tokenizer = conditioner.tokenizer
    draw = torch.from_numpy(random.random(tuple(ids.shape))).to(ids.device)
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids, device=ids.device))
    return ids.masked_fill((draw < share) & ~special, tokenizer.mask_token_id)


def embed_sounds(clap: ClapModel, mels: Tensor) -> Tensor:
    """CLAP's embedding of log-mels (B, T, M): (B, D), L2 norm 1."""
    return clap.get_audio_features(input_features=mels[:, None]).pooler_output


def train_t5(
    conditioner: TextConditioner,
    pairs: Pairs,
    held_out: Pairs,
    config: TextConfig,
    random: np.random.Generator,
    *,
    seconds: float | None,
    log: Path,
) -> tuple[Fit, float]:
    """T5 as a denoiser of captions: some tokens become <unk>, the decoder writes the caption; the encoder is kept.

    Where there are other wordings, half of the texts are rewritten as another wording of their clip. From the mean state of
    many more texts a linear layer learns to predict CLAP's embedding of the clip's sound, so that the states describe the
    sound, whatever the words.

    Returns:
        The run, and the share of hidden tokens of held-out captions that the decoder gets right, given the ones before.
    """
    encoder = conditioner.text_encoder_2
    device = encoder.device
    settings = encoder.config.to_dict() | {
        "is_encoder_decoder": True,
        "num_decoder_layers": config.layers,
        "decoder_start_token_id": conditioner.tokenizer_2.pad_token_id,
        "use_cache": False,
    }
    model = T5ForConditionalGeneration(T5Config(**settings)).to(device)
    # A hundred steps of Adam hardly move a rare word's embedding of deviation 1: its state would stay noise.
    model.shared.weight.data.mul_(EMBEDDING_DEVIATION)
    unknown = conditioner.tokenizer_2.unk_token_id
    several = any(pairs.wordings)
    sounds = torch.cat(
        [embed_sounds(conditioner.text_encoder, part.to(device)).detach() for part in pairs.mels.split(32)]
    )
    predict_sound = nn.Linear(encoder.config.d_model, sounds.shape[1]).to(device)

    def predict(captions: list[str], written: list[str]) -> tuple[Any, Tensor, Tensor]:
        tokens = conditioner.tokenize(captions)
        targets = conditioner.tokenize(written)
        draw = torch.from_numpy(random.random(tuple(tokens.t5_ids.shape))).to(device)
        hidden = (draw < config.hidden_share) & tokens.t5_mask
        labels = targets.t5_ids.masked_fill(~targets.t5_mask, IGNORED)
        inputs = tokens.t5_ids.masked_fill(hidden, unknown)
        output = model(input_ids=inputs, attention_mask=tokens.t5_mask.long(), labels=labels)
        return output, labels, hidden

    def sound_loss() -> Tensor:
        chosen = random.integers(len(pairs.captions), size=config.batch_size * config.sound_batch_multiple).tolist()
        tokens = conditioner.tokenize([pairs.text(clip, config.caption_share, random) for clip in chosen])
        draw = torch.from_numpy(random.random(tuple(tokens.t5_ids.shape))).to(device)
        inputs = tokens.t5_ids.masked_fill((draw < config.dropped_share) & tokens.t5_mask, unknown)
        states = model.encoder(input_ids=inputs, attention_mask=tokens.t5_mask.long()).last_hidden_state
        predicted = predict_sound(mean_states(states, tokens.t5_mask))
        return (1 - functional.cosine_similarity(predicted, sounds[chosen])).mean()

    def loss_of_step(step: int) -> Tensor:
        chosen = random.integers(len(pairs.captions), size=config.batch_size).tolist()
        texts = [pairs.text(clip, config.caption_share, random) for clip in chosen]
        if not several:
            return predict(texts, texts)[0].loss
        others = [pairs.text(clip, config.caption_share, random) for clip in chosen]
        written = [one if random.random() < 0.5 else other for one, other in zip(texts, others, strict=True)]
        return predict(texts, written)[0].loss + config.sound_weight * sound_loss()

    run = fit(
        "T5",
        [*model.parameters(), *predict_sound.parameters()],
        loss_of_step,
        steps=config.t5_steps,
        learning_rate=config.learning_rate,
        seconds=seconds,
        log=log,
    )
    model.eval()
    with torch.no_grad():
        output, labels, hidden = predict(held_out.captions, held_out.captions)
    right = output.logits.argmax(dim=-1) == labels
    kept = encoder.state_dict().keys()
    encoder.load_state_dict({name: tensor for name, tensor in model.state_dict().items() if name in kept})
    return run, float(right[hidden].float().mean())


def mean_states(states: Tensor, mask: Tensor) -> Tensor:
    """Mean of T5's states (B, L, D) over the tokens of the mask (B, L): (B, D)."""
    return (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def train_gpt(
    conditioner: TextConditioner,
    pairs: Pairs,
    held_out: Pairs,
    config: TextConfig,
    random: np.random.Generator,
    *,
    seconds: float | None,
    log: Path,
) -> tuple[Fit, float]:
    """Projection and GPT-2: from a caption to the eight tokens of its sound, each fed back as in use.

    Returns:
        The run, and the mean squared error on held-out clips; 1 is the error of the average sound.
    """
    tokens = sound_tokens(conditioner.text_encoder, torch.cat([pairs.mels, held_out.mels]))
    learnt = tokens[: len(pairs.mels)]
    # One clip has no unbiased deviation, only NaN; without the correction it has 0.
    mean, deviation = learnt.mean(dim=0), learnt.std(dim=0, correction=min(1, len(learnt) - 1)).clamp(min=1e-4)
    targets, held_out_targets = ((tokens - mean) / deviation).split([len(pairs.mels), len(held_out.mels)])

    def loss_of_step(step: int) -> Tensor:
        chosen = random.integers(len(pairs.captions), size=config.batch_size).tolist()
        empty = random.random(config.batch_size) < config.null_share
        captions = [
            NULL_CAPTION if null else pairs.text(clip, config.caption_share, random)
            for clip, null in zip(chosen, empty, strict=True)
        ]
        return functional.mse_loss(continue_captions(conditioner, captions), targets[chosen])

    run = fit(
        "GPT-2",
        [*conditioner.projection_model.parameters(), *conditioner.language_model.parameters()],
        loss_of_step,
        steps=config.gpt_steps,
        learning_rate=config.learning_rate,
        seconds=seconds,
        log=log,
    )
    with torch.no_grad():
        error = functional.mse_loss(continue_captions(conditioner, held_out.captions), held_out_targets)
    return run, float(error)


def continue_captions(conditioner: TextConditioner, captions: list[str]) -> Tensor:
    """GPT-2's tokens for captions, (B, 8, D), with gradients to the projection and GPT-2 only."""
    tokens = conditioner.tokenize(captions)
    with torch.no_grad():
        clap = conditioner.clap_embedding(tokens.clap_ids, tokens.clap_mask)
        t5 = conditioner.t5_states(tokens.t5_ids, tokens.t5_mask)
    return conditioner.generate(*conditioner.projected_inputs(clap, t5, tokens.t5_mask))


@torch.no_grad()
def sound_tokens(clap: ClapModel, mels: Tensor, *, batch_size: int = 32) -> Tensor:
    """Eight tokens of each log-mel (B, T, M): states of CLAP's audio branch, averaged in bands and time, (B, 8, D)."""
    grid = (SOUND_BANDS, GENERATED_TOKENS // SOUND_BANDS)
    tokens = []
    for part in mels.split(batch_size):
        states = clap.audio_model(input_features=part[:, None].to(clap.device)).last_hidden_state  # (B, D, F, T)
        tokens.append(functional.adaptive_avg_pool2d(states, grid).flatten(2).transpose(1, 2))
    return torch.cat(tokens)


@torch.no_grad()
def _similarities(conditioner: TextConditioner, pairs: Pairs) -> Tensor:
    tokens = conditioner.tokenize(pairs.captions)
    text = conditioner.clap_embedding(tokens.clap_ids, tokens.clap_mask)
    return (text @ embed_sounds(conditioner.text_encoder, pairs.mels.to(text.device)).T).cpu()  # (texts, sounds)


def measure_recall(conditioner: TextConditioner, pairs: Pairs) -> float:
    """Share of captions whose most similar sound is their own (or that of an equal caption)."""
    nearest = _similarities(conditioner, pairs).argmax(dim=1).tolist()
    return float(np.mean([pairs.captions[i] == caption for i, caption in zip(nearest, pairs.captions, strict=True)]))


@torch.no_grad()
def kind_accuracy(conditioner: TextConditioner, train: Pairs, held_out: Pairs) -> dict[str, float]:
    """Share of the held-out clips' wordings whose nearest centroid, over the training wordings, is their kind's.

    Returns:
        clap (CLAP's text embedding), t5 (mean state) and gpt (its tokens) -> the share, by cosine after the mean of all
        training wordings is subtracted; empty where the truth has no kinds or no wordings.
    """
    training, tested = (
        [(kind, text) for kind, own in zip(pairs.kinds, pairs.wordings, strict=True) if kind for text in own]
        for pairs in (train, held_out)
    )
    if not training or not tested:
        return {}
    kinds = sorted({kind for kind, _ in training})
    shares = {}
    for name, learnt, vectors in zip(
        ("clap", "t5", "gpt"),
        text_vectors(conditioner, [text for _, text in training]),
        text_vectors(conditioner, [text for _, text in tested]),
        strict=True,
    ):
        rows = [[i for i, (kind, _) in enumerate(training) if kind == one] for one in kinds]
        mean = learnt.mean(dim=0)
        centroids = functional.normalize(torch.stack([learnt[own].mean(dim=0) for own in rows]) - mean, dim=1)
        nearest = ((vectors - mean) @ centroids.T).argmax(dim=1).tolist()
        shares[name] = float(np.mean([kinds[i] == kind for i, (kind, _) in zip(nearest, tested, strict=True)]))
    return shares


@torch.no_grad()
def text_vectors(
    conditioner: TextConditioner, texts: list[str], *, batch_size: int = 256
) -> tuple[Tensor, Tensor, Tensor]:
    """CLAP's embedding, T5's mean state and GPT-2's tokens of texts, each (texts, its width), L2 norm 1."""
    parts = []
    for start in range(0, len(texts), batch_size):
        text = conditioner(texts[start : start + batch_size])
        vectors = (text.clap, mean_states(text.t5, text.t5_mask), text.gpt.flatten(1))
        parts.append([functional.normalize(part, dim=1).cpu() for part in vectors])
    clap, t5, gpt = (torch.cat(same) for same in zip(*parts, strict=True))
    return clap, t5, gpt


def draw_similarity(conditioner: TextConditioner, pairs: Pairs, path: Path, *, clips: int = 16) -> None:
    """CLAP's cosine of captions with sounds of held-out clips, sorted by caption, as PNG."""
    from matplotlib.figure import Figure

    order = sorted(range(len(pairs.captions)), key=lambda i: pairs.captions[i].split()[::-1])[:clips]
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(_similarities(conditioner, pairs)[order][:, order], cmap="magma")
    axes.set_yticks(range(len(order)), [pairs.captions[i] for i in order], fontsize=7)
    axes.set_xticks([])
    axes.set_xlabel("sounds, in the same order")
    figure.colorbar(image, label="cosine")
    figure.savefig(path, dpi=100)
