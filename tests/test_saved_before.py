"""Models, shards and imports from before the code lay in folders still work.

`data/saved_before_rooms` holds what the last commit of the flat layout wrote: a shard, and of a model folder the files that
name classes and their arguments. The weights, which would be large, are written anew.
"""

import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from drawaudio_model.model_folder import check_model_folder, read_components
from drawaudio_model.pipeline import DrawAudioPipeline
from drawaudio_model.shard import ShardReader, ShardWriter, decode_sample, encode_sample, finished_shards
from drawaudio_model.training_domain import TrainingDomain
from drawaudio_model.vocoder import SpectralVocoder
from tests.tiny_pipeline import tiny_pipeline
from tests.tiny_shards import tiny_sample

BEFORE = Path(__file__).parent / "data" / "saved_before_rooms"
OWN_CLASSES = {
    "cavp": ("drawaudio_model.cavp", "CAVP"),
    "domain": ("drawaudio_model.training_domain", "TrainingDomain"),
    "loudness_control": ("drawaudio_model.loudness_control", "LoudnessControl"),
    "mask_attention": ("drawaudio_model.mask_attention", "MaskAttention"),
    "unet": ("drawaudio_model.unet", "DrawAudioUNet"),
    "vocoder": ("drawaudio_model.vocoder", "SpectralVocoder"),
}
NAMES = {
    "shard": "EXCLUDE_FILE SAMPLE_MEMBERS SCHEMA_VERSION Rejection ShardManifest ShardReader ShardWriter TrainingSample "
    "count_clips decode_array decode_boxes decode_facts decode_sample encode_array encode_sample file_sha256 fingerprint "
    "finished_shards is_excluded read_exclude_list read_manifest write_atomically",
    "masks": "Box apply_mask boxes_from_json boxes_to_json from_images rasterize read_mask resize_mask select_boxes",
    "media": "MediaError MediaInfo REASONS check_container decode_flac decode_jpeg encode_flac encode_jpeg mux probe "
    "read_clips read_frames read_waveform write_audio",
    "pipeline": "STEPS Conditions DrawAudioOutput DrawAudioPipeline Guidance",
    "cavp": "CAVP",
    "text": "TextConditioner TextEmbeddings",
    "detector": "ObjectDetector",
    "unet": "DrawAudioUNet",
    "guidance": "LOUDNESS_SCALE TEXT_SCALE VIDEO_SCALE",
    "mask_attention": "MaskAttention",
    "loudness_control": "LoudnessControl",
    "loudness": "loudness_signal",
    "mel": "GriffinLimVocoder log_mel normalize_waveform vocode",
    "adapters": "from_audioldm2 load_adapters save_adapters",
    "dataset": "TrainingShards training_batches",
    "config": "TrainConfig named_run",
    "train": "main",
    "evaluate": "main",
    "control": "main",
    "pretrain": "main",
    "cli": "main",
}
"""Module of drawaudio_model -> names that code outside may import from it."""


@pytest.fixture(scope="module")
def pipe() -> DrawAudioPipeline:
    """The pipeline that the kept files describe."""
    made = tiny_pipeline()
    torch.manual_seed(1)
    vocoder = SpectralVocoder(width=8, blocks=1, iterations=2).eval()
    made.register_modules(vocoder=vocoder, domain=TrainingDomain(words=("bell", "rain"), clap_dim=16))
    return made


def test_a_model_folder_saved_before_is_loaded(pipe: DrawAudioPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    shutil.copytree(BEFORE / "model", tmp_path, dirs_exist_ok=True)
    found = read_components(tmp_path)
    assert {name: found[name] for name in OWN_CLASSES} == OWN_CLASSES
    check_model_folder(tmp_path)
    loaded = DrawAudioPipeline.from_pretrained(tmp_path)
    for name, (module, kind) in OWN_CLASSES.items():
        part = getattr(loaded, name)
        assert (type(part).__module__, type(part).__name__) == (module, kind)
        for key, value in getattr(pipe, name).state_dict().items():
            torch.testing.assert_close(part.state_dict()[key], value, rtol=0, atol=0)
    # Arguments of the kept files, not of what was saved here.
    assert loaded.domain.config.loudest_level == 0.4


def test_a_model_folder_names_its_classes_as_before(pipe: DrawAudioPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    assert read_components(tmp_path) == read_components(BEFORE / "model")


def test_a_shard_written_before_is_read_and_written_again_byte_for_byte(tmp_path: Path) -> None:
    folder = BEFORE / "shards"
    assert finished_shards(folder) == ["train-000000"]
    reader = ShardReader(folder, "train-000000")
    assert reader.keys == ["clip_000000"]
    sample = decode_sample("clip_000000", reader["clip_000000"])
    expected = tiny_sample("clip_000000", "train", 0, np.random.default_rng(0))
    assert sample.boxes == expected.boxes and sample.facts["noun_phrases"] == ["red ball"]
    for name in ("cavp", "cavp_masked", "loudness", "latent", "clap", "t5", "gpt"):
        np.testing.assert_array_equal(getattr(sample, name), getattr(expected, name))
    with ShardWriter(tmp_path, "train-000000", inputs=reader.manifest.inputs) as shard:
        shard.add(sample.key, encode_sample(sample))
        for row in reader.manifest.rejected:
            shard.reject(row.key, row.reason, row.message)
        shard.commit(reader.manifest.extra)
    # The parquet beside the tar names the pyarrow that wrote it; tar and manifest hold nothing of the kind.
    assert (tmp_path / "train-000000.tar").read_bytes() == (folder / "train-000000.tar").read_bytes()
    assert ShardReader(tmp_path, "train-000000").manifest.sha256 == reader.manifest.sha256


@pytest.mark.parametrize(("module", "names"), NAMES.items(), ids=NAMES)
def test_names_that_others_import_are_where_they_were(module: str, names: str) -> None:
    found = importlib.import_module(f"drawaudio_model.{module}")
    assert [name for name in names.split() if not hasattr(found, name)] == []
