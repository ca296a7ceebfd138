"""Building, comparing and checking models."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.engine.models import changed_share, count_parameters, digest, finite

STATE = {
    "a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
    "b": torch.tensor(7),
    "c": torch.zeros(0),
    "d": torch.tensor([1.5], dtype=torch.bfloat16),
}


def test_a_seed_gives_the_same_model_and_another_seed_another() -> None:
    digests = [digest(tiny.initial("cnn_small", seed).state_dict()) for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    tiny.initial("cnn_small")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "other",
    [
        {**STATE, "b": torch.tensor(8)},
        {**STATE, "a": STATE["a"].clone().fill_(float("nan"))},
        {**STATE, "a": STATE["a"].T},
        {**STATE, "a": STATE["a"].reshape(4)},
        {**STATE, "a": STATE["a"].view(torch.int32)},
        {**STATE, "b": STATE["b"].double()},
        {**STATE, "a": -STATE["a"]},
        {("bb" if name == "b" else name): tensor for name, tensor in STATE.items()},
        {name: STATE[name] for name in "abd"},
    ],
)
def test_the_digest_notices_every_change(other: dict[str, Tensor]) -> None:
    assert digest(other) != digest(STATE)


def test_the_digest_sees_one_bit_of_one_weight() -> None:
    model = tiny.own_copy("cnn_small")
    before = digest(model.state_dict())
    with torch.no_grad():
        weight = next(model.parameters())
        weight[0, 0, 0, 0] = torch.nextafter(weight[0, 0, 0, 0], torch.tensor(9.0))
    assert digest(model.state_dict()) != before


def test_the_digest_knows_neither_order_nor_memory_layout() -> None:
    strided = {**STATE, "a": torch.stack([STATE["a"].T, STATE["a"].T])[0].T}
    assert digest(dict(reversed(strided.items()))) == digest(STATE)


def test_parameters_are_counted_without_buffers() -> None:
    assert count_parameters(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))) == 16 + 8


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["weight", "running_var"])
def test_a_bad_weight_or_statistic_is_found(name: str, value: float) -> None:
    model = tiny.own_copy("cnn_small")
    assert finite(model)
    norm = next(layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d))
    norm.state_dict()[name][-1] = value
    assert not finite(model)


def test_the_share_of_changed_weights_counts_parameters_alone_bit_for_bit() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert changed_share(model, before) == 0
    model(torch.ones(4, 3))  # moves the statistics
    assert changed_share(model, before) == 0
    with torch.no_grad():
        model[0].weight[0, 0] += 1e-7
        model[1].bias[1] = 1
    assert changed_share(model, before) == 2 / (6 + 2 + 2 + 2)
    assert changed_share(nn.Linear(3, 2), before) is None
    assert changed_share(nn.Sequential(nn.Linear(3, 5)), before) is None
