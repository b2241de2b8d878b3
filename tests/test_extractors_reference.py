"""The networks of the published metrics against the packages that publish them, with the same random weights.

The whole way from the waveform to the features is compared, at full size: a front end of our own that differs, or a
layer in another place, shows here.
"""

import csv
import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.extractors import Cnn14, PaSST, VGGish, Wav2Clip, panns, passt

FIXED = ("spectrogram_extractor.", "logmel_extractor.", "encoder.spectrogram.")
"""Tables of the front ends, which are no weights."""


@pytest.fixture(scope="module")
def waveforms() -> Tensor:
    """(2, 10 s): chirps in noise, one of them fading, so that no two frames are alike."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(10 * SAMPLE_RATE) / SAMPLE_RATE
    chirps = torch.stack([(300 * time + 180 * time.square()).sin(), (5000 * time - 200 * time.square()).sin()])
    fade = torch.stack([torch.ones_like(time), (1 - time / 10).square()])
    return 0.3 * chirps * fade + 0.02 * torch.randn(chirps.shape, generator=generator)


def randomise(network: nn.Module) -> dict[str, Tensor]:
    """Gives the weights values under which every layer passes something on; returns the state dict, to be published."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if not value.is_floating_point() or name.startswith(FIXED):
                continue
            noise = torch.randn(value.shape, generator=generator)
            if value.ndim == 1 and name.endswith(("weight", "running_var")):
                value.copy_(1 + 0.2 * noise.abs())
            elif value.ndim > 1:
                value.copy_(noise * (1.6 / value[0].numel()) ** 0.5)
            else:
                value.copy_(0.1 * noise)
    return dict(network.state_dict())


def assert_same(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Close in relation to what tells the clips apart, and nothing of it constant."""
    spread = float(expected.std())
    assert spread > 1e-3
    assert float((found - expected).abs().max()) < tolerance * spread


@pytest.fixture
def panns_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """panns_inference's networks; its import wants a table of class names in the home folder, or fetches one."""
    table = tmp_path / "panns_data" / "class_labels_indices.csv"
    table.parent.mkdir()
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["index", "mid", "display_name"]] + [[i, f"/m/{i}", i] for i in range(527)])
    monkeypatch.setenv("HOME", str(tmp_path))
    return importlib.import_module("panns_inference.models")


def test_panns_equals_panns_inference(waveforms: Tensor, panns_models: ModuleType) -> None:
    theirs = panns_models.Cnn14(
        sample_rate=SAMPLE_RATE,
        window_size=panns.WINDOW,
        hop_size=panns.HOP,
        mel_bins=panns.MELS,
        fmin=panns.MIN_HZ,
        fmax=panns.MAX_HZ,
        classes_num=panns.CLASSES,
    ).eval()
    mine = Cnn14()
    mine.load_published(randomise(theirs))
    short = waveforms[:, : 4 * SAMPLE_RATE]
    with torch.no_grad():
        expected = theirs(short)
    features, logits = mine(short)
    assert_same(features, expected["embedding"], 1e-3)
    assert_same(logits.sigmoid(), expected["clipwise_output"], 1e-3)


def test_vggish_equals_torchvggish(waveforms: Tensor) -> None:
    torchvggish = importlib.import_module("torchvggish")
    theirs = torchvggish.VGG(torchvggish.torchvggish.make_layers(), postprocess=False).eval()
    mine = VGGish()
    mine.load_published(randomise(theirs))
    # As audioldm_eval takes them: before the last ReLU.
    theirs.embeddings = theirs.embeddings[:-1]
    for waveform in waveforms[:, : 4 * SAMPLE_RATE]:
        examples = torchvggish.waveform_to_examples(waveform.double().numpy(), SAMPLE_RATE)
        assert_same(mine.examples(waveform), examples[:, 0].detach(), 1e-3)
        with torch.no_grad():
            expected = theirs(examples)
        assert expected.shape == (4, 128)
        assert_same(mine(waveform), expected, 1e-3)


def test_passt_equals_hear21passt(waveforms: Tensor) -> None:
    network = importlib.import_module("hear21passt.models.passt")
    front = importlib.import_module("hear21passt.models.preprocess")
    theirs = network.get_model(arch="passt_s_swa_p16_128_ap476", pretrained=False).eval()
    mine = PaSST()
    mine.load_published(randomise(theirs))
    mel = front.AugmentMelSTFT(
        n_mels=passt.MELS,
        sr=SAMPLE_RATE * passt.RATE_FACTOR,
        win_length=passt.WINDOW,
        hopsize=passt.HOP,
        n_fft=passt.FFT,
        fmin=0.0,
        fmax=passt.MAX_HZ,
        freqm=0,
        timem=0,
    ).eval()
    doubled = torch.from_numpy(passt.resample_poly(waveforms.numpy(), passt.RATE_FACTOR, 1, axis=-1))
    spectrogram = mel(doubled)
    assert_same(mine.log_mel(waveforms), spectrogram, 1e-2)
    with torch.no_grad():
        # Theirs is made for 998 frames, and cuts its positions to what is there.
        expected, _ = theirs(spectrogram[:, None])
    assert_same(mine(waveforms), expected, 1e-2)


def test_wav2clip_equals_its_package(waveforms: Tensor) -> None:
    encoder = importlib.import_module("wav2clip.model.encoder")
    theirs = encoder.ResNetExtractor(scenario="supervise")
    theirs.transform = encoder.MLPLayers()
    theirs.eval()
    prefixes = {"encoder.": "audio_encoder.", "transform.": "audio_transform."}
    published = {
        name.replace(inside, outside, 1): value
        for name, value in randomise(theirs).items()
        for inside, outside in prefixes.items()
        if name.startswith(inside)
    }
    mine = Wav2Clip()
    mine.load_published(published)
    for waveform in waveforms:
        with torch.no_grad():
            expected = theirs(waveform[None])[0]
        assert_same(mine(waveform), expected, 1e-3)
