"""The trained model."""

import json
from pathlib import Path
from typing import Any

import dagster as dg

from drawaudio_model.shard import file_sha256, fingerprint, finished_shards, read_manifest
from pipelines.backbones import audio_autoencoder, cavp_backbone, text_encoders
from pipelines.partitions import ALL_SHARDS
from pipelines.profiles import current_profile, materialize_command
from pipelines.resources import DataRoot, Trainer
from pipelines.training_shards import training_shards


@dg.asset(
    deps=[
        dg.AssetDep(training_shards, partition_mapping=ALL_SHARDS),
        audio_autoencoder,
        text_encoders,
        cavp_backbone,
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="model",
    kinds={"pytorch"},
)
def train_model(context: dg.AssetExecutionContext, data_root: DataRoot, trainer: Trainer) -> dg.MaterializeResult:
    """A `DrawAudioPipeline` folder (`model/`), its checkpoints and log (`training/`), trained on the shards that exist."""
    root = Path(data_root.path)
    samples = count_samples(root, "train")
    profile = current_profile()
    trainer.run(
        context,
        "train",
        [
            *("--shards", root / "training_shards", "--backbones", root / "backbones"),
            *("--output", root / "model", "--state", root / "training"),
            *("--run", profile.run, "--seed", profile.seed),
            *(("--dataset", profile.name) if profile.source == "youtube" else ()),
        ],
    )
    return dg.MaterializeResult(
        metadata={
            "train_samples": samples,
            **_curves(root / "training"),
            "folder": dg.MetadataValue.path(root / "model"),
        },
        data_version=dg.DataVersion(model_sha256(root / "model")),
    )


def count_samples(root: Path, split: str) -> int:
    """Samples in the finished shards of a split.

    Raises:
        dagster.Failure: when there is none, with the command that makes them.
    """
    folder = root / "training_shards"
    manifests = [read_manifest(folder, shard) for shard in finished_shards(folder, split=split)]
    samples = sum(manifest.count for manifest in manifests if manifest)
    if not samples:
        hint = (
            "" if split == "train" else "a small folder may have none, then add a column `split` to its captions CSV; "
        )
        raise dg.Failure(f"no {split} sample in {folder}; {hint}run: {materialize_command()}", allow_retries=False)
    return samples


def model_sha256(folder: Path) -> str:
    """Fingerprint of a model folder's weights and configs."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in {".safetensors", ".json"})
    return fingerprint({str(path.relative_to(folder)): file_sha256(path) for path in paths})


def _curves(training: Path) -> dict[str, Any]:
    from pipelines import pictures

    rows = [json.loads(line) for line in (training / "losses.jsonl").read_text().splitlines()]
    metadata: dict[str, Any] = {"steps": rows[-1]["step"], "last_loss": float(rows[-1]["loss"])}
    if len(rows) > 1:
        curve = pictures.loss_curve(rows, ("loss",), x="step")
        metadata["loss_curve"] = dg.MetadataValue.md(pictures.picture(curve))
    return metadata
