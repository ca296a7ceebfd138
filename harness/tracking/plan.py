"""A plan as its stored document tells it: cells and their units, without any task code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import polars as pl

from harness.ranking import REFERENCES, competitor_config
from harness.tracking.content import DataInput

TRIAL_KINDS = ("retrain", "unlearn")
DIGEST_LENGTH = 16
KEY = ("dataset", "scenario", "architecture", "method", "config")


class Planned(Protocol):
    """A plan that can be written as the document that is stored beside the results."""

    def to_json(self) -> dict[str, Any]:
        """Return the document."""


@dataclass(frozen=True, order=True)
class Cell:
    """One method with one origin of its hyperparameters on a data set, scenario and architecture."""

    dataset: str
    scenario: str
    architecture: str
    method: str
    config: str

    def __str__(self) -> str:
        return " ".join((self.dataset, self.scenario, self.architecture, self.method, self.config))

    @property
    def is_reference(self) -> bool:
        """Whether the method is retrain or original."""
        return self.method in REFERENCES

    @property
    def competitor(self) -> tuple[str, str]:
        """Method and config as rankings name them: all searches are one competitor, `search`."""
        return self.method, competitor_config(self.config)


@dataclass(frozen=True)
class PlannedUnit:
    """One unit of a plan."""

    id: str
    kind: str
    cell: Cell
    seed: int
    recipe: Mapping[str, Any]
    data: DataInput

    @property
    def is_trial(self) -> bool:
        """Whether the numbers of its cell come from it."""
        return self.kind in TRIAL_KINDS


@dataclass(frozen=True)
class StoredPlan:
    """A plan read from its document."""

    id: str
    study: str
    question: str
    units: tuple[PlannedUnit, ...]
    document: Mapping[str, Any]

    @classmethod
    def of(cls, plan: Planned | Mapping[str, Any]) -> StoredPlan:
        """Return the plan of a document, or of anything that makes one."""
        document = plan if isinstance(plan, Mapping) else plan.to_json()
        units = tuple(_unit(unit) for unit in document["units"])
        return cls(document["id"], document["study"], document["question"], units, document)

    @cached_property
    def cells(self) -> dict[Cell, list[PlannedUnit]]:
        """The units by cell, for every cell that has a trial."""
        by_cell: dict[Cell, list[PlannedUnit]] = {unit.cell: [] for unit in self.units if unit.is_trial}
        for unit in self.units:
            if unit.cell in by_cell:
                by_cell[unit.cell].append(unit)
        return by_cell

    @cached_property
    def cell_frame(self) -> pl.DataFrame:
        """The cells as rows with the columns of `KEY`."""
        return pl.DataFrame([astuple(cell) for cell in self.cells], dict.fromkeys(KEY, pl.String), orient="row")

    @property
    def data(self) -> tuple[DataInput, ...]:
        """The data of all cells."""
        return tuple(sorted({unit.data for units in self.cells.values() for unit in units}))

    @cached_property
    def pools(self) -> set[str]:
        """The audit pools of its farm."""
        return {unit["pool"] for unit in self.document["units"] if unit.get("pool")}

    @property
    def classes(self) -> dict[str, int]:
        """The number of classes of each data set, by label.

        A document that does not say it is completed from the declared data sets.
        """
        if "classes" in self.document:
            return dict(self.document["classes"])
        from harness import registry
        from harness.contracts.dataset import DATASETS

        names = {label(unit["dataset"]): unit["dataset"]["name"] for unit in self.document["units"]}
        return {own: registry.find(DATASETS, name).classes for own, name in names.items()}


def label(dataset: Mapping[str, Any]) -> str:
    """Return a data set as tables name it: `fashion_mnist`, or `fashion_mnist@10000` for a subset."""
    return f"{dataset['name']}@{dataset['count']}" if dataset["count"] else str(dataset["name"])


def _unit(document: Mapping[str, Any]) -> PlannedUnit:
    scenario, architecture, method = (document[part]["name"] for part in ("scenario", "architecture", "method"))
    return PlannedUnit(
        id=document["id"],
        kind=document["kind"],
        cell=Cell(label(document["dataset"]), scenario, architecture, method, document["config"]),
        seed=document["seed"],
        recipe=document["recipe"],
        data=_data(tuple(document["dataset"].items()), scenario, document["scenario"]["version"]),
    )


@lru_cache(maxsize=1024)
def _data(described: tuple[tuple[str, Any], ...], scenario: str, version: int) -> DataInput:
    """Return the data of a unit, one for all units of a split. The digest is of all that decides which image is in
    which part."""
    dataset = dict(described)
    split = {"dataset": dataset, "scenario": {"name": scenario, "version": version}}
    text = json.dumps(split, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]
    return DataInput(label(dataset), digest, scenario, text)
