"""One caption a clip, and where it came from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from drawaudio_model.atomic_files import fingerprint
from drawaudio_model.caption import Caption, read_caption
from drawaudio_model.clip_format import SOURCE_VIDEO_FRAMES
from drawaudio_model.clip_frames import read_frame
from drawaudio_model.shard import Rejection, ShardReader
from pipelines.annotation.annotators import Captioner, pick_captioner
from pipelines.annotation.label_sentences import label_sentence
from pipelines.annotation.own_files import OwnAnnotations
from pipelines.annotation.settings import AnnotationSettings, own_annotations
from pipelines.assets.clip_media import clip_media, read_waveform
from pipelines.clip_rows import read_clip_list
from pipelines.partitions import SHARD_BACKFILL, base_shard, shards
from pipelines.resources import DataRoot
from pipelines.shard_work import Members, ShardRecipe, make_shards
from pipelines.steps_at_once import EARLY

LABEL_ONLY = "label_only"
"""Source of a caption that is the label's sentence because no model was there to propose or to judge another."""
CLIPS_AT_ONCE = 16


@dg.asset(
    deps=[clip_media],
    partitions_def=shards,
    backfill_policy=SHARD_BACKFILL,
    group_name="text",
    kinds={"webdataset"},
    op_tags=EARLY,
)
def captions(context: dg.AssetExecutionContext, data_root: DataRoot) -> None:
    """One tar a shard: `json` with the caption, its source, and all candidates with their scores.

    A caption from a file of DRAWAUDIO_ANNOTATIONS goes first; one that came with the clip (demo, folder, AudioCaps) is kept.
    A clip with a label only (VGGSound) gets the candidate that CLAP finds nearest to its sound: the label as a sentence, an
    audio captioner's or an image captioner's.
    """
    root = Path(data_root.path)
    rows = read_clip_list(root)
    captioner, own = None, own_annotations(AnnotationSettings.from_environment())
    if any(row.caption is None and row.label and not (own and own.caption_of(row)) for row in rows.values()):
        captioner = find_captioner(context)
    for kind, words in ({} if own is None else own.coverage(rows.values())).items():
        context.log.info(f"{kind} from {own.folder if own else ''}: {words}")
    make_shards(context, root, recipe(root, captioner, own), show)


def find_captioner(context: dg.AssetExecutionContext) -> Captioner | None:
    """The captioner in force, or None where the published models are not there and not to be had.

    Raises:
        ValueError: when another captioner is named and cannot be made.
    """
    settings = AnnotationSettings.from_environment()
    try:
        return pick_captioner(settings)
    except ValueError as error:
        if settings.captioner:
            raise
        context.log.warning(f"labels become captions without candidates: {error}")
        return None


def recipe(root: Path, captioner: Captioner | None = None, own: OwnAnnotations | None = None) -> ShardRecipe:
    """Captions of the clip list, or chosen ones where it has labels only; a clip without either is rejected.

    Args:
        root: the data root.
        captioner: None: a label's sentence is its caption, and marked so.
        own: captions that are there already.
    """
    rows = read_clip_list(root)

    def work(keys: list[str], upstream: dict[str, ShardReader]) -> Iterator[tuple[str, Members | Rejection]]:
        chosen: list[str] = []
        for key in keys:
            if key not in rows:
                yield (
                    key,
                    Rejection(key, "not_listed", f"{key} is on the clip list no more; it may have been taken back"),
                )
                continue
            given, label = (rows[key].caption or "").strip(), rows[key].label
            if own is not None and (mine := own.caption_of(rows[key])) is not None:
                yield key, _members(Caption(mine.text, mine.source))
            elif given:
                yield key, _members(Caption(given, rows[key].source))
            elif label and captioner is None:
                yield key, _members(Caption(label_sentence(label), LABEL_ONLY))
            elif label:
                chosen.append(key)
            else:
                text = f"{key} has no caption; add a row for its file to the captions CSV"
                yield key, Rejection(key, "no_caption", text)
        if chosen and captioner is not None:
            yield from propose(captioner, chosen, upstream["clip_media"])

    def propose(captioner: Captioner, keys: list[str], media: ShardReader) -> Iterator[tuple[str, Members]]:
        found = captioner.candidates(
            [label_sentence(rows[key].label) for key in keys],
            [read_waveform(media, key) for key in keys],
            [read_frame(media, key, SOURCE_VIDEO_FRAMES // 2) for key in keys],
        )
        for key, candidates in zip(keys, found, strict=True):
            best = candidates[0]
            yield key, _members(Caption(best.text, best.source, tuple(candidates)))

    def shard_settings(shard: str) -> dict[str, str]:
        clips = [row for row in rows.values() if row.shard == base_shard(shard)]
        listed = {row.key: (row.caption, row.label) for row in clips}
        used = None if captioner is None else captioner.identity
        files = {"files": own.mark(own.caption_of, clips)} if own is not None and own.captions else {}
        return {"captions": fingerprint(listed), "models": fingerprint(used), **files}

    return ShardRecipe(
        "captions",
        ("clip_media",),
        work,
        shard_settings=shard_settings,
        group=CLIPS_AT_ONCE,
        batched=captioner is not None,
    )


def show(reader: ShardReader) -> dict[str, Any]:
    """The first captions, and how many came from where."""
    from collections import Counter

    from drawaudio_model.release.markdown import table

    found = {key: read_caption(reader, key) for key in reader.keys}
    rows = [{"key": key, "caption": own.text, "caption_source": own.source} for key, own in list(found.items())[:8]]
    sources = Counter(own.source for own in found.values())
    return {"first_rows": dg.MetadataValue.md(table(rows)), "sources": dg.MetadataValue.json(dict(sources))}


def _members(caption: Caption) -> Members:
    return {"json": caption.to_json()}
