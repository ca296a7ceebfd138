"""From the numbers of trials to composite scores: each trial's beside those of the retrain and original of its seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from harness.metrics.composite import TOW_PARTS, Judged, aus, gum, nomus, tug_of_war

KEPT, ASKED, BY_CLASS = "accuracy on what is kept", "accuracy on what is asked for", "whether classes are forgotten"
MIA, CONFIDENCE = "population_mia_test", "mia_confidence_forget"
F1 = "f1_over_chance_test"
_STORED = (*(f"accuracy_{part}" for part in TOW_PARTS), MIA, CONFIDENCE, F1, "seconds")
_OTHERS = {"retrain": (*_STORED, KEPT), "original": (MIA, KEPT)}

Needs = Sequence[str]


def composites(rows: pl.DataFrame, trial: Sequence[str], where: Sequence[str], not_measured: str) -> pl.DataFrame:
    """Return a row for each trial and composite score: `trial`, status, metric, value, reason (why there is none).

    `rows` are numbers of trials with metric, value and flag, seconds among them; `trial` are the columns that name a
    trial, `where` those that it shares with its retrain and its original; `not_measured` is the flag of a number that
    others have.
    """
    wide = _wide(pl.concat([rows, *_by_class(rows, trial, not_measured)]), trial, where)
    return pl.concat(
        wide.select(*trial, "status", metric=pl.lit(metric), value=value, reason=_reason(needs, not_measured))
        for metric, (needs, value) in _formulas().items()
    )


def _formulas() -> Mapping[str, tuple[Needs, pl.Expr]]:
    """Return what each score needs, in which order a lack is told, and its value."""
    accuracies = [f"accuracy_{part}" for part in TOW_PARTS]
    gaps = {name: pl.col(name) - pl.col(f"retrain {name}") for name in (*accuracies, CONFIDENCE, KEPT)}
    of_mia, of_salun = [CONFIDENCE, *accuracies[1:]], [*accuracies[:2], KEPT, CONFIDENCE]
    distance = pl.when(pl.col(BY_CLASS) == 1).then(pl.col(ASKED)).otherwise((pl.col(ASKED) - pl.col(KEPT)).abs())
    own, retrain = (
        Judged(pl.col(f"{whose}{F1}"), pl.col(f"{whose}{MIA}"), pl.col(f"{whose}seconds")) for whose in ("", "retrain ")
    )
    mean_gap = pl.mean_horizontal(gaps[name].abs() for name in of_salun)
    return {
        "tow": (_both(accuracies), tug_of_war(*(gaps[name] for name in accuracies))),
        "tow_mia": (_both(of_mia), tug_of_war(*(gaps[name] for name in of_mia))),
        "nomus": (("accuracy_test", MIA), nomus(pl.col("accuracy_test"), pl.col(MIA))),
        "aus": ((KEPT, ASKED, f"original {KEPT}"), aus(pl.col(KEPT), pl.col(f"original {KEPT}"), distance)),
        "gum": ((*_both([F1, MIA, "seconds"]), f"original {MIA}"), gum(own, retrain, pl.col(f"original {MIA}"))),
        "average_gap": (_both(of_salun), mean_gap),
    }


def _both(names: Sequence[str]) -> Needs:
    return (*names, *(f"retrain {name}" for name in names))


def _by_class(rows: pl.DataFrame, trial: Sequence[str], not_measured: str) -> list[pl.DataFrame]:
    """Return accuracy on what is kept and on what is asked for: on test by its classes, where these are forgotten."""
    found = []
    for name, of_classes, plain in (
        (KEPT, "accuracy_test_retain", "accuracy_test"),
        (ASKED, "accuracy_test_forget", "accuracy_forget"),
    ):
        was_measured = pl.col("flag").is_null() | (pl.col("flag") != not_measured)
        special = rows.filter(pl.col("metric") == of_classes, was_measured)
        others = rows.filter(pl.col("metric") == plain).join(special, on=trial, how="anti")
        found += [part.with_columns(metric=pl.lit(name)) for part in (special, others)]
    flags = [
        part.with_columns(metric=pl.lit(BY_CLASS), value=pl.lit(is_class))
        for part, is_class in zip(found[:2], (1.0, 0.0), strict=True)
    ]
    return [*found, *flags]


def _wide(rows: pl.DataFrame, trial: Sequence[str], where: Sequence[str]) -> pl.DataFrame:
    """Return one row for each trial: a column for each number, its own and `retrain …`, `original …`; one for flags."""
    wide = rows.select(*trial, "status").unique(trial, maintain_order=True)
    for name in (*_STORED, KEPT, ASKED, BY_CLASS):
        wide = wide.join(_column(rows, name, name, trial), on=trial, how="left")
    for method, names in _OTHERS.items():
        theirs = rows.filter(pl.col("method") == method)
        for name in names:
            column = _column(theirs, name, f"{method} {name}", where)
            wide = wide.join(column, on=where, how="left")
    return wide


def _column(rows: pl.DataFrame, metric: str, name: str, key: Sequence[str]) -> pl.DataFrame:
    own = rows.filter(pl.col("metric") == metric).unique(key, keep="first", maintain_order=True)
    return own.select(*key, pl.col("value").alias(name), pl.col("flag").alias(_flag(name)), there=True).rename(
        {"there": _there(name)}
    )


def _reason(needs: Needs, not_measured: str) -> pl.Expr:
    reasons = []
    for name in needs:
        whose = next((method for method in _OTHERS if name.startswith(f"{method} ")), None)
        absent = not_measured if whose is None else f"no {whose} of this seed, or not measured there"
        flag = pl.col(_flag(name)) if whose is None else pl.lit(f"{whose}: ") + pl.col(_flag(name))
        reasons += [flag, pl.when(pl.col(_there(name)).is_null()).then(pl.lit(absent))]
    return pl.coalesce(reasons)


def _flag(name: str) -> str:
    return f"{name}, flag"


def _there(name: str) -> str:
    return f"{name}, there"
