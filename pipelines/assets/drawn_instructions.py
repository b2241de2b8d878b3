"""Each clip's instructions once more, as a person would give them: other words, a mask and a curve drawn by hand."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np

from drawaudio_model.atomic_files import decode_array, encode_array, fingerprint
from drawaudio_model.caption import read_caption
from drawaudio_model.clip_format import SOURCE_VIDEO_FRAMES, VIDEO_FRAMES
from drawaudio_model.clip_frames import read_frames
from drawaudio_model.scene_truth import read_truth
from drawaudio_model.shard import ShardReader
from pipelines.assets.backbones import audio_autoencoder, backbone_sha256, cavp_backbone, text_encoders
from pipelines.assets.captions import captions
from pipelines.assets.clip_media import clip_media, read_waveform
from pipelines.assets.object_masks import object_masks, read_boxes
from pipelines.assets.raw_clips import raw_clips
from pipelines.devices import autocast, device
from pipelines.partitions import ALL_SHARDS, SHARD_BACKFILL, shards
from pipelines.profiles import current_profile
from pipelines.resources import DataRoot
from pipelines.shard_work import Members, ShardRecipe, make_shards

if TYPE_CHECKING:
    from drawaudio_model.drawn.sounds import DrawnSound

GROUP = 8
"""Clips worked on together."""
SOUNDS_OF_A_VIEW = 3
"""Variants that share what CAVP sees behind one drawn mask: looking takes longer than all else."""


@dg.asset(
    deps=[
        raw_clips,
        clip_media,
        captions,
        object_masks,
        *(
            dg.AssetDep(asset, partition_mapping=ALL_SHARDS)
            for asset in (audio_autoencoder, text_encoders, cavp_backbone)
        ),
    ],
    partitions_def=shards,
    backfill_policy=SHARD_BACKFILL,
    group_name="features",
    kinds={"pytorch"},
)
def drawn_instructions(context: dg.AssetExecutionContext, data_root: DataRoot) -> None:
    """One tar a train shard: of every clip some variants `<n>.*.npy`, 8 s each, that the trainer draws besides the clip itself.

    A variant has other words, a mask drawn by hand over the detector's boxes, and a sound whose level follows a curve drawn
    by hand (`drawn/sounds.py`). Where the source knows the sound of a second thing in the picture (the rendered world),
    every other variant is about that one: the same video with another mask has another sound, which no clip by itself
    can teach. Val and test shards are empty: reports draw their own.
    """
    make_shards(context, Path(data_root.path), recipe(data_root), show)


def recipe(data_root: DataRoot) -> ShardRecipe:
    """`profile.drawn_variants` variants of each train clip, decided by the seed and the clip's key."""
    profile = current_profile()
    folders = [data_root.backbone(name) for name in ("audio_autoencoder", "text_encoders", "cavp_backbone")]
    root = Path(data_root.path)
    encoders: list[Encoders] = []

    def work(keys: list[str], upstream: dict[str, ShardReader]) -> Iterator[tuple[str, Members]]:
        if not encoders:
            encoders.append(Encoders(*folders))
        for key in keys:
            rng = np.random.default_rng([profile.seed, int(fingerprint(key)[:12], 16)])
            yield key, encoders[0].variants(rng, key, upstream, profile.drawn_variants)

    def train_keys(shard: str) -> list[str]:
        drawn = shard.startswith("train") and profile.drawn_variants > 0
        return ShardReader(root / "clip_media", shard).keys if drawn else []

    settings: dict[str, str | int] = {folder.name: backbone_sha256(folder) for folder in folders}
    settings |= {"variants": profile.drawn_variants, "seed": profile.seed}
    return ShardRecipe(
        "drawn_instructions",
        ("clip_media", "captions", "object_masks", "raw_clips"),
        work,
        settings=settings,
        group=GROUP,
        keys=train_keys,
        batched=False,
    )


