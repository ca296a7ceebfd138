"""What a unit takes of a GPU: measured once for all units of its shape, and corrected where it was too little."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from harness.schedule.demand import Demand
from harness.unit import Kind, Unit

MOST_TOGETHER = 16
"""Units on one GPU at once; each keeps a core busy."""

PROCESS_BYTES = 600 * 2**20
"""What CUDA itself takes of a GPU for one process: its context and its kernels."""

MEASURED_ROOM, GUESSED_ROOM = 1.2, 1.5
"""How much more than the largest peak a unit gets: for fragments, other seeds and other forget sets; and where the peak
is that of units that do other work on the same images with the same network."""

MORE, MORE_WHERE_FULL = 2, 4
"""How many times its share a unit gets that begins again; where the share was too small, three tries reach a whole GPU
from any."""

FARM = "farm"

Shape = tuple[str | int, ...]
"""What peaks depend on: the kind of work (a method, a training, the farm); data set, architecture, batch, precision."""


@dataclass(frozen=True)
class Memory:
    """Bytes of a device: the most that a unit had of them at once, and all."""

    peak: int
    whole: int


def shape_of(unit: Unit) -> Shape:
    """Return the shape of a unit. A worker of the farm goes through a shadow and all that is done to it: one shape."""
    work, batch = f"{unit.kind.value} {unit.method.name}", unit.recipe.batch_size
    if unit.kind.of_farm:
        work = FARM
    elif unit.kind in (Kind.ORIGINAL, Kind.RETRAIN):
        work = "training"
    elif unit.kind in (Kind.UNLEARN, Kind.SEARCH, Kind.TIMING):
        work, batch = unit.method.name, int(unit.hyperparameters.get("batch_size", batch))
    return work, unit.dataset.label, unit.architecture.name, batch, unit.recipe.precision


def allowance(share: float, whole: int) -> float:
    """Return the part of a device's memory that the tensors of a process may take that has a share of the device."""
    return max(share - PROCESS_BYTES / whole, share / 2)


@dataclass
class Packing:
    """Says what each unit takes of its node: the usual, or, where it `measures`, the k-th part of a GPU that will do.

    A shape nobody has seen takes what others with its data set, architecture, batch and precision have needed, and
    more; where there are none either, a whole GPU. A unit that comes back gets more than it had; where that was too
    little, so do all units of its shape, until it is measured. `together` shadows are trained at once.
    """

    usual: Demand
    measures: bool = False
    together: int = 1
    _peaks: dict[Shape, int] = field(default_factory=dict)
    _too_small: dict[Shape, float] = field(default_factory=dict)
    _again: dict[str, float] = field(default_factory=dict)
    _whole: int | None = None

    def shape(self, unit: Unit) -> Shape:
        """Return the shape of a unit; all are alike where nothing is measured."""
        return shape_of(unit) if self.measures else ()

    def is_known(self, shape: Shape) -> bool:
        """Say whether the share of a shape is more than a guess."""
        return not self.measures or shape in self._peaks

    def share(self, shape: Shape) -> float:
        """Return the share of a GPU that the next unit of a shape takes."""
        if not self.measures:
            return self.usual.gpu
        enough, too_small = self._enough(shape), self._too_small.get(shape, 0.0)
        return enough if enough > too_small else min(1.0, MORE_WHERE_FULL * too_small)

    def demand(self, unit: Unit) -> Demand:
        """Return what a unit takes when it begins now, among others."""
        share = max(self.share(self.shape(unit)), self._again.get(unit.id, 0.0))
        return replace(self.usual, gpu=share)

    def learn(self, unit: Unit, memory: Memory | None) -> None:
        """Take note of what a unit needed that came to its end; None where it was not measured."""
        self._again.pop(unit.id, None)
        if memory is None:
            return
        shape = self.shape(unit)
        self._peaks[shape] = max(memory.peak, self._peaks.get(shape, 0))
        self._whole = min(memory.whole, self._whole or memory.whole)

    def came_back(self, unit: Unit, demand: Demand, *, full: bool) -> None:
        """Take note of a unit that will begin again; `full` says that its share of the memory was too small."""
        self._again[unit.id] = min(1.0, (MORE_WHERE_FULL if full else MORE) * demand.gpu)
        if full:
            shape = self.shape(unit)
            self._too_small[shape] = max(demand.gpu, self._too_small.get(shape, 0.0))

    def _enough(self, shape: Shape) -> float:
        """Return the smallest k-th part of a GPU that holds what a shape needs."""
        if self._whole is None:
            return 1.0
        if shape in self._peaks:
            tensors = MEASURED_ROOM * self._peaks[shape]
        else:
            like = [peak for other, peak in self._peaks.items() if other[1:] == shape[1:]]
            times = self.together if shape[0] == FARM else 1
            tensors = GUESSED_ROOM * times * max(like, default=self._whole)
        parts = min(MOST_TOGETHER, int(self._whole / (tensors + PROCESS_BYTES)))
        return int(10_000 / parts) / 10_000 if parts > 1 else 1.0  # Ray counts in ten-thousandths
