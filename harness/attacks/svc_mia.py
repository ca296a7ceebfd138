"""SVC-MIA: a support-vector attacker on the outputs of one model, the "MIA" of Unlearn-Sparse and SalUn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from harness.attacks.errors import AttackError
from harness.attacks.signal import Bools, Floats
from harness.attacks.student import Integers
from harness.errors import did_you_mean

if TYPE_CHECKING:
    from sklearn.svm import SVC

SMALLEST_PROBABILITY = 1e-30
"""Logarithms are taken of nothing smaller, so that features stay finite (Song and Mittal 2021)."""
MAX_MASS_ERROR = 1e-3
"""How far the probabilities of an example may sum from 1; half-precision softmax stays within."""

REFITS = 20
"""Resamplings of the fit behind a standard error: they know it to about 16 %."""

Feature = Literal["correctness", "confidence", "entropy", "m_entropy", "m_entropy_salun", "prob"]
Choice = Literal["balanced", "released"]


@dataclass(frozen=True)
class Outputs:
    """What a model says about a set of examples: log_p [n, C] and labels [n]; made by `outputs`."""

    log_p: Floats
    labels: Integers


def outputs(name: str, values: npt.ArrayLike, labels: npt.ArrayLike, log: bool = False) -> Outputs:
    """Return the outputs of a model in the form that the attack reads, checked.

    Args:
        name: of the set, for error messages: "retain", "test", "forget".
        values: [n, C] probabilities, or their logarithms (log_softmax), C >= 2.
        labels: [n] integers in 0..C-1.
        log: the values are logarithms, which keep the digits of confidences that round to 1.

    Raises:
        AttackError: empty, misshapen, NaN, or a row that is no probability distribution (logits, say).
    """
    given = np.asarray(values, dtype=np.float64)
    raw_labels = np.asarray(labels)
    if given.ndim != 2 or len(given) == 0 or given.shape[1] < 2:
        raise AttackError(f"{name} is {list(given.shape)}; it is [examples, classes], at least 1 and 2 of them")
    if raw_labels.shape != (len(given),) or not np.issubdtype(raw_labels.dtype, np.integer):
        raise AttackError(
            f"labels of {name} are {raw_labels.dtype} {list(raw_labels.shape)}; "
            f"it needs {len(given)} integers, one a row"
        )
    y = raw_labels.astype(np.int64)
    _refuse_row(name, (y < 0) | (y >= given.shape[1]), f"a label outside of 0..{given.shape[1] - 1}")
    _refuse_row(name, np.isnan(given.min(axis=1)), "NaN")
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        mass: Floats = (np.exp(given) if log else given).sum(axis=1)
        log_p = given if log else np.log(given)
    broken = (np.abs(mass - 1) > MAX_MASS_ERROR) | np.isnan(log_p.min(axis=1))
    kind = "log-probabilities" if log else "probabilities"
    _refuse_row(name, broken, f"values that are not {kind} of a distribution")
    return Outputs(np.minimum(log_p, 0.0), y)


def _refuse_row(name: str, bad: Bools, problem: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        raise AttackError(f"{name} has {problem} in row {rows[0]} ({len(rows)} rows in all)")


def svc_feature(of: Outputs, feature: Feature = "confidence") -> Floats:
    """Return the columns that the attacker sees: [n, C] for "prob", [n, 1] for the others.

    correctness: 1 where the argmax is the label. confidence: p_y. entropy: -sum p_c log p_c.
    m_entropy: -(1 - p_y) log p_y - sum_{c != y} p_c log(1 - p_c) (Song and Mittal 2021, arXiv 2003.10595).
    m_entropy_salun: what the released code of SalUn computes under that name, -sum_c w_c log p_c with
    w_c = 1 - p_c for every class that occurs among the labels of the whole set, and p_c for the others.

    Raises:
        AttackError: an unknown feature.
    """
    if feature not in get_args(Feature):
        raise AttackError(f"unknown feature {feature!r}{did_you_mean(feature, get_args(Feature))}")
    p, rows = np.exp(of.log_p), np.arange(len(of.labels))
    log_p = np.maximum(of.log_p, math.log(SMALLEST_PROBABILITY))
    if feature == "prob":
        return p
    if feature == "correctness":
        column = (of.log_p.argmax(axis=1) == of.labels).astype(np.float64)
    elif feature == "confidence":
        column = p[rows, of.labels]
    elif feature == "entropy":
        column = -(p * log_p).sum(axis=1)
    elif feature == "m_entropy":
        column = _modified_entropy(p, log_p, of)
    else:
        weights = p.copy()
        present = np.unique(of.labels)
        weights[:, present] = 1.0 - p[:, present]
        column = -(weights * log_p).sum(axis=1)
    return np.asarray(column, dtype=np.float64).reshape(-1, 1)


def _modified_entropy(p: Floats, log_p: Floats, of: Outputs) -> Floats:
    rest = -np.expm1(of.log_p)  # 1 - p, exact also where p rounds to 1
    terms = p * np.log(np.maximum(rest, SMALLEST_PROBABILITY))
    rows = np.arange(len(of.labels))
    terms[rows, of.labels] = rest[rows, of.labels] * log_p[rows, of.labels]
    return np.asarray(-terms.sum(axis=1), dtype=np.float64)


def svc_efficacy(
    retain: Outputs,
    test: Outputs,
    forget: Outputs,
    feature: Feature = "confidence",
    choice: Choice = "balanced",
    seed: int = 0,
    refits: int = REFITS,
) -> tuple[float, float]:
    """Return the share of the forget set that the attacker calls non-members, and its standard error.

    "MIA-efficacy" of Jia et al. 2023 (arXiv 2304.04934), with the confidence the "MIA" in the tables of
    SalUn (Fan et al. 2024, arXiv 2310.12508). The attacker is scikit-learn's SVC(C=3, gamma="auto") with an
    RBF kernel, fitted on retain (members) against test (non-members). Higher is *not* better: the target is
    the value of a retrained model, so report the difference to that.

    Args:
        retain, test, forget: outputs of one model.
        feature: what the attacker sees (`svc_feature`), worked out on each set as given.
        choice: "balanced" fits on equally many retain and test examples of each class, drawn with the seed;
            classes that one of them lacks are left out. "released" fits on all of test and on the first
            |test| examples of retain, as the released code does.
        seed: of "balanced" and of the resampling.
        refits: how often the attacker is fitted again, to a bootstrap sample of each side of its examples.
            0 leaves the noise of the fit out of the error.

    Returns:
        The efficacy p; and the root of p (1 - p) / |forget| plus the variance of p over the refits.

    Raises:
        AttackError: unknown names, a single or a negative number of refits, different numbers of classes, or
            no class in both retain and test.
    """
    _same_classes(retain, test, forget)
    members, nonmembers = _chosen(retain, test, choice, seed)
    targets = svc_feature(forget, feature)

    def called_nonmembers(attacker: SVC) -> Bools:
        return np.asarray(attacker.predict(targets) == 0)

    sides = svc_feature(retain, feature)[members], svc_feature(test, feature)[nonmembers]
    return _share_with_error(called_nonmembers, *sides, refits, seed)


def svc_training_privacy(
    retain: Outputs,
    test: Outputs,
    feature: Feature = "confidence",
    choice: Choice = "balanced",
    seed: int = 0,
    refits: int = REFITS,
) -> tuple[float, float]:
    """Return the accuracy of the attacker on retain and test examples that it was not fitted on.

    It says how much the model leaks about the data that it keeps; 0.5 = nothing. The forget set plays no
    part: not to be confused with `svc_efficacy`. The attacker is fitted on every second one of the chosen
    examples of each side ("balanced") or on the first half of them ("released"), and tried on the others.

    Args:
        retain, test, feature, choice, seed, refits: as for `svc_efficacy`.

    Returns:
        The accuracy p over n examples; and the root of p (1 - p) / n plus the variance of p over the refits.

    Raises:
        AttackError: as for `svc_efficacy`, or fewer than two examples on a side.
    """
    _same_classes(retain, test)
    members, nonmembers = _chosen(retain, test, choice, seed)
    if min(len(members), len(nonmembers)) < 2:
        raise AttackError(f"{len(members)} retain and {len(nonmembers)} test examples; halves need 2 of each")
    x, y = svc_feature(retain, feature)[members], svc_feature(test, feature)[nonmembers]
    (x_fit, x_try), (y_fit, y_try) = _halves(x, choice), _halves(y, choice)

    def right(attacker: SVC) -> Bools:
        return np.concatenate((attacker.predict(x_try) == 1, attacker.predict(y_try) == 0))

    return _share_with_error(right, x_fit, y_fit, refits, seed)


def _same_classes(*sets: Outputs) -> None:
    classes = [s.log_p.shape[1] for s in sets]
    if len(set(classes)) > 1:
        raise AttackError(f"retain, test (and forget) have {classes} classes; one model has one number")


def _chosen(retain: Outputs, test: Outputs, choice: Choice, seed: int) -> tuple[Integers, Integers]:
    """Return the rows of retain and of test to fit on; "balanced" ones class by class, in random order within."""
    if choice not in get_args(Choice):
        raise AttackError(f"unknown choice {choice!r}{did_you_mean(choice, get_args(Choice))}")
    if choice == "released":
        return np.arange(min(len(retain.labels), len(test.labels))), np.arange(len(test.labels))
    rng = np.random.default_rng(seed)
    common = np.intersect1d(retain.labels, test.labels)
    if common.size == 0:
        raise AttackError("retain and test have no class in common; choice 'balanced' matches them class by class")
    chosen: tuple[list[Integers], list[Integers]] = ([], [])
    for label in common:
        rows = [rng.permutation(np.flatnonzero(s.labels == label)) for s in (retain, test)]
        size = min(map(len, rows))
        for side, of_class in zip(chosen, rows, strict=True):
            side.append(of_class[:size])
    return np.concatenate(chosen[0]), np.concatenate(chosen[1])


def _halves(x: Floats, choice: Choice) -> tuple[Floats, Floats]:
    # Balanced rows come class by class: every second one keeps the classes in both halves.
    return (x[0::2], x[1::2]) if choice == "balanced" else (x[: len(x) // 2], x[len(x) // 2 :])


def _fitted(members: Floats, nonmembers: Floats) -> SVC:
    from sklearn.svm import SVC

    labels = np.repeat([1, 0], [len(members), len(nonmembers)])
    return SVC(C=3, kernel="rbf", gamma="auto").fit(np.concatenate((members, nonmembers)), labels)


def _share_with_error(
    hits: Callable[[SVC], Bools], members: Floats, nonmembers: Floats, refits: int, seed: int
) -> tuple[float, float]:
    """Return the share of hits of the attacker, and its error over targets and over fits."""
    if refits < 0 or refits == 1:
        raise AttackError(f"{refits} refits; the noise of the fit needs at least 2, and 0 leaves it out")
    of_targets = hits(_fitted(members, nonmembers))
    value = float(of_targets.mean())
    variance = value * (1 - value) / of_targets.size
    if refits:
        rng = np.random.default_rng(seed)
        resampled = [_fitted(_bootstrap(members, rng), _bootstrap(nonmembers, rng)) for _ in range(refits)]
        variance += float(np.var([hits(attacker).mean() for attacker in resampled], ddof=1))
    return value, math.sqrt(variance)


def _bootstrap(x: Floats, rng: np.random.Generator) -> Floats:
    drawn: Floats = x[rng.integers(0, len(x), len(x))]
    return drawn
