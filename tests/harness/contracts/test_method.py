"""Declaring a method."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import pytest
from torch import nn

from harness import registry
from harness.contracts import (
    FORGET,
    METHODS,
    RETAIN,
    TEST,
    InvalidHyperparameter,
    MethodSpec,
    Run,
    View,
    fixed,
    log_uniform,
    method,
)
from harness.contracts.catalog import DeclaredTwice, snake_case

registry.load()


@pytest.fixture
def spec() -> Iterator[MethodSpec]:
    @method(reads={RETAIN}, scenarios={"class"}, version=3, source="nobody")
    class HTTPNudge:
        """Nudge the weights.

        More words.
        """

        lr: float = log_uniform(1e-5, 1e-1, default=0.1)
        momentum: float = fixed(0.9, most=1)

        def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
            return model

    yield METHODS["http_nudge"]
    del METHODS._specs["http_nudge"]


def test_the_declaration_is_what_the_catalog_holds(spec: MethodSpec) -> None:
    assert (spec.name, spec.version, spec.summary) == ("http_nudge", 3, "Nudge the weights.")
    assert spec.reads == {RETAIN}
    assert spec.module == __name__
    assert spec.supports("class")
    assert not spec.supports("random")
    assert list(spec.space) == ["lr", "momentum"]


def test_an_instance_has_the_given_values_and_defaults_elsewhere_and_is_frozen(spec: MethodSpec) -> None:
    made = spec.create({"lr": 0.5})
    assert dataclasses.asdict(made) == {"lr": 0.5, "momentum": 0.9}  # type: ignore[call-overload]
    assert dataclasses.asdict(spec.create({})) == spec.defaults()  # type: ignore[call-overload]
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.lr = 1.0  # type: ignore[attr-defined]


def test_a_hyperparameter_that_is_not_there_is_refused_with_the_nearest(spec: MethodSpec) -> None:
    with pytest.raises(InvalidHyperparameter, match=r"'http_nudge' has no .* 'momentun'; did you mean 'momentum'"):
        spec.checked({"momentun": 0.5})
    with pytest.raises(InvalidHyperparameter, match="it has none"):
        METHODS["original"].checked({"lr": 0.5})


def test_a_bad_value_is_refused_under_the_name_of_the_method(spec: MethodSpec) -> None:
    with pytest.raises(InvalidHyperparameter, match=r"http_nudge\.lr is -1"):
        spec.checked({"lr": -1})
    assert spec.checked({"lr": 1}) == {"lr": 1.0}


def test_no_method_may_declare_test() -> None:
    with pytest.raises(TypeError, match="test part"):
        method(reads={FORGET, TEST}, source="nobody")


def test_a_name_that_another_file_has_is_refused(spec: MethodSpec) -> None:
    both = f"method 'http_nudge' is declared in {__name__} and in elsewhere"
    with pytest.raises(DeclaredTwice, match=re.escape(both)):
        METHODS.declare(dataclasses.replace(spec, cls=type("Other", (), {"__module__": "elsewhere"})))
    METHODS.declare(spec)  # the same file again, as a reload does


@pytest.mark.parametrize(
    ("given", "expected"),
    [("NegGradPlus", "neg_grad_plus"), ("MSG", "msg"), ("SalUN", "sal_un"), ("CFk2Net", "c_fk2_net")],
)
def test_names_are_class_names_in_snake_case(given: str, expected: str) -> None:
    assert snake_case(given) == expected


@pytest.mark.parametrize("name", METHODS)
def test_every_registered_method_is_complete(name: str) -> None:
    spec = METHODS[name]
    assert spec.summary.endswith((".", ":"))
    assert spec.source
    assert spec.version >= 1
    assert {field.name for field in dataclasses.fields(spec.cls)} == set(spec.space)
    assert spec.checked(spec.defaults()) == spec.defaults()


def test_a_variant_brings_its_own_ranges_and_defaults() -> None:
    registry.load()
    fisher = METHODS["fisher_forgetting"]
    assert fisher.complete({"variant": "fixed"}) == {"alpha": 1e-6, "batch_size": 64, "variant": "fixed"}
    assert fisher.complete({"variant": "fixed", "alpha": 0.2})["alpha"] == 0.2
    assert fisher.complete({})["alpha"] == 0.2
    assert fisher.create({"variant": "fixed"}) == fisher.cls(alpha=1e-6, variant="fixed")
    assert fisher.checked({"alpha": 2.0}, "fixed") == {"alpha": 2.0}
    with pytest.raises(InvalidHyperparameter, match="between 0 and 1"):
        fisher.checked({"alpha": 2.0})
