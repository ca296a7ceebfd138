"""Roots of a synthetic study, written through the store as a run would write them."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Run

from harness.store import Store
from harness.tracking import artifacts, sync
from harness.tracking.address import Address
from harness.tracking.quiet import open_client

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RECIPE = {"epochs": 2, "batch_size": 64, "lr": 0.05}
METHODS = {"retrain": "default", "original": "default", "msg": "lr=0.02", "ct": "default"}
VERSIONS = {"numpy": "2.4.6", "torch": "2.13.0", "commit": "c0ffee"}
PARTS = ("retain", "forget", "val", "test")

AUDITS = (("canary", "O", "L2"), ("canary", "O", "L1"), ("clean", "R", "L2"))
AUDITED = ("auc", "tpr@0.01")

Row = dict[str, Any]
Units = list[Row]


@dataclass
class StudyRoot:
    """A root with one plan; every number is a fixed function of method, seed, part and `shift`."""

    path: Path
    study: str = "toy"
    cells: tuple[tuple[str, str, str], ...] = (("digits", "random:0.1", "cnn_small"),)
    seeds: tuple[int, ...] = (0, 1, 2)
    methods: dict[str, str] = field(default_factory=lambda: dict(METHODS))

    def __post_init__(self) -> None:
        self.store = Store.open(str(self.path), write=True)
        self.units = list(self._units())
        self.store.write_plan(self.plan, self.document)

    @property
    def plan(self) -> str:
        """The id of the plan."""
        joined = "".join(sorted(unit["id"] for unit in self.units))
        return f"{self.study}-{hashlib.sha256(joined.encode()).hexdigest()[:8]}"

    @property
    def document(self) -> dict[str, Any]:
        """The plan as it is stored."""
        return {
            "id": self.plan,
            "study": self.study,
            "question": "Which methods forget | and how well?",
            "classes": {cell[0]: 10 for cell in self.cells},
            "measures": ["accuracy"],
            "units": self.units,
        }

    def _units(self) -> Iterator[Row]:
        for cell in self.cells:
            for seed in self.seeds:
                yield self._unit("original", (cell[0], "", cell[2]), "original", "default", seed)
                for method, config in self.methods.items():
                    kind = "retrain" if method == "retrain" else "unlearn"
                    yield self._unit(kind, cell, method, config, seed)
                    if method != "original":
                        yield self._unit("timing", cell, method, config, seed)

    def _unit(self, kind: str, cell: tuple[str, str, str], method: str, config: str, seed: int) -> Row:
        dataset, scenario, architecture = cell
        return {
            "id": hashlib.sha256(repr((self.study, kind, cell, method, config, seed)).encode()).hexdigest()[:20],
            "kind": kind,
            "dataset": {"name": dataset, "version": 1, "digest": "3f" * 32, "count": 0},
            "scenario": {"name": scenario, "version": 1},
            "architecture": {"name": architecture, "version": 1},
            "method": {"name": method, "version": 1},
            "recipe": RECIPE,
            "seed": seed,
            "config": config,
            "values": {},
            "needs": [],
        }

    def choose(self, **wanted: object) -> Units:
        """Return the units whose kind, method or seed is this."""
        return [u for u in self.units if all(_columns(u, 1)[name] == value for name, value in wanted.items())]

    def commit(self, units: Iterable[Row] | None = None, *, attempt: int = 1, **changes: Any) -> StudyRoot:
        """Commit units (all, if none are named) as done; see `rows_of` for the changes."""
        for unit in self.units if units is None else units:
            self.store.commit(unit["id"], rows_of(unit, attempt, **changes))
        return self

    def fail(self, units: Iterable[Row], message: str = "boom", *, attempt: int = 1) -> StudyRoot:
        """Commit a failed attempt of every unit."""
        for unit in units:
            same = _columns(unit, attempt)
            started = STARTED + timedelta(minutes=attempt)
            rows = {
                "units": [same | {"status": "failed", "started": started, "seconds": 1.0}],
                "failures": [same | {"phase": "unlearn", "exception": "RuntimeError", "message": message}],
            }
            self.store.commit_failure(unit["id"], attempt, rows)
        return self

    def audit(self, *methods: str) -> StudyRoot:
        """Store an audit of methods: U-LiRA on two pools, AUC 0.70, 0.71, 0.72 in the order of `AUDITS`."""
        places = sorted({(dataset, architecture) for dataset, _, architecture in self.cells})
        rows = [
            {"study": self.study, "dataset": dataset, "architecture": architecture}
            | {"method": method, "config": self.methods[method], "scenario": f"audit:{pool}"}
            | {"pool": pool, "null": null, "level": level, "metric": metric}
            | {"value": 0.7 + at / 100, "low": 0.6, "high": 0.8}
            for dataset, architecture in places
            for method in methods
            for at, (pool, null, level) in enumerate(AUDITS)
            for metric in AUDITED
        ]
        schema = self.table("attacks").schema
        columns = {name: [row.get(name) for row in rows] for name in schema}
        self.store.replace("attacks", pl.DataFrame(columns, schema=schema), {"study": self.study})
        return self

    def sync(self) -> Tracked:
        """Sync the plan into the root's own database and return what is there."""
        sync(self.document, self.store)
        return Tracked(self.address)

    @property
    def address(self) -> Address:
        """Where this root's own database is."""
        return Address(f"sqlite:///{self.path}/mlflow.db", f"{self.path}/mlartifacts")

    def table(self, name: str) -> pl.DataFrame:
        """Return a table."""
        return self.store.scan(name).collect()


