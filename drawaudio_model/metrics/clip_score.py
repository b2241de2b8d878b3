"""CLIP score: do two towers of one embedding space agree? (CS-AV of Im2Wav: 100 x cosine of audio and picture.)"""

import numpy as np


def clip_score(audio: np.ndarray, pictures: np.ndarray) -> float:
    """100 x the cosine of a clip's audio embedding and its picture embeddings, averaged over pictures, then over clips.

    Args:
        audio: (N, D) one embedding per clip; its length does not matter.
        pictures: (N, D), or (N, V, D) with V pictures a clip (the paper's CS-AV: Wav2CLIP audio, CLIP pictures at 1 fps).

    Returns:
        From -100 to 100; higher is better.

    Raises:
        ValueError: for other shapes, or an embedding of length zero.

    Paper: column CS-AV of the tables; definition from Im2Wav.
    """
    audio, pictures = np.asarray(audio, np.float64), np.asarray(pictures, np.float64)
    if pictures.ndim == 2:
        pictures = pictures[:, None]  # (N, 1, D)
    if audio.ndim != 2 or pictures.ndim != 3 or not len(audio) or audio.shape != (len(pictures), pictures.shape[2]):
        raise ValueError(
            f"audio embeddings are {audio.shape} and picture embeddings {pictures.shape}, expected (N, D) and (N, V, D) "
            f"of the same clips; embed both with the two towers of one model"
        )
    lengths = np.linalg.norm(audio, axis=-1)[:, None] * np.linalg.norm(pictures, axis=-1)  # (N, V)
    if not lengths.all():
        raise ValueError("an embedding has length zero, so it has no direction; leave its clip out")
    cosines = np.einsum("nd,nvd->nv", audio, pictures) / lengths
    return float(100 * cosines.mean(axis=1).mean())
