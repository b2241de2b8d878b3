"""The frozen models that features come from, each a folder of config and weights."""

import json
from dataclasses import asdict
from pathlib import Path

import dagster as dg

from drawaudio_model.atomic_files import file_sha256, fingerprint, write_atomically
from drawaudio_model.backbone_config import backbone_config
from drawaudio_model.shard import finished_shards, read_manifest
from pipelines.annotation.settings import models_folder
from pipelines.assets.captions import captions
from pipelines.assets.clip_media import clip_media
from pipelines.assets.noun_phrases import noun_phrases
from pipelines.assets.raw_clips import raw_clips
from pipelines.partitions import ALL_SHARDS
from pipelines.profiles import Profile, current_profile
from pipelines.published_backbones import BESIDE, assemble, fetch_all
from pipelines.resources import DataRoot, Trainer
from pipelines.sources.registry import source_of
from pipelines.steps_at_once import EARLY

_MARKER = "backbone.json"
_single_run = dg.BackfillPolicy.single_run()


def _after(*assets: dg.AssetsDefinition) -> list[dg.AssetDep]:
    """The assets that a backbone learns from; a published one learnt elsewhere, and no shard waits for another one's clips."""
    if current_profile().backbones == "published":
        return []
    return [dg.AssetDep(asset, partition_mapping=ALL_SHARDS) for asset in assets]


@dg.asset(deps=_after(raw_clips, clip_media), backfill_policy=_single_run, group_name="backbones", kinds={"diffusers"})
def audio_autoencoder(context: dg.AssetExecutionContext, data_root: DataRoot, trainer: Trainer) -> dg.MaterializeResult:
    """Log-mels to latents: principal directions of small patches; published: AudioLDM2's, and beside it its UNet."""
    return make_backbone(context, data_root, trainer, "audio_autoencoder", ("raw_clips", "clip_media"))


@dg.asset(
    deps=_after(raw_clips, captions, clip_media),
    backfill_policy=_single_run,
    group_name="backbones",
    kinds={"transformers"},
)
def text_encoders(context: dg.AssetExecutionContext, data_root: DataRoot, trainer: Trainer) -> dg.MaterializeResult:
    """CLAP, T5, projection and GPT-2 in AudioLDM2's folder layout; published: AudioLDM2's own.

    Trained here, they learn from the captions and, in the rendered world, from the truth's other wordings of each.
    """
    return make_backbone(context, data_root, trainer, "text_encoders", ("captions", "clip_media", "raw_clips"))


@dg.asset(
    deps=_after(raw_clips, clip_media),
    backfill_policy=_single_run,
    group_name="backbones",
    kinds={"pytorch"},
    op_tags=EARLY,
)
def cavp_backbone(context: dg.AssetExecutionContext, data_root: DataRoot, trainer: Trainer) -> dg.MaterializeResult:
    """CAVP, which learns by contrast of frames and sound: of other clips (what), of other times (when); or Diff-Foley's."""
    return make_backbone(context, data_root, trainer, "cavp_backbone", ("raw_clips", "clip_media"))


@dg.asset(
    deps=_after(raw_clips, clip_media, noun_phrases),
    backfill_policy=_single_run,
    group_name="backbones",
    kinds={"ultralytics"},
    op_tags=EARLY,
)
def object_detector(context: dg.AssetExecutionContext, data_root: DataRoot, trainer: Trainer) -> dg.MaterializeResult:
    """YOLO-World and the CLIP whose text features are its vocabulary; published: YOLO-World v2 and OpenAI's ViT-B/32.

    Trained here, it learns on true boxes of rendered clips; the user's own media have none, so there a rendered world
    is made beside them, and `vocabulary.json` keeps it from being asked for things that it never saw.
    """
    profile = current_profile()
    root = Path(data_root.path)
    if not source_of(profile).has_truth and profile.backbones == "trained":
        from pipelines.assets.detector_world import make_detector_world

        root = make_detector_world(profile, root)
    return make_backbone(context, data_root, trainer, "object_detector", ("raw_clips", "clip_media"), data=root)


@dg.asset(
    deps=_after(raw_clips, clip_media) + ([] if current_profile().backbones == "published" else [audio_autoencoder]),
    backfill_policy=_single_run,
    group_name="backbones",
    kinds={"diffusers"},
)
def vocoder(context: dg.AssetExecutionContext, data_root: DataRoot, trainer: Trainer) -> dg.MaterializeResult:
    """Log-mel to waveform: a small network that also sharpens what the autoencoder blurs; published: AudioLDM2's HiFi-GAN."""
    return make_backbone(
        context, data_root, trainer, "vocoder", ("raw_clips", "clip_media"), learns_from=("audio_autoencoder",)
    )


