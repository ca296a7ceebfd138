"""What every registered method promises, on every architecture of the benchmark and in every scenario it supports.

A new method is tested by being registered: there is nothing to add here. The promises are those of `harness check`.
"""

from __future__ import annotations

from typing import Any

import pytest

from harness import registry
from harness.check import OF_EVERY_CASE, OF_EVERY_METHOD, Case, cases, has_effect, searched_names
from harness.check.problem import scenario_for
from harness.contracts import METHODS

registry.load()


def params(found: list[Case]) -> list[Any]:
    """Every promise of a method in its first case, what one run tells where one thing differs; the rest is slow."""
    first = found[0]
    near = [case.architecture == first.architecture or case.scenario == first.scenario for case in found]
    return [
        pytest.param(
            case,
            promise,
            id=f"{promise}-{case}",
            marks=() if case == first or (now and promise in OF_ONE_RUN) else pytest.mark.slow,
        )
        for case, now in zip(found, near, strict=True)
        for promise in OF_EVERY_CASE
    ]


BIG = ("resnet18", "tinyvit_11m")
OF_ONE_RUN = list(OF_EVERY_CASE)[:2]
CASES = [param for method in METHODS for param in params(list(cases(method)))]
EFFECTS = [pytest.param(method, name, id=f"{method}.{name}") for method in METHODS for name in searched_names(method)]


@pytest.mark.parametrize(("case", "promise"), CASES)
def test_keeps_the_promise_in_every_case(case: Case, promise: str) -> None:
    OF_EVERY_CASE[promise](case)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("architecture", BIG)
@pytest.mark.parametrize("method", METHODS)
def test_works_on_the_architectures_of_the_benchmark(method: str, architecture: str) -> None:
    for promise in OF_ONE_RUN:
        OF_EVERY_CASE[promise](Case(method, architecture, scenario_for(METHODS[method])))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("promise", OF_EVERY_METHOD)
def test_keeps_the_promise(method: str, promise: str) -> None:
    OF_EVERY_METHOD[promise](method)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "name"), EFFECTS)
def test_every_hyperparameter_has_an_effect(method: str, name: str) -> None:
    has_effect(method, name)
