"""Noun phrases in frames -> boxes: YOLO-World with open_clip's text features.

A detector folder holds `detector.pt` (an ultralytics checkpoint), `clip/` (an open_clip folder) and `vocabulary.json`
(the phrases that it can find, or null: any).

Every frame is asked for its own clip's phrases only: YOLO-World lets the phrases steer its picture features, so a
vocabulary shared by a batch would make a clip's boxes depend on which other clips happen to lie in the batch.

Legend: B frames in a batch, N phrases, A anchors, D width of a text feature, H/W pixels.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms

from drawaudio_model.atomic_files import decode_array, encode_array, write_atomically
from drawaudio_model.boxes import Box

PADDING_GREY = 114 / 255
"""Colour of the border that makes a picture square, as in YOLO's training."""


class ObjectDetector:
    """Finds noun phrases in the frames of many clips at once.

    Args:
        model: ultralytics' WorldModel, in evaluation mode.
        clip: open_clip model whose text features the detector was trained with.
        tokenizer: of `clip`.
        vocabulary: the only phrases that it detects, or None for any phrase.
        image_size: side in pixels of the square picture that the model sees, a multiple of 32.
        features: folder in which the text features of all phrases are kept for later runs; None keeps them in memory.
    """

    def __init__(
        self,
        model: Any,
        clip: Any,
        tokenizer: open_clip.SimpleTokenizer,
        vocabulary: Sequence[str] | None,
        image_size: int,
        features: Path | None = None,
    ) -> None:
        self.model, self.clip, self.tokenizer, self.features = model, clip, tokenizer, features
        self.vocabulary = None if vocabulary is None else frozenset(vocabulary)
        self.image_size = image_size
        self._features: dict[str, Tensor] = {}

    @classmethod
    def from_pretrained(
        cls, folder: Path | str, *, device: str | torch.device = "cpu", features: Path | None = None
    ) -> Self:
        """The detector of a folder.

        Args:
            folder: holds its three parts.
            device: where it runs.
            features: folder of text features, of this detector alone.

        Raises:
            ValueError: when one of its three parts is missing.
        """
        folder = Path(folder)
        for part in ("detector.pt", "clip", "vocabulary.json"):
            if not (folder / part).exists():
                raise ValueError(f"detector folder {folder} has no {part}; materialize object_detector again")
        model, image_size = load_world_model(folder / "detector.pt")
        # The folder is named with its whole path: open_clip would look a short name up among its own models.
        place = f"local-dir:{(folder / 'clip').resolve()}"
        clip = open_clip.create_model(place)
        vocabulary = json.loads((folder / "vocabulary.json").read_text())
        detector = cls(model, clip.eval(), open_clip.get_tokenizer(place), vocabulary, image_size, features)
        return detector.to(device)

    def to(self, device: str | torch.device) -> Self:
        """Moves both models."""
        self.model.to(device).to(memory_format=torch.channels_last)  # a sixth less time on a CPU
        self.clip.to(device)
        self._features.clear()
        return self

    def knows(self, phrase: str) -> bool:
        """Whether the detector can detect the phrase."""
        return self.vocabulary is None or phrase in self.vocabulary

    @torch.no_grad()
    def text_feature(self, phrase: str) -> Tensor:
        """CLIP's feature of one phrase, (D,) float32, length 1.

        Computed once and alone, in full precision, so it depends on nothing else and may be kept on disk.
        """
        if phrase not in self._features:
            device = next(self.clip.parameters()).device
            name = hashlib.sha256(phrase.encode()).hexdigest()
            path = None if self.features is None else self.features / name[:2] / f"{name}.npy"
            if path is not None and path.exists():
                feature = torch.from_numpy(decode_array(path.read_bytes())).to(device)
            else:
                with torch.autocast(device.type, enabled=False):
                    feature = self.clip.encode_text(self.tokenizer([phrase]).to(device))[0].float()
                feature = functional.normalize(feature, dim=-1)
                if path is not None:
                    write_atomically(path, encode_array(feature.cpu().numpy()))
            self._features[phrase] = feature
        return self._features[phrase]

    @torch.no_grad()
    def detect(
        self,
        clips: Sequence[np.ndarray],
        phrases: Sequence[Sequence[str]],
        *,
        confidence: float = 0.25,
        overlap: float = 0.5,
        batch_frames: int = 40,
        boxes_per_frame: int = 20,
    ) -> list[list[Box]]:
        """Boxes of every clip, sorted by frame, phrase and falling confidence.

        Args:
            clips: frames of each clip, (V, H, W, 3) uint8 RGB; clips may differ in V, H and W.
            phrases: each clip's noun phrases; `Box.phrase_index` points into them. Unknown ones get no box.
            confidence: boxes below are dropped, 0 to 1.
            overlap: of two boxes of one phrase and frame with a larger IoU than this, the surer one stays
                (non-maximum suppression); boxes of different phrases never suppress each other.
            batch_frames: frames in one forward pass; a batch may span clips.
            boxes_per_frame: at most this many boxes stay in a frame, the surest ones.

        Raises:
            ValueError: when clips and phrases differ in number, or a clip is no picture sequence.
        """
        if len(clips) != len(phrases):
            raise ValueError(f"{len(clips)} clips but phrases for {len(phrases)}; give one list of phrases per clip")
        boxes: list[list[Box]] = [[] for _ in clips]
        batch: list[tuple[int, int]] = []
        usable = [[i for i, phrase in enumerate(own) if self.knows(phrase)] for own in phrases]
        for clip, frames in enumerate(clips):
            if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
                raise ValueError(
                    f"clip {clip} is {frames.dtype} {frames.shape}, expected uint8 (frames, height, width, 3)"
                )
            batch += [(clip, frame) for frame in range(len(frames)) if usable[clip]]
        for start in range(0, len(batch), batch_frames):
            places = batch[start : start + batch_frames]
            pictures = [clips[clip][frame] for clip, frame in places]
            names = [[phrases[clip][i] for i in usable[clip]] for clip, _ in places]
            detections = self._detect_batch(pictures, names, confidence, overlap, boxes_per_frame)
            for (clip, frame), rows in zip(places, detections, strict=True):
                boxes[clip] += [Box(frame, usable[clip][phrase], *rest) for phrase, *rest in rows]
        return boxes

    def _detect_batch(
        self,
        pictures: list[np.ndarray],
        names: list[list[str]],
        confidence: float,
        overlap: float,
        boxes_per_frame: int,
    ) -> list[list[tuple[int, float, float, float, float, float]]]:
        """Rows (phrase, confidence, x0, y0, x1, y1) of every picture, corners as fractions of it."""
        device = next(self.model.parameters()).device
        count = max(len(own) for own in names)
        # A shorter list is filled with its own first phrase: repeats change neither features nor the other scores.
        text = torch.stack(
            [torch.stack([self.text_feature(name) for name in own + own[:1] * (count - len(own))]) for own in names]
        )  # (B, N, D)
        images = torch.stack([letterbox(picture, self.image_size) for picture in pictures]).to(device)
        self.model.model[-1].nc = count
        predictions = self.model.predict(images, txt_feats=text)[0].float().cpu()  # (B, 4 + N, A)
        rows = []
        for picture, own, prediction in zip(pictures, names, predictions, strict=True):
            kept = suppress(prediction[:4], prediction[4 : 4 + len(own)], confidence, overlap)[:boxes_per_frame]
            scale = self.image_size / max(picture.shape[:2])
            size = (picture.shape[1] * scale, picture.shape[0] * scale)
            rows.append(_rows_in_picture(kept, size))
        return rows


