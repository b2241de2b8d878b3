"""The files that describe a finished dataset: card, index, Croissant, shard list, checksums, pictures and notices.

A card's folder is laid out like the dataset's repository: beside README.md and croissant.json stands `data`, the training
shards or a link to them, so the same relative paths hold here and after publishing. Everything in it but the pictures is
computed from the shards and from `card.json`, so a variant of the shards gets a card of its own (publish.py).
"""

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Any

from drawaudio_model.atomic_files import decode_array, write_atomically
from drawaudio_model.clip_format import LOUDNESS_FPS, SOURCE_SECONDS, VIDEO_FPS
from drawaudio_model.release.ledger_row import LedgerRow
from drawaudio_model.release.markdown import escaped, table
from drawaudio_model.shard import EXCLUDE_FILE, SPLITS, ShardManifest, ShardReader, is_excluded, read_exclude_list
from drawaudio_model.training_sample import MASKS_MEMBER, SAMPLE_MEMBERS, decode_facts

TEMPLATE = Path(__file__).with_name("template.md")
FACTS_FILE = "card.json"
"""File of the card's facts that the shards do not hold: name, About, captions of the pictures."""
CARD_LINK = "dataset_card"
"""Link to the card's folder, beside the folder of training shards."""
INDEX_COLUMNS = (
    "key",
    "shard",
    "split",
    "source",
    "source_id",
    "start_s",
    "label",
    "caption",
    "caption_source",
    "noun_phrases",
)
"""Columns of index/clips.parquet: the shard, and what each sample's json says."""
DROPPED_COLUMNS = ("key", "source", "source_id", "stage", "reason", "message")

_MEMBER_TEXT = {
    "json": "facts: source, start, label, split, caption and its source, noun phrases (a line each), scores, flags",
    "txt": "the caption",
    "flac": "sound, mono",
    "boxes.json": "a text per frame, a line per box: phrase index, confidence, corners x0 y0 x1 y1 in [0, 1]",
    MASKS_MEMBER: "the part of each frame that sounds, as COCO's run lengths (`size`; `counts`, a text a frame), and its source",
    "cavp.npy": "CAVP features of the frames",
    "cavp_masked.npy": "CAVP features of the frames, black outside the boxes, or the masks where there are any",
    "loudness.npy": "loudness signal (RMS, smoothed)",
    "latent.npy": "autoencoder posterior of the log-mel: mean, then log-variance",
    "clap.npy": "CLAP embedding of the caption",
    "t5.npy": "T5 states of the caption",
    "gpt.npy": "GPT-2 tokens made from both",
}
_WITH_SOUND = "This variant holds the sound itself (`flac`); publish the other one: `drawaudio dataset publish`."
_WITHOUT_SOUND = (
    "This variant holds features only: the recordings (`flac`) and the videos stay with whoever has them. The latents are no "
    "protection of the sound: the model's autoencoder and vocoder make of them what is close to the recording, so treat them as "
    "you would treat it."
)
_OPEN_SOUND = (
    'clips = clips.cast_column("flac", datasets.Audio(decode=False))  # bytes; decoding needs torchcodec, FFmpeg\n'
)
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**12, "n>1M"))


@dataclass(frozen=True)
class About:
    """Facts about a dataset that its files do not hold."""

    pretty_name: str
    description: str
    licence: str
    """Licence identifier of the Hugging Face Hub; "other" where clips belong to different people."""
    licence_place: str
    """Address of the licence's text, or the file beside the card that says what holds: "NOTICE"."""
    provenance: str
    """Origin of clips and captions, in sentences."""
    notices: tuple[tuple[str, str], ...]
    """(what, its licence and what that asks for), one line each."""
    citation: str = ""
    url: str | None = None
    """Address of the published dataset, if there is one."""
    published: str = "2026-01-01"
    """Date of this version, ISO 8601."""
    version: str = "1.0.0"


@dataclass(frozen=True)
class CardStatistics:
    """Totals over all shards of a card."""

    folder: Path
    clips: int
    hours: float
    megabytes: float
    clips_per_split: dict[str, int]
    dropped_per_reason: dict[str, int]
    """By "asset: reason"."""


