"""The UNet against diffusers' AudioLDM2UNet2DConditionModel, its parameter counts, checkpointing, loading, errors."""

import json

import pytest
import torch
from diffusers import AudioLDM2UNet2DConditionModel
from safetensors.torch import load_file, save_file

from drawaudio_model.loudness_control import LoudnessControl
from drawaudio_model.mask_attention import MaskAttention
from drawaudio_model.unet import ORIGINAL_HEADS, DrawAudioUNet

GPT, T5, VIDEO = 24, 40, 16
SMALL = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (8, 16, 24),
    "layers_per_block": 2,
    "norm_num_groups": 4,
    "attention_head_dim": 2,
}
PUBLISHED = {
    "sample_size": 256,
    "in_channels": 8,
    "out_channels": 8,
    "down_block_types": ("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 3,
    "up_block_types": ("CrossAttnUpBlock2D",) * 3 + ("UpBlock2D",),
    "block_out_channels": (128, 256, 384, 640),
    "attention_head_dim": 8,
    "cross_attention_dim": [[None, 768, 1024]] * 4,
}


def base_unet(**changes):
    torch.manual_seed(0)
    settings = {**SMALL, "cross_attention_dim": [[None, GPT, T5]] * 3, **changes}
    return AudioLDM2UNet2DConditionModel(**settings).eval()


def small_unet(**changes):
    torch.manual_seed(0)
    settings = {**SMALL, "cross_attention_dim": (None, GPT, T5), "video_attention_dim": VIDEO, **changes}
    return DrawAudioUNet(**settings)


def inputs(batch=2, frames=16, bins=8, text=5, seed=1):
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape):
        return torch.randn(shape, generator=generator)

    mask = torch.ones(batch, text, dtype=torch.bool)
    mask[0, text - 2 :] = False
    return {
        "sample": noise(batch, 4, frames, bins),
        "timestep": torch.tensor([3, 700][:batch]),
        "gpt": noise(batch, 8, GPT),
        "t5": noise(batch, text, T5),
        "t5_mask": mask,
        "video": noise(batch, 6, VIDEO),
    }


def wake_video_stacks(unet):
    """Gives the zero-initialised output projections weights, as training would."""
    torch.manual_seed(5)
    for name, parameter in unet.named_parameters():
        if ".video_attentions." in name and ".proj_out." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return unet


def diffusers_output(base, given, with_mask):
    return base(
        given["sample"],
        given["timestep"],
        encoder_hidden_states=given["gpt"],
        encoder_hidden_states_1=given["t5"],
        encoder_attention_mask_1=given["t5_mask"] if with_mask else None,
    ).sample


