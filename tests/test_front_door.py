"""`drawaudio` as a whole: every command is there, its help costs nothing, and a mistake ends in the same way everywhere."""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from drawaudio_model import control, evaluate, pretrain, train
from drawaudio_model.cli import build_parser, main
from drawaudio_model.commands.dataset import ANSWERS
from drawaudio_model.pretraining.arguments import BACKBONES
from pipelines import __main__ as pipelines

ROOT = Path(__file__).parent.parent
HEAVY = {
    *("torch", "diffusers", "transformers", "accelerate", "numpy", "scipy", "pyarrow", "librosa", "matplotlib", "av"),
    *("PIL", "tqdm", "dagster", "shtab", "pipelines", "starlette", "uvicorn"),
}
"""What no `--help` may wait for."""
PROGRAMS = {"train": train, "evaluate": evaluate, "control": control, "pretrain": pretrain}
"""Commands that are modules of their own, too."""


def leaves(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command that does something."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield words
    for group in groups:
        for name, command in group.choices.items():
            yield from leaves(command, (*words, name))


COMMANDS = list(leaves(build_parser()))


def test_the_commands_are_these() -> None:
    dataset = {("dataset", name) for name in ("plan", "layout", "range", "command", "card", "verify", "publish")}
    drawing = {("generate",), ("mix",), ("curve",), ("mask",), ("info",), ("completion",), ("studio",)}
    drawing |= {("regenerate",), ("batch",), ("serve",)}
    assert {*COMMANDS} == dataset | drawing | {(name,) for name in PROGRAMS}


def test_no_help_loads_a_library() -> None:
    """In one process, the commands one after the other: each is asked what is loaded that was not before."""
    program = f"""
import contextlib, io, json, sys
from drawaudio_model.cli import main
found = {{}}
for command in {[(), ("dataset",), *COMMANDS]!r}:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main([*command, "--help"])
    loaded = {HEAVY!r} & sys.modules.keys()
    for name in loaded:
        del sys.modules[name]
    if loaded:
        found[" ".join(command)] = sorted(loaded)
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_help_shows_an_example_that_parses(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    shown = re.sub(r"\\\n\s+", "", capsys.readouterr().out).splitlines()
    example = next(line for line in shown if line.strip().startswith("drawaudio "))
    words = shlex.split(example.strip().split("     ")[0].split(" > ")[0])
    assert tuple(words[1 : 1 + len(command)]) == command
    assert callable(build_parser().parse_args(words[1:]).command)


def test_the_version_is_the_project_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert ended.value.code == 0 and capsys.readouterr().out == f"drawaudio {stated}\n"


def mistakes(folder: Path) -> dict[str, tuple[list[str], str]]:
    """Words of a mistake in each program, and of the sentence that it gets."""
    common = ["--model", str(folder), "--shards", str(folder), "--output", str(folder / "out")]
    clips = ["--raw-clips", str(folder), "--media", str(folder), "--wordings", str(folder / "wordings.json")]
    backbones = ["--backbones", str(folder), "--output", str(folder / "out")]
    return {
        "train on an empty folder": (
            ["--run", "tiny", "--shards", str(folder), *backbones],
            "no finished training shard",
        ),
        "train without folders": (["--run", "tiny"], "required: --shards, --backbones, --output"),
        "evaluate on an empty folder": (common, "has no finished shard of the split 'test'"),
        "evaluate on no device": ([*common, "--device", "abacus"], "device 'abacus' cannot be used here"),
        "evaluate in batches of nothing": ([*common, "--batch", "0"], "--batch: '0' is no whole number of at least 1"),
        "evaluate no part": ([*common, "--part", "3/2"], "--part is '3/2', expected I/N"),
        "control on an empty folder": ([*common, *clips], "has no finished shard of the split 'test'"),
        "control on no device": ([*common, *clips, "--device", "abacus"], "device 'abacus' cannot be used here"),
        "control with nothing": ([], "the following arguments are required: --model"),
        **{
            f"pretrain {name} on an empty folder": (
                [name, "--data", str(folder), "--output", str(folder / "out")],
                "first",
            )
            for name in BACKBONES
        },
    }


@pytest.mark.parametrize("mistake", mistakes(Path()))
def test_a_mistake_is_one_sentence_and_code_2_however_the_command_is_typed(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["python -m"])
    words, sentence = mistakes(tmp_path)[mistake]
    name = mistake.split()[0]
    told = []
    for run, arguments in ((main, [name, *words]), (PROGRAMS[name].main, words)):
        try:
            code = run(arguments)
        except SystemExit as ended:
            code = ended.code
        assert code == 2
        told.append(capsys.readouterr().err.strip().splitlines()[-1])
    assert told[0] == told[1]
    assert told[0].startswith("drawaudio: ") and sentence in told[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ANSWERS)
def test_the_dataset_builder_answers_both_commands_alike(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DRAWAUDIO_PROFILE", "tiny")
    monkeypatch.setenv("DRAWAUDIO_DATA", str(tmp_path))
    (tmp_path / "model").mkdir()
    codes = [main(["dataset", what]), pipelines.main([what])]
    shown = capsys.readouterr()
    refused = {
        "plan": "profile tiny fetches nothing",
        "card": f"no finished shard in {tmp_path}/training_shards; run: ",
    }
    if what in refused:
        assert codes == [2, 2] and shown.err.count(f"drawaudio: {refused[what]}") == 2
        return
    lines = shown.out.splitlines()
    assert codes == [0, 0] and lines[: len(lines) // 2] == lines[len(lines) // 2 :] != []
    expected = {"range": "train-000000...", "layout": str(tmp_path), "command": "dagster asset materialize"}
    assert lines[0].startswith(expected[what])


def test_both_commands_have_all_answers() -> None:
    assert ANSWERS.keys() == pipelines.ANSWERS.keys()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["dataset", "p"], ["plan", "publish"]),
        (["pretrain", "a"], ["audio_autoencoder"]),
        (["train", "--run", "pa"], ["paper"]),
        (["generate", "--loud"], ["--loudness"]),
        (["info", "mod"], ["model"]),
    ],
)
def test_bash_completes_commands_options_values_and_files(
    typed: list[str], offered: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    assert main(["completion", "bash"]) == 0
    words = shlex.join(["drawaudio", *typed])
    asked = f"COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _shtab_drawaudio; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{capsys.readouterr().out}\n{asked}"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(word.rstrip("/") for word in done.stdout.split()) == offered


def test_other_shells_get_a_script_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    starts = {"zsh": "#compdef drawaudio", "tcsh": "#"}
    for shell, start in starts.items():
        assert main(["completion", shell]) == 0
        script = capsys.readouterr().out
        assert script.startswith(start) and "publish" in script