def write_card(
    cards_dir: Path,
    name: str,
    shards_folder: Path,
    manifests: Sequence[ShardManifest],
    about: About,
    *,
    ledger: Sequence[LedgerRow] = (),
    pictures: Mapping[str, bytes] | None = None,
    template: Path = TEMPLATE,
) -> CardStatistics:
    """Write `<cards_dir>/<name>/` and return its totals.

    Args:
        cards_dir: folder of all cards.
        name: the dataset's name, also of its folder.
        shards_folder: training shards; the card links to it as `data`, unless it is that folder.
        manifests: of the shards that the card covers.
        about: what the files do not say.
        ledger: one row per clip; those that were dropped are counted as lost.
        pictures: "<key>: <caption>" of a picture -> PNG bytes; those of excluded clips are left out.
        template: Markdown with the placeholders of `_texts`.

    Raises:
        ValueError: when there is no shard, or no template.
    """
    if not sum(manifest.count for manifest in manifests):
        raise ValueError(
            f"no clip in the {len(manifests)} shards of {shards_folder}; materialize training_shards first"
        )
    if not template.exists():
        raise ValueError(f"{template} does not exist; it stands beside the cards in the repository")
    folder = Path(cards_dir) / name
    folder.mkdir(parents=True, exist_ok=True)
    link_folder(folder / "data", Path(shards_folder))
    excluded = read_exclude_list(Path(shards_folder) / EXCLUDE_FILE)
    manifests = sorted(manifests, key=lambda manifest: (SPLITS.index(split_of(manifest)), manifest.shard))
    clips = [row for row in _index_rows(Path(shards_folder), manifests) if not is_excluded(row["key"], excluded)]
    dropped = [asdict(row) for row in ledger if row.status == "dropped"]
    kept = [row for row in (pictures or {}).items() if not is_excluded(row[0].partition(":")[0], excluded)]
    shown = {f"pictures/{i:02d}.png": row for i, row in enumerate(kept)}
    for stale in {*(folder / "pictures").glob("*.png")} - {folder / path for path in shown}:
        stale.unlink()
    for path, (_, png) in shown.items():
        write_atomically(folder / path, png)
    write_atomically(folder / "index" / "clips.parquet", _parquet(clips, INDEX_COLUMNS))
    write_atomically(folder / "index" / "dropped.parquet", _parquet(dropped, DROPPED_COLUMNS))
    write_atomically(folder / "shards.json", _as_json(wids_index(name, about, Path(shards_folder), manifests)))
    sums = "".join(f"{manifest.sha256}  data/{manifest.shard}.tar\n" for manifest in manifests)
    write_atomically(folder / "SHA256SUMS", sums.encode())
    write_atomically(folder / "NOTICE", _notice(about).encode())
    write_atomically(folder / EXCLUDE_FILE, "".join(f"{name}\n" for name in sorted(excluded)).encode())
    facts = {"name": name, "about": asdict(about), "pictures": {path: text for path, (text, _) in shown.items()}}
    write_atomically(folder / FACTS_FILE, _as_json(facts))
    statistics = _statistics(folder, manifests, clips, dropped)
    body = Template(template.read_text()).substitute(
        _texts(
            about,
            statistics,
            manifests,
            clips,
            dropped,
            Path(shards_folder),
            {path: text for path, (text, _) in shown.items()},
        )
    )
    write_atomically(folder / "README.md", (front_matter(about, statistics) + body).encode())
    write_atomically(folder / "croissant.json", _as_json(croissant(name, about, folder, manifests)))
    return statistics


def split_of(manifest: ShardManifest) -> str:
    """ "train", "val" or "test", from the shard's name."""
    return manifest.shard.partition("-")[0]


