"""`python -m pipelines`: what the profile in force means, as a line or a page for people and for shell scripts."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drawaudio_model.command_line import Parser, exit_code
from pipelines.profiles import current_profile, data_root, materialize_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the current profile's shard range, layout or command, plan a build from YouTube, or write the dataset's card."""
    parser = Parser(prog="python -m pipelines", description=main.__doc__)
    parser.add_argument("what", choices=tuple(ANSWERS))
    what = parser.parse_args(arguments).what
    return exit_code(lambda: sys.stdout.write(answer(what) + "\n"))


def answer(what: str) -> str:
    """A line or a page on the profile in force, for `card` after writing it; `what` is one of ANSWERS.

    Raises:
        ValueError: when the environment names no profile, or the profile has no such answer.
    """
    return ANSWERS[what]()


def plan() -> str:
    """The source's estimate of fetching the profile's clips."""
    from pipelines.sources.registry import current_source  # loads Dagster, which the other answers need not wait for

    return current_source().plan(current_profile())


def layout() -> str:
    """The layout of the data root, for people."""
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


def card() -> str:
    """Write the card of the finished shards, as the asset `dataset_card` does, and say where it lies.

    Raises:
        ValueError: when there is no finished shard.
    """
    # Dagster takes longer to load than the other answers take altogether.
    import dagster as dg

    from pipelines.assets.dataset_card import dataset_card
    from pipelines.resources import DataRoot

    try:
        card: Any = dataset_card(DataRoot(path=str(data_root())))
        metadata = card.metadata
    except dg.Failure as error:
        raise ValueError(error.description) from error
    return f"{metadata['folder'].value}: {metadata['dagster/row_count']} clips, {metadata['megabytes']} MB"


ANSWERS: Mapping[str, Callable[[], str]] = {
    "range": lambda: current_profile().shard_range,
    "layout": layout,
    "command": materialize_command,
    "plan": plan,
    "card": card,
}
"""The questions that can be asked, here and by `drawaudio dataset`."""


if __name__ == "__main__":
    sys.exit(main())
