"""Captions of clips that have a label only: candidates from published model formats, CLAP as judge, everything recorded."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    RobertaTokenizer,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)
from transformers.generation import GenerationMixin

from drawaudio_model.caption import Caption, read_caption
from drawaudio_model.clip_format import SAMPLE_RATE, SOURCE_SAMPLES, SOURCE_VIDEO_FRAMES
from drawaudio_model.media import encode_flac, encode_jpeg
from drawaudio_model.shard import ShardReader, ShardWriter
from pipelines.annotation.annotators import PublishedCaptioner
from pipelines.annotation.caption_models import CaptionModelFolders, CaptionModels
from pipelines.annotation.label_sentences import label_sentence
from pipelines.annotation.settings import AnnotationSettings
from pipelines.assets import captions
from pipelines.clip_rows import ClipRow, read_clip_list, write_clip_list
from pipelines.shard_work import make_shard

REAL = Path(__file__).parent.parent.parent / "shared" / "realdata" / "csv"
SHARD = "train-000000"
SETTINGS = AnnotationSettings(audio_captioner="tiny/whisper", image_captioner="tiny/blip", caption_scorer="tiny/clap")
LABELS = {"clip0_000000": "dog barking", "clip1_000000": "playing violin, fiddle", "clip2_000000": ""}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Random weights in the three published formats."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    write_whisper(folder / "tiny" / "whisper")
    write_blip(folder / "tiny" / "blip")
    write_clap(folder / "tiny" / "clap")
    return folder


def byte_tokenizer(folder: Path, special: list[str]) -> tuple[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    pairs = ByteLevelBPETokenizer()
    pairs.train_from_iterator(["a dog barks"], vocab_size=300, special_tokens=special, show_progress=False)
    pairs.save_model(str(folder))
    return str(folder / "vocab.json"), str(folder / "merges.txt")


def write_whisper(folder: Path) -> None:
    byte_tokenizer(folder, ["<|endoftext|>", "<|startoftranscript|>"])
    tokenizer = WhisperTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    end, start = (tokenizer.convert_tokens_to_ids(name) for name in ("<|endoftext|>", "<|startoftranscript|>"))
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=80,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_target_positions=64,
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        begin_suppress_tokens=None,
    )
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)


def write_blip(folder: Path) -> None:
    folder.mkdir(parents=True)
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "[DEC]",
        "[ENC]",
        "a",
        "dog",
        "is",
        "red",
        "field",
        "in",
        "the",
    ]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    text = {
        "vocab_size": len(words),
        "hidden_size": 16,
        "encoder_hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "bos_token_id": 5,
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    }
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=8, image_text_hidden_size=8)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    processor = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(image_processor=processor, tokenizer=tokenizer).save_pretrained(folder)


def write_clap(folder: Path) -> None:
    byte_tokenizer(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer = RobertaTokenizer.from_pretrained(folder, model_max_length=77)
    tokenizer.save_pretrained(folder)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 80,
        "pad_token_id": tokenizer.pad_token_id,
    }
    audio = {
        "num_mel_bins": 64,
        "spec_size": 256,
        "patch_size": 16,
        "patch_stride": (16, 16),
        "window_size": 4,
        "patch_embeds_hidden_size": 8,
        "hidden_size": 16,
        "depths": (1, 1),
        "num_attention_heads": (2, 2),
        "num_hidden_layers": 2,
    }
    ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=8)).save_pretrained(folder)
    ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad").save_pretrained(folder)


@pytest.fixture(scope="module")
def folders(models):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        return CaptionModelFolders.find(SETTINGS, models)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    waveforms = [(0.1 * rng.standard_normal(SOURCE_SAMPLES)).astype(np.float32) for _ in range(2)]
    pictures = [rng.integers(0, 255, size, np.uint8) for size in ((48, 64, 3), (64, 40, 3))]
    return ["A dog is barking.", "Someone is playing the violin."], waveforms, pictures


@pytest.fixture
def root(tmp_path, inputs, monkeypatch):
    """A data root with three decoded clips, of which two have a label and one has nothing."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    _, waveforms, pictures = inputs
    with ShardWriter(tmp_path / "clip_media", SHARD, inputs={}) as clips:
        for number, key in enumerate(LABELS):
            frames = {f"{i:03d}.jpg": encode_jpeg(pictures[number % 2]) for i in range(SOURCE_VIDEO_FRAMES)}
            clips.add(key, {"json": b"{}", "flac": encode_flac(waveforms[number % 2]), **frames})
        clips.commit()
    write_list(tmp_path, LABELS)
    return tmp_path


