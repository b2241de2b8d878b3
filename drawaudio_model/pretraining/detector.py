"""Trains the small object detector: a CLIP on crops of objects, then YOLO-World on whole frames with its text features.

The boxes and names come from the rendered clips' ground truth, of the training split only.

Legend: B batch, K objects, N phrases for one picture, D width of CLIP's features, H/W pixels.
"""

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import box_iou, roi_align

from drawaudio_model.backbone_config import DetectorConfig
from drawaudio_model.detector import ObjectDetector, import_world_model
from drawaudio_model.pretraining.loop import Fit, TrainClips, counted, draw_losses, fit
from drawaudio_model.scene_truth import TrueBox, TrueObject

TEXT_WIDTH = 512
"""Width of a text feature; YOLO-World's head expects it."""
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""open_clip's picture normalisation."""


@dataclass(frozen=True)
class Thing:
    """One object in sight in one frame."""

    phrase: str
    """Its name in its clip's caption."""
    names: tuple[str, ...]
    """All its names: those of the truth, or each noun of its kind, alone and after its colour."""
    box: tuple[float, float, float, float]
    """x0 y0 x1 y1 in [0, 1]."""


@dataclass(frozen=True)
class Scenes:
    """Frames and what stands in them."""

    frames: np.ndarray
    """(F, H, W, 3) uint8 RGB."""
    things: list[list[Thing]]
    """Per frame."""

    @property
    def names(self) -> list[str]:
        """All names of all things, sorted."""
        return sorted({name for things in self.things for thing in things for name in thing.names})


def read_nouns(clips: TrainClips, keys: list[str]) -> dict[str, list[str]]:
    """Kind of object -> its nouns ("rubber ball"): the truth's phrases without their colour."""
    nouns: dict[str, set[str]] = {}
    for key in keys:
        for thing in _true_objects(clips, key):
            noun = thing.phrase.removeprefix(f"{thing.colour} ")
            nouns.setdefault(thing.kind, set()).add(noun)
    return {kind: sorted(own) for kind, own in nouns.items()}


def read_scenes(
    clips: TrainClips, keys: list[str], nouns: dict[str, list[str]], image_size: int, frame_step: int
) -> Scenes:
    """Every `frame_step`-th frame of the clips with its ground truth.

    Raises:
        ValueError: when a clip has no ground truth, or no object is in sight anywhere.
    """
    frames, things = [], []
    for key in counted(keys, "read frames"):
        objects = _true_objects(clips, key)
        named = [names_of_thing(thing, nouns) for thing in objects]
        frames.append(clips.frames(key, image_size, step=frame_step))
        for frame in range(0, len(frames[-1]) * frame_step, frame_step):
            seen = [
                Thing(thing.phrase, tuple(own), thing.boxes[frame]) for thing, own in zip(objects, named, strict=True)
            ]
            things.append([thing for thing in seen if _in_sight(thing.box)])
    if not any(things):
        raise ValueError(f"the ground truth of {len(keys)} clips holds no box; check the truth asset's boxes")
    return Scenes(np.concatenate(frames), things)


def _true_objects(clips: TrainClips, key: str) -> tuple[TrueObject, ...]:
    truth = clips.truth(key)
    if truth is None:
        raise ValueError(f"clip {key} has no truth.json; the object detector learns on rendered clips only")
    return truth.objects


def names_of_thing(thing: TrueObject, nouns: dict[str, list[str]]) -> list[str]:
    """The names of one of the truth's objects: its `names`, else each noun of its kind alone and after its colour."""
    return list(thing.names) or [
        f"{colour}{noun}" for noun in nouns.get(thing.kind, []) for colour in ("", f"{thing.colour} ")
    ]


def _in_sight(box: TrueBox) -> bool:
    return box[2] > box[0] and box[3] > box[1]


