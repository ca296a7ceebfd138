"""The defect classes of released code, as tests over everything that is registered.

Held elsewhere, over whole registries too: heads that are widened and never pruned (other shapes: the contract of
methods), parts that were not declared (poisoned views: the contract), divergences by the wrong formula (vectors in
`tests/harness/metrics/test_likeness.py`), the clock (`tests/harness/work/test_kinds.py`).
"""

from __future__ import annotations

import sys
from collections import Counter
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness import registry
from harness.check import problem as tiny
from harness.contracts import ARCHITECTURES, FORGET, METHODS, RETAIN, TEST, VAL, Images
from harness.engine.data import DeviceData
from harness.engine.models import build, digest, finite
from harness.engine.train import train
from harness.errors import HarnessError
from harness.planner import make_plan
from harness.study import load_study
from harness.unit import Kind

registry.load()
ALL = [name for name in METHODS if not METHODS[name].reference]
ON_FORGET = [name for name in ALL if RETAIN not in METHODS[name].reads and FORGET in METHODS[name].reads]
TRAINS_ON_FORGET = {
    "gradient_ascent": "Deep Unlearn's recipe is that of training, with the sign of the loss turned",
}
"""Methods that see forget images alone, and yet let them move the statistics of BatchNorm, with the reason."""
NEEDS_TWO = {
    **dict.fromkeys(("fcs", "gradient_ascent", "msg", "scrub"), "Expected more than 1 value per channel when training"),
    **{name: "Expected more than 1 value per channel when training" for name in ALL if name.startswith("hybrid")},
    **dict.fromkeys(("m3", "m4", "m5", "m6"), "Expected more than 1 value per channel when training"),
    "multi_gan": "'mirror' needs an even number of classes, not 3",
}
"""Methods that cannot forget one image of three classes, and what they say: in training mode a batch of one image has
no variance where BatchNorm sees one pixel of it."""


@pytest.mark.parametrize("method", [name for name in ALL if hasattr(sys.modules[METHODS[name].module], "deepcopy")])
def test_1_a_teacher_is_a_frozen_copy_that_never_learns_with_its_student(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers: list[tuple[nn.Module, str]] = []

    def copied(thing: Any, *rest: Any) -> Any:
        made = deepcopy(thing, *rest)
        if isinstance(made, nn.Module):
            teachers.append((made, values_of(made)))
        return made

    monkeypatch.setattr(sys.modules[METHODS[method].module], "deepcopy", copied)
    model = tiny.unlearn(method, tiny.new_run(), tiny.uneven_parts(), tiny.quick(METHODS[method], epochs=2))
    for teacher, before in teachers:
        assert values_of(teacher) == before
        mine = {parameter.data_ptr() for parameter in model.parameters()}
        assert mine.isdisjoint(parameter.data_ptr() for parameter in teacher.parameters())


@pytest.mark.parametrize("method", [name for name in ALL if name.endswith("_det")])
def test_7_what_is_called_deterministic_does_not_depend_on_the_order_or_size_of_batches(method: str) -> None:
    def weights(index: tiny.Parts, batch_size: int) -> torch.Tensor:
        values = tiny.quick(METHODS[method], batch_size=batch_size)
        # In double precision sums in another order differ by less than any bound that decides on a weight.
        model = tiny.own_copy("cnn_small", torch.double)
        model = tiny.unlearn(method, tiny.new_run(), index, values, model=model, source=tiny.data(torch.double))
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    index = tiny.uneven_parts()
    turned = {part: positions.flip(0) for part, positions in index.items()}
    usual = weights(index, 24)
    torch.testing.assert_close(weights(turned, 24), usual, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(weights(index, 5), usual, rtol=1e-9, atol=1e-9)


def values_of(model: nn.Module) -> str:
    """Return what tells the weights of a model from others, whatever their precision."""
    return digest({name: tensor.double() for name, tensor in model.state_dict().items()})


@cache
def toy(classes: int) -> tuple[DeviceData, nn.Module]:
    """Twelve images of each class, a pattern under noise, and a network trained on them."""
    rng = np.random.default_rng(classes)
    labels = np.arange(12 * classes) % classes
    patterns = rng.integers(0, 200, (classes, 3, 8, 8))
    pixels = patterns[labels] + rng.integers(0, 56, (len(labels), 3, 8, 8))
    spec = replace(tiny.SPEC, classes=classes)
    data = DeviceData.put(Images(pixels.astype(np.uint8), labels.astype(np.int64)), spec, tiny.CPU)
    run = new_run(classes)
    samples = tiny.PartSamples(data, torch.arange(10 * classes), run.generator)
    return data, train(run.initial_model(), samples, replace(spec.recipe, epochs=6), run)


def new_run(classes: int) -> Any:
    spec = replace(tiny.SPEC, classes=classes)
    return replace(tiny.new_run(), draw_model=lambda name: build(ARCHITECTURES["cnn_small"], spec, 0, tiny.CPU, name))


def unlearned(method: str, classes: int, monkeypatch: pytest.MonkeyPatch, forget: int = 0) -> nn.Module:
    """Run a method on the toy problem; it forgets class 0, or `forget` images where it can."""
    monkeypatch.setattr(tiny, "CLASSES", classes)
    data, original = toy(classes)
    positions, kept = torch.arange(10 * classes), torch.arange(10 * classes, 12 * classes)
    by_class = not METHODS[method].supports("random")
    asked = data.labels[positions] == 0 if by_class or not forget else positions < forget
    index = {RETAIN: positions[~asked], FORGET: positions[asked], VAL: kept, TEST: kept}
    values, named = tiny.quick(METHODS[method]), (0,) if by_class or not forget else ()
    model, run = deepcopy(original), new_run(classes)
    return tiny.unlearn(method, run, index, values, model=model, source=data, forget_classes=named)


@pytest.mark.parametrize(("classes", "forget"), [(3, 1), pytest.param(20, 0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", ALL)
def test_9_a_method_knows_no_number_of_classes_and_takes_a_single_image(
    method: str, classes: int, forget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if forget == 1 and method in NEEDS_TWO:
        with pytest.raises((ValueError, HarnessError), match=NEEDS_TWO[method]):
            unlearned(method, classes, monkeypatch, forget)
        return
    model = unlearned(method, classes, monkeypatch, forget).eval()
    assert finite(model)
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, classes)


@pytest.mark.parametrize("method", ON_FORGET)
def test_11_forget_images_alone_never_move_the_statistics_of_batch_norm(method: str) -> None:
    case = tiny.parts("class:3" if not METHODS[method].supports("random") else "random:0.1")
    before = {name: tensor.clone() for name, tensor in tiny.original("cnn_small").named_buffers()}
    model = tiny.unlearn(method, tiny.new_run(), case, tiny.quick(METHODS[method]))
    moved = [name for name, tensor in model.named_buffers() if not torch.equal(tensor, before[name])]
    assert bool(moved) == (method in TRAINS_ON_FORGET), moved


@pytest.mark.parametrize("suite", ["deep_unlearn", "fashion18"])
def test_13_every_method_is_searched_in_every_scenario_with_one_budget(suite: str) -> None:
    plan = make_plan(load_study(suite))
    searched = [unit for unit in plan.units.values() if unit.kind == Kind.SEARCH]
    budgets = Counter((unit.cell, unit.method.name) for unit in searched)
    assert len(set(budgets.values())) == 1
    assert {cell for cell, _ in budgets} == {unit.cell for unit in plan.units.values() if unit.kind == Kind.UNLEARN}
