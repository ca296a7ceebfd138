"""What is rebuilt from the tables at any time: the ranking and the report of a study."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import polars as pl

from harness.audit import FarmAudit, attack_rows, audit_farm, challenge_rows
from harness.errors import HarnessError, one_line
from harness.farm import EVERYTHING
from harness.frames import of_units, trials
from harness.metrics import frame as definitions
from harness.planner import Plan
from harness.pricing.costs import measured
from harness.ranking import compare_cells, friedman_study, rank_study, spread_study
from harness.registry import caution_of, follows, parse_scenario
from harness.search.table import search_rows
from harness.store import Store
from harness.store.schemas import polars_schema
from harness.tracking import TrackingUnavailable, sync_in_time
from harness.unit import Kind
from harness.verdict import chosen_on_test, sees_validation

if TYPE_CHECKING:
    from harness.work import Workbench


class NothingRan(HarnessError):
    """A view was asked for before any unit of the study ran."""


def refuse_empty(plan: Plan, store: Store) -> None:
    """Raise `NothingRan` unless a root holds at least one finished unit of a plan."""
    if store.committed().isdisjoint(plan.units):
        raise NothingRan(f"nothing of plan {plan.id} is in {store.address}; run the study first")


@dataclass(frozen=True)
class Written:
    """Where the report of a study is (None: it could not be written), and in one line each what could not be done."""

    report: str | None
    missing: tuple[str, ...] = ()


def rebuild(plan: Plan, store: Store) -> Written:
    """Rewrite the tables `rankings`, `attacks`, `costs` and `definitions`, the report and MLflow from the others."""
    values = trials(store, plan.units)
    ranked = rank_study(values, study=plan.study.name, classes=classes_of(plan))
    audited = _audited(plan, store)
    attacked = _attacked(plan, store, values, audited)
    if attacked is not None:
        store.replace("attacks", attacked, {"study": plan.study.name})
    if plan.study.search is not None:
        store.replace("searches", search_rows(plan.units, plan.study.name, store), {"study": plan.study.name})
    store.replace("rankings", ranked, {"study": plan.study.name})
    store.replace("definitions", definitions(), {})
    store.replace("costs", measured(store), {})
    page, missing = None, []
    # Views can be made again at any time: one that fails must not cost the screen of a finished run.
    try:
        page = _report(plan, store, values, ranked, audited, attacked)
    except Exception as error:
        missing.append(f"the report could not be written: {one_line(error)}; try: harness report {plan.study.name}")
    try:
        sync_in_time(plan, store)
    except TrackingUnavailable as error:
        missing.append(f"MLflow is not up to date: {error}")
    except Exception as error:
        missing.append(f"MLflow is not up to date: {one_line(error)}; try: harness sync {plan.study.name}")
    return Written(page, tuple(missing))


def classes_of(plan: Plan) -> dict[str, int]:
    """Return the number of classes of each data set of a study."""
    return plan.classes()


def attacks(plan: Plan, store: Store) -> pl.DataFrame:
    """Return the `attacks` rows of a study from what its farm has left so far."""
    assert plan.study.farm is not None
    return attack_rows(plan.units, plan.study.farm, plan.study.name, store)


def _audited(plan: Plan, store: Store) -> FarmAudit | None:
    farm = plan.study.farm
    return None if farm is None else audit_farm(plan.units, farm, plan.study.name, store)


def _attacked(plan: Plan, store: Store, values: pl.DataFrame, audited: FarmAudit | None) -> pl.DataFrame | None:
    """Return what the table `attacks` holds of a study: its audit, and the challenge's score; None without either."""
    found = [] if audited is None else [audited.attacks]
    if "challenge" in plan.study.measures:
        found.append(challenge_rows(plan.units, values, plan.study.name, store))
    return pl.concat(found) if found else None