def train_detector(
    data: Path, output: Path, config: DetectorConfig, *, seed: int, seconds: float | None, device: torch.device
) -> dict[str, Any]:
    """Writes the detector's folder (`ObjectDetector.from_pretrained`); returns what was measured.

    Beside detector.pt, clip/ and vocabulary.json it holds loss.png and detections.png (held-out frames, truth in white).
    """
    torch.manual_seed(seed)
    clips = TrainClips(data, ["clip_media", "raw_clips"])
    train_keys, held_out_keys = clips.split()
    nouns = read_nouns(clips, train_keys)
    scenes = read_scenes(clips, train_keys, nouns, config.image_size, config.frame_step)
    share = None if seconds is None else seconds / 4
    clip, clip_run, clip_accuracy = train_clip(scenes, output, config, seed=seed, seconds=share, device=device)
    vocabulary = scenes.names
    features = encode_phrases(clip, vocabulary, output / "clip")
    rest = None if seconds is None else seconds - clip_run.seconds
    model, run = train_world_model(
        scenes, dict(zip(vocabulary, features, strict=True)), config, output, seed=seed, seconds=rest, device=device
    )
    save_world_model(model, output / "detector.pt", config.image_size)
    (output / "vocabulary.json").write_text(json.dumps(vocabulary, indent=1) + "\n")
    draw_losses({"CLIP": clip_run.losses}, output / "clip_loss.png")
    draw_losses({"YOLO-World": run.losses}, output / "loss.png")
    held_out = read_scenes(clips, held_out_keys, nouns, config.image_size, 4)
    detector = ObjectDetector.from_pretrained(output, device=device)
    overlaps = measure_overlaps(detector, held_out)
    draw_detections(detector, held_out, output / "detections.png")
    return {
        "steps": run.steps,
        "train_seconds": run.seconds + clip_run.seconds,
        "clip_loss_before": clip_run.loss_before,
        "clip_loss_after": clip_run.loss_after,
        "clip_crop_accuracy": clip_accuracy,
        "loss_before": run.loss_before,
        "loss_after": run.loss_after,
        "held_out_mean_iou": float(np.mean(overlaps)),
        "held_out_found": float(np.mean(np.array(overlaps) >= 0.5)),
        "phrases": len(vocabulary),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def clip_config(config: DetectorConfig) -> dict[str, Any]:
    """open_clip's configuration of the small CLIP: ViT with 8 pixel patches, two-layer text tower, 16 words at most."""
    return {
        "embed_dim": TEXT_WIDTH,
        "vision_cfg": {
            "image_size": config.crop_size,
            "layers": config.clip_layers,
            "width": config.clip_width,
            "head_width": 32,
            "patch_size": 8,
        },
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
    }


def train_clip(
    scenes: Scenes, output: Path, config: DetectorConfig, *, seed: int, seconds: float | None, device: torch.device
) -> tuple[nn.Module, Fit, float]:
    """Trains CLIP on crops of the boxes against their names and writes `output`/clip.

    Several names of a batch may fit one crop, and the other way round; all of them count as right answers.

    Returns:
        The model, its run, and the share of 256 crops whose most similar name, of all, is one of their own.
    """
    model = open_clip.CLIP(**clip_config(config)).to(device)
    tokenizer = open_clip.SimpleTokenizer(context_length=16)
    places = [(frame, thing) for frame, things in enumerate(scenes.things) for thing in things]
    random = np.random.default_rng([seed, 1])

    def loss_of_step(step: int) -> Tensor:
        chosen = [places[i] for i in random.integers(len(places), size=config.clip_batch_size)]
        names = [choose_name(thing, random) for _, thing in chosen for _ in range(config.names_per_crop)]
        crops = cut_crops(scenes.frames, chosen, config.crop_size).to(device)
        image, text, scale = model(crops, tokenizer(names).to(device))
        fits = torch.tensor([[name in thing.names for name in names] for _, thing in chosen], device=device).float()
        logits = scale * image @ text.T  # (B, N)
        by_crop = functional.cross_entropy(logits, fits / fits.sum(dim=1, keepdim=True))
        return (by_crop + functional.cross_entropy(logits.T, (fits / fits.sum(dim=0)).T)) / 2

    run = fit(
        "CLIP",
        model.parameters(),
        loss_of_step,
        steps=config.clip_steps,
        learning_rate=config.clip_learning_rate,
        seconds=seconds,
        log=output / "log.jsonl",
    )
    model.eval()
    save_clip(model, output / "clip", config)
    chosen = [places[i] for i in random.integers(len(places), size=256)]
    with torch.no_grad():
        text = model.encode_text(tokenizer(scenes.names).to(device), normalize=True)
        image = model.encode_image(cut_crops(scenes.frames, chosen, config.crop_size).to(device), normalize=True)
    nearest = (image @ text.T).argmax(dim=1).tolist()
    right = [scenes.names[i] in thing.names for i, (_, thing) in zip(nearest, chosen, strict=True)]
    return model, run, float(np.mean(right))


def choose_name(thing: Thing, random: np.random.Generator) -> str:
    """A name for the thing: half of the time the one in its caption, else any."""
    return thing.phrase if random.random() < 0.5 else str(random.choice(thing.names))


def cut_crops(frames: np.ndarray, places: list[tuple[int, Thing]], size: int) -> Tensor:
    """Crops of boxes as CLIP's picture tower wants them, (K, 3, size, size), normalised."""
    numbers = sorted({frame for frame, _ in places})
    pictures = torch.from_numpy(frames[numbers]).permute(0, 3, 1, 2).float() / 255
    side = pictures.shape[-1]
    rows = [[numbers.index(frame), *(corner * side for corner in thing.box)] for frame, thing in places]
    crops = roi_align(pictures, torch.tensor(rows, dtype=torch.float32), size, sampling_ratio=2, aligned=True)
    mean, std = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD)
    return (crops - mean[:, None, None]) / std[:, None, None]


