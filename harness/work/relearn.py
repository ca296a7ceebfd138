"""What a unit of kind `relearn` does: how many steps bring a trial's model back to what the original knew."""

from __future__ import annotations

import math

import torch
from torch import nn

from harness.contracts.parts import FORGET, VAL
from harness.engine.data import PartSamples
from harness.engine.models import finite
from harness.engine.relearn import TOLERANCE, accuracy, is_reached, relearn, steps_at_most
from harness.engine.seeding import generator, seeded
from harness.unit import Unit
from harness.work.bench import Parts, Workbench
from harness.work.evidence import parts_of
from harness.work.kinds import Outcome
from harness.work.measured import Phase
from harness.work.setting import new_run, on_the_clock, trial_model


def relearn_trial(unit: Unit, bench: Workbench, phase: Phase) -> Outcome:
    """Train the model of the unit's trial on retain and forget until it is as accurate on the forgotten as the
    original was, but for `TOLERANCE`.

    Order, augmentation and dropout are the same for every method of a cell and seed. A start that is not finite is not
    trained; neither is one without a target, because no image asks for what was forgotten or the original diverged.
    """
    phase("load")
    loaded, parts = bench.dataset(unit.dataset), parts_of(unit, bench)
    model, known = trial_model(unit, bench), bench.initial_model(unit)
    known.load_state_dict(bench.original(unit.needs[1]))
    index = asked(parts)
    key = ("relearn", unit.scenario.name, unit.seed)
    run = new_run(unit, bench, None)
    train = torch.from_numpy(parts.split.left).to(bench.device)
    samples = PartSamples(loaded.data, train, generator(*key))
    phase("relearn")
    target = (1 - TOLERANCE) * accuracy(known, loaded.data, index) if finite(known) else math.nan
    steps: int | None = None

    def work() -> nn.Module:
        nonlocal steps
        if finite(model) and not math.isnan(target):
            with seeded(*key):
                steps = relearn(model, samples, lambda now: is_reached(accuracy(now, loaded.data, index), target), run)
        return model

    on_the_clock(unit, run, work)
    numbers = {"relearn_steps": steps, "relearn_target": target, "relearn_steps_most": steps_at_most(len(train))}
    whole = {("all", metric): number for metric, number in numbers.items()}
    return Outcome(model, run.clock.stop(), run.steps, numbers=whole)


def asked(parts: Parts) -> torch.Tensor:
    """Return the index [n] of the images that show whether the model is back.

    Validation images of the forgotten classes or subclass. Where none is forgotten these would show nothing of the
    forget set, so it is the forget set itself, which is not standard: the model is trained on it meanwhile.
    """
    if parts.asked_for is None:
        return parts.index[FORGET]
    val = parts.index[VAL]
    return val[torch.from_numpy(parts.asked_for[parts.split.of(VAL)]).to(val.device)]
