"""FCS: its two unusual losses by hand, its rounds and rates, and all of it against a plain loop."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import FORGET, RETAIN
from harness.contracts.space import Value
from harness.engine.seeding import generator
from tasks.methods.fcs import contrast, divergence_from_uniform

PARTS = tiny.uneven_parts()
BATCH, EPOCHS = 8, 2
VALUES: Mapping[str, Value] = {
    "lr": 0.03,
    "weight_decay": 1e-3,
    "retain_lr": 0.04,
    "retain_weight_decay": 2e-3,
    "forget_lr": 0.02,
    "forget_weight_decay": 3e-3,
    "momentum": 0.8,
    "temperature": 2.0,
    "eta_min": 1e-3,
    "batch_size": BATCH,
    "epochs": EPOCHS,
}
FORGET_RATES = [1e-3 + 0.019 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
RETAIN_RATE = 0.04 * BATCH / 64


def test_even_logits_are_at_the_end_of_the_first_stage() -> None:
    logits = torch.full((3, 4), 7.0, requires_grad=True)
    loss = divergence_from_uniform(logits)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-7)
    assert float(torch.autograd.grad(loss, logits)[0].abs().max()) < 1e-7


def test_first_stage_is_the_divergence_of_the_uniform_from_the_answer() -> None:
    """Answers (3/4, 1/4) and (1/2, 1/2): KL(u || p) is ln(2 / sqrt(3)) and 0; the other way round it is not."""
    logits = torch.tensor([[math.log(3), 0.0], [5.0, 5.0]])
    assert float(divergence_from_uniform(logits)) == pytest.approx(math.log(2 / math.sqrt(3)) / 2, rel=1e-5)


def test_contrast_of_two_forget_with_three_retain_images() -> None:
    """Z_F Z_R^T / T is (0, ln 3, 0) and (0, 0, ln 4): rows of probabilities (1, 3, 1) / 5 and (1, 1, 4) / 6."""
    forget = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    retain = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [0.0, 2 * math.log(4)]])
    expected = -sum(math.log(p) for p in (1 / 5, 3 / 5, 1 / 5, 1 / 6, 1 / 6, 4 / 6)) / 6
    assert float(contrast(forget, retain, temperature=2.0)) == pytest.approx(expected)


def plain_fcs() -> nn.Module:
    model = tiny.own_copy("cnn_small", torch.float64).train()
    source, order = tiny.data(torch.float64), generator("order", 0)
    weights = list(model.parameters())

    def batches(part: Tensor) -> tuple[Tensor, ...]:
        return part[torch.randperm(len(part), generator=order)].tensor_split(math.ceil(len(part) / BATCH))

    class Descent:
        """SGD with momentum 0.8, of which each of the three losses has its own."""

        def __init__(self, decay: float) -> None:
            self.decay, self.velocity = decay, [torch.zeros_like(w) for w in weights]

        def step(self, loss: Tensor, rate: float) -> None:
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for weight, velocity, gradient in zip(weights, self.velocity, gradients, strict=True):
                    velocity.mul_(0.8).add_(gradient + self.decay * weight)
                    weight.sub_(rate * velocity)

    flatten, keep, lose = Descent(1e-3), Descent(2e-3), Descent(3e-3)
    for positions in batches(PARTS[FORGET]):
        even = -torch.log_softmax(model(source.batch(positions)), 1).mean() - math.log(tiny.CLASSES)
        flatten.step(even, 0.03)
    rates = iter(FORGET_RATES)
    for _ in range(EPOCHS):
        for ours, theirs in zip(batches(PARTS[FORGET]), batches(PARTS[RETAIN]), strict=False):
            likeness = model(source.batch(ours)) @ model(source.batch(theirs)).detach().T / 2.0
            lose.step((likeness.logsumexp(1, keepdim=True) - likeness).mean(), next(rates))
        for positions in batches(PARTS[RETAIN]):
            truth = nn.functional.cross_entropy(model(source.batch(positions)), source.labels[positions])
            keep.step(truth, RETAIN_RATE)
    return model


def test_ends_in_the_weights_and_statistics_of_a_plain_loop() -> None:
    found = tiny.unlearn(
        "fcs",
        tiny.new_run(),
        PARTS,
        VALUES,
        model=tiny.own_copy("cnn_small", torch.float64),
        source=tiny.data(torch.float64),
    )
    expected = plain_fcs().state_dict()
    for name, tensor in found.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-6, msg=name)


def test_rates_fall_with_every_forget_step_and_grow_with_the_batch_in_retain_steps() -> None:
    with tiny.optimizer_steps() as rates:
        tiny.unlearn("fcs", tiny.new_run(), PARTS, VALUES)
    retain = [RETAIN_RATE] * 4
    assert rates == pytest.approx([0.03] * 2 + FORGET_RATES[:2] + retain + FORGET_RATES[2:] + retain)


def test_rounds_see_forget_then_forget_beside_retain_then_retain() -> None:
    model = tiny.own_copy("cnn_small")
    with tiny.seen_by(model) as batches:
        tiny.unlearn("fcs", tiny.new_run(), PARTS, VALUES, model=model)
    seen = [tiny.positions_of(batch, tiny.data()) for batch in batches]
    retain, forget = sorted(PARTS[RETAIN].tolist()), sorted(PARTS[FORGET].tolist())
    assert sorted(seen.pop(0) + seen.pop(0)) == forget
    pairs = []
    for _ in range(EPOCHS):
        first, one, second, two, *rest = (seen.pop(0) for _ in range(8))
        assert sorted(first + second) == forget
        assert set(one + two) < set(retain)
        assert sorted(i for batch in rest for i in batch) == retain
        pairs.append(one + two)
        assert rest[0] + rest[1] != one + two
    assert not seen
    assert pairs[0] != pairs[1]
