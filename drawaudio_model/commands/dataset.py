"""`drawaudio dataset`: what the dataset builder will make and has made, and what becomes of a finished dataset."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from drawaudio_model.command_line import add_command

ANSWERS = {
    "plan": "say what a build from YouTube will take, before anything is fetched",
    "layout": "say what lies where under the data root",
    "range": "name the shards of the profile, as --partition-range wants them",
    "command": "name the command that makes everything up to the trained model",
    "card": "write the card of the finished shards: README.md, index, Croissant, notices",
}
"""Commands that `python -m pipelines` has as well."""
_ANSWER_EXAMPLE = """example:
  drawaudio dataset {0}

  Asked of the profile in DRAWAUDIO_PROFILE (demo where it is not set); the same as `python -m pipelines {0}`."""
_VERIFY_EXAMPLE = """example:
  drawaudio dataset verify data/demo/training_shards"""
_PUBLISH_EXAMPLE = """example:
  drawaudio dataset publish data/demo/training_shards data/published
  drawaudio dataset publish data/demo/training_shards hf://datasets/me/demo     after `hf auth login`

  What is there already is not written or sent again: interrupted, it continues."""


def add_commands(commands: "argparse._SubParsersAction") -> None:
    """`dataset` and its commands."""
    dataset = commands.add_parser("dataset", help="plan a dataset, check it, publish it").add_subparsers(
        required=True, metavar="COMMAND"
    )
    for what, purpose in ANSWERS.items():
        answer = add_command(dataset, what, purpose, _ANSWER_EXAMPLE.format(what), run_answer)
        answer.set_defaults(what=what)
    verify = add_command(
        dataset, "verify", "check every shard of a folder against its manifest", _VERIFY_EXAMPLE, run_verify
    )
    verify.add_argument("folder", type=Path, metavar="DIR")
    share = add_command(
        dataset,
        "publish",
        "copy a dataset without its recordings to a folder or the hub",
        _PUBLISH_EXAMPLE,
        run_publish,
    )
    share.add_argument("folder", type=Path, metavar="DIR", help="training shards, or a dataset's folder")
    share.add_argument("destination", metavar="DEST", help="a folder, or hf://datasets/<owner>/<name>")
    share.add_argument(
        "--public",
        action="store_true",
        help="send it to a dataset of the hub that everybody can read; its latents decode to nearly the sound",
    )


def run_answer(options: argparse.Namespace) -> None:
    """`drawaudio dataset plan`, `layout`, `range`, `command` and `card`.

    Raises:
        ValueError: when the dataset builder is not there, or the profile is wrong.
    """
    # By its name when it is asked for: the model works without the package that builds datasets.
    try:
        pipelines = import_module("pipelines.__main__")
    except ModuleNotFoundError as error:
        if error.name not in ("pipelines", "pipelines.__main__"):
            raise
        raise ValueError(
            f"dataset {options.what} needs the package pipelines, which is not installed; install drawaudio with it"
        ) from error
    print(pipelines.answer(options.what))


def run_verify(options: argparse.Namespace) -> None:
    """`drawaudio dataset verify`."""
    from drawaudio_model.release.verify import verify_shards

    found = verify_shards(options.folder)
    for damage in found.damages:
        print(damage, file=sys.stderr)
    if found.damages:
        raise ValueError(f"{options.folder}: {len(found.damages)} damages in {found.shards} shards, each named above")
    print(f"{options.folder}: {found.shards} shards, {found.clips} clips, all as their manifests say")


def run_publish(options: argparse.Namespace) -> None:
    """`drawaudio dataset publish`."""
    from drawaudio_model.release.publish import publish

    done = publish(options.folder, options.destination, public=options.public)
    card = "" if done.has_card else "; without a card, materialize dataset_card first and publish again"
    print(f"{done.place}: {done.shards} shards, {done.clips} clips, {done.megabytes:.1f} MB without recordings{card}")
