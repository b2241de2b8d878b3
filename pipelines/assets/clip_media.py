"""Clips decoded once: frames at 4 fps and 16 kHz sound, so that no later asset opens a media file again."""

import io
import json
import os
import pickle
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import dagster as dg
import numpy as np

from drawaudio_model.clip_format import SOURCE_SECONDS, VIDEO_FPS
from drawaudio_model.clip_frames import frame_member, read_frames
from drawaudio_model.shard import Rejection, ShardManifest, ShardReader
from pipelines.assets.raw_clips import raw_clips
from pipelines.clip_scores import SCORES_VERSION, clip_scores
from pipelines.partitions import SHARD_BACKFILL, shards
from pipelines.profiles import current_profile
from pipelines.raw_media import media_of, read_media_facts
from pipelines.resources import DataRoot
from pipelines.shard_work import Members, ShardRecipe, make_shards

if TYPE_CHECKING:
    from drawaudio_model.media import FileFacts

LONGER_SIDE = 640
"""Pixels of a stored frame's longer side, at most."""
MAXIMUM_OFFSET_SECONDS = 0.5
"""Sound that starts this much before or after the picture points at a wrongly cut file."""


@dg.asset(
    deps=[raw_clips],
    partitions_def=shards,
    backfill_policy=SHARD_BACKFILL,
    group_name="dataset",
    kinds={"webdataset"},
    check_specs=[
        dg.AssetCheckSpec("share_kept", asset="clip_media", blocking=True),
        dg.AssetCheckSpec("sound_starts_with_picture", asset="clip_media"),
    ],
)
def clip_media(context: dg.AssetExecutionContext, data_root: DataRoot) -> dg.MaterializeResult:
    """One tar a shard: 40 JPEGs at 4 fps (longer side <= 640), 10 s of 16 kHz mono FLAC, and scores as `json`."""
    root = Path(data_root.path)
    manifests = make_shards(context, root, recipe(), show)
    return dg.MaterializeResult(check_results=[_share_kept(manifests), _offsets(root, list(manifests))])


def recipe() -> ShardRecipe:
    """Decode every raw clip; bad media become rejected rows with a reason."""
    return ShardRecipe(
        "clip_media",
        ("raw_clips",),
        _decode,
        settings={"side": LONGER_SIDE, "scores": SCORES_VERSION},
        together=_source,
        batched=False,
    )


def read_waveform(reader: ShardReader, key: str) -> np.ndarray:
    """(160000,) float32 waveform of a clip of this asset, as it was recorded (not normalised; see `storable`)."""
    from drawaudio_model.media import decode_flac

    return decode_flac(reader.member(key, "flac"))


def show(reader: ShardReader) -> dict[str, Any]:
    """A contact sheet and a mel of the first clip, and the hours that were kept."""
    from drawaudio_model.loudness import loudness_signal
    from drawaudio_model.mel import log_mel, normalize_waveform
    from pipelines import pictures

    key = reader.keys[0]
    waveform = normalize_waveform(read_waveform(reader, key))
    mel, curve = log_mel(waveform), loudness_signal(waveform, seconds=SOURCE_SECONDS)
    sheet = pictures.contact_sheet(read_frames(reader, key), [], [], key)
    return {
        "hours": round(len(reader) * SOURCE_SECONDS / 3600, 3),
        "frames": dg.MetadataValue.md(pictures.picture(sheet)),
        "mel": dg.MetadataValue.md(pictures.picture(pictures.mel_with_loudness(np.asarray(mel), np.asarray(curve)))),
    }


def _decode(keys: list[str], upstream: dict[str, ShardReader]) -> Iterator[tuple[str, Members | Rejection]]:
    raw = upstream["raw_clips"]
    sources: dict[str, list[str]] = {}
    for key in keys:
        sources.setdefault(_source(key, upstream), []).append(key)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for outcomes in pool.map(lambda group: _decode_file(raw, group), sources.values()):
            yield from outcomes


def _source(key: str, upstream: dict[str, ShardReader]) -> str:
    """The file that a clip is cut from: the user's, or the clip itself. A file is decoded once for all its clips."""
    return read_media_facts(upstream["raw_clips"], key).path or key


