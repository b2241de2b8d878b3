"""Whether text, mask and loudness each steer the sound, on the demo world's test split."""

import json
from pathlib import Path

import dagster as dg

from pipelines.assets.evaluation import require_model
from pipelines.assets.train_model import count_samples, model_sha256, train_model
from pipelines.profiles import current_profile
from pipelines.resources import DataRoot, Trainer
from pipelines.sources.registry import current_source

HELD_OUT_WORDINGS = Path(__file__).parent.parent / "sources" / "demo" / "held_out_wordings.json"
"""Kind -> wordings that the demo world's grammar never makes."""


@dg.asset(
    deps=[train_model],
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="model",
    kinds={"pytorch"},
)
def control_report(context: dg.AssetExecutionContext, data_root: DataRoot, trainer: Trainer) -> dg.MaterializeResult:
    """`control/control.json` and `control/index.html`: every subset of the instructions, swapped and shuffled ones, bounds.

    A pipeline in a folder `model_<name>` beside `model` is measured beside it, on the rows in which its loudness control
    can differ.
    """
    root, profile = Path(data_root.path), current_profile()
    if not current_source().has_truth:
        raise dg.Failure(
            f"profile {profile.name} has clips of {profile.source}, the control benchmark needs the rendered world's truth; "
            "materialize evaluation_report instead",
            allow_retries=False,
        )
    require_model(root)
    samples = count_samples(root, "test")
    beside = [
        argument
        for folder in sorted(root.glob("model_*"))
        if (folder / "model_index.json").exists()
        for argument in ("--beside", f"{folder.name.removeprefix('model_')}={folder}")
    ]
    trainer.run(
        context,
        "control",
        [
            *("--model", root / "model", "--shards", root / "training_shards", "--raw-clips", root / "raw_clips"),
            *("--media", root / "clip_media", "--wordings", HELD_OUT_WORDINGS, "--output", root / "control", *beside),
            *("--limit", profile.control_clips, "--steps", profile.sampling_steps, "--seed", profile.seed),
            *("--classifier-steps", profile.classifier_steps),
        ],
    )
    report = json.loads((root / "control" / "control.json").read_text())
    return dg.MaterializeResult(
        metadata={
            "test_samples": samples,
            "goals": dg.MetadataValue.md(goals_table(report["goals"])),
            "metrics": dg.MetadataValue.json(report),
            "page": dg.MetadataValue.path(root / "control" / "index.html"),
        },
        data_version=dg.DataVersion(model_sha256(root / "model")),
    )


def goals_table(goals: list[dict[str, object]]) -> str:
    """The goals as a Markdown table."""
    lines = ["| goal | value | asked | |", "|---|---|---|---|"]
    for goal in goals:
        value = "undefined" if goal["value"] is None else f"{goal['value']:.2f}"
        lines.append(f"| {goal['name']} | {value} | {goal['goal']} | {'reached' if goal['reached'] else 'missed'} |")
    return "\n".join(lines)
