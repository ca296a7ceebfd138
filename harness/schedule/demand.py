"""What one unit takes of a node, and how many units a cluster can hold at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from harness.errors import HarnessError, did_you_mean

if TYPE_CHECKING:
    from harness.unit import Resources


GPU_SHARE = 0.25
"""The share of a GPU that a unit takes where the study names none."""


class InvalidResources(HarnessError):
    """Resources that no unit can take."""


class NoRoom(HarnessError):
    """No node of the cluster is large enough for one unit."""


class Capacity(Protocol):
    """The CPU cores and GPUs of a node."""

    @property
    def cpus(self) -> float: ...
    @property
    def gpus(self) -> float: ...


@dataclass(frozen=True)
class Demand:
    """CPU cores and share of one GPU (0 to 1) that are set aside for a unit; they isolate no memory."""

    cpu: float
    gpu: float = 0.0

    def bundle(self) -> dict[str, float]:
        """Return it in Ray's words; Ray refuses a bundle that names a resource and wants none of it."""
        return {name: amount for name, amount in (("CPU", self.cpu), ("GPU", self.gpu)) if amount}

    def for_try(self, number: int) -> Demand:
        """Return the demand of try `number` (from 1): twice the share each time, up to a whole GPU."""
        return replace(self, gpu=min(1.0, self.gpu * 2 ** (number - 1)))

    def alone(self) -> Demand:
        """Return the demand of a unit that shares its device with nobody."""
        return replace(self, gpu=1.0 if self.gpu else 0.0)


def demand_of(resources: Resources, device: str) -> Demand:
    """Return the demand of one unit on a device such as `cpu` or `cuda`; raise `InvalidResources`.

    `auto` is one core, and a quarter of a GPU where the units run on GPUs.
    """
    if isinstance(resources, str):
        return Demand(1.0, GPU_SHARE if device.startswith("cuda") else 0.0)
    for name in resources:
        if name not in ("cpu", "gpu"):
            raise InvalidResources(f"resources: unknown key {name!r}{did_you_mean(name, ('cpu', 'gpu'))}")
    cpu, gpu = float(resources.get("cpu", 1.0)), float(resources.get("gpu", 0.0))
    if not (cpu > 0 and 0 <= gpu <= 1):
        raise InvalidResources(f"resources: cpu must be above 0 and gpu from 0 to 1, not {cpu:g} and {gpu:g}")
    if device.startswith("cuda") and not gpu:
        raise InvalidResources("resources: units on a GPU need a share of it, such as gpu: 0.25")
    return Demand(cpu, gpu)


def slots(demand: Demand, nodes: Iterable[Capacity]) -> int:
    """Return how many units of one demand the nodes hold at once."""
    return sum(_slots(demand, node) for node in nodes)


def _slots(demand: Demand, node: Capacity) -> int:
    by_cpu = _times(node.cpus, demand.cpu)
    if not demand.gpu:
        return by_cpu
    # A share is of one GPU: shares of 0.4 fit twice on each, however many GPUs there are.
    return min(by_cpu, int(node.gpus) * _times(1.0, demand.gpu))


def _times(whole: float, part: float) -> int:
    return int(whole / part + 1e-9)  # 1 / 0.1 must be ten
