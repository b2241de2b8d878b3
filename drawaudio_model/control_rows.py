"""What each row of the control benchmark instructs, and the scenes that it is asked about.

A scene is a test clip of the demo world with its truth. Of two things that move in it only the caption's sounds; the
other one is what swapped instructions ask for: its own box as mask, or a caption of its kind with its own phrase.

Legend: V video frames, D CAVP width, P loudness points.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from drawaudio_model.clip_format import LOUDNESS_POINTS, VIDEO_FRAMES
from drawaudio_model.evaluate import stacked, text_embeddings
from drawaudio_model.masks import Box, apply_mask, rasterize
from drawaudio_model.media import decode_jpeg
from drawaudio_model.pipeline import Conditions, DrawAudioPipeline
from drawaudio_model.shard import ShardReader, TrainingSample, finished_shards
from drawaudio_model.text import TextEmbeddings


@dataclass(frozen=True)
class Row:
    """One set of instructions; None withholds an instruction. The video is always given."""

    name: str
    words: str
    text: Literal["own", "other"] | None = None
    mask: Literal["own", "true", "other"] | None = None
    """"own": the detector's boxes, as in training; "true" and "other": the world's own boxes of the one or the other thing."""
    signal: Literal["own", "shuffled", "inverted"] | None = None

    @property
    def asks_for_the_other(self) -> bool:
        """Whether the thing that does not sound in the real clip shall sound."""
        return "other" in (self.text, self.mask)

    @property
    def asks_of_two(self) -> bool:
        """Whether the row tells two things apart: it is asked of scenes with two only."""
        return self.asks_for_the_other or self.mask == "true"


ROWS = (
    Row("none", "video alone"),
    Row("text", "text", text="own"),
    Row("mask", "mask", mask="own"),
    Row("signal", "signal", signal="own"),
    Row("text_mask", "text, mask", text="own", mask="own"),
    Row("text_signal", "text, signal", text="own", signal="own"),
    Row("mask_signal", "mask, signal", mask="own", signal="own"),
    Row("all", "text, mask, signal", text="own", mask="own", signal="own"),
    Row("shuffled_signal", "text, mask, signal of another clip", text="own", mask="own", signal="shuffled"),
    Row("inverted_signal", "text, mask, signal upside down", text="own", mask="own", signal="inverted"),
    Row("true_mask", "mask by the true box, no text", mask="true"),
    Row("other_mask", "mask of the other thing by its true box, no text", mask="other"),
    Row("other_mask_signal", "mask of the other thing, signal of the first, no text", mask="other", signal="own"),
    Row("other_text", "text of the other thing, no mask", text="other"),
)
"""Table 4's rows, each subset of text, mask and signal, and what the paper did not ask."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A test clip and what the world knows of it."""

    sample: TrainingSample
    kind: str
    """Of the thing that the caption names and the real sound is made by."""
    donor: "TrainingSample"
    """Another clip, whose curve the shuffled row commands."""
    other_kind: str | None = None
    """Of the other thing that moves; None where there is none."""
    other_caption: str = ""
    true_cavp_masked: np.ndarray | None = None
    """(V, D) CAVP features of the frames with the thing's true boxes as mask; None where there is no other."""
    other_cavp_masked: np.ndarray | None = None
    """(V, D) the same with the other thing's."""

    @property
    def key(self) -> str:
        """The clip's key."""
        return self.sample.key

    def curve(self, row: Row) -> np.ndarray:
        """(P,) what the row's sound is measured against: its commanded curve, else the clip's own."""
        if row.signal == "shuffled":
            return self.donor.loudness[:LOUDNESS_POINTS]
        own = self.sample.loudness[:LOUDNESS_POINTS]
        return own.max() + own.min() - own if row.signal == "inverted" else own

    def expected_kind(self, row: Row) -> str | None:
        """The kind that shall sound."""
        return self.other_kind if row.asks_for_the_other else self.kind

    def reference_key(self, row: Row) -> str | None:
        """Key of the clip whose real sound has the row's curve; None where no real sound has it."""
        return {"shuffled": self.donor.key, "inverted": None}.get(row.signal or "", self.key)


def read_scenes(
    pipe: DrawAudioPipeline, samples: Sequence[TrainingSample], raw_clips: Path, clip_media: Path, *, seed: int
) -> list[Scene]:
    """The samples with their truth, the other thing's features and a donor each.

    Raises:
        ValueError: for fewer than two samples, or a clip whose truth or pictures are missing.
    """
    if len(samples) < 2:
        raise ValueError(f"{len(samples)} clips are too few to shuffle their curves; the benchmark needs at least 2")
    truths = read_truths([sample.key for sample in samples], raw_clips)
    order = np.random.default_rng([seed, 2]).permutation(len(samples))
    donors = {samples[a].key: samples[b] for a, b in zip(order, np.roll(order, -1), strict=True)}
    frames = _Frames(clip_media)
    scenes = []
    for sample in samples:
        truth = truths[sample.key]
        target = truth["objects"][truth["target"]]
        others = other_things(truth)
        if not others:
            scenes.append(Scene(sample, target["kind"], donors[sample.key]))
            continue
        pictures = frames.read(sample.key)
        masked = []
        for thing in (target, others[0]):
            mask = rasterize(true_boxes(thing), *pictures.shape[1:3], frames=len(pictures))
            seen = pipe.cavp.encode_frames(np.asarray(apply_mask(pictures, mask)))[0]
            masked.append(seen.cpu().numpy()[:VIDEO_FRAMES])
        caption = other_caption(others[0], truth, truths)
        scenes.append(Scene(sample, target["kind"], donors[sample.key], others[0]["kind"], caption, *masked))
    return scenes


