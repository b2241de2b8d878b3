"""What Dagster sees, and what the parts may know of each other."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ASSETS = {
    "clip_list",
    "raw_clips",
    "clip_media",
    "captions",
    "noun_phrases",
    "audio_autoencoder",
    "text_encoders",
    "cavp_backbone",
    "object_detector",
    "vocoder",
    "object_masks",
    "cavp_features",
    "loudness_curves",
    "audio_latents",
    "text_embeddings",
    "training_shards",
    "drawn_instructions",
    "dataset_card",
    "train_model",
    "evaluation_report",
    "control_report",
}
PARTITIONED = {
    "raw_clips",
    "clip_media",
    "captions",
    "noun_phrases",
    "object_masks",
    "cavp_features",
    "loudness_curves",
    "audio_latents",
    "text_embeddings",
    "training_shards",
    "drawn_instructions",
}
LEVELS = [
    {"clip_format"},
    {
        "media",
        "media_tracks",
        "media_skipping",
        "mel",
        "loudness",
        "masks",
        "cavp",
        "text",
        "shard",
        "progress",
        "detector",
        "card",
        "markdown",
        "limiter",
        "drawn_curves",
        "drawn_masks",
        "drawn_sounds",
        "level_matching",
    },
    {"mask_attention", "loudness_control", "cpu_layers", "cross_attention"},
    {"unet", "unet_blocks", "guidance"},
]


def test_the_asset_graph_is_exactly_this() -> None:
    from pipelines import defs

    graph = defs.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == ASSETS
    partitioned = {key.to_user_string() for key in graph.get_all_asset_keys() if graph.get(key).partitions_def}
    assert partitioned == PARTITIONED


def test_every_asset_runs_in_one_run_over_a_range() -> None:
    from pipelines import defs

    graph = defs.resolve_asset_graph()
    policies = {key.to_user_string(): graph.get(key).backfill_policy for key in graph.get_all_asset_keys()}
    assert {
        name for name, policy in policies.items() if policy is None or policy.max_partitions_per_run is not None
    } == set()


def test_everything_that_training_needs_is_upstream_of_it() -> None:
    import dagster as dg

    from pipelines import defs

    graph = defs.resolve_asset_graph()
    upstream = dg.AssetSelection.assets("train_model").upstream().resolve(graph)
    assert {key.to_user_string() for key in upstream} == ASSETS - {
        "dataset_card",
        "evaluation_report",
        "control_report",
    }


def test_loading_the_definitions_loads_no_heavy_library_and_no_trainer() -> None:
    code = "import sys; from pipelines import defs; print(' '.join(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {
        "torch",
        "transformers",
        "diffusers",
        "ultralytics",
        "spacy",
        "librosa",
        "matplotlib",
        "open_clip",
        "datasets",
    }
    assert heavy.isdisjoint(found)
    trainers = {
        name for name in found if name.startswith("drawaudio_model.") and name.split(".")[1] in trainer_modules()
    }
    assert not trainers


def trainer_modules() -> set[str]:
    names = {path.stem for path in (ROOT / "drawaudio_model").glob("*.py")}
    return {
        name
        for name in names
        if name in {"evaluate", "cli", "config", "dataset", "pipeline"}
        or "pretrain" in name
        or name == "train"
        or name.startswith(("control", "train_"))
    }


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def level(name: str) -> int:
    return next(
        (i for i, names in enumerate(LEVELS) if name in names),
        5 if name in trainer_modules() - {"dataset", "config", "pipeline"} else 4,
    )


@pytest.mark.parametrize("path", sorted((ROOT / "drawaudio_model").rglob("*.py")), ids=lambda path: path.stem)
def test_the_model_knows_nothing_of_the_orchestrator_and_imports_downwards(path: Path) -> None:
    found = imports_of(path)
    assert not {name for name in found if re.fullmatch(r"(dagster|pipelines)(\..*)?", name)}
    inside = {name.split(".")[1] for name in found if name.startswith("drawaudio_model.") and len(name.split(".")) > 1}
    modules = {other.stem for other in (ROOT / "drawaudio_model").glob("*.py")}
    if path.parent.name == "drawaudio_model":
        above = {name for name in inside & modules if level(name) > level(path.stem)}
        assert not above, f"{path.stem} imports {above} from a higher level"


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").rglob("*.py")), ids=lambda path: path.stem)
def test_the_pipelines_import_only_the_lower_levels(path: Path) -> None:
    allowed = LEVELS[0] | LEVELS[1]
    inside = {name.split(".")[1] for name in imports_of(path) if name.startswith("drawaudio_model.")}
    assert inside <= allowed


@pytest.mark.parametrize(
    "path",
    sorted([*(ROOT / "drawaudio_model").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")]),
    ids=lambda path: path.stem,
)
def test_the_clip_geometry_is_spelled_once(path: Path) -> None:
    if path.stem == "clip_format":
        return
    numbers = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    found = {16_000, 128_000, 160_000} & {number for number in numbers if isinstance(number, int)}
    # The same digits with another meaning: the paper's training steps, and the rendered clips' AAC bit rate.
    assert found == {"config": {160_000}, "demo": {128_000}}.get(path.stem, set())


@pytest.mark.parametrize(("profile", "partitions"), [("audiocaps", 52), ("vggsound_caption", 200), ("mixed", 247)])
def test_the_real_profiles_load_with_one_run_a_shard(profile: str, partitions: int) -> None:
    """Published backbones wait for no clip, and a backfill starts a run for every shard."""
    code = """
from pipelines import defs
from pipelines.partitions import shards
graph = defs.resolve_asset_graph()
nodes = {key.to_user_string(): graph.get(key) for key in graph.get_all_asset_keys()}
print(len(nodes), len(shards.get_partition_keys()))
print({node.backfill_policy.max_partitions_per_run for node in nodes.values() if node.partitions_def})
print(sorted(name for name, node in nodes.items() if not node.parent_keys))
"""
    environment = {**os.environ, "DRAWAUDIO_PROFILE": profile, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{len(ASSETS)} {partitions}",
        "{1}",
        "['audio_autoencoder', 'cavp_backbone', 'clip_list', 'object_detector', 'text_encoders', 'vocoder']",
    ]


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    environment = {**os.environ, "DRAWAUDIO_PROFILE": "dmeo"}
    command = [sys.executable, "-m", "pipelines.profiles", "range"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected one of demo, control, tiny, folder" in done.stderr


def test_adding_clips_moves_none_to_another_shard() -> None:
    from dataclasses import replace

    from pipelines.clip_list import list_clips
    from pipelines.profiles import PROFILES

    small = PROFILES["tiny"]
    more = replace(small, clips=(20, 4, 6))
    before = {row["key"]: (row["shard"], row["caption"]) for row in list_clips(small)}
    after = {row["key"]: (row["shard"], row["caption"]) for row in list_clips(more)}
    assert len(after) > len(before)
    assert {key: after[key] for key in before} == before
