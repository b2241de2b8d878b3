"""The visible things that a caption names: the vocabulary that the object detector is asked for."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from drawaudio_model.caption import read_caption
from drawaudio_model.shard import ShardReader
from pipelines.annotation.annotators import pick_phrase_finder
from pipelines.annotation.settings import AnnotationSettings
from pipelines.assets.captions import captions
from pipelines.partitions import SHARD_BACKFILL, shards
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
    """One tar a shard: `json` with the list of noun phrases of the clip's caption, in order of appearance."""
    make_shards(context, Path(data_root.path), recipe(), show)


def recipe() -> ShardRecipe:
    """Find the phrases of several captions at a time."""
    finder = pick_phrase_finder(AnnotationSettings.from_environment())

    def work(keys: list[str], upstream: dict[str, ShardReader]) -> Iterator[tuple[str, Members]]:
        texts = [read_caption(upstream["captions"], key).text for key in keys]
        for key, phrases in zip(keys, finder.phrases(texts), strict=True):
            yield key, {"json": json.dumps({"phrases": phrases}).encode()}

    return ShardRecipe("noun_phrases", ("captions",), work, settings={"chunker": finder.identity}, group=256)


def read_phrases(reader: ShardReader, key: str) -> list[str]:
    """The phrases of a clip."""
    return json.loads(reader.member(key, "json"))["phrases"]


def show(reader: ShardReader) -> dict[str, Any]:
    """The most frequent phrases of a finished shard."""
    from collections import Counter

    from drawaudio_model.release.markdown import table

    counts = Counter(phrase for key in reader.keys for phrase in read_phrases(reader, key))
    without = sum(not read_phrases(reader, key) for key in reader.keys)
    rows = [{"phrase": phrase, "clips": count} for phrase, count in counts.most_common(12)]
    return {"phrases": dg.MetadataValue.md(table(rows)), "clips_without_phrase": without}