def rows_of(
    unit: Row,
    attempt: int = 1,
    *,
    shift: float = 0.0,
    status: str = "done",
    null: tuple[str, ...] = (),
    lr: float = 0.1,
    epochs: int = 3,
    torch: str = VERSIONS["torch"],
) -> dict[str, list[Row]]:
    """Return the rows of a unit that ended; metrics in `null` are not computable."""
    same = _columns(unit, attempt)
    method, seed = same["method"], same["seed"]
    started = STARTED + timedelta(seconds=10 * seed, minutes=attempt)
    base = 0.6 + 0.05 * (sum(map(ord, method)) % 5) + 0.013 * seed**2 + shift
    metrics = [(part, "accuracy", base - 0.02 * at) for at, part in enumerate(PARTS)]
    metrics += [(part, "loss", 1.2 - base + 0.1 * at) for at, part in enumerate(PARTS)]
    metrics += [(part, "population_mia", 0.4 + 0.1 * base) for part in ("val", "test")]
    if same["kind"] == "timing":
        metrics = [("all", "seconds", 1 + base)]
    hyperparameters = {"lr": lr, "mask": "none", "epochs": 2} if same["kind"] == "unlearn" else {}
    return {
        "units": [
            same
            | {"status": status, "started": started, "seconds": 4.5, "device": "cpu"}
            | {"hyperparameters": json.dumps(hyperparameters)}
            | {"versions": json.dumps(VERSIONS | {"torch": torch})}
        ],
        "metrics": [
            same | {"part": part, "metric": metric, "value": None if metric in null else value}
            for part, metric, value in metrics
        ],
        "epochs": [
            same | {"epoch": epoch, "loss": 1 / (1 + epoch + seed), **dict.fromkeys(PARTS, base + epoch / 100)}
            for epoch in range(epochs)
        ],
    }


def _columns(unit: Row, attempt: int) -> Row:
    names = {part: unit[part]["name"] for part in ("dataset", "scenario", "architecture", "method")}
    return {
        "unit": unit["id"],
        "kind": unit["kind"],
        **names,
        "config": unit["config"],
        "seed": unit["seed"],
    } | {"attempt": attempt}


def _points(database: str) -> dict[str, dict[str, dict[int, float]]]:
    """Return run, metric, step and newest value: MLflow's own history takes a query for each metric."""
    points: dict[str, dict[str, dict[int, float]]] = {}
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("select run_uuid, key, step, value, is_nan from metrics order by timestamp, rowid")
        for run, name, step, value, is_nan in rows:
            points.setdefault(run, {}).setdefault(name, {})[step] = math.nan if is_nan else value
    return points


class Tracked:
    """What MLflow holds, for comparisons."""

    def __init__(self, address: Address) -> None:
        with open_client(address) as self.client:
            self.experiments = {one.name: one for one in self.client.search_experiments()}
            found = [one.experiment_id for one in self.experiments.values()]
            self.runs: list[Run] = list(self.client.search_runs(found, max_results=1000))
        self._points = _points(address.file) if address.file else {}

    @property
    def parents(self) -> list[Run]:
        """The runs of plans."""
        return [run for run in self.runs if "mlflow.parentRunId" not in run.data.tags]

    @property
    def children(self) -> dict[str, Run]:
        """The runs of cells by name."""
        children = [run for run in self.runs if "mlflow.parentRunId" in run.data.tags]
        named = {run.info.run_name: run for run in children}
        assert len(named) == len(children)
        return named

    def series(self, run: Run, name: str) -> dict[int, float]:
        """Return the newest value of every step of a metric."""
        return self._points.get(run.info.run_id, {}).get(name, {})

    def said(self) -> dict[str, Any]:
        """Return all that the runs say but ids, digests and when it was written; NaN says nothing."""
        return {run.info.run_name: self._said(run) for run in self.runs}

    def _said(self, run: Run) -> dict[str, Any]:
        hidden = ("harness.digest", "mlflow.parentRunId")
        series = {name: self.series(run, name) for name in run.data.metrics}
        known = {name: {s: v for s, v in line.items() if v == v} for name, line in series.items()}
        return {
            "status": run.info.status,
            "ended": run.info.end_time,
            "params": run.data.params,
            "metrics": {name: line for name, line in known.items() if line},
            "tags": {name: value for name, value in run.data.tags.items() if name not in hidden},
            "datasets": sorted(map(_data, run.inputs.dataset_inputs)),
        }


def _data(given: DatasetInput) -> tuple[str, ...]:
    """Return what the interface shows of a data set: name, digest, context."""
    return given.dataset.name, given.dataset.digest, *(tag.value for tag in given.tags)


MakeRoot = Callable[..., StudyRoot]


@pytest.fixture(autouse=True)
def no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without a row: making them takes 2 s, copying them nothing."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    with open_client(Address(f"sqlite:///{path}", None)) as client:
        assert isinstance(client, MlflowClient)
        client.search_experiments()
    return path


@pytest.fixture
def make_root(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRoot:
    monkeypatch.setattr(artifacts, "_figures", lambda results: iter(()))  # nobody looks at them, and they take long

    def make(name: str = "runs", **options: Any) -> StudyRoot:
        root = StudyRoot(tmp_path / name, **options)
        shutil.copy(empty_database, root.path / "mlflow.db")
        return root

    return make


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> StudyRoot:
    """A finished study of one data set, scenario and architecture, synced; for reading only."""
    root = StudyRoot(tmp_path_factory.mktemp("toy") / "runs").commit()
    shutil.copy(empty_database, root.path / "mlflow.db")
    sync(root.document, root.store)
    return root


@pytest.fixture(scope="session")
def tracked(toy: StudyRoot) -> Tracked:
    return Tracked(toy.address)
