"""The paper's metrics end to end, with small random weights in the published files: values, sha256, and what is missing."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    ClapFeatureExtractor,
    ClapModel,
    ClapProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from drawaudio_model import metrics
from drawaudio_model.atomic_files import file_sha256
from drawaudio_model.clip_format import CLIP_SAMPLES
from drawaudio_model.evaluation.paper_tables import COLUMNS, OURS, PAPER, beside_the_paper, table_html
from drawaudio_model.evaluation.published_metrics import METRICS, Clip, published_metrics
from drawaudio_model.extractors import panns, passt, vggish, wav2clip
from drawaudio_model.text import _small_clap_config, train_tokenizers
from tests.test_extractors import shaken

COUNT = 10
SMALL = {
    (panns, "Cnn14"): partial(panns.Cnn14, channels=(2, 2, 2, 2, 2, 8)),
    (passt, "PaSST"): partial(passt.PaSST, width=16, depth=1, heads=2),
    (vggish, "VGGish"): partial(vggish.VGGish, hidden=8),
    (wav2clip, "Wav2Clip"): wav2clip.Wav2Clip,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder as a person fills it."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for (module, _), build in SMALL.items():
        state = shaken(build(), 0.02).state_dict()
        torch.save({"model": state} if module is panns else dict(state), folder / module.WEIGHTS.name)
    clip = folder / "clip-vit-base-patch32"
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, projection_dim=512
    )
    CLIPVisionModelWithProjection(config).save_pretrained(clip)
    CLIPImageProcessor().save_pretrained(clip)
    clap = folder / "clap-htsat-unfused"
    tokenizer, _ = train_tokenizers(["a bell rings", "a ball bounces"], clap, max_tokens=24)
    ClapModel(_small_clap_config(tokenizer, 16, 1, 2)).save_pretrained(clap)
    ClapProcessor(ClapFeatureExtractor(truncation="rand_trunc"), tokenizer).save_pretrained(clap)
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for (module, name), build in SMALL.items():
        monkeypatch.setattr(module, name, build)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (2, 32, 40, 3), dtype=np.uint8)
    sounds = 0.1 * rng.standard_normal((COUNT, 2, CLIP_SAMPLES // 4)).astype(np.float32)
    return [Clip(real, made * (1 + i), "a bell rings", lambda: pictures) for i, (real, made) in enumerate(sounds)]


def test_each_value_comes_with_extractor_sha256_count_and_interval(
    weights: Path, clips: list[Clip], small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drawaudio_model.evaluation.published_metrics.SET_RESAMPLES", 20)
    table = published_metrics(clips, folder=weights, device=torch.device("cpu"), seed=0)
    assert list(table) == ["fd", "is", "kl", "fad", "cs_av", "clap"]
    for key, entry in table.items():
        assert "missing" not in entry, entry
        assert entry["count"] == COUNT and entry["low"] <= entry["value"] <= entry["high"]
        assert entry["extractor"] == METRICS[key].extractor
        assert all(len(value) == 64 for value in entry["weights_sha256"].values())
    assert table["fd"]["weights_sha256"] == {panns.WEIGHTS.name: file_sha256(weights / panns.WEIGHTS.name)}
    assert set(table["cs_av"]["weights_sha256"]) == {"Wav2CLIP.pt", "clip-vit-base-patch32"}

    network = SMALL[panns, "Cnn14"]()
    network.load_published(torch.load(weights / panns.WEIGHTS.name)["model"])
    features = {
        side: np.concatenate([network(torch.from_numpy(getattr(clip, side))[None])[0] for clip in clips])
        for side in ("real", "generated")
    }
    assert table["fd"]["value"] == pytest.approx(metrics.frechet_distance(features["real"], features["generated"]))


def test_missing_weights_are_named_and_nothing_takes_their_place(
    weights: Path, clips: list[Clip], small: None, tmp_path: Path
) -> None:
    table = published_metrics(clips, folder=tmp_path, device=torch.device("cpu"), seed=0)
    for key, entry in table.items():
        assert "value" not in entry
        assert str(tmp_path / METRICS[key].weights[0].name) in entry["missing"]
        assert METRICS[key].weights[0].place in entry["missing"]
    shutil.copy(weights / passt.WEIGHTS.name, tmp_path)
    table = published_metrics(clips, folder=tmp_path, device=torch.device("cpu"), seed=0)
    assert [key for key, entry in table.items() if "value" in entry] == ["kl"]


def test_too_few_clips_and_absent_pictures_are_said(weights: Path, clips: list[Clip], small: None) -> None:
    one = [Clip(clips[0].real, clips[0].generated, "a bell rings", lambda: None)]
    table = published_metrics(one, folder=weights, device=torch.device("cpu"), seed=0)
    assert table["fd"]["missing"] == "1 clips, at least 2 are needed"
    assert table["is"]["missing"] == "1 clips, at least 10 are needed"
    assert "pictures are not at hand" in table["cs_av"]["missing"]
    assert table["kl"]["count"] == 1


def test_the_papers_tables_stand_beside_ours_with_empty_cells() -> None:
    published = {"fd": {"value": 21.5}, "is": {"missing": "..."}, "kl": {"value": 1.25}}
    tables = beside_the_paper(published, "audiocaps")
    assert tables["audiocaps"][OURS] == {"fd": 21.5, "is": None, "kl": 1.25, "fad": None, "cs_av": None}
    assert set(tables["vggsound_caption"][OURS].values()) == {None}
    assert tables["vggsound_caption"]["Draw an Audio, 326 M"] == dict(
        zip(COLUMNS, (26.2, 11.1, 2.53, 3.34, 9.73), strict=True)
    )
    assert all(len(values) == 5 for systems in PAPER.values() for values in systems.values())
    page = table_html(tables)
    assert page.count("<td></td>") == 3 + 5 and "<td>21.5</td>" in page and "Im2Wav" in page
