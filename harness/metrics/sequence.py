"""Requests one after the other: what comes back of the earlier ones, and how a method fares over all of them.

All numbers are per seed, so that their spread over seeds is known.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from harness.metrics.definitions import RETRAIN_OF_SEED, define

FORGOTTEN_BEFORE = "forgotten_before"
"""The part that earlier requests have forgotten: all of them together."""
REBOUND = "rebound"
SEQUENCE_METRICS = (*(f"{metric}_{FORGOTTEN_BEFORE}" for metric in ("accuracy", "loss")), REBOUND)
"""What `derive` gives for a trial of a request that follows another."""

OVER_REQUESTS = ("rebound_most", "gap_mean", "gap_most")
"""What `over_requests` gives for a whole sequence."""

_WHOLE = ("dataset", "architecture", "method", "config", "seed")
_OF_EACH = {"rebound_most": REBOUND, "gap_mean": "gap_to_retrain", "gap_most": "gap_to_retrain"}
_THIS = "this harness"


def define_sequence() -> None:
    """Define them all; `catalogue` does."""
    for metric, what, unit in (("accuracy", "top-1 accuracy", "fraction"), ("loss", "mean cross-entropy", "nat")):
        define(
            f"{metric}_{FORGOTTEN_BEFORE}",
            label=f"earlier {'acc' if metric == 'accuracy' else 'loss'}",
            what=f"{what} on what all earlier requests of the sequence have forgotten, evaluation mode, no "
            "augmentation; no method sees it, and retrain was trained without it",
            direction="closest",
            reference=RETRAIN_OF_SEED,
            unit=unit,
            source=_THIS,
        )
    define(
        REBOUND,
        label="rebound",
        what="accuracy on what earlier requests have forgotten minus retrain's; per seed, then averaged. Above 0 "
        "something of it is still there, or has come back; below 0 the model has forgotten more than retrain",
        direction="lower",
        reference="0: no more accurate on earlier requests than retrain",
        unit="fraction",
        source=_THIS,
        reference_value=0.0,
    )
    most = "largest rebound over the requests of a sequence, from the second on"
    _over("rebound_most", "largest rebound", most, "0: at no request above retrain")
    _over("gap_mean", "mean gap", "mean gap_to_retrain over the requests of a sequence", "0: retrain")
    _over("gap_most", "largest gap", "largest gap_to_retrain over the requests of a sequence", "0: retrain")


def _over(metric: str, label: str, what: str, reference: str) -> None:
    define(
        metric,
        label=label,
        what=f"{what}; per seed, then averaged, and unknown for a seed of which one request is",
        direction="lower",
        reference=reference,
        unit="fraction",
        source=_THIS,
        reference_value=0.0,
    )


def chains(follows: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return the sequences of at least two requests, each in its order, by the request before each scenario."""
    found = []
    for last in sorted(follows.keys() - set(follows.values())):
        chain = [last]
        while before := follows.get(chain[-1], ""):
            chain.append(before)
        found += [tuple(reversed(chain))] if len(chain) > 1 else []
    return found


def over_requests(trials: pl.DataFrame, chain: tuple[str, ...]) -> pl.DataFrame:
    """Return the numbers of a whole sequence of requests, from the long frame of `derive`.

    Columns as there; `scenario` is the last request. A row for each of `OVER_REQUESTS`, method and seed; `value` is
    null where a request has none, and then `flag` says which and why. Rebound counts from the second request on.
    """
    order = pl.DataFrame({"scenario": chain}).with_row_index("request", offset=1)
    rows = trials.join(order, on="scenario").sort("request")
    tables = []
    for name, metric in _OF_EACH.items():
        first = 2 if metric == REBOUND else 1
        expected = len(chain) + 1 - first
        value = pl.col("value").mean() if name.endswith("mean") else pl.col("value").max()
        own = rows.filter(pl.col("metric") == metric, pl.col("request") >= first)
        few = pl.when(pl.len() < expected).then(pl.format("{} of {} requests", pl.len(), pl.lit(expected)))
        why = pl.when(pl.col("flag").is_not_null()).then(pl.format("{}: {}", "scenario", "flag"))
        flag = pl.coalesce(why.drop_nulls().first(), few)
        found = own.group_by(_WHOLE, maintain_order=True).agg(status=pl.col("status").last(), value=value, flag=flag)
        tables.append(found.with_columns(metric=pl.lit(name), scenario=pl.lit(chain[-1])))
    return (
        pl.concat(tables)
        .with_columns(value=pl.when(pl.col("flag").is_null()).then("value"))
        .select(trials.columns)
        .sort("dataset", "architecture", "method", "config", "seed", "metric")
    )
