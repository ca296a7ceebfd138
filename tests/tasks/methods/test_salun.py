"""SalUN: which weights are salient, what happens to the others, and the training that it shares with random labels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.contracts import FORGET
from harness.contracts.space import Value
from harness.engine.data import PartSamples
from harness.engine.models import count_parameters, digest
from tasks.methods.salun import forget_gradients, largest

PARTS = tiny.uneven_parts()
FORGOTTEN = len(PARTS[FORGET])


def salun(**values: Value) -> nn.Module:
    return tiny.unlearn(
        "salun",
        tiny.new_run(),
        PARTS,
        {"epochs": 2, "batch_size": 16, **values},
        model=tiny.own_copy("cnn_small", torch.float64),
        source=tiny.data(torch.float64),
    )


def saliency() -> Tensor:
    """|gradient| of the cross-entropy of the whole forget part in eval mode, all parameters in one vector."""
    model, source = tiny.own_copy("cnn_small", torch.float64).eval(), tiny.data(torch.float64)
    loss = cross_entropy(model(source.batch(PARTS[FORGET])), source.labels[PARTS[FORGET]])
    return flat(torch.autograd.grad(loss, list(model.parameters()))).abs()


def flat(tensors: object) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])  # type: ignore[attr-defined]


def salient(threshold: float) -> Tensor:
    chosen = torch.zeros(count_parameters(tiny.original("cnn_small")), dtype=torch.bool)
    chosen[saliency().argsort(descending=True, stable=True)[: int(threshold * len(chosen))]] = True
    return chosen


def test_the_largest_are_chosen_over_all_tensors_together() -> None:
    masks = largest([torch.tensor([[9.0, -10.0]]), torch.tensor([1.0, -2.0]), torch.tensor([0.5])], 0.6)
    assert [mask.tolist() for mask in masks] == [[[1, 1]], [0, 1], [0]]


@given(st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=8), min_size=1, max_size=4), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_exactly_the_floor_of_the_share_is_chosen_also_among_equals(values: list[list[int]], share: float) -> None:
    gradients = [torch.tensor(numbers, dtype=torch.float) for numbers in values]
    mask, size = flat(largest(gradients, share)), flat(gradients).abs()
    assert set(mask.tolist()) <= {0, 1}
    assert int(mask.sum()) == int(share * len(size))
    chosen, others = size[mask == 1], size[mask == 0]
    assert not len(chosen) or not len(others) or chosen.min() >= others.max()


def test_saliency_is_the_forget_gradient_in_eval_mode_summed_over_batches() -> None:
    run, model = tiny.new_run(), tiny.own_copy("cnn_small", torch.float64).train()
    samples = PartSamples(tiny.data(torch.float64), PARTS[FORGET], run.generator)
    found = flat(forget_gradients(model, samples, FORGOTTEN // 2, run)).abs()
    torch.testing.assert_close(found, 2 * saliency())  # two batches of equal size
    assert digest(dict(model.named_buffers())) == digest(
        dict(tiny.own_copy("cnn_small", torch.float64).named_buffers())
    )


def test_weights_that_are_not_salient_move_by_weight_decay_alone() -> None:
    lr, momentum, decay, threshold = 0.05, 0.5, 0.02, 0.3
    found = salun(lr=lr, momentum=momentum, weight_decay=decay, threshold=threshold)
    steps = 2 * 3  # epochs x batches of 40 images
    expected = flat(tiny.own_copy("cnn_small", torch.float64).parameters())
    velocity = torch.zeros_like(expected)
    for _ in range(steps):
        velocity = momentum * velocity + decay * expected
        expected = expected - lr * velocity
    decayed = torch.isclose(flat(found.parameters()), expected, rtol=0, atol=1e-12)
    assert decayed[~salient(threshold)].all()
    assert int(decayed[salient(threshold)].sum()) < 10  # behind a ReLU that never opens in train mode


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3])
def test_without_weight_decay_only_the_salient_share_moves(threshold: float) -> None:
    moved = flat(salun(threshold=threshold).parameters()) != flat(tiny.original("cnn_small").parameters()).double()
    chosen = salient(threshold)
    assert not moved[~chosen].any()
    assert int(moved[chosen].sum()) > int(chosen.sum()) - 10


@pytest.mark.parametrize("variant", ["default", "reference"])
def test_with_every_weight_salient_it_is_successive_random_labels(variant: str) -> None:
    values: dict[str, Value] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3, "batch_size": 16, "epochs": 2}
    values["variant"] = variant
    run = tiny.new_run()
    found = tiny.unlearn("salun", run, PARTS, {**values, "threshold": 1.0})
    later = tiny.new_run()
    torch.randperm(FORGOTTEN, generator=later.generator)  # the pass that finds the salient weights
    expected = tiny.unlearn("successive_random_labels", later, PARTS, values)
    assert digest(found.state_dict()) == digest(expected.state_dict())
    assert run.steps == later.steps > 0


def test_training_runs_in_train_mode() -> None:
    before, after = tiny.own_copy("cnn_small", torch.float64), salun(threshold=0.0)
    assert digest(dict(after.named_buffers())) != digest(dict(before.named_buffers()))
