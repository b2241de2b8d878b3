"""Features with published checkpoints' formats: batches across clips, one decode, one encoding a phrase, boxes as the record."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from transformers import SpeechT5HifiGan

from drawaudio_model import media
from drawaudio_model.adapters import from_audioldm2
from drawaudio_model.atomic_files import decode_array
from drawaudio_model.caption import Caption
from drawaudio_model.cavp import CAVP
from drawaudio_model.clip_format import SOURCE_SAMPLES, SOURCE_VIDEO_FRAMES
from drawaudio_model.detector import ObjectDetector, import_world_model
from drawaudio_model.masks import rasterize
from drawaudio_model.media import encode_flac, encode_jpeg
from drawaudio_model.shard import ShardReader, ShardWriter
from drawaudio_model.text import TextConditioner
from drawaudio_model.training_sample import decode_sample
from pipelines import published_backbones
from pipelines.annotation.settings import AnnotationSettings
from pipelines.assets import (
    audio_latents,
    backbones,
    cavp_features,
    loudness_curves,
    object_masks,
    text_embeddings,
    training_shards,
)
from pipelines.clip_rows import ClipRow, write_clip_list
from pipelines.published import AUDIOLDM2, CAVP_FILE, CLIP, DIFF_FOLEY, fetch, yolo_world
from pipelines.resources import DataRoot
from pipelines.shard_work import make_shard
from tests.tiny_audioldm2 import tiny_audioldm2
from tests.tiny_pipeline import GPT

SHARD = "train-000000"
CAPTIONS = ["A dog barks", "A dog barks while heavy rain falls on a tin roof and a man talks", "Music"]
PHRASES = [["dog"], ["dog", "tin roof", "man"], []]
SIZES = [(48, 64), (64, 40), (48, 64)]
KEYS = [f"clip{number}_000000" for number in range(3)]


@pytest.fixture(scope="module", autouse=True)
def published_profile():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRAWAUDIO_PROFILE", "folder")
        patch.setenv("DRAWAUDIO_BACKBONES", "published")
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("DRAWAUDIO_DETECTOR_SIZE", "s")
        yield patch


@pytest.fixture(scope="module")
def models(tmp_path_factory, published_profile):
    """Tiny random networks in the folders and files in which the real checkpoints are published."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    published_profile.setenv("DRAWAUDIO_MODELS", str(folder))
    base = tiny_audioldm2(folder / AUDIOLDM2.name)
    for name in AUDIOLDM2.files:
        if not (base / name).exists():
            assert name.startswith("tokenizer"), name  # older tokenizers came with more side files
            (base / name).write_text("{}" if name.endswith(".json") else "")
    write_detector(folder)
    return folder


