"""Training by a recipe."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch

from harness.check import problem as tiny
from harness.contracts import RETAIN
from harness.engine.data import PartSamples
from harness.engine.evaluate import evaluate
from harness.engine.models import digest
from harness.engine.train import optimizer_of, train

RECIPE = replace(tiny.SPEC.recipe, epochs=4, lr=0.1)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [0.1] * 4),
        ("cosine", [0.05 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]),
    ],
)
def test_the_rate_follows_the_schedule(schedule: Literal["constant", "cosine"], rates: list[float]) -> None:
    run = tiny.new_run(observe=lambda model: {})
    samples = PartSamples(tiny.data(), tiny.parts("random:0.1")[RETAIN], run.generator)
    train(run.initial_model(), samples, replace(RECIPE, schedule=schedule), run)
    assert [record.learning_rate for record in run.curves[1:]] == pytest.approx(rates)


def test_trains_in_train_mode_whatever_the_mode_before() -> None:
    run = tiny.new_run()
    model = run.initial_model().eval()
    before = digest(dict(model.named_buffers()))
    train(model, PartSamples(tiny.data(), tiny.parts("random:0.1")[RETAIN], run.generator), RECIPE, run)
    assert model.training
    assert digest(dict(model.named_buffers())) != before


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_two_steps_are_those_of_the_published_formula(name: Literal["sgd", "adamw"]) -> None:
    """SGD of Sutskever et al. 2013 with coupled decay; AdamW of Loshchilov and Hutter 2019, momentum its first beta."""
    recipe = replace(RECIPE, lr=0.1, momentum=0.8, weight_decay=0.05, optimizer=name)
    layer = torch.nn.Linear(2, 1, bias=False).double()
    weights, gradients = layer.weight.detach().clone(), torch.tensor([[[0.3, -2.0]], [[-1.0, 0.5]]]).double()
    optimizer = optimizer_of(layer, recipe)
    first = second = torch.zeros(1, 2).double()
    for step, gradient in enumerate(gradients, start=1):
        layer.weight.grad = gradient.clone()
        optimizer.step()
        if name == "sgd":
            first = 0.8 * first + gradient + 0.05 * weights
            weights = weights - 0.1 * first
        else:
            first, second = 0.8 * first + 0.2 * gradient, 0.999 * second + 0.001 * gradient**2
            change = first / (1 - 0.8**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
            weights = weights - 0.1 * 0.05 * weights - 0.1 * change
    torch.testing.assert_close(layer.weight.detach(), weights)


def test_learns_the_problem() -> None:
    run = tiny.new_run()
    index = tiny.parts("random:0.1")[RETAIN]
    recipe = replace(RECIPE, epochs=12, batch_size=8)
    model = train(run.initial_model(), PartSamples(tiny.data(), index, run.generator), recipe, run)
    assert evaluate(model, tiny.data(), index).accuracy > 0.9
