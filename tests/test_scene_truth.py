"""The truth of a rendered clip: one reader, one writer, and files of before."""

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest

from drawaudio_model.scene_truth import TRUTH_MEMBER, SceneTruth, TrueObject, read_truth
from drawaudio_model.shard import ShardReader, ShardWriter

ROOT = Path(__file__).parent.parent
BOXES = ((0.1, 0.2, 0.3, 0.4),) * 3
TRUTH = SceneTruth(
    "clip_000000",
    "bell",
    "a red bell rings",
    target=1,
    objects=(
        TrueObject("car", "car", "grey", active=False, stem=None, boxes=BOXES),
        TrueObject(
            "bell",
            "red bell",
            "red",
            active=True,
            stem=0,
            boxes=BOXES,
            names=("bell", "red bell"),
            wordings=("ding dong",),
            onsets_seconds=(0.5,),
            onset_levels=(1.0,),
        ),
    ),
)


def test_what_is_written_is_read() -> None:
    assert SceneTruth.from_json(TRUTH.to_json()) == TRUTH
    assert (TRUTH.target_object.stem_member, TRUTH.objects[0].stem_member) == ("stem0.flac", None)
    assert (TRUTH.target_object.material_member, TRUTH.objects[0].material_member) == ("material0.flac", None)


def test_the_bytes_are_those_of_every_rendered_shard() -> None:
    alone = replace(TRUTH, target=0, objects=(replace(TRUTH.target_object, boxes=BOXES[:1]),))
    assert alone.to_json() == (
        b'{"caption": "a red bell rings", "key": "clip_000000", "kind": "bell", "objects": [{"active": true, "boxes": '
        b'[[0.1, 0.2, 0.3, 0.4]], "colour": "red", "kind": "bell", "names": ["bell", "red bell"], "onset_levels": [1.0], '
        b'"onsets_seconds": [0.5], "phrase": "red bell", "stem": 0, "target": true, "wordings": ["ding dong"]}], '
        b'"target": 0}'
    )


def test_files_from_before_names_and_wordings_are_read() -> None:
    facts = json.loads(TRUTH.to_json())
    for thing in facts["objects"]:
        del thing["names"], thing["wordings"]
    old = SceneTruth.from_json(json.dumps(facts).encode())
    assert old.target_object == replace(TRUTH.target_object, names=(), wordings=())


def test_the_index_alone_says_what_is_heard() -> None:
    facts = json.loads(TRUTH.to_json())
    assert [thing["target"] for thing in facts["objects"]] == [False, True]
    for thing in facts["objects"]:
        thing["target"] = not thing["target"]
    assert SceneTruth.from_json(json.dumps(facts).encode()).target_object.kind == "bell"


@pytest.mark.parametrize("field", ["objects", "kind", "target"])
def test_a_missing_field_is_named(field: str) -> None:
    facts = json.loads(TRUTH.to_json())
    del facts[field]
    with pytest.raises(ValueError, match=f"truth.json of clip clip_000000 has no field '{field}'"):
        SceneTruth.from_json(json.dumps(facts).encode())


def test_a_target_that_is_no_object_is_refused() -> None:
    with pytest.raises(ValueError, match="says that object 2 is heard, expected one of its 2"):
        SceneTruth.from_json(replace(TRUTH, target=2).to_json())


def test_a_clip_without_truth_has_none(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train-000000", inputs={}) as shard:
        shard.add("a_000000", {"json": b"{}"})
        shard.add("clip_000000", {TRUTH_MEMBER: TRUTH.to_json()})
        shard.commit()
    reader = ShardReader(tmp_path, "train-000000")
    assert read_truth(reader, "a_000000") is None and read_truth(reader, "clip_000000") == TRUTH


def test_no_other_file_knows_the_members_name() -> None:
    """Who spells it parses it."""
    paths = [path for package in ("drawaudio_model", "pipelines") for path in (ROOT / package).rglob("*.py")]
    spelled = {
        path.name
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value == TRUTH_MEMBER
    }
    assert spelled == {"scene_truth.py"}
