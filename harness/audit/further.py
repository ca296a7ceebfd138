"""The attacks and distances beside U-LiRA that a study may ask for, on the same releases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from harness.attacks import (
    AttackError,
    ModelInterval,
    Result,
    audit,
    eps_cp,
    eps_gdp,
    eps_onerun,
    evaluate,
    forgetting_interval,
    forgetting_null,
    gaussian_kl_interval,
    jackknife,
    jackknife_rmia,
    klom_floor,
    klom_interval,
    rmia_farm,
    ulira,
)
from harness.attacks.klom import HALF_SAMPLES
from harness.attacks.signal import Bools, Floats
from harness.attacks.student import LiraVariant
from harness.audit.levels import HEADLINE, Attack, Worlds, against_never_in, against_retrain
from harness.audit.releases import Audited

LIRA_OFFLINE: tuple[LiraVariant, ...] = ("offline_1s", "offline_2s")
GDP_DELTA = 1e-5
GUESSED_SHARE = 0.25
"""Of the memberships in one release, those that the one-run bound guesses: the most telling scores."""


def offline_lira(audited: Audited) -> Iterator[Attack]:
    """Yield the AUC of LiRA with never-in releases alone, one-sided and two-sided."""
    worlds = against_never_in(audited.releases)
    if worlds is None:
        return
    for variant in LIRA_OFFLINE:
        scores, refits = ulira(*worlds, variant=variant), jackknife(*worlds, variant=variant)
        yield "O", HEADLINE, [_auc(f"{variant}_auc", worlds, scores, refits)]


def online_rmia(audited: Audited) -> Iterator[Attack]:
    """Yield the AUC of RMIA against null O; the references are the releases of the same method in other clusters.

    Its population are test images.
    """
    worlds, population = against_never_in(audited.releases), audited.releases.population
    if worlds is None or not population.shape[1]:
        return
    yield "O", HEADLINE, [_auc("rmia_auc", worlds, rmia_farm(*worlds, population), jackknife_rmia(*worlds, population))]


def _auc(metric: str, worlds: Worlds, scores: Floats, refits: Iterable[Floats]) -> Result:
    _, u, o, cluster = worlds
    result, *_ = evaluate(scores, u, o, cluster, fprs=(), refits=refits)
    return replace(result, metric=metric)


def epsilons(audited: Audited) -> Iterator[Attack]:
    """Yield three epsilons from U-LiRA against null O; the bounds have no upper end."""
    worlds = against_never_in(audited.releases)
    if worlds is None:
        return
    _, u, o, cluster = worlds
    scores = ulira(*worlds)
    headline, *_ = audit(*worlds, fprs=())
    yield (
        "O",
        HEADLINE,
        [
            _lower_bound(headline, "eps_cp", lambda: eps_cp(scores, u, o, cluster).epsilon),
            _lower_bound(headline, "eps_onerun", lambda: _one_run(scores, worlds)),
            _restated(headline),
        ],
    )


def _lower_bound(about: Result, metric: str, bound: Callable[[], float]) -> Result:
    try:
        value = bound()
    except AttackError:
        return _without_value(about, metric)
    return replace(_without_value(about, metric), value=value, low=value, null_floor=0.0, flags=("lower_bound",))


def _restated(about: Result) -> Result:
    if about.value is None:
        return _without_value(about, "eps_gdp")
    known = [None if p is None else eps_gdp(p, delta=GDP_DELTA) for p in (about.value, about.low, about.high)]
    value, low, high = (None if v is None or np.isinf(v) else v for v in known)
    flags = ("infinite",) if value is None else ()
    return replace(about, metric="eps_gdp", value=value, low=low, high=high, se=None, null_floor=0.0, flags=flags)


def _one_run(scores: Floats, worlds: Worlds) -> float:
    """Return the largest bound that the guesses within one release give, each at the level divided by their number.

    Guessed is where the score is further from 0 than three quarters of the scores of the other clusters, so that what
    is guessed does not depend on the outcome.
    """
    _, u, o, cluster = worlds
    members = u | o
    if np.isnan(scores[members]).all():
        raise AttackError("no image is scored: a guess needs a score")
    bounds = [0.0]
    for own in range(len(scores)):
        others = np.abs(scores[(cluster != cluster[own])[:, None] & members])
        here = scores[own][members[own]]
        guessed = np.abs(here) > np.quantile(others[~np.isnan(others)], 1 - GUESSED_SHARE)
        correct = (here > 0) == u[own][members[own]]
        if guessed.any():
            bounds.append(eps_onerun(int(correct[guessed].sum()), int(guessed.sum()), alpha=0.05 / len(scores)))
    return max(bounds)


def klom(audited: Audited) -> Iterator[Attack]:
    """Yield KLoM, with its null floor, and the corrected Gaussian divergence of the unlearned from the retrained."""
    found = _two_worlds(audited)
    if found is None:
        return
    about, unlearned, retrained = found
    yield "R", HEADLINE, [_klom(about, unlearned, retrained), _gaussian(about, unlearned, retrained)]


def _klom(about: Result, unlearned: Floats, retrained: Floats) -> Result:
    half = min(len(unlearned), len(retrained) // 2)
    try:
        excess = klom_interval(retrained, unlearned, edge="fix")
        floor = float(np.mean(klom_floor(retrained[: 2 * half], edge="fix")))
    except AttackError:
        return _without_value(about, "klom")
    raised = ModelInterval(excess.value + floor, excess.se, excess.low + floor, excess.high + floor)
    return _estimated(about, "klom", raised, floor)


def _gaussian(about: Result, unlearned: Floats, retrained: Floats) -> Result:
    try:
        return _estimated(about, "klom_gaussian", gaussian_kl_interval(retrained, unlearned), 0.0)
    except AttackError:
        return _without_value(about, "klom_gaussian")


def _estimated(about: Result, metric: str, found: ModelInterval, floor: float) -> Result:
    return replace(
        about, metric=metric, value=found.value, se=found.se, low=found.low, high=found.high, null_floor=floor
    )


def forgetting(audited: Audited) -> Iterator[Attack]:
    """Yield the forgetting quality F and, as its null floor, what retraining scores at the same number of models."""
    found = _two_worlds(audited)
    if found is None:
        return
    about, unlearned, retrained = found
    yield "R", HEADLINE, [forgetting_result(about, unlearned, retrained)]


def forgetting_result(about: Result, unlearned: Floats, retrained: Floats, samples: int = HALF_SAMPLES) -> Result:
    """Return F with its interval and F_null, both with as many models a side as halves of the retrained ones have.

    `about` says what is not computed: of phi [K, E]; `samples` are the halves of the models behind the interval.
    """
    half = min(len(unlearned), len(retrained) // 2)
    try:
        interval = forgetting_interval(unlearned[:half], retrained[:half], samples=samples)
        floor = forgetting_null(retrained[: 2 * half])
    except AttackError:
        return _without_value(about, "forgetting_quality")
    return _estimated(about, "forgetting_quality", interval, floor)


def _two_worlds(audited: Audited) -> tuple[Result, Floats, Floats] | None:
    """Return a result without a value, and phi [K, E] of the unlearned and of the retrained models of each image.

    Every image keeps its first K rows in the order of the shadows, K being the smallest count over the images.
    """
    worlds = against_retrain(audited)
    if worlds is None:
        return None
    phi, u, o, cluster = worlds
    kept = [_first_rows(phi, world) for world in (u, o)]
    about = Result(
        metric="",
        n=len(phi),
        k_u=len(kept[0]),
        k_o=len(kept[1]),
        examples=phi.shape[1],
        clusters=len(np.unique(cluster)),
        flags=(audited.spread,),
    )
    return about, kept[0], kept[1]


def _first_rows(phi: Floats, world: Bools) -> Floats:
    order = np.argsort(~world, axis=0, kind="stable")[: world.sum(axis=0).min()]
    return np.take_along_axis(phi, order, axis=0)


def _without_value(about: Result, metric: str) -> Result:
    flags = ("insufficient", *(flag for flag in about.flags if flag != "insufficient"))
    return Result(metric, about.n, about.k_u, about.k_o, about.examples, about.clusters, flags)


Further = Callable[[Audited], Iterator[Attack]]

FURTHER: Mapping[str, Further] = MappingProxyType(
    {
        "epsilon": epsilons,
        "offline_lira": offline_lira,
        "rmia": online_rmia,
        "klom": klom,
        "forgetting_quality": forgetting,
    }
)


def further(audited: Audited, names: Sequence[str]) -> Iterator[Attack]:
    """Yield the results of the named attacks, in the order of FURTHER."""
    for name, attack in FURTHER.items():
        if name in names:
            yield from attack(audited)
