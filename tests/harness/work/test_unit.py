"""One attempt at a unit: what it leaves behind when it ends well, diverges or fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import torch
from tiny_lab import ORIGINAL, QUICK, SHADOW, SPEC, Lab, gan, unit
from torch import nn

from harness import registry
from harness.check import problem as tiny
from harness.contracts import DATASETS, RETAIN, Images, Part, Run, View
from harness.metrics import DRAWN_PARTS, LIKENESS_METRICS, LIKENESS_PARTS, PROBE_METRICS, TRIO_METRICS
from harness.origin import Suggested
from harness.store import SCHEMAS, Store
from harness.unit import Kind
from tasks.methods._dcgan import generator

MakeLab = Callable[..., Lab]
Declare = Callable[[str, Collection[Part], Callable[[nn.Module, View, Run], nn.Module]], None]

UNITS = {
    Kind.ORIGINAL: ORIGINAL,
    Kind.RETRAIN: unit(Kind.RETRAIN, "retrain"),
    Kind.ARTIFACT: gan("retain"),
    Kind.SEARCH: replace(
        unit(Kind.SEARCH, "finetune"), origin=Suggested("random", 0, (0,), 0), drawn={"weight_decay": 0.01}
    ),
    Kind.UNLEARN: unit(Kind.UNLEARN, "finetune"),
    Kind.RELEARN: unit(Kind.RELEARN, "finetune"),
    Kind.ATTACK: unit(Kind.ATTACK, "finetune"),
    Kind.COMPARE: unit(Kind.COMPARE, "finetune"),
    Kind.PROBE: unit(Kind.PROBE, "finetune"),
    Kind.SHADOW: SHADOW,
    Kind.SHADOW_RETRAIN: unit(Kind.SHADOW_RETRAIN, "retrain", pool="canary"),
    Kind.SHADOW_UNLEARN: unit(Kind.SHADOW_UNLEARN, "finetune", pool="canary"),
    Kind.TIMING: unit(Kind.TIMING, "finetune"),
}
"""One unit of each kind, each after what it needs."""


def stored(metric: str) -> tuple[str, str]:
    """Return part and metric of a number that is stored of a comparison."""
    name, _, part = metric.rpartition("_")
    return (part, name) if part in LIKENESS_PARTS else ("all", metric)


BOTH = ("accuracy", "loss")
OF_TRIALS = {(part, metric) for part in ("retain", "forget", "val", "test") for metric in BOTH} | {
    (part, "population_mia") for part in ("val", "test")
}
OF_SHADOWS = {("test", metric) for metric in BOTH}
SVC_MIA = {("forget", "mia_confidence"), ("forget", "mia_entropy")}
F1 = {("test", "f1"), ("test", "f1_over_chance")}
COSTS = {(part, "images_seen") for part in DRAWN_PARTS} | {("all", "optimiser_steps"), ("all", "artifact_bytes")}
UNKNOWN = {Kind.PROBE: {("all", f"relearn_accuracy_{shots}") for shots in (10, 50, 100)}}
"""What 12 forget images are too few for."""
METRICS = {
    Kind.ORIGINAL: {(part, metric) for part in ("train", "val", "test") for metric in BOTH},
    Kind.RETRAIN: OF_TRIALS | SVC_MIA | F1 | COSTS,
    Kind.ARTIFACT: COSTS,
    Kind.SEARCH: {(part, metric) for part, metric in OF_TRIALS if part != "test"},
    Kind.UNLEARN: OF_TRIALS | SVC_MIA | F1 | COSTS | {("all", "changed_weights")},
    Kind.RELEARN: {("all", f"relearn_{name}") for name in ("steps", "target", "steps_most")},
    Kind.ATTACK: {("test", metric.removesuffix("_test")) for metric in TRIO_METRICS},
    Kind.COMPARE: {stored(metric) for metric in LIKENESS_METRICS},
    Kind.PROBE: {("all", metric) for metric in PROBE_METRICS},
    Kind.TIMING: {("all", "seconds")},
    Kind.SHADOW: OF_SHADOWS,
    Kind.SHADOW_RETRAIN: OF_SHADOWS,
    Kind.SHADOW_UNLEARN: OF_SHADOWS,
}
TRIAL_POOLS = {"forget", "val", "test"}
POOLS = {
    Kind.RETRAIN: TRIAL_POOLS,
    Kind.UNLEARN: TRIAL_POOLS,
    Kind.SHADOW: {"canary", "clean"},
    Kind.SHADOW_RETRAIN: {"canary", "population"},
    Kind.SHADOW_UNLEARN: {"canary", "population"},
}
TIMES = ("seconds", "work_seconds", "started")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A root with one unit of every kind."""
    registry.load()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS._specs, "tiny", SPEC)
        lab = Lab(Store.open(str(tmp_path_factory.mktemp("runs")), write=True))
        assert {kind: lab.perform(UNITS[kind], attempt=3) for kind in UNITS} == dict.fromkeys(Kind, "done")
    return lab


