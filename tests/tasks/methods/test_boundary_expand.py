"""Boundary expand: the method against a loop that really widens the head and cuts it again."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from harness.check import problem as tiny
from harness.contracts import FORGET, METHODS, ArchitectureSpec
from harness.contracts.space import Value
from harness.engine.models import digest
from harness.engine.seeding import generator
from tasks.methods.boundary_expand import NotLinear, shadow_row

PARTS = tiny.uneven_parts()
LR, MOMENTUM, BATCH, EPOCHS = 0.05, 0.8, 5, 3


def expanded(**values: Value) -> nn.Module:
    values = {"lr": LR, "momentum": MOMENTUM, "batch_size": BATCH, "epochs": EPOCHS, **values}
    model, source = tiny.own_copy("cnn_small", torch.float64), tiny.data(torch.float64)
    return tiny.unlearn("boundary_expand", tiny.new_run(), PARTS, values, model=model, source=source)


def plain_loop(training: bool) -> nn.Module:
    """A head of C + 1 rows in the place of the old one, and at the end one of C rows again."""
    model, source, forget = tiny.own_copy("cnn_small", torch.float64), tiny.data(torch.float64), PARTS[FORGET]
    assert isinstance(model, nn.Sequential)
    head, order = model[5], generator("order", 0)
    assert isinstance(head, nn.Linear)
    wide = nn.Linear(head.in_features, tiny.CLASSES + 1).double()
    with torch.no_grad():
        row = torch.randn(1, head.in_features, generator=order) * math.sqrt(2 / (head.in_features + tiny.CLASSES + 1))
        wide.weight.copy_(torch.cat([head.weight, row.double()]))
        wide.bias.copy_(torch.cat([head.bias, torch.zeros(1)]))
    model[5] = wide
    before = tiny.own_copy("cnn_small", torch.float64).eval()(source.batch(forget))
    torch.testing.assert_close(model.eval()(source.batch(forget))[:, : tiny.CLASSES], before)
    optimizer = SGD(model.parameters(), LR, MOMENTUM)
    model.train(training)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(forget), generator=order).tensor_split(math.ceil(len(forget) / BATCH)):
            optimizer.zero_grad()
            shadow = torch.full((len(chosen),), tiny.CLASSES)
            cross_entropy(model(source.batch(forget[chosen])), shadow).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        head.weight.copy_(wide.weight[: tiny.CLASSES])
        head.bias.copy_(wide.bias[: tiny.CLASSES])
    model[5] = head
    return model


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_it_is_the_loop_that_widens_the_head_and_cuts_it(mode: str) -> None:
    found, expected = expanded(mode=mode).state_dict(), plain_loop(mode == "train").state_dict()
    assert {name: value.shape for name, value in found.items()} == {n: v.shape for n, v in expected.items()}
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-8, msg=name)


def test_the_curves_are_those_of_the_classes_and_no_hook_is_left() -> None:
    widths: list[int] = []

    def look(model: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            widths.append(model(tiny.data().batch(torch.arange(4))).shape[1])
        return {}

    run = tiny.new_run(observe=look)
    model = tiny.unlearn("boundary_expand", run, PARTS, {"epochs": 2})
    assert widths == [tiny.CLASSES] * 3
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_shadow_row_is_drawn_as_one_of_a_head_of_one_row_more() -> None:
    head = nn.Linear(200_000, 7, bias=False)
    row = shadow_row(head, generator("row", 0))
    assert row.bias is None
    assert float(row.weight.detach().std()) == pytest.approx(math.sqrt(2 / 200_008), rel=0.01)
    assert float(shadow_row(nn.Linear(3, 7), generator("row", 0)).bias.detach()) == 0


def test_in_mode_eval_no_running_statistic_moves() -> None:
    before = digest(dict(tiny.own_copy("cnn_small", torch.float64).named_buffers()))
    assert digest(dict(expanded().named_buffers())) == before != digest(dict(expanded(mode="train").named_buffers()))


def test_it_reads_forget_alone_and_refuses_a_head_that_is_not_linear() -> None:
    assert METHODS["boundary_expand"].reads == {FORGET}
    run = tiny.new_run()
    run.architecture = ArchitectureSpec("odd", tiny.initial, ("0",), ("1",), "2", 1, "tests")  # type: ignore[arg-type]
    with pytest.raises(NotLinear, match="needs a linear head; '2' of architecture 'odd' is a Sequential"):
        tiny.unlearn("boundary_expand", run, PARTS, {})
