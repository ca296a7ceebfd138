"""Boundary shrink: the attack on a linear model in closed form, its bounds, and the whole method as a plain loop."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.contracts import FORGET, METHODS
from harness.contracts.space import Value
from harness.engine.models import digest
from harness.engine.seeding import generator
from tasks.methods._attack import adversarial_images
from tasks.methods._labels import NoClassLeft

PARTS = tiny.uneven_parts()
LR, MOMENTUM, BATCH, EPOCHS = 0.01, 0.8, 5, 3
MEAN, STD = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (tiny.SPEC.mean, tiny.SPEC.std))


def shrunk(parts: tiny.Parts = PARTS, classes: tuple[int, ...] = (), **values: Value) -> nn.Module:
    values = {"lr": LR, "momentum": MOMENTUM, "batch_size": BATCH, "epochs": EPOCHS, **values}
    model, source, run = tiny.own_copy("cnn_small", torch.float64), tiny.data(torch.float64), tiny.new_run()
    return tiny.unlearn("boundary_shrink", run, parts, values, model=model, source=source, forget_classes=classes)


def plain_loop(parts: tiny.Parts, eps: float, banned: tuple[int, ...], training: bool) -> nn.Module:
    """FGSM on raw pixels, one image at a time, its label chosen by sorting; then SGD by hand."""
    model, source, forget = tiny.own_copy("cnn_small", torch.float64).eval(), tiny.data(torch.float64), parts[FORGET]
    targets = []
    for position in forget:
        own = int(source.labels[position])
        pixels = (torch.from_numpy(tiny.images().images)[position].double() / 255)[None].requires_grad_()
        cross_entropy(model((pixels - MEAN) / STD), torch.tensor([own])).backward()  # type: ignore[no-untyped-call]
        assert pixels.grad is not None
        moved = torch.round((pixels.detach() + eps * pixels.grad.sign()).clamp(0, 1) * 255) / 255
        ranked = model((moved - MEAN) / STD)[0].argsort(descending=True).tolist()
        targets.append(next(label for label in ranked if label != own and label not in banned))
    model.zero_grad()
    order, velocity = generator("order", 0), [torch.zeros_like(p) for p in model.parameters()]
    model.train(training)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(forget), generator=order).tensor_split(math.ceil(len(forget) / BATCH)):
            loss = cross_entropy(model(source.batch(forget[chosen])), torch.tensor(targets)[chosen])
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for p, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                    v.mul_(MOMENTUM).add_(g)
                    p.sub_(LR * v)
    return model


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize(("scenario", "classes"), [("random:0.1", ()), ("class:3", (3,)), ("classes:0,2", (0, 2))])
def test_with_one_step_it_is_the_plain_loop(scenario: str, classes: tuple[int, ...], mode: str) -> None:
    parts, eps = tiny.parts(scenario), 0.07
    found = shrunk(parts, classes, eps=eps, attack="fgsm", mode=mode).state_dict()
    for name, value in plain_loop(parts, eps, classes, mode == "train").state_dict().items():
        torch.testing.assert_close(found[name], value, msg=name)


def raw(normalised: Tensor) -> Tensor:
    return normalised * STD + MEAN


@given(st.floats(0.004, 0.5), st.integers(1, 5), st.floats(0.2, 1.5), st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
def test_no_pixel_leaves_its_bound_or_its_range_and_all_are_whole(
    bound: float, steps: int, part: float, seed: int
) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    images, labels = tiny.data(torch.float64).batch(PARTS[FORGET]), tiny.data().labels[PARTS[FORGET]]
    found = adversarial_images(model, images, labels, tiny.SPEC.format, bound=bound, steps=steps, step=part * bound)
    pixels = raw(found)
    assert float((pixels - raw(images)).abs().max()) <= bound + 1 / 510 + 1e-9
    assert float(pixels.min()) >= -1e-9
    assert float(pixels.max()) <= 1 + 1e-9
    torch.testing.assert_close(pixels * 255, (pixels * 255).round(), rtol=0, atol=1e-6)


def test_on_a_linear_model_of_two_classes_every_step_goes_along_the_sign_of_the_weights() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(192, 2, bias=False).double()
    model = nn.Sequential(nn.Flatten(), linear)
    images = tiny.data(torch.float64).batch(torch.arange(3))
    found = adversarial_images(
        model, images, torch.tensor([0, 1, 0]), tiny.SPEC.format, bound=20 / 255, steps=3, step=6 / 255
    )
    away = (linear.weight[1] - linear.weight[0]).sign().view(1, 3, 8, 8) * torch.tensor([1, -1, 1]).view(3, 1, 1, 1)
    torch.testing.assert_close(raw(found), (raw(images) + 18 / 255 * away).clamp(0, 1))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_attack_too_weak_to_flip_an_image_does_not_teach_its_own_class_again() -> None:
    run, values = tiny.new_run(observe=lambda _: {}), {"eps": 0.0, "epochs": 1, "lr": 0.0}
    model, labels = tiny.own_copy("cnn_small"), tiny.data().labels[PARTS[FORGET]]
    answers = model.eval()(tiny.data().batch(PARTS[FORGET])).argmax(1)
    tiny.unlearn("boundary_shrink", run, PARTS, {**values, "batch_size": 64}, model=model)
    flipped = float(run.curves[0].recorded["flipped"])
    assert flipped == pytest.approx(float((answers != labels).double().mean()))
    assert 0 < flipped < 1
    spec = METHODS["boundary_shrink"]
    data = tiny.view(spec, run, PARTS, tiny.data())
    neighbours = spec.cls(eps=0.0)._neighbours(tiny.own_copy("cnn_small"), data, run)
    assert not (neighbours == labels).any()
    assert torch.equal(neighbours[answers != labels], answers[answers != labels])


def test_in_mode_eval_no_running_statistic_moves() -> None:
    before = digest(dict(tiny.own_copy("cnn_small", torch.float64).named_buffers()))
    assert digest(dict(shrunk().named_buffers())) == before != digest(dict(shrunk(mode="train").named_buffers()))


def test_it_reads_forget_alone_and_refuses_a_request_for_everything() -> None:
    assert METHODS["boundary_shrink"].reads == {FORGET}
    with pytest.raises(NoClassLeft, match="leaves none of the 4 classes; forget fewer"):
        shrunk(classes=tuple(range(tiny.CLASSES)))
