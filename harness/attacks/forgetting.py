"""Forgetting quality of the NeurIPS 2023 unlearning challenge: F, its value for retraining, the final score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from harness.attacks.errors import AttackError
from harness.attacks.klom import HALF_SAMPLES, ModelInterval, half_sample_interval, model_matrix, same_examples
from harness.attacks.signal import Floats, clip_phi
from harness.attacks.student import Integers

DELTA = 1e-5
MAX_EPSILON = 50.0
BIN_WIDTH = 0.5
THRESHOLDS_PER_UNIT = 100
MARGIN = 2.0
"""An interval's ends lie at most this far from the ends of the sample that it encloses, in nats of phi."""
MIN_RANGE_RATIO = 0.01
MIN_MODELS = 3
"""A side: with two of them no epsilon lies below the last bin, ceil(log(n - 1))."""


@dataclass(frozen=True)
class ForgettingQuality:
    """F beside what exact unlearning scores; F alone cannot be read, because its ceiling is far below 1.

    `value`: F over all models, `models` of them on the smaller side. `epsilon`: [n] of each example.
    `null`: F between two halves of the retrained models, `null_models` each. `matched`: F of the first
    `null_models` unlearned against as many retrained models. `ratio`: matched / null, so that both have the
    same number of models; about 1 = as good as retraining; None where null is 0.
    """

    value: float
    models: int
    epsilon: Floats
    null: float
    null_models: int
    matched: float
    ratio: float | None


