"""SFR-on: the published weights, the whole method as a plain loop, and what a forget step must leave alone."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from well_trained import accuracy, well_trained

from harness.check import problem as tiny
from harness.contracts import FORGET, RETAIN
from harness.contracts.space import Value
from harness.engine.models import digest
from harness.engine.run import TrainingRun
from harness.engine.seeding import generator
from tasks.methods.sfr_on import weights

PARTS = tiny.uneven_parts()  # 26 to retain, 14 to forget
LR, MOMENTUM, DECAY, BATCH, COUNT = 0.02, 0.8, 1e-3, 10, 7
VALUES: dict[str, Value] = {"lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY, "batch_size": BATCH}
VALUES |= {"iterations": COUNT}


def sfr_on(
    run: TrainingRun | None = None, parts: tiny.Parts = PARTS, model: nn.Module | None = None, **values: Value
) -> nn.Module:
    model, source = model or tiny.own_copy("cnn_small", torch.float64), tiny.data(torch.float64)
    return tiny.unlearn("sfr_on", run or tiny.new_run(), parts, {**VALUES, **values}, model=model, source=source)


def flat(tensors: Any) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def fisher(part: Tensor) -> Tensor:
    model, source = tiny.own_copy("cnn_small", torch.float64).eval(), tiny.data(torch.float64)
    squares = []
    for batch in part.tensor_split(math.ceil(len(part) / BATCH)):
        loss = cross_entropy(model(source.batch(batch)), source.labels[batch])
        squares.append(flat(torch.autograd.grad(loss, list(model.parameters()))).square())
    return torch.stack(squares).mean(0)


def salient(threshold: float) -> Tensor:
    return (fisher(PARTS[FORGET]) + 1e-15) / (fisher(PARTS[RETAIN]) + 1e-15) >= threshold


def passes(part: Tensor, draws: torch.Generator) -> Iterator[Tensor]:
    while True:
        yield from part[torch.randperm(len(part), generator=draws)].tensor_split(math.ceil(len(part) / BATCH))


def plain_loop(frequency: int, ascent: float, threshold: float, clip: float, forgets: bool = True) -> nn.Module:
    model, source = tiny.own_copy("cnn_small", torch.float64), tiny.data(torch.float64)
    draws, mask, parameters = generator("order", 0), salient(threshold).double(), list(model.parameters())
    kept, forgotten = passes(PARTS[RETAIN], draws), passes(PARTS[FORGET], draws)
    slow, fast = torch.zeros(len(mask)).double(), torch.zeros(len(mask)).double()
    for done in range(COUNT):
        fall = (1 + math.cos(math.pi * done / COUNT)) / 2
        if done % frequency == 0:
            batch = next(forgotten)
            losses = cross_entropy(model.eval()(source.batch(batch)), source.labels[batch], reduction="none")
            share = losses.detach() ** -0.5 / (losses.detach() ** -0.5).sum()
            gradient = flat(torch.autograd.grad(-ascent * fall * (share * losses).sum(), parameters)) * mask
            fast = MOMENTUM * fast + gradient * min(1.0, clip / (float(gradient.norm()) + 1e-6))
            if forgets:
                nn.utils.vector_to_parameters(flat(parameters) - LR * fall * fast, parameters)
        batch = next(kept)
        loss = cross_entropy(model.train()(source.batch(batch)), source.labels[batch])
        slow = MOMENTUM * slow + flat(torch.autograd.grad(loss, parameters)) + DECAY * flat(parameters)
        nn.utils.vector_to_parameters(flat(parameters) - LR * fall * slow, parameters)
    return model


def assert_same(found: nn.Module, expected: nn.Module) -> None:
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-7, atol=1e-9, msg=name)


def test_weights_are_those_of_the_worked_example_and_have_mean_1() -> None:
    found = weights(torch.tensor([0.01, 1, 4]))
    torch.testing.assert_close(found, torch.tensor([2.6087, 0.2609, 0.1304]), rtol=0, atol=5e-5)
    assert float(weights(torch.tensor([0.0, 0.5, 0.0])).mean()) == pytest.approx(1)  # a loss of 0 is no accident
    one_is_perfect = torch.full((128,), 0.05)
    one_is_perfect[0] = 0
    # Without a least loss the others would be left a share of 1e-13, and the ascent would be none.
    assert float((weights(one_is_perfect) * one_is_perfect).mean()) > 0.01


@pytest.mark.parametrize(
    ("frequency", "ascent", "threshold", "clip"), [(1, 2.0, 1.0, 7.0), (3, 30.0, 0.5, 0.3), (5, 25.0, 3.0, 7.0)]
)
def test_ends_in_the_weights_of_a_plain_loop(frequency: int, ascent: float, threshold: float, clip: float) -> None:
    run = tiny.new_run()
    found = sfr_on(run, frequency=frequency, ascent=ascent, threshold=threshold, clip=clip)
    assert_same(found, plain_loop(frequency, ascent, threshold, clip))
    assert run.steps == COUNT + math.ceil(COUNT / frequency)


def test_without_ascent_it_is_fine_tuning_also_in_the_statistics_of_batch_norm() -> None:
    assert_same(sfr_on(ascent=0.0, frequency=2), plain_loop(2, 25.0, 1.0, 7.0, forgets=False))


def test_a_forget_step_moves_salient_weights_alone_whatever_came_before() -> None:
    run, moved = tiny.new_run(), []
    step = run.step

    def watched(optimizer: Any, loss: Tensor, edit_gradients: Any = None) -> None:
        parameters = optimizer.param_groups[0]["params"]
        before = flat(parameters)
        step(optimizer, loss, edit_gradients)
        moved.append(flat(parameters) != before)

    run.step = watched  # type: ignore[method-assign, assignment]
    sfr_on(run, frequency=1)
    mask = salient(1.0)
    assert 0.05 < float(mask.double().mean()) < 0.95
    for forgot, kept in zip(moved[::2], moved[1::2], strict=True):
        assert not forgot[~mask].any()
        assert forgot[mask].any()
        assert kept[~mask].any()


def test_curves_have_a_point_for_every_pass_over_retain_and_the_share_of_salient_weights() -> None:
    run = tiny.new_run(observe=lambda _: {})
    sfr_on(run)
    assert [record.steps for record in run.curves] == [0, 4, 8, 9]  # 3 + 3 + 1 on retain, and forget steps at 0 and 5
    assert float(run.curves[0].recorded["selected"]) == pytest.approx(float(salient(1.0).double().mean()), abs=1e-6)


def test_no_salient_weight_is_said_one_image_is_enough_and_none_leaves_the_original() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sfr_on(parts={**PARTS, FORGET: PARTS[FORGET][:1]}, frequency=1)
    doubled = {**PARTS, RETAIN: PARTS[RETAIN][:14], FORGET: PARTS[RETAIN][:14]}
    with pytest.warns(UserWarning, match="^sfr_on: no weight is salient, the model is only fine-tuned"):
        sfr_on(parts=doubled, threshold=3.0)
    with pytest.warns(UserWarning, match="^sfr_on: the model is the original"):
        found = sfr_on(parts={**PARTS, FORGET: PARTS[FORGET][:0]})
    assert digest(found.state_dict()) == digest(tiny.own_copy("cnn_small", torch.float64).state_dict())


def test_a_class_goes_and_the_others_stay() -> None:
    parts = tiny.parts("class:3")
    assert accuracy(well_trained(), parts, FORGET) == 1
    found = sfr_on(parts=parts, model=well_trained(), iterations=60)
    assert accuracy(found, parts, FORGET) < 0.2
    assert accuracy(found, parts, RETAIN) > 0.9
