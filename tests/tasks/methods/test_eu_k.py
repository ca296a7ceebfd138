"""EU-k: what is drawn anew and from where, the pull towards what was drawn, and the augmented images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.contracts import RETAIN
from harness.contracts.space import Value
from harness.engine.data import PartSamples
from harness.engine.seeding import generator
from tasks.methods.cf_k import NoBlocks
from tasks.methods.eu_k import redraw

PARTS = tiny.uneven_parts()
VALUES: dict[str, Value] = {"lr": 0.05, "l2": 0.3, "batch_size": 8, "epochs": 3, "decay": 0.5, "k": 1}


def eu_k(**values: Value) -> nn.Module:
    return tiny.unlearn("eu_k", tiny.new_run(), PARTS, {**VALUES, **values})


@pytest.mark.parametrize(("k", "trained"), [(1, {"2", "5"}), (2, {"1", "2", "5"}), (7, {"1", "2", "5"})])
def test_moves_every_weight_of_the_last_k_blocks_and_the_head_and_no_bit_elsewhere(k: int, trained: set[str]) -> None:
    before, after = tiny.original("cnn_small"), eu_k(k=k)
    parameters = {name for name, _ in before.named_parameters()}
    for name, tensor in after.state_dict().items():
        moves = name in parameters and name.split(".")[0] in trained
        assert torch.equal(tensor, before.state_dict()[name]) != moves, name
    assert all(weight.requires_grad for weight in after.parameters())


def assert_uniform(weights: torch.Tensor, bound: float) -> None:
    assert float(weights.abs().max()) <= bound
    assert float(weights.abs().max()) > 0.99 * bound
    assert float(weights.std()) == pytest.approx(bound / 3**0.5, rel=0.05)


def test_redraws_from_the_distributions_of_the_released_code() -> None:
    module = nn.Sequential(nn.Conv2d(8, 24, 3, groups=2), nn.BatchNorm2d(24), nn.Linear(50, 70), nn.LayerNorm(70))
    for tensor in module.state_dict().values():
        tensor.fill_(7)
    redraw(module, torch.Generator().manual_seed(0))
    state = module.state_dict()
    assert_uniform(state["0.weight"], (6 / (24 * 9)) ** 0.5)
    assert_uniform(state["2.weight"], (6 / (50 + 70)) ** 0.5)
    expected = {"0.bias": 0, "2.bias": 0, "1.weight": 1, "1.bias": 0, "1.running_mean": 7, "1.running_var": 7}
    expected |= {"3.weight": 7, "3.bias": 7}
    for name, value in expected.items():
        assert bool((state[name] == value).all()), name


def test_ends_in_the_weights_of_a_plain_loop_that_starts_where_the_blocks_were_redrawn() -> None:
    model, source, order = (
        tiny.own_copy("cnn_small", torch.float64).eval(),
        tiny.data(torch.float64),
        generator("order", 0),
    )
    blocks = [model.get_submodule(name) for name in ("1", "2", "5")]
    for block in blocks:
        redraw(block, order)
    weights = [weight for block in blocks for weight in block.parameters()]
    start = [w.detach().clone() for w in weights]
    retain = PartSamples(source, PARTS[RETAIN], order)
    for factor in (1, 1, 0.5):
        for images, labels, _ in retain.batches(8, augment=True):
            gradients = torch.autograd.grad(cross_entropy(model(images), labels), weights)
            with torch.no_grad():
                for w, origin, g in zip(weights, start, gradients, strict=True):
                    w.sub_(0.05 * factor * (g + 0.3 * (w - origin)))
    found = tiny.unlearn(
        "eu_k",
        tiny.new_run(),
        PARTS,
        {**VALUES, "k": 2},
        model=tiny.own_copy("cnn_small", torch.float64),
        source=source,
    )
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], tensor, rtol=0, atol=1e-9, msg=name)


def distance(model: nn.Module, other: nn.Module) -> float:
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return float(sum((a - b).detach().square().sum() for a, b in pairs)) ** 0.5


def test_a_huge_l2_holds_the_weights_where_they_were_redrawn_not_where_the_original_has_them() -> None:
    redrawn = eu_k(lr=0.0)
    held, free = (eu_k(lr=1e-3, l2=l2, epochs=20) for l2 in (900.0, 0.0))
    assert distance(held, redrawn) < 0.2 * distance(free, redrawn)
    assert distance(held, tiny.original("cnn_small")) > 10 * distance(held, redrawn)


def test_sees_augmented_images() -> None:
    model = tiny.own_copy("cnn_small")
    with tiny.seen_by(model) as batches:
        tiny.unlearn("eu_k", tiny.new_run(), PARTS, {**VALUES, "epochs": 1}, model=model)
    with pytest.raises(KeyError):
        [tiny.positions_of(batch, tiny.data()) for batch in batches]


def test_an_architecture_without_blocks_is_refused() -> None:
    run = tiny.new_run()
    run.architecture = replace(run.architecture, blocks=())
    with pytest.raises(NoBlocks):
        tiny.unlearn("eu_k", run, PARTS, VALUES)