def save_clip(model: nn.Module, folder: Path, config: DetectorConfig) -> None:
    """An open_clip folder, which opens as "local-dir:<folder>"."""
    folder.mkdir(parents=True)
    description = {
        "model_cfg": clip_config(config),
        "preprocess_cfg": {"mean": CLIP_MEAN, "std": CLIP_STD, "resize_mode": "squash"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(description, indent=1) + "\n")
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


@torch.no_grad()
def encode_phrases(model: Any, phrases: list[str], folder: Path) -> Tensor:
    """Text features of length 1, (len(phrases), D), with the tokenizer of the CLIP folder."""
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder.resolve()}")
    device = next(model.parameters()).device
    return model.encode_text(tokenizer(phrases).to(device), normalize=True)


def build_world_model(config: DetectorConfig) -> Any:
    """YOLO-World v2 of ultralytics at the given width and depth, untrained."""
    world_model = import_world_model()
    from ultralytics.utils import ROOT, YAML

    description = YAML.load(ROOT / "cfg/models/v8/yolov8-worldv2.yaml")
    description |= {"scales": {"demo": [config.depth, config.width, 1024]}, "scale": "demo"}
    return world_model(description, nc=config.phrases_per_picture, verbose=False)


def train_world_model(
    scenes: Scenes,
    features: dict[str, Tensor],
    config: DetectorConfig,
    output: Path,
    *,
    seed: int,
    seconds: float | None,
    device: torch.device,
) -> tuple[nn.Module, Fit]:
    """Trains YOLO-World with ultralytics' own loss; every picture has its own list of phrases, as in YOLO-World."""
    model = build_world_model(config).to(device)
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)  # weights of the loss's parts: ultralytics' defaults
    random = np.random.default_rng([seed, 2])
    seen = np.flatnonzero([bool(things) for things in scenes.things])

    def loss_of_step(step: int) -> Tensor:
        chosen = random.choice(seen, size=config.batch_size, replace=len(seen) < config.batch_size)
        batch = make_batch(scenes, chosen.tolist(), features, config.phrases_per_picture, random)
        loss, _ = model.loss({name: tensor.to(device) for name, tensor in batch.items()})
        return loss.sum() / config.batch_size

    model.train()
    run = fit(
        "YOLO-World",
        model.parameters(),
        loss_of_step,
        steps=config.steps,
        learning_rate=config.learning_rate,
        max_gradient_norm=10.0,
        seconds=seconds,
        log=output / "log.jsonl",
    )
    return model.eval(), run


