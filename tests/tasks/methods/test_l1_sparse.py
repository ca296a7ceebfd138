"""l1-sparse: the penalty's schedule, equality with a plain loop, and with fine-tuning without it; pruning first."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.contracts import RETAIN
from harness.contracts.space import Value
from harness.engine.models import digest
from harness.engine.seeding import generator
from tasks.methods.l1_sparse import NoSparseEpoch, penalty, prune

PARTS = tiny.uneven_parts()
LR, MOMENTUM, DECAY, BATCH, EPOCHS, GAMMA = 0.02, 0.8, 1e-2, 10, 4, 3e-3
COMMON: dict[str, Value] = {"lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY, "batch_size": BATCH}


def run(method: str, **values: Value) -> nn.Module:
    model, source = tiny.own_copy("cnn_small", torch.float64), tiny.data(torch.float64)
    return tiny.unlearn(
        method, tiny.new_run(), PARTS, {**COMMON, "epochs": EPOCHS, **values}, model=model, source=source
    )


def vector(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def plain_loop(gammas: tuple[float, ...]) -> nn.Module:
    """Fine-tuning with a subgradient of the norm added by hand, one gamma for each epoch."""
    model, source = tiny.own_copy("cnn_small", torch.float64).train(), tiny.data(torch.float64)
    retain, order = PARTS[RETAIN], generator("order", 0)
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    for epoch, gamma in enumerate(gammas):
        rate = LR * (1 + math.cos(math.pi * epoch / len(gammas))) / 2
        for chosen in torch.randperm(len(retain), generator=order).tensor_split(math.ceil(len(retain) / BATCH)):
            loss = cross_entropy(model(source.batch(retain[chosen])), source.labels[retain[chosen]])
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for p, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                    v.mul_(MOMENTUM).add_(g + DECAY * p + gamma * p.sign())
                    p.sub_(rate * v)
    return model


def test_the_penalty_falls_linearly_and_is_nothing_in_the_plain_epochs() -> None:
    falling = [penalty(5e-4, epoch, 10, decays=True) for epoch in range(10)]
    assert (falling[0], falling[5], falling[9]) == pytest.approx((5e-4, 2.5e-4, 5e-5))
    assert [penalty(1.0, epoch, 2, decays=True) for epoch in range(4)] == [1.0, 0.5, 0.0, 0.0]
    assert [penalty(1.0, epoch, 2, decays=False) for epoch in range(4)] == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("values", "gammas"),
    [
        ({}, (GAMMA, 0.75 * GAMMA, 0.5 * GAMMA, 0.25 * GAMMA)),
        ({"plain_epochs": 2}, (GAMMA, 0.5 * GAMMA, 0.0, 0.0)),
        ({"schedule": "constant", "plain_epochs": 1}, (GAMMA, GAMMA, GAMMA, 0.0)),
    ],
)
def test_it_is_the_plain_loop_with_a_norm_over_all_parameters(
    values: dict[str, Value], gammas: tuple[float, ...]
) -> None:
    found = run("l1_sparse", gamma=GAMMA, **values).state_dict()
    for name, value in plain_loop(gammas).state_dict().items():
        torch.testing.assert_close(found[name], value, msg=name)


def test_without_a_penalty_it_is_fine_tuning_bit_for_bit_and_with_one_the_norm_is_smaller() -> None:
    tuned = run("finetune")
    assert digest(run("l1_sparse", gamma=0.0).state_dict()) == digest(tuned.state_dict())
    assert float(vector(run("l1_sparse", gamma=GAMMA)).abs().sum()) < 0.99 * float(vector(tuned).abs().sum())


def test_plain_epochs_that_leave_none_with_the_penalty_are_refused() -> None:
    with pytest.raises(NoSparseEpoch, match="plain_epochs is 4 of 4 epochs; it must be fewer"):
        run("l1_sparse", plain_epochs=4)


def test_the_smallest_weights_of_all_layers_together_are_pruned_and_nothing_else() -> None:
    kernel, linear = nn.Conv2d(1, 2, 1), nn.Linear(2, 2)
    model = nn.Sequential(kernel, nn.BatchNorm2d(2), linear)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.1)
        kernel.weight.copy_(torch.tensor([5.0, -1.0]).view(2, 1, 1, 1))
        linear.weight.copy_(torch.tensor([[2.0, -3.0], [3.0, -4.0]]))
    masks = prune(model, 0.6)  # int(0.6 x 6) = 3 of 1 2 3 3 4 5; of the two 3s the first goes
    assert [mask.flatten().tolist() for _, mask in masks] == [[1, 0], [0, 0, 1, 1]]
    assert vector(model).tolist() == pytest.approx([5, 0, *[0.1] * 6, 0, 0, 3, -4, *[0.1] * 2])


@pytest.mark.parametrize("sparsity", [0.5, 0.95])
def test_pruned_weights_stay_zero_and_the_others_learn(sparsity: float) -> None:
    pruned, found = tiny.own_copy("cnn_small", torch.float64), run("prune_first", sparsity=sparsity)
    zeros = vector(pruned) == 0
    prune(pruned, sparsity)
    gone = (vector(pruned) == 0) & ~zeros
    count = sum(p.numel() for p in pruned.parameters() if p.ndim > 1)
    assert int(gone.sum()) == int(sparsity * count)
    assert not vector(found)[gone].any()
    moved = (vector(found) != vector(pruned))[~gone]
    assert int((~moved).sum()) < 10


def test_with_nothing_to_prune_it_is_fine_tuning_bit_for_bit() -> None:
    assert digest(run("prune_first", sparsity=0.0).state_dict()) == digest(run("finetune").state_dict())
