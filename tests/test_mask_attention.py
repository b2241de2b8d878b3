"""MAM against Eqs. (7)-(8) written out in numpy, its settings, null video and errors."""

import numpy as np
import pytest
import torch

from drawaudio_model.mask_attention import MaskAttention


def module(**changes):
    torch.manual_seed(0)
    return MaskAttention(**{"cavp_dim": 6, "width": 10, "positions": 8, **changes})


def features(batch=3, frames=5, width=6, seed=0):
    values = torch.randn(2, batch, frames, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(values, dim=-1).unbind(0)


def written_out(mam, visual, masked, *, first=0, scale=1.0, gate=lambda x: x):
    """F = E(x) with Diff-Foley's projection and positions; tau = F_mask . (GAP(F_mask) W) + F_visual."""
    weights = {name: value.detach().double().numpy() for name, value in mam.state_dict().items()}
    position = weights["position.weight"][first : first + visual.shape[1]]

    def encode(cavp):
        return (scale * cavp.double().numpy()) @ weights["projection.weight"].T + weights["projection.bias"] + position

    tau = np.empty((*visual.shape[:2], mam.config.width))
    for sample, (f_visual, f_mask) in enumerate(zip(encode(visual), encode(masked), strict=True)):
        average = f_mask.sum(axis=0) / len(f_mask)  # GAP over time, (C,)
        channel_weight = gate(average @ weights["attention.weight"].T + weights.get("attention.bias", 0.0))
        tau[sample] = f_mask * channel_weight[None, :] + f_visual
    return torch.from_numpy(tau).float()


def test_equals_the_papers_formula():
    mam, (visual, masked) = module(), features()
    torch.testing.assert_close(mam(visual, masked), written_out(mam, visual, masked), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("changes, expected", [
    ({"bias": False}, {}),
    ({"gate": "sigmoid"}, {"gate": lambda x: 1 / (1 + np.exp(-x))}),
    ({"feature_scale": 6**0.5}, {"scale": 6**0.5}),
])  # fmt: skip
def test_each_setting_is_what_it_says(changes, expected):
    mam, (visual, masked) = module(**changes), features()
    result = written_out(mam, visual, masked, **expected)
    torch.testing.assert_close(mam(visual, masked), result, atol=1e-6, rtol=1e-5)
    default = module()(visual, masked)
    assert (mam(visual, masked) - default).abs().max() > 1e-4


def test_bias_start_adds_the_masked_features_as_often():
    visual, masked = features()
    once = module(bias_start=1.5)(visual, masked)
    mam = module()
    encoded = mam.projection(masked) + mam.position.weight[: masked.shape[1]]
    torch.testing.assert_close(once, mam(visual, masked) + 1.5 * encoded)
    with pytest.raises(ValueError, match="bias_start is 2 without a bias"):
        module(bias=False, bias_start=2.0)


def test_positions_follow_the_crop_or_the_clip():
    visual, masked = features()
    crop, clip = module(), module(positions_follow="clip")
    torch.testing.assert_close(clip(visual, masked, start_frame=0), crop(visual, masked))
    starts = torch.tensor([0, 2, 3])
    result = clip(visual, masked, start_frame=starts)
    for sample, first in enumerate(starts.tolist()):
        one = slice(sample, sample + 1)
        expected = written_out(clip, visual[one], masked[one], first=first)
        torch.testing.assert_close(result[one], expected, atol=1e-6, rtol=1e-5)


def test_no_mask_is_the_whole_frame():
    mam, (visual, _) = module(), features()
    torch.testing.assert_close(mam(visual, visual), written_out(mam, visual, visual), atol=1e-6, rtol=1e-5)


def test_null_video_is_zero_features_before_the_projection():
    mam, (visual, masked) = module(), features()
    result = mam(visual, masked, keep=torch.tensor([1.0, 0.0, 1.0]))
    null = torch.zeros_like(visual)
    torch.testing.assert_close(result[1], mam(null, null)[1])
    torch.testing.assert_close(result[[0, 2]], mam(visual, masked)[[0, 2]])
    assert mam(null, null).abs().max() > 0.01  # biases and positions stay: the null video is learned


def test_published_size_and_round_trip(tmp_path):
    with torch.device("meta"):
        full = MaskAttention()
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in full.named_children()}
    assert counts == {"projection": 512 * 768 + 768, "position": 40 * 768, "attention": 768 * 768 + 768}
    assert counts["projection"] + counts["position"] == 424_704
    mam, (visual, masked) = module(gate="sigmoid", feature_scale=2.0), features()
    mam.save_pretrained(tmp_path)
    loaded = MaskAttention.from_pretrained(tmp_path)
    assert loaded.config.gate == "sigmoid"
    torch.testing.assert_close(loaded(visual, masked), mam(visual, masked), rtol=0, atol=0)


def test_wrong_input_is_named():
    mam, (visual, masked) = module(), features()
    with pytest.raises(ValueError, match=r"cavp has shape \(3, 5, 5\), expected \(batch, frames, 6\)"):
        mam(visual[..., :5], masked)
    with pytest.raises(ValueError, match=r"cavp_masked has shape \(3, 4, 6\), expected \(3, 5, 6\)"):
        mam(visual, masked[:, :4])
    with pytest.raises(ValueError, match=r"keep has shape \(2,\), expected \(3,\)"):
        mam(visual, masked, keep=torch.ones(2))
    with pytest.raises(ValueError, match="frames 0 to 8 need positions, expected 0 to 7"):
        mam(*features(frames=9))
    with pytest.raises(ValueError, match="frames 4 to 8 need positions, expected 0 to 7"):
        module(positions_follow="clip")(visual, masked, start_frame=4)
    with pytest.raises(ValueError, match="start_frame is None with positions_follow='clip'"):
        module(positions_follow="clip")(visual, masked)
    with pytest.raises(ValueError, match="start_frame is 1 with positions_follow='crop'"):
        mam(visual, masked, start_frame=1)
    with pytest.raises(ValueError, match="gate is 'softmax'"):
        module(gate="softmax")
    with pytest.raises(ValueError, match="positions_follow is 'video'"):
        module(positions_follow="video")
