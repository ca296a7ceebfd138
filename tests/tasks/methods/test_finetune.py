"""Fine-tuning against a plain loop with its own optimiser, its own loader order and its own normalisation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.contracts import RETAIN
from harness.engine.seeding import generator

LR, MOMENTUM, DECAY, BATCH, EPOCHS = 0.05, 0.8, 1e-2, 10, 3
VALUES = {"lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY, "batch_size": BATCH, "epochs": EPOCHS}


def normalised(positions: Tensor) -> Tensor:
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (tiny.SPEC.mean, tiny.SPEC.std))
    return (torch.from_numpy(tiny.images().images)[positions].double() / 255 - mean) / std


def labels(positions: Tensor) -> Tensor:
    return torch.from_numpy(tiny.images().labels)[positions]


def plain_finetune() -> nn.Module:
    model = tiny.own_copy("cnn_small", torch.float64).train()
    retain, order = tiny.parts("random:0.1")[RETAIN], generator("order", 0)
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    for epoch in range(EPOCHS):
        rate = LR * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2
        for chosen in torch.randperm(len(retain), generator=order).tensor_split(math.ceil(len(retain) / BATCH)):
            positions = retain[chosen]
            loss = cross_entropy(model(normalised(positions)), labels(positions))
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for p, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                    v.mul_(MOMENTUM).add_(g + DECAY * p)
                    p.sub_(rate * v)
    return model


def test_ends_in_the_weights_of_a_plain_loop() -> None:
    found = tiny.unlearn(
        "finetune",
        tiny.new_run(),
        tiny.parts("random:0.1"),
        VALUES,
        model=tiny.own_copy("cnn_small", torch.float64),
        source=tiny.data(torch.float64),
    )
    for name, tensor in plain_finetune().state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], tensor, rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize("method", ["finetune", "ct"])
def test_the_learning_rate_falls_on_a_cosine_once_per_epoch(method: str) -> None:
    with tiny.optimizer_steps() as rates:
        tiny.unlearn(method, tiny.new_run(), tiny.parts("random:0.1"), VALUES)
    batches = math.ceil(len(tiny.parts("random:0.1")[RETAIN]) / BATCH)
    expected = [LR * (1 + math.cos(math.pi * e / EPOCHS)) / 2 for e in range(EPOCHS) for _ in range(batches)]
    assert rates == pytest.approx(expected)