def forgetting_quality(unlearned: npt.ArrayLike, retrained: npt.ArrayLike, delta: float = DELTA) -> ForgettingQuality:
    """Return F of the unlearned models, F_null of the retrained ones, and their ratio at one sample size.

    Triantafillou et al. 2024 (arXiv 2406.09073). The halves of the retrained models are the first rows and
    the rows after them, in the order given.

    Args:
        unlearned: [M, n] phi of unlearned models on the forget examples; in the challenge all of them start
            from one original model.
        retrained: [N, n] phi of models trained without the forget set, N >= 6.
        delta: of (epsilon, delta)-unlearning.

    Raises:
        AttackError: the shapes do not fit, phi is NaN, or there are too few models.
    """
    releases, retrains = _worlds(unlearned, retrained, retrained_least=2 * MIN_MODELS)
    half = min(len(releases), len(retrains) // 2)
    epsilon = _epsilons(releases, retrains, delta)
    null = forgetting_null(retrains[: 2 * half], delta)
    matched = _mean_score(_epsilons(releases[:half], retrains[:half], delta), half)
    models = min(len(releases), len(retrains))
    ratio = matched / null if null > 0 else None
    return ForgettingQuality(_mean_score(epsilon, models), models, epsilon, null, half, matched, ratio)


def forgetting_null(retrained: npt.ArrayLike, delta: float = DELTA) -> float:
    """Return F between two halves of the retrained models: what exact unlearning scores with N // 2 models.

    The halves are the first N // 2 rows and the N // 2 rows after them.

    Args:
        retrained: [N, n] as for `forgetting_quality`.
        delta: as for `forgetting_quality`.

    Raises:
        AttackError: as for `forgetting_quality`.
    """
    retrains = clip_phi(model_matrix("retrained", retrained, 2 * MIN_MODELS))
    half = len(retrains) // 2
    return _mean_score(_epsilons(retrains[half : 2 * half], retrains[:half], delta), half)


def forgetting_interval(
    unlearned: npt.ArrayLike,
    retrained: npt.ArrayLike,
    delta: float = DELTA,
    *,
    samples: int = HALF_SAMPLES,
    seed: int = 0,
) -> ModelInterval:
    """Return F over all models with its 95 % interval over models, within [0, 1].

    From half samples (see `half_sample_interval`), because F rests on order statistics and on bins. At 32 and
    64 models a side these gave 0.8 to 1.2 times the true standard error in simulations. Other ways fail: a
    bootstrap repeats models, and its F of identical worlds is 0.13 instead of 0.18; deleting a tenth of the
    models doubles the error. The cost is that of `samples` evaluations of F over half of the models.

    Args:
        unlearned, retrained, delta: as for `forgetting_quality`; 2 * MIN_MODELS rows or more in each.
        samples, seed: of the half samples.

    Raises:
        AttackError: as for `forgetting_quality`.
    """
    model_matrix("unlearned", unlearned, 2 * MIN_MODELS)
    worlds = _worlds(unlearned, retrained, retrained_least=2 * MIN_MODELS)

    def quality(of: Sequence[Floats]) -> float:
        return _mean_score(_epsilons(of[0], of[1], delta), min(len(of[0]), len(of[1])))

    interval = half_sample_interval(quality, worlds, samples=samples, seed=seed)
    return replace(interval, low=max(interval.low, 0.0), high=min(interval.high, 1.0))


def epsilons(unlearned: npt.ArrayLike, retrained: npt.ArrayLike, delta: float = DELTA) -> Floats:
    """Return the largest epsilon of each example that a threshold rule shows between the two worlds, 0 to 50.

    Rules, each reading one model's phi of the example: "phi >= t is the world with the larger median", 100
    values of t per nat from the smallest to the largest phi; and "l <= phi <= r is the world with the
    smaller range", r in 400 steps within 2 nats around the largest phi of that world, and r - l in 400 steps
    within 2 nats around its range. Where no rule survives (see `rule_epsilon`) the value is 0.

    Where one range is less than 1 % of the other (a method without randomness) the value is 50. Two constant
    samples have 0 if they are equal and 50 if not.

    Args:
        unlearned, retrained: [M, n] and [N, n] phi, at least MIN_MODELS rows each.
        delta: as for `forgetting_quality`.

    Raises:
        AttackError: as for `forgetting_quality`.
    """
    return _epsilons(*_worlds(unlearned, retrained), delta)


def rule_epsilon(fpr: npt.ArrayLike, fnr: npt.ArrayLike, delta: float = DELTA) -> Floats:
    """Return the epsilon of rules with these error rates; a discarded rule has 0, which never is the maximum.

    max(ln((1 - delta - FPR) / FNR), ln((1 - delta - FNR) / FPR)), without the undefined logarithms, between
    0 and 50. A rule without errors has 50; one with errors of one kind only is discarded.
    """
    a, b = np.broadcast_arrays(np.asarray(fpr, dtype=np.float64), np.asarray(fnr, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.fmax(np.log(1 - delta - a) - np.log(b), np.log(1 - delta - b) - np.log(a))
    value = np.clip(np.where(np.isnan(value), 0.0, value), 0.0, MAX_EPSILON)
    value = np.where((a == 0) != (b == 0), 0.0, value)
    return np.where((a == 0) & (b == 0), MAX_EPSILON, value)


def example_scores(epsilon: npt.ArrayLike, models: int) -> Floats:
    """Return H = 2^-floor(epsilon / 0.5), and 0 from epsilon = ceil(ln(models - 1)) on."""
    values = np.asarray(epsilon, dtype=np.float64)
    return np.where(values < math.ceil(math.log(models - 1)), 0.5 ** np.floor(values / BIN_WIDTH), 0.0)


def final_score(
    forgetting: float,
    unlearned_retain_accuracy: float,
    retrained_retain_accuracy: float,
    unlearned_test_accuracy: float,
    retrained_test_accuracy: float,
) -> float:
    """Return F * (RA_U / RA_R) * (TA_U / TA_R), from accuracies averaged over the models.

    The ratios may exceed 1 and are not clipped, as in the challenge.

    Raises:
        AttackError: F is outside of [0, 1], an accuracy is negative or not finite, or one of the retrained
            models is 0.
    """
    if not 0.0 <= forgetting <= 1.0:
        raise AttackError(f"the forgetting quality is {forgetting}; it lies between 0 and 1")
    accuracies = {
        "unlearned_retain_accuracy": unlearned_retain_accuracy,
        "unlearned_test_accuracy": unlearned_test_accuracy,
        "retrained_retain_accuracy": retrained_retain_accuracy,
        "retrained_test_accuracy": retrained_test_accuracy,
    }
    for name, value in accuracies.items():
        if not (math.isfinite(value) and value >= 0) or (value == 0 and name.startswith("retrained")):
            raise AttackError(f"{name} is {value}; it is finite and not negative, and above 0 for retrained models")
    retain = unlearned_retain_accuracy / retrained_retain_accuracy
    return forgetting * retain * (unlearned_test_accuracy / retrained_test_accuracy)


def _worlds(
    unlearned: npt.ArrayLike, retrained: npt.ArrayLike, retrained_least: int = MIN_MODELS
) -> tuple[Floats, Floats]:
    releases = clip_phi(model_matrix("unlearned", unlearned, MIN_MODELS))
    retrains = clip_phi(model_matrix("retrained", retrained, retrained_least))
    same_examples("unlearned", releases, "retrained", retrains)
    return releases, retrains


def _mean_score(epsilon: Floats, models: int) -> float:
    return float(example_scores(epsilon, models).mean())


def _epsilons(releases: Floats, retrains: Floats, delta: float) -> Floats:
    """Only the numbers of errors matter, so the epsilon of each pair of numbers is worked out once."""
    rates_u, rates_r = (np.arange(len(sample) + 1) / len(sample) for sample in (releases, retrains))
    table = rule_epsilon(rates_u[:, None], rates_r, delta)
    columns = zip(np.sort(releases, axis=0).T, np.sort(retrains, axis=0).T, strict=True)
    return np.array([_largest_epsilon(u, r, table) for u, r in columns])


def _largest_epsilon(u: Floats, r: Floats, table: Floats) -> float:
    """Return the epsilon of one example from its sorted phi; `table` is [errors in u, errors in r]."""
    range_u, range_r = u[-1] - u[0], r[-1] - r[0]
    if max(range_u, range_r) == 0:
        return 0.0 if u[0] == r[0] else MAX_EPSILON
    if min(range_u, range_r) / max(range_u, range_r) < MIN_RANGE_RATIO:
        return MAX_EPSILON
    positive_is_u = bool(np.median(r) <= np.median(u))
    by_threshold = _threshold_rules(u, r, table) if positive_is_u else _threshold_rules(r, u, table.T)
    narrow_is_u = range_u < range_r or (range_u == range_r and not positive_is_u)
    by_interval = _interval_rules(u, r, table) if narrow_is_u else _interval_rules(r, u, table.T)
    return max(by_threshold, by_interval)


def _threshold_rules(positive: Floats, negative: Floats, table: Floats) -> float:
    low, high = min(positive[0], negative[0]), max(positive[-1], negative[-1])
    thresholds = np.linspace(low, high, math.ceil((high - low) * THRESHOLDS_PER_UNIT))
    misses = np.searchsorted(positive, thresholds)
    false_alarms = negative.size - np.searchsorted(negative, thresholds)
    return float(table[misses, false_alarms].max())


def _interval_rules(narrow: Floats, wide: Floats, table: Floats) -> float:
    """Return the largest epsilon of the rules "l <= phi <= r is the narrow world".

    r = largest + i steps and l = r - width + j steps, so that l depends on k = i + j alone: 799 values, of
    which r goes with k = i to i + 399. Neighbouring values with no phi between them are taken together.
    """
    count = round(2 * MARGIN * THRESHOLDS_PER_UNIT)
    step = 2 * MARGIN / (count - 1)
    ends = narrow[-1] - MARGIN + step * np.arange(count)
    starts = narrow[0] + step * np.arange(1 - count, count)
    up_to_end = np.stack([np.searchsorted(s, ends, side="right") for s in (narrow, wide)])
    before_start = np.stack([np.searchsorted(s, starts) for s in (narrow, wide)])
    first_i, last_i = (run[:, None] for run in _runs(up_to_end))
    first_k, last_k = _runs(before_start)
    inside = np.maximum(up_to_end[:, first_i] - before_start[:, None, first_k], 0)
    of_rule = table[narrow.size - inside[0], inside[1]]
    on_grid = (last_k >= first_i) & (first_k <= last_i + count - 1)
    return float(of_rule[on_grid].max())


def _runs(counts: Integers) -> tuple[Integers, Integers]:
    """Return the first and the last index of each run of equal columns."""
    changes = np.flatnonzero((counts[:, 1:] != counts[:, :-1]).any(axis=0)) + 1
    return np.append(0, changes), np.append(changes, counts.shape[1]) - 1
