"""Masked small gradients: which weights are redrawn, how the others are dampened, and the triangle of rates."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.contracts import FORGET, RETAIN
from harness.contracts.space import Value
from harness.engine.seeding import generator
from tasks.methods.msg import reinitialise_smallest, triangle

PARTS = tiny.uneven_parts()
ONE_STEP: Mapping[str, Value] = {"epochs": 1, "momentum": 0.0, "weight_decay": 0.0, "batch_size": 64}


def convolutions(model: nn.Module) -> dict[str, Tensor]:
    return {f"{n}.weight": m.weight.detach() for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}


def msg(**values: Value) -> nn.Module:
    return tiny.unlearn(
        "msg",
        tiny.new_run(),
        PARTS,
        {**ONE_STEP, **values},
        model=tiny.own_copy("cnn_small", torch.float64),
        source=tiny.data(torch.float64),
    )


def gradients_of_retain_sample_minus_forget() -> dict[str, Tensor]:
    """Computed from the paper's words; the sample is the first thing that the run's generator draws."""
    model, source = tiny.own_copy("cnn_small", torch.float64).train(), tiny.data(torch.float64)
    drawn = torch.randperm(len(PARTS[RETAIN]), generator=generator("order", 0))[: len(PARTS[FORGET])]

    def loss(positions: Tensor) -> Tensor:
        return cross_entropy(model(source.batch(positions)), source.labels[positions])

    names, weights = zip(*model.named_parameters(), strict=True)
    difference = loss(PARTS[RETAIN][drawn]) - loss(PARTS[FORGET])
    return dict(zip(names, torch.autograd.grad(difference, weights), strict=True))


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_redraws_exactly_the_weights_with_the_smallest_gradient_in_each_convolution(rate: float) -> None:
    after, before = convolutions(msg(lr=0.0, init_rate=rate)), convolutions(tiny.original("cnn_small"))
    gradients = gradients_of_retain_sample_minus_forget()
    for name, old in before.items():
        changed = (after[name] != old.double()).flatten()
        order = gradients[name].abs().flatten().argsort()
        assert set(changed.nonzero().flatten().tolist()) == set(order[: round(rate * old.numel())].tolist())


def test_everything_but_convolutions_keeps_its_value_before_training() -> None:
    after, before = msg(lr=0.0, init_rate=1.0), tiny.own_copy("cnn_small", torch.float64)
    kernels = convolutions(before)
    others = {name: p for name, p in before.named_parameters() if name not in kernels}
    assert others
    assert all(torch.equal(dict(after.named_parameters())[name], p) for name, p in others.items())


def test_kept_weights_move_a_tenth_of_what_they_would_and_redrawn_weights_the_whole() -> None:
    start = dict(msg(lr=0.0, init_rate=0.3).named_parameters())
    dampened, whole = (dict(msg(lr=0.1, init_rate=0.3, dampening=d).named_parameters()) for d in (0.1, 1.0))
    before = dict(tiny.own_copy("cnn_small", torch.float64).named_parameters())
    kernels = convolutions(tiny.original("cnn_small"))
    for name, origin in start.items():
        kept = (origin == before[name]) if name in kernels else torch.zeros_like(origin, dtype=torch.bool)
        factor = torch.where(kept, 0.1, 1.0)
        expected = origin + factor * (whole[name] - origin)
        torch.testing.assert_close(dampened[name], expected, rtol=0, atol=1e-12, msg=name)


@given(
    st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
    st.floats(0, 1),
    st.integers(0, 100),
)
@settings(max_examples=60, deadline=None)
def test_mask_is_one_where_redrawn_and_a_tenth_elsewhere(shape: tuple[int, ...], share: float, seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    weight = nn.Parameter(torch.randn(shape, generator=draws))
    weight.grad = torch.randn(shape, generator=draws)
    before = weight.detach().clone()
    mask = reinitialise_smallest(weight, share, 0.1, draws)
    redrawn = weight.detach() != before
    assert int(redrawn.sum()) == round(share * weight.numel())
    assert torch.equal(mask, torch.where(redrawn, 1.0, 0.1))
    assert not redrawn.any() or redrawn.all() or weight.grad[redrawn].abs().max() <= weight.grad[~redrawn].abs().min()


def test_redrawn_weights_are_kaiming_normal_with_fan_out() -> None:
    weight = nn.Parameter(torch.zeros(64, 8, 3, 3))
    reinitialise_smallest(weight, 1.0, 0.1, torch.Generator().manual_seed(0))
    drawn = weight.detach()
    assert float(drawn.mean()) == pytest.approx(0, abs=0.003)
    assert float(drawn.std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)


FACTORS = {
    1: [1],
    2: [1, 0.5],
    3: [0.5, 1, 0.5],
    4: [0.5, 1, 0.667, 0.333],
    5: [0.333, 0.667, 1, 0.667, 0.333],
    10: [0.2, 0.4, 0.6, 0.8, 1, 0.833, 0.667, 0.5, 0.333, 0.167],
}


@pytest.mark.parametrize("epochs", FACTORS)
def test_the_rate_seen_by_the_optimiser_rises_and_falls_linearly(epochs: int) -> None:
    values: dict[str, Value] = {"epochs": epochs, "lr": 0.1, "batch_size": 64}
    with tiny.optimizer_steps() as rates:
        tiny.unlearn("msg", tiny.new_run(), PARTS, values)
    assert rates == pytest.approx([0.1 * factor for factor in FACTORS[epochs]], abs=1e-4)
    assert [triangle(epoch, epochs) for epoch in range(1, epochs + 1)] == pytest.approx(FACTORS[epochs], abs=1e-3)
