"""The text conditioner against diffusers' AudioLDM2Pipeline, its own loop, padding, null text, folders, tokenizers."""

import logging

import pytest
import torch
from diffusers import AudioLDM2Pipeline, DDIMScheduler
from diffusers.pipelines.audioldm2.modeling_audioldm2 import AudioLDM2ProjectionModel
from safetensors import safe_open
from transformers import GPT2LMHeadModel, GPT2Model
from transformers.modeling_outputs import BaseModelOutputWithPooling

from drawaudio_model.text import (
    COMPONENTS,
    GENERATED_TOKENS,
    TextConditioner,
    TextEmbeddings,
    build_text_conditioner,
    pooled_embedding,
    shared_stems,
    train_tokenizers,
)

CAPTIONS = [
    "a ball bounces on a wooden floor",
    "a small bell rings while a car passes by in the rain outside",
    "rain",
    "a drum is struck with a stick",
]


@pytest.fixture(scope="module")
def conditioner(tmp_path_factory):
    torch.manual_seed(0)
    tokenizers = train_tokenizers(CAPTIONS, tmp_path_factory.mktemp("tokenizers"), vocab_size=300, max_tokens=48)
    return build_text_conditioner(*tokenizers, clap_dim=16, t5_dim=24, gpt_dim=32)


def test_shapes_masks_and_norms(conditioner):
    text = conditioner(CAPTIONS)
    length = text.t5.shape[1]
    assert text.clap.shape == (4, 16)
    assert text.t5.shape == (4, length, 24)
    assert text.t5_mask.shape == (4, length)
    assert text.gpt.shape == (4, GENERATED_TOKENS, 32)
    assert text.t5_mask.sum(1).argmax() == 1
    assert text.t5_mask[1].all()
    torch.testing.assert_close(text.clap.norm(dim=1), torch.ones(4))
    assert torch.equal(text.t5[~text.t5_mask], torch.zeros_like(text.t5[~text.t5_mask]))
    assert text.states(2).shape == (int(text.t5_mask[2].sum()), 24)
    assert not any(part.requires_grad for part in (text.clap, text.t5, text.gpt))


