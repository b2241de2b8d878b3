"""The instructions of each row of the control benchmark, and its scenes.

A scene is a test clip of the demo world with its truth. Of two things that move in it only the caption's sounds; swapped
instructions ask for the other one: its own box as mask, or a caption of its kind with its own phrase.

Legend: V video frames, D CAVP width, P loudness points.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from drawaudio_model.boxes import Box
from drawaudio_model.clip_format import CLIP_SECONDS, LOUDNESS_POINTS, VIDEO_FRAMES
from drawaudio_model.clip_frames import read_frames
from drawaudio_model.drawn.curves import draw_signal
from drawaudio_model.drawn.masks import drawn_mask
from drawaudio_model.drawn.sounds import LOUDEST
from drawaudio_model.evaluation.sample_sounds import stacked, text_embeddings
from drawaudio_model.masks import apply_mask, rasterize
from drawaudio_model.pipeline import Conditions, DrawAudioPipeline
from drawaudio_model.scene_truth import SceneTruth, TrueObject, read_truth
from drawaudio_model.shard import ShardReader, finished_shards
from drawaudio_model.text import TextEmbeddings
from drawaudio_model.training_sample import TrainingSample


@dataclass(frozen=True)
class Row:
    """One set of instructions; None withholds an instruction. The video is always given."""

    name: str
    title: str
    text: Literal["own", "other", "held_out"] | None = None
    """"own": the clip's caption; "other": one of the other thing; "held_out": a wording that no training clip has."""
    mask: Literal["own", "true", "other", "drawn"] | None = None
    """"own": the detector's boxes, as in training; "true" and "other": the world's own boxes of the one or the other thing;
    "drawn": a region drawn by hand over the one thing (drawn/masks.py)."""
    signal: Literal["own", "shuffled", "inverted", "drawn"] | None = None
    """"drawn": a curve drawn by hand, without regard to the picture (drawn/curves.py)."""
    of_two: bool = False
    """Whether the row tells two things apart: it is measured on scenes with two things only."""
    matched: bool = True
    """Whether the pipeline may match the level to the curve; False: levels stay as sampled."""

    @property
    def asks_for_the_other(self) -> bool:
        """Whether the thing that is silent in the real clip should sound; a text counts more than a mask."""
        return self.text == "other" or (self.text is None and self.mask == "other")

    @property
    def drawn(self) -> bool:
        """Whether an instruction is drawn at random, so that each repetition has another one."""
        return self.text == "held_out" or "drawn" in (self.mask, self.signal)


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
    Row("true_mask", "mask by the true box, no text", mask="true", of_two=True),
    Row("other_mask", "mask of the other thing by its true box, no text", mask="other", of_two=True),
    Row(
        "other_mask_signal",
        "mask of the other thing, signal of the first, no text",
        mask="other",
        signal="own",
        of_two=True,
    ),
    Row("other_text", "text of the other thing, no mask", text="other", of_two=True),
    Row("text_against_mask", "text of the one thing, mask of the other", text="own", mask="other", of_two=True),
    Row("held_out_text", "held-out wording", text="held_out"),
    Row("held_out_text_box", "held-out wording, true box", text="held_out", mask="true"),
    Row("held_out_text_mask", "held-out wording, detector's box", text="held_out", mask="own"),
    Row("held_out_text_drawn_signal", "held-out wording, drawn curve", text="held_out", signal="drawn"),
    Row("drawn_mask", "mask drawn by hand, no text", mask="drawn", of_two=True),
    Row("drawn_signal", "text, mask, drawn curve", text="own", mask="own", signal="drawn"),
    Row("all_drawn", "held-out wording, drawn mask, drawn curve", text="held_out", mask="drawn", signal="drawn"),
    Row(
        "all_drawn_unmatched",
        "the same, levels as sampled",
        text="held_out",
        mask="drawn",
        signal="drawn",
        matched=False,
    ),
)
"""Table 4's rows, each subset of text, mask and signal, and what the paper did not ask: swapped and drawn instructions."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A test clip with its truth and the instructions drawn for it."""

    sample: TrainingSample
    kind: str
    """Of the thing that the caption names and the real sound is made by."""
    donor: "TrainingSample"
    """Another clip, whose curve the shuffled row commands."""
    other_kind: str | None = None
    """Of the other thing that moves; None where there is none."""
    other_caption: str = ""
    true_cavp_masked: np.ndarray | None = None
    """(V, D) CAVP features of the frames with the thing's true boxes as mask."""
    other_cavp_masked: np.ndarray | None = None
    """(V, D) the same with the other thing's; None where there is no other."""
    drawn_cavp_masked: np.ndarray | None = None
    """(V, D) the same with a region drawn by hand over the thing."""
    held_out_text: str = ""
    """A wording of its kind that no training clip has."""
    drawn_curve: np.ndarray = field(kw_only=True)
    """(P,) a curve drawn by hand."""
    events: tuple[float, ...] = ()
    """Seconds at which the thing is seen to make a sound, in the clip's first CLIP_SECONDS."""
    other_events: tuple[float, ...] = ()
    """The same of the other thing."""

    @property
    def key(self) -> str:
        """The clip's key."""
        return self.sample.key

    def curve(self, row: Row) -> np.ndarray:
        """(P,) what the row's sound is measured against: its commanded curve, else the clip's own."""
        if row.signal == "drawn":
            return self.drawn_curve
        if row.signal == "shuffled":
            return self.donor.loudness[:LOUDNESS_POINTS]
        own = self.sample.loudness[:LOUDNESS_POINTS]
        return own.max() + own.min() - own if row.signal == "inverted" else own

    def expected_kind(self, row: Row) -> str | None:
        """The kind that shall sound."""
        return self.other_kind if row.asks_for_the_other else self.kind

    def expected_events(self, row: Row) -> tuple[float, ...]:
        """Seconds at which the thing that shall sound is seen to make a sound."""
        return self.other_events if row.asks_for_the_other else self.events

    def reference_key(self, row: Row) -> str | None:
        """Key of the clip whose real sound has the row's curve; None where no real sound has it."""
        return {"shuffled": self.donor.key, "inverted": None, "drawn": None}.get(row.signal or "", self.key)


