"""Synthetic results of a study: deterministic, with the shapes that the tables have."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import ndtr

from harness.attacks import auc_standard_error, expected_auc
from harness.metrics import derive, frame, in_retrain_sd
from harness.metrics.drawn import EFFECTS, GROWTH, WORLDS
from harness.ranking import cell_table, friedman_tests, rank
from harness.report import ReportData
from harness.report.sheet import Panel
from harness.store.schemas import polars_schema

Rows = list[dict[str, Any]]

METHODS = ("msg", "ct", "finetune", "successive_random_labels", "gradient_ascent")
SETTINGS = (("canary", "O", "L2"), ("canary", "O", "L0"), ("canary", "R", "L2"), ("clean", "O", "L2"))
START = datetime(2025, 3, 4, 9, 30, tzinfo=UTC)


class Results:
    """Rows of units as if a study had run; `worse` says how far a method is from retrain."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.tables: dict[str, Rows] = {"units": [], "metrics": [], "epochs": [], "failures": []}

    def unit(
        self, cell: tuple[str, str, str], kind: str, method: str, seed: int, status: str = "done"
    ) -> dict[str, Any]:
        place = len(self.tables["units"])
        config = "alpha=0.9" if method == "neg_grad_plus" else "default"
        identity = {
            "unit": f"{place:020x}",
            "kind": kind,
            "dataset": cell[0],
            "scenario": cell[1],
            "architecture": cell[2],
            "method": method,
            "config": config,
            "seed": seed,
            "attempt": 1,
        }
        self.tables["units"].append(
            identity
            | {
                "status": status,
                "hyperparameters": json.dumps({"epochs": 5, "lr": 0.1}),
                "seconds": 2.5,
                "work_seconds": 1.25,
                "steps": 60,
                "peak_memory": None,
                "parameters": 23_578,
                "device": "cpu",
                "share": 1.0,
                "host": "worker",
                "started": START + timedelta(seconds=3 * place),
                "versions": json.dumps({"numpy": "2.4.6", "torch": "2.13.0"}),
                "model": None,
            }
        )
        return identity

    def evaluate(self, identity: dict[str, Any], worse: float) -> None:
        noise = self.random.normal(0, 0.004, 8)
        values = {
            ("retain", "accuracy"): 0.995 - 0.06 * worse + noise[0],
            ("forget", "accuracy"): 0.953 + 0.04 * min(worse, 1) - 0.5 * max(0, worse - 1) + noise[1],
            ("val", "accuracy"): 0.951 - 0.1 * worse + noise[2],
            ("test", "accuracy"): 0.955 - 0.1 * worse + noise[3],
            ("val", "population_mia"): 0.505 + 0.07 * min(worse, 1.4) + 2 * noise[4],
            ("test", "population_mia"): 0.503 + 0.07 * min(worse, 1.4) + 2 * noise[5],
        }
        for (part, metric), value in values.items():
            self.metric(identity, part, metric, float(np.clip(value, 0, 1)))
        for part in ("retain", "forget", "val", "test"):
            self.metric(identity, part, "loss", float(0.12 + 0.3 * worse + abs(noise[6])))

    def metric(self, identity: dict[str, Any], part: str, metric: str, value: float | None) -> None:
        self.tables["metrics"].append(identity | {"part": part, "metric": metric, "value": value})

    def curve(self, identity: dict[str, Any], last: int, start: float, worse: float) -> None:
        for epoch in range(last + 1):
            share = 1 - np.exp(-3 * epoch / last)
            forget = start + (0.953 + 0.03 * worse - start) * share + self.random.normal(0, 0.006)
            retain = min(1.0, (start + (0.995 - start) * share) + self.random.normal(0, 0.002))
            test = start - 0.01 + (0.955 - 0.06 * worse - start + 0.01) * share + self.random.normal(0, 0.004)
            accuracies = {"retain": retain, "forget": forget, "val": test, "test": test}
            self.tables["epochs"].append(
                identity | {"epoch": epoch, "loss": 0.5 - 0.3 * share, "learning_rate": 0.1} | accuracies
            )

    def frame(self, table: str) -> pl.DataFrame:
        return pl.DataFrame(self.tables[table], schema=polars_schema(table))


