"""What the units of the shadow-model farm do, up to the numbers."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness import registry
from harness.contracts.method import METHODS
from harness.contracts.parts import FORGET, RETAIN, VAL
from harness.engine.data import PartSamples
from harness.engine.evaluate import Evaluation, evaluate
from harness.engine.train import train
from harness.farm import membership
from harness.unit import Unit
from harness.work.bench import Audited, Workbench
from harness.work.kinds import Outcome, Phase, Signal, new_run, on_the_clock, starting_model, view_of


def train_shadow(unit: Unit, bench: Workbench, phase: Phase) -> Outcome:
    """Train a shadow on its half of the training images, as an original is trained; its phi on every pool."""
    phase("load")
    audited, inside = _load(unit, bench)
    run = new_run(unit, bench, None)
    samples = PartSamples(audited.data, _index(audited.train[inside], bench), run.generator)
    phase("train")
    model = on_the_clock(unit, run, lambda: train(run.initial_model(), samples, unit.recipe, run))
    phase("evaluate")
    evaluations, signals = _audit(model, bench, unit, audited, inside, list(audited.pools))
    return Outcome(model, run.clock.stop(), run.steps, evaluations, signals=signals)


def run_on_shadow(unit: Unit, bench: Workbench, phase: Phase) -> Outcome:
    """Make a shadow forget what of the unit's pool is in it (or retrain it without the pool); phi on that pool."""
    phase("load")
    audited, inside = _load(unit, bench)
    pooled = np.zeros(len(inside), dtype=bool)
    pooled[audited.pools[unit.pool].positions] = True
    run = new_run(unit, bench, None)
    parts = {
        RETAIN: audited.train[inside & ~pooled],
        FORGET: audited.train[inside & pooled],
        VAL: bench.dataset(unit.dataset).whole()["val"],
    }
    on_device = {part: _index(positions, bench) for part, positions in parts.items()}
    view = view_of(unit, audited.data, on_device, run, bench.dataset(unit.dataset).spec.classes)
    model = starting_model(unit, bench)
    method = registry.find(METHODS, unit.method.name).create(unit.values)
    phase("unlearn")
    model = on_the_clock(unit, run, lambda: method.unlearn(model, view, run))
    phase("evaluate")
    evaluations, signals = _audit(model, bench, unit, audited, inside, [unit.pool])
    return Outcome(model, run.clock.stop(), run.steps, evaluations, signals=signals)


def _load(unit: Unit, bench: Workbench) -> tuple[Audited, NDArray[np.bool_]]:
    assert unit.farm is not None
    audited = bench.audited(unit)
    return audited, membership(unit.farm, unit.seed, len(audited.train))


def _index(index: NDArray[np.int64], bench: Workbench) -> torch.Tensor:
    return torch.from_numpy(index).to(bench.device)


def _audit(
    model: nn.Module,
    bench: Workbench,
    unit: Unit,
    audited: Audited,
    inside: NDArray[np.bool_],
    pools: list[str],
) -> tuple[dict[str, Evaluation], dict[str, Signal]]:
    """Return the evaluation on test, and phi of every pool by the labels that were trained.

    A pass for each: on some devices the last bits depend on what else is in a batch, and the phi of a pool must be
    the same whether one pool is evaluated or all.
    """

    def on(index: NDArray[np.int64]) -> Evaluation:
        return evaluate(model, audited.data, _index(index, bench))

    positions = {name: audited.pools[name].positions for name in pools}
    test = on(bench.dataset(unit.dataset).whole()["test"])
    return {"test": test}, {name: Signal(on(audited.train[p]).phi, inside[p]) for name, p in positions.items()}