def _report(
    plan: Plan,
    store: Store,
    values: pl.DataFrame,
    rankings: pl.DataFrame,
    audited: FarmAudit | None,
    attacked: pl.DataFrame | None,
) -> str:
    from harness.report import ReportData, render
    from harness.report.data import PLANNED, SHEETS, TRACES

    study, classes = plan.study, classes_of(plan)
    units, traces = (of_units(store, name, plan.units) for name in ("units", "traces"))
    by_artifact = pl.col("kind") == Kind.ARTIFACT
    made = units.select("unit", "status", "steps", "work_seconds")
    data = ReportData(
        study=study.name,
        question=study.question,
        title_line=title_line(plan),
        sees_validation=tuple(sees_validation(study)),
        chosen_on_test=tuple(chosen_on_test(study)),
        cautions=cautions_of(plan),
        trials=values,
        rankings=rankings,
        epochs=of_units(store, "epochs", plan.units),
        traces=traces.filter(~by_artifact).select(TRACES.names()),
        sheets=of_units(store, "sheets", plan.units).join(made, on="unit").select(SHEETS.names()),
        artifact_traces=traces.filter(by_artifact).select(TRACES.names()),
        forget_classes={name: parse_scenario(name).forget_classes for name in _scenarios(plan)},
        follows={name: follows(name) for name in _scenarios(plan)},
        failures=of_units(store, "failures", plan.units),
        attacks=polars_schema("attacks").to_frame() if attacked is None else attacked,
        definitions=definitions(),
        units=units,
        cells=compare_cells(values, classes=classes),
        spread=spread_study(values, classes=classes),
        friedman=tuple(friedman_study(values, classes=classes)),
        planned=pl.DataFrame([unit.columns() for unit in plan.units.values()], schema=PLANNED),
    )
    if audited is not None:
        data = replace(data, roc=audited.roc, effects=audited.effects, worlds=audited.worlds, growth=audited.growth)
    return store.write_report(study.name, render(data).encode())


def _scenarios(plan: Plan) -> set[str]:
    return {unit.scenario.name for unit in plan.units.values() if unit.kind == Kind.UNLEARN}


def cautions_of(plan: Plan) -> tuple[str, ...]:
    """Return what has to be said with the numbers of a study's scenarios, a sentence or two each; empty for most."""
    scenarios = dict.fromkeys(unit.scenario.name for unit in plan.units.values() if unit.kind == Kind.UNLEARN)
    return tuple(filter(None, map(caution_of, scenarios)))


def has_pools(plan: Plan, store: Store) -> bool:
    """Say whether the `pools` table holds all that `keep_pools` writes."""
    farm = plan.study.farm
    assert farm is not None
    names = (*farm.pools, EVERYTHING) if farm.draws else farm.pools
    farms = {(unit.dataset.label, unit.farm.digest) for unit in plan.units.values() if unit.farm is not None}
    known = set(store.scan("pools").select("dataset", "farm", "pool").collect().rows())
    return known >= {(*farm, name) for farm in farms for name in names}


def keep_pools(plan: Plan, store: Store, bench: Workbench) -> None:
    """Write the `pools` table: with `signals`, all that an outside auditor needs. Every pool of a row of `signals` is
    there (but the population: the first images of test), so with half splits the same images under each draw."""
    assert plan.study.farm is not None
    shadows = {unit.dataset.label: unit for unit in plan.units.values() if unit.kind == Kind.SHADOW}
    for dataset, unit in shadows.items():
        assert unit.farm is not None
        audited = bench.audited(unit)
        labels = bench.dataset(unit.dataset).labels[audited.train]
        for name in dict.fromkeys((*audited.pools, *plan.study.farm.pools)):
            pool = audited.pool(name)
            rows = pl.DataFrame(
                {
                    "dataset": dataset,
                    "farm": unit.farm.digest,
                    "pool": name,
                    "index": audited.train[pool.positions],
                    "label": labels[pool.positions],
                    "trained_label": pool.trained_labels,
                    "kind": pool.spec.labels,
                }
            )
            store.replace("pools", rows, {"dataset": dataset, "farm": unit.farm.digest, "pool": name})


def title_line(plan: Plan) -> str:
    """Return what was compared in one line, such as `digits, cnn_small, random:0.1, 3 seeds`."""
    study = plan.study
    named = [
        _few("data sets", [dataset.label for dataset in study.datasets]),
        _few("architectures", [architecture.name for architecture in study.architectures]),
        _few("scenarios", list(study.scenarios)),
        f"{len(study.seeds)} seed{'s' if len(study.seeds) > 1 else ''}",
    ]
    return ", ".join(named)


def _few(kind: str, names: list[str]) -> str:
    return " ".join(names) if len(names) <= 3 else f"{len(names)} {kind}"