@pytest.mark.parametrize("frames, bins", [(16, 8), (25, 8), (13, 5)])
@pytest.mark.parametrize("with_mask", [True, False])
@torch.no_grad()
def test_equals_diffusers_with_the_same_base_weights(tmp_path, frames, bins, with_mask):
    base = base_unet()
    base.save_pretrained(tmp_path)
    unet = DrawAudioUNet.from_audioldm2(tmp_path, video_attention_dim=VIDEO)
    given = inputs(frames=frames, bins=bins)
    expected = diffusers_output(base, given, with_mask)
    if not with_mask:
        given["t5_mask"] = None
    torch.testing.assert_close(unet(**given).sample, expected, atol=1e-5, rtol=1e-5)
    given["video"] = None
    torch.testing.assert_close(unet(**given).sample, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("changes", [
    {"attention_head_dim": (1, 2, 3)},
    {"layers_per_block": (1, 2, 1), "use_linear_projection": True, "resnet_time_scale_shift": "scale_shift"},
    {"transformer_layers_per_block": 2, "mid_block_scale_factor": 1.5, "flip_sin_to_cos": False, "freq_shift": 1},
])  # fmt: skip
@torch.no_grad()
def test_every_base_setting_means_the_same_as_in_diffusers(tmp_path, changes):
    base = base_unet(**changes)
    base.save_pretrained(tmp_path)
    unet = DrawAudioUNet.from_audioldm2(tmp_path, video_attention_dim=VIDEO)
    given = inputs()
    torch.testing.assert_close(unet(**given).sample, diffusers_output(base, given, True), atol=1e-5, rtol=1e-5)


def test_scalar_timesteps_mean_the_whole_batch():
    unet, given = small_unet().eval(), inputs()
    with torch.no_grad():
        given["timestep"] = torch.tensor([700, 700])
        expected = unet(**given).sample
        for step in (700, 700.0, torch.tensor(700)):
            given["timestep"] = step
            torch.testing.assert_close(unet(**given).sample, expected)


def test_the_base_keys_are_diffusers_keys_and_the_new_ones_are_apart():
    own = {name: tuple(value.shape) for name, value in small_unet().state_dict().items()}
    base = {name: tuple(value.shape) for name, value in base_unet().state_dict().items()}
    new = {name for name in own if ".video_attentions." in name}
    assert {name: own[name] for name in own if name not in new} == base
    assert len({name.split(".video_attentions.")[0] for name in new}) == 5  # two down, middle, two up


def test_video_changes_the_output_once_the_stacks_are_awake():
    unet, given = wake_video_stacks(small_unet().eval()), inputs()
    with torch.no_grad():
        first = unet(**given).sample
        other = unet(**{**given, "video": given["video"] + 1}).sample
        without = unet(**{**given, "video": None}).sample
    assert (first - other).abs().max() > 1e-3
    assert (first - without).abs().max() > 1e-3


def test_padded_t5_states_change_nothing():
    unet, given = wake_video_stacks(small_unet().eval()), inputs()
    with torch.no_grad():
        expected = unet(**given).sample
        given["t5"] = torch.where(given["t5_mask"][..., None], given["t5"], torch.tensor(50.0))
        torch.testing.assert_close(unet(**given).sample, expected)


@pytest.mark.parametrize("with_video", [True, False])
@torch.no_grad()
def test_a_prepared_context_give_what_their_tokens_give(with_video):
    unet, given = wake_video_stacks(small_unet().eval()), inputs(frames=13)
    given["video"] = given["video"] if with_video else None
    sample, step = given.pop("sample"), given.pop("timestep")
    expected = unet(sample, step, **given).sample
    prepared = unet.prepare(**given)
    torch.testing.assert_close(unet(sample, step, context=prepared).sample, expected)

    projections = []
    for layer in [*unet.modules()]:
        if getattr(layer, "is_cross_attention", False):
            layer.to_k.register_forward_hook(lambda *_: projections.append(1))
    unet(sample, step, context=prepared)
    assert not projections
    unet(sample, step, **given)
    assert len(projections) == 11 * (2 + with_video)


@torch.no_grad()
def test_one_latent_under_several_contexts_equals_its_repetition():
    unet, given = wake_video_stacks(small_unet().eval()), inputs(batch=2)
    other = inputs(batch=2, seed=2)
    words = {name: torch.cat([given[name], other[name], given[name] * 1]) for name in ("gpt", "t5", "t5_mask", "video")}
    expected = unet(given["sample"].repeat(3, 1, 1, 1), given["timestep"].repeat(3), **words).sample
    torch.testing.assert_close(unet(given["sample"], given["timestep"], **words).sample, expected)
    prepared = unet.prepare(**words)
    torch.testing.assert_close(unet(given["sample"], given["timestep"], context=prepared).sample, expected)


@torch.no_grad()
def test_rows_that_see_no_video_are_those_of_the_base():
    unet, given = wake_video_stacks(small_unet().eval()), inputs()
    both, none = unet(**given).sample, unet(**{**given, "video": None}).sample
    sees = torch.tensor([False, True])
    mixed = unet(**given, sees_video=sees).sample
    torch.testing.assert_close(mixed, torch.stack([none[0], both[1]]))
    sample, step = given.pop("sample"), given.pop("timestep")
    torch.testing.assert_close(unet(sample, step, context=unet.prepare(**given, sees_video=sees)).sample, mixed)
    nowhere = unet.prepare(**given, sees_video=torch.zeros(2, dtype=torch.bool))
    torch.testing.assert_close(unet(sample, step, context=nowhere).sample, none)


def test_text_is_given_once():
    unet, given = small_unet(), inputs()
    prepared = unet.prepare(**{name: given[name] for name in ("gpt", "t5", "t5_mask", "video")})
    with pytest.raises(ValueError, match="no text or two kinds of it"):
        unet(given["sample"], 3)
    with pytest.raises(ValueError, match="no text or two kinds of it"):
        unet(**given, context=prepared)
    with pytest.raises(ValueError, match="context has 2 rows, expected 3 or a multiple"):
        unet(torch.zeros(3, 4, 16, 8), 3, context=prepared)


@pytest.mark.parametrize("with_video", [True, False])
def test_gradient_checkpointing_gives_the_same_gradients_with_masks(with_video):
    unet, given = wake_video_stacks(small_unet()).train(), inputs(frames=13)
    given["video"] = given["video"].requires_grad_() if with_video else None

    def gradients():
        unet.zero_grad()
        output = unet(**given).sample
        output.square().mean().backward()
        return output.detach(), {name: p.grad.clone() for name, p in unet.named_parameters() if p.grad is not None}

    expected, plain = gradients()
    unet.enable_gradient_checkpointing()
    assert all(block.gradient_checkpointing for block in unet.down_blocks)
    output, checkpointed = gradients()
    assert plain.keys() == checkpointed.keys()
    torch.testing.assert_close(output, expected)
    for name, gradient in plain.items():
        near = 1e-4 * float(gradient.abs().max())  # the smallest gradients are of 1e-6
        torch.testing.assert_close(
            checkpointed[name], gradient, rtol=0, atol=near, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_gradient_checkpointing_keeps_fewer_tensors():
    """Counts what autograd saves for the backward pass."""
    unet, given = small_unet().train(), inputs()

    def saved_elements():
        seen = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: seen.__setitem__(t.data_ptr(), t.numel()) or t, lambda t: t
        ):
            unet(**given)
        return sum(seen.values())

    plain = saved_elements()
    unet.enable_gradient_checkpointing()
    assert saved_elements() < 0.6 * plain


def test_only_the_chosen_part_trains():
    unet = small_unet()
    names = {id(parameter): name for name, parameter in unet.named_parameters()}
    for part, expected in {
        "adapters": lambda name: ".video_attentions." in name,
        "attention": lambda name: "attentions." in name,
        "full": lambda name: True,
    }.items():
        chosen = {names[id(parameter)] for parameter in unet.select_trainable(part)}
        assert chosen == {name for name in names.values() if expected(name)}
        assert chosen == {name for name, parameter in unet.named_parameters() if parameter.requires_grad}
    with pytest.raises(ValueError, match="'all', expected one of 'adapters', 'attention', 'full'"):
        unet.select_trainable("all")


def test_full_size_counts_are_the_papers_82_and_326_million():
    with torch.device("meta"):
        unet, mask_attention = DrawAudioUNet(), MaskAttention()
    counts = {part: sum(p.numel() for p in unet.select_trainable(part)) for part in ("adapters", "attention", "full")}
    attention = sum(p.numel() for p in mask_attention.attention.parameters())
    assert attention == 590_592
    assert counts["adapters"] + attention == 82_003_072
    assert counts["attention"] + attention == 326_076_672
    assert counts["full"] == 428_355_976
    projection = sum(
        p.numel() for p in [*mask_attention.projection.parameters(), *mask_attention.position.parameters()]
    )
    control = sum(p.numel() for p in LoudnessControl().parameters())
    assert (projection, control) == (424_704, 137_928)  # Linear(512, 768) + 40 positions; 80-256-256-200
    assert counts["adapters"] + attention + projection + control == 82_565_704
    assert counts["attention"] + attention + projection + control == 326_639_304
    assert counts["full"] - counts["adapters"] == 346_943_496  # AudioLDM2's UNet


@pytest.mark.slow
@torch.no_grad()
def test_full_size_equals_diffusers(tmp_path):
    torch.manual_seed(0)
    with torch.device("meta"):
        base = AudioLDM2UNet2DConditionModel(**PUBLISHED).eval()
    base.to_empty(device="cpu")
    for name, parameter in base.named_parameters():  # spread as torch's initialisation, five times as fast
        scale = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        parameter.uniform_(-1, 1).mul_(0.5 * parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.02).add_(scale)
    base.save_pretrained(tmp_path)
    sample, gpt, t5 = torch.randn(1, 8, 200, 16), torch.randn(1, 8, 768), torch.randn(1, 12, 1024)
    mask = (torch.arange(12) < 9)[None]
    expected = base(
        sample, 500, encoder_hidden_states=gpt, encoder_hidden_states_1=t5, encoder_attention_mask_1=mask
    ).sample
    del base
    unet = DrawAudioUNet.from_audioldm2(tmp_path)
    result = unet(sample, 500, gpt=gpt, t5=t5, t5_mask=mask, video=torch.randn(1, 32, 768)).sample
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_loaded_video_stacks_start_as_the_constructor_starts_them(tmp_path):
    base_unet().save_pretrained(tmp_path)
    loaded, built = DrawAudioUNet.from_audioldm2(tmp_path, video_attention_dim=VIDEO), small_unet()
    for name, value in loaded.state_dict().items():
        assert value.device.type == "cpu", name
        if ".video_attentions." not in name:
            continue
        expected = built.state_dict()[name]
        if expected.numel() > 1 and expected.std() > 0:
            assert 0.6 < value.std() / expected.std() < 1.6, name
        else:
            assert torch.equal(value, expected), name


@torch.no_grad()
def test_the_original_heads_load_and_differ(tmp_path):
    base = base_unet()
    base.save_pretrained(tmp_path)
    hub = DrawAudioUNet.from_audioldm2(tmp_path, video_attention_dim=VIDEO)
    other = DrawAudioUNet.from_audioldm2(tmp_path, video_attention_dim=VIDEO, attention_head_dim=(2, 4, 6))
    given = inputs()
    assert (hub(**given).sample - other(**given).sample).abs().max() > 1e-4
    with torch.device("meta"):
        unet = DrawAudioUNet(attention_head_dim=ORIGINAL_HEADS)
    assert [block.attentions[0].num_attention_heads for block in unet.down_blocks[1:]] == [8, 12, 20]
    assert {block.attentions[0].attention_head_dim for block in unet.down_blocks[1:]} == {32}


@torch.no_grad()
def test_save_and_load_round_trip(tmp_path):
    unet, given = wake_video_stacks(small_unet().eval()), inputs()
    unet.save_pretrained(tmp_path)
    loaded = DrawAudioUNet.from_pretrained(tmp_path)
    assert loaded.config.video_attention_dim == VIDEO
    torch.testing.assert_close(loaded(**given).sample, unet(**given).sample, rtol=0, atol=0)


def test_from_audioldm2_refuses_other_folders(tmp_path):
    with pytest.raises(ValueError, match=r"has no config\.json"):
        DrawAudioUNet.from_audioldm2(tmp_path)
    base_unet().save_pretrained(tmp_path)
    weights, config = tmp_path / "diffusion_pytorch_model.safetensors", tmp_path / "config.json"
    good_weights, good_config = load_file(weights), json.loads(config.read_text())

    def refuse(match):
        with pytest.raises(ValueError, match=match):
            DrawAudioUNet.from_audioldm2(tmp_path, video_attention_dim=VIDEO)

    config.write_text(json.dumps({**good_config, "class_embed_type": "identity"}))
    refuse("sets class_embed_type, expected None")
    config.write_text(json.dumps({**good_config, "_class_name": "UNet2DConditionModel"}))
    refuse("describes a UNet2DConditionModel, expected an AudioLDM2UNet2DConditionModel")
    config.write_text(json.dumps(good_config))
    save_file({name: value for name, value in good_weights.items() if name != "conv_in.bias"}, weights)
    refuse(r"lacks conv_in\.bias, expected shape \(8,\)")
    save_file({**good_weights, "conv_in.bias": torch.zeros(9)}, weights)
    refuse(r"conv_in\.bias of shape \(9,\), expected \(8,\)")
    save_file({**good_weights, "conv_extra.bias": torch.zeros(9)}, weights)
    refuse(r"1 unknown weights, the first is conv_extra\.bias")
    weights.unlink()
    refuse("has no diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize("name, shape, match", [
    ("sample", (2, 3, 16, 8), r"sample has shape \(2, 3, 16, 8\), expected \(batch, 4, frames, bins\)"),
    ("gpt", (2, 8, 25), r"gpt has shape \(2, 8, 25\), expected \(2, tokens, 24\)"),
    ("t5", (1, 5, 40), r"t5 has shape \(1, 5, 40\), expected \(2, tokens, 40\)"),
    ("video", (2, 16), r"video has shape \(2, 16\), expected \(2, tokens, 16\)"),
    ("t5_mask", (2, 4), r"t5_mask has shape \(2, 4\), expected \(2, 5\)"),
])  # fmt: skip
def test_wrong_shapes_are_named(name, shape, match):
    with pytest.raises(ValueError, match=match):
        small_unet()(**{**inputs(), name: torch.zeros(shape)})


