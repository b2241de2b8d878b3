"""The commands of README and docs, as a reader would type them, on the tiny profile."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.warm_python import warm_commands, warm_python

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"(?:<!-- tested: (?P<mark>[^>]*?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text and the mark before it ("" where there is none)."""

    language: str
    text: str
    mark: str


def blocks() -> list[Block]:
    """All fenced blocks: the README's in order, then those of the pages in docs/ by name."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = [match for page in pages for match in _BLOCK.finditer(page.read_text())]
    return [Block(match["language"], match["text"], match["mark"] or "") for match in found]


def run_block(block: Block, folder: Path, environment: dict[str, str], phrase: str = "bell", clip: str = "") -> str:
    """Run a block in `folder`, in which `home` is DAGSTER_HOME and `data` the data root; returns its output.

    What differs from typing it: the data root's name, the clip (`clip`, the tiny world has others), the thing to look for
    (`phrase`) and how sure a barely trained detector must be, and that neither `make` nor `source` chooses an environment.
    """
    text = block.text.replace("data/demo", "data").replace("$PWD/dagster_home", "$PWD/home")
    text = text.replace("source .venv/bin/activate\n", "")
    text = re.sub(r"\S+\.mp4 > clip\.mp4", f"{clip}.mp4 > clip.mp4", text)
    text = text.replace("--text bell -o mask.json", f'--text "{phrase}" --confidence 0 -o mask.json')
    binaries = warm_commands()
    text = re.sub(r"^make (?=demo|dev)", f"make -C '{ROOT}' BIN='{binaries}' -o .venv/.installed ", text, flags=re.M)
    variables = environment | {
        "PATH": f"{binaries}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    command = [warm_python(), "-c", text] if block.language == "python" else ["bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{text}\n{(done.stdout + done.stderr)[-6000:]}"
    return done.stdout + done.stderr
