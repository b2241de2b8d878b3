"""`drawaudio completion`: what a shell reads to complete commands, options and files."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from drawaudio_model.command_line import add_command

SHELLS = ("bash", "zsh", "tcsh")
_EXAMPLE = """example:
  drawaudio completion bash > ~/.local/share/bash-completion/completions/drawaudio
  drawaudio completion zsh > ~/.zfunc/_drawaudio     with fpath+=~/.zfunc before compinit in ~/.zshrc"""


def add_commands(commands: "argparse._SubParsersAction", whole: argparse.ArgumentParser) -> None:
    """`completion`, of the commands that `whole` has when it is run."""
    completion = add_command(
        commands, "completion", "print the script that completes drawaudio in a shell", _EXAMPLE, run_completion
    )
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(whole=whole)


def run_completion(options: argparse.Namespace) -> None:
    """`drawaudio completion`."""
    import shtab

    for action in _actions(options.whole):
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # what shtab looks for, and argparse does not know
    print(shtab.complete(options.whole, options.shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of a parser and of all its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
