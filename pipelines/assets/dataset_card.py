"""The asset that describes the finished dataset: `datasets_cards/<profile>/`."""

import os
from pathlib import Path

import dagster as dg

from drawaudio_model.atomic_files import decode_array, fingerprint
from drawaudio_model.clip_frames import read_frames
from drawaudio_model.release.card import CARD_LINK, link_folder, write_card
from drawaudio_model.shard import (
    EXCLUDE_FILE,
    ShardReader,
    finished_shards,
    is_excluded,
    read_exclude_list,
    read_manifest,
)
from drawaudio_model.training_sample import decode_facts
from pipelines.assets.training_shards import ledger_rows, training_shards
from pipelines.partitions import ALL_SHARDS
from pipelines.profiles import current_profile, materialize_command
from pipelines.resources import DataRoot
from pipelines.sources.registry import current_source

CARDS = Path("datasets_cards")
"""Where the cards are written, seen from the working folder as the data is, unless DRAWAUDIO_CARDS says otherwise."""


@dg.asset(
    deps=[dg.AssetDep(training_shards, partition_mapping=ALL_SHARDS)],
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="dataset",
    kinds={"huggingface"},
)
def dataset_card(data_root: DataRoot) -> dg.MaterializeResult:
    """`datasets_cards/<profile>/`: card, parquet index, Croissant, shard list, pictures and NOTICE of the finished shards."""
    profile, root = current_profile(), Path(data_root.path)
    folder = root / "training_shards"
    manifests = [manifest for shard in finished_shards(folder) if (manifest := read_manifest(folder, shard))]
    if not manifests:
        raise dg.Failure(f"no finished shard in {folder}; run: {materialize_command()}", allow_retries=False)
    cards = Path(os.environ.get("DRAWAUDIO_CARDS") or CARDS).absolute()
    statistics = write_card(
        cards,
        profile.name,
        folder,
        manifests,
        current_source().about(profile),
        ledger=[row for manifest in manifests for row in ledger_rows(root, manifest.shard)],
        pictures=_example_pictures(root, manifests[-1].shard),
    )
    # So that `drawaudio dataset publish` finds the card from the shards.
    link_folder(root / CARD_LINK, statistics.folder)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": statistics.clips,
            "hours": round(statistics.hours, 3),
            "megabytes": round(statistics.megabytes, 1),
            "clips_per_split": dg.MetadataValue.json(statistics.clips_per_split),
            "dropped_per_reason": dg.MetadataValue.json(statistics.dropped_per_reason),
            "card": dg.MetadataValue.md((statistics.folder / "README.md").read_text().split("---\n", 2)[-1]),
            "folder": dg.MetadataValue.path(statistics.folder),
        },
        data_version=dg.DataVersion(fingerprint([manifest.sha256 for manifest in manifests])),
    )


def _example_pictures(root: Path, shard: str, clips: int = 2) -> dict[str, bytes]:
    """Contact sheets with boxes and mels with loudness of a shard's first clips, by caption."""
    import numpy as np

    from drawaudio_model.boxes import boxes_from_json
    from drawaudio_model.media import decode_flac
    from drawaudio_model.mel import log_mel, normalize_waveform
    from pipelines import pictures

    samples, media = ShardReader(root / "training_shards", shard), ShardReader(root / "clip_media", shard)
    found: dict[str, bytes] = {}
    excluded = read_exclude_list(root / "training_shards" / EXCLUDE_FILE)
    for key in [key for key in samples.keys if not is_excluded(key, excluded)][:clips]:
        facts = decode_facts(samples.member(key, "json"))
        boxes = boxes_from_json(samples.member(key, "boxes.json").decode())
        caption, phrases = facts["caption"], facts["noun_phrases"]
        found[f"{key}: {caption}"] = pictures.contact_sheet(read_frames(media, key), boxes, phrases, caption)
        mel = np.asarray(log_mel(normalize_waveform(decode_flac(samples.member(key, "flac")))))
        curve = decode_array(samples.member(key, "loudness.npy"))
        found[f"{key}: log-mel and loudness signal"] = pictures.mel_with_loudness(mel, curve)
    return found
