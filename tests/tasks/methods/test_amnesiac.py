"""Amnesiac relabelling: which labels are drawn, how often, and the training against a plain loop with its own Adam."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.contracts import FORGET, METHODS, RETAIN, View
from harness.contracts.space import Value
from harness.engine.seeding import generator
from tasks.methods._labels import NoClassLeft
from tasks.methods.amnesiac import wrong_labels

PARTS = tiny.uneven_parts()
LR, BATCH, EPOCHS = 1e-3, 10, 3
VALUES: dict[str, Value] = {"lr": LR, "batch_size": BATCH, "epochs": EPOCHS}


def seen(classes: tuple[int, ...], repeat: int = 500) -> View:
    """The forget part many times over."""
    run, spec = tiny.new_run(), METHODS["amnesiac"]
    return tiny.view(spec, run, {**PARTS, FORGET: PARTS[FORGET].repeat(repeat)}, tiny.data(), forget_classes=classes)


def plain_loop(labels: Tensor, order: torch.Generator) -> nn.Module:
    """Kingma and Ba's Adam, written out, over retain and forget with the given labels for forget."""
    model, source = tiny.own_copy("cnn_small", torch.float64).train(), tiny.data(torch.float64)
    both = torch.cat([PARTS[RETAIN], PARTS[FORGET]])
    targets = torch.cat([source.labels[PARTS[RETAIN]], labels])
    first, second = ([torch.zeros_like(p) for p in model.parameters()] for _ in range(2))
    step = 0
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(both), generator=order).tensor_split(math.ceil(len(both) / BATCH)):
            step += 1
            loss = cross_entropy(model(source.batch(both[chosen])), targets[chosen])
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for p, m, v, g in zip(model.parameters(), first, second, gradients, strict=True):
                    m.mul_(0.9).add_(0.1 * g)
                    v.mul_(0.999).add_(0.001 * g * g)
                    p.sub_(LR * m / (1 - 0.9**step) / ((v / (1 - 0.999**step)).sqrt() + 1e-8))
    return model


@pytest.mark.parametrize("classes", [(), (3,), (0, 2)])
def test_labels_are_drawn_evenly_among_the_classes_that_are_neither_the_image_s_own_nor_in_the_request(
    classes: tuple[int, ...],
) -> None:
    data = seen(classes)
    found, own = wrong_labels(data, generator("labels", 0)), data.forget.labels
    for label in range(tiny.CLASSES):
        drawn = found[own == label].bincount(minlength=tiny.CLASSES).double()
        is_open = [c for c in range(tiny.CLASSES) if c != label and c not in classes]
        assert drawn.nonzero().flatten().tolist() == is_open
        expected = drawn.sum() / len(is_open)
        assert float(((drawn[is_open] - expected) ** 2 / expected).sum()) < 15  # chi square, at most 2 degrees


def test_it_is_the_plain_loop_with_one_draw_for_all_epochs() -> None:
    model, source = tiny.own_copy("cnn_small", torch.float64), tiny.data(torch.float64)
    found = tiny.unlearn("amnesiac", tiny.new_run(), PARTS, VALUES, model=model, source=source).state_dict()
    order = generator("order", 0)
    labels = wrong_labels(seen((), repeat=1), order)
    assert not (labels == source.labels[PARTS[FORGET]]).any()
    for name, value in plain_loop(labels, order).state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_two_seeds_draw_other_labels_and_one_seed_the_same() -> None:
    first, again, other = (wrong_labels(seen(()), generator("labels", seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert 0.5 < float((first != other).double().mean()) < 0.8  # three open classes: two draws differ in 2 of 3


def test_a_request_for_every_class_is_refused() -> None:
    with pytest.raises(NoClassLeft, match=r"method 'amnesiac' .* leaves none of the 4 classes; forget fewer"):
        tiny.unlearn("amnesiac", tiny.new_run(), PARTS, VALUES, forget_classes=tuple(range(tiny.CLASSES)))