def write_detector(folder: Path) -> None:
    """YOLO-World v2 of size s as ultralytics saves it (half precision, its arguments beside it), and an open_clip folder."""
    model = import_world_model()("yolov8s-worldv2.yaml", nc=80, verbose=False)
    path = folder / yolo_world("s").name / yolo_world("s").files[0]
    path.parent.mkdir(parents=True)
    # 96 pixels instead of the published 640: two CPU cores run this test.
    torch.save({"model": model.half(), "train_args": {"imgsz": 96, "task": "detect"}}, path)
    config = {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    clip = folder / CLIP.name
    clip.mkdir(parents=True)
    network = open_clip.CLIP(**config)
    (clip / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()}, clip / "open_clip_model.safetensors"
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory, models, published_profile):
    """A data root with three decoded clips, their captions and phrases, and the published backbones but CAVP's."""
    published_profile.setattr(published_backbones, "CLIP", replace(CLIP, sha256={}))
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    with (
        ShardWriter(folder / "clip_media", SHARD, inputs={}) as clips,
        ShardWriter(folder / "captions", SHARD, inputs={}) as captions,
        ShardWriter(folder / "noun_phrases", SHARD, inputs={}) as phrases,
    ):
        for key, caption, own, (height, width) in zip(KEYS, CAPTIONS, PHRASES, SIZES, strict=True):
            coarse = rng.integers(0, 255, (SOURCE_VIDEO_FRAMES, height // 8, width // 8, 3), np.uint8)
            frames = coarse.repeat(8, axis=1).repeat(8, axis=2)
            sound = encode_flac((0.1 * rng.standard_normal(SOURCE_SAMPLES)).astype(np.float32))
            facts = {"flags": [], "scores": {"rms": 0.1}}
            pictures = {f"{i:03d}.jpg": encode_jpeg(frame) for i, frame in enumerate(frames)}
            clips.add(key, {"json": json.dumps(facts).encode(), "flac": sound, **pictures})
            captions.add(key, {"json": Caption(caption, "folder").to_json()})
            phrases.add(key, {"json": json.dumps({"phrases": own}).encode()})
        for writer in (clips, captions, phrases):
            writer.commit()
    rows = [
        ClipRow(key, "folder", key[:5], 0, "", "train", caption, media="", shard=SHARD)
        for key, caption in zip(KEYS, CAPTIONS, strict=True)
    ]
    write_clip_list(folder / "clip_list.parquet", rows)
    for name in ("audio_autoencoder", "text_encoders", "object_detector", "vocoder"):
        make_backbone(folder, name)
    small = CAVP(video_width=4, video_blocks=(1, 1, 1, 1), audio_width=2, embed_dim=16, image_size=32).eval()
    small.save_pretrained(folder / "backbones" / "cavp_backbone")
    (folder / "backbones" / "cavp_backbone" / "backbone.json").write_text(json.dumps({"inputs": {}, "files": {}}))
    return folder


def make_backbone(folder: Path, name: str) -> object:
    return backbones.make_backbone(SimpleNamespace(), DataRoot(path=str(folder)), None, name, ())


def arrays(folder: Path, asset: str, member: str) -> list[np.ndarray]:
    reader = ShardReader(folder / asset, SHARD)
    found = [decode_array(reader.member(key, f"{member}.npy")) for key in KEYS]
    reader.close()
    return found


def made(folder: Path, module, group: int, members: tuple[str, ...]) -> dict[str, list[np.ndarray]]:
    """A recipe's arrays with `group` clips in a batch."""
    recipe = module.recipe(DataRoot(path=str(folder)), group)
    make_shard(folder, SHARD, replace(recipe, settings={**recipe.settings, "batch": group}))
    return {member: arrays(folder, recipe.asset, member) for member in members}


def test_published_folders_open_and_are_made_once(root, models):
    folder = root / "backbones"
    assert TextConditioner.from_pretrained(folder / "text_encoders")(["a dog"]).gpt.shape == (1, 8, GPT)
    assert AutoencoderKL.from_pretrained(folder / "audio_autoencoder").config.latent_channels == 4
    assert SpeechT5HifiGan.from_pretrained(folder / "vocoder").config.model_in_dim == 64
    assert (folder / "unet" / "diffusion_pytorch_model.safetensors").exists()
    detector = ObjectDetector.from_pretrained(folder / "object_detector")
    assert detector.knows("a phrase that nobody trained")
    activations = [module for module in detector.clip.modules() if type(module).__name__ == "QuickGELU"]
    assert activations and not [module for module in detector.clip.modules() if isinstance(module, torch.nn.GELU)]
    times = {path: path.stat().st_ino for path in folder.rglob("*.safetensors")}
    first = make_backbone(root, "text_encoders").data_version
    assert make_backbone(root, "text_encoders").data_version == first
    assert {path: path.stat().st_ino for path in folder.rglob("*.safetensors")} == times
    # Linked, not copied: the checkpoints lie on the disk once.
    original = models / AUDIOLDM2.name / "vae" / "diffusion_pytorch_model.safetensors"
    assert (folder / "audio_autoencoder" / original.name).stat().st_ino == original.stat().st_ino


def test_the_fetched_checkpoint_is_a_base_as_it_is(models, tmp_path):
    """Only what the list of files names is there, as after a download."""
    base = tmp_path / AUDIOLDM2.name
    for name in AUDIOLDM2.files:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).hardlink_to(models / AUDIOLDM2.name / name)
    CAVP(video_width=2, video_blocks=(1, 1, 1, 1), audio_width=0, embed_dim=12, image_size=32).save_pretrained(
        tmp_path / "cavp"
    )
    pipe = from_audioldm2(fetch(AUDIOLDM2, tmp_path), cavp=tmp_path / "cavp", video_width=16)
    assert pipe.scheduler.config.beta_end == 0.0195 and pipe.feature_extractor.truncation == "rand_trunc"


def test_a_backbone_that_is_nowhere_stops_with_one_sentence(root, published_profile, tmp_path):
    import dagster as dg

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRAWAUDIO_MODELS", str(tmp_path))
        with pytest.raises(dg.Failure) as caught:
            make_backbone(root, "cavp_backbone")
    text = caught.value.description
    assert text.startswith("cavp_backbone: SimianLuo/Diff-Foley is not there") and "\n" not in text
    assert f"fill {tmp_path / DIFF_FOLEY.name} with {CAVP_FILE} of SimianLuo/Diff-Foley at b17ddbe" in text


@pytest.mark.slow
def test_the_published_cavp_becomes_a_folder(tmp_path, published_profile):
    """A checkpoint of the full size in which every weight repeats one number, which a file stores once."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in CAVP().state_dict().items()}
    assert len(shapes) == 402
    state = {f"module.{name}": torch.tensor(0.5).expand(shape) for name, shape in shapes.items()}
    path = tmp_path / "models" / DIFF_FOLEY.name / CAVP_FILE
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": state}, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRAWAUDIO_MODELS", str(tmp_path / "models"))
        patch.setattr(published_backbones, "DIFF_FOLEY", replace(DIFF_FOLEY, sha256={}))
        make_backbone(tmp_path, "cavp_backbone")
    loaded = CAVP.from_pretrained(tmp_path / "backbones" / "cavp_backbone")
    assert {name: value.shape for name, value in loaded.state_dict().items()} == shapes
    assert float(loaded.video_project_head.weight.detach().mean()) == 0.5


def test_text_embeddings_are_float16_and_the_same_in_any_batch(root):
    single, batch = (made(root, text_embeddings, group, ("clap", "t5", "gpt")) for group in (1, 3))
    for name in single:
        for one, other in zip(single[name], batch[name], strict=True):
            assert one.dtype == np.float16 and one.shape == other.shape
            np.testing.assert_allclose(one, other, atol=2e-3)
    lengths = [len(states) for states in batch["t5"]]
    assert lengths[1] > lengths[0] > lengths[2] and [array.shape for array in batch["gpt"]] == [(8, GPT)] * 3


def test_audio_latents_are_float16_and_the_same_in_any_batch(root):
    single, batch = (made(root, audio_latents, group, ("latent",))["latent"] for group in (1, 3))
    for one, other in zip(single, batch, strict=True):
        assert one.dtype == np.float16 and one.shape == (8, 250, 16)
        np.testing.assert_allclose(one.astype(np.float32), other.astype(np.float32), atol=5e-3)


def test_object_masks_encode_each_phrase_once_for_all_runs(root, monkeypatch):
    encoded, batches = [], []
    encode, predict = open_clip.CLIP.encode_text, import_world_model().predict

    def counted(self, text, *more, **options):
        encoded.append(len(text))
        return encode(self, text, *more, **options)

    def watched(self, images, *more, **options):
        batches.append(len(images))
        return predict(self, images, *more, **options)

    monkeypatch.setattr(open_clip.CLIP, "encode_text", counted)
    monkeypatch.setattr(import_world_model(), "predict", watched)
    monkeypatch.setenv("DRAWAUDIO_DETECTOR_CONFIDENCE", "0.0")
    make_shard(root, SHARD, object_masks.recipe(DataRoot(path=str(root))))
    assert encoded == [1, 1, 1], "dog, tin roof and man"
    # 40 frames a clip: a batch of more holds frames of two clips. The clip without a phrase is not looked at.
    assert sum(batches) == 2 * SOURCE_VIDEO_FRAMES and max(batches) > SOURCE_VIDEO_FRAMES
    reader = ShardReader(root / "object_masks", SHARD)
    boxes = [object_masks.read_boxes(reader, key) for key in KEYS]
    assert boxes[0] and boxes[1] and not boxes[2]
    assert {box.phrase_index for box in boxes[1]} <= {0, 1, 2}

    monkeypatch.setenv("DRAWAUDIO_DETECTOR_CONFIDENCE", "1.0")
    make_shard(root, SHARD, object_masks.recipe(DataRoot(path=str(root))))
    assert encoded == [1, 1, 1], "the second run finds the features on disk"
    reader = ShardReader(root / "object_masks", SHARD)
    assert all(json.loads(reader.member(key, "boxes.json")) == [[]] * SOURCE_VIDEO_FRAMES for key in KEYS)


def test_cavp_features_take_one_decode_and_one_batch(root, monkeypatch):
    monkeypatch.setenv("DRAWAUDIO_DETECTOR_CONFIDENCE", "0.0")
    make_shard(root, SHARD, object_masks.recipe(DataRoot(path=str(root))))
    single = made(root, cavp_features, 1, ("cavp", "cavp_masked"))
    decoded, batches = [], []
    decode, encode = media.decode_jpeg, CAVP.encode_video
    monkeypatch.setattr(media, "decode_jpeg", lambda data: decoded.append(1) or decode(data))
    monkeypatch.setattr(
        CAVP, "encode_video", lambda self, x, **more: batches.append(tuple(x.shape)) or encode(self, x, **more)
    )
    batch = made(root, cavp_features, 3, ("cavp", "cavp_masked"))
    assert len(decoded) == 3 * SOURCE_VIDEO_FRAMES
    assert batches == [(6, SOURCE_VIDEO_FRAMES, 3, 32, 32)]
    for name in single:
        for one, other in zip(single[name], batch[name], strict=True):
            assert one.dtype == np.float16 and one.shape == (SOURCE_VIDEO_FRAMES, 16)
            np.testing.assert_allclose(one, other, atol=2e-3)
    # No box: the whole frame sounds, and the masked frames are the frames.
    np.testing.assert_array_equal(batch["cavp"][2], batch["cavp_masked"][2])


def test_a_clip_without_a_box_keeps_an_empty_list_a_flag_and_the_whole_frame(root, monkeypatch):
    monkeypatch.setenv("DRAWAUDIO_DETECTOR_CONFIDENCE", "0.0")
    place = DataRoot(path=str(root))
    for recipe in (
        object_masks.recipe(place),
        cavp_features.recipe(place),
        audio_latents.recipe(place),
        text_embeddings.recipe(place),
        loudness_curves.recipe(),
        training_shards.recipe(root),
    ):
        make_shard(root, SHARD, recipe)
    reader = ShardReader(root / "training_shards", SHARD)
    samples = [decode_sample(key, reader[key]) for key in KEYS]
    assert [sample.facts["flags"]["whole_frame_mask"] for sample in samples] == [False, False, True]
    assert samples[2].boxes == [[]] * SOURCE_VIDEO_FRAMES
    assert rasterize([], 4, 6).all()
    assert "candidates" not in samples[0].facts and samples[0].facts["caption_source"] == "folder"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DRAWAUDIO_DETECTOR_SIZE", "xl", "expected one of s, m, l, x"),
        ("DRAWAUDIO_DETECTOR_CONFIDENCE", "2", "expected 0 to 1"),
        ("DRAWAUDIO_DETECTOR_CONFIDENCE", "high", "expected a number from 0 to 1"),
    ],
)
def test_settings_that_cannot_be_are_named(name, value, message):
    with pytest.raises(ValueError, match=rf"{name} is .*{message}"):
        AnnotationSettings.from_environment({name: value})
