"""The networks of the published metrics, against other implementations with the same random weights."""

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import librosa
import numpy as np
import pytest
import timm.models.vision_transformer as timm_vit
import torch
import torchvision
from scipy import signal
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)
from transformers.audio_utils import mel_filter_bank

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.extractors import ClipImage, Cnn14, PaSST, VGGish, Wav2Clip, panns
from drawaudio_model.extractors.filters import kaldi_mel_filters
from drawaudio_model.extractors.weights import MissingWeights, Weights, find, read_state, weights_sha256
from tests.test_published import COMMIT, CONTENT, hub

__all__ = ["hub"]


@pytest.fixture(scope="module")
def waveform() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(3 * SAMPLE_RATE, generator=generator)


def shaken(network: torch.nn.Module, scale: float = 0.05) -> torch.nn.Module:
    """Random weights and running statistics, so that nothing is at its neutral start."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.add_(scale * torch.randn(value.shape, generator=generator).abs())
    return network


def test_kaldi_filters_equal_transformers() -> None:
    theirs = mel_filter_bank(
        num_frequency_bins=257,
        num_mel_filters=64,
        min_frequency=125,
        max_frequency=7500,
        sampling_rate=16_000,
        norm=None,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    np.testing.assert_allclose(kaldi_mel_filters(64, 512, 16_000, 125, 7500), theirs.T, atol=1e-5)


def test_panns_mel_is_librosas_power_mel_in_decibels(waveform: torch.Tensor) -> None:
    mine = Cnn14(channels=(2, 2, 2, 2, 2, 4)).log_mel(waveform[None])[0]
    power = librosa.feature.melspectrogram(
        y=waveform.numpy(), sr=16_000, n_fft=512, hop_length=160, n_mels=64, fmin=50, fmax=8000, pad_mode="reflect"
    )
    theirs = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)
    np.testing.assert_allclose(mine, theirs.T, atol=2e-3)


def test_panns_has_the_published_parameters_and_reads_them_without_the_fixed_tables() -> None:
    network = Cnn14()
    names = dict(network.named_parameters())
    assert names["conv_block6.conv2.weight"].shape == (2048, 2048, 3, 3)
    assert names["conv_block1.bn1.weight"].shape == (64,) and names["bn0.weight"].shape == (64,)
    assert names["fc1.weight"].shape == (2048, 2048) and names["fc_audioset.bias"].shape == (527,)
    assert len(names) == 2 + 6 * 6 + 4
    # PANNs' paper, table of Cnn14.
    assert sum(value.numel() for value in names.values()) == 80_753_615
    state = dict(network.state_dict()) | {
        "spectrogram_extractor.stft.conv_real.weight": torch.zeros(257, 1, 512),
        "logmel_extractor.melW": torch.zeros(257, 64),
    }
    network.load_published(state)
    del state["fc1.bias"]
    with pytest.raises(RuntimeError, match=r"fc1\.bias"):
        network.load_published(state)


def test_panns_forward_is_its_formula_written_out(waveform: torch.Tensor) -> None:
    network = shaken(Cnn14(channels=(2, 3, 4, 5, 6, 8)))
    features, logits = network(waveform[None])
    hidden = network.log_mel(waveform[None])  # (1, T, 64)
    bn0 = network.bn0
    hidden = (hidden - bn0.running_mean) / (bn0.running_var + bn0.eps).sqrt() * bn0.weight + bn0.bias
    hidden = hidden[:, None]
    for number in range(1, 7):
        block = getattr(network, f"conv_block{number}")
        hidden = block.bn1(torch.nn.functional.conv2d(hidden, block.conv1.weight, padding=1)).clamp(min=0)
        hidden = block.bn2(torch.nn.functional.conv2d(hidden, block.conv2.weight, padding=1)).clamp(min=0)
        if number < 6:
            hidden = torch.nn.functional.avg_pool2d(hidden, kernel_size=(2, 2))
    hidden = hidden.mean(dim=3)
    hidden = hidden.max(dim=2).values + hidden.mean(dim=2)
    expected = torch.relu(hidden @ network.fc1.weight.T + network.fc1.bias)
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(logits, expected @ network.fc_audioset.weight.T + network.fc_audioset.bias)
    assert features.shape == (1, 8) and logits.shape == (1, panns.CLASSES)


def test_vggish_examples_are_its_formula_written_out(waveform: torch.Tensor) -> None:
    examples = VGGish().examples(waveform)
    assert examples.shape == (3, 96, 64)
    window = signal.get_window("hann", 400)
    filters = kaldi_mel_filters(64, 512, 16_000, 125, 7500)
    for example, frame in ((0, 0), (1, 5), (2, 95)):
        start = 160 * (96 * example + frame)
        spectrum = np.abs(np.fft.rfft(waveform[start : start + 400].numpy() * window, 512))
        np.testing.assert_allclose(examples[example, frame], np.log(filters @ spectrum + 0.01), atol=1e-4)


def test_vggish_has_the_published_names_and_tensorflows_order() -> None:
    network = VGGish()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes["features.0.weight"] == (64, 1, 3, 3) and shapes["features.13.weight"] == (512, 512, 3, 3)
    assert shapes["embeddings.0.weight"] == (4096, 12288) and shapes["embeddings.4.weight"] == (128, 4096)
    assert len(shapes) == 2 * (6 + 3)
    seen = {}
    network.embeddings[0].register_forward_pre_hook(lambda _, given: seen.update(flat=given[0]))
    hidden = network.features(network.examples(torch.randn(SAMPLE_RATE))[:, None])  # (1, 512, 6, 4)
    network(torch.zeros(SAMPLE_RATE))
    network.features.register_forward_hook(lambda *_: hidden)
    network(torch.zeros(SAMPLE_RATE))
    # TensorFlow flattens (time, mel, channels): channels change fastest.
    torch.testing.assert_close(seen["flat"][0, :512], hidden[0, :, 0, 0])
    torch.testing.assert_close(seen["flat"][0, 512:1024], hidden[0, :, 0, 1])


def test_passt_blocks_equal_timms_with_the_same_weights() -> None:
    network = shaken(PaSST(width=24, depth=2, heads=4))
    theirs = torch.nn.Sequential(
        *[timm_vit.Block(24, 4, qkv_bias=True, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6)) for _ in range(2)]
    ).eval()
    theirs.load_state_dict(network.blocks.state_dict())
    hidden = torch.randn(2, 9, 24)
    torch.testing.assert_close(network.blocks(hidden), theirs(hidden), atol=1e-5, rtol=1e-4)


def test_passt_sees_ten_seconds_at_32_khz_in_12_by_99_patches(waveform: torch.Tensor) -> None:
    network = shaken(PaSST(width=24, depth=1, heads=2))
    mel = network.log_mel(waveform[None])
    assert mel.shape == (1, 128, 1000)
    # What follows the sound is silence, and the pre-emphasis leaves none of it.
    silence = (np.log(1e-5) + 4.5) / 5
    assert torch.allclose(mel[0, :, 350:], torch.full((128, 650), silence), atol=1e-5)
    long = torch.cat([waveform] * 4)
    assert network.log_mel(long[None]).shape == (1, 128, 1000)
    assert network(waveform[None]).shape == (1, 527)
    shapes = {name: tuple(value.shape) for name, value in PaSST().state_dict().items()}
    assert shapes["patch_embed.proj.weight"] == (768, 1, 16, 16) and shapes["time_new_pos_embed"] == (1, 768, 1, 99)
    assert shapes["blocks.11.attn.qkv.weight"] == (2304, 768) and shapes["head.1.weight"] == (527, 768)
    # 85.2 M with the distillation head, which is not read.
    assert 85.5e6 < sum(np.prod(shape) for shape in shapes.values()) < 86.5e6
    network.load_published(dict(network.state_dict()) | {"head_dist.weight": torch.zeros(527, 24)})


def test_passt_mel_is_its_formula_written_out(waveform: torch.Tensor) -> None:
    mel = PaSST(width=24, depth=1, heads=2).log_mel(waveform[None])[0]
    doubled = signal.resample_poly(waveform.numpy(), 2, 1)
    emphasised = doubled[1:] - 0.97 * doubled[:-1]
    window = np.zeros(1024)
    window[112:912] = np.hanning(800)
    for frame in (10, 123, 250):
        start = frame * 320 - 512
        power = np.abs(np.fft.rfft(emphasised[start : start + 1024] * window)) ** 2
        expected = (np.log(kaldi_mel_filters(128, 1024, 32_000, 0, 15_000) @ power + 1e-5) + 4.5) / 5
        np.testing.assert_allclose(mel[:, frame], expected, atol=1e-3)


def test_wav2clip_is_a_resnet18_on_the_normalised_log_spectrogram(waveform: torch.Tensor) -> None:
    network = shaken(Wav2Clip(), 0.01)
    frequencies, _, theirs = signal.stft(
        waveform.numpy(), nperseg=512, noverlap=512 - 353, boundary="even", padded=False, window="hann"
    )
    assert len(frequencies) == 257
    # SciPy scales by the window's sum; librosa and torch do not.
    power = np.log(np.abs(theirs * 256) ** 2 + 1e-7)
    given = torch.from_numpy((power - power.mean()) / power.std(ddof=1)).float()[None, None]
    reference = torchvision.models.resnet18(num_classes=512)
    reference.conv1 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    reference.fc = torch.nn.Identity()
    reference.load_state_dict(network.audio_encoder.state_dict())
    reference.eval()
    with torch.no_grad():
        expected = network.audio_transform["sequential"](reference(given))[0]
        found = network(waveform)
    assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.999
    state = dict(network.state_dict()) | {
        "audio_encoder.spectrogram.window": torch.ones(512),
        "image_transform.x": torch.ones(1),
    }
    network.load_published(state)


def test_clip_image_equals_transformers_on_its_own_preprocessing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, projection_dim=16
    )
    model = CLIPVisionModelWithProjection(config).eval()
    model.save_pretrained(tmp_path)
    CLIPImageProcessor().save_pretrained(tmp_path)
    pictures = np.random.default_rng(0).integers(0, 255, (2, 240, 320, 3), dtype=np.uint8)
    found = ClipImage(tmp_path)(pictures)
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(pictures).permute(0, 3, 1, 2).float(), size=(224, 298), mode="bicubic", antialias=True
    )
    cropped = resized.round().clamp(0, 255)[..., 37 : 37 + 224] / 255
    pixels = (cropped - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        expected = model(pixel_values=pixels.float()).image_embeds
    np.testing.assert_allclose(found, expected, atol=2e-2)


@pytest.fixture
def published(tmp_path: Path) -> Iterator[str]:
    """A server on loopback that publishes `weights.pth`."""
    folder = tmp_path / "published"
    folder.mkdir()
    torch.save({"model": {"a": torch.ones(2)}, "sampler": {"indexes": np.arange(3)}}, folder / "weights.pth")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_weights_come_from_the_folder_or_their_published_place_and_nowhere_else(published: str, tmp_path: Path) -> None:
    weights = Weights("weights.pth", f"{published}/weights.pth")
    with pytest.raises(MissingWeights, match=rf"weights\.pth is missing; put there what {published}"):
        find(weights, tmp_path / "mine")
    path = find(weights, tmp_path / "mine", fetch=True)
    assert read_state(path)["a"].tolist() == [1, 1] and len(weights_sha256(path)) == 64
    assert find(Weights("weights.pth", "nowhere"), tmp_path / "mine") == path
    absent = Weights("other.pth", f"{published}/other.pth")
    with pytest.raises(MissingWeights, match=r"could not be fetched from .*404"):
        find(absent, tmp_path / "mine", fetch=True)
    assert sorted(file.name for file in (tmp_path / "mine").iterdir()) == ["weights.pth"]


def test_a_folder_of_weights_comes_from_its_pinned_commit(hub: tuple[type, str], tmp_path: Path) -> None:
    handler, address = hub
    weights = Weights("clap", f"{address}/owner/name", revision=COMMIT)
    with pytest.raises(MissingWeights, match=r"clap is missing; put there what http"):
        find(weights, tmp_path)
    handler.damaged = True
    with pytest.raises(MissingWeights, match=r"model\.safetensors arrived damaged"):
        find(weights, tmp_path, fetch=True)
    assert not list(tmp_path.iterdir())
    handler.damaged = False
    folder = find(weights, tmp_path, fetch=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: CONTENT[name] for name in ("config.json", "model.safetensors")
    }
    with pytest.raises(MissingWeights, match=r"could not be fetched from .*404"):
        find(Weights("other", f"{address}/owner/other", revision=COMMIT), tmp_path, fetch=True)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple:
            return print, ("ran",)

    torch.save({"model": {"a": Harm()}}, tmp_path / "harm.pth")
    with pytest.raises(Exception, match="Weights only load failed"):
        read_state(tmp_path / "harm.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="no state dict"):
        read_state(tmp_path / "list.pth")
