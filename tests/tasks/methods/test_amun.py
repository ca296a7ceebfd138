"""AMUN: the attack in closed form on linear models, what is trained on, and the whole method as a plain loop."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.contracts import ARCHITECTURES, FORGET, METHODS, RETAIN, ImageFormat
from harness.contracts.space import Value
from harness.engine.models import digest
from harness.engine.run import TrainingRun
from harness.engine.seeding import generator
from tasks.methods._attack import Neighbours, nearest_neighbours

PARTS = {**tiny.uneven_parts(), FORGET: tiny.uneven_parts()[FORGET][:8]}
LR, MOMENTUM, DECAY, BATCH, EPOCHS = 0.01, 0.8, 0.05, 9, 3
MEAN, STD = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (tiny.SPEC.mean, tiny.SPEC.std))
VALUES: dict[str, Value] = {"lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY, "batch_size": BATCH}
VALUES |= {"epochs": EPOCHS}


def unlearned(
    parts: tiny.Parts = PARTS, model: nn.Module | None = None, run: TrainingRun | None = None, **values: Value
) -> nn.Module:
    model, source = model or tiny.own_copy("cnn_small", torch.float64), tiny.data(torch.float64)
    return tiny.unlearn("amun", run or tiny.new_run(), parts, {**VALUES, **values}, model=model, source=source)


def attacked(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    bound: float = 0.04,
    rounds: int = 10,
    format_: ImageFormat | None = None,
) -> Neighbours:
    format_ = format_ or tiny.SPEC.format
    return nearest_neighbours(model, images, labels, format_, bound=bound, rounds=rounds, check=lambda: None)


def found_by_hand(model: nn.Module, position: Tensor) -> tuple[Tensor, int]:
    """One image by itself: rounds of 50 steps with their own ball, on raw pixels."""
    own = tiny.data().labels[position]
    start = (torch.from_numpy(tiny.images().images)[position].double() / 255)[None]
    moved, bound = start, 0.04
    while True:
        answer = int(model((moved - MEAN) / STD).argmax())
        if answer != int(own):
            return ((moved - MEAN) / STD).detach(), answer
        moved = start
        for _ in range(50):
            moved = moved.detach().requires_grad_()
            cross_entropy(model((moved - MEAN) / STD), own[None]).backward()  # type: ignore[no-untyped-call]
            assert moved.grad is not None
            away = moved.detach() + 0.1 * bound * moved.grad / moved.grad.norm() - start
            if float(away.norm()) > bound:
                away = away * bound / away.norm()
            moved = (start + away).clamp(0, 1)
        bound *= 2


def plain_loop(retain: bool, forget: bool) -> nn.Module:
    model, source = tiny.own_copy("cnn_small", torch.float64).eval(), tiny.data(torch.float64)
    neighbours = [found_by_hand(model, position) for position in PARTS[FORGET]]
    model.zero_grad()
    real = torch.cat([PARTS[RETAIN]] * retain + [PARTS[FORGET]] * forget + [PARTS[FORGET][:0]])
    images = torch.cat([source.batch(real), *(image for image, _ in neighbours)])
    labels = torch.cat([source.labels[real], torch.tensor([answer for _, answer in neighbours])])
    order, velocity = generator("order", 0), [torch.zeros_like(p) for p in model.parameters()]
    model.train(retain)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images), generator=order).tensor_split(math.ceil(len(images) / BATCH)):
            gradients = torch.autograd.grad(cross_entropy(model(images[chosen]), labels[chosen]), [*model.parameters()])
            with torch.no_grad():
                for p, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                    v.mul_(MOMENTUM).add_(g + DECAY * p)
                    p.sub_(LR * v)
    return model


@pytest.mark.parametrize(
    ("retain", "forget"),
    [
        ("yes", "yes"),
        ("no", "no"),
        pytest.param("no", "yes", marks=pytest.mark.slow),
        pytest.param("yes", "no", marks=pytest.mark.slow),
    ],
)
def test_it_is_the_plain_loop_with_neighbours_found_one_by_one(retain: str, forget: str) -> None:
    found = unlearned(retain=retain, forget=forget).state_dict()
    for name, value in plain_loop(retain == "yes", forget == "yes").state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7, msg=name)


def linear(distances: list[float], slope: float, kind: torch.dtype) -> tuple[nn.Module, Tensor]:
    """A model of two classes and images near mid-grey at so many units from its boundary; below 0: of class 1."""
    torch.manual_seed(0)
    normal = torch.randn(1, 192, dtype=torch.float64)
    normal /= normal.norm()
    grey = torch.full((len(distances), 192), 0.5, dtype=torch.float64)
    layer = nn.Linear(192, 2).double()
    with torch.no_grad():
        layer.weight.copy_(slope * torch.cat([-normal, normal]))
        layer.bias.copy_(slope * torch.tensor([1.0, -1.0]) * (normal @ grey[0]))
    images = grey - torch.tensor(distances).double()[:, None] * normal
    return nn.Sequential(nn.Flatten(), layer).to(kind), images.view(-1, 3, 8, 8).to(kind)


@pytest.mark.parametrize(("slope", "kind"), [(1, torch.float64), (60, torch.float32)])
def test_on_a_linear_model_the_distance_is_the_first_doubling_beyond_the_boundary(
    slope: float, kind: torch.dtype
) -> None:
    """However sure the model: a gradient of 1e-31, whose square is nothing in float32, has a direction, too."""
    model, images = linear([0.03, 0.05, 0.2, 0.6, -0.1], slope, kind)
    plain = ImageFormat((3, 8, 8), (0.0,) * 3, (1.0,) * 3)
    found = attacked(model, images, torch.zeros(5, dtype=torch.int64), format_=plain)
    expected = torch.tensor([0.04, 0.08, 0.32, 0.64, 0]).to(kind)
    torch.testing.assert_close(found.distances, expected, rtol=1e-5, atol=1e-6)
    assert (found.answers == 1).all()
    assert torch.equal(found.images[4], images[4])  # wrong from the start
    short = attacked(model, images, torch.zeros(5, dtype=torch.int64), rounds=2, format_=plain)
    assert short.answers.tolist() == [1, 1, 0, 0, 1]
    assert all(parameter.grad is None for parameter in model.parameters())


@given(st.floats(0.01, 2), st.integers(1, 3), st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_neighbours_are_images_within_the_bound_and_answers_are_the_model_s(
    bound: float, rounds: int, seed: int
) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    images = tiny.data(torch.float64).batch(PARTS[FORGET])
    labels = model(images).argmax(1)
    labels[0] = (labels[0] + 1) % 4
    found = attacked(model, images, labels, bound=bound, rounds=rounds)
    pixels, before = found.images * STD + MEAN, images * STD + MEAN
    assert torch.equal(found.answers, model(found.images).argmax(1))
    assert float(pixels.min()) >= -1e-9
    assert float(pixels.max()) <= 1 + 1e-9
    torch.testing.assert_close((pixels - before).flatten(1).norm(dim=1), found.distances)
    assert float(found.distances[0]) == 0
    assert float(found.distances.max()) <= bound * 2 ** (rounds - 1) + 1e-9


def test_neighbours_are_nearer_than_those_of_a_random_start_and_one_large_bound() -> None:
    model, source, bound = tiny.own_copy("cnn_small", torch.float64).eval(), tiny.data(torch.float64), 1.5
    images, labels = source.batch(PARTS[FORGET]), source.labels[PARTS[FORGET]]
    found = attacked(model, images, labels)
    assert (found.answers != labels).all()
    torch.manual_seed(0)
    start = torch.randn_like(images)
    away = bound * start / start.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    for _ in range(50):
        away = away.detach().requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(model(images + away / STD), labels, reduction="sum"), away)
        away = away.detach() + 0.1 * bound * slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        away = away * (bound / away.flatten(1).norm(dim=1)).clamp(max=1).view(-1, 1, 1, 1)
    assert (model(images + away / STD).argmax(1) != labels).all()
    assert float(found.distances.mean()) < 0.5 * float(away.flatten(1).norm(dim=1).mean())


def test_each_epoch_sees_all_images_and_so_many_neighbours_more() -> None:
    model, run = tiny.own_copy("cnn_small", torch.float64), tiny.new_run(observe=lambda _: {})
    trained: list[int] = []
    model.register_forward_pre_hook(lambda module, inputs: trained.append(len(inputs[0])) if module.training else None)
    unlearned(model=model, run=run, epochs=1)
    assert sum(trained) == len(PARTS[RETAIN]) + 2 * len(PARTS[FORGET])
    assert float(run.curves[0].recorded["flipped"]) == 1
    assert 0 < float(run.curves[0].recorded["distance"]) < 5


def test_what_has_no_neighbour_is_counted_and_left_out() -> None:
    model, run = tiny.own_copy("cnn_small", torch.float64), tiny.new_run(observe=lambda _: {})
    head = model.get_submodule("5")
    assert isinstance(head, nn.Linear)
    head.weight.data.zero_()
    head.bias.data.copy_(torch.tensor([0, 0, 0, 9.0]))  # class 3, whatever the image
    of_3 = PARTS[FORGET][tiny.data().labels[PARTS[FORGET]] == 3]
    trained: list[int] = []
    model.register_forward_pre_hook(lambda module, inputs: trained.append(len(inputs[0])) if module.training else None)
    unlearned({**PARTS, FORGET: of_3}, model=model, run=run, epochs=1)
    assert float(run.curves[0].recorded["flipped"]) == 0
    assert sum(trained) == len(PARTS[RETAIN]) + len(of_3)


def test_without_retain_no_statistic_moves_and_no_retain_image_is_seen() -> None:
    before = digest(dict(tiny.own_copy("cnn_small", torch.float64).named_buffers()))
    assert digest(dict(unlearned(retain="no").named_buffers())) == before != digest(dict(unlearned().named_buffers()))
    noise = {**PARTS, RETAIN: PARTS[RETAIN].flip(0)[:5]}
    assert digest(unlearned(retain="no").state_dict()) == digest(unlearned(noise, retain="no").state_dict())


@pytest.mark.parametrize("classes", [3, 20])
def test_any_number_of_classes_and_a_single_image_will_do_and_none_leaves_the_original(classes: int) -> None:
    model = ARCHITECTURES["cnn_small"].build(3, 8, classes).double()
    labels = tiny.data().labels
    parts = {RETAIN: (labels < 3).nonzero().flatten()[:20], FORGET: (labels < 3).nonzero().flatten()[20:21]}
    before = digest(model.state_dict())
    assert digest(unlearned({**PARTS, **parts, FORGET: parts[FORGET][:0]}, model).state_dict()) == before
    assert digest(unlearned({**PARTS, **parts}, model).state_dict()) != before
    assert METHODS["amun"].reads == {RETAIN, FORGET}