def other_things(truth: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The things of a scene that move and are not the one that sounds."""
    return [thing for number, thing in enumerate(truth["objects"]) if thing["active"] and number != truth["target"]]


def row_conditions(
    row: Row, scenes: Mapping[str, Scene]
) -> Callable[[DrawAudioPipeline, Sequence[TrainingSample]], Conditions]:
    """What turns samples into the row's instructions."""

    def conditions(pipe: DrawAudioPipeline, samples: Sequence[TrainingSample]) -> Conditions:
        asked = [scenes[sample.key] for sample in samples]
        null = pipe.text([""] * len(asked))
        return pipe.conditions(
            _text(pipe, row, asked) or null,
            null,
            cavp=stacked(scene.sample.cavp[:VIDEO_FRAMES] for scene in asked),
            cavp_masked=None if row.mask is None else stacked(_masked(row, scene) for scene in asked),
            loudness=None if row.signal is None else stacked(scene.curve(row) for scene in asked),
        )

    return conditions


def _text(pipe: DrawAudioPipeline, row: Row, scenes: Sequence[Scene]) -> TextEmbeddings | None:
    if row.text is None:
        return None
    if row.text == "own":
        return text_embeddings([scene.sample for scene in scenes])
    return pipe.text([scene.other_caption for scene in scenes])


def _masked(row: Row, scene: Scene) -> np.ndarray:
    own = scene.sample.cavp_masked[:VIDEO_FRAMES]
    return {"own": own, "true": scene.true_cavp_masked, "other": scene.other_cavp_masked}[row.mask]


def read_truths(keys: Sequence[str], raw_clips: Path) -> dict[str, dict[str, Any]]:
    """Key -> truth of the clips (truth.json of the demo world).

    Raises:
        ValueError: when a clip has none.
    """
    truths = {}
    for shard in finished_shards(raw_clips):
        reader = ShardReader(raw_clips, shard)
        for key in set(keys).intersection(reader.keys):
            if "truth.json" in reader.members(key):
                truths[key] = json.loads(reader.member(key, "truth.json"))
        reader.close()
    missing = sorted(set(keys) - set(truths))
    if missing:
        raise ValueError(
            f"{raw_clips} knows no truth of {len(missing)} clips, the first is {missing[0]}; the control benchmark "
            "needs the demo world's clips, or materialize raw_clips again"
        )
    return truths


def true_boxes(thing: Mapping[str, Any]) -> list[Box]:
    """The boxes of one of the truth's objects, one a frame."""
    return [Box(frame, 0, 1.0, *corners) for frame, corners in enumerate(thing["boxes"])]


def other_caption(thing: Mapping[str, Any], truth: Mapping[str, Any], truths: Mapping[str, Mapping[str, Any]]) -> str:
    """A caption that names `thing`: that of the next clip about its kind, with its own phrase put in.

    Where no other clip is about that kind, it is the scene's own caption with the phrase exchanged.
    """
    keys = sorted(truths)
    place = keys.index(truth["key"])
    ring = [truths[key] for key in keys[place + 1 :] + keys[:place]]
    donor = next((other for other in ring if other["kind"] == thing["kind"]), truth)
    phrase = donor["objects"][donor["target"]]["phrase"]
    article = "an" if thing["phrase"][0] in "aeiou" else "a"
    before, _, after = donor["caption"].partition(phrase)
    words = before.split(" ")
    if len(words) > 1 and words[-2] in ("a", "an"):
        words[-2] = article
    return f"{' '.join(words)}{thing['phrase']}{after}"


class _Frames:
    """Frames of clips at 4 fps, out of the shards of clip_media."""

    def __init__(self, folder: Path) -> None:
        self._readers = [ShardReader(folder, shard) for shard in finished_shards(folder)]

    def read(self, key: str) -> np.ndarray:
        """(V, H, W, 3) uint8."""
        for reader in self._readers:
            if key in reader:
                names = sorted(name for name in reader.members(key) if name.endswith("jpg"))
                return np.stack([decode_jpeg(reader.member(key, name)) for name in names])
        raise ValueError(f"no shard of clip_media has the pictures of {key}; materialize clip_media")
