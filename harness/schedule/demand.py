"""What one unit takes of a node, and how many units a cluster can hold at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from harness.errors import HarnessError, did_you_mean

if TYPE_CHECKING:
    from harness.unit import Resources


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

    def alone(self) -> Demand:
        """Return the demand of a unit that shares its device with nobody."""
        return replace(self, gpu=1.0 if self.gpu else 0.0)


def demand_of(resources: Resources, device: str) -> Demand:
    """Return the demand of one unit on a device such as `cpu` or `cuda`; raise `InvalidResources`.

    `auto` is one core, and where the units run on GPUs a whole one, until it is known what they need.
    """
    if isinstance(resources, str):
        return Demand(1.0, 1.0 if device.startswith("cuda") else 0.0)
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
    return sum(_slots(demand, node.cpus, [1.0] * int(node.gpus)) for node in nodes)


def fits(demands: Iterable[Demand], nodes: Iterable[Capacity]) -> bool:
    """Say whether the nodes hold units of these demands at once, the largest first on every GPU."""
    left = Counter(demands)
    largest_first = sorted(left, key=lambda demand: (demand.gpu, demand.cpu), reverse=True)
    for node in nodes:
        cpus, gpus = node.cpus, [1.0] * int(node.gpus)
        for demand in largest_first:
            placed = min(left[demand], _slots(demand, cpus, gpus))
            left[demand] -= placed
            cpus -= placed * demand.cpu
            for number in range(len(gpus) if demand.gpu else 0):
                here = min(placed, _times(gpus[number], demand.gpu))
                gpus[number] -= here * demand.gpu
                placed -= here
    return not left.total()


def load(demands: Iterable[Demand], nodes: Iterable[Capacity]) -> float:
    """Return how often the nodes' cores, or their GPUs, are taken by units of these demands; the larger of the two."""
    demands, nodes = list(demands), list(nodes)
    cpus = sum(demand.cpu for demand in demands) / (sum(node.cpus for node in nodes) or 1.0)
    gpus = sum(demand.gpu for demand in demands) / (sum(node.gpus for node in nodes) or 1.0)
    return max(cpus, gpus)


def _slots(demand: Demand, cpus: float, gpus: Iterable[float]) -> int:
    """Return how many units of a demand a node holds that has so many cores left, and so much of each GPU."""
    by_cpu = _times(cpus, demand.cpu)
    if not demand.gpu:
        return by_cpu
    # A share is of one GPU: shares of 0.4 fit twice on each, however many GPUs there are.
    return min(by_cpu, sum(_times(left, demand.gpu) for left in gpus))


def _times(whole: float, part: float) -> int:
    return int(whole / part + 1e-9)  # 1 / 0.1 must be ten