def read_scenes(
    pipe: DrawAudioPipeline,
    samples: Sequence[TrainingSample],
    raw_clips: Path,
    clip_media: Path,
    *,
    seed: int,
    wordings: Mapping[str, Sequence[str]],
    repetition: int = 0,
) -> list[Scene]:
    """The samples with their truth, both things' features, a donor each, and instructions drawn for them.

    Args:
        pipe: whose CAVP sees the masked frames, and whose training bounds the drawn curves.
        samples: the clips.
        raw_clips: with truth.
        clip_media: with pictures.
        seed: of donors and of what is drawn.
        wordings: kind -> held-out wordings of it; each scene of a kind takes the next one.
        repetition: another one gives other drawn instructions.

    Raises:
        ValueError: for fewer than two samples, or a clip whose truth, pictures or wordings are missing.
    """
    if len(samples) < 2:
        raise ValueError(f"{len(samples)} clips are too few to shuffle their curves; the benchmark needs at least 2")
    truths = read_truths([sample.key for sample in samples], raw_clips)
    order = np.random.default_rng([seed, 2]).permutation(len(samples))
    donors = {samples[a].key: samples[b] for a, b in zip(order, np.roll(order, -1), strict=True)}
    frames, seen = _Frames(clip_media), Counter[str]()
    scenes = []
    for number, sample in enumerate(samples):
        truth = truths[sample.key]
        target, others = truth.target_object, other_things(truth)
        kind, rng = target.kind, np.random.default_rng([seed, 3, number, repetition])
        if not wordings.get(kind):
            raise ValueError(f"there is no held-out wording of {kind!r}; add some to the file of --wordings")
        pictures = frames.read(sample.key)
        masks = [_true_mask(pictures, target), drawn_mask(rng, np.array(target.boxes), *pictures.shape[1:3])]
        masks += [_true_mask(pictures, thing) for thing in others[:1]]
        true, drawn, *other = (_masked_features(pipe, pictures, mask) for mask in masks)
        scenes.append(
            Scene(
                sample,
                kind,
                donors[sample.key],
                other_kind=others[0].kind if others else None,
                other_caption=other_caption(others[0], truth, truths) if others else "",
                true_cavp_masked=true,
                other_cavp_masked=other[0] if other else None,
                drawn_cavp_masked=drawn,
                held_out_text=wordings[kind][(seen[kind] + 5 * repetition) % len(wordings[kind])],
                drawn_curve=draw_signal(rng, CLIP_SECONDS, loudest=loudest_level(pipe)),
                events=_events(target),
                other_events=_events(others[0]) if others else (),
            )
        )
        seen[kind] += 1
    return scenes


def loudest_level(pipe: DrawAudioPipeline) -> float:
    """The largest level that the pipeline has learnt; where it does not know, that of a full sine at a peak of 0.5."""
    return LOUDEST if pipe.domain is None else pipe.domain.config.loudest_level


def _events(thing: TrueObject) -> tuple[float, ...]:
    return tuple(second for second in thing.onsets_seconds if second < CLIP_SECONDS)


