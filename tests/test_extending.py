"""The examples of docs/extending.md do what the page says."""

import re
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from drawaudio_model.media import encode_flac
from pipelines.annotation.annotators import pick_phrase_finder
from pipelines.annotation.settings import AnnotationSettings
from pipelines.assets.clip_list import clip_list
from pipelines.assets.noun_phrases import recipe as phrase_recipe
from pipelines.assets.raw_clips import raw_clips
from pipelines.clip_rows import read_clip_list
from pipelines.profiles import PROFILES
from pipelines.raw_ledger import read_raw_ledger
from pipelines.resources import DataRoot
from pipelines.sources.registry import current_source
from tests.readme_commands import ROOT, Block, blocks, run_block
from tests.tiny_pipeline import tiny_pipeline

EXAMPLES = {block.mark: block for block in blocks() if block.language == "python"}


def example(mark: str) -> Block:
    block = EXAMPLES[mark]
    assert block.text in (ROOT / "docs" / "extending.md").read_text()
    return block


def install(mark: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts an example on the path, under the name that its mark says."""
    (folder / mark.removeprefix("as ")).write_text(example(mark).text)
    monkeypatch.syspath_prepend(folder)


def test_the_source_lists_its_clips_and_fills_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("as my_clips.py", tmp_path, monkeypatch)
    media = tmp_path / "clips"
    media.mkdir()
    for name in ("a_red_bell_rings", "rain_falls", "a_drum_test"):
        (media / f"{name}.mp4").write_bytes(encode_flac(np.zeros(160, np.float32)))
    monkeypatch.setenv("DRAWAUDIO_PROFILE", "folder")
    monkeypatch.setenv("DRAWAUDIO_SOURCE", "my_clips:NamedFiles")
    monkeypatch.setenv("MY_CLIPS", str(media))
    root = tmp_path / "data"
    resources = {"data_root": DataRoot(path=str(root))}
    assert dg.materialize([clip_list], resources=resources).success
    rows = read_clip_list(root)
    captions = {key: row.caption for key, row in rows.items()}
    assert captions == {
        "a_drum_test_000000": "a drum test",
        "a_red_bell_rings_000000": "a red bell rings",
        "rain_falls_000000": "rain falls",
    }
    assert {row.split for row in rows.values()} == {"train", "test"}
    (media / "rain_falls.mp4").unlink()
    for shard in sorted({row.shard for row in rows.values()}):
        assert dg.materialize([raw_clips], partition_key=shard, resources=resources).success
    ends = {row.key: row.reason for name in PROFILES["folder"].shard_names for row in read_raw_ledger(root, name)}
    assert ends == {"a_drum_test_000000": "", "a_red_bell_rings_000000": "", "rain_falls_000000": "unreadable_file"}
    assert current_source().about(PROFILES["folder"]).pretty_name == "Named files"
    with pytest.raises(ValueError, match="fetches nothing"):
        current_source().plan(PROFILES["folder"])


def test_the_phrase_finder_is_picked_and_its_identity_is_that_of_the_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("as my_phrases.py", tmp_path, monkeypatch)
    ours = phrase_recipe(tmp_path).settings
    monkeypatch.setenv("DRAWAUDIO_PHRASE_FINDER", "my_phrases:ListedThings")
    finder = pick_phrase_finder(AnnotationSettings.from_environment())
    assert finder.phrases(["A dog barks beside the bell.", "Wind."]) == [["dog", "bell"], []]
    assert phrase_recipe(tmp_path).settings != ours


def test_the_vocoder_takes_the_place_of_the_models(tmp_path: Path) -> None:
    tiny_pipeline().save_pretrained(tmp_path / "data" / "model")
    block = example("with a model")
    compared = """
import numpy as np
ours = DrawAudioPipeline.from_pretrained("data/demo/model")(prompt="a bell rings", seed=7).audios[0]
print("length and ratio:", len(sound), np.abs(sound).max() / np.abs(ours).max())
"""
    shown = run_block(Block("python", block.text + compared, block.mark), tmp_path, {"HF_HUB_OFFLINE": "1"})
    [(length, ratio)] = re.findall(r"^length and ratio: (\d+) (\S+)$", shown, flags=re.MULTILINE)
    assert length == "128000" and 0.3 < float(ratio) < 0.7
