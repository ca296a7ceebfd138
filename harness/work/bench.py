"""The workbench of one process: data sets, splits and originals that stay warm between units."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness import registry
from harness.contracts.architecture import ARCHITECTURES, ArchitectureSpec
from harness.contracts.dataset import DATASETS, DatasetSpec, Images
from harness.contracts.parts import Part
from harness.contracts.scenario import Mask, Models, Tampering, Training, alike, asked_for
from harness.engine.data import DeviceData
from harness.engine.evaluate import Evaluation
from harness.engine.fingerprint import fingerprint
from harness.engine.models import build, packed
from harness.engine.split import Split, divide, split, subset
from harness.farm import EVERYTHING, FarmRef, Pool, PoolSpec, draw_pools
from harness.farm_deep_unlearn import held_out
from harness.unit import DatasetRef, Unit
from harness.work import official

K = TypeVar("K")
V = TypeVar("V")
Cache = OrderedDict[K, tuple[V, int]]
"""Values, and the fingerprint that each had when it was made."""

KEPT_DATASETS, KEPT_SPLITS, KEPT_ORIGINALS, KEPT_ANSWERS = 1, 8, 4, 128


class Results(Protocol):
    """What the work needs of a store; `harness.store.Store` is one."""

    def commit(self, unit: str, rows: Mapping[str, list[dict[str, object]]]) -> None: ...
    def commit_failure(self, unit: str, attempt: int, rows: Mapping[str, list[dict[str, object]]]) -> None: ...
    def save_model(self, unit: str, state: Mapping[str, Tensor]) -> str: ...
    def load_model(self, unit: str, device: str = "cpu") -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Exam:
    """What shows whether a model fell for manipulated training data: images on the device, and who reads answers."""

    tampering: Tampering
    data: DeviceData


@dataclass(frozen=True)
class Loaded:
    """A data set on the device: its spec, its images, its labels [n] on the host, how many are development images.

    `fine` are the labels [n] of subclasses, where the data set has them; `exam` is there where its training images
    were `tampered` [n] with.
    """

    spec: DatasetSpec
    data: DeviceData
    labels: NDArray[np.int64]
    development: int
    fine: NDArray[np.int64] | None = None
    tampered: Mask | None = None
    exam: Exam | None = None

    @property
    def training(self) -> Training:
        """All images, development or test, as a scenario sees them."""
        return Training(self.labels, self.fine, self.tampered)

    def whole(self) -> dict[str, NDArray[np.int64]]:
        """Return the index of train, val and test: what an original sees, whatever the scenario."""
        train, val, test = divide(self.development, len(self.labels), self.spec.val)
        return {"train": train, "val": val, "test": test}


@dataclass(frozen=True)
class Parts:
    """A split on the device: the index [n] of each part into the images.

    `asked_for` [n] says which of all images are of the classes or the subclass that the request names, None where it
    names none; `alike` [n] which are of the kind of the forget set, None where any is.
    """

    split: Split
    scenario: str
    forget_classes: tuple[int, ...]
    index: Mapping[str, Tensor]
    asked_for: Mask | None = None
    alike: Mask | None = None


@dataclass(frozen=True)
class Audited:
    """A data set as a farm sees it: the labels that it trains with, the index [n] of the images that its shadows are
    drawn from, that of val [v], and the pools by name."""

    data: DeviceData
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    pools: Mapping[str, Pool]

    def pool(self, name: str) -> Pool:
        """Return what is audited under a name: with half splits, every draw audits the images of the pool ""."""
        return self.pools[name if name in self.pools else EVERYTHING]


@dataclass
class Workbench:
    """What units of one process share. `reader` turns a spec into images; by default from the official files."""

    store: Results
    device: torch.device
    reader: Callable[[DatasetSpec], Images] = official.read
    warm: set[tuple[str, str, str]] = field(default_factory=set)
    """Data set, architecture and precision of what this process has trained before it timed anything."""
    deterministic: bool = False
    """Whether equal seeds give equal bits on CUDA, too (`harness.engine.device.prepare`)."""
    spoiled: list[str] = field(default_factory=list)
    """What methods have left in this process that cannot be put back: a fresh one is safer for what follows."""
    reused: int = 0
    """How often a data set, a split, an original, pools or answers were there already."""
    loaded: int = 0
    """How often they had to be made."""
    _datasets: Cache[str, Loaded] = field(default_factory=OrderedDict)
    _splits: Cache[tuple[str, str, tuple[str, ...]], Parts] = field(default_factory=OrderedDict)
    _audited: Cache[tuple[str, FarmRef], Audited] = field(default_factory=OrderedDict)
    _originals: Cache[str, dict[str, Tensor]] = field(default_factory=OrderedDict)
    _answers: Cache[str, Evaluation] = field(default_factory=OrderedDict)

    def dataset(self, reference: DatasetRef) -> Loaded:
        """Return a data set, read at most once while it is in use."""
        return self._kept(self._datasets, reference.label, KEPT_DATASETS, lambda: self._load(reference))

    def parts(
        self, reference: DatasetRef, scenario: str, evidence: tuple[str, ...] = (), models: Models | None = None
    ) -> Parts:
        """Return the parts of a data set under a scenario, by its `models` where it has any: those of the units of the
        ids `evidence`."""
        key = (reference.label, scenario, evidence)
        return self._kept(self._splits, key, KEPT_SPLITS, lambda: self._split(reference, scenario, models))

    def original(self, unit: str) -> dict[str, Tensor]:
        """Return the weights of an original, on the device; they must not be changed."""
        return self._kept(
            self._originals, unit, KEPT_ORIGINALS, lambda: packed(self.store.load_model(unit, str(self.device)))
        )

    def changed(self) -> list[str]:
        """Return what of all this is no longer what it was; it is forgotten, so that the next unit makes it anew.

        What views and runs hand out are copies. But all of this is in the memory of the process, where a method that
        looks for it finds it.
        """
        known: dict[int, int] = {}
        found = []
        caches: Mapping[str, Cache[Any, Any]] = {
            "the weights of a model to start from": self._originals,
            "images or labels": self._datasets,
            "the division into parts": self._splits,
            "the pools of an audit": self._audited,
        }
        for name, cache in caches.items():
            if any(fingerprint(_tensors(value), known) != was for value, was in cache.values()):
                found.append(name)
        for cache in caches.values() if found else ():
            cache.clear()
        return found

    def answers(self, unit: str, ask: Callable[[], Evaluation]) -> Evaluation:
        """Return what the model of a unit says of all training images, asked once for all scenarios drawn by it."""
        return self._kept(self._answers, unit, KEPT_ANSWERS, lambda: _read_only(ask()))

    def audited(self, unit: Unit) -> Audited:
        """Return the audit pools of a unit's farm, drawn from its data set."""
        assert unit.farm is not None
        key = (unit.dataset.label, unit.farm)
        return self._kept(self._audited, key, KEPT_DATASETS, lambda: self._audit(unit))

    def initial_model(self, unit: Unit, name: str = "") -> nn.Module:
        """Return the untrained model of a unit's architecture, data set, seed and farm; a name gives another one."""
        spec = registry.find(DATASETS, unit.dataset.name)
        seed = unit.seed if unit.farm is None else unit.farm.initial_seed(unit.seed)
        return build(self.architecture(unit), spec, seed, self.device, name)

    def architecture(self, unit: Unit) -> ArchitectureSpec:
        """Return the architecture of a unit."""
        return registry.find(ARCHITECTURES, unit.architecture.name)

    def _kept(self, cache: Cache[K, V], key: K, most: int, make: Callable[[], V]) -> V:
        """Return a cached value, making it if it is absent; the least recently used goes first."""
        if key in cache:
            self.reused += 1
        else:
            self.loaded += 1
            while len(cache) >= most:
                cache.popitem(last=False)
            value = make()
            cache[key] = value, fingerprint(_tensors(value))
        cache.move_to_end(key)
        return cache[key][0]

    def _load(self, reference: DatasetRef) -> Loaded:
        spec = registry.find(DATASETS, reference.name)
        images, development = _copied(self.reader(spec)), spec.development
        if reference.count:
            index, development = subset(images.labels, development, reference.count)
            images = images.take(index)
        tampered = exam = None
        if reference.tampering:
            tampering = registry.parse_tampering(reference.tampering)
            train, _, test = divide(development, len(images.labels), spec.val)
            exam = Exam(tampering, DeviceData.put(tampering.exam(images, test), spec, self.device))
            changed = tampering.tamper(images, train)
            images, tampered = changed.images, changed.mask
        data = DeviceData.put(images, spec, self.device)
        return Loaded(spec, data, images.labels, development, images.fine, tampered, exam)

    def _audit(self, unit: Unit) -> Audited:
        assert unit.farm is not None
        loaded = self.dataset(unit.dataset)
        if unit.farm.design == "half_splits":
            images, val = held_out(loaded.development)
            train = np.sort(images)
            everything = Pool(PoolSpec(EVERYTHING, len(train)), np.arange(len(train)), loaded.labels[train])
            return Audited(loaded.data, train, val, {EVERYTHING: everything})
        train, val, _ = divide(loaded.development, len(loaded.labels), loaded.spec.val)
        pools = draw_pools(unit.farm, loaded.labels[train], loaded.spec.classes)
        labels = loaded.labels.copy()
        for pool in pools.values():
            labels[train[pool.positions]] = pool.trained_labels
        return Audited(loaded.data.relabelled(torch.from_numpy(labels).to(self.device)), train, val, pools)

    def _split(self, reference: DatasetRef, scenario: str, models: Models | None) -> Parts:
        loaded, parsed = self.dataset(reference), registry.parse_scenario(scenario)
        whole = loaded.training
        parts = split(whole, loaded.development, parsed, loaded.spec.val, models)
        index = {part.value: torch.from_numpy(parts.of(part)).to(self.device) for part in Part}
        named, similar = asked_for(parsed, whole), alike(parsed, whole)
        return Parts(parts, scenario, parsed.forget_classes, index, named, similar)


def _copied(images: Images) -> Images:
    """Return a data set in memory of its own: its reader may have kept the arrays, to give them to the next one, too.

    Those that cannot be written to are in memory of others, and too large for a copy in each process.
    """
    own = {one.name: getattr(images, one.name) for one in fields(images)}
    return Images(**{name: array.copy() if _is_open(array) else array for name, array in own.items()})


def _is_open(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.flags.writeable


def _read_only(evaluation: Evaluation) -> Evaluation:
    """Return an evaluation, its arrays closed for writing: there may be many, too many to look at after each unit."""
    for array in (evaluation.phi, evaluation.correct, evaluation.answers):
        if array is not None:
            array.setflags(write=False)
    return evaluation


def _tensors(value: object) -> Iterator[Tensor]:
    """Yield the tensors and arrays in a value made of dataclasses and mappings; no array that nobody can write to."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, np.ndarray):
        if _is_open(value):
            yield torch.from_numpy(np.ascontiguousarray(value))
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif is_dataclass(value) and not isinstance(value, DatasetSpec):
        for one in fields(value):
            yield from _tensors(getattr(value, one.name))