def _decode_file(raw: ShardReader, keys: list[str]) -> Iterable[tuple[str, Members | Rejection]]:
    """The outcome of each clip of one file; whatever is wrong with the file, of any kind, rejects them with its words."""
    from drawaudio_model.decoding.errors import MediaError, only_media_errors

    try:
        with only_media_errors():  # Also around what is made of the frames.
            return _read_file(raw, keys)
    except MediaError as error:
        reason, text = error.reason, str(error)
    except FileNotFoundError as error:
        reason, text = "missing_file", str(error)
    return [(key, Rejection(key, reason, text)) for key in keys]


def _read_file(raw: ShardReader, keys: list[str]) -> Iterator[tuple[str, Members | Rejection]]:
    """Reads the whole file, then gives the outcomes one by one: until then they lie in a temporary file."""
    from drawaudio_model.media import DecodedClip, encode_flac, encode_jpeg, fault_of, stream_clips

    starts = [read_media_facts(raw, key).start_s for key in keys]
    places: dict[int, int] = {}
    spool = tempfile.TemporaryFile()

    def take(index: int, clip: DecodedClip) -> None:
        # A file with one good clip is read; its empty ones are told by their flags.
        reason = next((flag for flag in ("too_short", "silent") if flag in clip.flags), None)
        content: tuple[str, str] | tuple[dict[str, Any], dict[str, bytes]]
        if reason is not None:
            content = reason, f"{fault_of(clip)}; it teaches nothing"
        else:
            sound = storable(clip.waveform)
            facts = {
                "flags": [*clip.flags, *(["turned_down"] if sound is not clip.waveform else [])],
                "video_seconds": clip.video_seconds,
                "audio_seconds": clip.audio_seconds,
                "scores": clip_scores(clip.frames, clip.waveform),
            }
            frames = {frame_member(i): encode_jpeg(frame) for i, frame in enumerate(clip.frames)}
            content = facts, {"flac": encode_flac(sound), **frames}
        places[index] = spool.seek(0, io.SEEK_END)
        pickle.dump(content, spool)

    try:
        file = stream_clips(
            media_of(raw, keys[0]), starts, take, seconds=SOURCE_SECONDS, fps=VIDEO_FPS, longer_side=LONGER_SIDE
        )
    except BaseException:
        spool.close()
        raise
    return _outcomes(spool, keys, places, file)


def _outcomes(
    spool: BinaryIO, keys: list[str], places: dict[int, int], file: "FileFacts"
) -> Iterator[tuple[str, Members | Rejection]]:
    with spool:
        for index, key in enumerate(keys):
            spool.seek(places[index])
            facts, members = pickle.load(spool)
            if isinstance(facts, str):
                yield key, Rejection(key, facts, members)
                continue
            facts |= {
                "flags": [*facts["flags"], *file.flags],
                "frames_decoded": file.frames_decoded,
                "audio_seconds_decoded": file.audio_seconds_decoded,
                "audio_offset_seconds": file.audio_offset_seconds,
            }
            yield key, {"json": json.dumps(facts).encode(), **members}


def storable(waveform: np.ndarray) -> np.ndarray:
    """The waveform (samples,) in [-1, 1]: the very array, or turned down as a whole where a lossy decoder overshot.

    Not limited: training brings every clip to the same peak, so what it learns is the sound without any distortion.
    """
    peak = np.abs(waveform).max()
    return waveform if peak <= 1 else (waveform / peak).clip(-1, 1)


def _share_kept(manifests: dict[str, ShardManifest]) -> dg.AssetCheckResult:
    kept = sum(manifest.count for manifest in manifests.values())
    dropped = sum(len(manifest.rejected) for manifest in manifests.values())
    share = kept / max(kept + dropped, 1)
    limit = current_profile().minimum_kept_share
    return dg.AssetCheckResult(
        check_name="share_kept",
        passed=share >= limit and kept > 0,
        metadata={"kept": kept, "dropped": dropped, "share": share, "limit": limit},
    )


def _offsets(root: Path, names: list[str]) -> dg.AssetCheckResult:
    late: dict[str, float] = {}
    for name in names:
        reader = ShardReader(root / "clip_media", name)
        for key in reader.keys:
            offset = json.loads(reader.member(key, "json"))["audio_offset_seconds"]
            if abs(offset) > MAXIMUM_OFFSET_SECONDS:
                late[key] = offset
        reader.close()
    return dg.AssetCheckResult(
        check_name="sound_starts_with_picture",
        passed=not late,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"clips": dg.MetadataValue.json(late), "limit_seconds": MAXIMUM_OFFSET_SECONDS},
    )
