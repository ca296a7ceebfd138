"""What every registered method promises, on two architectures and in every scenario that it supports.

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
from harness.contracts import METHODS, SCENARIOS, TEST, Stopped
from harness.engine.data import DeviceData
from harness.engine.evaluate import evaluate
from harness.engine.models import digest, finite

registry.load()
EPOCHS = {"cnn_small": 2, "resnet18_cifar": 1}
ARCHITECTURES = tuple(EPOCHS)
EXAMPLES = {name: SCENARIOS[name].example for name in SCENARIOS}
CASES = [
    pytest.param(method, architecture, example, id=f"{method}-{architecture}-{example}")
    for method in METHODS
    for architecture in ARCHITECTURES
    for name, example in EXAMPLES.items()
    if METHODS[method].supports(name)
]
every_case = pytest.mark.parametrize(("method", "architecture", "scenario"), CASES)


@dataclass(frozen=True)
class Outcome:
    """What is left of one run."""

    digest: str
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
    run = tiny.new_run(architecture, **run_options)  # type: ignore[arg-type]
    values = tiny.quick(METHODS[method], EPOCHS[architecture], batch_size)
    given = tiny.own_copy(architecture).train(training)
    with tiny.optimizer_steps() as rates:
        model = tiny.unlearn(method, run, index, values, model=given, source=source)
    return Outcome(digest(model.state_dict()), run.steps, len(rates)), model


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
    assert digest(untouched) == before
    return found


@every_case
def test_gives_a_finite_model_of_the_same_shape_and_leaves_the_original_alone(
    method: str, architecture: str, scenario: str
) -> None:
    usual(method, architecture, scenario)


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
    steps = usual(method, architecture, scenario).steps
    if steps == 0:
        assert METHODS[method].reference, "a method that takes no step cannot be stopped"
        return
    run = tiny.new_run(architecture, stop_after=steps // 2)
    values = tiny.quick(METHODS[method], EPOCHS[architecture])
    with tiny.optimizer_steps() as rates, pytest.raises(Stopped):
        tiny.unlearn(method, run, tiny.parts(scenario), values, architecture=architecture)
    assert (run.steps, len(rates)) == (steps // 2, steps // 2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("method", METHODS)
def test_different_seeds_give_different_weights(method: str, architecture: str) -> None:
    index = tiny.uneven_parts()
    first, second = (outcome(method, architecture, index, batch_size=12, seed=seed)[0] for seed in (0, 1))
    assert (first.digest == second.digest) == (first.steps == 0)


@pytest.mark.parametrize("method", METHODS)
def test_drawing_curves_does_not_change_the_weights(method: str) -> None:
    watched, _ = outcome(
        method,
        "cnn_small",
        tiny.parts("random:0.1"),
        observe=lambda model: {"val": evaluate(model, tiny.data(), torch.arange(tiny.COUNT)).accuracy},
    )
    assert watched.digest == usual(method, "cnn_small", "random:0.1").digest
