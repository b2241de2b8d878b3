"""The trained model."""

import json
from pathlib import Path
from typing import Any

import dagster as dg

from drawaudio_model.atomic_files import file_sha256, fingerprint
from drawaudio_model.model_folder import missing_vocoder
from drawaudio_model.shard import count_clips
from pipelines import pictures
from pipelines.assets.backbones import audio_autoencoder, cavp_backbone, text_encoders, vocoder
from pipelines.assets.drawn_instructions import drawn_instructions
from pipelines.assets.training_shards import training_shards
from pipelines.partitions import ALL_SHARDS
from pipelines.profiles import current_profile, materialize_command
from pipelines.resources import DataRoot, Trainer


@dg.asset(
    deps=[
        dg.AssetDep(training_shards, partition_mapping=ALL_SHARDS),
        dg.AssetDep(drawn_instructions, partition_mapping=ALL_SHARDS),
        audio_autoencoder,
        text_encoders,
        cavp_backbone,
        vocoder,
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
    without_vocoder = missing_vocoder(root / "backbones")
    if without_vocoder is not None:
        context.log.warning(without_vocoder)
    trainer.run(
        context,
        "train",
        [
            *("--shards", root / "training_shards", "--backbones", root / "backbones"),
            *(("--drawn", root / "drawn_instructions") if profile.drawn_variants else ()),
            *("--output", root / "model", "--state", root / "training"),
            # Not --run, which torchrun takes for an option of its own.
            *("--named-run", profile.run, "--seed", profile.seed),
            *(("--dataset", profile.name) if profile.lists else ()),
        ],
        watch=TrainingWatch(root / "training"),
    )
    return dg.MaterializeResult(
        metadata={
            "train_samples": samples,
            **({} if without_vocoder is None else {"vocoder": without_vocoder}),
            **_curves(root / "training"),
            **_sounds(root / "training"),
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
    samples = count_clips(folder, split)
    if not samples:
        raise dg.Failure(f"no {split} sample in {folder}; run: {materialize_command()}", allow_retries=False)
    return samples


def model_sha256(folder: Path) -> str:
    """Fingerprint of a model folder's weights and configs."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in {".safetensors", ".json"})
    return fingerprint({str(path.relative_to(folder)): file_sha256(path) for path in paths})


class TrainingWatch:
    """Metadata of a running training at each new validation: curves, gradient norm, and the newest sounds."""

    def __init__(self, training: Path) -> None:
        self.picture = training / "learning_curves.png"
        self._seen = self._written()

    def __call__(self) -> dict[str, Any] | None:
        """The metadata to show; None when nothing was validated since the last call."""
        written = self._written()
        if written == self._seen:
            return None
        self._seen = written
        training = self.picture.parent
        check = json.loads((training / "validation.jsonl").read_text().splitlines()[-1])
        return {
            "step": check["step"],
            "validation_loss": float(check["loss"]),
            "learning_curves": dg.MetadataValue.md(pictures.picture(self.picture.read_bytes())),
            **_sounds(training),
        }

    def _written(self) -> int:
        """When the curves were drawn: the last thing that a validation does."""
        return self.picture.stat().st_mtime_ns if self.picture.exists() else 0


def _sounds(training: Path) -> dict[str, Any]:
    """The sounds of the last validation: their files, and the first one's log-mel with its loudness signal."""
    newest = sorted((training / "samples").glob("step-*.flac"))
    if not newest:
        return {}
    from drawaudio_model.clip_format import CLIP_SECONDS
    from drawaudio_model.loudness import loudness_signal
    from drawaudio_model.media import decode_flac
    from drawaudio_model.mel import log_mel

    step = newest[-1].name.split("-")[1]
    paths = [path for path in newest if path.name.split("-")[1] == step]
    waveform = decode_flac(paths[0].read_bytes())
    picture = pictures.mel_with_loudness(log_mel(waveform).numpy(), loudness_signal(waveform, seconds=CLIP_SECONDS))
    return {
        "sounds": dg.MetadataValue.json([str(path) for path in paths]),
        "sound": dg.MetadataValue.md(pictures.picture(picture)),
    }


def _curves(training: Path) -> dict[str, Any]:
    rows = [json.loads(line) for line in (training / "losses.jsonl").read_text().splitlines()]
    metadata: dict[str, Any] = {"steps": rows[-1]["step"], "last_loss": float(rows[-1]["loss"])}
    if len(rows) > 1:
        curve = pictures.loss_curve(rows, ("loss",), x="step")
        metadata["loss_curve"] = dg.MetadataValue.md(pictures.picture(curve))
    return metadata
