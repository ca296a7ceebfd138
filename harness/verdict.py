"""What has to be said beside the numbers: whom the audit catches, and whose numbers flatter."""

from __future__ import annotations

import polars as pl

from harness.contracts.parts import VAL
from harness.contracts.run import BEST_TEST
from harness.frames import of_units, trials
from harness.labels import labels
from harness.metrics import audited_in_vain, idle, leaks
from harness.planner import Plan
from harness.ranking import REFERENCES
from harness.store import Store
from harness.study import Study
from harness.unit import Kind

Z = 1.96


def passes_but_fails(plan: Plan, store: Store) -> list[str]:
    """Return the labels of methods that pass the population attack and fail U-LiRA in some cell of a study.

    *Pass*: the mean population MIA over seeds (forget against val) is no further from 0.5 than the accuracy of
    guessing would be, 1.96 sqrt(1 / (8 n)) for n images on each side. *Fail*: it leaks on some audit pool against
    null O (`harness.metrics.leaks`).
    """
    failing = leaks(store.scan("attacks").filter(pl.col("study") == plan.study.name).collect()).filter("leaks")
    passing = _passes_population(plan, store)
    found = failing.join(passing, on=["dataset", "architecture", "method", "config"], how="semi")
    names = labels({(unit.method.name, unit.config) for unit in plan.units.values() if unit.kind == Kind.UNLEARN})
    return sorted(names[one] for one in set(found.select("method", "config").rows()) if one[0] not in REFERENCES)


def diverges_in_the_audit(plan: Plan, store: Store) -> list[str]:
    """Return the names of methods of which an audit can say nothing, because they diverge on the shadows."""
    rows = audited_in_vain(store.scan("attacks").filter(pl.col("study") == plan.study.name).collect())
    return sorted(set(rows["method"]))


def _passes_population(plan: Plan, store: Store) -> pl.DataFrame:
    key = ["dataset", "scenario", "architecture", "method", "config"]
    values = trials(store, plan.units).filter(pl.col("metric") == "population_mia_val")
    complete = values.group_by(key).agg(pl.col("value").mean(), missing=pl.col("value").null_count())
    means = complete.filter(pl.col("missing") == 0)  # a seed that diverged has passed nothing
    signals = of_units(store, "signals", plan.units).filter(pl.col("pool").is_in(["forget", "val"]))
    images = signals.group_by(key).agg(pl.col("n").min())
    margin = Z * (1 / (8 * pl.col("n"))).sqrt()
    return means.join(images, on=key).filter((pl.col("value") - 0.5).abs() <= margin)


def did_nothing(plan: Plan, store: Store) -> list[str]:
    """Return the labels of methods that left the weights of some original as they were."""
    names = labels({(unit.method.name, unit.config) for unit in plan.units.values() if unit.kind == Kind.UNLEARN})
    return sorted(names[one] for one in idle(trials(store, plan.units)))


def sees_validation(study: Study) -> list[str]:
    """Return the names of a study's methods that may read the validation part, which the others never saw."""
    return sorted({choice.spec.name for choice in study.methods if VAL in choice.spec.reads})


def chosen_on_test(study: Study) -> list[str]:
    """Return the names of a study's methods whose model is chosen by its accuracy on test, as some papers did."""
    return sorted({choice.spec.name for choice in study.methods if BEST_TEST in dict(choice.values).values()})
