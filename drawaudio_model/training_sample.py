"""Training samples: what is known of one clip, and the members of a shard that hold it.

The members in JSON hold no list that may be empty: loaders such as `datasets` take a column's type from its first rows, and
an empty list has none. Noun phrases are one text, a line each; boxes are one text a frame, a line each.

Legend: V video frames of the 10 s clip (40), D CAVP width, C latent channels, F x K latent grid of the 10 s clip, L text
tokens.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from drawaudio_model.atomic_files import decode_array, encode_array
from drawaudio_model.boxes import decode_boxes
from drawaudio_model.clip_format import SOURCE_LOUDNESS_POINTS, SOURCE_VIDEO_FRAMES

SCHEMA_VERSION = 1
"""Version of the training sample; stored in every sample and manifest."""
SAMPLE_MEMBERS = (
    "json",
    "txt",
    "flac",
    "boxes.json",
    "cavp.npy",
    "cavp_masked.npy",
    "loudness.npy",
    "latent.npy",
    "clap.npy",
    "t5.npy",
    "gpt.npy",
)
"""Members of a training sample in the order in which they stand in the tar; `flac` is absent from the published variant."""
MASKS_MEMBER = "masks.rle.json"
"""A further one, behind `boxes.json`, of a dataset with masks from files: each sample's region (`mask_rle`) and its source."""


RARE_FLAGS = ("one_channel", "wrong_length", "joined_clock", "other_stream", "changed_rate")
"""Flags that stand in a sample's facts only where they are true; docs/datasets.md says what they mean."""


@dataclass(frozen=True, eq=False)
class TrainingSample:
    """Everything that training and evaluation know of one 10 s clip."""

    key: str
    facts: dict[str, Any]
    """source, source_id, start_s, label, split, caption, caption_source, noun_phrases (a list), flags (name -> bool), scores."""
    flac: bytes | None
    """16 kHz mono, 16 bit; None in the published variant."""
    boxes: list[list[list[float]]]
    """Per frame, rows of phrase index, confidence, x0 y0 x1 y1 in [0, 1] (masks.boxes_to_json)."""
    cavp: np.ndarray
    """(V, D) float16, CAVP features of the frames."""
    cavp_masked: np.ndarray
    """(V, D) float16, CAVP features of the masked frames."""
    loudness: np.ndarray
    """(100,) float32, loudness signal (Eq. 10-11)."""
    latent: np.ndarray
    """(2C, F, K) float16: posterior mean, then log-variance."""
    clap: np.ndarray
    """(Dc,) float16."""
    t5: np.ndarray
    """(L, Dt) float16, without padding."""
    gpt: np.ndarray
    """(8, Dg) float16."""
    masks: bytes | None = None
    """The region of each frame as COCO's run lengths, which `mask_rle.decode(json.loads(...))` reads; None: that of the boxes."""


_ARRAYS = {
    "cavp": (np.float16, 2),
    "cavp_masked": (np.float16, 2),
    "loudness": (np.float32, 1),
    "latent": (np.float16, 3),
    "clap": (np.float16, 1),
    "t5": (np.float16, 2),
    "gpt": (np.float16, 2),
}
_FIRST_AXIS = {
    "cavp": SOURCE_VIDEO_FRAMES,
    "cavp_masked": SOURCE_VIDEO_FRAMES,
    "loudness": SOURCE_LOUDNESS_POINTS,
    "gpt": 8,
}


def encode_sample(sample: TrainingSample) -> dict[str, bytes]:
    """The members of a training sample, in the order of SAMPLE_MEMBERS.

    Raises:
        ValueError: when an array has the wrong dtype, rank or length, or is not finite, or a fact is null or a list.
    """
    facts = {**sample.facts, "key": sample.key, "schema_version": SCHEMA_VERSION}
    facts["noun_phrases"] = "\n".join(facts.get("noun_phrases", ()))
    lists = [name for name, value in facts.items() if isinstance(value, list | tuple)]
    if lists:
        raise ValueError(
            f"facts of {sample.key} hold a list in {lists}; loaders infer a column's type, which an empty list has not, so "
            "give a text or an object"
        )
    empty = [name for name, value in facts.items() if value is None]
    if empty:
        raise ValueError(f"facts of {sample.key} hold null in {empty}; loaders infer a column's type, so give a value")
    members = {"json": json.dumps(facts, sort_keys=True).encode(), "txt": facts["caption"].encode()}
    if sample.flac is not None:
        members["flac"] = sample.flac
    frames = ["\n".join(" ".join(map(str, row)) for row in rows) for rows in sample.boxes]
    members["boxes.json"] = json.dumps(frames).encode()
    if sample.masks is not None:
        members[MASKS_MEMBER] = sample.masks
    for name in _ARRAYS:
        array = getattr(sample, name)
        _check_array(sample.key, name, array)
        members[f"{name}.npy"] = encode_array(array)
    return members


def decode_sample(key: str, members: Mapping[str, bytes]) -> TrainingSample:
    """The inverse of `encode_sample`.

    Raises:
        ValueError: when a member is missing or has another shape than `encode_sample` writes.
    """
    missing = [name for name in SAMPLE_MEMBERS if name not in members and name != "flac"]
    if missing:
        raise ValueError(f"sample {key} lacks {missing}; its shard is no training shard of schema {SCHEMA_VERSION}")
    arrays = {name: decode_array(members[f"{name}.npy"]) for name in _ARRAYS}
    for name, array in arrays.items():
        _check_array(key, name, array)
    return TrainingSample(
        key=key,
        facts=decode_facts(members["json"]),
        flac=members.get("flac"),
        boxes=decode_boxes(members["boxes.json"]),
        masks=members.get(MASKS_MEMBER),
        **arrays,
    )


def decode_facts(content: bytes) -> dict[str, Any]:
    """A sample's facts, its noun phrases as a list (older shards hold them as one)."""
    facts = json.loads(content)
    phrases = facts.get("noun_phrases", "")
    return facts | {"noun_phrases": phrases.split("\n") if isinstance(phrases, str) and phrases else list(phrases)}


def _check_array(key: str, name: str, array: np.ndarray) -> None:
    dtype, rank = _ARRAYS[name]
    length = _FIRST_AXIS.get(name)
    if array.dtype != dtype or array.ndim != rank or (length is not None and array.shape[0] != length):
        expected = f"{np.dtype(dtype).name} with {rank} axes" + (f", the first {length} long" if length else "")
        raise ValueError(f"{name} of {key} is {array.dtype.name} {array.shape}, expected {expected}; compute it again")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} of {key} holds values that are not finite; compute it again")
