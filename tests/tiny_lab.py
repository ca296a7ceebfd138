"""A root, a workbench and units on the tiny problem: what the tests of the work room have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness import registry
from harness.check import problem as tiny
from harness.contracts import ARTIFACTS, Augmentation, DatasetSpec, Images, Recipe
from harness.contracts.space import Value
from harness.engine.split import train_and_val
from harness.farm import FarmRef, PoolSpec
from harness.store import Store
from harness.unit import DatasetRef, KeepModels, Kind, Named, Unit
from harness.work import Workbench, perform
from harness.work.unit import Status

SPEC = replace(tiny.SPEC, augmentation=Augmentation())
"""Without augmentation, so that an image that a model was given can be told by its pixels."""

DATASET = DatasetRef("tiny", 1, SPEC.digest)
FARM = FarmRef((PoolSpec("canary", 12, "random"), PoolSpec("clean", 8)))
TRAIN, VAL = train_and_val(tiny.DEVELOPMENT)
QUICK: Mapping[str, Value] = {"lr": 0.05, "batch_size": 24, "epochs": 2}
"""Hyperparameters of a short fine-tuning."""

SCENARIO = "random:0.3"
"""12 images of 40 are forgotten: enough for a population attack."""

Index = NDArray[np.int64]


def unit(
    kind: Kind,
    method: str = "original",
    *,
    scenario: str = SCENARIO,
    seed: int = 0,
    pool: str = "",
    recipe: Recipe = SPEC.recipe,
    dataset: DatasetRef = DATASET,
) -> Unit:
    """Return a unit on the tiny problem; one that starts from an original or a shadow needs it."""
    needs: tuple[str, ...] = ()
    about: dict[str, Any] = {"seed": seed, "recipe": recipe, "dataset": dataset}
    if kind in (Kind.UNLEARN, Kind.SEARCH) or (kind == Kind.TIMING and method != "retrain"):
        needs = (unit(Kind.ORIGINAL, **about).id,)
    if kind.of_trial:
        trial = Kind.RETRAIN if method == "retrain" else Kind.UNLEARN
        needs = (unit(trial, method, scenario=scenario, **about).id, unit(Kind.ORIGINAL, **about).id)
        if kind == Kind.COMPARE:
            retrain = unit(Kind.RETRAIN, "retrain", scenario=scenario, **about)
            needs = (needs[0], retrain.id, needs[1])
    if kind == Kind.SHADOW_UNLEARN:
        needs = (unit(Kind.SHADOW, **about).id,)
    if kind == Kind.ORIGINAL:
        scenario = ""
    elif kind.of_farm:
        scenario = f"audit:{pool}" if pool else "audit"
    return Unit(
        kind=kind,
        scenario=Named(scenario, 1),
        architecture=Named("cnn_small", 1),
        method=Named(method, 1),
        values=QUICK if method == "finetune" else {},
        needs=needs,
        farm=FARM if kind.of_farm else None,
        pool=pool,
        **about,
    )


def gan(of: str, **values: Value) -> Unit:
    """Return the unit that makes a small GAN of one part for `multi_gan`, judged by the original."""
    registry.load()
    spec, blank = ARTIFACTS["dcgan"], unit(Kind.UNLEARN)
    settings = {**spec.defaults(), "of": of, "steps": 6, "batch_size": 8, "width": 4, **values}
    return replace(blank, kind=Kind.ARTIFACT, method=Named(spec.name, spec.version), values=settings)


ORIGINAL = unit(Kind.ORIGINAL)
SHADOW = unit(Kind.SHADOW)


@dataclass
class Lab:
    """A root and a workbench whose reader gives `images`, and counts how often it was asked."""

    store: Store
    images: Images = field(default_factory=tiny.images)
    reads: int = 0

    def __post_init__(self) -> None:
        self.bench = Workbench(self.store, tiny.CPU, self._read)

    def _read(self, spec: DatasetSpec) -> Images:
        self.reads += 1
        return self.images

    def perform(self, *units: Unit, attempt: int = 1, keep: KeepModels = "all") -> Status:
        """Perform units in order, the weights of trials kept too; return the status of the last one."""
        statuses = [perform(unit, self.bench, attempt, keep) for unit in units]
        return statuses[-1]

    def rows(self, table: str, unit: Unit) -> list[dict[str, Any]]:
        """Return what a table says about a unit."""
        return self.store.scan(table).filter(pl.col("unit") == unit.id).collect().rows(named=True)

    def row(self, unit: Unit) -> dict[str, Any]:
        """Return the row of a unit in `units`."""
        (row,) = self.rows("units", unit)
        return row

    def metrics(self, unit: Unit) -> dict[tuple[str, str], float | None]:
        """Return the metrics of a unit by part and name."""
        return {(row["part"], row["metric"]): row["value"] for row in self.rows("metrics", unit)}

    def signals(self, unit: Unit) -> dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]:
        """Return (phi, member) of a unit by pool."""
        return {
            row["pool"]: (np.array(row["phi"], dtype=np.float64), np.array(row["member"], dtype=bool))
            for row in self.rows("signals", unit)
        }

    def trained_labels(self) -> Index:
        """Return the label of every image as a farm trains it."""
        return np.asarray(self.bench.audited(SHADOW).data.labels)

    def pool(self, name: str) -> Index:
        """Return the images of an audit pool."""
        audited = self.bench.audited(SHADOW)
        return audited.train[audited.pools[name].positions]


def with_other_pixels(index: Index) -> Images:
    """Return the images of the problem, those at `index` replaced by noise."""
    images = tiny.images().images.copy()
    images[index] = np.random.default_rng(9).integers(0, 256, images[index].shape)
    return Images(images, tiny.images().labels)


@contextmanager
def training() -> Iterator[list[tuple[int, int]]]:
    """Collect (image, label) of every example that a model is trained on inside, through the engine's loop."""
    images: list[int] = []
    labels: list[int] = []
    seen: list[tuple[int, int]] = []

    def note_images(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.training:
            images.extend(tiny.positions_of(inputs[0].detach(), tiny.data()))

    def note_labels(logits: Tensor, targets: Tensor) -> Tensor:
        labels.extend(targets.tolist())
        return cross_entropy(logits, targets)

    handle = nn.modules.module.register_module_forward_pre_hook(note_images)
    try:
        with patch("harness.engine.train.cross_entropy", note_labels):
            yield seen
    finally:
        handle.remove()
        seen.extend(zip(images, labels, strict=True))


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a model's weights as they are now."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two states agree bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
