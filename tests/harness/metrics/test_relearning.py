"""The Anamnesis Index, and how fast a trial reaches retrain's accuracy, on frames made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from harness.metrics import derive, usable
from harness.metrics.curves import areas, first_steps, retain_curves
from harness.ranking import rank_study

MOST = 90.0
NAMES = ("relearn_steps", "relearn_target", "relearn_steps_most")


def relearn(tables: Any, method: str, steps: float | None, target: float | None = 0.9, **columns: Any) -> None:
    """Add a unit of kind relearn."""
    tables.add("relearn", method, dict(zip(((n, "all") for n in NAMES), (steps, target, MOST), strict=True)), **columns)


def found(rows: pl.DataFrame, metric: str, method: str, seed: int = 0) -> float | str:
    """Return the value of a trial, or else its flag."""
    row = rows.filter(metric=metric, method=method, seed=seed).row(0, named=True)
    assert (row["value"] is None) == (row["flag"] is not None)
    return row["flag"] if row["value"] is None else row["value"]  # type: ignore[no-any-return]


@pytest.fixture
def relearned(tables: Any) -> pl.DataFrame:
    """Three seeds: retrain takes 8 steps; takes none; is not back in time."""
    for seed, steps in enumerate((8, 0, None)):
        for method in ("retrain", "original", "ct", "msg", "finetune", "scrub"):
            tables.trial(method, seed=seed)
        relearn(tables, "retrain", steps, seed=seed)
        relearn(tables, "ct", 2, seed=seed)
        relearn(tables, "msg", None, seed=seed)
        relearn(tables, "finetune", 0, seed=seed)
    tables.trial("kde", status="diverged")
    relearn(tables, "kde", None, status="diverged")
    tables.trial("cfw")
    relearn(tables, "cfw", None, status="diverged")
    tables.trial("rni")
    tables.add("relearn", "rni", status="failed")
    return derive(*tables.frames())


NOT_IN_TIME = "not relearned within 90 steps"


@pytest.mark.parametrize(
    ("method", "seed", "steps", "index"),
    [
        ("retrain", 0, 8, 1),
        ("ct", 0, 2, 0.25),
        ("msg", 0, NOT_IN_TIME, NOT_IN_TIME),
        ("finetune", 0, 0, 0),
        ("original", 0, 0, 0),
        ("scrub", 0, "not measured", "not measured"),
        ("kde", 0, "trial diverged", "trial diverged"),
        ("cfw", 0, "relearning diverged", "relearning diverged"),
        ("rni", 0, "relearning failed", "relearning failed"),
        ("retrain", 1, 0, "retrain's relearn_steps is 0"),
        ("ct", 1, 2, "retrain's relearn_steps is 0"),
        ("finetune", 1, 0, "retrain's relearn_steps is 0"),
        ("retrain", 2, NOT_IN_TIME, NOT_IN_TIME),
        ("ct", 2, 2, f"retrain: {NOT_IN_TIME}"),
        ("original", 2, 0, f"retrain: {NOT_IN_TIME}"),
        ("msg", 2, NOT_IN_TIME, NOT_IN_TIME),
    ],
)
def test_the_index_is_steps_over_retrains_or_says_why_not(
    relearned: pl.DataFrame, method: str, seed: int, steps: float | str, index: float | str
) -> None:
    assert found(relearned, "relearn_steps", method, seed) == steps
    assert found(relearned, "anamnesis", method, seed) == index


def test_each_config_and_cell_has_its_own(tables: Any) -> None:
    for scenario, steps in (("class:1", 4.0), ("class:2", 5.0)):
        for method, config in (("retrain", "default"), ("ct", "default"), ("ct", "lr=0.1")):
            tables.trial(method, scenario=scenario, config=config)
        relearn(tables, "retrain", steps, scenario=scenario)
        relearn(tables, "ct", 10, scenario=scenario)
        relearn(tables, "ct", 20, scenario=scenario, config="lr=0.1")
    rows = derive(*tables.frames()).filter(metric="anamnesis", method="ct").sort("scenario", "config")
    assert rows["value"].to_list() == [2.5, 5, 2, 4]


def test_without_a_target_nothing_is_known_of_the_original_either(tables: Any) -> None:
    for method in ("retrain", "original", "ct"):
        tables.trial(method)
    for method in ("retrain", "ct"):
        relearn(tables, method, None, target=None)
    rows = derive(*tables.frames())
    for method in ("retrain", "original", "ct"):
        assert found(rows, "relearn_steps", method) == found(rows, "anamnesis", method) == "not computable"


def test_where_nobody_asked_nothing_is_measured_and_no_ranking_changes(tables: Any) -> None:
    for seed in range(2):
        for method in ("retrain", "original", "ct", "msg"):
            tables.trial(method, seed=seed)
    before = derive(*tables.frames())
    own = before.filter(pl.col("metric").is_in(["relearn_steps", "anamnesis", "distill_steps", "distill_auc"]))
    assert len(own) == 4 * 8
    assert own["value"].null_count() == len(own)
    assert set(own["flag"]) == {"not measured"}
    assert usable(before, {"digits": 10})["usable"].all()
    assert "anamnesis" not in set(rank_study(before, study="s", classes={"digits": 10})["metric"])
    for seed in range(2):
        relearn(tables, "retrain", 8, seed=seed)
        relearn(tables, "ct", 6, seed=seed)
        relearn(tables, "msg", 24, seed=seed)
    ranked = rank_study(derive(*tables.frames()), study="s", classes={"digits": 10})
    rows = ranked.filter(metric="anamnesis", group="overall")
    ranks = {row["method"]: (row["value"], row["rank"], row["status"]) for row in rows.iter_rows(named=True)}
    assert ranks == {
        "ct": (0.75, 1, "ranked"),  # nearest to 1, not largest and not smallest
        "msg": (3, 2, "ranked"),
        "retrain": (1, None, "reference"),
        "original": (0, None, "reference"),
    }


def curve(unit: str, *points: tuple[int | None, float | None]) -> list[dict[str, Any]]:
    """Return rows of `epochs`."""
    return [{"unit": unit, "epoch": n, "steps": steps, "retain": r} for n, (steps, r) in enumerate(points)]


def epochs_of(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    schema = {"unit": pl.String(), "epoch": pl.Int32(), "steps": pl.Int64(), "retain": pl.Float64()}
    return pl.DataFrame(rows, schema=schema)


def test_areas_are_those_of_trapezes_over_steps_not_epochs() -> None:
    rows = [
        *curve("a", (0, 0.2), (10, 0.6), (40, 0.8)),  # (10 x 0.4 + 30 x 0.7) / 40
        *curve("b", (0, 0.5), (0, 0.9)),  # an epoch without a step
        *curve("c", (0, 1.0), (7, 1.0), (8, 1.0)),
        *curve("d", (0, 0.1), (None, 0.5), (10, 0.3)),  # an epoch of which the steps are not known
        *curve("e", (5, 0.0), (5, 0.5), (15, 1.0)),  # steps before the curve begins
    ]
    found = dict(areas(retain_curves(epochs_of(rows[::-1]))).rows())  # in whatever order they come
    assert found == {"a": pytest.approx(0.625), "b": None, "c": 1, "d": pytest.approx(0.2), "e": pytest.approx(0.75)}


def test_the_first_epoch_that_reaches_counts_even_if_it_falls_again() -> None:
    rows = [
        *curve("a", (0, 0.0), (10, 0.72), (20, 0.5), (30, 0.9)),
        *curve("b", (0, 0.9), (10, 0.1)),
        *curve("c", (0, 0.0), (10, 0.7199)),
    ]
    wanted = pl.DataFrame({"unit": ["a", "b", "c"], "wanted": [0.9 * 0.8] * 3})
    assert dict(first_steps(retain_curves(epochs_of(rows)), wanted).rows()) == {"a": 10, "b": 0, "c": None}


def test_a_trial_is_held_against_retrain_of_its_seed(tables: Any) -> None:
    for seed, retain in enumerate((0.8, 1.0)):
        tables.trial("retrain", {"retain": retain}, seed=seed)
        for method in ("original", "ct", "msg"):
            tables.trial(method, seed=seed)
    tables.trial("kde", status="diverged")
    tables.trial("ct", seed=2)
    ids = {(row["method"], row["seed"]): row["unit"] for row in tables.unit_rows}
    own = ((0, 0.1), (10, 0.75), (20, 0.85))
    rows = [row for key in (("ct", 0), ("ct", 1), ("ct", 2), ("kde", 0)) for row in curve(ids[key], *own)]
    rows += curve(ids["retrain", 0], (0, 0.0), (50, 0.8))
    rows += curve(ids["msg", 0], (0, 0.8))
    rows += [row | {"steps": None} for row in curve(ids["msg", 1], *own)]  # from before steps were stored
    values = derive(*tables.frames(), epochs_of(rows))
    expected: dict[tuple[str, int], tuple[float | str, float | str]] = {
        ("ct", 0): (10, 0.6125),
        ("ct", 1): ("never at 90 % of retrain's accuracy_retain", 0.6125),
        ("ct", 2): ("no retrain of this seed", 0.6125),
        ("retrain", 0): (50, 0.4),
        ("msg", 0): (0, "takes no step"),
        ("msg", 1): ("not measured", "not measured"),
        ("original", 0): ("not measured", "not measured"),
        ("kde", 0): ("trial diverged", "trial diverged"),
    }
    for (method, seed), (steps, area) in expected.items():
        assert found(values, "distill_steps", method, seed) == steps
        known = found(values, "distill_auc", method, seed)
        assert known == (area if isinstance(area, str) else pytest.approx(area))
    others = derive(*tables.frames()).filter(~pl.col("metric").str.starts_with("distill"))
    assert others.equals(values.filter(~pl.col("metric").str.starts_with("distill")))
