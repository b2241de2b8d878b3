"""The wheel, installed into an environment of its own and used from another folder: nothing it needs stayed in the repository."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.evaluation.listening_page import write_video
from drawaudio_model.media import read_waveform
from tests.tiny_pipeline import tiny_pipeline
from tests.tiny_shards import write_tiny_shards

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WRITE_CARD = """
import sys
from pathlib import Path
from drawaudio_model.release.card import About, write_card
from drawaudio_model.shard import finished_shards, read_manifest

shards = Path(sys.argv[1])
about = About("Tiny", "Noise.", "cc0-1.0", "NOTICE", "Made by a test.", (("noise", "none"),))
write_card(Path("cards"), "tiny", shards, [read_manifest(shards, name) for name in finished_shards(shards)], about)
"""


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command that knows nothing of this repository; its output in the assertion where it fails."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=kept, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, for the build leaves files beside its sources; without network, by the setuptools that is here."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("drawaudio_model", "pipelines"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-index", "--no-deps"]
    run(*pip, "--no-build-isolation", "--wheel-dir", folder, folder / "source", cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel, and with the packages that are here but for this project and its test extra."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install"]
    run(*pip, "--no-index", "--no-deps", wheel, cwd=folder)
    left_out = {"__pycache__"}
    for requirement in [PROJECT["name"], *PROJECT["optional-dependencies"]["test"]]:
        name = re.match(r"[\w.-]+", requirement)[0]
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:
            continue
        left_out |= {file.parts[0] for file in files}
    (folder / "packages").mkdir()
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for package in Path(place).iterdir():
            if package.name not in left_out and package.suffix != ".pth":
                (folder / "packages" / package.name).symlink_to(package)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip()
    # A path alone: the finder of an editable installation would come with a .pth file that is executed.
    (Path(site) / "packages.pth").write_text(f"{folder / 'packages'}\n")
    return folder / "venv"


def test_the_wheel_holds_every_file_of_the_packages_and_the_licence(wheel: Path) -> None:
    places = [path for name in ("drawaudio_model", "pipelines") for path in (ROOT / name).rglob("*") if path.is_file()]
    needed = {str(path.relative_to(ROOT)) for path in places if "__pycache__" not in path.parts}
    held = set(zipfile.ZipFile(wheel).namelist())
    assert needed - held == set()
    assert [name for name in held if name.endswith(".dist-info/licenses/LICENSE")]


@pytest.mark.slow
def test_the_wheel_works_from_another_folder(environment: Path, tmp_path: Path) -> None:
    binaries = environment / "bin"
    for name in ("drawaudio_model", "pipelines"):
        found = run(binaries / "python", "-c", f"import {name}; print({name}.__file__)", cwd=tmp_path).stdout
        assert Path(found.strip()).is_relative_to(environment)
    assert (
        run(binaries / "python", "-c", "import importlib.util as u; print(u.find_spec('pytest'))", cwd=tmp_path).stdout
        == "None\n"
    )

    assert "generate" in run(binaries / "drawaudio", "--help", cwd=tmp_path).stdout
    assert run(binaries / "drawaudio", "--version", cwd=tmp_path).stdout == f"drawaudio {PROJECT['version']}\n"
    assert run(binaries / "drawaudio", "dataset", "range", cwd=tmp_path).stdout.startswith("train-000000")

    write_tiny_shards(tmp_path / "training_shards")
    run(binaries / "python", "-c", WRITE_CARD, tmp_path / "training_shards", cwd=tmp_path)
    assert "Made by a test." in (tmp_path / "cards" / "tiny" / "README.md").read_text()

    tiny_pipeline().save_pretrained(tmp_path / "model")
    frames = np.random.default_rng(0).integers(0, 255, (24, 48, 64, 3), dtype=np.uint8)
    write_video(tmp_path / "scene.mp4", frames, 12, np.full(2 * SAMPLE_RATE, 0.01, np.float32))
    command = ["generate", "scene.mp4", "--text", "a bell rings", "--model", "model", "--steps", "1", "--seed", "7"]
    run(binaries / "drawaudio", *command, "--device", "cpu", "-o", "out.flac", cwd=tmp_path)
    assert len(read_waveform(tmp_path / "out.flac")) == 2 * SAMPLE_RATE

    # The model works without the dataset builder, whose commands say what is missing.
    shutil.rmtree(next(environment.glob("lib/python*/site-packages/pipelines")))
    asked = [binaries / "drawaudio", "dataset", "range"]
    alone = subprocess.run(
        asked, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False
    )
    assert alone.returncode == 2
    assert alone.stderr == (
        "drawaudio: dataset range needs the package pipelines, which is not installed; install drawaudio with it\n"
    )