def front_matter(about: About, statistics: CardStatistics) -> str:
    """The YAML head by which the Hugging Face Hub and `datasets` know licence, size and files."""
    import yaml

    size = next(text for limit, text in _SIZES if statistics.clips < limit)
    files = [
        {"split": "validation" if split == "val" else split, "path": f"data/{split}-*.tar"}
        for split, count in statistics.clips_per_split.items()
        if count
    ]
    head: dict[str, Any] = {"license": about.licence}
    if about.licence == "other":
        head |= {"license_name": "see-notice", "license_link": about.licence_place}
    head |= {
        "pretty_name": about.pretty_name,
        "language": ["en"],
        "size_categories": [size],
        "task_categories": ["text-to-audio"],
        "tags": ["webdataset", "croissant", "audio", "video", "video-to-audio", "foley"],
        # One format for all configs: `datasets` chooses a single reader for a folder, so the index is none of them.
        "configs": [{"config_name": "default", "default": True, "data_files": files}],
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n"


def wids_index(name: str, about: About, shards_folder: Path, manifests: Sequence[ShardManifest]) -> dict[str, Any]:
    """The shard list that `wids.ShardListDataset` reads (wids-shard-index-v1)."""
    from tqdm import tqdm

    shards = []
    for manifest in tqdm(
        sorted(manifests, key=lambda row: row.shard), desc="dataset_card checksums", unit="shard", delay=5
    ):
        with (shards_folder / f"{manifest.shard}.tar").open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        row = {"url": f"data/{manifest.shard}.tar", "md5sum": digest, "nsamples": manifest.count}
        shards.append({**row, "filesize": manifest.bytes})
    head = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": name, "info": about.description}
    return {**head, "shardlist": shards}


def croissant(name: str, about: About, folder: Path, manifests: Sequence[ShardManifest]) -> dict[str, Any]:
    """Croissant 1.0 metadata with two record sets: `clips` reads the index, `captions` reads the tars themselves."""
    import mlcroissant as mlc

    def describe(path: str, kind: str, sha256: str, size: int) -> Any:
        text = f"{size} B"
        return mlc.FileObject(
            id=path, name=path, content_url=path, encoding_formats=[kind], sha256=sha256, content_size=text
        )

    index = (folder / "index" / "clips.parquet").read_bytes()
    index_file = "index/clips.parquet"
    tars = [describe(f"data/{row.shard}.tar", "application/x-tar", row.sha256, row.bytes) for row in manifests]
    distribution = [
        describe(index_file, "application/x-parquet", hashlib.sha256(index).hexdigest(), len(index)),
        *tars,
        mlc.FileSet(
            id="caption-files",
            name="caption-files",
            contained_in=[tar.id for tar in tars],
            encoding_formats=["text/plain"],
            includes=["*.txt"],
        ),
    ]
    types = {"start_s": mlc.DataType.INTEGER}
    fields = [
        mlc.Field(
            id=f"clips/{column}",
            name=column,
            data_types=[types.get(column, mlc.DataType.TEXT)],
            is_array=True if column == "noun_phrases" else None,
            array_shape="-1" if column == "noun_phrases" else None,
            source=mlc.Source(file_object=index_file, extract=mlc.Extract(column=column)),
        )
        for column in INDEX_COLUMNS
    ]
    captions = [
        mlc.Field(
            id=f"captions/{label}",
            name=label,
            data_types=[mlc.DataType.TEXT],
            source=mlc.Source(file_set="caption-files", extract=mlc.Extract(file_property=what)),
        )
        for label, what in (("file", mlc.FileProperty.filename), ("caption", mlc.FileProperty.content))
    ]
    metadata = mlc.Metadata(
        name=name,
        description=about.description,
        license=[about.licence_place],
        url=about.url,
        version=about.version,
        cite_as=about.citation or about.pretty_name,
        date_published=about.published,
        distribution=distribution,
        record_sets=[
            mlc.RecordSet(id="clips", name="clips", key="clips/key", fields=fields),
            mlc.RecordSet(id="captions", name="captions", fields=captions),
        ],
    )
    return metadata.to_json()


def _index_rows(shards_folder: Path, manifests: Sequence[ShardManifest]) -> list[dict[str, Any]]:
    rows = []
    for manifest in manifests:
        reader = ShardReader(shards_folder, manifest.shard)
        for key in reader.keys:
            facts = decode_facts(reader.member(key, "json"))
            rows.append({**{column: facts.get(column, "") for column in INDEX_COLUMNS}, "shard": manifest.shard})
        reader.close()
    return rows


def _parquet(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"start_s": pa.int64(), "noun_phrases": pa.list_(pa.string())}
    arrays = {column: pa.array([row[column] for row in rows], types.get(column, pa.string())) for column in columns}
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays), buffer, compression="zstd", write_page_index=True)
    return buffer.getvalue()


def _statistics(
    folder: Path,
    manifests: Sequence[ShardManifest],
    clips: Sequence[Mapping[str, Any]],
    dropped: Sequence[Mapping[str, str]],
) -> CardStatistics:
    shards = {split: {row.shard for row in manifests if split_of(row) == split} for split in SPLITS}
    per_split = {split: sum(clip["shard"] in names for clip in clips) for split, names in shards.items()}
    return CardStatistics(
        folder=folder,
        clips=len(clips),
        hours=len(clips) * SOURCE_SECONDS / 3600,
        megabytes=sum(manifest.bytes for manifest in manifests) / 1e6,
        clips_per_split=per_split,
        dropped_per_reason=dict(Counter(f"{row['stage']}: {row['reason']}" for row in dropped).most_common()),
    )