def test_units_of_every_kind_leave_rows_that_can_be_stored_folded_and_read(full: Lab) -> None:
    before = {table: content(full, table) for table in SCHEMAS}
    assert full.store.fold() == len(UNITS)
    assert {table: content(full, table) for table in SCHEMAS} == before
    assert full.store.committed() == {done.id for done in UNITS.values()}
    for done in UNITS.values():
        for table in ("units", "metrics", "epochs", "signals", "hyperparameters"):
            for row in full.rows(table, done):
                assert row | done.columns() | {"attempt": 3} == row


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_leaves_the_metrics_and_signals_that_others_count_on(full: Lab, kind: Kind) -> None:
    done = UNITS[kind]
    metrics = full.metrics(done)
    assert set(metrics) == METRICS[kind]
    assert {name for name, value in metrics.items() if value is None} == UNKNOWN.get(kind, set())
    signals = full.signals(done)
    assert set(signals) == POOLS.get(kind, set())
    for row in full.rows("signals", done):
        assert row["query"] == "identity"
        assert row["n"] == len(row["phi"]) == len(row["member"]) > 0
    assert bool(full.rows("epochs", done)) == (kind in (Kind.ORIGINAL, Kind.RETRAIN, Kind.ARTIFACT, Kind.UNLEARN))
    kept = kind not in (Kind.TIMING, Kind.SEARCH, Kind.SHADOW_RETRAIN, Kind.SHADOW_UNLEARN) and not kind.of_trial
    assert full.store.has_model(done.id) == kept == (full.row(done)["model"] is not None)


@pytest.mark.parametrize("kind", Kind)
def test_the_row_of_a_unit_says_what_it_cost_and_where(full: Lab, kind: Kind) -> None:
    row = full.row(UNITS[kind])
    assert row["status"] == "done"
    assert 0 < row["work_seconds"] <= row["seconds"]
    if kind in (Kind.ATTACK, Kind.COMPARE):
        assert row["steps"] == 0  # nothing is trained but the attackers
    elif kind == Kind.ARTIFACT:
        assert row["steps"] == UNITS[kind].values["steps"]
    elif kind == Kind.PROBE:
        assert row["steps"] == 2 * 10 + 2 * 500  # images are shown twice, and two heads trained
    elif kind == Kind.RELEARN:
        assert row["steps"] == full.metrics(UNITS[kind])["all", "relearn_steps"]
    else:
        assert row["steps"] == 2 * (1 if kind.of_farm else 2)  # epochs x batches of 24; a shadow has half of 40 images
    network = generator(SPEC.format, 4) if kind == Kind.ARTIFACT else tiny.initial("cnn_small")
    assert row["parameters"] == sum(p.numel() for p in network.parameters())
    assert (row["device"], row["share"], row["peak_memory"]) == ("cpu", 1.0, None)
    assert abs((datetime.now(UTC) - row["started"]).total_seconds()) < 300
    assert json.loads(row["versions"])["torch"] == torch.__version__
    values = json.loads(row["hyperparameters"])
    given = QUICK if UNITS[kind].method.name == "finetune" else {}
    assert values.items() >= {**given, **(UNITS[kind].drawn or {})}.items()
    rows = full.rows("hyperparameters", UNITS[kind])
    assert {r["name"]: r["number"] if r["text"] is None else r["text"] for r in rows} == values


