# ruff: noqa: E741  (U and O are the names of the worlds in the literature)
"""From scores to results: AUC, TPR at low FPR and balanced accuracy, with intervals and null values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from harness.attacks.curves import (
    OperatingPoint,
    allowed_false_positives,
    sorted_auc,
    sorted_scores,
    sorted_tpr_at_fpr,
)
from harness.attacks.design import Array, check_numbers
from harness.attacks.errors import AttackError
from harness.attacks.intervals import Interval, jackknife_interval
from harness.attacks.joint import Shrinkage, jackknife_joint, ulira_joint
from harness.attacks.signal import Bools, Floats, clip_phi, count_nonfinite
from harness.attacks.student import Integers, Variance
from harness.attacks.ulira import check_worlds, jackknife, ulira
from harness.errors import did_you_mean

VERSION = 3
"""Of the definitions in this room; it rises with every change that moves a number."""

BALANCED_ACCURACY = "bacc@0"

Level = Literal["L0", "L1", "L2", "L3"]


@dataclass(frozen=True)
class Result:
    """One statistic of one attack. `None` = not computable, and `flags` says why.

    `n` releases in `clusters` independent groups; `k_u` and `k_o` are the smallest numbers of observations
    of an example in each world, over the `examples` that were scored. `low`, `high` and `p_value`
    (two-sided, against `null_floor`, the value under no leakage) come from `intervals.jackknife_interval`.

    Flags: `insufficient` (no example has enough observations in both worlds), `dropped_examples:n` (n of
    them have not), `no_interval` (fewer than two clusters, or too few observations to refit without one),
    `fixed_scores` (the scores were not refitted for the interval, which is then too narrow),
    `insufficient_negatives` (fewer than 20 false positives expected at this rate), `nonfinite:n` (n phi,
    scored or fitted on, are NaN or infinite, see `ulira`).

    `replicates` are the values without each cluster, on request (`audit`): what `paired_difference` needs.
    """

    metric: str
    n: int
    k_u: int
    k_o: int
    examples: int
    clusters: int
    flags: tuple[str, ...] = ()
    value: float | None = None
    se: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    null_floor: float | None = None
    realised_fpr: float | None = None
    false_positives: int | None = None
    version: int = VERSION
    replicates: tuple[float, ...] | None = field(default=None, repr=False)


def audit(
    phi: npt.ArrayLike,
    U: npt.ArrayLike,
    O: npt.ArrayLike,
    cluster: npt.ArrayLike,
    *,
    level: Level = "L2",
    variance: Variance = "moderated",
    fit_phi: npt.ArrayLike | None = None,
    before_phi: npt.ArrayLike | None = None,
    fprs: Sequence[float] = (0.01, 0.001),
    keep_replicates: bool = False,
) -> list[Result]:
    """Attack the releases and evaluate the attack, with intervals from the jackknife with refit.

    Levels of the attacker: L0 puts one global threshold on phi; L1 fits on the original models (`fit_phi`,
    the same shadows before unlearning) and scores the releases; L2 fits on releases of the same method: the
    headline, and the lowest level that can support the claim that a method is private. L3 sees each shadow
    before and after unlearning (`before_phi`) and fits both together: a stronger attacker, to be reported
    apart, because the model before already leaks.

    Args:
        phi, U, O, cluster: as for `ulira`.
        level: as above. L0 has no natural threshold, so it has no balanced accuracy.
        variance: one of `student.VARIANCES` (L1, L2), one of `joint.Shrinkage` at L3.
        fit_phi: [N, E] for L1 only.
        before_phi: [N, E] for L3 only, row by row the shadow that the release was made from.
        fprs: false-positive rates at which the true-positive rate is read.
        keep_replicates: fill `Result.replicates`, for differences between methods.

    Raises:
        AttackError: arrays do not fit, the level is unknown, or fit_phi or before_phi is missing at its level
            or given at another.
    """
    if level not in get_args(Level):
        raise AttackError(f"unknown level {level!r}{did_you_mean(level, get_args(Level))}")
    _check_extra(level, "L1", "fit_phi", fit_phi)
    _check_extra(level, "L3", "before_phi", before_phi)
    matrix = check_numbers("phi", phi)
    u, o, _ = check_worlds(matrix.shape, U, O, cluster)
    scores, refits = _attack(matrix, u, o, cluster, level, variance, fit_phi, before_phi)
    results = evaluate(scores, u, o, cluster, fprs, refits=refits, keep_replicates=keep_replicates)
    if level == "L0":
        results = [r for r in results if r.metric != BALANCED_ACCURACY]
    read = [matrix, *(np.asarray(m) for m in (fit_phi, before_phi) if m is not None)]
    bad = sum(count_nonfinite(row[used]) for m in read for row, used in zip(m, u | o, strict=True))
    return [replace(r, flags=(*r.flags, f"nonfinite:{bad}")) for r in results] if bad else results


def _check_extra(level: str, needed_at: str, name: str, values: npt.ArrayLike | None) -> None:
    if (level == needed_at) != (values is not None):
        given = "without" if values is None else "with"
        raise AttackError(f"level {level} {given} {name}; {needed_at} needs it, the other levels do without")


def _attack(
    phi: Array,
    u: Bools,
    o: Bools,
    cluster: npt.ArrayLike,
    level: Level,
    variance: Variance,
    fit_phi: npt.ArrayLike | None,
    before_phi: npt.ArrayLike | None,
) -> tuple[Floats, Iterable[Floats]]:
    """Return the scores of a level, and those without each cluster; NaN where all releases of a world diverged."""
    if any(np.isnan(phi[world]).all() for world in (u, o)):
        nothing = np.full(phi.shape, np.nan)
        return nothing, repeat(nothing)
    if level == "L0":
        scores = _population_scores(phi, u | o)
        return scores, repeat(scores)
    if before_phi is None:
        refits = jackknife(phi, u, o, cluster, variance, fit_phi=fit_phi)
        return ulira(phi, u, o, cluster, variance, fit_phi=fit_phi), refits
    if variance == "moderated_common":
        raise AttackError(f"level L3 with variance {variance}; it has {', '.join(get_args(Shrinkage))}")
    both = (check_numbers("before_phi", before_phi), phi)
    if both[0].shape != phi.shape:
        raise AttackError(f"before_phi is {list(both[0].shape)}, phi {list(phi.shape)}; they are of one shape")
    return ulira_joint(both, u, o, cluster, variance), jackknife_joint(both, u, o, cluster, variance)


def _population_scores(phi: Array, members: Bools) -> Floats:
    """Phi itself is the score; a diverged release gets the median, the least informative value."""
    scores = clip_phi(phi)
    known = scores[members & ~np.isnan(scores)]
    return np.where(np.isnan(scores), np.median(known) if known.size else 0.0, scores)


def evaluate(
    llr: npt.ArrayLike,
    U: npt.ArrayLike,
    O: npt.ArrayLike,
    cluster: npt.ArrayLike,
    fprs: Sequence[float] = (0.01, 0.001),
    *,
    refits: Iterable[Floats] | None = None,
    keep_replicates: bool = False,
) -> list[Result]:
    """Return `auc`, `tpr@<fpr>` for each rate, and `bacc@0`, pooled over all releases and examples.

    Balanced accuracy predicts "unlearned" for a score above 0; a score of exactly 0 is a coin toss and
    counts half.

    The interval comes from deleting one cluster at a time (`intervals.jackknife_interval`). Scores that
    were fitted must be refitted each time: pass `refits=jackknife(...)` with the arguments of `ulira`, or
    call `audit`. Without them the scores stay as they are, the interval is too narrow, and the results
    carry the flag `fixed_scores`.

    Args:
        llr: [N, E] scores, NaN in the whole column of an example that cannot be scored.
        U, O, cluster: as for `ulira`.
        fprs: false-positive rates in [0, 1].
        refits: for each cluster, in sorted order, the scores [N, E] without it.
        keep_replicates: fill `Result.replicates` where there is an interval.

    Raises:
        AttackError: the arrays do not fit, or there are fewer refits than clusters.
    """
    scores = check_numbers("llr", llr).astype(np.float64, copy=False)
    u, o, code = check_worlds(scores.shape, U, O, cluster)
    template = _result_without_values(scores, u, o, code)
    samples = _samples(scores, u, o)
    if samples is None:
        return [replace(template, metric=name, flags=("insufficient",)) for name in _names(fprs)]
    if refits is None:
        template, refits = replace(template, flags=(*template.flags, "fixed_scores")), repeat(scores)
    results = _results(template, samples, _replicates(iter(refits), u, o, code, fprs), fprs)
    return results if keep_replicates else [replace(r, replicates=None) for r in results]


Samples = tuple[Floats, Floats]


def _samples(scores: Floats, u: Bools, o: Bools) -> Samples | None:
    """Return the sorted scores of both worlds over the examples that are scored in all of their rows."""
    missing = (np.isnan(scores) & (u | o)).any(axis=0)
    if missing.any():
        scores, u, o = scores[:, ~missing], u[:, ~missing], o[:, ~missing]
    if not (u.any() and o.any()):
        return None
    return sorted_scores(scores[u]), sorted_scores(scores[o])


def _replicates(
    refits: Iterator[Floats], u: Bools, o: Bools, code: Integers, fprs: Sequence[float]
) -> list[list[float] | None]:
    """Return the statistics without each cluster that has a part in a world; None = not computable."""
    clusters = int(code.max()) + 1
    replicates = []
    for deleted in range(clusters):
        refit = next(refits, None)
        if refit is None:
            raise AttackError(f"{deleted} refits for {clusters} clusters; `jackknife` yields one for each")
        rows = code != deleted
        if (u | o)[~rows].any():
            rest = _samples(refit[rows], u[rows], o[rows])
            replicates.append(None if rest is None else _statistics(rest, fprs))
    return replicates


def _names(fprs: Sequence[float]) -> list[str]:
    return ["auc", *(f"tpr@{fpr:g}" for fpr in fprs), BALANCED_ACCURACY]


def _result_without_values(scores: Floats, u: Bools, o: Bools, code: Integers) -> Result:
    used = u | o
    missing = (np.isnan(scores) & used).any(axis=0)
    kept = used.any(axis=0) & ~missing
    dropped = int(np.count_nonzero(missing))
    counted = kept if kept.any() else used.any(axis=0)
    return Result(
        metric="",
        n=int(np.count_nonzero(used.any(axis=1))),
        k_u=int(u.sum(axis=0)[counted].min()) if counted.any() else 0,
        k_o=int(o.sum(axis=0)[counted].min()) if counted.any() else 0,
        examples=int(np.count_nonzero(kept)),
        clusters=len(np.unique(code[used.any(axis=1)])),
        flags=(f"dropped_examples:{dropped}",) if dropped else (),
    )


def _results(
    template: Result, samples: Samples, replicates: list[list[float] | None], fprs: Sequence[float]
) -> list[Result]:
    n1, n0 = samples[0].size, samples[1].size
    trials = [n1 * n0, *([n1] * len(fprs)), n1 + n0]
    nulls = [0.5, *(null_tpr(fpr, n0) for fpr in fprs), 0.5]
    points = [None, *(sorted_tpr_at_fpr(*samples, fpr) for fpr in fprs), None]
    known = [r for r in replicates if r is not None]
    results = []
    for i, (name, value) in enumerate(zip(_names(fprs), _statistics(samples, fprs), strict=True)):
        result = replace(template, metric=name, value=value, null_floor=nulls[i])
        # all replicates or none: the jackknife has no meaning over a part of the clusters
        column = [r[i] for r in known] if len(known) == len(replicates) else []
        interval = jackknife_interval(value, column, trials[i], nulls[i])
        results.append(_with_operating_point(_with_interval(result, interval, column), points[i]))
    return results


def _with_interval(result: Result, interval: Interval | None, replicates: list[float]) -> Result:
    if interval is None:
        return replace(result, flags=(*result.flags, "no_interval"))
    return replace(
        result,
        se=interval.se,
        low=interval.low,
        high=interval.high,
        p_value=interval.p_value,
        replicates=tuple(replicates),
    )


def _with_operating_point(result: Result, point: OperatingPoint | None) -> Result:
    if point is None:
        return result
    flags = (*result.flags, "insufficient_negatives") if point.insufficient else result.flags
    return replace(result, realised_fpr=point.realised_fpr, false_positives=point.false_positives, flags=flags)


def _statistics(samples: Samples, fprs: Sequence[float]) -> list[float]:
    u, o = samples
    rates = [sorted_tpr_at_fpr(u, o, fpr).tpr for fpr in fprs]
    return [sorted_auc(u, o), *rates, 0.5 * (_share_above_zero(u) + 1.0 - _share_above_zero(o))]


def _share_above_zero(ordered: Floats) -> float:
    at_most, below = np.searchsorted(ordered, 0.0, side="right"), np.searchsorted(ordered, 0.0, side="left")
    return 1.0 - float(at_most + below) / (2 * ordered.size)


def null_tpr(fpr: float, negatives: int) -> float:
    """Return the expected TPR at this FPR when both worlds are alike: (floor(fpr * n0) + 1) / (n0 + 1).

    The chance that a score beats the (m + 1)-th largest of n0 others of the same distribution; larger than
    fpr itself, by much when n0 * fpr is small. The null value of an AUC and of a balanced accuracy is 0.5
    at any size.
    """
    return min(1.0, (allowed_false_positives(negatives, fpr) + 1) / (negatives + 1))