def _texts(
    about: About,
    statistics: CardStatistics,
    manifests: Sequence[ShardManifest],
    clips: Sequence[Mapping[str, Any]],
    dropped: Sequence[Mapping[str, str]],
    shards_folder: Path,
    shown: Mapping[str, str],
) -> dict[str, str]:
    """Values of the template's placeholders."""
    splits = []
    for split, count in statistics.clips_per_split.items():
        rows = [row for row in manifests if split_of(row) == split]
        if not rows:
            continue
        hours, megabytes = count * SOURCE_SECONDS / 3600, sum(row.bytes for row in rows) / 1e6
        splits.append(f"| {split} | {count} | {hours:.2f} | {len(rows)} | {megabytes:.1f} |")
    listed = len(dropped) + statistics.clips
    has_sound = _has_sound(shards_folder, manifests)
    losses = [{"where and why": reason, "clips": count} for reason, count in statistics.dropped_per_reason.items()]
    return {
        "pretty_name": about.pretty_name,
        "description": about.description,
        "totals": f"{statistics.clips} clips, {statistics.hours:.2f} hours, {statistics.megabytes:.1f} MB.",
        "split_rows": "\n".join(splits),
        "pictures": "\n\n".join(f"![{escaped(text)}]({path})\n*{escaped(text)}*" for path, text in shown.items()),
        "variant": _WITH_SOUND if has_sound else _WITHOUT_SOUND,
        "open_sound": _OPEN_SOUND if has_sound else "",
        "seconds": str(SOURCE_SECONDS),
        "video_fps": str(VIDEO_FPS),
        "loudness_fps": str(LOUDNESS_FPS),
        "member_rows": "\n".join(_member_rows(shards_folder, manifests)),
        "loss_text": f"{len(dropped)} of {listed} clips ({len(dropped) / listed:.1%}) did not make it.",
        "loss_table": table(losses) if losses else "",
        "label_table": _count_table("label", clips),
        "caption_table": _count_table("caption_source", clips),
        "provenance": about.provenance,
        "licences": "\n".join(f"- {what}: {text}" for what, text in about.notices),
    }


def _has_sound(shards_folder: Path, manifests: Sequence[ShardManifest]) -> bool:
    """Whether the samples hold the sound itself."""
    reader = ShardReader(shards_folder, next(manifest.shard for manifest in manifests if manifest.count))
    has_sound = "flac" in reader.members(reader.keys[0])
    reader.close()
    return has_sound


def _count_table(column: str, clips: Sequence[Mapping[str, Any]], most: int = 20) -> str:
    counts = Counter(str(clip[column]) for clip in clips)
    rows = [{column: value or "(none)", "clips": count} for value, count in counts.most_common(most)]
    rest = len(counts) - len(rows)
    return table(rows) + (f"\n\n... and {rest} more values of {column}." if rest else "")


def _member_rows(shards_folder: Path, manifests: Sequence[ShardManifest]) -> list[str]:
    """Table rows with mean size, and with dtype and shape of the first clip's arrays."""
    reader = ShardReader(shards_folder, next(manifest.shard for manifest in manifests if manifest.count))
    members = reader.members(reader.keys[0])
    sizes = {member: [len(reader.member(key, member)) for key in reader.keys[:50]] for member in members}
    rows = []
    for member in (name for name in (*SAMPLE_MEMBERS, MASKS_MEMBER) if name in members):
        text = _MEMBER_TEXT[member]
        if member.endswith(".npy"):
            array = decode_array(reader.member(reader.keys[0], member))
            shape = ", ".join(["L", *map(str, array.shape[1:])] if member == "t5.npy" else map(str, array.shape))
            text += f"; {array.dtype.name} ({shape})"
        rows.append(f"| `{member}` | {sum(sizes[member]) / len(sizes[member]):.0f} | {text} |")
    reader.close()
    return rows


def _notice(about: About) -> str:
    lines = [about.pretty_name, "", about.provenance, "", *(f"{what}: {text}" for what, text in about.notices)]
    return "\n".join(lines) + "\n"


def read_facts(folder: Path) -> tuple[str, About, dict[str, str]]:
    """Name, About and pictures (path -> caption) of a card's folder.

    Raises:
        ValueError: when the folder holds no card.
    """
    path = Path(folder) / FACTS_FILE
    if not path.exists():
        raise ValueError(f"{folder} has no {FACTS_FILE}; materialize dataset_card first")
    facts = json.loads(path.read_text())
    about = facts["about"] | {"notices": tuple(tuple(row) for row in facts["about"]["notices"])}
    return facts["name"], About(**about), facts["pictures"]


def link_folder(link: Path, target: Path) -> None:
    """Point `link` at `target` by a relative path, replacing an older link; nothing to do where it is that folder."""
    if not link.is_symlink() and link.exists() and link.samefile(target):
        return
    relative = os.path.relpath(target.resolve(), link.parent.resolve())
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        raise ValueError(f"{link} is no link; move it away, a link to {target} belongs there")
    link.symlink_to(relative, target_is_directory=True)


def _as_json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str).encode() + b"\n"
