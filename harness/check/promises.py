"""What a method promises, each as a function that raises `Broken` where the promise is not kept."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

import torch
from torch import nn

from harness import registry
from harness.check import problem
from harness.contracts import METHODS, SCENARIOS, TEST, Range, Stopped
from harness.contracts.space import Value
from harness.engine.data import DeviceData
from harness.engine.evaluate import evaluate
from harness.engine.models import digest, finite
from harness.engine.run import Observer

EPOCHS: Mapping[str, int] = MappingProxyType({"cnn_small": 2, "tinyvit_tiny": 1, "resnet18": 1, "tinyvit_11m": 1})
"""Of a run on each architecture."""

QUICK = ("cnn_small", "tinyvit_tiny")
"""A network with BatchNorm and one with attention and LayerNorm, each a matter of milliseconds."""

DOES_NOTHING = "original"
"""The one method whose model may be the original and nothing said."""

SAYS_SO = "the model is the original"
"""In the warning of a method that had nothing to do: none of its images was right, say."""


class Broken(Exception):
    """A promise that a method does not keep: what it does instead."""


@dataclass(frozen=True)
class Case:
    """A method on an architecture in a scenario, such as `random:0.1`."""

    method: str
    architecture: str = "cnn_small"
    scenario: str = "random:0.1"

    def __str__(self) -> str:
        return f"{self.method}-{self.architecture}-{self.scenario}"

    @property
    def forget_classes(self) -> tuple[int, ...]:
        """The classes that the scenario names."""
        return registry.parse_scenario(self.scenario).forget_classes


@dataclass(frozen=True)
class Outcome:
    """What is left of a run: how often it asked whether to stop, and how many optimiser steps it and anyone took."""

    digest: str
    asked: int
    steps: int
    optimizer_steps: int


def cases(method: str, architectures: Sequence[str] = QUICK) -> Iterator[Case]:
    """Yield a method on each architecture in each scenario that it supports; one that is like another adds nothing."""
    registry.load()
    for architecture in architectures:
        for name in SCENARIOS:
            if SCENARIOS[name].like == name and METHODS[method].supports(name):
                yield Case(method, architecture, SCENARIOS[name].example)


def gives_another_model(case: Case) -> None:
    """Its model is finite, trainable, of the same shapes (or the method's own network) and another one.

    The original stays as it was.

    Where there is nothing to do, it may be the original, if a warning says "the model is the original" and why.
    """
    _usual(case)


def steps_through_the_run(case: Case) -> None:
    """Whoever steps past `Run.step` is not counted, not timed right and cannot be stopped."""
    found = _usual(case)
    if found.optimizer_steps != found.steps:
        raise Broken(f"{found.optimizer_steps} optimiser steps, {found.steps} of them through run.step")


def reads_what_it_declares(case: Case) -> None:
    """Neither other pixels and labels count, nor the mode in which the original was left, nor the run before."""
    index, reads = problem.parts(case.scenario), METHODS[case.method].reads
    if TEST in reads:
        raise Broken("it declares test, which no method may read")
    hidden = torch.cat([positions for part, positions in index.items() if part not in reads])
    again, _ = _run(case, index, source=_scrambled(hidden), training=False)
    if again.digest != _usual(case).digest:
        raise Broken("a second run gives other weights when only what it may not see has changed")


def stops(case: Case) -> None:
    """It asks at every step, and in the loops that take none; once it is told to stop, it goes no further."""
    asked = _usual(case).asked
    if not asked:
        if case.method != DOES_NOTHING:
            raise Broken("it never asks whether to stop; call run.check() in loops that take no step")
        return
    for after in sorted({min(1, asked // 2), asked // 2}):  # at its first step, or in the middle
        _stop_after(case, after, asked)


def follows_the_seed(method: str) -> None:
    """Where steps are taken in random order; a method without a step may be a function of its data."""
    index = problem.uneven_parts()
    case = Case(method, scenario=problem.scenario_for(METHODS[method]))
    first, second = (_run(case, index, batch_size=12, seed=seed)[0] for seed in (0, 1))
    if first.steps and first.digest == second.digest:
        raise Broken("two seeds give the same weights; shuffle its batches, and draw with run.generator")


def ignores_curves(method: str) -> None:
    """Whether somebody looks at a run must not change it."""
    case = Case(method, scenario=problem.scenario_for(METHODS[method]))

    def look(model: nn.Module) -> dict[str, float]:
        return {"val": evaluate(model, problem.data(), torch.arange(problem.COUNT)).accuracy}

    watched, _ = _run(case, problem.parts(case.scenario), observe=look)
    if watched.digest != _usual(case).digest:
        raise Broken("its weights depend on whether curves are drawn")


def has_effect(method: str, name: str) -> None:
    """By more than rounding: a dimension without effect would make every search harder for nothing."""
    usual, space = _weights(method), METHODS[method].space
    others = (_weights(method, name, value) for value in _other_values(space[name]))
    if all(usual.shape == found.shape and torch.allclose(usual, found, rtol=1e-5, atol=1e-6) for found in others):
        raise Broken(f"hyperparameter {name} changes nothing")


OF_EVERY_CASE: Mapping[str, Callable[[Case], None]] = MappingProxyType(
    {
        "gives another finite model of the same shape and leaves the original alone": gives_another_model,
        "takes every optimiser step through the run": steps_through_the_run,
        "depends on the seed, the weights and the declared parts alone": reads_what_it_declares,
        "stops when told": stops,
    }
)
OF_EVERY_METHOD: Mapping[str, Callable[[str], None]] = MappingProxyType(
    {
        "gives other weights for another seed": follows_the_seed,
        "gives the same weights whether or not curves are drawn": ignores_curves,
    }
)


def _values(case: Case, batch_size: int = 24) -> dict[str, Value]:
    return problem.quick(METHODS[case.method], EPOCHS.get(case.architecture, 1), batch_size)


def _run(
    case: Case,
    index: problem.Parts,
    *,
    source: DeviceData | None = None,
    batch_size: int = 24,
    training: bool = True,
    seed: int = 0,
    observe: Observer | None = None,
) -> tuple[Outcome, nn.Module]:
    stop = problem.Stop(float("inf"))
    run = problem.new_run(case.architecture, seed, observe, stop)
    given = problem.own_copy(case.architecture).train(training)
    with problem.optimizer_steps() as rates:
        values, classes = _values(case, batch_size), case.forget_classes
        model = problem.unlearn(case.method, run, index, values, model=given, source=source, forget_classes=classes)
    return Outcome(digest(model.state_dict()), stop.asked, run.steps + run.steps_aside, len(rates)), model


@cache
def _usual(case: Case) -> Outcome:
    """Run a case; whatever the method does, its model must be sound and the original must stay as it was."""
    original = problem.original(case.architecture)
    before = _digest_of_original(case.architecture)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found, model = _run(case, problem.parts(case.scenario))
    if not finite(model):
        raise Broken("its model has weights that are not finite")
    if _shapes(model) != _shapes(_own_network(case) or original):
        raise Broken("its model has other parameters or shapes than the original")
    if not all(parameter.requires_grad for parameter in model.parameters()):
        raise Broken("it leaves parameters frozen; set requires_grad again")
    if digest(original.state_dict()) != before:
        raise Broken("it has changed the original")
    may_be = case.method == DOES_NOTHING or any(SAYS_SO in str(warning.message) for warning in said)
    if (found.digest == before) != may_be:
        raise Broken(
            "it warns that its model is the original, but it is not" if may_be else "its model is the original"
        )
    return found


def _stop_after(case: Case, after: int, asked: int) -> None:
    """Tell a case to stop once it has asked `after` of its `asked` times."""
    stop = problem.Stop(after)
    run = problem.new_run(case.architecture, stop=stop)
    with problem.optimizer_steps() as rates:
        try:
            values, classes = _values(case), case.forget_classes
            index, architecture = problem.parts(case.scenario), case.architecture
            problem.unlearn(case.method, run, index, values, architecture=architecture, forget_classes=classes)
        except Stopped:
            pass
        else:
            raise Broken("it was told to stop and came to its end; let Stopped pass")
    if stop.asked != after + 1 or not run.steps + run.steps_aside == len(rates) < asked:
        raise Broken("it went on after it was told to stop; let Stopped pass")


@cache
def _digest_of_original(architecture: str) -> str:
    return digest(problem.original(architecture).state_dict())


def _own_network(case: Case) -> nn.Module | None:
    """Return the network that the method says it returns, if it is not one of the architecture."""
    spec, build = METHODS[case.method], problem.new_run(case.architecture).untrained_model
    own: nn.Module | None = (
        spec.cls(**spec.complete(_values(case))).network(build) if hasattr(spec.cls, "network") else None
    )
    return own


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def _scrambled(hidden: torch.Tensor) -> DeviceData:
    """Return the problem with other pixels and other labels at the hidden positions."""
    source = problem.data()
    images, labels = source.images.clone(), source.labels.clone()
    images[hidden] = 255 - images[hidden]
    labels[hidden] = (labels[hidden] + 1) % problem.CLASSES
    return replace(source, images=images, labels=labels)


@cache
def _weights(method: str, name: str = "", value: Value = 0) -> torch.Tensor:
    """Return all weights after a run of several short batches, with one hyperparameter changed."""
    values = problem.quick(METHODS[method], epochs=3, batch_size=8) | ({name: value} if name else {})
    model = problem.unlearn(method, problem.new_run(), problem.uneven_parts(), values)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def _other_values(range_: Range) -> list[Value]:
    """Return values among which at least one is far from that of the run."""
    if range_.type is int:
        return [5] if range_.options else [1, 2, 5]  # a batch size of 12 would cut 14 images as 8 does: 7 and 7
    if range_.options:
        return [option for option in range_.options if option != range_.default]
    return [float(range_.default) / 2, range_.high if isinstance(range_.high, float) else 0.5]


def searched_names(method: str) -> list[str]:
    """Return the hyperparameters of a method that must have an effect: all but switches, such as its variant."""
    return [name for name, range_ in METHODS[method].space.items() if range_.type is not str or range_.searched]
