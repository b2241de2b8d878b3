"""`python -m pipelines`: what the profile in force means, as a line or a page for people and for shell scripts."""

import sys
from collections.abc import Callable, Mapping, Sequence

from drawaudio_model.command_line import Parser, exit_code
from pipelines.profiles import current_profile, data_root, materialize_command
from pipelines.sources.youtube.plan import plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the current profile's shard range, layout or command, or plan what a build from YouTube will take."""
    parser = Parser(prog="python -m pipelines", description=main.__doc__)
    parser.add_argument("what", choices=tuple(ANSWERS))
    what = parser.parse_args(arguments).what
    return exit_code(lambda: sys.stdout.write(answer(what) + "\n"))


def answer(what: str) -> str:
    """A line or a page on the profile in force; `what` is one of ANSWERS.

    Raises:
        ValueError: when the environment names no profile, or the profile has no such answer.
    """
    return ANSWERS[what]()


def layout() -> str:
    """What lies where under the data root, for people."""
    root = data_root()
    rows = [
        ("clip_list.parquet", "every clip, its caption and its shard"),
        ("raw_clips/", "media, and a ledger row for every clip"),
        ("training_shards/", "the WebDataset tars, their index and manifests"),
        ("backbones/", "autoencoder, text encoders, CAVP, object detector"),
        ("training/", "checkpoints, log.jsonl, TensorBoard events"),
        ("model/", "the trained DrawAudioPipeline"),
        ("evaluation/", "metrics.json, and index.html: open it and listen"),
        ("control/", "control.json, and index.html: which instruction steers, and how well"),
    ]
    lines = [f"{root}", *(f"  {name:<20} {text}" for name, text in rows if (root / name.rstrip("/")).exists())]
    return "\n".join(lines)


ANSWERS: Mapping[str, Callable[[], str]] = {
    "range": lambda: current_profile().shard_range,
    "layout": layout,
    "command": materialize_command,
    "plan": lambda: plan(current_profile()),
}
"""What can be asked, here and by `drawaudio dataset`."""


if __name__ == "__main__":
    sys.exit(main())
