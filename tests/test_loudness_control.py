"""TLM against its formulas written out in numpy, the null signal, learning of a curve, and errors."""

import numpy as np
import pytest
import torch

from drawaudio_model.loudness_control import LoudnessControl


def module(**changes):
    torch.manual_seed(0)
    settings = {"loudness_points": 8, "latent_frames": 10, "latent_channels": 3, "hidden_widths": (6, 7), **changes}
    return LoudnessControl(**{"zero_start": False, "channel_width": 4, **settings})


def signals(batch=3, points=8):
    return torch.rand(batch, points, generator=torch.Generator().manual_seed(1)) * 0.5


def silu(x):
    return x / (1 + np.exp(-x))


def mlp_written_out(weights, x):
    x = silu(x @ weights["mlp.0.weight"].T + weights["mlp.0.bias"])
    x = silu(x @ weights["mlp.1.weight"].T + weights["mlp.1.bias"])
    return x @ weights["mlp.2.weight"].T + weights["mlp.2.bias"]


def numpy_weights(tlm):
    return {name: value.detach().double().numpy() for name, value in tlm.state_dict().items()}


def test_additive_mode_is_the_papers_mlp():
    tlm, signal = module(), signals()
    expected = mlp_written_out(numpy_weights(tlm), signal.double().numpy())
    result = tlm(signal)
    assert result.shape == (3, 1, 10, 1)
    torch.testing.assert_close(result[:, 0, :, 0], torch.from_numpy(expected).float(), atol=1e-6, rtol=1e-5)


def convolved(x, weight, bias):
    """(B, out, F) of (B, in, F), with zeros beyond the ends."""
    side = weight.shape[2] // 2
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, ((0, 0), (0, 0), (side, side))), weight.shape[2], axis=2
    )
    return np.einsum("bcfk,wck->bwf", windows, weight) + bias[:, None]


@pytest.mark.parametrize("mode, channels", [("per_channel", 3), ("concatenated", 5)])
def test_modes_with_several_channels_written_out(mode, channels):
    tlm, signal = module(mode=mode, signal_channels=5), signals()
    weights, x = numpy_weights(tlm), signal.double().numpy()
    centres = (np.arange(10) + 0.5) * 8 / 10 - 0.5
    drawn = np.stack([np.interp(centres, np.arange(8), row) for row in x])
    pair = np.stack([mlp_written_out(weights, x), drawn], axis=1)
    spread = convolved(pair, weights["spread.weight"], weights["spread.bias"])
    expected = convolved(silu(spread), weights["project.weight"], weights["project.bias"])
    result = tlm(signal)
    assert result.shape == (3, channels, 10, 1)
    torch.testing.assert_close(result[..., 0], torch.from_numpy(expected).float(), atol=1e-6, rtol=1e-5)


def test_decibel_scale_maps_full_scale_and_the_floor_to_plus_and_minus_one():
    tlm, linear = module(signal_scale="decibel"), module()
    signal = torch.tensor([[1.0, 10**-0.5, 0.1, 0.01, 0.001, 1e-4, 0.0, 1.0]])
    mapped = torch.tensor([[1.0, 2 / 3, 1 / 3, -1 / 3, -1.0, -1.0, -1.0, 1.0]])
    torch.testing.assert_close(tlm(signal), linear(mapped), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mode", ["additive", "per_channel", "concatenated"])
def test_starts_by_adding_nothing_and_still_learns(mode):
    tlm = module(mode=mode, zero_start=True)
    signal = signals()
    result = tlm(signal)
    assert torch.equal(result, torch.zeros_like(result))
    result.sum().backward()
    last = tlm.mlp[-1] if mode == "additive" else tlm.project
    assert last.weight.grad.abs().max() > 0


@pytest.mark.parametrize("mode", ["additive", "per_channel", "concatenated"])
def test_a_null_signal_adds_nothing_and_touches_no_other_sample(mode):
    tlm, signal = module(mode=mode), signals()
    result = tlm(signal, keep=torch.tensor([True, False, True]))
    assert torch.equal(result[1], torch.zeros_like(result[1]))
    torch.testing.assert_close(result[[0, 2]], tlm(signal)[[0, 2]])
    assert tlm(torch.zeros(1, 8)).abs().max() > 1e-3  # silence is not the null signal


@pytest.mark.parametrize("mode, limit", [("additive", 0.3), ("per_channel", 0.1), ("concatenated", 0.1)])
def test_learns_to_follow_a_curve(mode, limit):
    """Target: the drawn curve itself on the latent's grid, on curves not seen in training."""
    torch.manual_seed(0)
    tlm = LoudnessControl(latent_frames=100, latent_channels=4, mode=mode, hidden_widths=(64,), signal_channels=4)
    optimizer = torch.optim.AdamW(tlm.parameters(), lr=3e-3)

    def batch():
        coarse = torch.rand(32, 1, 9)
        grid = {n: torch.nn.functional.interpolate(coarse, n, mode="linear")[:, 0] for n in (80, 100)}
        return grid[80], grid[100]

    for _ in range(150):
        signal, target = batch()
        loss = (tlm(signal)[..., 0] - target[:, None]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    signal, target = batch()
    error = (tlm(signal)[..., 0] - target[:, None]).square().mean() / target.var()
    assert error < limit


def test_size_and_round_trip(tmp_path):
    with torch.device("meta"):
        full = LoudnessControl()
    assert sum(p.numel() for p in full.parameters()) == (80 + 1) * 256 + 257 * 256 + 257 * 200
    tlm = module(mode="per_channel", signal_scale="decibel")
    tlm.save_pretrained(tmp_path)
    torch.testing.assert_close(LoudnessControl.from_pretrained(tmp_path)(signals()), tlm(signals()), rtol=0, atol=0)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"loudness signal has shape \(3, 9\), expected \(batch, 8\)"):
        module()(signals(points=9))
    with pytest.raises(ValueError, match=r"keep has shape \(2,\), expected \(3,\)"):
        module()(signals(), keep=torch.ones(2))
    with pytest.raises(ValueError, match="mode is 'multiply'"):
        module(mode="multiply")
    with pytest.raises(ValueError, match="signal_scale is 'dB'"):
        module(signal_scale="dB")
