"""A folder of training shards against its own manifests: every damage by shard and, where possible, by clip."""

import json
import tarfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drawaudio_model import mask_rle
from drawaudio_model.atomic_files import file_sha256
from drawaudio_model.clip_format import SOURCE_SAMPLES, SOURCE_VIDEO_FRAMES
from drawaudio_model.shard import Places, ShardManifest, finished_shards, read_manifest, read_places
from drawaudio_model.training_sample import MASKS_MEMBER, SAMPLE_MEMBERS, SCHEMA_VERSION, decode_sample


@dataclass(frozen=True)
class Damage:
    """A difference from the manifest."""

    shard: str
    key: str
    """"" where it concerns no single clip."""
    message: str

    def __str__(self) -> str:
        return f"{self.shard}{f', clip {self.key}' if self.key else ''}: {self.message}"


@dataclass
class Verified:
    """The numbers of verified shards and clips, and the damages."""

    shards: int = 0
    clips: int = 0
    damages: list[Damage] = field(default_factory=list)


def shards_folder(folder: Path) -> Path:
    """The folder of the tars: `folder` itself, or `data` in a dataset's folder.

    Raises:
        ValueError: when neither has a finished shard.
    """
    for place in (Path(folder), Path(folder) / "data"):
        if finished_shards(place):
            return place
    raise ValueError(f"{folder} has no finished shard (no manifests/*.json); materialize training_shards first")


def verify_shards(folder: Path) -> Verified:
    """Check every shard: manifest, index, sha256, counts, unique keys, members, schema, and that samples decode.

    Raises:
        ValueError: when the folder has no finished shard.
    """
    from tqdm import tqdm

    place, found = shards_folder(folder), Verified()
    owners: dict[str, str] = {}
    members: dict[tuple[str, ...], str] = {}
    for shard in tqdm(finished_shards(place), desc="verify", unit="shard", dynamic_ncols=True, disable=None):
        found.shards += 1
        try:
            manifest = read_manifest(place, shard)
        except ValueError as error:
            found.damages.append(Damage(shard, "", f"its manifest cannot be read ({error})"))
            continue
        assert manifest is not None
        found.clips += manifest.count
        found.damages += _verify_shard(place, manifest, owners, members)
    for tar in sorted(place.glob("*.tar")):
        if not (place / "manifests" / f"{tar.stem}.json").exists():
            found.damages.append(Damage(tar.stem, "", "its tar has no manifest: it was never finished; make it again"))
    return found


def _verify_shard(
    folder: Path, manifest: ShardManifest, owners: dict[str, str], members: dict[tuple[str, ...], str]
) -> Iterator[Damage]:
    """Damages of one shard.

    Args:
        folder: of the tars.
        manifest: of the shard.
        owners: key -> shard, of all shards so far; grows.
        members: the one set of members that all clips have -> the shard that showed it first; grows to one entry.
    """
    shard, tar = manifest.shard, folder / f"{manifest.shard}.tar"
    if manifest.schema_version != SCHEMA_VERSION:
        yield Damage(shard, "", f"its schema is {manifest.schema_version}, expected {SCHEMA_VERSION}; make it again")
    index_path = folder / "index" / f"{shard}.parquet"
    if not index_path.exists() or file_sha256(index_path) != manifest.index_sha256:
        yield Damage(shard, "", "its index is missing or has another sha256 than its manifest says; make it again")
        return
    try:
        places = read_places(folder, manifest)
    except ValueError as error:
        yield Damage(shard, "", str(error))
        return
    if len(places) != manifest.count:
        yield Damage(shard, "", f"its index has {len(places)} clips, its manifest says {manifest.count}; make it again")
    for key, own in places.items():
        if owners.setdefault(key, shard) != shard:
            yield Damage(shard, key, f"the key is in {owners[key]} as well; keys must be unique")
        if not members and _is_sample(own):
            members[tuple(own)] = shard
        if members and tuple(own) not in members:
            ((expected, first),) = members.items()
            yield Damage(shard, key, f"its members are {', '.join(own)}, in {first} they are {', '.join(expected)}")
    if not tar.exists():
        yield Damage(shard, "", "its tar is missing; make it again")
        return
    whole = tar.stat().st_size == manifest.bytes and file_sha256(tar) == manifest.sha256
    damages = list(_verify_members(tar, manifest.shard, places))
    yield from damages
    if not whole and not damages:
        yield Damage(shard, "", "its tar has another sha256 than its manifest says, between the clips; make it again")


