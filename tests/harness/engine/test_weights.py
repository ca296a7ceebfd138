"""Weights drawn anew and weights disturbed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from harness.check import problem as tiny
from harness.engine.models import digest
from harness.engine.seeding import generator
from harness.engine.weights import add_noise, reset_parameters


def test_reset_draws_a_layer_as_pytorch_does_and_nothing_outside_of_it() -> None:
    model = tiny.own_copy("cnn_small")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    reset_parameters(model.get_submodule("5"), generator("reset"))
    after = model.state_dict()
    for name, old in before.items():
        assert torch.equal(after[name], old) == (not name.startswith("5.")), name
    bound = 1 / math.sqrt(after["5.weight"].shape[1])
    for name in ("5.weight", "5.bias"):
        assert float(after[name].abs().max()) <= bound
    assert float(after["5.weight"].abs().max()) > 0.9 * bound


def test_reset_starts_running_statistics_anew() -> None:
    layer = nn.Sequential(nn.BatchNorm2d(3))
    layer(torch.randn(8, 3, 4, 4) + 5)
    reset_parameters(layer, generator("reset"))
    assert layer.state_dict()["0.running_mean"].tolist() == [0, 0, 0]
    assert int(layer.state_dict()["0.num_batches_tracked"]) == 0


def test_draws_follow_the_generator_and_leave_the_global_one_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)

    def drawn(key: int) -> str:
        model = tiny.own_copy("cnn_small")
        reset_parameters(model, generator(key))
        add_noise(next(model.parameters()), 0.1, generator(key))
        return digest(model.state_dict())

    assert drawn(1) == drawn(1) != drawn(2)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_has_the_given_deviation_for_each_row(dtype: torch.dtype) -> None:
    weight = nn.Parameter(torch.full((3, 20_000), 7.0, dtype=dtype))
    add_noise(weight, torch.tensor([[0.0], [1.0], [3.0]], dtype=dtype), generator("noise"))
    assert weight.mean(1).tolist() == pytest.approx([7, 7, 7], abs=0.1)
    assert weight.std(1).tolist() == pytest.approx([0, 1, 3], rel=0.03)
