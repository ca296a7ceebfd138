"""A method that breaks a promise is told which one, whatever it does instead."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from harness.check import OF_EVERY_CASE, OF_EVERY_METHOD, check_method, promises
from harness.contracts import FORGET, RETAIN, Part, Range, Run, View, method, ranges
from harness.registry import UnknownName

CASES, METHODS = list(OF_EVERY_CASE), list(OF_EVERY_METHOD)
SMALL = ("cnn_small",)
KEPT: list[nn.Module] = []


class Plain:
    """Descend on retain; `declare` gives it its hyperparameters."""

    lr: float
    epochs: int

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        optimizer = SGD(model.parameters(), self.lr)
        for _ in run.epochs(self.epochs, model, optimizer):
            model.train()
            for images, labels, _ in data.retain.batches(24):
                self.step(run, optimizer, cross_entropy(model(images), labels))
        return self.leave(model)

    def step(self, run: Run, optimizer: SGD, loss: torch.Tensor) -> None:
        run.step(optimizer, loss)

    def leave(self, model: nn.Module) -> nn.Module:
        return model


class PastTheRun(Plain):
    def step(self, run: Run, optimizer: SGD, loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.check()


class Frozen(Plain):
    def leave(self, model: nn.Module) -> nn.Module:
        return model.requires_grad_(False)


class NotFinite(Plain):
    def leave(self, model: nn.Module) -> nn.Module:
        next(model.parameters()).data[:] = float("nan")
        return model


class Idle(Plain):
    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        run.check()
        return model


class SaysItIsIdle(Idle):
    def leave(self, model: nn.Module) -> nn.Module:
        warnings.warn("mine: the model is the original: nothing to do", stacklevel=2)
        return model

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        return self.leave(super().unlearn(model, data, run))


class SaysSoWrongly(Plain):
    def leave(self, model: nn.Module) -> nn.Module:
        warnings.warn("mine: the model is the original: nothing to do", stacklevel=2)
        return model


class Crashes(Plain):
    def leave(self, model: nn.Module) -> nn.Module:
        raise ValueError("too\nlarge")


class Unstoppable(Plain):
    """It takes its steps by hand and asks nobody."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        for parameter in model.parameters():
            parameter.data.mul_(1 - self.lr * self.epochs)
        return model


class SwallowsStopped(Plain):
    def step(self, run: Run, optimizer: SGD, loss: torch.Tensor) -> None:
        with suppress(BaseException):
            run.step(optimizer, loss)


class Remembers(Plain):
    """Its second run starts from the first."""

    def leave(self, model: nn.Module) -> nn.Module:
        if KEPT:
            next(model.parameters()).data.add_(len(KEPT))
        KEPT.append(deepcopy(model))
        return model


class Unseeded(Plain):
    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        optimizer = SGD(model.parameters(), self.lr)
        for _ in run.epochs(self.epochs, model, optimizer):
            for images, labels, _ in data.retain.batches(24, shuffle=False):
                run.step(optimizer, cross_entropy(model.train()(images), labels))
        return model


class Counts(Plain):
    """It counts every forward pass of the model, those of the curves too."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        passes: list[None] = []
        with model.register_forward_hook(lambda *_: passes.append(None)):
            super().unlearn(model, data, run)
        next(model.parameters()).data.add_(0.01 * len(passes))
        return model


class DeadDial(Plain):
    dial = ranges.learning_rate(0.5)


@pytest.fixture
def declare(declaring: None) -> Iterator[Callable[..., None]]:
    def declared(cls: type, reads: Collection[Part] = (RETAIN, FORGET)) -> None:
        own = {"lr": ranges.learning_rate(0.01), "epochs": ranges.epochs(2)} | {
            name: value for name, value in vars(cls).items() if isinstance(value, Range)
        }
        body = own | {"__annotations__": {name: range_.type for name, range_ in own.items()}}
        method(reads=reads, source="a test", name="mine")(type(cls.__name__, (cls,), body))

    yield declared
    for cached in (promises._usual, promises._weights):
        cached.cache_clear()
    KEPT.clear()


def broken() -> dict[str, str]:
    return {verdict.promise: verdict.problem for verdict in check_method("mine", SMALL) if verdict.problem}


def test_a_method_that_keeps_its_promises_is_told_so(declare: Callable[..., None]) -> None:
    declare(Plain)
    verdicts = list(check_method("mine", SMALL))
    assert not [verdict for verdict in verdicts if verdict.problem]
    assert {verdict.promise for verdict in verdicts} == {
        *CASES,
        *METHODS,
        "hyperparameter lr has an effect",
        "hyperparameter epochs has an effect",
    }


@pytest.mark.parametrize(
    ("cls", "promise", "problem"),
    [
        (PastTheRun, CASES[1], "4 optimiser steps, 0 of them through run.step"),
        (Frozen, CASES[0], "it leaves parameters frozen; set requires_grad again"),
        (NotFinite, CASES[0], "its model has weights that are not finite"),
        (Idle, CASES[0], "its model is the original"),
        (SaysSoWrongly, CASES[0], "it warns that its model is the original, but it is not"),
        (Unstoppable, CASES[3], "it never asks whether to stop; call run.check() in loops that take no step"),
        (SwallowsStopped, CASES[3], "it went on after it was told to stop; let Stopped pass"),
        (Remembers, CASES[2], "a second run gives other weights when only what it may not see has changed"),
        (Unseeded, METHODS[0], "two seeds give the same weights; shuffle its batches, and draw with run.generator"),
        (Counts, METHODS[1], "its weights depend on whether curves are drawn"),
        (DeadDial, "hyperparameter dial has an effect", "hyperparameter dial changes nothing"),
    ],
)
def test_a_broken_promise_is_named(declare: Callable[..., None], cls: type, promise: str, problem: str) -> None:
    declare(cls)
    assert broken()[promise] == problem


def test_a_method_with_nothing_to_do_may_say_so_but_one_without_any_effect_is_found_out(
    declare: Callable[..., None],
) -> None:
    declare(SaysItIsIdle)
    assert broken() == {
        "hyperparameter lr has an effect": "hyperparameter lr changes nothing",
        "hyperparameter epochs has an effect": "hyperparameter epochs changes nothing",
    }


def test_a_crash_is_one_line_with_its_place_and_said_once_for_each_case(declare: Callable[..., None]) -> None:
    declare(Crashes)
    verdicts = list(check_method("mine", SMALL))
    assert {verdict.promise for verdict in verdicts} == {CASES[0]}
    for verdict in verdicts:
        assert verdict.problem.startswith("ValueError: too large (")
        assert f"{__file__}:" in verdict.problem


def test_what_is_not_declared_cannot_be_read(declare: Callable[..., None]) -> None:
    declare(Plain, reads={FORGET})
    assert "method 'mine' read the retain part, but it declares only: forget" in broken()[CASES[0]]


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="no method 'finetun'; did you mean 'finetune'"):
        list(check_method("finetun"))
