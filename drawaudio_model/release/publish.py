"""The variant of a dataset that may leave the house: without the recordings and without what was taken back.

Its latents are what the model learns from, and they stay: an autoencoder with its vocoder makes of them a sound that is close to
the recording. The card says so, and nothing is sent where everybody can read it unless that was said.

The published folder is laid out like its card (card.py): README.md and the index beside `data/`, the shards. Each shard is
a transaction, so a publication that was interrupted continues, and one that is complete is left as it is.
"""

from dataclasses import dataclass
from pathlib import Path

from drawaudio_model.atomic_files import file_sha256, fingerprint, write_atomically
from drawaudio_model.one_sentence import one_sentence
from drawaudio_model.release.card import CARD_LINK, FACTS_FILE, read_facts, write_card
from drawaudio_model.release.ledger_row import LedgerRow
from drawaudio_model.release.verify import shards_folder
from drawaudio_model.shard import (
    EXCLUDE_FILE,
    ShardManifest,
    ShardReader,
    ShardWriter,
    finished_shards,
    is_excluded,
    read_exclude_list,
)

HUB = "hf://datasets/"
"""Prefix of a destination on the Hugging Face Hub."""
LEFT_OUT = ("flac",)
"""Members that are not published."""


@dataclass(frozen=True)
class Publication:
    """The place of a published dataset and what was written there."""

    place: str
    shards: int
    clips: int
    megabytes: float
    has_card: bool


def publish(folder: Path, destination: str, *, public: bool = False) -> Publication:
    """Write the published variant to a folder, or upload it to the hub.

    Args:
        folder: training shards, or a dataset's folder with `data` in it.
        destination: a folder, or hf://datasets/<owner>/<name>.
        public: an existing dataset of the hub may be one that everybody can read.

    Raises:
        ValueError: when there is no shard, one is damaged, or the destination is the source or holds something else.
    """
    source = shards_folder(folder).resolve()
    if not destination.startswith(HUB):
        return write_variant(source, card_of(folder), Path(destination).expanduser())
    name = destination.removeprefix(HUB).strip("/")
    if name.count("/") != 1:
        raise ValueError(f"destination is {destination!r}, expected {HUB}<owner>/<name>; correct it")
    local = source.parent / "published"
    written = write_variant(source, card_of(folder), local)
    upload(local, name, public=public)
    return Publication(destination, written.shards, written.clips, written.megabytes, written.has_card)


def card_of(folder: Path) -> Path | None:
    """The card that belongs to shards or a dataset's folder, where there is one."""
    for place in (Path(folder), Path(folder).parent, Path(folder).resolve().parent / CARD_LINK):
        if (place / FACTS_FILE).exists():
            return place.resolve()
    return None


def write_variant(source: Path, card: Path | None, target: Path) -> Publication:
    """Write shards without LEFT_OUT and excluded clips to `<target>/data`, and their own card beside them."""
    data = target / "data"
    if data.resolve() == source or target.resolve() == source:
        raise ValueError(f"{target} is where the shards lie already; publish to another folder")
    if target.exists() and any(target.iterdir()) and not (data / "manifests").is_dir():
        raise ValueError(f"{target} holds something else; publish to an empty or a new folder")
    excluded = read_exclude_list(source / EXCLUDE_FILE)
    manifests = _write_shards(source, data, excluded)
    write_atomically(data / EXCLUDE_FILE, "".join(f"{name}\n" for name in sorted(excluded)).encode())
    if card is not None:
        _write_card(card, target, data, manifests)
    return Publication(
        place=str(target),
        shards=len(manifests),
        clips=sum(manifest.count for manifest in manifests),
        megabytes=sum(manifest.bytes for manifest in manifests) / 1e6,
        has_card=card is not None,
    )


def upload(folder: Path, name: str, *, public: bool = False) -> None:
    """Upload a published folder to a dataset of the hub, private where it is new; what is there already is not sent again.

    Args:
        folder: of `write_variant`.
        name: `<owner>/<name>`.
        public: also where everybody can read it.

    Raises:
        ValueError: when the hub cannot be reached or refuses, or the dataset is public and that was not said.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub = HfApi()
    try:
        hub.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        if not public and not hub.dataset_info(name).private:
            raise ValueError(
                f"{HUB}{name} is there already and everybody can read it, and the latents of its clips decode to nearly their "
                "sound; add --public if that is allowed, or publish under another name, which will be private"
            )
        hub.upload_folder(
            repo_id=name,
            repo_type="dataset",
            folder_path=folder,
            ignore_patterns=["*.staging/*", "*.partial", "*.writing/*"],
            commit_message="Shards without sound, index and card",
        )
    except (HfHubHTTPError, httpx.HTTPError) as error:
        reason = one_sentence(error)[:200]
        raise ValueError(f"{HUB}{name} does not take it ({reason}); `hf auth login`, or publish to a folder") from error


def _write_shards(source: Path, data: Path, excluded: frozenset[str]) -> list[ShardManifest]:
    from tqdm import tqdm

    names = finished_shards(source)
    manifests = []
    for name in tqdm(names, desc="publish", unit="shard", dynamic_ncols=True, disable=None):
        reader = ShardReader(source, name)
        gone = [key for key in reader.keys if is_excluded(key, excluded)]
        inputs = {"source": reader.manifest.sha256, "left_out": fingerprint(LEFT_OUT), "excluded": fingerprint(gone)}
        with ShardWriter(data, name, inputs=inputs) as writer:
            manifests.append(writer.committed or _strip(reader, writer, frozenset(gone)))
        reader.close()
    for name in set(finished_shards(data)) - set(names):
        # Its manifest first: without it the shard does not exist for readers.
        for stale in (data / "manifests" / f"{name}.json", data / f"{name}.tar", data / "index" / f"{name}.parquet"):
            stale.unlink(missing_ok=True)
    return manifests


def _strip(reader: ShardReader, writer: ShardWriter, gone: frozenset[str]) -> ShardManifest:
    """Write one shard without what is not published.

    Raises:
        ValueError: when the source is not as its manifest says.
    """
    tar = reader.folder / f"{reader.shard}.tar"
    if file_sha256(tar) != reader.manifest.sha256:
        raise ValueError(
            f"{tar} has another sha256 than its manifest says; see: drawaudio dataset verify {reader.folder}"
        )
    for key, members in reader.items():
        if key in writer.done:
            continue
        if key in gone:
            writer.reject(key, "excluded", f"{key} was taken back; it is on the exclude list")
        else:
            writer.add(key, {name: content for name, content in members.items() if name not in LEFT_OUT})
    for row in reader.manifest.rejected:
        if row.key not in writer.done:
            writer.reject(row.key, row.reason, row.message)
    return writer.commit()


def _write_card(card: Path, target: Path, data: Path, manifests: list[ShardManifest]) -> None:
    """The card anew, from its facts, its losses and its pictures, over the published shards."""
    import pyarrow.parquet as pq

    _, about, pictures = read_facts(card)
    outside = [path for path in pictures if not (card / path).resolve().is_relative_to(card.resolve())]
    if outside:
        raise ValueError(
            f"{card / FACTS_FILE} names the picture {outside[0]!r} outside its folder; make the card again"
        )
    dropped = pq.read_table(card / "index" / "dropped.parquet").to_pylist()
    write_card(
        target.parent,
        target.name,
        data,
        manifests,
        about,
        ledger=[LedgerRow(**row, status="dropped") for row in dropped],
        pictures={text: (card / path).read_bytes() for path, text in pictures.items()},
    )
