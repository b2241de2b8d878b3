"""`python -m pipelines`: what the profile in force means, as a line or a page for people and for shell scripts."""

import argparse
import sys

from pipelines.profiles import current_profile, data_root, materialize_command


def main(argv: list[str] | None = None) -> None:
    """Print the current profile's shard range, layout or command, or plan what a build from YouTube will take."""
    parser = argparse.ArgumentParser(prog="python -m pipelines", description=main.__doc__)
    parser.add_argument("what", choices=("range", "layout", "command", "plan"))
    what = parser.parse_args(argv).what
    answers = {
        "range": lambda: current_profile().shard_range,
        "layout": layout,
        "command": materialize_command,
        "plan": plan,
    }
    try:
        sys.stdout.write(answers[what]() + "\n")
    except ValueError as error:
        parser.error(str(error))


def plan() -> str:
    """What the profile's source says of fetching its clips."""
    from pipelines.sources.registry import current_source  # loads Dagster, which the other answers need not wait for

    return current_source().plan(current_profile())


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


if __name__ == "__main__":
    main()
