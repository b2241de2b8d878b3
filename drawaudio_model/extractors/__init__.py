"""The networks that published metrics look and listen with, one a file, with the published weights' own names.

Each is built without weights; `weights.read` says where they come from. Preprocessing is pinned here and goes with the
network, because a resampler or a window alone moves the Frechet distance by tens.
"""

from drawaudio_model.extractors.clap import Clap
from drawaudio_model.extractors.clip_image import ClipImage
from drawaudio_model.extractors.panns import Cnn14
from drawaudio_model.extractors.passt import PaSST
from drawaudio_model.extractors.vggish import VGGish
from drawaudio_model.extractors.wav2clip import Wav2Clip
from drawaudio_model.extractors.weights import MissingWeights, Weights, read_state, weights_sha256

__all__ = [
    "Clap",
    "ClipImage",
    "Cnn14",
    "MissingWeights",
    "PaSST",
    "VGGish",
    "Wav2Clip",
    "Weights",
    "read_state",
    "weights_sha256",
]