def write_list(root: Path, labels: dict[str, str], caption: str | None = None) -> None:
    rows = [
        ClipRow(key, "vggsound", key[:5], 0, label, "train", caption, media="", shard=SHARD)
        for key, label in labels.items()
    ]
    write_clip_list(root / "clip_list.parquet", rows)


def test_three_sources_propose_and_clap_s_order_decides(folders, inputs):
    models = CaptionModels(folders, SETTINGS.audio_prompt)
    found = models.candidates(*inputs)
    for sentence, waveform, candidates in zip(inputs[0], inputs[1], found, strict=True):
        assert {row.source for row in candidates} >= {"label", "audio_model"}
        assert [row.text for row in candidates if row.source == "label"] == [sentence]
        assert [row.score for row in candidates] == sorted((row.score for row in candidates), reverse=True)
        # Batched with another clip or alone: the same scores.
        (alone,) = models.scores([[row.text for row in candidates]], [waveform])
        assert alone == pytest.approx([row.score for row in candidates], abs=2e-3)


def test_scores_are_clap_s_cosines_at_clap_s_rate(folders, inputs):
    from scipy.signal import resample_poly

    models = CaptionModels(folders, SETTINGS.audio_prompt)
    texts, waveform = ["A dog is barking.", "Rain."], inputs[1][0]
    sound = resample_poly(waveform, 48_000, SAMPLE_RATE).astype(np.float32)
    features = models.scorer_features([sound], sampling_rate=48_000, return_tensors="pt")
    tokens = models.scorer_tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        output = models.scorer(**tokens, **features)
    cosines = (output.logits_per_text[:, 0] / models.scorer.logit_scale_t.exp()).tolist()
    assert models.scores([texts], [waveform])[0] == pytest.approx(cosines, abs=2e-3)


def test_the_audio_captioner_starts_with_the_prompt_and_loses_it_again(folders, inputs, monkeypatch):
    models = CaptionModels(folders, SETTINGS.audio_prompt)
    seen = []
    generate = GenerationMixin.generate

    def watched(self, *features, **options):
        seen.append(options["decoder_input_ids"])
        return generate(self, *features, **options)

    monkeypatch.setattr(GenerationMixin, "generate", watched)
    texts = models.describe_sounds(inputs[1])
    prompt = models.audio_tokenizer(SETTINGS.audio_prompt, add_special_tokens=False).input_ids
    assert seen[0].tolist() == [[models.audio.config.decoder_start_token_id, *prompt]] * 2
    assert all("clotho" not in text for text in texts)
    assert texts == models.describe_sounds(inputs[1])


def test_a_captioner_that_says_nothing_proposes_nothing(folders, inputs, monkeypatch):
    models = CaptionModels(folders, SETTINGS.audio_prompt)
    monkeypatch.setattr(models, "describe_sounds", lambda waveforms: ["", "Rain."])
    found = models.candidates(*inputs)
    assert "audio_model" not in {row.source for row in found[0]}
    assert "audio_model" in {row.source for row in found[1]}


def test_the_asset_records_all_candidates_and_their_scores(root, folders, monkeypatch):
    for name in ("audio_captioner", "image_captioner", "caption_scorer"):
        monkeypatch.setenv(f"DRAWAUDIO_{name.upper()}", getattr(SETTINGS, name))
    manifest = make_shard(root, SHARD, captions.recipe(root, PublishedCaptioner(folders, SETTINGS.audio_prompt)))
    assert [(row.key, row.reason) for row in manifest.rejected] == [("clip2_000000", "no_caption")]
    reader = ShardReader(root / "captions", SHARD)
    for key in reader.keys:
        chosen = read_caption(reader, key)
        rows = chosen.candidates
        assert {row.source for row in rows} >= {"label", "audio_model"}
        assert label_sentence(LABELS[key]) in {row.text for row in rows}
        best = max(rows, key=lambda row: row.score)
        assert (chosen.text, chosen.source) == (best.text, best.source)
    assert captions.show(reader)["sources"].data