def _verify_members(tar: Path, shard: str, places: Places) -> Iterator[Damage]:
    """Damages of the clips in a tar: cut off, changed, misnamed, or not to be decoded.

    All arrays are decoded; the FLAC of the first, the middle and the last clip only, as their bytes were compared.
    """
    keys = list(places)
    decoded = {keys[0], keys[len(keys) // 2], keys[-1]} if keys else set()
    with tar.open("rb") as file:
        for key, own in places.items():
            contents: dict[str, bytes] = {}
            fault = ""
            for member, (offset, size, crc32) in own.items():
                file.seek(offset - tarfile.BLOCKSIZE)
                block = file.read(tarfile.BLOCKSIZE + size)
                contents[member] = block[tarfile.BLOCKSIZE :]
                fault = fault or _member_fault(f"{key}.{member}", block, size, crc32)
            if _is_sample(own):
                fault = fault or _sample_fault(shard, key, contents, hear=key in decoded)
            if fault:
                yield Damage(shard, key, f"{fault}; make the shard again")


def _is_sample(members: Collection[str]) -> bool:
    """Whether a clip is a training sample; the shards of raw clips and of single features may be verified too."""
    return sum(name in SAMPLE_MEMBERS and name.endswith(".npy") for name in members) > 3


def _member_fault(name: str, block: bytes, size: int, crc32: int | None) -> str:
    """The fault of one file of the tar, header and content; "" where there is none."""
    if len(block) != tarfile.BLOCKSIZE + size:
        return f"the tar ends inside {name}"
    try:
        header = tarfile.TarInfo.frombuf(block[: tarfile.BLOCKSIZE], "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        return f"the header of {name} is damaged ({error})"
    if (header.name, header.size) != (name, size):
        return f"the tar has {header.name} of {header.size} bytes where the index says {name} of {size}"
    if crc32 is not None and zlib.crc32(block[tarfile.BLOCKSIZE :]) != crc32:
        return f"{name} is damaged: its checksum is not what its manifest says"
    return ""


def _mask_fault(content: bytes) -> str:
    """The fault of a sample's masks; "" where there is none."""
    try:
        regions = mask_rle.decode(json.loads(content))
    except ValueError as error:
        return f"its {MASKS_MEMBER} does not decode ({error})"
    if len(regions) != SOURCE_VIDEO_FRAMES:
        return f"its {MASKS_MEMBER} has {len(regions)} frames, expected {SOURCE_VIDEO_FRAMES}"
    return ""


def _sample_fault(shard: str, key: str, contents: Mapping[str, bytes], *, hear: bool) -> str:
    """The fault of a sample's content; "" where there is none."""
    from drawaudio_model.media import decode_flac

    strange = [name for name in contents if name not in (*SAMPLE_MEMBERS, MASKS_MEMBER)]
    if strange:
        return f"{strange[0]} is no member of schema {SCHEMA_VERSION}"
    try:
        sample = decode_sample(key, contents)
    except (ValueError, EOFError) as error:
        return f"it does not decode ({error})"
    split = shard.partition("-")[0]
    if sample.facts.get("key") != key or sample.facts.get("split") != split:
        return f"its json says key {sample.facts.get('key')!r} and split {sample.facts.get('split')!r}"
    if contents["txt"].decode(errors="replace") != sample.facts.get("caption"):
        return "its txt is not the caption of its json"
    if sample.masks is not None and (fault := _mask_fault(sample.masks)):
        return fault
    if None in sample.facts.values():
        return "its json holds a null"
    if hear and sample.flac is not None:
        try:
            waveform = decode_flac(sample.flac)
        except (ValueError, RuntimeError) as error:
            return f"its flac does not decode ({error})"
        if waveform.shape != (SOURCE_SAMPLES,):
            return f"its flac has {len(waveform)} samples, expected {SOURCE_SAMPLES}"
    return ""
