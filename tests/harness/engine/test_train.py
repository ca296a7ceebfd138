"""Training by a recipe."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import pytest

from harness.check import problem as tiny
from harness.contracts import RETAIN
from harness.engine.data import PartSamples
from harness.engine.evaluate import evaluate
from harness.engine.models import digest
from harness.engine.train import train

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


def test_learns_the_problem() -> None:
    run = tiny.new_run()
    index = tiny.parts("random:0.1")[RETAIN]
    recipe = replace(RECIPE, epochs=12, batch_size=8)
    model = train(run.initial_model(), PartSamples(tiny.data(), index, run.generator), recipe, run)
    assert evaluate(model, tiny.data(), index).accuracy > 0.9
