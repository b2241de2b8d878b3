"""The command line and the exit of every command, typed as `drawaudio <command>` or as `python -m drawaudio_model.<command>`.

A person's mistake ends with exit code 2 and one sentence after "drawaudio: ". Nothing but the standard
library is imported, here and behind it: the parsers are built for every `--help`, and must be there at once.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from drawaudio_model.one_sentence import one_sentence
from drawaudio_model.parent_process import end_with_starter


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors read like those of the commands themselves."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"drawaudio: {message}\n")


def add_command(
    commands: "argparse._SubParsersAction", name: str, purpose: str, example: str, run: Callable[[Any], None]
) -> argparse.ArgumentParser:
    """The parser of a command; `run` gets the parsed options."""
    parser = commands.add_parser(name, help=purpose, **_texts(purpose, example))
    parser.set_defaults(command=run)
    return parser


def run_program(
    name: str,
    purpose: str,
    example: str,
    add_arguments: Callable[[argparse.ArgumentParser], object],
    run: Callable[[argparse.Namespace], object],
    arguments: Sequence[str] | None,
) -> int:
    """Runs a command that is started as a module of its own and calls itself `drawaudio <name>`; returns its exit code.

    Args:
        name: of the command, without "drawaudio".
        purpose: one sentence for its help.
        example: that its help shows.
        add_arguments: declares its options.
        run: does what the parsed options ask for.
        arguments: the words of the command line; None: those of this process.
    """
    parser = Parser(prog=f"drawaudio {name}", **_texts(purpose, example))
    add_arguments(parser)
    options = parser.parse_args(arguments)
    end_with_starter()
    return exit_code(lambda: run(options))


def count(text: str) -> int:
    """The value of an argument that counts something: a whole number of at least 1.

    Raises:
        argparse.ArgumentTypeError: when it is none; the parser names the argument.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def check_folder_of(output: Path) -> None:
    """Raises ValueError where the folder of a file that is to be written does not exist."""
    if not output.resolve().parent.is_dir():
        raise ValueError(f"the folder of {output} does not exist; make it first")


def exit_code(run: Callable[[], object]) -> int:
    """Runs a command; returns 0, 2 for wrong input, 1 for a training that diverged, or 130 when interrupted.

    Wrong input is a ValueError or an OSError, divergence a FloatingPointError; each is reported in one line on stderr.
    """
    try:
        run()
    except (ValueError, OSError, FloatingPointError) as error:
        sys.stderr.write(f"drawaudio: {one_sentence(error)}\n")
        return 1 if isinstance(error, FloatingPointError) else 2
    except KeyboardInterrupt:
        return 130
    return 0


def _texts(purpose: str, example: str) -> dict[str, Any]:
    return {
        "description": purpose[0].upper() + purpose[1:] + ".",
        "epilog": example,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