def content(lab: Lab, table: str, without: Collection[str] = ()) -> list[str]:
    """Return the rows of a table as sorted text, some columns left out; then also measured seconds."""
    rows = lab.store.scan(table).collect().rows(named=True)
    if without:
        rows = [row for row in rows if row.get("metric") != "seconds"]
    return sorted(repr({k: v for k, v in row.items() if k not in without}) for row in rows)


def test_results_follow_from_the_seed_and_not_from_what_ran_before(make_lab: MakeLab) -> None:
    """All kinds forwards, then in an order as different as needs allow, with other work and draws between."""
    one, other = make_lab(), make_lab()
    one.perform(*UNITS.values())
    for done in sorted(UNITS.values(), key=lambda done: (len(done.needs), done.id)):
        other.perform(unit(Kind.RETRAIN, "retrain", seed=7))
        torch.manual_seed(len(done.id))
        other.perform(done)
    ids = {done.id for done in UNITS.values()}
    for table in SCHEMAS:
        rows = [row for row in content(other, table, TIMES) if any(unit in row for unit in ids)]
        assert content(one, table, TIMES) == rows


def test_another_seed_gives_another_result(lab: Lab) -> None:
    for kind in (Kind.ORIGINAL, Kind.RETRAIN, Kind.UNLEARN):
        same = [replace(UNITS[kind], seed=seed) for seed in (0, 1)]
        lab.perform(ORIGINAL, *same)
        assert lab.row(same[0])["model"] != lab.row(same[1])["model"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", [Kind.UNLEARN, Kind.SHADOW_UNLEARN])
def test_a_diverged_model_is_a_result(lab: Lab, declare: Declare, kind: Kind, value: float) -> None:
    def diverge(model: nn.Module, data: View, run: Run) -> nn.Module:
        with torch.no_grad():
            list(model.parameters())[-1].fill_(value)
        return model

    declare("divergent", (), diverge)
    trial = unit(kind, "divergent", pool="canary" if kind.of_farm else "")
    assert lab.perform(ORIGINAL, SHADOW, trial) == "diverged"
    assert lab.row(trial)["status"] == "diverged"
    assert trial.id in lab.store.committed()
    metrics = lab.metrics(trial)
    assert set(metrics) == METRICS[kind]
    known = {"accuracy"} | {name for _, name in COSTS}
    assert {value for (_, name), value in metrics.items() if name not in known} == {None}
    assert all(len(phi) == len(member) > 0 for phi, member in lab.signals(trial).values())
    assert not any(torch.isfinite(torch.tensor(phi)).all() for phi, _ in lab.signals(trial).values())


def raises(error: BaseException) -> Callable[..., Any]:
    def act(*args: object, **kwargs: object) -> Any:
        raise error

    return act


class Unspeakable(Exception):
    """An error whose message cannot be made."""

    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("boom"),
        SystemExit(1),
        MemoryError(),
        GeneratorExit(),
        RuntimeError("a\x00b\udcff"),
        RuntimeError("x" * 10**5),
        Unspeakable(),
    ],
    ids=["error", "exit", "memory", "generator", "not utf-8", "long", "unspeakable"],
)
def test_whatever_a_method_raises_is_a_row(lab: Lab, declare: Declare, error: BaseException) -> None:
    declare("broken", {RETAIN}, raises(error))
    trial = unit(Kind.UNLEARN, "broken")
    assert lab.perform(ORIGINAL, trial) == "failed"
    (failure,) = lab.rows("failures", trial)
    assert (failure["phase"], failure["exception"]) == ("unlearn", type(error).__name__)
    assert failure | trial.columns() | {"attempt": 1} == failure
    assert type(error).__name__ in failure["traceback"] or len(failure["message"]) == 2000
    assert lab.row(trial)["status"] == "failed"
    assert trial.id not in lab.store.committed()


