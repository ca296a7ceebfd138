"""KLoM: how far the margins of unlearned models lie from those of retrained ones, example by example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from harness.attacks.errors import AttackError
from harness.attacks.intervals import TAIL
from harness.attacks.signal import Floats
from harness.errors import did_you_mean

BINS = 20
MAX_MARGIN = 100.0
"""|margin| is clipped here, so that one overflowed model does not stretch the bins of an example."""
SMALLEST_SHARE = 1e-5
"""Of a bin that the second sample leaves empty and the first does not; without it KL is infinite."""
MIN_MODELS = 4
"""Per side of `gaussian_kl`: below, the expectation that its bias correction needs does not exist."""

HALF_SAMPLES = 200
"""Of an interval: enough to know its standard error to 5 %."""

Direction = Literal["oracle_unlearned", "unlearned_oracle"]
Edge = Literal["compat", "fix"]


@dataclass(frozen=True)
class ModelInterval:
    """A mean over examples with its standard error and 95 % interval over models; the examples are fixed."""

    value: float
    se: float
    low: float
    high: float


def klom(
    oracle: npt.ArrayLike,
    unlearned: npt.ArrayLike,
    direction: Direction = "oracle_unlearned",
    edge: Edge = "compat",
) -> Floats:
    """Return the KL divergence of margins (KLoM) of each example, in nats, from histograms of 20 bins.

    Georgiev et al. 2024 (arXiv 2410.23232, appendix E.1) with the settings of EasyDUB (arXiv 2602.16400).
    The bins of an example have equal widths from the smallest to the largest of all its margins.

    Identical worlds do not give 0: expect a mean of about 0.62 with 64 models a side and 0.11 with 256.
    Report it beside `klom_floor` at the same number of models, or use `gaussian_kl`.

    Args:
        oracle: [N, n] margins (phi) of models trained without the forget set, one row a model.
        unlearned: [M, n] margins of unlearned models.
        direction: "oracle_unlearned" is KL(oracle || unlearned), the one that EasyDUB runs.
        edge: "compat" leaves an example's largest margin out of its histogram, as EasyDUB does; "fix"
            counts it in the last bin.

    Raises:
        AttackError: the shapes do not fit, a margin is NaN, or "compat" leaves a sample empty because all of
            it equals the largest margin.
    """
    first, second = _ordered(oracle, unlearned, direction)
    return _histogram_kl(first, second, edge, direction.split("_")[0])


def klom_floor(oracle: npt.ArrayLike, edge: Edge = "compat") -> Floats:
    """Return the KLoM of each example between two halves of the oracles: what identical worlds score.

    The halves are the first and the last N // 2 rows, which are independent models; the value is the mean
    of both directions, which estimate the same thing. It belongs to N // 2 models a side and falls with
    more of them, so compare it with `klom(oracle[:h], unlearned[:h])` and h = N // 2.

    Args:
        oracle: [N, n] margins of retrained models, N >= 2.
        edge: as for `klom`.

    Raises:
        AttackError: as for `klom`.
    """
    margins = np.clip(model_matrix("oracle", oracle, least=2), -MAX_MARGIN, MAX_MARGIN)
    half = len(margins) // 2
    first, second = margins[:half], margins[-half:]
    return 0.5 * (_histogram_kl(first, second, edge, "oracle") + _histogram_kl(second, first, edge, "oracle"))


def gaussian_kl(
    oracle: npt.ArrayLike,
    unlearned: npt.ArrayLike,
    direction: Direction = "oracle_unlearned",
    corrected: bool = True,
) -> Floats:
    """Return the KL divergence of each example between Gaussians fitted to both samples, in nats.

    KL = log(s2 / s1) + (s1^2 + (m1 - m2)^2) / (2 s2^2) - 1/2. With estimated moments this is too large by
    about 1/K1 + 1/K2 where the worlds are alike. The correction takes the exact expectations of the log and
    of the inverse of a chi-squared variance, so that the estimate is unbiased for Gaussian margins at every
    number of models; it can therefore be slightly negative.

    A sample without spread is infinitely far from any other, and at distance 0 from an equal constant one.

    Args:
        oracle, unlearned, direction: as for `klom`; MIN_MODELS rows or more in each.
        corrected: False gives the plug-in value.

    Raises:
        AttackError: as for `klom`, or too few models.
    """
    first, second = _ordered(oracle, unlearned, direction, least=MIN_MODELS)
    mean_gap = first.mean(axis=0) - second.mean(axis=0)
    v1, v2 = first.var(axis=0, ddof=1), second.var(axis=0, ddof=1)
    flat1, flat2 = np.ptp(first, axis=0) == 0, np.ptp(second, axis=0) == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio, ratio, shift = np.log(v2 / v1), v1 / v2, mean_gap**2 / v2
        if corrected:
            log_ratio, ratio, shift = _unbiased(log_ratio, ratio, shift, len(first), len(second))
        divergence = 0.5 * (log_ratio + ratio + shift - 1.0)
    same = flat1 & flat2 & (first[0] == second[0])
    return np.where(flat1 | flat2, np.where(same, 0.0, np.inf), divergence)


def klom_interval(
    oracle: npt.ArrayLike,
    unlearned: npt.ArrayLike,
    direction: Direction = "oracle_unlearned",
    edge: Edge = "compat",
    *,
    samples: int = HALF_SAMPLES,
    seed: int = 0,
) -> ModelInterval:
    """Return the mean of KLoM minus the mean of its floor, both at h models a side, with its interval.

    h is N // 2, or M where that is smaller: klom(oracle[:h], unlearned[:h]) against klom_floor of the first
    2h oracles. 0 = as close to the oracles as they are to one another. In simulations the standard error
    was about twice the true one where the worlds are alike and 1.1 to 1.5 times it at a shift of one sd.

    Args:
        oracle, unlearned, direction, edge: as for `klom`; 4 oracles and 2 unlearned models or more.
        samples, seed: of the half samples, see `half_sample_interval`.

    Raises:
        AttackError: as for `klom`, or too few models.
    """
    _ordered(oracle, unlearned, direction)
    oracles, releases = model_matrix("oracle", oracle, 4), model_matrix("unlearned", unlearned, 2)
    half = min(len(releases), len(oracles) // 2)

    def excess(worlds: Sequence[Floats]) -> float:
        released, first, second = worlds
        floor = klom_floor(np.concatenate((first, second)), edge)
        return float(np.mean(klom(first, released, direction, edge) - floor))

    worlds = (releases[:half], oracles[:half], oracles[half : 2 * half])
    return half_sample_interval(excess, worlds, samples=samples, seed=seed)


def gaussian_kl_interval(
    oracle: npt.ArrayLike,
    unlearned: npt.ArrayLike,
    direction: Direction = "oracle_unlearned",
    *,
    samples: int = HALF_SAMPLES,
    seed: int = 0,
) -> ModelInterval:
    """Return the mean over examples of `gaussian_kl`, corrected, with its interval over models.

    Near 0 the divergence is quadratic in the shift, and its standard error up to twice too large there.

    Args:
        oracle, unlearned, direction: as for `gaussian_kl`; 2 * MIN_MODELS rows or more in each.
        samples, seed: of the half samples, see `half_sample_interval`.

    Raises:
        AttackError: as for `gaussian_kl`, or an infinite divergence, of which there is no interval.
    """
    _ordered(oracle, unlearned, direction)
    worlds = (model_matrix("oracle", oracle, 2 * MIN_MODELS), model_matrix("unlearned", unlearned, 2 * MIN_MODELS))

    def mean(of: Sequence[Floats]) -> float:
        return float(np.mean(gaussian_kl(of[0], of[1], direction)))

    return half_sample_interval(mean, worlds, samples=samples, seed=seed)


def half_sample_interval(
    statistic: Callable[[Sequence[Floats]], float], worlds: Sequence[Floats], *, samples: int, seed: int
) -> ModelInterval:
    """Return value +- t * se with the spread of the statistic over random halves of the models of each world.

    The delete-half jackknife (Shao and Wu 1989): without replacement, since models that occur twice change
    extremes, bins and order statistics; and half of them, since these statistics jump, so that deleting few
    says little about the spread. With half of the models left the variance of the statistic over the halves
    estimates its variance over models with no factor. Each value is an average over few distinct models,
    hence Student's t, of one degree of freedom less than the smaller world has models.

    Args:
        statistic: of one matrix [models, examples] for each world; it is never given fewer than half of them.
        worlds: independent rows, each a model.
        samples: how many halves, at least 2.

    Raises:
        AttackError: too few samples, or the statistic is not finite.
    """
    from scipy.special import stdtrit

    if samples < 2:
        raise AttackError(f"{samples} half samples; an interval needs at least 2")
    rng = np.random.default_rng(seed)
    value = statistic(worlds)
    values = np.array([statistic([_half(world, rng) for world in worlds]) for _ in range(samples)])
    if not np.isfinite([value, *values]).all():
        raise AttackError("the statistic is infinite over some half of the models; it has no interval")
    se = float(np.std(values, ddof=1))
    width = float(stdtrit(min(len(world) for world in worlds) - 1, 1 - TAIL)) * se
    return ModelInterval(value, se, value - width, value + width)


def _half(world: Floats, rng: np.random.Generator) -> Floats:
    # rounded up, so that no smaller minimum of models applies than half of that of the world
    chosen = np.sort(rng.permutation(len(world))[: (len(world) + 1) // 2])
    rows: Floats = world[chosen]
    return rows


def _unbiased(log_ratio: Floats, ratio: Floats, shift: Floats, k1: int, k2: int) -> tuple[Floats, Floats, Floats]:
    """Return estimates of log(s2^2 / s1^2), s1^2 / s2^2 and (m1 - m2)^2 / s2^2 whose expectations are right."""
    from scipy.special import digamma

    df1, df2 = k1 - 1, k2 - 1
    log_bias = (digamma(df2 / 2) - np.log(df2 / 2)) - (digamma(df1 / 2) - np.log(df1 / 2))
    inverse = (df2 - 2) / df2
    return log_ratio - log_bias, inverse * ratio, inverse * shift - inverse * ratio / k1 - 1 / k2


def model_matrix(name: str, values: npt.ArrayLike, least: int = 1) -> Floats:
    """Return [models, examples] as float64.

    Raises:
        AttackError: other than two dimensions, fewer than `least` models, no example, or NaN.
    """
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) < least or matrix.shape[1] == 0:
        raise AttackError(f"{name} is {list(matrix.shape)}; it is [models, examples] with {least} models or more")
    bad = np.argwhere(np.isnan(matrix))
    if len(bad):
        raise AttackError(
            f"{name} is NaN in row {bad[0, 0]}, example {bad[0, 1]} ({len(bad)} in all): a diverged model"
        )
    return matrix


def same_examples(first_name: str, first: Floats, second_name: str, second: Floats) -> None:
    """Raise AttackError if two matrices of models are not about the same number of examples."""
    if first.shape[1] != second.shape[1]:
        raise AttackError(
            f"{first_name} {list(first.shape)}, {second_name} {list(second.shape)}; "
            "both are [models, examples] over the same examples"
        )


def _ordered(
    oracle: npt.ArrayLike, unlearned: npt.ArrayLike, direction: Direction, least: int = 1
) -> tuple[Floats, Floats]:
    if direction not in get_args(Direction):
        raise AttackError(f"unknown direction {direction!r}{did_you_mean(direction, get_args(Direction))}")
    retrained, released = model_matrix("oracle", oracle, least), model_matrix("unlearned", unlearned, least)
    same_examples("oracle", retrained, "unlearned", released)
    retrained, released = (np.clip(m, -MAX_MARGIN, MAX_MARGIN) for m in (retrained, released))
    return (retrained, released) if direction == "oracle_unlearned" else (released, retrained)


def _histogram_kl(first: Floats, second: Floats, edge: Edge, name: str) -> Floats:
    if edge not in get_args(Edge):
        raise AttackError(f"unknown edge {edge!r}{did_you_mean(edge, get_args(Edge))}")
    low = np.minimum(first.min(axis=0), second.min(axis=0))
    high = np.maximum(first.max(axis=0), second.max(axis=0))
    edges = np.linspace(low, high, BINS + 1)
    p, q = _shares(first, edges, edge), _shares(second, edges, edge)
    empty = np.flatnonzero(p.sum(axis=0) == 0)
    if len(empty):
        raise AttackError(
            f"{name}: all margins of example {empty[0]} equal its largest one, which edge 'compat' leaves out; "
            "use edge='fix'"
        )
    q = np.where(p > 0, np.maximum(q, SMALLEST_SHARE), q)
    p, q = p / p.sum(axis=0), q / q.sum(axis=0)
    terms = p * np.log(np.where(p > 0, p, 1.0) / np.where(p > 0, q, 1.0))
    return np.asarray(terms.sum(axis=0), dtype=np.float64)


def _shares(margins: Floats, edges: Floats, edge: Edge) -> Floats:
    """Return [BINS, n]: the share of an example's margins in each bin, closed on the left."""
    below = np.stack([np.count_nonzero(margins < boundary, axis=0) for boundary in edges])
    if edge == "fix":
        below[-1] = len(margins)
    return np.diff(below, axis=0) / len(margins)
