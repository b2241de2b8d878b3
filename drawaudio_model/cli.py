"""`drawaudio`: make a video sound, draw its curve and mask, look into a model or a dataset.

Bad input ends with exit code 2 and one sentence. Heavy libraries are imported by the commands that need them, so that
`drawaudio --help` answers at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from drawaudio_model.commands import draw, generate

_INFO_EXAMPLE = """example:
  drawaudio info data/demo/model"""
_VERIFY_EXAMPLE = """example:
  drawaudio dataset verify data/demo/training_shards"""

_PUBLISH_EXAMPLE = """example:
  drawaudio dataset publish data/demo/training_shards data/published
  drawaudio dataset publish data/demo/training_shards hf://datasets/me/demo     after `hf auth login`

  What is there already is not written or sent again: interrupted, it continues."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["train"]:
        # The trainer reads its own arguments, and is the same program under `accelerate launch`.
        from drawaudio_model.train import main as train

        return train(given[1:])
    options = build_parser().parse_args(given)
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        print(f"drawaudio: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    parser = argparse.ArgumentParser(
        prog="drawaudio", description="Sound for silent video, steered by text, mask and curve."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    generate.add_commands(commands, _command)
    draw.add_commands(commands, _command)
    info = _command(commands, "info", "say what a model folder holds", _INFO_EXAMPLE, run_info)
    info.add_argument("model", type=Path, metavar="MODEL")

    commands.add_parser("train", help="train the denoiser on a folder of shards", add_help=False)

    dataset = commands.add_parser("dataset", help="look after a dataset").add_subparsers(
        required=True, metavar="COMMAND"
    )
    verify = _command(
        dataset, "verify", "check every shard of a folder against its manifest", _VERIFY_EXAMPLE, run_verify
    )
    verify.add_argument("folder", type=Path, metavar="DIR")
    share = _command(
        dataset, "publish", "copy a dataset without its sound to a folder or the hub", _PUBLISH_EXAMPLE, run_publish
    )
    share.add_argument("folder", type=Path, metavar="DIR", help="training shards, or a dataset's folder")
    share.add_argument("destination", metavar="DEST", help="a folder, or hf://datasets/<owner>/<name>")
    return parser


def run_info(options: argparse.Namespace) -> None:
    """`drawaudio info`."""
    from drawaudio_model.model_folder import check_model_folder, model_sha256, read_components, read_json, weight_shapes

    if (options.model / "adapter_config.json").is_file():
        config = read_json(options.model / "adapter_config.json", needed=("part", "base_model", "licence"))
        shapes = weight_shapes(options.model / "adapters.safetensors").values()
        weights = f"{sum(_product(shape) for shape in shapes):,} weights"
        print(f"{options.model}  {config['part']} for {config['base_model']}, {weights}, licence {config['licence']}")
        return
    check_model_folder(options.model)
    index = read_json(options.model / "model_index.json")
    print(f"{options.model}  sha256 {model_sha256(options.model)}")
    print(f"  fine-tuned from {index.get('base_model') or 'nothing'}, licence {index.get('licence') or 'not stated'}")
    for name, (library, class_name) in sorted(read_components(options.model).items()):
        shapes = [s for file in (options.model / name).glob("*.safetensors") for s in weight_shapes(file).values()]
        weights = f"{sum(_product(shape) for shape in shapes):>13,} weights" if shapes else ""
        print(f"  {name:18} {class_name:32} {weights or library}")


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

    done = publish(options.folder, options.destination)
    card = "" if done.has_card else "; without a card, materialize dataset_card first and publish again"
    print(f"{done.place}: {done.shards} shards, {done.clips} clips, {done.megabytes:.1f} MB without sound{card}")


def _command(
    commands: "argparse._SubParsersAction", name: str, purpose: str, example: str, run: object
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=purpose,
        description=purpose[0].upper() + purpose[1:] + ".",
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


if __name__ == "__main__":
    sys.exit(main())