@torch.no_grad()
@pytest.mark.parametrize("caption", [*CAPTIONS[:3], ""])
def test_equals_diffusers_pipeline_for_one_caption(conditioner, caption):
    """diffusers' loop needs GPT2LMHeadModel; it gets ours as its trunk."""
    language_model = GPT2LMHeadModel(conditioner.language_model.config).eval()
    language_model.transformer = conditioner.language_model
    pipe = AudioLDM2Pipeline(
        vae=None,
        text_encoder=conditioner.text_encoder,
        text_encoder_2=conditioner.text_encoder_2,
        projection_model=conditioner.projection_model,
        language_model=language_model,
        tokenizer=conditioner.tokenizer,
        tokenizer_2=conditioner.tokenizer_2,
        feature_extractor=None,
        unet=None,
        scheduler=DDIMScheduler(),
        vocoder=None,
    )
    t5, mask, gpt = pipe.encode_prompt([caption], "cpu", 1, False, max_new_tokens=GENERATED_TOKENS)
    text = conditioner([caption])
    torch.testing.assert_close(text.t5, t5, atol=1e-5, rtol=1e-5)
    assert torch.equal(text.t5_mask, mask.bool())
    torch.testing.assert_close(text.gpt, gpt, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_generated_tokens_are_the_last_state_fed_back_step_by_step(conditioner):
    tokens = conditioner.tokenize(CAPTIONS[:1])
    clap = conditioner.clap_embedding(tokens.clap_ids, tokens.clap_mask)
    t5 = conditioner.t5_states(tokens.t5_ids, tokens.t5_mask)
    project = conditioner.projection_model
    written_out = [
        project.sos_embed[None],
        project.projection(clap),
        project.eos_embed[None],
        project.sos_embed_1[None],
        project.projection_1(t5[0]),
        project.eos_embed_1[None],
    ]
    sequence = torch.cat(written_out)[None]  # (1, S, D)
    start = sequence.shape[1]
    inputs, mask = conditioner.projected_inputs(clap, t5, tokens.t5_mask)
    torch.testing.assert_close(inputs, sequence)
    assert mask.all()
    for _ in range(GENERATED_TOKENS):
        states = conditioner.language_model(inputs_embeds=sequence).last_hidden_state
        sequence = torch.cat([sequence, states[:, -1:]], dim=1)
    torch.testing.assert_close(conditioner.generate(inputs, mask), sequence[:, start:], atol=1e-5, rtol=1e-5)
    assert torch.equal(inputs, conditioner.projected_inputs(clap, t5, tokens.t5_mask)[0])


def test_a_batch_equals_its_captions_one_by_one(conditioner):
    batch = conditioner([*CAPTIONS, ""])
    singles = TextEmbeddings.collate([conditioner([caption]) for caption in [*CAPTIONS, ""]])
    assert torch.equal(batch.t5_mask, singles.t5_mask)
    for name in ("clap", "t5", "gpt"):
        torch.testing.assert_close(getattr(batch, name), getattr(singles, name), atol=1e-5, rtol=1e-5, msg=name)


@torch.no_grad()
def test_the_content_of_padding_does_not_reach_the_generated_tokens(conditioner):
    text = conditioner(CAPTIONS)
    spoilt = torch.where(text.t5_mask[..., None], text.t5, torch.tensor(9.0))
    inputs, mask = conditioner.projected_inputs(text.clap, spoilt, text.t5_mask)
    torch.testing.assert_close(conditioner.generate(inputs, mask), text.gpt, atol=1e-5, rtol=1e-5)


def test_pooled_embeddings_are_those_of_either_transformers():
    pooled = torch.randn(2, 4)
    assert pooled_embedding(pooled) is pooled  # transformers 4
    assert pooled_embedding(BaseModelOutputWithPooling(pooler_output=pooled)) is pooled


def test_null_text_is_the_empty_caption(conditioner):
    null, empty = conditioner.null(), conditioner([""])
    assert len(null) == 1
    for name in ("clap", "t5", "t5_mask", "gpt"):
        assert torch.equal(getattr(null, name), getattr(empty, name))
    assert null.t5_mask.sum() == 1  # the end token alone
    assert (null.gpt - conditioner(["rain"]).gpt).abs().max() > 1e-3


def test_pad_collate_select_and_to(conditioner):
    text = conditioner(CAPTIONS[:2])
    padded = text.pad(45)
    assert padded.t5.shape[1] == 45
    assert torch.equal(padded.t5_mask.sum(1), text.t5_mask.sum(1))
    assert torch.equal(padded.states(0), text.states(0))
    both = TextEmbeddings.collate([conditioner(["rain"]), text])
    assert len(both) == 3
    assert torch.equal(both.states(2), text.states(1))
    chosen = both.select([2, 2, 0])
    assert torch.equal(chosen.states(1), text.states(1))
    assert torch.equal(chosen.gpt[2], both.gpt[0])
    half = text.to(dtype=torch.float16)
    assert (half.t5.dtype, half.clap.dtype, half.t5_mask.dtype) == (torch.float16, torch.float16, torch.bool)
    with pytest.raises(ValueError, match="expected at most the 3 to pad to"):
        text.pad(3)
    with pytest.raises(ValueError, match="expected at least one"):
        TextEmbeddings.collate([])
    with pytest.raises(ValueError, match=r"t5_mask is torch\.float32"):
        TextEmbeddings(clap=text.clap, t5=text.t5, t5_mask=text.t5_mask.float(), gpt=text.gpt)
    with pytest.raises(ValueError, match="clap and gpt hold 1 and 2 captions"):
        TextEmbeddings(clap=text.clap[:1], t5=text.t5, t5_mask=text.t5_mask, gpt=text.gpt)


def test_save_and_load_round_trip_in_audioldm2s_layout(conditioner, tmp_path):
    conditioner.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(COMPONENTS)
    loaded = TextConditioner.from_pretrained(tmp_path)
    assert not loaded.training
    expected, result = conditioner(CAPTIONS), loaded(CAPTIONS)
    for name in ("clap", "t5", "t5_mask", "gpt"):
        torch.testing.assert_close(getattr(result, name), getattr(expected, name), rtol=0, atol=0)
    for weights in ("text_encoder/model", "language_model/model", "projection_model/diffusion_pytorch_model"):
        with safe_open(tmp_path / f"{weights}.safetensors", "pt") as file:
            assert file.keys()


def test_a_language_model_saved_with_its_head_loads_too(conditioner, tmp_path):
    """Some AudioLDM2 folders hold GPT2LMHeadModel."""
    conditioner.save_pretrained(tmp_path)
    with_head = GPT2LMHeadModel(conditioner.language_model.config)
    with_head.transformer = conditioner.language_model
    with_head.save_pretrained(tmp_path / "language_model")
    loaded = TextConditioner.from_pretrained(tmp_path)
    assert type(loaded.language_model) is GPT2Model
    torch.testing.assert_close(loaded(CAPTIONS).gpt, conditioner(CAPTIONS).gpt, rtol=0, atol=0)


def test_an_incomplete_or_mixed_folder_is_refused(conditioner, tmp_path):
    with pytest.raises(ValueError, match="lacks text_encoder, tokenizer, text_encoder_2"):
        TextConditioner.from_pretrained(tmp_path)
    parts = {name: getattr(conditioner, name) for name in COMPONENTS}
    parts["projection_model"] = AudioLDM2ProjectionModel(16, 48, 32)
    with pytest.raises(ValueError, match="text_encoder_2 is 24 wide, expected 48 as projection_model"):
        TextConditioner(**parts)


def test_every_step_has_gradients_for_training_the_encoders(conditioner):
    tokens = conditioner.tokenize(CAPTIONS[:2])
    clap = conditioner.clap_embedding(tokens.clap_ids, tokens.clap_mask)
    t5 = conditioner.t5_states(tokens.t5_ids, tokens.t5_mask)
    conditioner.generate(*conditioner.projected_inputs(clap, t5, tokens.t5_mask)).square().sum().backward()
    for part in ("text_encoder.text_projection", "text_encoder_2.encoder", "projection_model", "language_model.h"):
        gradients = [p.grad for p in conditioner.get_submodule(part).parameters()]
        assert all(g is not None and g.abs().max() > 0 for g in gradients), part
    conditioner.zero_grad()


@torch.no_grad()
def test_the_audio_branch_of_the_small_clap_reads_a_source_clips_mel(conditioner):
    mel = torch.randn(2, 1, 1000, 64)
    features = conditioner.text_encoder.get_audio_features(input_features=mel)
    features = getattr(features, "pooler_output", features)
    assert features.shape == (2, 16)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))


