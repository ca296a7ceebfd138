"""What every registered method promises, on every architecture of the benchmark and in every scenario it supports.

A new method is tested by being registered: there is nothing to add here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import pytest
import tiny_problem as tiny
import torch
from torch import nn

from harness import registry
from harness.contracts import METHODS, SCENARIOS, TEST, VARIANT, Range, Stopped
from harness.contracts.space import Value
from harness.engine.data import DeviceData
from harness.engine.evaluate import evaluate
from harness.engine.models import digest, finite

registry.load()
EPOCHS = {"cnn_small": 2, "tinyvit_tiny": 1, "resnet18": 1, "tinyvit_11m": 1}
BIG = ("resnet18", "tinyvit_11m")
ARCHITECTURES = tuple(name for name in EPOCHS if name not in BIG)
EXAMPLES = {name: SCENARIOS[name].example for name in SCENARIOS}
CASES = [
    pytest.param(method, architecture, example, id=f"{method}-{architecture}-{example}")
    for method in METHODS
    for architecture in ARCHITECTURES
    for name, example in EXAMPLES.items()
    if METHODS[method].supports(name)
]
every_case = pytest.mark.parametrize(("method", "architecture", "scenario"), CASES)
every_method = pytest.mark.parametrize("method", METHODS)


@dataclass(frozen=True)
class Outcome:
    """What is left of one run: how often it asked whether to stop, and who took how many optimiser steps."""

    digest: str
    asked: int
    steps: int
    optimizer_steps: int


def outcome(
    method: str,
    architecture: str,
    index: tiny.Parts,
    *,
    source: DeviceData | None = None,
    batch_size: int = 24,
    training: bool = True,
    **run_options: object,
) -> tuple[Outcome, nn.Module]:
    stop = tiny.Stop(float("inf"))
    run = tiny.new_run(architecture, stop=stop, **run_options)  # type: ignore[arg-type]
    values = tiny.quick(METHODS[method], EPOCHS[architecture], batch_size)
    given = tiny.own_copy(architecture).train(training)
    with tiny.optimizer_steps() as rates:
        model = tiny.unlearn(method, run, index, values, model=given, source=source)
    return Outcome(digest(model.state_dict()), stop.asked, run.steps, len(rates)), model


@cache
def digest_of_original(architecture: str) -> str:
    return digest(tiny.original(architecture).state_dict())


@cache
def usual(method: str, architecture: str, scenario: str) -> Outcome:
    """Run a method; whatever it does, its model must be sound and the original must stay as it was."""
    before = digest_of_original(architecture)
    found, model = outcome(method, architecture, tiny.parts(scenario))
    untouched = tiny.original(architecture).state_dict()
    assert finite(model)
    assert {n: t.shape for n, t in model.state_dict().items()} == {n: t.shape for n, t in untouched.items()}
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert digest(untouched) == before
    assert (found.digest == before) == (method == "original")
    return found


@every_case
def test_gives_another_finite_model_of_the_same_shape_and_leaves_the_original_alone(
    method: str, architecture: str, scenario: str
) -> None:
    usual(method, architecture, scenario)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("architecture", BIG)
@every_method
def test_works_on_the_architectures_of_the_benchmark(method: str, architecture: str) -> None:
    found = usual(method, architecture, "random:0.1")
    assert found.optimizer_steps == found.steps


@every_case
def test_every_optimiser_step_goes_through_the_run(method: str, architecture: str, scenario: str) -> None:
    found = usual(method, architecture, scenario)
    assert found.optimizer_steps == found.steps


@every_case
def test_depends_on_the_seed_the_weights_and_the_declared_parts_alone(
    method: str, architecture: str, scenario: str
) -> None:
    """Neither on other pixels and labels, nor on the mode in which the original was left, nor on the run before."""
    index, reads = tiny.parts(scenario), METHODS[method].reads
    assert TEST not in reads
    hidden = torch.cat([positions for part, positions in index.items() if part not in reads])
    again, _ = outcome(method, architecture, index, source=scrambled(hidden), training=False)
    assert again.digest == usual(method, architecture, scenario).digest


def scrambled(hidden: torch.Tensor) -> DeviceData:
    """Return the problem with other pixels and other labels at the hidden positions."""
    source = tiny.data()
    images, labels = source.images.clone(), source.labels.clone()
    images[hidden] = 255 - images[hidden]
    labels[hidden] = (labels[hidden] + 1) % tiny.CLASSES
    return replace(source, images=images, labels=labels)


@every_case
def test_stops_when_told(method: str, architecture: str, scenario: str) -> None:
    """A method asks at every step, and in the loops that take none; once it is told, it goes no further."""
    asked = usual(method, architecture, scenario).asked
    if not asked:
        assert method == "original", "a method that never asks cannot be stopped"
        return
    stop = tiny.Stop(asked // 2)
    run = tiny.new_run(architecture, stop=stop)
    values = tiny.quick(METHODS[method], EPOCHS[architecture])
    with tiny.optimizer_steps() as rates, pytest.raises(Stopped):
        tiny.unlearn(method, run, tiny.parts(scenario), values, architecture=architecture)
    assert stop.asked == asked // 2 + 1
    assert run.steps == len(rates) < asked


@every_method
def test_different_seeds_give_different_weights(method: str) -> None:
    """Where steps are taken in random order; a method without a step may be a function of its data."""
    index = tiny.uneven_parts()
    first, second = (outcome(method, "cnn_small", index, batch_size=12, seed=seed)[0] for seed in (0, 1))
    assert first.steps == 0 or first.digest != second.digest


@every_method
def test_drawing_curves_does_not_change_the_weights(method: str) -> None:
    watched, _ = outcome(
        method,
        "cnn_small",
        tiny.parts("random:0.1"),
        observe=lambda model: {"val": evaluate(model, tiny.data(), torch.arange(tiny.COUNT)).accuracy},
    )
    assert watched.digest == usual(method, "cnn_small", "random:0.1").digest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "name"),
    [
        pytest.param(method, name, id=f"{method}.{name}")
        for method in METHODS
        for name in METHODS[method].space
        if name != VARIANT
    ],
)
def test_every_hyperparameter_has_an_effect(method: str, name: str) -> None:
    """By more than rounding: a dimension without effect would make every search harder for nothing."""
    usual_weights, space = weights(method), METHODS[method].space
    others = (weights(method, name, value) for value in other_values(space[name]))
    assert any(not torch.allclose(usual_weights, found, rtol=1e-5, atol=1e-6) for found in others)


@cache
def weights(method: str, name: str = "", value: Value = 0) -> torch.Tensor:
    """Return all weights after a run of several short batches, with one hyperparameter changed."""
    values = tiny.quick(METHODS[method], epochs=3, batch_size=8) | ({name: value} if name else {})
    model = tiny.unlearn(method, tiny.new_run(), tiny.uneven_parts(), values)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def other_values(range_: Range) -> list[Value]:
    """Return values among which at least one is far from that of the run."""
    if range_.type is int:
        return [5] if range_.options else [1, 2, 5]  # a batch size of 12 would cut 14 images as 8 does: 7 and 7
    return [float(range_.default) / 2, range_.high if isinstance(range_.high, float) else 0.5]
