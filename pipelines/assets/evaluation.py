"""How well the trained model follows its instructions on the test split."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from drawaudio_model.shard import count_clips
from pipelines.assets.train_model import count_samples, model_sha256, train_model
from pipelines.profiles import current_profile
from pipelines.resources import DataRoot, Trainer
from pipelines.sources.registry import current_source

PAPER_TEST_SETS = ("audiocaps", "vggsound_caption")
"""Profiles whose test split is one of the paper's, so that its tables stand beside ours."""


@dg.asset(
    deps=[train_model],
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="model",
    kinds={"pytorch"},
)
def evaluation_report(context: dg.AssetExecutionContext, data_root: DataRoot, trainer: Trainer) -> dg.MaterializeResult:
    """`evaluation/metrics.json` and `evaluation/index.html`: every metric with its bounds, and the sounds to listen to.

    Of the test split; of a folder without a test clip, val's or train's clips, and `split` says so.
    """
    root, profile = Path(data_root.path), current_profile()
    require_model(root)
    split = evaluated_split(root, current_source().evaluated_splits)
    samples = count_samples(root, split)
    if split != "test":
        context.log.warning(f"there is no test clip; the {samples} clips of {split} are evaluated in their place")
    trainer.run(
        context,
        "evaluate",
        [
            *("--model", root / "model", "--shards", root / "training_shards", "--split", split),
            *("--media", root / "clip_media", "--output", root / "evaluation"),
            *("--limit", profile.evaluation_clips, "--steps", profile.sampling_steps, "--seed", profile.seed),
            *("--weights", root.parent / "weights"),
            *(("--fetch-weights",) if fetches_weights(profile.backbones) else ()),
            *(("--dataset", profile.name) if profile.name in PAPER_TEST_SETS else ()),
        ],
    )
    report = json.loads((root / "evaluation" / "metrics.json").read_text())
    return dg.MaterializeResult(
        metadata={
            "split": split,
            f"{split}_samples": samples,
            **_figures(report),
            "page": dg.MetadataValue.path(root / "evaluation" / "index.html"),
        },
        data_version=dg.DataVersion(model_sha256(root / "model")),
    )


def fetches_weights(backbones: str) -> bool:
    """Whether missing extractor weights are fetched: where the backbones are, too, and nothing forbids the network."""
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
    return backbones == "published" and not offline


def evaluated_split(root: Path, splits: Sequence[str]) -> str:
    """The split to generate: the first of `splits` with a clip in the training shards, else "test"."""
    return next((split for split in splits if count_clips(root / "training_shards", split)), "test")


def require_model(root: Path) -> None:
    """Raises dagster.Failure where no model was trained."""
    if not (root / "model" / "model_index.json").exists():
        raise dg.Failure(f"no trained model in {root / 'model'}; materialize train_model first", allow_retries=False)


def _figures(report: dict[str, Any]) -> dict[str, Any]:
    return {"metrics": dg.MetadataValue.json(report)}
