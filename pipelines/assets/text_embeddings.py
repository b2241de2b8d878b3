"""The caption as the denoiser reads it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from drawaudio_model.atomic_files import decode_array, encode_array
from drawaudio_model.caption import read_caption
from drawaudio_model.shard import ShardReader
from pipelines.assets.backbones import backbone_sha256, text_encoders
from pipelines.assets.captions import captions
from pipelines.devices import autocast, clips_at_once, device
from pipelines.partitions import ALL_SHARDS, SHARD_BACKFILL, shards
from pipelines.resources import DataRoot
from pipelines.shard_work import Members, ShardRecipe, make_shards


@dg.asset(
    deps=[captions, dg.AssetDep(text_encoders, partition_mapping=ALL_SHARDS)],
    partitions_def=shards,
    backfill_policy=SHARD_BACKFILL,
    group_name="features",
    kinds={"transformers"},
)
def text_embeddings(context: dg.AssetExecutionContext, data_root: DataRoot) -> None:
    """One tar a shard: `clap.npy` (Dc,), `t5.npy` (L, Dt) without padding, `gpt.npy` (8, Dg), float16."""
    make_shards(context, Path(data_root.path), recipe(data_root), show)


def recipe(data_root: DataRoot, group: int | None = None) -> ShardRecipe:
    """CLAP, FLAN-T5 and GPT-2 of `group` captions at a time; what a shorter one is padded with is masked and not stored."""
    folder = data_root.backbone("text_encoders")
    group = group or clips_at_once(64)
    models: list[Any] = []

    def work(keys: list[str], upstream: dict[str, ShardReader]) -> Iterator[tuple[str, Members]]:
        import torch

        from drawaudio_model.text import TextConditioner

        if not models:
            models.append(TextConditioner.from_pretrained(folder).to(device()))
        for start in range(0, len(keys), group):
            chosen = keys[start : start + group]
            with torch.inference_mode(), autocast(float16_is_enough=False):
                found = models[0]([read_caption(upstream["captions"], key).text for key in chosen])
            for number, key in enumerate(chosen):
                arrays = {"clap": found.clap[number], "t5": found.states(number), "gpt": found.gpt[number]}
                half = {name: array.to(torch.float16).cpu().numpy() for name, array in arrays.items()}
                yield key, {f"{name}.npy": encode_array(array) for name, array in half.items()}

    settings = {"encoders": backbone_sha256(folder)}
    return ShardRecipe(
        "text_embeddings", ("captions",), work, settings=settings, group=max(group, 16), batched=group > 1
    )


def show(reader: ShardReader) -> dict[str, Any]:
    """Shapes and the longest caption in tokens."""
    lengths = [decode_array(reader.member(key, "t5.npy")).shape[0] for key in reader.keys]
    first = {
        name: str(decode_array(reader.member(reader.keys[0], f"{name}.npy")).shape) for name in ("clap", "t5", "gpt")
    }
    return {"shapes": dg.MetadataValue.json(first), "longest_caption_tokens": max(lengths)}
