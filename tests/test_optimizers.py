"""Muon: its matrices against a singular value decomposition, the rest against AdamW, and a run that is stopped and goes on."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from drawaudio_model.config import TrainConfig, changed
from drawaudio_model.muon import ADAMW_SIZE, MOMENTUM, Muon, equal_singular_values
from drawaudio_model.train import main
from drawaudio_model.training.optimizers import make_optimizer
from tests.test_train import arguments, world

__all__ = ["world"]

ADAMW = {"betas": (0.9, 0.99), "fused": True}


def random_matrices(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random directions, with singular values from 1 down to 0.03."""
    generator = torch.Generator().manual_seed(seed)
    left, _, right = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    return left * torch.logspace(0, -1.5, min(shape[-2:])) @ right


@pytest.mark.parametrize("shape", [(3, 16, 48), (2, 64, 20), (1, 32, 32)], ids=["wide", "tall", "square"])
def test_singular_values_become_alike_and_their_vectors_stay(shape: tuple[int, int, int]) -> None:
    given = random_matrices(*shape)
    found = equal_singular_values(given)
    left, values, right = torch.linalg.svd(given, full_matrices=False)
    assert (values.amax(dim=1) / values.amin(dim=1)).min() > 20
    turned = left.mT @ found @ right.mT  # diagonal where the vectors are the same
    diagonal = turned.diagonal(dim1=-2, dim2=-1)
    assert 0.6 < diagonal.min() and diagonal.max() < 1.3
    assert (turned - torch.diag_embed(diagonal)).abs().max() < 1e-3


def test_long_matrices_go_a_shorter_way_to_the_same_end() -> None:
    """The iteration on the matrix's square against the one that Muon defines, in float64, down to matrices without full rank."""
    for rows, columns, least in ((40, 400, -1.5), (64, 128, -6.0), (300, 30, -4.0)):
        given = torch.randn(2, rows, columns, generator=torch.Generator().manual_seed(rows), dtype=torch.float64)
        left, _, right = torch.linalg.svd(given, full_matrices=False)
        values = torch.logspace(0, least, min(rows, columns), dtype=torch.float64)
        values[-2:] = 0
        values /= values.norm()
        given = left * values @ right
        for _ in range(5):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        found = equal_singular_values(given.float())
        torch.testing.assert_close(found.double(), left * values @ right, atol=2e-4, rtol=0)


def test_a_step_is_the_schedule_of_adamw_with_the_momentum_of_muon() -> None:
    """Two steps by hand: a convolution as a matrix, decoupled decay, Nesterov's momentum, AdamW's size of a step."""
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(20, 32, 3)
    start, rate, decay = layer.weight.detach().clone(), 0.01, 0.1
    optimizer = Muon(list(layer.parameters()), lr=rate, weight_decay=decay, **ADAMW)
    alone = torch.nn.Parameter(layer.bias.detach().clone())
    reference = torch.optim.AdamW([alone], lr=rate, weight_decay=decay, **ADAMW)
    momentum, expected = torch.zeros(32, 180), start.reshape(32, 180)
    for step in (1, 2):
        gradient = random_matrices(32, 180, seed=step)
        layer.weight.grad = gradient.view_as(layer.weight).clone()
        layer.bias.grad = torch.linspace(-1, step, 32)
        alone.grad = layer.bias.grad.clone()
        optimizer.step()
        reference.step()
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
        ahead = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
        direction = equal_singular_values(ahead[None])[0]
        expected = (1 - rate * decay) * expected - rate * ADAMW_SIZE * 180**0.5 * direction
    torch.testing.assert_close(layer.weight.detach().reshape(32, 180), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(layer.bias.detach(), alone.detach())
    moved = (layer.weight.detach().reshape(32, 180) - start.reshape(32, 180)).square().mean().sqrt()
    assert 0.5 * ADAMW_SIZE * rate < moved < 2.5 * ADAMW_SIZE * rate


def test_a_learning_rate_reaches_both_kinds_of_weights() -> None:
    layer = torch.nn.Linear(16, 16)
    optimizer = make_optimizer(TrainConfig(run="", steps=1, optimizer="muon"), layer.parameters())
    before = {name: value.detach().clone() for name, value in layer.named_parameters()}
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for value in layer.parameters():
        value.grad = torch.ones_like(value)
    optimizer.step()
    assert len(optimizer.param_groups) == 2
    assert all(torch.equal(value, before[name]) for name, value in layer.named_parameters())


def test_an_optimizer_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"optimizer is 'sgd', expected 'adamw' .* or 'muon'"):
        changed(TrainConfig.tiny(), ["optimizer=sgd"])


def test_a_stopped_run_goes_on_to_the_same_weights(world: Path, tmp_path: Path) -> None:
    muon = ("--set", "optimizer=muon", "--set", "audio_samples=0", "--set", "validate_every=99")
    file = Path("training") / "checkpoints" / "step-00000004" / "model.safetensors"
    assert main(arguments(world, tmp_path / "whole" / "model", *muon, "--steps", "4")) == 0
    assert main(arguments(world, tmp_path / "parts" / "model", *muon, "--steps", "2")) == 0
    assert main(arguments(world, tmp_path / "parts" / "model", *muon, "--steps", "4")) == 0
    whole, parts = (load_file(tmp_path / side / file) for side in ("whole", "parts"))
    kept = load_file(tmp_path / "whole" / file.with_name("optimizer.safetensors"))
    kinds = {name.partition(".")[0] for name in kept}
    assert kinds == {"momentum", "step", "exp_avg", "exp_avg_sq"}
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=0, rtol=0, msg=name)
