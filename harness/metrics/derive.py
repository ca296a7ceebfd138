"""From stored base metrics to those of a trial: ratios, retention deviation, indiscernibility, run time, relearning.

Formulas: Cadet et al. 2024, arXiv 2410.01276. All are per trial, against the retrain of the same seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from harness.errors import HarnessError
from harness.metrics.catalogue import CLASS_PARTS, MIA_PARTS, PARTS, SVC_PARTS
from harness.metrics.compared import LIKENESS_METRICS
from harness.metrics.composed import composites
from harness.metrics.composite import COMPOSITE_METRICS, F1_METRICS
from harness.metrics.costs import COST_METRICS, DRAWN_PARTS, IMAGES_RATIO
from harness.metrics.curves import GOAL, areas, first_steps, retain_curves
from harness.metrics.probed import EFFICACY_RATIO, PROBE_METRICS
from harness.metrics.sequence import FORGOTTEN_BEFORE, REBOUND, SEQUENCE_METRICS
from harness.metrics.tampered import TAMPERED_METRICS
from harness.metrics.trio import TRIO_METRICS

CELL = ("dataset", "scenario", "architecture")
TRIAL = (*CELL, "method", "config", "seed")
COLUMNS = (*TRIAL, "status", "metric", "value", "flag")
BASE_METRICS = (
    *(f"{metric}_{part}" for metric in ("accuracy", "loss") for part in PARTS),
    *(f"population_mia_{part}" for part in MIA_PARTS),
)

RETENTION_PARTS = ("retain", "forget", "test")
TRIAL_METRICS = (
    *BASE_METRICS,
    *(f"{part}_retention" for part in RETENTION_PARTS),
    *("retention_deviation", "gap_to_retrain", "loss_gap"),
    *(f"indiscernibility_{part}" for part in MIA_PARTS),
    *("changed_weights", "entanglement"),
    *("seconds", "time_ratio", "run_time_efficiency"),
    *("relearn_steps", "anamnesis", "distill_steps", "distill_auc"),
    *(f"{metric}_{part}" for metric in ("accuracy", "loss") for part in CLASS_PARTS),
    *(f"{metric}_{part}" for metric in ("mia_confidence", "mia_entropy") for part in SVC_PARTS),
    *TAMPERED_METRICS,
    *TRIO_METRICS,
    *LIKENESS_METRICS,
    *SEQUENCE_METRICS,
    *PROBE_METRICS,
    EFFICACY_RATIO,
    *COST_METRICS,
    IMAGES_RATIO,
    *F1_METRICS,
    *COMPOSITE_METRICS,
)
"""All that `derive` gives for a trial; those by class, of manipulated data, of SVC-MIA, of the three attackers and of
the comparison with retrain, of earlier requests, of probes and of what was drawn only where some trial has them."""

RETRAIN = "retrain"
ORIGINAL = "original"

NOT_MEASURED = "not measured"
NOT_COMPUTABLE = "not computable"
NOT_FINITE = "not finite"

_RETRAIN_OF_SEED = (*CELL, "seed")
_STORED = {"unit": pl.String(), "metric": pl.String(), "value": pl.Float64()}


class RepeatedRows(HarnessError):
    """Two units, or two rows of one unit, that claim to be the same trial or reference."""


def derive(units: pl.DataFrame, metrics: pl.DataFrame, epochs: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return every metric of every trial (units of kind `retrain` and `unlearn`) as a long frame.

    `units` and `metrics` are those tables of one study: one row per unit, one row per unit x part x metric. `epochs`
    (unit, epoch, steps, retain) is only needed for `distill_steps` and `distill_auc`, which else are not measured.

    Columns: dataset, scenario, architecture, method, config, seed, status, metric, value, flag. Each trial
    has a row for each metric. `value` is null when it is unknown, and then `flag` says why. Stored metrics
    are named `<metric>_<part>` (`accuracy_test`), or `<metric>` for the part `all`. Rows of kind `retrain`
    have the method `retrain`. Times come from units of kind `timing` only; `seconds` of method `original`
    is 0, it runs nothing. In the same way `relearn_steps` come from units of kind `relearn` only, and are 0 for
    `original`; what three attackers reach comes from units of kind `attack`,
    what a trial has in common with its retrain from those of kind `compare`, and what is left in its model from those
    of kind `probe`. Composite scores (`harness.metrics.composed`) are only to be compared with published ones.

    Raises RepeatedRows if a trial or a stored value occurs twice, for instance because the units of two
    studies were passed.
    """
    trials = _trials(units)
    base = _base(trials, _stored(trials, metrics))
    ratios = pl.concat(
        [_against_retrain(_only(base, f"accuracy_{part}"), f"{part}_retention") for part in RETENTION_PARTS]
    )
    seconds = _seconds(trials, _timings(units, metrics))
    time_ratio = _against_retrain(_on_one_device(seconds), "time_ratio")
    gaps = [_retention_deviation(ratios), _gap_to_retrain(base), _loss_gap(base), _rebound(base)]
    relearned = _relearn_steps(trials, _relearned(units, metrics))
    again = [relearned, _against_retrain(relearned, "anamnesis"), *_distilled(base, retain_curves(epochs))]
    attacked = _looked_at(trials, units, metrics, "attack", TRIO_METRICS, "attack")
    compared = _looked_at(trials, units, metrics, "compare", LIKENESS_METRICS, "comparison")
    probed = _looked_at(trials, units, metrics, "probe", PROBE_METRICS, "probe")
    efficacy = _against_retrain(_only(probed, "epistemic_efficacy"), EFFICACY_RATIO)
    beside = [probed, efficacy, _images_ratio(base), _composed(base, _on_one_device(seconds))]
    tables = [base, ratios, *gaps, _indiscernibility(base), attacked, compared, *beside, *again, seconds, time_ratio]
    rows = pl.concat([table.select(COLUMNS) for table in (*tables, _run_time_efficiency(time_ratio))])
    return rows.sort(*TRIAL, "metric")


