"""Gradient ascent: one step is the gradient of the forget loss, with the sign turned round."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.contracts import FORGET, METHODS, RETAIN
from harness.engine.evaluate import evaluate

RATE = 0.01


def test_never_reads_retain() -> None:
    assert METHODS["gradient_ascent"].reads == {FORGET}


def test_one_step_climbs_the_gradient_of_the_forget_loss() -> None:
    index, source = tiny.parts("class:3")[FORGET], tiny.data(torch.float64)
    values = {"lr": RATE, "momentum": 0.0, "weight_decay": 0.0, "epochs": 1}
    found = tiny.unlearn(
        "gradient_ascent",
        tiny.new_run(),
        tiny.parts("class:3"),
        values,
        model=tiny.own_copy("cnn_small", torch.float64),
        source=source,
    )
    before = tiny.own_copy("cnn_small", torch.float64).train()
    loss = cross_entropy(before(source.batch(index)), source.labels[index])
    gradients = torch.autograd.grad(loss, list(before.parameters()))
    for new, old, gradient in zip(found.parameters(), before.parameters(), gradients, strict=True):
        torch.testing.assert_close(new, old + RATE * gradient, rtol=0, atol=1e-9)


def test_raises_the_forget_loss_and_spares_the_retain_loss_in_comparison() -> None:
    index = tiny.parts("class:3")
    before = tiny.original("cnn_small")
    after = tiny.unlearn("gradient_ascent", tiny.new_run(), index, METHODS["gradient_ascent"].defaults())
    rise = {
        part: evaluate(after, tiny.data(), index[part]).loss - evaluate(before, tiny.data(), index[part]).loss
        for part in (FORGET, RETAIN)
    }
    assert rise[FORGET] > 0
    assert rise[FORGET] > rise[RETAIN]
