"""DELETE: the vector of its loss, and the whole method against a loop that knows neither its masks nor its batches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from harness.check import problem as tiny
from harness.contracts import FORGET, METHODS, RETAIN
from harness.contracts.space import Value
from harness.engine.data import PartSamples
from harness.engine.models import digest
from harness.engine.seeding import generator
from tasks.methods._labels import NoClassLeft
from tasks.methods.delete import divergence, masked_answers

PARTS = tiny.uneven_parts()
LR, MOMENTUM, BATCH, EPOCHS = 0.01, 0.8, 5, 3


def deleted(parts: tiny.Parts = PARTS, classes: tuple[int, ...] = (), **values: Value) -> nn.Module:
    values = {"lr": LR, "momentum": MOMENTUM, "batch_size": BATCH, "epochs": EPOCHS, **values}
    model, source = tiny.own_copy("cnn_small", torch.float64), tiny.data(torch.float64)
    return tiny.unlearn("delete", tiny.new_run(), parts, values, model=model, source=source, forget_classes=classes)


def plain_loop(parts: tiny.Parts, banned: Sequence[int], training: bool) -> nn.Module:
    """Gradients p - q set on the logits by hand; q is what is left of the original's probabilities, renormalised."""
    model, source, forget = tiny.own_copy("cnn_small", torch.float64).eval(), tiny.data(torch.float64), parts[FORGET]
    order, velocity = generator("order", 0), [torch.zeros_like(p) for p in model.parameters()]
    kept = 1.0 - one_hot(source.labels[forget], tiny.CLASSES).double()
    kept[:, list(banned)] = 0
    wanted = model(source.batch(forget)).softmax(1).detach() * kept
    wanted /= wanted.sum(1, keepdim=True)
    model.train(training)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(forget), generator=order).tensor_split(math.ceil(len(forget) / BATCH)):
            logits = model(source.batch(forget[chosen]))
            slope = (logits.softmax(1) - wanted[chosen]).detach() / len(chosen)
            gradients = torch.autograd.grad(logits, list(model.parameters()), slope)
            with torch.no_grad():
                for p, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                    v.mul_(MOMENTUM).add_(g)
                    p.sub_(LR * v)
    return model


def test_the_loss_and_its_gradient_are_those_of_the_hand_computed_example() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    samples = PartSamples(tiny.data(), torch.tensor([0]), generator("order", 0))
    is_open = torch.tensor([[False, True, True]])
    wanted = masked_answers(Constant(logits.detach()), samples, is_open, tiny.new_run())
    torch.testing.assert_close(wanted, torch.tensor([[0, 0.731059, 0.268941]]).double(), rtol=0, atol=1e-6)
    loss = divergence(logits, wanted)
    assert float(loss.detach()) == pytest.approx(1.094344, abs=1e-6)  # -ln(1 - p), p that of the label that is left out
    (slope,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(slope, torch.tensor([[0.6652, -0.4863, -0.1789]]).double(), rtol=0, atol=1e-4)


class Constant(nn.Module):
    """A model with one answer."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        """Return it for every image."""
        return self.logits.expand(len(images), -1)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_it_is_the_plain_loop(mode: str) -> None:
    found, expected = deleted(mode=mode), plain_loop(PARTS, (), mode == "train")
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, msg=name)


@pytest.mark.parametrize(("mask", "banned"), [("request", (0, 2)), ("own", ())])
def test_no_class_of_the_request_takes_what_another_loses_unless_the_mask_is_the_released_one(
    mask: str, banned: tuple[int, ...]
) -> None:
    parts = tiny.parts("classes:0,2")
    found, expected = deleted(parts, (0, 2), mask=mask), plain_loop(parts, banned, training=False)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, msg=name)


def test_in_mode_eval_no_running_statistic_moves() -> None:
    before = digest(dict(tiny.own_copy("cnn_small", torch.float64).named_buffers()))
    assert digest(dict(deleted().named_buffers())) == before != digest(dict(deleted(mode="train").named_buffers()))


def test_a_class_goes_and_the_others_stay() -> None:
    parts = tiny.parts("class:3")
    found = deleted(parts, (3,), epochs=40).eval()
    source = tiny.data(torch.float64)
    forgotten = found(source.batch(parts[FORGET])).argmax(1)
    assert not (forgotten == 3).any()
    before = tiny.own_copy("cnn_small", torch.float64).eval()(source.batch(parts[RETAIN])).argmax(1)
    kept = before != 3
    assert float((found(source.batch(parts[RETAIN])).argmax(1) == before)[kept].double().mean()) > 0.8


def test_it_reads_forget_alone_and_refuses_a_request_for_everything() -> None:
    assert METHODS["delete"].reads == {FORGET}
    with pytest.raises(NoClassLeft, match="leaves none of the 4 classes; forget fewer"):
        deleted(classes=tuple(range(tiny.CLASSES)))