def test_tokenizers_decode_what_they_encode_and_cut_long_captions(conditioner, caplog):
    for tokenizer in (conditioner.tokenizer, conditioner.tokenizer_2):
        for caption in CAPTIONS:
            ids = tokenizer(caption)["input_ids"]
            assert tokenizer.decode(ids, skip_special_tokens=True).strip() == caption
            assert ids[-1] == tokenizer.eos_token_id
    with caplog.at_level(logging.WARNING):
        text = conditioner(["a drum and a bell " * 30])
    assert text.t5_mask.sum() == 48
    assert "fills all 48 tokens and may be cut: 'a drum and a bell" in caplog.text
    unknown = conditioner.tokenize(["ZÜRICH 90 dB"])
    assert unknown.t5_ids.max() < len(conditioner.tokenizer_2)
    assert unknown.clap_ids.max() < len(conditioner.tokenizer)


def test_trained_tokenizers_know_whole_words_and_are_the_same_each_time(tmp_path):
    clap, t5 = train_tokenizers(CAPTIONS * 3, tmp_path / "first")
    assert t5.tokenize("a bell rings, a ball") == ["▁a", "▁bell", "▁rings", ",", "▁a", "▁ball"]
    assert clap.tokenize("a bell rings") == ["Ġa", "Ġbell", "Ġrings"]
    assert clap.tokenize("bell") == ["Ġbell"]
    assert t5.tokenize("bells") == ["▁bell", "s"]
    train_tokenizers(CAPTIONS * 3, tmp_path / "second")
    files = {path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*.json")}
    assert len(files) >= 4
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes(), file


def test_stems_are_shared_by_the_forms_of_a_word_only():
    words = [
        "▁ring",
        "▁rings",
        "▁ringing",
        "▁chime",
        "▁chiming",
        "▁drip",
        "▁dripping",
        "▁bell",
        "▁during",
        "▁thing",
        ",",
    ]
    assert shared_stems(words) == {
        "▁ring": "▁ring",
        "▁rings": "▁ring",
        "▁ringing": "▁ring",
        "▁chime": "▁chim",
        "▁chiming": "▁chim",
        "▁drip": "▁drip",
        "▁dripping": "▁drip",
    }


def test_a_form_that_nobody_wrote_shares_its_stem(tmp_path):
    captions = ["a bell tolls", "the tolling of bells", "a drum is beating", "it beats"] * 3
    clap, t5 = train_tokenizers(captions, tmp_path)
    assert t5.tokenize("tolling") == ["▁toll", "ing"] and t5.tokenize("beats")[0] == "▁beat"
    assert clap.tokenize("tolling") == ["Ġtoll", "ing"] and clap.tokenize("bells")[0] == "Ġbell"
    for tokenizer, stem in ((clap, "Ġtoll"), (t5, "▁toll")):
        assert tokenizer.tokenize("tolled")[0] == stem


def test_trained_tokenizers_read_capitals_as_small_letters(conditioner, tmp_path):
    lower, upper = conditioner(["a drum is struck"]), conditioner(["A DRUM is Struck"])
    assert torch.equal(lower.t5, upper.t5) and torch.equal(lower.clap, upper.clap)
    conditioner.save_pretrained(tmp_path)
    assert torch.equal(TextConditioner.from_pretrained(tmp_path)(["A DRUM is Struck"]).gpt, lower.gpt)


def test_published_projection_size():
    with torch.device("meta"):
        projection = AudioLDM2ProjectionModel(512, 1024, 768)
    assert sum(p.numel() for p in projection.parameters()) == 513 * 768 + 1025 * 768 + 4 * 768


def test_wrong_input_is_named(conditioner, tmp_path):
    with pytest.raises(ValueError, match="captions are 'rain', expected a list"):
        conditioner("rain")
    with pytest.raises(ValueError, match="expected a list of at least one string"):
        conditioner([])
    with pytest.raises(ValueError, match="vocab_size is 100, expected at least 261"):
        train_tokenizers(CAPTIONS, tmp_path, vocab_size=100)
    with pytest.raises(ValueError, match="no captions to train tokenizers on"):
        train_tokenizers([], tmp_path)
    with pytest.raises(ValueError, match="clap_dim is 20, expected a multiple of 8 for 4 heads"):
        build_text_conditioner(conditioner.tokenizer, conditioner.tokenizer_2, clap_dim=20)