def make_batch(
    scenes: Scenes, chosen: list[int], features: dict[str, Tensor], count: int, random: np.random.Generator
) -> dict[str, Tensor]:
    """ultralytics' batch: img (B, 3, H, W), batch_idx (K,), cls (K, 1), bboxes (K, 4) centre and size, txt_feats (B, N, D).

    Pictures are mirrored half of the time. Of an object's names one is chosen at random; the rest of the N phrases are
    names of things that are not in the picture. A name that fits two
    objects in sight is a hit for both.
    """
    images, text, rows = [], [], []
    for place, frame in enumerate(chosen):
        mirrored = random.random() < 0.5
        image = scenes.frames[frame][:, ::-1] if mirrored else scenes.frames[frame]
        images.append(torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255)
        names = ask_for(scenes.things[frame], list(features), count, random)
        text.append(torch.stack([features[name] for name in names]))
        for thing in scenes.things[frame]:
            x0, y0, x1, y1 = thing.box
            x0, x1 = (1 - x1, 1 - x0) if mirrored else (x0, x1)
            for name in sorted(set(thing.names) & set(names)):
                rows.append([place, names.index(name), (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])
    table = torch.tensor(rows)
    return {
        "img": torch.stack(images),
        "batch_idx": table[:, 0],
        "cls": table[:, 1:2],
        "bboxes": table[:, 2:],
        "txt_feats": torch.stack(text),
    }


def ask_for(things: list[Thing], vocabulary: list[str], count: int, random: np.random.Generator) -> list[str]:
    """`count` phrases for a picture: one name of each object in it, the others names of nothing in it, in random order.

    Where the vocabulary has too few others, phrases repeat; a repeat changes no feature and gets no box.
    """
    chosen = list(dict.fromkeys(choose_name(thing, random) for thing in things))[:count]
    present = {name for thing in things for name in thing.names}
    others = [name for name in vocabulary if name not in present]
    missing = count - len(chosen)
    random.shuffle(others)
    names = chosen + others[:missing]
    random.shuffle(names)
    return names + names[:1] * (count - len(names))


def save_world_model(model: Any, path: Path, image_size: int) -> None:
    """An ultralytics checkpoint (half precision, as theirs); `YOLOWorld(path)` opens it too."""
    model = deepcopy(model).cpu().half()
    model.criterion = None
    # A plain dictionary, as in theirs: whoever loads safely refuses other classes.
    model.args = {"imgsz": image_size, "task": "detect"}
    torch.save({"model": model, "train_args": model.args}, path)


def measure_overlaps(detector: ObjectDetector, scenes: Scenes) -> list[float]:
    """For every object in sight: IoU of the best box of its phrase with the truth, 0 where there is none."""
    overlaps = []
    for frame, things in enumerate(scenes.things):
        boxes = detector.detect([scenes.frames[frame : frame + 1]], [[thing.phrase for thing in things]])[0]
        for number, thing in enumerate(things):
            own = [[box.x0, box.y0, box.x1, box.y1] for box in boxes if box.phrase_index == number]
            overlaps.append(float(box_iou(torch.tensor(own), torch.tensor([thing.box])).max()) if own else 0.0)
    return overlaps


def draw_detections(detector: ObjectDetector, scenes: Scenes, path: Path, *, pictures: int = 12) -> None:
    """Frames with the found boxes in colour and the true ones in white, as PNG."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(12, 6.4), layout="constrained")
    axes = figure.subplots(3, 4).flat
    for axis, frame in zip(axes, np.linspace(0, len(scenes.frames) - 1, pictures).astype(int), strict=True):
        names = [thing.phrase for thing in scenes.things[frame]]
        height, width = scenes.frames[frame].shape[:2]
        axis.imshow(scenes.frames[frame])
        axis.axis("off")
        for x0, y0, x1, y1 in (thing.box for thing in scenes.things[frame]):
            corner, size = (x0 * width, y0 * height), ((x1 - x0) * width, (y1 - y0) * height)
            axis.add_patch(Rectangle(corner, *size, fill=False, color="white"))
        for box in detector.detect([scenes.frames[frame : frame + 1]], [names])[0]:
            corner, size = (box.x0 * width, box.y0 * height), ((box.x1 - box.x0) * width, (box.y1 - box.y0) * height)
            colour = f"C{box.phrase_index + 1}"
            axis.add_patch(Rectangle(corner, *size, fill=False, color=colour))
            axis.text(*corner, f"{names[box.phrase_index]} {box.confidence:.2f}", color=colour, fontsize=8, va="bottom")
    figure.savefig(path, dpi=100)
