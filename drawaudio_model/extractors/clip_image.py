"""CLIP ViT-B/32's place of a picture; the picture side of CS-AV.

Preprocessing: transformers' image processor as saved beside the weights (shorter side to 224 bicubic, centre crop, CLIP's
mean and deviation).
"""

from pathlib import Path

import numpy as np
import torch
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from drawaudio_model.extractors.weights import Weights

WEIGHTS = Weights(
    "clip-vit-base-patch32",
    "https://huggingface.co/openai/clip-vit-base-patch32",
    revision="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
)


class ClipImage:
    """(V, H, W, 3) uint8 pictures to (V, D) float32."""

    def __init__(self, folder: Path) -> None:
        self.processor = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
        self.model = CLIPVisionModelWithProjection.from_pretrained(folder, local_files_only=True).eval()

    @torch.no_grad()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Embeddings, not normalised."""
        pixels = self.processor(images=list(pictures), return_tensors="pt")["pixel_values"]
        return self.model(pixel_values=pixels.to(self.model.device)).image_embeds.cpu().numpy()
