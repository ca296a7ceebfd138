"""Rows of units and roots for the tests of the store."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import tiny_s3
from tiny_store import Install, installer

from harness.store import SCHEMAS, Rows, Store

STARTED = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

MakeRows = Callable[..., dict[str, list[dict[str, object]]]]
Content = dict[str, list[str]]


def _identity(unit: str, attempt: int, method: str | None, dataset: str) -> dict[str, object]:
    return {
        "unit": unit,
        "kind": "unlearn",
        "dataset": dataset,
        "scenario": "random:0.1",
        "architecture": "cnn_small",
        "method": method,
        "config": "default",
        "seed": 0,
        "attempt": attempt,
    }


def _rows(
    unit: str,
    *,
    attempt: int = 1,
    method: str | None = "finetune",
    dataset: str = "digits",
    status: str = "done",
    value: float = 0.5,
) -> dict[str, list[dict[str, object]]]:
    same = _identity(unit, attempt, method, dataset)
    return {
        "units": [same | {"status": status, "seconds": value, "steps": 7, "started": STARTED}],
        "hyperparameters": [same | {"name": "lr", "number": value}, same | {"name": "mask", "text": "none"}],
        "metrics": [same | {"part": part, "metric": "accuracy", "value": value} for part in ("val", "test")],
        "epochs": [same | {"epoch": epoch, "loss": value / (epoch + 1)} for epoch in range(3)],
        "signals": [
            same | {"pool": "forget", "query": "identity", "phi": [value, -1.0], "member": [True, False], "n": 2},
            same | {"pool": "val", "query": "flip", "phi": [value] * 5, "member": [True] * 5, "n": 5},
        ],
    }


def _failure(unit: str, *, attempt: int = 1, method: str | None = "finetune") -> dict[str, list[dict[str, object]]]:
    same = _identity(unit, attempt, method, "digits")
    return {
        "units": [same | {"status": "failed", "started": STARTED}],
        "failures": [same | {"phase": "unlearn", "exception": "RuntimeError", "message": "boom"}],
    }


def _content(store: Store) -> Content:
    """Every table as sorted text, for comparisons that do not depend on the order of rows."""
    return {table: sorted(map(repr, store.scan(table).collect().rows(named=True))) for table in SCHEMAS}


@pytest.fixture(scope="session")
def make_rows() -> MakeRows:
    return _rows


@pytest.fixture(scope="session")
def make_failure() -> MakeRows:
    return _failure


@pytest.fixture(scope="session")
def content() -> Callable[[Store], Content]:
    return _content


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, root: Path) -> Store:
    """A writable root on the disk, and one in an object store."""
    if request.param == "folder":
        return Store.open(str(root), write=True)
    return _bucket(request.getfixturevalue("s3_port"))


@pytest.fixture
def bucket(s3_port: int) -> Store:
    return _bucket(s3_port)


def _bucket(port: int) -> Store:
    return Store.open(tiny_s3.root(port, uuid.uuid4().hex), write=True)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Install:
    return installer(monkeypatch)


@pytest.fixture
def filled(store: Store) -> Store:
    """Three units of two methods, one of them folded already, and one failed attempt."""
    rows: list[Rows] = [
        _rows("a" * 20),
        _rows("b" * 20, method="ct", value=0.25),
        _rows("c" * 20, value=0.125),
    ]
    store.commit("a" * 20, rows[0])
    store.fold()
    store.commit("b" * 20, rows[1])
    store.commit("c" * 20, rows[2])
    store.commit_failure("d" * 20, 1, _failure("d" * 20))
    return store