def _rows_in_picture(
    kept: list[tuple[int, float, list[float]]], size: tuple[float, float]
) -> list[tuple[int, float, float, float, float, float]]:
    """Corners in model pixels -> fractions of the picture, cut at its border; what lies wholly outside is dropped."""
    rows = []
    for phrase, score, (x0, y0, x1, y1) in kept:
        left, right = (min(max(x / size[0], 0.0), 1.0) for x in (x0, x1))
        top, bottom = (min(max(y / size[1], 0.0), 1.0) for y in (y0, y1))
        if left < right and top < bottom:
            rows.append((phrase, min(score, 1.0), left, top, right, bottom))
    return sorted(rows, key=lambda row: (row[0], -row[1]))


def letterbox(picture: np.ndarray, size: int) -> Tensor:
    """(H, W, 3) uint8 -> (3, size, size) in [0, 1]: longer side scaled to `size`, top left, grey below or to the right."""
    height, width = picture.shape[:2]
    scale = size / max(height, width)
    new = (max(1, round(height * scale)), max(1, round(width * scale)))
    image = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255
    if new != (height, width):
        image = functional.interpolate(image, size=new, mode="bilinear", antialias=True, align_corners=False)
    return functional.pad(image[0], (0, size - new[1], 0, size - new[0]), value=PADDING_GREY)


def suppress(
    centres: Tensor, scores: Tensor, confidence: float, overlap: float
) -> list[tuple[int, float, list[float]]]:
    """Non-maximum suppression within each phrase, the surest box first.

    Args:
        centres: (4, A) centre x, y, width, height in pixels.
        scores: (N, A) in [0, 1].

    Returns:
        (phrase, confidence, [x0, y0, x1, y1] in pixels) of each box that stays.
    """
    phrase, anchor = torch.where(scores >= confidence)
    score = scores[phrase, anchor]
    x, y, width, height = centres[:, anchor]
    corners = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dim=-1)
    kept = batched_nms(corners, score, phrase, overlap)
    return [(int(phrase[i]), float(score[i]), corners[i].tolist()) for i in kept]


def load_world_model(path: Path) -> tuple[Any, int]:
    """An ultralytics YOLO-World checkpoint as (model in evaluation mode, image size it was trained with).

    Raises:
        ValueError: for another file: only ultralytics' and torch's own classes are unpickled.
    """
    world_model = import_world_model()
    from ultralytics.nn.tasks import load_checkpoint

    try:
        model, _ = load_checkpoint(str(path))
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no whole YOLO-World checkpoint of ultralytics; give another detector") from error
    if not isinstance(model, world_model):
        raise ValueError(f"{path} holds a {type(model).__name__}, expected YOLO-World (WorldModel)")
    settings: Any = model.args
    return model.float().eval(), int(settings["imgsz"] if isinstance(settings, dict) else settings.imgsz)


def import_world_model() -> type[nn.Module]:
    """ultralytics' WorldModel. The import is late: it takes seconds and, unless told otherwise, looks for the network."""
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    # A checkpoint is a pickle: no class but ultralytics' and torch's own may come out of it.
    os.environ.setdefault("ULTRALYTICS_SAFE_LOAD", "true")
    from ultralytics.nn.tasks import WorldModel

    return WorldModel