@pytest.mark.parametrize("changes, match", [
    ({"attention_head_dim": 5}, "8 channels and 5 heads"),
    ({"attention_head_dim": (2, 2)}, "attention_head_dim has 2 values, expected 3"),
    ({"norm_num_groups": 16}, "8 channels, expected a multiple of norm_num_groups 16"),
    ({"down_block_types": ("DownBlock2D",) * 2}, "down_block_types has 2 values, expected 3"),
    ({"up_block_types": ("UpBlock2D", "UpBlock2D", "Up")}, "up_block_types names 'Up'"),
    ({"cross_attention_dim": (None, 24, 40, 16)}, "the video width is video_attention_dim"),
    ({"cross_attention_dim": [(None, 24, 40), (None, 24, 40), (None, 24, 41)]}, "the same for each of 3 levels"),
])  # fmt: skip
def test_wrong_settings_are_named(changes, match):
    with pytest.raises(ValueError, match=match):
        small_unet(**changes)


def test_a_few_steps_of_adapter_training_lower_the_loss_and_move_only_adapters():
    unet, given = small_unet().train(), inputs()
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    target = torch.randn(given["sample"].shape, generator=torch.Generator().manual_seed(9))
    optimizer = torch.optim.AdamW(unet.select_trainable("adapters"), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = (unet(**given).sample - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    moved = {name for name, value in unet.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(".video_attentions." in name for name in moved)
