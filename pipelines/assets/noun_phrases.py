"""The visible things that a caption names: the vocabulary that the object detector is asked for."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from drawaudio_model.caption import read_caption
from drawaudio_model.shard import ShardReader
from pipelines.annotation.annotators import pick_phrase_finder
from pipelines.annotation.own_files import FROM_FILE
from pipelines.annotation.settings import AnnotationSettings, own_annotations
from pipelines.assets.captions import captions
from pipelines.clip_rows import read_clip_list
from pipelines.partitions import SHARD_BACKFILL, base_shard, shards
from pipelines.resources import DataRoot
from pipelines.shard_work import Members, ShardRecipe, make_shards
from pipelines.steps_at_once import EARLY


@dg.asset(
    deps=[captions],
    partitions_def=shards,
    backfill_policy=SHARD_BACKFILL,
    group_name="text",
    kinds={"spacy"},
    op_tags=EARLY,
)
def noun_phrases(context: dg.AssetExecutionContext, data_root: DataRoot) -> None:
    """One tar a shard: `json` with the list of noun phrases of the clip's caption, in order of appearance.

    Phrases from a file of DRAWAUDIO_ANNOTATIONS take their place.
    """
    root = Path(data_root.path)
    make_shards(context, root, recipe(root), show)


def recipe(root: Path) -> ShardRecipe:
    """Find the phrases of several captions at a time, except for clips whose phrases are there already.

    Args:
        root: the data root, with the clip list.
    """
    settings = AnnotationSettings.from_environment()
    finder, own = pick_phrase_finder(settings), own_annotations(settings)
    rows = read_clip_list(root) if own is not None and own.has_phrases else {}

    def given(key: str) -> list[str] | None:
        return own.phrases_of(rows[key]) if own is not None and key in rows else None

    def work(keys: list[str], upstream: dict[str, ShardReader]) -> Iterator[tuple[str, Members]]:
        texts = {key: read_caption(upstream["captions"], key).text for key in keys if given(key) is None}
        found = dict(zip(texts, finder.phrases([*texts.values()]), strict=True)) if texts else {}
        for key in keys:
            facts: dict[str, Any] = {"phrases": found[key] if key in found else given(key)}
            if rows:
                facts["source"] = "caption" if key in found else FROM_FILE
            yield key, {"json": json.dumps(facts).encode()}

    def shard_settings(shard: str) -> dict[str, str]:
        clips = [row for row in rows.values() if row.shard == base_shard(shard)]
        return {"files": own.mark(own.phrases_of, clips)} if own is not None and rows else {}

    inputs = {"chunker": finder.identity}
    return ShardRecipe("noun_phrases", ("captions",), work, settings=inputs, shard_settings=shard_settings, group=256)


def read_phrases(reader: ShardReader, key: str) -> list[str]:
    """The phrases of a clip."""
    return json.loads(reader.member(key, "json"))["phrases"]


def phrases_source(reader: ShardReader, key: str) -> str | None:
    """Whether a clip's phrases are its caption's or a file's; None where no clip has any from a file."""
    return json.loads(reader.member(key, "json")).get("source")


def show(reader: ShardReader) -> dict[str, Any]:
    """The most frequent phrases of a finished shard."""
    from collections import Counter

    from drawaudio_model.release.markdown import table

    counts = Counter(phrase for key in reader.keys for phrase in read_phrases(reader, key))
    without = sum(not read_phrases(reader, key) for key in reader.keys)
    rows = [{"phrase": phrase, "clips": count} for phrase, count in counts.most_common(12)]
    return {"phrases": dg.MetadataValue.md(table(rows)), "clips_without_phrase": without}