def _true_mask(pictures: np.ndarray, thing: TrueObject) -> np.ndarray:
    return rasterize(true_boxes(thing), *pictures.shape[1:3], frames=len(pictures))


def _masked_features(pipe: DrawAudioPipeline, pictures: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(V, D) of the first 8 s."""
    return pipe.cavp.encode_frames(np.asarray(apply_mask(pictures, mask)))[0].cpu().numpy()[:VIDEO_FRAMES]


def other_things(truth: SceneTruth) -> list[TrueObject]:
    """The things of a scene that move and are not the one that sounds."""
    return [thing for number, thing in enumerate(truth.objects) if thing.active and number != truth.target]


def row_conditions(
    row: Row, scenes: Mapping[str, Scene]
) -> Callable[[DrawAudioPipeline, Sequence[TrainingSample]], Conditions]:
    """The function from a pipeline and samples to the row's conditions."""

    def conditions(pipe: DrawAudioPipeline, samples: Sequence[TrainingSample]) -> Conditions:
        chosen = [scenes[sample.key] for sample in samples]
        null = pipe.text([""] * len(chosen))
        return pipe.conditions(
            _text(pipe, row, chosen) or null,
            null,
            cavp=stacked(scene.sample.cavp[:VIDEO_FRAMES] for scene in chosen),
            cavp_masked=None if row.mask is None else stacked(_masked(row, scene) for scene in chosen),
            loudness=None if row.signal is None else stacked(scene.curve(row) for scene in chosen),
        )

    return conditions


def _text(pipe: DrawAudioPipeline, row: Row, scenes: Sequence[Scene]) -> TextEmbeddings | None:
    if row.text is None:
        return None
    if row.text == "own":
        return text_embeddings([scene.sample for scene in scenes])
    return pipe.text([scene.other_caption if row.text == "other" else scene.held_out_text for scene in scenes])


def _masked(row: Row, scene: Scene) -> np.ndarray:
    masked = {
        None: None,
        "own": scene.sample.cavp_masked[:VIDEO_FRAMES],
        "true": scene.true_cavp_masked,
        "other": scene.other_cavp_masked,
        "drawn": scene.drawn_cavp_masked,
    }[row.mask]
    assert masked is not None, f"row {row.name} of scene {scene.key} has no mask"
    return masked


def read_truths(keys: Sequence[str], raw_clips: Path) -> dict[str, SceneTruth]:
    """Key -> truth of the clips.

    Raises:
        ValueError: when a clip has none.
    """
    truths = {}
    for shard in finished_shards(raw_clips):
        reader = ShardReader(raw_clips, shard)
        for key in set(keys).intersection(reader.keys):
            if (truth := read_truth(reader, key)) is not None:
                truths[key] = truth
        reader.close()
    missing = sorted(set(keys) - set(truths))
    if missing:
        raise ValueError(
            f"{raw_clips} knows no truth of {len(missing)} clips, the first is {missing[0]}; the control benchmark "
            "needs the demo world's clips, or materialize raw_clips again"
        )
    return truths


def true_boxes(thing: TrueObject) -> list[Box]:
    """The boxes of one of the truth's objects, one a frame."""
    return [Box(frame, 0, 1.0, *corners) for frame, corners in enumerate(thing.boxes)]


def other_caption(thing: TrueObject, truth: SceneTruth, truths: Mapping[str, SceneTruth]) -> str:
    """A caption that names `thing`: that of the next clip about its kind, with its own phrase put in.

    Where no other clip is about that kind, it is the scene's own caption with the phrase exchanged.
    """
    keys = sorted(truths)
    place = keys.index(truth.key)
    ring = [truths[key] for key in keys[place + 1 :] + keys[:place]]
    donor = next((other for other in ring if other.kind == thing.kind), truth)
    phrase = donor.target_object.phrase
    article = "an" if thing.phrase[0] in "aeiou" else "a"
    before, _, after = donor.caption.partition(phrase)
    words = before.split(" ")
    if len(words) > 1 and words[-2] in ("a", "an"):
        words[-2] = article
    return f"{' '.join(words)}{thing.phrase}{after}"


class _Frames:
    """Frames of clips at 4 fps, out of the shards of clip_media."""

    def __init__(self, folder: Path) -> None:
        self._readers = [ShardReader(folder, shard) for shard in finished_shards(folder)]

    def read(self, key: str) -> np.ndarray:
        """(V, H, W, 3) uint8."""
        for reader in self._readers:
            if key in reader:
                return read_frames(reader, key)
        raise ValueError(f"no shard of clip_media has the pictures of {key}; materialize clip_media")
