"""`drawaudio train`, `evaluate`, `control` and `pretrain`: the programs that are modules of their own, too.

Their parsers are light; the programs themselves are imported when one is run.
"""

import argparse

from drawaudio_model.command_line import add_command
from drawaudio_model.evaluation import arguments as evaluation
from drawaudio_model.library_imports import libraries_imported
from drawaudio_model.pretraining import arguments as pretraining
from drawaudio_model.training import arguments as training


def add_commands(commands: "argparse._SubParsersAction") -> None:
    """All four."""
    training.add_arguments(add_command(commands, "train", training.PURPOSE, training.EXAMPLE, run_train))
    evaluation.add_evaluate_arguments(
        add_command(commands, "evaluate", evaluation.EVALUATE_PURPOSE, evaluation.EVALUATE_EXAMPLE, run_evaluate)
    )
    evaluation.add_control_arguments(
        add_command(commands, "control", evaluation.CONTROL_PURPOSE, evaluation.CONTROL_EXAMPLE, run_control)
    )
    pretraining.add_arguments(add_command(commands, "pretrain", pretraining.PURPOSE, pretraining.EXAMPLE, run_pretrain))


def run_train(options: argparse.Namespace) -> None:
    """`drawaudio train`."""
    with libraries_imported():
        from drawaudio_model.train import run

    run(options)


def run_evaluate(options: argparse.Namespace) -> None:
    """`drawaudio evaluate`."""
    with libraries_imported():
        from drawaudio_model.evaluate import run

    run(options)


def run_control(options: argparse.Namespace) -> None:
    """`drawaudio control`."""
    with libraries_imported():
        from drawaudio_model.control import run

    run(options)


def run_pretrain(options: argparse.Namespace) -> None:
    """`drawaudio pretrain`."""
    with libraries_imported():
        from drawaudio_model.pretrain import run

    run(options)