class Encoders:
    """The frozen networks that make features of what was drawn.

    Args:
        autoencoder: folder of the audio autoencoder.
        text: folder of the text encoders.
        cavp: folder of CAVP.
    """

    def __init__(self, autoencoder: Path, text: Path, cavp: Path) -> None:
        from drawaudio_model.cavp import CAVP
        from drawaudio_model.patch_autoencoder import load_autoencoder
        from drawaudio_model.text import TextConditioner

        self.autoencoder = load_autoencoder(autoencoder).to(device())
        self.text = TextConditioner.from_pretrained(text).to(device())
        self.cavp = CAVP.from_checkpoint(cavp).eval().to(device())

    def variants(self, rng: np.random.Generator, key: str, upstream: dict[str, ShardReader], count: int) -> Members:
        """Members of `count` variants of a clip: n.json, n.latent.npy, n.loudness.npy, n.cavp_masked.npy, n.t5.npy, n.gpt.npy."""
        from drawaudio_model.drawn.sounds import draw_sound

        found = things(key, upstream)
        views = -(-count // SOUNDS_OF_A_VIEW)
        asked = [found[number % views % len(found)] for number in range(count)]
        sounds = [draw_sound(rng, thing.waveform, thing.material) for thing in asked]
        words = [str(rng.choice(thing.words)) for thing in asked]
        masked = self._masked_features(
            rng, read_frames(upstream["clip_media"], key), [thing.boxes for thing in asked[:views]]
        )
        latents, text = self._latents(sounds), self._text_features(words)
        members: dict[str, bytes] = {}
        for number, sound in enumerate(sounds):
            facts = {"words": words[number], "start_frame": sound.start_frame, "curve": sound.kind}
            members[f"{number}.json"] = json.dumps(facts).encode()
            seen = masked[number % views][sound.start_frame : sound.start_frame + VIDEO_FRAMES]
            arrays = {"cavp_masked": seen, **text[number], "latent": latents[number], "loudness": sound.curve}
            members |= {f"{number}.{name}.npy": encode_array(array) for name, array in arrays.items()}
        return dict(sorted(members.items()))

    def _latents(self, sounds: "list[DrawnSound]") -> np.ndarray:
        """(variants, 2C, F, K) float16 moments of the posterior."""
        import torch

        from drawaudio_model.mel import log_mel

        mels = log_mel(np.stack([sound.waveform for sound in sounds]))[:, None]
        precision = autocast(float16_is_enough=not self.autoencoder.config.get("force_upcast", True))
        with torch.inference_mode(), precision:
            posterior = self.autoencoder.encode(mels.to(device())).latent_dist
        return torch.cat([posterior.mean, posterior.logvar], dim=1).to(torch.float16).cpu().numpy()

    def _text_features(self, words: list[str]) -> list[dict[str, np.ndarray]]:
        """t5 (L, Dt) and gpt (8, Dg), float16, of each text."""
        import torch

        with torch.inference_mode(), autocast(float16_is_enough=False):
            found = self.text(words)
        return [
            {"t5": found.states(i).half().cpu().numpy(), "gpt": found.gpt[i].half().cpu().numpy()}
            for i in range(len(words))
        ]

    def _masked_features(
        self, rng: np.random.Generator, frames: np.ndarray, regions: list[np.ndarray | None]
    ) -> np.ndarray:
        """(regions, V, D) float16 of the clip behind a mask drawn over each region's boxes (V, 4); None: the whole picture."""
        import torch

        from drawaudio_model.masks import apply_mask

        size = frames.shape[1:3]
        whole = np.ones((len(frames), *size), bool)
        masks = [whole if boxes is None else drawn(rng, boxes, *size) for boxes in regions]
        batch = torch.cat([self.cavp.preprocess(apply_mask(frames, mask)[None]) for mask in masks])
        with torch.inference_mode(), autocast(float16_is_enough=True):
            return self.cavp.encode_video(batch.to(device())).half().cpu().numpy()


def drawn(rng: np.random.Generator, boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """(V, H, W) bool: a mask drawn by hand over boxes (V, 4)."""
    from drawaudio_model.drawn.masks import drawn_mask

    return drawn_mask(rng, boxes, height, width)


def surest_boxes(boxes: list[Any]) -> np.ndarray | None:
    """(V, 4) the surest box of each frame; a frame without one has that of the nearest frame. None where there is none."""
    surest: dict[int, Any] = {}
    for box in boxes:
        if box.frame not in surest or box.confidence > surest[box.frame].confidence:
            surest[box.frame] = box
    if not surest:
        return None
    covered = np.array(sorted(surest))
    nearest = [covered[np.abs(covered - frame).argmin()] for frame in range(SOURCE_VIDEO_FRAMES)]
    return np.array([[getattr(surest[frame], side) for side in ("x0", "y0", "x1", "y1")] for frame in nearest])


@dataclass(frozen=True, eq=False)
class Thing:
    """The subject of a variant: something in the picture whose sound is known."""

    waveform: np.ndarray
    """(160000,) its sound in the clip."""
    material: np.ndarray | None
    """(160000,) its sound without a pause; None where the source has none."""
    words: list[str]
    """Texts that ask for it, at least one."""
    boxes: np.ndarray | None
    """(V, 4) where it is; None where that is unknown."""


def things(key: str, upstream: dict[str, ShardReader]) -> list[Thing]:
    """The thing that the clip's caption names, and after it every other thing whose sound, place and words the source knows."""
    from drawaudio_model.media import decode_flac

    raw = upstream["raw_clips"]
    members = set(raw.members(key)) if key in raw else set()
    truth = read_truth(raw, key) if key in raw else None

    def sound(name: str | None) -> np.ndarray | None:
        return decode_flac(raw.member(key, name)) if name in members else None

    caption = read_caption(upstream["captions"], key).text
    found = [
        Thing(
            read_waveform(upstream["clip_media"], key),
            sound(truth.target_object.material_member) if truth else None,
            [caption, *(truth.target_object.wordings if truth else ())],
            surest_boxes(read_boxes(upstream["object_masks"], key)),
        )
    ]
    for number, thing in enumerate(truth.objects if truth else ()):
        own = sound(thing.stem_member)
        if truth is not None and number != truth.target and own is not None and thing.wordings:
            found.append(Thing(own, sound(thing.material_member), list(thing.wordings), np.array(thing.boxes)))
    return found


def show(reader: ShardReader) -> dict[str, Any]:
    """The curves of the first clips' first variants in one picture, and some of their words."""
    from pipelines import pictures

    if not reader.keys:
        return {}
    first = reader.keys[:6]
    curves = {key: decode_array(reader.member(key, "0.loudness.npy")) for key in first}
    words = [json.loads(reader.member(key, "0.json"))["words"] for key in first]
    return {
        "curves": dg.MetadataValue.md(pictures.picture(pictures.curves(curves))),
        "words": dg.MetadataValue.json(words),
    }