def make_data(
    methods: Sequence[str] = METHODS,
    cells: Sequence[tuple[str, str, str]] = (("digits", "random:0.1", "cnn_small"),),
    seeds: int = 3,
    timed: bool = True,
    curves: int = 5,
    failing: Sequence[str] = (),
    diverging: Sequence[str] = (),
    question: str = "Which methods forget 10 % of the digits, and at what cost?",
) -> ReportData:
    """Return the data of a study in which the first method is best and each next one worse."""
    results = Results()
    for cell in cells:
        for seed in range(seeds):
            results.unit((cell[0], "", cell[2]), "original", "", seed)
            _retrain(results, cell, seed, timed, curves)
            original = results.unit(cell, "unlearn", "original", seed)
            results.evaluate(original, 1.0)
            for place, method in enumerate(methods):
                status = "failed" if method in failing and seed == 1 else "done"
                status = "diverged" if method in diverging else status
                trial = results.unit(cell, "unlearn", method, seed, status)
                if status == "failed":
                    results.tables["failures"].append(_failure(trial))
                    continue
                worse = 0.08 + 0.55 * place / max(1, len(methods) - 1)
                if status == "done":
                    results.evaluate(trial, worse)
                if curves:
                    results.curve(trial, curves, 0.9 if place % 2 else 0.99, worse)
                if timed:
                    timing = results.unit(cell, "timing", method, seed)
                    results.metric(timing, "all", "seconds", 0.2 + 0.9 * ((place * 7) % 5) + 0.01 * seed)
    return to_data(results, cells, seeds, question)


def to_data(results: Results, cells: Sequence[tuple[str, str, str]], seeds: int, question: str) -> ReportData:
    units, metrics = results.frame("units"), results.frame("metrics")
    trials = derive(units, metrics)
    line = ", ".join([*(cells[0] if len(cells) == 1 else (f"{len(cells)} cells",)), f"{seeds} seeds"])
    return ReportData(
        study="digits",
        question=question,
        title_line=line,
        trials=trials,
        rankings=rank(
            trials,
            study="digits",
            also=("accuracy_test", "population_mia_val", "time_ratio", "run_time_efficiency"),
            draws=1_000,
        ),
        epochs=results.frame("epochs"),
        failures=results.frame("failures"),
        attacks=pl.DataFrame(schema=polars_schema("attacks")),
        definitions=frame(),
        units=units,
        cells=cell_table(trials),
        spread=in_retrain_sd(trials),
        friedman=tuple(friedman_tests(trials, ("retention_deviation", "indiscernibility_val"))),
    )


def _retrain(results: Results, cell: tuple[str, str, str], seed: int, timed: bool, curves: int) -> None:
    retrain = results.unit(cell, "retrain", "retrain", seed)
    results.evaluate(retrain, 0.0)
    if curves:
        results.curve(retrain, 2 * curves, 0.1, 0.0)
    if timed:
        timing = results.unit(cell, "timing", "retrain", seed)
        results.metric(timing, "all", "seconds", 4.0 + 0.05 * seed)


def _failure(trial: dict[str, Any]) -> dict[str, Any]:
    return trial | {
        "phase": "unlearn",
        "exception": "OutOfMemoryError",
        "message": "CUDA out of memory: tried to allocate 2.00 GiB",
        "traceback": "Traceback (most recent call last): ...",
        "device_memory": 15_000_000_000,
        "host": "worker",
        "started": START,
    }


def audited(data: ReportData, methods: Sequence[str] = METHODS) -> ReportData:
    """Return the data with an audit that finds more and more of what the methods should have forgotten."""
    rows: Rows = []
    for (pool, null, level), (place, method) in product(SETTINGS, enumerate(("retrain", *methods))):
        leak = 0.05 * place * (pool == "canary") * (1 if level == "L2" else 0.4)
        for metric, floor in (("auc", 0.5), ("tpr@0.01", 0.01), ("bacc@0", 0.5)):
            value = floor + leak * (0.6 if metric == "tpr@0.01" else 1)
            rows.append(
                {
                    "study": "digits",
                    "dataset": "digits",
                    "scenario": f"audit:{pool}",
                    "architecture": "cnn_small",
                    "method": method,
                    "config": "default",
                    "pool": pool,
                    "null": null,
                    "level": level,
                    "metric": metric,
                    "version": 1,
                    "value": value,
                    "se": 0.02,
                    "low": max(0.0, value - 0.045),
                    "high": min(1.0, value + 0.045),
                    "null_floor": floor,
                    "p_value": float(np.exp(-150 * leak)),
                    "n": 32,
                    "k_u": 16,
                    "k_o": 16,
                    "examples": 120,
                    "flags": "",
                }
            )
    attacks = pl.DataFrame(rows, schema=polars_schema("attacks"))
    return dataclasses.replace(data, attacks=attacks, roc=_roc(attacks, data.roc), **examples(("retrain", *methods)))