def make_backbone(
    context: dg.AssetExecutionContext,
    data_root: DataRoot,
    trainer: Trainer,
    name: str,
    reads: tuple[str, ...],
    data: Path | None = None,
    learns_from: tuple[str, ...] = (),
) -> dg.MaterializeResult:
    """Train a backbone in a process of its own, or fetch it, unless the same one is there already.

    Raises:
        dagster.Failure: when no train shard is there to learn from, or a published checkpoint is not to be had.
    """
    profile, data = current_profile(), data or Path(data_root.path)
    published = profile.backbones == "published"
    inputs = _fetched(name) if published else _inputs(name, data, reads, profile)
    if not published:
        inputs |= {other: backbone_sha256(data_root.backbone(other)) for other in learns_from}
    folder = data_root.backbone(name)
    marker = folder / _MARKER
    lacks = published and not all(folder.with_name(part).is_dir() for part in BESIDE.get(name, ()))
    before = json.loads(marker.read_text())["inputs"] if marker.exists() else None
    if lacks or before != inputs or _changed(folder):
        if before is not None and before != inputs:
            others = sorted(key for key in {*before, *inputs} if before.get(key) != inputs.get(key))
            context.log.info(f"{name} is made again: {', '.join(others)} are no longer those that it was made with")
        marker.unlink(missing_ok=True)
        if published:
            assemble(name, models_folder(), folder)
        else:
            arguments = ["--data", data, "--output", folder, "--run", profile.run, "--seed", profile.seed]
            trainer.run(context, "pretrain", [name, *arguments])
        facts = {"inputs": inputs, "files": _files(folder)}
        write_atomically(marker, json.dumps(facts, indent=1, sort_keys=True).encode() + b"\n")
    report = folder / "report.json"
    metadata = json.loads(report.read_text()) if report.exists() else {}
    figures = {key: value for key, value in metadata.items() if isinstance(value, int | float | str)}
    pictures = {path.stem: _embedded(path) for path in sorted(folder.glob("*.png"))}
    return dg.MaterializeResult(
        metadata={**figures, **pictures, "folder": dg.MetadataValue.path(folder), "sha256": backbone_sha256(folder)},
        data_version=dg.DataVersion(backbone_sha256(folder)),
    )


def backbone_sha256(folder: Path) -> str:
    """Fingerprint of a backbone's files, for the inputs of everything that is computed with it.

    Raises:
        ValueError: when the backbone was not made.
    """
    marker = folder / _MARKER
    if not marker.exists():
        raise ValueError(f"{folder} holds no finished backbone; materialize {folder.name} first")
    return fingerprint(json.loads(marker.read_text())["files"])


def _inputs(name: str, data: Path, reads: tuple[str, ...], profile: Profile) -> dict[str, str]:
    """All that decides what a training here gives. Older markers lack the settings: such a backbone is made once more."""
    shards = finished_shards(data / reads[0], split="train")
    manifests = {f"{asset}/{shard}": read_manifest(data / asset, shard) for asset in reads for shard in shards}
    missing = [key for key, manifest in manifests.items() if manifest is None]
    if missing or not sum(manifest.count for manifest in manifests.values() if manifest):
        raise dg.Failure(
            f"{name} has nothing to learn from: {missing[0] if missing else 'no train clip'} in {data}; materialize "
            f"{reads[0]} of the train shards first, and see its ledger for what was dropped",
            allow_retries=False,
        )
    shas = {key: manifest.sha256 for key, manifest in manifests.items() if manifest}
    settings = fingerprint(asdict(backbone_config(name, profile.run)))
    return {"run": profile.run, "seed": str(profile.seed), "data": fingerprint(shas), "settings": settings}


def _fetched(name: str) -> dict[str, str]:
    try:
        return fetch_all(name, models_folder())
    except ValueError as error:
        raise dg.Failure(f"{name}: {error}", allow_retries=False) from error


def _files(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _MARKER)
    weights = {".safetensors", ".json", ".pt", ".txt"}
    return {str(path.relative_to(folder)): file_sha256(path) for path in paths if path.suffix in weights}


def _changed(folder: Path) -> bool:
    return json.loads((folder / _MARKER).read_text())["files"] != _files(folder)


def _embedded(path: Path) -> dg.MetadataValue:
    from pipelines.pictures import picture

    return dg.MetadataValue.md(picture(path.read_bytes()))
