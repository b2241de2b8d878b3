"""The sound as the denoiser sees it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from drawaudio_model.atomic_files import decode_array, encode_array
from drawaudio_model.shard import ShardReader
from pipelines.assets.backbones import audio_autoencoder, backbone_sha256
from pipelines.assets.clip_media import clip_media, read_waveform
from pipelines.devices import autocast, clips_at_once, device
from pipelines.partitions import ALL_SHARDS, SHARD_BACKFILL, shards
from pipelines.resources import DataRoot
from pipelines.shard_work import Members, ShardRecipe, make_shards


@dg.asset(
    deps=[clip_media, dg.AssetDep(audio_autoencoder, partition_mapping=ALL_SHARDS)],
    partitions_def=shards,
    backfill_policy=SHARD_BACKFILL,
    group_name="features",
    kinds={"diffusers"},
)
def audio_latents(context: dg.AssetExecutionContext, data_root: DataRoot) -> None:
    """One tar a shard: `latent.npy`, float16 (2C, F, K), mean then log-variance of the posterior of the 10 s log-mel."""
    make_shards(context, Path(data_root.path), recipe(data_root), show)


def recipe(data_root: DataRoot, group: int | None = None) -> ShardRecipe:
    """Encode `group` clips at a time."""
    folder = data_root.backbone("audio_autoencoder")
    group = group or clips_at_once(16)
    models: list[Any] = []

    def work(keys: list[str], upstream: dict[str, ShardReader]) -> Iterator[tuple[str, Members]]:
        import torch

        from drawaudio_model.mel import log_mel, normalize_waveform
        from drawaudio_model.patch_autoencoder import load_autoencoder

        if not models:
            models.append(load_autoencoder(folder).to(device()))
        for start in range(0, len(keys), group):
            chosen = keys[start : start + group]
            waveforms = [normalize_waveform(read_waveform(upstream["clip_media"], key)) for key in chosen]
            mels = torch.stack([torch.as_tensor(log_mel(waveform)) for waveform in waveforms])[:, None].float()
            precision = autocast(float16_is_enough=not models[0].config.get("force_upcast", True))
            with torch.inference_mode(), precision:
                posterior = models[0].encode(mels.to(device())).latent_dist
            latents = torch.cat([posterior.mean, posterior.logvar], dim=1).to(torch.float16).cpu().numpy()
            for key, latent in zip(chosen, latents, strict=True):
                yield key, {"latent.npy": encode_array(latent)}

    settings = {"autoencoder": backbone_sha256(folder)}
    return ShardRecipe(
        "audio_latents", ("clip_media",), work, settings=settings, group=max(group, 16), batched=group > 1
    )


def show(reader: ShardReader) -> dict[str, Any]:
    """Latent grid and spread."""
    latents = [decode_array(reader.member(key, "latent.npy")).astype(np.float32) for key in reader.keys]
    means = np.stack([latent[: len(latent) // 2] for latent in latents])
    return {"grid": str(latents[0].shape), "std_of_means": round(float(means.std()), 4)}
