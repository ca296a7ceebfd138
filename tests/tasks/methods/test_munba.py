"""MUNBa: weights of the worked examples, the equations that define them, and the whole method as a plain loop."""

from __future__ import annotations

import math
import warnings

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
from tasks.methods import munba as module
from tasks.methods.munba import nash_weights, products

PARTS = tiny.uneven_parts()  # 26 to retain, 14 to forget: 3 and 2 batches
LR, MOMENTUM, DECAY, BATCH, EPOCHS = 0.02, 0.8, 1e-3, 10, 3
VALUES: dict[str, Value] = {"lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY, "batch_size": BATCH}
VALUES |= {"epochs": EPOCHS}


def munba(
    run: TrainingRun | None = None, parts: tiny.Parts = PARTS, model: nn.Module | None = None, **values: Value
) -> nn.Module:
    model, source = model or tiny.own_copy("cnn_small", torch.float64), tiny.data(torch.float64)
    return tiny.unlearn("munba", run or tiny.new_run(), parts, {**VALUES, **values}, model=model, source=source)


def flat(tensors: object) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])  # type: ignore[attr-defined]


def bargain(keeps: Tensor, forgets: Tensor) -> Tensor:
    found = nash_weights(*products([keeps], [forgets]))
    assert found is not None
    return found[0] * keeps + found[1] * forgets


@pytest.mark.parametrize(
    ("dots", "expected"),
    [((9, 0, 16), (1 / 3, 1 / 4)), ((1, 1, 2), (0.765367, 0.541196)), ((4, 3, 9), (0.408248, 0.272166))],
)
def test_weights_are_those_of_the_worked_examples(dots: tuple[int, ...], expected: tuple[float, float]) -> None:
    found = nash_weights(*torch.tensor(dots).double())
    assert found is not None
    assert tuple(map(float, found)) == pytest.approx(expected, abs=1e-6)


def test_the_bargain_gains_each_side_the_inverse_of_its_weight_and_has_the_norm_sqrt_2() -> None:
    keeps, forgets = torch.randn(2, 9, generator=torch.Generator().manual_seed(0)).double()
    found = nash_weights(*products([keeps], [forgets]))
    assert found is not None
    step = bargain(keeps, forgets)
    for weight, gradient in zip(found, (keeps, forgets), strict=True):
        assert float(weight * (step @ gradient)) == pytest.approx(1)
    assert float(step.norm()) == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("scale", [1e-4, 7.0, 1e5])
def test_the_scale_of_a_loss_counts_for_nothing(scale: float) -> None:
    keeps, forgets = torch.randn(2, 9, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(bargain(keeps, scale * forgets), bargain(keeps, forgets))
    torch.testing.assert_close(bargain(scale * keeps, forgets), bargain(keeps, forgets))


def test_opposite_gradients_have_no_bargain_and_one_of_0_has_no_say() -> None:
    gradient = torch.tensor([3.0, -4.0])
    assert nash_weights(*products([gradient], [-2 * gradient])) is None
    torch.testing.assert_close(bargain(gradient, torch.zeros(2)), gradient / 5)
    torch.testing.assert_close(bargain(torch.zeros(2), gradient), gradient / 5)


def plain_loop(clip: float) -> nn.Module:
    model, source = tiny.own_copy("cnn_small", torch.float64), tiny.data(torch.float64)
    draws, parameters = generator("order", 0), list(model.parameters())
    velocity = torch.zeros_like(flat(parameters))
    waiting: list[Tensor] = []
    for _ in range(EPOCHS):
        order = PARTS[RETAIN][torch.randperm(26, generator=draws)]
        for kept in order.tensor_split(3):
            if not waiting:
                waiting = list(PARTS[FORGET][torch.randperm(14, generator=draws)].tensor_split(2))
            forgotten = waiting.pop(0)
            random = torch.randint(tiny.CLASSES, (len(forgotten),), generator=draws)
            wrong = cross_entropy(model.eval()(source.batch(forgotten)), random)
            forgets = flat(torch.autograd.grad(wrong, parameters))
            right = cross_entropy(model.train()(source.batch(kept)), source.labels[kept])
            keeps = flat(torch.autograd.grad(right, parameters))
            unit = keeps / keeps.norm(), forgets / forgets.norm()
            step = (unit[0] + unit[1]) / (1 + unit[0] @ unit[1]).sqrt()  # the same, by way of the directions
            velocity = MOMENTUM * velocity + step * min(1.0, clip / math.sqrt(2)) + DECAY * flat(parameters)
            nn.utils.vector_to_parameters(flat(parameters) - LR * velocity, parameters)
    return model


@pytest.mark.parametrize("clip", [0.5, 1.0, 5.0])
def test_ends_in_the_weights_and_statistics_of_a_plain_loop(clip: float) -> None:
    run = tiny.new_run()
    found, expected = munba(run, clip=clip), plain_loop(clip)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-5, atol=1e-7, msg=name)
    assert run.steps == 3 * EPOCHS


def test_it_ends_before_a_step_that_would_help_one_side_alone() -> None:
    run = tiny.new_run(observe=lambda _: {})
    asked = []

    def third_fails(*dots: Tensor) -> tuple[Tensor, Tensor] | None:
        asked.append(dots)
        return None if len(asked) == 3 else nash_weights(*dots)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "nash_weights", third_fails)
        with pytest.warns(UserWarning, match="^munba: training ended early: its gradients are opposite"):
            munba(run)
    assert (run.steps, len(asked), len(run.curves)) == (2, 3, EPOCHS + 1)


def test_one_image_is_enough_and_none_leaves_the_original() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        munba(parts={**PARTS, FORGET: PARTS[FORGET][:1]})
    with pytest.warns(UserWarning, match="^munba: the model is the original"):
        found = munba(parts={**PARTS, FORGET: PARTS[FORGET][:0]})
    assert digest(found.state_dict()) == digest(tiny.own_copy("cnn_small", torch.float64).state_dict())


def test_a_class_goes_and_the_others_stay() -> None:
    parts = tiny.parts("class:3")
    assert accuracy(well_trained(), parts, FORGET) == 1
    found = munba(parts=parts, model=well_trained(), lr=0.02, epochs=20)
    assert accuracy(found, parts, FORGET) < 0.2
    assert accuracy(found, parts, RETAIN) > 0.9