def _trials(units: pl.DataFrame) -> pl.DataFrame:
    is_retrain = pl.col("kind") == RETRAIN
    trials = units.filter(pl.col("kind").is_in([RETRAIN, "unlearn"])).select(
        "unit",
        *CELL,
        pl.when(is_retrain).then(pl.lit(RETRAIN)).otherwise("method").alias("method"),
        "config",
        "seed",
        "status",
    )
    _refuse_repeats(trials, TRIAL)
    _refuse_repeats(trials.filter(pl.col("method") == RETRAIN), _RETRAIN_OF_SEED)
    return trials


def _refuse_repeats(rows: pl.DataFrame, key: Sequence[str]) -> None:
    repeated = rows.filter(rows.select(key).is_duplicated())
    if repeated.height:
        first = ", ".join(f"{name} {value}" for name, value in zip(key, repeated.select(key).row(0), strict=True))
        raise RepeatedRows(f"{repeated.height} rows repeat a key ({first}); pass each unit of one study once")


def _stored(units: pl.DataFrame, metrics: pl.DataFrame) -> pl.DataFrame:
    """Return unit, metric (named with its part), value for what `units` stored."""
    suffix = pl.when(pl.col("part") == "all").then(pl.lit("")).otherwise(pl.lit("_") + pl.col("part"))
    stored = metrics.join(units, on="unit", how="semi").select(
        "unit", (pl.col("metric") + suffix).alias("metric"), "value"
    )
    _refuse_repeats(stored, ("unit", "metric"))
    return stored.cast(_STORED)  # type: ignore[arg-type]


