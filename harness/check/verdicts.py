"""A method against all its promises, and what is wrong with those that it breaks."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from harness import registry
from harness.check.promises import (
    OF_EVERY_CASE,
    OF_EVERY_METHOD,
    QUICK,
    Broken,
    Case,
    cases,
    gives_another_model,
    has_effect,
    searched_names,
)
from harness.contracts import METHODS
from harness.errors import one_line


@dataclass(frozen=True)
class Verdict:
    """One promise of a method, where it was tried, and what is wrong; empty: it is kept."""

    promise: str
    where: str
    problem: str = ""


def check_method(name: str, architectures: Sequence[str] = QUICK) -> Iterator[Verdict]:
    """Yield a verdict for every promise of a registered method, in every case; whatever it raises is a verdict too.

    Raises `UnknownName` with the nearest name.
    """
    registry.find(METHODS, name)
    runs = False
    for case in cases(name, architectures):
        for promise, kept in OF_EVERY_CASE.items():
            verdict = Verdict(promise, f"{case.architecture}, {case.scenario}", _problem(partial(kept, case)))
            yield verdict
            if kept is gives_another_model and verdict.problem:
                break  # the others would say the same again
            runs = True
    if not runs:
        return
    for promise, kept_by in OF_EVERY_METHOD.items():
        yield Verdict(promise, Case(name).architecture, _problem(partial(kept_by, name)))
    for hyperparameter in searched_names(name):
        promise = f"hyperparameter {hyperparameter} has an effect"
        yield Verdict(promise, Case(name).architecture, _problem(partial(has_effect, name, hyperparameter)))


def _problem(promise: Callable[[], None]) -> str:
    try:
        promise()
    except Broken as broken:
        return str(broken)
    except Exception as error:  # it is the code of others that runs here
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {one_line(error)} ({frame.filename}:{frame.lineno})"
    return ""