def examples(methods: Sequence[str], count: int = 40, shadows: int = 32) -> dict[str, pl.DataFrame]:
    """Return the frames effects, worlds and growth of methods of which each leaks more on the canaries than the one
    before, from simulated signals: phi is normal in both worlds."""
    random = np.random.default_rng(5)
    effects, worlds, growth = [], [], []
    for pool, (place, method) in product(("canary", "clean"), enumerate(methods)):
        key = {"dataset": "digits", "architecture": "cnn_small", "method": method, "config": "default", "pool": pool}
        true = place * (pool == "canary") * random.uniform(0, 1.4, count)
        phi = {world: random.normal(size=(shadows // 2, count)) for world in ("U", "O", "R")}
        phi["U"] += true
        sd = np.sqrt((phi["U"].var(axis=0, ddof=1) + phi["O"].var(axis=0, ddof=1)) / 2)
        d = (phi["U"].mean(axis=0) - phi["O"].mean(axis=0)) / sd
        se = np.sqrt(4 / shadows)
        p_value = 2 * ndtr(-np.abs(d / se))
        rank = np.argsort(np.argsort(p_value)) + 1
        most = max((r for r, p in zip(rank, p_value, strict=True) if p <= 0.05 * r / count), default=0)
        columns = {"null": "O", "example": range(count), "d": d, "se": se, "p_value": p_value, "flagged": rank <= most}
        effects.append(pl.DataFrame(key | columns, schema=EFFECTS))
        order = np.argsort(d)
        for example, (world, values) in product((order[-1], order[count // 2], order[0]), phi.items()):
            rows = key | {"example": int(example), "world": world, "phi": values[:, example]}
            worlds.append(pl.DataFrame(rows, schema=WORLDS))
        for n in (8, 16, 32):
            value, half = expected_auc(float(true.mean()), n) - 0.01, 0.3 / np.sqrt(n)
            seen = {"expected": value + 0.01, "detectable": 0.5 + 2.8 * auc_standard_error(n, count)}
            rows = {"null": "O", "n": n, "value": value, "low": value - half, "high": min(1.0, value + half)} | seen
            growth.append(pl.DataFrame(key | rows, schema=GROWTH))
    frames = {"effects": effects, "worlds": worlds, "growth": growth}
    return {name: pl.concat(parts) for name, parts in frames.items()}


def _roc(attacks: pl.DataFrame, empty: pl.DataFrame) -> pl.DataFrame:
    """Return the curves tpr = fpr ** power that have the AUC of the audit: 1 / (power + 1)."""
    rows: Rows = []
    for row in attacks.filter(pl.col("level") == "L2", pl.col("metric") == "auc").iter_rows(named=True):
        for fpr in np.logspace(-3, 0, 16)[:-1]:
            tpr = float(fpr ** (1 / row["value"] - 1))
            interval = {"low": tpr / 2, "high": min(1.0, 1.5 * tpr)}
            rows.append({name: row.get(name) for name in empty.columns} | {"fpr": float(fpr), "tpr": tpr} | interval)
    return pl.DataFrame(rows, schema=empty.schema)


class Spy:
    """Keeps what a panel draws, by the kind of mark."""

    def __init__(self, panel: Panel) -> None:
        self.drawn: dict[str, list[tuple[Any, ...]]] = {}
        panel.draw(self)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **_: self.drawn.setdefault(name, []).append(args)

    def of(self, name: str, colour: str) -> list[tuple[Any, ...]]:
        return [args for args in self.drawn.get(name, []) if colour in args]

    @property
    def texts(self) -> list[str]:
        return [args[1] for args in self.drawn.get("text", [])]


@dataclass
class Element:
    """One element of a page: its name, attributes, and all the text within it."""

    name: str
    attributes: dict[str, str]
    parents: tuple[str, ...]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """A parsed page: its elements in order, and its tables as rows of cells by caption."""

    html: str
    elements: list[Element] = field(default_factory=list)
    tables: dict[str, list[list[Element]]] = field(default_factory=dict)
    _open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)
        assert not self._open, self._open
        self._collect()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "link", "wbr", "br", "img"):
            self._open.append(self.elements[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        parents = tuple(element.name for element in self._open)
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}, parents))

    def handle_endtag(self, tag: str) -> None:
        closed = self._open.pop()
        assert closed.name == tag, f"{tag} closes {closed.name}"

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def _collect(self) -> None:
        rows: list[list[Element]] = []
        for element in self.elements:
            if element.name == "table":
                rows = []
            elif element.name == "caption":
                self.tables[element.text] = rows
            elif element.name == "tr":
                rows.append([])
            elif element.name in ("td", "th"):
                rows[-1].append(element)

    def named(self, *names: str) -> list[Element]:
        return [element for element in self.elements if element.name in names]


@pytest.fixture(scope="session")
def watch() -> Callable[[Panel], Spy]:
    """How to see what a panel draws."""
    return Spy


@pytest.fixture(scope="session")
def parse() -> Callable[[str], Page]:
    """How to parse a page."""
    return Page


@pytest.fixture(scope="session")
def with_audit() -> Callable[[ReportData], ReportData]:
    """How to add an audit to data."""
    return audited


@pytest.fixture(scope="session")
def make() -> Callable[..., ReportData]:
    """How to make the data of a study."""
    return make_data


@pytest.fixture(scope="session")
def data() -> ReportData:
    """A study of one cell with five methods, one of which fails."""
    return make_data(failing=("gradient_ascent",))
