"""What Dagster sees, and what the parts may know of each other."""

import ast
import os
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.house_map import folders

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
FOR_THE_PIPELINES = {"decoding", "muxing", "levels", "drawn", "release", "metrics"}
"""Folders of the model that the dataset builder uses; the others learn, generate or measure."""
PROGRAMS = {"cli", "config", "control", "dataset", "evaluate", "pipeline", "pretrain", "train"}
"""What learns, generates or measures: the pipelines start it as a process and import none of it."""


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
    loaded = {name.split(".")[1] for name in found if name.startswith("drawaudio_model.")}
    assert not loaded & (PROGRAMS | {*folders("drawaudio_model")} - FOR_THE_PIPELINES)


def test_what_every_asset_reads_and_writes_loads_no_torch() -> None:
    code = "import sys; import drawaudio_model.boxes, drawaudio_model.shard; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def all_modules() -> dict[str, Path]:
    """Dotted name -> file, of both packages."""
    paths = [path for package in ("drawaudio_model", "pipelines") for path in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


MODULES = all_modules()


def imports_of(module: str) -> set[str]:
    """Dotted names that a module imports anywhere in it, of modules where there is one of that name."""
    path = MODULES[module]
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            names = {f"{source}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else source for name in names}
    return found - {module}


def room(module: str) -> str:
    """The folder that a module lies in, or the module itself where it lies beside the folders."""
    folder = module if MODULES[module].stem == "__init__" else module.rpartition(".")[0]
    return module if folder in ("drawaudio_model", "pipelines", "pipelines.sources") else folder


IMPORTS = {module: imports_of(module) & MODULES.keys() for module in MODULES}
ROOM_IMPORTS = {
    name: {room(found) for module in MODULES if room(module) == name for found in IMPORTS[module]} - {name}
    for name in {room(module) for module in MODULES}
}


def reached(name: str, graph: dict[str, set[str]]) -> set[str]:
    """What a node of a graph uses, itself or through others."""
    found: set[str] = set()
    ahead = [name]
    while ahead:
        new = graph[ahead.pop()] - found
        found |= new
        ahead += new
    return found


@pytest.mark.parametrize("graph", [IMPORTS, ROOM_IMPORTS], ids=["files", "folders"])
def test_nothing_imports_in_a_circle(graph: dict[str, set[str]]) -> None:
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("package", ["drawaudio_model", "pipelines"])
def test_a_folder_imports_only_those_below_it_on_the_map(package: str) -> None:
    names = [f"{package}.{name}" for name in reversed(folders(package))]
    there = {name for name in ROOM_IMPORTS if MODULES[name].stem == "__init__"} - {package, "pipelines.sources"}
    assert {name for name in there if name.startswith(f"{package}.")} == {*names}
    for place, name in enumerate(names):
        above = reached(name, ROOM_IMPORTS) & {*names[place:]}
        assert not above, f"{name} imports {above}, directly or through others"


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("drawaudio_model")])
def test_the_model_knows_nothing_of_the_orchestrator(module: str) -> None:
    assert not {name for name in imports_of(module) if re.fullmatch(r"(dagster|pipelines)(\..*)?", name)}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("pipelines")])
def test_the_pipelines_import_neither_the_denoiser_nor_a_program(module: str) -> None:
    found = {name.split(".")[1] for name in reached(module, IMPORTS) if name.startswith("drawaudio_model.")}
    assert not found & (PROGRAMS | {"unet", *folders("drawaudio_model")} - FOR_THE_PIPELINES)


def test_imports_are_absolute() -> None:
    nodes = ((name, node) for name, path in MODULES.items() for node in ast.walk(ast.parse(path.read_text())))
    assert not {name for name, node in nodes if isinstance(node, ast.ImportFrom) and node.level}


def test_shape_letters_have_one_heading_and_f_is_no_module() -> None:
    """A file's letters stand under "Legend:"; F among them is latent frames, so that nothing is imported as F."""
    texts = {name: path.read_text() for name, path in MODULES.items()}
    other = re.compile(r"^ *(letters|shapes|dimensions|symbols): ", re.IGNORECASE | re.MULTILINE)
    headings = {name for name, text in texts.items() if other.search(ast.get_docstring(ast.parse(text)) or "")}
    assert not headings, "say Legend: there"
    assert not {name for name, text in texts.items() if re.search(r"^ *(import|from) .* as F$", text, re.MULTILINE)}


def test_no_docstring_begins_with_what() -> None:
    """It names the thing, or says what is done."""
    found = {name: match[0] for name, path in MODULES.items() if (match := re.search(r'"""What .*', path.read_text()))}
    assert not found


@pytest.mark.parametrize("module", MODULES)
def test_the_clip_geometry_is_spelled_once(module: str) -> None:
    if module == "drawaudio_model.clip_format":
        return
    numbers = {
        node.value for node in ast.walk(ast.parse(MODULES[module].read_text())) if isinstance(node, ast.Constant)
    }
    found = {16_000, 128_000, 160_000} & {number for number in numbers if isinstance(number, int)}
    # The same digits with another meaning: the paper's training steps, and the rendered clips' AAC bit rate.
    allowed = {"drawaudio_model.config": {160_000}, "pipelines.sources.demo.world": {128_000}}
    assert found == allowed.get(module, set())


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
    command = [sys.executable, "-m", "pipelines", "range"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected one of demo, control, small, tiny, folder" in done.stderr


def test_adding_clips_moves_none_to_another_shard() -> None:
    from dataclasses import replace

    from pipelines.assets.clip_list import list_clips
    from pipelines.profiles import PROFILES

    small = PROFILES["tiny"]
    more = replace(small, clips=(20, 4, 6))
    before = {row.key: (row.shard, row.caption) for row in list_clips(small)}
    after = {row.key: (row.shard, row.caption) for row in list_clips(more)}
    assert len(after) > len(before)
    assert {key: after[key] for key in before} == before
