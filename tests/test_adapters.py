"""AudioLDM2's published layout becomes a pipeline; what training changed is saved alone and put onto its base again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AudioLDM2UNet2DConditionModel, DDIMScheduler
from safetensors.torch import load_file, save_file

from drawaudio_model.adapters import from_audioldm2, load_adapters, save_adapters
from drawaudio_model.cavp import CAVP
from drawaudio_model.clip_format import CLIP_SAMPLES, VIDEO_FRAMES
from drawaudio_model.mask_attention import MaskAttention
from drawaudio_model.pipeline import DrawAudioPipeline
from tests.tiny_audioldm2 import tiny_audioldm2
from tests.tiny_pipeline import CAVP_WIDTH, GPT, T5, VIDEO

FAST = {"num_inference_steps": 1, "seed": 3}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_audioldm2(tmp_path_factory.mktemp("base") / "audioldm2")


@pytest.fixture(scope="module")
def cavp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("base") / "cavp"
    CAVP(video_width=2, video_blocks=(1, 1, 1, 1), audio_width=2, embed_dim=CAVP_WIDTH, image_size=32).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="module")
def trained(base: Path, cavp: Path) -> DrawAudioPipeline:
    """The base with adapters that are no longer at their start."""
    pipe = from_audioldm2(base, cavp=cavp, video_width=VIDEO)
    # The base predicts the noise; a run may learn something else.
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, prediction_type="v_prediction")
    pipe.set_progress_bar_config(disable=True)
    torch.manual_seed(2)
    with torch.no_grad():
        for part in (pipe.mask_attention, pipe.loudness_control):
            for weight in part.parameters():
                weight.add_(torch.randn_like(weight), alpha=0.2)
        for name, weight in pipe.unet.named_parameters():
            if ".video_attentions." in name:
                weight.add_(torch.randn_like(weight), alpha=0.1)
    return pipe


@pytest.fixture(scope="module")
def adapters(trained: DrawAudioPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "adapters"
    save_adapters(trained, folder)
    return folder


@pytest.fixture(scope="module")
def video() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (VIDEO_FRAMES, 32, 40, 3), dtype=np.uint8)


def test_the_untrained_pipeline_is_audioldm2(base: Path, cavp: Path, video: np.ndarray) -> None:
    pipe = from_audioldm2(base, cavp=cavp, video_width=VIDEO)
    assert pipe.latent_frames == 200 and pipe.vae.config.scaling_factor == 0.4110932946205139
    assert (pipe.config.base_model, pipe.config.licence) == ("cvssp/audioldm2", "cc-by-nc-sa-4.0")
    reference = AudioLDM2UNet2DConditionModel.from_pretrained(base / "unet")
    generator = torch.Generator().manual_seed(0)
    sample, gpt = torch.randn(1, 4, 200, 16, generator=generator), torch.randn(1, 8, GPT, generator=generator)
    t5, tokens = torch.randn(1, 5, T5, generator=generator), torch.randn(1, 32, VIDEO, generator=generator)
    with torch.no_grad():
        expected = reference(sample, 7, encoder_hidden_states=gpt, encoder_hidden_states_1=t5).sample
        torch.testing.assert_close(
            pipe.unet(sample, 7, gpt=gpt, t5=t5, video=tokens).sample, expected, atol=1e-5, rtol=1e-5
        )
    pipe.set_progress_bar_config(disable=True)
    sound = pipe(video, "a bell rings", loudness=[(0, 0.2)], num_candidates=2, **FAST)
    assert sound.audios.shape == (2, CLIP_SAMPLES) and np.isfinite(sound.clap_scores).all()


@torch.no_grad()
def test_decoding_undoes_the_scaling_and_crops_the_vocoders_surplus(trained: DrawAudioPipeline) -> None:
    mel = torch.randn(1, 1, 800, 64, generator=torch.Generator().manual_seed(0))
    mean = trained.vae.encode(mel).latent_dist.mean
    assert mean.shape == (1, 4, 200, 16)
    raw = trained.vocoder(trained.vae.decode(mean).sample[:, 0])
    assert raw.shape[-1] > CLIP_SAMPLES
    decoded = trained.decode(mean * 0.4110932946205139)
    assert decoded.shape == (1, CLIP_SAMPLES) and 0.1 < np.abs(decoded).max() < 1
    assert decoded == pytest.approx(raw[:, :CLIP_SAMPLES].numpy(), abs=1e-4)


def test_adapters_on_their_base_are_the_trained_pipeline(
    trained: DrawAudioPipeline, base: Path, cavp: Path, adapters: Path, video: np.ndarray, tmp_path: Path
) -> None:
    names = set(load_file(adapters / "adapters.safetensors"))
    assert {name.split(".")[0] for name in names} == {"unet", "mask_attention", "loudness_control"}
    assert all(".video_attentions." in name for name in names if name.startswith("unet."))
    loaded = load_adapters(base, adapters, cavp=cavp)
    loaded.set_progress_bar_config(disable=True)
    for part in ("unet", "mask_attention", "loudness_control"):
        state = getattr(loaded, part).state_dict()
        assert all(torch.equal(value, state[name]) for name, value in getattr(trained, part).state_dict().items())
    settings = {"video": video, "prompt": "a bell rings", "loudness": [(0, 0.2)], **FAST}
    assert loaded(**settings).audios == pytest.approx(trained(**settings).audios, abs=1e-4)
    # The base may be a whole pipeline of ours, too.
    from_audioldm2(base, cavp=cavp, video_width=VIDEO).save_pretrained(tmp_path / "model")
    onto = load_adapters(tmp_path / "model", adapters)
    assert onto.config.licence == "cc-by-nc-sa-4.0"
    assert onto.scheduler.config.prediction_type == "v_prediction"
    for name, value in trained.unet.state_dict().items():
        assert torch.equal(value, onto.unet.state_dict()[name])


def test_how_strongly_the_instructions_steer_is_kept_with_the_adapters(
    trained: DrawAudioPipeline, base: Path, cavp: Path, tmp_path: Path
) -> None:
    own = {"guidance_text": 1.0, "guidance_video": 2.0, "guidance_loudness": 0.5, "loudness_branches": "video"}
    save_adapters(DrawAudioPipeline(**trained.components, **own), tmp_path / "own")
    loaded = load_adapters(base, tmp_path / "own", cavp=cavp)
    assert {name: loaded.config[name] for name in own} == own
    file = tmp_path / "own" / "adapter_config.json"
    older = {name: value for name, value in json.loads(file.read_text()).items() if name != "guidance_loudness"}
    file.write_text(json.dumps(older))
    assert load_adapters(base, tmp_path / "own", cavp=cavp).config.guidance_loudness == 0.0


def test_all_attention_stacks_can_be_adapters(
    trained: DrawAudioPipeline, base: Path, cavp: Path, tmp_path: Path
) -> None:
    changed = from_audioldm2(base, cavp=cavp, video_width=VIDEO)
    with torch.no_grad():
        changed.unet.down_blocks[1].attentions[0].proj_in.bias.add_(1)
    save_adapters(changed, tmp_path / "all", part="attention")
    loaded = load_adapters(base, tmp_path / "all", cavp=cavp)
    assert all(torch.equal(v, loaded.unet.state_dict()[n]) for n, v in changed.unet.state_dict().items())
    with pytest.raises(ValueError, match="part is 'full', expected one of adapters, attention"):
        save_adapters(trained, tmp_path / "full", part="full")


def test_saved_adapters_are_whole_and_replace_adapters_only(
    trained: DrawAudioPipeline, adapters: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(adapters, tmp_path / "adapters")
    before = (folder / "adapter_config.json").read_bytes()
    (folder / "adapters.safetensors").write_bytes(b"old")
    (folder / "old.txt").write_text("of the adapters before")
    save_adapters(trained, folder)
    assert (folder / "adapter_config.json").read_bytes() == before and not (folder / "old.txt").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"adapters"}
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    with pytest.raises(ValueError, match="letters exists and holds no adapters; give a new folder"):
        save_adapters(trained, tmp_path / "letters")
    assert (tmp_path / "letters" / "dear.txt").read_text() == "keep me"


def test_the_card_names_base_and_licence(adapters: Path) -> None:
    card = (adapters / "README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-nc-sa-4.0\n") and "base_model: cvssp/audioldm2" in card
    assert "under the same licence" in card and "load_adapters" in card


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("other base", "were trained on other weights than those of"),
        ("no weights", "has no adapters.safetensors"),
        ("no config", "has no adapter_config.json"),
        ("no class", "describes a None, expected a AudioLDM2Pipeline"),
        ("lost setting", "adapter_config.json has no 'part'"),
        ("shape", r"position.weight of shape \(3, 16\), expected \(40, 16\)"),
        ("missing weight", r"loudness_control.mlp.0.bias of shape None, expected \(256,\)"),
        ("no cavp", "has no CAVP; give Diff-Foley's checkpoint"),
        ("cavp gone", "gone.ckpt does not exist"),
        ("other rate", "sampling_rate 22050, expected 16000"),
        ("other hop", r"makes 256 samples a mel frame \(upsample_rates \[8, 4, 2, 2, 2\]\), expected 160"),
        ("no vae", "has no part vae"),
        ("cut vae", "is no whole safetensors file"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(
    base: Path, cavp: Path, adapters: Path, tmp_path: Path, fault: str, sentence: str
) -> None:
    folder, own = shutil.copytree(base, tmp_path / "base"), shutil.copytree(adapters, tmp_path / "adapters")
    eyes = {"no cavp": None, "cavp gone": tmp_path / "gone.ckpt"}.get(fault, cavp)
    weights = own / "adapters.safetensors"
    if fault == "other base":
        shutil.rmtree(folder)
        tiny_audioldm2(folder, seed=7)
    elif fault == "no weights":
        weights.unlink()
    elif fault == "no config":
        (own / "adapter_config.json").unlink()
    elif fault == "no class":
        (folder / "model_index.json").write_text("{}")
    elif fault == "lost setting":
        config = json.loads((own / "adapter_config.json").read_text())
        del config["part"]
        (own / "adapter_config.json").write_text(json.dumps(config))
    elif fault in ("shape", "missing weight"):
        state = load_file(weights)
        if fault == "shape":
            state["mask_attention.position.weight"] = torch.zeros(3, VIDEO)
        else:
            del state["loudness_control.mlp.0.bias"]
        save_file(state, weights)
    elif fault in ("other rate", "other hop"):
        path = folder / "vocoder" / "config.json"
        change = {"sampling_rate": 22_050} if fault == "other rate" else {"upsample_rates": [8, 4, 2, 2, 2]}
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    elif fault == "no vae":
        shutil.rmtree(folder / "vae")
    elif fault == "cut vae":
        file = folder / "vae" / "diffusion_pytorch_model.safetensors"
        file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match=sentence) as caught:
        load_adapters(folder, own, cavp=eyes)
    assert "\n" not in str(caught.value)


def test_diff_foleys_projection_is_taken_over(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {
        "cond_stage_model.embedder.0.weight": torch.randn(16, 12),
        "cond_stage_model.embedder.0.bias": torch.randn(16),
        "cond_stage_model.pos_emb.weight": torch.randn(40, 16),
        "model.diffusion_model.out.0.weight": torch.randn(3),
    }
    torch.save({"state_dict": state, "epoch": 240}, tmp_path / "ldm.ckpt")
    attention = MaskAttention(cavp_dim=12, width=16)
    attention.load_diff_foley_projection(tmp_path / "ldm.ckpt")
    assert torch.equal(attention.projection.weight, state["cond_stage_model.embedder.0.weight"])
    assert torch.equal(attention.projection.bias, state["cond_stage_model.embedder.0.bias"])
    assert torch.equal(attention.position.weight, state["cond_stage_model.pos_emb.weight"])
    with pytest.raises(ValueError, match=r"embedder.0.weight of shape \(16, 12\), expected \(20, 12\)"):
        MaskAttention(cavp_dim=12, width=20).load_diff_foley_projection(tmp_path / "ldm.ckpt")
    with pytest.raises(ValueError, match="does not exist"):
        attention.load_diff_foley_projection(tmp_path / "gone.ckpt")
    (tmp_path / "empty.ckpt").touch()
    with pytest.raises(ValueError, match=r"empty\.ckpt is no checkpoint of plain tensors"):
        attention.load_diff_foley_projection(tmp_path / "empty.ckpt")
    torch.save({"state_dict": attention}, tmp_path / "pickled.ckpt")
    with pytest.raises(ValueError, match="no checkpoint of plain tensors"):
        attention.load_diff_foley_projection(tmp_path / "pickled.ckpt")
