"""The pages and the reference that `make docs` writes hold what people look for, and say what is wrong with them."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PUBLIC_NAMES = {
    "drawaudio_model.loudness": ["loudness_signal"],
    "drawaudio_model.mel": ["log_mel"],
    "drawaudio_model.masks": ["rasterize"],
    "drawaudio_model.cavp": ["CAVP.from_checkpoint", "CAVP.encode_video", "CAVP.encode_spectrogram"],
    "drawaudio_model.text": ["TextConditioner.from_pretrained"],
    "drawaudio_model.unet": [
        *("DrawAudioUNet.from_audioldm2", "DrawAudioUNet.select_trainable", "DrawAudioUNet.forward"),
    ],
    "drawaudio_model.guidance": ["dual_guidance"],
    "drawaudio_model.metrics": [
        *("frechet_distance", "inception_score", "kl_divergence", "clip_score", "loudness_correlation"),
        *("loudness_error_db", "onset_f1"),
    ],
    "drawaudio_model.dataset": ["training_batches"],
    "drawaudio_model.pipeline": [
        "DrawAudioPipeline",
        "DrawAudioPipeline.from_pretrained",
        "DrawAudioPipeline.__call__",
    ],
    "pipelines": ["defs"],
}
"""What other code may rely on."""


def load_builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_site_build", ROOT / "docs" / "site" / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


builder = load_builder()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    assert builder.build(folder, list(PUBLIC_NAMES)) == []
    return folder


def test_every_door_is_covered() -> None:
    doors = builder.doors()
    assert {*PUBLIC_NAMES} <= {*doors}
    assert len(doors) == len({*doors}) > 40


@pytest.mark.parametrize("module", PUBLIC_NAMES)
def test_the_public_names_stand_in_the_reference(site: Path, module: str) -> None:
    page = (site / f"{module.replace('.', '/')}.html").read_text()
    assert [name for name in PUBLIC_NAMES[module] if f'id="{name}"' not in page] == []


def test_readme_is_the_index_and_every_page_of_docs_is_there_with_its_text(site: Path) -> None:
    index = (site / "index.html").read_text()
    for page in [*(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        name = f"{page.stem.lower()}.html"
        title = page.read_text().partition("\n")[0].removeprefix("# ")
        assert f'href="{name}"' in index
        assert re.search(rf"<h1[^>]*>{re.escape(title)}</h1>", (site / name).read_text()), page.name
    pictures = re.findall(r'<img[^>]* src="([^"]+)"', index)
    assert pictures and all((site / name).stat().st_size > 1000 for name in pictures)


def test_nothing_is_loaded_from_a_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|link)\b[^>]*\b(?:src|href)="([^"]+)"', page.read_text())
        loaded += re.findall(r"(?:@import|url\()\s*[\"']?(\w+:[^\"')\s]*)", page.read_text())
        assert [name for name in loaded if re.match(r"(https?:)?//", name)] == [], page.name


def test_a_module_that_cannot_be_imported_fails_the_build(tmp_path: Path) -> None:
    faults = builder.build(tmp_path / "site", ["drawaudio_model.no_such_door", "drawaudio_model.clip_format"])
    assert len(faults) == 1 and "drawaudio_model.no_such_door cannot be imported" in faults[0]


def test_names_and_files_that_do_not_exist_are_named() -> None:
    text = "See drawaudio_model.unet.NoSuchUNet, drawaudio_model.unet.DrawAudioUNet.forward, docs/no_such_page.md and unet.py."
    assert builder.wrong_names(text, "a page") == [
        "a page names drawaudio_model.unet.NoSuchUNet, which does not exist",
        "a page names the file docs/no_such_page.md, which does not exist",
    ]


def test_links_to_nothing_are_named(tmp_path: Path) -> None:
    (tmp_path / "first.html").write_text('<h1 id="top">x</h1><a href="second.html#middle">x</a><a href="#top">x</a>')
    (tmp_path / "second.html").write_text('<h1 id="top">x</h1><img src="gone.png"><a href="first.html#top">x</a>')
    assert builder.broken_links(tmp_path) == [
        "first.html links second.html#middle, a heading that is not there",
        "second.html links gone.png, which is not there",
    ]
