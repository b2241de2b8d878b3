"""`drawaudio`: make a video sound, draw its curve and mask, build data, train, measure, look into a model.

Bad input ends with exit code 2 and one sentence. Heavy libraries are imported by the commands that need them, so that
`drawaudio --help` and the help of every command answer at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drawaudio_model.command_line import Parser, add_command, exit_code
from drawaudio_model.commands import batch, completion, dataset, draw, generate, programs, regenerate
from drawaudio_model.parent_process import end_with_starter
from drawaudio_model.studio import command as studio
from drawaudio_model.thread_waiting import wait_briefly

_INFO_EXAMPLE = """example:
  drawaudio info data/demo/model"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    end_with_starter()
    wait_briefly()
    return exit_code(lambda: options.command(options))


class _Version(argparse.Action):
    """Look the installed version up only for `--version`: that takes longer than building the parser."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"drawaudio {version('drawaudio')}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    parser = Parser(prog="drawaudio", description="Sound for silent video, steered by text, mask and curve.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    generate.add_commands(commands)
    regenerate.add_commands(commands)
    batch.add_commands(commands)
    draw.add_commands(commands)
    studio.add_commands(commands)
    info = add_command(commands, "info", "say what a model folder holds", _INFO_EXAMPLE, run_info)
    info.add_argument("model", type=Path, metavar="MODEL")
    programs.add_commands(commands)
    dataset.add_commands(commands)
    completion.add_commands(commands, parser)
    return parser


def run_info(options: argparse.Namespace) -> None:
    """`drawaudio info`."""
    from drawaudio_model.model_folder import check_model_files, model_sha256, read_json, weight_shapes

    if (options.model / "adapter_config.json").is_file():
        config = read_json(options.model / "adapter_config.json", needed=("part", "base_model", "licence"))
        count = sum(_product(shape) for shape in weight_shapes(options.model / "adapters.safetensors").values())
        weights = f"{count:,} weights"
        print(f"{options.model}  {config['part']} for {config['base_model']}, {weights}, licence {config['licence']}")
        return
    parts = check_model_files(options.model)
    index = read_json(options.model / "model_index.json")
    print(f"{options.model}  sha256 {model_sha256(options.model)}")
    print(f"  fine-tuned from {index.get('base_model') or 'nothing'}, licence {index.get('licence') or 'not stated'}")
    for name, (library, class_name) in sorted(parts.items()):
        shapes = [s for file in (options.model / name).glob("*.safetensors") for s in weight_shapes(file).values()]
        weights = f"{sum(_product(shape) for shape in shapes):>13,} weights" if shapes else ""
        print(f"  {name:18} {class_name:32} {weights or library}")


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


if __name__ == "__main__":
    sys.exit(main())
