"""What the units of the shadow-model farm do, up to the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.contracts.parts import FORGET, RETAIN, VAL
from harness.engine.data import PartSamples
from harness.engine.device import Stopwatch
from harness.engine.evaluate import Evaluation, evaluate
from harness.engine.run import TrainingRun
from harness.engine.stacked import Member, obstacle, train_together
from harness.engine.train import train
from harness.errors import HarnessError
from harness.farm import POPULATION, POPULATION_SIZE, Query, membership
from harness.farm_deep_unlearn import draw_number, half_split
from harness.unit import Kind, Unit
from harness.work.attacked import Signal
from harness.work.bench import Audited, Workbench
from harness.work.kinds import Outcome
from harness.work.measured import Phase
from harness.work.returned import of_its_method
from harness.work.setting import at_work, lender, new_run, on_the_clock, spec_of, starting_model, view_of

Mask = NDArray[np.bool_]


class NotStackable(HarnessError):
    """Networks that cannot be trained at once."""


@dataclass(frozen=True)
class _Shadow:
    """Which of the farm's images [n] are in a shadow, and which of them are to be forgotten by a unit."""

    audited: Audited
    inside: Mask
    forgotten: Mask


def train_shadow(unit: Unit, bench: Workbench, phase: Phase) -> Outcome:
    """Train a shadow on its share of the images, as an original is trained; its phi on every pool."""
    phase("load")
    run, samples, shadow = _to_train(unit, bench)
    phase("train")
    model = on_the_clock(unit, run, lambda: train(run.initial_model(), samples, unit.recipe, run))
    phase("evaluate")
    evaluations, signals = _audit(model, bench, unit, shadow, shadow.audited.pools)
    return Outcome(model, run.clock.stop(), run.steps, evaluations, signals=signals)


def train_shadows(units: Sequence[Unit], bench: Workbench, phase: Phase) -> list[Outcome]:
    """Train shadows at once, each as `train_shadow` would but for rounding; to each its share of the seconds.

    They are of one data set, architecture, recipe and farm. Raises `NotStackable` where these networks cannot.
    """
    phase("load")
    begun = [_to_train(unit, bench) for unit in units]
    clock = Stopwatch(bench.device)
    phase("train")
    with at_work(units[0], bench.device):  # no draw in there depends on the unit
        clock.start()
        members = [Member(run.initial_model(), samples, run) for run, samples, _ in begun]
        if reason := obstacle(members):
            raise NotStackable(reason)
        train_together(members, units[0].recipe)
    seconds = clock.stop() / len(units)
    phase("evaluate")
    outcomes = []
    for unit, member, (run, _, shadow) in zip(units, members, begun, strict=True):
        evaluations, signals = _audit(member.model, bench, unit, shadow, shadow.audited.pools)
        outcomes.append(Outcome(member.model, seconds, run.steps, evaluations, signals=signals))
    return outcomes


def _to_train(unit: Unit, bench: Workbench) -> tuple[TrainingRun, PartSamples, _Shadow]:
    """Return the run of a shadow and the samples that it is trained on."""
    audited = bench.audited(unit)
    inside = _inside(unit, bench, audited)
    run = new_run(unit, bench, None)
    samples = PartSamples(audited.data, _index(audited.train[inside], bench), run.generator)
    # Nothing is retained: an image of a pool was trained on, or was not.
    return run, samples, _Shadow(audited, inside, inside)


def run_on_shadow(unit: Unit, bench: Workbench, phase: Phase) -> Outcome:
    """Make a shadow forget what of the unit's pool is in it (or retrain it without the pool); phi on that pool."""
    phase("load")
    audited = bench.audited(unit)
    inside = _inside(unit, bench, audited)
    forgotten = inside & _pooled(unit, bench, audited)
    run = new_run(unit, bench, None)
    parts = {
        RETAIN: audited.train[inside & ~forgotten],
        FORGET: audited.train[forgotten],
        VAL: audited.val,
    }
    on_device = {part: _index(positions, bench) for part, positions in parts.items()}
    run.lend = lender(unit, bench, run, audited.data, on_device, _index(audited.train[inside], bench))
    view = view_of(unit, audited.data, on_device, run)
    model = starting_model(unit, bench)
    method = spec_of(unit).create(unit.hyperparameters)
    phase("unlearn")
    model = of_its_method(on_the_clock(unit, run, lambda: method.unlearn(model, view, run)), unit, bench)
    phase("evaluate")
    evaluations, signals = _audit(model, bench, unit, _Shadow(audited, inside, forgotten), [unit.pool])
    return Outcome(model, run.clock.stop(), run.steps, evaluations, signals=signals)


def _inside(unit: Unit, bench: Workbench, audited: Audited) -> Mask:
    """Return which of the farm's images [n] a shadow is trained on."""
    assert unit.farm is not None
    if unit.farm.design == "half_splits":
        return np.isin(audited.train, half_split(bench.dataset(unit.dataset).development, unit.seed).train)
    return membership(unit.farm, unit.seed, len(audited.train))


def _pooled(unit: Unit, bench: Workbench, audited: Audited) -> Mask:
    """Return which of the farm's images [n] a unit forgets if they are in the shadow."""
    assert unit.farm is not None
    if unit.farm.design == "half_splits":
        half = half_split(bench.dataset(unit.dataset).development, unit.seed)
        return np.isin(audited.train, half.draw(draw_number(unit.pool))[1])
    pooled = np.zeros(len(audited.train), dtype=bool)
    pooled[audited.pool(unit.pool).positions] = True
    return pooled


def _index(index: NDArray[np.int64], bench: Workbench) -> torch.Tensor:
    return torch.from_numpy(index).to(bench.device)


def _audit(
    model: nn.Module, bench: Workbench, unit: Unit, shadow: _Shadow, pools: Iterable[str]
) -> tuple[dict[str, Evaluation], dict[tuple[str, Query], Signal]]:
    """Return the evaluation on test, and phi of every pool and query by the labels that were trained.

    A pass for each: on some devices the last bits depend on what else is in a batch, and the phi of a pool must be
    the same whether one pool is evaluated or all.
    """
    assert unit.farm is not None
    audited = shadow.audited

    def on(index: NDArray[np.int64], query: Query = "identity") -> Evaluation:
        return evaluate(model, audited.data, _index(index, bench), flip=query == "flip")

    signals: dict[tuple[str, Query], Signal] = {}
    for name in pools:
        positions = audited.pool(name).positions
        forgotten, never = shadow.forgotten[positions], ~shadow.inside[positions]
        known = None if (forgotten | never).all() else forgotten | never
        for query in unit.farm.queries:
            signals[name, query] = Signal(on(audited.train[positions], query).phi, forgotten, known)
    test = on(bench.dataset(unit.dataset).whole()["test"])
    if unit.kind != Kind.SHADOW:
        phi = test.phi[:POPULATION_SIZE]
        signals[POPULATION, "identity"] = Signal(phi, np.zeros(len(phi), dtype=bool))
    return {"test": test}, signals