def test_without_weights_the_label_is_the_caption_and_marked(root, tmp_path, monkeypatch):
    monkeypatch.setenv("DRAWAUDIO_MODELS", str(tmp_path / "nothing"))
    warnings = []
    context = SimpleNamespace(log=SimpleNamespace(warning=warnings.append))
    assert captions.find_captioner(context) is None
    (text,) = warnings
    assert "labels become captions without candidates" in text and "nothing" in text
    make_shard(root, SHARD, captions.recipe(root))
    reader = ShardReader(root / "captions", SHARD)
    assert [read_caption(reader, key) for key in reader.keys] == [
        Caption("A dog is barking.", "label_only"),
        Caption("Someone is playing the violin.", "label_only"),
    ]


def test_captions_that_came_with_the_clip_are_kept_and_weights_make_labels_anew(root, folders):
    labels_only = make_shard(root, SHARD, captions.recipe(root))
    with_models = make_shard(root, SHARD, captions.recipe(root, PublishedCaptioner(folders, SETTINGS.audio_prompt)))
    assert labels_only.inputs != with_models.inputs
    write_list(root, dict.fromkeys(LABELS, "dog barking"), caption="A person wrote this")
    make_shard(root, SHARD, captions.recipe(root, PublishedCaptioner(folders, SETTINGS.audio_prompt)))
    reader = ShardReader(root / "captions", SHARD)
    assert len(reader) == 3
    for key in reader.keys:
        assert read_caption(reader, key) == Caption("A person wrote this", "vggsound")


def test_a_clip_that_was_taken_back_ends_here(root):
    write_list(root, {"clip0_000000": "dog barking"})
    manifest = make_shard(root, SHARD, captions.recipe(root))
    assert manifest.count == 1
    assert {row.reason for row in manifest.rejected} == {"not_listed"}


def test_a_change_elsewhere_in_the_list_leaves_a_shard_as_it_is(root):
    before = make_shard(root, SHARD, captions.recipe(root))
    rows = list(read_clip_list(root).values())
    rows.append(replace(rows[0], key="other_000000", shard="train-000001"))
    write_clip_list(root / "clip_list.parquet", rows)
    assert make_shard(root, SHARD, captions.recipe(root)).inputs == before.inputs


def test_a_captioner_that_is_switched_off_is_not_looked_for(models, inputs, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings = AnnotationSettings(audio_captioner="", image_captioner="", caption_scorer="tiny/clap")
    found = CaptionModels(CaptionModelFolders.find(settings, models), "").candidates(*inputs)
    assert [[row.source for row in own] for own in found] == [["label"], ["label"]]


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ("people marching", "People are marching."),
        ("owl hooting", "An owl is hooting."),
        ("lions roaring", "Lions are roaring."),
        ("pigeon, dove cooing", "A dove is cooing."),
        ("bird chirping, tweeting", "A bird is chirping."),
        ("playing marimba, xylophone", "Someone is playing the marimba."),
        ("playing table tennis", "Someone is playing table tennis."),
        ("engine accelerating, revving, vroom", "An engine is accelerating and revving."),
        ("child speech, kid speaking", "A child is speaking."),
        ("chainsawing trees", "Someone is chainsawing trees."),
        ("ice cracking", "Ice is cracking."),
        ("wind noise", "The wind is blowing."),
        ("glass harp", "The sound of a glass harp."),
        ("  dog   barking ", "A dog is barking."),
    ],
)
def test_labels_become_sentences(label, sentence):
    assert label_sentence(label) == sentence


def test_an_empty_label_is_refused():
    with pytest.raises(ValueError, match="the label is empty"):
        label_sentence("  ")


@pytest.mark.skipif(not REAL.is_dir(), reason="the official tables do not lie beside the checkout")
def test_every_class_of_vggsound_has_a_sentence_of_its_own():
    with (REAL / "vggsound_stat_official.csv").open(newline="") as file:
        labels = [row[0] for row in csv.reader(file)]
    sentences = {label: label_sentence(label) for label in labels}
    assert len(sentences) == 309
    for label, sentence in sentences.items():
        assert sentence[0].isupper() and sentence.endswith(".") and "," not in sentence and "(" not in sentence, label
        assert len(sentence.split()) >= 3 or sentence.startswith(("People", "Lions", "Sheep", "Ice", "Fire")), label
    assert sum(sentence.startswith("The sound of") for sentence in sentences.values()) <= 2
    assert json.dumps(sentences).isascii()