def _base(trials: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    # The `seconds` that count are those of timing runs: other trials share their device.
    stored = stored.filter(pl.col("metric") != "seconds").with_columns(measured=True)
    names = sorted({*BASE_METRICS, *stored["metric"]})
    grid = trials.join(pl.DataFrame({"metric": names}), how="cross")
    rows = grid.join(stored, on=("unit", "metric"), how="left")
    return _flagged(rows, pl.when(pl.col("measured").is_null()).then(pl.lit(NOT_MEASURED)))


def _flagged(rows: pl.DataFrame, reason: pl.Expr) -> pl.DataFrame:
    """Add `flag` (why the trial has no result, then `reason`, then what is wrong with the value)."""
    value, status = pl.col("value"), pl.col("status")
    no_result = pl.when(status != "done").then(pl.lit("trial ") + status)
    null = pl.when(value.is_null()).then(pl.lit(NOT_COMPUTABLE))
    infinite = pl.when(~value.is_finite()).then(pl.lit(NOT_FINITE))
    return _cleared(rows.with_columns(flag=pl.coalesce(no_result, reason, null, infinite)))


def _cleared(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(value=pl.when(pl.col("flag").is_null()).then("value"))


def _only(rows: pl.DataFrame, metric: str) -> pl.DataFrame:
    return rows.filter(pl.col("metric") == metric)


def _against_retrain(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Divide each value by retrain's of the same cell and seed; `rows` hold one metric."""
    joined, reason = _beside_retrain(rows)
    is_zero = pl.when(pl.col("retrain") == 0).then(pl.lit("retrain's ") + pl.col("metric") + pl.lit(" is 0"))
    ratio = pl.col("value") / pl.col("retrain")
    return _cleared(joined.with_columns(flag=pl.coalesce(reason, is_zero), value=ratio, metric=pl.lit(name)))


def _beside_retrain(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.Expr]:
    """Add `retrain`, its value in the same cell and seed; also return why the two cannot be compared, if so."""
    retrain = rows.filter(pl.col("method") == RETRAIN).select(
        *_RETRAIN_OF_SEED, retrain="value", retrain_flag="flag", found=True
    )
    joined = rows.join(retrain, on=_RETRAIN_OF_SEED, how="left")
    reason = (
        pl.when(pl.col("flag").is_not_null())
        .then("flag")
        .when(pl.col("found").is_null())
        .then(pl.lit("no retrain of this seed"))
        .when(pl.col("retrain_flag").is_not_null())
        .then(pl.lit("retrain: ") + pl.col("retrain_flag"))
    )
    return joined, reason


def _retention_deviation(ratios: pl.DataFrame) -> pl.DataFrame:
    return _over_parts(ratios, "retention_deviation", (pl.col("value") - 1).abs().sum())


def _gap_to_retrain(base: pl.DataFrame) -> pl.DataFrame:
    tables = [_beside_retrain(_only(base, f"accuracy_{part}")) for part in RETENTION_PARTS]
    gaps = pl.concat([joined.with_columns(flag=reason) for joined, reason in tables])
    return _over_parts(gaps, "gap_to_retrain", (pl.col("value") - pl.col("retrain")).abs().mean())


def _loss_gap(base: pl.DataFrame) -> pl.DataFrame:
    losses = base.filter(pl.col("metric").is_in(["loss_forget", "loss_test"]))
    # One that is broken is named: nothing is wrong with the difference itself.
    is_broken = pl.col("flag").is_in([NOT_COMPUTABLE, NOT_FINITE])
    named = pl.when(is_broken).then(pl.format("{} {}", "metric", "flag")).otherwise("flag")
    sign = pl.when(pl.col("metric") == "loss_forget").then(1.0).otherwise(-1.0)
    return _over_parts(losses.with_columns(flag=named), "loss_gap", (sign * pl.col("value")).sum())


def _rebound(base: pl.DataFrame) -> pl.DataFrame:
    joined, reason = _beside_retrain(_only(base, f"accuracy_{FORGOTTEN_BEFORE}"))
    above = pl.col("value") - pl.col("retrain")
    return _cleared(joined.with_columns(metric=pl.lit(REBOUND), flag=reason, value=above))


def _images_ratio(base: pl.DataFrame) -> pl.DataFrame:
    drawn = base.filter(pl.col("metric").is_in([f"images_seen_{part}" for part in DRAWN_PARTS]))
    return _against_retrain(_over_parts(drawn, "number of images drawn", pl.col("value").sum()), IMAGES_RATIO)


def _composed(base: pl.DataFrame, seconds: pl.DataFrame) -> pl.DataFrame:
    rows = pl.concat([base.select(COLUMNS), seconds.select(COLUMNS)])
    return _flagged(composites(rows, TRIAL, _RETRAIN_OF_SEED, NOT_MEASURED), pl.col("reason"))


def _over_parts(rows: pl.DataFrame, name: str, value: pl.Expr) -> pl.DataFrame:
    """Return one value per trial; none if one of the parts is flagged."""
    flag = pl.col("flag").drop_nulls().first()
    by_trial = rows.group_by(*TRIAL, "status", maintain_order=True)
    return _cleared(by_trial.agg(metric=pl.lit(name), value=value, flag=flag))


def _indiscernibility(base: pl.DataFrame) -> pl.DataFrame:
    name = pl.col("metric").str.replace("population_mia", "indiscernibility", literal=True)
    rows = base.filter(pl.col("metric").is_in([f"population_mia_{part}" for part in MIA_PARTS]))
    return rows.with_columns(metric=name, value=1 - (2 * pl.col("value") - 1).abs())


def _looked_at(
    trials: pl.DataFrame, units: pl.DataFrame, metrics: pl.DataFrame, kind: str, names: Sequence[str], word: str
) -> pl.DataFrame:
    """Return what units of a kind, called `word`, say of each trial under some names; no row where there are none."""
    looking = units.filter(pl.col("kind") == kind).select("unit", *TRIAL, own_status="status")
    _refuse_repeats(looking, TRIAL)
    grid = pl.DataFrame({"metric": names})
    found = looking.join(grid, how="cross").join(_stored(looking, metrics), on=("unit", "metric"), how="left")
    rows = trials.join(grid, how="cross").join(found.drop("unit"), on=(*TRIAL, "metric"), how="left")
    status = pl.col("own_status")
    reason = (
        pl.when(status.is_null()).then(pl.lit(NOT_MEASURED)).when(status != "done").then(pl.lit(f"{word} ") + status)
    )
    return _flagged(rows.clear() if looking.is_empty() else rows, reason)


def _timings(units: pl.DataFrame, metrics: pl.DataFrame) -> pl.DataFrame:
    timing = units.filter(pl.col("kind") == "timing").select("unit", *TRIAL, "device", timing_status="status")
    _refuse_repeats(timing, TRIAL)
    stored = _only(_stored(timing, metrics), "seconds")
    return timing.join(stored, on="unit", how="left").drop("unit", "metric")


def _seconds(trials: pl.DataFrame, timings: pl.DataFrame) -> pl.DataFrame:
    rows = trials.join(timings, on=TRIAL, how="left").with_columns(metric=pl.lit("seconds"))
    is_original = pl.col("method") == ORIGINAL
    timed = rows.with_columns(
        value=pl.when(is_original).then(0.0).otherwise("value"),
        device=pl.when(is_original).then(None).otherwise("device"),
    )
    status = pl.col("timing_status")
    reason = (
        pl.when(is_original)
        .then(None)
        .when(status.is_null())
        .then(pl.lit("not timed"))
        .when(status != "done")
        .then(pl.lit("timing ") + status)
    )
    return _flagged(timed, reason)


def _on_one_device(seconds: pl.DataFrame) -> pl.DataFrame:
    """Flag what was timed on another kind of device than its retrain: such times cannot be compared."""
    retrain = seconds.filter(pl.col("method") == RETRAIN).select(*_RETRAIN_OF_SEED, retrain_device="device")
    joined = seconds.join(retrain, on=_RETRAIN_OF_SEED, how="left")
    differs = pl.when(pl.col("device") != pl.col("retrain_device")).then(
        pl.lit("retrain was timed on ") + pl.col("retrain_device")
    )
    return _cleared(joined.with_columns(flag=pl.coalesce("flag", differs)))


def _run_time_efficiency(time_ratio: pl.DataFrame) -> pl.DataFrame:
    no_time = pl.when(pl.col("value") == 0).then(pl.lit("takes no time"))
    rows = time_ratio.with_columns(
        metric=pl.lit("run_time_efficiency"), flag=pl.coalesce("flag", no_time), value=1 / pl.col("value")
    )
    return _cleared(rows)


def _relearned(units: pl.DataFrame, metrics: pl.DataFrame) -> pl.DataFrame:
    """Return what each relearning found, by its trial: steps (`value`), the `target`, and at `most` how many steps."""
    relearning = units.filter(pl.col("kind") == "relearn").select("unit", *TRIAL, relearn_status="status")
    _refuse_repeats(relearning, TRIAL)
    stored = _stored(relearning, metrics)
    names = {"relearn_steps": "value", "relearn_target": "target", "relearn_steps_most": "most"}
    for metric, name in names.items():
        own = _only(stored, metric).select("unit", pl.col("value").alias(name))
        relearning = relearning.join(own, on="unit", how="left")
    return relearning.drop("unit")


def _relearn_steps(trials: pl.DataFrame, relearned: pl.DataFrame) -> pl.DataFrame:
    # An original has lost nothing: it needs no step wherever its target, which is retrain's too, is known.
    targets = relearned.filter(pl.col("method") == RETRAIN).select(*_RETRAIN_OF_SEED, "relearn_status", "target")
    is_original = pl.col("method") == ORIGINAL
    originals = trials.filter(is_original).join(targets, on=_RETRAIN_OF_SEED, how="left")
    others = trials.filter(~is_original).join(relearned, on=TRIAL, how="left")
    rows = pl.concat([others, originals.with_columns(value=pl.lit(0.0))], how="diagonal")
    status = pl.col("relearn_status")
    reason = (
        pl.when(status.is_null())
        .then(pl.lit(NOT_MEASURED))
        .when(~is_original & (status != "done"))
        .then(pl.lit("relearning ") + status)
        .when(pl.col("target").is_null())
        .then(pl.lit(NOT_COMPUTABLE))
        .when(pl.col("value").is_null())
        .then(pl.format("not relearned within {} steps", pl.col("most").cast(pl.Int64)))
    )
    return _flagged(rows.with_columns(metric=pl.lit("relearn_steps")), reason)


def _distilled(base: pl.DataFrame, curves: pl.DataFrame) -> list[pl.DataFrame]:
    """Return steps to `GOAL` of retrain's accuracy on retain, and the area under that accuracy over the steps."""
    joined, unknown = _beside_retrain(_only(base, "accuracy_retain"))
    reached = first_steps(curves, joined.select("unit", wanted=GOAL * pl.col("retrain")))
    rows = joined.join(reached, on="unit", how="left").join(areas(curves), on="unit", how="left")
    has_curve = pl.col("unit").is_in(curves["unit"].unique().implode())
    no_result = pl.when(pl.col("status") != "done").then("flag")
    no_curve = pl.when(~has_curve).then(pl.lit(NOT_MEASURED))
    never = pl.when(pl.col("reached").is_null()).then(pl.lit(f"never at {100 * GOAL:g} % of retrain's accuracy_retain"))
    at_once = pl.when(pl.col("area").is_null()).then(pl.lit("takes no step"))
    steps = rows.with_columns(
        metric=pl.lit("distill_steps"), flag=pl.coalesce(no_result, no_curve, unknown, never), value="reached"
    )
    area = rows.with_columns(metric=pl.lit("distill_auc"), flag=pl.coalesce(no_result, no_curve, at_once), value="area")
    return [_cleared(steps), _cleared(area)]
