"""Whether what a method or artifact returned is a model that can be judged, stored and started from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from harness import registry
from harness.contracts.method import METHODS
from harness.errors import HarnessError
from harness.unit import Unit
from harness.work.bench import Workbench

State = Mapping[str, Tensor]


class NotItsModel(HarnessError):
    """A method returned something else than a model of its architecture, or of the network that it declares."""


def a_module(returned: object, who: str) -> nn.Module:
    """Return what was returned; raise `NotItsModel` unless it is a torch module."""
    if isinstance(returned, nn.Module):
        return returned
    raise NotItsModel(f"{who} returned {type(returned).__name__}; it must return its model, a torch.nn.Module")


def of_its_method(returned: object, unit: Unit, bench: Workbench) -> nn.Module:
    """Return what a unit's method returned; raise `NotItsModel` unless its weights are those of its network.

    Values may be any, also NaN; names, shapes, types and device are those that whoever starts from it counts on.
    """
    who = f"method {unit.method.name!r}"
    model = a_module(returned, who)
    state, wrong = model.state_dict(), ""
    for expected in _expected(unit, bench):
        difference = _difference(state, expected(), bench.device)
        if not difference:
            return model
        wrong = wrong or difference
    raise NotItsModel(f"{who} returned another model than it declares: {wrong}")


def _expected(unit: Unit, bench: Workbench) -> Iterator[Callable[[], State]]:
    """Yield what makes the states that a model may be like; the first is at hand."""
    if unit.needs:
        yield lambda: bench.original(unit.needs[0])
    yield lambda: bench.initial_model(unit).state_dict()
    spec = registry.find(METHODS, unit.method.name)
    if hasattr(spec.cls, "network"):
        method = spec.cls(**spec.complete(unit.hyperparameters))
        yield lambda: method.network(partial(bench.initial_model, unit)).state_dict()


def _difference(state: State, other: State, device: torch.device) -> str:
    """Return what is different about a state, in words; empty if nothing is."""
    for name in other:
        if name not in state:
            return f"it lacks {name}"
    for name, tensor in state.items():
        if name not in other:
            return f"it has {name}, which is not of that network"
        if _kind(tensor) != _kind(other[name]):
            return f"its {name} is {_kind(tensor)}, not {_kind(other[name])}"
        if tensor.device.type != device.type:
            return f"its {name} is on the device {tensor.device.type!r}, not {device.type!r}"
    return ""


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