def test_ctrl_c_leaves_no_trace_of_the_unit(lab: Lab, declare: Declare) -> None:
    declare("interrupted", {RETAIN}, raises(KeyboardInterrupt()))
    lab.perform(ORIGINAL)
    with pytest.raises(KeyboardInterrupt):
        lab.perform(unit(Kind.UNLEARN, "interrupted"))
    assert lab.store.committed() == {ORIGINAL.id}
    assert lab.store.attempts() == {}


def test_a_failure_names_its_phase(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    images = tiny.images()
    wrong_labels = Images(images.images, images.labels + tiny.CLASSES)
    no_reader = make_lab()
    monkeypatch.setattr(no_reader.bench, "reader", raises(OSError("unplugged")))
    full = make_lab()
    monkeypatch.setattr(type(full.store), "save_model", raises(OSError("no space left on device")))
    for lab, failing, phase, exception in (
        (no_reader, ORIGINAL, "load", "OSError"),
        (no_reader, SHADOW, "load", "OSError"),
        (make_lab(), UNITS[Kind.UNLEARN], "load", "ModelMissing"),
        (make_lab(wrong_labels), ORIGINAL, "train", "RuntimeError"),
        (full, ORIGINAL, "commit", "OSError"),
    ):
        assert lab.perform(failing) == "failed"
        (row,) = lab.rows("failures", failing)
        assert (row["phase"], row["exception"]) == (phase, exception)


def reads_forget(model: nn.Module, data: View, run: Run) -> nn.Module:
    len(data.forget)
    return model


def test_methods_fail_where_they_break_their_promise(
    lab: Lab, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare("blind", {RETAIN}, reads_forget)
    declare("lost", (), lambda model, data, run: None)  # type: ignore[arg-type, return-value]
    lab.perform(ORIGINAL, SHADOW)
    for kind, pool in ((Kind.UNLEARN, ""), (Kind.SHADOW_UNLEARN, "clean")):
        for name, phase, exception in (("blind", "unlearn", "UndeclaredRead"), ("lost", "unlearn", "NotItsModel")):
            failing = unit(kind, name, pool=pool)
            assert lab.perform(failing) == "failed"
            (row,) = lab.rows("failures", failing)
            assert (row["phase"], row["exception"]) == (phase, exception)
    monkeypatch.setattr("harness.work.attacked.population_mia", raises(RuntimeError("boom")))
    assert lab.perform(UNITS[Kind.UNLEARN]) == "failed"
    assert lab.rows("failures", UNITS[Kind.UNLEARN])[0]["phase"] == "attack"


def test_attempts_are_counted_until_one_succeeds(lab: Lab, declare: Declare) -> None:
    trial, hopeless = unit(Kind.UNLEARN, "moody"), [True]

    def moody(model: nn.Module, data: View, run: Run) -> nn.Module:
        if hopeless[0]:
            raise RuntimeError("not today")
        return model

    declare("moody", (), moody)
    lab.perform(ORIGINAL)
    for attempt in (1, 2):
        assert lab.perform(trial, attempt=attempt) == "failed"
        assert lab.store.attempts() == {trial.id: attempt}
    hopeless[0] = False
    assert lab.perform(trial, attempt=3) == "done"
    assert lab.store.attempts() == {}
    assert (lab.row(trial)["status"], lab.row(trial)["attempt"]) == ("done", 3)
    assert len(lab.rows("failures", trial)) == 2
